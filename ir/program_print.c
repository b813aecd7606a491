/* ir/program_print.c: the text form of programs (docs/loop-program.md): kernels first, then buffers and
 * operations.
 *
 * Constants print their elements, as literals up to SHORT_DATA of them, else as bytes in hex; above LONG_DATA
 * bytes only a hash, and what is read back has no elements.
 */
#include "ir/loop.h"
#include "ir/lex.h"
#include "ir/loop_names.h"
#include "ir/loop_parse.h"

enum { SHORT_DATA = 16, LONG_DATA = 65536 };

const char *const pbuf_kind_name[PBUF_KINDS] = { [PBUF_input] = "input",
                                                 [PBUF_output] = "output",
                                                 [PBUF_const] = "const",
                                                 [PBUF_temp] = "temp",
                                                 [PBUF_state] = "state" };

static void put_indent(text *out, int depth)
{
    for (int i = 0; i < depth; i++) text_put(out, "  ");
}

/* -- Buffers --------------------------------------------------------------------------------------------- */

static void put_graph(const graph *g, text *out)
{
    text t = { .a = out->a };
    graph_print(g, &t);
    text_put(out, "{\n");
    const char *s = text_str(&t);
    while (*s) {
        const char *end = strchr(s, '\n');
        size_t n = end ? (size_t)(end - s) : strlen(s);
        if (n) text_put(out, "    ");
        text_putn(out, s, n);
        text_put(out, "\n");
        s += n + (end != NULL);
    }
    text_put(out, "  }");
}

static void put_data(const program *p, const pbuf *b, text *out)
{
    int64_t n, width = dtype_bytes(b->dtype);
    if (!dim_is_const(dim_product(p->dims, b->dims, b->rank), &n)) return;
    const uint8_t *at = b->data;
    text_put(out, " = ");
    if (n <= SHORT_DATA) {
        text_put(out, "[");
        for (int64_t i = 0; i < n; i++) {
            if (i) text_put(out, ", ");
            put_scalar(out, b->dtype, at + i * width);
        }
        text_put(out, "]");
    } else if (n * width <= LONG_DATA) {
        text_put(out, "hex \"");
        for (int64_t i = 0; i < n * width; i++) text_printf(out, "%02x", at[i]);
        text_put(out, "\"");
    } else {
        text_printf(out, "external \"%016llx\"", (unsigned long long)hash_bytes(at, (size_t)(n * width), 0));
    }
}

static void put_buffer(const program *p, int id, int position, text *out)
{
    const pbuf *b = &p->bufs.at[id];
    text_printf(out, "  %s %s: %s[", pbuf_kind_name[b->kind], b->name, dtype_info[b->dtype].name);
    for (int i = 0; i < b->rank; i++) {
        if (i) text_put(out, ", ");
        dim_print(p->dims, b->dims[i], out);
    }
    text_put(out, "]");
    if (b->index != position) text_printf(out, " index %d", b->index);
    dim bytes_ = dim_mulk(p->dims, dim_product(p->dims, b->dims, b->rank), dtype_bytes(b->dtype));
    if (!dim_same(bytes_, b->bytes)) {
        text_put(out, " bytes ");
        dim_print(p->dims, b->bytes, out);
    }
    if (b->slot_of >= 0) text_printf(out, " in %s", p->bufs.at[b->slot_of].name);
    if (b->slot_of >= 0 && !b->in_place) {
        text_put(out, " + ");
        dim_print(p->dims, b->slot_offset, out);
    }
    if (b->offset >= 0) text_printf(out, " at %lld", (long long)b->offset);
    if (b->kind == PBUF_const) {
        if (b->data) put_data(p, b, out);
        else if (b->expr_graph) { text_put(out, " = "); put_graph(b->expr_graph, out); }
        else if (b->external) text_printf(out, " = external \"%s\"", b->external);
    }
    text_put(out, "\n");
}

/* -- Operations ------------------------------------------------------------------------------------------ */

static void put_view(const program *p, view v, text *out)
{
    text_put(out, p->bufs.at[v.buf].name);
    if (!v.at) return;
    text_put(out, "[");
    put_loop_expr(p->exprs, v.at, DTYPE_i64, out);
    text_put(out, "]");
}

