/* ir/scalar.c: the facts of scalar.def. */
#include "ir/scalar.h"

const scalar_row scalar_info[SCALAR_COUNT] = {
#define ROW(name, arity, flags, kind, basic, grad, doc) \
    [SCALAR_##name] = { #name, arity, TAKES_##flags, RESULT_##kind, basic, #grad, doc },
#define BASIC(name, arity, flags, kind, grad, doc) ROW(name, arity, flags, kind, true, grad, doc)
#define SCALAR(name, arity, flags, kind, grad, doc) ROW(name, arity, flags, kind, false, grad, doc)
#include "ir/scalar.def"
#undef ROW
};

scalar scalar_by_name(const char *s, size_t n)
{
    for (int fn = 0; fn < SCALAR_COUNT; fn++)
        if (strlen(scalar_info[fn].name) == n && memcmp(scalar_info[fn].name, s, n) == 0) return (scalar)fn;
    return SCALAR_COUNT;
}

bool scalar_accepts(scalar fn, dtype t)
{
    if (t == DTYPE_NONE || t >= DTYPE_COUNT || is_storage(t)) return false;
    switch (scalar_info[fn].takes) {
    case TAKES_FLOAT: return is_float(t);
    case TAKES_INT: return is_int(t);
    case TAKES_LOGIC: return is_int(t) || t == DTYPE_bool;
    case TAKES_NUM: return t != DTYPE_bool;
    case TAKES_ANY: return true;
    }
    return false;
}
