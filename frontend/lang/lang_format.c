/* lang_format: a program laid out anew: indents by brackets, blanks between tokens; lines and comments stay
 * where they are
 *
 * Works on the tokens of each line, so what it prints has the same tokens and the same line breaks: the same
 * program. Blanks inside a line that align things are kept to one, except before a comment at its end.
 */
#include "frontend/lang/ast.h"

static bool is(const token *t, const char *s) { return t->kind == T_OP && strcmp(t->name, s) == 0; }
static bool one_of(const token *t, const char *const *list)
{
    for (int i = 0; t->kind == T_OP && list[i]; i++)
        if (strcmp(t->name, list[i]) == 0) return true;
    return false;
}

static bool is_value_end(const token *t)
{
    return t->kind == T_NAME || t->kind == T_INT || t->kind == T_FLOAT || t->kind == T_STRING || is(t, ")") ||
           is(t, "]") || is(t, "}") ||
           (t->kind == T_KEYWORD &&
            (!strcmp(t->name, "true") || !strcmp(t->name, "false") || !strcmp(t->name, "none")));
}

/* A minus that is no subtraction: nothing before it that could be its left side. */
static bool is_sign(const token *t, const token *before)
{
    return is(t, "-") && (!before || !is_value_end(before));
}

/* Is there a blank between two tokens of one line? `before`: the token before a, or NULL. colon: depth of [ ]
 * that a colon is in. */
static bool blank_between(const token *before, const token *a, const token *b, bool in_subscript,
                          bool was_glued)
{
    static const char *const tight_after[] = { "(", "[", ".", "..", NULL }, *const tight_before[] = {
        ")", "]", ",", ".", ":", ";", NULL
    };
    if (is(a, ",")) return !is(b, ")") && !is(b, "]");
    if (is(a, "|>") && is(b, ".")) return true;
    if (is(a, ":") && before && before->kind == T_KEYWORD && !strcmp(before->name, "else")) return true;
    if (is(a, "{") || is(b, "}")) return !(is(a, "{") && is(b, "}"));
    if (one_of(a, tight_after) || one_of(b, tight_before)) return false;
    if (is(b, "..") || is(a, "..")) return is(b, "..") && is(a, ",");
    if (is(b, "(") || is(b, "[")) {                        /* a call or subscript, or something of its own */
        if (!is_value_end(a) && !(a->kind == T_KEYWORD && !strcmp(a->name, "fn"))) return !is_sign(a, before);
        return !was_glued;
    }
    if (is(a, ":")) return !in_subscript;
    if (is_sign(a, before)) return false;
    return true;
}

static void end_line(text *out, int *blank_lines, const char *line)
{
    if (!*line) { if (++*blank_lines > 1 || !out->n) return; }
    else *blank_lines = 0;
    text_put(out, line);
    text_put(out, "\n");
}

/* Does a line go on with the one before? Then it is indented once more. */
static bool goes_on(const token *t)
{
    static const char *const ops[] = {
        "|>", "=>", "->", "=", "+", "*", "/", "//", "%", "@", "**", "==", "!=", "<", "<=", ">", ">=", ".",
        "~", NULL
    };
    return one_of(t, ops) || (t->kind == T_KEYWORD && (!strcmp(t->name, "and") || !strcmp(t->name, "or")));
}

void lang_format_tokens(lang *l, const source *src, text *out)
{
    tokens t = lang_lex(l, src);
    const char *p = src->at, *end = src->at + src->n;
    int64_t k = 0;
    int depth = 0, blanks = 0;
    vec(char) open = { 0 };
    for (int line = 1; p < end; line++) {
        const char *q = p;
        while (q < end && *q != '\n') q++;
        while (k < t.n && (t.at[k].kind == T_NL) && !t.at[k].i) k++;
        text one = { .a = l->a };
        const token *a = NULL, *before = NULL;
        const char *after = p;                             /* where the last token ended */
        int closes = 0;
        for (int64_t j = k;
             j < t.n && t.at[j].line == line && (is(&t.at[j], ")") || is(&t.at[j], "]") || is(&t.at[j], "}"));
             j++)
            closes++;
        int indent = depth - closes;
        bool first = true;
        for (; k < t.n && t.at[k].kind != T_END && t.at[k].line == line; k++) {
            const token *b = &t.at[k];
            if (b->kind == T_NL) {
                if (b->i) {
                    text_put(&one, ";");
                    after = b->at + 1;
                    before = a = NULL;
                    first = false;
                }
                continue;
            }
            if (first) {
                bool on = k && t.at[k - 1].kind != T_NL && !is(&t.at[k - 1], "{") && !is(b, "}");
                int own = (int)(b->at - p), want = 4 * indent;
                /* a line that goes on keeps its place */
                if (on || (is(b, "(") && !depth)) want = own > want ? own : want + 4 * goes_on(b);
                for (int i = 0; i < want; i++) text_put(&one, " ");
            }
            bool in_subscript = open.n && open.at[open.n - 1] == '[';
            if (!first && (!a || blank_between(before, a, b, in_subscript, a->at + a->n == b->at)))
                text_put(&one, " ");
            text_putn(&one, b->at, (size_t)b->n);
            if (is(b, "(") || is(b, "[") || is(b, "{")) { vec_push(l->a, &open, b->name[0]); depth++; }
            if ((is(b, ")") || is(b, "]") || is(b, "}")) && depth) { open.n--; depth--; }
            after = b->at + b->n;
            before = a;
            a = b;
            first = false;
        }
        const char *c = after;
        while (c < q && (*c == ' ' || *c == '\t' || *c == ';')) c++;
        if (c < q && *c == '#') {
            if (first) for (int i = 0; i < depth; i++) text_put(&one, "    ");
            else
                for (const char *s = c; s > after && (s[-1] == ' ' || s[-1] == '\t'); s--)
                    text_put(&one, " ");
            if (!first && c == after) text_put(&one, "  ");
            const char *stop = q;
            while (stop > c && (stop[-1] == ' ' || stop[-1] == '\t' || stop[-1] == '\r')) stop--;
            text_putn(&one, c, (size_t)(stop - c));
        }
        end_line(out, &blanks, text_str(&one));
        p = q < end ? q + 1 : end;
    }
    while (out->n > 1 && out->at[out->n - 2] == '\n') out->at[--out->n] = 0;
}
