/* backend/eval/eval_graph.c: runs a graph node by node, bodies included: the oracle.
 *
 * Values are dense buffers with a count of holders, given back to a pool after their last use; views of the
 * same elements (reshape, bitcast, a step of a scan's xs) share the buffer. A graph's plan (uses of each
 * value) is made once and kept for the run, so that a body pays for it once and not in each turn. Nodes that
 * no result needs are not computed. Bodies run by recursion of run_graph, at most MAX_DEPTH deep.
 */
#include "backend/eval/eval_inside.h"
#include <assert.h>
#include <stdio.h>

enum { MAX_DEPTH = 256 };

struct buffer { int holders; int cls; buffer *next; char pad[64 - 2 * sizeof(int) - sizeof(void *)]; };
static_assert(sizeof(buffer) == 64, "data behind the head stays aligned");

typedef struct { tensor t; buffer *b; } ref;              /* b NULL: memory that outlives the run */
typedef struct { uint32_t *uses; ref *slot; uint32_t *left; } plan;

/* -- Memory ---------------------------------------------------------------------------------------------- */

/* Four classes to an octave, so at most a quarter is wasted. */
static int class_of(size_t n, size_t *size)
{
    size_t s = 64;
    int c = 0;
    while (s < n) {
        for (size_t k = 1; k <= 4; k++, c++)
            if (s + s / 4 * k >= n) { *size = s + s / 4 * k; return c; }
        s *= 2;
    }
    *size = s;
    return c;
}

static buffer *buffer_take(run *r, size_t n)
{
    size_t size;
    if (n > SIZE_MAX / 4) mem_fail(arena_mem(r->arena));
    int c = class_of(n ? n : 1, &size);
    buffer *b = r->free[c];
    if (b) {
        r->free[c] = b->next;
    } else {
        char *raw = arena_alloc(r->arena, size + sizeof(buffer) + 64);
        b = (buffer *)(raw + (64 - (uintptr_t)raw % 64) % 64);
        b->cls = c;
    }
    b->holders = 1;
    return b;
}

static void *data_of(buffer *b) { return b + 1; }
static void hold(buffer *b) { if (b) b->holders++; }

static void release(run *r, buffer *b)
{
    if (!b || --b->holders) return;
    b->next = r->free[b->cls];
    r->free[b->cls] = b;
}

void *scratch_take(run *r, int64_t n, size_t size)
{
    size_t total;
    if (n < 0 || !size_mul_ok((size_t)n, size, &total)) mem_fail(arena_mem(r->arena));
    return data_of(buffer_take(r, total));
}

void scratch_give(run *r, void *p)
{
    if (p) release(r, (buffer *)p - 1);
}

/* -- Sizes ----------------------------------------------------------------------------------------------- */

static place place_of(const node *n) { return n && n->at ? *n->at : (place){ 0 }; }

bool job_fail(const job *j, const char *fmt, ...)
{
    char s[500];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(s, sizeof s, fmt, ap);
    va_end(ap);
    diag_eval_shape(j->r->ctx, place_of(j->n), prim_info[j->n->prim].name, s);
    return false;
}

bool job_dim(const job *j, dim d, int64_t *v)
{
    if (dim_is_const(d, v) || dim_eval(j->r->dims, d, j->r->symbols, v)) return true;
    return job_fail(j, "a size does not fit 64 bits");
}

static bool tensor_of_type(const job *j, type t, tensor *out)
{
    *out = (tensor){ .dtype = t.dtype, .rank = t.rank };
    for (int i = 0; i < t.rank; i++) {
        if (!job_dim(j, t.dims[i], &out->dims[i])) return false;
        if (out->dims[i] < 0)
            return job_fail(j, "axis %d of the result would have size %lld", i, (long long)out->dims[i]);
    }
    int64_t n, size;
    if (!tensor_count(out, &n) || !mul_ok(n, dtype_bytes(t.dtype), &size))
        return job_fail(j, "the result has more elements than memory can hold");
    return true;
}

/* -- Plans ----------------------------------------------------------------------------------------------- */

