/* base/base.h: memory, growing arrays, strings and hash maps: what every folder may use, and no tensor
 * knowledge.
 *
 * Memory lives in arenas. Objects in an arena die together; nothing is freed one by one. Every byte comes
 * through one `mem`, which counts, limits, and can be told to fail at the n-th allocation (so a test can try
 * every n).
 *
 * Out of memory: allocation never returns NULL. It jumps to the place that `mem_try` marked, at the api
 * boundary, which frees the arenas made since and reports DLC_ERR_MEMORY. Hence code between holds nothing
 * outside arenas that needs releasing, except through `arena_on_free` (files, LLVM objects).
 *
 *     if (mem_try(&m, &frame)) { ...work...; mem_end(&m, &frame); }
 *     else                     { ...out of memory: arenas created since mem_try are gone already... }
 */
#ifndef DLC_BASE_BASE_H
#define DLC_BASE_BASE_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdarg.h>
#include <string.h>

/* Results of everything that can fail; the same as in the public header. */
#ifndef DLC_STATUS
#define DLC_STATUS
typedef enum {
    DLC_OK = 0,
    DLC_ERR_INPUT = 1,        /* a file, model or program is wrong */
    DLC_ERR_UNSUPPORTED = 2,  /* right, but not implemented */
    DLC_ERR_SHAPE = 3,
    DLC_ERR_DTYPE = 4,
    DLC_ERR_MEMORY = 5,
    DLC_ERR_IO = 6,
    DLC_ERR_INTERNAL = 70
} dlc_status;
#endif

#define DLC_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* -- Memory ---------------------------------------------------------------------------------------------- */

typedef struct arena arena;
typedef struct mem_frame mem_frame;

/* A file that is mapped now. */
typedef struct mapped_file {
    const uint8_t *at; size_t n;
    uint64_t device, inode;
    int64_t seconds; long nanoseconds;        /* of its last change */
    struct mapped_file *next;
} mapped_file;

/* The files that were looked for, in order, as they were just before: what a result depends on. */
typedef struct {
    const char *path;
    bool is_there;
    uint64_t device, inode;
    int64_t size, seconds, nanoseconds;       /* of its last change */
} file_seen;
typedef struct file_log file_log;

typedef struct mem {
    size_t live;              /* bytes handed out now */
    size_t peak;              /* most bytes ever */
    size_t limit;             /* 0: none; else more than this fails */
    uint64_t n_allocs;        /* requests so far */
    uint64_t fail_at;         /* 0: never; else request number fail_at and all later ones fail */
    mem_frame *frame;         /* innermost mem_try */
    arena *arenas;            /* all living arenas, newest first */
    mapped_file *files;       /* all that are mapped, newest first */
    file_log *log;            /* file_see writes there; NULL: nowhere */
} mem;

struct mem_frame {
    jmp_buf jump;
    mem_frame *outer;
    arena *mark;              /* newest arena when the frame was entered */
};

/* True on entry, false when it returns a second time because memory ran out. */
#define mem_try(m, f) (mem_frame_enter((m), (f)), setjmp((f)->jump) == 0)
void mem_frame_enter(mem *m, mem_frame *f);
void mem_end(mem *m, mem_frame *f);
_Noreturn void mem_fail(mem *m);               /* frees the arenas of the frame, jumps */

/* Plain counted allocation for the few owners outside arenas (protobuf-c). NULL on failure. */
void *mem_realloc(mem *m, void *p, size_t old_bytes, size_t new_bytes);

arena *arena_new(mem *m);
void arena_free(arena *a);                      /* runs the on_free handlers, newest first; NULL is fine */
mem *arena_mem(arena *a);
void *arena_alloc(arena *a, size_t bytes);      /* zeroed, aligned to 16; 0 bytes give a valid pointer */
void *arena_array(arena *a, size_t n, size_t size);      /* checked n * size */
void *arena_copy(arena *a, const void *p, size_t bytes);
char *arena_strdup(arena *a, const char *s);
char *arena_strndup(arena *a, const char *s, size_t n);
char *arena_printf(arena *a, const char *fmt, ...) DLC_PRINTF(2, 3);
char *arena_vprintf(arena *a, const char *fmt, va_list ap);
void arena_on_free(arena *a, void (*fn)(void *), void *arg);

#define NEW(a, type) ((type *)arena_alloc((a), sizeof(type)))
#define NEW_ARRAY(a, type, n) ((type *)arena_array((a), (size_t)(n), sizeof(type)))

/* -- Checked arithmetic: false on overflow --------------------------------------------------------------- */

static inline bool add_ok(int64_t a, int64_t b, int64_t *r) { return !__builtin_add_overflow(a, b, r); }
static inline bool sub_ok(int64_t a, int64_t b, int64_t *r) { return !__builtin_sub_overflow(a, b, r); }
static inline bool mul_ok(int64_t a, int64_t b, int64_t *r) { return !__builtin_mul_overflow(a, b, r); }
static inline bool size_mul_ok(size_t a, size_t b, size_t *r) { return !__builtin_mul_overflow(a, b, r); }

