/* plan: place the program's temporaries in one workspace
 *
 * Why    Memory that is reused is warm in cache, and a firmware developer wants one number.
 * How    Lifetimes over the sequence of calls (nested blocks are numbered in line). A buffer that a loop's body reads
 *        before it writes, or that is used on both sides of the loop's border, lives through the whole loop. Buffers are
 *        placed largest first, each at the lowest offset where it meets nobody that lives at the same time (first fit by
 *        size: Pisarchyk and Lee, "Efficient memory management for deep neural net inference", 2020).
 *        Before, results of calls take the place of operands that die there, where that is proved (plan_in_place.c): such a
 *        chain is one buffer. A plan without that is taken if it is smaller.
 * Needs  sizes that are constants once data-dependent symbols stand at their upper bound; otherwise the program is open,
 *        and its buffers are placed when it is entered (ir/open_plan.h).
 * Keeps  every bit; plan_check.c proves that nothing overlaps.
 * Cost   O(n log n + overlaps); overlaps are pairs that live at the same time. A buffer that meets more than MANY_NEAR
 *        others goes behind all of them.
 */
#include "passes/pass.h"
#include "ir/interval_index.h"
#include "ir/lifetime.h"
#include "passes/plan_in_place.h"
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

typedef struct { item *items; int64_t n, total, bound; bool is_open; } layout;

/* The program's temporaries placed, as they live in one another now. Open ones are not among the items. */
static layout place_all(arena *a, program *p)
{
    const lifetime *lives = lifetimes_of(a, p);
    layout l = { .items = NEW_ARRAY(a, item, p->bufs.n + 1) };
    for (int64_t i = 0; i < p->bufs.n; i++) {
        const pbuf *b = &p->bufs.at[i];
        if (b->kind != PBUF_temp || b->slot_of >= 0 || lives->of[i].last < 0) continue;
        int64_t size;
        if (!dim_is_const(b->bytes, &size)) { l.is_open = true; continue; }
        size = (size + ALIGN - 1) / ALIGN * ALIGN;
        l.items[l.n++] = (item){ (int)i, size ? size : ALIGN, lives->of[i].first, lives->of[i].last, 0 };
    }
    l.bound = lower_bound(a, l.items, l.n);
    qsort(l.items, (size_t)l.n, sizeof *l.items, by_size);
    placing *placed = NEW(a, placing);
    *placed = (placing){ .a = a, .items = l.items, .index = interval_index_new(a, lives->n_calls) };
    for (int64_t i = 0; i < l.n; i++) {
        item *x = &l.items[i];
        x->offset = first_fit(placed, x);
        interval_index_add(placed->index, (int)i, x->first, x->last);
        if (x->offset + x->bytes > placed->total) placed->total = x->offset + x->bytes;
    }
    l.total = placed->total;
    return l;
}

bool plan_program(pass_run *run, program *p)
{
    arena *a = run->scratch;
    plan_apart(p);
    const lifetime *lives = lifetimes_of(a, p);
    for (int64_t i = 0; i < p->bufs.n; i++) {
        pbuf *b = &p->bufs.at[i];
        b->bytes = buffer_bytes(p, lives, (int)i);
        if (b->kind != PBUF_state) b->offset = -1;
    }
    int64_t n_in_place = plan_in_place(run, p, lives);
    layout l = place_all(a, p);
    if (!l.is_open && l.total > l.bound && n_in_place) {        /* buffers that live longer may lie worse */
        program apart = *p;
        apart.bufs.at = arena_copy(a, p->bufs.at, (size_t)p->bufs.n * sizeof *p->bufs.at);
        plan_apart(&apart);
        layout other = place_all(a, &apart);
        if (other.total < l.total) {
            plan_apart(p);
            l = other;
            n_in_place = 0;
            if (run->explain) text_put(run->explain, "nothing in place: the plan would be larger\n");
        }
    }
    p->workspace_bytes = p->workspace_lower_bound = -1;
    run->changes += n_in_place;
    if (l.is_open && run->explain) text_put(run->explain, "sizes are open: the library plans at entry\n");
    if (l.is_open) return true;
    p->workspace_bytes = l.total;
    p->workspace_lower_bound = l.bound;
    for (int64_t i = 0; i < l.n; i++) {
        const item *x = &l.items[i];
        p->bufs.at[x->buf].offset = x->offset;
        if (run->explain)
            text_printf(run->explain, "%s: %lld bytes at %lld, calls %lld to %lld\n", p->bufs.at[x->buf].name, (long long)x->bytes,
                        (long long)x->offset, (long long)x->first, (long long)x->last);
    }
    run->changes += l.n;
    return true;
}
