/* fuse: partition the graph into kernels
 *
 * Each kernel becomes one loop nest. What a graph needs beside kernels stays at the top: inputs, constants and
 * expressions of constants (evaluated once, at emission), reshapes and bitcasts of stored values (the same bytes under
 * another type), and scan, cond, while, whose bodies are partitioned alike.
 *
 * Why    A value that never reaches memory costs nothing to move. Elementwise chains, the epilogue of a contract, and the
 *        steps of softmax or LayerNorm belong in one nest.
 * How    One walk in topological order. A node is
 *          inline    a view, or a map with one reader: it lives inside the kernel of whoever reads it;
 *          a member  of a kernel: anchors (contract, window, reduce, …) open one, other nodes join the newest kernel they
 *                    read from if they read it at their own position, else they open one of their own.
 *        Kernels are numbered as they open; a node joins kernel k only if everything it reads comes from kernels <= k. So
 *        kernels depend on lower numbers only, and the result is acyclic without a search. Single numbers made of inputs alone
 *        are walked first: what reads them then joins the kernel of its other operands.
 *        A row kernel holds reductions over the same axes of tensors of one full shape, and maps between: its values are
 *        full, row (one for each row, axes removed) or kept (axes of extent 1). Where the innermost axis is kept (sums over a
 *        batch) it holds one reduction, and maps of its result.
 * Needs  a verified graph.
 * Keeps  every bit: each node is still computed from the same values in the same way, rounding included.
 * Leaves horizontal merging of independent kernels.
 * Counts as a change: a node that joins another's kernel. So --limit=fuse:0 gives each node a kernel of its own (views and
 *        splats, which are no loops, are still absorbed); the driver does that too where fuse is off, since lower takes kernels.
 * Cost   O(nodes + operands).
 * See    tests/passes/fuse.test
 */
#include "passes/pass.h"
#include <stdlib.h>

enum {
    MAX_KERNEL_NODES = 64,    /* maps a kernel: its code stays small (docs/design.md §7) */
    MAX_INLINE_NODES = 48,    /* nodes of an inline tree; more open a kernel */
    MAX_VIEW_DEPTH = 24,      /* views on views that are still read through index expressions */
    TABLE_ELEMENTS = 4096,    /* constants made of splats and ramps alone: tables up to here, computed in place beyond */
    MIN_ROWS = 16             /* a reduction to fewer elements does not take its producer's kernel along: too few rows to share */
};

typedef enum { PLACE_top, PLACE_const, PLACE_imm, PLACE_inline, PLACE_member } placement;
/* How a node reads the newest kernel it depends on. */
typedef enum { READS_nothing, READS_full, READS_row, READS_kept, READS_view } reading;

typedef struct {
    anchor_kind anchor;
    type full;                /* iteration shape */
    uint32_t axes;            /* row: reduced axes of full */
    int weight;               /* nodes inside */
    bool is_open;             /* may others join */
    uint32_t first, last;     /* members are a list through fact.next, in node order */
} group;

typedef struct {
    uint8_t place, reads;
    uint8_t depth;            /* views stacked */
    bool is_const, is_imm;    /* depends on constants only; on splats and ramps only */
    bool is_forced;           /* must be stored */
    uint32_t weight;          /* nodes of the inline tree below */
    uint32_t group;           /* member: its kernel; otherwise the newest kernel it depends on; 0 none */
    uint32_t next;            /* next member */
    uint32_t uses, user;      /* readers, and one of them */
} fact;

typedef struct {
    pass_run *run;
    const graph *g;
    fact *facts;              /* by node index */
    vec(group) groups;        /* [0] unused */
} fusion;

/* -- What a node is ------------------------------------------------------------------------------------------------- */

static bool is_view(const node *n)
{
    switch ((prim)n->prim) {
    case PRIM_reshape: case PRIM_transpose: case PRIM_broadcast: case PRIM_slice: case PRIM_pad: case PRIM_bitcast:
        return true;
    case PRIM_input: case PRIM_const: case PRIM_iota: case PRIM_random: case PRIM_map: case PRIM_reduce:
    case PRIM_contract: case PRIM_window: case PRIM_concat: case PRIM_gather: case PRIM_scatter: case PRIM_sort:
    case PRIM_scan: case PRIM_cond: case PRIM_while: case PRIM_compact: case PRIM_kernel: case PRIM_COUNT:
        return false;
    }
    return false;
}

