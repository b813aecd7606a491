/* ir/graph_print.c: the graph as text (docs/text-form.md), complete enough that graph_parse gives an equal
 * graph.
 *
 * One line a node, in node order, bodies as blocks below their node. Values named by the user keep their name
 * (the second of two equal names in one graph gets a number); the others are numbered in print order, each
 * graph from 0. Symbols with bounds of their own are declared before the graph; all of them are, if the order
 * in which they first appear would otherwise number them differently.
 *
 * Bodies are printed from an explicit stack. Cost: O(text).
 */
#include "ir/graph.h"
#include "ir/lex.h"
#include "ir/text.h"
#include <stdio.h>

typedef struct {
    const graph *g;
    const char **label;       /* value id -> as printed, without % */
    map_str taken;            /* labels given in this graph */
    int64_t next_number;
    int64_t at;               /* next node */
    int indent;
    const node *owner;        /* of a body: the node it belongs to */
    int part;                 /* which of its bodies */
} frame;

typedef struct {
    text *out;
    arena *scratch;
    dims *dims;
    bool brief;
    vec(frame) stack;
    map_str symbols;          /* name -> symbol index */
    vec(int) seen;            /* symbols in the order of first appearance */
    bool *is_seen;
} printer;

/* -- Dims and types -------------------------------------------------------------------------------------- */

static void note_symbols(printer *p, const char *s, const char *end)
{
    while (s < end) {
        size_t n = 0;
        while (s + n < end && (text_is_word(s[n]) || s[n] == '.')) n++;
        uint64_t *i = n ? map_find(&p->symbols, s, n) : NULL;
        if (i && !p->is_seen[*i]) {
            p->is_seen[*i] = true;
            vec_push(p->scratch, &p->seen, (int)*i);
        }
        s += n ? n : 1;
    }
}

static void put_dim(printer *p, dim d)
{
    int64_t v, from = p->out->n;
    if (dim_is_const(d, &v)) {
        text_printf(p->out, "%lld", (long long)v);
        return;
    }
    dim_print(p->dims, d, p->out);
    note_symbols(p, p->out->at + from, p->out->at + p->out->n);
}

static void put_dims(printer *p, int n, const dim *d)
{
    text_put(p->out, "[");
    for (int i = 0; i < n; i++) {
        if (i) text_put(p->out, ", ");
        put_dim(p, d[i]);
    }
    text_put(p->out, "]");
}

static void put_ints(printer *p, int n, const int64_t *v)
{
    text_put(p->out, "[");
    for (int i = 0; i < n; i++) text_printf(p->out, "%s%lld", i ? ", " : "", (long long)v[i]);
    text_put(p->out, "]");
}

static void put_bytes_list(printer *p, int n, const uint8_t *v)
{
    int64_t wide[MAX_RANK];
    for (int i = 0; i < n; i++) wide[i] = v[i];
    put_ints(p, n, wide);
}

static void put_type(printer *p, type t)
{
    text_put(p->out, dtype_info[t.dtype].name);
    put_dims(p, t.rank, t.dims);
}

/* -- Values ---------------------------------------------------------------------------------------------- */

static void name_value(printer *p, frame *f, value v, const char *name)
{
    bool fresh = false;
    if (name && *name) {
        text t = { .a = p->scratch };
        put_name(&t, 0, name);
        map_put(&f->taken, name, strlen(name), 0, &fresh);
        if (fresh) f->label[v.id] = text_str(&t);
    }
    if (!fresh) f->label[v.id] = arena_printf(p->scratch, "%lld", (long long)f->next_number++);
}

static void put_value(printer *p, const frame *f, value v)
{
    text_put(p->out, "%");
    text_put(p->out, v.id < (uint32_t)f->g->owner.n && f->label[v.id] ? f->label[v.id] : "?");
}

static void put_values(printer *p, const frame *f, const node *n, int from, int to)
{
    for (int i = from; i < to; i++) {
        if (i > from) text_put(p->out, ", ");
        put_value(p, f, n->in[i]);
    }
}

