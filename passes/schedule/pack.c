/* pack: a tile of an operand copied to where it lies together
 *
 *     for m.o { … for k.i, m.i { … a[14*m.o + m.i, k.i] … } }       rows of a 4 KB apart share a few sets of the cache
 *
 * pack(a at m.o) copies, at the head of m.o's body, what the loops inside it read of a, and reads the copy:
 *
 *     for m.o {
 *       stack a_pack: f32[14, 272]
 *       for m.i.a, k.i.a { a_pack[m.i.a, k.i.a] = a[14*m.o + m.i.a, k.i.a] }
 *       …  a_pack[m.i, k.i] …
 *     }
 *
 * One axis for each loop inside that moves a's address, the farthest steps first; pack(b at n.o: k n.i) gives another order,
 * which transposes. The innermost axis gets 16 elements more, so that rows do not lie a power of two apart. The copy's
 * loops are named as those they run like, with .a for pack's operand a.
 *
 * Keeps  every bit: values are copied, of an operand that nothing in the kernel writes.
 * Needs  constant bounds, and reads under no condition (the copy would make them unconditional).
 */
#include "passes/schedule/schedule.h"

enum { MAX_AXES = 8, MAX_PACK_BYTES = 128 << 10, PAD = 16 };

typedef struct {
    int buf, copy, at;                     /* operand, its copy, the loop at whose head it is made */
    const stmt *axis[MAX_AXES]; int n;     /* the loops inside that move the operand */
    const expr *const *index;              /* the access, the same everywhere */
    const sched_step *step;
    bool any;
} packing;

static bool moves(const expr *const *index, int rank, int var)
{
    for (int i = 0; i < rank; i++)
        if (x_uses_var(index[i], var)) return true;
    return false;
}

static bool same_index(const expr *const *a, const expr *const *b, int rank)
{
    for (int i = 0; i < rank; i++)
        if (!x_same(a[i], b[i])) return false;
    return true;
}

static bool has_temp(const expr *e)
{
    if (e->kind == EXPR_temp || e->kind == EXPR_load) return true;
    for (int i = 0; i < e->n_args; i++)
        if (has_temp(e->args[i])) return true;
    return false;
}

static bool look_at_expr(scheduler *s, packing *p, const expr *e, bool guarded, const stmt *const *around, int n)
{
    for (int i = 0; i < e->n_args; i++)
        if (!look_at_expr(s, p, e->args[i], guarded || (e->kind == EXPR_op && e->fn == SCALAR_select), around, n)) return false;
    if (e->kind != EXPR_load || e->id != p->buf) return true;
    int rank = s->k->bufs.at[p->buf].rank;
    if (guarded) return refuse(s, "%s is read under a condition", s->k->bufs.at[p->buf].name);
    for (int i = 0; i < rank; i++)
        if (has_temp(e->args[i])) return refuse(s, "an index of %s is a value", s->k->bufs.at[p->buf].name);
    if (p->index) return same_index(p->index, e->args, rank) || refuse(s, "%s is read at several places", s->k->bufs.at[p->buf].name);
    p->index = e->args;
    for (int i = 0; i < n; i++) {
        if (!moves(p->index, rank, around[i]->var)) continue;
        if (p->n == MAX_AXES) return refuse(s, "more than %d loops move it", MAX_AXES);
        p->axis[p->n++] = around[i];
    }
    return true;
}

/* The accesses inside the block; around: the loops from there down. */
static bool look_at_block(scheduler *s, packing *p, const block *b, bool guarded, const stmt **around, int n)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *x = b->at[i];
        if (x->value && !look_at_expr(s, p, x->value, guarded, around, n)) return false;
        if (x->cond && !look_at_expr(s, p, x->cond, true, around, n)) return false;
        if (x->kind == STMT_for && n < MAX_AXES * 2) around[n] = x;
        int deeper = x->kind == STMT_for && n < MAX_AXES * 2 ? n + 1 : n;
        bool test = guarded || x->kind == STMT_if;
        if (!look_at_block(s, p, &x->body, test, around, deeper) || !look_at_block(s, p, &x->other, test, around, deeper)) return false;
    }
    return true;
}

/* Farthest steps first, or as the step says. */
static bool order_axes(scheduler *s, packing *p, const sched_step *step)
{
    affine f;
    if (!x_affine(s->k, x_address(s->k, p->buf, p->index), &f)) return refuse(s, "the address is not affine");
    int64_t far[MAX_AXES] = { 0 };
    for (int i = 0; i < p->n; i++) {
        for (int j = 0; j < f.n; j++)
            if (f.var[j] == p->axis[i]->var && !dim_is_const(f.coef[j], &far[i])) far[i] = INT64_MAX;
        if (step->n <= 4) continue;
        far[i] = -1;
        for (int w = 4; w < step->n; w++)
            if (strcmp(step->word[w], s->k->vars.at[p->axis[i]->var].name) == 0) far[i] = step->n - w;
        if (far[i] < 0) return refuse(s, "the order leaves out %s", s->k->vars.at[p->axis[i]->var].name);
    }
    for (int i = 1; i < p->n; i++)
        for (int j = i; j > 0 && far[j] > far[j - 1]; j--) {
            int64_t t = far[j];
            const stmt *x = p->axis[j];
            far[j] = far[j - 1]; far[j - 1] = t;
            p->axis[j] = p->axis[j - 1]; p->axis[j - 1] = x;
        }
    for (int i = 0; i < p->n; i++)
        for (int j = i + 1; j < p->n; j++)
            if (x_uses_var(p->axis[i]->hi, p->axis[j]->var) || x_uses_var(p->axis[i]->lo, p->axis[j]->var))
                return refuse(s, "the extent of %s changes with %s", s->k->vars.at[p->axis[i]->var].name, s->k->vars.at[p->axis[j]->var].name);
    return true;
}