static bool is_control(const node *n)
{
    return n->prim == PRIM_scan || n->prim == PRIM_cond || n->prim == PRIM_while;
}

static bool is_elementwise(const node *n) { return n->prim == PRIM_map || n->prim == PRIM_random; }

/* Kinds of node that read each element of an operand once, at a position they choose: maps may be inlined into them. */
static bool reads_once(const node *n)
{
    return n->prim == PRIM_map || n->prim == PRIM_reduce || n->prim == PRIM_concat || n->prim == PRIM_scatter;
}

static uint32_t index_of(const graph *g, value v) { return g->owner.at[v.id]; }

static bool is_open_shape(type t)
{
    for (int i = 0; i < t.rank; i++)
        if (!dim_is_const(t.dims[i], NULL)) return true;
    return false;
}

static bool same_dims(type a, type b)
{
    if (a.rank != b.rank) return false;
    for (int i = 0; i < a.rank; i++)
        if (!dim_same(a.dims[i], b.dims[i])) return false;
    return true;
}

/* t is full with the axes removed (row), or of extent 1 (kept). */
static bool is_row_shape(type t, type full, uint32_t axes)
{
    int j = 0;
    for (int i = 0; i < full.rank; i++) {
        if (axes >> i & 1) continue;
        if (j >= t.rank || !dim_same(t.dims[j], full.dims[i])) return false;
        j++;
    }
    return j == t.rank;
}

static bool is_kept_shape(type t, type full, uint32_t axes)
{
    if (t.rank != full.rank) return false;
    for (int i = 0; i < full.rank; i++)
        if (axes >> i & 1 ? !dim_is(t.dims[i], 1) : !dim_same(t.dims[i], full.dims[i])) return false;
    return true;
}

/* -- Facts before the walk: readers, constants, what must be stored --------------------------------------------------- */

static void count_uses(fusion *f)
{
    const graph *g = f->g;
    for (int64_t i = 1; i < n_nodes(g); i++)
        for (int k = 0; k < g->nodes.at[i].n_in; k++) {
            fact *x = &f->facts[index_of(g, g->nodes.at[i].in[k])];
            x->uses++;
            x->user = (uint32_t)i;
        }
    for (int64_t r = 0; r < g->results.n; r++) {
        fact *x = &f->facts[index_of(g, g->results.at[r])];
        x->uses++;
        x->is_forced = true;
    }
}

static void find_constants(fusion *f)
{
    const graph *g = f->g;
    for (int64_t i = 1; i < n_nodes(g); i++) {
        const node *n = &g->nodes.at[i];
        fact *x = &f->facts[i];
        bool all = true, imm = true;
        for (int k = 0; k < n->n_in; k++) {
            const fact *o = &f->facts[index_of(g, n->in[k])];
            all &= o->is_const;
            imm &= o->is_imm;
        }
        bool has_symbols = n->prim == PRIM_const && !n->konst->bytes;          /* elements known at run time only */
        bool leaf_imm = n->prim == PRIM_iota || (n->prim == PRIM_const && (n->konst->n == 1 || has_symbols));
        if (n->prim == PRIM_const || n->prim == PRIM_iota) {
            x->is_const = !has_symbols;
            x->is_imm = leaf_imm;
        } else if (n->prim != PRIM_input && !is_control(n) && n->prim != PRIM_kernel && n->n_in > 0) {
            x->is_const = all;
            x->is_imm = all && imm && (is_view(n) || n->prim == PRIM_map);
        }
        if (x->is_const && n->n_out > 0 && is_open_shape(n->types[0])) {       /* sizes known at run time only */
            x->is_const = false;
            x->is_imm = all && imm && (leaf_imm || is_view(n) || n->prim == PRIM_map);
        }
    }
}

/* Does this transpose put another axis of any length last? */
static bool moves_last(const node *n)
{
    type t = n->types[0];
    return t.rank > 1 && n->transpose->perm[t.rank - 1] != t.rank - 1 && !dim_is(t.dims[t.rank - 1], 1);
}

/* Does operand k of a contract have the label that is innermost in the result, along which it is vectorized? Such an
 * operand is worth storing transposed; the other one is read one element at a time. */
