/* elab_value: compile-time values and tensors, and arithmetic on both
 *
 * Numbers adapt: in arithmetic with a tensor a number takes its element type. Inside index brackets a tensor
 * value is a single element, spread over the index axes it depends on; arithmetic aligns the axes of its
 * operands.
 */
#include "frontend/lang/elab.h"
#include <math.h>
#include <stdlib.h>

val v_tensor(elab *e, value v) { return (val){ .k = V_TENSOR, .g = e->fr->g, .v = v }; }

val v_list(elab *e, int n, const val *items)
{
    return (
        val){ .k = V_LIST, .n = n, .item = n ? arena_copy(e->a, items, sizeof *items * (size_t)n) : NULL };
}

dtype dtype_named(const char *name)
{
    static const char *const all[] = {
        "f16", "bf16", "f32", "f64", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "bool"
    };
    for (int i = 0; i < 13; i++)
        if (strcmp(all[i], name) == 0) return dtype_by_name(name, strlen(name));
    return DTYPE_NONE;
}

bool is_number(const val *v) { return v->k == V_INT || v->k == V_FLOAT || v->k == V_BOOL; }
dtype dtype_v(const val *v)
{
    return v->k == V_TENSOR  ? type_of(v->g, v->v).dtype
           : v->k == V_FLOAT ? DTYPE_f32
           : v->k == V_BOOL  ? DTYPE_bool
                             : DTYPE_i64;
}

int rank_v(elab *e, const val *v)
{
    (void)e;
    return v->k != V_TENSOR || v->is_elem ? 0 : type_of(v->g, v->v).rank;
}

dim dim_v(elab *e, const val *v, int axis) { (void)e; return type_of(v->g, v->v).dims[axis]; }

/* -- Shown in messages ----------------------------------------------------------------------------------- */

const char *show_dims(elab *e, int n, const dim *d)
{
    text t = { .a = e->a };
    text_put(&t, "[");
    for (int i = 0; i < n; i++) {
        if (i) text_put(&t, ", ");
        dim_print(e->dims, d[i], &t);
    }
    text_put(&t, "]");
    return text_str(&t);
}

static const char *show_float(elab *e, double f)
{
    if (isnan(f)) return "nan";
    if (isinf(f)) return f < 0 ? "-inf" : "inf";
    for (int p = 1; p < 18; p++) {
        char *s = arena_printf(e->a, "%.*g", p, f);
        if (strtod(s, NULL) == f) return strpbrk(s, ".en") ? s : arena_printf(e->a, "%s.0", s);
    }
    return arena_printf(e->a, "%.17g", f);
}

static void show_into(elab *e, const val *v, text *t, int depth)
{
    switch (v->k) {
    case V_INT: dim_print(e->dims, v->d, t); return;
    case V_FLOAT: text_put(t, show_float(e, v->f)); return;
    case V_BOOL: text_put(t, v->b ? "true" : "false"); return;
    case V_STRING: text_put(t, v->s); return;
    case V_NONE: text_put(t, "none"); return;
    case V_VOID: text_put(t, "nothing"); return;
    case V_LIST: case V_TUPLE:
        text_put(t, v->k == V_LIST ? "[" : "(");
        for (int i = 0; i < v->n && i < 20 && depth < 4; i++) {
            if (i) text_put(t, ", ");
            if (v->names && v->names[i]) { text_put(t, v->names[i]); text_put(t, ": "); }
            show_into(e, &v->item[i], t, depth + 1);
        }
        if (v->n > 20 || depth >= 4) text_put(t, ", ...");
        text_put(t, v->k == V_LIST ? "]" : ")");
        return;
    case V_FN: text_printf(t, "the function %s", v->s ? v->s : "fn"); return;
    case V_ONNX_OP: text_printf(t, "the operator onnx.%s", v->s); return;
    case V_PRIM: text_printf(t, "the function %s", v->s); return;
    case V_LAYER_DEF: text_printf(t, "the layer definition %s", v->s); return;
    case V_LAYER: text_printf(t, "the layer %s", v->layer->def.s); return;
    case V_MODEL: text_printf(t, "the model %s", v->s); return;
    case V_DTYPE: text_put(t, dtype_info[v->t].name); return;
    case V_SPACE: text_put(t, "a file"); return;
    case V_PATH: text_put(t, v->s); return;
    case V_TENSOR: {
        type ty = type_of(v->g, v->v);
        text_put(t, dtype_info[ty.dtype].name);
        if (!v->is_elem && ty.rank) text_put(t, show_dims(e, ty.rank, ty.dims));
        return;
    }
    }
}

