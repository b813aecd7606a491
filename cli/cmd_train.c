/* train: runs a train block of a program; losses and reports go to the terminal, or with --record to a JSON
 * file */
#include "cli/cli.h"
#include "api/train.h"
#include <math.h>
#include <signal.h>

enum { RECORDED = 20 };
typedef struct { text curve, parameters, final, test, trial; int n_curve, final_part; } record;
typedef struct { cli *c; record now, best; bool is_quiet, has_best, holds_signals; } told;

static double element(const tensor *t, int64_t i)
{
    return sv_to_f64(t->dtype, sv_load(t->dtype, (const char *)t->bytes + i * dtype_bytes(t->dtype)));
}

static void put_number(text *t, double x)
{
    if (isfinite(x)) text_printf(t, "%.9g", x);
    else text_put(t, "null");
}

/* From the first step on, Ctrl-C and kill wait until a step and the file that is written then are done. */
static const int held[] = { SIGINT, SIGTERM };

static sigset_t held_set(void)
{
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < 2; i++) sigaddset(&set, held[i]);
    return set;
}

static void hold_signals(told *s)
{
    sigset_t set = held_set();
    s->holds_signals = pthread_sigmask(SIG_BLOCK, &set, NULL) == 0;
}

static bool on_stop(void *arg)
{
    const told *s = arg;
    sigset_t waiting;
    return s->holds_signals && sigpending(&waiting) == 0 &&
           (sigismember(&waiting, SIGINT) == 1 || sigismember(&waiting, SIGTERM) == 1);
}

/* What was held comes now: the command ends by it. */
static void release_signals(told *s)
{
    sigset_t set = held_set();
    progress_clear(s->c);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void on_first(void *arg, const lang_training *t, const tensor *values)
{
    told *s = arg;
    hold_signals(s);
    for (int i = 0; i < t->n_vars; i++) {
        if (t->vars[i].is_state) continue;
        double sum = 0;
        int64_t n = tensor_n(&values[i]);
        text_printf(&s->now.parameters, "%s\n  {\"path\": \"%s\", \"shape\": [",
                    s->now.parameters.n ? "," : "", t->vars[i].path);
        for (int k = 0; k < values[i].rank; k++)
            text_printf(&s->now.parameters, "%s%lld", k ? ", " : "", (long long)values[i].dims[k]);
        text_put(&s->now.parameters, "], \"first\": [");
        for (int64_t k = 0; k < n; k++) {
            sum += element(&values[i], k);
            if (k < 4) {
                text_put(&s->now.parameters, k ? ", " : "");
                put_number(&s->now.parameters, element(&values[i], k));
            }
        }
        text_put(&s->now.parameters, "], \"sum\": ");
        put_number(&s->now.parameters, sum);
        text_put(&s->now.parameters, "}");
    }
}

static void on_step(void *arg, int64_t step, int n, const char *const *names, const double *losses)
{
    told *s = arg;
    (void)names;
    if (!s->is_quiet && n) progress_put(s->c, "train: step %lld, loss %.5g", (long long)step + 1, losses[0]);
    if (step >= RECORDED) return;
    text_put(&s->now.curve, s->now.n_curve++ ? ", [" : "[");
    for (int i = 0; i < n; i++) {
        text_put(&s->now.curve, i ? ", " : "");
        put_number(&s->now.curve, losses[i]);
    }
    text_put(&s->now.curve, "]");
}

static void on_report(void *arg, int64_t epoch, int part, int n, const char *const *names,
                      const tensor *values, bool is_end)
{
    told *s = arg;
    static const char *const parts[] = { "train", "valid", "test" };
    progress_clear(s->c);
    if (!s->is_quiet) {
        if (is_end) printf("end on %s:", parts[part]);
        else printf("epoch %lld on %s:", (long long)epoch + 1, parts[part]);
        for (int i = 0; i < n; i++)
            if (tensor_n(&values[i]) == 1) printf("  %s %.5g", names[i], element(&values[i], 0));
        printf("\n");
        fflush(stdout);
    }
    if (!is_end) return;
    if (part != 2) s->now.final_part = part;
    text *to = part == 2 ? &s->now.test : &s->now.final;
    for (int i = 0; i < n; i++) {
        if (tensor_n(&values[i]) != 1) continue;
        text_printf(to, "%s\"%s\": ", to->n ? ", " : "", names[i]);
        put_number(to, element(&values[i], 0));
    }
}

static void fresh(told *s)
{
    arena *a = s->c->a;
    s->now = (record){ .curve = { .a = a },
                       .parameters = { .a = a },
                       .final = { .a = a },
                       .test = { .a = a },
                       .trial = { .a = a } };
}

static void on_trial(void *arg, int64_t k, int n, const lang_set *sets)
{
    told *s = arg;
    fresh(s);
    progress_clear(s->c);
    if (!s->is_quiet) printf("trial %lld:", (long long)k + 1);
    for (int i = 0; i < n; i++) {
        if (!s->is_quiet) printf("  %s = %s", sets[i].name, sets[i].value);
        text_printf(&s->now.trial, "%s\"%s\": \"%s\"", i ? ", " : "", sets[i].name, sets[i].value);
    }
    if (!s->is_quiet) printf("\n");
}

static void on_chosen(void *arg)
{
    told *s = arg;
    s->best = s->now;
    s->has_best = true;
}

int command_train(cli *c)
{
    settings set;
    if (!cli_settings(c, &set)) return EXIT_USAGE;
    if (c->operands.n < 1 || c->operands.n > 2) {
        diag_operands(c->ctx, (place){ 0 }, "train", "FILE.dl [BLOCK]", (int)c->operands.n);
        c->is_usage = true;
        return EXIT_USAGE;
    }
    told s = { .c = c, .is_quiet = opt_given(c, OPT_train_quiet) };
    fresh(&s);
    train_events ev = { on_first, on_step, on_report, on_trial, on_chosen, on_stop, &s };
    int n_threads;
    dlc_run_hook hook = cli_threads(c, &n_threads);
    if (c->is_usage) return EXIT_USAGE;
    lang_training t;
    tensor *values;
    const char *name = c->operands.n == 2 ? c->operands.at[1] : NULL;
    dlc_status st = train_file(c->ctx, c->a, c->operands.at[0], name, &set.driver, set.kind, hook, &ev, &t,
                               &values);
    if (on_stop(&s)) release_signals(&s);
    const char *out_file = opt_value(c, OPT_train_out) ? opt_value(c, OPT_train_out)
                           : st == DLC_OK              ? t.save
                                                       : NULL;
    if (st == DLC_OK && out_file) st = train_save(c->ctx, c->a, out_file, &t, values);
    const char *file = opt_value(c, OPT_record);
    if (st == DLC_OK && file) {
        record *r = s.has_best ? &s.best : &s.now;
        static const char *const parts[] = { "train", "valid", "test" };
        text out = { .a = c->a };
        text_printf(&out, "{\"losses\": [");
        for (int i = 0; i < t.n_losses; i++) text_printf(&out, "%s\"%s\"", i ? ", " : "", t.losses[i]);
        text_printf(
            &out,
            "],\n \"curve\": [%s],\n \"final\": {%s}, \"final_on\": \"%s\", \"test\": {%s}, \"trial\": "
            "{%s},\n \"parameters\": [%s]}\n",
            text_str(&r->curve), text_str(&r->final), parts[r->final_part], text_str(&r->test),
            text_str(&r->trial), text_str(&r->parameters));
        if (!cli_write_text(c, file, &out)) return EXIT_INPUT;
    }
    return exit_code(st);
}