static plan *plan_of(run *r, const graph *g)
{
    bool fresh;
    uint64_t *known = map_put(&r->plans, (const char *)&g, sizeof g, 0, &fresh);
    if (!fresh) return (plan *)(uintptr_t)*known;
    plan *p = NEW(r->arena, plan);
    *known = (uint64_t)(uintptr_t)p;
    int64_t n = g->owner.n;
    p->uses = NEW_ARRAY(r->arena, uint32_t, n);
    p->left = NEW_ARRAY(r->arena, uint32_t, n);
    p->slot = NEW_ARRAY(r->arena, ref, n);
    for (int64_t i = 0; i < g->results.n; i++) p->uses[g->results.at[i].id]++;
    for (int64_t i = n_nodes(g) - 1; i >= 1; i--) {
        const node *nd = &g->nodes.at[i];
        bool used = false;
        for (int k = 0; k < nd->n_out; k++) used |= p->uses[nd->first + (uint32_t)k] > 0;
        for (int k = 0; used && k < nd->n_in; k++) p->uses[nd->in[k].id]++;
    }
    return p;
}

/* -- Nodes ----------------------------------------------------------------------------------------------- */

static bool run_graph(run *r, const graph *g, const ref *in, ref *out, int depth);

static ref view(ref x, tensor t)
{
    hold(x.b);
    t.bytes = x.t.bytes;
    return (ref){ t, x.b };
}

static bool run_const(job *j, ref *out)
{
    const const_attr *c = j->n->konst;
    tensor t = j->out[0];
    size_t width = (size_t)dtype_bytes(t.dtype);
    if (c->n != tensor_n(&t)) return job_fail(j, "the constant has %lld elements", (long long)c->n);
    if (c->bytes && (uintptr_t)c->bytes % width == 0) {
        t.bytes = (void *)(uintptr_t)c->bytes;
        out[0] = (ref){ t, NULL };
        return true;
    }
    out[0] = (ref){ t, buffer_take(j->r, (size_t)c->n * width) };
    char *p = out[0].t.bytes = data_of(out[0].b);
    if (c->bytes) {
        memcpy(p, c->bytes, (size_t)c->n * width);
        return true;
    }
    for (int64_t i = 0; i < c->n; i++) {
        int64_t v;
        if (!job_dim(j, c->dims[i], &v)) return false;
        sv_store(t.dtype, p + (size_t)i * width, sv_from_i64(t.dtype, v));
    }
    return true;
}

static bool run_reshape(job *j, const ref *in, ref *out)
{
    if (tensor_n(&in[0].t) != tensor_n(&j->out[0]))
        return job_fail(j, "%lld elements into a shape of %lld", (long long)tensor_n(&in[0].t),
                        (long long)tensor_n(&j->out[0]));
    out[0] = view(in[0], j->out[0]);
    return true;
}

static bool run_bodies(run *r, const graph *g, const ref *in, ref *out, int depth, const node *n)
{
    if (depth < MAX_DEPTH) return run_graph(r, g, in, out, depth + 1);
    diag_eval_depth(r->ctx, place_of(n), MAX_DEPTH);
    return false;
}

static bool run_scan(job *j, const ref *in, ref *out, int depth)
{
    const scan_attr *s = j->n->scan;
    int n_in = j->n->n_in, n_ys = j->n->n_out - s->n_carry;
    int64_t n;
    if (!job_dim(j, s->n, &n)) return false;
    ref *args = scratch_take(j->r, n_in + j->n->n_out + 1, sizeof *args), *res = args + n_in;
    for (int i = 0; i < n_in; i++) args[i] = in[i];
    for (int i = 0; i < s->n_carry; i++) hold(args[i].b);
    for (int i = 0; i < s->n_xs; i++) {
        const tensor *x = &in[s->n_carry + i].t;
        if (x->rank < 1 || x->dims[0] != n) return job_fail(j, "n is %lld, xs %d has %lld", (long long)n, i,
                                                            x->rank ? (long long)x->dims[0] : -1);
    }
    for (int i = 0; i < n_ys; i++) {
        ref *y = &out[s->n_carry + i];
        *y = (ref){ j->out[s->n_carry + i], buffer_take(j->r, tensor_bytes(&j->out[s->n_carry + i])) };
        y->t.bytes = data_of(y->b);
    }
    for (int64_t k = 0; k < n; k++) {
        int64_t t = s->reverse ? n - 1 - k : k;
        for (int i = 0; i < s->n_xs; i++) {
            const ref *x = &in[s->n_carry + i];
            tensor one = { .dtype = x->t.dtype, .rank = x->t.rank - 1 };
            memcpy(one.dims, x->t.dims + 1, (size_t)one.rank * sizeof *one.dims);
            one.bytes = (char *)x->t.bytes + (size_t)t * tensor_bytes(&one);
            args[s->n_carry + i] = (ref){ one, x->b };
        }
        if (!run_bodies(j->r, s->body, args, res, depth, j->n)) return false;
        for (int i = 0; i < s->n_carry; i++) {
            release(j->r, args[i].b);
            args[i] = res[i];
        }
        for (int i = 0; i < n_ys; i++) {
            size_t size = tensor_bytes(&res[s->n_carry + i].t);
            memcpy((char *)out[s->n_carry + i].t.bytes + (size_t)t * size, res[s->n_carry + i].t.bytes, size);
            release(j->r, res[s->n_carry + i].b);
        }
    }
    for (int i = 0; i < s->n_carry; i++) out[i] = args[i];
    scratch_give(j->r, args);
    return true;
}

