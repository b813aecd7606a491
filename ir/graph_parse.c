/* ir/graph_parse.c: text to graph (docs/text-form.md). The inverse of graph_print.c.
 *
 * Every node is made by the builder, so what is parsed is well typed and simplified, and equal lines become
 * one node. The type at the end of a line is checked against the inferred one; it may be left out where it
 * can be inferred.
 *
 * The first error ends the parse, with line, column and the line itself. Bodies nest on an explicit stack, at
 * most TEXT_MAX_DEPTH deep. Memory and time are in proportion to the text.
 */
#include "ir/graph_parse.h"

enum { MAX_OPERANDS = 65535, MAX_RESULTS = 65535 };

/* -- Names ----------------------------------------------------------------------------------------------- */

static void label_key(parser *p, const label *x, const char **key, size_t *n)
{
    *key = x->numbered ? arena_printf(p->arena, "\1%s", x->name) : x->name;
    *n = x->n + x->numbered;
}

static bool read_label(parser *p, label *x)
{
    if (!lex_at(&p->l, TOK_VALUE)) return lex_expected(&p->l, "a value such as %x");
    const token *t = &p->l.tok;
    *x = (label){ t->name, t->name_n, !t->quoted && !text_is_letter(*t->name), lex_place(&p->l) };
    if (x->n == 0) return lex_expected(&p->l, "a name that is not empty");
    lex_next(&p->l);
    return true;
}

static bool define(parser *p, const label *x, value v, bool is_fresh)
{
    const char *key;
    size_t n;
    label_key(p, x, &key, &n);
    bool fresh;
    map_put(&top(p)->names, key, n, v.id, &fresh);
    if (!fresh) {
        diag_defined_twice(p->ctx, x->at, x->name);
        lex_fail(&p->l);
        return false;
    }
    graph *g = here(p);
    if (is_fresh && !x->numbered && !g->names.at[v.id]) set_name(g, v, x->name);
    return true;
}

static bool read_value(parser *p, value *v)
{
    label x;
    TRY(read_label(p, &x));
    const char *key;
    size_t n;
    label_key(p, &x, &key, &n);
    uint64_t *id = map_find(&top(p)->names, key, n);
    if (!id) {
        diag_undefined_value(p->ctx, x.at, x.name);
        lex_fail(&p->l);
        return false;
    }
    *v = (value){ (uint32_t)*id };
    return true;
}

bool node_read_values(parser *p, pending *n, bool *more)
{
    vec(value) in = { n->in, n->n_in, n->n_in };
    *more = false;
    while (lex_at(&p->l, TOK_VALUE)) {
        value v;
        int line = p->l.tok.line;
        TRY(read_value(p, &v));
        if (in.n == MAX_OPERANDS) return lex_expected(&p->l, "fewer operands");
        vec_push(p->arena, &in, v);
        *more = lex_take(&p->l, ",");
        if (!*more && lex_at(&p->l, TOK_VALUE) && p->l.tok.line == line) return lex_need(&p->l, ",");
        if (!*more) break;
    }
    n->in = in.at;
    n->n_in = (int)in.n;
    return true;
}

bool node_read_count(parser *p, pending *n, int least, int most, bool attributes)
{
    bool more;
    place at = lex_place(&p->l);
    TRY(node_read_values(p, n, &more));
    if (n->n_in < least || (most >= 0 && n->n_in > most)) {
        diag_operand_count(p->ctx, at, prim_info[n->prim].name, least, n->n_in);
        lex_fail(&p->l);
        return false;
    }
    if (attributes && !more) return lex_need(&p->l, ",");
    if (!attributes && more) return lex_expected(&p->l, "a value such as %x");
    return true;
}

/* -- Types ----------------------------------------------------------------------------------------------- */

static bool read_type(parser *p, type *t)
{
    dim d[MAX_RANK];
    TRY(lex_dtype(&p->l, &t->dtype));
    TRY(lex_dim_list(&p->l, p->dims, MAX_RANK, &t->rank, d));
    t->dims = arena_copy(p->arena, d, (size_t)t->rank * sizeof *d);
    return true;
}

