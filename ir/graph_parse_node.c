/* ir/graph_parse_node.c: the lines of primitives without bodies: operands, attributes, constants
 * (docs/text-form.md §3-5).
 */
#include "ir/graph_parse.h"

/* -- Attributes ------------------------------------------------------------------------------------------ */

static bool read_small(parser *p, int64_t lo, int64_t hi, const char *what, int *v)
{
    int64_t x;
    place at = lex_place(&p->l);
    TRY(lex_int(&p->l, &x));
    if (x < lo || x > hi) {
        diag_expected(p->ctx, at, what, arena_printf(p->arena, "%lld", (long long)x));
        lex_fail(&p->l);
        return false;
    }
    *v = (int)x;
    return true;
}

static bool read_axis(parser *p, int *axis)
{
    return read_small(p, 0, MAX_RANK - 1, "an axis from 0 to 15", axis);
}

static bool read_axis_list(parser *p, int *n, int axes[MAX_RANK])
{
    *n = 0;
    TRY(lex_need(&p->l, "["));
    while (!lex_is(&p->l, "]")) {
        if (*n > 0) TRY(lex_need(&p->l, ","));
        if (*n == MAX_RANK) return lex_expected(&p->l, "at most 16 axes");
        TRY(read_axis(p, &axes[(*n)++]));
    }
    return lex_need(&p->l, "]");
}

static bool read_axis_set(parser *p, uint32_t *set)
{
    int n, axes[MAX_RANK];
    TRY(read_axis_list(p, &n, axes));
    *set = 0;
    for (int i = 0; i < n; i++) *set |= 1u << axes[i];
    return true;
}

/* `word [dims]` of the operand's rank */
static bool read_dims_of(parser *p, const char *word, int rank, dim d[MAX_RANK])
{
    int n;
    TRY(lex_need(&p->l, word));
    place at = lex_place(&p->l);
    TRY(lex_dim_list(&p->l, p->dims, MAX_RANK, &n, d));
    if (n == rank) return true;
    diag_entry_count(p->ctx, at, word, rank, n);
    lex_fail(&p->l);
    return false;
}

static bool read_ints_of(parser *p, const char *word, int rank, int64_t v[MAX_RANK])
{
    int n;
    TRY(lex_need(&p->l, word));
    place at = lex_place(&p->l);
    TRY(lex_int_list(&p->l, MAX_RANK, &n, v));
    if (n == rank) return true;
    diag_entry_count(p->ctx, at, word, rank, n);
    lex_fail(&p->l);
    return false;
}

/* -- Index expressions: sums of at most two multiples of a letter, and a constant ------------------------ */

typedef struct { int n; char x[2]; int64_t k[2]; int64_t c; } terms;

static bool read_letter(parser *p, char *c)
{
    const token *t = &p->l.tok;
    if (t->kind != TOK_IDENT || t->n != 1 || *t->at == '_')
        return lex_expected(&p->l, "a label of one letter");
    *c = *t->at;
    lex_next(&p->l);
    return true;
}

static bool bad_subscript(parser *p, place at)
{
    diag_subscript(p->ctx, at);
    lex_fail(&p->l);
    return false;
}

static bool read_terms(parser *p, terms *t)
{
    *t = (terms){ 0 };
    for (bool first = true; ; first = false) {
        bool minus = lex_take(&p->l, "-");
        if (!minus && !first && !lex_take(&p->l, "+")) return true;
        int64_t k = 1;
        bool number = lex_at(&p->l, TOK_INT);
        if (number) TRY(lex_int(&p->l, &k));
        if (minus) k = -k;
        if (number && !lex_take(&p->l, "*")) {
            if (!add_ok(t->c, k, &t->c)) return lex_expected(&p->l, "a smaller number before");
            continue;
        }
        if (t->n == 2) return bad_subscript(p, lex_place(&p->l));
        TRY(read_letter(p, &t->x[t->n]));
        t->k[t->n++] = k;
    }
}