static void put_group(printer *p, const frame *f, const char *word, const node *n, int from, int to)
{
    if (from == to) return;
    text_printf(p->out, " %s(", word);
    put_values(p, f, n, from, to);
    text_put(p->out, ")");
}

/* -- Attributes ------------------------------------------------------------------------------------------ */

static void put_base64(text *out, const uint8_t *b, size_t n)
{
    char line[1024];
    size_t k = 0;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t w = (uint32_t)b[i] << 16 | (i + 1 < n ? (uint32_t)b[i + 1] << 8 : 0) |
                     (i + 2 < n ? b[i + 2] : 0);
        line[k++] = text_base64[w >> 18];
        line[k++] = text_base64[w >> 12 & 63];
        line[k++] = i + 1 < n ? text_base64[w >> 6 & 63] : '=';
        line[k++] = i + 2 < n ? text_base64[w & 63] : '=';
        if (k + 4 > sizeof line) { text_putn(out, line, k); k = 0; }
    }
    text_putn(out, line, k);
}

static void put_const(printer *p, const node *n)
{
    const const_attr *c = n->konst;
    dtype t = n->types[0].dtype;
    if (c->name) {
        text_put(p->out, " ");
        put_name(p->out, '@', c->name);
    }
    if (c->n > TEXT_MAX_LIST && c->bytes) {
        if (p->brief) {
            text_put(p->out, " ...");
            return;
        }
        text_put(p->out, " base64 \"");
        put_base64(p->out, c->bytes, (size_t)c->n * (size_t)dtype_bytes(t));
        text_put(p->out, "\"");
        return;
    }
    bool is_list = n->types[0].rank > 0;
    text_put(p->out, is_list ? " [" : " ");
    for (int64_t i = 0; i < c->n; i++) {
        if (i) text_put(p->out, ", ");
        if (c->bytes) put_scalar(p->out, t, (const char *)c->bytes + i * dtype_bytes(t));
        else put_dim(p, c->dims[i]);
    }
    if (is_list) text_put(p->out, "]");
}

static void put_term(text *out, bool *first, int64_t k, const char *x)
{
    if (*first) text_put(out, k < 0 ? "-" : "");
    else text_put(out, k < 0 ? " - " : " + ");
    *first = false;
    uint64_t m = k < 0 ? 0 - (uint64_t)k : (uint64_t)k;
    if (m != 1 || !*x) text_printf(out, "%llu", (unsigned long long)m);
    if (m != 1 && *x) text_put(out, "*");
    text_put(out, x);
}

/* stride*o + dil*k - pad, or (…)/idil */
static void put_relation(text *out, relation r, const char *o, const char *k)
{
    bool first = true;
    if (r.idil != 1) text_put(out, "(");
    put_term(out, &first, r.stride, o);
    put_term(out, &first, r.dil, k);
    if (r.pad) put_term(out, &first, r.pad == INT64_MIN ? INT64_MIN : -r.pad, "");
    if (r.idil != 1) text_printf(out, ")/%lld", (long long)r.idil);
}

/* A letter for each label that is printed: its own if it has one that is free, else the next free one. */
static void choose_letters(const contract_attr *c, int rank_a, int rank_b, int rank_o,
                           char letter[MAX_LABELS][2])
{
    bool used[256] = { false }, shown[MAX_LABELS] = { false };
    for (int i = 0; i < rank_o; i++) shown[c->lo[i]] = true;
    for (int i = 0; i < c->n_sum; i++) shown[c->sum[i]] = true;
    for (int i = 0; i < rank_a; i++) shown[c->la[i]] = true;
    for (int i = 0; i < rank_b; i++) shown[c->lb[i]] = true;
    for (int w = 0; w < c->n_windows; w++) shown[c->windows[w].a] = false;
    memset(letter, 0, MAX_LABELS * sizeof *letter);
    for (int l = 0; l < c->n_labels; l++) {
        const char *s = c->label_name[l];
        if (!shown[l] || !s || !text_is_letter(*s) || *s == '_' || used[(unsigned char)*s]) continue;
        letter[l][0] = *s;
        used[(unsigned char)*s] = true;
    }
    const char *next = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (int l = 0; l < c->n_labels; l++) {
        if (!shown[l] || letter[l][0]) continue;
        while (used[(unsigned char)*next]) next++;
        letter[l][0] = *next;
        used[(unsigned char)*next] = true;
    }
}

