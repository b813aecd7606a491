/* ir/loop_parse.h: the parts of the loop program's parser that kernels and programs share. */
#ifndef DLC_IR_LOOP_PARSE_H
#define DLC_IR_LOOP_PARSE_H
#include "ir/loop.h"
#include "ir/lex.h"

bool loop_read_symbols(lex *l, dims *d);
kernel_code *loop_read_kernel(lex *l, dlc_context *ctx, arena *a, dims *d);     /* NULL: reported */
bool loop_read_expr(lex *l, kernel_code *k, const expr **e);
#endif
