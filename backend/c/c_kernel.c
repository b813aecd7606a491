/* backend/c/c_kernel.c: a kernel of the loop program as C functions.
 *
 *   static void PREFIX_k_NAME(const dlc_run_hook *hook, const PREFIX_f32 *restrict x, …, int64_t sizes…)
 *   static void PREFIX_k_NAME_rI(void *arg, int64_t begin, int64_t end)       one for each parallel nest
 *
 * How    Loops stay loops. `unroll` copies the body as far as that stays short, with the variable's number in
 *        each copy, so that registers (local arrays) are indexed by constants; `vector` is a plain loop over
 *        lanes with a constant extent, which compilers vectorize; a nest of `parallel` loops becomes a region
 *        over its flattened iterations.
 * Speed  clang makes registers of the arrays as it is. gcc -O3 takes lane loops apart before it vectorizes:
 *        PREFIX_LANES_n forbids just that. A tile of 6 x 16 over 256 steps, GFLOP/s with -O3 -mavx2 (128-bit
 *        vectors: without it):
 *            as they stand 8.6 (8.2)     with it 80 (34)     clang 79 (25)     vector types by hand 82
 *        Lanes that read a buffer which may be the one they write are computed into a local first
 *        (put_staged), as their independence allows: clang then vectorizes them, and the sums before them
 *        (mobilenetv2: 26 -> 8.5 ms).
 * Keeps  the order of every operation. Prefetches are left out.
 */
#include "backend/c/cgen_inside.h"
#include <assert.h>

enum { MAX_COPIES = 64, MAX_ALL_COPIES = 256, MAX_NEST = 16 };

/* -- Names in text --------------------------------------------------------------------------------------- */

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

bool mentions(const char *source, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = source; (p = strstr(p, name)); p += n)
        if ((p == source || !is_word(p[-1])) && !is_word(p[n])) return true;
    return false;
}

/* A declaration of something that the text after it does not name. */
static void put_unused(text *out, const char *body, const char *name)
{
    if (!mentions(body, name)) text_printf(out, "    (void)%s;\n", name);
}

/* -- Open sizes: as backend/llvm/kernel.c numbers them, so that equal kernels agree ---------------------- */

static void note_dim(arena *a, dim_list *out, dim d)
{
    if (dim_is_const(d, NULL)) return;
    for (int64_t i = 0; i < out->n; i++)
        if (dim_same(out->at[i], d)) return;
    vec_push(a, out, d);
}

typedef struct { arena *a; const kernel_code *k; void (*see)(void *arg, const expr *e); void *arg; } walk;

static void walk_block(const walk *w, const block *b)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *s = b->at[i];
        const expr *const parts[] = { s->lo, s->hi, s->cond, s->value };
        for (int j = 0; j < 4; j++)
            if (parts[j]) w->see(w->arg, parts[j]);
        if (s->kind == STMT_store || s->kind == STMT_prefetch)
            for (int j = 0; j < w->k->bufs.at[s->id].rank; j++) w->see(w->arg, s->index[j]);
        walk_block(w, &s->body);
        walk_block(w, &s->other);
    }
}

typedef struct { arena *a; dim_list *out; } dim_walk;
static void see_dims(void *arg, const expr *e)
{
    dim_walk *d = arg;
    if (e->kind == EXPR_dim) note_dim(d->a, d->out, e->dim);
    for (int i = 0; i < e->n_args; i++) see_dims(arg, e->args[i]);
}

void kernel_open_dims_c(arena *a, const kernel_code *k, dim_list *out)
{
    for (int64_t i = 0; i < k->bufs.n; i++)
        for (int j = 0; j < k->bufs.at[i].rank; j++) note_dim(a, out, k->bufs.at[i].dims[j]);
    dim_walk d = { a, out };
    walk_block(&(walk){ .a = a, .k = k, .see = see_dims, .arg = &d }, &k->body);
}

/* -- Lines ----------------------------------------------------------------------------------------------- */

static void put_block(scope_text *s, const block *b);
static void put_if(scope_text *s, const stmt *x);

static void open_brace(scope_text *s)
{
    text_put(s->out, "{\n");
    s->depth++;
}

