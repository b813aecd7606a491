/* ir/text.h: what the printer and the parser of graphs share (docs/text-form.md). */
#ifndef DLC_IR_TEXT_H
#define DLC_IR_TEXT_H
#include "ir/graph.h"

enum { TEXT_MAX_LIST = 64 };                   /* a constant of more elements is written in base64 */
enum { TEXT_MAX_DEPTH = 200 };                 /* bodies within bodies */
#define TEXT_SYMBOL_HI (((int64_t)1 << 31) - 1)      /* a symbol without declared bounds lies in 0 … this */

#define text_base64 "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

static inline bool text_is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static inline bool text_is_word(char c) { return text_is_letter(c) || (c >= '0' && c <= '9'); }

/* The bodies of a node in printed order, each after its word; how many (0 to 2). */
typedef struct { const char *word; graph *g; } text_body;
int text_bodies(const node *n, text_body out[2]);

/* As graph_print, but a long constant shows as `...`: for people; does not parse. */
void graph_print_brief(const graph *g, text *out);
/* One node on its line, for messages; values without a name as %ID. */
void node_print(const graph *g, const node *n, text *out);
#endif