static bool is_true(const ref *x) { return *(const uint8_t *)x->t.bytes != 0; }

static bool run_while(job *j, const ref *in, ref *out, int depth)
{
    const while_attr *w = j->n->loop;
    ref *args = scratch_take(j->r, j->n->n_in + w->n_carry + 1, sizeof *args), *res = args + j->n->n_in;
    for (int i = 0; i < j->n->n_in; i++) args[i] = in[i];
    for (int i = 0; i < w->n_carry; i++) hold(args[i].b);
    for (int64_t trip = 0; w->max_trip < 0 || trip < w->max_trip; trip++) {
        ref go;
        if (!run_bodies(j->r, w->test, args, &go, depth, j->n)) return false;
        bool yes = is_true(&go);
        release(j->r, go.b);
        if (!yes) break;
        if (!run_bodies(j->r, w->body, args, res, depth, j->n)) return false;
        for (int i = 0; i < w->n_carry; i++) {
            release(j->r, args[i].b);
            args[i] = res[i];
        }
    }
    for (int i = 0; i < w->n_carry; i++) out[i] = args[i];
    scratch_give(j->r, args);
    return true;
}

typedef bool (*evaluator)(job *j);
static const evaluator evaluators[PRIM_COUNT] = {
    [PRIM_iota] = eval_iota,           [PRIM_random] = eval_random,       [PRIM_map] = eval_map,
    [PRIM_reduce] = eval_reduce,       [PRIM_contract] = eval_contract,   [PRIM_window] = eval_window,
    [PRIM_transpose] = eval_transpose, [PRIM_broadcast] = eval_broadcast, [PRIM_slice] = eval_slice,
    [PRIM_pad] = eval_pad,             [PRIM_concat] = eval_concat,       [PRIM_gather] = eval_gather,
    [PRIM_scatter] = eval_scatter,     [PRIM_sort] = eval_sort,           [PRIM_compact] = eval_compact,
};

static bool run_simple(job *j, ref *out)
{
    for (int k = 0; k < j->n->n_out; k++) {
        out[k].b = buffer_take(j->r, tensor_bytes(&j->out[k]));
        j->out[k].bytes = data_of(out[k].b);
        out[k].t = j->out[k];
    }
    return evaluators[j->n->prim](j);
}

static bool run_node(run *r, const graph *g, const node *n, const ref *in, ref *out, int depth)
{
    tensor *ins = scratch_take(r, n->n_in + n->n_out + 1, sizeof *ins), *outs = ins + n->n_in;
    job j = { .r = r, .g = g, .n = n, .in = ins, .out = outs };
    for (int i = 0; i < n->n_in; i++) ins[i] = in[i].t;
    bool sized = n->prim == PRIM_cond || n->prim == PRIM_kernel || n->prim == PRIM_while;
    for (int k = 0; k < n->n_out && !sized; k++)
        if (!tensor_of_type(&j, n->types[k], &outs[k])) return false;
    bool ok;
    switch ((prim)n->prim) {
    case PRIM_const: ok = run_const(&j, out); break;
    case PRIM_reshape: case PRIM_bitcast: ok = run_reshape(&j, in, out); break;
    case PRIM_scan: ok = run_scan(&j, in, out, depth); break;
    case PRIM_while: ok = run_while(&j, in, out, depth); break;
    case PRIM_kernel: ok = run_bodies(r, n->kernel->body, in, out, depth, n); break;
    case PRIM_cond:
        ok = run_bodies(r, is_true(&in[0]) ? n->cond->then_body : n->cond->else_body, in + 1, out, depth, n);
        break;
    default: ok = run_simple(&j, out); break;
    }
    scratch_give(r, ins);
    return ok;
}

