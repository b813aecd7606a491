/* open_plan: temporaries of open sizes, placed when the program is entered
 *
 * Why    One library serves every batch and length. Which buffers live at the same time is known when it is
 *        compiled; how large they are only when it is called.
 * How    A table of (size expression, neighbours): the neighbours of an item are the earlier items whose
 *        lifetimes meet its own. At entry the sizes are computed, and first fit gives each item the lowest
 *        offset that is free of its neighbours. The order is by size, as the static plan has it, where open
 *        sizes stand for a middling number: it decides how tight the plan is, never whether it is right. The
 *        table is small and constant; placing costs a few steps for each pair of neighbours.
 * Limit  An item with more than MANY_NEAR neighbours goes behind all earlier ones, so that entry stays
 *        linear.
 * Same   in the generated library (backend/llvm/program.c), in C, in the interpreter and in the checker.
 */
#include "ir/open_plan.h"
#include "ir/interval_index.h"
#include "ir/lifetime.h"
#include <stdlib.h>

enum { ALIGN = 64, MIDDLING = 100, MANY_NEAR = 200 };

typedef struct { int buf; int64_t rough, first, last; } item;

static int by_size(const void *a, const void *b)
{
    const item *x = a, *y = b;
    if (x->rough != y->rough) return x->rough > y->rough ? -1 : 1;
    return x->buf < y->buf ? -1 : x->buf > y->buf;
}

static bool is_open(const pbuf *b) { return b->kind == PBUF_temp && b->slot_of < 0 && b->offset < 0; }

/* Sizes with every symbol at a middling value within its bounds. */
static int64_t *middling_symbols(arena *a, const program *p)
{
    int n = dims_n_symbols(p->dims);
    int64_t *s = NEW_ARRAY(a, int64_t, n + 1);
    for (int i = 0; i < n; i++) {
        int64_t lo, hi;
        dims_symbol_range(p->dims, i, &lo, &hi);
        s[i] = MIDDLING < lo ? lo : MIDDLING > hi ? hi : MIDDLING;
    }
    return s;
}

static void number_sizes(arena *a, const program *p, open_plan *o, const item *items)
{
    map_str seen;
    map_init(&seen, a);
    o->size = NEW_ARRAY(a, dim, o->n + 1);
    o->size_of = NEW_ARRAY(a, int, o->n + 1);
    for (int i = 0; i < o->n; i++) {
        dim d = p->bufs.at[items[i].buf].bytes;
        bool fresh;
        o->size_of[i] = (int)*map_put(&seen, (const char *)&d.code, sizeof d.code, (uint64_t)o->n_sizes,
                                      &fresh);
        if (fresh) o->size[o->n_sizes++] = d;
    }
}

static int by_number(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return x < y ? -1 : x > y;
}

/* Earlier items that live while item i does, in order. */
static void find_neighbours(arena *a, open_plan *o, const item *items, int64_t n_times)
{
    interval_index *index = interval_index_new(a, n_times);
    item_list near = { 0 };
    o->near_first = NEW_ARRAY(a, int, o->n + 1);
    for (int i = 0; i < o->n; i++) {
        int64_t begin = near.n;
        o->near_first[i] = (int)begin;
        if (!interval_index_find(index, a, items[i].first, items[i].last, begin + MANY_NEAR, &near)) {
            near.n = begin;
            vec_push(a, &near, OPEN_PLAN_BEHIND);
        }
        if (near.n > begin) qsort(near.at + begin, (size_t)(near.n - begin), sizeof *near.at, by_number);
        interval_index_add(index, i, items[i].first, items[i].last);
    }
    o->near_first[o->n] = (int)near.n;
    o->near = near.at;
}

open_plan *open_plan_make(arena *a, const program *p)
{
    bool any = false;
    for (int64_t i = 0; i < p->bufs.n && !any; i++) any = is_open(&p->bufs.at[i]);
    if (!any) return NULL;
    open_plan *o = NEW(a, open_plan);
    const lifetime *lives = lifetimes_of(a, p);
    const int64_t *symbols = middling_symbols(a, p);
    item *items = NEW_ARRAY(a, item, p->bufs.n + 1);
    for (int64_t i = 0; i < p->bufs.n; i++) {
        if (!is_open(&p->bufs.at[i]) || lives->of[i].last < 0) continue;
        item x = { .buf = (int)i, .first = lives->of[i].first, .last = lives->of[i].last };
        if (!dim_eval(p->dims, p->bufs.at[i].bytes, symbols, &x.rough)) x.rough = INT64_MAX;
        items[o->n++] = x;
    }
    qsort(items, (size_t)o->n, sizeof *items, by_size);
    o->item_of = NEW_ARRAY(a, int, p->bufs.n + 1);
    for (int64_t i = 0; i < p->bufs.n; i++) o->item_of[i] = -1;
    for (int i = 0; i < o->n; i++) o->item_of[items[i].buf] = i;
    number_sizes(a, p, o, items);
    find_neighbours(a, o, items, lives->n_calls);
    return o;
}

static int64_t rounded(int64_t n) { return (n + ALIGN - 1) / ALIGN * ALIGN; }

int64_t open_plan_place(const open_plan *o, const int64_t *size, int64_t *offset)
{
    int64_t total = 0;
    for (int i = 0; i < o->n; i++) {
        int64_t n = rounded(size[o->size_of[i]]), at = 0, before;
        do {
            before = at;
            for (int j = o->near_first[i]; j < o->near_first[i + 1]; j++) {
                int k = o->near[j];
                int64_t begin = k < 0 ? 0 : offset[k],
                        end = k < 0 ? total : begin + rounded(size[o->size_of[k]]);
                if (begin < at + n && at < end) at = end;
            }
        } while (at != before);
        offset[i] = at;
        if (at + n > total) total = at + n;
    }
    return total;
}

int64_t open_plan_base(const program *p) { return p->workspace_bytes > 0 ? rounded(p->workspace_bytes) : 0; }