static void close_brace(scope_text *s)
{
    s->depth--;
    start_line(s);
    text_put(s->out, "}\n");
}

static bool const_extent(scope_text *s, const stmt *loop, int64_t *lo, int64_t *n)
{
    int64_t hi;
    const expr *a = loop->lo, *b = loop->hi;
    bool fixed = a->kind == EXPR_var && s->var[a->id].is_known ? (*lo = s->var[a->id].k, true)
                                                               : x_is_int(a, lo);
    if (!fixed || !x_is_int(b, &hi)) return false;
    *n = hi > *lo ? hi - *lo : 0;
    return true;
}

/* -- Loops ----------------------------------------------------------------------------------------------- */

static int64_t n_statements(const block *b)
{
    int64_t n = b->n;
    for (int i = 0; i < b->n; i++) n += n_statements(&b->at[i]->body) + n_statements(&b->at[i]->other);
    return n;
}

/* Does a block declare names, so that each copy needs braces? */
static bool declares(const block *b)
{
    for (int i = 0; i < b->n; i++)
        if (b->at[i]->kind == STMT_let || b->at[i]->kind == STMT_alloc) return true;
    return false;
}

/* A border test that holds for a whole loop stands around it, and one that bounds decide nowhere: lanes then
 * hold only what can be vectorized. Loops over lanes and copies are moved into the `if` that is all they
 * hold, if it is the same for each. */
static const stmt *only_if(const scope_text *s, const stmt *loop)
{
    const stmt *x = loop->body.n == 1 && (loop->mark == MARK_vector || loop->mark == MARK_unroll)
                        ? loop->body.at[0]
                        : NULL;
    if (x && x->kind == STMT_for) x = only_if(s, x);
    bool fits = x && x->kind == STMT_if && !x->other.n && !x_uses_var(x->cond, loop->var) &&
                !x_loads(x->cond, -1);
    return fits ? x : NULL;
}

static stmt *without_if(arena *a, const stmt *loop)
{
    stmt *r = NEW(a, stmt);
    const stmt *x = loop->body.at[0];
    *r = *loop;
    if (x->kind == STMT_if) { r->body = x->body; return r; }
    r->body = (block){ NEW_ARRAY(a, stmt *, 1), 1, 1 };
    r->body.at[0] = without_if(a, x);
    return r;
}

static bool put_if_outside(scope_text *s, const stmt *loop)
{
    const stmt *x = only_if(s, loop);
    if (!x) return false;
    stmt test = *x;
    stmt *inner = without_if(s->w->a, loop);
    test.body = (block){ &inner, 1, 1 };
    put_if(s, &test);
    return true;
}

static scope known_ranges(const scope_text *s) { return (scope){ (int)s->k->vars.n, s->ranges }; }

static void enter_loop(scope_text *s, const stmt *x)
{
    scope known = known_ranges(s);
    s->ranges[x->var] = x_var_range(s->k, &known, x);
}

static void leave_loop(scope_text *s, const stmt *x) { s->ranges[x->var] = (range){ -DIM_LIMIT, DIM_LIMIT }; }

static void put_copies(scope_text *s, const stmt *x, int64_t lo, int64_t n)
{
    bool braces = declares(&x->body);
    s->copies *= n;
    for (int64_t i = 0; i < n; i++) {
        s->var[x->var] = (var_text){ .is_known = true, .k = lo + i, .name = s->var[x->var].name };
        s->ranges[x->var] = (range){ lo + i, lo + i };
        if (braces) { start_line(s); open_brace(s); }
        put_block(s, &x->body);
        if (braces) close_brace(s);
    }
    s->copies /= n ? n : 1;
    s->var[x->var].is_known = false;
    leave_loop(s, x);
}

static void put_lanes_mark(scope_text *s, int64_t n)
{
    if (n < 4 || n > MAX_LANES) return;
    s->w->uses_lanes[n] = true;
    start_line(s);
    text_printf(s->out, "%s_LANES_%d\n", s->w->prefix, (int)n);
}

typedef struct { const kernel_code *k; bool found; } shared_walk;

