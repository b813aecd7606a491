/* states: what a training step keeps becomes state buffers, updated in place where nothing is lost
 *
 *     input w: f32[64]   output w_new: f32[64]        state w: f32[64] at 128
 *     call @k3(w, g, w_new)                      =>   call @k3(w, g, w)
 *
 * Why    Parameters and moments are most of a step's memory. In place they need no second copy, and a step returns without
 *        moving any.
 * How    The input's buffer becomes the state. The output disappears into it if
 *          1  one call of the main sequence makes it, whole;
 *          2  whoever else reads the old value comes before that call; where one comes after it, the call is moved behind
 *             that reader, if it depends on nothing it passes;
 *          3  the call does not read the old value, or reads each element in the iteration that stores it and not later
 *             (ir/apart.h). This is looked for in maps only: other anchors may be scheduled so that partial sums rest in the
 *             result.
 *        Else the new value is a temporary, and is copied at the program's end. A state that stays as it is costs nothing.
 *        The pass `settle`, after the schedules, asks again for each such copy, of the kernels as they stand then: an update in
 *        the epilogue of a product stores in place unless partial sums rest in the result.
 * Needs  a program of plain nests, each kernel called once, as lower leaves it; positions of inputs and outputs.
 * Keeps  every bit.
 * Cost   O(states · calls) for moved calls, else O(operands).
 */
#include "ir/apart.h"
#include "ir/loop_names.h"
#include "passes/pipeline.h"

typedef struct { int buf; bool reads, writes, whole; } touch;
typedef vec(touch) touch_list;
typedef vec(int) id_list;

typedef struct {
    arena *a;
    program *p;
    pass_run *run;
    int n;                      /* operations of the main sequence */
    prog_op **op;               /* by first position */
    touch_list *of;             /* what each touches, bodies included */
    int *at, *order;            /* position of an operation now, and back */
    bool *gone;
    id_list *users;             /* by buffer: operations that touch it */
    int *same;                  /* by buffer: the state that it became part of, or itself */
    bool *is_slot;              /* a buffer lives in it, or it in one */
    bool anchors_map;           /* only maps may store in place: the schedules are still to come */
} binding;

/* -- Who touches what ----------------------------------------------------------------------------------------------------- */

static void add_touch(binding *b, int op, view v, bool reads, bool writes)
{
    if (v.buf < 0) return;
    touch_list *l = &b->of[op];
    for (int64_t i = 0; i < l->n; i++)
        if (l->at[i].buf == v.buf) {
            l->at[i].reads |= reads;
            l->at[i].writes |= writes;
            l->at[i].whole &= !v.at;
            return;
        }
    vec_push(b->a, l, ((touch){ v.buf, reads, writes, !v.at }));
    vec_push(b->a, &b->users[v.buf], op);
}

static void touch_op(binding *b, int op, const prog_op *x);

static void touch_block(binding *b, int op, const prog_block *body)
{
    for (int i = 0; i < body->n; i++) touch_op(b, op, body->at[i]);
}

static void touch_op(binding *b, int op, const prog_op *x)
{
    if (x->kind == PROG_call) {
        const kernel_code *k = b->p->kernels.at[x->kernel];
        for (int i = 0; i < k->n_params; i++) {
            buf_role r = k->bufs.at[i].role;
            bool is_scratch = r == ROLE_none;
            add_touch(b, op, x->args[i], r != ROLE_out, r == ROLE_out || r == ROLE_inout || is_scratch);
        }
    }
    add_touch(b, op, x->pred, true, false);
    add_touch(b, op, x->source, true, false);
    touch_block(b, op, &x->test);
    touch_block(b, op, &x->body);
    touch_block(b, op, &x->other);
}

