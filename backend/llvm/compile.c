/* backend/llvm/compile.c: from a program to modules, and from modules to objects, on several threads.
 *
 * Units   Kernels in program order, cut where a unit has UNIT_STATEMENTS statements; the program itself is
 *         the last unit, or part of the only one. The cut does not depend on the number of threads, so
 *         neither do the files.
 * Threads take the next unit until none is left. Each unit has its own LLVMContext, memory and expander; the
 *         program's unit is made by the calling thread, since it walks the dims table.
 * Passes  mem2reg and early-cse only: the loops come out as they should be (docs/design.md §10), code
 *         generation at level Less gives the same speed as Aggressive, in half the time.
 */
#include "backend/llvm/compile.h"
#include <assert.h>
#include <llvm-c/Analysis.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { UNIT_STATEMENTS = 400, MAX_THREADS = 64 };

/* -- Targets --------------------------------------------------------------------------------------------- */

static void register_targets(void)
{
    LLVMInitializeX86TargetInfo(); LLVMInitializeX86Target(); LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter(); LLVMInitializeX86AsmParser();
    LLVMInitializeAArch64TargetInfo(); LLVMInitializeAArch64Target(); LLVMInitializeAArch64TargetMC();
    LLVMInitializeAArch64AsmPrinter(); LLVMInitializeAArch64AsmParser();
    LLVMInitializeRISCVTargetInfo(); LLVMInitializeRISCVTarget(); LLVMInitializeRISCVTargetMC();
    LLVMInitializeRISCVAsmPrinter(); LLVMInitializeRISCVAsmParser();
}

LLVMTargetMachineRef target_machine(const target *t, char **error)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_targets);
    LLVMTargetRef llvm;
    if (LLVMGetTargetFromTriple(t->triple, &llvm, error)) return NULL;
    return LLVMCreateTargetMachine(llvm, t->triple, t->cpu, t->features, LLVMCodeGenLevelLess, LLVMRelocPIC,
                                   LLVMCodeModelDefault);
}

/* -- Functions and the floating-point mode --------------------------------------------------------------- */

static void attribute_text(emitter *e, V fn, const char *key, const char *text_)
{
    LLVMAttributeRef a = LLVMCreateStringAttribute(e->c, key, (unsigned)strlen(key), text_,
                                                   (unsigned)strlen(text_));
    LLVMAddAttributeAtIndex(fn, LLVMAttributeFunctionIndex, a);
}

/* Kernels are hidden: other units call them; the rest is internal. */
V new_function(emitter *e, const char *name, LLVMTypeRef ty, bool is_public)
{
    V fn = LLVMGetNamedFunction(e->m, name);
    if (!fn) fn = LLVMAddFunction(e->m, name, ty);
    if (is_public) LLVMSetVisibility(fn, LLVMHiddenVisibility);
    else LLVMSetLinkage(fn, LLVMInternalLinkage);
    unsigned nounwind = LLVMGetEnumAttributeKindForName("nounwind", 8),
             noinline_ = LLVMGetEnumAttributeKindForName("noinline", 8);
    LLVMAddAttributeAtIndex(fn, LLVMAttributeFunctionIndex, LLVMCreateEnumAttribute(e->c, nounwind, 0));
    LLVMAddAttributeAtIndex(fn, LLVMAttributeFunctionIndex, LLVMCreateEnumAttribute(e->c, noinline_, 0));
    if (strncmp(e->target->triple, "x86", 3) == 0) {
        char width[16];
        snprintf(width, sizeof width, "%d", 8 * e->target->vector_bytes);
        attribute_text(e, fn, "prefer-vector-width", width);
        attribute_text(e, fn, "min-legal-vector-width", width);
        if (e->target->tune && *e->target->tune) attribute_text(e, fn, "tune-cpu", e->target->tune);
    }
    return fn;
}

typedef enum { ARCH_x86, ARCH_aarch64, ARCH_riscv, ARCH_other } arch;
static arch arch_of(const target *t)
{
    if (strncmp(t->triple, "x86", 3) == 0) return ARCH_x86;
    if (strncmp(t->triple, "aarch64", 7) == 0) return ARCH_aarch64;
    return strncmp(t->triple, "riscv", 5) == 0 ? ARCH_riscv : ARCH_other;
}

static V inline_asm(emitter *e, LLVMTypeRef ty, const char *code, const char *constraints, V *args, int n)
{
    V fn = LLVMGetInlineAsm(ty, code, strlen(code), constraints, strlen(constraints), 1, 0,
                            LLVMInlineAsmDialectATT, 0);
    return LLVMBuildCall2(e->b, ty, fn, args, (unsigned)n, "");
}

