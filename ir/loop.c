/* ir/loop.c: making kernels, statements and programs.
 *
 * What   The makers of ir/loop.h except those of expressions (ir/expr.c). All objects live in the arena given
 *        at the start.
 * Names  One table a kernel, name -> kind and id, for buffers, variables and temps alike. So a name alone
 *        says what it is: the text form needs no sigils, the parser looks names up, and sums can be ordered
 *        by name (an order that printing and parsing keep, unlike ids).
 */
#include "ir/loop.h"
#include "ir/loop_names.h"
#include <assert.h>

/* -- Names ----------------------------------------------------------------------------------------------- */

/* Words of the text form, which no buffer, variable or temp may be called. */
static const char *const reserved[] = {
    "for", "in", "if", "else", "let", "reg", "stack", "prefetch", "write", "parallel", "vector", "unroll",
    "tree",
    "and", "or", "not", "mod", "floordiv", "dim", "true", "false", "inf", "nan", "bitcast", "loops",
    "schedule",
    "symbol", "out", "inout", "const", "kernel", "program", "call", "scan", "cond", "while", "setdim",
    "reverse", "none",
};

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool name_is_reserved(const char *s, size_t n)
{
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        if (strlen(reserved[i]) == n && memcmp(reserved[i], s, n) == 0) return true;
    return scalar_by_name(s, n) != SCALAR_COUNT || dtype_by_name(s, n) != DTYPE_NONE;
}

/* The identifier nearest to s: parts of letters and digits, joined by single dots. */
const char *name_clean(arena *a, const char *s)
{
    size_t n = s ? strlen(s) : 0, m = 0;
    if (n > 100) n = 100;
    char *r = arena_alloc(a, 2 * n + 3);
    for (size_t i = 0; i < n; i++) {
        bool part_starts = m == 0 || r[m - 1] == '.';
        if (is_letter(s[i])) r[m++] = s[i];
        else if (is_digit(s[i])) { if (part_starts) r[m++] = '_'; r[m++] = s[i]; }
        else if (s[i] == '.' && !part_starts && i + 1 < n && s[i + 1] != '.') r[m++] = '.';
        else r[m++] = '_';
    }
    if (m == 0) r[m++] = '_';
    if (name_is_reserved(r, m)) r[m++] = '_';
    return r;
}

/* Enters prefix + name, with _2, _3 … appended while it is taken; what to append next is kept with the name,
 * so that many equal names cost no search. Returns what was entered, without the prefix. */
static const char *enter(map_str *names, arena *a, const char *prefix, const char *base, uint64_t entry)
{
    const char *name = base;
    size_t skip = strlen(prefix);
    for (;;) {
        bool fresh;
        char *key = arena_printf(a, "%s%s", prefix, name);
        map_put(names, key, strlen(key), entry, &fresh);
        if (fresh) return names->entries[names->n - 1].key + skip;
        char *counter = arena_printf(a, "#%s%s", prefix, base);
        uint64_t *next = map_put(names, counter, strlen(counter), 2, NULL);
        name = arena_printf(a, "%s_%llu", base, (unsigned long long)(*next)++);
    }
}

static const char *name_enter(kernel_code *k, const char *s, name_kind kind, int id)
{
    return enter(&k->names, k->arena, "", name_clean(k->arena, s), (uint64_t)kind << 32 | (uint32_t)id);
}

name_kind name_find(const kernel_code *k, const char *s, size_t n, int *id)
{
    const uint64_t *entry = map_find(&k->names, s, n);
    if (!entry) return NAME_absent;
    *id = (int)(uint32_t)*entry;
    return (name_kind)(*entry >> 32);
}

/* -- Kernels --------------------------------------------------------------------------------------------- */

kernel_code *kernel_new(dlc_context *ctx, arena *a, dims *d, const char *name, anchor_kind anchor)
{
    kernel_code *k = NEW(a, kernel_code);
    k->ctx = ctx;
    k->arena = a;
    k->dims = d;
    k->name = arena_strdup(a, name);
    k->anchor = anchor;
    k->schedule = "";
    map_init(&k->names, a);
    return k;
}

