/* engine_c: portable C compiled by the system's C compiler into a library: what `--backend=c` runs
 *
 * How    The files go to a folder of their own; $CC, or cc, makes the library; weights stay in memory and are given to the run.
 *        -O1: the C form means the same at every level, and tests compile faster than they run.
 */
#include "api/engine_c.h"
#include "api/header.h"
#include "base/process.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

dlc_status driver_emit_c(dlc_context *ctx, arena *a, const program *p, const driver_options *o, const char *header, bytes *c, bytes *bin)
{
    c_options co = { .prefix = o->codegen.prefix, .header = header, .vectors = o->c_vectors };
    return c_emit(ctx, a, p, &co, c, bin);
}

static bool write_file(dlc_context *ctx, const char *path, bytes b)
{
    FILE *f = fopen(path, "wb");
    bool ok = f && fwrite(b.at, 1, b.n, f) == b.n;
    if (f && fclose(f) != 0) ok = false;
    if (!ok) diag_cannot_write(ctx, (place){ .file = path }, strerror(errno));
    return ok;
}

static dlc_status compile(dlc_context *ctx, arena *a, const program *p, const char *prefix, const char *source, const char *messages, const char *path)
{
    const char *cc = getenv("CC"), *argv[16];
    int n = 0;
    argv[n++] = cc && *cc && !strchr(cc, ' ') ? cc : "cc";
    argv[n++] = "-std=gnu99";
    argv[n++] = "-O1";
    argv[n++] = "-w";
    argv[n++] = "-shared";
    argv[n++] = "-fPIC";
    argv[n++] = arena_printf(a, "-D%s_SHARED", prefix);
#if defined(__x86_64__)
    if (p->fma == FMA_FUSED) argv[n++] = "-mfma";
#else
    (void)p;
#endif
    argv[n++] = "-o";
    argv[n++] = path;
    argv[n++] = source;
    argv[n] = NULL;
    int status = process_run(argv, messages, 0);
    if (status == 0) return DLC_OK;
    if (status < 0) diag_no_backend(ctx, (place){ 0 }, "c", arena_printf(ctx->arena, "%s cannot be started", argv[0]));
    else diag_linker(ctx, (place){ 0 }, argv[0], process_first_line(a, messages));
    return status < 0 ? DLC_ERR_UNSUPPORTED : DLC_ERR_IO;
}

dlc_status c_library(dlc_context *ctx, arena *a, const program *p, const driver_options *o, const char *folder, const char *path, const void **weights)
{
    bytes c, bin;
    text t = { .a = a };
    dlc_status s = driver_emit_c(ctx, a, p, o, "model.h", &c, &bin);
    header_write(p, o->codegen.prefix, false, -1, &t);
    bytes h = { (const uint8_t *)text_str(&t), (size_t)t.n };
    if (s != DLC_OK) return s;
    *weights = bin.at;
    const char *source = arena_printf(a, "%s/model.c", folder), *header = arena_printf(a, "%s/model.h", folder), *messages = arena_printf(a, "%s/messages", folder);
    s = write_file(ctx, source, c) && write_file(ctx, header, h) ? compile(ctx, a, p, o->codegen.prefix, source, messages, path) : DLC_ERR_IO;
    unlink(source);
    unlink(header);
    unlink(messages);
    return s;
}
