/* layout: channels in blocks of 16, weights in panels
 *
 *     N C H W  =>  N C/16 H W 16          for what convolutions read and write
 *     K N      =>  N/16 K 16              for the constant operand of a matrix product
 *     O C R S  =>  O/16 C/16 R S 16 16    for the gradient of a convolution by its weights
 *
 * Why    The innermost axis of every hot tensor is then 16 contiguous channels: two AVX2 vectors, one AVX-512, four NEON;
 *        and a chunk of weights is one contiguous stream. The block is 16 on every target, so bits and files do not
 *        depend on the machine.
 * How    A blocked tensor is a tensor of higher rank. The walk keeps, for values of the new graph, the blocked form they
 *        are a view of; convolutions make such values, and maps, pools, paddings and concatenations of them are computed in
 *        blocked form. A reader that knows nothing of blocks takes the value itself, which is a reshape and a transpose of
 *        the blocked one. Channels that do not fill the last block are padded with undef; a limit keeps them out of sums.
 *        Weights are expressions of constants, evaluated when code is emitted.
 *        A convolution with fewer than 16 input channels keeps its input as it is, padded with zeros (its taps outside are
 *        steps of the chain anyway: the zero-tap rule). Groups of 16 channels and more are blocked each for itself:
 *        N G C/16 H W 16, which is the blocked form of all channels where 16 divides those of a group.
 * Needs  constants folded into weights before (simplify).
 * Keeps  every type. Bits change (VALUE): the sum over channels runs block by block, taps inside.
 *        Groups of 4 or 8 share a block: N G/4 H W 4 4; a vector is then a group.
 * Leaves groups of other sizes as they are. Weights that are not constant (training) are packed
 *        for convolutions, and of a product transposed if its columns are not innermost, where there are rows enough or a
 *        loop around; fuse stores them so.
 * Cost   O(nodes).
 * See    tests/passes/layout.test
 */
#include "ir/order.h"
#include "passes/pass.h"

enum { BLOCK_CHANNELS = 16, MIN_OUTPUTS = 8, CONSTANT_DEPTH = 6,
       MIN_ROWS = 32,
       MIN_SHARED = 4 };         /* channels of a group that fill lanes */

typedef enum { FORM_none, FORM_blocked, FORM_panel } form;
/* v of the new graph is a view of x: blocked (channels of axis 1), or panel (last axis split by 16). */
typedef struct { form form; value x; } alternative;

typedef struct layout_state { graph *of; vec(alternative) at; } layout_state;    /* by value id of graph `of` */

/* -- The table ------------------------------------------------------------------------------------------------------------- */

static layout_state *state_of(pass_run *run, graph *g)
{
    layout_state *s = run->state;
    if (!s || s->of != g) {
        s = NEW(run->scratch, layout_state);
        s->of = g;
        run->state = s;
    }
    return s;
}

static alternative look(pass_run *run, graph *g, value v)
{
    layout_state *s = state_of(run, g);
    return v.id < s->at.n ? s->at.at[v.id] : (alternative){ FORM_none, NO_VALUE };
}

static void note(pass_run *run, graph *g, value v, form f, value x)
{
    layout_state *s = state_of(run, g);
    if (!is_value(v)) return;
    while (s->at.n <= v.id) vec_push(run->scratch, &s->at, ((alternative){ FORM_none, NO_VALUE }));
    if (s->at.at[v.id].form == FORM_none) s->at.at[v.id] = (alternative){ f, x };
}

/* -- Blocked and back --------------------------------------------------------------------------------------------------------- */

static int64_t blocks_of(int64_t channels) { return (channels + BLOCK_CHANNELS - 1) / BLOCK_CHANNELS; }

/* Axis `axis` (constant extent) padded with undef to whole blocks. */
static value pad_channels(graph *g, value x, int axis)
{
    type t = type_of(g, x);
    int64_t c = 0;
    dim lo[MAX_RANK], hi[MAX_RANK];
    dim_is_const(t.dims[axis], &c);
    for (int i = 0; i < t.rank; i++) lo[i] = hi[i] = dim_const(0);
    hi[axis] = dim_const(blocks_of(c) * BLOCK_CHANNELS - c);
    return dim_is(hi[axis], 0) ? x : pad_undef(g, x, lo, hi);
}

/* [N, C, …] -> [N, C/16, …, 16]; an axis 1 of extent 1 stays 1 (a value for all channels): [N, 1, …, 1]. */
static value to_blocked(pass_run *run, graph *g, value v)
{
    alternative a = look(run, g, v);
    if (a.form == FORM_blocked) return a.x;
    type t = type_of(g, v);
    dim shape[MAX_RANK];
    int perm[MAX_RANK], n = 0;
    if (dim_is(t.dims[1], 1)) {
        memcpy(shape, t.dims, sizeof(dim) * (size_t)t.rank);
        shape[t.rank] = dim_const(1);
        return reshape(g, v, t.rank + 1, shape);
    }
    int64_t c = 0;
    dim_is_const(t.dims[1], &c);
    value x = pad_channels(g, v, 1);
    shape[0] = t.dims[0];
    shape[1] = dim_const(blocks_of(c));
    shape[2] = dim_const(BLOCK_CHANNELS);
    for (int i = 2; i < t.rank; i++) shape[i + 1] = t.dims[i];
    perm[n++] = 0;
    perm[n++] = 1;
    for (int i = 3; i <= t.rank; i++) perm[n++] = i;
    perm[n] = 2;
    return transpose(g, reshape(g, x, t.rank + 1, shape), perm);
}

