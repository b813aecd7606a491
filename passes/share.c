/* share: kernels that do the same become one kernel
 *
 * Why    A model of many layers calls the same code again and again, often with other numbers in it: scales
 *        of quantization, slopes, one constant a layer. Scheduling and code generation cost per kernel; a
 *        graph of 10^6 nodes x <- relu(x * c_i + x) is 16,000 calls of one kernel.
 * How    Kernels are grouped by their text without names, temps and float literals (ir/kernel_key.h). Those
 *        that are equal with their literals become one. If a group still holds many, its kernel gets one more
 *        operand: the literals that differ, a row of a table for each member. Literals that all members share
 *        stay where they are.
 *
 *            k0: y = relu(x * 0.25 + x)                      k0: y = relu(x * k[0] + x)
 *            k1: y = relu(x * 0.5  + x)              =>      call k0(x, x1, ks[0])  call k0(x1, x2, ks[1])  …
 *
 * Keeps  every bit: a literal and a load of the same number give the same. Only operands of basic rows are
 *        taken, so what a backend expands does not change either.
 * Leaves groups of fewer than MANY: their code is small, and a literal may be worth something to the code
 * generator.
 * Cost   linear in the kernels' text.
 * See    tests/passes/share.test
 */
#include "ir/kernel_key.h"
#include "passes/pipeline.h"

enum { MANY = 4 };

typedef struct {
    int first;                    /* the kernel that stays */
    vec(int) distinct;            /* kernels that differ in literals, the first among them */
    map_str rows;                 /* literals, as bytes -> place in distinct */
    int n_literals;
    bool *differs;                /* by literal */
    int table[2], n[2];           /* f32, f64: the buffer of literals, and how many a row has */
} group;

typedef struct {
    pass_run *run;
    program *p;
    vec(group *) groups;
    int *group_of, *row_of;       /* by kernel */
    literal_list *literals;       /* by kernel */
} sharing;

static const dtype literal_type[2] = { DTYPE_f32, DTYPE_f64 };

/* -- Grouping -------------------------------------------------------------------------------------------- */

static void find_groups(sharing *s)
{
    program *p = s->p;
    arena *a = s->run->scratch;
    map_str seen;
    map_init(&seen, a);
    s->group_of = NEW_ARRAY(a, int, p->kernels.n + 1);
    s->row_of = NEW_ARRAY(a, int, p->kernels.n + 1);
    s->literals = NEW_ARRAY(a, literal_list, p->kernels.n + 1);
    for (int i = 0; i < p->kernels.n; i++) {
        literal_list *l = &s->literals[i];
        bytes key = kernel_shape_key(a, p->kernels.at[i], l);
        bool fresh;
        int id = s->group_of[i] = (int)*map_put(&seen, (const char *)key.at, key.n, (uint64_t)s->groups.n,
                                                &fresh);
        if (fresh) {
            group *g = NEW(a, group);
            g->first = i;
            g->n_literals = (int)l->n;
            map_init(&g->rows, a);
            vec_push(a, &s->groups, g);
        }
        group *g = s->groups.at[id];
        uint64_t *bits = NEW_ARRAY(a, uint64_t, l->n + 1);
        for (int64_t j = 0; j < l->n; j++) bits[j] = l->at[j]->value.bits;
        s->row_of[i] = (int)*map_put(&g->rows, (const char *)bits, sizeof *bits * (size_t)l->n,
                                     (uint64_t)g->distinct.n, &fresh);
        if (fresh) vec_push(a, &g->distinct, i);
    }
}

/* -- Literals as operands -------------------------------------------------------------------------------- */

typedef struct {
    kernel_code *k;
    const group *g;
    int param[2], next[2], at;    /* at: number of the literal met next */
} rewriting;

static const expr *load_literal(rewriting *w, dtype t)
{
    int which = t == DTYPE_f64;
    const expr *index = x_int(w->k, w->next[which]++);
    return x_load(w->k, w->param[which], &index);
}

/* In the order of kernel_shape_key. Nodes are copied as they stand: no operand changes its type, so nothing
 * can fold. */
static const expr *rewrite(rewriting *w, const expr *x)
{
    const expr **args = NULL;
    for (int i = 0; i < x->n_args; i++) {
        const expr *old = x->args[i], *now;
        if (!is_literal_operand(x, i)) now = rewrite(w, old);
        else now = w->g->differs[w->at++] ? load_literal(w, old->type) : old;
        if (now == old) continue;
        if (!args) args = arena_copy(w->k->arena, x->args, (size_t)x->n_args * sizeof *args);
        args[i] = now;
    }
    if (!args) return x;
    expr *e = arena_copy(w->k->arena, x, sizeof *x);
    e->args = args;
    return e;
}

static void rewrite_block(rewriting *w, block *b)
{
    for (int i = 0; i < b->n; i++) {
        stmt *s = b->at[i];
        if (s->kind == STMT_for) {
            s->lo = rewrite(w, s->lo);
            s->hi = rewrite(w, s->hi);
        }
        if (s->kind == STMT_if) s->cond = rewrite(w, s->cond);
        if (s->kind == STMT_store || s->kind == STMT_prefetch) {
            int rank = w->k->bufs.at[s->id].rank;
            const expr **index = NEW_ARRAY(w->k->arena, const expr *, rank);
            for (int j = 0; j < rank; j++) index[j] = rewrite(w, s->index[j]);
            s->index = index;
        }
        if (s->value) s->value = rewrite(w, s->value);
        rewrite_block(w, &s->body);
        rewrite_block(w, &s->other);
    }
}

