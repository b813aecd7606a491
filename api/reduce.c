/* reduce: delta debugging over the text form of a graph (reduce.h)
 *
 *     results       only some of them; an inner value in their place
 *     cut           a value becomes an input, or zero: what computed it goes
 *     bypass        a value becomes one of the node's operands
 *     numbers       every 784 becomes 1, 2, 3 …; an open size becomes a number
 *
 * Why    A wrong model has thousands of nodes, a wrong rewrite shows on three. What stays is a test.
 * How    Each edit is tried on halves of the nodes, on quarters, … on each alone, and rounds repeat until one
 *        brings nothing. A candidate is built through the builder, which drops what is not needed any more,
 *        printed, and given to the caller; if it still fails, its text is parsed and is the graph from there
 *        on. So what is kept is always exactly what ran. Numbers are edited in the text itself: the parser
 *        refuses what does not fit, before anything is run.
 * Order  Only the graph decides: the same graph and the same answers give the same result.
 * Cost   A candidate costs its text and one run; at most a few for each node and round.
 */
#include "api/reduce.h"
#include "ir/build.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef enum { EDIT_keep, EDIT_input, EDIT_zero, EDIT_operand } edit_kind;
typedef struct { edit_kind kind; int operand; } edit;

/* A node that can be edited; spots are numbered in the order of the walk, bodies after the node that owns
 * them begins. */
typedef struct { const graph *g; uint32_t node; bool is_top; } spot;

typedef struct {
    dlc_context *ctx;
    const reduce_options *o;
    arena *a;                  /* of the search */
    arena *home;               /* of g, its text and its spots */
    graph *g;
    const char *source;
    graph_size size;
    vec(spot) spots;
    map_str tried;             /* hashes of texts that were given to the caller */
    int64_t steps;
    double end;
    bool keeps_inputs;         /* inputs without readers are needed for the failure */
    bool is_over;              /* a limit was met */
} reduction;

/* A change to try: the edit e on the spots at[0 … n-1], in rising order; results in place of the graph's,
 * unless NULL. */
typedef struct { edit e; const int64_t *at; int64_t n; const value *results; int n_results; } change;

typedef struct {
    arena *a;
    change c;
    int64_t passed, next;      /* spots passed so far; of c.at */
    int64_t n_new;             /* inputs made */
} candidate;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* -- What a graph holds ---------------------------------------------------------------------------------- */

static int bodies_of(const node *n, const graph *bodies[2])
{
    bodies[0] = bodies[1] = NULL;
    switch ((prim)n->prim) {
    case PRIM_scan: bodies[0] = n->scan->body; return 1;
    case PRIM_kernel: bodies[0] = n->kernel->body; return 1;
    case PRIM_cond: bodies[0] = n->cond->then_body; bodies[1] = n->cond->else_body; return 2;
    case PRIM_while: bodies[0] = n->loop->test; bodies[1] = n->loop->body; return 2;
    default: return 0;
    }
}

/* Depth of nesting bounds the recursion (at most 200, docs/text-form.md). */
static void collect(reduction *r, const graph *g, bool is_top)
{
    for (int64_t i = 1; i < n_nodes(g); i++) {
        const node *n = &g->nodes.at[i];
        if (n->prim == PRIM_input) continue;
        vec_push(r->home, &r->spots, ((spot){ g, (uint32_t)i, is_top }));
        if (n->prim != PRIM_const) r->size.nodes++;
        const graph *bodies[2];
        int k = bodies_of(n, bodies);
        for (int j = 0; j < k; j++) collect(r, bodies[j], false);
    }
}

static const node *node_at(const reduction *r, int64_t i)
{
    return &r->spots.at[i].g->nodes.at[r->spots.at[i].node];
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '%' || c == '@';
}

/* The next whole number or name that stands alone, outside of quotes; NULL at the end. */
static const char *next_word(const char *s, size_t *n)
{
    while (*s) {
        if (*s == '"') {
            for (s++; *s && *s != '"'; s++)
                if (*s == '\\' && s[1]) s++;
            s += *s == '"';
        } else if (is_word(*s)) {
            for (*n = 0; is_word(s[*n]); ++*n) {}
            return s;
        } else {
            s++;
        }
    }
    return NULL;
}