/* [N, C/16, …, 16] -> [N, C, …]. */
static value from_blocked(pass_run *run, graph *g, value x, dim channels)
{
    type t = type_of(g, x);
    dim shape[MAX_RANK];
    int perm[MAX_RANK], n = 0;
    perm[n++] = 0;
    perm[n++] = 1;
    perm[n++] = t.rank - 1;
    for (int i = 2; i < t.rank - 1; i++) perm[n++] = i;
    shape[0] = t.dims[0];
    shape[1] = dim_mul(g->dims, t.dims[1], dim_const(BLOCK_CHANNELS));
    for (int i = 2; i < t.rank - 1; i++) shape[i] = t.dims[i];
    value v = reshape(g, transpose(g, x, perm), t.rank - 1, shape);
    if (!dim_same(shape[1], channels)) v = slice_axis(g, v, 1, dim_const(0), channels, 1);
    note(run, g, v, FORM_blocked, x);
    return v;
}

/* [.., N] -> [.., N/16, 16]; a last axis of 1 becomes two. */
static value to_panel(pass_run *run, graph *g, value v)
{
    alternative a = look(run, g, v);
    if (a.form == FORM_panel) return a.x;
    type t = type_of(g, v);
    dim shape[MAX_RANK + 1];
    memcpy(shape, t.dims, sizeof(dim) * (size_t)t.rank);
    bool is_one = dim_is(t.dims[t.rank - 1], 1);
    shape[t.rank - 1] = is_one ? dim_const(1) : dim_div(g->dims, t.dims[t.rank - 1], dim_const(BLOCK_CHANNELS));
    shape[t.rank] = dim_const(is_one ? 1 : BLOCK_CHANNELS);
    return reshape(g, v, t.rank + 1, shape);
}

static value from_panel(pass_run *run, graph *g, value x)
{
    type t = type_of(g, x);
    dim shape[MAX_RANK];
    memcpy(shape, t.dims, sizeof(dim) * (size_t)t.rank);
    shape[t.rank - 2] = dim_mul(g->dims, t.dims[t.rank - 2], t.dims[t.rank - 1]);
    value v = reshape(g, x, t.rank - 1, shape);
    note(run, g, v, FORM_panel, x);
    return v;
}

/* -- Contracts ---------------------------------------------------------------------------------------------------------------- */

static int find_label(const uint8_t *labels, int n, uint8_t l)
{
    for (int i = 0; i < n; i++)
        if (labels[i] == l) return i;
    return -1;
}

/* b's axes brought into the order of `labels`. */
static value reorder(graph *g, value b, const uint8_t *have, const uint8_t *want, int rank)
{
    int perm[MAX_RANK];
    for (int i = 0; i < rank; i++) perm[i] = find_label(have, rank, want[i]);
    return transpose(g, b, perm);
}

static uint8_t new_label(contract_attr *a, const char *name, int64_t extent)
{
    a->label_name[a->n_labels] = name;
    a->extent[a->n_labels] = dim_const(extent);
    return (uint8_t)a->n_labels++;
}

/* The parts of a convolution: labels of channels (and of groups, or NO_LABEL), c and m channels (of a group); false: of
 * another form. */
typedef struct { uint8_t n, group, in, out; bool depthwise; int64_t c, m; int n_spatial; } conv_form;

/* A divided subscript: steps of the stride lie between a residue's results, so that a row of them has no lanes. */
static bool is_divided(const contract_attr *a)
{
    for (int w = 0; w < a->n_windows; w++)
        if (a->windows[w].r.idil != 1) return true;
    return false;
}

static bool find_conv(const graph *g, const node *n, const value *in, conv_form *f)
{
    const contract_attr *a = n->contract;
    int ra = type_of(g, in[0]).rank, rb = type_of(g, in[1]).rank, ro = n->types[0].rank;
    f->n_spatial = a->n_windows;
    f->group = NO_LABEL;
    if (a->n_windows == 0 || ra != a->n_windows + 2 || ro != ra || a->la[0] != a->lo[0] || a->n_labels > MAX_LABELS - 2) return false;
    if (a->n_limits || find_label(a->lb, rb, a->la[0]) >= 0) return false;
    f->n = a->la[0];
    f->in = a->la[1];
    f->out = a->lo[1];
    f->depthwise = f->in == f->out;
    if (rb != a->n_windows + (f->depthwise ? 1 : 2) || find_label(a->lb, rb, f->in) < 0 || find_label(a->lb, rb, f->out) < 0) return false;
    for (int w = 0; w < a->n_windows; w++)
        if (find_label(a->la + 2, ra - 2, a->windows[w].a) < 0 || find_label(a->lo + 2, ro - 2, a->windows[w].o) < 0) return false;
    if (!dim_is_const(a->extent[f->in], &f->c) || !dim_is_const(a->extent[f->out], &f->m)) return false;
    return f->m >= MIN_OUTPUTS || (is_divided(a) && f->c >= BLOCK_CHANNELS);
}

/* Zero padding made explicit, so that every tap is inside. */
static value pad_input(graph *g, value x, contract_attr *a, int rank)
{
    dim lo[MAX_RANK], hi[MAX_RANK];
    int64_t none[MAX_RANK] = { 0 };
    type t = type_of(g, x);
    for (int i = 0; i < rank; i++) lo[i] = hi[i] = dim_const(0);
    for (int w = 0; w < a->n_windows; w++) {
        relation *r = &a->windows[w].r;
        int axis = find_label(a->la, rank, a->windows[w].a);
        int64_t k;
        if (r->idil != 1 || r->stride < 0 || r->dil < 0 || r->pad < 0 || !dim_is_const(a->extent[a->windows[w].b], &k)) return x;
        /* last position read: stride*(O - 1) + dil*(K - 1) - pad; it must be below I + hi */
        dim last = dim_addk(g->dims, dim_mulk(g->dims, dim_addk(g->dims, a->extent[a->windows[w].o], -1), r->stride), r->dil * (k - 1) - r->pad);
        lo[axis] = dim_const(r->pad);
        hi[axis] = dim_max(g->dims, dim_const(0), dim_addk(g->dims, dim_sub(g->dims, last, t.dims[axis]), 1));
    }
    value padded = pad(g, x, lo, hi, none, scalar_f64(g, t.dtype, 0));
    for (int w = 0; w < a->n_windows; w++) {
        a->windows[w].r.pad = 0;
        a->extent[a->windows[w].a] = type_of(g, padded).dims[find_label(a->la, rank, a->windows[w].a)];
    }
    return padded;
}

