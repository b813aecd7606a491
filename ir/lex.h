/* ir/lex.h: tokens of the text forms (graph and loop program; docs/text-form.md §1).
 *
 * The lexer looks at one token at a time. It reads bytes, never past `end`, and allocates only for names that
 * carry escapes. Dims are read from the raw text by dim_parse, starting at the current token (lex_dim).
 *
 *     lex l; lex_start(&l, ctx, arena, "m.txt", src, n);
 *     if (lex_is(&l, "(")) lex_next(&l);
 *     const char *name = l.tok.name;             decoded, NUL-terminated
 */
#ifndef DLC_IR_LEX_H
#define DLC_IR_LEX_H
#include "ir/dim.h"
#include "ir/dtype.h"

typedef enum {
    TOK_END,
    TOK_IDENT,             /* letter or _, then letters, digits, _; parts joined by dots: i.o, conv1.weight */
    TOK_VALUE,                /* %name %12 %"any bytes" */
    TOK_NAME,                 /* @name @"any bytes" */
    TOK_INT,                  /* 12 0x1f: without sign */
    TOK_FLOAT,                /* 1.5 2e-3 */
    TOK_STRING,               /* "any bytes" */
    TOK_PUNCT,                /* one of ( ) [ ] { } < > , : = + - * / | ? ; or .. ... <= >= == != -> */
    TOK_BAD                   /* a byte that begins no token, or a string that does not end */
} token_kind;

typedef struct {
    token_kind kind;
    const char *at; size_t n; /* as written */
    const char *name;
    size_t name_n; /* VALUE NAME STRING IDENT: decoded, without sigil and quotes; NUL-terminated
                                             except for IDENT, whose end is name_n */
    bool quoted;
    int line, col;            /* from 1, columns in bytes */
} token;

typedef struct {
    dlc_context *ctx;
    arena *arena;
    const char *file, *src, *end;
    const char *line_start;
    int line;
    const char *next;         /* first byte after tok */
    token tok;
    bool failed;              /* an error was reported: sticky, tok becomes END */
} lex;

void lex_start(lex *l, dlc_context *ctx, arena *a, const char *file, const char *src, size_t n);
void lex_next(lex *l);
place lex_place(const lex *l);                                  /* of the current token */

static inline bool lex_at(const lex *l, token_kind k) { return l->tok.kind == k; }
bool lex_is(const lex *l, const char *s);                       /* an IDENT or PUNCT spelled s */
bool lex_take(lex *l, const char *s);                           /* if it is s: to the next token */
bool lex_need(lex *l, const char *s);                     /* lex_take, or the error `expected "s", found …` */

/* Reports the first error only: `expected WHAT, found TOKEN` at the current token. Returns false. */
bool lex_expected(lex *l, const char *what);
/* Marks the last diagnostic as this lexer's: adds the line of text. For errors reported by others at
 * lex_place(). */
void lex_fail(lex *l);

/* Things that both text forms are made of; false after reporting. */
bool lex_int(lex *l, int64_t *v);                               /* with an optional minus */
bool lex_dim(lex *l, dims *t, dim *d);
bool lex_dim_list(lex *l, dims *t, int max, int *n, dim *d);    /* [a, b, c] */
bool lex_int_list(lex *l, int max, int *n, int64_t *v);
bool lex_dtype(lex *l, dtype *t);
/* A literal of type t: 3, -0.5, inf, -nan, nan(0x7fc00001), true; floats round once to t. */
bool lex_scalar(lex *l, dtype t, void *out);

/* Printing, the inverse: a name bare if it is an IDENT, else quoted; a literal that lex_scalar reads to equal
 * bits. */
void put_name(text *out, char sigil, const char *name);         /* sigil 0: none */
void put_scalar(text *out, dtype t, const void *p);
#endif