static bool number_of(const char *word, size_t n, int64_t *v)
{
    if (n > 10) return false;
    *v = 0;
    for (size_t i = 0; i < n; i++) {
        if (word[i] < '0' || word[i] > '9') return false;
        *v = *v * 10 + (word[i] - '0');
    }
    return true;
}

/* Open sizes that the text uses, and the sum of its numbers. */
static void measure_text(dlc_context *ctx, graph_size *size, const graph *g, const char *source)
{
    arena *scratch = arena_new(&ctx->mem);
    map_str symbols;
    map_init(&symbols, scratch);
    bool fresh;
    for (int i = 0; i < dims_n_symbols(g->dims); i++) {
        const char *name = dims_symbol_name(g->dims, i);
        map_put(&symbols, name, strlen(name), 0, &fresh);
    }
    size_t n = 0;
    int64_t v;
    for (const char *w = source; (w = next_word(w, &n)) != NULL; w += n) {
        if (number_of(w, n, &v)) {
            size->numbers += v;
            continue;
        }
        uint64_t *is_seen = map_find(&symbols, w, n);
        if (!is_seen || *is_seen) continue;
        *is_seen = 1;
        size->symbols++;
    }
    arena_free(scratch);
}

static int64_t count_nodes(const graph *g)
{
    int64_t count = 0;
    for (int64_t i = 1; i < n_nodes(g); i++) {
        const node *n = &g->nodes.at[i];
        const graph *bodies[2];
        count += n->prim != PRIM_input && n->prim != PRIM_const;
        int k = bodies_of(n, bodies);
        for (int j = 0; j < k; j++) count += count_nodes(bodies[j]);
    }
    return count;
}

static bool is_smaller(graph_size x, graph_size y)
{
    if (x.nodes != y.nodes) return x.nodes < y.nodes;
    if (x.symbols != y.symbols) return x.symbols < y.symbols;
    return x.bytes != y.bytes ? x.bytes < y.bytes : x.numbers < y.numbers;
}

/* -- Candidates ------------------------------------------------------------------------------------------ */

static bool same_type(const graph *g, value a, value b) { return type_same(type_of(g, a), type_of(g, b)); }

static value zero_of(graph *to, type t)
{
    return splat(to,
                 t.dtype == DTYPE_bool || !is_float(t.dtype) ? scalar_i64(to, t.dtype, 0)
                                                             : scalar_f64(to, t.dtype, 0),
                 t.rank, t.dims);
}

/* The results of n as the edit says; false: it does not apply to this node. */
static bool apply(candidate *c, graph *to, const graph *from, const node *n, edit e, bool is_top,
                  const value *in, value *out)
{
    if (e.kind == EDIT_operand) {
        if (n->n_out != 1 || e.operand >= n->n_in || !same_type(from, n->in[e.operand], result_of(n, 0)))
            return false;
        out[0] = in[e.operand];
        return true;
    }
    if (e.kind == EDIT_input && !is_top) return false;
    for (int k = 0; k < n->n_out; k++) {
        type t = n->types[k];
        const char *name = from->names.at[n->first + (uint32_t)k];
        if (e.kind == EDIT_zero && is_storage(t.dtype)) return false;
        if (!name) name = arena_printf(c->a, "x%lld", (long long)c->n_new++);
        out[k] = e.kind == EDIT_zero ? zero_of(to, t) : input(to, name, t.dtype, t.rank, t.dims);
    }
    return true;
}

static int64_t spots_of(const graph *g)
{
    int64_t count = 0;
    for (int64_t i = 1; i < n_nodes(g); i++) {
        const node *n = &g->nodes.at[i];
        const graph *bodies[2];
        count += n->prim != PRIM_input;
        for (int j = 0, k = bodies_of(n, bodies); j < k; j++) count += spots_of(bodies[j]);
    }
    return count;
}

/* The edit for the spot that the walk is at; passes it. */
static edit take_edit(candidate *c)
{
    bool is_here = c->next < c->c.n && c->c.at[c->next] == c->passed;
    while (c->next < c->c.n && c->c.at[c->next] <= c->passed) c->next++;
    c->passed++;
    return is_here ? c->c.e : (edit){ EDIT_keep, 0 };
}

static graph *edited(candidate *c, const graph *g, graph *outer);