bool node_read_types(parser *p, pending *n, bool needed)
{
    if (!lex_is(&p->l, ":")) return needed ? lex_need(&p->l, ":") : true;
    lex_next(&p->l);
    vec(type) t = { 0 };
    do {
        type one;
        TRY(read_type(p, &one));
        if (t.n == MAX_RESULTS) return lex_expected(&p->l, "fewer types");
        vec_push(p->arena, &t, one);
    } while (lex_take(&p->l, ","));
    n->types = t.at;
    n->n_types = (int)t.n;
    if (n->n_types != n->n_out) {
        diag_type_count(p->ctx, n->at, n->n_out, n->n_types);
        lex_fail(&p->l);
        return false;
    }
    return true;
}

bool node_read_one_type(parser *p, pending *n, type *t)
{
    TRY(node_read_types(p, n, true));
    *t = n->types[0];
    return true;
}

bool node_read_word(parser *p, const char *const *table, int n, const char *kind, int *row)
{
    if (!lex_at(&p->l, TOK_IDENT)) return lex_expected(&p->l, kind);
    for (*row = 0; *row < n; ++*row)
        if (lex_is(&p->l, table[*row])) {
            lex_next(&p->l);
            return true;
        }
    diag_unknown_name(p->ctx, lex_place(&p->l), kind,
                      arena_strndup(p->arena, p->l.tok.name, p->l.tok.name_n));
    lex_fail(&p->l);
    return false;
}

/* -- Results --------------------------------------------------------------------------------------------- */

bool node_finish(parser *p, pending *n, const value *out, int n_out, int64_t values_before)
{
    graph *g = here(p);
    if (g->failed) {
        lex_fail(&p->l);
        return false;
    }
    if (n_out != n->n_out) {
        diag_result_count(p->ctx, n->at, n->n_out, n_out);
        lex_fail(&p->l);
        return false;
    }
    for (int i = 0; i < n_out; i++) {
        if (!is_value(out[i])) {
            diag_internal(p->ctx, n->at, "a builder gave no value and no reason");
            lex_fail(&p->l);
            return false;
        }
        if (n->n_types && !type_same(type_of(g, out[i]), n->types[i])) {
            text want = { .a = p->arena }, found = { .a = p->arena };
            type_print(g, n->types[i], &want);
            type_print(g, type_of(g, out[i]), &found);
            diag_type_mismatch(p->ctx, n->at, text_str(&want), text_str(&found));
            lex_fail(&p->l);
            return false;
        }
        TRY(define(p, &n->out[i], out[i], (int64_t)out[i].id >= values_before));
    }
    return true;
}

/* -- Nodes with bodies: the line first, then the bodies, then the node ----------------------------------- */

/* word(values): absent is empty; *count: how many */
static bool read_group(parser *p, pending *n, const char *word, int *count)
{
    int before = n->n_in;
    bool more = false;
    if (lex_take(&p->l, word)) {
        TRY(lex_need(&p->l, "("));
        TRY(node_read_values(p, n, &more));
        if (more) return lex_expected(&p->l, "a value such as %x");
        TRY(lex_need(&p->l, ")"));
    }
    *count = n->n_in - before;
    return true;
}

static bool read_scan(parser *p, pending *n)
{
    int use;
    TRY(read_group(p, n, "carry", &n->scan.n_carry));
    TRY(read_group(p, n, "xs", &n->scan.n_xs));
    TRY(read_group(p, n, "use", &use));
    TRY(lex_need(&p->l, "n"));
    TRY(lex_dim(&p->l, p->dims, &n->scan.n));
    n->scan.reverse = lex_take(&p->l, "reverse");
    return node_read_types(p, n, false);
}

static bool read_while(parser *p, pending *n)
{
    int use;
    TRY(read_group(p, n, "carry", &n->loop.n_carry));
    TRY(read_group(p, n, "use", &use));
    n->loop.max_trip = -1;
    if (lex_take(&p->l, "trips")) TRY(lex_int(&p->l, &n->loop.max_trip));
    return node_read_types(p, n, false);
}

static bool read_cond(parser *p, pending *n)
{
    TRY(node_read_count(p, n, 1, -1, false));
    return node_read_types(p, n, false);
}