static binding look(pass_run *run, program *p)
{
    arena *a = run->scratch;
    int n = p->body.n;
    binding b = { .a = a, .p = p, .run = run, .n = n, .op = NEW_ARRAY(a, prog_op *, n + 1), .of = NEW_ARRAY(a, touch_list, n + 1),
                  .at = NEW_ARRAY(a, int, n + 1), .order = NEW_ARRAY(a, int, n + 1), .gone = NEW_ARRAY(a, bool, n + 1),
                  .users = NEW_ARRAY(a, id_list, p->bufs.n + 1), .same = NEW_ARRAY(a, int, p->bufs.n + 1),
                  .is_slot = NEW_ARRAY(a, bool, p->bufs.n + 1) };
    for (int64_t i = 0; i < p->bufs.n; i++) {
        b.same[i] = (int)i;
        if (p->bufs.at[i].slot_of >= 0) b.is_slot[i] = b.is_slot[p->bufs.at[i].slot_of] = true;
    }
    for (int i = 0; i < n; i++) {
        b.op[i] = p->body.at[i];
        b.at[i] = b.order[i] = i;
        touch_op(&b, i, b.op[i]);
    }
    return b;
}

static const touch *touch_of(const binding *b, int op, int buf)
{
    for (int64_t i = 0; i < b->of[op].n; i++)
        if (b->same[b->of[op].at[i].buf] == b->same[buf]) return &b->of[op].at[i];
    return NULL;
}

static bool depend(const binding *b, int x, int y)
{
    for (int64_t i = 0; i < b->of[x].n; i++) {
        const touch *t = &b->of[x].at[i];
        for (int64_t j = 0; j < b->of[y].n; j++) {
            const touch *u = &b->of[y].at[j];
            if (b->same[t->buf] == b->same[u->buf] && (t->writes || u->writes)) return true;
        }
    }
    return false;
}

/* -- In place -------------------------------------------------------------------------------------------------------------- */

static bool same_index(const kernel_code *k, int in, int out, const expr *const *i, const expr *const *j)
{
    const buffer *x = &k->bufs.at[in], *y = &k->bufs.at[out];
    if (x->rank != y->rank) return false;
    for (int d = 0; d < x->rank; d++)
        if (!dim_same(x->dims[d], y->dims[d]) || !x_same(i[d], j[d])) return false;
    return true;
}

/* Stores of y[i] = x[i], and nothing else but loops and tests around. */
static bool copies_all(const kernel_code *k, const block *b)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *s = b->at[i];
        if (s->kind != STMT_store && s->kind != STMT_for && s->kind != STMT_if) return false;
        if (s->kind == STMT_store && (s->id != 1 || s->value->kind != EXPR_load || s->value->id || !same_index(k, 0, 1, s->value->args, s->index))) return false;
        if (!copies_all(k, &s->body) || !copies_all(k, &s->other)) return false;
    }
    return true;
}

/* for v: y[v] = x[v], and nothing else */
static bool is_copy(const kernel_code *k)
{
    if (k->n_params != 2 || k->body.n != 1 || k->body.at[0]->kind != STMT_for || k->body.at[0]->body.n != 1) return false;
    const stmt *s = k->body.at[0]->body.at[0];
    return s->kind == STMT_store && s->id == 1 && s->value->kind == EXPR_load && s->value->id == 0 && same_index(k, 0, 1, s->value->args, s->index);
}

static void move_behind(binding *b, int op, int to)
{
    for (int i = b->at[op]; i < to; i++) {
        b->order[i] = b->order[i + 1];
        b->at[b->order[i]] = i;
    }
    b->order[to] = op;
    b->at[op] = to;
}

/* The only operation that writes buffer `out`; -1: none, or several, or not a whole. */
static int writer_of(const binding *b, int out)
{
    int found = -1;
    for (int64_t i = 0; i < b->users[out].n; i++) {
        int op = b->users[out].at[i];
        const touch *t = touch_of(b, op, out);
        if (!t->writes) continue;
        if (found >= 0 || b->op[op]->kind != PROG_call || !t->whole || t->reads) return -1;
        found = op;
    }
    return found;
}

/* May this call store the new value where it reads the old one? */
static bool call_in_place(const binding *b, int op, int state, int out)
{
    const prog_op *x = b->op[op];
    const kernel_code *k = b->p->kernels.at[x->kernel];
    int to = -1;
    for (int i = 0; i < k->n_params; i++)
        if (x->args[i].buf == out) {
            if (to >= 0) return false;
            to = i;
        }
    if (to < 0 || k->bufs.at[to].role != ROLE_out) return false;
    for (int i = 0; i < k->n_params; i++) {
        if (b->same[x->args[i].buf] != state) continue;
        if (x->args[i].at || k->writes_early || (b->anchors_map && k->anchor != ANCHOR_map) || !kernel_in_place(k, i, to)) return false;
    }
    return true;
}

