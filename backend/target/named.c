/* backend/target/named.c: targets by name, from cpu.def. */
#include "backend/target/target.h"

typedef enum { ARCH_X86, ARCH_AARCH64, ARCH_RISCV, ARCH_COUNT } arch;
typedef struct { const char *name; arch arch; int level, latency, loads; int64_t l1, l2, l3; } cpu_row;

static const cpu_row cpus[] = {
#define CPU(name, a, level, latency, loads, l1, l2, l3) \
    { name, ARCH_##a, level, latency, loads, l1 * 1024, l2 * 1024, l3 * 1024 },
#include "backend/target/cpu.def"
};
enum { N_CPUS = sizeof cpus / sizeof *cpus };

static const struct { const char *prefix, *triple, *cpu; } archs[ARCH_COUNT] = {
    [ARCH_X86] = { "x86_64", "x86_64-unknown-linux-gnu", "x86-64" },
    [ARCH_AARCH64] = { "aarch64", "aarch64-unknown-linux-gnu", "generic" },
    [ARCH_RISCV] = { "riscv64", "riscv64-unknown-linux-gnu", "generic-rv64" },
};

static bool arch_of(const char *triple, arch *out)
{
    for (int i = 0; i < ARCH_COUNT; i++)
        if (strncmp(triple, archs[i].prefix, strlen(archs[i].prefix)) == 0) { *out = (arch)i; return true; }
    return false;
}

static const char *names_of(dlc_context *ctx, arch a)
{
    text t = { .a = ctx->arena };
    for (int i = 0; i < N_CPUS; i++)
        if (cpus[i].arch == a) text_printf(&t, "%s%s", t.n ? " " : "known: ", cpus[i].name);
    return text_str(&t);
}

static target from_row(const cpu_row *c, const char *triple)
{
    bool x86 = c->arch == ARCH_X86, arm = c->arch == ARCH_AARCH64;
    return (target){
        .triple = triple, .cpu = c->name, .features = c->arch == ARCH_RISCV ? "+m,+a,+f,+d,+c" : "",
        .tune = "",
        .vector_bytes = x86 ? (c->level == 4 ? 64 : c->level == 3 ? 32 : 16) : 16,
        .vector_registers = x86 ? (c->level == 4 ? 32 : 16) : arm ? 32 : 16,
        .fma_latency = c->latency, .fma_per_cycle = c->arch == ARCH_RISCV ? 1 : 2,
        .loads_per_cycle = c->loads,
        .l1_bytes = c->l1, .l2_bytes = c->l2, .l3_bytes = c->l3 ? c->l3 : c->l2,
        .has_fma = !x86 || c->level >= 3, .has_f16c = arm || (x86 && c->level >= 3),
        .has_sse41 = arm || (x86 && c->level >= 2),
    };
}

bool target_named(dlc_context *ctx, const char *triple, const char *cpu, int vector_bytes, target *out)
{
    bool native = !triple && (!cpu || strcmp(cpu, "native") == 0 || strcmp(cpu, "host") == 0);
    if (native) { *out = target_host(vector_bytes); return true; }
    arch a;
    const char *host = target_host(0).triple;
    if (!arch_of(triple ? triple : host, &a)) {
        diag_no_target(ctx, (place){ 0 }, triple, "known: x86_64, aarch64, riscv64 with -linux-gnu");
        return false;
    }
    if (!triple || strlen(triple) <= strlen(archs[a].prefix)) triple = archs[a].triple;
    if (!cpu || !*cpu) cpu = archs[a].cpu;
    for (int i = 0; i < N_CPUS; i++) {
        if (strcmp(cpus[i].name, cpu) != 0 || cpus[i].arch != a) continue;
        *out = from_row(&cpus[i], arena_strdup(ctx->arena, triple));
        if (vector_bytes && vector_bytes < out->vector_bytes)
            out->vector_bytes = vector_bytes < 16 ? 16 : vector_bytes;
        return true;
    }
    diag_no_target(ctx, (place){ 0 }, cpu, names_of(ctx, a));
    return false;
}