static bool read_kernel(parser *p, pending *n)
{
    int anchor;
    TRY(node_read_word(p, anchor_name, ANCHOR_COUNT, "kind of kernel", &anchor));
    n->anchor = (anchor_kind)anchor;
    TRY(node_read_count(p, n, 0, -1, false));
    return node_read_types(p, n, false);
}

static bool build_with_bodies(parser *p, pending *n)
{
    graph *g = here(p);
    int64_t before = g->owner.n;
    /* as many results as the bodies say, which need not be what the line says */
    int64_t most = n->body[0]->results.n + n->body[1]->results.n + n->n_in + n->n_out;
    value *out = NEW_ARRAY(p->arena, value, most + 1);
    int64_t made = n->body[n->prim == PRIM_while]->results.n;
    g->at = n->at;
    switch (n->prim) {
    case PRIM_scan:
        scan(g, n->body[0], n->scan.n_carry, n->scan.n_xs, n->scan.n, n->scan.reverse, n->n_in, n->in, out);
        break;
    case PRIM_cond: cond(g, n->in[0], n->body[0], n->body[1], n->n_in - 1, n->in + 1, out); break;
    case PRIM_while:
        while_loop(g, n->body[0], n->body[1], n->loop.n_carry, n->loop.max_trip, n->n_in, n->in, out);
        break;
    default: kernel(g, n->anchor, n->body[0], n->n_in, n->in, out); break;
    }
    return node_finish(p, n, out, (int)made, before);
}

/* -- Graphs ---------------------------------------------------------------------------------------------- */

/* [@name] (inputs) {   pushes the graph */
static bool open_graph(parser *p, graph *outer)
{
    const char *name = NULL;
    if (p->stack.n == TEXT_MAX_DEPTH) return lex_expected(&p->l, "at most 200 bodies within each other");
    if (lex_at(&p->l, TOK_NAME)) {
        name = p->l.tok.name;
        lex_next(&p->l);
    }
    TRY(lex_need(&p->l, "("));
    level one = { .g = outer ? graph_body(outer, name) : graph_new(p->ctx, p->arena, p->dims, name) };
    map_init(&one.names, p->arena);
    vec_push(p->arena, &p->stack, one);
    graph *g = one.g;
    while (!lex_is(&p->l, ")")) {
        if (g->inputs.n > 0) TRY(lex_need(&p->l, ","));
        label x;
        type t;
        TRY(read_label(p, &x));
        TRY(lex_need(&p->l, ":"));
        TRY(read_type(p, &t));
        g->at = x.at;
        value v = input(g, x.numbered ? NULL : x.name, t.dtype, t.rank, t.dims);
        if (g->failed) {
            lex_fail(&p->l);
            return false;
        }
        TRY(define(p, &x, v, true));
    }
    TRY(lex_need(&p->l, ")"));
    return lex_need(&p->l, "{");
}

static bool open_body(parser *p)
{
    static const char *const words[PRIM_COUNT][2] = {
        [PRIM_scan] = { "body" }, [PRIM_kernel] = { "body" }, [PRIM_cond] = { "then", "else" },
        [PRIM_while] = { "test", "body" },
    };
    pending *n = &top(p)->node;
    const char *word = words[n->prim][n->part];
    TRY(lex_need(&p->l, word));
    return open_graph(p, here(p));
}

/* return %a as name, … }   pops the graph */
static bool close_graph(parser *p)
{
    graph *g = here(p);
    lex_next(&p->l);
    while (lex_at(&p->l, TOK_VALUE)) {
        value v;
        const char *name = NULL;
        TRY(read_value(p, &v));
        if (lex_take(&p->l, "as")) {
            if (!lex_at(&p->l, TOK_IDENT) && !lex_at(&p->l, TOK_STRING))
                return lex_expected(&p->l, "a result's name");
            name = arena_strndup(p->arena, p->l.tok.name, p->l.tok.name_n);
            lex_next(&p->l);
        }
        add_result(g, v, name);
        if (!lex_take(&p->l, ",")) break;
        if (!lex_at(&p->l, TOK_VALUE)) return lex_expected(&p->l, "a value such as %x");
    }
    TRY(lex_need(&p->l, "}"));
    p->stack.n--;
    if (p->stack.n == 0) return true;
    pending *n = &top(p)->node;
    n->body[n->part++] = g;
    if (n->part == 1 && (n->prim == PRIM_cond || n->prim == PRIM_while)) return open_body(p);
    if (!n->body[1]) n->body[1] = n->body[0];
    return build_with_bodies(p, n);
}

