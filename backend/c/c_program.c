/* backend/c/c_program.c: the program around the kernels: constants, run(), workspace(), shapes(), tables.
 *
 *   static int32_t PREFIX_run(const dlc_run *, int64_t *dims, const void *const *in, void *const *out)
 *   static int64_t PREFIX_workspace(const int64_t *dims)      static void PREFIX_shapes(const int64_t *dims,
 *   int64_t *extents)
 *   const dlc_model PREFIX_model                              with -DPREFIX_SHARED also as dlc_model_v1
 *
 * Buffers   as the LLVM backend has them (backend/llvm/program.c): inputs and outputs by pointer, temporaries
 *           at their planned offset in the workspace, or, where sizes are open, where PREFIX_place puts them
 *           at entry (ir/open_plan.h); constants are arrays of bit patterns, so they are exact and of either
 *           byte order, or lie in the weights given to the run.
 * Parts     a program of more than 2 * PART_OPS operations is cut into functions PREFIX_partN(run, in, out,
 *           symbols, offsets), which run() calls one after another: compilers take long over long functions.
 * Aliasing  elements are read through types that may alias where the compiler has strict aliasing: the same
 *           bytes hold different types in turn.
 */
#include "backend/c/cgen_inside.h"
#include "ir/kernel_key.h"
#include "ir/open_plan.h"
#include <assert.h>

typedef struct {
    writer *w;
    const program *p;
    const char *prefix;         /* of this entry's symbols; those of kernels and helpers bear the file's */
    scope_text s;               /* of the function in work */
    const char **buf_name;      /* by buffer: its local in the function in work, NULL: not named yet */
    bool *is_read;              /* by buffer: some function names it */
    const char **kernel_name;
    bool *is_called;
    int *kernel_of, *first;     /* equal kernels; equal constants */
    int64_t *weight_offset, weights_bytes;
    bool outside;               /* weights come by pointer */
    bool *is_result;
    text locals;                /* declarations of the function in work */
    const open_plan *open;      /* NULL: every temporary is planned */
} state;

static const char *entry_name(const writer *w, const program *p)
{
    return p == w->p ? w->prefix : arena_printf(w->a, "%s_%s", w->prefix, p->entry);
}

/* -- Constants ------------------------------------------------------------------------------------------- */

static int64_t constant_bytes(const program *p, int64_t buf)
{
    const pbuf *b = &p->bufs.at[buf];
    int64_t n = dtype_bytes(b->dtype), k;
    for (int i = 0; i < b->rank; i++)
        if (!dim_is_const(b->dims[i], &k) || !mul_ok(n, k, &n)) return -1;
    return n;
}

/* Behind those of the entries before, which end at *end. */
static bool lay_out_weights(state *z, int64_t *end)
{
    const program *p = z->p;
    map_str seen;
    map_init(&seen, z->w->a);
    z->first = NEW_ARRAY(z->w->a, int, p->bufs.n);
    z->weight_offset = NEW_ARRAY(z->w->a, int64_t, p->bufs.n);
    for (int64_t i = 0; i < p->bufs.n; i++) {
        z->first[i] = (int)i;
        if (p->bufs.at[i].kind != PBUF_const) continue;
        int64_t n = constant_bytes(p, i);
        if (n < 0 || (n && !p->bufs.at[i].data)) return false;
        uint64_t key[2] = { (uint64_t)(uintptr_t)p->bufs.at[i].data, (uint64_t)n };
        bool fresh;
        z->first[i] = (int)*map_put(&seen, (const char *)key, sizeof key, (uint64_t)i, &fresh);
        z->weight_offset[i] = z->first[i] < i ? z->weight_offset[z->first[i]] : *end;
        if (z->first[i] == i) *end += (n + 63) / 64 * 64;
    }
    return true;
}

static void put_elements(text *t, const uint8_t *at, int64_t n, int width)
{
    for (int64_t i = 0; i < n; i++) {
        uint64_t v = 0;
        memcpy(&v, at + i * width, (size_t)width);
        text_put(t, i % (64 / (width + 2)) ? " " : "\n    ");
        text_printf(t, width == 8 ? "UINT64_C(0x%llx)," : "0x%llx,", (unsigned long long)v);
    }
}

/* Given to each run, or part of the object. */
static const char outside_source[] =
    "/* Weights: %lld bytes, given to each run as dlc_run.weights, aligned to 64; or with "
    "-DX_INCBIN='\"FILE.bin\"' part of\n"
    " * the object (assemblers with .incbin). In the byte order of the machine that wrote them. */\n"
    "#ifdef X_INCBIN\n"
    "__asm__(\".section .rodata\\n.balign 64\\nX_weights:\\n.incbin \\\"\" X_INCBIN \"\\\"\\n.previous\\n"
    "\");\n"
    "extern const unsigned char X_weights[];\n"
    "#define X_WEIGHTS(run) X_weights\n#define X_WEIGHTS_BYTES 0\n"
    "#else\n#define X_WEIGHTS(run) (run)->weights\n#define X_WEIGHTS_BYTES INT64_C(%lld)\n#endif\n\n";

static void put_prefixed(text *t, const char *prefix, const char *s);

static void put_outside(state *z, text *t)
{
    put_prefixed(t, z->w->prefix,
                 arena_printf(z->w->a, outside_source, (long long)z->weights_bytes,
                              (long long)z->weights_bytes));
}

