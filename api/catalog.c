/* catalog: what dlc knows, listed from its tables (catalog.h) */
#include "api/catalog.h"
#include "frontend/onnx/op.h"
#undef in
#undef out
#include <ctype.h>

static bool has_part(const char *name, const char *part)
{
    size_t n = part ? strlen(part) : 0;
    for (const char *p = name; part; p++) {
        size_t i = 0;
        while (i < n && tolower((unsigned char)p[i]) == tolower((unsigned char)part[i])) i++;
        if (i == n) return true;
        if (!*p) return false;
    }
    return true;
}

static void put_row(text *t, bool is_markdown, const char *name, const char *facts, const char *doc)
{
    if (is_markdown) text_printf(t, "| %s | %s | %s |\n", name, facts, doc);
    else text_printf(t, *doc ? "%-32s %-34s %s\n" : "%-32s %s\n", name, facts, doc);
}

static void put_head(text *t, bool is_markdown, const char *name, const char *facts, const char *doc)
{
    if (is_markdown) text_printf(t, "| %s | %s | %s |\n|---|---|---|\n", name, facts, doc);
}

static void put_onnx(text *t, const char *part, bool is_markdown)
{
    put_head(t, is_markdown, "operator", "since versions", "limits");
    for (int i = 0; i < n_onnx_ops; i++) {
        const op_row *r = &onnx_ops[i];
        if (!has_part(r->name, part)) continue;
        text facts = { .a = t->a };
        for (int k = 0; k < r->n_versions; k++) text_printf(&facts, "%s%d", k ? ", " : "", r->versions[k]);
        put_row(t, is_markdown, *r->domain ? arena_printf(t->a, "%s.%s", r->domain, r->name) : r->name,
                text_str(&facts), r->doc);
    }
}

static void put_prims(text *t, const char *part, bool is_markdown)
{
    put_head(t, is_markdown, "primitive", "operands", "meaning");
    for (int i = 0; i < PRIM_COUNT; i++) {
        const prim_row *p = &prim_info[i];
        if (!has_part(p->name, part)) continue;
        const char *facts = p->n_in < 0 ? "any" : arena_printf(t->a, "%d", p->n_in);
        put_row(t, is_markdown, p->name, facts, p->doc);
    }
}

static void put_scalars(text *t, const char *part, bool is_markdown)
{
    static const char *const takes[] = { "floats", "whole numbers", "whole numbers, bool", "numbers", "any" };
    put_head(t, is_markdown, "function", "operands", "meaning");
    for (int i = 0; i < SCALAR_COUNT; i++) {
        const scalar_row *s = &scalar_info[i];
        if (has_part(s->name, part))
            put_row(t, is_markdown, s->name, arena_printf(t->a, "%d, %s", s->arity, takes[s->takes]), s->doc);
    }
}

void catalog_put(text *t, catalog which, const char *part, bool is_markdown)
{
    switch (which) {
    case CATALOG_onnx: put_onnx(t, part, is_markdown); break;
    case CATALOG_prim: put_prims(t, part, is_markdown); break;
    case CATALOG_scalar: put_scalars(t, part, is_markdown); break;
    }
}