const char *show_value(elab *e, const val *v)
{
    text t = { .a = e->a };
    show_into(e, v, &t, 0);
    return text_str(&t);
}

const char *show_kind(elab *e, const val *v)
{
    const char *s = show_value(e, v);
    return v->k == V_FLOAT || v->k == V_INT ? arena_printf(e->a, "the number %s", s)
           : v->k == V_STRING               ? arena_printf(e->a, "the string \"%s\"", s)
           : v->k == V_LIST                 ? arena_printf(e->a, "the list %s", s)
           : v->k == V_DTYPE                ? arena_printf(e->a, "the type %s", s)
                                            : s;
}

dim need_dim(elab *e, const ast *at, const val *v)
{
    if (v->k != V_INT)
        elab_error(e, at, v->k == V_FLOAT && v->f == floor(v->f) ? "whole numbers divide with `//`" : NULL,
                   dim_not_whole, show_kind(e, v));
    return v->d;
}

int64_t need_int(elab *e, const ast *at, const val *v, const char *what)
{
    int64_t i;
    if (v->k != V_INT || !dim_is_const(v->d, &i))
        elab_error(e, at, NULL, not_known_whole, what, show_kind(e, v));
    return i;
}

/* -- Tensors --------------------------------------------------------------------------------------------- */

/* A value of an outer graph, inside a body: captured by every body between. */
static value captured(elab *e, frame *f, graph *g, value v)
{
    if (f->g == g || !is_value(v)) return v;
    if (!f->outer) return NO_VALUE;
    value o = captured(e, f->outer, g, v);
    if (!is_value(o)) return o;
    for (int64_t i = 0; i < f->outer_of.n; i++)
        if (same_value(f->outer_of.at[i], o)) return f->inner_of.at[i];
    type t = type_of(f->outer->g, o);
    value in = input(f->g, NULL, t.dtype, t.rank, t.dims);
    vec_push(e->a, &f->outer_of, o);
    vec_push(e->a, &f->inner_of, in);
    return in;
}

value here(elab *e, const val *v) { return captured(e, e->fr, v->g, v->v); }

static value scalar_here(elab *e, const val *v, dtype t)
{
    graph *g = e->fr->g;
    int64_t i;
    if (v->k == V_FLOAT) return scalar_f64(g, t, v->f);
    if (v->k == V_BOOL)
        return t == DTYPE_bool ? constant(g, DTYPE_bool, 0, NULL, &(uint8_t){ v->b }, NULL)
                               : scalar_i64(g, t, v->b);
    if (dim_is_const(v->d, &i)) return scalar_i64(g, t, i);
    return cast(g, constant_dim(g, DTYPE_i64, v->d), t);
}