/* Round to nearest, subnormals kept, no traps. Called in an entry block. */
V fp_enter(emitter *e)
{
    switch (arch_of(e->target)) {
    case ARCH_x86: {
        V old = LLVMBuildAlloca(e->b, e->i32, ""), now = LLVMBuildAlloca(e->b, e->i32, "");
        call_intrinsic(e, "llvm.x86.sse.stmxcsr", 0, NULL, 1, &old);
        LLVMBuildStore(e->b, LLVMConstInt(e->i32, 0x1f80, 0), now);
        call_intrinsic(e, "llvm.x86.sse.ldmxcsr", 0, NULL, 1, &now);
        return old;
    }
    case ARCH_aarch64: {
        V old = call_intrinsic(e, "llvm.aarch64.get.fpcr", 0, NULL, 0, NULL), zero = k_i64(e, 0);
        call_intrinsic(e, "llvm.aarch64.set.fpcr", 0, NULL, 1, &zero);
        return old;
    }
    case ARCH_riscv: {
        V old = inline_asm(e, LLVMFunctionType(e->i64, NULL, 0, 0), "frrm $0", "=r,~{memory}", NULL, 0),
          zero = k_i64(e, 0);
        inline_asm(e, LLVMFunctionType(e->nothing, &e->i64, 1, 0), "fsrm $0", "r,~{memory}", &zero, 1);
        return old;
    }
    case ARCH_other: break;
    }
    return NULL;
}

void fp_leave(emitter *e, V old)
{
    switch (arch_of(e->target)) {
    case ARCH_x86: call_intrinsic(e, "llvm.x86.sse.ldmxcsr", 0, NULL, 1, &old); break;
    case ARCH_aarch64: call_intrinsic(e, "llvm.aarch64.set.fpcr", 0, NULL, 1, &old); break;
    case ARCH_riscv:
        inline_asm(e, LLVMFunctionType(e->nothing, &e->i64, 1, 0), "fsrm $0", "r,~{memory}", &old, 1);
        break;
    case ARCH_other: break;
    }
}

/* -- Units ----------------------------------------------------------------------------------------------- */

/* kernels[first … first+n-1] of the list to compile */
typedef struct { int first, n; bool has_program; } unit;

typedef struct {
    const program *p;
    const codegen_options *o;
    emit_kind kind;
    const int *kernel_of, *kernels;       /* kernels: numbers of those to compile */
    const open_plan *const *open;         /* of each entry */
    unit *units;
    int n_units;
    bytes *out;                           /* malloc'ed, one a unit */
    char **error;                         /* malloc'ed, NULL: fine */
    int next, n_done, n_kernels;
    pthread_mutex_t lock;
} work;

static int count_statements(const block *b)
{
    int n = b->n;
    for (int i = 0; i < b->n; i++)
        n += count_statements(&b->at[i]->body) + count_statements(&b->at[i]->other);
    return n;
}

const char *kernel_symbol(arena *a, const char *prefix, int kernel)
{
    return arena_printf(a, "%s_k%d", prefix, kernel);
}

static void start_module(emitter *e, LLVMTargetMachineRef tm)
{
    LLVMContextRef c = e->c = LLVMContextCreate();
#if DLC_LLVM_MAJOR < 22
    LLVMContextSetDiscardValueNames(c, 0);
#endif
    e->m = LLVMModuleCreateWithNameInContext(e->prefix, c);
    e->b = LLVMCreateBuilderInContext(c);
    e->i1 = LLVMInt1TypeInContext(c); e->i8 = LLVMInt8TypeInContext(c); e->i16 = LLVMInt16TypeInContext(c);
    e->i32 = LLVMInt32TypeInContext(c); e->i64 = LLVMInt64TypeInContext(c);
    e->half = LLVMHalfTypeInContext(c);
    e->f32 = LLVMFloatTypeInContext(c);
    e->f64 = LLVMDoubleTypeInContext(c);
    e->ptr = LLVMPointerTypeInContext(c, 0);
    e->nothing = LLVMVoidTypeInContext(c);
    LLVMSetTarget(e->m, e->target->triple);
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(tm);
    LLVMSetModuleDataLayout(e->m, layout);
    LLVMDisposeTargetData(layout);
    if (arch_of(e->target) == ARCH_riscv) {
        LLVMMetadataRef abi = LLVMMDStringInContext2(c, "lp64d", 5);
        LLVMAddModuleFlag(e->m, LLVMModuleFlagBehaviorError, "target-abi", 10, abi);
    }
}

