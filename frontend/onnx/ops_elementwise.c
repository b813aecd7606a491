/* ops_elementwise: operators that treat each element alone: maps, chains of maps, casts.
 *
 * Until version 7 the binary operators aligned their second operand by attributes `broadcast` and `axis`;
 * since then they broadcast as NumPy does.
 */
#include "frontend/onnx/op_util.h"

#include <math.h>

#define K(row, x, k) bin_k(g, SCALAR_##row, (x), (k))
#define UN(row, x) un(g, SCALAR_##row, (x))

/* -- One scalar row -------------------------------------------------------------------------------------- */

#define UNARY(name, row) ONNX_OP(name) { out(0, un(g, SCALAR_##row, in(0))); }
UNARY(Abs, abs)
UNARY(Acos, acos)
UNARY(Acosh, acosh)
UNARY(Asin, asin)
UNARY(Asinh, asinh)
UNARY(Atan, atan)
UNARY(Atanh, atanh)
UNARY(Ceil, ceil)
UNARY(Cos, cos)
UNARY(Cosh, cosh)
UNARY(Erf, erf)
UNARY(Exp, exp)
UNARY(Floor, floor)
UNARY(Log, log)
UNARY(Neg, neg)
UNARY(Not, not)
UNARY(BitwiseNot, not)
UNARY(Relu, relu)
UNARY(Round, rint)
UNARY(Sigmoid, sigmoid)
UNARY(Sign, sign)
UNARY(Sin, sin)
UNARY(Sinh, sinh)
UNARY(Sqrt, sqrt)
UNARY(Tan, tan)
UNARY(Tanh, tanh)

/* Before version 7: b's first dim is aligned with `axis` of a. */
static value old_operand(op_call *c, graph *g, value a, value b)
{
    if (c->version >= 7 || !attr_int("broadcast", 0) || !op_has_attr(c, "axis") || !is_value(a) ||
        !is_value(b))
        return b;
    type ta = type_of(g, a), tb = type_of(g, b);
    int axis = op_axis(c, attr_int("axis", 0), ta.rank), rank = ta.rank - axis;
    if (tb.rank > rank) {
        op_fail(c, "the second operand does not fit at axis %d", axis);
        return NO_VALUE;
    }
    dim d[MAX_RANK];
    for (int i = 0; i < rank; i++) d[i] = i < tb.rank ? tb.dims[i] : dim_const(1);
    return reshape(g, b, rank, d);
}

