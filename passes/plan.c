/* plan: place the program's temporaries in one workspace
 *
 * Why    Memory that is reused is warm in cache, and a firmware developer wants one number.
 * How    Lifetimes over the sequence of calls (nested blocks are numbered in line). A buffer that a loop's body reads
 *        before it writes, or that is used on both sides of the loop's border, lives through the whole loop. Buffers are
 *        placed largest first, each at the lowest offset where it meets nobody that lives at the same time (first fit by
 *        size: Pisarchyk and Lee, "Efficient memory management for deep neural net inference", 2020).
 * Needs  sizes that are constants once data-dependent symbols stand at their upper bound; otherwise the program is open,
 *        and its buffers are placed when it is entered (ir/open_plan.h).
 * Keeps  every bit; plan_check.c proves that nothing overlaps.
 * Cost   O(n log n + overlaps); overlaps are pairs that live at the same time. A buffer that meets more than MANY_NEAR
 *        others goes behind all of them.
 */
#include "passes/pass.h"
#include "ir/interval_index.h"
#include "ir/lifetime.h"
#include <stdlib.h>

enum { ALIGN = 64, MANY_NEAR = 2000 };

typedef struct { int buf; int64_t bytes, first, last, offset; } item;

static int by_size(const void *a, const void *b)
{
    const item *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
    return x->buf < y->buf ? -1 : x->buf > y->buf;
}

static int by_offset(const void *a, const void *b)
{
    const item *x = *(const item *const *)a, *y = *(const item *const *)b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return x->buf < y->buf ? -1 : x->buf > y->buf;
}

typedef struct {
    arena *a;
    const item *items;
    interval_index *index;              /* of those placed */
    item_list found;                    /* room for an answer of the index */
    const item *near[MANY_NEAR];
    int64_t total;                      /* free of everything placed */
} placing;

/* The lowest offset free of everything placed that lives while x does. */
static int64_t first_fit(placing *p, const item *x)
{
    const item **near = p->near;
    p->found.n = 0;
    if (!interval_index_find(p->index, p->a, x->first, x->last, MANY_NEAR, &p->found)) return p->total;
    int64_t at = 0, n = p->found.n;
    for (int64_t i = 0; i < n; i++) near[i] = &p->items[p->found.at[i]];
    qsort(near, (size_t)n, sizeof *near, by_offset);
    for (int64_t i = 0; i < n; i++) {
        if (near[i]->offset >= at + x->bytes) break;
        int64_t end = near[i]->offset + near[i]->bytes;
        if (end > at) at = end;
    }
    return at;
}

typedef struct { int64_t at, bytes; } event;

static int by_time(const void *a, const void *b)
{
    const event *x = a, *y = b;
    if (x->at != y->at) return x->at < y->at ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;      /* ends (negative) first */
}

/* The largest sum of bytes alive at one time: no plan can do with less. */
static int64_t lower_bound(arena *a, const item *items, int64_t n)
{
    event *e = NEW_ARRAY(a, event, 2 * n + 1);
    for (int64_t i = 0; i < n; i++) {
        e[2 * i] = (event){ items[i].first, items[i].bytes };
        e[2 * i + 1] = (event){ items[i].last + 1, -items[i].bytes };
    }
    qsort(e, (size_t)(2 * n), sizeof *e, by_time);
    int64_t live = 0, most = 0;
    for (int64_t i = 0; i < 2 * n; i++) {
        live += e[i].bytes;
        if (live > most) most = live;
    }
    return most;
}

bool plan_program(pass_run *run, program *p)
{
    arena *a = run->scratch;
    lifetime *lives = lifetimes_of(a, p);
    item *items = NEW_ARRAY(a, item, p->bufs.n + 1);
    int64_t n = 0;
    bool is_open = false;
    for (int64_t i = 0; i < p->bufs.n; i++) {
        pbuf *b = &p->bufs.at[i];
        b->bytes = buffer_bytes(p, lives, (int)i);
        if (b->kind != PBUF_state) b->offset = -1;
        if (b->kind != PBUF_temp || lives->of[i].last < 0) continue;
        int64_t size;
        if (!dim_is_const(b->bytes, &size)) { is_open = true; continue; }
        size = (size + ALIGN - 1) / ALIGN * ALIGN;
        items[n++] = (item){ (int)i, size ? size : ALIGN, lives->of[i].first, lives->of[i].last, 0 };
    }
    p->workspace_bytes = p->workspace_lower_bound = -1;
    if (is_open && run->explain) text_put(run->explain, "sizes are open: the library plans at entry\n");
    if (is_open) return true;
    p->workspace_lower_bound = lower_bound(a, items, n);
    qsort(items, (size_t)n, sizeof *items, by_size);
    placing *placed = NEW(a, placing);
    *placed = (placing){ .a = a, .items = items, .index = interval_index_new(a, lives->n_calls) };
    for (int64_t i = 0; i < n; i++) {
        items[i].offset = first_fit(placed, &items[i]);
        interval_index_add(placed->index, (int)i, items[i].first, items[i].last);
        if (items[i].offset + items[i].bytes > placed->total) placed->total = items[i].offset + items[i].bytes;
        p->bufs.at[items[i].buf].offset = items[i].offset;
        if (run->explain)
            text_printf(run->explain, "%s: %lld bytes at %lld, calls %lld to %lld\n", p->bufs.at[items[i].buf].name, (long long)items[i].bytes,
                        (long long)items[i].offset, (long long)items[i].first, (long long)items[i].last);
    }
    p->workspace_bytes = placed->total;
    run->changes += n;
    return true;
}