static value block_conv(pass_run *run, graph *g, const node *n, const value *in, const conv_form *f)
{
    contract_attr a = *n->contract;
    int ra = f->n_spatial + 2, rb = type_of(g, in[1]).rank, k = f->n_spatial;
    bool blocks_in = f->depthwise || f->c >= BLOCK_CHANNELS;
    uint8_t taps[MAX_RANK], want[MAX_RANK];
    int n_taps = 0, w = 0;
    for (int i = 0; i < a.n_sum; i++)
        if (a.sum[i] != f->in) taps[n_taps++] = a.sum[i];
    if (n_taps != k) return NO_VALUE;

    /* weights: [o, c, taps] (depthwise: [g, taps]) -> [O, C, taps, c, o] */
    want[w++] = f->out;
    if (!f->depthwise) want[w++] = f->in;
    for (int i = 0; i < k; i++) want[w++] = taps[i];
    value b = pad_channels(g, reorder(g, in[1], a.lb, want, rb), 0);
    if (blocks_in && !f->depthwise) b = pad_channels(g, b, 1);
    type tb = type_of(g, b);
    dim shape[MAX_RANK];
    int perm[MAX_RANK], r = 0, q = 0;
    shape[r++] = dim_const(blocks_of(f->m));
    shape[r++] = dim_const(BLOCK_CHANNELS);
    if (!f->depthwise && blocks_in) { shape[r++] = dim_const(blocks_of(f->c)); shape[r++] = dim_const(BLOCK_CHANNELS); }
    if (!f->depthwise && !blocks_in) shape[r++] = tb.dims[1];
    int first_tap = r;
    for (int i = 0; i < k; i++) shape[r++] = tb.dims[tb.rank - k + i];
    perm[q++] = 0;
    if (!f->depthwise) perm[q++] = 2;
    for (int i = 0; i < k; i++) perm[q++] = first_tap + i;
    if (!f->depthwise && blocks_in) perm[q++] = 3;
    perm[q++] = 1;
    b = transpose(g, reshape(g, b, r, shape), perm);

    uint8_t o16 = new_label(&a, "o", BLOCK_CHANNELS), c16 = f->depthwise ? o16 : blocks_in ? new_label(&a, "c", BLOCK_CHANNELS) : NO_LABEL;
    a.label_name[f->out] = "O";
    if (blocks_in) a.label_name[f->in] = f->depthwise ? "O" : "C";
    int nb = 0, ns = 0;
    a.lb[nb++] = f->out;
    if (!f->depthwise) a.lb[nb++] = f->in;
    for (int i = 0; i < k; i++) a.lb[nb++] = taps[i];
    if (!f->depthwise && blocks_in) a.lb[nb++] = c16;
    a.lb[nb++] = o16;
    value x = in[0];
    if (blocks_in) {
        x = to_blocked(run, g, x);
        a.la[ra] = c16;
    } else if (contract_zero_taps(n->contract, ra, rb, n->types[0].rank)) {
        x = pad_input(g, x, &a, ra);
    }
    a.lo[ra] = o16;
    if (!f->depthwise) a.sum[ns++] = f->in;
    for (int i = 0; i < k; i++) a.sum[ns++] = taps[i];
    if (!f->depthwise && blocks_in) a.sum[ns++] = c16;
    a.n_sum = ns;
    a.extent[f->out] = dim_const(blocks_of(f->m));
    if (blocks_in) a.extent[f->in] = dim_const(blocks_of(f->c));
    if (!f->depthwise && blocks_in && f->c % BLOCK_CHANNELS)
        a.limits[a.n_limits++] = (contract_limit){ f->in, BLOCK_CHANNELS, c16, dim_const(f->c) };
    value init = NO_VALUE;
    if (n->n_in == 3) init = to_blocked(run, g, in[2]);
    return contract_by(g, x, b, init, &a, a.acc, n->types[0].dtype);
}

/* -- Groups ------------------------------------------------------------------------------------------------------------------- */

/* Are all windows' labels among the last k axes of both? */
static bool windows_last(const contract_attr *a, const uint8_t *la, const uint8_t *lx, bool in_result, int k)
{
    for (int w = 0; w < k; w++) {
        uint8_t x = in_result ? a->windows[w].o : a->windows[w].b;
        if (find_label(la, k, a->windows[w].a) < 0 || find_label(lx, k, x) < 0) return false;
    }
    return true;
}

/* Several groups in a block: as many channels in as out, 4 or 8. */
static bool share_blocks(const graph *g, const conv_form *f, const contract_attr *a)
{
    return f->c == f->m && f->c >= MIN_SHARED && f->c < BLOCK_CHANNELS && BLOCK_CHANNELS % f->c == 0
        && dim_divides(g->dims, a->extent[f->group], BLOCK_CHANNELS / f->c);
}

/* a[n, g, c, i…], b of g, o, c and taps -> [n, g, o, y…]; 16 channels a group or more, or groups that share blocks. */
static bool find_groups(const graph *g, const node *n, const value *in, conv_form *f)
{
    const contract_attr *a = n->contract;
    int k = a->n_windows, rank = k + 3;
    if (k == 0 || type_of(g, in[0]).rank != rank) return false;
    if (type_of(g, in[1]).rank != rank || n->types[0].rank != rank) return false;
    if (a->n_limits || a->n_sum != k + 1 || a->n_labels > MAX_LABELS - 2 || rank + 2 > MAX_RANK) return false;
    if (a->la[0] != a->lo[0] || a->la[1] != a->lo[1]) return false;
    *f = (conv_form){ .n = a->la[0], .group = a->la[1], .in = a->la[2], .out = a->lo[2], .n_spatial = k };
    if (f->in == f->out || find_label(a->lb, rank, f->n) >= 0 || find_label(a->lb, rank, f->group) < 0) return false;
    if (find_label(a->lb, rank, f->in) < 0 || find_label(a->lb, rank, f->out) < 0) return false;
    if (!windows_last(a, a->la + 3, a->lo + 3, true, k)) return false;
    for (int i = 1; n->n_in == 3 && i <= 2; i++)
        if (!dim_same(type_of(g, in[2]).dims[i], n->types[0].dims[i])) return false;
    if (!dim_is_const(a->extent[f->in], &f->c) || !dim_is_const(a->extent[f->out], &f->m)) return false;
    return (f->c >= BLOCK_CHANNELS && f->m >= MIN_OUTPUTS) || share_blocks(g, f, a);
}

