/* ir/lex.c: the lexer of the text forms, and the spelling of names and literals.
 *
 * Literals. A float prints in the fewest digits that read back to the same bits, NaN as nan (the quiet one
 * that operations give) or nan(0x…) with all bits. Printing and reading go through the C locale whatever the
 * process has set. Reading is bounded: a number longer than 64 characters is refused.
 */
#include "ir/lex.h"
#include "ir/scalar.h"
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_NUMBER = 64 };

/* -- Tokens ---------------------------------------------------------------------------------------------- */

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_word(char c) { return is_letter(c) || is_digit(c); }

void lex_start(lex *l, dlc_context *ctx, arena *a, const char *file, const char *src, size_t n)
{
    *l = (lex){ .ctx = ctx,
                .arena = a,
                .file = file,
                .src = src,
                .end = src + n,
                .line_start = src,
                .line = 1,
                .next = src };
    lex_next(l);
}

place lex_place(const lex *l)
{
    return (place){ .file = l->file, .line = l->tok.line, .col = l->tok.col };
}

static void skip_space(lex *l)
{
    while (l->next < l->end) {
        char c = *l->next;
        if (c == '\n') { l->line++; l->next++; l->line_start = l->next; }
        else if (c == ' ' || c == '\t' || c == '\r') l->next++;
        else if (c == '#') while (l->next < l->end && *l->next != '\n') l->next++;
        else break;
    }
}

/* The end of an IDENT that begins at p. */
static const char *word_end(const char *p, const char *end)
{
    while (p < end && is_word(*p)) p++;
    while (end - p >= 2 && *p == '.' && is_word(p[1])) {
        p++;
        while (p < end && is_word(*p)) p++;
    }
    return p;
}

