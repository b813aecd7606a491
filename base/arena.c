/* base/arena.c: counted memory, arenas, and the way out when memory ends.
 *
 * What   An arena hands out zeroed pieces of blocks and gives all of them back at once.
 * How    Blocks double from 4 KB to 1 MB. A piece of BIG bytes or more has a block of its own, so that a
 *        growing array can be resized by realloc instead of leaving its old halves behind. All blocks come
 *        through mem_realloc, where requests are counted, limited, and made to fail by tests.
 * Needs  a mem_frame to be open wherever an arena allocates: mem_fail jumps there.
 * Cost   a few instructions a piece; at most 1 MB of slack an arena.
 */
#include "base/base.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum { FIRST_BLOCK = 4096, LAST_BLOCK = 1 << 20, BIG = 1 << 16, ALIGN = 16 };

typedef struct block {
    struct block *next, *prev;
    size_t bytes;                 /* of the whole block, this head included */
    size_t used;
} block;

typedef struct on_free {
    struct on_free *next;
    void (*fn)(void *);
    void *arg;
} on_free;

struct arena {
    mem *mem;
    arena *older, *newer;         /* in mem->arenas */
    block *blocks;                /* newest first; the first is the one being filled */
    block *big;                   /* blocks of one piece each */
    on_free *handlers;            /* newest first */
    size_t next_block;
};

static_assert(sizeof(block) % ALIGN == 0, "pieces start aligned behind the head of their block");

/* -- mem ------------------------------------------------------------------------------------------------- */

/* Counts a request; false if it is to fail. */
static bool request(mem *m)
{
    m->n_allocs++;
    return !(m->fail_at && m->n_allocs >= m->fail_at);
}

static void *resize(mem *m, void *p, size_t old_bytes, size_t new_bytes)
{
    if (new_bytes == 0) {
        free(p);
        m->live -= old_bytes;
        return NULL;
    }
    size_t live = m->live - old_bytes;
    if (new_bytes > SIZE_MAX / 2 - live || (m->limit && live + new_bytes > m->limit)) return NULL;
    void *q = p ? realloc(p, new_bytes) : calloc(1, new_bytes);
    if (!q) return NULL;
    m->live = live + new_bytes;
    if (m->live > m->peak) m->peak = m->live;
    return q;
}

void *mem_realloc(mem *m, void *p, size_t old_bytes, size_t new_bytes)
{
    if (new_bytes && !request(m)) return NULL;
    return resize(m, p, old_bytes, new_bytes);
}

void mem_frame_enter(mem *m, mem_frame *f)
{
    f->outer = m->frame;
    f->mark = m->arenas;
    m->frame = f;
}

void mem_end(mem *m, mem_frame *f)
{
    assert(m->frame == f);
    m->frame = f->outer;
}

void mem_fail(mem *m)
{
    mem_frame *f = m->frame;
    if (!f) abort();              /* only by a bug: an allocation outside every mem_try */
    while (m->arenas != f->mark) arena_free(m->arenas);
    m->frame = f->outer;
    longjmp(f->jump, 1);
}

/* -- Arenas ---------------------------------------------------------------------------------------------- */

arena *arena_new(mem *m)
{
    arena *a = mem_realloc(m, NULL, 0, sizeof *a);
    if (!a) mem_fail(m);
    *a = (arena){ .mem = m, .older = m->arenas, .next_block = FIRST_BLOCK };
    if (a->older) a->older->newer = a;
    m->arenas = a;
    return a;
}

static void free_blocks(mem *m, block *b)
{
    while (b) {
        block *next = b->next;
        resize(m, b, b->bytes, 0);
        b = next;
    }
}

void arena_free(arena *a)
{
    if (!a) return;
    mem *m = a->mem;
    for (on_free *h = a->handlers; h; h = h->next) h->fn(h->arg);
    for (mem_frame *f = m->frame; f; f = f->outer)
        if (f->mark == a) f->mark = a->older;
    if (a->newer) a->newer->older = a->older;
    else m->arenas = a->older;
    if (a->older) a->older->newer = a->newer;
    free_blocks(m, a->blocks);
    free_blocks(m, a->big);
    resize(m, a, sizeof *a, 0);
}

mem *arena_mem(arena *a) { return a->mem; }