static bool try_in_place(binding *b, int state, int out)
{
    if (b->is_slot[state] || b->is_slot[out]) return false;
    int w = writer_of(b, out), last = w < 0 ? -1 : b->at[w];
    if (w < 0) return false;
    for (int64_t i = 0; i < b->users[state].n; i++) {
        int op = b->users[state].at[i];
        if (op != w && !b->gone[op] && b->at[op] > last) last = b->at[op];
    }
    const prog_op *x = b->op[w];
    bool stays = x->args[0].buf == state && is_copy(b->p->kernels.at[x->kernel]);
    if (!stays && !call_in_place(b, w, state, out)) return false;
    for (int i = b->at[w] + 1; i <= last && !stays; i++)
        if (depend(b, w, b->order[i])) return false;
    if (stays) b->gone[w] = true;
    else if (last > b->at[w]) move_behind(b, w, last);
    b->same[out] = state;
    for (int64_t i = 0; i < b->users[out].n; i++) vec_push(b->a, &b->users[state], b->users[out].at[i]);
    return true;
}

/* -- The program --------------------------------------------------------------------------------------------------------- */

static void rename_view(const binding *b, view *v)
{
    if (v->buf >= 0) v->buf = b->same[v->buf];
}

static void rename_block(const binding *b, prog_block *body)
{
    for (int i = 0; i < body->n; i++) {
        prog_op *x = body->at[i];
        for (int j = 0; x->kind == PROG_call && j < b->p->kernels.at[x->kernel]->n_params; j++) rename_view(b, &x->args[j]);
        rename_view(b, &x->pred);
        rename_view(b, &x->source);
        rename_block(b, &x->test);
        rename_block(b, &x->body);
        rename_block(b, &x->other);
    }
}

/* y = x, at the end. */
static void copy_at_end(program *p, int from, int to)
{
    const pbuf *s = &p->bufs.at[from];
    dim n = dim_product(p->dims, s->dims, s->rank);
    kernel_code *k = kernel_new(p->ctx, p->arena, p->dims, "keep", ANCHOR_map);
    int x = kernel_param(k, "x", s->dtype, ROLE_in, 1, &n), y = kernel_param(k, "y", s->dtype, ROLE_out, 1, &n);
    int v = kernel_var(k, "d0", LOOP_plain);
    stmt *loop = s_for(k, v, x_int(k, 0), x_dim(k, n), MARK_serial);
    const expr *at = x_var(k, v);
    block_push(k, &k->body, loop);
    block_push(k, &loop->body, s_store(k, y, &at, x_load(k, x, &at)));
    prog_op *op = program_op(p, &p->body, PROG_call);
    op->kernel = program_kernel(p, k);
    op->args = NEW_ARRAY(p->arena, view, 2);
    op->args[0] = (view){ from, NULL };
    op->args[1] = (view){ to, NULL };
}

/* Buffers that became part of a state go; positions of inputs and outputs are counted anew. */
static void drop_buffers(binding *b)
{
    program *p = b->p;
    int n = 0, n_in = 0, n_out = 0, *number = NEW_ARRAY(b->a, int, p->bufs.n + 1);
    for (int64_t i = 0; i < p->bufs.n; i++)
        if (b->same[i] == (int)i) number[i] = n++;
    for (int64_t i = 0; i < p->bufs.n; i++) b->same[i] = number[b->same[i]];
    map_str *names = &p->exprs->names;
    for (int64_t i = 0; i < names->n; i++) {
        uint64_t *entry = &names->entries[i].value;
        if ((name_kind)(*entry >> 32) == NAME_buffer) *entry = (uint64_t)NAME_buffer << 32 | (uint32_t)b->same[(uint32_t)*entry];
    }
    int64_t old = p->bufs.n;
    p->bufs.n = n;
    for (int64_t i = 0, at = 0; i < old && at < n; i++) {
        if (b->same[i] != at) continue;                          /* a later part of an earlier state */
        pbuf x = p->bufs.at[i];
        if (x.slot_of >= 0) x.slot_of = b->same[x.slot_of];
        if (x.kind == PBUF_input) x.index = n_in++;
        if (x.kind == PBUF_output) x.index = n_out++;
        p->bufs.at[at++] = x;
    }
    p->n_inputs = n_in;
    p->n_outputs = n_out;
}

