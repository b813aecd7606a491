/* header: PREFIX.h beside a compiled model
 *
 *     PREFIX_NAME_BYTES, _ELEMENTS, _SHAPE   of each input and output whose sizes are fixed
 *     PREFIX_WORKSPACE_BYTES                 if it is fixed; else PREFIX_model.workspace(dims)
 *     PREFIX_STACK_BYTES                     of portable C: its local arrays
 *     PREFIX_infer(run, N, …, x, …, y, …)    one call, typed
 *     PREFIX_model                           the same as data (runtime/model.h)
 *
 * A training step has one such function and model for each of its programs, PREFIX_step, PREFIX_grad, …;
 * PREFIX_STATE_NAME is where a state stands in the block, PREFIX_STATES_BYTES its size, PREFIX_state(run,
 * path) finds one by its path.
 *
 * It contains runtime.h and model.h (and pool.h, where the library holds the pool), so that it needs no other
 * file of ours; their guards let several such headers meet.
 */
#include "api/header.h"
#include "base/embed.h"
#include <ctype.h>

const char *c_identifier(arena *a, const char *name)
{
    static const char *const keywords[] = {
        "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum",
        "extern", "float", "for",
        "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed", "sizeof",
        "static", "struct",
        "switch", "typedef", "union", "unsigned", "void", "volatile", "while", "main", "run",
    };
    text t = { .a = a };
    if (!isalpha((unsigned char)*name) && *name != '_') text_put(&t, "m");
    for (const char *p = name; *p && t.n < 64; p++) {
        char ch = isalnum((unsigned char)*p) ? *p : '_';
        text_putn(&t, &ch, 1);
    }
    const char *s = text_str(&t);
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (strcmp(keywords[i], s) == 0) return arena_printf(a, "%s_", s);
    return s;
}

static const char *c_type(dtype t)
{
    switch (t) {
    case DTYPE_f64: return "double";
    case DTYPE_f32: return "float";
    case DTYPE_i64: return "int64_t";
    case DTYPE_i32: return "int32_t";
    case DTYPE_i16: return "int16_t";
    case DTYPE_i8: case DTYPE_i4: case DTYPE_i2: return "int8_t";
    case DTYPE_u64: return "uint64_t";
    case DTYPE_u32: return "uint32_t";
    case DTYPE_u16: case DTYPE_f16: case DTYPE_bf16: return "uint16_t";
    default: return "uint8_t";
    }
}

/* Names of the parameters: those of the model made into identifiers, all different. */
static const char *unique_name(arena *a, map_str *used, const char *name, const char *other)
{
    const char *s = c_identifier(a, name && *name ? name : other), *tried = s;
    bool is_fresh;
    for (int i = 2; map_put(used, tried, strlen(tried), 0, &is_fresh), !is_fresh; i++)
        tried = arena_printf(a, "%s_%d", s, i);
    return tried;
}

static const pbuf *find_io(const program *p, pbuf_kind kind, int index)
{
    for (int64_t i = 0; i < p->bufs.n; i++)
        if (p->bufs.at[i].kind == kind && p->bufs.at[i].index == index) return &p->bufs.at[i];
    return NULL;
}

static const char *upper(arena *a, const char *s)
{
    char *u = arena_strdup(a, s);
    for (char *p = u; *p; p++) *p = (char)toupper((unsigned char)*p);
    return u;
}

/* A comment with the shape, and macros if it is fixed. */
static void put_io(const program *p, const char *prefix, const pbuf *b, const char *name, const char *what,
                   text *out)
{
    text shape = { .a = out->a };
    int64_t n = 1, k;
    bool is_fixed = true;
    for (int i = 0; i < b->rank; i++) {
        if (i) text_put(&shape, ", ");
        dim_print(p->dims, b->dims[i], &shape);
        is_fixed = is_fixed && dim_is_const(b->dims[i], &k) && mul_ok(n, k, &n);
    }
    text_printf(out, "/* %s %s: %s[%s] */\n", what, name, dtype_info[b->dtype].name, text_str(&shape));
    const char *up = upper(out->a, arena_printf(out->a, "%s_%s", prefix, name));
    text_printf(out, "#define %s_RANK %d\n", up, b->rank);
    if (!is_fixed) return;
    if (b->rank) text_printf(out, "#define %s_SHAPE { %s }\n", up, text_str(&shape));
    text_printf(out, "#define %s_ELEMENTS %lld\n#define %s_BYTES %lld\n", up, (long long)n, up,
                (long long)(n * dtype_bytes(b->dtype)));
}