/* A node with bodies, over edited ones. */
static bool rebuild_owner(candidate *c, graph *to, const node *n, const value *in, value *out)
{
    const graph *bodies[2];
    graph *b[2] = { NULL, NULL };
    int k = bodies_of(n, bodies);
    for (int j = 0; j < k; j++) {
        b[j] = edited(c, bodies[j], to);
        if (b[j]->failed) return false;
    }
    switch ((prim)n->prim) {
    case PRIM_scan:
        return scan(to, b[0], n->scan->n_carry, n->scan->n_xs, n->scan->n, n->scan->reverse, n->n_in, in,
                    out);
    case PRIM_cond: return cond(to, in[0], b[0], b[1], n->n_in - 1, in + 1, out);
    case PRIM_while: return while_loop(to, b[0], b[1], n->loop->n_carry, n->loop->max_trip, n->n_in, in, out);
    default: return kernel(to, n->kernel->anchor, b[0], n->n_in, in, out);
    }
}

/* Long constants stay where they are. */
static bool again(candidate *c, graph *to, const graph *from, const node *n, const value *in, value *out)
{
    const graph *bodies[2];
    type t = n->types[0];
    if (bodies_of(n, bodies)) return rebuild_owner(c, to, n, in, out);
    if (n->prim != PRIM_const || !n->konst->bytes || n->konst->n <= 64) return rebuild(to, from, n, in, out);
    out[0] = constant_borrowed(to, t.dtype, t.rank, t.dims, n->konst->bytes, n->konst->name);
    return is_value(out[0]);
}

static graph *edited(candidate *c, const graph *g, graph *outer)
{
    graph *to = outer ? graph_body(outer, g->name) : graph_new(g->ctx, c->a, g->dims, g->name);
    value *map_to = NEW_ARRAY(c->a, value, g->owner.n + 1);
    for (int64_t i = 1; i < n_nodes(g) && !to->failed; i++) {
        const node *n = &g->nodes.at[i];
        const graph *bodies[2];
        value *in = NEW_ARRAY(c->a, value, n->n_in + 1), *out = NEW_ARRAY(c->a, value, n->n_out + 1);
        for (int k = 0; k < n->n_in; k++) in[k] = map_to[n->in[k].id];
        edit e = n->prim == PRIM_input ? (edit){ EDIT_keep, 0 } : take_edit(c);
        bool is_changed = e.kind != EDIT_keep && apply(c, to, g, n, e, !outer, in, out);
        for (int j = 0, k = is_changed ? bodies_of(n, bodies) : 0; j < k; j++)
            c->passed += spots_of(bodies[j]);
        if (!is_changed && !again(c, to, g, n, in, out)) to->failed = true;
        for (int k = 0; k < n->n_out && !to->failed; k++) {
            value v = result_of(n, k);
            map_to[v.id] = out[k];
            if (!is_changed && g->names.at[v.id] && !to->names.at[out[k].id])
                set_name(to, out[k], g->names.at[v.id]);
        }
    }
    bool is_chosen = !outer && c->c.results;
    int64_t n_results = to->failed ? 0 : is_chosen ? c->c.n_results : g->results.n;
    for (int64_t j = 0; j < n_results; j++)
        add_result(to, map_to[(is_chosen ? c->c.results[j] : g->results.at[j]).id],
                   is_chosen ? NULL : g->result_names.at[j]);
    return to;
}

/* g without inputs that nothing reads (the first n_kept stay anyway). */
static graph *without_inputs(arena *a, const graph *g, int64_t n_kept)
{
    graph *to = graph_new(g->ctx, a, g->dims, g->name);
    uint32_t *uses = graph_uses(g, a);
    value *map_to = NEW_ARRAY(a, value, g->owner.n + 1);
    for (int64_t i = 1; i < n_nodes(g) && !to->failed; i++) {
        const node *n = &g->nodes.at[i];
        if (n->prim == PRIM_input && !uses[n->first] && n->input->index >= n_kept) continue;
        value *in = NEW_ARRAY(a, value, n->n_in + 1);
        for (int k = 0; k < n->n_in; k++) in[k] = map_to[n->in[k].id];
        if (!rebuild(to, g, n, in, &map_to[n->first])) to->failed = true;
        for (int k = 0; k < n->n_out && !to->failed; k++) {
            value v = result_of(n, k);
            if (g->names.at[v.id] && !to->names.at[map_to[v.id].id])
                set_name(to, map_to[v.id], g->names.at[v.id]);
        }
    }
    for (int64_t j = 0; j < g->results.n && !to->failed; j++)
        add_result(to, map_to[g->results.at[j].id], g->result_names.at[j]);
    return to;
}

