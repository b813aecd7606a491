/* plan_in_place: results of calls that may have the memory of an operand
 *
 *     temp t: f32[64]   temp u: f32[64]               temp u: f32[64] in t
 *     call @relu(t, u)                          =>    call @relu(t, u)
 *
 * Why    A chain of elementwise kernels, a residual sum, a softmax needs one buffer instead of two, and stores to lines that
 *        are in cache because they were just read.
 * How    For each call: an output takes the place of an input if
 *          1  both are temporaries of one size and type, given whole;
 *          2  the input is used here for the last time, the output for the first;
 *          3  wherever the call is given the input, the kernel as it stands reads each element before it stores over it
 *             (ir/apart.h).
 *        One output an input; chains meet in their first buffer.
 * Cost   O(calls · outputs · inputs); a kernel is looked at once for each pair of its parameters.
 */
#include "ir/apart.h"
#include "passes/plan_in_place.h"

typedef struct {
    pass_run *run;
    program *p;
    const lifetime *lives;
    bool *is_taken;           /* by buffer: another one has its place already */
    map_str known;            /* kernel, in, out -> kernel_in_place */
    int64_t n;
} placing;

static bool in_place(placing *w, int kernel, int in, int out)
{
    int key[3] = { kernel, in, out };
    bool fresh;
    uint64_t *slot = map_put(&w->known, (const char *)key, sizeof key, 0, &fresh);
    if (fresh) *slot = kernel_in_place(w->p->kernels.at[kernel], in, out);
    return *slot;
}

static bool is_candidate(const program *p, view v)
{
    const pbuf *b = &p->bufs.at[v.buf];
    return !v.at && b->kind == PBUF_temp && (b->slot_of < 0 || b->in_place);
}

static bool may_take(placing *w, const prog_op *op, int in, int out)
{
    const program *p = w->p;
    int x = op->args[in].buf, y = op->args[out].buf;
    if (x == y || w->is_taken[x] || w->lives->of[x].last != w->lives->of[y].first) return false;
    if (p->bufs.at[x].dtype != p->bufs.at[y].dtype || !dim_same(p->bufs.at[x].bytes, p->bufs.at[y].bytes)) return false;
    const kernel_code *k = p->kernels.at[op->kernel];
    for (int i = 0; i < k->n_params; i++) {
        if (op->args[i].buf == y && i != out) return false;
        if (op->args[i].buf != x) continue;
        if (op->args[i].at || !in_place(w, op->kernel, i, out)) return false;
    }
    return true;
}

static void place_call(placing *w, const prog_op *op)
{
    program *p = w->p;
    const kernel_code *k = p->kernels.at[op->kernel];
    for (int out = 0; out < k->n_params; out++) {
        int y = op->args[out].buf;
        if (k->bufs.at[out].role != ROLE_out || !is_candidate(p, op->args[out]) || p->bufs.at[y].slot_of >= 0) continue;
        for (int in = 0; in < k->n_params && p->bufs.at[y].slot_of < 0; in++) {
            if (k->bufs.at[in].role != ROLE_in || !is_candidate(p, op->args[in]) || !may_take(w, op, in, out)) continue;
            int x = op->args[in].buf;
            pbuf *b = &p->bufs.at[y];
            w->is_taken[x] = true;
            b->slot_of = p->bufs.at[x].in_place ? p->bufs.at[x].slot_of : x;
            b->slot_offset = dim_const(0);
            b->in_place = true;
            if (w->run->explain) text_printf(w->run->explain, "%s: in place of %s, call of @%s\n", b->name, p->bufs.at[x].name, k->name);
            w->n++;
        }
    }
}

static void place_block(placing *w, const prog_block *b)
{
    for (int i = 0; i < b->n; i++) {
        const prog_op *op = b->at[i];
        if (op->kind == PROG_call) place_call(w, op);
        place_block(w, &op->test);
        place_block(w, &op->body);
        place_block(w, &op->other);
    }
}

int64_t plan_in_place(pass_run *run, program *p, const lifetime *lives)
{
    placing w = { .run = run, .p = p, .lives = lives, .is_taken = NEW_ARRAY(run->scratch, bool, p->bufs.n + 1) };
    map_init(&w.known, run->scratch);
    place_block(&w, &p->body);
    return w.n;
}

void plan_apart(program *p)
{
    for (int64_t i = 0; i < p->bufs.n; i++) {
        pbuf *b = &p->bufs.at[i];
        if (!b->in_place) continue;
        b->in_place = false;
        b->slot_of = -1;
    }
}