static bool has_last_label(const graph *g, const node *n, int k)
{
    const contract_attr *c = n->contract;
    int rank = n->types[0].rank, rank_k = type_of(g, n->in[k]).rank;
    if (rank == 0) return false;
    for (int i = 0; i < rank_k; i++)
        if ((k ? c->lb : c->la)[i] == c->lo[rank - 1]) return true;
    return false;
}

/* Contracts and windows read an operand many times through an index expression: it may pass affine views of a stored
 * tensor, nothing else. Stores the first node on the way down that does not fit. */
static void force_operand(fusion *f, value v, bool is_vector)
{
    const graph *g = f->g;
    for (;;) {
        uint32_t i = index_of(g, v);
        const node *n = &g->nodes.at[i];
        fact *x = &f->facts[i];
        switch ((prim)n->prim) {
        case PRIM_transpose:
            if (is_vector && !x->is_const && moves_last(n)) {
                x->is_forced = true;
                return;
            }
            v = n->in[0];
            continue;
        case PRIM_broadcast: case PRIM_slice:
            v = n->in[0];
            continue;
        case PRIM_reshape: case PRIM_bitcast: {
            const node *below = node_of(g, n->in[0]);      /* a reshape of a stored tensor is the same bytes */
            if (is_view(below) && below->prim != PRIM_bitcast) x->is_forced = true;
            else v = n->in[0];
            if (x->is_forced) return;
            continue;
        }
        case PRIM_input: case PRIM_const: case PRIM_scan: case PRIM_cond: case PRIM_while: case PRIM_kernel: case PRIM_COUNT:
            return;
        case PRIM_iota: case PRIM_random: case PRIM_map: case PRIM_reduce: case PRIM_contract: case PRIM_window:
        case PRIM_pad: case PRIM_concat: case PRIM_gather: case PRIM_scatter: case PRIM_sort: case PRIM_compact:
            x->is_forced = true;
            return;
        }
    }
}

static void force_stores(fusion *f)
{
    const graph *g = f->g;
    for (int64_t i = 1; i < n_nodes(g); i++) {
        const node *n = &g->nodes.at[i];
        if (is_control(n) || n->prim == PRIM_sort || n->prim == PRIM_compact || n->prim == PRIM_kernel)
            for (int k = 0; k < n->n_in; k++) f->facts[index_of(g, n->in[k])].is_forced = true;
        else if (n->prim == PRIM_contract || n->prim == PRIM_window)
            for (int k = 0; k < n->n_in && k < 2; k++) force_operand(f, n->in[k], n->prim == PRIM_contract && has_last_label(g, n, k));
    }
}

/* -- The walk ------------------------------------------------------------------------------------------------------------ */

/* What node n sees of its newest kernel, from what its operands see. */
static void read_operands(fusion *f, const node *n, fact *x)
{
    const graph *g = f->g;
    x->group = 0;
    x->weight = 1;
    x->depth = 0;
    for (int k = 0; k < n->n_in; k++) {
        const fact *o = &f->facts[index_of(g, n->in[k])];
        if (o->group > x->group) x->group = o->group;
        if (o->place == PLACE_inline) {
            x->weight += o->weight;
            if (o->depth > x->depth) x->depth = o->depth;
        }
    }
    x->reads = READS_nothing;
    if (x->group == 0) return;

    const group *k = &f->groups.at[x->group];
    bool full = true, row = k->anchor == ANCHOR_row, kept = row;
    type t = n->types[0];
    for (int i = 0; i < n->n_in; i++) {
        const fact *o = &f->facts[index_of(g, n->in[i])];
        if (o->group != x->group) continue;
        reading r = (reading)o->reads;
        full &= r == READS_full || r == READS_kept;
        row &= r == READS_row;
        kept &= r == READS_kept;
        if (n->prim == PRIM_map && r == READS_full) full &= same_dims(type_of(g, n->in[i]), k->full);
    }
    x->reads = READS_view;
    if (is_elementwise(n)) {
        if (full && same_dims(t, k->full)) x->reads = READS_full;
        else if (kept && is_kept_shape(t, k->full, k->axes)) x->reads = READS_kept;
        else if (row && is_row_shape(t, k->full, k->axes)) x->reads = READS_row;
    } else if (n->prim == PRIM_reshape && row && is_kept_shape(t, k->full, k->axes)) {
        x->reads = READS_kept;
    } else if (n->prim == PRIM_reshape && kept && is_row_shape(t, k->full, k->axes)) {
        x->reads = READS_row;
    } else if (n->prim == PRIM_broadcast && kept && same_dims(t, k->full)) {
        x->reads = READS_full;
    } else if (n->prim == PRIM_reduce && full && same_dims(type_of(g, n->in[0]), k->full)) {
        x->reads = READS_full;                /* of its operand; join_reduce decides */
    }
}