static void see_shared(void *arg, const expr *e)
{
    shared_walk *w = arg;
    if (e->kind == EXPR_load && e->id < w->k->n_params && w->k->bufs.at[e->id].role != ROLE_const)
        w->found = true;
    for (int i = 0; i < e->n_args; i++) see_shared(arg, e->args[i]);
}

/* Lanes 0 … n-1 of lets and one store at the end, which goes to memory that the lets may read. */
static bool is_staged(const scope_text *s, const stmt *x, int64_t lo, int64_t n)
{
    const stmt *last = x->body.n ? x->body.at[x->body.n - 1] : NULL;
    if (x->mark != MARK_vector || lo != 0 || n < 4 || n > MAX_LANES || !last || last->kind != STMT_store)
        return false;
    if (last->id >= s->k->n_params || s->k->writes_early) return false;
    for (int i = 0; i < x->body.n - 1; i++) {
        const stmt *let = x->body.at[i];
        if (let->kind != STMT_let) return false;
        for (int j = 0; j < s->k->bufs.at[last->id].rank; j++)
            if (x_uses_temp(last->index[j], let->id)) return false;
    }
    for (int j = 0; j < s->k->bufs.at[last->id].rank; j++)
        if (x_loads(last->index[j], -1)) return false;
    shared_walk w = { .k = s->k };
    walk_block(&(walk){ .k = s->k, .see = see_shared, .arg = &w }, &x->body);
    return w.found;
}

/* All lanes' values first, then all stores. */
static void put_staged(scope_text *s, const stmt *x, int64_t n)
{
    const char *v = s->var[x->var].name, *local = arena_printf(s->w->a, "e_%d", ++*s->n_made);
    const stmt *last = x->body.at[x->body.n - 1];
    block lets = { x->body.at, x->body.n - 1, 0 };
    start_line(s);
    open_brace(s);
    start_line(s);
    text_printf(s->out, "%s %s[%d];\n", c_type(s->k->bufs.at[last->id].dtype), local, (int)n);
    put_lanes_mark(s, n);
    start_line(s);
    text_printf(s->out, "for (int64_t %s = 0; %s < %d; %s++) ", v, v, (int)n, v);
    open_brace(s);
    put_block(s, &lets);
    s->named.n = 0;
    name_shared(s, 0, 1, &last->value);
    start_line(s);
    text_printf(s->out, "%s[%s] = ", local, v);
    put_expr(s, s->out, last->value, BIND_any);
    text_put(s->out, ";\n");
    close_brace(s);
    s->named.n = 0;
    put_lanes_mark(s, n);
    start_line(s);
    text_printf(s->out, "for (int64_t %s = 0; %s < %d; %s++) ", v, v, (int)n, v);
    put_element(s, s->out, last->id, last->index);
    text_printf(s->out, " = %s[%s];\n", local, v);
    close_brace(s);
}

static void put_for(scope_text *s, const stmt *x)
{
    const char *v = s->var[x->var].name;
    int64_t first, n;
    bool fixed = const_extent(s, x, &first, &n);
    if (fixed && first == 0 && enter_lanes(s, x, n)) {
        put_lanes_head(s, x);
        open_brace(s);
        put_block(s, &x->body);
        close_brace(s);
        leave_lanes(s);
        return;
    }
    if (fixed && !s->shape.lanes && is_staged(s, x, first, n)) { put_staged(s, x, n); return; }
    name_shared(s, 0, 2, (const expr *const[]){ x->lo, x->hi });
    text hi = { .a = s->w->a };
    put_expr(s, &hi, x->hi, BIND_add);
    if (!is_index(s, x->hi)) {
        const char *name = arena_printf(s->w->a, "e_%d", ++*s->n_made);
        start_line(s);
        text_printf(s->out, "const int64_t %s = %s;\n", name, text_str(&hi));
        hi = (text){ .a = s->w->a };
        text_put(&hi, name);
    }
    if (x->mark == MARK_vector && fixed && !s->shape.lanes) put_lanes_mark(s, n);
    start_line(s);
    text_printf(s->out, "for (int64_t %s = ", v);
    put_expr(s, s->out, x->lo, BIND_any);
    text_printf(s->out, "; %s < %s; %s++) ", v, text_str(&hi), v);
    open_brace(s);
    put_block(s, &x->body);
    close_brace(s);
}