#define BINARY(name, row) \
    ONNX_OP(name) { value a = in(0); out(0, bin(g, SCALAR_##row, a, old_operand(c, g, a, in(1)))); }
BINARY(Add, add)
BINARY(Sub, sub)
BINARY(Mul, mul)
BINARY(Div, div)
BINARY(And, and)
BINARY(Or, or)
BINARY(Xor, xor)
BINARY(BitwiseAnd, and)
BINARY(BitwiseOr, or)
BINARY(BitwiseXor, xor)
BINARY(Equal, eq)
BINARY(Less, lt)
BINARY(LessOrEqual, le)

ONNX_OP(Greater) { value a = in(0); out(0, greater(g, a, old_operand(c, g, a, in(1)))); }
ONNX_OP(GreaterOrEqual) { out(0, greater_equal(g, in(0), in(1))); }
ONNX_OP(Where) { out(0, select3(g, in(0), in(1), in(2))); }

static void variadic(op_call *c, graph *g, scalar fn)
{
    value y = in(0);
    for (int i = 1; i < c->n_in; i++) y = bin(g, fn, y, in(i));
    out(0, y);
}

ONNX_OP(Sum) { variadic(c, g, SCALAR_add); }
ONNX_OP(Max) { variadic(c, g, SCALAR_max); }
ONNX_OP(Min) { variadic(c, g, SCALAR_min); }

ONNX_OP(Mean)
{
    value y = in(0);
    for (int i = 1; i < c->n_in; i++) y = add(g, y, in(i));
    out(0, K(div, y, c->n_in));
}

/* -- Arithmetic with rules of its own -------------------------------------------------------------------- */

/* Pow (1, 7, 12, 13, 15): the result has the base's type; an integer base with a float exponent goes through
 * f64 */
ONNX_OP(Pow)
{
    value a = in(0), b = old_operand(c, g, a, in(1));
    dtype t = dtype_of(g, a), u = dtype_of(g, b);
    if (t != u) {
        dtype w = is_float(u) && !is_float(t) ? DTYPE_f64 : t;
        a = cast(g, a, w);
        b = cast(g, b, w);
    }
    scalar_value e;
    if (is_value(b) && is_float(dtype_of(g, b)) && rank_of(g, b) == 0 && known_splat(g, b, &e)) {
        double x = sv_to_f64(dtype_of(g, b), e);      /* at most two roundings, where the power has its own */
        value y = x == 1 ? a : x == 2 ? mul(g, a, a) : x == 3 ? mul(g, mul(g, a, a), a)
                : x == -1 ? k_bin(g, SCALAR_div, 1, a) : NO_VALUE;
        if (is_value(y)) {
            out(0, cast(g, y, t));
            return;
        }
    }
    out(0, cast(g, bin(g, SCALAR_pow, a, b), t));
}

ONNX_OP(Mod) { out(0, bin(g, attr_int("fmod", 0) ? SCALAR_fmod : SCALAR_mod, in(0), in(1))); }

ONNX_OP(BitShift)
{
    const char *d = attr_str("direction", "");
    if (strcmp(d, "LEFT") && strcmp(d, "RIGHT")) op_fail(c, "direction LEFT or RIGHT expected");
    out(0, bin(g, strcmp(d, "LEFT") ? SCALAR_shr : SCALAR_shl, in(0), in(1)));
}

ONNX_OP(Reciprocal) { out(0, k_bin(g, SCALAR_div, 1, in(0))); }

static value plain(graph *g, value x)
{
    return is_value(x) && is_storage(dtype_of(g, x)) ? decode_storage(g, x) : x;
}

ONNX_OP(IsNaN) { out(0, is_nan(g, plain(g, in(0)))); }

ONNX_OP(IsInf)
{
    value x = plain(g, in(0));
    value p = K(eq, x, (double)INFINITY), n = K(eq, x, (double)-INFINITY);
    bool pos = attr_int("detect_positive", 1), neg = attr_int("detect_negative", 1);
    out(0, pos && neg ? bin(g, SCALAR_or, p, n) : pos ? p : neg ? n : bin(g, SCALAR_and, p, n));
}

/* Clip (1, 6, 11, 12, 13): bounds are attributes before version 11 */
ONNX_OP(Clip)
{
    value x = in(0), lo = NO_VALUE, hi = NO_VALUE;
    dtype t = dtype_of(g, x);
    if (c->version < 11) {
        if (op_has_attr(c, "min")) lo = scalar_f64(g, t, attr_float("min", 0));
        if (op_has_attr(c, "max")) hi = scalar_f64(g, t, attr_float("max", 0));
    } else {
        if (has_in(1)) lo = reshape(g, in(1), 0, NULL);
        if (has_in(2)) hi = reshape(g, in(2), 0, NULL);
    }
    if (is_value(lo)) x = bin(g, SCALAR_max, x, lo);
    if (is_value(hi)) x = bin(g, SCALAR_min, x, hi);
    out(0, x);
}

/* -- Activations ----------------------------------------------------------------------------------------- */

static value affine(graph *g, value x, double a, double b) { return K(add, K(mul, x, a), b); }
static value clamp(graph *g, value x, double lo, double hi) { return K(max, K(min, x, hi), lo); }
/* x < 0 ? y : x; y is finite also where it is not taken, so that gradients are */
static value below_zero(graph *g, value x, value y) { return select3(g, K(lt, x, 0), y, x); }
static value expm1_below(graph *g, value x, double divide_by)
{
    value z = K(min, x, 0);
    return UN(expm1, divide_by == 1 ? z : K(div, z, divide_by));
}

typedef enum { ACT_none, ACT_LeakyRelu, ACT_Elu, ACT_Celu, ACT_Selu, ACT_HardSigmoid, ACT_ThresholdedRelu,
               ACT_ScaledTanh,
               ACT_Affine, ACT_Softplus, ACT_Softsign, ACT_Relu, ACT_Tanh, ACT_Sigmoid } act_kind;
static const struct { const char *name; act_kind kind; double alpha, beta; } activations[] = {
    { "LeakyRelu", ACT_LeakyRelu, 0.01, 0 },     { "Elu", ACT_Elu, 1, 0 },
    { "Celu", ACT_Celu, 1, 0 }, { "Selu", ACT_Selu, 1.67326319217681884765625, 1.05070102214813232421875 },
    { "HardSigmoid", ACT_HardSigmoid, 0.2, 0.5 }, { "ThresholdedRelu", ACT_ThresholdedRelu, 1, 0 },
    { "ScaledTanh", ACT_ScaledTanh, 1, 1 },      { "Affine", ACT_Affine, 1, 0 },
    { "Softplus", ACT_Softplus, 0, 0 },          { "Softsign", ACT_Softsign, 0, 0 },
    { "Relu", ACT_Relu, 0, 0 },                  { "Tanh", ACT_Tanh, 0, 0 },
    { "Sigmoid", ACT_Sigmoid, 0, 0 },
};

static bool same_word(const char *a, const char *b)           /* the recurrent operators' names ignore case */
{
    for (; *a && *b; a++, b++)
        if ((*a | 32) != (*b | 32)) return false;
    return *a == *b;
}

value op_activation(op_call *c, graph *g, const char *name, value x, double a, double b)
{
    act_kind kind = ACT_none;
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++) {
        if (!same_word(name, activations[i].name)) continue;
        kind = activations[i].kind;
        if (isnan(a)) a = activations[i].alpha;
        if (isnan(b)) b = activations[i].beta;
    }
    switch (kind) {
    case ACT_LeakyRelu: return below_zero(g, x, K(mul, x, a));
    case ACT_Elu: return below_zero(g, x, K(mul, expm1_below(g, x, 1), a));
    case ACT_Celu: return below_zero(g, x, K(mul, expm1_below(g, x, a), a));
    case ACT_Selu: return select3(g, K(le, x, 0), K(mul, expm1_below(g, x, 1), a * b), K(mul, x, b));
    case ACT_HardSigmoid: return clamp(g, affine(g, x, a, b), 0, 1);
    case ACT_ThresholdedRelu:
        return select3(g, k_bin(g, SCALAR_lt, a, x), x, scalar_f64(g, dtype_of(g, x), 0));
    case ACT_ScaledTanh: return K(mul, UN(tanh, K(mul, x, b)), a);
    case ACT_Affine: return affine(g, x, a, b);
    case ACT_Softplus: return softplus(g, x);
    case ACT_Softsign: return divide(g, x, K(add, UN(abs, x), 1));
    case ACT_Relu: return UN(relu, x);
    case ACT_Tanh: return UN(tanh, x);
    case ACT_Sigmoid: return UN(sigmoid, x);
    case ACT_none: break;
    }
    op_fail(c, "no activation named %s", name);
    return NO_VALUE;
}

#define ACTIVATION(name, a, b)                                                                               \
    ONNX_OP(name)                                                                                            \
    { out(0, op_activation(c, g, #name, in(0), attr_float("alpha", (a)), attr_float("beta", (b)))); }
ACTIVATION(LeakyRelu, 0.01, 0)
ACTIVATION(Elu, 1, 0)
ACTIVATION(Celu, 1, 0)
ACTIVATION(ThresholdedRelu, 1, 0)
ACTIVATION(HardSigmoid, 0.2, 0.5)
ACTIVATION(Softplus, 0, 0)
ACTIVATION(Softsign, 0, 0)

ONNX_OP(Selu)
{
    double a = c->version < 6 ? 1.6732 : 1.67326319217681884765625,
           s = c->version < 6 ? 1.0507 : 1.05070102214813232421875;
    out(0, op_activation(c, g, "Selu", in(0), attr_float("alpha", a), attr_float("gamma", s)));
}

ONNX_OP(HardSwish)
{
    value x = in(0);
    out(0, mul(g, x, clamp(g, affine(g, x, 1.0 / 6, 0.5), 0, 1)));
}

ONNX_OP(Mish)
{
    value x = in(0);
    out(0, mul(g, x, UN(tanh, softplus(g, x))));
}

ONNX_OP(Gelu)
{
    value x = in(0), half = K(mul, x, 0.5), t;
    const char *how = attr_str("approximate", "none");
    if (!strcmp(how, "tanh")) {
        value cubic = K(mul, mul(g, mul(g, x, x), x), 0.044715);
        t = UN(tanh, K(mul, add(g, x, cubic), 0.7978845608028654));           /* sqrt(2 / pi) */
    } else {
        if (strcmp(how, "none")) op_fail(c, "approximate none or tanh expected, found %s", how);
        t = UN(erf, K(mul, x, 0.7071067811865476));
    }
    out(0, mul(g, half, K(add, t, 1)));
}

static value silu(graph *g, value x, double alpha)
{
    return mul(g, x, UN(sigmoid, alpha == 1 ? x : K(mul, x, alpha)));
}

ONNX_OP(Swish) { out(0, silu(g, in(0), attr_float("alpha", 1))); }
ONNX_OP(SwiGLU) { out(0, mul(g, silu(g, in(0), attr_float("alpha", 1)), in(1))); }

ONNX_OP(Shrink)
{
    value x = in(0);
    dtype t = dtype_of(g, x);
    double l = attr_float("lambd", 0.5), b = attr_float("bias", 0);
    value y = is_float(t) ? x : cast(g, x, DTYPE_f32);
    value high = select3(g, k_bin(g, SCALAR_lt, l, y), K(sub, y, b), scalar_f64(g, dtype_of(g, y), 0));
    out(0, cast(g, select3(g, K(lt, y, -l), K(add, y, b), high), t));
}

/* PRelu (1, 6, 7, 9, 16): before version 7 a slope of one dim belongs to axis 1 */
ONNX_OP(PRelu)
{
    value x = in(0), s = in(1);
    if (c->version < 7 && rank_of(g, s) == 1 && rank_of(g, x) > 2 &&
        dim_same(dim_of(g, s, 0), dim_of(g, x, 1))) {
        dim d[MAX_RANK];
        for (int i = 0; i < rank_of(g, x) - 1; i++) d[i] = i ? dim_const(1) : dim_of(g, s, 0);
        s = reshape(g, s, rank_of(g, x) - 1, d);
    }
    out(0, below_zero(g, x, mul(g, x, s)));
}

/* -- Casts ----------------------------------------------------------------------------------------------- */

static void cast_to(op_call *c, graph *g, dtype to)
{
    if (to == DTYPE_NONE) {
        op_unsupported(c, "casts to this type (strings and complex numbers)");
        return;
    }
    out(0, build_cast(g, in(0), to, attr_int("saturate", 1) != 0, attr_str("round_mode", "up")));
}

/* Cast (1, 6, 9, 13, 19, 21, 23, 24, 25, 28): before version 6 the type is written as its name */
ONNX_OP(Cast)
{
    static const struct { const char *name; int code; } names[] = {
        { "FLOAT", 1 }, { "UINT8", 2 }, { "INT8", 3 }, { "UINT16", 4 }, { "INT16", 5 }, { "INT32", 6 },
        { "INT64", 7 },
        { "BOOL", 9 }, { "FLOAT16", 10 }, { "DOUBLE", 11 }, { "UINT32", 12 }, { "UINT64", 13 },
    };
    if (c->version >= 6) {
        cast_to(c, g, onnx_dtype((int)attr_int("to", 0)));
        return;
    }
    const char *to = attr_str("to", "");
    int code = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (same_word(to, names[i].name)) code = names[i].code;
    cast_to(c, g, onnx_dtype(code));
}

ONNX_OP(CastLike) { cast_to(c, g, dtype_of(g, in(1))); }

/* BitCast (26): 4- and 2-bit types lie in the low bits of a byte, signed ones sign-extended */
ONNX_OP(BitCast)
{
    value x = in(0);
    dtype from = dtype_of(g, x), to = onnx_dtype((int)attr_int("to", 0));
    if (to == DTYPE_NONE) op_unsupported(c, "bit casts to this type");
    else if (from == to) out(0, x);
    else if (dtype_info[from].bits != dtype_info[to].bits && from != DTYPE_bool && to != DTYPE_bool)
        op_fail(c, "a type of %d bits expected, found %s", dtype_info[from].bits, dtype_info[to].name);
    else if (to == DTYPE_bool) out(0, not_equal(g, x, scalar_f64(g, from, 0)));
    else if (from == DTYPE_bool) out(0, bitcast(g, cast(g, x, DTYPE_u8), to));
    else if (dtype_info[from].bits < 8) {
        value w = bitcast(g, x, carrier_dtype(from));
        w = K(and, bitcast(g, w, DTYPE_u8), (1 << dtype_info[from].bits) - 1);
        bool is_int_format = to == DTYPE_u4 || to == DTYPE_i4 || to == DTYPE_u2 || to == DTYPE_i2;
        out(0, is_int_format ? build_cast(g, w, to, true, "up") : bitcast(g, w, to));
    } else out(0, bitcast(g, x, to));
}