/* -- Trying ---------------------------------------------------------------------------------------------- */

typedef struct { int n_errors; int64_t n_diags; dlc_status status; } saved_diags;

static saved_diags save_diags(const dlc_context *ctx)
{
    return (saved_diags){ ctx->n_errors, ctx->diags.n, ctx->status };
}

static void drop_diags(dlc_context *ctx, saved_diags s)
{
    ctx->n_errors = s.n_errors;
    ctx->diags.n = s.n_diags;
    ctx->status = s.status;
}

/* The graph from now on is that of this text. */
static bool settle(reduction *r, const char *source, size_t n)
{
    arena *a = arena_new(&r->ctx->mem);
    const char *own = arena_strndup(a, source, n);
    graph *g = graph_parse(r->ctx, a, "the reduced graph", own, n);
    if (!g) {
        arena_free(a);
        return false;
    }
    if (r->home) arena_free(r->home);
    r->home = a;
    r->g = graph_compact(g);
    r->source = own;
    r->spots.at = NULL;
    r->spots.n = r->spots.cap = 0;
    r->size = (graph_size){ .bytes = (int64_t)n };
    collect(r, r->g, true);
    measure_text(r->ctx, &r->size, r->g, own);
    return true;
}

static bool may_go_on(reduction *r)
{
    if (r->steps >= r->o->max_steps || (r->end > 0 && now() > r->end)) r->is_over = true;
    return !r->is_over;
}

static bool ask(reduction *r, const char *source, size_t n)
{
    uint64_t key[2] = { hash_bytes(source, n, 1), hash_bytes(source, n, 2) };
    bool fresh;
    map_put(&r->tried, (const char *)key, sizeof key, 0, &fresh);
    if (!fresh || !may_go_on(r)) return false;
    if (r->o->step) r->o->step(r->o->arg, r->steps, r->size);
    r->steps++;
    return r->o->fails(r->o->arg, source, n);
}

/* Takes `to` (made in the arena a) if it is smaller and still fails. */
static bool try_graph(reduction *r, arena *a, graph *to)
{
    if (to->failed) return false;
    to = graph_compact(to);
    graph *plain = without_inputs(a, to, r->keeps_inputs ? r->g->inputs.n : 0);
    if (plain->failed || !graph_verify(plain, "reduce")) return false;
    text t = { .a = a };
    graph_print(plain, &t);
    const char *source = text_str(&t);
    graph_size size = { .nodes = count_nodes(plain), .bytes = t.n };
    measure_text(r->ctx, &size, plain, source);
    if (!is_smaller(size, r->size) || !ask(r, source, (size_t)t.n) || !settle(r, source, (size_t)t.n))
        return false;
    r->o->accepted(r->o->arg, r->source, (size_t)r->size.bytes);
    return true;
}

static bool try_change(reduction *r, change what)
{
    if (!may_go_on(r)) return false;
    saved_diags s = save_diags(r->ctx);
    candidate c = { .a = arena_new(&r->ctx->mem), .c = what };
    bool is_taken = try_graph(r, c.a, edited(&c, r->g, NULL));
    arena_free(c.a);
    drop_diags(r->ctx, s);
    return is_taken;
}

static bool try_results(reduction *r, int n, const value *results)
{
    return try_change(r, (change){ .n_results = n, .results = results });
}

static bool try_text(reduction *r, const char *source, size_t n)
{
    if (!may_go_on(r)) return false;
    saved_diags s = save_diags(r->ctx);
    arena *a = arena_new(&r->ctx->mem);
    graph *g = graph_parse(r->ctx, a, "a candidate", source, n);
    bool is_taken = g && try_graph(r, a, g);
    arena_free(a);
    drop_diags(r->ctx, s);
    return is_taken;
}

/* -- Results --------------------------------------------------------------------------------------------- */