/* -- Regions --------------------------------------------------------------------------------------------- */

typedef struct { int n; const stmt *loop[MAX_NEST]; const block *body; } nest;

static bool uses_vars_of(const expr *e, const nest *n)
{
    for (int i = 0; i < n->n; i++)
        if (x_uses_var(e, n->loop[i]->var)) return true;
    return false;
}

static nest nest_of(const stmt *x)
{
    nest r = { 0 };
    for (;;) {
        r.loop[r.n++] = x;
        r.body = &x->body;
        const stmt *inner = x->body.n == 1 ? x->body.at[0] : NULL;
        if (!inner || inner->kind != STMT_for || inner->mark != MARK_parallel || r.n == MAX_NEST) return r;
        if (uses_vars_of(inner->lo, &r) || uses_vars_of(inner->hi, &r)) return r;
        x = inner;
    }
}

typedef struct { bool *var, *temp, *buf; } used;

static void see_used(void *arg, const expr *e)
{
    used *u = arg;
    if (e->kind == EXPR_var) u->var[e->id] = true;
    if (e->kind == EXPR_temp) u->temp[e->id] = true;
    if (e->kind == EXPR_load || e->kind == EXPR_tree) u->buf[e->id] = true;
    for (int i = 0; i < e->n_args; i++) see_used(arg, e->args[i]);
}

static void see_stores(const block *b, used *u)
{
    for (int i = 0; i < b->n; i++) {
        if (b->at[i]->kind == STMT_store) u->buf[b->at[i]->id] = true;
        see_stores(&b->at[i]->body, u);
        see_stores(&b->at[i]->other, u);
    }
}

static bool may_restrict(const kernel_code *k, int buf)
{
    return k->writes_early || k->bufs.at[buf].role == ROLE_const;
}

static const char *pointer_type(scope_text *s, int buf)
{
    const kernel_code *k = s->k;
    const buffer *b = &k->bufs.at[buf];
    if (b->space != SPACE_param) return arena_printf(s->w->a, "%s *", c_type(b->dtype));
    bool reads = b->role == ROLE_in || b->role == ROLE_const;
    return arena_printf(s->w->a, "%s%s *%s", reads ? "const " : "", element_type(s->w, b->dtype),
                        may_restrict(k, buf) ? "restrict " : "");
}

typedef struct { const char *c, *name, *from; bool is_pointer; } field;
typedef vec(field) fields;

static void add_field(scope_text *s, fields *f, const char *c, const char *name, const char *from,
                      bool is_pointer)
{
    vec_push(s->w->a, f, ((field){ c, name, from, is_pointer }));
}

static void collect_fields(scope_text *s, const nest *n, const used *u, fields *f)
{
    const kernel_code *k = s->k;
    arena *a = s->w->a;
    for (int64_t i = 0; i < s->dims.n; i++)
        add_field(s, f, "int64_t ", s->dim_name[i], s->dim_name[i], false);
    for (int64_t i = 0; i < k->vars.n; i++) {
        bool is_own = false;
        for (int j = 0; j < n->n; j++) is_own |= n->loop[j]->var == i;
        if (u->var[i] && !is_own && !s->var[i].is_known && s->var[i].name)
            add_field(s, f, "int64_t ", s->var[i].name, s->var[i].name, false);
    }
    for (int64_t i = 0; i < k->temps.n; i++)
        if (u->temp[i] && s->temp[i])
            add_field(s, f, arena_printf(a, "%s ", c_type(k->temps.at[i].type)), s->temp[i], s->temp[i],
                      false);
    for (int64_t i = 0; i < k->bufs.n; i++) {
        if (!u->buf[i] || !s->buf[i]) continue;
        const char *from = s->buf_is_scalar[i] ? arena_printf(a, "&%s", s->buf[i]) : s->buf[i];
        add_field(s, f, pointer_type(s, (int)i), s->buf[i], from, true);
    }
}