/* Of the primitives with bodies: they read the line only, the node is built behind its last body. */
static const reader body_readers[PRIM_COUNT] = {
    [PRIM_scan] = read_scan, [PRIM_cond] = read_cond, [PRIM_while] = read_while, [PRIM_kernel] = read_kernel,
};

static bool read_prim(parser *p, prim *x)
{
    if (!lex_at(&p->l, TOK_IDENT)) return lex_expected(&p->l, "a primitive");
    for (int i = 0; i < PRIM_COUNT; i++)
        if ((node_readers[i] || body_readers[i]) && lex_is(&p->l, prim_info[i].name)) {
            *x = (prim)i;
            lex_next(&p->l);
            return true;
        }
    diag_unknown_name(p->ctx, lex_place(&p->l), "primitive",
                      arena_strndup(p->arena, p->l.tok.name, p->l.tok.name_n));
    lex_fail(&p->l);
    return false;
}

/* %a, %b = prim … */
static bool read_node(parser *p)
{
    pending n = { .at = lex_place(&p->l) };
    vec(label) out = { 0 };
    while (lex_at(&p->l, TOK_VALUE)) {
        label x;
        TRY(read_label(p, &x));
        if (out.n == MAX_RESULTS) return lex_expected(&p->l, "fewer results");
        vec_push(p->arena, &out, x);
        if (!lex_take(&p->l, ",")) break;
        if (!lex_at(&p->l, TOK_VALUE)) return lex_expected(&p->l, "a value such as %x");
    }
    n.out = out.at;
    n.n_out = (int)out.n;
    if (n.n_out > 0) TRY(lex_need(&p->l, "="));
    TRY(read_prim(p, &n.prim));
    if (!body_readers[n.prim]) {
        int want = n.prim == PRIM_compact ? 2 : 1;
        if (n.n_out != want) {
            diag_result_count(p->ctx, n.at, n.n_out, want);
            lex_fail(&p->l);
            return false;
        }
        return node_readers[n.prim](p, &n);
    }
    TRY(body_readers[n.prim](p, &n));
    top(p)->node = n;
    return open_body(p);
}

/* symbol N in 1..64 */
static bool read_symbol(parser *p)
{
    dim d;
    int64_t lo, hi;
    TRY(lex_dim(&p->l, p->dims, &d));
    if (dim_look(p->dims, d).kind != DIM_SYMBOL) return lex_expected(&p->l, "the name of a symbol before");
    if (!lex_take(&p->l, "in")) return true;
    place at = lex_place(&p->l);
    TRY(lex_int(&p->l, &lo));
    TRY(lex_need(&p->l, ".."));
    TRY(lex_int(&p->l, &hi));
    if (dim_symbol_bounds(p->dims, d, lo, hi)) return true;
    diag_expected(p->ctx, at, "bounds that leave the symbol a value", "none");
    lex_fail(&p->l);
    return false;
}

static graph *parse(parser *p)
{
    while (lex_take(&p->l, "symbol"))
        if (!read_symbol(p)) return NULL;
    if (!lex_need(&p->l, "graph") || !open_graph(p, NULL)) return NULL;
    graph *root = here(p);
    while (p->stack.n > 0)
        if (!(lex_is(&p->l, "return") ? close_graph(p) : read_node(p))) return NULL;
    if (!lex_at(&p->l, TOK_END)) {
        lex_expected(&p->l, "the end");
        return NULL;
    }
    root->at = (place){ .file = p->l.file };
    return p->l.failed ? NULL : root;
}

graph *graph_parse(dlc_context *ctx, arena *a, const char *file, const char *src, size_t n)
{
    parser p = { .ctx = ctx, .arena = a, .dims = dims_new(ctx, a) };
    lex_start(&p.l, ctx, a, file ? arena_strdup(a, file) : NULL, src, n);
    return parse(&p);
}