static void put_letters(text *out, int n, const uint8_t *labels, char letter[MAX_LABELS][2])
{
    for (int i = 0; i < n; i++) text_printf(out, "%s%s", i ? ", " : "", letter[labels[i]]);
}

static void put_contract(printer *p, const frame *f, const node *n)
{
    const contract_attr *c = n->contract;
    type a = type_of(f->g, n->in[0]), b = type_of(f->g, n->in[1]);
    text *out = p->out;
    char letter[MAX_LABELS][2];
    choose_letters(c, a.rank, b.rank, n->types[0].rank, letter);

    text_put(out, " ");
    put_values(p, f, n, 0, n->n_in);
    text_put(out, ", [");
    put_letters(out, n->types[0].rank, c->lo, letter);
    text_put(out, n->types[0].rank ? " |" : "|");
    if (c->n_sum) text_put(out, " ");
    put_letters(out, c->n_sum, c->sum, letter);
    text_put(out, "] a[");
    for (int i = 0; i < a.rank; i++) {
        if (i) text_put(out, ", ");
        int w = 0;
        while (w < c->n_windows && c->windows[w].a != c->la[i]) w++;
        if (w == c->n_windows) text_put(out, letter[c->la[i]]);
        else put_relation(out, c->windows[w].r, letter[c->windows[w].o], letter[c->windows[w].b]);
    }
    text_put(out, "] b[");
    put_letters(out, b.rank, c->lb, letter);
    text_put(out, "]");
    for (int i = 0; i < c->n_limits; i++) {
        const contract_limit *m = &c->limits[i];
        bool first = true;
        text_put(out, " limit ");
        if (m->x != NO_LABEL) put_term(out, &first, m->scale, letter[m->x]);
        put_term(out, &first, 1, letter[m->y]);
        text_put(out, " < ");
        put_dim(p, m->bound);
    }
    if (c->acc != compute_dtype(a.dtype)) text_printf(out, " acc %s", dtype_info[c->acc].name);
}

static void put_window(printer *p, const frame *f, const node *n)
{
    const window_attr *w = n->window;
    text_printf(p->out, " %s ", window_name[w->kind]);
    put_value(p, f, n->in[0]);
    for (int i = 0; i < w->n; i++) {
        text_printf(p->out, ", axis %d at ", w->axes[i].axis);
        put_relation(p->out, w->axes[i].r, "o", "k");
        text_printf(p->out, " for k < %lld", (long long)w->axes[i].k);
    }
}

static void put_axes(printer *p, uint32_t axes)
{
    int64_t list[32];
    int k = 0;
    for (int i = 0; i < 32; i++)
        if (axes >> i & 1) list[k++] = i;
    put_ints(p, k, list);
}

static void put_slice(printer *p, const frame *f, const node *n)
{
    int rank = n->types[0].rank;
    bool steps = false;
    for (int i = 0; i < rank; i++) steps |= n->slice->step[i] != 1;
    text_put(p->out, " ");
    put_value(p, f, n->in[0]);
    text_put(p->out, ", start ");
    put_dims(p, rank, n->slice->start);
    text_put(p->out, ", size ");
    put_dims(p, rank, n->types[0].dims);
    if (!steps) return;
    text_put(p->out, ", step ");
    put_ints(p, rank, n->slice->step);
}

static void put_pad(printer *p, const frame *f, const node *n)
{
    int rank = n->types[0].rank;
    bool interior = false;
    for (int i = 0; i < rank; i++) interior |= n->pad->interior[i] != 0;
    text_put(p->out, n->n_in == 1 ? " undef " : " ");
    put_values(p, f, n, 0, n->n_in);
    text_put(p->out, ", lo ");
    put_dims(p, rank, n->pad->lo);
    text_put(p->out, ", hi ");
    put_dims(p, rank, n->pad->hi);
    if (!interior) return;
    text_put(p->out, ", interior ");
    put_ints(p, rank, n->pad->interior);
}