/* Which temps and locals are made inside: they are not the caller's to hand over. */
static void forget_inside(scope_text *s, const block *b, used *u)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *x = b->at[i];
        if (x->kind == STMT_let) u->temp[x->id] = false;
        if (x->kind == STMT_alloc) u->buf[x->id] = false;
        if (x->kind == STMT_for) u->var[x->var] = false;
        forget_inside(s, &x->body, u);
        forget_inside(s, &x->other, u);
    }
}

static void put_nest_vars(scope_text *r, const nest *n, const char *index)
{
    bool several = n->n > 1;
    if (several) { start_line(r); text_printf(r->out, "int64_t rest = %s;\n", index); }
    for (int i = n->n - 1; i >= 0; i--) {
        const stmt *x = n->loop[i];
        int64_t lo;
        start_line(r);
        text_printf(r->out, "const int64_t %s = ", r->var[x->var].name);
        bool from_zero = x_is_int(x->lo, &lo) && lo == 0;
        if (!from_zero) { put_expr(r, r->out, x->lo, BIND_add); text_put(r->out, " + "); }
        text_put(r->out, several ? "rest" : index);
        if (i) text_printf(r->out, " %% n_%d", i);
        text_put(r->out, ";\n");
        if (i) { start_line(r); text_printf(r->out, "rest /= n_%d;\n", i); }
    }
}

static void put_extent(scope_text *s, text *t, const stmt *x)
{
    int64_t lo, hi;
    if (x_is_int(x->lo, &lo) && x_is_int(x->hi, &hi)) { put_i64(t, hi > lo ? hi - lo : 0); return; }
    text n = { .a = s->w->a };
    put_expr(s, &n, x->hi, BIND_add);
    if (!x_is_int(x->lo, &lo) || lo) {
        text_put(&n, " - ");
        put_expr(s, &n, x->lo, BIND_mul);
    }
    text_printf(t, "%s(%s, 0)", helper(s->w, "max", DTYPE_i64), text_str(&n));
}

static void region_function(scope_text *s, const nest *n, const used *u, const char *name, const char *c,
                            const fields *f)
{
    writer *w = s->w;
    text out = { .a = w->a };
    scope_text r = *s;
    r.out = &out;
    r.depth = 1;
    r.in_region = true;
    r.buf_is_scalar = arena_copy(w->a, s->buf_is_scalar, (size_t)s->k->bufs.n * sizeof *s->buf_is_scalar);
    for (int64_t i = 0; i < s->k->bufs.n; i++)
        if (u->buf[i]) r.buf_is_scalar[i] = false;
    if (f->n) {
        text_printf(&out, "%s {\n", c);
        for (int64_t i = 0; i < f->n; i++) text_printf(&out, "    %s%s;\n", f->at[i].c, f->at[i].name);
        text_put(&out, "};\n\n");
    }
    text_printf(&out, "static void %s(void *arg, int64_t begin, int64_t end)\n{\n", name);
    if (f->n) text_printf(&out, "    const %s *const given = (const %s *)arg;\n", c, c);
    else text_put(&out, "    (void)arg;\n");
    for (int64_t i = 0; i < f->n; i++)
        text_printf(&out, "    %s%s%s = given->%s;\n", f->at[i].is_pointer ? "" : "const ", f->at[i].c,
                    f->at[i].name, f->at[i].name);
    text head = out;
    out = (text){ .a = w->a };
    for (int i = 1; i < n->n; i++) {
        text_printf(&out, "    const int64_t n_%d = ", i);
        put_extent(&r, &out, n->loop[i]);
        text_put(&out, ";\n");
    }
    const char *index = arena_printf(w->a, "e_%d", ++*s->n_made);
    text_printf(&out, "    for (int64_t %s = begin; %s < end; %s++) {\n", index, index, index);
    r.depth = 2;
    put_nest_vars(&r, n, index);
    text before = out;
    out = (text){ .a = w->a };
    put_block(&r, n->body);
    for (int i = 0; i < n->n; i++) put_unused(&before, text_str(&out), r.var[n->loop[i]->var].name);
    text_put(&before, text_str(&out));
    for (int64_t i = 0; i < f->n; i++) put_unused(&head, text_str(&before), f->at[i].name);
    text_put(&w->kernels, text_str(&head));
    text_put(&w->kernels, text_str(&before));
    text_put(&w->kernels, "    }\n}\n\n");
}