static void put_constants(state *z, text *t)
{
    const program *p = z->p;
    if (z->outside) {
        if (p == z->w->p) put_outside(z, t);
        return;
    }
    for (int64_t i = 0; i < p->bufs.n; i++) {
        const pbuf *b = &p->bufs.at[i];
        if (b->kind != PBUF_const || z->first[i] != i || !z->is_read[i]) continue;
        int width = dtype_bytes(b->dtype);
        int64_t n = constant_bytes(p, i) / width;
        text_printf(t, "static const uint%d_t %s_w%lld[%lld] = {          /* %s %s */", 8 * width, z->prefix,
                    (long long)i, (long long)(n ? n : 1), dtype_info[b->dtype].name,
                    c_word(z->w->a, b->name));
        if (n) put_elements(t, b->data, n, width);
        else text_put(t, " 0");
        text_put(t, "\n};\n\n");
    }
}

static bytes weights_file(arena *a, const state *z, int n, int64_t total)
{
    uint8_t *at = arena_alloc(a, (size_t)total + 64);
    at = (uint8_t *)(((uintptr_t)at + 63) & ~(uintptr_t)63);
    for (int k = 0; k < n; k++)
        for (int64_t i = 0; i < z[k].p->bufs.n; i++) {
            int64_t size = z[k].p->bufs.at[i].kind == PBUF_const && z[k].first[i] == i
                               ? constant_bytes(z[k].p, i)
                               : 0;
            if (size) memcpy(at + z[k].weight_offset[i], z[k].p->bufs.at[i].data, (size_t)size);
        }
    return (bytes){ at, (size_t)total };
}

/* -- Symbols --------------------------------------------------------------------------------------------- */

static const pbuf *tensor_of(const program *p, pbuf_kind kind, int index)
{
    for (int64_t i = 0; i < p->bufs.n; i++)
        if (p->bufs.at[i].kind == kind && p->bufs.at[i].index == index) return &p->bufs.at[i];
    return NULL;
}

/* A scope for one of the program's own functions. */
static void begin_scope(state *z, text *out, name_set *names)
{
    const program *p = z->p;
    arena *a = z->w->a;
    int n = dims_n_symbols(p->dims);
    names_init(names, a, z->w->prefix);
    z->s = (scope_text){ .w = z->w, .k = p->exprs, .out = out, .depth = 1, .names = names };
    const char **symbol = NEW_ARRAY(a, const char *, n);
    for (int i = 0; i < n; i++) symbol[i] = name_new(names, dims_symbol_name(p->dims, i));
    z->s.symbol_name = symbol;
    int64_t n_vars = p->exprs ? p->exprs->vars.n : 0;
    z->s.var = NEW_ARRAY(a, var_text, n_vars);
    for (int64_t i = 0; i < n_vars; i++) z->s.var[i].name = name_new(names, p->exprs->vars.at[i].name);
}

static void put_symbols(state *z, text *t, const char *body, const char *bad)
{
    int n = dims_n_symbols(z->p->dims);
    for (int i = 0; i < n; i++) {
        int64_t lo, hi;
        const char *name = z->s.symbol_name[i];
        dims_symbol_range(z->p->dims, i, &lo, &hi);
        if (z->is_result[i]) {
            if (!mentions(body, name)) continue;
            text_printf(t, "    int64_t %s = ", name);
            put_i64(t, hi);
            text_put(t, ";\n");
            continue;
        }
        text_printf(t, "    const int64_t %s = dims[%d];\n", name, i);
    }
    for (int i = 0; i < n; i++) {
        int64_t lo, hi;
        dims_symbol_range(z->p->dims, i, &lo, &hi);
        if (z->is_result[i]) continue;
        text_printf(t, "    if (%s < ", z->s.symbol_name[i]);
        put_i64(t, lo);
        text_printf(t, " || %s > ", z->s.symbol_name[i]);
        put_i64(t, hi);
        text_printf(t, ") return %s;\n", bad);
    }
}

/* -- Workspace ------------------------------------------------------------------------------------------- */

static const char place_source[] =
    "/* Offsets of the temporaries whose sizes are open: each at the lowest one free of its neighbours, the "
    "earlier ones that are\n"
    " * in use at the same time (-1: behind all of them). Returns the bytes of all. */\n"
    "static int64_t X_place(const int64_t *sizes, int64_t *offsets)\n{\n"
    "    int64_t total = 0;\n"
    "    for (int i = 0; i < %d; i++) {\n"
    "        const int64_t n = sizes[X_size_of[i]];\n"
    "        int64_t at = 0, before;\n"
    "        do {\n"
    "            before = at;\n"
    "            for (int j = X_near_first[i]; j < X_near_first[i + 1]; j++) {\n"
    "                const int k = X_near[j];\n"
    "                const int64_t lo = k < 0 ? 0 : offsets[k], hi = k < 0 ? total : lo + "
    "sizes[X_size_of[k]];\n"
    "                if (lo < at + n && at < hi) at = hi;\n"
    "            }\n"
    "        } while (at != before);\n"
    "        offsets[i] = at;\n"
    "        if (at + n > total) total = at + n;\n"
    "    }\n"
    "    return total;\n}\n\n";

/* A text in which X_ stands for the prefix. */
static void put_prefixed(text *t, const char *prefix, const char *s)
{
    for (; *s; s++) {
        if (*s == 'X' && s[1] == '_') text_put(t, prefix);
        else text_putn(t, s, 1);
    }
}