static void put_gather(printer *p, const frame *f, const node *n)
{
    const gather_attr *g = n->gather;
    text_put(p->out, " ");
    if (n->prim == PRIM_scatter) text_printf(p->out, "%s ", scatter_name[g->mode]);
    put_values(p, f, n, 0, n->n_in);
    text_put(p->out, ", axes ");
    put_bytes_list(p, g->n_axes, g->axes);
    if (!g->n_batch) return;
    text_put(p->out, ", batch [");
    for (int i = 0; i < g->n_batch; i++)
        text_printf(p->out, "%s%d:%d", i ? ", " : "", g->batch_x[i], g->batch_s[i]);
    text_put(p->out, "]");
}

static void put_sort(printer *p, const frame *f, const node *n)
{
    const sort_attr *s = n->sort;
    text_put(p->out, " ");
    put_values(p, f, n, 0, n->n_in);
    text_printf(p->out, ", axis %d", s->axis);
    if (s->descending) {
        text_put(p->out, ", descending ");
        put_axes(p, s->descending);
    }
    text_put(p->out, ", k ");
    put_dim(p, s->k);
}

/* What stands between the primitive's name and the colon. */
static void put_node_body(printer *p, const frame *f, const node *n)
{
    text *out = p->out;
    switch ((prim)n->prim) {
    case PRIM_input: break;
    case PRIM_const: put_const(p, n); break;
    case PRIM_iota: text_printf(out, " axis %d", n->iota->axis); break;
    case PRIM_map:
        text_printf(out, " %s ", scalar_info[n->map->fn].name);
        put_values(p, f, n, 0, n->n_in);
        break;
    case PRIM_reduce:
        text_printf(out, " %s ", reduce_name[n->reduce->kind]);
        put_value(p, f, n->in[0]);
        text_put(out, ", ");
        put_axes(p, n->reduce->axes);
        if (n->reduce->last) text_put(out, ", last");
        break;
    case PRIM_contract: put_contract(p, f, n); break;
    case PRIM_window: put_window(p, f, n); break;
    case PRIM_reshape: case PRIM_broadcast:
        text_put(out, " ");
        put_value(p, f, n->in[0]);
        text_put(out, ", ");
        put_dims(p, n->types[0].rank, n->types[0].dims);
        break;
    case PRIM_transpose:
        text_put(out, " ");
        put_value(p, f, n->in[0]);
        text_put(out, ", ");
        put_bytes_list(p, n->types[0].rank, n->transpose->perm);
        break;
    case PRIM_slice: put_slice(p, f, n); break;
    case PRIM_pad: put_pad(p, f, n); break;
    case PRIM_concat:
        text_put(out, " ");
        put_values(p, f, n, 0, n->n_in);
        text_printf(out, ", axis %d", n->concat->axis);
        break;
    case PRIM_gather: case PRIM_scatter: put_gather(p, f, n); break;
    case PRIM_sort: put_sort(p, f, n); break;
    case PRIM_scan:
        put_group(p, f, "carry", n, 0, n->scan->n_carry);
        put_group(p, f, "xs", n, n->scan->n_carry, n->scan->n_carry + n->scan->n_xs);
        put_group(p, f, "use", n, n->scan->n_carry + n->scan->n_xs, n->n_in);
        text_put(out, " n ");
        put_dim(p, n->scan->n);
        if (n->scan->reverse) text_put(out, " reverse");
        break;
    case PRIM_while:
        put_group(p, f, "carry", n, 0, n->loop->n_carry);
        put_group(p, f, "use", n, n->loop->n_carry, n->n_in);
        if (n->loop->max_trip >= 0) text_printf(out, " trips %lld", (long long)n->loop->max_trip);
        break;
    case PRIM_compact:
        text_put(out, " ");
        put_value(p, f, n->in[0]);
        if (n->compact->has_symbol) {
            text_put(out, ", symbol ");
            put_dim(p, n->compact->symbol);
        }
        break;
    case PRIM_kernel:
        text_printf(out, " %s", anchor_name[n->kernel->anchor]);
        if (n->n_in) text_put(out, " ");
        put_values(p, f, n, 0, n->n_in);
        break;
    case PRIM_cond: case PRIM_random: case PRIM_bitcast:
        text_put(out, " ");
        put_values(p, f, n, 0, n->n_in);
        break;
    case PRIM_COUNT: break;
    }
}