static void put_region(scope_text *s, const stmt *x)
{
    writer *w = s->w;
    nest n = nest_of(x);
    used u = { NEW_ARRAY(w->a, bool, s->k->vars.n), NEW_ARRAY(w->a, bool, s->k->temps.n),
               NEW_ARRAY(w->a, bool, s->k->bufs.n) };
    walk_block(&(walk){ .a = w->a, .k = s->k, .see = see_used, .arg = &u }, n.body);
    see_stores(n.body, &u);
    forget_inside(s, n.body, &u);
    for (int i = 0; i < n.n; i++) {
        see_used(&u, n.loop[i]->lo);
        see_used(&u, n.loop[i]->hi);
    }
    fields f = { 0 };
    collect_fields(s, &n, &u, &f);
    int number = (*s->n_regions)++;
    const char *name = arena_printf(w->a, "%s_r%d", s->fn_name, number),
               *c = arena_printf(w->a, "struct %s", name);
    s->named.n = 0;
    for (int i = 0; i < n.n; i++) enter_loop(s, n.loop[i]);
    region_function(s, &n, &u, name, c, &f);
    for (int i = 0; i < n.n; i++) leave_loop(s, n.loop[i]);
    start_line(s);
    open_brace(s);
    if (f.n) {
        start_line(s);
        text_printf(s->out, "%s given;\n", c);
    }
    start_line(s);
    text_put(s->out, "const int64_t n = ");
    for (int i = 0; i < n.n; i++) {
        if (i) text_put(s->out, " * ");
        put_extent(s, s->out, n.loop[i]);
    }
    text_put(s->out, ";\n");
    for (int64_t i = 0; i < f.n; i++) {
        start_line(s);
        text_printf(s->out, "given.%s = %s;\n", f.at[i].name, f.at[i].from);
    }
    start_line(s);
    text_printf(s->out, "%s_region(hook, %s, %s, n);\n", w->prefix, name, f.n ? "&given" : "NULL");
    close_brace(s);
}

/* -- Statements ------------------------------------------------------------------------------------------ */

static void put_loop(scope_text *s, const stmt *x)
{
    int64_t lo, n;
    bool fixed = const_extent(s, x, &lo, &n);
    if (fixed && n == 0) return;
    if (put_if_outside(s, x)) return;
    if (x->mark == MARK_parallel && !s->in_region && !s->shape.lanes && s->copies == 1) {
        put_region(s, x);
        return;
    }
    bool is_short = fixed && (n == 1 || (x->mark == MARK_unroll && n <= MAX_COPIES &&
                                         n * s->copies * (1 + n_statements(&x->body)) <= 4 * MAX_ALL_COPIES));
    if (is_short) { put_copies(s, x, lo, n); return; }
    enter_loop(s, x);
    put_for(s, x);
    leave_loop(s, x);
}

static void put_if(scope_text *s, const stmt *x)
{
    int64_t k = 0;
    scope known = known_ranges(s);
    const expr *cond = x_simplify(s->k, &known, x->cond);
    bool fixed = cond->kind == EXPR_const;
    if (fixed) k = cond->value.bits != 0;
    if (fixed && !declares(k ? &x->body : &x->other)) { put_block(s, k ? &x->body : &x->other); return; }
    if (fixed && !(k ? x->body.n : x->other.n)) return;
    if (!fixed) name_shared(s, 0, 1, &cond);
    start_line(s);
    if (!fixed) {
        text_put(s->out, "if (");
        put_expr(s, s->out, cond, BIND_any);
        text_put(s->out, ") ");
    }
    open_brace(s);
    put_block(s, fixed && !k ? &x->other : &x->body);
    if (!fixed && x->other.n) {
        s->depth--;
        start_line(s);
        text_put(s->out, "} else ");
        open_brace(s);
        put_block(s, &x->other);
    }
    close_brace(s);
}

