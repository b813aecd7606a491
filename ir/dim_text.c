/* ir/dim_text.c: dims printed and parsed: "4*N + 2", "(N + 1) floordiv 2", "min(N, 3)". What is printed
 * parses to itself.
 *
 * Sums of products in the canonical order; an opaque term in parentheses where it is a factor; a symbol that
 * is no plain word in quotes.
 */
#include "ir/dim_inside.h"
#include <inttypes.h>

enum { MAX_PARSE_DEPTH = 100 };

static bool is_word_start(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_'; }
static bool is_word(char c) { return is_word_start(c) || (c >= '0' && c <= '9') || c == '.'; }

static const char *const keywords[] = { "floordiv", "ceildiv", "mod", "min", "max" };

static bool is_plain_name(const char *s)
{
    if (!is_word_start(*s)) return false;
    for (const char *c = s; *c; c++)
        if (!is_word(*c)) return false;
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (strcmp(s, keywords[i]) == 0) return false;
    return true;
}

static void print_symbol(const char *name, text *out)
{
    if (is_plain_name(name)) {
        text_put(out, name);
        return;
    }
    text_put(out, "\"");
    text_put_escaped(out, name, strlen(name), SIZE_MAX);
    text_put(out, "\"");
}

static void print_factor(const dims *t, dim d, text *out)      /* in parentheses unless it is one word */
{
    bool bare = !is_expr(d) ? d.code >= 0
                            : entry_of(t, d)->kind == ENTRY_SYMBOL || entry_of(t, d)->kind == ENTRY_MIN ||
                                  entry_of(t, d)->kind == ENTRY_MAX;
    text_put(out, bare ? "" : "(");
    dim_print(t, d, out);
    text_put(out, bare ? "" : ")");
}

static void print_atom(const dims *t, const entry *e, text *out)
{
    switch (e->kind) {
    case ENTRY_SYMBOL:
        print_symbol(t->symbols.at[e->symbol].name, out);
        break;
    case ENTRY_FLOORDIV: case ENTRY_MOD:
        print_factor(t, e->a, out);
        text_put(out, e->kind == ENTRY_MOD ? " mod " : " floordiv ");
        print_factor(t, e->b, out);
        break;
    case ENTRY_MIN: case ENTRY_MAX:
        text_put(out, e->kind == ENTRY_MIN ? "min(" : "max(");
        dim_print(t, e->a, out);
        text_put(out, ", ");
        dim_print(t, e->b, out);
        text_put(out, ")");
        break;
    case ENTRY_POLY: break;
    }
}

/* |coefficient| * atoms */
static void print_term(const dims *t, const term *s, text *out)
{
    int64_t coef = s->coef < 0 ? -s->coef : s->coef;
    if (coef != 1) text_printf(out, "%" PRId64 "*", coef);
    for (int j = 0; j < s->n; j++) {
        if (j) text_put(out, "*");
        if (coef == 1 && s->n == 1) print_atom(t, &t->entries.at[s->atoms[j]], out);
        else print_factor(t, entry_dim(s->atoms[j]), out);
    }
}

void dim_print(const dims *t, dim d, text *out)
{
    if (dim_is_bad(d)) {
        text_put(out, "bad");
        return;
    }
    poly_view v;
    poly_look(t, d, &v);
    for (int i = 0; i < v.n; i++) {
        bool minus = v.terms[i].coef < 0;
        text_put(out, i ? (minus ? " - " : " + ") : minus ? "-" : "");
        if (i == 0 && minus && v.terms[i].coef == -1 && v.terms[i].n == 1)
            print_factor(t, entry_dim(v.terms[i].atoms[0]), out);
        else print_term(t, &v.terms[i], out);
    }
    if (v.n == 0) text_printf(out, "%" PRId64, v.constant);
    else if (v.constant)
        text_printf(out, v.constant < 0 ? " - %" PRId64 : " + %" PRId64,
                    v.constant < 0 ? -v.constant : v.constant);
}

typedef struct { dims *t; const char *at, *end; int depth; bool failed; } reader;

static dim read_sum(reader *r);

static void skip_space(reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t')) r->at++;
}

static bool take_char(reader *r, char c)
{
    skip_space(r);
    if (r->at >= r->end || *r->at != c) return false;
    r->at++;
    return true;
}

static bool take_word(reader *r, const char *word)
{
    skip_space(r);
    size_t n = strlen(word);
    if ((size_t)(r->end - r->at) < n || memcmp(r->at, word, n) != 0) return false;
    if ((size_t)(r->end - r->at) > n && is_word(r->at[n])) return false;
    r->at += n;
    return true;
}

static dim read_failed(reader *r)
{
    r->failed = true;
    return DIM_BAD;
}

static dim read_number(reader *r)
{
    int64_t v = 0;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9')
        if (!mul_ok(v, 10, &v) || !add_ok(v, *r->at++ - '0', &v)) return read_failed(r);
    return in_limit(v) ? dim_const(v) : read_failed(r);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static dim read_quoted(reader *r)              /* after the opening quote */
{
    text name = { .a = r->t->arena };
    while (r->at < r->end && *r->at != '"') {
        char c = *r->at++;
        if (c == '\\') {
            if (r->end - r->at < 3 || r->at[0] != 'x' || hex_digit(r->at[1]) < 0 || hex_digit(r->at[2]) < 0)
                return read_failed(r);
            c = (char)(hex_digit(r->at[1]) * 16 + hex_digit(r->at[2]));
            r->at += 3;
        }
        if (c == '\0' || c == '\n') return read_failed(r);
        text_putn(&name, &c, 1);
    }
    if (!take_char(r, '"')) return read_failed(r);
    return dim_symbol(r->t, text_str(&name));
}

static dim read_pair(reader *r, dim (*combine)(dims *, dim, dim))
{
    if (!take_char(r, '(')) return read_failed(r);
    dim a = read_sum(r);
    if (!take_char(r, ',')) return read_failed(r);
    dim b = read_sum(r);
    if (!take_char(r, ')')) return read_failed(r);
    return combine(r->t, a, b);
}

static dim read_primary(reader *r)
{
    skip_space(r);
    if (r->failed || r->at >= r->end) return read_failed(r);
    char c = *r->at;
    if (c >= '0' && c <= '9') return read_number(r);
    if (take_char(r, '(')) {
        dim d = read_sum(r);
        return take_char(r, ')') ? d : read_failed(r);
    }
    if (take_char(r, '"')) return read_quoted(r);
    if (take_word(r, "min")) return read_pair(r, dim_min);
    if (take_word(r, "max")) return read_pair(r, dim_max);
    if (!is_word_start(c)) return read_failed(r);
    const char *from = r->at;
    while (r->at < r->end && is_word(*r->at)) r->at++;
    const char *name = arena_strndup(r->t->arena, from, (size_t)(r->at - from));
    return is_plain_name(name) ? dim_symbol(r->t, name) : read_failed(r);
}

static dim read_unary(reader *r)
{
    bool minus = false;
    while (take_char(r, '-')) minus = !minus;
    dim d = read_primary(r);
    return minus ? dim_neg(r->t, d) : d;
}

static dim read_product(reader *r)
{
    dim d = read_unary(r);
    while (!r->failed) {
        if (take_char(r, '*')) d = dim_mul(r->t, d, read_unary(r));
        else if (take_word(r, "floordiv")) d = dim_div(r->t, d, read_unary(r));
        else if (take_word(r, "ceildiv")) d = dim_ceildiv(r->t, d, read_unary(r));
        else if (take_word(r, "mod")) d = dim_mod(r->t, d, read_unary(r));
        else break;
    }
    return d;
}

static dim read_sum(reader *r)
{
    if (++r->depth > MAX_PARSE_DEPTH) return read_failed(r);
    dim d = read_product(r);
    while (!r->failed) {
        if (take_char(r, '+')) d = dim_add(r->t, d, read_product(r));
        else if (take_char(r, '-')) d = dim_sub(r->t, d, read_product(r));
        else break;
    }
    r->depth--;
    return d;
}

bool dim_parse(dims *t, const char **at, const char *end, dim *out)
{
    reader r = { .t = t, .at = *at, .end = end };
    *out = read_sum(&r);
    *at = r.at;
    return !r.failed && !dim_is_bad(*out);
}