/* The shape and kind of a nested list of numbers. */
static void list_shape(elab *e, const ast *at, const val *v, int depth, int *rank, dim *shape,
                       bool *has_float, bool *has_bool, bool *has_int, const val **tensor_item)
{
    if (v->k == V_TENSOR && v->is_elem) elab_error(e, at, NULL, list_in_index);
    if (v->k == V_TENSOR) { *tensor_item = v; return; }
    if (v->k == V_LIST) {
        if (depth >= MAX_RANK) elab_error(e, at, NULL, list_too_deep, MAX_RANK);
        if (depth == *rank) shape[(*rank)++] = dim_const(v->n);
        else if (!dim_is(shape[depth], v->n))
            elab_error(e, at, NULL, list_ragged, show_value(e, &(val){ .k = V_INT, .d = shape[depth] }),
                       v->n);
        for (int i = 0; i < v->n; i++)
            list_shape(e, at, &v->item[i], depth + 1, rank, shape, has_float, has_bool, has_int, tensor_item);
        return;
    }
    if (!is_number(v)) elab_error(e, at, NULL, list_not_numbers, show_kind(e, v));
    *has_float |= v->k == V_FLOAT;
    *has_bool |= v->k == V_BOOL;
    *has_int |= v->k == V_INT;
}

static void list_fill(elab *e, const ast *at, const val *v, dtype t, int left, char **to, dim **open)
{
    if (v->k == V_LIST && left > 0) {
        for (int i = 0; i < v->n; i++) list_fill(e, at, &v->item[i], t, left - 1, to, open);
        return;
    }
    if (v->k == V_LIST || left) elab_error(e, at, NULL, list_mixed);
    int64_t i = 0;
    if (v->k == V_INT && !dim_is_const(v->d, &i)) {
        if (!*open) elab_error(e, at, NULL, size_at_run_time, show_value(e, v));
    }
    if (*open) { *(*open)++ = v->k == V_INT ? v->d : dim_const(v->b); return; }
    sv_store(t, *to, v->k == V_FLOAT ? sv_from_f64(t, v->f) : sv_from_i64(t, v->k == V_BOOL ? v->b : i));
    *to += dtype_bytes(t);
}

static bool has_open(const val *v)
{
    if (v->k == V_INT) return !dim_is_const(v->d, NULL);
    for (int i = 0; v->k == V_LIST && i < v->n; i++)
        if (has_open(&v->item[i])) return true;
    return false;
}

static val list_tensor(elab *e, const ast *at, val v, dtype hint)
{
    graph *g = e->fr->g;
    int rank = 0;
    dim shape[MAX_RANK];
    bool f = false, b = false, i = false;
    const val *item = NULL;
    list_shape(e, at, &v, 0, &rank, shape, &f, &b, &i, &item);
    if (item) {
        value parts[256];
        if (v.n > 256) elab_error(e, at, NULL, list_too_many_tensors);
        for (int k = 0; k < v.n; k++) {
            val t = to_tensor(e, at, v.item[k], dtype_v(item));
            value x = here(e, &t);
            parts[k] = unsqueeze(g, x, 1);
        }
        told before = told_so_far(e);
        value c = concat(g, v.n, parts, 0);
        if (g->failed) forget_since(e, before);
        if (g->failed) elab_error(e, at, NULL, list_shapes_differ);
        return v_tensor(e, c);
    }
    dtype t = hint != DTYPE_NONE ? hint : f ? DTYPE_f32 : b && !i ? DTYPE_bool : DTYPE_i64;
    int64_t n = 1, m;
    for (int k = 0; k < rank; k++) if (dim_is_const(shape[k], &m)) n *= m;
    if (has_open(&v) && rank == 1) {
        dim *d = NEW_ARRAY(e->a, dim, n + 1), *p = d;
        char *none = NULL;
        list_fill(e, at, &v, DTYPE_i64, rank, &none, &p);
        return v_tensor(e, cast(g, constant_dims(g, DTYPE_i64, d, (int)n), t));
    }
    char *data = NEW_ARRAY(e->a, char, n * 8 + 8), *p = data;
    dim *nodims = NULL;
    list_fill(e, at, &v, t, rank, &p, &nodims);
    return v_tensor(e, constant(g, t, rank, shape, data, NULL));
}