/* [N, G, 4, …] -> [N, G/4, …, 4, 4], a view of the blocked form of [N, G*4, …]; 8 the same. */
static value shared_to_blocks(pass_run *run, graph *g, value v)
{
    type t = type_of(g, v);
    int64_t c = 0;
    dim shape[MAX_RANK];
    dim_is_const(t.dims[2], &c);
    shape[0] = t.dims[0];
    shape[1] = dim_mul(g->dims, t.dims[1], t.dims[2]);
    for (int i = 3; i < t.rank; i++) shape[i - 1] = t.dims[i];
    value x = to_blocked(run, g, reshape(g, v, t.rank - 1, shape));
    shape[1] = type_of(g, x).dims[1];
    shape[t.rank - 1] = dim_const(BLOCK_CHANNELS / c);
    shape[t.rank] = dim_const(c);
    return reshape(g, x, t.rank + 1, shape);
}

/* And back, to type t. */
static value shared_from_blocks(pass_run *run, graph *g, value x, type t)
{
    type u = type_of(g, x);
    dim shape[MAX_RANK];
    memcpy(shape, u.dims, sizeof(dim) * (size_t)u.rank);
    shape[u.rank - 2] = dim_const(BLOCK_CHANNELS);
    value all = from_blocked(run, g, reshape(g, x, u.rank - 1, shape), dim_mul(g->dims, t.dims[1], t.dims[2]));
    return reshape(g, all, t.rank, t.dims);
}

/* a[n, g, i…, q, c], b[g, q, taps, c, o] -> [n, g, y…, q, o]: q counts the groups of a block, and g blocks. */
static value block_shared(pass_run *run, graph *g, const node *n, const value *in, const conv_form *f)
{
    contract_attr a = *n->contract;
    int k = f->n_spatial, rank = k + 3, nb = 0, ns = 0;
    int64_t together = BLOCK_CHANNELS / f->c;
    uint8_t want[MAX_RANK] = { f->group, f->out, f->in }, q = new_label(&a, "q", together);
    for (int i = 0, w = 3; i < a.n_sum; i++)
        if (a.sum[i] != f->in) want[w++] = a.sum[i];
    value b = reorder(g, in[1], a.lb, want, rank);
    a.extent[f->group] = dim_div(g->dims, a.extent[f->group], dim_const(together));
    dim shape[MAX_RANK] = { a.extent[f->group], dim_const(together) };
    int perm[MAX_RANK] = { 0, 1 };
    for (int i = 1; i < rank; i++) shape[i + 1] = a.extent[want[i]];
    for (int i = 4; i <= rank; i++) perm[i - 2] = i;
    perm[rank - 1] = 3;
    perm[rank] = 2;
    b = transpose(g, reshape(g, b, rank + 1, shape), perm);
    a.lb[nb++] = f->group;
    a.lb[nb++] = q;
    for (int i = 3; i < rank; i++) a.lb[nb++] = a.sum[ns++] = want[i];
    a.lb[nb++] = a.sum[ns++] = f->in;
    a.lb[nb++] = f->out;
    memmove(a.la + 2, a.la + 3, (size_t)k);
    memmove(a.lo + 2, a.lo + 3, (size_t)k);
    a.la[k + 2] = a.lo[k + 2] = q;
    a.la[k + 3] = f->in;
    a.lo[k + 3] = f->out;
    value x = shared_to_blocks(run, g, in[0]), init = n->n_in == 3 ? shared_to_blocks(run, g, in[2]) : NO_VALUE;
    value y = contract_by(g, x, b, init, &a, a.acc, n->types[0].dtype);
    return is_value(y) ? shared_from_blocks(run, g, y, n->types[0]) : NO_VALUE;
}

/* [N, G, C, …] -> [N, G, C/16, …, 16]. Where 16 divides C, that is a view of the blocked form of [N, G*C, …]. */
static value groups_to_blocks(pass_run *run, graph *g, value v)
{
    type t = type_of(g, v);
    int64_t c = 0;
    dim shape[MAX_RANK], flat[MAX_RANK];
    int perm[MAX_RANK], n = 0;
    dim_is_const(t.dims[2], &c);
    shape[0] = flat[0] = t.dims[0];
    shape[1] = t.dims[1];
    shape[2] = dim_const(blocks_of(c));
    if (c % BLOCK_CHANNELS == 0) {
        flat[1] = dim_mul(g->dims, t.dims[1], t.dims[2]);
        for (int i = 3; i < t.rank; i++) flat[i - 1] = shape[i] = t.dims[i];
        shape[t.rank] = dim_const(BLOCK_CHANNELS);
        return reshape(g, to_blocked(run, g, reshape(g, v, t.rank - 1, flat)), t.rank + 1, shape);
    }
    shape[3] = dim_const(BLOCK_CHANNELS);
    for (int i = 3; i < t.rank; i++) shape[i + 1] = t.dims[i];
    for (int i = 0; i < 3; i++) perm[n++] = i;
    for (int i = 4; i <= t.rank; i++) perm[n++] = i;
    perm[n] = 3;
    return transpose(g, reshape(g, pad_channels(g, v, 2), t.rank + 1, shape), perm);
}