/* Terms, or (terms)/idil */
static bool read_relation(parser *p, terms *t, int64_t *idil)
{
    *idil = 1;
    if (!lex_take(&p->l, "(")) return read_terms(p, t);
    TRY(read_terms(p, t));
    TRY(lex_need(&p->l, ")"));
    TRY(lex_need(&p->l, "/"));
    return lex_int(&p->l, idil);
}

/* Which of the two letters is the result's (o) and which the tap's (k)? */
static bool relate(parser *p, place at, const terms *t, int64_t idil, const char *o, const char *k,
                   relation *r, char *xo, char *xk)
{
    bool first_o = t->n == 2 && strchr(o, t->x[0]) && strchr(k, t->x[1]);
    bool first_k = t->n == 2 && strchr(k, t->x[0]) && strchr(o, t->x[1]);
    if ((!first_o && !first_k) || t->c == INT64_MIN) return bad_subscript(p, at);
    *xo = t->x[!first_o];
    *xk = t->x[first_o];
    *r = (relation){ .idil = idil, .stride = t->k[!first_o], .dil = t->k[first_o], .pad = -t->c };
    return true;
}

/* -- Primitives ------------------------------------------------------------------------------------------ */

static bool read_map(parser *p, pending *n)
{
    if (!lex_at(&p->l, TOK_IDENT)) return lex_expected(&p->l, "a scalar function");
    scalar fn = scalar_by_name(p->l.tok.name, p->l.tok.name_n);
    if (fn == SCALAR_COUNT) {
        diag_unknown_name(p->ctx, lex_place(&p->l), "scalar function",
                          arena_strndup(p->arena, p->l.tok.name, p->l.tok.name_n));
        lex_fail(&p->l);
        return false;
    }
    lex_next(&p->l);
    int arity = scalar_info[fn].arity;
    bool more;
    place at = lex_place(&p->l);
    TRY(node_read_values(p, n, &more));
    if (more) return lex_expected(&p->l, "a value such as %x");
    if (n->n_in != arity) {
        diag_operand_count(p->ctx, at, scalar_info[fn].name, arity, n->n_in);
        lex_fail(&p->l);
        return false;
    }
    TRY(node_read_types(p, n, fn == SCALAR_cast));
    BUILD(fn == SCALAR_cast ? cast(g, n->in[0], n->types[0].dtype) : map(g, fn, arity, n->in));
}

static bool read_reduce(parser *p, pending *n)
{
    int kind;
    uint32_t axes;
    TRY(node_read_word(p, reduce_name, REDUCE_COUNT, "reduction", &kind));
    TRY(node_read_count(p, n, 1, 1, true));
    TRY(read_axis_set(p, &axes));
    bool last = lex_take(&p->l, ",");
    if (last) TRY(lex_need(&p->l, "last"));
    TRY(node_read_types(p, n, false));
    BUILD(reduce(g, (reduce_kind)kind, n->in[0], axes, last));
}

static bool read_letters(parser *p, const char *close, char *s, int max)
{
    int n = 0;
    while (!lex_is(&p->l, close)) {
        if (n > 0) TRY(lex_need(&p->l, ","));
        if (n == max) return lex_expected(&p->l, "fewer labels");
        TRY(read_letter(p, &s[n++]));
    }
    s[n] = 0;
    return lex_need(&p->l, close);
}

typedef struct {
    char la[MAX_RANK + 1], lb[MAX_RANK + 1], lo[MAX_RANK + 1], order[MAX_LABELS + 1];
    window_spec windows[MAX_RANK];
    limit_spec limits[4];
    contract_spec s;
} contract_text;

/* a[n, c, 2*y + r - 1]: a plain label stays, a relation gets a label of its own, '0' + its number. */
static bool read_subscripts(parser *p, contract_text *c)
{
    int n = 0;
    TRY(lex_need(&p->l, "a"));
    TRY(lex_need(&p->l, "["));
    while (!lex_is(&p->l, "]")) {
        if (n > 0) TRY(lex_need(&p->l, ","));
        if (n == MAX_RANK) return lex_expected(&p->l, "at most 16 subscripts");
        terms t;
        int64_t idil;
        place at = lex_place(&p->l);
        TRY(read_relation(p, &t, &idil));
        if (t.n == 1 && t.k[0] == 1 && t.c == 0 && idil == 1) {
            c->la[n++] = t.x[0];
            continue;
        }
        window_spec *w = &c->windows[c->s.n_windows];
        TRY(relate(p, at, &t, idil, c->lo, c->order, &w->r, &w->o, &w->b));
        w->a = (char)('0' + c->s.n_windows++);
        c->la[n++] = w->a;
    }
    return lex_need(&p->l, "]");
}