static block *block_new(arena *a, size_t n_bytes)
{
    block *b = n_bytes < SIZE_MAX - sizeof(block) ? resize(a->mem, NULL, 0, n_bytes + sizeof(block)) : NULL;
    if (!b) mem_fail(a->mem);
    *b = (block){ .bytes = n_bytes + sizeof(block), .used = sizeof(block) };
    return b;
}

static void *alloc_big(arena *a, size_t n_bytes)
{
    block *b = block_new(a, n_bytes);
    b->next = a->big;
    if (b->next) b->next->prev = b;
    a->big = b;
    return b + 1;
}

void *arena_alloc(arena *a, size_t n_bytes)
{
    if (!request(a->mem)) mem_fail(a->mem);
    if (n_bytes >= BIG) return alloc_big(a, n_bytes);
    n_bytes = (n_bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (!a->blocks || a->blocks->bytes - a->blocks->used < n_bytes) {
        size_t want = a->next_block > n_bytes ? a->next_block : n_bytes;
        block *b = block_new(a, want);
        b->next = a->blocks;
        a->blocks = b;
        if (a->next_block < LAST_BLOCK) a->next_block *= 2;
    }
    void *p = (char *)a->blocks + a->blocks->used;
    a->blocks->used += n_bytes;
    return p;
}

void *arena_array(arena *a, size_t n, size_t size)
{
    size_t n_bytes;
    if (!size_mul_ok(n, size, &n_bytes)) mem_fail(a->mem);
    return arena_alloc(a, n_bytes);
}

void *arena_copy(arena *a, const void *p, size_t n_bytes)
{
    void *q = arena_alloc(a, n_bytes);
    if (n_bytes) memcpy(q, p, n_bytes);
    return q;
}

char *arena_strndup(arena *a, const char *s, size_t n)
{
    char *q = arena_alloc(a, n + 1);
    if (n) memcpy(q, s, n);
    return q;
}

char *arena_strdup(arena *a, const char *s) { return arena_strndup(a, s, strlen(s)); }

char *arena_vprintf(arena *a, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (n < 0) n = 0;
    char *s = arena_alloc(a, (size_t)n + 1);
    vsnprintf(s, (size_t)n + 1, fmt, ap);
    return s;
}

char *arena_printf(arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *s = arena_vprintf(a, fmt, ap);
    va_end(ap);
    return s;
}

void arena_on_free(arena *a, void (*fn)(void *), void *arg)
{
    on_free *h = NEW(a, on_free);
    *h = (on_free){ a->handlers, fn, arg };
    a->handlers = h;
}

/* -- Growing arrays -------------------------------------------------------------------------------------- */

/* A piece of BIG bytes has its block to itself: resize it there. */
static void *grow_big(arena *a, void *p, size_t old_bytes, size_t new_bytes)
{
    if (!request(a->mem)) mem_fail(a->mem);
    block *b = (block *)p - 1;
    size_t n_bytes = new_bytes < SIZE_MAX - sizeof(block) ? new_bytes + sizeof(block) : SIZE_MAX;
    b = resize(a->mem, b, b->bytes, n_bytes);
    if (!b) mem_fail(a->mem);
    b->bytes = n_bytes;
    if (b->prev) b->prev->next = b;
    else a->big = b;
    if (b->next) b->next->prev = b;
    memset((char *)(b + 1) + old_bytes, 0, new_bytes - old_bytes);
    return b + 1;
}

void vec_reserve_(arena *a, void **items, int64_t n, int64_t *cap, size_t size, int64_t more)
{
    if (*cap - n >= more) return;
    int64_t want;
    if (more < 0 || !add_ok(n, more, &want)) mem_fail(a->mem);
    int64_t to = *cap > INT64_MAX / 2 ? INT64_MAX : *cap * 2;
    if (to < 4) to = 4;
    if (to < want) to = want;
    size_t old_bytes = (size_t)*cap * size, new_bytes;
    if (!size_mul_ok((size_t)to, size, &new_bytes)) mem_fail(a->mem);
    if (old_bytes >= BIG) {
        *items = grow_big(a, *items, old_bytes, new_bytes);
    } else {
        void *p = arena_alloc(a, new_bytes);
        if (n) memcpy(p, *items, (size_t)n * size);
        *items = p;
    }
    *cap = to;
}