/* [N, G, C/16, …, 16] -> [N, G, C, …], of type t. */
static value groups_from_blocks(pass_run *run, graph *g, value x, type t)
{
    type u = type_of(g, x);
    dim shape[MAX_RANK];
    int perm[MAX_RANK], n = 0;
    if (dim_divides(g->dims, t.dims[2], BLOCK_CHANNELS)) {
        shape[0] = u.dims[0];
        shape[1] = dim_mul(g->dims, u.dims[1], u.dims[2]);
        for (int i = 3; i < u.rank; i++) shape[i - 1] = u.dims[i];
        value all = from_blocked(run, g, reshape(g, x, u.rank - 1, shape), dim_mul(g->dims, t.dims[1], t.dims[2]));
        return reshape(g, all, t.rank, t.dims);
    }
    for (int i = 0; i < 3; i++) perm[n++] = i;
    perm[n++] = u.rank - 1;
    for (int i = 3; i < u.rank - 1; i++) perm[n++] = i;
    memcpy(shape, t.dims, sizeof(dim) * (size_t)t.rank);
    shape[2] = dim_mulk(g->dims, u.dims[2], BLOCK_CHANNELS);
    return slice_axis(g, reshape(g, transpose(g, x, perm), t.rank, shape), 2, dim_const(0), t.dims[2], 1);
}

/* a[n, g, C, i…, c], b[g, O, C, taps, c, o] -> [n, g, O, y…, o]. */
static value block_groups(pass_run *run, graph *g, const node *n, const value *in, const conv_form *f)
{
    contract_attr a = *n->contract;
    int k = f->n_spatial, rank = k + 3, nb = 0, ns = 0, r = 0, q = 0;
    uint8_t want[MAX_RANK] = { f->group, f->out, f->in };
    uint8_t o16 = new_label(&a, "o", BLOCK_CHANNELS), c16 = new_label(&a, "c", BLOCK_CHANNELS);
    for (int i = 0, w = 3; i < a.n_sum; i++)
        if (a.sum[i] != f->in) want[w++] = a.sum[i];
    value b = pad_channels(g, pad_channels(g, reorder(g, in[1], a.lb, want, rank), 1), 2);
    dim shape[MAX_RANK];
    int perm[MAX_RANK];
    shape[r++] = a.extent[f->group];
    shape[r++] = dim_const(blocks_of(f->m));
    shape[r++] = dim_const(BLOCK_CHANNELS);
    shape[r++] = dim_const(blocks_of(f->c));
    shape[r++] = dim_const(BLOCK_CHANNELS);
    for (int i = 3; i < rank; i++) shape[r++] = a.extent[want[i]];
    perm[q++] = 0;
    perm[q++] = 1;
    perm[q++] = 3;
    for (int i = 5; i < r; i++) perm[q++] = i;
    perm[q++] = 4;
    perm[q++] = 2;
    b = transpose(g, reshape(g, b, r, shape), perm);

    a.label_name[f->out] = "O";
    a.label_name[f->in] = "C";
    for (int i = 0; i < rank; i++) a.lb[nb++] = want[i];
    a.lb[nb++] = c16;
    a.lb[nb++] = o16;
    a.la[rank] = c16;
    a.lo[rank] = o16;
    a.sum[ns++] = f->in;
    for (int i = 3; i < rank; i++) a.sum[ns++] = want[i];
    a.sum[ns++] = c16;
    a.n_sum = ns;
    a.extent[f->out] = dim_const(blocks_of(f->m));
    a.extent[f->in] = dim_const(blocks_of(f->c));
    if (f->c % BLOCK_CHANNELS)
        a.limits[a.n_limits++] = (contract_limit){ f->in, BLOCK_CHANNELS, c16, dim_const(f->c) };
    value x = groups_to_blocks(run, g, in[0]), init = n->n_in == 3 ? groups_to_blocks(run, g, in[2]) : NO_VALUE;
    value y = contract_by(g, x, b, init, &a, a.acc, n->types[0].dtype);
    return is_value(y) ? groups_from_blocks(run, g, y, n->types[0]) : NO_VALUE;
}

/* -- Gradients by weights ----------------------------------------------------------------------------------------------------- */

/* x[n, c, i…], dy[n, o, y…] -> [o, c, r…] (depthwise: [g, r…]; groups: x[n, g, c, i…], dy[n, g, o, y…] -> [g, o, c, r…])
 * in some order, taps r the windows' positions in the result. */
static bool find_taps(const graph *g, const node *n, const value *in, conv_form *f)
{
    const contract_attr *a = n->contract;
    int ra = type_of(g, in[0]).rank, rb = type_of(g, in[1]).rank, ro = n->types[0].rank;
    int k = a->n_windows, at = ra - k - 1;
    if (k == 0 || (at != 1 && at != 2) || rb != ra) return false;
    *f = (conv_form){ .n = a->la[0], .in = a->la[at], .out = a->lb[at], .n_spatial = k };
    f->group = at == 2 ? a->la[1] : NO_LABEL;
    f->depthwise = f->in == f->out;
    if (ro != (f->depthwise ? k + 1 : ra)) return false;
    if (at == 2 && (f->depthwise || a->lb[1] != f->group || find_label(a->lo, ro, f->group) < 0)) return false;
    if (a->n_limits || n->n_in != 2 || a->lb[0] != f->n || a->n_labels > MAX_LABELS - 2) return false;
    if (find_label(a->lo, ro, f->n) >= 0 || find_label(a->lo, ro, f->in) < 0 || find_label(a->lo, ro, f->out) < 0) return false;
    if (!windows_last(a, a->la + at + 1, a->lb + at + 1, false, k)) return false;
    for (int w = 0; w < k; w++)
        if (find_label(a->lo, ro, a->windows[w].o) < 0) return false;
    if (!dim_is_const(a->extent[f->in], &f->c) || !dim_is_const(a->extent[f->out], &f->m)) return false;
    if (at == 2 && share_blocks(g, f, a)) return true;
    return f->m >= MIN_OUTPUTS && ra + 2 <= MAX_RANK && (at == 1 || f->c >= BLOCK_CHANNELS);
}