static bool read_limits(parser *p, contract_text *c)
{
    while (lex_take(&p->l, "limit")) {
        terms t;
        if (c->s.n_limits == 4) return lex_expected(&p->l, "at most 4 limits");
        TRY(read_terms(p, &t));
        if (t.c != 0 || t.n == 0 || t.k[t.n - 1] != 1)
            return lex_expected(&p->l, "a limit such as 16*C + c < 24 before");
        TRY(lex_need(&p->l, "<"));
        limit_spec *m = &c->limits[c->s.n_limits++];
        *m = (limit_spec){ .x = t.n == 2 ? t.x[0] : 0, .scale = t.n == 2 ? t.k[0] : 0, .y = t.x[t.n - 1] };
        TRY(lex_dim(&p->l, p->dims, &m->bound));
    }
    return true;
}

static bool read_contract(parser *p, pending *n)
{
    contract_text c = { .s = { .acc = DTYPE_NONE } };
    TRY(node_read_count(p, n, 2, 3, true));
    TRY(lex_need(&p->l, "["));
    TRY(read_letters(p, "|", c.lo, MAX_RANK));
    TRY(read_letters(p, "]", c.order, MAX_LABELS));
    TRY(read_subscripts(p, &c));
    TRY(lex_need(&p->l, "b"));
    TRY(lex_need(&p->l, "["));
    TRY(read_letters(p, "]", c.lb, MAX_RANK));
    TRY(read_limits(p, &c));
    if (lex_take(&p->l, "acc")) TRY(lex_dtype(&p->l, &c.s.acc));
    place at = lex_place(&p->l);
    TRY(node_read_types(p, n, c.s.n_windows > 0));
    if (n->n_types && n->types[0].rank != (int)strlen(c.lo)) {
        diag_entry_count(p->ctx, at, "the result's labels", n->types[0].rank, (int)strlen(c.lo));
        lex_fail(&p->l);
        return false;
    }
    for (int w = 0; w < c.s.n_windows; w++)
        c.windows[w].size = n->types[0].dims[strchr(c.lo, c.windows[w].o) - c.lo];
    c.s.la = c.la;
    c.s.lb = c.lb;
    c.s.lo = c.lo;
    c.s.order = c.order;
    c.s.windows = c.windows;
    c.s.limits = c.limits;
    c.s.out = n->n_types ? n->types[0].dtype : DTYPE_NONE;
    BUILD(contract(g, n->in[0], n->in[1], n->n_in == 3 ? n->in[2] : NO_VALUE, &c.s));
}

static bool read_window(parser *p, pending *n)
{
    int kind, count = 0;
    window_axis axes[MAX_RANK] = { 0 };
    TRY(node_read_word(p, window_name, WINDOW_COUNT, "window reduction", &kind));
    TRY(node_read_count(p, n, 1, 1, true));
    do {
        terms t;
        int64_t idil;
        char o, k;
        if (count == MAX_RANK) return lex_expected(&p->l, "at most 16 axes");
        window_axis *w = &axes[count++];
        TRY(lex_need(&p->l, "axis"));
        TRY(read_axis(p, &w->axis));
        TRY(lex_need(&p->l, "at"));
        place start = lex_place(&p->l);
        TRY(read_relation(p, &t, &idil));
        TRY(relate(p, start, &t, idil, "o", "k", &w->r, &o, &k));
        TRY(lex_need(&p->l, "for"));
        TRY(lex_need(&p->l, "k"));
        TRY(lex_need(&p->l, "<"));
        TRY(lex_int(&p->l, &w->k));
    } while (lex_take(&p->l, ","));
    type t;
    place at = lex_place(&p->l);
    TRY(node_read_one_type(p, n, &t));
    for (int i = 0; i < count; i++) {
        if (axes[i].axis >= t.rank) {
            diag_expected(p->ctx, at, arena_printf(p->arena, "a type of rank above %d", axes[i].axis),
                          arena_printf(p->arena, "rank %d", t.rank));
            lex_fail(&p->l);
            return false;
        }
        axes[i].size = t.dims[axes[i].axis];
    }
    BUILD(window_reduce(g, (window_kind)kind, n->in[0], count, axes));
}