static void put_let(scope_text *s, const stmt *x)
{
    name_shared(s, 0, 1, &x->value);
    const temp *t = &s->k->temps.at[x->id];
    if (s->shape.lanes && s->temp_varies[x->id]) { put_vector_let(s, x); return; }
    bool is_i = is_index(s, x->value);
    start_line(s);
    text_printf(s->out, "const %s %s = ", c_type(t->type), s->temp[x->id]);
    put_expr(s, s->out, x->value, BIND_any);
    text_put(s->out, ";\n");
    s->temp_is_index[x->id] = is_i;
}

static void put_store(scope_text *s, const stmt *x)
{
    int rank = s->k->bufs.at[x->id].rank;
    const expr **roots = NEW_ARRAY(s->w->a, const expr *, rank + 1);
    for (int i = 0; i < rank; i++) roots[i] = x->index[i];
    roots[rank] = x->value;
    name_shared(s, rank, rank + 1, roots);
    if (s->shape.lanes) { put_vector_store(s, x); return; }
    start_line(s);
    put_element(s, s->out, x->id, x->index);
    text_put(s->out, " = ");
    put_expr(s, s->out, x->value, BIND_any);
    text_put(s->out, ";\n");
}

static void put_alloc(scope_text *s, const stmt *x)
{
    const buffer *b = &s->k->bufs.at[x->id];
    int64_t n = 1, k;
    for (int i = 0; i < b->rank; i++)
        if (dim_is_const(b->dims[i], &k)) n *= k;
    if (x->value) name_shared(s, 0, 1, &x->value);
    text init = { .a = s->w->a };
    if (s->shape.lanes) { put_vector_alloc(s, x, n); return; }
    if (x->value) put_expr(s, &init, x->value, BIND_any);
    start_line(s);
    if (b->rank == 0) {
        text_printf(s->out, "%s %s", c_type(b->dtype), s->buf[x->id]);
        if (x->value) text_printf(s->out, " = %s", text_str(&init));
        text_put(s->out, ";\n");
        return;
    }
    bool is_zero = x->value && x->value->kind == EXPR_const && x->value->value.bits == 0;
    text_printf(s->out, "%s %s[%lld]%s;\n", c_type(b->dtype), s->buf[x->id], (long long)(n ? n : 1),
                is_zero ? " = { 0 }" : "");
    if (!x->value || is_zero) return;
    const char *i = arena_printf(s->w->a, "e_%d", ++*s->n_made);
    start_line(s);
    text_printf(s->out, "for (int64_t %s = 0; %s < %lld; %s++) %s[%s] = %s;\n", i, i, (long long)n, i,
                s->buf[x->id], i, text_str(&init));
}

static void put_block(scope_text *s, const block *b)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *x = b->at[i];
        s->named.n = 0;
        switch (x->kind) {
        case STMT_for: put_loop(s, x); break;
        case STMT_if: put_if(s, x); break;
        case STMT_let: put_let(s, x); break;
        case STMT_store: put_store(s, x); break;
        case STMT_alloc: put_alloc(s, x); break;
        case STMT_prefetch: break;
        }
    }
}

/* -- Stack ----------------------------------------------------------------------------------------------- */

/* Local arrays that live at once, each `times` over: the block's own, and those of one block inside. */
static int64_t live_bytes(const kernel_code *k, const block *b, int64_t times)
{
    int64_t own = 0, inner = 0, lo, hi;
    for (int i = 0; i < b->n; i++) {
        const stmt *x = b->at[i];
        int64_t n = times, e = 1, at, other = live_bytes(k, &x->other, times);
        bool is_vector = x->kind == STMT_for && x->mark == MARK_vector && x_is_int(x->lo, &lo) &&
                         x_is_int(x->hi, &hi) && hi - lo <= MAX_LANES;
        if (is_vector) n *= hi - lo;
        at = live_bytes(k, &x->body, n);
        if (is_vector && x->body.n && x->body.at[x->body.n - 1]->kind == STMT_store)       /* put_staged */
            at += n * dtype_bytes(k->bufs.at[x->body.at[x->body.n - 1]->id].dtype);
        inner = at > inner ? at : inner;
        inner = other > inner ? other : inner;
        if (x->kind != STMT_alloc) continue;
        const buffer *f = &k->bufs.at[x->id];
        for (int j = 0; j < f->rank; j++)
            if (dim_is_const(f->dims[j], &at)) e *= at;
        own += times * e * dtype_bytes(f->dtype);
    }
    return own + inner;
}