/* -- Graphs ---------------------------------------------------------------------------------------------- */

int text_bodies(const node *n, text_body out[2])
{
    switch ((prim)n->prim) {
    case PRIM_scan: out[0] = (text_body){ "body", n->scan->body }; return 1;
    case PRIM_kernel: out[0] = (text_body){ "body", n->kernel->body }; return 1;
    case PRIM_cond:
        out[0] = (text_body){ "then", n->cond->then_body };
        out[1] = (text_body){ "else", n->cond->else_body };
        return 2;
    case PRIM_while:
        out[0] = (text_body){ "test", n->loop->test };
        out[1] = (text_body){ "body", n->loop->body };
        return 2;
    default: return 0;
    }
}

static void push_graph(printer *p, const graph *g, int indent, const node *owner, int part)
{
    frame f = { .g = g, .at = 1, .indent = indent, .owner = owner, .part = part };
    f.label = NEW_ARRAY(p->scratch, const char *, g->owner.n ? g->owner.n : 1);
    map_init(&f.taken, p->scratch);

    if (g->name && *g->name) {
        text_put(p->out, " ");
        put_name(p->out, '@', g->name);
    }
    text_put(p->out, "(");
    for (int64_t i = 0; i < g->inputs.n; i++) {
        value v = g->inputs.at[i];
        name_value(p, &f, v, node_of(g, v)->input->name);
        if (i) text_put(p->out, ", ");
        put_value(p, &f, v);
        text_put(p->out, ": ");
        put_type(p, type_of(g, v));
    }
    text_put(p->out, ") {\n");
    vec_push(p->scratch, &p->stack, f);
}

static void put_indent(printer *p, int n)
{
    for (int i = 0; i < n; i++) text_put(p->out, "  ");
}

static void put_node(printer *p, frame *f, const node *n)
{
    put_indent(p, f->indent);
    for (int k = 0; k < n->n_out; k++) {
        value v = result_of(n, k);
        name_value(p, f, v, f->g->names.at[v.id]);
        text_put(p->out, k ? ", " : "");
        put_value(p, f, v);
    }
    text_put(p->out, n->n_out ? " = " : "");
    text_put(p->out, prim_info[n->prim].name);
    put_node_body(p, f, n);
    if (n->n_out) text_put(p->out, " : ");
    for (int k = 0; k < n->n_out; k++) {
        if (k) text_put(p->out, ", ");
        put_type(p, n->types[k]);
    }
}

static void put_return(printer *p, const frame *f)
{
    const graph *g = f->g;
    put_indent(p, f->indent);
    text_put(p->out, "return");
    for (int64_t i = 0; i < g->results.n; i++) {
        text_put(p->out, i ? ", " : " ");
        put_value(p, f, g->results.at[i]);
        if (i < g->result_names.n && g->result_names.at[i]) {
            text_put(p->out, " as ");
            put_name(p->out, 0, g->result_names.at[i]);
        }
    }
    text_put(p->out, "\n");
}

static void print_graph(printer *p, const graph *root)
{
    text_put(p->out, "graph");
    push_graph(p, root, 1, NULL, 0);
    while (p->stack.n > 0) {
        frame *f = &p->stack.at[p->stack.n - 1];
        if (f->at < n_nodes(f->g)) {
            const node *n = &f->g->nodes.at[f->at++];
            if (n->prim == PRIM_input) continue;
            put_node(p, f, n);
            text_body body[2];
            if (text_bodies(n, body) == 0) {
                text_put(p->out, "\n");
            } else {
                text_printf(p->out, " %s", body[0].word);
                push_graph(p, body[0].g, f->indent + 1, n, 0);
            }
            continue;
        }
        put_return(p, f);
        put_indent(p, f->indent - 1);
        text_put(p->out, "}");
        frame done = vec_pop(&p->stack);
        text_body body[2];
        if (done.owner && done.part + 1 < text_bodies(done.owner, body)) {
            text_printf(p->out, " %s", body[done.part + 1].word);
            push_graph(p, body[done.part + 1].g, done.indent, done.owner, done.part + 1);
        } else {
            text_put(p->out, "\n");
        }
    }
}

