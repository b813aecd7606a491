/* ir/loop_parse.h: the parts of parser and printer of the loop program that kernels and programs share. */
#ifndef DLC_IR_LOOP_PARSE_H
#define DLC_IR_LOOP_PARSE_H
#include "ir/loop.h"
#include "ir/lex.h"

bool loop_read_symbols(lex *l, dims *d);
kernel_code *loop_read_kernel(lex *l, dlc_context *ctx, arena *a, dims *d);     /* NULL: reported */
bool loop_read_expr(lex *l, kernel_code *k, const expr **e);

/* The symbols used; in_order: a reader of the text meets them in the order of the table. */
typedef struct { dims *d; bool *used; int n, last; bool in_order; } symbol_set;
symbol_set symbols_new(dims *d, arena *scratch);
void symbols_use(symbol_set *u, dim d);
void symbols_use_expr(symbol_set *u, const expr *e);             /* e may be NULL */
void symbols_use_kernel(symbol_set *u, const kernel_code *k);
void symbols_print(const symbol_set *u, text *out);
void kernel_print_alone(const kernel_code *k, text *out);        /* without symbols */
#endif