static int hex_digit(char c)
{
    return is_digit(c)            ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* A quoted string that begins at p (on its quote): sets the decoded name and returns the byte after it, or
 * NULL. */
static const char *read_quoted(lex *l, const char *p)
{
    const char *q = ++p;
    while (q < l->end && *q != '"' && *q != '\n') q += *q == '\\' ? 2 : 1;
    if (q >= l->end || *q != '"') return NULL;
    char *s = arena_alloc(l->arena, (size_t)(q - p) + 1);
    size_t n = 0;
    while (p < q) {
        if (*p != '\\') { s[n++] = *p++; continue; }
        if (q - p >= 4 && p[1] == 'x' && hex_digit(p[2]) >= 0 && hex_digit(p[3]) >= 0) {
            s[n++] = (char)(hex_digit(p[2]) * 16 + hex_digit(p[3]));
            p += 4;
        } else if (p[1] == '"' || p[1] == '\\') {
            s[n++] = p[1];
            p += 2;
        } else {
            return NULL;
        }
    }
    l->tok.name = s;
    l->tok.name_n = n;
    l->tok.quoted = true;
    return memchr(s, 0, n) ? NULL : q + 1;              /* names are C strings inside */
}

static const char *number_end(const char *p, const char *end, token_kind *kind)
{
    *kind = TOK_INT;
    if (end - p > 2 && p[0] == '0' && p[1] == 'x' && hex_digit(p[2]) >= 0) {
        for (p += 2; p < end && hex_digit(*p) >= 0; p++) { }
        return p;
    }
    while (p < end && is_digit(*p)) p++;
    if (p < end && *p == '.' && !(end - p > 1 && p[1] == '.')) {
        *kind = TOK_FLOAT;
        for (p++; p < end && is_digit(*p); p++) { }
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        const char *q = p + 1;
        if (q < end && (*q == '+' || *q == '-')) q++;
        if (q < end && is_digit(*q)) {
            *kind = TOK_FLOAT;
            for (p = q; p < end && is_digit(*p); p++) { }
        }
    }
    return p;
}

void lex_next(lex *l)
{
    if (l->failed) {
        l->tok.kind = TOK_END;
        return;
    }
    skip_space(l);
    const char *p = l->next;
    l->tok = (token){ .kind = TOK_END, .at = p, .line = l->line, .col = (int)(p - l->line_start) + 1 };
    if (p >= l->end) return;

    const char *q = NULL;
    if (is_letter(*p)) {
        l->tok.kind = TOK_IDENT;
        q = word_end(p, l->end);
        l->tok.name = p;
        l->tok.name_n = (size_t)(q - p);
    } else if (is_digit(*p)) {
        q = number_end(p, l->end, &l->tok.kind);
    } else if (*p == '"') {
        l->tok.kind = TOK_STRING;
        q = read_quoted(l, p);
    } else if ((*p == '%' || *p == '@') && l->end - p > 1 && (p[1] == '"' || is_word(p[1]))) {
        l->tok.kind = *p == '%' ? TOK_VALUE : TOK_NAME;
        if (p[1] == '"') {
            q = read_quoted(l, p + 1);
        } else {
            q = word_end(p + 1, l->end);
            l->tok.name_n = (size_t)(q - p) - 1;
            l->tok.name = arena_strndup(l->arena, p + 1, l->tok.name_n);
        }
    } else {
        static const char *const two[] = { "...", "..", "<=", ">=", "==", "!=", "->" };
        for (size_t i = 0; i < sizeof two / sizeof *two && !q; i++) {
            size_t n = strlen(two[i]);
            if ((size_t)(l->end - p) >= n && memcmp(p, two[i], n) == 0) q = p + n;
        }
        if (!q && *p && strchr("()[]{}<>,:=+-*/|?;", *p)) q = p + 1;
        if (q) l->tok.kind = TOK_PUNCT;
    }
    if (!q) {
        l->tok.kind = TOK_BAD;
        q = p + 1;
    }
    l->tok.n = (size_t)(q - p);
    l->next = q;
}

bool lex_is(const lex *l, const char *s)
{
    return (l->tok.kind == TOK_IDENT || l->tok.kind == TOK_PUNCT) && l->tok.n == strlen(s)
        && memcmp(l->tok.at, s, l->tok.n) == 0;
}

bool lex_take(lex *l, const char *s)
{
    if (!lex_is(l, s)) return false;
    lex_next(l);
    return true;
}

bool lex_need(lex *l, const char *s)
{
    if (lex_take(l, s)) return true;
    text want = { .a = l->arena };
    text_printf(&want, "\"%s\"", s);
    return lex_expected(l, text_str(&want));
}

/* -- Errors ---------------------------------------------------------------------------------------------- */

/* The text of a line, for the caret. */
static const char *source_line(const lex *l, int line)
{
    const char *s = l->src, *e;
    for (; line > 1; line--) {
        s = memchr(s, '\n', (size_t)(l->end - s));
        if (!s) return NULL;
        s++;
    }
    for (e = s; e < l->end && *e != '\n' && e - s < 300; e++) { }
    return e > s ? arena_strndup(l->ctx->arena, s, (size_t)(e - s)) : NULL;
}

void lex_fail(lex *l)
{
    if (l->failed) return;
    l->failed = true;
    dlc_context *ctx = l->ctx;
    if (ctx->diags.n > 0) {
        diag *d = &ctx->diags.at[ctx->diags.n - 1];
        if (!d->source_line && d->at.line > 0) d->source_line = source_line(l, d->at.line);
    }
    l->tok.kind = TOK_END;
}

bool lex_expected(lex *l, const char *what)
{
    if (l->failed) return false;
    text found = { .a = l->arena };
    if (l->tok.kind == TOK_END) {
        text_put(&found, "the end");
    } else if (l->tok.kind == TOK_BAD && l->end - l->tok.at > 1 &&
               (l->tok.at[0] == '"' || l->tok.at[1] == '"')) {
        text_put(&found, "a string that does not end on its line, or has an unknown escape");
    } else {
        text_put(&found, "\"");
        text_put_escaped(&found, l->tok.at, l->tok.n, 40);
        text_put(&found, "\"");
    }
    diag_expected(l->ctx, lex_place(l), what, text_str(&found));
    lex_fail(l);
    return false;
}

/* -- Numbers, dims, lists -------------------------------------------------------------------------------- */

/* The magnitude of an INT token; false if it does not fit. */
static bool token_magnitude(const lex *l, uint64_t *v)
{
    const char *p = l->tok.at, *end = p + l->tok.n;
    bool hex = l->tok.n > 2 && p[1] == 'x';
    uint64_t base = hex ? 16 : 10, x = 0;
    for (p += hex ? 2 : 0; p < end; p++)
        if (__builtin_mul_overflow(x, base, &x) || __builtin_add_overflow(x, (uint64_t)hex_digit(*p), &x))
            return false;
    *v = x;
    return true;
}

/* An INT with an optional minus, as 64 bits in two's complement; negative says which half it came from. */
static bool read_integer(lex *l, uint64_t *v, bool *negative)
{
    *negative = lex_take(l, "-");
    uint64_t x;
    if (!lex_at(l, TOK_INT) || !token_magnitude(l, &x) || (*negative && x > (uint64_t)1 << 63))
        return lex_expected(l, "an integer of 64 bits");
    lex_next(l);
    *v = *negative ? 0 - x : x;
    return true;
}

bool lex_int(lex *l, int64_t *v)
{
    uint64_t x;
    bool negative;
    place at = lex_place(l);
    if (!read_integer(l, &x, &negative)) return false;
    if (!negative && x > INT64_MAX) {
        diag_expected(l->ctx, at, "an integer of 64 bits", "a larger one");
        lex_fail(l);
        return false;
    }
    *v = (int64_t)x;
    return true;
}

bool lex_dim(lex *l, dims *t, dim *d)
{
    if (l->failed) return false;
    const char *p = l->tok.at;
    if (l->tok.kind == TOK_END || !dim_parse(t, &p, l->end, d) || p == l->tok.at || dim_is_bad(*d))
        return lex_expected(l, "a size");
    /* Step over what dim_parse took, newlines included. */
    for (const char *q = l->next; q < p; q++)
        if (*q == '\n') { l->line++; l->line_start = q + 1; }
    l->next = p;
    lex_next(l);
    return !l->failed;
}

bool lex_dim_list(lex *l, dims *t, int max, int *n, dim *d)
{
    *n = 0;
    if (!lex_need(l, "[")) return false;
    while (!lex_is(l, "]")) {
        if (*n > 0 && !lex_need(l, ",")) return false;
        if (*n == max) return lex_expected(l, "fewer entries");
        if (!lex_dim(l, t, &d[(*n)++])) return false;
    }
    return lex_need(l, "]");
}

bool lex_int_list(lex *l, int max, int *n, int64_t *v)
{
    *n = 0;
    if (!lex_need(l, "[")) return false;
    while (!lex_is(l, "]")) {
        if (*n > 0 && !lex_need(l, ",")) return false;
        if (*n == max) return lex_expected(l, "fewer entries");
        if (!lex_int(l, &v[(*n)++])) return false;
    }
    return lex_need(l, "]");
}

bool lex_dtype(lex *l, dtype *t)
{
    *t = lex_at(l, TOK_IDENT) ? dtype_by_name(l->tok.name, l->tok.name_n) : DTYPE_NONE;
    if (*t == DTYPE_NONE) return lex_expected(l, "an element type");
    lex_next(l);
    return true;
}

/* -- Literals -------------------------------------------------------------------------------------------- */

static locale_t c_locale(void) { return newlocale(LC_ALL_MASK, "C", (locale_t)0); }

static int n_bits(dtype t) { return 8 * dtype_bytes(t); }

static uint64_t quiet_nan(dtype t)
{
    return t == DTYPE_f64   ? 0x7ff8000000000000u
           : t == DTYPE_f32 ? 0x7fc00000u
           : t == DTYPE_f16 ? 0x7e00u
                            : 0x7fc0u;
}

static bool is_nan_bits(dtype t, uint64_t b)
{
    int mantissa = t == DTYPE_f64 ? 52 : t == DTYPE_f32 ? 23 : t == DTYPE_f16 ? 10 : 7;
    uint64_t magnitude = b & (((uint64_t)1 << (n_bits(t) - 1)) - 1);
    uint64_t inf = ((((uint64_t)1 << (n_bits(t) - 1 - mantissa)) - 1) << mantissa);
    return magnitude > inf;
}

/* Decimal digits to bits of t, rounded once for f64 and f32; f16 and bf16 by way of the exact f32 or f64. */
static scalar_value decimal(dtype t, const char *s)
{
    locale_t c = c_locale();
    scalar_value v;
    if (t == DTYPE_f32) {
        float x = strtof_l(s, NULL, c);
        v = sv_load(t, &x);
    } else {
        double x = strtod_l(s, NULL, c);
        v = t == DTYPE_f64 ? sv_load(t, &x) : sv_from_f64(t, x);
    }
    freelocale(c);
    return v;
}

static bool read_float(lex *l, dtype t, scalar_value *v)
{
    uint64_t sign = (uint64_t)lex_take(l, "-") << (n_bits(t) - 1);
    if (lex_take(l, "inf")) {
        *v = sv_highest(t);
    } else if (lex_take(l, "nan")) {
        *v = (scalar_value){ quiet_nan(t) };
        if (lex_take(l, "(")) {
            uint64_t bits;
            bool negative;
            if (!read_integer(l, &bits, &negative)) return false;
            if (negative || (n_bits(t) < 64 && bits >> n_bits(t)) || !is_nan_bits(t, bits))
                return lex_expected(l, "the bits of a NaN of this type before");
            *v = (scalar_value){ bits };
            if (!lex_need(l, ")")) return false;
        }
    } else if ((lex_at(l, TOK_INT) || lex_at(l, TOK_FLOAT)) && l->tok.n < MAX_NUMBER) {
        char s[MAX_NUMBER];
        memcpy(s, l->tok.at, l->tok.n);
        s[l->tok.n] = 0;
        *v = decimal(t, s);
        lex_next(l);
    } else {
        return lex_expected(l, "a number");
    }
    v->bits ^= sign;
    return true;
}

bool lex_scalar(lex *l, dtype t, void *out)
{
    if (is_float(t)) {
        scalar_value v;
        if (!read_float(l, t, &v)) return false;
        sv_store(t, out, v);
        return true;
    }
    if (t == DTYPE_bool) {
        bool yes = lex_is(l, "true");
        if (!yes && !lex_is(l, "false")) return lex_expected(l, "true or false");
        lex_next(l);
        *(uint8_t *)out = yes;
        return true;
    }
    uint64_t x;
    bool negative;
    place at = lex_place(l);
    if (!read_integer(l, &x, &negative)) return false;
    dtype c = carrier_dtype(t);
    int bits = dtype_info[t].bits;
    bool fits = is_signed(c) ? (negative ? bits == 64 || (int64_t)x >= -((int64_t)1 << (bits - 1))
                                         : x < (uint64_t)1 << (bits - 1))
                             : (!negative || x == 0) && (bits == 64 || x >> bits == 0);
    if (!fits) {
        diag_expected(l->ctx, at, arena_printf(l->arena, "a value of type %s", dtype_info[t].name),
                      "one outside it");
        lex_fail(l);
        return false;
    }
    sv_store(c, out, sv_from_i64(c, (int64_t)x));
    return true;
}

void put_name(text *out, char sigil, const char *name)
{
    size_t n = strlen(name);
    bool bare = n > 0 && is_letter(*name) && word_end(name, name + n) == name + n;
    if (sigil) text_putn(out, &sigil, 1);
    if (bare) {
        text_putn(out, name, n);
        return;
    }
    text_put(out, "\"");
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c == '"' || c == '\\') text_printf(out, "\\%c", c);
        else if (c < 0x20 || c == 0x7f) text_printf(out, "\\x%02x", c);
        else text_putn(out, &name[i], 1);
    }
    text_put(out, "\"");
}

