/* lang_lex: text to tokens, line breaks decided
 *
 * A line break becomes a token NL only where it ends a statement (grammar.ebnf, "Line breaks"): not inside (
 * ) and [ ], not after a token that cannot end one, not before a line that goes on. A stack of open brackets
 * decides the first.
 */
#include "frontend/lang/ast.h"
#include <stdio.h>
#include <stdlib.h>

enum { MAX_BRACKETS = 400, MAX_TEXT = 1 << 24 };

const char *lang_intern(lang *l, const char *s, size_t n)
{
    bool fresh;
    uint64_t *slot = map_put(&l->names, s, n, 0, &fresh);
    if (fresh) *slot = (uint64_t)(uintptr_t)arena_strndup(l->a, s, n);
    return (const char *)(uintptr_t)*slot;
}

/* The line of text around a place, for the caret. */
static const char *line_of(lang *l, const source *src, int line)
{
    const char *p = src->at, *end = src->at + src->n;
    for (int i = 1; i < line && p < end; p++)
        if (*p == '\n') i++;
    const char *q = p;
    while (q < end && *q != '\n' && *q != '\r') q++;
    return q - p <= 200 ? arena_strndup(l->ctx->arena, p, (size_t)(q - p)) : NULL;
}

place lang_place(lang *l, const source *src, int line, int col)
{
    l->blamed = src;
    l->blamed_line = line;
    l->n_diags = l->ctx->diags.n;
    return (place){ .file = src->path, .line = line, .col = col };
}

_Noreturn void lang_leave(lang *l, const char *help)
{
    if (l->ctx->diags.n > l->n_diags) {
        diag *d = &l->ctx->diags.at[l->n_diags];
        d->source_line = line_of(l, l->blamed, l->blamed_line);
        if (help) d->hint = arena_strdup(l->ctx->arena, help);
    }
    longjmp(*l->stop, 1);
}