static int buffer_new(kernel_code *k, const char *name, buffer b)
{
    int id = (int)k->bufs.n;
    b.name = name_enter(k, name, NAME_buffer, id);
    b.dims = arena_copy(k->arena, b.dims, (size_t)b.rank * sizeof *b.dims);
    vec_push(k->arena, &k->bufs, b);
    return id;
}

int kernel_param(kernel_code *k, const char *name, dtype t, buf_role role, int rank, const dim *shape)
{
    assert(k->n_params == k->bufs.n);            /* parameters come before locals */
    k->n_params++;
    return buffer_new(
        k, name, (buffer){ .dtype = t, .space = SPACE_param, .role = role, .rank = rank, .dims = shape });
}

int kernel_local(kernel_code *k, const char *name, dtype t, buf_space space, int rank, const dim *shape)
{
    return buffer_new(k, name,
                      (buffer){ .dtype = t, .space = space, .role = ROLE_none, .rank = rank, .dims = shape });
}

int kernel_var(kernel_code *k, const char *name, loop_role role)
{
    const char *clean = name_clean(k->arena, name);
    int id;
    if (name_find(k, clean, strlen(clean), &id) == NAME_var) {
        if (k->vars.at[id].role == LOOP_plain) k->vars.at[id].role = role;
        return id;
    }
    id = (int)k->vars.n;
    vec_push(k->arena, &k->vars, ((loop_var){ name_enter(k, clean, NAME_var, id), role }));
    return id;
}

int kernel_temp(kernel_code *k, const char *name, dtype t)
{
    int id = (int)k->temps.n;
    vec_push(k->arena, &k->temps, ((temp){ name_enter(k, name, NAME_temp, id), t }));
    return id;
}

/* -- Statements ------------------------------------------------------------------------------------------ */

static stmt *stmt_new(kernel_code *k, stmt_kind kind)
{
    stmt *s = NEW(k->arena, stmt);
    s->kind = kind;
    s->var = s->id = -1;
    return s;
}

static const expr *const *index_copy(kernel_code *k, int buf, const expr *const *index)
{
    int rank = k->bufs.at[buf].rank;
    return rank ? arena_copy(k->arena, index, (size_t)rank * sizeof *index) : NULL;
}

stmt *s_for(kernel_code *k, int var, const expr *lo, const expr *hi, loop_mark mark)
{
    stmt *s = stmt_new(k, STMT_for);
    s->var = var;
    s->lo = lo;
    s->hi = hi;
    s->mark = mark;
    return s;
}

stmt *s_if(kernel_code *k, const expr *cond)
{
    stmt *s = stmt_new(k, STMT_if);
    s->cond = cond;
    return s;
}

stmt *s_let(kernel_code *k, int temp_id, const expr *v)
{
    stmt *s = stmt_new(k, STMT_let);
    s->id = temp_id;
    s->value = v;
    return s;
}

stmt *s_store(kernel_code *k, int buf, const expr *const *index, const expr *v)
{
    stmt *s = stmt_new(k, STMT_store);
    s->id = buf;
    s->index = index_copy(k, buf, index);
    s->value = v;
    return s;
}

stmt *s_alloc(kernel_code *k, int buf, const expr *init)
{
    stmt *s = stmt_new(k, STMT_alloc);
    s->id = buf;
    s->value = init;
    return s;
}

stmt *s_prefetch(kernel_code *k, int buf, const expr *const *index, bool for_write)
{
    stmt *s = stmt_new(k, STMT_prefetch);
    s->id = buf;
    s->index = index_copy(k, buf, index);
    s->for_write = for_write;
    return s;
}

void block_insert(kernel_code *k, block *b, int at, stmt *s)
{
    assert(at >= 0 && at <= b->n);
    int64_t cap = b->cap;
    vec_reserve_(k->arena, (void **)&b->at, b->n, &cap, sizeof *b->at, 1);
    b->cap = (int)cap;
    memmove(b->at + at + 1, b->at + at, (size_t)(b->n - at) * sizeof *b->at);
    b->at[at] = s;
    b->n++;
}

void block_push(kernel_code *k, block *b, stmt *s) { block_insert(k, b, b->n, s); }