/* a[n, g, i…, q, c], b[n, g, y…, q, o] -> [g, q, taps, c, o], then the order that was asked for. */
static value block_shared_taps(pass_run *run, graph *g, const node *n, const value *in, const conv_form *f)
{
    contract_attr a = *n->contract;
    int k = f->n_spatial, rank = k + 3, r = 0, p = 0, at_of[MAX_LABELS], perm[MAX_RANK];
    uint8_t q = new_label(&a, "q", BLOCK_CHANNELS / f->c);
    a.extent[f->group] = dim_div(g->dims, a.extent[f->group], dim_const(BLOCK_CHANNELS / f->c));
    memmove(a.la + 2, a.la + 3, (size_t)k);
    memmove(a.lb + 2, a.lb + 3, (size_t)k);
    a.la[k + 2] = a.lb[k + 2] = q;
    a.la[k + 3] = f->in;
    a.lb[k + 3] = f->out;
    a.lo[r++] = f->group;
    a.lo[r++] = q;
    for (int i = 0; i < rank; i++) {
        uint8_t l = n->contract->lo[i];
        if (l != f->group && l != f->in && l != f->out) a.lo[r++] = l;
    }
    a.lo[r++] = f->in;
    a.lo[r++] = f->out;
    for (int i = 0; i < r; i++) at_of[a.lo[i]] = i;
    value x = shared_to_blocks(run, g, in[0]), dy = shared_to_blocks(run, g, in[1]);
    value y = contract_by(g, x, dy, NO_VALUE, &a, a.acc, n->types[0].dtype);
    if (!is_value(y)) return NO_VALUE;
    for (int i = 0; i < rank; i++) {
        perm[p++] = at_of[n->contract->lo[i]];
        if (n->contract->lo[i] == f->group) perm[p++] = at_of[q];
    }
    return reshape(g, transpose(g, y, perm), rank, n->types[0].dims);
}

/* [O, C, taps, c, o], where both operands have their channels innermost; then back to the order that was asked for. */
static value block_taps(pass_run *run, graph *g, const node *n, const value *in, const conv_form *f)
{
    contract_attr a = *n->contract;
    bool grouped = f->group != NO_LABEL, blocks_in = f->depthwise || f->c >= BLOCK_CHANNELS;
    int k = f->n_spatial, rank = k + 2 + grouped, r = 0, q = 0, s = 0;
    value x = grouped ? groups_to_blocks(run, g, in[0]) : blocks_in ? to_blocked(run, g, in[0]) : in[0];
    value dy = grouped ? groups_to_blocks(run, g, in[1]) : to_blocked(run, g, in[1]);
    uint8_t o16 = new_label(&a, "o", BLOCK_CHANNELS), c16 = f->depthwise ? o16 : blocks_in ? new_label(&a, "c", BLOCK_CHANNELS) : NO_LABEL;
    if (blocks_in) a.label_name[f->in] = "C";
    a.label_name[f->out] = "O";
    a.extent[f->out] = dim_const(blocks_of(f->m));
    a.lb[rank] = o16;
    if (blocks_in) {
        a.extent[f->in] = dim_const(blocks_of(f->c));
        a.la[rank] = c16;
    }
    int at_of[MAX_LABELS];                                   /* of a label in the result */
    int n_out = n->types[0].rank;
    if (grouped) a.lo[r++] = f->group;
    a.lo[r++] = f->out;
    if (!f->depthwise) a.lo[r++] = f->in;
    for (int i = 0; i < n_out; i++) {
        uint8_t l = n->contract->lo[i];
        if (l != f->out && l != f->in && l != f->group) a.lo[r++] = l;
    }
    if (blocks_in && !f->depthwise) a.lo[r++] = c16;
    a.lo[r++] = o16;
    for (int i = 0; i < r; i++) at_of[a.lo[i]] = i;
    value y = contract_by(g, x, dy, NO_VALUE, &a, a.acc, n->types[0].dtype);
    if (!is_value(y)) return NO_VALUE;
    int perm[MAX_RANK];
    dim shape[MAX_RANK], start[MAX_RANK];
    int64_t step[MAX_RANK];
    for (int i = 0; i < n_out; i++) {
        uint8_t l = n->contract->lo[i];
        perm[q++] = at_of[l];
        if (l == f->out) perm[q++] = at_of[o16];
        if (l == f->in && blocks_in && !f->depthwise) perm[q++] = at_of[c16];
        bool is_blocked = l == f->out || (l == f->in && blocks_in);
        shape[s] = is_blocked ? dim_mulk(g->dims, a.extent[l], BLOCK_CHANNELS) : type_of(g, y).dims[at_of[l]];
        start[s] = dim_const(0);
        step[s++] = 1;
    }
    value v = reshape(g, transpose(g, y, perm), n_out, shape);
    return slice(g, v, start, n->types[0].dims, step);
}

/* Enough results of each weight that packing it at run time is little against the product? Open extents count as many. */
static bool has_many_rows(const graph *g, const contract_attr *a, type result, int rank_b)
{
    int64_t rows = 1, n;
    (void)g;
    for (int i = 0; i < result.rank; i++) {
        if (find_label(a->lb, rank_b, a->lo[i]) >= 0) continue;
        if (!dim_is_const(result.dims[i], &n)) return true;
        if (!mul_ok(rows, n, &rows)) return true;
    }
    return rows >= MIN_ROWS;
}

/* A convolution whose weights are not constant (training): they are packed when it runs. */
static bool pays_packing(const graph *g, const node *n, const value *in)
{
    return has_many_rows(g, n->contract, n->types[0], type_of(g, in[1]).rank);
}