/* What may stand in a comment. */
static const char *c_comment(arena *a, const char *name)
{
    char *s = arena_strdup(a, name);
    for (char *p = s; *p; p++)
        if (*p == '/' || *p == '*' || (unsigned char)*p < 32) *p = '_';
    return s;
}

static void put_runtime(bool has_pool, text *out)
{
    static const char *const parts[] = { "runtime.h", "model.h", "pool.h" };
    for (int i = 0; i < 2 + has_pool; i++)
        for (const embedded_file *f = embedded_runtime; f->name; f++) {
            if (strcmp(f->name, parts[i]) != 0) continue;
            const char *include = strstr(f->bytes, "#include \"runtime.h\"\n");
            size_t n = include ? (size_t)(include - f->bytes) : f->size;
            text_putn(out, f->bytes, n);
            if (include) text_put(out, include + strlen("#include \"runtime.h\"\n"));
            text_put(out, "\n");
        }
}

static const char *entry_doc(const char *entry)
{
    static const struct { const char *name, *doc;
    } all[] = {
        { "step", "One training step: losses of the batch, then all states updated." },
        { "grad",
          "The first half of a step: losses and gradients of the batch; states of layers are updated." },
        { "apply",
          "The second half of a step: parameters and states of the optimizer updated with these gradients." },
        { "test", "Losses and reports of a batch; nothing is updated." },
        { "init", "Sets all states to their first values." },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(all[i].name, entry) == 0) return all[i].doc;
    return "";
}

/* name: of the function; prefix: of the model */
static void put_function(const program *p, const char *name, const char *prefix, const char *const *in,
                         const char *const *out_name, const char *const *dim_name, text *out)
{
    int n_dims = dims_n_symbols(p->dims);
    const bool *is_result = program_found_symbols(out->a, p);
    const char *what =
        p->entry
            ? entry_doc(p->entry)
            : "Runs the model once, in the environment dlc_env: its workspace, and threads if there are "
              "any. Sizes that data decide\n * are written through their pointers.";
    text_printf(out, "\n/* %s */\n", what);
    text_printf(out, "static inline int32_t %s(const dlc_run *dlc_env", name);
    for (int i = 0; i < n_dims; i++)
        text_printf(out, is_result[i] ? ", int64_t *%s" : ", int64_t %s", dim_name[i]);
    for (int i = 0; i < p->n_inputs; i++)
        text_printf(out, ", const %s *%s", c_type(find_io(p, PBUF_input, i)->dtype), in[i]);
    for (int i = 0; i < p->n_outputs; i++)
        text_printf(out, ", %s *%s", c_type(find_io(p, PBUF_output, i)->dtype), out_name[i]);
    text_put(out, ")\n{\n");
    text_printf(
        out,
        "    int64_t dlc_dims[%d] = { 0 };\n    const void *dlc_in[%d] = { 0 };\n"
        "    void *dlc_out[%d] = { 0 };\n    int32_t dlc_status;\n",
        n_dims + 1, p->n_inputs + 1, p->n_outputs + 1);
    for (int i = 0; i < n_dims; i++)
        if (!is_result[i]) text_printf(out, "    dlc_dims[%d] = %s;\n", i, dim_name[i]);
    for (int i = 0; i < p->n_inputs; i++) text_printf(out, "    dlc_in[%d] = %s;\n", i, in[i]);
    for (int i = 0; i < p->n_outputs; i++) text_printf(out, "    dlc_out[%d] = %s;\n", i, out_name[i]);
    text_printf(out, "    dlc_status = %s_model.run(dlc_env, dlc_dims, dlc_in, dlc_out);\n", prefix);
    for (int i = 0; i < n_dims; i++)
        if (is_result[i]) text_printf(out, "    *%s = dlc_dims[%d];\n", dim_name[i], i);
    text_put(out, "    return dlc_status;\n}\n");
}