/* Distance of two short words: insertions, deletions, changes. */
static int distance(const char *a, const char *b)
{
    int n = (int)strlen(a), m = (int)strlen(b), row[64];
    if (n > 60 || m > 60) return 99;
    for (int j = 0; j <= m; j++) row[j] = j;
    for (int i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= m; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[m];
}

const char *lang_near(const char *word, int n, const char *const *words)
{
    const char *best = NULL;
    int least = (int)strlen(word) / 3 + 2;
    for (int i = 0; i < n; i++) {
        int d = distance(word, words[i]);
        if (d < least) { least = d; best = words[i]; }
    }
    return best;
}

static const char *const keywords[] = { "use",    "fn",   "layer",    "model",  "train",  "op",    "param",
                                        "state",  "for",  "in",       "while",  "carry",  "yield", "if",
                                        "else",   "and",  "or",       "not",    "true",   "false", "none",
                                        "assert", "data", "minimize", "report", "search", NULL };
static const char *const operators[] = { "**", "//", "|>", "=>", "->", "==", "!=", "<=", ">=", "..", "+",
                                         "-",  "*",  "/",  "%",  "@",  "=",  "<",  ">",  "(",  ")",  "[",
                                         "]",  "{",  "}",  ",",  ":",  ".",  ";",  "~",  NULL };
/* A line that begins with one of these goes on with the statement before. */
static const char *const going_on[] = { "|>", "=>", "->", "=",    "+",    "*",    "/", "//", "%",
                                        "@",  "**", "==", "!=",   "<",    "<=",   ">", ">=", "and",
                                        "or", ".",  "~",  "else", "over", "with", NULL };

static bool in_list(const char *s, const char *const *list)
{
    for (int i = 0; list[i]; i++)
        if (strcmp(s, list[i]) == 0) return true;
    return false;
}

static bool is_letter(int c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
static bool is_digit(int c) { return c >= '0' && c <= '9'; }

/* Can a statement end after this token? */
static bool can_end(const token *t)
{
    if (t->kind == T_OP) return t->name[0] == ')' || t->name[0] == ']' || t->name[0] == '}';
    if (t->kind == T_KEYWORD)
        return !strcmp(t->name, "true") || !strcmp(t->name, "false") || !strcmp(t->name, "none");
    return t->kind != T_NL;
}

typedef struct { lang *l; const source *src; const char *p, *line_at; int line; } lexer;

static int column(const lexer *x, const char *p) { return (int)(p - x->line_at) + 1; }

static const char *digits(const char *p, int base)
{
    for (;; p++) {
        int c = *p | 32;
        if (*p == '_' || (is_digit(*p) && *p - '0' < base) || (base == 16 && c >= 'a' && c <= 'f')) continue;
        return p;
    }
}

static void lex_number(lexer *x, token *t)
{
    const char *p = x->p, *end;
    int base = p[0] == '0' && (p[1] == 'x' || p[1] == 'b') ? p[1] == 'x' ? 16 : 2 : 10;
    t->kind = T_INT;
    end = digits(base == 10 ? p : p + 2, base);
    if (base != 10 && end == p + 2) lang_error(x->l, x->src, t->line, t->col, NULL, not_a_number, 2, p);
    if (base == 10 && *end == '.' && end[1] != '.') {
        if (!is_digit(end[1]))
            lang_error(x->l, x->src, t->line, t->col, NULL, digit_after_point,
                       (int)(end - p > 60 ? 60 : end - p), p);
        end = digits(end + 1, 10);
        t->kind = T_FLOAT;
    }
    if (base == 10 && (*end | 32) == 'e') {
        const char *q = end + 1 + (end[1] == '+' || end[1] == '-');
        if (is_digit(*q)) { end = digits(q, 10); t->kind = T_FLOAT; }
    }
    const char *word = end;
    while (is_letter(*word) || is_digit(*word)) word++;
    if (word > end || (*p == '.'))
        lang_error(x->l, x->src, t->line, t->col, "numbers have no suffixes: convert with f32(...)",
                   not_a_number, (int)(word - p > 60 ? 60 : word - p), p);
    char buffer[400];
    int n = 0;
    for (const char *q = p; q < end && n < 399; q++)
        if (*q != '_') buffer[n++] = *q;
    buffer[n] = 0;
    if (n >= 399) lang_error(x->l, x->src, t->line, t->col, NULL, number_too_long);
    if (t->kind == T_FLOAT) t->f = strtod(buffer, NULL);
    else {
        t->i = 0;
        for (const char *q = base == 10 ? buffer : buffer + 2; *q; q++) {
            int d = is_digit(*q) ? *q - '0' : (*q | 32) - 'a' + 10;
            if (!mul_ok(t->i, base, &t->i) || !add_ok(t->i, d, &t->i) || t->i > (int64_t)1 << 59)
                lang_error(x->l, x->src, t->line, t->col, NULL, number_too_large, n > 60 ? 60 : n, buffer);
        }
    }
    x->p = end;
}

static void lex_string(lexer *x, token *t)
{
    text s = { .a = x->l->a };
    const char *p = x->p + 1, *end = x->src->at + x->src->n;
    for (;; p++) {
        if (p >= end || *p == '\n') lang_error(x->l, x->src, t->line, t->col, NULL, string_not_closed);
        if (*p == '"') break;
        if (*p == '\\') {
            p++;
            char c = *p == 'n' ? '\n' : *p == 't' ? '\t' : *p == '"' || *p == '\\' ? *p : 0;
            if (!c || p >= end) lang_error(x->l, x->src, x->line, column(x, p - 1), NULL, unknown_escape);
            text_putn(&s, &c, 1);
        } else if (*p == 0) lang_error(x->l, x->src, x->line, column(x, p), NULL, nul_character);
        else text_putn(&s, p, 1);
    }
    t->kind = T_STRING;
    t->name = arena_strdup(x->l->a, text_str(&s));
    x->p = p + 1;
}

static void lex_operator(lexer *x, token *t)
{
    for (int i = 0; operators[i]; i++) {
        size_t n = strlen(operators[i]);
        if (strncmp(x->p, operators[i], n) != 0) continue;
        t->kind = T_OP;
        t->name = lang_intern(x->l, operators[i], n);
        x->p += n;
        return;
    }
    int n = 1;
    while (((unsigned char)x->p[n] & 0xc0) == 0x80 && n < 4) n++;
    if (!*x->p) lang_error(x->l, x->src, t->line, t->col, NULL, nul_character);
    lang_error(x->l, x->src, t->line, t->col, *x->p == '\'' ? "strings stand in double quotes" : NULL,
               unexpected_character, n, x->p);
}

tokens lang_lex(lang *l, const source *src)
{
    lexer x = { .l = l, .src = src, .p = src->at, .line_at = src->at, .line = 1 };
    vec(token) out = { 0 };
    token open[MAX_BRACKETS];
    int n_open = 0;
    const char *end = src->at + src->n;
    bool broke = false;
    token brk = { .kind = T_NL, .name = "\n" };
    if (src->n > MAX_TEXT) lang_error(l, src, 1, 1, NULL, file_too_long);
    if (src->n >= 3 && memcmp(src->at, "\xef\xbb\xbf", 3) == 0) { x.p += 3; x.line_at += 3; }
    while (x.p < end) {
        char c = *x.p;
        if (c == ' ' || c == '\t' || c == '\r') { x.p++; continue; }
        if (c == '#') { while (x.p < end && *x.p != '\n') x.p++; continue; }
        if (c == '\n' || c == ';') {
            if (!broke) {
                brk.line = x.line;
                brk.col = column(&x, x.p);
                brk.at = x.p;
                brk.n = 1;
                brk.i = c == ';';
            }
            broke = true;
            x.p++;
            if (c == '\n') { x.line++; x.line_at = x.p; }
            continue;
        }
        token t = { .line = x.line, .col = column(&x, x.p), .at = x.p };
        if (is_letter(c)) {
            const char *p = x.p;
            while (is_letter(*p) || is_digit(*p)) p++;
            t.name = lang_intern(l, x.p, (size_t)(p - x.p));
            t.kind = in_list(t.name, keywords) ? T_KEYWORD : T_NAME;
            x.p = p;
        } else if (is_digit(c)) lex_number(&x, &t);
        else if (c == '"') lex_string(&x, &t);
        else lex_operator(&x, &t);
        t.n = (int)(x.p - t.at);
        if (broke) {
            bool inside = n_open && open[n_open - 1].name[0] != '{';
            bool on = (t.kind == T_OP || t.kind == T_KEYWORD || t.kind == T_NAME) &&
                      in_list(t.name, going_on);
            if (out.n && !inside && !on && can_end(&out.at[out.n - 1])) vec_push(l->a, &out, brk);
            broke = false;
        }
        if (t.kind == T_OP && strchr("([{", t.name[0]) && !t.name[1]) {
            if (n_open == MAX_BRACKETS)
                lang_error(l, src, t.line, t.col, NULL, brackets_too_deep, MAX_BRACKETS);
            open[n_open++] = t;
        } else if (t.kind == T_OP && strchr(")]}", t.name[0]) && !t.name[1]) {
            char want = t.name[0] == ')' ? '(' : t.name[0] == ']' ? '[' : '{';
            if (!n_open) lang_error(l, src, t.line, t.col, NULL, closes_nothing, t.name);
            if (open[n_open - 1].name[0] != want)
                lang_error(l, src, t.line, t.col, NULL, wrong_bracket, t.name, open[n_open - 1].name,
                           open[n_open - 1].line);
            n_open--;
        }
        vec_push(l->a, &out, t);
    }
    if (out.n && can_end(&out.at[out.n - 1])) {
        brk.line = x.line;
        brk.col = column(&x, x.p);
        brk.at = x.p;
        vec_push(l->a, &out, brk);
    }
    token last = {
        .kind = T_END, .line = x.line, .col = column(&x, x.p), .name = "the end of the file", .at = x.p
    };
    vec_push(l->a, &out, last);
    tokens r = { .at = out.at, .n = out.n };
    if (n_open) { r.open = open[n_open - 1]; r.has_open = true; }
    return r;
}
