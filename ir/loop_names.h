/* ir/loop_names.h: the names of a kernel, shared by the makers, the parser and the printer of the loop
 * program. */
#ifndef DLC_IR_LOOP_NAMES_H
#define DLC_IR_LOOP_NAMES_H
#include "ir/loop.h"

typedef enum { NAME_absent, NAME_buffer, NAME_var, NAME_temp, NAME_kernel } name_kind;
name_kind name_find(const kernel_code *k, const char *s, size_t n, int *id);
bool name_is_reserved(const char *s, size_t n);
const char *name_clean(arena *a, const char *s);             /* the nearest identifier */

/* Words of the text form. */
enum { LOOP_ROLES = LOOP_lane + 1, PBUF_KINDS = PBUF_state + 1 };
extern const char *const buf_role_name[ROLE_none + 1];
extern const char *const loop_role_name[LOOP_ROLES];
extern const char *const pbuf_kind_name[PBUF_KINDS];

/* x_print where the type is known */
void put_loop_expr(const kernel_code *k, const expr *e, dtype context, text *out);
#endif
