/* ir/kernel_key.c: a kernel as bytes without names, so that equal kernels are compiled once.
 *
 * What   ResNet-50 calls some 50 kernels of which 27 differ. Two kernels are equal if one becomes the other
 *        by renaming its buffers, variables, temps and open dims; open dims are passed to the code by value,
 *        in the order of this key.
 * Shapes For passes/share.c, kernels that differ in the numbers they compute with have one shape: float
 *        literals that are operands of basic rows are listed apart from the key. Here dims must be the same
 *        ones, and what schedules go by, names and roles of buffers and loops, is part of the key.
 * How    One walk writes kinds and numbers; ids are renumbered as they appear, open dims likewise.
 * Cost   linear in the kernel's text; hashed, so all kernels of a program take one walk.
 */
#include "ir/kernel_key.h"

typedef struct {
    arena *a;
    const kernel_code *k;
    text out;
    int *var, *temp, *buf;            /* id -> number + 1 */
    int n_vars, n_temps, n_bufs;
    vec(dim) dims;
    literal_list *literals;           /* where literals are listed; NULL: they are part of the key */
} key;

static void put(key *w, int64_t v)
{
    unsigned char b[10];
    uint64_t u = (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
    size_t n = 0;
    do { b[n] = (unsigned char)((u & 127) | (u > 127 ? 128 : 0)); u >>= 7; n++; } while (u);
    text_putn(&w->out, (const char *)b, n);
}

static void put_dim(key *w, dim d)
{
    int64_t v;
    if (dim_is_const(d, &v)) { put(w, 0); put(w, v); return; }
    if (w->literals) { put(w, d.code); return; }
    for (int64_t i = 0; i < w->dims.n; i++)
        if (dim_same(w->dims.at[i], d)) { put(w, i + 1); return; }
    vec_push(w->a, &w->dims, d);
    put(w, w->dims.n);
}

static void put_id(key *w, int *number, int *n, int id)
{
    if (!number[id]) number[id] = ++*n;
    put(w, number[id]);
}

static void put_buf(key *w, int id)
{
    bool is_new = !w->buf[id];
    put_id(w, w->buf, &w->n_bufs, id);
    if (!is_new) return;
    const buffer *b = &w->k->bufs.at[id];
    put(w, b->dtype);
    put(w, b->space);
    put(w, b->role);
    put(w, b->rank);
    for (int i = 0; i < b->rank; i++) put_dim(w, b->dims[i]);
}

bool is_literal_operand(const expr *x, int i)
{
    const expr *v = x->args[i];
    return x->kind == EXPR_op && scalar_info[x->fn].is_basic && v->kind == EXPR_const &&
           (v->type == DTYPE_f32 || v->type == DTYPE_f64);
}

static void put_name(key *w, const char *s)
{
    text_putn(&w->out, s, strlen(s) + 1);
}

static void put_expr(key *w, const expr *x)
{
    put(w, x->kind);
    put(w, x->type);
    switch (x->kind) {
    case EXPR_const: put(w, (int64_t)x->value.bits); break;
    case EXPR_dim: put_dim(w, x->dim); break;
    case EXPR_var: put_id(w, w->var, &w->n_vars, x->id); break;
    case EXPR_temp: put_id(w, w->temp, &w->n_temps, x->id); break;
    case EXPR_tree: put(w, x->fn); put_buf(w, x->id); break;
    case EXPR_load: put_buf(w, x->id); break;
    case EXPR_op: put(w, x->fn); break;
    case EXPR_floordiv: case EXPR_mod: case EXPR_bitcast: break;
    }
    put(w, x->n_args);
    for (int i = 0; i < x->n_args; i++) {
        if (w->literals && is_literal_operand(x, i)) {
            put(w, -1);
            put(w, x->args[i]->type);
            vec_push(w->a, w->literals, x->args[i]);
        } else {
            put_expr(w, x->args[i]);
        }
    }
}

static void put_block(key *w, const block *b)
{
    put(w, b->n);
    for (int i = 0; i < b->n; i++) {
        const stmt *s = b->at[i];
        put(w, s->kind);
        switch (s->kind) {
        case STMT_for:
            put_id(w, w->var, &w->n_vars, s->var);
            put(w, s->mark);
            put_expr(w, s->lo);
            put_expr(w, s->hi);
            break;
        case STMT_if: put_expr(w, s->cond); break;
        case STMT_let: put_id(w, w->temp, &w->n_temps, s->id); break;
        case STMT_alloc: put_buf(w, s->id); break;
        case STMT_store: case STMT_prefetch:
            put_buf(w, s->id);
            put(w, s->for_write);
            for (int j = 0; j < w->k->bufs.at[s->id].rank; j++) put_expr(w, s->index[j]);
            break;
        }
        put(w, s->value != NULL);
        if (s->value) put_expr(w, s->value);
        put_block(w, &s->body);
        put_block(w, &s->other);
    }
}

static bytes write_key(arena *a, const kernel_code *k, literal_list *literals)
{
    key w = { .a = a, .k = k, .out = { .a = a }, .literals = literals };
    w.var = NEW_ARRAY(a, int, k->vars.n);
    w.temp = NEW_ARRAY(a, int, k->temps.n);
    w.buf = NEW_ARRAY(a, int, k->bufs.n);
    put(&w, k->n_params);
    put(&w, k->writes_early);
    /* all, in order: so open dims are numbered as they are passed */
    for (int64_t i = 0; i < k->bufs.n; i++) put_buf(&w, (int)i);
    if (literals) {
        put(&w, k->anchor);
        put_name(&w, k->schedule);
        for (int64_t i = 0; i < k->bufs.n; i++) put_name(&w, k->bufs.at[i].name);
        for (int64_t i = 0; i < k->vars.n; i++) {
            put_name(&w, k->vars.at[i].name);
            put(&w, k->vars.at[i].role);
        }
    }
    put_block(&w, &k->body);
    return (bytes){ (const uint8_t *)w.out.at, (size_t)w.out.n };
}

bytes kernel_key(arena *a, const kernel_code *k) { return write_key(a, k, NULL); }

bytes kernel_shape_key(arena *a, const kernel_code *k, literal_list *literals)
{
    return write_key(a, k, literals);
}

int equal_kernels(arena *a, const program *p, int *by_kernel)
{
    map_str seen;
    map_init(&seen, a);
    int n = 0;
    for (int64_t i = 0; i < p->kernels.n; i++) {
        bytes b = kernel_key(a, p->kernels.at[i]);
        bool fresh;
        by_kernel[i] = (int)*map_put(&seen, (const char *)b.at, b.n, (uint64_t)i, &fresh);
        n += fresh;
    }
    return n;
}