val to_tensor(elab *e, const ast *at, val v, dtype hint)
{
    if (v.k == V_TENSOR) { v.v = here(e, &v); v.g = e->fr->g; return v; }
    if (is_number(&v)) return v_tensor(e, scalar_here(e, &v, hint != DTYPE_NONE ? hint : dtype_v(&v)));
    if (v.k == V_LIST) return list_tensor(e, at, v, hint);
    elab_error(e, at, v.k == V_LAYER ? "apply it: `layer(x)`" : NULL, expected_tensor, show_kind(e, &v));
}

/* A constant that a gradient may be taken by must not be folded away: an input until the end
 * (lang_compile.c). */
val kept_apart(elab *e, val c)
{
    if (!e->has_grad || e->in_operator || e->fr != e->top || !is_float(dtype_v(&c))) return c;
    type t = type_of(c.g, c.v);
    const char *name = arena_printf(e->a, "constant:%d", (int)e->kept.n);
    vec_push(e->a, &e->kept, c.v);
    value in = input(e->fr->g, name, t.dtype, t.rank, t.dims);
    vec_push(e->a, &e->kept_input, in);
    return v_tensor(e, in);
}

val convert(elab *e, const ast *at, val v, dtype t)
{
    if ((v.k == V_LIST || is_number(&v)) && e->has_grad && !at->src->is_std) {
        bool old = e->has_grad;
        e->has_grad = false;
        val c = convert(e, at, v, t);
        e->has_grad = old;
        return kept_apart(e, c);
    }
    if (v.k == V_LIST) return list_tensor(e, at, v, t);
    if (is_number(&v))
        return v_tensor(e, v.k == V_FLOAT && !is_float(t) ? cast(e->fr->g, scalar_here(e, &v, DTYPE_f64), t)
                                                          : scalar_here(e, &v, t));
    val x = to_tensor(e, at, v, t);
    x.v = cast(e->fr->g, x.v, t);
    x.is_weak = false;
    return x;
}

/* -- Elementwise ----------------------------------------------------------------------------------------- */

/* Operands of one rank: elements of index brackets get the axes they lack. */
static void align(elab *e, const ast *at, const char *what, int n, val *x, int *axes)
{
    bool elem = false;
    *axes = 0;
    for (int i = 0; i < n; i++)
        if (x[i].is_elem) { elem = true; if (x[i].axes > *axes) *axes = x[i].axes; }
    if (!elem) { *axes = -1; return; }
    graph *g = e->fr->g;
    for (int i = 0; i < n; i++) {
        if (!x[i].is_elem && rank_v(e, &x[i]) > 0)
            elab_error(e, at, NULL, tensor_in_index, show_value(e, &x[i]), what);
        int have = x[i].is_elem ? x[i].axes : 0;
        type t = type_of(g, x[i].v);
        dim d[MAX_RANK];
        if (*axes > MAX_RANK) elab_error(e, at, NULL, too_many_indices, MAX_RANK);
        for (int k = 0; k < *axes; k++) d[k] = k < have ? t.dims[k] : dim_const(1);
        if (have < *axes) x[i].v = reshape(g, x[i].v, *axes, d);
    }
}

/* Do the shapes broadcast? An error at the operator if not. */
static void check_broadcast(elab *e, const ast *at, const char *what, const val *a, const val *b)
{
    type s = type_of(a->g, a->v), t = type_of(b->g, b->v);
    for (int i = 1; i <= s.rank && i <= t.rank; i++) {
        dim p = s.dims[s.rank - i], q = t.dims[t.rank - i];
        if (dim_same(p, q) || dim_is(p, 1) || dim_is(q, 1)) continue;
        elab_error_op(e, at, NULL, operand_shapes, what, show_value(e, a), show_value(e, b));
    }
}

