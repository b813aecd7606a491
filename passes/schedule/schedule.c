/* schedule: each kernel's nest is rewritten for the target
 *
 * Why    The plain nest defines the result; the machine wants tiles in registers, vectors, panels in cache.
 * How    formula.c chooses a text for each kernel, apply.c carries it out. A text from a file stands before the formula's.
 * Keeps  every bit: see each rewrite.
 * Cost   linear in the kernels' size.
 */
#include "passes/pipeline.h"
#include "passes/schedule/schedule.h"

bool schedule_program(pass_run *run, program *p, const machine *m)
{
    for (int64_t i = 0; i < p->kernels.n; i++) {
        if (run->limit >= 0 && run->changes >= run->limit) return true;
        if (*p->kernels.at[i]->schedule) continue;                       /* it has one already, by --schedule */
        arena *scratch = arena_new(&p->ctx->mem);
        const char *steps = schedule_choose(p->kernels.at[i], m, scratch), *why = "";
        bool ok = !*steps || schedule_apply(&p->kernels.at[i], steps, scratch, &why);
        if (run->explain) text_printf(run->explain, "%s: %s%s%s\n", p->kernels.at[i]->name, *steps ? steps : "plain", ok ? "" : " refused: ", why);
        run->changes += ok && *steps;
        arena_free(scratch);
    }
    return true;
}

bool schedule_kernel(program *p, int k, const char *steps, arena *scratch, const char **why)
{
    return schedule_apply(&p->kernels.at[k], steps, scratch, why);
}
