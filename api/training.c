/* training: the step of a train block as programs over one block of states (training.h)
 *
 * Layout  Each state starts at a multiple of 64 bytes; those that begin with anything but zeros come first, so that only they
 *         are stored in the file.
 * Join    The programs keep their own buffers and plans, and share a list of kernels: what step and grad have in common is
 *         compiled once.
 */
#include "api/training.h"
#include "api/train.h"

enum { ALIGN = 64 };

const char *const step_entry_name[STEP_COUNT] = {
#define X(name) #name,
    STEP_LIST(X)
#undef X
};

/* -- States ---------------------------------------------------------------------------------------------------------------- */

static bool is_zero(const tensor *t)
{
    const uint8_t *p = t->bytes;
    size_t n = tensor_bytes(t);
    for (size_t i = 0; i < n; i++)
        if (p[i]) return false;
    return true;
}

void training_lay_out(arena *a, training *t)
{
    int n = t->t.n_vars;
    bool *is_trained = NEW_ARRAY(a, bool, n + 1);
    for (int i = 0; i < t->t.n_graded; i++) is_trained[t->t.graded[i]] = true;
    t->rows = NEW_ARRAY(a, state_row, n + 1);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < n; i++) {
            const tensor *v = &t->values[i];
            if (is_zero(v) != (pass == 1)) continue;
            t->rows[i] = (state_row){ .name = t->t.vars[i].path, .dtype = v->dtype, .rank = v->rank, .extents = v->dims, .offset = t->states_bytes,
                                      .bytes = (int64_t)tensor_bytes(v), .is_trained = is_trained[i] };
            t->states_bytes += (t->rows[i].bytes + ALIGN - 1) / ALIGN * ALIGN;
        }
        if (pass == 0) t->first_bytes = t->states_bytes;
    }
}

dlc_status training_open(dlc_context *ctx, arena *a, const char *path, const driver_options *o, bool with_data, training *out)
{
    driver_options mine = *o;
    mine.lang.in_parts = true;
    mine.lang.skips_data = !with_data;
    *out = (training){ 0 };
    dlc_status s = driver_train(ctx, a, path, o->train && *o->train ? o->train : NULL, &mine, &out->t);
    int n_statistics = 0;
    for (int i = 0; s == DLC_OK && i < out->t.n_vars; i++)
        n_statistics += out->t.vars[i].is_state && strncmp(out->t.vars[i].path, "Net.", 4) == 0;
    if (n_statistics && !o->lang.by_batch && strstr(path, ".onnx")) diag_onnx_statistics(ctx, (place){ .file = path }, n_statistics);
    if (s == DLC_OK) s = train_first_values(ctx, a, o, &out->t, &out->values);
    if (s == DLC_OK) training_lay_out(a, out);
    return s;
}

static int input_named(const graph *g, const char *name)
{
    for (int64_t i = 0; i < g->inputs.n; i++) {
        const char *have = node_of(g, g->inputs.at[i])->input->name;
        if (have && strcmp(have, name) == 0) return (int)i;
    }
    return -1;
}

void training_graph(arena *a, const training *t, step_entry entry, graph **g, state_binding *states)
{
    const lang_training *l = &t->t;
    state_pair *pairs = NEW_ARRAY(a, state_pair, l->n_vars + 1);
    *g = entry == STEP_step ? l->step : entry == STEP_grad ? l->grad : entry == STEP_apply ? l->apply : l->test;
    for (int i = 0; i < l->n_vars; i++)
        pairs[i] = (state_pair){ input_named(*g, l->vars[i].path), entry == STEP_step ? l->n_losses + i : -1 };
    for (int i = 0; i < l->n_early && entry == STEP_grad; i++) pairs[l->early[i]].output = l->n_losses + l->n_graded + i;
    for (int i = 0; i < l->n_late && entry == STEP_apply; i++) pairs[l->late[i]].output = i;
    *states = (state_binding){ l->n_vars, pairs, t->rows, t->states_bytes };
}

