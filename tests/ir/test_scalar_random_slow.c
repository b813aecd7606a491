/* tests/ir/test_scalar_random_slow.c: 10^8 arguments of f64 for each function of one operand, 10^7 pairs for
 * the others, in f32, too. A seed as argument gives other ones.
 */
#include "tests/ir/scalar_check.h"

int main(int argc, char **argv)
{
    if (!fast_loops_run()) return 77;
    mem memory = { 0 };
    arena *a = arena_new(&memory);
    expander *e = expander_new(a);
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    int n_failed = 0;
    for (int i = 0; i < N_FUNCTIONS; i++)
        for (dtype t = DTYPE_f64; t <= DTYPE_f32; t++) {
            const judged *f = &functions[i];
            if (t == DTYPE_f32 && f->f64) continue;           /* the others walk through all of these */
            const scalar_code *c = scalar_expand(e, f->fn, t);
            block *at = new_blocks(c);
            verdict v[2] = { { 0 } };
            judge_random(f, t, c, at, f->ld ? 100000000 : 10000000, seed, v);
            n_failed += !print_verdict(f, t, c, v);
            free(at);
        }
    arena_free(a);
    return n_failed != 0;
}
