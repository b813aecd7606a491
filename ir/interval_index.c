/* interval_index: which of many lifetimes meet a given one
 *
 * Why    Placing n buffers needs, for each, those that live at the same time: to look at all of them is
 *        quadratic.
 * How    An interval meets [f, l] if it is alive at f, or begins in (f, l]. A binary tree over time answers
 *        both: `alive` of a node holds the intervals that cover it and not its parent, so those alive at f
 *        stand on the path from leaf f to the root; `begins` holds the intervals that begin below the node,
 *        and (f, l] is at most 2 log n nodes.
 * Cost   O(log n) a node to add, O(log n + found) to ask; O(n log n) memory.
 */
#include "ir/interval_index.h"

struct interval_index {
    arena *a;
    int64_t n_leaves;                   /* a power of two; node 1 is the root, leaf t is node n_leaves + t */
    item_list *alive, *begins;          /* by node */
};

interval_index *interval_index_new(arena *a, int64_t n_times)
{
    interval_index *x = NEW(a, interval_index);
    x->a = a;
    x->n_leaves = 1;
    while (x->n_leaves < n_times) x->n_leaves *= 2;
    x->alive = NEW_ARRAY(a, item_list, 2 * x->n_leaves);
    x->begins = NEW_ARRAY(a, item_list, 2 * x->n_leaves);
    return x;
}

void interval_index_add(interval_index *x, int item, int64_t first, int64_t last)
{
    for (int64_t i = x->n_leaves + first; i >= 1; i /= 2) vec_push(x->a, &x->begins[i], item);
    int64_t lo = x->n_leaves + first, hi = x->n_leaves + last + 1;
    for (; lo < hi; lo /= 2, hi /= 2) {
        if (lo & 1) { vec_push(x->a, &x->alive[lo], item); lo++; }
        if (hi & 1) { hi--; vec_push(x->a, &x->alive[hi], item); }
    }
}

static bool take(arena *a, const item_list *from, int64_t most, item_list *out)
{
    if (out->n + from->n > most) return false;
    for (int64_t i = 0; i < from->n; i++) vec_push(a, out, from->at[i]);
    return true;
}

bool interval_index_find(const interval_index *x, arena *a, int64_t first, int64_t last, int64_t most,
                         item_list *out)
{
    for (int64_t i = x->n_leaves + first; i >= 1; i /= 2)
        if (!take(a, &x->alive[i], most, out)) return false;
    int64_t lo = x->n_leaves + first + 1, hi = x->n_leaves + last + 1;
    for (; lo < hi; lo /= 2, hi /= 2) {
        if ((lo & 1) && !take(a, &x->begins[lo++], most, out)) return false;
        if ((hi & 1) && !take(a, &x->begins[--hi], most, out)) return false;
    }
    return true;
}
