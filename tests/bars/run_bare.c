/* run_bare: run_model.c for a Cortex-M core without a C library, under qemu-arm (test_c_form_bar.c builds
 * it):  run_bare IN OUT Linux' calls stand in for a board's: they read the inputs and write the outputs.
 *       Memory is static, as in firmware. */
#include "runtime/model.h"
#include <stddef.h>

extern const dlc_model t_model;

static _Alignas(64) unsigned char memory[4 << 20];         /* inputs, outputs, workspace */
static size_t used;

static long call(long number, long a, long b, long c)
{
    register long r7 __asm__("r7") = number, r0 __asm__("r0") = a, r1 __asm__("r1") = b, r2 __asm__("r2") = c;
    __asm__ volatile("svc 0" : "+r"(r0) : "r"(r7), "r"(r1), "r"(r2) : "memory");
    return r0;
}

enum { EXIT = 1, READ = 3, WRITE = 4, OPEN = 5, WRITE_NEW = 01 | 0100 | 01000 };

static void stop(int status)
{
    for (;;) call(EXIT, status, 0, 0);
}

/* What compilers call for loops that copy and clear. */
void *memcpy(void *to, const void *from, size_t n)
{
    volatile unsigned char *t = to;
    for (size_t i = 0; i < n; i++) t[i] = ((const unsigned char *)from)[i];
    return to;
}

void *memset(void *to, int c, size_t n)
{
    volatile unsigned char *t = to;
    for (size_t i = 0; i < n; i++) t[i] = (unsigned char)c;
    return to;
}

static void *take(int64_t n)
{
    void *p = memory + used;
    used += ((size_t)n + 63) / 64 * 64;
    if (n < 0 || used > sizeof memory) stop(2);
    return p;
}

static int64_t bytes_of(const dlc_tensor_info *t, const int64_t **extents)
{
    int64_t bits = 0;
    for (const char *p = t->dtype; *p; p++)
        if (*p >= '0' && *p <= '9') bits = 10 * bits + *p - '0';
    int64_t n = bits ? bits / 8 : 1;
    for (int i = 0; i < t->rank; i++) n *= *(*extents)++;
    return n;
}

static void move(long how, int file, unsigned char *p, int64_t n)
{
    while (n > 0) {
        long k = call(how, file, (long)p, (long)n);
        if (k <= 0) stop(3);
        p += k;
        n -= k;
    }
}

static int run_once(const char *in_file, const char *out_file)
{
    const dlc_model *m = &t_model;
    int64_t extents[256];
    const void *in[32];
    void *out[32];
    int64_t n_out[32];
    if (m->n_inputs > 32 || m->n_outputs > 32 || m->n_dims) return 4;
    m->shapes(NULL, extents);
    const int64_t *at = extents;
    int file = (int)call(OPEN, (long)in_file, 0, 0);
    for (int i = 0; i < m->n_inputs; i++) {
        int64_t n = bytes_of(&m->inputs[i], &at);
        unsigned char *x = take(n);
        move(READ, file, x, n);
        in[i] = x;
    }
    for (int i = 0; i < m->n_outputs; i++) out[i] = take(n_out[i] = bytes_of(&m->outputs[i], &at));
    dlc_run run = { .workspace = take(m->workspace(NULL)) };
    if (m->run(&run, NULL, in, out) != DLC_RUN_OK) return 5;
    file = (int)call(OPEN, (long)out_file, WRITE_NEW, 0600);
    for (int i = 0; i < m->n_outputs; i++) move(WRITE, file, out[i], n_out[i]);
    return 0;
}

static void start(const long *stack)
{
    stop(stack[0] < 3 ? 1 : run_once((const char *)stack[2], (const char *)stack[3]));
}

/* On entry the stack holds argc, argv[0], argv[1], … */
__attribute__((naked, noreturn)) void _start(void)
{
    __asm__ volatile("mov r0, sp\n\tbl %c0" : : "i"(start));
}
