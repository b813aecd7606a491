/* ir/order.h: the order of every sum (docs/design.md §11): the one place that interpreter and `lower` ask.
 *
 * Chains. A contract is one chain per output: acc starts from init, or +0; then for each combination of the
 * summed
 *     labels, row-major in their written order (the first outermost), acc = fma(a, b, acc). A window is one
 *     chain per output over its taps, row-major, from the identity. A reduction that keeps the innermost axis
 *     is one chain per output over the reduced axes, row-major, from the identity.
 *
 * The row rule. A sum over elements e = 0, 1, … (row-major) goes to LANES virtual lanes:
 *         lane[l] = identity;   lane[e mod 16] = lane[e mod 16] op x[e], in the order of e
 *     and is closed by the fixed tree 16-8-4-2-1:
 *         lane[l] = lane[l] op lane[l + 8] for l < 8;   then + 4, + 2, + 1;   the sum is lane[0].
 *     Lanes that no element reached are the identity and take part. More than BLOCK elements: each block of
 *     4,096 is summed so, and the list of block sums is summed by the same rule again (over 4,096 blocks: and
 *     again). It holds for reductions over the innermost axis, and for contracts whose result has statically
 *     fewer than 16 elements: there a step is lane = fma(a, b, lane), e counts all combinations of the summed
 *     labels, init starts lane 0 of the first block, and block sums are added.
 *
 * Left out. A combination outside the operand, not divisible, or beyond a `limit` takes no step (it still
 * counts in
 *     e). Except with zero taps: then a position outside is a step with a = +0; beyond a limit there is none.
 *
 * Everything depends on shapes and attributes only. Floats accumulate in the accumulator's type (f16 and
 * bf16: f32); of ints the order does not matter.
 */
#ifndef DLC_IR_ORDER_H
#define DLC_IR_ORDER_H
#include "ir/graph.h"

enum { LANES = 16, BLOCK = 4096 };

static inline bool shape_is_below(type t, int64_t bound)
{
    int64_t n = 1, d;
    for (int i = 0; i < t.rank; i++)
        if (!dim_is_const(t.dims[i], &d) || !mul_ok(n, d, &n)) return false;
    return n < bound;
}

/* Does this contract, with a result of this type, sum by the row rule? */
static inline bool contract_uses_row_rule(type result) { return shape_is_below(result, LANES); }

static inline bool label_in(const uint8_t *labels, int n, uint8_t l)
{
    for (int i = 0; i < n; i++)
        if (labels[i] == l) return true;
    return false;
}

/* Zero taps: windows, no batch label (ungrouped), no divided subscript, statically fewer than 16 input
 * channels (the product of the contracted labels that belong to no window), and no window with more taps than
 * positions: a gradient by weights, whose taps are all the pixels of an image, leaves out those outside. */
static inline bool contract_zero_taps(const contract_attr *c, int rank_a, int rank_b, int rank_o)
{
    if (c->n_windows == 0) return false;
    int64_t channels = 1, e, taps;
    for (int w = 0; w < c->n_windows; w++) {
        if (c->windows[w].r.idil != 1 || !dim_is_const(c->extent[c->windows[w].b], &taps)) return false;
        if (dim_is_const(c->extent[c->windows[w].o], &e) && taps > e) return false;
    }
    for (int i = 0; i < rank_a; i++) {
        uint8_t l = c->la[i];
        if (!label_in(c->lb, rank_b, l)) continue;
        if (label_in(c->lo, rank_o, l)) return false;
        if (!dim_is_const(c->extent[l], &e) || !mul_ok(channels, e, &channels)) return false;
    }
    return channels < LANES;
}

/* Does a reduction of these axes go by the row rule (else: one chain per output)? */
static inline bool reduce_is_lanes(uint32_t axes, int rank) { return rank > 0 && (axes >> (rank - 1) & 1); }

/* The position of a that belongs to o and k; false: outside, or not divisible. */
static inline bool relation_at(relation r, int64_t o, int64_t k, int64_t extent, int64_t *i)
{
    int64_t x = r.stride * o + r.dil * k - r.pad;
    if (r.idil != 1) {
        if (x % r.idil) return false;
        x /= r.idil;
    }
    *i = x;
    return x >= 0 && x < extent;
}
#endif
