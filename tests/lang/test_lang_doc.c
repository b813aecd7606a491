/* test_lang_doc: the blocks of docs/language.md that are marked `dl`: each is a program that checks without
 * an error, and its models give the values that the page says. They stand in a folder of their own, with
 * examples/ beside them.
 */
#include "api/driver.h"
#include "tests/support/program_values.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

static void run_block(const char *path, const char *s, size_t n, int line, int *n_values)
{
    dlc_context *ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    driver_options o = driver_defaults();
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite("\n", 1, 1, f) + fwrite(s, 1, n, f), n + 1);
    fclose(f);
    if (driver_check(ctx, a, path, &o) != DLC_OK)
        fail_msg("docs/language.md:%d: %s", line + ctx->diags.at[0].at.line - 1, ctx->diags.at[0].message);
    context_free(ctx);
    *n_values += program_values(path, 2e-6);
}

static void blocks(void **state)
{
    (void)state;
    char folder[] = "/tmp/dlc_doc_XXXXXX", path[64], link[64], here[4000], goal[4100];
    dlc_context *ctx = context_new();
    bytes b;
    int err, line = 1, n = 0, n_values = 0;
    assert_true(file_map(ctx->arena, "docs/language.md", &b, &err));
    const char *page = arena_strndup(ctx->arena, (const char *)b.at, b.n), *seen = page;
    assert_non_null(mkdtemp(folder));
    assert_non_null(getcwd(here, sizeof here));
    snprintf(path, sizeof path, "%s/block.dl", folder);
    snprintf(link, sizeof link, "%s/examples", folder);
    snprintf(goal, sizeof goal, "%s/examples", here);
    assert_int_equal(symlink(goal, link), 0);
    for (const char *p = page; (p = strstr(p, "\n```dl\n")); n++) {
        const char *from = p + strlen("\n```dl\n"), *end = strstr(from, "\n```\n");
        assert_non_null(end);
        for (; seen < from; seen++) line += *seen == '\n';
        run_block(path, from, (size_t)(end + 1 - from), line, &n_values);
        p = end;
    }
    printf("%d blocks, %d values\n", n, n_values);
    unlink(path);
    unlink(link);
    rmdir(folder);
    context_free(ctx);
    assert_true(n >= 13 && n_values >= 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(blocks) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