static void enter(fusion *f, uint32_t i, uint32_t id)
{
    fact *x = &f->facts[i];
    group *k = &f->groups.at[id];
    x->place = PLACE_member;
    x->group = id;
    k->weight += (int)x->weight;
    if (k->last) f->facts[k->last].next = i;
    else k->first = i;
    k->last = i;
}

static uint32_t open_group(fusion *f, uint32_t i, anchor_kind anchor, type full, uint32_t axes)
{
    bool is_open = anchor == ANCHOR_map || anchor == ANCHOR_row || anchor == ANCHOR_contract || anchor == ANCHOR_window;
    vec_push(f->run->scratch, &f->groups, ((group){ .anchor = anchor, .full = full, .axes = axes, .is_open = is_open }));
    enter(f, i, (uint32_t)f->groups.n - 1);
    return (uint32_t)f->groups.n - 1;
}

static bool has_room(const group *k, const fact *x)
{
    return k->is_open && k->weight + (int)x->weight <= MAX_KERNEL_NODES;
}

/* Reductions that keep the innermost axis: lanes run along it, and each has a nest of its own. A row is no run of memory that
 * several passes would find in cache. */
static bool is_columns(uint32_t axes, int rank) { return rank > 0 && !(axes >> (rank - 1) & 1); }

static void place_reduce(fusion *f, uint32_t i)
{
    const node *n = &f->g->nodes.at[i];
    fact *x = &f->facts[i];
    type full = type_of(f->g, n->in[0]);
    uint32_t axes = n->reduce->axes;
    group *k = &f->groups.at[x->group];
    int64_t rows = 0;
    bool few_rows = dim_is_const(type_elements(f->g, n->types[0]), &rows) && rows < MIN_ROWS;
    bool fits = x->group && x->reads == READS_full && has_room(k, x) && !is_columns(axes, full.rank) &&
                ((k->anchor == ANCHOR_row && k->axes == axes) || (k->anchor == ANCHOR_map && !few_rows)) && pass_allow(f->run);
    if (fits && k->anchor == ANCHOR_map) {
        k->anchor = ANCHOR_row;
        k->axes = axes;
    }
    pass_explain(f->run, f->g, n, fits ? "joins the kernel that computes what it reduces" : x->group && few_rows ? "a kernel of its own (row): too few rows to compute what it reads twice"
                                                                                                    : "a kernel of its own (row)");
    if (fits) enter(f, i, x->group);
    else open_group(f, i, ANCHOR_row, full, axes);
    x->reads = READS_row;
}

/* A map, random, view or gather that is to be stored or shared. */
static void place_elementwise(fusion *f, uint32_t i)
{
    const node *n = &f->g->nodes.at[i];
    fact *x = &f->facts[i];
    const group *k = &f->groups.at[x->group];
    bool is_apart = k->anchor == ANCHOR_row && x->reads == READS_full && is_columns(k->axes, k->full.rank);
    bool joins = x->group && x->reads != READS_view && is_elementwise(n) && !is_apart && has_room(k, x) && pass_allow(f->run);
    if (joins) {
        pass_explain(f->run, f->g, n, "joins the kernel that computes its operand");
        enter(f, i, x->group);
        return;
    }
    pass_explain(f->run, f->g, n, !is_elementwise(n) ? "a kernel of its own (map): its place decides what it reads"
                                  : !x->group ? "a kernel of its own (map): no kernel computes its operands at the same places"
                                  : x->reads == READS_view ? "a kernel of its own (map): it reads its operand through a view"
                                                           : "a kernel of its own (map): the kernel of its operand takes no more");
    open_group(f, i, ANCHOR_map, n->types[0], 0);
    x->reads = READS_full;
}

/* The operand of a concat, computed at its own position from what a kernel makes: there it costs nothing, and the concat has
 * nothing to compute, so its part may be made where it belongs (slots.c). */