static void put_ints(state *z, text *t, const char *what, const int *at, int n)
{
    text_printf(t, "static const int32_t %s_%s[%d] = {", z->prefix, what, n ? n : 1);
    for (int i = 0; i < n; i++) text_printf(t, "%s%d,", i % 20 ? " " : "\n    ", at[i]);
    text_put(t, n ? "\n};\n" : " 0 };\n");
}

static void put_place(state *z, text *t)
{
    const open_plan *o = z->open;
    if (!o) return;
    put_ints(z, t, "size_of", o->size_of, o->n);
    put_ints(z, t, "near_first", o->near_first, o->n + 1);
    put_ints(z, t, "near", o->near, o->near_first[o->n]);
    put_prefixed(t, z->prefix, arena_printf(z->w->a, place_source, o->n));
}

/* Places the open temporaries: their offsets are in `at`, all bytes in `result`. */
static void put_layout(state *z, text *t, const char *result)
{
    const open_plan *o = z->open;
    text_printf(t, "    int64_t sizes[%d], at[%d];\n", o->n_sizes ? o->n_sizes : 1, o->n ? o->n : 1);
    for (int i = 0; i < o->n_sizes; i++) {
        text_printf(t, "    sizes[%d] = (", i);
        put_dim(&z->s, t, o->size[i], BIND_add);
        text_put(t, " + 63) & ~(int64_t)63;\n");
    }
    text_printf(t, "    %s%s_place(sizes, at)", result, z->prefix);
    if (open_plan_base(z->p)) {
        text_put(t, " + ");
        put_i64(t, open_plan_base(z->p));
    }
    text_put(t, ";\n");
}

/* -- Views ----------------------------------------------------------------------------------------------- */

static void declare(state *z, int buf)
{
    const pbuf *b = &z->p->bufs.at[buf];
    if (b->kind == PBUF_const) buf = z->first[buf];
    z->is_read[buf] = true;
    if (z->buf_name[buf]) return;
    const char *name = z->buf_name[buf] = name_new(z->s.names, b->name);
    text *t = &z->locals;
    switch (b->kind) {
    case PBUF_input:
        text_printf(t, "    const unsigned char *const %s = (const unsigned char *)in[%d];\n", name,
                    b->index);
        return;
    case PBUF_output:
        text_printf(t, "    unsigned char *const %s = (unsigned char *)out[%d];\n", name, b->index);
        return;
    case PBUF_const:
        if (z->outside)
            text_printf(t, "    const unsigned char *const %s = weights + %lld;\n", name,
                        (long long)z->weight_offset[buf]);
        else
            text_printf(t, "    const unsigned char *const %s = (const unsigned char *)%s_w%d;\n", name,
                        z->prefix, buf);
        return;
    case PBUF_temp:
        if (!z->open || z->open->item_of[buf] < 0)
            text_printf(t, "    unsigned char *const %s = work + %lld;\n", name,
                        (long long)(b->offset < 0 ? 0 : b->offset));
        else if (open_plan_base(z->p))
            text_printf(t, "    unsigned char *const %s = work + %lld + at[%d];\n", name,
                        (long long)open_plan_base(z->p), z->open->item_of[buf]);
        else text_printf(t, "    unsigned char *const %s = work + at[%d];\n", name, z->open->item_of[buf]);
        return;
    case PBUF_state:
        text_printf(t, "    unsigned char *const %s = states + %lld;\n", name, (long long)b->offset);
        return;
    }
}

static void put_pointer(state *z, text *t, int buf)
{
    const pbuf *b = &z->p->bufs.at[buf];
    if (b->slot_of < 0) {
        if (b->kind == PBUF_const) buf = z->first[buf];
        declare(z, buf);
        text_put(t, z->buf_name[buf]);
        return;
    }
    put_pointer(z, t, b->slot_of);
    int64_t k;
    if (dim_is_const(b->slot_offset, &k)) {
        if (k) text_printf(t, " + %lld", (long long)(k * dtype_bytes(b->dtype)));
        return;
    }
    text_put(t, " + ");
    put_dim(&z->s, t, b->slot_offset, BIND_mul);
    text_printf(t, "*%d", dtype_bytes(b->dtype));
}

static void put_view(state *z, text *t, view v, int rank, const dim *part)
{
    const pbuf *b = &z->p->bufs.at[v.buf];
    int64_t size = dtype_bytes(b->dtype), k, i;
    put_pointer(z, t, v.buf);
    if (!v.at) return;
    for (int j = 0; j < rank; j++)
        if (dim_is_const(part[j], &k) && !mul_ok(size, k, &size)) size = 0;
    if (x_is_int(v.at, &i) && i == 0) return;
    text_put(t, " + ");
    put_expr(&z->s, t, v.at, BIND_mul);
    text_printf(t, "*%lld", (long long)size);
    for (int j = 0; j < rank; j++) {
        if (dim_is_const(part[j], NULL)) continue;
        text_put(t, "*");
        put_dim(&z->s, t, part[j], BIND_unary);
    }
}

static void put_one(state *z, text *t, const char *element, view v)
{
    text_printf(t, "*(const %s *)(", element);
    put_view(z, t, v, 0, NULL);
    text_put(t, ")");
}

/* -- The body -------------------------------------------------------------------------------------------- */

static void put_ops(state *z, const prog_block *b);

