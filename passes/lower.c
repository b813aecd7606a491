/* lower: the graph of kernels becomes a loop program
 *
 * Each kernel node is one plain loop nest (lower.h); each top-level value gets a buffer: inputs, results and
 * constants their own, everything else a temporary that `plan` places. Reshapes and bitcasts of stored values
 * are the same buffer.
 *
 * A scan becomes a loop of calls. A carry is a pair of buffers, read at [t mod 2] and written at [(t+1) mod
 * 2]; the slice of an input or stacked output at step t is a view of the whole. A while copies its carries
 * back at the end of a trip; a cond stores both sides' results into the same buffers.
 *
 * Needs  a graph after fuse.
 * Keeps  every bit: the nests define them.
 * Cost   O(nodes).
 */
#include "passes/lower.h"
#include "passes/pipeline.h"

typedef struct {
    program *p;
    pass_run *run;
    int n_copies;
} program_lowering;

/* A top-level graph (the whole, or a body) being lowered into a block. */
typedef struct {
    program_lowering *pl;
    const graph *g;
    view *where;                  /* by value id; buf -1: nowhere yet */
    view *wanted;         /* by value id: buffer that the kernel that makes it should store to; buf -1: any */
    prog_block *block;
} block_lowering;

/* -- Kernels --------------------------------------------------------------------------------------------- */

static const char *kernel_name(program_lowering *pl, anchor_kind a)
{
    return arena_printf(pl->p->arena, "k%d_%s", (int)pl->p->kernels.n, anchor_name[a]);
}

/* The input at the bottom of a chain of views; NO_VALUE if there is none. */
static value leaf_input(const graph *body, value v)
{
    for (;;) {
        const node *n = node_of(body, v);
        if (n->prim == PRIM_input) return v;
        if (n->n_in != 1) return NO_VALUE;
        v = n->in[0];
    }
}

/* Parameters: a and b for what a contract reads (the names schedules use), x0, x1, … else. */
static const char *param_name(const graph *body, value v, int i, arena *a)
{
    const node *c = find_anchor(body, PRIM_contract);
    if (c && same_value(leaf_input(body, c->in[0]), v)) return "a";
    if (c && same_value(leaf_input(body, c->in[1]), v)) return "b";
    return arena_printf(a, "x%d", i);
}

static kernel_code *lower_kernel(program_lowering *pl, const node *n)
{
    static void (*const anchors[ANCHOR_COUNT])(lowering *) = {
        [ANCHOR_map] = lower_map, [ANCHOR_row] = lower_row, [ANCHOR_contract] = lower_contract,
        [ANCHOR_window] = lower_window,
        [ANCHOR_move] = lower_move, [ANCHOR_scatter] = lower_scatter, [ANCHOR_sort] = lower_sort,
        [ANCHOR_compact] = lower_compact,
    };
    const graph *body = n->kernel->body;
    program *p = pl->p;
    arena *scratch = pl->run->scratch;
    kernel_code *k = kernel_new(p->ctx, p->arena, p->dims, kernel_name(pl, n->kernel->anchor),
                                n->kernel->anchor);
    int *param = NEW_ARRAY(scratch, int, body->owner.n + 1),
        *results = NEW_ARRAY(scratch, int, body->results.n + 1);
    for (int64_t i = 0; i < body->owner.n; i++) param[i] = -1;
    for (int64_t i = 0; i < body->inputs.n; i++) {
        type t = type_of(body, body->inputs.at[i]);
        param[body->inputs.at[i].id] = kernel_param(k, param_name(body, body->inputs.at[i], (int)i, p->arena),
                                                    t.dtype, ROLE_in, t.rank, t.dims);
    }
    for (int64_t r = 0; r < body->results.n; r++) {
        type t = type_of(body, body->results.at[r]);
        results[r] = kernel_param(k, body->results.n == 1 ? "dst" : arena_printf(p->arena, "dst%d", (int)r),
                                  t.dtype, ROLE_out, t.rank, t.dims);
    }
    lowering l = {
        .k = k, .body = body, .param = param, .result_param = results, .at = &k->body, .scratch = scratch
    };
    anchors[n->kernel->anchor](&l);
    flatten_params(k, scratch);
    tidy_kernel(k, scratch);
    return k;
}