val elementwise(elab *e, const ast *at, const char *what, scalar fn, int n, val *x)
{
    graph *g = e->fr->g;
    int axes;
    for (int i = 0; i < n; i++) { x[i].v = here(e, &x[i]); x[i].g = g; }
    align(e, at, what, n, x, &axes);
    if (axes < 0)
        for (int i = 0; i < n; i++)
            for (int j = i + 1; j < n; j++) check_broadcast(e, at, what, &x[i], &x[j]);
    value v;
    if (n == 1) v = un(g, fn, x[0].v);
    else if (n == 2) v = bin(g, fn, x[0].v, x[1].v);
    else v = select3(g, x[0].v, x[1].v, x[2].v);
    val r = v_tensor(e, v);
    if (axes >= 0) { r.is_elem = true; r.axes = axes; }
    return r;
}

/* Two operands of one element type. */
static void same_type(elab *e, const ast *at, const char *op, val *a, val *b)
{
    if (a->k != V_TENSOR && b->k == V_TENSOR) {
        val t = *a;
        *a = *b;
        *b = t;
        same_type(e, at, op, a, b);
        t = *a;
        *a = *b;
        *b = t;
        return;
    }
    if (b->k != V_TENSOR) {
        dtype t = dtype_v(a);
        if (a->is_weak && b->k == V_FLOAT) { *a = convert(e, at, *a, DTYPE_f32); t = DTYPE_f32; }
        if (b->k == V_FLOAT && !is_float(t))
            elab_error_op(e, at, "convert the tensor: f32(...)", operand_number_dtype, op, show_value(e, a),
                          show_value(e, b));
        if (b->k == V_BOOL && t != DTYPE_bool)
            elab_error_op(e, at, NULL, operand_dtypes, op, show_value(e, a), show_value(e, b));
        if (b->k == V_INT && t == DTYPE_bool)
            elab_error_op(e, at, "convert the tensor: i64(...)", operand_number_dtype, op, show_value(e, a),
                          show_value(e, b));
        *b = to_tensor(e, at, *b, t);
    }
    *a = to_tensor(e, at, *a, DTYPE_NONE);
    *b = to_tensor(e, at, *b, DTYPE_NONE);
    dtype s = dtype_v(a), t = dtype_v(b);
    if (s == t) return;
    if (a->is_weak && t != DTYPE_bool) { *a = convert(e, at, *a, t); return; }
    if (b->is_weak && s != DTYPE_bool) { *b = convert(e, at, *b, s); return; }
    elab_error_op(e, at,
                  s == DTYPE_bool || t == DTYPE_bool ? "select with where(mask, a, b), or convert: f32(mask)"
                                                     : "convert one of them: f32(n) * x",
                  operand_dtypes, op, show_value(e, a), show_value(e, b));
}

val where_v(elab *e, const ast *at, val c, val a, val b)
{
    if (c.k == V_BOOL) return c.b ? a : b;
    c = to_tensor(e, at, c, DTYPE_bool);
    if (dtype_v(&c) != DTYPE_bool) elab_error(e, at, NULL, where_condition, show_value(e, &c));
    if (a.k != V_TENSOR && b.k != V_TENSOR) {
        dtype t = a.k == V_FLOAT || b.k == V_FLOAT ? DTYPE_f32 : DTYPE_NONE;
        a = to_tensor(e, at, a, t);
        b = to_tensor(e, at, b, t);
        a.is_weak = b.is_weak = t == DTYPE_NONE;
    }
    bool weak = a.is_weak && b.is_weak;
    same_type(e, at, "where", &a, &b);
    val x[3] = { c, a, b };
    val r = elementwise(e, at, "where", SCALAR_select, 3, x);
    r.is_weak = weak && r.is_elem;
    return r;
}

/* -- Numbers --------------------------------------------------------------------------------------------- */

static double number(elab *e, const ast *at, const val *v)
{
    int64_t i;
    if (v->k == V_FLOAT) return v->f;
    if (v->k == V_BOOL) return v->b;
    if (dim_is_const(v->d, &i)) return (double)i;
    elab_error(e, at, NULL, size_at_run_time, show_value(e, v));
}