static void put_body(state *z, const prog_block *b)
{
    z->s.depth++;
    put_ops(z, b);
    z->s.depth--;
}

static void line(state *z, const char *s)
{
    start_line(&z->s);
    text_put(z->s.out, s);
}

static void put_call(state *z, const prog_op *x)
{
    int id = z->kernel_of[x->kernel];
    const kernel_code *k = z->p->kernels.at[x->kernel];
    text *t = z->s.out;
    dim_list open = { 0 };
    z->is_called[id] = true;
    start_line(&z->s);
    text_printf(t, "%s(hook", z->kernel_name[id]);
    for (int i = 0; i < k->n_params; i++) {
        const buffer *b = &k->bufs.at[i];
        text v = { .a = z->w->a };
        put_view(z, &v, x->args[i], b->rank, b->dims);
        bool reads = b->role == ROLE_in || b->role == ROLE_const, is_name = !strchr(text_str(&v), ' ');
        text_printf(t, ", (%s%s *)", reads ? "const " : "", element_type(z->w, b->dtype));
        text_printf(t, is_name ? "%s" : "(%s)", text_str(&v));
    }
    kernel_open_dims_c(z->w->a, k, &open);
    for (int64_t i = 0; i < open.n; i++) {
        text_put(t, ", ");
        put_dim(&z->s, t, open.at[i], BIND_any);
    }
    text_put(t, ");\n");
}

static void put_repeat(state *z, const prog_op *x)
{
    text *t = z->s.out;
    const char *v = z->s.var[x->var].name;
    start_line(&z->s);
    if (x->kind == PROG_scan && x->reverse) {
        text_printf(t, "for (int64_t %s = ", v);
        put_dim(&z->s, t, x->n, BIND_add);
        text_printf(t, " - 1; %s >= 0; %s--) {\n", v, v);
    } else {
        text_printf(t, "for (int64_t %s = 0; ", v);
        if (x->kind == PROG_scan || x->max_trip >= 0) text_printf(t, "%s < ", v);
        if (x->kind == PROG_scan) put_dim(&z->s, t, x->n, BIND_add);
        else if (x->max_trip >= 0) put_i64(t, x->max_trip);
        text_printf(t, "; %s++) {\n", v);
    }
    if (x->kind == PROG_while) {
        put_body(z, &x->test);
        line(z, "    if (!");
        put_one(z, t, element_type(z->w, DTYPE_bool), x->pred);
        text_put(t, ") break;\n");
    }
    put_body(z, &x->body);
    line(z, "}\n");
}

static void put_cond(state *z, const prog_op *x)
{
    line(z, "if (");
    put_one(z, z->s.out, element_type(z->w, DTYPE_bool), x->pred);
    text_put(z->s.out, ") {\n");
    put_body(z, &x->body);
    if (x->other.n) {
        line(z, "} else {\n");
        put_body(z, &x->other);
    }
    line(z, "}\n");
}

/* Kept in the symbol's bounds: buffers were sized by them. */
static void put_setdim(state *z, const prog_op *x)
{
    text *t = z->s.out;
    int64_t lo, hi;
    dims_symbol_range(z->p->dims, x->symbol, &lo, &hi);
    const char *min = helper(z->w, "min", DTYPE_i64), *max = helper(z->w, "max", DTYPE_i64);
    start_line(&z->s);
    text_printf(t, "%s = %s(%s(", z->s.symbol_name[x->symbol], min, max);
    put_one(z, t, element_type(z->w, DTYPE_i64), x->source);
    text_put(t, ", ");
    put_i64(t, lo);
    text_put(t, "), ");
    put_i64(t, hi);
    text_put(t, ");\n");
}

static void put_ops(state *z, const prog_block *b)
{
    for (int i = 0; i < b->n; i++) {
        const prog_op *x = b->at[i];
        switch (x->kind) {
        case PROG_call: put_call(z, x); break;
        case PROG_scan: case PROG_while: put_repeat(z, x); break;
        case PROG_cond: put_cond(z, x); break;
        case PROG_setdim: put_setdim(z, x); break;
        }
    }
}

/* -- Functions ------------------------------------------------------------------------------------------- */

/* An output that lies in another buffer reaches the caller by a copy. */
static void put_output_copies(state *z)
{
    text *t = z->s.out;
    for (int64_t i = 0; i < z->p->bufs.n; i++) {
        const pbuf *b = &z->p->bufs.at[i];
        if (b->kind != PBUF_output || b->slot_of < 0) continue;
        text_printf(t, "    %s(out[%d], ", helper(z->w, "copy", DTYPE_i64), b->index);
        put_pointer(z, t, (int)i);
        text_put(t, ", ");
        for (int j = 0; j < b->rank; j++) { put_dim(&z->s, t, b->dims[j], BIND_unary); text_put(t, "*"); }
        text_printf(t, "%d);\n", dtype_bytes(b->dtype));
    }
}

static void put_used(text *t, const char *body, const char *name, const char *declaration)
{
    text_put(t, mentions(body, name) ? declaration : "");
}

static void put_environment(state *z, text *t, const char *source)
{
    put_used(t, source, "hook", "    const dlc_run_hook *const hook = &run->hook;\n");
    put_used(t, source, "work", "    unsigned char *const work = (unsigned char *)run->workspace;\n");
    put_used(t, source, "states", "    unsigned char *const states = (unsigned char *)run->states;\n");
    if (z->outside && mentions(source, "weights"))
        text_printf(t, "    const unsigned char *const weights = (const unsigned char *)%s_WEIGHTS(run);\n",
                    z->w->prefix);
}