/* y = x, element by element. */
static void call_copy(program_lowering *pl, prog_block *b, view from, view to, type t)
{
    program *p = pl->p;
    kernel_code *k = kernel_new(p->ctx, p->arena, p->dims, arena_printf(p->arena, "copy%d", pl->n_copies++),
                                ANCHOR_map);
    dim n = dim_const(1);
    for (int i = 0; i < t.rank; i++) n = dim_mul(p->dims, n, t.dims[i]);
    int x = kernel_param(k, "x", t.dtype, ROLE_in, 1, &n), y = kernel_param(k, "y", t.dtype, ROLE_out, 1, &n);
    int v = kernel_var(k, "d0", LOOP_plain);
    stmt *s = s_for(k, v, x_int(k, 0), x_dim(k, n), MARK_serial);
    const expr *at = x_var(k, v);
    block_push(k, &k->body, s);
    block_push(k, &s->body, s_store(k, y, &at, x_load(k, x, &at)));
    prog_op *op = program_op(p, b, PROG_call);
    op->kernel = program_kernel(p, k);
    op->args = NEW_ARRAY(p->arena, view, 2);
    op->args[0] = from;
    op->args[1] = to;
}

/* -- Buffers --------------------------------------------------------------------------------------------- */

static int new_temp(program_lowering *pl, const char *name, type t)
{
    return program_buf(pl->p, name, PBUF_temp, 0, t.dtype, t.rank, t.dims);
}

/* A graph of its own that computes one constant expression: what is below v, in node order. */
static graph *extract_constant(program_lowering *pl, const graph *g, value v)
{
    arena *a = pl->run->scratch;
    graph *to = graph_new(g->ctx, pl->p->arena, g->dims, "constant");
    map_str made;                                    /* old value id -> new value id */
    vec(value) stack = { 0 };
    map_init(&made, a);
    vec_push(a, &stack, v);
    while (stack.n) {
        value top = stack.at[stack.n - 1];
        const node *n = node_of(g, top);
        uint32_t key = n->first;
        if (map_find(&made, (const char *)&key, sizeof key)) { stack.n--; continue; }
        bool ready = true;
        value *in = NEW_ARRAY(a, value, n->n_in + 1), *out = NEW_ARRAY(a, value, n->n_out + 1);
        for (int k = 0; k < n->n_in; k++) {
            const node *below = node_of(g, n->in[k]);
            uint32_t below_key = below->first;
            uint64_t *found = map_find(&made, (const char *)&below_key, sizeof below_key);
            if (!found) { vec_push(a, &stack, n->in[k]); ready = false; }
            else in[k] = (value){ (uint32_t)*found };
        }
        if (!ready) continue;
        stack.n--;
        if (!rebuild(to, g, n, in, out)) return NULL;
        map_put(&made, (const char *)&key, sizeof key, out[0].id, NULL);
    }
    uint32_t key = node_of(g, v)->first;
    add_result(to, (value){ (uint32_t)*map_find(&made, (const char *)&key, sizeof key) }, NULL);
    return to;
}

static view constant_view(block_lowering *b, value v)
{
    program *p = b->pl->p;
    const node *n = node_of(b->g, v);
    type t = type_of(b->g, v);
    const char *name = n->prim == PRIM_const && n->konst->name ? n->konst->name : b->g->names.at[v.id];
    int buf = program_buf(p, name, PBUF_const, 0, t.dtype, t.rank, t.dims);
    if (n->prim == PRIM_const && n->konst->bytes) p->bufs.at[buf].data = n->konst->bytes;
    else p->bufs.at[buf].expr_graph = extract_constant(b->pl, b->g, v);
    return (view){ buf, NULL };
}

/* Where v is stored; constants get their buffer, and aliases that of their operand, when first asked for. */
static view where_is(block_lowering *b, value v)
{
    value at = v;
    while (b->where[at.id].buf < 0) {
        const node *n = node_of(b->g, at);
        bool is_alias = (n->prim == PRIM_reshape || n->prim == PRIM_bitcast) &&
                        (b->where[n->in[0].id].buf >= 0 || node_of(b->g, n->in[0])->prim == PRIM_reshape ||
                         node_of(b->g, n->in[0])->prim == PRIM_bitcast);
        if (!is_alias) {
            b->where[at.id] = constant_view(b, at);
            break;
        }
        at = n->in[0];
    }
    b->where[v.id] = b->where[at.id];
    return b->where[v.id];
}