static bool is_epilogue_of_part(const fusion *f, const node *n, const fact *x, const node *user)
{
    if (user->prim != PRIM_concat || !is_elementwise(n) || !x->group || x->reads != READS_full) return false;
    const group *k = &f->groups.at[x->group];
    return has_room(k, x) && (k->anchor == ANCHOR_contract || k->anchor == ANCHOR_window);
}

static bool may_inline(const fusion *f, const node *n, const fact *x)
{
    if (x->is_forced || x->weight > MAX_INLINE_NODES) return false;
    if (is_view(n)) return x->depth < MAX_VIEW_DEPTH;
    if (x->is_imm) return true;
    const node *user = &f->g->nodes.at[x->user];
    bool fits = n->prim == PRIM_gather ? x->uses == 1 && x->depth < MAX_VIEW_DEPTH && !is_control(user)
                                       : is_elementwise(n) && x->uses == 1 && reads_once(user);
    if (!fits || is_epilogue_of_part(f, n, x, user) || !pass_allow(f->run)) return false;
    pass_explain(f->run, f->g, n, "computed where it is read");
    return true;
}

static bool is_table(const fusion *f, const node *n, const fact *x)
{
    int64_t size = 0;
    if (!x->is_const || n->prim == PRIM_broadcast) return false;
    if (!x->is_imm) return true;
    return n->prim == PRIM_map && dim_is_const(type_elements(f->g, n->types[0]), &size) && size > 1 && size <= TABLE_ELEMENTS;
}

static anchor_kind anchor_of(const node *n)
{
    switch ((prim)n->prim) {
    case PRIM_contract: return ANCHOR_contract;
    case PRIM_window: return ANCHOR_window;
    case PRIM_scatter: return ANCHOR_scatter;
    case PRIM_sort: return ANCHOR_sort;
    case PRIM_compact: return ANCHOR_compact;
    case PRIM_concat: return ANCHOR_move;
    case PRIM_reduce: return ANCHOR_row;
    case PRIM_input: case PRIM_const: case PRIM_iota: case PRIM_random: case PRIM_map: case PRIM_reshape:
    case PRIM_transpose: case PRIM_broadcast: case PRIM_slice: case PRIM_pad: case PRIM_gather: case PRIM_scan:
    case PRIM_cond: case PRIM_while: case PRIM_bitcast: case PRIM_kernel: case PRIM_COUNT:
        return ANCHOR_map;
    }
    return ANCHOR_map;
}

static void place_node(fusion *f, uint32_t i)
{
    const node *n = &f->g->nodes.at[i];
    fact *x = &f->facts[i];
    if (n->prim == PRIM_input) {
        x->place = PLACE_top;
    } else if (is_control(n) || n->prim == PRIM_kernel) {
        read_operands(f, n, x);
        open_group(f, i, ANCHOR_COUNT, n->n_out ? n->types[0] : (type){ 0 }, 0);
        x->place = PLACE_top;
        x->reads = READS_view;
    } else if (is_table(f, n, x)) {
        x->place = PLACE_const;
    } else if (n->prim == PRIM_const || n->prim == PRIM_iota) {
        x->weight = 1;
        x->place = PLACE_imm;
        if (x->is_forced) {
            open_group(f, i, ANCHOR_map, n->types[0], 0);
            x->reads = READS_full;
        }
    } else {
        read_operands(f, n, x);
        anchor_kind a = anchor_of(n);
        bool aliases = (n->prim == PRIM_reshape || n->prim == PRIM_bitcast) && x->depth < MAX_VIEW_DEPTH;
        if (a == ANCHOR_row) {
            place_reduce(f, i);
        } else if (a != ANCHOR_map) {
            open_group(f, i, a, n->types[0], 0);
            x->reads = READS_full;
        } else if (may_inline(f, n, x) ||
                   (aliases && x->is_forced && f->facts[index_of(f->g, n->in[0])].place != PLACE_inline &&
                    f->facts[index_of(f->g, n->in[0])].place != PLACE_imm)) {
            x->place = PLACE_inline;
            if (is_view(n)) x->depth++;
        } else {
            place_elementwise(f, i);
        }
    }
}

/* Numbers that a run computes of its inputs alone: an optimizer's corrections, made of the number of steps. Their kernels come
 * first, so that whoever reads them may still join the kernel of its other operands. */