static int64_t power(int64_t a, int64_t n, bool *ok)
{
    int64_t r = 1;
    *ok = true;
    for (; n > 0 && *ok; n--) {
        *ok = mul_ok(r, a, &r);
        if (r == 0 || (r == 1 && a == 1)) break;
    }
    return r;
}

static val dim_arith(elab *e, const ast *at, const char *op, dim a, dim b)
{
    dims *t = e->dims;
    int64_t i, j;
    bool known = dim_is_const(a, &i) && dim_is_const(b, &j);
    dim r;
    switch (op[0]) {
    case '+': r = dim_add(t, a, b); break;
    case '-': r = dim_sub(t, a, b); break;
    case '*':
        if (!op[1]) { r = dim_mul(t, a, b); break; }
        if (!known) elab_error_op(e, at, NULL, power_of_open_size);
        if (j < 0) return v_float(pow((double)i, (double)j));
        bool ok;
        i = power(i, j, &ok);
        r = ok ? dim_const(i) : DIM_BAD;
        break;
    case '/':
        if (!op[1]) {
            if (!known) elab_error_op(e, at, NULL, quotient_of_open_size);
            return v_float((double)i / (double)j);
        }
        r = dim_is(b, 0) ? DIM_BAD : dim_div(t, a, b);
        break;
    default: r = dim_is(b, 0) ? DIM_BAD : dim_mod(t, a, b); break;
    }
    if (dim_is_bad(r) && dim_is(b, 0)) elab_error_op(e, at, NULL, divided_by_zero, op);
    if (dim_is_bad(r))
        elab_error_op(e, at, NULL, whole_overflow, op, show_value(e, &(val){ .k = V_INT, .d = a }),
                      show_value(e, &(val){ .k = V_INT, .d = b }));
    return v_dim(r);
}

static bool compare_f(const char *op, double a, double b)
{
    switch (op[0]) {
    case '=': return a == b;
    case '!': return a != b;
    case '<': return op[1] ? a <= b : a < b;
    default: return op[1] ? a >= b : a > b;
    }
}

static bool is_compare(const char *op) { return strchr("=!<>", op[0]) != NULL; }

static val number_arith(elab *e, const ast *at, const char *op, val a, val b)
{
    bool ints = a.k == V_INT && b.k == V_INT;
    int64_t i, j;
    if (is_compare(op)) {
        if (ints && !(dim_is_const(a.d, &i) && dim_is_const(b.d, &j))) {
            if (op[0] == '=' || op[0] == '!') return v_bool(dim_same(a.d, b.d) == (op[0] == '='));
            dim lo = op[0] == '<' ? a.d : b.d, hi = op[0] == '<' ? b.d : a.d;
            if (op[1] ? dim_known_le(e->dims, lo, hi) : dim_known_lt(e->dims, lo, hi)) return v_bool(true);
            if (op[1] ? dim_known_lt(e->dims, hi, lo) : dim_known_le(e->dims, hi, lo)) return v_bool(false);
            val x = to_tensor(e, at, a, DTYPE_i64), y = to_tensor(e, at, b, DTYPE_i64);
            return arith(e, at, op, x, y);
        }
        if (ints) {
            dim_is_const(a.d, &i);
            dim_is_const(b.d, &j);
            return v_bool(compare_f(op, (double)(i > j) - (double)(i < j), 0));
        }
        return v_bool(compare_f(op, number(e, at, &a), number(e, at, &b)));
    }
    if (ints) return dim_arith(e, at, op, a.d, b.d);
    if ((a.k == V_INT && !dim_is_const(a.d, NULL)) || (b.k == V_INT && !dim_is_const(b.d, NULL)))
        return arith(e, at, op, to_tensor(e, at, a, DTYPE_f32), to_tensor(e, at, b, DTYPE_f32));
    double x = number(e, at, &a), y = number(e, at, &b);
    switch (op[0]) {
    case '+': return v_float(x + y);
    case '-': return v_float(x - y);
    case '*': return v_float(op[1] ? pow(x, y) : x * y);
    case '/': if (!op[1]) return v_float(x / y); break;
    default: break;
    }
    elab_error_op(e, at, NULL, only_whole, op);
}