/* -- Blocks ---------------------------------------------------------------------------------------------- */

static void lower_graph(program_lowering *pl, const graph *g, prog_block *to, const view *inputs,
                        const view *results);

static void set_results(block_lowering *b, const node *n, prog_op *op, int first_arg)
{
    for (int r = 0; r < n->n_out; r++) {
        value v = result_of(n, r);
        view w = b->wanted[v.id];
        if (w.buf < 0) w = (view){ new_temp(b->pl, b->g->names.at[v.id], n->types[r]), NULL };
        b->where[v.id] = w;
        if (op) op->args[first_arg + r] = w;
    }
}

/* Where the node came from that a kernel is for: its sum, window, sort, or the last one. */
static const place *layer_of(const node *n)
{
    const graph *body = n->kernel->body;
    const place *last = n->at;
    for (int64_t i = 1; i < n_nodes(body); i++) {
        const node *x = &body->nodes.at[i];
        if (x->at && (x->prim == PRIM_contract || x->prim == PRIM_window || x->prim == PRIM_reduce ||
                      x->prim == PRIM_sort))
            return x->at;
        if (x->at && x->prim != PRIM_input) last = x->at;
    }
    return last;
}

static void call_kernel(block_lowering *b, const node *n)
{
    program *p = b->pl->p;
    kernel_code *k = lower_kernel(b->pl, n);
    view *args = NEW_ARRAY(p->arena, view, k->n_params + 1);
    for (int i = 0; i < n->n_in; i++) args[i] = where_is(b, n->in[i]);
    prog_op *op = program_op(p, b->block, PROG_call);
    op->kernel = program_kernel(p, k);
    op->args = args;
    op->layer = layer_of(n);
    set_results(b, n, op, n->n_in);
    for (int i = n->n_in + n->n_out; i < k->n_params; i++) {       /* scratch of the nest */
        const buffer *s = &k->bufs.at[i];
        args[i] = (view){ new_temp(b->pl, s->name, (type){ s->dtype, s->rank, s->dims }), NULL };
    }
    for (int64_t i = 1; i < n_nodes(n->kernel->body); i++) {
        const node *c = &n->kernel->body->nodes.at[i];
        if (c->prim != PRIM_compact || !c->compact->has_symbol) continue;
        dim_view d = dim_look(p->dims, c->compact->symbol);
        prog_op *set = program_op(p, b->block, PROG_setdim);
        set->symbol = d.symbol;
        for (int r = 0; r < n->n_out; r++)
            if (same_value(n->kernel->body->results.at[r], result_of(c, 1))) set->source = args[n->n_in + r];
    }
}

/* Slice t of a buffer or of a view. Positions count whole elements of what the kernel sees, so an outer
 * position is scaled by the n slices of the inner one. */
static view step_view(program_lowering *pl, view whole, const expr *t, dim n)
{
    if (!whole.at) return (view){ whole.buf, t };
    return (view){ whole.buf, x_add(pl->p->exprs, x_mul(pl->p->exprs, whole.at, x_dim(pl->p->exprs, n)), t) };
}

static int new_var(program_lowering *pl)
{
    return program_var(pl->p, arena_printf(pl->p->arena, "t%d", (int)pl->p->exprs->vars.n));
}