void block_remove(block *b, int at)
{
    assert(at >= 0 && at < b->n);
    memmove(b->at + at, b->at + at + 1, (size_t)(b->n - at - 1) * sizeof *b->at);
    b->n--;
}

/* -- Copies -------------------------------------------------------------------------------------------------
 * Statements nest as deep as the loops of a kernel, so these recur on them. */

typedef struct {
    const expr *const *var;           /* by variable: replacement or NULL; NULL: none */
    int *temp, *buf;                  /* by id: its fresh copy, or -1 */
    int n_temps, n_bufs;
} renaming;

static const expr *rename_expr(kernel_code *k, const expr *e, void *arg)
{
    const renaming *r = arg;
    switch (e->kind) {
    case EXPR_var:  return r->var ? r->var[e->id] : NULL;
    case EXPR_temp: return e->id < r->n_temps && r->temp[e->id] >= 0 ? x_temp(k, r->temp[e->id]) : NULL;
    case EXPR_load: return e->id < r->n_bufs && r->buf[e->id] >= 0 ? x_load(k, r->buf[e->id], e->args) : NULL;
    case EXPR_tree: return e->id < r->n_bufs && r->buf[e->id] >= 0 ? x_tree(k, e->fn, r->buf[e->id]) : NULL;
    default:        return NULL;
    }
}

static const expr *renamed(kernel_code *k, const expr *e, renaming *r)
{
    return e ? x_rewrite(k, e, rename_expr, r) : NULL;
}

static int renamed_buf(const renaming *r, int id)
{
    return id >= 0 && id < r->n_bufs && r->buf[id] >= 0 ? r->buf[id] : id;
}

static void fresh_names(kernel_code *k, const stmt *s, renaming *r)
{
    if (s->kind == STMT_let && r->temp[s->id] < 0) {
        temp t = k->temps.at[s->id];
        r->temp[s->id] = kernel_temp(k, t.name, t.type);
    }
    if (s->kind == STMT_alloc && r->buf[s->id] < 0) {
        buffer b = k->bufs.at[s->id];
        r->buf[s->id] = kernel_local(k, b.name, b.dtype, b.space, b.rank, b.dims);
    }
    for (int i = 0; i < s->body.n; i++) fresh_names(k, s->body.at[i], r);
    for (int i = 0; i < s->other.n; i++) fresh_names(k, s->other.at[i], r);
}

static stmt *copy_stmt(kernel_code *k, const stmt *s, renaming *r)
{
    stmt *c = arena_copy(k->arena, s, sizeof *s);
    c->body = c->other = (block){ 0 };
    c->lo = renamed(k, s->lo, r);
    c->hi = renamed(k, s->hi, r);
    c->cond = renamed(k, s->cond, r);
    c->value = renamed(k, s->value, r);
    if (s->kind == STMT_let && r->temp[s->id] >= 0) c->id = r->temp[s->id];
    if (s->kind != STMT_let) c->id = renamed_buf(r, s->id);
    if (s->index) {
        int rank = k->bufs.at[c->id].rank;
        const expr **index = NEW_ARRAY(k->arena, const expr *, rank);
        for (int i = 0; i < rank; i++) index[i] = renamed(k, s->index[i], r);
        c->index = index;
    }
    for (int i = 0; i < s->body.n; i++) block_push(k, &c->body, copy_stmt(k, s->body.at[i], r));
    for (int i = 0; i < s->other.n; i++) block_push(k, &c->other, copy_stmt(k, s->other.at[i], r));
    return c;
}

stmt *s_clone(kernel_code *k, const stmt *s, const expr *const *to)
{
    renaming r = { .var = to, .n_temps = (int)k->temps.n, .n_bufs = (int)k->bufs.n };
    r.temp = NEW_ARRAY(k->arena, int, r.n_temps);
    r.buf = NEW_ARRAY(k->arena, int, r.n_bufs);
    for (int i = 0; i < r.n_temps; i++) r.temp[i] = -1;
    for (int i = 0; i < r.n_bufs; i++) r.buf[i] = -1;
    fresh_names(k, s, &r);
    return copy_stmt(k, s, &r);
}

