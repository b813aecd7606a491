/* train: runs a train block of a program; losses and reports go to the terminal, or with --record to a JSON file */
#include "cli/cli.h"
#include "api/train.h"
#include <math.h>

enum { RECORDED = 20 };
typedef struct { cli *c; text curve, parameters, final; int n_curve; int final_part; bool is_quiet; } told;

static double element(const tensor *t, int64_t i) { return sv_to_f64(t->dtype, sv_load(t->dtype, (const char *)t->bytes + i * dtype_bytes(t->dtype))); }

static void put_number(text *t, double x)
{
    if (isfinite(x)) text_printf(t, "%.9g", x);
    else text_put(t, "null");
}

static void on_first(void *arg, const lang_training *t, const tensor *values)
{
    told *s = arg;
    for (int i = 0; i < t->n_vars; i++) {
        if (t->vars[i].is_state) continue;
        double sum = 0;
        int64_t n = tensor_n(&values[i]);
        text_printf(&s->parameters, "%s\n  {\"path\": \"%s\", \"shape\": [", s->parameters.n ? "," : "", t->vars[i].path);
        for (int k = 0; k < values[i].rank; k++) text_printf(&s->parameters, "%s%lld", k ? ", " : "", (long long)values[i].dims[k]);
        text_put(&s->parameters, "], \"first\": [");
        for (int64_t k = 0; k < n; k++) {
            sum += element(&values[i], k);
            if (k < 4) { text_put(&s->parameters, k ? ", " : ""); put_number(&s->parameters, element(&values[i], k)); }
        }
        text_put(&s->parameters, "], \"sum\": ");
        put_number(&s->parameters, sum);
        text_put(&s->parameters, "}");
    }
}

static void on_step(void *arg, int64_t step, int n, const char *const *names, const double *losses)
{
    told *s = arg;
    (void)names;
    if (step >= RECORDED) return;
    text_put(&s->curve, s->n_curve++ ? ", [" : "[");
    for (int i = 0; i < n; i++) { text_put(&s->curve, i ? ", " : ""); put_number(&s->curve, losses[i]); }
    text_put(&s->curve, "]");
}

static void on_report(void *arg, int64_t epoch, int part, int n, const char *const *names, const tensor *values, bool is_end)
{
    told *s = arg;
    static const char *const parts[] = { "train", "valid", "test" };
    if (!s->is_quiet) {
        if (is_end) printf("end on %s:", parts[part]);
        else printf("epoch %lld on %s:", (long long)epoch + 1, parts[part]);
        for (int i = 0; i < n; i++)
            if (tensor_n(&values[i]) == 1) printf("  %s %.5g", names[i], element(&values[i], 0));
        printf("\n");
        fflush(stdout);
    }
    if (!is_end) return;
    s->final_part = part;
    for (int i = 0; i < n; i++) {
        if (tensor_n(&values[i]) != 1) continue;
        text_printf(&s->final, "%s\"%s\": ", s->final.n ? ", " : "", names[i]);
        put_number(&s->final, element(&values[i], 0));
    }
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
    told s = { .c = c, .curve = { .a = c->a }, .parameters = { .a = c->a }, .final = { .a = c->a }, .is_quiet = opt_given(c, OPT_train_quiet) };
    train_events ev = { on_first, on_step, on_report, &s };
    lang_training t;
    tensor *values;
    const char *name = c->operands.n == 2 ? c->operands.at[1] : NULL;
    dlc_status st = train_file(c->ctx, c->a, c->operands.at[0], name, &set.driver, set.kind, &ev, &t, &values);
    const char *record = opt_value(c, OPT_record);
    if (st == DLC_OK && record) {
        static const char *const parts[] = { "train", "valid", "test" };
        text out = { .a = c->a };
        text_printf(&out, "{\"losses\": [");
        for (int i = 0; i < t.n_losses; i++) text_printf(&out, "%s\"%s\"", i ? ", " : "", t.losses[i]);
        text_printf(&out, "],\n \"curve\": [%s],\n \"final\": {%s}, \"final_on\": \"%s\",\n \"parameters\": [%s]}\n", text_str(&s.curve), text_str(&s.final), parts[s.final_part], text_str(&s.parameters));
        if (!cli_write_text(c, record, &out)) return EXIT_INPUT;
    }
    return exit_code(st);
}
