/* driver: the way of a model through the compiler (driver.h) */
#include "api/driver.h"
#include "backend/cache.h"
#include "backend/eval/eval.h"
#include "backend/eval/eval_loop.h"
#include "api/tensor_file.h"
#include "api/train_onnx.h"
#include "passes/grad.h"
#include <dlfcn.h>
#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

void driver_set_target(driver_options *o, const target *t)
{
    o->codegen.target = *t;
    o->machine = (machine){ .vector_bytes = t->vector_bytes, .vector_registers = t->vector_registers, .fma_latency = t->fma_latency,
                            .fma_per_cycle = t->fma_per_cycle, .loads_per_cycle = t->loads_per_cycle, .l1_bytes = t->l1_bytes,
                            .l2_bytes = t->l2_bytes, .l3_bytes = t->l3_bytes };
}

void driver_set_portable(driver_options *o)
{
    if (o->machine.vector_bytes > 32) o->machine.vector_bytes = 32;
    if (o->machine.vector_registers > 16) o->machine.vector_registers = 16;
    o->fma = o->c_fma ? FMA_FUSED : FMA_ROUNDED;
}

driver_options driver_defaults(void)
{
    driver_options o = { .fma = FMA_FUSED, .level = 2, .until = PASS_COUNT };
    target t = target_host(0);
    driver_set_target(&o, &t);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    o.codegen.prefix = "model";
    o.codegen.threads = n > 1 ? n > 64 ? 64 : (int)n : 1;
    return o;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void tell(const driver_options *o, const char *what, int64_t done, int64_t of)
{
    if (o->codegen.progress) o->codegen.progress(o->codegen.progress_arg, what, done, of);
}

/* -- Import -------------------------------------------------------------------------------------------------------------- */

static dlc_status import_text(dlc_context *ctx, arena *a, const char *path, graph **out)
{
    bytes file;
    int err = 0;
    if (!file_map(a, path, &file, &err)) {
        diag_cannot_read(ctx, (place){ .file = path }, strerror(err));
        return DLC_ERR_IO;
    }
    if (memchr(file.at, 0, file.n)) {
        diag_not_a_model(ctx, (place){ .file = path });
        return DLC_ERR_INPUT;
    }
    *out = graph_parse(ctx, a, path, (const char *)file.at, file.n);
    return *out ? DLC_OK : DLC_ERR_INPUT;
}

static dlc_status evaluate_whole(dlc_context *ctx, arena *a, const graph *g, tensor *out)
{
    eval_options e = { 0 };
    return eval_graph(ctx, a, g, NULL, NULL, out, &e);
}

static dlc_status read_tensors(dlc_context *ctx, arena *a, const char *path, int *n, lang_tensor **out)
{
    tensor_entries e = { 0 };
    dlc_status s = tensors_open(ctx, a, path, &e);
    *n = 0;
    *out = NEW_ARRAY(a, lang_tensor, e.n + 1);
    for (int64_t i = 0; s == DLC_OK && i < e.n; i++) {
        s = tensor_load(ctx, a, &e.at[i]);
        (*out)[(*n)++] = (lang_tensor){ e.at[i].name, e.at[i].t };
    }
    return s;
}

/* -- ONNX in the language: its front end by the functions of ir/interop.h -------------------------------------------------- */

static bool signature_of(void *arg, dlc_context *ctx, arena *a, const char *path, model_signature *out)
{
    (void)arg;
    return onnx_model_signature(ctx, a, path, out);
}

static bool model_of(void *arg, dlc_context *ctx, arena *a, const char *path, dims *d, int n_in, const type *in, const operator_library *ops, bool by_batch, model_graph *out)
{
    (void)arg;
    onnx_options o = { .library = ops, .gradient = grad, .by_batch = by_batch };
    return onnx_model_graph(ctx, a, path, d, n_in, in, &o, out);
}

static char attribute_of(void *arg, const char *op, const char *attr, bool *is_known)
{
    (void)arg;
    return onnx_op_attribute(op, attr, is_known);
}

static dtype input_type_of(void *arg, const char *op, int i, int n_in, const dtype *have, bool with_point, bool *is_list)
{
    (void)arg;
    return onnx_op_input_type(op, i, n_in, have, with_point, is_list);
}

static bool call_of(void *arg, graph *g, const operator_call *call, int *n_out, op_value **out)
{
    (void)arg;
    onnx_options o = { .gradient = grad };
    return onnx_op_call(g, call, &o, n_out, out);
}

static const char *const *names_of(void *arg, arena *a, int *n)
{
    (void)arg;
    return onnx_op_names(a, n);
}

static const onnx_access onnx_for_lang = { .signature = signature_of, .model = model_of, .attribute = attribute_of, .input_type = input_type_of, .call = call_of, .names = names_of };

static lang_options lang_with_callbacks(arena *a, const driver_options *o)
{
    lang_options l = o->lang;
    lang_dim *d = NEW_ARRAY(a, lang_dim, o->onnx.n_dims + 1);
    for (int i = 0; i < o->onnx.n_dims; i++) d[i] = (lang_dim){ o->onnx.dims[i].name, o->onnx.dims[i].lo, o->onnx.dims[i].hi };
    l.n_dims = o->onnx.n_dims;
    l.dims = d;
    l.gradient = grad;
    l.evaluate = evaluate_whole;
    l.read_tensors = read_tensors;
    l.onnx = &onnx_for_lang;
    return l;
}

static void install_evaluator(dlc_context *ctx, arena *a, const driver_options *o)
{
    graph_evaluator *e = NEW(a, graph_evaluator);
    *e = eval_evaluator(o->fma);
    ctx->evaluator = e;
}

dlc_status driver_check(dlc_context *ctx, arena *a, const char *path, const driver_options *o)
{
    install_evaluator(ctx, a, o);
    lang_options l = lang_with_callbacks(a, o);
    return lang_check(ctx, a, path, &l);
}

dlc_status driver_format(dlc_context *ctx, arena *a, const char *path, text *out) { return lang_format(ctx, a, path, out); }

/* --params: of an initializer's name. */
static bool is_chosen(void *arg, const char *path)
{
    return fnmatch(arg, strncmp(path, "Net.", 4) == 0 ? path + 4 : path, 0) == 0;
}

dlc_status driver_train(dlc_context *ctx, arena *a, const char *path, const char *name, const driver_options *o, lang_training *t)
{
    driver_options mine = *o;
    install_evaluator(ctx, a, o);
    bool is_onnx = ends_with(path, ".onnx");
    if (!is_onnx && (o->loss || o->optimizer || o->label || o->params || !ends_with(path, ".dl"))) {
        diag_option_value(ctx, (place){ .file = path }, o->loss ? "loss" : o->optimizer ? "optimizer" : o->label ? "label" : o->params ? "params" : "train",
                          ends_with(path, ".dl") ? "is for ONNX models: the program says what is minimized" : "takes a .dl or an .onnx file");
        return DLC_ERR_INPUT;
    }
    if (is_onnx) {
        dlc_status s = train_onnx_program(ctx, a, path, o, &mine, &path);
        if (s != DLC_OK) return s;
    }
    lang_options l = lang_with_callbacks(a, &mine);
    if (o->params) {
        l.trains = is_chosen;
        l.trains_arg = (void *)(uintptr_t)o->params;
    }
    return lang_train(ctx, a, path, name, &l, t);
}

typedef struct { dlc_context *ctx; arena *a; tensor_entries entries; } weight_file;

static bool weight_named(void *arg, const char *path, tensor *out)
{
    weight_file *w = arg;
    for (int64_t i = 0; i < w->entries.n; i++)
        if (strcmp(w->entries.at[i].name, path) == 0 && tensor_load(w->ctx, w->a, &w->entries.at[i]) == DLC_OK) {
            *out = w->entries.at[i].t;
            return true;
        }
    return false;
}

static dlc_status import_lang(dlc_context *ctx, arena *a, const char *path, const driver_options *o, graph **out)
{
    lang_options l = lang_with_callbacks(a, o);
    weight_file w = { .ctx = ctx, .a = a };
    if (o->weights) {
        dlc_status s = tensors_open(ctx, a, o->weights, &w.entries);
        if (s != DLC_OK) return s;
        l.weight = weight_named;
        l.weight_arg = &w;
    }
    return lang_compile(ctx, a, path, &l, out);
}

/* Operators of the programs named by --ops, for the model. */
static dlc_status import_onnx(dlc_context *ctx, arena *a, const char *path, const driver_options *o, graph **out)
{
    onnx_options n = o->onnx;
    operator_library ops;
    n.gradient = grad;
    if (o->n_ops) {
        lang_options l = lang_with_callbacks(a, o);
        dlc_status s = lang_operators(ctx, a, o->n_ops, o->ops, &l, &ops);
        if (s != DLC_OK) return s;
        n.library = &ops;
    }
    return onnx_import(ctx, a, path, &n, out);
}

dlc_status driver_import(dlc_context *ctx, arena *a, const char *path, const driver_options *o, graph **out)
{
    double start = now();
    tell(o, "import", 0, 0);
    install_evaluator(ctx, a, o);
    dlc_status s = ends_with(path, ".onnx") ? import_onnx(ctx, a, path, o, out)
                   : ends_with(path, ".dl") ? import_lang(ctx, a, path, o, out) : import_text(ctx, a, path, out);
    if (s != DLC_OK) return s;
    if (o->verify && !graph_verify(*out, "import")) return DLC_ERR_INTERNAL;
    if (o->after) o->after(o->after_arg, PASS_COUNT, *out, NULL, 0, now() - start);
    return DLC_OK;
}

/* -- Passes --------------------------------------------------------------------------------------------------------------- */

bool driver_runs(const driver_options *o, int pass)
{
    return !o->off[pass] && pass_info[pass].level <= o->level && pass <= o->until;
}

static pass_run begin(dlc_context *ctx, const driver_options *o, int pass)
{
    return (pass_run){ .ctx = ctx, .scratch = arena_new(&ctx->mem), .limit = o->limit[pass] ? o->limit[pass] - 1 : -1,
                       .explain = o->explain && o->explain_pass == pass ? o->explain : NULL };
}

dlc_status driver_passes(dlc_context *ctx, const driver_options *o, graph **g)
{
    for (int i = 0; i < PASS_COUNT; i++) {
        if (pass_info[i].stage != STAGE_GRAPH || !driver_runs(o, i)) continue;
        double start = now();
        tell(o, pass_info[i].name, 0, 0);
        pass_run run = begin(ctx, o, i);
        dlc_status s = pass_info[i].graph_pass(&run, g);
        arena_free(run.scratch);
        if (s != DLC_OK) return s;
        if (o->verify && !graph_verify(*g, pass_info[i].name)) return DLC_ERR_INTERNAL;
        if (o->after) o->after(o->after_arg, i, *g, NULL, run.changes, now() - start);
    }
    return DLC_OK;
}

/* A schedule file: `@kernel: steps` a line; # starts a comment. */
static dlc_status apply_schedules(dlc_context *ctx, const driver_options *o, program *p)
{
    arena *scratch = arena_new(&ctx->mem);
    bytes file;
    int err = 0;
    dlc_status s = DLC_OK;
    if (!file_map(scratch, o->schedule_file, &file, &err)) {
        diag_cannot_read(ctx, (place){ .file = o->schedule_file }, strerror(err));
        s = DLC_ERR_IO;
    }
    const char *at = s == DLC_OK ? arena_strndup(scratch, (const char *)file.at, file.n) : "";
    for (int line = 1; *at && s == DLC_OK; line++) {
        size_t n = strcspn(at, "\n"), skip = strspn(at, " \t");
        const char *text_line = arena_strndup(scratch, at + skip, n > skip ? n - skip : 0), *colon = strchr(text_line, ':'), *why = "";
        at += n + (at[n] == '\n');
        if (!*text_line || *text_line == '#') continue;
        place where = { .file = o->schedule_file, .line = line };
        int64_t k = colon && *text_line == '@' ? 0 : p->kernels.n;
        size_t n_name = colon ? (size_t)(colon - text_line - 1) : 0;
        while (k < p->kernels.n && (strlen(p->kernels.at[k]->name) != n_name || memcmp(p->kernels.at[k]->name, text_line + 1, n_name) != 0)) k++;
        if (k < p->kernels.n && schedule_kernel(p, (int)k, colon + 1, scratch, &why)) continue;
        diag_schedule_line(ctx, where, k == p->kernels.n ? "names no kernel of the program; a line is `@kernel: steps`" : why);
        s = DLC_ERR_INPUT;
    }
    arena_free(scratch);
    return s;
}

static dlc_status program_pass(dlc_context *ctx, const driver_options *o, int pass, const graph *g, program **p)
{
    double start = now();
    tell(o, pass_info[pass].name, 0, 0);
    pass_run run = begin(ctx, o, pass);
    bool ok = true;
    if (pass == PASS_schedule && o->schedule_file) {
        dlc_status s = apply_schedules(ctx, o, *p);
        if (s != DLC_OK) return s;
    }
    if (pass == PASS_lower && o->off[PASS_fuse]) {          /* lower takes kernels: each node its own */
        graph *alone = (graph *)g;
        pass_run none = begin(ctx, o, PASS_fuse);
        none.limit = 0;
        dlc_status s = pass_info[PASS_fuse].graph_pass(&none, &alone);
        arena_free(none.scratch);
        if (s != DLC_OK) return s;
        g = alone;
    }
    if (pass == PASS_lower) *p = lower_program(&run, g, o->fma);
    else if (pass == PASS_states && o->states) ok = states_program(&run, *p, o->states);
    else if (pass == PASS_slots && !o->memory) ok = slots_program(&run, *p);      /* remat moves values, not their parts */
    else if (pass == PASS_cut) ok = cut_program(&run, *p);
    else if (pass == PASS_share) ok = share_program(&run, *p);
    else if (pass == PASS_schedule) ok = schedule_program(&run, *p, &o->machine);
    else if (pass == PASS_carries) ok = carries_program(&run, *p);
    else if (pass == PASS_remat && o->memory) ok = remat_program(&run, *p, o->memory);
    else if (pass == PASS_settle) ok = settle_program(&run, *p);
    else if (pass == PASS_merge) ok = merge_program(&run, *p);
    else if (pass == PASS_plan) ok = plan_program(&run, *p);
    arena_free(run.scratch);
    if (!ok || ctx->n_errors) return ctx->status ? ctx->status : DLC_ERR_INTERNAL;
    if (o->verify && (!program_verify(*p, pass_info[pass].name) || !program_text_check(*p, pass_info[pass].name) || (pass == PASS_plan && !plan_check(*p)))) return DLC_ERR_INTERNAL;
    if (o->after) o->after(o->after_arg, pass, g, *p, run.changes, now() - start);
    return DLC_OK;
}

static dlc_status program_passes(dlc_context *ctx, const driver_options *o, const graph *g, program **p, int first, int last)
{
    for (int i = first; i <= last; i++) {
        if (!driver_runs(o, i) || (i == PASS_lower && *p)) continue;
        if (i != PASS_lower && !*p) break;
        dlc_status s = program_pass(ctx, o, i, g, p);
        if (s != DLC_OK) return s;
    }
    return DLC_OK;
}

dlc_status driver_lower(dlc_context *ctx, const driver_options *o, const graph *g, program **p)
{
    return program_passes(ctx, o, g, p, PASS_lower, PASS_COUNT - 1);
}

dlc_status driver_lower_plain(dlc_context *ctx, const driver_options *o, const graph *g, program **p)
{
    return program_passes(ctx, o, g, p, PASS_lower, PASS_schedule - 1);
}

dlc_status driver_schedule(dlc_context *ctx, const driver_options *o, program *p)
{
    return program_passes(ctx, o, NULL, &p, PASS_schedule, PASS_COUNT - 1);
}

/* -- Running ---------------------------------------------------------------------------------------------------------------- */

static dlc_status evaluate_constants(dlc_context *ctx, program *p, const eval_options *e, bool anew)
{
    for (int64_t i = 0; i < p->bufs.n; i++) {
        pbuf *b = &p->bufs.at[i];
        if (b->kind != PBUF_const || !b->expr_graph || (b->data && !anew)) continue;
        arena *scratch = arena_new(&ctx->mem);
        tensor t;
        dlc_status s = eval_graph(ctx, scratch, b->expr_graph, NULL, NULL, &t, e);
        if (s == DLC_OK) b->data = arena_copy(p->arena, t.bytes, tensor_bytes(&t));
        arena_free(scratch);
        if (s != DLC_OK) return s;
    }
    return DLC_OK;
}

dlc_status driver_constants(dlc_context *ctx, program *p)
{
    return evaluate_constants(ctx, p, &(eval_options){ .fma = p->fma }, false);
}

dlc_status driver_weights(dlc_context *ctx, const driver_options *o, program *p)
{
    tell(o, "weights", 0, 0);
    if (load_weights(ctx, p, &o->codegen)) return DLC_OK;
    dlc_status s = driver_constants(ctx, p);
    if (s == DLC_OK) keep_weights(ctx, p, &o->codegen);
    return s;
}

void driver_merge_constants(dlc_context *ctx, program *p)
{
    arena *scratch = arena_new(&ctx->mem);
    map_str seen;
    map_init(&seen, scratch);
    for (int64_t i = 0; i < p->bufs.n; i++) {
        pbuf *b = &p->bufs.at[i];
        int64_t n;
        if (b->kind != PBUF_const || !b->data || !dim_is_const(b->bytes, &n) || n <= 0) continue;
        uint64_t key[3] = { hash_bytes(b->data, (size_t)n, 0), (uint64_t)n, (uint64_t)b->dtype };      /* C stores them by type */
        const pbuf *first = &p->bufs.at[*map_put(&seen, (const char *)key, sizeof key, (uint64_t)i, NULL)];
        if (first != b && memcmp(first->data, b->data, (size_t)n) == 0) b->data = first->data;
    }
    arena_free(scratch);
}

dlc_status driver_constants_filled(dlc_context *ctx, program *p, double undef)
{
    return evaluate_constants(ctx, p, &(eval_options){ .fma = p->fma, .fills_undef = true, .undef = undef }, true);
}

/* The shape of a type once symbols have their values. */
static bool shape_of(const dims *d, int rank, const dim *extents, const int64_t *symbols, int64_t *out)
{
    for (int i = 0; i < rank; i++)
        if (!dim_eval(d, extents[i], symbols, &out[i])) return false;
    return true;
}

dlc_status driver_eval(dlc_context *ctx, arena *a, const program *p, const int64_t *symbols, const tensor *in, tensor *out)
{
    return driver_eval_filled(ctx, a, p, symbols, in, out, NAN);
}

dlc_status driver_eval_filled(dlc_context *ctx, arena *a, const program *p, const int64_t *symbols, const tensor *in, tensor *out, double fill)
{
    int n_symbols = dims_n_symbols(p->dims);
    int64_t *s = NEW_ARRAY(a, int64_t, n_symbols + 1);
    if (symbols) memcpy(s, symbols, sizeof *s * (size_t)n_symbols);
    const void **inputs = NEW_ARRAY(a, const void *, p->n_inputs + 1);
    void **outputs = NEW_ARRAY(a, void *, p->n_outputs + 1);
    for (int i = 0; i < p->n_inputs; i++) inputs[i] = in[i].bytes;
    for (int64_t i = 0; i < p->bufs.n; i++) {
        const pbuf *b = &p->bufs.at[i];
        if (b->kind != PBUF_output) continue;
        tensor *t = &out[b->index];
        *t = (tensor){ .dtype = b->dtype, .rank = b->rank };
        int64_t size;
        if (!dim_eval(p->dims, b->bytes, s, &size) || size < 0) return DLC_ERR_SHAPE;
        outputs[b->index] = t->bytes = arena_alloc(a, (size_t)size);
    }
    expander *e = expander_new(a);
    eval_io io = { .inputs = inputs, .outputs = outputs, .symbols = s };
    loop_eval_options o = { .fill = fill };
    io.places_open = p->workspace_bytes < 0;
    if (p->workspace_bytes >= 0) {
        io.workspace_bytes = p->workspace_bytes;
        io.workspace = arena_alloc(a, (size_t)p->workspace_bytes);
    }
    if (!eval_program(ctx, e, p, &io, &o)) return ctx->status ? ctx->status : DLC_ERR_INTERNAL;
    for (int64_t i = 0; i < p->bufs.n; i++)
        if (p->bufs.at[i].kind == PBUF_output && !shape_of(p->dims, p->bufs.at[i].rank, p->bufs.at[i].dims, s, out[p->bufs.at[i].index].dims))
            return DLC_ERR_SHAPE;
    return DLC_OK;
}

/* -- Generated code -------------------------------------------------------------------------------------------------------- */

const llvm_backend *driver_llvm(dlc_context *ctx)
{
    void *module = dlopen("libdlc-llvm.so", RTLD_NOW | RTLD_LOCAL);       /* stays open: LLVM cannot be unloaded */
    const llvm_backend *b = module ? dlsym(module, "dlc_llvm_backend") : NULL;
    if (b && b->abi == DLC_LLVM_BACKEND_ABI) return b;
    diag_no_backend(ctx, (place){ 0 }, "LLVM", module ? "libdlc-llvm.so is of another version" : dlerror());
    return NULL;
}

dlc_status driver_load(dlc_context *ctx, const program *p, const driver_options *o, loaded_code **code, const dlc_model **model)
{
    return load_code(ctx, p, &o->codegen, driver_llvm, code, model);
}

void driver_unload(loaded_code *code) { unload_code(code); }

dlc_status driver_emit_shared(dlc_context *ctx, arena *a, const program *p, const driver_options *o, const char *path, const char **kept)
{
    return emit_library(ctx, a, p, &o->codegen, driver_llvm, path, kept);
}

dlc_status driver_emit(dlc_context *ctx, arena *a, const program *p, const driver_options *o, emit_kind kind, bytes *out)
{
    const llvm_backend *b = driver_llvm(ctx);
    return b ? b->emit(ctx, a, p, &o->codegen, kind, out) : DLC_ERR_UNSUPPORTED;
}