static bool *find_early(const fusion *f)
{
    const graph *g = f->g;
    bool *early = NEW_ARRAY(f->run->scratch, bool, n_nodes(g) + 1);
    for (int64_t i = 1; i < n_nodes(g); i++) {
        const node *n = &g->nodes.at[i];
        early[i] = n->prim == PRIM_input || n->prim == PRIM_const || n->prim == PRIM_iota ||
                   (n->n_in > 0 && (n->prim == PRIM_map || is_view(n)) && dim_is(type_elements(g, n->types[0]), 1));
        for (int k = 0; early[i] && k < n->n_in; k++) early[i] = early[index_of(g, n->in[k])];
    }
    return early;
}

/* -- The new graph ---------------------------------------------------------------------------------------------------------- */

typedef struct {
    fusion *f;
    graph *to;
    value *top;               /* by old value: its counterpart at the top of the new graph; NO_VALUE if not there yet */
    value *inside;            /* by old value: its counterpart in the body being built */
    uint32_t *stamp;          /* by node: the body that has visited it */
    uint32_t body;            /* number of the body being built */
} partition;

/* Aliases: reshapes and bitcasts whose operand is stored are made at the top. */
static bool is_alias(const partition *p, const node *n)
{
    if (n->prim != PRIM_reshape && n->prim != PRIM_bitcast) return false;
    return is_value(p->top[n->in[0].id]);
}

static void copy_to_top(partition *p, uint32_t i)
{
    const graph *g = p->f->g;
    const node *n = &g->nodes.at[i];
    value *in = NEW_ARRAY(p->f->run->scratch, value, n->n_in + 1), *out = NEW_ARRAY(p->f->run->scratch, value, n->n_out + 1);
    for (int k = 0; k < n->n_in; k++) in[k] = p->top[n->in[k].id];
    if (n->at) p->to->at = *n->at;
    if (!rebuild(p->to, g, n, in, out)) return;
    for (int k = 0; k < n->n_out; k++) {
        p->top[n->first + (uint32_t)k] = out[k];
        if (g->names.at[n->first + (uint32_t)k]) set_name(p->to, out[k], g->names.at[n->first + (uint32_t)k]);
    }
}

/* The nodes a kernel's body holds: its members and the inline trees below them, in node order. Reshapes of stored values
 * become values at the top on the way. */
typedef vec(uint32_t) node_list;