/* -- Programs -------------------------------------------------------------------------------------------------------------- */

static dlc_status lower_entry(dlc_context *ctx, arena *a, const training *t, step_entry entry, const driver_options *o, program **out)
{
    graph *g;
    state_binding states;
    driver_options mine = *o;
    training_graph(a, t, entry, &g, &states);
    mine.states = &states;
    dlc_status s = driver_passes(ctx, &mine, &g);
    if (s == DLC_OK) s = driver_lower(ctx, &mine, g, out);
    return s == DLC_OK ? driver_constants(ctx, *out) : s;
}

/* y[i] = x[i], or 0, over n bytes. */
static void add_bytes(program *p, int from, int to, int64_t n)
{
    dim size = dim_const(n);
    kernel_code *k = kernel_new(p->ctx, p->arena, p->dims, from < 0 ? "zero" : "first", ANCHOR_map);
    int x = from < 0 ? -1 : kernel_param(k, "x", DTYPE_u8, ROLE_in, 1, &size), y = kernel_param(k, "y", DTYPE_u8, ROLE_out, 1, &size);
    int v = kernel_var(k, "d0", LOOP_plain);
    stmt *loop = s_for(k, v, x_int(k, 0), x_int(k, n), MARK_serial);
    const expr *at = x_var(k, v);
    block_push(k, &k->body, loop);
    block_push(k, &loop->body, s_store(k, y, &at, x < 0 ? x_const(k, DTYPE_u8, (scalar_value){ 0 }) : x_load(k, x, &at)));
    prog_op *op = program_op(p, &p->body, PROG_call);
    op->kernel = program_kernel(p, k);
    op->args = NEW_ARRAY(p->arena, view, 2);
    if (from >= 0) op->args[0] = (view){ from, NULL };
    op->args[from >= 0] = (view){ to, NULL };
}

static dlc_status first_program(dlc_context *ctx, arena *a, const training *t, const driver_options *o, program **out)
{
    program *p = *out = program_new(ctx, a, dims_new(ctx, a), "init");
    int64_t n = t->first_bytes, rest = t->states_bytes - n;
    p->fma = o->fma;
    p->n_states = t->t.n_vars;
    p->states = t->rows;
    p->states_bytes = t->states_bytes;
    if (n) {
        uint8_t *image = arena_alloc(a, (size_t)n);
        memset(image, 0, (size_t)n);
        for (int i = 0; i < t->t.n_vars; i++)
            if (t->rows[i].offset < n) memcpy(image + t->rows[i].offset, t->values[i].bytes, (size_t)t->rows[i].bytes);
        int from = program_buf(p, "first", PBUF_const, 0, DTYPE_u8, 1, (dim[]){ dim_const(n) });
        int to = program_buf(p, "states", PBUF_state, 0, DTYPE_u8, 1, (dim[]){ dim_const(n) });
        p->bufs.at[from].data = image;
        p->bufs.at[to].offset = 0;
        add_bytes(p, from, to, n);
    }
    if (rest) {
        int to = program_buf(p, "zeros", PBUF_state, 1, DTYPE_u8, 1, (dim[]){ dim_const(rest) });
        p->bufs.at[to].offset = n;
        add_bytes(p, -1, to, rest);
    }
    return driver_lower(ctx, o, NULL, out);
}

dlc_status training_programs(dlc_context *ctx, arena *a, const char *path, const driver_options *o, program **out)
{
    training t;
    dlc_status s = training_open(ctx, a, path, o, false, &t);
    program *first = NULL;
    for (int i = 0; i < STEP_COUNT && s == DLC_OK; i++) {
        program *p = NULL;
        s = i == STEP_init ? first_program(ctx, a, &t, o, &p) : lower_entry(ctx, a, &t, (step_entry)i, o, &p);
        if (s != DLC_OK) break;
        p->entry = step_entry_name[i];
        if (first) program_join(first, p);
        else first = p;
    }
    *out = first;
    return s;
}
