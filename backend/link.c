/* backend/link.c: objects joined by the system's linker.
 *
 * How    Inputs go to files in a fresh directory under $TMPDIR, which is removed on every way out. The
 *        linkers of LLVM come first, since they know all targets; then the GNU one for the target, then `ld`
 *        if the target is this machine.
 * Keeps  the result reproducible: inputs in order, no build id, no time stamps.
 */
#include "backend/link.h"
#include "base/process.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    dlc_context *ctx;
    arena *a;
    const char *dir;
    vec(const char *) files;          /* made in dir, to be removed */
} work;

static dlc_status failed(work *w, const char *what, const char *why)
{
    diag_linker(w->ctx, (place){ 0 }, what, why);
    return w->ctx->status;
}

static const char *new_file(work *w, const char *name)
{
    const char *path = arena_printf(w->a, "%s/%s", w->dir, name);
    vec_push(w->a, &w->files, path);
    return path;
}

static bool write_object(const char *path, const bytes *b)
{
    FILE *f = fopen(path, "wb");
    if (!f) return false;
    bool ok = fwrite(b->at, 1, b->n, f) == b->n;
    return fclose(f) == 0 && ok;
}

static bool write_data(const char *path, const link_job *job)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return false;
    bool ok = elf_write_data(fd, job->target->triple, job->n_data, job->data);
    return close(fd) == 0 && ok;
}

static const char *emulation(const char *triple)
{
    return strncmp(triple, "aarch64", 7) == 0   ? "aarch64linux"
           : strncmp(triple, "riscv64", 7) == 0 ? "elf64lriscv"
                                                : "elf_x86_64";
}

static dlc_status run_linker(work *w, const link_job *job, const char *output, int n_inputs,
                             const char *const *inputs)
{
    const char *triple = job->target->triple, *messages = new_file(w, "messages");
    const char *gnu = arena_printf(w->a, "%.*s-linux-gnu-ld", (int)strcspn(triple, "-"), triple);
    bool is_native = strncmp(triple, target_host(0).triple, strcspn(triple, "-")) == 0;
    const char *const linkers[] = {
        "ld.lld", "ld.lld-22", "ld.lld-21", "ld.lld-20", "ld.lld-19", gnu, is_native ? "ld" : NULL
    };
    const char **argv = NEW_ARRAY(w->a, const char *, n_inputs + 20);
    int n = 1;
    argv[n++] = "-m";
    argv[n++] = emulation(triple);
    if (job->kind == LINK_SHARED) {
        static const char *const flags[] = {
            "-shared", "--hash-style=gnu", "--build-id=none", "-z", "noexecstack", "-z", "relro", "-z", "now"
        };
        for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) argv[n++] = flags[i];
    } else {
        argv[n++] = "-r";
    }
    argv[n++] = "-o";
    argv[n++] = output;
    for (int i = 0; i < n_inputs; i++) argv[n++] = inputs[i];
    for (size_t i = 0; i < sizeof linkers / sizeof *linkers; i++) {
        if (!linkers[i]) continue;
        argv[0] = linkers[i];
        int status = process_run(argv, messages, 0);
        if (status < 0) continue;
        return status == 0 ? DLC_OK : failed(w, argv[0], process_first_line(w->a, messages));
    }
    return failed(w, "linker", "neither ld.lld nor ld was found");
}

static dlc_status link_in(work *w, const char *output, const link_job *job)
{
    const char **inputs = NEW_ARRAY(w->a, const char *, job->n_objects + 1);
    int n = 0;
    for (int i = 0; i < job->n_objects; i++) {
        inputs[n] = new_file(w, arena_printf(w->a, "%d.o", i));
        if (!write_object(inputs[n++], &job->objects[i])) return failed(w, inputs[n - 1], strerror(errno));
    }
    if (job->n_data) {
        inputs[n] = new_file(w, "data.o");
        if (!write_data(inputs[n++], job)) return failed(w, inputs[n - 1], strerror(errno));
    }
    return run_linker(w, job, output, n, inputs);
}

static bool begin(work *w, dlc_context *ctx)
{
    *w = (work){ .ctx = ctx, .a = arena_new(&ctx->mem) };
    w->dir = process_folder(w->a);
    if (!w->dir) failed(w, "a folder in TMPDIR", strerror(errno));
    return w->dir;
}

static void end(work *w)
{
    for (int64_t i = 0; i < w->files.n; i++) unlink(w->files.at[i]);
    if (w->dir) rmdir(w->dir);
    arena_free(w->a);
}

/* What is there stays a device or pipe: the library is written into it. */
static dlc_status link_to_special(dlc_context *ctx, const char *output, const link_job *job)
{
    arena *a = arena_new(&ctx->mem);
    bytes library;
    int err = 0;
    dlc_status status = link_to_memory(ctx, a, job, &library);
    file_out *f = status == DLC_OK ? file_create(a, output, 0666, &err) : NULL;
    if (f) file_write(f, library.at, library.n);
    if (status == DLC_OK && !(f && file_commit(f))) {
        diag_linker(ctx, (place){ 0 }, output, strerror(err ? err : errno));
        status = ctx->status;
    }
    arena_free(a);
    return status;
}

dlc_status link_to_file(dlc_context *ctx, const char *output, const link_job *job)
{
    work w;
    dlc_status status = DLC_OK;
    if (file_is_special(output)) return link_to_special(ctx, output, job);
    if (!begin(&w, ctx)) { status = ctx->status; goto done; }
    const char *fresh = arena_printf(w.a, "%s.%ld.tmp", output, (long)getpid());
    status = link_in(&w, fresh, job);
    if (status == DLC_OK && rename(fresh, output)) status = failed(&w, output, strerror(errno));
    if (status != DLC_OK) unlink(fresh);
done:
    end(&w);
    return status;
}

dlc_status link_to_memory(dlc_context *ctx, arena *a, const link_job *job, bytes *out)
{
    work w;
    dlc_status status = DLC_OK;
    int err;
    if (!begin(&w, ctx)) { status = ctx->status; goto done; }
    const char *joined = new_file(&w, "joined.o");
    status = link_in(&w, joined, job);
    if (status == DLC_OK && !file_map(a, joined, out, &err)) status = failed(&w, joined, strerror(err));
done:
    end(&w);
    return status;
}