static void put_unused(text *t, const char *source, const char *name)
{
    if (!mentions(source, name)) text_printf(t, "    (void)%s;\n", name);
}

enum { PART_OPS = 200 };

static int count_ops(const prog_block *b)
{
    int n = b->n;
    for (int i = 0; i < b->n; i++)
        n += count_ops(&b->at[i]->body) + count_ops(&b->at[i]->other) + count_ops(&b->at[i]->test);
    return n;
}

/* A function for some operations; its symbols are copied in, and out again where they are found by the run.
 */
static void put_part(state *z, text *t, int first, int end)
{
    arena *a = z->w->a;
    text body = { .a = a }, all = { .a = a }, before = { .a = a };
    name_set names;
    begin_scope(z, &body, &names);
    name_new(&names, "at");
    name_new(&names, "symbols");
    z->locals = (text){ .a = a };
    memset(z->buf_name, 0, sizeof *z->buf_name * (size_t)z->p->bufs.n);
    put_ops(z, &(prog_block){ .at = z->p->body.at + first, .n = end - first });
    text_put(&all, text_str(&z->locals));
    text_put(&all, text_str(&body));
    for (int i = 0; i < dims_n_symbols(z->p->dims); i++) {
        const char *name = z->s.symbol_name[i];
        if (!mentions(text_str(&all), name)) continue;
        text_printf(&before, "    %sint64_t %s = symbols[%d];\n", z->is_result[i] ? "" : "const ", name, i);
        if (z->is_result[i]) text_printf(&all, "    symbols[%d] = %s;\n", i, name);
    }
    const char *source = text_str(&all);
    text_printf(
        t,
        "static void %s_part%d(const dlc_run *run, const void *const *in, void *const *out, int64_t "
        "*symbols, const int64_t *at)\n{\n",
        z->prefix, first);
    put_environment(z, t, source);
    if (!mentions(source, "hook") && !mentions(source, "work") && !mentions(source, "weights") &&
        !mentions(source, "states"))
        text_put(t, "    (void)run;\n");
    put_unused(t, source, "in");
    put_unused(t, source, "out");
    if (!before.n) put_unused(t, source, "symbols");
    put_unused(t, source, "at");
    text_put(t, text_str(&before));
    text_put(t, source);
    text_put(t, "}\n\n");
}

/* The parts into t; run() calls them. */
static void put_parts(state *z, text *t, text *calls)
{
    const prog_block *b = &z->p->body;
    for (int first = 0, i = 0, n = 0; i < b->n; i++) {
        n += count_ops(&(prog_block){ .at = b->at + i, .n = 1 });
        if (n < PART_OPS && i + 1 < b->n) continue;
        put_part(z, t, first, i + 1);
        text_printf(calls, "    %s_part%d(run, in, out, symbols, %s);\n", z->prefix, first,
                    z->open ? "at" : "NULL");
        first = i + 1;
        n = 0;
    }
}

static void put_run(state *z, text *t)
{
    const program *p = z->p;
    arena *a = z->w->a;
    int n_symbols = dims_n_symbols(p->dims);
    bool in_parts = count_ops(&p->body) > 2 * PART_OPS;
    text calls = { .a = a }, body = { .a = a }, layout = { .a = a }, all = { .a = a }, symbols = { .a = a };
    if (in_parts) put_parts(z, t, &calls);
    name_set names;
    begin_scope(z, &body, &names);
    z->locals = (text){ .a = a };
    memset(z->buf_name, 0, sizeof *z->buf_name * (size_t)p->bufs.n);
    name_new(&names, "at");
    name_new(&names, "sizes");
    name_new(&names, "symbols");
    if (in_parts) {
        text_printf(&body, "    int64_t symbols[%d];\n", n_symbols ? n_symbols : 1);
        for (int i = 0; i < n_symbols; i++)
            text_printf(&body, "    symbols[%d] = %s;\n", i, z->s.symbol_name[i]);
        if (!n_symbols) text_put(&body, "    symbols[0] = 0;\n");
        text_put(&body, text_str(&calls));
    } else {
        put_ops(z, &p->body);
    }
    put_output_copies(z);
    for (int i = 0; i < n_symbols; i++)
        if (z->is_result[i])
            text_printf(&body, "    dims[%d] = %s;\n", i,
                        in_parts ? arena_printf(a, "symbols[%d]", i) : z->s.symbol_name[i]);
    if (z->open) put_layout(z, &layout, "(void)");
    text_put(&all, text_str(&layout));
    text_put(&all, text_str(&z->locals));
    text_put(&all, text_str(&body));
    const char *source = text_str(&all);
    text_printf(
        t,
        "static int32_t %s_run(const dlc_run *run, int64_t *dims, const void *const *in, void *const *out)\n"
        "{\n",
        z->prefix);
    put_environment(z, t, source);
    put_symbols(z, &symbols, source, "DLC_RUN_BAD_DIM");
    text_put(t, text_str(&symbols));
    if (!in_parts && !mentions(source, "hook") && !mentions(source, "work") && !mentions(source, "weights") &&
        !mentions(source, "states"))
        text_put(t, "    (void)run;\n");
    if (!mentions(source, "dims") && !mentions(text_str(&symbols), "dims")) text_put(t, "    (void)dims;\n");
    put_unused(t, source, "in");
    put_unused(t, source, "out");
    text_put(t, source);
    text_put(t, "    return DLC_RUN_OK;\n}\n\n");
}

