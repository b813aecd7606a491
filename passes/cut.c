/* cut: a kernel of very many nests becomes several kernels
 *
 * Why    The concatenation of 10,000 tensors is 10,000 small nests, and as one kernel a function of as many
 *        parameters: code generators take quadratic time over it, and C promises 127 parameters.
 * How    The statements at the top of such a kernel are dealt to kernels of MOST each, in order, with the
 *        parameters that each of them names; its call becomes calls of these, in the same order.
 * Keeps  every bit: the same statements run in the same order.
 * Leaves kernels whose nests share lets, local or scratch buffers.
 * Cost   linear in the kernels' text, and pieces * parameters.
 * See    tests/passes/test_cut.c
 */
#include "passes/pipeline.h"

enum { MOST = 64 };

static bool can_cut(const kernel_code *k)
{
    if (k->body.n <= 2 * MOST) return false;
    for (int i = 0; i < k->body.n; i++)
        if (k->body.at[i]->kind == STMT_let || k->body.at[i]->kind == STMT_alloc) return false;
    for (int i = 0; i < k->n_params; i++)
        if (k->bufs.at[i].role == ROLE_none || k->bufs.at[i].role == ROLE_inout) return false;
    return true;
}

static void note_expr(const expr *x, bool *used)
{
    if (x->kind == EXPR_load || x->kind == EXPR_tree) used[x->id] = true;
    for (int i = 0; i < x->n_args; i++) note_expr(x->args[i], used);
}

static void note_block(const kernel_code *k, const block *b, bool *used)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *s = b->at[i];
        if (s->kind == STMT_for) { note_expr(s->lo, used); note_expr(s->hi, used); }
        if (s->kind == STMT_if) note_expr(s->cond, used);
        if (s->kind == STMT_store || s->kind == STMT_prefetch || s->kind == STMT_alloc) used[s->id] = true;
        for (int j = 0; (s->kind == STMT_store || s->kind == STMT_prefetch) && j < k->bufs.at[s->id].rank;
             j++)
            note_expr(s->index[j], used);
        if (s->value) note_expr(s->value, used);
        note_block(k, &s->body, used);
        note_block(k, &s->other, used);
    }
}

/* param[i]: which parameter of the whole kernel the i-th of the piece is. */
typedef struct { kernel_code *k; int *param; } piece;

static piece make_piece(pass_run *run, const kernel_code *whole, int first, int n)
{
    block slice = { .at = whole->body.at + first, .n = n, .cap = n };
    bool *used = NEW_ARRAY(run->scratch, bool, whole->bufs.n + 1);
    note_block(whole, &slice, used);
    piece r = { .param = NEW_ARRAY(run->scratch, int, whole->n_params + 1) };
    int at = 0;
    for (int i = 0; i < whole->n_params; i++)
        if (used[i]) r.param[at++] = i;
    r.k = kernel_part(whole, &slice, used);
    return r;
}

static void cut_calls(pass_run *run, program *p, prog_block *b, piece **of, const int *n_pieces)
{
    int total = 0;
    for (int i = 0; i < b->n; i++) {
        prog_op *x = b->at[i];
        cut_calls(run, p, &x->body, of, n_pieces);
        cut_calls(run, p, &x->other, of, n_pieces);
        cut_calls(run, p, &x->test, of, n_pieces);
        total += x->kind == PROG_call && n_pieces[x->kernel] ? n_pieces[x->kernel] : 1;
    }
    if (total == b->n) return;
    prog_block to = { 0 };
    for (int i = 0; i < b->n; i++) {
        prog_op *x = b->at[i];
        int n = x->kind == PROG_call ? n_pieces[x->kernel] : 0;
        for (int j = 0; j < n; j++) {
            const piece *q = &of[x->kernel][j];
            prog_op *call = program_op(p, &to, PROG_call);
            call->args = NEW_ARRAY(p->arena, view, q->k->n_params + 1);
            for (int a = 0; a < q->k->n_params; a++) call->args[a] = x->args[q->param[a]];
            call->kernel = -1 - x->kernel;                       /* found below: numbers change */
            call->symbol = j;
            call->layer = x->layer;
        }
        if (n) continue;
        prog_op *same = program_op(p, &to, x->kind);
        *same = *x;
    }
    *b = to;
}

static void renumber(prog_block *b, const int *number, const int *first_piece)
{
    for (int i = 0; i < b->n; i++) {
        prog_op *x = b->at[i];
        if (x->kind == PROG_call && x->kernel >= 0) x->kernel = number[x->kernel];
        else if (x->kind == PROG_call) {
            x->kernel = first_piece[-1 - x->kernel] + x->symbol;
            x->symbol = -1;
        }
        renumber(&x->body, number, first_piece);
        renumber(&x->other, number, first_piece);
        renumber(&x->test, number, first_piece);
    }
}

bool cut_program(pass_run *run, program *p)
{
    arena *a = run->scratch;
    int n_kernels = (int)p->kernels.n, n = 0;
    int *number = NEW_ARRAY(a, int, n_kernels + 1), *n_pieces = NEW_ARRAY(a, int, n_kernels + 1),
        *first = NEW_ARRAY(a, int, n_kernels + 1);
    piece **of = NEW_ARRAY(a, piece *, n_kernels + 1);
    vec(kernel_code *) kernels = { 0 };
    for (int i = 0; i < n_kernels; i++) {
        kernel_code *k = p->kernels.at[i];
        if (!can_cut(k) || !pass_allow(run)) {
            number[i] = n++;
            vec_push(p->arena, &kernels, k);
            continue;
        }
        first[i] = n;
        of[i] = NEW_ARRAY(a, piece, (k->body.n + MOST - 1) / MOST);
        for (int at = 0; at < k->body.n; at += MOST) {
            piece q = make_piece(run, k, at, k->body.n - at < MOST ? k->body.n - at : MOST);
            q.k->name = arena_printf(p->arena, "%s_%d", k->name, n_pieces[i]);
            of[i][n_pieces[i]++] = q;
            vec_push(p->arena, &kernels, q.k);
            n++;
        }
    }
    if (n == n_kernels) return true;
    cut_calls(run, p, &p->body, of, n_pieces);
    renumber(&p->body, number, first);
    p->kernels.n = 0;
    for (int64_t i = 0; i < kernels.n; i++) vec_push(p->arena, &p->kernels, kernels.at[i]);
    return true;
}