/* Some of the results. */
static bool fewer_results(reduction *r)
{
    bool any = false;
    for (int64_t chunk = (r->g->results.n + 1) / 2; chunk >= 1 && r->g->results.n > 1; chunk /= 2)
        for (int64_t i = 0; i < r->g->results.n && r->g->results.n > 1;) {
            int n = 0;
            value *keep = NEW_ARRAY(r->a, value, r->g->results.n);
            for (int64_t j = 0; j < r->g->results.n; j++)
                if (j < i || j >= i + chunk) keep[n++] = r->g->results.at[j];
            if (n && try_results(r, n, keep)) any = true;
            else i += chunk;
        }
    return any;
}

/* An inner value as the only result: first halfway back, and again; then the operands of the results. */
static bool earlier_results(reduction *r)
{
    bool any = false;
    for (int64_t lo = 1, hi = n_nodes(r->g) - 1; lo < hi && r->g->results.n;) {
        int64_t mid = lo + (hi - lo) / 2;
        const node *n = &r->g->nodes.at[mid];
        value v = result_of(n, 0);
        if (n->prim != PRIM_input && n->prim != PRIM_const && try_results(r, 1, &v)) {
            any = true;
            lo = 1;
            hi = n_nodes(r->g) - 1;
        } else {
            lo = mid + 1;
        }
    }
    for (int k = 0; r->g->results.n == 1 && k < node_of(r->g, r->g->results.at[0])->n_in;) {
        value v = node_of(r->g, r->g->results.at[0])->in[k++];
        if (!try_results(r, 1, &v)) continue;
        any = true;
        k = 0;
    }
    return any;
}

/* -- Nodes ----------------------------------------------------------------------------------------------- */

typedef bool (*chooser)(const reduction *r, int64_t i);
static bool is_long_constant(const reduction *r, int64_t i)
{
    const node *n = node_at(r, i);
    return n->prim == PRIM_const && n->konst->n > 64;
}

static bool is_top_node(const reduction *r, int64_t i)
{
    return r->spots.at[i].is_top && node_at(r, i)->prim != PRIM_const;
}

static bool is_any_node(const reduction *r, int64_t i) { return node_at(r, i)->prim != PRIM_const; }

static int64_t *choose(const reduction *r, chooser is_chosen, int64_t *n)
{
    int64_t *at = NEW_ARRAY(r->home, int64_t, r->spots.n + 1);
    *n = 0;
    for (int64_t i = 0; i < r->spots.n; i++)
        if (is_chosen(r, i)) at[(*n)++] = i;
    return at;
}

/* One edit on runs of nodes: all, halves, … down to each alone. */
static bool sweep(reduction *r, chooser is_chosen, edit e)
{
    bool any = false;
    int64_t n, *at = choose(r, is_chosen, &n);
    for (int64_t chunk = n; chunk >= 1 && !r->is_over; chunk /= 2)
        for (int64_t i = 0; i < n && !r->is_over;) {
            change what = { .e = e, .at = at + i, .n = n - i < chunk ? n - i : chunk };
            if (try_change(r, what)) {
                any = true;
                at = choose(r, is_chosen, &n);              /* what follows has moved up to i */
            } else {
                i += chunk;
            }
        }
    return any;
}

/* -- Numbers and open sizes ------------------------------------------------------------------------------ */

static bool replace_word(reduction *r, const char *word, size_t n_word, const char *with)
{
    text t = { .a = arena_new(&r->ctx->mem) };
    const char *from = r->source;
    size_t n = 0;
    for (const char *w = from; (w = next_word(w, &n)) != NULL; w += n) {
        if (n != n_word || memcmp(w, word, n) != 0) continue;
        const char *line = w;
        while (line > r->source && line[-1] != '\n') line--;
        if (strncmp(line, "symbol ", 7) == 0 && (word[0] < '0' || word[0] > '9')) { /* its declaration goes */
            text_putn(&t, from, line > from ? (size_t)(line - from) : 0);
            from = w + strcspn(w, "\n");
            from += *from == '\n';
            continue;
        }
        text_putn(&t, from, (size_t)(w - from));
        text_put(&t, with);
        from = w + n;
    }
    text_put(&t, from);
    bool is_taken = try_text(r, text_str(&t), (size_t)t.n);
    arena_free(t.a);
    return is_taken;
}