static char *copy_text(const char *s)
{
    char *r = malloc(strlen(s) + 1);
    return r ? strcpy(r, s) : NULL;
}

static char *run_passes(emitter *e, LLVMTargetMachineRef tm)
{
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    LLVMErrorRef error = LLVMRunPasses(e->m, "function(mem2reg,early-cse)", tm, options);
    LLVMDisposePassBuilderOptions(options);
    if (!error) return NULL;
    char *message = LLVMGetErrorMessage(error), *copy = copy_text(message);
    LLVMDisposeErrorMessage(message);
    return copy;
}

/* What was emitted, as bytes of malloc. */
static char *finish(emitter *e, LLVMTargetMachineRef tm, emit_kind kind, bytes *out)
{
    char *message = NULL;
    if (LLVMVerifyModule(e->m, LLVMReturnStatusAction, &message)) {
        char *copy = copy_text(message);
        LLVMDisposeMessage(message);
        return copy;
    }
    LLVMDisposeMessage(message);
    char *failed = run_passes(e, tm);
    if (failed) return failed;
    const char *data;
    LLVMMemoryBufferRef object = NULL;
    char *ir = NULL;
    if (kind == EMIT_LLVM_IR) {
        data = ir = LLVMPrintModuleToString(e->m);
        out->n = strlen(ir);
    } else {
        LLVMCodeGenFileType ty = kind == EMIT_ASM ? LLVMAssemblyFile : LLVMObjectFile;
        if (LLVMTargetMachineEmitToMemoryBuffer(tm, e->m, ty, &message, &object)) {
            char *copy = copy_text(message);
            LLVMDisposeMessage(message);
            return copy;
        }
        data = LLVMGetBufferStart(object);
        out->n = LLVMGetBufferSize(object);
    }
    uint8_t *copy = malloc(out->n ? out->n : 1);
    if (copy) memcpy(copy, data, out->n);
    out->at = copy;
    if (object) LLVMDisposeMemoryBuffer(object);
    if (ir) LLVMDisposeMessage(ir);
    return copy ? NULL : copy_text("out of memory");
}

static void emit_unit(emitter *e, work *w, const unit *u)
{
    for (int i = u->first; i < u->first + u->n; i++) {
        const kernel_code *k = w->p->kernels.at[w->kernels[i]];
        emit_kernel(e, k, kernel_symbol(e->a, e->prefix, w->kernels[i]));
    }
    if (u->has_program) emit_program(e, w->p, w->o, w->kernel_of, w->open, w->kind);
}

/* Memory of a unit is its own: its exhaustion unwinds to here. LLVM objects are disposed of in any case. */
static char *compile_unit(work *w, int i)
{
    mem m = { 0 };
    mem_frame frame;
    char *error = NULL;
    LLVMTargetMachineRef tm = target_machine(&w->o->target, &error);
    if (!tm) { char *copy = copy_text(error); LLVMDisposeMessage(error); return copy; }
    emitter *volatile e = NULL;
    char *volatile result = NULL;
    if (mem_try(&m, &frame)) {
        arena *a = arena_new(&m);
        e = calloc(1, sizeof *e);
        if (!e) mem_fail(&m);
        *e = (emitter){
            .a = a, .ex = expander_new(a), .target = &w->o->target, .fma = w->p->fma, .prefix = w->o->prefix
        };
        start_module(e, tm);
        emit_unit(e, w, &w->units[i]);
        result = finish(e, tm, w->kind, &w->out[i]);
        arena_free(a);
    } else {
        result = copy_text("out of memory");
    }
    mem_end(&m, &frame);
    if (e && e->c) {
        LLVMDisposeBuilder(e->b);
        LLVMDisposeModule(e->m);
        LLVMContextDispose(e->c);
    }
    free(e);
    LLVMDisposeTargetMachine(tm);
    return result;
}

static void tell(work *w, int n_more)
{
    if (!w->o->progress) return;
    pthread_mutex_lock(&w->lock);
    w->n_done += n_more;
    w->o->progress(w->o->progress_arg, "code", w->n_done, w->n_kernels);
    pthread_mutex_unlock(&w->lock);
}

static void *worker(void *arg)
{
    work *w = arg;
    for (;;) {
        pthread_mutex_lock(&w->lock);
        while (w->next < w->n_units && w->units[w->next].has_program) w->next++;
        int i = w->next++;
        pthread_mutex_unlock(&w->lock);
        if (i >= w->n_units) return NULL;
        w->error[i] = compile_unit(w, i);
        tell(w, w->units[i].n);
    }
}