static block copy_block(kernel_code *k, const block *b)
{
    block c = { 0 };
    for (int i = 0; i < b->n; i++) {
        stmt *s = arena_copy(k->arena, b->at[i], sizeof *b->at[i]);
        s->body = copy_block(k, &b->at[i]->body);
        s->other = copy_block(k, &b->at[i]->other);
        block_push(k, &c, s);
    }
    return c;
}

/* All but the statements. */
static kernel_code *clone_head(const kernel_code *k)
{
    kernel_code *c = kernel_new(k->ctx, k->arena, k->dims, k->name, k->anchor);
    c->schedule = k->schedule;
    c->writes_early = k->writes_early;
    c->n_params = k->n_params;
    for (int64_t i = 0; i < k->bufs.n; i++) vec_push(c->arena, &c->bufs, k->bufs.at[i]);
    for (int64_t i = 0; i < k->vars.n; i++) vec_push(c->arena, &c->vars, k->vars.at[i]);
    for (int64_t i = 0; i < k->temps.n; i++) vec_push(c->arena, &c->temps, k->temps.at[i]);
    for (int64_t i = 0; i < k->names.n; i++)
        map_put(&c->names, k->names.entries[i].key, k->names.entries[i].len, k->names.entries[i].value, NULL);
    return c;
}

kernel_code *kernel_clone(const kernel_code *k)
{
    kernel_code *c = clone_head(k);
    c->body = copy_block(c, &k->body);            /* expressions are immutable: shared */
    return c;
}

/* Locals move up by one: their entries among the names and every use of them. */
int kernel_late_param(kernel_code *k, const char *name, dtype t, buf_role role, int rank, const dim *shape)
{
    int at = k->n_params, n = (int)k->bufs.n;
    renaming r = { .n_temps = (int)k->temps.n, .n_bufs = n };
    r.temp = NEW_ARRAY(k->arena, int, r.n_temps);
    r.buf = NEW_ARRAY(k->arena, int, n);
    for (int i = 0; i < r.n_temps; i++) r.temp[i] = -1;
    for (int i = 0; i < n; i++) r.buf[i] = i < at ? -1 : i + 1;
    buffer_new(k, name,
               (buffer){ .dtype = t, .space = SPACE_param, .role = role, .rank = rank, .dims = shape });
    buffer b = k->bufs.at[n];
    memmove(k->bufs.at + at + 1, k->bufs.at + at, (size_t)(n - at) * sizeof b);
    k->bufs.at[at] = b;
    k->n_params++;
    for (int64_t i = 0; i < k->names.n; i++) {
        uint64_t *entry = &k->names.entries[i].value;
        if (*entry >> 32 != NAME_buffer || (int)(uint32_t)*entry < at) continue;
        *entry = (uint64_t)NAME_buffer << 32 |
                 (uint32_t)((int)(uint32_t)*entry == n ? at : (int)(uint32_t)*entry + 1);
    }
    block body = { 0 };
    for (int i = 0; i < k->body.n; i++) block_push(k, &body, copy_stmt(k, k->body.at[i], &r));
    k->body = body;
    return at;
}

kernel_code *kernel_part(const kernel_code *whole, const block *body, const bool *used)
{
    kernel_code *k = clone_head(whole);
    int n = (int)k->bufs.n, kept = 0, n_params = 0;
    renaming r = { .n_temps = (int)k->temps.n, .n_bufs = n };
    r.temp = NEW_ARRAY(k->arena, int, r.n_temps);
    r.buf = NEW_ARRAY(k->arena, int, n);
    for (int i = 0; i < r.n_temps; i++) r.temp[i] = -1;
    for (int i = 0; i < n; i++) {
        r.buf[i] = used[i] ? kept : -1;
        if (!used[i]) continue;
        n_params += i < whole->n_params;
        k->bufs.at[kept++] = k->bufs.at[i];
    }
    for (int64_t i = 0; i < k->names.n; i++) {
        uint64_t *entry = &k->names.entries[i].value;
        if (*entry >> 32 != NAME_buffer) continue;
        int to = r.buf[(uint32_t)*entry];
        *entry = to < 0 ? (uint64_t)NAME_absent << 32 : (uint64_t)NAME_buffer << 32 | (uint32_t)to;
    }
    k->bufs.n = kept;
    k->n_params = n_params;
    block parts = { 0 };
    for (int i = 0; i < body->n; i++) block_push(k, &parts, copy_stmt(k, body->at[i], &r));
    k->body = parts;
    return k;
}