static bool read_shape(parser *p, pending *n)
{
    dim d[MAX_RANK];
    int rank;
    TRY(node_read_count(p, n, 1, 1, true));
    TRY(lex_dim_list(&p->l, p->dims, MAX_RANK, &rank, d));
    TRY(node_read_types(p, n, false));
    BUILD(n->prim == PRIM_reshape ? reshape(g, n->in[0], rank, d) : broadcast(g, n->in[0], rank, d));
}

static bool read_transpose(parser *p, pending *n)
{
    int count, perm[MAX_RANK];
    TRY(node_read_count(p, n, 1, 1, true));
    place at = lex_place(&p->l);
    TRY(read_axis_list(p, &count, perm));
    int rank = rank_of(here(p), n->in[0]);
    if (count != rank) {
        diag_entry_count(p->ctx, at, "the permutation", rank, count);
        lex_fail(&p->l);
        return false;
    }
    TRY(node_read_types(p, n, false));
    BUILD(transpose(g, n->in[0], perm));
}

static bool read_slice(parser *p, pending *n)
{
    dim start[MAX_RANK], size[MAX_RANK];
    int64_t step[MAX_RANK];
    TRY(node_read_count(p, n, 1, 1, true));
    int rank = rank_of(here(p), n->in[0]);
    for (int i = 0; i < rank; i++) step[i] = 1;
    TRY(read_dims_of(p, "start", rank, start));
    TRY(lex_need(&p->l, ","));
    TRY(read_dims_of(p, "size", rank, size));
    if (lex_take(&p->l, ",")) TRY(read_ints_of(p, "step", rank, step));
    TRY(node_read_types(p, n, false));
    BUILD(slice(g, n->in[0], start, size, step));
}

static bool read_pad(parser *p, pending *n)
{
    dim lo[MAX_RANK], hi[MAX_RANK];
    int64_t interior[MAX_RANK] = { 0 };
    bool undef = lex_take(&p->l, "undef");
    TRY(node_read_count(p, n, undef ? 1 : 2, undef ? 1 : 2, true));
    int rank = rank_of(here(p), n->in[0]);
    TRY(read_dims_of(p, "lo", rank, lo));
    TRY(lex_need(&p->l, ","));
    TRY(read_dims_of(p, "hi", rank, hi));
    if (!undef && lex_take(&p->l, ",")) TRY(read_ints_of(p, "interior", rank, interior));
    TRY(node_read_types(p, n, false));
    BUILD(undef ? pad_undef(g, n->in[0], lo, hi) : pad(g, n->in[0], lo, hi, interior, n->in[1]));
}

static bool read_concat(parser *p, pending *n)
{
    int axis;
    TRY(node_read_count(p, n, 1, -1, true));
    TRY(lex_need(&p->l, "axis"));
    TRY(read_axis(p, &axis));
    TRY(node_read_types(p, n, false));
    BUILD(concat(g, n->n_in, n->in, axis));
}