static bool is_needed(const plan *p, const node *n)
{
    for (int k = 0; k < n->n_out; k++)
        if (p->uses[n->first + (uint32_t)k]) return true;
    return false;
}

static void drop(run *r, plan *p, uint32_t id)
{
    if (--p->left[id] == 0) release(r, p->slot[id].b);
}

/* in[] is borrowed, out[] is held for the caller. */
static bool run_graph(run *r, const graph *g, const ref *in, ref *out, int depth)
{
    plan *p = plan_of(r, g);
    memcpy(p->left, p->uses, (size_t)g->owner.n * sizeof *p->left);
    for (int64_t i = 0; i < g->inputs.n; i++) {
        uint32_t id = g->inputs.at[i].id;
        p->slot[id] = in[i];
        if (p->uses[id]) hold(in[i].b);
    }
    for (int64_t i = 1; i < n_nodes(g); i++) {
        const node *n = &g->nodes.at[i];
        if (n->prim == PRIM_input || !is_needed(p, n)) continue;
        ref *args = scratch_take(r, n->n_in + 1, sizeof *args);
        for (int k = 0; k < n->n_in; k++) args[k] = p->slot[n->in[k].id];
        bool ok = run_node(r, g, n, args, &p->slot[n->first], depth);
        scratch_give(r, args);
        if (!ok) return false;
        for (int k = 0; k < n->n_in; k++) drop(r, p, n->in[k].id);
        for (int k = 0; k < n->n_out; k++)
            if (!p->uses[n->first + (uint32_t)k]) release(r, p->slot[n->first + (uint32_t)k].b);
    }
    for (int64_t i = 0; i < g->results.n; i++) {
        out[i] = p->slot[g->results.at[i].id];
        hold(out[i].b);
    }
    for (int64_t i = 0; i < g->results.n; i++) drop(r, p, g->results.at[i].id);
    return true;
}

/* -- The whole ------------------------------------------------------------------------------------------- */

dlc_status eval_graph(dlc_context *ctx, arena *a, const graph *g, const int64_t *symbols, const tensor *in,
                      tensor *out, const eval_options *options)
{
    run r = { .ctx = ctx, .arena = a, .dims = g->dims, .o = *options };
    int n_symbols = dims_n_symbols(g->dims);
    r.symbols = NEW_ARRAY(a, int64_t, n_symbols + 1);
    if (symbols) memcpy(r.symbols, symbols, (size_t)n_symbols * sizeof *symbols);
    r.expander = expander_new(a);
    map_init(&r.plans, a);
    ref *args = NEW_ARRAY(a, ref, g->inputs.n + 1), *results = NEW_ARRAY(a, ref, g->results.n + 1);
    for (int64_t i = 0; i < g->inputs.n; i++) args[i].t = in[i];
    if (!run_graph(&r, g, args, results, 0)) return ctx->status ? ctx->status : DLC_ERR_INTERNAL;
    for (int64_t i = 0; i < g->results.n; i++) out[i] = results[i].t;
    return DLC_OK;
}

/* -- Symbols from sizes ---------------------------------------------------------------------------------- */

enum { MAX_TERMS = 256 };
typedef struct { int n; dim at[MAX_TERMS]; } vec_of_dims;

static int symbol_index(dims *t, dim d)
{
    dim_view v = dim_look(t, d);
    return v.kind == DIM_SYMBOL ? v.symbol : -1;
}

/* The only symbol of d that is not known yet; -1: none or several. */
static int unknown_symbol(dims *t, dim d, const bool *known)
{
    vec_of_dims stack = { .n = 1, .at = { d } };
    int found = -1;
    while (stack.n > 0) {
        dim_view v = dim_look(t, stack.at[--stack.n]);
        if (v.kind == DIM_SYMBOL && !known[v.symbol]) {
            if (found >= 0 && found != v.symbol) return -1;
            found = v.symbol;
        }
        for (int i = 0; i < v.n_args; i++) {
            if (stack.n == MAX_TERMS) return -1;
            stack.at[stack.n++] = v.args[i];
        }
    }
    return found;
}