static void put_workspace(state *z, text *t)
{
    const program *p = z->p;
    name_set names;
    text body = { .a = z->w->a };
    begin_scope(z, &body, &names);
    name_new(&names, "at");
    name_new(&names, "rough");
    name_new(&names, "sizes");
    if (z->open) {
        text_put(&body,
                 "    double rough = 0;                          /* sizes beyond 64 bits are seen */\n");
        for (int64_t i = 0; i < p->bufs.n; i++) {
            const pbuf *b = &p->bufs.at[i];
            if (z->open->item_of[i] < 0) continue;
            text_printf(&body, "    rough += %d.0", dtype_bytes(b->dtype));
            for (int j = 0; j < b->rank; j++) {
                text_put(&body, " * (double)");
                put_dim(&z->s, &body, b->dims[j], BIND_primary);
            }
            text_put(&body, ";\n");
        }
        text_put(&body, "    if (!(rough < 0x1p60)) return -1;\n");
        put_layout(z, &body, "return ");
    } else {
        text_put(&body, "    return ");
        put_i64(&body, open_plan_base(p));
        text_put(&body, ";\n");
    }
    text_printf(t, "static int64_t %s_workspace(const int64_t *dims)\n{\n", z->prefix);
    text symbols = { .a = z->w->a };
    put_symbols(z, &symbols, text_str(&body), "-1");
    if (!mentions(text_str(&symbols), "dims")) text_put(t, "    (void)dims;\n");
    text_put(t, text_str(&symbols));
    text_put(t, text_str(&body));
    text_put(t, "}\n\n");
}

static void put_shapes(state *z, text *t)
{
    const program *p = z->p;
    name_set names;
    text body = { .a = z->w->a };
    begin_scope(z, &body, &names);
    int at = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < (pass ? p->n_outputs : p->n_inputs); i++) {
            const pbuf *b = tensor_of(p, pass ? PBUF_output : PBUF_input, i);
            for (int j = 0; j < b->rank; j++) {
                text_printf(&body, "    extents[%d] = ", at++);
                put_dim(&z->s, &body, b->dims[j], BIND_any);
                text_put(&body, ";\n");
            }
        }
    text_printf(t, "static void %s_shapes(const int64_t *dims, int64_t *extents)\n{\n", z->prefix);
    bool any = false;
    for (int i = 0; i < dims_n_symbols(p->dims); i++) {
        const char *name = z->s.symbol_name[i];
        int64_t lo, hi;
        if (!mentions(text_str(&body), name)) continue;
        any = true;
        dims_symbol_range(p->dims, i, &lo, &hi);
        text_printf(t, "    const int64_t %s = dims[%d] < ", name, i);
        put_i64(t, lo);
        text_printf(t, " || dims[%d] > ", i);
        put_i64(t, hi);
        text_put(t, " ? ");
        put_i64(t, hi);
        text_printf(t, " : dims[%d];\n", i);
    }
    if (!any) text_put(t, "    (void)dims;\n");
    if (!at) text_put(t, "    (void)extents;\n");
    text_put(t, text_str(&body));
    text_put(t, "}\n\n");
}

/* -- Tables ---------------------------------------------------------------------------------------------- */

static void put_string(text *t, const char *s)
{
    text_put(t, "\"");
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c >= 32 && c < 127 && c != '"' && c != '\\' && c != '?') text_printf(t, "%c", c);
        else text_printf(t, "\\%03o", c);
    }
    text_put(t, "\"");
}

static void put_tensors(state *z, text *t, pbuf_kind kind, int n, const char *what)
{
    if (!n) return;
    text_printf(t, "static const dlc_tensor_info %s_%s[%d] = {\n", z->prefix, what, n);
    for (int i = 0; i < n; i++) {
        const pbuf *b = tensor_of(z->p, kind, i);
        text_put(t, "    { ");
        put_string(t, b->name);
        text_printf(t, ", \"%s\", %d },\n", dtype_info[b->dtype].name, b->rank);
    }
    text_put(t, "};\n\n");
}

/* The states, for all entries. */
static void put_states(const state *z, text *t)
{
    const program *p = z->p;
    const char *x = z->prefix;
    if (!p->n_states) return;
    for (int i = 0; i < p->n_states; i++) {
        const state_row *r = &p->states[i];
        if (!r->rank) continue;
        text_printf(t, "static const int64_t %s_extents_%d[%d] = {", x, i, r->rank);
        for (int k = 0; k < r->rank; k++) { text_put(t, k ? ", " : " "); put_i64(t, r->extents[k]); }
        text_put(t, " };\n");
    }
    text_printf(t, "static const dlc_state_info %s_states[%d] = {\n", x, p->n_states);
    for (int i = 0; i < p->n_states; i++) {
        const state_row *r = &p->states[i];
        text_put(t, "    { ");
        put_string(t, r->name);
        text_printf(t, ", \"%s\", %d, %d, ", dtype_info[r->dtype].name, r->rank, r->is_trained);
        text_printf(t, r->rank ? "%s_extents_%d, " : "NULL, ", x, i);
        put_i64(t, r->offset);
        text_put(t, ", ");
        put_i64(t, r->bytes);
        text_put(t, " },\n");
    }
    text_put(t, "};\n\n");
}

