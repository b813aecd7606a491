/* backend/target/host.c: the machine this runs on, from cpuid and /sys, without LLVM.
 *
 * The cpu is named by its level (x86-64-v3, …), which says exactly what code may use, also where a virtual
 * machine hides a part of the cpu; `tune` names the model whose timing LLVM should assume.
 */
#include "backend/target/target.h"
#include <stdio.h>
#include <stdlib.h>

/* Bytes of the data (or unified) cache of a level of cpu 0; 0 if not known. */
static int64_t cache_bytes(int level)
{
    for (int i = 0; i < 8; i++) {
        char path[80], type[16] = "", size[24] = "";
        int found = 0;
        static const char *const names[] = { "level", "type", "size" };
        for (int f = 0; f < 3; f++) {
            snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", i, names[f]);
            FILE *in = fopen(path, "r");
            if (!in) return 0;
            int n = f == 0   ? fscanf(in, "%d", &found)
                    : f == 1 ? fscanf(in, "%15s", type)
                             : fscanf(in, "%23s", size);
            fclose(in);
            if (n != 1) return 0;
        }
        if (found != level || strcmp(type, "Instruction") == 0) continue;
        char *unit;
        int64_t v = strtoll(size, &unit, 10);
        return *unit == 'K' ? v << 10 : *unit == 'M' ? v << 20 : v;
    }
    return 0;
}

#if defined(__x86_64__)
#include <cpuid.h>

typedef struct { unsigned a, b, c, d; } regs;
static regs cpuid(unsigned leaf, unsigned sub)
{
    regs r = { 0 };
    if (!__get_cpuid_count(leaf, sub, &r.a, &r.b, &r.c, &r.d)) return (regs){ 0 };
    return r;
}

static unsigned xgetbv(void)
{
    unsigned lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return lo;
}

static bool has(unsigned reg, unsigned mask) { return (reg & mask) == mask; }

/* 1 to 4, as in x86-64-v4: what the cpu has and the system saves. */
static int level(void)
{
    regs f1 = cpuid(1, 0), f7 = cpuid(7, 0), ext = cpuid(0x80000001u, 0);
    bool v2 = has(f1.c, 1u | 1u << 9 | 1u << 13 | 1u << 19 | 1u << 20 | 1u << 23) && has(ext.c, 1u);
    if (!v2) return 1;
    bool saves_ymm = has(f1.c, 1u << 27) && has(xgetbv(), 6);
    bool v3 = saves_ymm && has(f1.c, 1u << 12 | 1u << 22 | 1u << 28 | 1u << 29) &&
              has(f7.b, 1u << 3 | 1u << 5 | 1u << 8) && has(ext.c, 1u << 5);
    if (!v3) return 2;
    bool v4 = has(xgetbv(), 0xe6) && has(f7.b, 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31);
    return v4 ? 4 : 3;
}

static const char *tune(void)
{
    regs f0 = cpuid(0, 0), f1 = cpuid(1, 0);
    unsigned family = f1.a >> 8 & 15, model = (f1.a >> 4 & 15) | (f1.a >> 12 & 0xf0);
    if (family == 15) family += f1.a >> 20 & 255;
    if (f0.c == 0x444d4163) {                                        /* "cAMD" */
        if (family == 0x17) return model < 0x30 ? "znver1" : "znver2";
        if (family == 0x19) return (model >= 0x10 && model <= 0x1f) || model >= 0x60 ? "znver4" : "znver3";
        return family >= 0x1a ? "znver5" : "";
    }
    if (family != 6) return "";
    switch (model) {
    case 0x3c: case 0x3f: case 0x45: case 0x46: return "haswell";
    case 0x3d: case 0x47: case 0x4f: case 0x56: return "broadwell";
    case 0x4e: case 0x5e: case 0x8e: case 0x9e: case 0xa5: case 0xa6: return "skylake";
    case 0x55: return "skylake-avx512";
    case 0x6a: case 0x6c: return "icelake-server";
    case 0x7d: case 0x7e: return "icelake-client";
    case 0x8c: case 0x8d: return "tigerlake";
    case 0x8f: case 0xcf: return "sapphirerapids";
    case 0x97: case 0x9a: case 0xb7: case 0xba: case 0xbf: return "alderlake";
    default: return "";
    }
}

static target detect(void)
{
    static const char *const names[] = { "x86-64", "x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4" };
    int v = level();
    return (target){ .triple = "x86_64-unknown-linux-gnu", .cpu = names[v], .features = "", .tune = tune(),
                     .vector_bytes = v == 4 ? 64 : v == 3 ? 32 : 16, .vector_registers = v == 4 ? 32 : 16,
                     .fma_latency = 4, .fma_per_cycle = 2, .loads_per_cycle = 2,
                     .has_fma = v >= 3, .has_f16c = v >= 3, .has_sse41 = v >= 2 };
}
#elif defined(__aarch64__)
static target detect(void)
{
    return (target){ .triple = "aarch64-unknown-linux-gnu",
                     .cpu = "generic",
                     .features = "",
                     .tune = "",
                     .vector_bytes = 16,
                     .vector_registers = 32,
                     .fma_latency = 4,
                     .fma_per_cycle = 2,
                     .loads_per_cycle = 2,
                     .has_fma = true,
                     .has_f16c = true,
                     .has_sse41 = true };
}
#else
static target detect(void)
{
    return (target){ .triple = "riscv64-unknown-linux-gnu",
                     .cpu = "generic-rv64",
                     .features = "+m,+a,+f,+d,+c",
                     .tune = "",
                     .vector_bytes = 16,
                     .vector_registers = 16,
                     .fma_latency = 5,
                     .fma_per_cycle = 1,
                     .loads_per_cycle = 1,
                     .has_fma = true };
}
#endif

target target_host(int vector_bytes)
{
    target t = detect();
    t.is_host = true;
    t.l1_bytes = cache_bytes(1);
    t.l2_bytes = cache_bytes(2);
    t.l3_bytes = cache_bytes(3);
    if (!t.l1_bytes) t.l1_bytes = 32 << 10;
    if (!t.l2_bytes) t.l2_bytes = 512 << 10;
    if (!t.l3_bytes) t.l3_bytes = 8 << 20;
    if (vector_bytes && vector_bytes < t.vector_bytes) t.vector_bytes = vector_bytes < 16 ? 16 : vector_bytes;
    return t;
}