static void run_workers(work *w)
{
    pthread_t threads[MAX_THREADS];
    int n = w->o->threads < 1 ? 1 : w->o->threads > MAX_THREADS ? MAX_THREADS : w->o->threads, started = 0;
    if (n > w->n_units) n = w->n_units;
    pthread_mutex_init(&w->lock, NULL);
    tell(w, 0);
    for (int i = 1; i < n; i++)
        if (pthread_create(&threads[started], NULL, worker, w) == 0) started++;
    for (int i = 0; i < w->n_units; i++)
        if (w->units[i].has_program) {
            w->error[i] = compile_unit(w, i);
            tell(w, w->units[i].n);
        }
    worker(w);
    for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
    pthread_mutex_destroy(&w->lock);
}

static void cut_units(arena *a, work *w, int n_kernels)
{
    w->units = NEW_ARRAY(a, unit, n_kernels + 1);
    int statements = 0;
    unit u = { 0 };
    for (int i = 0; i < n_kernels; i++) {
        int n = count_statements(&w->p->kernels.at[w->kernels[i]]->body);
        if (u.n && statements + n > UNIT_STATEMENTS &&
            (w->kind == EMIT_OBJECT || w->kind == EMIT_JIT || w->kind == EMIT_SHARED)) {
            w->units[w->n_units++] = u;
            u = (unit){ .first = i };
            statements = 0;
        }
        u.n++;
        statements += n;
    }
    if (w->n_units == 0 && statements <= UNIT_STATEMENTS) u.has_program = true;
    bool one_text = w->kind == EMIT_LLVM_IR || w->kind == EMIT_ASM;
    if (one_text) u.has_program = true;
    if (u.n || u.has_program) w->units[w->n_units++] = u;
    if (!u.has_program) w->units[w->n_units++] = (unit){ .has_program = true };
}

static bool is_supported(dlc_context *ctx, const program *p, const codegen_options *o)
{
    place at = { .file = p->name };
    bool ok = true;
    if (p->next && !is_supported(ctx, p->next, o)) return false;
    for (int64_t i = 0; i < p->bufs.n; i++) {
        const pbuf *b = &p->bufs.at[i];
        if (b->kind == PBUF_const && constant_bytes(p, (int)i) < 0) {
            diag_no_codegen(ctx, at, "constants of open size");
            return false;
        }
        if (b->kind == PBUF_const && !b->data && constant_bytes(p, (int)i) > 0) {
            diag_internal(ctx, at, "a constant was not evaluated before code generation");
            ok = false;
        }
    }
    if (arch_of(&o->target) == ARCH_other) {
        diag_no_target(ctx, at, o->target.triple, "no such architecture here");
        ok = false;
    }
    return ok;
}

dlc_status compile_units(dlc_context *ctx, arena *a, const program *p, const codegen_options *o,
                         emit_kind kind, unit_list *out)
{
    if (!is_supported(ctx, p, o)) return ctx->status;
    int *kernel_of = NEW_ARRAY(a, int, p->kernels.n), *kernels = NEW_ARRAY(a, int, p->kernels.n);
    int n_kernels = 0;
    equal_kernels(a, p, kernel_of);
    for (int i = 0; i < p->kernels.n; i++)
        if (kernel_of[i] == i) kernels[n_kernels++] = i;
    int n_entries = 0;
    for (const program *q = p; q; q = q->next) n_entries++;
    const open_plan **plans = NEW_ARRAY(a, const open_plan *, n_entries);
    n_entries = 0;
    for (const program *q = p; q; q = q->next) plans[n_entries++] = open_plan_make(a, q);
    work w = { .p = p,
               .o = o,
               .kind = kind,
               .kernel_of = kernel_of,
               .kernels = kernels,
               .n_kernels = n_kernels,
               .open = plans };
    cut_units(a, &w, n_kernels);
    w.out = NEW_ARRAY(a, bytes, w.n_units);
    w.error = NEW_ARRAY(a, char *, w.n_units);
    run_workers(&w);
    out->n = w.n_units;
    out->at = NEW_ARRAY(a, bytes, w.n_units);
    dlc_status status = DLC_OK;
    for (int i = 0; i < w.n_units; i++) {
        if (w.error[i]) {
            diag_llvm(ctx, (place){ .file = p->name }, w.error[i]);
            status = ctx->status;
        } else {
            out->at[i] = (bytes){ arena_copy(a, w.out[i].at, w.out[i].n), w.out[i].n };
        }
        free((void *)w.out[i].at);
        free(w.error[i]);
    }
    return status;
}