static void put_block(const program *p, const prog_block *b, int depth, text *out)
{
    text_put(out, "{\n");
    for (int i = 0; i < b->n; i++) {
        const prog_op *o = b->at[i];
        put_indent(out, depth + 1);
        switch (o->kind) {
        case PROG_call: {
            const kernel_code *k = p->kernels.at[o->kernel];
            text_put(out, "call ");
            put_name(out, '@', k->name);
            text_put(out, "(");
            for (int j = 0; j < k->n_params; j++) {
                if (j) text_put(out, ", ");
                put_view(p, o->args[j], out);
            }
            text_put(out, ")");
            break;
        }
        case PROG_scan:
            text_printf(out, "scan %s in 0..", p->exprs->vars.at[o->var].name);
            dim_print(p->dims, o->n, out);
            text_put(out, o->reverse ? " reverse " : " ");
            put_block(p, &o->body, depth + 1, out);
            break;
        case PROG_cond:
            text_put(out, "cond ");
            put_view(p, o->pred, out);
            text_put(out, " ");
            put_block(p, &o->body, depth + 1, out);
            if (o->other.n) {
                text_put(out, " else ");
                put_block(p, &o->other, depth + 1, out);
            }
            break;
        case PROG_while:
            text_printf(out, "while %s ", p->exprs->vars.at[o->var].name);
            if (o->max_trip >= 0) text_printf(out, "max %lld ", (long long)o->max_trip);
            text_put(out, "test ");
            put_block(p, &o->test, depth + 1, out);
            text_put(out, " if ");
            put_view(p, o->pred, out);
            text_put(out, " ");
            put_block(p, &o->body, depth + 1, out);
            break;
        case PROG_setdim:
            text_put(out, "setdim ");
            dim_print(p->dims, dims_symbol(p->dims, o->symbol), out);
            text_put(out, " = ");
            put_view(p, o->source, out);
            break;
        }
        text_put(out, "\n");
    }
    put_indent(out, depth);
    text_put(out, "}");
}

/* -- The whole ------------------------------------------------------------------------------------------- */

static void use_block(symbol_set *u, const program *p, const prog_block *b)
{
    for (int i = 0; i < b->n; i++) {
        const prog_op *o = b->at[i];
        if (o->kind == PROG_call)
            for (int j = 0; j < p->kernels.at[o->kernel]->n_params; j++) symbols_use_expr(u, o->args[j].at);
        if (o->kind == PROG_scan) symbols_use(u, o->n);
        if (o->kind == PROG_setdim) symbols_use(u, dims_symbol(p->dims, o->symbol));
        symbols_use_expr(u, o->pred.at);
        symbols_use_expr(u, o->source.at);
        use_block(u, p, &o->test);
        use_block(u, p, &o->body);
        use_block(u, p, &o->other);
    }
}

static void print_program(const program *p, bool with_kernels, text *out)
{
    arena *scratch = arena_new(arena_mem(p->arena));
    symbol_set u = symbols_new(p->dims, scratch);
    for (int64_t i = 0; i < p->kernels.n && with_kernels; i++) symbols_use_kernel(&u, p->kernels.at[i]);
    for (int64_t i = 0; i < p->bufs.n; i++) {
        const pbuf *b = &p->bufs.at[i];
        for (int j = 0; j < b->rank; j++) symbols_use(&u, b->dims[j]);
        symbols_use(&u, b->bytes);
        symbols_use(&u, b->slot_offset);
    }
    use_block(&u, p, &p->body);
    symbols_print(&u, out);
    for (int64_t i = 0; i < p->kernels.n && with_kernels; i++) {
        kernel_print_alone(p->kernels.at[i], out);
        text_put(out, "\n");
    }
    text_put(out, "program ");
    put_name(out, '@', p->name);
    if (p->fma == FMA_ROUNDED) text_put(out, " rounded");
    if (p->workspace_bytes >= 0) text_printf(out, " workspace %lld", (long long)p->workspace_bytes);
    if (p->workspace_lower_bound >= 0) text_printf(out, " least %lld", (long long)p->workspace_lower_bound);
    text_put(out, " {\n");
    int position[PBUF_KINDS] = { 0 };
    for (int64_t i = 0; i < p->bufs.n; i++) {
        pbuf_kind kind = p->bufs.at[i].kind;
        bool numbered = kind != PBUF_const && kind != PBUF_temp;
        put_buffer(p, (int)i, numbered ? position[kind]++ : p->bufs.at[i].index, out);
    }
    text body = { .a = scratch };
    put_block(p, &p->body, 0, &body);
    text_put(out, text_str(&body) + 2);           /* after its "{\n" */
    text_put(out, "\n");
    arena_free(scratch);
}

void program_print(const program *p, text *out) { print_program(p, true, out); }
void program_print_frame(const program *p, text *out) { print_program(p, false, out); }

const char *program_show(const program *p)
{
    text t = { .a = p->arena };
    program_print(p, &t);
    return text_str(&t);
}