static bool make_copy_buffer(scheduler *s, packing *p)
{
    kernel_code *k = s->k;
    const buffer *b = &k->bufs.at[p->buf];
    dim shape[MAX_AXES];
    int64_t size = dtype_bytes(b->dtype), zero;
    for (int i = 0; i < p->n; i++) {
        range r = loop_range(s, p->axis[i]);
        int64_t n = i == p->n - 1 && r.hi >= PAD ? r.hi + PAD : r.hi;
        if (!x_is_int(p->axis[i]->lo, &zero) || zero || r.hi < 1 || r.hi > MAX_PACK_BYTES || !mul_ok(size, n, &size) || size > MAX_PACK_BYTES)
            return refuse(s, "the tile is not a rectangle from 0 of at most %d KB", MAX_PACK_BYTES >> 10);
        shape[i] = dim_const(n);
    }
    const char *name = arena_printf(k->arena, "%s_pack", b->name);
    p->copy = kernel_local(k, name, b->dtype, SPACE_stack, p->n, arena_copy(k->arena, shape, sizeof *shape * (size_t)p->n));
    return true;
}

static const expr *read_copy(kernel_code *k, const expr *e, void *arg)
{
    const packing *p = arg;
    if (e->kind != EXPR_load || e->id != p->buf) return NULL;
    const expr **at = NEW_ARRAY(k->arena, const expr *, p->n + 1);
    for (int i = 0; i < p->n; i++) at[i] = x_var(k, p->axis[i]->var);
    return x_load(k, p->copy, at);
}

/* for axes { copy[axes] = buf[…] }, the loops under names of their own. */
static stmt *copy_nest(scheduler *s, const packing *p)
{
    kernel_code *k = s->k;
    const expr **own = NEW_ARRAY(s->scratch, const expr *, k->vars.n + MAX_AXES + 1), **at = NEW_ARRAY(k->arena, const expr *, p->n + 1);
    int var[MAX_AXES];
    for (int i = 0; i < p->n; i++) {
        const loop_var *v = &k->vars.at[p->axis[i]->var];
        var[i] = kernel_var(k, arena_printf(k->arena, "%s.%s", v->name, k->bufs.at[p->buf].name), LOOP_plain);
        own[p->axis[i]->var] = at[i] = x_var(k, var[i]);
    }
    int rank = k->bufs.at[p->buf].rank;
    const expr **index = NEW_ARRAY(k->arena, const expr *, rank + 1);
    for (int j = 0; j < rank; j++) index[j] = x_subst(k, p->index[j], own);
    stmt *x = s_store(k, p->copy, at, x_load(k, p->buf, index));
    for (int i = p->n - 1; i >= 0; i--) {
        stmt *loop = s_for(k, var[i], x_int(k, 0), x_subst(k, p->axis[i]->hi, own), MARK_serial);
        block_push(k, &loop->body, x);
        x = loop;
    }
    return x;
}

static bool pack_in_loop(scheduler *s, block *b, int i, void *arg)
{
    packing *p = arg;
    stmt *x = b->at[i];
    const stmt *around[MAX_AXES * 2];
    p->n = 0;
    p->index = NULL;
    if (!look_at_block(s, p, &x->body, false, around, 0)) return false;
    if (!p->index) return true;
    if (p->n == 0) return refuse(s, "no loop inside %s moves %s", s->k->vars.at[x->var].name, s->k->bufs.at[p->buf].name);
    if (!order_axes(s, p, p->step) || !make_copy_buffer(s, p)) return false;
    stmt *copy = copy_nest(s, p);
    block_rewrite(s->k, &x->body, read_copy, p);
    block_insert(s->k, &x->body, 0, copy);
    block_insert(s->k, &x->body, 0, s_alloc(s->k, p->copy, NULL));
    return p->any = true;
}

bool step_pack(scheduler *s, const sched_step *step)
{
    packing p = { .buf = -1, .step = step };
    if (step->n < 3 || strcmp(step->word[1], "at") != 0 || (step->n > 3 && strcmp(step->word[3], ":") != 0))
        return refuse(s, "expected (operand at loop) or (operand at loop: loops…)");
    for (int i = 0; i < s->k->n_params; i++)
        if (strcmp(s->k->bufs.at[i].name, step->word[0]) == 0) p.buf = i;
    if (p.buf < 0) return refuse(s, "there is no operand %s", step->word[0]);
    buf_role role = s->k->bufs.at[p.buf].role;
    if (role == ROLE_out || role == ROLE_inout) return refuse(s, "%s is written", step->word[0]);
    p.at = find_var(s, step->word[2]);
    if (p.at < 0) return false;
    if (!each_loop(s, &s->k->body, p.at, pack_in_loop, &p)) return false;
    return p.any || refuse(s, "nothing inside %s reads %s", step->word[2], step->word[0]);
}