int64_t kernel_stack_bytes(const kernel_code *k) { return live_bytes(k, &k->body, 1); }

/* -- The kernel ------------------------------------------------------------------------------------------ */

static void name_all(scope_text *s)
{
    const kernel_code *k = s->k;
    arena *a = s->w->a;
    s->var = NEW_ARRAY(a, var_text, k->vars.n);
    s->ranges = NEW_ARRAY(a, range, k->vars.n);
    for (int64_t i = 0; i < k->vars.n; i++) s->ranges[i] = (range){ -DIM_LIMIT, DIM_LIMIT };
    s->temp = NEW_ARRAY(a, const char *, k->temps.n);
    s->temp_is_index = NEW_ARRAY(a, bool, k->temps.n);
    s->temp_varies = NEW_ARRAY(a, bool, k->temps.n);
    s->is_private = NEW_ARRAY(a, bool, k->bufs.n);
    s->buf = NEW_ARRAY(a, const char *, k->bufs.n);
    s->buf_is_scalar = NEW_ARRAY(a, bool, k->bufs.n);
    for (int64_t i = 0; i < k->bufs.n; i++) {
        s->buf[i] = name_new(s->names, k->bufs.at[i].name);
        s->buf_is_scalar[i] = i >= k->n_params && k->bufs.at[i].rank == 0;
    }
    s->dim_name = NEW_ARRAY(a, const char *, s->dims.n);
    for (int64_t i = 0; i < s->dims.n; i++) {
        dim_view v = dim_look(s->k->dims, s->dims.at[i]);
        s->dim_name[i] = name_new(s->names,
                                  v.kind == DIM_SYMBOL ? dims_symbol_name(s->k->dims, v.symbol) : "size");
    }
    for (int64_t i = 0; i < k->vars.n; i++) s->var[i].name = name_new(s->names, k->vars.at[i].name);
    for (int64_t i = 0; i < k->temps.n; i++) s->temp[i] = name_new(s->names, k->temps.at[i].name);
}

void write_kernel(writer *w, kernel_code *k, const char *name)
{
    arena *a = w->a;
    text out = { .a = a };
    name_set names;
    int n_regions = 0, n_made = 0;
    scope_text s = { .w = w,
                     .k = k,
                     .out = &out,
                     .depth = 1,
                     .names = &names,
                     .n_regions = &n_regions,
                     .n_made = &n_made,
                     .fn_name = name,
                     .copies = 1 };
    names_init(&names, a, w->prefix);
    static const char *const own[] = {
        "given", "n", "rest", "n_1", "n_2", "n_3", "n_4", "n_5", "n_6", "n_7"
    };
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) name_new(&names, own[i]);
    kernel_open_dims_c(a, k, &s.dims);
    name_all(&s);
    text_printf(&out, "static void %s(const dlc_run_hook *hook", name);
    for (int i = 0; i < k->n_params; i++) text_printf(&out, ", %s%s", pointer_type(&s, i), s.buf[i]);
    for (int64_t i = 0; i < s.dims.n; i++) text_printf(&out, ", int64_t %s", s.dim_name[i]);
    text_put(&out, ")\n{\n");
    text head = out;
    out = (text){ .a = a };
    put_block(&s, &k->body);
    put_unused(&head, text_str(&out), "hook");
    for (int i = 0; i < k->n_params; i++) put_unused(&head, text_str(&out), s.buf[i]);
    for (int64_t i = 0; i < s.dims.n; i++) put_unused(&head, text_str(&out), s.dim_name[i]);
    text_put(&w->kernels, text_str(&head));
    text_put(&w->kernels, text_str(&out));
    text_put(&w->kernels, "}\n\n");
}