static void put_float(text *out, dtype t, scalar_value v)
{
    uint64_t sign = v.bits >> (n_bits(t) - 1);
    scalar_value magnitude = { v.bits ^ sign << (n_bits(t) - 1) };
    if (sign) text_put(out, "-");
    if (is_nan_bits(t, v.bits)) {
        if (magnitude.bits == quiet_nan(t)) text_put(out, "nan");
        else text_printf(out, "nan(0x%llx)", (unsigned long long)magnitude.bits);
        return;
    }
    if (magnitude.bits == sv_highest(t).bits) {
        text_put(out, "inf");
        return;
    }
    double x = sv_to_f64(t, magnitude);
    char s[MAX_NUMBER];
    locale_t c = c_locale(), before = uselocale(c);
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(s, sizeof s, "%.*g", digits, x);
        if (decimal(t, s).bits == magnitude.bits) break;
    }
    uselocale(before);
    freelocale(c);
    text_put(out, s);
}

void put_scalar(text *out, dtype t, const void *p)
{
    if (is_float(t)) {
        put_float(out, t, sv_load(t, p));
    } else if (t == DTYPE_bool) {
        text_put(out, *(const uint8_t *)p ? "true" : "false");
    } else {
        dtype c = carrier_dtype(t);
        scalar_value v = sv_load(c, p);
        if (is_signed(c)) text_printf(out, "%lld", (long long)sv_to_i64(c, v));
        else text_printf(out, "%llu", (unsigned long long)v.bits);
    }
}
