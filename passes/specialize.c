/* specialize: the loop program of open sizes, for the sizes of one run
 *
 *     for n in 0..N { for i in 0..min(16, L - 16*b) … }     N = 1, L = 128     =>     for i in 0..16 …
 *
 * Why    Schedules ask for constant extents, and code for open ones carries tails, divisions and addresses that are worked out
 *        at run time. A program that is run again and again with the same sizes is worth code of its own.
 * How    A copy with a table of dims of its own, in which the symbols that are given have their values (ir/dim.h). Every dim and
 *        every expression is built anew by the makers, which fold what became constant; index arithmetic is simplified by the
 *        ranges of the loops; a loop of one iteration is its body, an `if` that is decided is its side.
 *        Symbols keep their numbers, so the code takes the same array of sizes. Those that a run finds stay open.
 * Keeps  every bit: loops run the same iterations in the same order, and only what VALUE passes and `lower` chose by the open
 *        shapes is there to be folded. Kernels and buffers keep their numbers.
 * Needs  plain nests: before `schedule`. One entry.
 * Reads  the program only: several threads may specialize it at once, each with its own context.
 * See    tests/bars/test_variants_bar.c
 */
#include "passes/lower.h"
#include "passes/pipeline.h"
#include <assert.h>

typedef struct {
    const program *from;
    program *p;
    const dim *symbol_to;
    bool folds;                   /* false: a plain copy */
    kernel_code *k;               /* the one that is made now */
    range *range_of;              /* by its variables */
    const expr **to;              /* by its variables: what stands for it, or NULL */
    arena *scratch;
} specializing;

static dim at_sizes(specializing *s, dim d) { return dim_carry(s->from->dims, d, s->p->dims, s->symbol_to); }

static const dim *shape_at_sizes(specializing *s, const dim *shape, int rank)
{
    dim *r = NEW_ARRAY(s->p->arena, dim, rank + 1);
    for (int i = 0; i < rank; i++) r[i] = at_sizes(s, shape[i]);
    return r;
}

/* -- Kernels ------------------------------------------------------------------------------------------------------------- */

static const expr *replace(kernel_code *k, const expr *e, void *arg)
{
    specializing *s = arg;
    if (e->kind == EXPR_dim) return x_dim(k, at_sizes(s, e->dim));
    return e->kind == EXPR_var && s->to ? s->to[e->id] : NULL;
}

static const expr *rebuilt(specializing *s, const expr *e)
{
    if (!e) return NULL;
    e = x_rewrite(s->k, e, replace, s);
    return s->folds ? x_simplify(s->k, &(scope){ (int)s->k->vars.n, s->range_of }, e) : e;
}

static kernel_code *copy_head(specializing *s, const kernel_code *k)
{
    kernel_code *c = kernel_new(s->p->ctx, s->p->arena, s->p->dims, k->name, k->anchor), empty = *c;
    *c = *k;
    c->ctx = empty.ctx;
    c->arena = empty.arena;
    c->dims = empty.dims;
    c->names = empty.names;
    c->body = (block){ 0 };
    c->bufs.at = NULL;
    c->vars.at = NULL;
    c->temps.at = NULL;
    c->bufs.n = c->bufs.cap = c->vars.n = c->vars.cap = c->temps.n = c->temps.cap = 0;
    for (int64_t i = 0; i < k->bufs.n; i++) {
        buffer b = k->bufs.at[i];
        b.dims = shape_at_sizes(s, b.dims, b.rank);
        vec_push(c->arena, &c->bufs, b);
    }
    for (int64_t i = 0; i < k->vars.n; i++) vec_push(c->arena, &c->vars, k->vars.at[i]);
    for (int64_t i = 0; i < k->temps.n; i++) vec_push(c->arena, &c->temps, k->temps.at[i]);
    for (int64_t i = 0; i < k->names.n; i++)
        map_put(&c->names, k->names.entries[i].key, k->names.entries[i].len, k->names.entries[i].value, NULL);
    return c;
}

static void put_block(specializing *s, const block *from, block *into);

static void put_loop(specializing *s, const stmt *x, block *into)
{
    stmt *c = s_for(s->k, x->var, rebuilt(s, x->lo), rebuilt(s, x->hi), x->mark);
    int64_t lo, hi;
    bool is_known = s->folds && x->mark == MARK_serial && x_is_int(c->lo, &lo) && x_is_int(c->hi, &hi);
    if (is_known && lo >= hi) return;
    if (is_known && hi - lo == 1) {
        s->to[x->var] = c->lo;
        put_block(s, &x->body, into);
        s->to[x->var] = NULL;
        return;
    }
    range before = s->range_of[x->var];
    s->range_of[x->var] = x_var_range(s->k, &(scope){ (int)s->k->vars.n, s->range_of }, c);
    put_block(s, &x->body, &c->body);
    s->range_of[x->var] = before;
    block_push(s->k, into, c);
}

static void put_if(specializing *s, const stmt *x, block *into)
{
    const expr *cond = rebuilt(s, x->cond);
    if (s->folds && cond->kind == EXPR_const) {
        put_block(s, cond->value.bits & 1 ? &x->body : &x->other, into);
        return;
    }
    stmt *c = s_if(s->k, cond);
    put_block(s, &x->body, &c->body);
    put_block(s, &x->other, &c->other);
    block_push(s->k, into, c);
}