typedef struct { kernel_code *k; const kernel_code *from; int *buf, *var, *temp; } appending;

static const expr *append_expr(const appending *c, const expr *e)
{
    if (!e) return NULL;
    kernel_code *k = c->k;
    const expr *args[MAX_RANK];
    for (int i = 0; i < e->n_args; i++) args[i] = append_expr(c, e->args[i]);
    switch (e->kind) {
    case EXPR_const: case EXPR_dim: break;
    case EXPR_var:      return x_var(k, c->var[e->id]);
    case EXPR_temp:     return x_temp(k, c->temp[e->id]);
    case EXPR_load:     return x_load(k, c->buf[e->id], args);
    case EXPR_tree:     return x_tree(k, e->fn, c->buf[e->id]);
    case EXPR_op: return e->fn == SCALAR_cast ? x_cast(k, args[0], e->type) : x_op(k, e->fn, e->n_args, args);
    case EXPR_floordiv: return x_floordiv(k, args[0], args[1]);
    case EXPR_mod:      return x_mod(k, args[0], args[1]);
    case EXPR_bitcast:  return x_bitcast(k, args[0], e->type);
    }
    return e;
}

static void append_block(const appending *c, block *to, const block *b)
{
    kernel_code *k = c->k;
    for (int i = 0; i < b->n; i++) {
        const stmt *x = b->at[i];
        stmt *s = arena_copy(k->arena, x, sizeof *x);
        s->body = s->other = (block){ 0 };
        s->lo = append_expr(c, x->lo);
        s->hi = append_expr(c, x->hi);
        s->cond = append_expr(c, x->cond);
        s->value = append_expr(c, x->value);
        if (x->kind == STMT_for) s->var = c->var[x->var];
        if (x->kind == STMT_let) s->id = c->temp[x->id];
        if (x->kind == STMT_store || x->kind == STMT_alloc || x->kind == STMT_prefetch) s->id = c->buf[x->id];
        if (x->index) {
            int rank = k->bufs.at[s->id].rank;
            const expr **index = NEW_ARRAY(k->arena, const expr *, rank + 1);
            for (int j = 0; j < rank; j++) index[j] = append_expr(c, x->index[j]);
            s->index = index;
        }
        append_block(c, &s->body, &x->body);
        append_block(c, &s->other, &x->other);
        block_push(k, to, s);
    }
}

void kernel_append(kernel_code *k, const kernel_code *from, const int *param, const char *prefix)
{
    arena *a = k->arena;
    appending c = { k, from, NEW_ARRAY(a, int, from->bufs.n + 1), NEW_ARRAY(a, int, from->vars.n + 1),
                    NEW_ARRAY(a, int, from->temps.n + 1) };
    for (int i = 0; i < from->n_params; i++) c.buf[i] = param[i];
    for (int64_t i = from->n_params; i < from->bufs.n; i++) {
        const buffer *b = &from->bufs.at[i];
        c.buf[i] = kernel_local(k, b->name, b->dtype, b->space, b->rank, b->dims);
    }
    for (int64_t i = 0; i < from->vars.n; i++)
        c.var[i] = kernel_var(k, arena_printf(a, "%s%s", prefix, from->vars.at[i].name),
                              from->vars.at[i].role);
    for (int64_t i = 0; i < from->temps.n; i++)
        c.temp[i] = kernel_temp(k, from->temps.at[i].name, from->temps.at[i].type);
    append_block(&c, &k->body, &from->body);
}

/* -- Programs -------------------------------------------------------------------------------------------- */

program *program_new(dlc_context *ctx, arena *a, dims *d, const char *name)
{
    program *p = NEW(a, program);
    p->ctx = ctx;
    p->arena = a;
    p->dims = d;
    p->name = arena_strdup(a, name);
    p->exprs = kernel_new(ctx, a, d, name, ANCHOR_map);
    p->workspace_bytes = p->workspace_lower_bound = -1;
    return p;
}

