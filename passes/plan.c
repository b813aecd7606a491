/* plan: place the program's temporaries in one workspace
 *
 * Why    Memory that is reused is warm in cache, and a firmware developer wants one number.
 * How    Lifetimes over the sequence of calls (nested blocks are numbered in line). A buffer that a loop's body reads
 *        before it writes, or that is used on both sides of the loop's border, lives through the whole loop. Buffers are
 *        placed largest first, each at the lowest offset where it meets nobody that lives at the same time (first fit by
 *        size: Pisarchyk and Lee, "Efficient memory management for deep neural net inference", 2020).
 * Needs  sizes that are constants once data-dependent symbols stand at their upper bound; otherwise the program is open,
 *        and the generated code places its buffers when it is entered.
 * Keeps  every bit; plan_check.c proves that nothing overlaps.
 * Cost   O(n log n + overlaps); overlaps are pairs that live at the same time.
 */
#include "passes/pass.h"
#include "passes/lifetime.h"
#include <stdlib.h>

enum { ALIGN = 64 };

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

/* The lowest offset free of everything placed that lives while x does. near[] is room for as many. */
static int64_t first_fit(const item *placed, int64_t n, const item *x, const item **near)
{
    int64_t m = 0, at = 0;
    for (int64_t i = 0; i < n; i++)
        if (placed[i].first <= x->last && x->first <= placed[i].last) near[m++] = &placed[i];
    qsort(near, (size_t)m, sizeof *near, by_offset);
    for (int64_t i = 0; i < m; i++) {
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
    int64_t n = 0, total = 0;
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
    if (is_open) return true;
    p->workspace_lower_bound = lower_bound(a, items, n);
    qsort(items, (size_t)n, sizeof *items, by_size);
    const item **near = NEW_ARRAY(a, const item *, n + 1);
    for (int64_t i = 0; i < n; i++) {
        items[i].offset = first_fit(items, i, &items[i], near);
        if (items[i].offset + items[i].bytes > total) total = items[i].offset + items[i].bytes;
        p->bufs.at[items[i].buf].offset = items[i].offset;
    }
    p->workspace_bytes = total;
    run->changes += n;
    return true;
}
