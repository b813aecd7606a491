/* backend/llvm/backend.c: the module's one exported object, the table of backend/codegen.h. */
#include "backend/link.h"
#include "backend/llvm/jit.h"
#include <llvm-c/Core.h>

/* The constants that are not in the code. */
static link_job job_of(arena *a, const program *p, const codegen_options *o, link_kind kind,
                       const unit_list *units)
{
    link_job job = { .kind = kind, .target = &o->target, .n_objects = units->n, .objects = units->at };
    if (kind == LINK_SHARED && o->pool.n) {
        bytes *objects = NEW_ARRAY(a, bytes, units->n + 1);
        memcpy(objects, units->at, (size_t)units->n * sizeof *objects);
        objects[job.n_objects++] = o->pool;
        job.objects = objects;
    }
    if (o->external_weights || o->constant_table) return job;
    vec(data_symbol) data = { 0 };
    for (const program *q = p; q; q = q->next) {
        const int *first = constant_table(a, q);
        const char *prefix = entry_prefix(a, o->prefix, q, p);
        for (int i = 0; i < q->bufs.n; i++) {
            if (q->bufs.at[i].kind != PBUF_const || constant_is_small(q, i) || first[i] != i) continue;
            vec_push(
                a, &data,
                ((data_symbol){ constant_symbol(a, prefix, i), q->bufs.at[i].data, constant_bytes(q, i) }));
        }
    }
    job.data = data.at;
    job.n_data = (int)data.n;
    return job;
}

static dlc_status emit(dlc_context *ctx, arena *a, const program *p, const codegen_options *o, emit_kind kind,
                       bytes *out)
{
    unit_list units;
    dlc_status status = compile_units(ctx, a, p, o, kind, &units);
    if (status != DLC_OK) return status;
    link_job job = job_of(a, p, o, LINK_RELOCATABLE, &units);
    if (units.n == 1 && (!job.n_data || kind != EMIT_OBJECT)) { *out = units.at[0]; return DLC_OK; }
    if (o->progress) o->progress(o->progress_arg, "link", 0, 0);
    return link_to_memory(ctx, a, &job, out);
}

static dlc_status emit_shared(dlc_context *ctx, const program *p, const codegen_options *o, const char *path)
{
    arena *a = arena_new(&ctx->mem);
    unit_list units;
    dlc_status status = compile_units(ctx, a, p, o, EMIT_SHARED, &units);
    if (status == DLC_OK) {
        link_job job = job_of(a, p, o, LINK_SHARED, &units);
        if (o->progress) o->progress(o->progress_arg, "link", 0, 0);
        status = link_to_file(ctx, path, &job);
    }
    arena_free(a);
    return status;
}

#define TEXT(x) #x
#define NUMBER(x) TEXT(x)

__attribute__((visibility("default"))) extern const llvm_backend dlc_llvm_backend;
const llvm_backend dlc_llvm_backend = {
    .abi = DLC_LLVM_BACKEND_ABI,
    .llvm_version = NUMBER(DLC_LLVM_MAJOR),
    .jit = jit_program,
    .unload = jit_unload,
    .emit = emit,
    .emit_shared = emit_shared,
};