/* -- Operators ------------------------------------------------------------------------------------------- */

static val matrix_product(elab *e, const ast *at, val a, val b)
{
    same_type(e, at, "@", &a, &b);
    int ra = rank_v(e, &a), rb = rank_v(e, &b);
    bool ok = ra > 0 && rb > 0 && dtype_v(&a) != DTYPE_bool;
    if (ok) ok = dim_same(dim_v(e, &a, ra - 1), dim_v(e, &b, rb > 1 ? rb - 2 : 0));
    for (int i = 3; ok && i <= ra && i <= rb; i++) {
        dim p = dim_v(e, &a, ra - i), q = dim_v(e, &b, rb - i);
        ok = dim_same(p, q) || dim_is(p, 1) || dim_is(q, 1);
    }
    if (!ok) elab_error_op(e, at, NULL, matmul_shapes, show_value(e, &a), show_value(e, &b));
    return v_tensor(e, matmul(e->fr->g, a.v, b.v, DTYPE_NONE, DTYPE_NONE));
}

static val tensor_power(elab *e, const ast *at, val a, val b)
{
    int64_t n;
    if (b.k == V_INT && dim_is_const(b.d, &n) && n >= 1 && n <= 4) {
        val two[2] = { a, a };
        val r = a, sq = n > 1 ? elementwise(e, at, "**", SCALAR_mul, 2, two) : a;
        if (n == 2) return sq;
        if (n == 3) { val x[2] = { sq, a }; return elementwise(e, at, "**", SCALAR_mul, 2, x); }
        if (n == 4) { val x[2] = { sq, sq }; return elementwise(e, at, "**", SCALAR_mul, 2, x); }
        return r;
    }
    same_type(e, at, "**", &a, &b);
    val x[2] = { a, b };
    return elementwise(e, at, "**", SCALAR_pow, 2, x);
}

static val not_v(elab *e, const ast *at, val x) { return elementwise(e, at, "not", SCALAR_not, 1, &x); }