static void put_entries(const state *z, text *t)
{
    int n = 0;
    for (const program *q = z->p; q; q = q->next) n++;
    text_printf(t, "static const dlc_entry %s_entries[%d] = {\n", z->prefix, n);
    for (const program *q = z->p; q; q = q->next) {
        text_put(t, "    { ");
        put_string(t, q->entry);
        text_printf(t, ", &%s_model },\n", entry_name(z->w, q));
    }
    text_put(t, "};\n\n");
}

static void put_model(state *z, text *t)
{
    const program *p = z->p;
    const char *x = z->prefix;
    int n = dims_n_symbols(p->dims);
    put_tensors(z, t, PBUF_input, p->n_inputs, "inputs");
    put_tensors(z, t, PBUF_output, p->n_outputs, "outputs");
    if (n) {
        text_printf(t, "static const dlc_dim_info %s_dims[%d] = {\n", x, n);
        for (int i = 0; i < n; i++) {
            int64_t lo, hi;
            dims_symbol_range(p->dims, i, &lo, &hi);
            text_put(t, "    { ");
            put_string(t, dims_symbol_name(p->dims, i));
            text_put(t, ", ");
            put_i64(t, lo);
            text_put(t, ", ");
            put_i64(t, hi);
            text_printf(t, ", %d },\n", z->is_result[i]);
        }
        text_put(t, "};\n\n");
    }
    bool has_entries = p == z->w->p && p->entry;
    if (has_entries) put_entries(z, t);
    text_printf(t, "#define %s_MODEL_TABLE { \\\n    DLC_MODEL_ABI, ", x);
    put_string(t, p->name ? p->name : "");
    text_printf(t, ", \"c\", %d, %d, %d, \\\n", p->n_inputs, p->n_outputs, n);
    text_printf(t, p->n_inputs ? "    %s_inputs, " : "    NULL, ", x);
    text_printf(t, p->n_outputs ? "%s_outputs, " : "NULL, ", x);
    text_printf(t, n ? "%s_dims, \\\n" : "NULL, \\\n", x);
    text_printf(t, z->outside ? "    %s_WEIGHTS_BYTES, " : "    0, ", z->w->prefix);
    text_printf(t, "%s_workspace, %s_shapes, %s_run, \\\n    ", x, x, x);
    put_i64(t, p->states_bytes);
    int n_entries = 0;
    for (const program *q = has_entries ? p : NULL; q; q = q->next) n_entries++;
    text_printf(t, ", %d, %d, ", p->n_states, n_entries);
    text_printf(t, p->n_states ? "%s_states, " : "NULL, ", z->w->prefix);
    text_printf(t, n_entries ? "%s_entries }\n\n" : "NULL }\n\n", x);
    text_printf(t, "const dlc_model %s_model = %s_MODEL_TABLE;\n", x, x);
    if (p == z->w->p)
        text_printf(
            t,
            "#ifdef %s_SHARED            /* a library that is opened without knowing its name */\n"
            "extern const dlc_model dlc_model_v1;\nconst dlc_model dlc_model_v1 = %s_MODEL_TABLE;\n#endif\n",
            x, x);
}

/* -- The file -------------------------------------------------------------------------------------------- */

static void put_preamble(writer *w, text *t)
{
    const char *x = w->prefix;
    text_printf(
        t,
        "/* Made by dlc: see %s. Standard C99; build it with optimization (-O2, -O3) and without "
        "-ffast-math. */\n",
        w->o->header);
    text_printf(t, "#include \"%s\"\n#include <stddef.h>\n#include <float.h>\n\n", w->o->header);
    text_put(
        t,
        "/* Results are the same everywhere: every operation rounds once, none is merged with another. */\n"
        "#if defined(__clang__)\n#pragma STDC FP_CONTRACT OFF\n"
        "#elif defined(__GNUC__) && !defined(__TINYC__)\n#pragma GCC optimize (\"fp-contract=off\")\n#endif\n"
        "#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0\n"
        "#error \"floats must be evaluated in their own precision (on x86: -mfpmath=sse)\"\n#endif\n"
        "#ifdef __FAST_MATH__\n#error \"-ffast-math changes results\"\n#endif\n");
    if (w->p->fma == FMA_FUSED)
        text_put(t,
                 "#if !defined(__FMA__) && !defined(__ARM_FEATURE_FMA) && !defined(__riscv_flen)\n"
                 "#error \"made with --fma: needs a target with fused multiply-add (x86: -mfma)\"\n#endif\n");
    text_put(t, "\n");
    bool any = false;
    for (int i = 0; i <= MAX_LANES; i++) any |= w->uses_lanes[i];
    if (any) {
        text_put(
            t,
            "/* Loops over lanes: to be vectorized first and unrolled then. */\n"
            "#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 8\n");
        for (int on = 1; on >= 0; on--) {
            for (int i = 0; i <= MAX_LANES; i++)
                if (w->uses_lanes[i] && on)
                    text_printf(t, "#define %s_LANES_%d _Pragma(\"GCC unroll %d\")\n", x, i, i / 2);
                else if (w->uses_lanes[i]) text_printf(t, "#define %s_LANES_%d\n", x, i);
            text_put(t, on ? "#else\n" : "#endif\n\n");
        }
    }
    any = false;
    for (int i = 0; i < DTYPE_COUNT; i++) any |= w->uses_type[i];
    if (!any) return;
    text_put(t, "/* Elements of memory: the same bytes may hold another type before and after. */\n");
    text_printf(
        t,
        "#if defined(__GNUC__) && !defined(__TINYC__)\n#define %s_MEMORY __attribute__((may_alias))\n#else\n"
        "#define %s_MEMORY\n#endif\n",
        x, x);
    for (int i = 0; i < DTYPE_COUNT; i++)
        if (w->uses_type[i])
            text_printf(t, "typedef %s %s_MEMORY %s_%s;\n", c_type((dtype)i), x, x, dtype_info[i].name);
    text_put(t, "\n");
    put_vector_types(w, t);
}

