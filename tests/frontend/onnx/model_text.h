/* tests/frontend/onnx/model_text.h: ONNX models from a few lines of text, for tests.
 *
 *     graph b                          a body, until `end`; used as attribute  body=@b
 *     in i i64                         an input: name, f32 | i64 | bool, sizes (a word is a symbol)
 *     out k                            an output
 *     const m i64 [] = 5               an initializer: sizes in brackets, elements
 *     y h = Loop m _ x | body=@b       outputs = operator inputs | attributes; _ is an absent one
 *     end
 *
 * Attributes: name=1 int, name=0.5 float, name=1,2 ints (name=1, for one), name=@g graph, name=WORD string,
 * name=a;b strings (name=a; for one). training:NAME is an operator of ai.onnx.preview.training, example:NAME
 * of com.example.
 */
#ifndef DLC_TESTS_MODEL_TEXT_H
#define DLC_TESTS_MODEL_TEXT_H
#include "tests/frontend/onnx/proto.h"
#include <stdio.h>
#include <stdlib.h>

enum { MT_MAX_GRAPHS = 8, MT_MAX_WORDS = 32 };
typedef struct { arena *a; int n; const char *name[MT_MAX_GRAPHS]; text graph[MT_MAX_GRAPHS]; } mt_bodies;

static inline int mt_type(const char *s) { return !strcmp(s, "f32") ? 1 : !strcmp(s, "i64") ? 7 : 9; }

static inline int mt_split(char *s, const char *seps, char **word)
{
    int n = 0;
    for (char *save, *w = strtok_r(s, seps, &save); w && n < MT_MAX_WORDS; w = strtok_r(NULL, seps, &save))
        word[n++] = w;
    return n;
}

static inline text mt_value_info(arena *a, const char *name, int code, int n, char **size)
{
    text shape = { .a = a }, inner = { .a = a }, t = { .a = a }, info = { .a = a };
    for (int i = 0; i < n; i++) {
        text d = { .a = a };
        if (size[i][0] >= '0' && size[i][0] <= '9') pb_int(&d, 1, (uint64_t)atoll(size[i]));
        else pb_str(&d, 2, size[i]);
        pb_msg(&shape, 1, &d);
    }
    pb_int(&inner, 1, (uint64_t)code);
    if (n >= 0) pb_msg(&inner, 2, &shape);
    pb_msg(&t, 1, &inner);
    pb_str(&info, 1, name);
    if (code) pb_msg(&info, 2, &t);
    return info;
}

static inline void mt_attribute(mt_bodies *b, text *to, char *spec)
{
    char *v = strchr(spec, '=');
    text t = { .a = b->a };
    *v++ = 0;
    pb_str(&t, 1, spec);
    if (*v == '@') {
        for (int i = 0; i < b->n; i++)
            if (!strcmp(b->name[i], v + 1)) pb_msg(&t, 6, &b->graph[i]);
        pb_int(&t, 20, 5);
    } else if (strspn(v, "-0123456789,") == strlen(v) && strchr(v, ',')) {
        char *word[MT_MAX_WORDS];
        int n = mt_split(v, ",", word);
        for (int i = 0; i < n; i++) pb_int(&t, 8, (uint64_t)atoll(word[i]));
        pb_int(&t, 20, 7);
    } else if (strspn(v, "-0123456789") == strlen(v)) {
        pb_int(&t, 3, (uint64_t)atoll(v));
        pb_int(&t, 20, 2);
    } else if (strspn(v, "-.0123456789") == strlen(v)) {
        float x = strtof(v, NULL);
        pb_varint(&t, 2 << 3 | 5);
        text_putn(&t, (const char *)&x, 4);
        pb_int(&t, 20, 1);
    } else if (strchr(v, ';')) {
        char *word[MT_MAX_WORDS];
        int n = mt_split(v, ";", word);
        for (int i = 0; i < n; i++) pb_str(&t, 9, word[i]);
        pb_int(&t, 20, 8);
    } else {
        pb_str(&t, 4, v);
        pb_int(&t, 20, 3);
    }
    pb_msg(to, 5, &t);
}

