/* frontend/lang/ast.h: a .dl file as tokens and as a tree; how errors in it are told.
 *
 * One kind of node for everything: a walk over all names of a file is one loop over kids. Positions: `line,
 * col` is where the construct begins, `op_line, op_col` its operator, field name or argument name. A
 * parenthesis adds no node. Errors leave by a jump to the place that read or elaborated (all memory is in
 * arenas), so a wrong program has one error.
 */
#ifndef DLC_FRONTEND_LANG_AST_H
#define DLC_FRONTEND_LANG_AST_H
#include "base/context.h"
#include <setjmp.h>

typedef struct source {
    const char *path;              /* as shown in messages */
    const char *at; size_t n;      /* the text, NUL-terminated */
    bool is_std;                   /* of the standard library: errors blame the call */
} source;

typedef enum {
    T_END, T_NL, T_NAME, T_INT, T_FLOAT, T_STRING, T_KEYWORD, T_OP
} token_kind;
typedef struct {
    token_kind kind;
    int line, col;
    const char *at; int n;         /* as written */
    const char *name;              /* interned: of names, keywords, operators; the text of a string */
    int64_t i; double f;
} token;

typedef enum {
    A_INT,
    A_FLOAT,
    A_STRING,
    A_NAME,
    A_TRUE,
    A_FALSE,
    A_NONE,
    A_TUPLE, /* kids; names[k] or NULL */
    A_LIST, /* kids, A_SPREAD among them */
    A_SPREAD, /* ..name; name NULL: the bare `..` of a subscript */
    A_INDEX, /* name, a..b the range or NULL; is_spread */
    A_COMP, /* kids: A_INDEX; a: body */
    A_REDUCE, /* name; kids: A_INDEX; a: body */
    A_PARAM, /* of a list: name, a: type, b: default */
    A_FN, /* kids: A_PARAM; c: result; d: body */
    A_IF, /* a: condition, b: then, c: else */
    A_FOR, /* name; a..b range, or a list with b NULL; kids: carried A_BIND; d: body */
    A_WHILE, /* a; kids: carries; d: body */
    A_BLOCK,
    A_CALL /* a: callee, kids: A_ARG */,
    A_ARG /* name or NULL; a */,
    A_SUB, /* a: base; kids; b: else */
    A_SLICE, /* a : b : c, each or NULL */
    A_FIELD, /* a, name */
    A_BIN,
    A_UN, /* name: the operator; a, b */
    A_PIPE, /* a, b */
    A_TYPE, /* name; kids: dims; flag: has [ ] */
    A_RESULT, /* kids: types or A_RESULT; names */
    A_BIND, /* kids: A_NAME; a: value */
    A_PARAM_ST,
    A_STATE_ST, /* name, a: type, b: value; flag: drawn with ~ */
    A_ASSERT,
    A_YIELD,
    A_DATA,
    A_MINIMIZE /* a, kids: over, b: with, c: clip */,
    A_REPORT,
    A_SEARCH /* kids: A_ARG */,
    A_USE,
    A_CONST,
    A_DEF_FN,
    A_DEF_LAYER,
    A_DEF_MODEL,
    A_DEF_OP,
    A_DEF_TRAIN,
    A_PARAMS,
    A_FILE
} ast_kind;

typedef struct ast ast;
struct ast {
    ast_kind kind;
    bool flag;
    int line, col, op_line, op_col;
    const source *src;
    const char *name, *as;
    int64_t i; double f;
    int n; ast **kid; const char **names;
    ast *a, *b, *c, *d;
};

/* What reading and elaborating share. */
typedef struct lang {
    dlc_context *ctx;
    arena *a;
    map_str names;                 /* interned: equal names are one pointer */
    jmp_buf *stop;
    int depth;
    const source *blamed; int blamed_line; int64_t n_diags;        /* of the error that is being told */
} lang;

const char *lang_intern(lang *l, const char *s, size_t n);
/* lang_error(l, src, line, col, help, ROW, arguments of the row): reports row lang_ROW of base/diag/lang.def
 * at line:col of src, and leaves. help: a step to take in place of the row's, or NULL. */
#define lang_error(l, src, line, col, help, row, ...) \
    (diag_lang_##row((l)->ctx, lang_place(l, src, line, col) __VA_OPT__(,) __VA_ARGS__), lang_leave(l, help))
place lang_place(lang *l, const source *src, int line, int col);       /* kept for lang_leave */
_Noreturn void lang_leave(lang *l, const char *help);

/* open: the innermost bracket never closed */
typedef struct { token *at; int64_t n; token open; bool has_open; } tokens;
tokens lang_lex(lang *l, const source *src);
ast *lang_parse(lang *l, const source *src);           /* A_FILE */
/* The name of a list that is spelled most alike, or NULL. */
const char *lang_near(const char *word, int n, const char *const *words);

/* The program laid out anew (lang_format.c). */
void lang_format_tokens(lang *l, const source *src, text *out);

#endif