/* Matrix product with a constant b: panels of 16 columns, or at least columns innermost. */
static bool panel_product(pass_run *run, graph *g, const node *n, const value *in, value *out)
{
    contract_attr a = *n->contract;
    type tb = type_of(g, in[1]), t = n->types[0];
    int64_t cols;
    if (a.n_windows || t.rank < 1 || t.rank + 1 > MAX_RANK || a.n_labels >= MAX_LABELS - 1) return false;
    bool is_constant = is_constant_value(g, in[1], CONSTANT_DEPTH);
    uint8_t o = a.lo[t.rank - 1];
    int at = find_label(a.lb, tb.rank, o);
    if (at < 0 || find_label(a.la, type_of(g, in[0]).rank, o) >= 0 || !dim_is_const(a.extent[o], &cols)) return false;
    for (int i = 0; i < tb.rank; i++)
        if (i != at && find_label(a.lo, t.rank, a.lb[i]) >= 0) return false;       /* batches of b */
    uint8_t want[MAX_RANK];
    int w = 0;
    for (int i = 0; i < tb.rank; i++)
        if (i != at) want[w++] = a.lb[i];
    want[w] = o;
    bool panels = is_constant && cols % BLOCK_CHANNELS == 0 && cols >= 2 * BLOCK_CHANNELS;
    bool pays = has_many_rows(g, &a, t, tb.rank) || is_invariant_value(run, g, in[1], CONSTANT_DEPTH);
    if (!is_constant && (cols < BLOCK_CHANNELS || !pays)) return false;
    if (!panels && at == tb.rank - 1) return false;
    value b = reorder(g, in[1], a.lb, want, tb.rank), init = n->n_in == 3 ? in[2] : NO_VALUE;
    memcpy(a.lb, want, (size_t)tb.rank);
    if (!panels) {
        out[0] = contract_by(g, in[0], b, init, &a, a.acc, t.dtype);
        return true;
    }
    uint8_t o16 = new_label(&a, "o", BLOCK_CHANNELS);
    dim shape[MAX_RANK + 1];
    int perm[MAX_RANK + 1];
    for (int i = 0; i < tb.rank - 1; i++) {
        shape[i] = a.extent[want[i]];
        perm[i + 1] = i;
    }
    shape[tb.rank - 1] = dim_const(cols / BLOCK_CHANNELS);
    shape[tb.rank] = dim_const(BLOCK_CHANNELS);
    perm[0] = tb.rank - 1;
    perm[tb.rank] = tb.rank;
    b = transpose(g, reshape(g, b, tb.rank + 1, shape), perm);
    for (int i = tb.rank - 1; i > 0; i--) a.lb[i] = want[i - 1];
    a.lb[0] = o;
    a.lb[tb.rank] = o16;
    a.lo[t.rank] = o16;
    a.extent[o] = dim_const(cols / BLOCK_CHANNELS);
    a.label_name[o] = "O";
    value y = contract_by(g, in[0], b, is_value(init) ? to_panel(run, g, init) : init, &a, a.acc, t.dtype);
    out[0] = from_panel(run, g, y);
    return true;
}

/* -- Readers that go along -------------------------------------------------------------------------------------------------------- */

/* Is x a reshape of another rank that only merges the axes `at` and at + 1, as from [N, G, C/16, …] or […, 4, 4]? Then its
 * operand: a map computed in that shape joins the kernel of the convolution of groups. */
static bool is_of_groups(const graph *g, value x, value *below, int *at)
{
    const node *n = node_of(g, x);
    type t = type_of(g, x), u;
    if (n->prim != PRIM_reshape || t.rank < 3 || (u = type_of(g, n->in[0])).rank != t.rank + 1) return false;
    for (*at = 1; *at < t.rank; *at += t.rank - 2) {
        bool same = true;
        for (int i = 0; i < t.rank; i++) same &= i == *at || dim_same(u.dims[i + (i > *at)], t.dims[i]);
        *below = n->in[0];
        if (same) return true;
    }
    return false;
}

/* Axis `at` of x cut as that of `like` is; an extent of 1 becomes two. */
static value split_groups(graph *g, value x, type like, int at)
{
    type t = type_of(g, x);
    dim shape[MAX_RANK];
    bool is_one = dim_is(t.dims[at], 1);
    for (int i = 0; i < t.rank; i++) shape[i + (i > at)] = t.dims[i];
    for (int i = at; i <= at + 1; i++) shape[i] = is_one ? dim_const(1) : like.dims[i];
    return reshape(g, x, t.rank + 1, shape);
}

static value merge_groups(graph *g, value x, int at)
{
    type t = type_of(g, x);
    dim shape[MAX_RANK];
    for (int i = 0; i < t.rank; i++) shape[i - (i > at)] = t.dims[i];
    shape[at] = dim_mul(g->dims, t.dims[at], t.dims[at + 1]);
    return reshape(g, x, t.rank - 1, shape);
}

static bool map_along(pass_run *run, graph *g, const node *n, const value *in, value *out)
{
    type t = n->types[0];
    form f = FORM_none;
    value x[4], groups = NO_VALUE;
    int at = 0;
    for (int i = 0; i < n->n_in && f == FORM_none; i++) {
        type u = type_of(g, in[i]);
        bool is_full = u.rank == t.rank;
        for (int q = 0; is_full && q < t.rank; q++) is_full = dim_same(u.dims[q], t.dims[q]);
        if (is_full) f = look(run, g, in[i]).form;
    }
    if (f == FORM_none || t.rank + 1 > MAX_RANK) return false;
    for (int i = 0; i < n->n_in; i++) {
        x[i] = f == FORM_blocked ? to_blocked(run, g, in[i]) : to_panel(run, g, in[i]);
        value below;
        if (f == FORM_blocked && !is_value(groups) && is_of_groups(g, x[i], &below, &at)) groups = below;
    }
    for (int i = 0; i < n->n_in && is_value(groups); i++) x[i] = split_groups(g, x[i], type_of(g, groups), at);
    value y = n->map->fn == SCALAR_cast ? cast(g, x[0], n->map->to) : map(g, n->map->fn, n->n_in, x);
    if (is_value(groups)) y = merge_groups(g, y, at);
    out[0] = f == FORM_blocked ? from_blocked(run, g, y, t.dims[1]) : from_panel(run, g, y);
    return true;
}

