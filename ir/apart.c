/* apart: turns of a loop that touch different elements; outputs that may overwrite inputs
 *
 * Why    Marks promise that turns of a loop are independent (rules 11 and 12 of loop_verify.c). And an output
 *        may take the memory of an input if no element is read after it was stored over (the pass `states`,
 *        the memory plan): the same question, asked of two buffers as if they were one.
 * How    Of one loop over v: each store against each access of the buffer. In some dim, or in the flat
 *        address, both must be c*v + outer + inner  with the same c and outer, and the inner parts (of
 *        variables of loops inside, each ranged by itself) must differ by less than |c|: then different v
 *        give different elements. Lets are looked through. In place: that for every loop around a store of
 *        the output, against the loads of the input; so what is read and stored at one place is so in one
 *        turn of all loops around both. In that turn a statement reads before it stores; a later statement
 *        may read what an earlier one did not store: its range of addresses is another one (the tail of a
 *        loop in tiles). Buffers of different dims are compared by flat address.
 * Leaves what cannot be proved so, as if it were wrong.
 * Cost   stores times accesses of one buffer in one loop, for each loop.
 */
#include "ir/apart.h"
#include "ir/linear.h"

/* -- Positions ------------------------------------------------------------------------------------------- */

/* One dim of an access, or its flat address: coef*v + outer + [lo, hi]; unusable if v stands inside an atom.
 */
typedef struct { bool usable; dim coef; linear outer; range inner; } position;
typedef struct { int buf; bool is_store; const stmt *at; position pos[MAX_RANK + 1]; } touch;

typedef struct {
    kernel_code *k;
    meeting_fn tell;
    void *arg;
    range *ranges;            /* of variables, -> scope */
    const expr **lets;        /* value of each temp, lets inside looked through; NULL: none or not i64 */
    /* of the loop under test */
    int var;                  /* -1: of two statements that follow one another */
    bool *is_inner;           /* variables of loops inside */
    bool *is_own;             /* buffers allocated inside */
    bool *is_stored;
    vec(touch) touches;
    int in, out;              /* the parameters that are one buffer; -1: none */
} prover;

static const expr *see_let(kernel_code *k, const expr *e, void *arg)
{
    (void)k;
    const prover *p = arg;
    return e->kind == EXPR_temp && e->type == DTYPE_i64 ? p->lets[e->id] : NULL;
}

/* Is e the same in all iterations of the loop under test, whatever loops inside do? */
static bool is_fixed(const prover *p, const expr *e)
{
    if (e->kind == EXPR_temp || e->kind == EXPR_tree) return false;
    if (e->kind == EXPR_var && (e->id == p->var || p->is_inner[e->id])) return false;
    if (e->kind == EXPR_load && p->is_stored[e->id]) return false;
    for (int i = 0; i < e->n_args; i++)
        if (!is_fixed(p, e->args[i])) return false;
    return true;
}

static position position_of(prover *p, const expr *e)
{
    position r = { .usable = true, .coef = dim_const(0) };
    linear_init(&r.outer);
    linear l = linear_of(p->k, e);
    scope s = { (int)p->k->vars.n, p->ranges };
    if (l.bad) return (position){ 0 };
    r.outer.constant = l.constant;
    for (int64_t i = 0; i < l.n; i++) {
        const expr *atom = l.at[i].atom;
        if (dim_is(l.at[i].coef, 0)) continue;
        if (atom->kind == EXPR_var && atom->id == p->var) { r.coef = l.at[i].coef; continue; }
        if (x_uses_var(atom, p->var)) return (position){ 0 };
        if (is_fixed(p, atom)) { linear_add(p->k, &r.outer, atom, l.at[i].coef); continue; }
        linear one;
        linear_init(&one);
        linear_add(p->k, &one, atom, l.at[i].coef);
        range in = x_range(p->k, &s, linear_expr(p->k, &one));
        if (in.lo <= -DIM_LIMIT || in.hi >= DIM_LIMIT) return (position){ 0 };
        r.inner.lo += in.lo;
        r.inner.hi += in.hi;
    }
    return r;
}

/* a->outer - b->outer, if that is a number. */
static bool outer_distance(prover *p, position *a, position *b, int64_t *off)
{
    linear d;
    linear_init(&d);
    linear_add(p->k, &d, linear_expr(p->k, &a->outer), dim_const(1));
    linear_add(p->k, &d, linear_expr(p->k, &b->outer), dim_const(-1));
    for (int64_t i = 0; i < d.n; i++)
        if (!dim_is(d.at[i].coef, 0)) return false;
    return !d.bad && dim_is_const(d.constant, off);
}

/* Do different iterations use different elements, as far as this dim tells? */
static bool separates(prover *p, position *a, position *b)
{
    int64_t off, lo, hi;
    if (!a->usable || !b->usable || dim_is(a->coef, 0) || !dim_same(a->coef, b->coef) ||
        !outer_distance(p, a, b, &off))
        return false;
    dim_range(p->k->dims, a->coef, &lo, &hi);
    int64_t c = lo > 0 ? lo : hi < 0 ? -hi : 0;
    return a->inner.hi - b->inner.lo + off < c && b->inner.hi - a->inner.lo - off < c;
}