static void lower_scan(block_lowering *b, const node *n)
{
    program *p = b->pl->p;
    const scan_attr *a = n->scan;
    const graph *body = a->body;
    kernel_code *x = p->exprs;
    int n_ys = n->n_out - a->n_carry;
    const uint32_t *uses = graph_uses(body, b->pl->run->scratch);
    view *pairs = NEW_ARRAY(b->pl->run->scratch, view, a->n_carry + 1),
         *in = NEW_ARRAY(b->pl->run->scratch, view, n->n_in + 1);
    view *out = NEW_ARRAY(b->pl->run->scratch, view, n->n_out + 1),
         *ys = NEW_ARRAY(b->pl->run->scratch, view, n_ys + 1);

    for (int c = 0; c < a->n_carry; c++) {
        type t = n->types[c];
        dim pair[MAX_RANK + 1] = { dim_const(2) };
        memcpy(pair + 1, t.dims, sizeof(dim) * (size_t)t.rank);
        pairs[c].buf = program_buf(p, "carry", PBUF_temp, 0, t.dtype, t.rank + 1,
                                   arena_copy(p->arena, pair, sizeof(dim) * (size_t)(t.rank + 1)));
        call_copy(b->pl, b->block, where_is(b, n->in[c]), (view){ pairs[c].buf, x_int(x, 0) }, t);
    }
    for (int i = 0; i < a->n_xs; i++) in[a->n_carry + i] = where_is(b, n->in[a->n_carry + i]);
    /* unread: no buffer */
    for (int i = a->n_carry + a->n_xs; i < n->n_in; i++)
        in[i] = uses[body->inputs.at[i].id] ? where_is(b, n->in[i]) : (view){ -1, NULL };
    for (int y = 0; y < n_ys; y++) {
        value v = result_of(n, a->n_carry + y);
        ys[y] = b->wanted[v.id].buf >= 0
                    ? b->wanted[v.id]
                    : (view){ new_temp(b->pl, b->g->names.at[v.id], n->types[a->n_carry + y]), NULL };
        b->where[v.id] = ys[y];
    }
    prog_op *op = program_op(p, b->block, PROG_scan);
    op->var = new_var(b->pl);
    op->n = a->n;
    op->reverse = a->reverse;
    const expr *t = x_var(x, op->var), *two = x_int(x, 2);
    const expr *trip = a->reverse ? x_sub(x, x_dim(x, dim_addk(p->dims, a->n, -1)), t) : t;
    for (int c = 0; c < a->n_carry; c++) {
        in[c] = (view){ pairs[c].buf, x_mod(x, trip, two) };
        out[c] = (view){ pairs[c].buf, x_mod(x, x_add(x, trip, x_int(x, 1)), two) };
    }
    for (int i = 0; i < a->n_xs; i++) in[a->n_carry + i] = step_view(b->pl, in[a->n_carry + i], t, a->n);
    for (int y = 0; y < n_ys; y++) out[a->n_carry + y] = step_view(b->pl, ys[y], t, a->n);
    lower_graph(b->pl, body, &op->body, in, out);
    for (int c = 0; c < a->n_carry; c++) {
        value v = result_of(n, c);
        view last = { pairs[c].buf, x_mod(x, x_dim(x, a->n), two) };
        b->where[v.id] = last;
        if (b->wanted[v.id].buf >= 0) {
            call_copy(b->pl, b->block, last, b->wanted[v.id], n->types[c]);
            b->where[v.id] = b->wanted[v.id];
        }
    }
}

static void lower_cond(block_lowering *b, const node *n)
{
    program *p = b->pl->p;
    view *in = NEW_ARRAY(b->pl->run->scratch, view, n->n_in + 1),
         *out = NEW_ARRAY(b->pl->run->scratch, view, n->n_out + 1);
    for (int i = 0; i < n->n_in; i++) in[i] = where_is(b, n->in[i]);
    set_results(b, n, NULL, 0);
    for (int r = 0; r < n->n_out; r++) out[r] = b->where[n->first + (uint32_t)r];
    prog_op *op = program_op(p, b->block, PROG_cond);
    op->pred = in[0];
    lower_graph(b->pl, n->cond->then_body, &op->body, in + 1, out);
    lower_graph(b->pl, n->cond->else_body, &op->other, in + 1, out);
}