static inline text mt_node(mt_bodies *b, char *line)
{
    text t = { .a = b->a };
    char *attrs = strchr(line, '|'), *word[MT_MAX_WORDS];
    if (attrs) *attrs++ = 0;
    int n = mt_split(line, " ", word), at = 0;
    while (strcmp(word[at], "=")) at++;
    for (int i = at + 2; i < n; i++) pb_str(&t, 1, strcmp(word[i], "_") ? word[i] : "");
    for (int i = 0; i < at; i++) pb_str(&t, 2, word[i]);
    char *colon = strchr(word[at + 1], ':');
    pb_str(&t, 4, colon ? colon + 1 : word[at + 1]);
    if (colon) pb_str(&t, 7, word[at + 1][0] == 't' ? "ai.onnx.preview.training" : "com.example");
    n = attrs ? mt_split(attrs, " ", word) : 0;
    for (int i = 0; i < n; i++) mt_attribute(b, &t, word[i]);
    return t;
}

static inline text mt_const(arena *a, char *line)          /* const NAME TYPE [DIMS] = ELEMENTS */
{
    text t = { .a = a };
    char *word[MT_MAX_WORDS], *size = strchr(line, '['), *values = strchr(line, '=') + 1, *head[MT_MAX_WORDS];
    *strchr(size, ']') = 0;
    *size++ = 0;
    mt_split(line, " ", head);
    int code = mt_type(head[2]), n = mt_split(size, " ", word);
    for (int i = 0; i < n; i++) pb_int(&t, 1, (uint64_t)atoll(word[i]));
    pb_int(&t, 2, (uint64_t)code);
    n = mt_split(values, " ", word);
    for (int i = 0; i < n; i++) {
        float x = strtof(word[i], NULL);
        if (code == 1) {
            pb_varint(&t, 4 << 3 | 5);
            text_putn(&t, (const char *)&x, 4);
        } else {
            pb_int(&t, code == 7 ? 7 : 5, (uint64_t)atoll(word[i]));
        }
    }
    pb_str(&t, 8, head[1]);
    return t;
}

/* The lines up to `end` (or the end of the text) as a GraphProto. */
static inline text mt_graph(mt_bodies *b, const char *name, char **at)
{
    text g = { .a = b->a };
    char *word[MT_MAX_WORDS];
    pb_str(&g, 2, name);
    while (*at && **at) {
        char *line = *at, *stop = strchr(line, '\n');
        *at = stop ? stop + 1 : NULL;
        if (stop) *stop = 0;
        line += strspn(line, " ");
        if (!strcmp(line, "end")) break;
        if (!strncmp(line, "graph ", 6)) {
            text inner = mt_graph(b, line + 6, at);
            b->name[b->n] = line + 6;
            b->graph[b->n++] = inner;
        } else if (!strncmp(line, "in ", 3)) {
            int n = mt_split(line, " ", word);
            text info = mt_value_info(b->a, word[1], mt_type(word[2]), n - 3, word + 3);
            pb_msg(&g, 11, &info);
        } else if (!strncmp(line, "out ", 4)) {
            text info = mt_value_info(b->a, line + 4, 0, -1, NULL);
            pb_msg(&g, 12, &info);
        } else if (!strncmp(line, "const ", 6)) {
            text t = mt_const(b->a, line);
            pb_msg(&g, 5, &t);
        } else if (*line) {
            text n = mt_node(b, line);
            pb_msg(&g, 1, &n);
        }
    }
    return g;
}

static inline bytes model_from_text(arena *a, int64_t opset, const char *lines)
{
    mt_bodies b = { .a = a };
    char *at = arena_strdup(a, lines);
    text main_graph = mt_graph(&b, "test", &at), set = { .a = a }, model = { .a = a };
    pb_str(&set, 1, "");
    pb_int(&set, 2, (uint64_t)opset);
    pb_int(&model, 1, 8);
    pb_msg(&model, 7, &main_graph);
    pb_msg(&model, 8, &set);
    static const char *const others[] = { "ai.onnx.preview.training", "com.example" };
    for (int i = 0; i < 2; i++) {
        text other = { .a = a };
        pb_str(&other, 1, others[i]);
        pb_int(&other, 2, 1);
        pb_msg(&model, 8, &other);
    }
    return pb_done(&model);
}
#endif