static int larger_first(const void *x, const void *y)
{
    int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return (a < b) - (a > b);
}

/* The distinct numbers over 1 of the text, largest first. */
static int64_t *numbers_of(reduction *r, int64_t *n_numbers)
{
    vec(int64_t) all = { 0 };
    size_t n = 0;
    int64_t v, n_distinct = 0;
    for (const char *w = r->source; (w = next_word(w, &n)) != NULL; w += n)
        if (number_of(w, n, &v) && v > 1) vec_push(r->home, &all, v);
    if (all.n) qsort(all.at, (size_t)all.n, sizeof *all.at, larger_first);
    for (int64_t i = 0; i < all.n; i++)
        if (i == 0 || all.at[i] != all.at[n_distinct - 1]) all.at[n_distinct++] = all.at[i];
    int64_t *kept = arena_copy(r->a, all.at ? all.at : &n_distinct, (size_t)n_distinct * sizeof *kept);
    *n_numbers = n_distinct;
    return kept;
}

static bool smaller_number(reduction *r, int64_t number)
{
    static const int64_t to[] = { 1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64 };
    char word[24], with[24];
    snprintf(word, sizeof word, "%lld", (long long)number);
    for (size_t j = 0; j < sizeof to / sizeof *to && to[j] < number; j++) {
        snprintf(with, sizeof with, "%lld", (long long)to[j]);
        if (replace_word(r, word, strlen(word), with)) return true;
    }
    return false;
}

static bool closed_size(reduction *r, int symbol)
{
    static const char *const to[] = { "1", "2", "3" };
    const char *name = arena_strdup(r->a, dims_symbol_name(r->g->dims, symbol));
    for (size_t j = 0; j < sizeof to / sizeof *to; j++)
        if (replace_word(r, name, strlen(name), to[j])) return true;
    return false;
}

static bool smaller_numbers(reduction *r)
{
    enum { MOST = 64 };
    bool any = false;
    for (int i = dims_n_symbols(r->g->dims); i-- > 0;)
        if (i < dims_n_symbols(r->g->dims)) any |= closed_size(r, i);
    int64_t n, *numbers = numbers_of(r, &n);
    for (int64_t i = 0; i < n && i < MOST; i++) any |= smaller_number(r, numbers[i]);
    return any;
}

/* -- The whole ------------------------------------------------------------------------------------------- */

static bool round_of_edits(reduction *r)
{
    /* first: the text is short from then on */
    bool any = sweep(r, is_long_constant, (edit){ EDIT_input, 0 });
    any |= fewer_results(r);
    any |= earlier_results(r);
    any |= sweep(r, is_top_node, (edit){ EDIT_input, 0 });
    for (int k = 0; k < 3; k++) any |= sweep(r, is_any_node, (edit){ EDIT_operand, k });
    any |= sweep(r, is_any_node, (edit){ EDIT_zero, 0 });
    any |= sweep(r, is_long_constant, (edit){ EDIT_zero, 0 });
    any |= smaller_numbers(r);
    return any;
}

static bool has_unread_inputs(const reduction *r)
{
    uint32_t *uses = graph_uses(r->g, r->home);
    for (int64_t i = 0; i < r->g->inputs.n; i++)
        if (!uses[r->g->inputs.at[i].id]) return true;
    return false;
}

bool reduce_graph(dlc_context *ctx, const graph *g, const reduce_options *o, reduce_result *out)
{
    reduction *r = &(reduction){ .ctx = ctx, .o = o, .a = arena_new(&ctx->mem) };
    map_init(&r->tried, r->a);
    r->end = o->seconds > 0 ? now() + o->seconds : 0;
    text t = { .a = r->a };
    graph_print(g, &t);
    bool fails = settle(r, text_str(&t), (size_t)t.n) && ask(r, r->source, (size_t)r->size.bytes);
    out->first = r->size;
    if (fails) {
        o->accepted(o->arg, r->source, (size_t)r->size.bytes);
        r->keeps_inputs = has_unread_inputs(r) && !try_change(r, (change){ 0 });
        while (!r->is_over && round_of_edits(r)) {}
    }
    out->last = r->size;
    out->steps = r->steps;
    out->is_done = !r->is_over;
    if (r->home) arena_free(r->home);
    arena_free(r->a);
    return fails;
}
