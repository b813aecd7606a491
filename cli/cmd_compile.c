/* compile: a model to a file: what kind is said by its ending, or by --emit
 *
 *     .so   shared library        .o    object            .a   archive of one object
 *     .ll   LLVM IR               .s    assembly          .h   the header alone
 *
 * A header of the same name goes beside .so, .o and .a. All files are written when everything else has succeeded.
 */
#include "api/header.h"
#include "base/embed.h"
#include "cli/cli.h"

typedef enum { FORM_so, FORM_o, FORM_a, FORM_ll, FORM_s, FORM_h, FORM_COUNT } form;
static const char *const ending[FORM_COUNT] = { "so", "o", "a", "ll", "s", "h" };

typedef struct { cli *c; const char *out, *stem, *folder; form form; driver_options options; program *p; } compilation;

/* -- Names ------------------------------------------------------------------------------------------------------------------ */

static bool find_form(compilation *k)
{
    const char *slash = strrchr(k->out, '/'), *base = slash ? slash + 1 : k->out, *dot = strrchr(base, '.');
    k->folder = arena_strndup(k->c->a, k->out, (size_t)(base - k->out));
    k->stem = dot && dot != base ? arena_strndup(k->c->a, base, (size_t)(dot - base)) : base;
    int i = opt_choice(k->c, OPT_emit, -1);
    for (int f = 0; dot && i < 0 && f < FORM_COUNT; f++)
        if (strcmp(dot + 1, ending[f]) == 0) i = f;
    k->form = (form)i;
    if (i >= 0) return true;
    diag_option_value(k->c->ctx, (place){ 0 }, "output", "ends in none of .so, .o, .a, .ll, .s, .h; or say which by --emit");
    k->c->is_usage = true;
    return false;
}

static const char *beside(const compilation *k, const char *name) { return arena_printf(k->c->a, "%s%s", k->folder, name); }

/* -- Writing ------------------------------------------------------------------------------------------------------------------ */

/* An archive as ar writes it, with one member and its symbol in the index. */
static void put_archive(text *t, const char *prefix, const char *member, bytes object)
{
    const char *symbol = arena_printf(t->a, "%s_model", prefix);
    size_t n_symbols = strlen(symbol) + 1, n_index = (8 + n_symbols + 1) & ~(size_t)1;
    uint32_t at = (uint32_t)(8 + 60 + n_index);
    text_printf(t, "!<arch>\n%-16s%-12d%-6d%-6d%-8o%-10zu`\n", "/", 0, 0, 0, 0, n_index);
    text_putn(t, (char[8]){ 0, 0, 0, 1, (char)(at >> 24), (char)(at >> 16), (char)(at >> 8), (char)at }, 8);
    text_putn(t, symbol, n_symbols);
    while ((size_t)t->n < at) text_putn(t, "", 1);
    text_printf(t, "%-16s%-12d%-6d%-6d%-8o%-10zu`\n", arena_printf(t->a, "%.13s/", member), 0, 0, 0, 0644, object.n);
    text_putn(t, (const char *)object.at, object.n);
    if (object.n & 1) text_putn(t, "\n", 1);
}

static bool write_header(compilation *k, const char *path)
{
    text t = { .a = k->c->a };
    header_write(k->p, k->options.codegen.prefix, &t);
    return cli_write_text(k->c, path, &t);
}

static bool write_pool(compilation *k)
{
    for (const embedded_file *f = embedded_runtime; f->name; f++)
        if ((strcmp(f->name, "pool.c") == 0 || strcmp(f->name, "pool.h") == 0 || strcmp(f->name, "runtime.h") == 0)
            && !cli_write(k->c, beside(k, f->name), f->bytes, f->size)) return false;
    return true;
}

static dlc_status write_code(compilation *k)
{
    static const emit_kind kind[FORM_COUNT] = { [FORM_o] = EMIT_OBJECT, [FORM_a] = EMIT_OBJECT, [FORM_ll] = EMIT_LLVM_IR, [FORM_s] = EMIT_ASM };
    cli *c = k->c;
    if (k->form == FORM_h) return DLC_OK;
    if (k->form == FORM_so) return driver_emit_shared(c->ctx, k->p, &k->options, k->out);
    bytes code;
    dlc_status s = driver_emit(c->ctx, c->a, k->p, &k->options, kind[k->form], &code);
    if (s != DLC_OK) return s;
    text archive = { .a = c->a };
    if (k->form == FORM_a) {
        put_archive(&archive, k->options.codegen.prefix, arena_printf(c->a, "%s.o", k->options.codegen.prefix), code);
        code = (bytes){ (const uint8_t *)archive.at, (size_t)archive.n };
    }
    return cli_write(c, k->out, code.at, code.n) ? DLC_OK : DLC_ERR_IO;
}

int command_compile(cli *c)
{
    compilation k = { .c = c, .out = opt_value(c, OPT_compile_out) };
    const char *model = cli_operand(c);
    if (!model) return EXIT_USAGE;
    if (!k.out) {
        diag_option_value(c->ctx, (place){ 0 }, "output", "is missing: say what to write, as -o model.so");
        return EXIT_USAGE;
    }
    if (!find_form(&k) || !cli_driver_options(c, &k.options)) return EXIT_USAGE;
    k.options.codegen.prefix = c_identifier(c->a, opt_value(c, OPT_name) ? opt_value(c, OPT_name) : k.stem);
    k.options.codegen.debug_names = k.form == FORM_ll;

    graph *g;
    dlc_status s = driver_import(c->ctx, c->a, model, &k.options, &g);
    if (s == DLC_OK) s = driver_passes(c->ctx, &k.options, &g);
    if (s == DLC_OK) s = driver_lower(c->ctx, &k.options, g, &k.p);
    if (s == DLC_OK) s = driver_constants(c->ctx, k.p);
    if (s == DLC_OK) s = write_code(&k);
    bool has_header = k.form == FORM_so || k.form == FORM_o || k.form == FORM_a;
    const char *header = k.form == FORM_h ? k.out : beside(&k, arena_printf(c->a, "%s.h", k.stem));
    if (s == DLC_OK && (has_header || k.form == FORM_h) && !write_header(&k, header)) s = DLC_ERR_IO;
    if (s == DLC_OK && opt_given(c, OPT_pool) && !write_pool(&k)) s = DLC_ERR_IO;
    return exit_code(s);
}
