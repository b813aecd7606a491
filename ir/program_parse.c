/* ir/program_parse.c: reads programs, what ir/program_print.c writes. */
#include "ir/loop.h"
#include "ir/lex.h"
#include "ir/loop_names.h"
#include "ir/loop_parse.h"

enum { MAX_NESTING = 100, MAX_SLOTS = 64 };

typedef struct { int buf; lex at; } slot_name;      /* the buffer that another one lives in may follow it in the text */
typedef struct { lex *l; program *p; int depth; vec(slot_name) slots; } parser;

/* -- Buffers ------------------------------------------------------------------------------------------------------------ */

static bool read_elements(parser *p, pbuf *b, int64_t n)
{
    int64_t width = dtype_bytes(b->dtype);
    uint8_t *at = arena_array(p->p->arena, (size_t)n, (size_t)width);
    b->data = at;
    if (!lex_need(p->l, "[")) return false;
    for (int64_t i = 0; i < n; i++)
        if ((i && !lex_need(p->l, ",")) || !lex_scalar(p->l, b->dtype, at + i * width)) return false;
    return lex_need(p->l, "]");
}

static int hex(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

static bool read_hex(parser *p, pbuf *b, int64_t size)
{
    lex_next(p->l);
    if (!lex_at(p->l, TOK_STRING) || (int64_t)p->l->tok.name_n != 2 * size) return lex_expected(p->l, "two hex digits a byte");
    uint8_t *at = arena_alloc(p->p->arena, (size_t)size);
    for (int64_t i = 0; i < size; i++) {
        int hi = hex(p->l->tok.name[2 * i]), lo = hex(p->l->tok.name[2 * i + 1]);
        if (hi < 0 || lo < 0) return lex_expected(p->l, "hex digits");
        at[i] = (uint8_t)(16 * hi + lo);
    }
    b->data = at;
    lex_next(p->l);
    return true;
}

/* { graph … }: the text between the braces goes to the graph's parser. */
static bool read_graph(parser *p, pbuf *b)
{
    int open = 0;
    const char *from = p->l->next;
    do {
        if (lex_at(p->l, TOK_END)) return lex_expected(p->l, "\"}\"");
        open += lex_is(p->l, "{") - lex_is(p->l, "}");
        if (open) lex_next(p->l);
    } while (open);
    b->expr_graph = graph_parse(p->p->ctx, p->p->arena, p->l->file, from, (size_t)(p->l->tok.at - from));
    if (!b->expr_graph) { lex_fail(p->l); return false; }
    lex_next(p->l);
    return true;
}

static bool read_data(parser *p, int id)
{
    pbuf *b = &p->p->bufs.at[id];
    int64_t n, size;
    if (lex_is(p->l, "{")) return read_graph(p, b);
    if (lex_take(p->l, "external")) {
        if (!lex_at(p->l, TOK_STRING)) return lex_expected(p->l, "a hash in quotes");
        b->external = arena_strndup(p->p->arena, p->l->tok.name, p->l->tok.name_n);
        lex_next(p->l);
        return true;
    }
    if (!dim_is_const(dim_product(p->p->dims, b->dims, b->rank), &n) || n < 0 || n > (int64_t)1 << 32 || !mul_ok(n, dtype_bytes(b->dtype), &size))
        return lex_expected(p->l, "a constant of fixed size");
    if ((int64_t)(p->l->end - p->l->tok.at) < n) return lex_expected(p->l, "as many elements as the shape says");
    return lex_is(p->l, "hex") ? read_hex(p, b, size) : read_elements(p, b, n);
}

static bool find_buffer(parser *p, int *id)
{
    if (!lex_at(p->l, TOK_IDENT)) return lex_expected(p->l, "a buffer");
    if (name_find(p->p->exprs, p->l->tok.name, p->l->tok.name_n, id) != NAME_buffer) {
        diag_unknown_name(p->l->ctx, lex_place(p->l), "buffer", arena_strndup(p->l->arena, p->l->tok.name, p->l->tok.name_n));
        lex_fail(p->l);
        return false;
    }
    lex_next(p->l);
    return true;
}

static bool read_buffer(parser *p, pbuf_kind kind, int *position)
{
    dtype t;
    int rank, unused;
    int64_t v;
    dim shape[MAX_RANK];
    if (!lex_at(p->l, TOK_IDENT)) return lex_expected(p->l, "a buffer's name");
    if (name_is_reserved(p->l->tok.name, p->l->tok.name_n) || name_find(p->p->exprs, p->l->tok.name, p->l->tok.name_n, &unused))
        return lex_expected(p->l, "a name that is not taken");
    const char *name = arena_strndup(p->p->arena, p->l->tok.name, p->l->tok.name_n);
    lex_next(p->l);
    if (!lex_need(p->l, ":") || !lex_dtype(p->l, &t) || !lex_dim_list(p->l, p->p->dims, MAX_RANK, &rank, shape)) return false;
    bool numbered = kind != PBUF_const && kind != PBUF_temp;
    int index = numbered ? position[kind]++ : 0;
    if (lex_take(p->l, "index")) {
        if (!lex_int(p->l, &v)) return false;
        if (v < 0 || v > 1 << 20) return lex_expected(p->l, "a smaller index");
        index = (int)v;
    }
    int id = program_buf(p->p, name, kind, index, t, rank, shape);
    if (lex_take(p->l, "bytes") && !lex_dim(p->l, p->p->dims, &p->p->bufs.at[id].bytes)) return false;
    if (lex_take(p->l, "in")) {
        pbuf *b = &p->p->bufs.at[id];
        if (!lex_at(p->l, TOK_IDENT)) return lex_expected(p->l, "a buffer's name");
        vec_push(p->p->arena, &p->slots, ((slot_name){ id, *p->l }));
        lex_next(p->l);
        b->in_place = !lex_take(p->l, "+");
        if (!b->in_place && !lex_dim(p->l, p->p->dims, &b->slot_offset)) return false;
    }
    if (lex_take(p->l, "at") && !lex_int(p->l, &p->p->bufs.at[id].offset)) return false;
    return !lex_take(p->l, "=") || read_data(p, id);
}

/* -- Operations -------------------------------------------------------------------------------------------------------------- */

static bool read_view(parser *p, view *v)
{
    *v = (view){ 0 };
    if (!find_buffer(p, &v->buf)) return false;
    if (!lex_take(p->l, "[")) return !p->l->failed;
    return loop_read_expr(p->l, p->p->exprs, &v->at) && lex_need(p->l, "]");
}

static bool read_block(parser *p, prog_block *b);

static bool read_call(parser *p, prog_block *b)
{
    if (!lex_at(p->l, TOK_NAME)) return lex_expected(p->l, "a kernel's @name");
    int id;
    const char *key = arena_printf(p->l->arena, "@%.*s", (int)p->l->tok.name_n, p->l->tok.name);
    if (name_find(p->p->exprs, key, strlen(key), &id) != NAME_kernel) {
        diag_unknown_name(p->l->ctx, lex_place(p->l), "kernel", key);
        lex_fail(p->l);
        return false;
    }
    lex_next(p->l);
    prog_op *o = program_op(p->p, b, PROG_call);
    int n = p->p->kernels.at[id]->n_params;
    o->kernel = id;
    o->args = NEW_ARRAY(p->p->arena, view, n);
    if (!lex_need(p->l, "(")) return false;
    for (int i = 0; i < n; i++)
        if ((i && !lex_need(p->l, ",")) || !read_view(p, &o->args[i])) return false;
    return lex_need(p->l, ")");
}

static bool read_var(parser *p, int *var)
{
    int id;
    if (!lex_at(p->l, TOK_IDENT) || name_is_reserved(p->l->tok.name, p->l->tok.name_n)) return lex_expected(p->l, "a variable");
    name_kind kind = name_find(p->p->exprs, p->l->tok.name, p->l->tok.name_n, &id);
    if (kind != NAME_absent && kind != NAME_var) return lex_expected(p->l, "a name that is not taken");
    *var = program_var(p->p, arena_strndup(p->l->arena, p->l->tok.name, p->l->tok.name_n));
    lex_next(p->l);
    return true;
}

static bool read_scan(parser *p, prog_op *o)
{
    int64_t zero;
    if (!read_var(p, &o->var) || !lex_need(p->l, "in") || !lex_int(p->l, &zero)) return false;
    if (zero != 0) return lex_expected(p->l, "a scan from 0");
    if (!lex_need(p->l, "..") || !lex_dim(p->l, p->p->dims, &o->n)) return false;
    o->reverse = lex_take(p->l, "reverse");
    return read_block(p, &o->body);
}

static bool read_while(parser *p, prog_op *o)
{
    if (!read_var(p, &o->var)) return false;
    if (lex_take(p->l, "max") && !lex_int(p->l, &o->max_trip)) return false;
    return lex_need(p->l, "test") && read_block(p, &o->test) && lex_need(p->l, "if") && read_view(p, &o->pred) && read_block(p, &o->body);
}

static bool read_setdim(parser *p, prog_op *o)
{
    dim d;
    if (!lex_dim(p->l, p->p->dims, &d)) return false;
    dim_view v = dim_look(p->p->dims, d);
    if (v.kind != DIM_SYMBOL) return lex_expected(p->l, "a symbol before it");
    o->symbol = v.symbol;
    return lex_need(p->l, "=") && read_view(p, &o->source);
}

static bool read_op(parser *p, prog_block *b)
{
    if (lex_take(p->l, "call")) return read_call(p, b);
    if (lex_take(p->l, "scan")) return read_scan(p, program_op(p->p, b, PROG_scan));
    if (lex_take(p->l, "while")) return read_while(p, program_op(p->p, b, PROG_while));
    if (lex_take(p->l, "setdim")) return read_setdim(p, program_op(p->p, b, PROG_setdim));
    if (!lex_take(p->l, "cond")) return lex_expected(p->l, "call, scan, cond, while or setdim");
    prog_op *o = program_op(p->p, b, PROG_cond);
    return read_view(p, &o->pred) && read_block(p, &o->body) && (!lex_take(p->l, "else") || read_block(p, &o->other));
}

static bool read_ops(parser *p, prog_block *b)
{
    while (!lex_take(p->l, "}")) {
        if (lex_at(p->l, TOK_END)) return lex_expected(p->l, "\"}\"");
        if (!read_op(p, b)) return false;
    }
    return !p->l->failed;
}

static bool read_block(parser *p, prog_block *b)
{
    if (++p->depth > MAX_NESTING) return lex_expected(p->l, "less nesting");
    bool ok = lex_need(p->l, "{") && read_ops(p, b);
    p->depth--;
    return ok;
}

/* -- The whole ------------------------------------------------------------------------------------------------------------------ */

static bool find_slots(parser *p)
{
    lex here = *p->l;
    for (int64_t i = 0; i < p->slots.n; i++) {
        *p->l = p->slots.at[i].at;
        if (!find_buffer(p, &p->p->bufs.at[p->slots.at[i].buf].slot_of)) return false;
    }
    for (int64_t i = 0; i < p->slots.n; i++) {
        int steps = 0;
        for (int at = p->slots.at[i].buf; at >= 0 && steps <= MAX_SLOTS; at = p->p->bufs.at[at].slot_of) steps++;
        if (steps <= MAX_SLOTS) continue;
        *p->l = p->slots.at[i].at;
        return lex_expected(p->l, "a buffer that does not live in this one, nor deep in others");
    }
    *p->l = here;
    return true;
}

static bool read_buffers(parser *p)
{
    int position[PBUF_KINDS] = { 0 };
    for (;;) {
        int kind = 0;
        while (kind < PBUF_KINDS && !lex_is(p->l, pbuf_kind_name[kind])) kind++;
        if (kind == PBUF_KINDS) return !p->l->failed && find_slots(p);
        lex_next(p->l);
        if (!read_buffer(p, (pbuf_kind)kind, position)) return false;
    }
}

static bool read_program(parser *p)
{
    lex *l = p->l;
    if (!lex_need(l, "program")) return false;
    if (!lex_at(l, TOK_NAME)) return lex_expected(l, "the program's @name");
    p->p->name = arena_strndup(p->p->arena, l->tok.name, l->tok.name_n);
    lex_next(l);
    p->p->fma = lex_take(l, "rounded") ? FMA_ROUNDED : FMA_FUSED;
    if (lex_take(l, "workspace") && !lex_int(l, &p->p->workspace_bytes)) return false;
    if (lex_take(l, "least") && !lex_int(l, &p->p->workspace_lower_bound)) return false;
    if (!lex_need(l, "{") || !read_buffers(p) || !read_ops(p, &p->p->body)) return false;
    return lex_at(l, TOK_END) || lex_expected(l, "the end of the text");
}

program *program_parse(dlc_context *ctx, arena *a, const char *file, const char *src, size_t n)
{
    lex l;
    lex_start(&l, ctx, a, file, src, n);
    parser p = { .l = &l, .p = program_new(ctx, a, dims_new(ctx, a), "program") };
    if (!loop_read_symbols(&l, p.p->dims)) return NULL;
    while (lex_is(&l, "kernel")) {
        kernel_code *k = loop_read_kernel(&l, ctx, a, p.p->dims);
        if (!k) return NULL;
        program_kernel(p.p, k);
    }
    return read_program(&p) ? p.p : NULL;
}

/* The first line in which a and b differ, of each. */
static const char *difference(arena *m, const char *a, const char *b)
{
    int line = 1;
    const char *from = a, *to = b;
    for (; *a && *a == *b; a++, b++) {
        if (*a != '\n') continue;
        line++;
        from = a + 1;
        to = b + 1;
    }
    return arena_printf(m, "the text form does not come back the same: line %d is `%.*s`, was `%.*s`", line, (int)strcspn(to, "\n"), to,
                        (int)strcspn(from, "\n"), from);
}

bool program_text_check(const program *p, const char *when)
{
    arena *scratch = arena_new(arena_mem(p->arena));
    text once = { .a = scratch }, twice = { .a = scratch };
    program_print(p, &once);
    program *q = program_parse(p->ctx, scratch, when, text_str(&once), (size_t)once.n);
    if (q) program_print(q, &twice);
    bool same = q && strcmp(text_str(&once), text_str(&twice)) == 0;
    if (q && !same)
        diag_program_run(p->ctx, (place){ .file = when }, p->name, difference(p->ctx->arena, text_str(&once), text_str(&twice)));
    arena_free(scratch);
    return same;
}
