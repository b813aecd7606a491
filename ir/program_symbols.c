/* program_symbols: which open sizes a run finds, and which its caller gives
 *
 * A symbol is found by the run if a setdim sets it, or if it stands in no input's shape: then no caller could
 * know it, and it stays at its bound. All others are given by the shapes of the inputs. O(buffers +
 * operations).
 */
#include "ir/loop.h"

static void mark_symbols(dims *t, dim d, bool *found)
{
    if (dim_is_const(d, NULL)) return;
    dim_view v = dim_look(t, d);
    if (v.kind == DIM_SYMBOL) found[v.symbol] = true;
    else if (v.kind != DIM_CONST)
        for (int i = 0; i < v.n_args; i++) mark_symbols(t, v.args[i], found);
}

static void mark_set(arena *a, const prog_block *body, bool *found)
{
    vec(const prog_block *) blocks = { 0 };
    vec_push(a, &blocks, body);
    while (blocks.n) {
        const prog_block *b = vec_pop(&blocks);
        for (int i = 0; i < b->n; i++) {
            const prog_op *x = b->at[i];
            if (x->kind == PROG_setdim) found[x->symbol] = true;
            if (x->kind == PROG_call || x->kind == PROG_setdim) continue;
            vec_push(a, &blocks, &x->body);
            vec_push(a, &blocks, &x->other);
            vec_push(a, &blocks, &x->test);
        }
    }
}

bool *program_found_symbols(arena *a, const program *p)
{
    int n = dims_n_symbols(p->dims);
    bool *given = NEW_ARRAY(a, bool, n + 1), *found = NEW_ARRAY(a, bool, n + 1);
    for (int64_t i = 0; i < p->bufs.n; i++)
        for (int k = 0; p->bufs.at[i].kind == PBUF_input && k < p->bufs.at[i].rank; k++)
            mark_symbols(p->dims, p->bufs.at[i].dims[k], given);
    for (int i = 0; i < n; i++) found[i] = !given[i];
    mark_set(a, &p->body, found);
    return found;
}