/* -- Symbols --------------------------------------------------------------------------------------------- */

static bool default_bounds(const dims *t, int i)
{
    int64_t lo, hi;
    dims_symbol_range(t, i, &lo, &hi);
    return lo == 0 && hi == TEXT_SYMBOL_HI;
}

/* Would a reader number the symbols as they are numbered here, if only those with bounds of their own are
 * declared? */
static bool order_survives(printer *p)
{
    int last = -1;
    for (int i = 0; i < dims_n_symbols(p->dims); i++) {
        if (!p->is_seen[i] || default_bounds(p->dims, i)) continue;
        last = i;
    }
    for (int i = 0; i < last; i++)
        if (p->is_seen[i] && default_bounds(p->dims, i)) return false;
    for (int64_t k = 0; k < p->seen.n; k++) {
        int i = p->seen.at[k];
        if (!default_bounds(p->dims, i)) continue;
        if (i < last) return false;
        last = i;
    }
    return true;
}

static void put_symbols(printer *p, text *out)
{
    bool all = !order_survives(p);
    for (int i = 0; i < dims_n_symbols(p->dims); i++) {
        if (!p->is_seen[i] || (!all && default_bounds(p->dims, i))) continue;
        text_put(out, "symbol ");
        dim_print(p->dims, dims_symbol(p->dims, i), out);
        int64_t lo, hi;
        dims_symbol_range(p->dims, i, &lo, &hi);
        if (!default_bounds(p->dims, i)) text_printf(out, " in %lld..%lld", (long long)lo, (long long)hi);
        text_put(out, "\n");
    }
}

static void print_with(const graph *g, text *out, bool brief)
{
    arena *scratch = arena_new(arena_mem(g->arena));
    text body = { .a = scratch };
    printer p = { .out = &body, .scratch = scratch, .dims = g->dims, .brief = brief };
    int n = dims_n_symbols(g->dims);
    p.is_seen = NEW_ARRAY(scratch, bool, n + 1);
    map_init(&p.symbols, scratch);
    for (int i = 0; i < n; i++) {
        const char *name = dims_symbol_name(g->dims, i);
        map_put(&p.symbols, name, strlen(name), (uint64_t)i, NULL);
    }
    print_graph(&p, g);
    put_symbols(&p, out);
    text_putn(out, text_str(&body), (size_t)body.n);
    arena_free(scratch);
}

void graph_print(const graph *g, text *out) { print_with(g, out, false); }
void graph_print_brief(const graph *g, text *out) { print_with(g, out, true); }

const char *graph_show(const graph *g)
{
    text t = { .a = g->arena };
    graph_print_brief(g, &t);
    return text_str(&t);
}

void node_print(const graph *g, const node *n, text *out)
{
    arena *scratch = arena_new(arena_mem(g->arena));
    printer p = { .out = out, .scratch = scratch, .dims = g->dims, .brief = true };
    p.is_seen = NEW_ARRAY(scratch, bool, dims_n_symbols(g->dims) + 1);
    map_init(&p.symbols, scratch);
    frame f = { .g = g, .indent = 0 };
    f.label = NEW_ARRAY(scratch, const char *, g->owner.n ? g->owner.n : 1);
    map_init(&f.taken, scratch);
    for (int i = 0; i < n->n_in; i++) {
        value v = n->in[i];
        if (v.id >= (uint32_t)g->owner.n || f.label[v.id]) continue;
        f.next_number = (int64_t)v.id;
        name_value(&p, &f, v, g->names.at[v.id]);
    }
    f.next_number = (int64_t)n->first;
    put_node(&p, &f, n);
    arena_free(scratch);
}