/* The sequence as it stands now, without what vanished. */
static void put_sequence(binding *b)
{
    prog_block *body = &b->p->body;
    int n = 0;
    for (int i = 0; i < b->n; i++)
        if (!b->gone[b->order[i]]) body->at[n++] = b->op[b->order[i]];
    body->n = n;
}

static int find_tensor(const program *p, pbuf_kind kind, int index)
{
    for (int64_t i = 0; index >= 0 && i < p->bufs.n; i++)
        if (p->bufs.at[i].kind == kind && p->bufs.at[i].index == index) return (int)i;
    return -1;
}

bool states_program(pass_run *run, program *p, const state_binding *s)
{
    binding b = look(run, p);
    b.anchors_map = true;
    int *state = NEW_ARRAY(b.a, int, s->n + 1), *out = NEW_ARRAY(b.a, int, s->n + 1);
    vec(touch) copies = { 0 };                                   /* buf: from; whole: unused */
    for (int i = 0; i < s->n; i++) {
        state[i] = find_tensor(p, PBUF_input, s->pairs[i].input);
        out[i] = find_tensor(p, PBUF_output, s->pairs[i].output);
    }
    id_list to = { 0 };
    for (int i = 0; i < s->n; i++) {
        int at = state[i] >= 0 ? state[i] : out[i];
        if (at < 0) continue;
        bool is_merged = state[i] < 0 || out[i] < 0;
        if (!is_merged) is_merged = try_in_place(&b, state[i], out[i]);
        if (run->explain) text_printf(run->explain, "%s: %s\n", s->rows[i].name, is_merged ? "in place" : "copied at the end");
        if (!is_merged) {
            p->bufs.at[out[i]].kind = PBUF_temp;
            p->bufs.at[out[i]].index = 0;
            vec_push(b.a, &copies, ((touch){ .buf = out[i] }));
            vec_push(b.a, &to, at);
        }
        p->bufs.at[at].kind = PBUF_state;
        p->bufs.at[at].index = i;
        p->bufs.at[at].offset = s->rows[i].offset;
        run->changes++;
    }
    put_sequence(&b);
    drop_buffers(&b);
    rename_block(&b, &p->body);
    for (int64_t i = 0; i < copies.n; i++) copy_at_end(p, b.same[copies.at[i].buf], b.same[to.at[i]]);
    p->n_states = s->n;
    p->states = s->rows;
    p->states_bytes = s->bytes;
    return true;
}

/* Is this the copy of a temporary to a state? */
static bool is_keeping(const program *p, const prog_op *x)
{
    if (x->kind != PROG_call) return false;
    const kernel_code *k = p->kernels.at[x->kernel];
    if (k->n_params != 2 || k->bufs.at[0].role != ROLE_in || k->bufs.at[1].role != ROLE_out || x->args[0].at || x->args[1].at) return false;
    const pbuf *from = &p->bufs.at[x->args[0].buf], *to = &p->bufs.at[x->args[1].buf];
    return from->kind == PBUF_temp && to->kind == PBUF_state && copies_all(k, &k->body);
}

bool settle_program(pass_run *run, program *p)
{
    binding b = look(run, p);
    int64_t before = run->changes;
    for (int i = 0; i < b.n; i++) {
        const prog_op *x = b.op[i];
        if (!is_keeping(p, x)) continue;
        int from = x->args[0].buf, to = x->args[1].buf;
        if (b.same[from] != from) continue;
        if (run->limit >= 0 && run->changes >= run->limit) break;
        b.gone[i] = true;
        b.gone[i] = try_in_place(&b, to, from) && pass_allow(run);
        if (run->explain) text_printf(run->explain, "%s: %s\n", p->bufs.at[to].name, b.gone[i] ? "in place" : "copied at the end");
    }
    if (run->changes == before) return true;
    put_sequence(&b);
    drop_buffers(&b);
    rename_block(&b, &p->body);
    program_drop_kernels(p);
    return true;
}