static void put_simple(specializing *s, const stmt *x, block *into)
{
    stmt *c = arena_copy(s->k->arena, x, sizeof *x);
    c->value = rebuilt(s, x->value);
    if (x->index) {
        int rank = s->k->bufs.at[x->id].rank;
        const expr **index = NEW_ARRAY(s->k->arena, const expr *, rank + 1);
        for (int i = 0; i < rank; i++) index[i] = rebuilt(s, x->index[i]);
        c->index = index;
    }
    block_push(s->k, into, c);
}

/* Nests are as deep as the loops of a kernel. */
static void put_block(specializing *s, const block *from, block *into)
{
    for (int i = 0; i < from->n; i++) {
        const stmt *x = from->at[i];
        switch (x->kind) {
        case STMT_for: put_loop(s, x, into); break;
        case STMT_if: put_if(s, x, into); break;
        case STMT_let: case STMT_store: case STMT_alloc: case STMT_prefetch: put_simple(s, x, into); break;
        }
    }
}

static kernel_code *at_kernel(specializing *s, const kernel_code *k)
{
    s->k = copy_head(s, k);
    int n = (int)k->vars.n;
    s->range_of = NEW_ARRAY(s->scratch, range, n + 1);
    s->to = NEW_ARRAY(s->scratch, const expr *, n + 1);
    for (int i = 0; i < n; i++) s->range_of[i] = (range){ -DIM_LIMIT, DIM_LIMIT };
    put_block(s, &k->body, &s->k->body);
    if (s->folds) tidy_kernel(s->k, s->scratch);
    return s->k;
}

/* -- The program ----------------------------------------------------------------------------------------------------------- */

static view at_view(specializing *s, view v)
{
    v.at = v.at ? x_rewrite(s->p->exprs, v.at, replace, s) : NULL;
    return v;
}

static prog_block at_block(specializing *s, const prog_block *b)
{
    prog_block r = { .at = NEW_ARRAY(s->p->arena, prog_op *, b->n + 1), .n = b->n, .cap = b->n + 1 };
    for (int i = 0; i < b->n; i++) {
        const prog_op *x = b->at[i];
        prog_op *c = r.at[i] = arena_copy(s->p->arena, x, sizeof *x);
        c->n = at_sizes(s, x->n);
        c->pred = at_view(s, x->pred);
        c->source = at_view(s, x->source);
        if (x->kind == PROG_call) {
            int n = s->from->kernels.at[x->kernel]->n_params;
            c->args = arena_copy(s->p->arena, x->args, (size_t)n * sizeof *x->args);
            for (int j = 0; j < n; j++) c->args[j] = at_view(s, x->args[j]);
        }
        c->body = at_block(s, &x->body);
        c->other = at_block(s, &x->other);
        c->test = at_block(s, &x->test);
    }
    return r;
}

static void put_buffers(specializing *s)
{
    for (int64_t i = 0; i < s->from->bufs.n; i++) {
        pbuf b = s->from->bufs.at[i];
        b.dims = shape_at_sizes(s, b.dims, b.rank);
        b.bytes = at_sizes(s, b.bytes);
        b.slot_offset = at_sizes(s, b.slot_offset);
        vec_push(s->p->arena, &s->p->bufs, b);
    }
}

static program *specialize(dlc_context *ctx, arena *a, const program *from, const int64_t *sizes, const bool *is_open, bool folds)
{
    assert(!from->next && !from->entry);
    arena *scratch = arena_new(&ctx->mem);
    dim *symbol_to = NEW_ARRAY(scratch, dim, dims_n_symbols(from->dims) + 1);
    program *p = arena_copy(a, from, sizeof *from);
    p->ctx = ctx;
    p->arena = a;
    p->dims = dims_fixed(ctx, a, from->dims, sizes, is_open, symbol_to);
    p->bufs.at = NULL;
    p->bufs.n = p->bufs.cap = 0;
    p->kernels.at = NULL;
    p->kernels.n = p->kernels.cap = 0;
    specializing s = { .from = from, .p = p, .symbol_to = symbol_to, .folds = folds, .scratch = scratch };
    p->exprs = copy_head(&s, from->exprs);
    put_buffers(&s);
    for (int64_t i = 0; i < from->kernels.n; i++) vec_push(a, &p->kernels, at_kernel(&s, from->kernels.at[i]));
    s.to = NULL;
    p->body = at_block(&s, &from->body);
    arena_free(scratch);
    return p;
}

program *specialize_program(dlc_context *ctx, arena *a, const program *p, const int64_t *sizes, const bool *is_open)
{
    return specialize(ctx, a, p, sizes, is_open, true);
}

program *program_copy(dlc_context *ctx, arena *a, const program *p)
{
    int n = dims_n_symbols(p->dims);
    bool *is_open = NEW_ARRAY(a, bool, n + 1);
    for (int i = 0; i < n; i++) is_open[i] = true;
    return specialize(ctx, a, p, NULL, is_open, false);
}