static void lower_while(block_lowering *b, const node *n)
{
    program *p = b->pl->p;
    const while_attr *a = n->loop;
    arena *s = b->pl->run->scratch;
    view *in = NEW_ARRAY(s, view, n->n_in + 1), *out = NEW_ARRAY(s, view, n->n_out + 1);
    for (int i = 0; i < n->n_in; i++) in[i] = where_is(b, n->in[i]);
    set_results(b, n, NULL, 0);
    for (int c = 0; c < a->n_carry; c++) {
        view w = b->where[n->first + (uint32_t)c];
        call_copy(b->pl, b->block, in[c], w, n->types[c]);
        in[c] = w;
        out[c] = (view){ new_temp(b->pl, "next", n->types[c]), NULL };
    }
    prog_op *op = program_op(p, b->block, PROG_while);
    op->var = new_var(b->pl);
    op->max_trip = a->max_trip;
    type truth = { DTYPE_bool, 0, NULL };
    op->pred = (view){ new_temp(b->pl, "test", truth), NULL };
    lower_graph(b->pl, a->test, &op->test, in, &op->pred);
    lower_graph(b->pl, a->body, &op->body, in, out);
    for (int c = 0; c < a->n_carry; c++) call_copy(b->pl, &op->body, out[c], in[c], n->types[c]);
}

/* The kernel result behind a result of the graph, so that it can be stored in place; NO_VALUE if there is
 * none. */
static value stored_by_kernel(const graph *g, value v)
{
    for (;;) {
        const node *n = node_of(g, v);
        if (n->prim == PRIM_kernel || n->prim == PRIM_cond || n->prim == PRIM_while || n->prim == PRIM_scan)
            return v;
        if (n->prim != PRIM_reshape && n->prim != PRIM_bitcast) return NO_VALUE;
        v = n->in[0];
    }
}

static void lower_graph(program_lowering *pl, const graph *g, prog_block *to, const view *inputs,
                        const view *results)
{
    arena *a = pl->run->scratch;
    block_lowering b = { .pl = pl,
                         .g = g,
                         .block = to,
                         .where = NEW_ARRAY(a, view, g->owner.n + 1),
                         .wanted = NEW_ARRAY(a, view, g->owner.n + 1) };
    for (int64_t i = 0; i < g->owner.n; i++) b.where[i].buf = b.wanted[i].buf = -1;
    for (int64_t i = 0; i < g->inputs.n; i++) b.where[g->inputs.at[i].id] = inputs[i];
    for (int64_t r = 0; r < g->results.n; r++) {
        value v = stored_by_kernel(g, g->results.at[r]);
        if (is_value(v) && b.wanted[v.id].buf < 0) b.wanted[v.id] = results[r];
    }
    for (int64_t i = 1; i < n_nodes(g); i++) {
        const node *n = &g->nodes.at[i];
        if (n->prim == PRIM_kernel) call_kernel(&b, n);
        else if (n->prim == PRIM_scan) lower_scan(&b, n);
        else if (n->prim == PRIM_cond) lower_cond(&b, n);
        else if (n->prim == PRIM_while) lower_while(&b, n);
    }
    for (int64_t r = 0; r < g->results.n; r++) {
        view w = where_is(&b, g->results.at[r]);
        if (w.buf != results[r].buf || w.at != results[r].at)
            call_copy(pl, to, w, results[r], type_of(g, g->results.at[r]));
    }
}

program *lower_program(pass_run *run, const graph *g, fma_mode fma)
{
    program *p = program_new(g->ctx, g->arena, g->dims, g->name);
    program_lowering pl = { .p = p, .run = run };
    view *in = NEW_ARRAY(run->scratch, view, g->inputs.n + 1),
         *out = NEW_ARRAY(run->scratch, view, g->results.n + 1);
    p->fma = fma;
    p->n_inputs = (int)g->inputs.n;
    p->n_outputs = (int)g->results.n;
    for (int64_t i = 0; i < g->inputs.n; i++) {
        type t = type_of(g, g->inputs.at[i]);
        in[i] = (view){ program_buf(p, node_of(g, g->inputs.at[i])->input->name, PBUF_input, (int)i, t.dtype,
                                    t.rank, t.dims),
                        NULL };
    }
    for (int64_t r = 0; r < g->results.n; r++) {
        type t = type_of(g, g->results.at[r]);
        out[r] = (view){ program_buf(p, g->result_names.at[r], PBUF_output, (int)r, t.dtype, t.rank, t.dims),
                         NULL };
    }
    lower_graph(&pl, g, &p->body, in, out);
    run->changes += p->kernels.n;
    return p;
}