static int by_index(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static bool is_at_top(partition *p, value v)
{
    if (is_value(p->top[v.id])) return true;
    uint32_t i = index_of(p->f->g, v);
    const node *n = &p->f->g->nodes.at[i];
    if (p->f->facts[i].place == PLACE_inline && is_alias(p, n)) copy_to_top(p, i);
    return is_value(p->top[v.id]);
}

static void collect(partition *p, const group *k, uint32_t id, node_list *list)
{
    fusion *f = p->f;
    arena *a = f->run->scratch;
    node_list stack = { 0 };
    for (uint32_t i = k->first; i; i = f->facts[i].next) {
        p->stamp[i] = p->body;
        vec_push(a, &stack, i);
    }
    while (stack.n) {
        uint32_t i = vec_pop(&stack);
        const node *n = &f->g->nodes.at[i];
        vec_push(a, list, i);
        for (int q = 0; q < n->n_in; q++) {
            uint32_t j = index_of(f->g, n->in[q]);
            const fact *o = &f->facts[j];
            bool is_inside = o->place == PLACE_imm || o->place == PLACE_inline || (o->place == PLACE_member && o->group == id);
            if (!is_inside || p->stamp[j] == p->body) continue;
            if (o->place != PLACE_member && o->place != PLACE_imm && is_at_top(p, n->in[q])) continue;
            p->stamp[j] = p->body;
            vec_push(a, &stack, j);
        }
    }
    qsort(list->at, (size_t)list->n, sizeof *list->at, by_index);
}

static void build_kernel(partition *p, uint32_t id, const uint8_t *outside)
{
    fusion *f = p->f;
    const graph *g = f->g;
    arena *a = f->run->scratch;
    const group *k = &f->groups.at[id];
    node_list list = { 0 };
    p->body++;
    collect(p, k, id, &list);

    graph *body = graph_body(p->to, NULL);
    vec(value) operands = { 0 };
    vec(value) results = { 0 };
    vec(value) touched = { 0 };
    value *in = NULL, *out = NULL;
    for (int64_t q = 0; q < list.n; q++) {
        const node *n = &g->nodes.at[list.at[q]];
        in = NEW_ARRAY(a, value, n->n_in + 1);
        out = NEW_ARRAY(a, value, n->n_out + 1);
        if (n->at) body->at = *n->at;
        for (int j = 0; j < n->n_in; j++) {
            value v = n->in[j];
            if (!is_value(p->inside[v.id])) {                  /* stored elsewhere: one more operand */
                type t = type_of(g, v);
                p->inside[v.id] = input(body, NULL, t.dtype, t.rank, t.dims);
                vec_push(a, &operands, p->top[v.id]);
                vec_push(a, &touched, v);
            }
            in[j] = p->inside[v.id];
        }
        if (!rebuild(body, g, n, in, out)) { p->to->failed = true; return; }
        for (int j = 0; j < n->n_out; j++) {
            value v = { n->first + (uint32_t)j };
            p->inside[v.id] = out[j];
            vec_push(a, &touched, v);
            if (f->facts[list.at[q]].place == PLACE_member && f->facts[list.at[q]].group == id && outside[list.at[q]]) {
                add_result(body, out[j], NULL);
                vec_push(a, &results, v);
            }
        }
    }
    value *made = NEW_ARRAY(a, value, results.n + 1);
    const node *last = &g->nodes.at[k->last];
    if (last->at) p->to->at = *last->at;
    if (kernel(p->to, k->anchor, body, (int)operands.n, operands.at, made))
        for (int64_t q = 0; q < results.n; q++) {
            p->top[results.at[q].id] = made[q];
            if (g->names.at[results.at[q].id]) set_name(p->to, made[q], g->names.at[results.at[q].id]);
        }
    else p->to->failed = true;
    for (int64_t q = 0; q < touched.n; q++) p->inside[touched.at[q].id] = NO_VALUE;
}

/* Expressions of constants, with the splats and ramps below them. */
static void copy_constants(partition *p)
{
    const graph *g = p->f->g;
    const fact *facts = p->f->facts;
    uint8_t *needed = NEW_ARRAY(p->f->run->scratch, uint8_t, n_nodes(g) + 1);
    for (int64_t i = n_nodes(g) - 1; i >= 1; i--) {
        if (facts[i].place == PLACE_const && facts[i].uses) needed[i] = 1;
        if (needed[i])
            for (int k = 0; k < g->nodes.at[i].n_in; k++) needed[index_of(g, g->nodes.at[i].in[k])] = 1;
    }
    for (int64_t i = 1; i < n_nodes(g); i++)
        if (needed[i]) copy_to_top(p, (uint32_t)i);
}

/* Which members are read by another kernel, a control node, or the world. */
static uint8_t *find_outside(fusion *f)
{
    const graph *g = f->g;
    uint8_t *outside = NEW_ARRAY(f->run->scratch, uint8_t, n_nodes(g) + 1);
    /* Inline nodes are read inside whatever kernel their readers end up in: readers by group, walked backwards. A node
     * read by two groups counts as read outside both. */
    uint32_t *reader = NEW_ARRAY(f->run->scratch, uint32_t, n_nodes(g) + 1);    /* group + 1; ~0 several */
    for (int64_t i = n_nodes(g) - 1; i >= 1; i--) {
        const node *n = &g->nodes.at[i];
        const fact *x = &f->facts[i];
        uint32_t mine = x->place == PLACE_member ? x->group + 1 : x->place == PLACE_inline || x->place == PLACE_imm ? reader[i] : ~0u;
        if (x->place == PLACE_inline && x->is_forced) mine = ~0u;
        if (x->place == PLACE_const) mine = ~0u;
        if (mine == 0 && x->uses == 0) continue;              /* dead */
        for (int k = 0; k < n->n_in; k++) {
            uint32_t j = index_of(g, n->in[k]);
            if (reader[j] == 0) reader[j] = mine;
            else if (reader[j] != mine) reader[j] = ~0u;
        }
    }
    for (int64_t i = 1; i < n_nodes(g); i++) {
        const fact *x = &f->facts[i];
        outside[i] = x->is_forced || (x->place == PLACE_member && reader[i] != 0 && reader[i] != x->group + 1);
    }
    return outside;
}

static dlc_status fuse_graph(pass_run *run, const graph *g, graph *outer, graph **out);

/* scan, cond, while: the same node over partitioned bodies. */
static dlc_status fuse_control(partition *p, uint32_t i)
{
    const graph *g = p->f->g;
    const node *n = &g->nodes.at[i];
    pass_run *run = p->f->run;
    value *in = NEW_ARRAY(run->scratch, value, n->n_in + 1), *out = NEW_ARRAY(run->scratch, value, n->n_out + 1);
    for (int k = 0; k < n->n_in; k++) {
        is_at_top(p, n->in[k]);
        in[k] = p->top[n->in[k].id];
    }
    if (n->at) p->to->at = *n->at;
    graph *first = NULL, *second = NULL;
    dlc_status s = DLC_OK;
    bool ok = true;
    if (n->prim == PRIM_scan) {
        if ((s = fuse_graph(run, n->scan->body, p->to, &first)) != DLC_OK) return s;
        ok = scan(p->to, first, n->scan->n_carry, n->scan->n_xs, n->scan->n, n->scan->reverse, n->n_in, in, out);
    } else if (n->prim == PRIM_cond) {
        if ((s = fuse_graph(run, n->cond->then_body, p->to, &first)) != DLC_OK) return s;
        if ((s = fuse_graph(run, n->cond->else_body, p->to, &second)) != DLC_OK) return s;
        ok = cond(p->to, in[0], first, second, n->n_in - 1, in + 1, out);
    } else if (n->prim == PRIM_while) {
        if ((s = fuse_graph(run, n->loop->test, p->to, &first)) != DLC_OK) return s;
        if ((s = fuse_graph(run, n->loop->body, p->to, &second)) != DLC_OK) return s;
        ok = while_loop(p->to, first, second, n->loop->n_carry, n->loop->max_trip, n->n_in, in, out);
    } else {
        copy_to_top(p, i);
        return DLC_OK;
    }
    if (!ok) return DLC_ERR_INTERNAL;
    for (int k = 0; k < n->n_out; k++) p->top[n->first + (uint32_t)k] = out[k];
    return DLC_OK;
}

/* outer: the new graph that will own this body; NULL for the whole. Bodies nest as deep as the front ends allow (64). */
static dlc_status fuse_graph(pass_run *run, const graph *g, graph *outer, graph **result)
{
    arena *a = run->scratch;
    fusion f = { .run = run, .g = g, .facts = NEW_ARRAY(a, fact, n_nodes(g) + 1) };
    vec_push(a, &f.groups, ((group){ 0 }));
    count_uses(&f);
    find_constants(&f);
    force_stores(&f);
    const bool *early = find_early(&f);
    for (int turn = 0; turn < 2; turn++)
        for (int64_t i = 1; i < n_nodes(g); i++)
            if (early[i] == !turn && (f.facts[i].uses || g->nodes.at[i].prim == PRIM_input)) place_node(&f, (uint32_t)i);
    uint8_t *outside = find_outside(&f);

    graph *to = outer ? graph_body(outer, g->name) : graph_new(g->ctx, g->arena, g->dims, g->name);
    partition p = { .f = &f, .to = to, .top = NEW_ARRAY(a, value, g->owner.n + 1), .inside = NEW_ARRAY(a, value, g->owner.n + 1),
                    .stamp = NEW_ARRAY(a, uint32_t, n_nodes(g) + 1) };
    for (int64_t k = 0; k < g->inputs.n; k++) copy_to_top(&p, index_of(g, g->inputs.at[k]));
    copy_constants(&p);
    for (uint32_t id = 1; id < (uint32_t)f.groups.n && !to->failed; id++) {
        if (f.groups.at[id].anchor != ANCHOR_COUNT) {
            build_kernel(&p, id, outside);
            continue;
        }
        dlc_status s = fuse_control(&p, f.groups.at[id].first);
        if (s != DLC_OK) return s;
    }
    for (int64_t r = 0; r < g->results.n && !to->failed; r++) {
        is_at_top(&p, g->results.at[r]);
        add_result(to, p.top[g->results.at[r].id], g->result_names.at[r]);
    }
    *result = to;
    return to->failed ? DLC_ERR_INTERNAL : DLC_OK;
}

dlc_status pass_fuse(pass_run *run, graph **g)
{
    graph *to = NULL;
    dlc_status s = fuse_graph(run, graph_compact(*g), NULL, &to);      /* what is dead must not keep values alive */
    if (s == DLC_OK) *g = to;
    return s;
}