int program_buf(program *p, const char *name, pbuf_kind kind, int index, dtype t, int rank, const dim *shape)
{
    int id = (int)p->bufs.n;
    pbuf b = { .kind = kind,
               .index = index,
               .dtype = t,
               .rank = rank,
               .offset = -1,
               .slot_of = -1,
               .slot_offset = dim_const(0) };
    b.name = name_enter(p->exprs, name, NAME_buffer, id);
    b.dims = arena_copy(p->arena, shape, (size_t)rank * sizeof *shape);
    b.bytes = dim_mulk(p->dims, dim_product(p->dims, shape, rank), dtype_bytes(t));
    vec_push(p->arena, &p->bufs, b);
    if (kind == PBUF_input && index >= p->n_inputs) p->n_inputs = index + 1;
    if (kind == PBUF_output && index >= p->n_outputs) p->n_outputs = index + 1;
    return id;
}

int program_var(program *p, const char *name) { return kernel_var(p->exprs, name, LOOP_plain); }

int program_kernel(program *p, kernel_code *k)
{
    int id = (int)p->kernels.n;
    k->name = enter(&p->exprs->names, p->arena, "@", k->name, (uint64_t)NAME_kernel << 32 | (uint32_t)id);
    vec_push(p->arena, &p->kernels, k);
    return id;
}

static void count_calls(const prog_block *b, int *n)
{
    for (int i = 0; i < b->n; i++) {
        if (b->at[i]->kind == PROG_call) n[b->at[i]->kernel]++;
        count_calls(&b->at[i]->body, n);
        count_calls(&b->at[i]->other, n);
        count_calls(&b->at[i]->test, n);
    }
}

int *program_calls(arena *a, const program *p)
{
    int *n = NEW_ARRAY(a, int, p->kernels.n + 1);
    count_calls(&p->body, n);
    return n;
}

static void renumber_kernels(prog_block *b, const int *number)
{
    for (int i = 0; i < b->n; i++) {
        prog_op *x = b->at[i];
        if (x->kind == PROG_call) x->kernel = number[x->kernel];
        renumber_kernels(&x->body, number);
        renumber_kernels(&x->other, number);
        renumber_kernels(&x->test, number);
    }
}

void program_drop_kernels(program *p)
{
    int n = 0, *calls = program_calls(p->arena, p), *number = NEW_ARRAY(p->arena, int, p->kernels.n + 1);
    for (int i = 0; i < p->kernels.n; i++) {
        if (!calls[i]) continue;
        number[i] = n;
        p->kernels.at[n++] = p->kernels.at[i];
    }
    p->kernels.n = n;
    renumber_kernels(&p->body, number);
}

static void shift_kernels(prog_block *b, int by)
{
    for (int i = 0; i < b->n; i++) {
        prog_op *x = b->at[i];
        if (x->kind == PROG_call) x->kernel += by;
        shift_kernels(&x->test, by);
        shift_kernels(&x->body, by);
        shift_kernels(&x->other, by);
    }
}

void program_join(program *p, program *q)
{
    program *last = p;
    while (last->next) last = last->next;
    last->next = q;
    shift_kernels(&q->body, (int)p->kernels.n);
    for (int64_t i = 0; i < q->kernels.n; i++) program_kernel(p, q->kernels.at[i]);
    for (last = p->next; last; last = last->next)
        last->kernels.at = p->kernels.at, last->kernels.n = p->kernels.n;
}

prog_op *program_op(program *p, prog_block *b, prog_kind kind)
{
    prog_op *o = NEW(p->arena, prog_op);
    o->kind = kind;
    o->kernel = o->var = o->symbol = -1;
    o->max_trip = -1;
    o->n = dim_const(0);
    o->pred.buf = o->source.buf = -1;
    int64_t cap = b->cap;
    vec_reserve_(p->arena, (void **)&b->at, b->n, &cap, sizeof *b->at, 1);
    b->cap = (int)cap;
    b->at[b->n++] = o;
    return o;
}
