/* frontend/onnx/standard.h: the signature of an operator in the ONNX standard; columns in
 * schema/standard.def. */
#ifndef DLC_FRONTEND_ONNX_STANDARD_H
#define DLC_FRONTEND_ONNX_STANDARD_H
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    const char *domain, *name;
    int since;
    bool is_deprecated;
    const char *inputs, *outputs, *types, *attributes;
} standard_row;

/* The row that holds at this opset, NULL if none; *any: some row of the operator, NULL if the standard lacks
 * it. */
const standard_row *standard_find(const char *domain, const char *name, int64_t opset,
                                  const standard_row **any);
int standard_newest(const char *domain);      /* newest known opset of a domain; 0: the domain is not known */

/* A list of parameters ("T T? V*"), taken apart. */
/* mode: ' ' '?' '*' '~'; var: index of the type variable */
typedef struct { uint32_t mask; char mode; int var; } standard_param;
enum { MAX_PARAMS = 32, MAX_VARS = 16 };
typedef struct {
    standard_param at[MAX_PARAMS];
    int n, least;
    bool is_variadic;         /* the last parameter takes what is left */
} standard_params;
void standard_parse(const standard_row *r, const char *list, standard_params *out);
static inline const standard_param *standard_param_at(const standard_params *p, int i)
{
    return i < p->n ? &p->at[i] : p->is_variadic ? &p->at[p->n - 1] : (const standard_param *)0;
}
/* Kind letter of an attribute, 0 if the operator has none of that name. *required: it must be given. */
char standard_attr(const standard_row *r, const char *name, bool *required);

#endif
