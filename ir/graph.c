/* ir/graph.c: facts of the graph's tables, types, and walks over all nodes: compaction and counting uses. */
#include "ir/graph.h"
#include <stdio.h>

const prim_row prim_info[PRIM_COUNT] = {
#define PRIM(name, n_in, n_out, doc) [PRIM_##name] = { #name, n_in, n_out, doc },
#include "ir/prim.def"
};

const char *const reduce_name[REDUCE_COUNT] = { "sum", "prod", "max", "min", "argmax", "argmin" };
const char *const window_name[WINDOW_COUNT] = { "sum", "prod", "max", "min", "argmax" };
const char *const scatter_name[SCATTER_COUNT] = { "set", "add", "mul", "max", "min" };
const char *const anchor_name[ANCHOR_COUNT] = {
    "map", "row", "contract", "window", "move", "scatter", "sort", "compact"
};

/* -- Types ----------------------------------------------------------------------------------------------- */

dim type_elements(const graph *g, type t) { return dim_product(g->dims, t.dims, t.rank); }

bool type_same(type a, type b)
{
    if (a.dtype != b.dtype || a.rank != b.rank) return false;
    return a.dims == b.dims || a.rank == 0 || memcmp(a.dims, b.dims, (size_t)a.rank * sizeof(dim)) == 0;
}

void type_print(const graph *g, type t, text *out)
{
    text_printf(out, "%s[", dtype_info[t.dtype].name);
    for (int i = 0; i < t.rank; i++) {
        if (i) text_put(out, ", ");
        dim_print(g->dims, t.dims[i], out);
    }
    text_put(out, "]");
}

/* -- Walks ----------------------------------------------------------------------------------------------- */

uint32_t *graph_order(const graph *g, arena *a, int64_t *n)
{
    uint32_t *order = NEW_ARRAY(a, uint32_t, g->nodes.n), *next = NEW_ARRAY(a, uint32_t, g->nodes.n);
    uint8_t *seen = NEW_ARRAY(a, uint8_t, g->nodes.n);
    vec(uint32_t) stack = { 0 };
    *n = 0;
    for (int64_t r = 0; r < g->results.n; r++) {
        uint32_t root = g->owner.at[g->results.at[r].id];
        if (!root || seen[root]) continue;
        seen[root] = 1;
        vec_push(a, &stack, root);
        while (stack.n) {
            uint32_t i = stack.at[stack.n - 1];
            const node *x = &g->nodes.at[i];
            if (next[i] == x->n_in) {
                order[(*n)++] = i;
                stack.n--;
                continue;
            }
            uint32_t operand = g->owner.at[x->in[next[i]++].id];
            if (!operand || seen[operand]) continue;
            seen[operand] = 1;
            vec_push(a, &stack, operand);
        }
    }
    return order;
}

static int node_bodies(const node *n, const graph *body[2])
{
    switch (n->prim) {
    case PRIM_scan: body[0] = n->scan->body; return 1;
    case PRIM_kernel: body[0] = n->kernel->body; return 1;
    case PRIM_cond: body[0] = n->cond->then_body; body[1] = n->cond->else_body; return 2;
    case PRIM_while: body[0] = n->loop->test; body[1] = n->loop->body; return 2;
    default: return 0;
    }
}

/* Is there a node of p in the bodies of n, at any depth? */
static bool body_has(const node *n, arena *a, prim p)
{
    vec(const graph *) todo = { 0 };
    const graph *body[2];
    for (int k = node_bodies(n, body); k-- > 0;) vec_push(a, &todo, body[k]);
    while (todo.n) {
        const graph *b = todo.at[--todo.n];
        for (int64_t i = 1; i < n_nodes(b); i++) {
            const node *x = &b->nodes.at[i];
            if (x->prim == p) return true;
            for (int k = node_bodies(x, body); k-- > 0;) vec_push(a, &todo, body[k]);
        }
    }
    return false;
}

bool *graph_depends(const graph *g, arena *a, prim p)
{
    bool *yes = NEW_ARRAY(a, bool, g->nodes.n);
    for (int64_t i = 1; i < n_nodes(g); i++) {
        const node *n = &g->nodes.at[i];
        yes[i] = n->prim == p || body_has(n, a, p);
        for (int k = 0; k < n->n_in && !yes[i]; k++) yes[i] = yes[g->owner.at[n->in[k].id]];
    }
    return yes;
}

uint32_t *graph_uses(const graph *g, arena *a)
{
    uint32_t *uses = NEW_ARRAY(a, uint32_t, g->owner.n);
    arena *scratch = arena_new(arena_mem(a));
    int64_t n;
    const uint32_t *order = graph_order(g, scratch, &n);
    for (int64_t i = 0; i < n; i++) {
        const node *x = &g->nodes.at[order[i]];
        for (int k = 0; k < x->n_in; k++) uses[x->in[k].id]++;
    }
    for (int64_t r = 0; r < g->results.n; r++) uses[g->results.at[r].id]++;
    arena_free(scratch);
    return uses;
}