/* Where each state stands, and how to find one. */
static void put_states(const program *p, const char *prefix, text *out)
{
    const char *up = upper(out->a, prefix);
    map_str used;
    map_init(&used, out->a);
    text_printf(out, "\n#define %s_STATES_BYTES %lld\n", up, (long long)p->states_bytes);
    for (int i = 0; i < p->n_states; i++) {
        const state_row *r = &p->states[i];
        text_printf(out, "#define %s_STATE_%s %lld     /* %s: %s[", up,
                    upper(out->a, unique_name(out->a, &used, r->name, "s")), (long long)r->offset,
                    c_comment(out->a, r->name), dtype_info[r->dtype].name);
        for (int k = 0; k < r->rank; k++) text_printf(out, "%s%lld", k ? ", " : "", (long long)r->extents[k]);
        text_printf(out, "]%s */\n", r->is_trained ? ", trained" : "");
    }
    text_printf(
        out,
        "\n/* The elements of a state of dlc_env, by its path, to read or to set; NULL: there is none of "
        "this name. */\n"
        "static inline void *%s_state(const dlc_run *dlc_env, const char *path)\n{\n"
        "    int32_t i;\n"
        "    for (i = 0; i < %s_model.n_states; i++) {\n"
        "        const char *a = %s_model.states[i].name, *b = path;\n"
        "        while (*a && *a == *b) { a++; b++; }\n"
        "        if (*a == *b) return (char *)dlc_env->states + %s_model.states[i].offset;\n"
        "    }\n    return 0;\n}\n",
        prefix, prefix, prefix, prefix);
}

/* Macros of the sizes of one program, and its function. */
static void put_program(const program *p, const char *name, const char *prefix, text *out)
{
    arena *a = out->a;
    map_str used;
    map_init(&used, a);
    int n_dims = dims_n_symbols(p->dims);
    const char **in = NEW_ARRAY(a, const char *, p->n_inputs),
               **outs = NEW_ARRAY(a, const char *, p->n_outputs);
    const char **dim_name = NEW_ARRAY(a, const char *, n_dims);
    for (int i = 0; i < n_dims; i++) dim_name[i] = unique_name(a, &used, dims_symbol_name(p->dims, i), "n");
    for (int i = 0; i < p->n_inputs; i++)
        in[i] = unique_name(a, &used, find_io(p, PBUF_input, i)->name, "in");
    for (int i = 0; i < p->n_outputs; i++)
        outs[i] = unique_name(a, &used, find_io(p, PBUF_output, i)->name, "out");
    for (int i = 0; i < p->n_inputs; i++) put_io(p, prefix, find_io(p, PBUF_input, i), in[i], "input", out);
    for (int i = 0; i < p->n_outputs; i++)
        put_io(p, prefix, find_io(p, PBUF_output, i), outs[i], "output", out);
    if (p->workspace_bytes >= 0)
        text_printf(out, "\n#define %s_WORKSPACE_BYTES %lld\n", upper(a, prefix),
                    (long long)p->workspace_bytes);
    text_printf(out, "\nextern const dlc_model %s_model;\n", prefix);
    put_function(p, name, prefix, in, outs, dim_name, out);
}

void header_write(const program *p, const char *prefix, bool has_pool, int64_t stack_bytes, text *out)
{
    arena *a = out->a;
    const char *guard = upper(a, prefix);
    text_printf(
        out,
        "/* %s.h: a model compiled by dlc %s. Made by dlc; changes are lost. */\n#ifndef %s_H\n"
        "#define %s_H\n\n",
        prefix, DLC_VERSION, guard, guard);
    put_runtime(has_pool, out);
    text_put(out, "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n");
    for (const program *q = p; q; q = q->next) {
        const char *own = q == p ? prefix : arena_printf(a, "%s_%s", prefix, q->entry);
        put_program(
            q, q->entry ? arena_printf(a, "%s_%s", prefix, q->entry) : arena_printf(a, "%s_infer", prefix),
            own, out);
        if (q->next) text_put(out, "\n");
    }
    if (stack_bytes >= 0)
        text_printf(
            out,
            "\n/* The most that local arrays take on the stack, besides what calls take. */\n"
            "#define %s_STACK_BYTES %lld\n",
            guard, (long long)stack_bytes);
    if (p->n_states) put_states(p, prefix, out);
    text_put(out, "\n#ifdef __cplusplus\n}\n#endif\n#endif\n");
}