/* -- Growing arrays: struct { T *at; int64_t n, cap; }, in an arena -----------------------------------------
 *     vec(int) v = {0};  vec_push(a, &v, 3);  v.at[0]; v.n
 */
#define vec(T) struct { T *at; int64_t n, cap; }
#define vec_push(a, v, x) \
    (vec_reserve_((a), (void **)&(v)->at, (v)->n, &(v)->cap, sizeof *(v)->at, 1), (v)->at[(v)->n++] = (x))
#define vec_grow(a, v, more) vec_reserve_((a), (void **)&(v)->at, (v)->n, &(v)->cap, sizeof *(v)->at, (more))
#define vec_pop(v) ((v)->at[--(v)->n])
void vec_reserve_(arena *a, void **items, int64_t n, int64_t *cap, size_t size, int64_t more);

/* -- Text that grows ------------------------------------------------------------------------------------- */

typedef struct { arena *a; char *at; int64_t n, cap; } text; /* at is NUL-terminated once something was put */

void text_put(text *t, const char *s);
void text_putn(text *t, const char *s, size_t n);
void text_printf(text *t, const char *fmt, ...) DLC_PRINTF(2, 3);
/* Escapes control characters, quotes and invalid UTF-8 as \xNN and cuts after `max` bytes ("…"): for names
 * from files. */
void text_put_escaped(text *t, const char *s, size_t n, size_t max);
const char *text_str(text *t);                                     /* "" if empty */

/* -- Hash maps ------------------------------------------------------------------------------------------- */

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed);      /* stable across runs and machines */
static inline uint64_t hash_u64(uint64_t a, uint64_t b)
{
    uint64_t x = (a ^ (b + 0x9e3779b97f4a7c15u + (a << 6) + (a >> 2))) * 0xff51afd7ed558ccdu;
    return x ^ (x >> 32);
}

/* Bytes -> u64. Iteration is in order of insertion (never of the hash). Keys are copied into the arena. */
typedef struct {
    arena *a;
    struct map_entry { const char *key; size_t len; uint64_t hash; uint64_t value; } *entries;
    int64_t n, cap;
    uint32_t *slots;          /* entry + 1, 0 empty; a power of two of them */
    uint32_t n_slots;
} map_str;

void map_init(map_str *m, arena *a);
uint64_t *map_find(const map_str *m, const char *key, size_t len);            /* NULL: absent */
/* the slot; keeps an old value */
uint64_t *map_put(map_str *m, const char *key, size_t len, uint64_t value, bool *fresh);

/* Hash-consing: ids of equal things. The table knows hashes and ids, the owner compares. */
typedef struct { arena *a; uint64_t *hashes; uint32_t *ids; uint32_t n, n_slots; } cons_table;
typedef bool (*cons_equal)(const void *owner, uint32_t id, const void *key);
void cons_init(cons_table *t, arena *a);
bool cons_find(const cons_table *t, uint64_t hash, cons_equal eq, const void *owner, const void *key,
               uint32_t *id);
void cons_add(cons_table *t, uint64_t hash, uint32_t id);

/* -- Files ----------------------------------------------------------------------------------------------- */

typedef struct { const uint8_t *at; size_t n; } bytes;

/* Maps a regular file read-only; unmapped with the arena. NULL-free errors: returns false and an errno in
 * *err (EINVAL: not a regular file). An empty file gives {non-NULL, 0}. */
bool file_map(arena *a, const char *path, bytes *out, int *err);
/* The same of an open file, which the caller closes; the mapping is made before it is opened, since
 * allocation may jump. */
typedef struct file_mapping file_mapping;
file_mapping *file_mapping_new(arena *a);
bool file_map_open(file_mapping *k, int fd, bytes *out, int *err);
/* The mapped file that these bytes lie in; NULL: none. */
const mapped_file *mapped_file_of(const mem *m, const void *at, size_t n);

/* Whoever reads a file named by the user, or asks whether there is one, says so before; file_map does it
 * itself. */
struct file_log { arena *a; vec(file_seen) seen; };
file_seen file_look(const char *path);
void file_see(mem *m, const char *path);

/* Writes to "PATH.tmpXXXX" beside it, then renames; nothing is left behind on failure. A device or pipe
 * (/dev/null) is written to as it is: renaming would put a file in its place. */
typedef struct file_out file_out;
file_out *file_create(arena *a, const char *path, int mode, int *err);
bool file_is_special(const char *path);         /* there, and neither a regular file nor a folder */
bool file_write(file_out *f, const void *p, size_t n);
bool file_commit(file_out *f);       /* flush, rename; false: errno says why and the temporary file is gone */

#endif