static void find_differing(sharing *s, group *g)
{
    const literal_list *first = &s->literals[g->first];
    g->differs = NEW_ARRAY(s->run->scratch, bool, g->n_literals + 1);
    for (int64_t i = 1; i < g->distinct.n; i++)
        for (int j = 0; j < g->n_literals; j++)
            g->differs[j] |= s->literals[g->distinct.at[i]].at[j]->value.bits != first->at[j]->value.bits;
    for (int j = 0; j < g->n_literals; j++)
        if (g->differs[j]) g->n[first->at[j]->type == DTYPE_f64]++;
}

/* The table of one type, a row a member. */
static int literal_table(sharing *s, const group *g, int which)
{
    program *p = s->p;
    dtype t = literal_type[which];
    dim shape[2] = { dim_const(g->distinct.n), dim_const(g->n[which]) };
    int buf = program_buf(p, "literals", PBUF_const, 0, t, 2, shape);
    size_t width = (size_t)dtype_bytes(t);
    uint8_t *data = arena_alloc(p->arena, (size_t)g->distinct.n * (size_t)g->n[which] * width), *to = data;
    for (int64_t i = 0; i < g->distinct.n; i++) {
        const literal_list *l = &s->literals[g->distinct.at[i]];
        for (int j = 0; j < g->n_literals; j++)
            if (g->differs[j] && l->at[j]->type == t) {
                sv_store(t, to, l->at[j]->value);
                to += width;
            }
    }
    p->bufs.at[buf].data = data;
    return buf;
}

/* The kernel of a group with the literals that differ as operands; where each member's are, in table[]. */
static void take_literals(sharing *s, group *g)
{
    find_differing(s, g);
    kernel_code *k = kernel_clone(s->p->kernels.at[g->first]);
    rewriting w = { .k = k, .g = g };
    for (int which = 0; which < 2; which++) {
        if (!g->n[which]) continue;
        dim n = dim_const(g->n[which]);
        g->table[which] = literal_table(s, g, which);
        w.param[which] = kernel_late_param(k, "literals", literal_type[which], ROLE_const, 1, &n);
    }
    rewrite_block(&w, &k->body);
    s->p->kernels.at[g->first] = k;
}

/* -- Calls ----------------------------------------------------------------------------------------------- */

static void redirect(sharing *s, prog_block *b)
{
    program *p = s->p;
    for (int i = 0; i < b->n; i++) {
        prog_op *x = b->at[i];
        redirect(s, &x->body);
        redirect(s, &x->other);
        redirect(s, &x->test);
        if (x->kind != PROG_call) continue;
        const group *g = s->groups.at[s->group_of[x->kernel]];
        int row = s->row_of[x->kernel], n = 0;
        if (g->distinct.n < MANY) {
            x->kernel = g->distinct.at[row];
            continue;
        }
        const kernel_code *k = p->kernels.at[g->first];
        view *args = NEW_ARRAY(p->arena, view, k->n_params);
        int n_tables = (g->n[0] > 0) + (g->n[1] > 0);
        for (; n < k->n_params - n_tables; n++) args[n] = x->args[n];
        for (int which = 0; which < 2; which++)
            if (g->n[which]) args[n++] = (view){ g->table[which], x_int(p->exprs, row) };
        x->kernel = g->first;
        x->args = args;
    }
}

static void renumber(prog_block *b, const int *number)
{
    for (int i = 0; i < b->n; i++) {
        prog_op *x = b->at[i];
        if (x->kind == PROG_call) x->kernel = number[x->kernel];
        renumber(&x->body, number);
        renumber(&x->other, number);
        renumber(&x->test, number);
    }
}

static bool stays(const sharing *s, int kernel)
{
    const group *g = s->groups.at[s->group_of[kernel]];
    return g->distinct.n < MANY ? g->distinct.at[s->row_of[kernel]] == kernel : g->first == kernel;
}

/* Each kernel that goes is a change; those beyond the limit become a group of their own. */
static void count_changes(sharing *s)
{
    arena *a = s->run->scratch;
    for (int i = 0; i < s->p->kernels.n; i++) {
        if (stays(s, i)) continue;
        if (pass_allow(s->run)) {
            const group *g = s->groups.at[s->group_of[i]];
            int by = g->distinct.n < MANY ? g->distinct.at[s->row_of[i]] : g->first;
            if (s->run->explain)
                text_printf(s->run->explain, "%s: computed by %s\n", s->p->kernels.at[i]->name,
                            s->p->kernels.at[by]->name);
            continue;
        }
        group *alone = NEW(a, group);
        alone->first = i;
        vec_push(a, &alone->distinct, i);
        s->group_of[i] = (int)s->groups.n;
        s->row_of[i] = 0;
        vec_push(a, &s->groups, alone);
    }
}

static void drop_unused(sharing *s)
{
    program *p = s->p;
    int *number = NEW_ARRAY(s->run->scratch, int, p->kernels.n + 1);
    int n = 0;
    for (int i = 0; i < p->kernels.n; i++) {
        if (!stays(s, i)) continue;
        number[i] = n;
        p->kernels.at[n++] = p->kernels.at[i];
    }
    p->kernels.n = n;
    renumber(&p->body, number);
}

bool share_program(pass_run *run, program *p)
{
    sharing s = { .run = run, .p = p };
    find_groups(&s);
    count_changes(&s);
    for (int64_t i = 0; i < s.groups.n; i++)
        if (s.groups.at[i]->distinct.n >= MANY) take_literals(&s, s.groups.at[i]);
    redirect(&s, &p->body);
    drop_unused(&s);
    return true;
}