static const char region_source[] =
    "static void %s_region(const dlc_run_hook *hook, dlc_region_fn fn, void *arg, int64_t n)\n{\n"
    "    if (n <= 0) return;\n    if (hook->parallel) hook->parallel(hook->pool, fn, arg, n);\n"
    "    else fn(arg, 0, n);\n}\n\n";

/* Kernels are written as the entries' functions name them; these come after them in the file. */
static void put_all(writer *w, state *z, int n, text *c)
{
    const program *p = w->p;
    arena *a = w->a;
    name_set names;
    names_init(&names, a, w->prefix);
    const char **kernel_name = NEW_ARRAY(a, const char *, p->kernels.n);
    bool *is_called = NEW_ARRAY(a, bool, p->kernels.n);
    int *kernel_of = NEW_ARRAY(a, int, p->kernels.n);
    equal_kernels(a, p, kernel_of);
    for (int64_t i = 0; i < p->kernels.n; i++)
        if (kernel_of[i] == i)
            kernel_name[i] = arena_printf(a, "%s_k_%s", w->prefix, name_new(&names, p->kernels.at[i]->name));
    text run = { .a = a }, rest = { .a = a };
    for (int i = 0; i < n; i++) {
        z[i].kernel_name = kernel_name;
        z[i].is_called = is_called;
        z[i].kernel_of = kernel_of;
        put_run(&z[i], &run);
    }
    for (int64_t i = 0; i < p->kernels.n; i++)
        if (is_called[i]) write_kernel(w, p->kernels.at[i], kernel_name[i]);
    text placing = { .a = a };
    put_states(z, &rest);
    for (int i = n; i-- > 0;) {                         /* the first comes last: its table names the others */
        put_place(&z[i], &placing);
        put_workspace(&z[i], &rest);
        put_shapes(&z[i], &rest);
        put_model(&z[i], &rest);
    }
    put_preamble(w, c);
    for (int i = 0; i < n; i++) put_constants(&z[i], c);
    text_put(c, text_str(&w->helpers));
    const char *region = arena_printf(a, "%s_region", w->prefix);
    if (mentions(text_str(&w->kernels), region)) text_printf(c, region_source, w->prefix);
    text_put(c, text_str(&w->kernels));
    text_put(c, text_str(&placing));
    text_put(c, text_str(&run));
    text_put(c, text_str(&rest));
}

static dlc_status refuse(dlc_context *ctx, const char *what)
{
    diag_no_codegen(ctx, (place){ 0 }, what);
    return DLC_ERR_UNSUPPORTED;
}

dlc_status c_emit(dlc_context *ctx, arena *a, const program *p, const c_options *o, bytes *c_file,
                  bytes *bin_file)
{
    writer w = { .ctx = ctx,
                 .a = a,
                 .p = p,
                 .o = o,
                 .prefix = o->prefix,
                 .ex = expander_new(a),
                 .helpers = { .a = a },
                 .kernels = { .a = a } };
    map_init(&w.has_helper, a);
    int n = 0;
    for (const program *q = p; q; q = q->next) n++;
    state *z = NEW_ARRAY(a, state, n);
    int64_t weights_bytes = 0;
    n = 0;
    for (const program *q = p; q; q = q->next, n++) {
        z[n] = (state){ .w = &w,
                        .p = q,
                        .prefix = entry_name(&w, q),
                        .buf_name = NEW_ARRAY(a, const char *, q->bufs.n),
                        .is_read = NEW_ARRAY(a, bool, q->bufs.n),
                        .open = open_plan_make(a, q) };
        if (!lay_out_weights(&z[n], &weights_bytes)) return refuse(ctx, "constants without elements");
        z[n].is_result = program_found_symbols(z[n].w->a, z[n].p);
    }
    bool outside = weights_bytes > (o->max_inside_bytes ? o->max_inside_bytes : C_MAX_INSIDE);
    for (int i = 0; i < n; i++) {
        z[i].outside = outside;
        z[i].weights_bytes = weights_bytes;
    }
    text c = { .a = a };
    put_all(&w, z, n, &c);
    *c_file = (bytes){ (const uint8_t *)text_str(&c), (size_t)c.n };
    *bin_file = outside ? weights_file(a, z, n, weights_bytes) : (bytes){ 0 };
    return DLC_OK;
}

c_sizes c_measure(arena *a, const program *p)
{
    c_sizes r = { 0, 0 };
    writer w = { .a = a };
    for (const program *q = p; q; q = q->next) {
        state z = { .w = &w, .p = q };
        lay_out_weights(&z, &r.weights_bytes);
        for (int64_t i = 0; i < q->kernels.n; i++) {
            int64_t n = kernel_stack_bytes(q->kernels.at[i]);
            if (n > r.stack_bytes) r.stack_bytes = n;
        }
    }
    return r;
}