static bool read_gather(parser *p, pending *n)
{
    int mode = 0, n_axes, axes[MAX_RANK], n_batch = 0, bx[MAX_RANK], bs[MAX_RANK];
    int fixed = n->prim == PRIM_scatter ? 2 : 1;
    if (n->prim == PRIM_scatter) TRY(node_read_word(p, scatter_name, SCATTER_COUNT, "scatter mode", &mode));
    TRY(node_read_count(p, n, fixed, fixed + MAX_RANK, true));
    TRY(lex_need(&p->l, "axes"));
    place at = lex_place(&p->l);
    TRY(read_axis_list(p, &n_axes, axes));
    if (n_axes != n->n_in - fixed) {
        diag_entry_count(p->ctx, at, "axes, one for each index,", n->n_in - fixed, n_axes);
        lex_fail(&p->l);
        return false;
    }
    if (lex_take(&p->l, ",")) {
        TRY(lex_need(&p->l, "batch"));
        TRY(lex_need(&p->l, "["));
        while (!lex_is(&p->l, "]")) {
            if (n_batch > 0) TRY(lex_need(&p->l, ","));
            if (n_batch == MAX_RANK) return lex_expected(&p->l, "at most 16 pairs");
            TRY(read_axis(p, &bx[n_batch]));
            TRY(lex_need(&p->l, ":"));
            TRY(read_axis(p, &bs[n_batch++]));
        }
        TRY(lex_need(&p->l, "]"));
    }
    TRY(node_read_types(p, n, false));
    const value *in = n->in;
    BUILD(n->prim == PRIM_gather
              ? gather(g, in[0], n_axes, in + 1, axes, n_batch, bx, bs)
              : scatter(g, (scatter_mode)mode, in[0], in[1], n_axes, in + 2, axes, n_batch, bx, bs));
}

static bool read_sort(parser *p, pending *n)
{
    int axis, n_desc, list[32];
    uint32_t descending = 0;
    dim k = DIM_BAD;
    TRY(node_read_count(p, n, 1, 32, true));
    TRY(lex_need(&p->l, "axis"));
    TRY(read_axis(p, &axis));
    bool more = lex_take(&p->l, ",");
    if (more && lex_take(&p->l, "descending")) {
        TRY(lex_need(&p->l, "["));
        for (n_desc = 0; !lex_is(&p->l, "]"); n_desc++) {
            if (n_desc > 0) TRY(lex_need(&p->l, ","));
            if (n_desc == 32) return lex_expected(&p->l, "fewer keys");
            TRY(read_small(p, 0, n->n_in - 1, "the number of a key", &list[n_desc]));
            descending |= 1u << list[n_desc];
        }
        TRY(lex_need(&p->l, "]"));
        more = lex_take(&p->l, ",");
    }
    if (more) {
        TRY(lex_need(&p->l, "k"));
        TRY(lex_dim(&p->l, p->dims, &k));
    } else {
        type t = type_of(here(p), n->in[0]);
        if (axis < t.rank) k = t.dims[axis];
    }
    TRY(node_read_types(p, n, false));
    BUILD(sort(g, n->n_in, n->in, axis, descending, k));
}

static bool read_compact(parser *p, pending *n)
{
    bool more;
    compact_attr c = { 0 };
    TRY(node_read_values(p, n, &more));
    if (n->n_in != 1) return lex_expected(&p->l, "one operand");
    if (more) {
        TRY(lex_need(&p->l, "symbol"));
        c.has_symbol = true;
        TRY(lex_dim(&p->l, p->dims, &c.symbol));
    }
    TRY(node_read_types(p, n, c.has_symbol));
    graph *g = here(p);
    int64_t before = g->owner.n;
    value out[2] = { NO_VALUE, NO_VALUE };
    g->at = n->at;
    if (c.has_symbol) {
        /* The count's symbol is the one that later shapes name, not a fresh one. */
        node as_written = {
            .prim = PRIM_compact, .n_in = 1, .n_out = 2, .in = n->in, .types = n->types, .compact = &c
        };
        rebuild(g, g, &as_written, n->in, out);
    } else {
        compact(g, n->in[0], &out[0], &out[1]);
    }
    return node_finish(p, n, out, 2, before);
}

/* iota, random, bitcast: the result's type says it all. */
static bool read_iota(parser *p, pending *n)
{
    int axis;
    type t;
    TRY(lex_need(&p->l, "axis"));
    TRY(read_axis(p, &axis));
    TRY(node_read_one_type(p, n, &t));
    BUILD(iota(g, t.dtype, t.rank, t.dims, axis));
}

static bool read_random(parser *p, pending *n)
{
    type t;
    TRY(node_read_count(p, n, 1, 1, false));
    TRY(node_read_one_type(p, n, &t));
    BUILD(random_bits(g, n->in[0], t.rank, t.dims));
}

