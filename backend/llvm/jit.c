/* backend/llvm/jit.c: the units of a program loaded into this process by ORC.
 *
 * The objects are made by compile.c on all threads; ORC only links them. Constants are absolute symbols at
 * the address where the program holds them: nothing is copied, and the program's memory must outlive the
 * code. The three functions of libc that code generation may call are given by address, so no library is
 * searched.
 */
#include "backend/llvm/jit.h"
#include <llvm-c/Error.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Orc.h>
#include <stdlib.h>

typedef struct { loaded_code base; LLVMOrcLLJITRef jit; } jit_code;

static dlc_status report(dlc_context *ctx, const program *p, LLVMErrorRef error)
{
    char *message = LLVMGetErrorMessage(error);
    diag_llvm(ctx, (place){ .file = p->name }, message);
    LLVMDisposeErrorMessage(message);
    return ctx->status;
}

static LLVMErrorRef define(LLVMOrcLLJITRef jit, arena *a, const program *p, const codegen_options *o)
{
    static const struct { const char *name; void *at; } library[] =
        { { "memcpy", (void *)memcpy }, { "memset", (void *)memset }, { "memmove", (void *)memmove } };
    int64_t most = 3;
    for (const program *q = p; q; q = q->next) most += q->bufs.n;
    LLVMOrcCSymbolMapPair *pair = NEW_ARRAY(a, LLVMOrcCSymbolMapPair, most);
    size_t n = 0;
    LLVMJITSymbolFlags flags = { LLVMJITSymbolGenericFlagsExported, 0 };
    for (int i = 0; i < 3; i++)
        pair[n++] = (LLVMOrcCSymbolMapPair){ LLVMOrcLLJITMangleAndIntern(jit, library[i].name),
                                             { (uintptr_t)library[i].at, flags } };
    for (const program *q = p; q && !o->external_weights; q = q->next) {
        const int *first = constant_table(a, q);
        const char *prefix = entry_prefix(a, o->prefix, q, p);
        for (int i = 0; i < q->bufs.n; i++) {
            if (q->bufs.at[i].kind != PBUF_const || first[i] != i) continue;
            const void *at = q->bufs.at[i].data ? q->bufs.at[i].data : q;     /* none: of size 0 */
            pair[n++] = (LLVMOrcCSymbolMapPair){
                LLVMOrcLLJITMangleAndIntern(jit, constant_symbol(a, prefix, i)), { (uintptr_t)at, flags }
            };
        }
    }
    return LLVMOrcJITDylibDefine(LLVMOrcLLJITGetMainJITDylib(jit), LLVMOrcAbsoluteSymbols(pair, n));
}

static LLVMErrorRef add_objects(LLVMOrcLLJITRef jit, const unit_list *units)
{
    for (int i = 0; i < units->n; i++) {
        LLVMMemoryBufferRef b = LLVMCreateMemoryBufferWithMemoryRangeCopy((const char *)units->at[i].at,
                                                                          units->at[i].n, "unit");
        LLVMErrorRef error = LLVMOrcLLJITAddObjectFile(jit, LLVMOrcLLJITGetMainJITDylib(jit), b);
        if (error) return error;
    }
    return NULL;
}

static LLVMErrorRef create(const target *t, LLVMOrcLLJITRef *jit)
{
    char *message = NULL;
    LLVMTargetMachineRef tm = target_machine(t, &message);
    if (!tm) {
        LLVMErrorRef error = LLVMCreateStringError(message);
        LLVMDisposeMessage(message);
        return error;
    }
    LLVMOrcLLJITBuilderRef builder = LLVMOrcCreateLLJITBuilder();
    LLVMOrcLLJITBuilderSetJITTargetMachineBuilder(builder,
                                                  LLVMOrcJITTargetMachineBuilderCreateFromTargetMachine(tm));
    return LLVMOrcCreateLLJIT(jit, builder);
}

dlc_status jit_program(dlc_context *ctx, const program *p, const codegen_options *o, loaded_code **out,
                       const struct dlc_model **model)
{
    *out = NULL;
    *model = NULL;
    arena *a = arena_new(&ctx->mem);
    unit_list units;
    dlc_status status = compile_units(ctx, a, p, o, EMIT_JIT, &units);
    if (status != DLC_OK) { arena_free(a); return status; }
    jit_code *code = calloc(1, sizeof *code);
    if (!code) mem_fail(&ctx->mem);
    code->base.unload = jit_unload;
    LLVMOrcExecutorAddress address = 0;
    LLVMErrorRef error = create(&o->target, &code->jit);
    if (!error) error = define(code->jit, a, p, o);
    if (!error) error = add_objects(code->jit, &units);
    if (!error) error = LLVMOrcLLJITLookup(code->jit, &address, "dlc_model_v1");
    if (error) {
        status = report(ctx, p, error);
        jit_unload(&code->base);
    } else {
        *out = &code->base;
        *model = (const struct dlc_model *)(uintptr_t)address;
    }
    arena_free(a);
    return status;
}

void jit_unload(loaded_code *code)
{
    if (!code) return;
    LLVMOrcLLJITRef jit = ((jit_code *)code)->jit;
    if (jit) LLVMConsumeError(LLVMOrcDisposeLLJIT(jit));
    free(code);
}