/* The value of symbol s for which d is `want`, where d is linear in s. */
static bool solve(dims *t, dim d, int s, int64_t want, int64_t *symbols)
{
    int64_t f[3], keep = symbols[s], x;
    for (int i = 0; i < 3; i++) {
        symbols[s] = i;
        if (!dim_eval(t, d, symbols, &f[i])) f[2] = f[1] = f[0] = 0;
    }
    int64_t slope = f[1] - f[0];
    symbols[s] = slope ? (want - f[0]) / slope : keep;
    if (slope && f[2] - f[1] == slope && dim_eval(t, d, symbols, &x) && x == want) return true;
    symbols[s] = keep;
    return false;
}

/* The axis that a symbol took its size from. */
typedef struct { int input, axis; } symbol_source;

static const char *input_name(const graph *g, int input)
{
    const char *name = node_of(g, g->inputs.at[input])->input->name;
    return name ? name : "?";
}

static bool bind_axis(dlc_context *ctx, const graph *g, const tensor *in, int input, int axis, bool *known,
                      symbol_source *from, int64_t *symbols)
{
    const tensor *x = &in[input];
    type t = type_of(g, g->inputs.at[input]);
    int s = symbol_index(g->dims, t.dims[axis]);
    int64_t lo, hi, want = x->dims[axis];
    int open = s < 0 ? unknown_symbol(g->dims, t.dims[axis], known) : known[s] ? -1 : s;
    if (open >= 0 && (open == s || solve(g->dims, t.dims[axis], open, want, symbols))) {
        dims_symbol_range(g->dims, open, &lo, &hi);
        if (open == s) symbols[s] = want;
        known[open] = true;
        from[open] = (symbol_source){ input, axis };
        if (symbols[open] >= lo && symbols[open] <= hi) return true;
    } else if (!dim_eval(g->dims, t.dims[axis], symbols, &want) || want == x->dims[axis]) {
        return true;
    } else if (s >= 0) {
        diag_run_same(ctx, (place){ 0 }, input_name(g, input), axis, (long long)x->dims[axis], from[s].axis,
                      input_name(g, from[s].input), (long long)symbols[s]);
        return false;
    }
    text type_text = { .a = ctx->arena };
    type_print(g, t, &type_text);
    diag_eval_input(ctx, (place){ 0 }, input_name(g, input), text_str(&type_text), axis,
                    (long long)x->dims[axis]);
    return false;
}

dlc_status eval_bind(dlc_context *ctx, const graph *g, const tensor *in, int64_t *symbols)
{
    int n = dims_n_symbols(g->dims);
    for (int i = 0; i < n; i++) {
        int64_t lo;
        dims_symbol_range(g->dims, i, &lo, &symbols[i]);
    }
    for (int64_t i = 0; i < g->inputs.n; i++) {
        value v = g->inputs.at[i];
        type t = type_of(g, v);
        if (t.dtype == in[i].dtype && t.rank == in[i].rank) continue;
        text want = { .a = ctx->arena };
        type_print(g, t, &want);
        const char *name = node_of(g, v)->input->name;
        diag_eval_input_type(ctx, (place){ 0 }, name ? name : "?", text_str(&want),
                             dtype_info[in[i].dtype].name, in[i].rank);
        return DLC_ERR_INPUT;
    }
    /* plain symbols first, so that N + 1 can be checked */
    arena *scratch = arena_new(&ctx->mem);
    bool *known = NEW_ARRAY(scratch, bool, n + 1), ok = true;
    symbol_source *from = NEW_ARRAY(scratch, symbol_source, n + 1);
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < g->inputs.n; i++) {
            type t = type_of(g, g->inputs.at[i]);
            for (int k = 0; k < t.rank; k++)
                if ((symbol_index(g->dims, t.dims[k]) >= 0) == (pass == 0))
                    ok &= bind_axis(ctx, g, in, (int)i, k, known, from, symbols);
        }
    arena_free(scratch);
    return ok ? DLC_OK : DLC_ERR_SHAPE;
}