static void note_touch(prover *p, const stmt *s, int buf, const expr *const *index, bool is_store)
{
    const buffer *b = &p->k->bufs.at[buf];
    touch t = { .buf = buf, .is_store = is_store, .at = s };
    const expr *seen[MAX_RANK];
    if (p->is_own[buf] || (p->in >= 0 && buf != (is_store ? p->out : p->in))) return;
    for (int i = 0; i < b->rank; i++) {
        seen[i] = x_rewrite(p->k, index[i], see_let, p);
        t.pos[i] = position_of(p, seen[i]);
    }
    t.pos[b->rank] = position_of(p, x_address(p->k, buf, seen));
    vec_push(p->k->arena, &p->touches, t);
}

static void note_loads(prover *p, const stmt *s, const expr *e)
{
    if (!e) return;
    if (e->kind == EXPR_load && p->is_stored[e->id]) note_touch(p, s, e->id, e->args, false);
    if (e->kind == EXPR_tree && p->in < 0 && p->is_stored[e->id] && !p->is_own[e->id])
        vec_push(p->k->arena, &p->touches, ((touch){ .buf = e->id, .at = s }));
    for (int i = 0; i < e->n_args; i++) note_loads(p, s, e->args[i]);
}

static void enter_loop(prover *p, const stmt *s, range *saved)
{
    scope sc = { (int)p->k->vars.n, p->ranges };
    stmt seen = *s;
    seen.lo = x_rewrite(p->k, s->lo, see_let, p);
    seen.hi = x_rewrite(p->k, s->hi, see_let, p);
    *saved = p->ranges[s->var];
    p->ranges[s->var] = x_var_range(p->k, &sc, &seen);
}

static void note_let(prover *p, const stmt *s)
{
    if (s->value->type == DTYPE_i64) p->lets[s->id] = x_rewrite(p->k, s->value, see_let, p);
}

static void note_stores(prover *p, const block *b)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *s = b->at[i];
        if (s->kind == STMT_store) p->is_stored[s->id] = true;
        if (s->kind == STMT_alloc) p->is_own[s->id] = true;
        if (s->kind == STMT_for) p->is_inner[s->var] = true;
        note_stores(p, &s->body);
        note_stores(p, &s->other);
    }
}

static void note_block(prover *p, const block *b);

static void note_stmt(prover *p, const stmt *s)
{
    range saved = { 0 };
    note_loads(p, s, s->value);
    note_loads(p, s, s->lo);
    note_loads(p, s, s->hi);
    note_loads(p, s, s->cond);
    if (s->kind == STMT_let) note_let(p, s);
    if (s->kind == STMT_store) {
        for (int j = 0; j < p->k->bufs.at[s->id].rank; j++) note_loads(p, s, s->index[j]);
        note_touch(p, s, s->id, s->index, true);
    }
    if (s->kind == STMT_for) enter_loop(p, s, &saved);
    note_block(p, &s->body);
    note_block(p, &s->other);
    if (s->kind == STMT_for) p->ranges[s->var] = saved;
}

static void note_block(prover *p, const block *b)
{
    for (int i = 0; i < b->n; i++) note_stmt(p, b->at[i]);
}

/* -- One loop -------------------------------------------------------------------------------------------- */

/* What the statements of b touch, seen from variable var. */
static void look(prover *p, const block *b, int var)
{
    memset(p->is_inner, 0, (size_t)p->k->vars.n);
    memset(p->is_own, 0, (size_t)p->k->bufs.n);
    memset(p->is_stored, 0, (size_t)p->k->bufs.n);
    if (p->in >= 0) p->is_stored[p->in] = true;
    p->var = var;
    p->touches.n = 0;
    note_stores(p, b);
}

static bool are_apart(prover *p, touch *a, touch *b)
{
    const buffer *x = &p->k->bufs.at[a->buf], *y = &p->k->bufs.at[b->buf];
    bool same = x->rank == y->rank;
    for (int d = 0; d < x->rank && same; d++) same = dim_same(x->dims[d], y->dims[d]);
    for (int d = 0; d < x->rank && same; d++)
        if (separates(p, &a->pos[d], &b->pos[d])) return true;
    return separates(p, &a->pos[x->rank], &b->pos[y->rank]);
}

static bool share_memory(const prover *p, const touch *a, const touch *b)
{
    return p->in < 0 ? a->buf == b->buf : !b->is_store;
}

/* An access that another turn of the loop may meet; NULL: none. */
static const touch *find_meeting(prover *p, const stmt *loop)
{
    look(p, &loop->body, loop->var);
    note_block(p, &loop->body);
    for (int64_t i = 0; i < p->touches.n; i++) {
        touch *a = &p->touches.at[i];
        if (!a->is_store) continue;
        for (int64_t j = 0; j < p->touches.n; j++) {
            touch *b = &p->touches.at[j];
            if (share_memory(p, a, b) && !are_apart(p, a, b)) return b;
        }
    }
    return NULL;
}