static bool window_along(pass_run *run, graph *g, const node *n, const value *in, value *out)
{
    alternative a = look(run, g, in[0]);
    if (a.form != FORM_blocked) return false;
    for (int i = 0; i < n->window->n; i++)
        if (n->window->axes[i].axis < 2) return false;
    value y = window_reduce(g, n->window->kind, a.x, n->window->n, n->window->axes);
    out[0] = from_blocked(run, g, y, n->types[0].dims[1]);
    return true;
}

/* Channels kept: the result's [.., C/16, .., 16] is [.., C, ..]. Sums over the batch too (BatchNorm) go over one axis after
 * another, the last one first: chains as short as those of the 16 lanes that they replace. */
static bool reduce_along(pass_run *run, graph *g, const node *n, const value *in, value *out)
{
    alternative a = look(run, g, in[0]);
    type t = type_of(g, in[0]);
    uint32_t axes = n->reduce->axes;
    if (a.form != FORM_blocked || n->reduce->kind >= REDUCE_argmax || t.rank < 3 || !axes || axes & 2) return false;
    value y = a.x;
    for (int k = t.rank - 1; k >= 2 && axes & 1; k--) {
        if (!(axes >> k & 1)) continue;
        y = reduce(g, n->reduce->kind, y, 1u << k, false);
        axes &= ~(1u << k);
    }
    y = reduce(g, n->reduce->kind, y, axes, false);              /* its axes: those kept before C/16, C/16, others kept, 16 */
    type u = type_of(g, y);
    dim shape[MAX_RANK];
    int perm[MAX_RANK], at = !(n->reduce->axes & 1), k = 0;
    for (int i = 0; i < u.rank - 1; i++) {
        perm[k++] = i;
        if (i == at) perm[k++] = u.rank - 1;
    }
    y = transpose(g, y, perm);
    memcpy(shape, type_of(g, y).dims, sizeof(dim) * (size_t)u.rank);
    shape[at] = dim_mul(g->dims, shape[at], shape[at + 1]);
    memmove(shape + at + 1, shape + at + 2, sizeof(dim) * (size_t)(u.rank - at - 2));
    y = reshape(g, y, u.rank - 1, shape);
    out[0] = dim_same(shape[at], t.dims[1]) ? y : slice_axis(g, y, at, dim_const(0), t.dims[1], 1);
    return true;
}

static bool concat_along(pass_run *run, graph *g, const node *n, const value *in, value *out)
{
    int axis = n->concat->axis;
    value *x = NEW_ARRAY(run->scratch, value, n->n_in);
    for (int i = 0; i < n->n_in; i++) {
        alternative a = look(run, g, in[i]);
        if (a.form != FORM_blocked || axis == 0) return false;
        if (axis == 1 && !dim_divides(g->dims, type_of(g, in[i]).dims[1], BLOCK_CHANNELS)) return false;
        x[i] = a.x;
    }
    out[0] = from_blocked(run, g, concat(g, n->n_in, x, axis), n->types[0].dims[1]);
    return true;
}

static bool pad_along(pass_run *run, graph *g, const node *n, const value *in, value *out)
{
    alternative a = look(run, g, in[0]);
    int rank = n->types[0].rank;
    if (a.form != FORM_blocked || n->n_in != 2 || rank + 1 > MAX_RANK) return false;
    pad_attr p = *n->pad;
    if (!dim_is(p.lo[1], 0) || !dim_is(p.hi[1], 0) || p.interior[1]) return false;
    p.lo[rank] = p.hi[rank] = dim_const(0);
    p.interior[rank] = 0;
    out[0] = from_blocked(run, g, pad(g, a.x, p.lo, p.hi, p.interior, in[1]), n->types[0].dims[1]);
    return true;
}

static bool rewrite(pass_run *run, graph *to, const graph *from, const node *n, const value *in, value *out)
{
    (void)from;
    conv_form f;
    switch ((prim)n->prim) {
    case PRIM_contract:
        if (find_conv(to, n, in, &f) && (is_constant_value(to, in[1], CONSTANT_DEPTH) || pays_packing(to, n, in))) {
            if (!pass_allow(run)) return false;
            value y = block_conv(run, to, n, in, &f);
            if (!is_value(y)) return false;
            out[0] = from_blocked(run, to, y, n->types[0].dims[1]);
            return true;
        }
        if (find_groups(to, n, in, &f) && (is_constant_value(to, in[1], CONSTANT_DEPTH) || pays_packing(to, n, in))) {
            if (!pass_allow(run)) return false;
            out[0] = (f.c < BLOCK_CHANNELS ? block_shared : block_groups)(run, to, n, in, &f);
            return is_value(out[0]);
        }
        if (find_taps(to, n, in, &f)) {
            if (!pass_allow(run)) return false;
            bool shared = f.group != NO_LABEL && f.c < BLOCK_CHANNELS;
            out[0] = (shared ? block_shared_taps : block_taps)(run, to, n, in, &f);
            return is_value(out[0]);
        }
        return panel_product(run, to, n, in, out) && pass_allow(run);
    case PRIM_map: return map_along(run, to, n, in, out);
    case PRIM_window: return window_along(run, to, n, in, out);
    case PRIM_reduce: return reduce_along(run, to, n, in, out);
    case PRIM_concat: return concat_along(run, to, n, in, out);
    case PRIM_pad: return pad_along(run, to, n, in, out);
    case PRIM_input: case PRIM_const: case PRIM_iota: case PRIM_random: case PRIM_reshape: case PRIM_transpose:
    case PRIM_broadcast: case PRIM_slice: case PRIM_gather: case PRIM_scatter: case PRIM_sort: case PRIM_scan:
    case PRIM_cond: case PRIM_while: case PRIM_compact: case PRIM_bitcast: case PRIM_kernel: case PRIM_COUNT:
        return false;
    }
    return false;
}

dlc_status pass_layout(pass_run *run, graph **g) { return pass_rewrite(run, g, rewrite); }