static bool read_bitcast(parser *p, pending *n)
{
    type t;
    TRY(node_read_count(p, n, 1, 1, false));
    TRY(node_read_one_type(p, n, &t));
    BUILD(bitcast(g, n->in[0], t.dtype));
}

/* -- Constants ------------------------------------------------------------------------------------------- */

static bool type_count(const type *t, int64_t *n)
{
    *n = 1;
    for (int i = 0; i < t->rank; i++) {
        int64_t d;
        if (!dim_is_const(t->dims[i], &d) || d < 0 || !mul_ok(*n, d, n)) return false;
    }
    return true;
}

static bool wrong_count(parser *p, place at, const type *t, int64_t found)
{
    int64_t want;
    if (!type_count(t, &want)) want = -1;
    diag_element_count(p->ctx, at, (long long)want, (long long)found);
    lex_fail(&p->l);
    return false;
}

static int base64_digit(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

static bool decode_base64(const char *s, size_t n, uint8_t *out, size_t size)
{
    if (n % 4 || n / 4 != (size + 2) / 3) return false;
    for (size_t i = 0, k = 0; i < n; i += 4) {
        uint32_t w = 0;
        int keep = size - k >= 3 ? 3 : (int)(size - k);
        for (int j = 0; j < 4; j++) {
            int d = base64_digit(s[i + (size_t)j]);
            if (j > keep) d = s[i + (size_t)j] == '=' ? 0 : -1;
            if (d < 0) return false;
            w = w << 6 | (uint32_t)d;
        }
        for (int j = 0; j < keep; j++) out[k++] = (uint8_t)(w >> (16 - 8 * j));
    }
    return true;
}

static bool valid_bools(dtype t, const uint8_t *b, size_t n)
{
    if (t == DTYPE_bool)
        for (size_t i = 0; i < n; i++)
            if (b[i] > 1) return false;
    return true;
}

static bool read_base64(parser *p, pending *n, const char *name)
{
    place at = lex_place(&p->l);
    const char *s = p->l.tok.at + 1;
    size_t len = p->l.tok.n - 2;
    if (!lex_at(&p->l, TOK_STRING)) return lex_expected(&p->l, "a string in base64");
    lex_next(&p->l);
    type t;
    TRY(node_read_one_type(p, n, &t));
    int64_t count, size;
    if (!type_count(&t, &count) || !mul_ok(count, dtype_bytes(t.dtype), &size) || (size_t)size > len)
        return wrong_count(p, at, &t, (int64_t)(len / 4 * 3) / dtype_bytes(t.dtype));
    uint8_t *b = arena_alloc(p->arena, (size_t)size);
    if (!decode_base64(s, len, b, (size_t)size) || !valid_bools(t.dtype, b, (size_t)size)) {
        diag_expected(p->ctx, at, arena_printf(p->arena, "%lld bytes in base64", (long long)size),
                      "other text");
        lex_fail(&p->l);
        return false;
    }
    /* By address, as large constants are: two of equal content stay two. */
    if (count > TEXT_MAX_LIST) BUILD(constant_borrowed(g, t.dtype, t.rank, t.dims, b, name));
    BUILD(constant(g, t.dtype, t.rank, t.dims, b, name));
}

/* An element of an integer list: a plain number, or a size with symbols (*d set, true in *symbolic). */
static bool read_element(parser *p, dtype t, uint8_t *out, dim *d, bool *symbolic)
{
    *symbolic = false;
    if (t != DTYPE_i64 && t != DTYPE_i32) return lex_scalar(&p->l, t, out);
    lex saved = p->l;
    lex_take(&p->l, "-");
    bool plain = lex_at(&p->l, TOK_INT);
    if (plain) lex_next(&p->l);
    plain = plain && (lex_is(&p->l, ",") || lex_is(&p->l, "]") || lex_is(&p->l, ":"));
    p->l = saved;
    if (plain) {
        TRY(lex_scalar(&p->l, t, out));
        *d = dim_const(sv_to_i64(t, sv_load(t, out)));
        return true;
    }
    int64_t v;
    place at = lex_place(&p->l);
    TRY(lex_dim(&p->l, p->dims, d));
    *symbolic = !dim_is_const(*d, &v);
    if (*symbolic) return true;
    if (t == DTYPE_i32 && v != (int32_t)v) {
        diag_expected(p->ctx, at, "a value of type i32", "one outside it");
        lex_fail(&p->l);
        return false;
    }
    sv_store(t, out, sv_from_i64(t, v));
    return true;
}

/* A constant of sizes, of any shape, as it is: the builder's own functions take rank 0 and 1. */
static value constant_sizes(graph *g, const type *t, const dim *sizes, int64_t n)
{
    const_attr c = { .dims = sizes, .n = n };
    node as_written = { .prim = PRIM_const, .n_out = 1, .types = t, .konst = &c };
    value out = NO_VALUE;
    rebuild(g, g, &as_written, NULL, &out);
    return out;
}

static bool read_elements(parser *p, pending *n, const char *name)
{
    /* The type stands behind the elements: look there first. */
    lex at_list = p->l;
    place at = lex_place(&p->l);
    int depth = 0;
    while (!lex_at(&p->l, TOK_END) && !(depth == 0 && lex_is(&p->l, ":"))) {
        if (lex_is(&p->l, "[") || lex_is(&p->l, "(")) depth++;
        if (lex_is(&p->l, "]") || lex_is(&p->l, ")")) depth--;
        if (depth < 0 || lex_is(&p->l, "{") || lex_is(&p->l, "=")) break;
        lex_next(&p->l);
    }
    type t;
    TRY(node_read_one_type(p, n, &t));
    lex after = p->l;
    p->l = at_list;

    bool is_list = lex_take(&p->l, "[");
    size_t width = (size_t)dtype_bytes(t.dtype);
    vec(uint8_t) data = { 0 };
    vec(dim) sizes = { 0 };
    bool symbolic = false;
    while (is_list ? !lex_is(&p->l, "]") : sizes.n == 0) {
        if (sizes.n > 0) TRY(lex_need(&p->l, ","));
        uint8_t one[8];
        bool s;
        dim d = DIM_BAD;
        TRY(read_element(p, t.dtype, one, &d, &s));
        symbolic |= s;
        vec_push(p->arena, &sizes, d);
        for (size_t i = 0; i < width; i++) vec_push(p->arena, &data, one[i]);
    }
    if (is_list) TRY(lex_need(&p->l, "]"));
    if (!lex_is(&p->l, ":")) return lex_need(&p->l, ":");
    p->l = after;

    int64_t count;
    if (!type_count(&t, &count) || count != sizes.n || is_list != (t.rank > 0))
        return wrong_count(p, at, &t, sizes.n);
    if (!symbolic) BUILD(constant(g, t.dtype, t.rank, t.dims, data.at ? data.at : (uint8_t *)"", name));
    BUILD(constant_sizes(g, &t, sizes.at, sizes.n));
}

static bool read_const(parser *p, pending *n)
{
    const char *name = NULL;
    if (lex_at(&p->l, TOK_NAME)) {
        name = p->l.tok.name;
        lex_next(&p->l);
    }
    if (lex_is(&p->l, "...")) {
        diag_left_out(p->ctx, lex_place(&p->l));
        lex_fail(&p->l);
        return false;
    }
    return lex_take(&p->l, "base64") ? read_base64(p, n, name) : read_elements(p, n, name);
}

/* -- The table ------------------------------------------------------------------------------------------- */

const reader node_readers[PRIM_COUNT] = {
    [PRIM_const] = read_const,         [PRIM_iota] = read_iota,           [PRIM_random] = read_random,
    [PRIM_map] = read_map,             [PRIM_reduce] = read_reduce,       [PRIM_contract] = read_contract,
    [PRIM_window] = read_window,       [PRIM_reshape] = read_shape,       [PRIM_transpose] = read_transpose,
    [PRIM_broadcast] = read_shape,     [PRIM_slice] = read_slice,         [PRIM_pad] = read_pad,
    [PRIM_concat] = read_concat,       [PRIM_gather] = read_gather,       [PRIM_scatter] = read_gather,
    [PRIM_sort] = read_sort,           [PRIM_compact] = read_compact,     [PRIM_bitcast] = read_bitcast,
};
