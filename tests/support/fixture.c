/* tests/support/fixture.c */
#include "tests/support/fixture.h"
#include <stdio.h>
#include <stdlib.h>

void fixture_open(fixture *f)
{
    f->ctx = context_new();
    f->a = arena_new(&f->ctx->mem);
}

void fixture_close(fixture *f)
{
    arena_free(f->a);
    context_free(f->ctx);
}

text fixture_text(fixture *f) { return (text){ .a = f->a }; }

void fixture_messages(fixture *f)
{
    for (int64_t i = 0; i < f->ctx->diags.n; i++) {
        text t = fixture_text(f);
        diag_format(&t, &f->ctx->diags.at[i]);
        printf("%s\n", text_str(&t));
    }
}

int fixture_setup(void **state)
{
    fixture *f = malloc(sizeof *f);
    if (!f) return -1;
    fixture_open(f);
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    fixture_close(*state);
    free(*state);
    return 0;
}