val arith(elab *e, const ast *at, const char *op, val a, val b)
{
    if ((op[0] == '=' || op[0] == '!') && (a.k == V_NONE || b.k == V_NONE))
        return v_bool((a.k == b.k) == (op[0] == '='));
    if ((op[0] == '=' || op[0] == '!') && a.k == V_STRING && b.k == V_STRING)
        return v_bool((strcmp(a.s, b.s) == 0) == (op[0] == '='));
    if ((op[0] == '=' || op[0] == '!') && a.k == V_DTYPE && b.k == V_DTYPE)
        return v_bool((a.t == b.t) == (op[0] == '='));
    if (op[0] == '+' && a.k == V_STRING && b.k == V_STRING)
        return (val){ .k = V_STRING, .s = arena_printf(e->a, "%s%s", a.s, b.s) };
    if (op[0] == '+' && a.k == V_LIST && b.k == V_LIST) {
        val r = { .k = V_LIST, .n = a.n + b.n, .item = NEW_ARRAY(e->a, val, a.n + b.n + 1) };
        if (a.n) memcpy(r.item, a.item, sizeof(val) * (size_t)a.n);
        if (b.n) memcpy(r.item + a.n, b.item, sizeof(val) * (size_t)b.n);
        return r;
    }
    if (op[0] == '*' && !op[1] && a.k == V_LIST && b.k == V_INT) {
        int64_t n = need_int(e, at, &b, "how often a list is repeated");
        if (n < 0 || n > 1 << 20 || n * a.n > 1 << 20) elab_error_op(e, at, NULL, list_too_long);
        val r = { .k = V_LIST, .n = (int)n * a.n, .item = NEW_ARRAY(e->a, val, n * a.n + 1) };
        for (int i = 0; i < r.n; i++) r.item[i] = a.item[i % a.n];
        return r;
    }
    if (is_number(&a) && is_number(&b) && op[0] != '@') {
        if ((a.k == V_BOOL || b.k == V_BOOL) && !(is_compare(op) && a.k == b.k))
            elab_error_op(e, at, NULL, of_bools, op);
        return number_arith(e, at, op, a, b);
    }
    for (int i = 0; i < 2; i++) {
        const val *v = i ? &b : &a;
        if (v->k != V_TENSOR && v->k != V_LIST && !is_number(v))
            elab_error_op(e, at,
                          v->k == V_LAYER || v->k == V_LAYER_DEF ? "a layer is applied first: Dense(10)(x)"
                                                                 : NULL,
                          fn_of, op, show_kind(e, v));
    }
    if (op[0] == '@') return matrix_product(e, at, a, b);
    if (op[0] == '*' && op[1]) {
        if (a.k == V_TENSOR && b.k == V_INT) return tensor_power(e, at, a, b);
        if (a.k == V_INT && b.k == V_TENSOR && is_float(dtype_v(&b))) a = v_float(number(e, at, &a));
        same_type(e, at, op, &a, &b);
        val x[2] = { a, b };
        return elementwise(e, at, op, SCALAR_pow, 2, x);
    }
    bool weak = (a.k != V_TENSOR || a.is_weak) && (b.k != V_TENSOR || b.is_weak);
    if (op[0] == '/' && !op[1] && weak && (a.is_weak || b.is_weak)) a = convert(e, at, a, DTYPE_f32);
    same_type(e, at, op, &a, &b);
    dtype t = dtype_v(&a);
    val x[2] = { a, b }, y[2] = { b, a }, r;
    if (is_compare(op)) {
        if (t == DTYPE_bool && op[0] != '=' && op[0] != '!') elab_error_op(e, at, NULL, of_bool_tensors, op);
        switch (op[0]) {
        case '=': return elementwise(e, at, op, SCALAR_eq, 2, x);
        case '!': return not_v(e, at, elementwise(e, at, op, SCALAR_eq, 2, x));
        case '<': return elementwise(e, at, op, op[1] ? SCALAR_le : SCALAR_lt, 2, x);
        default: return elementwise(e, at, op, op[1] ? SCALAR_le : SCALAR_lt, 2, y);
        }
    }
    if (t == DTYPE_bool) elab_error_op(e, at, NULL, no_bool_arithmetic, op);
    switch (op[0]) {
    case '+': r = elementwise(e, at, op, SCALAR_add, 2, x); break;
    case '-': r = elementwise(e, at, op, SCALAR_sub, 2, x); break;
    case '*': r = elementwise(e, at, op, SCALAR_mul, 2, x); break;
    case '/':
        if (!op[1]) {
            if (!is_float(t)) elab_error_op(e, at, NULL, division_needs_float);
            r = elementwise(e, at, op, SCALAR_div, 2, x);
            break;
        }
        if (is_float(t)) elab_error_op(e, at, NULL, floor_division_needs_whole);
        r = elementwise(e, at, op, SCALAR_mod, 2, x);
        { val z[2] = { a, r }; r = elementwise(e, at, op, SCALAR_sub, 2, z); }
        { val z[2] = { r, b }; r = elementwise(e, at, op, SCALAR_div, 2, z); }
        break;
    default:
        if (is_float(t)) elab_error_op(e, at, NULL, remainder_needs_whole);
        r = elementwise(e, at, op, SCALAR_mod, 2, x);
    }
    r.is_weak = weak && r.is_elem;
    return r;
}