/* -- Marked loops ---------------------------------------------------------------------------------------- */

static void prove_block(prover *p, const block *b)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *s = b->at[i];
        range saved = { 0 };
        if (s->kind == STMT_let) note_let(p, s);
        if (s->kind == STMT_for) enter_loop(p, s, &saved);
        if (s->kind == STMT_for && (s->mark == MARK_vector || s->mark == MARK_parallel)) {
            const touch *t = find_meeting(p, s);
            if (t) p->tell(p->arg, s, t->at, t->buf);
        }
        prove_block(p, &s->body);
        prove_block(p, &s->other);
        if (s->kind == STMT_for) p->ranges[s->var] = saved;
    }
}

static prover prover_of(kernel_code *k, int in, int out)
{
    prover p = { .k = k,
                 .in = in,
                 .out = out,
                 .ranges = NEW_ARRAY(k->arena, range, k->vars.n),
                 .lets = NEW_ARRAY(k->arena, const expr *, k->temps.n),
                 .is_inner = NEW_ARRAY(k->arena, bool, k->vars.n),
                 .is_own = NEW_ARRAY(k->arena, bool, k->bufs.n),
                 .is_stored = NEW_ARRAY(k->arena, bool, k->bufs.n) };
    for (int64_t i = 0; i < k->vars.n; i++) p.ranges[i] = (range){ -DIM_LIMIT, DIM_LIMIT };
    return p;
}

void loops_apart(kernel_code *k, meeting_fn tell, void *arg)
{
    prover p = prover_of(k, -1, -1);
    p.tell = tell;
    p.arg = arg;
    prove_block(&p, &k->body);
}

/* -- In place -------------------------------------------------------------------------------------------- */

/* Is every element that comes to lie at a before every one at b, or behind? */
static bool is_disjoint(prover *p, position *a, position *b)
{
    int64_t off;
    if (!a->usable || !b->usable || !outer_distance(p, a, b, &off)) return false;
    return a->inner.hi + off < b->inner.lo || b->inner.hi - off < a->inner.lo;
}

static bool are_disjoint(prover *p, touch *a, touch *b)
{
    const buffer *x = &p->k->bufs.at[a->buf], *y = &p->k->bufs.at[b->buf];
    return is_disjoint(p, &a->pos[x->rank], &b->pos[y->rank]);
}

/* Does a statement read what an earlier one of the block may have stored over? */
static bool reads_later(prover *p, const block *b)
{
    look(p, b, -1);
    for (int i = 0; i < b->n; i++) {
        int64_t begin = p->touches.n;
        note_stmt(p, b->at[i]);
        for (int64_t r = begin; r < p->touches.n; r++)
            for (int64_t w = 0; w < begin && !p->touches.at[r].is_store; w++)
                if (p->touches.at[w].is_store && !are_disjoint(p, &p->touches.at[w], &p->touches.at[r]))
                    return true;
    }
    return false;
}

static bool stores_to(const block *b, int buf)
{
    for (int i = 0; i < b->n; i++)
        if ((b->at[i]->kind == STMT_store && b->at[i]->id == buf) || stores_to(&b->at[i]->body, buf) ||
            stores_to(&b->at[i]->other, buf))
            return true;
    return false;
}

static bool block_in_place(prover *p, const block *b)
{
    if (!stores_to(b, p->out)) return true;
    if (reads_later(p, b)) return false;
    bool ok = true;
    for (int i = 0; i < b->n && ok; i++) {
        const stmt *s = b->at[i];
        range saved = { 0 };
        if (s->kind == STMT_let) note_let(p, s);
        if (s->kind == STMT_for) {
            enter_loop(p, s, &saved);
            ok = !find_meeting(p, s);
        }
        ok = ok && block_in_place(p, &s->body) && block_in_place(p, &s->other);
        if (s->kind == STMT_for) p->ranges[s->var] = saved;
    }
    return ok;
}

bool kernel_in_place(const kernel_code *kernel, int in, int out)
{
    const buffer *x = &kernel->bufs.at[in], *y = &kernel->bufs.at[out];
    if (x->role != ROLE_in || y->role != ROLE_out || kernel->writes_early || x->dtype != y->dtype)
        return false;
    if (!dim_same(dim_product(kernel->dims, x->dims, x->rank), dim_product(kernel->dims, y->dims, y->rank)))
        return false;
    arena *scratch = arena_new(arena_mem(kernel->arena));
    kernel_code *k = arena_copy(scratch, kernel, sizeof *kernel);      /* expressions made here die here */
    k->arena = scratch;
    prover p = prover_of(k, in, out);
    bool ok = block_in_place(&p, &k->body);
    arena_free(scratch);
    return ok;
}
