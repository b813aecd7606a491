/* functions: model-local functions before they are expanded
 *
 * What   Their table by (domain, name, overload); that none calls itself, directly or through others; how
 *        many nodes a model has when all calls are expanded.
 * Why    Ten functions that each call the next ten times are 10^10 nodes: this is known before the first is
 *        built.
 * How    check_model.c lists the calls in each body. A walk in depth with an explicit stack gives each
 *        function its size after those it calls; meeting one that is still open is a cycle.
 */
#include "frontend/onnx/importer.h"

bool functions_read(importer *imp)
{
    const model_proto *m = imp->model;
    map_init(&imp->function_names, imp->scratch);
    bool ok = true;
    /* addresses stay: resolved_op keeps them */
    vec_grow(imp->scratch, &imp->functions, (int64_t)m->n_functions);
    for (size_t i = 0; i < m->n_functions && imp->ctx->n_errors < MAX_ERRORS; i++) {
        const function_proto *f = m->functions[i];
        place at = { .file = imp->path, .node = f->name };
        function_info info = { .proto = f };
        ok &= opsets_read(imp, &info.opsets, f->n_opset_import, f->opset_import, at);
        vec_push(imp->scratch, &imp->functions, info);
        if (!f->name || !*f->name) {
            diag_onnx_model(imp->ctx, at, "a function has no name");
            ok = false;
            continue;
        }
        size_t n;
        const char *key = join_key(imp, domain_name(f->domain), f->name, str_or(f->overload, ""), &n);
        bool is_new;
        map_put(&imp->function_names, key, n, i, &is_new);
        if (!is_new) {
            diag_onnx_duplicate(imp->ctx, at, f->name, "a function of the model");
            ok = false;
        }
    }
    return ok;
}

static int64_t add_capped(int64_t a, int64_t b)
{
    return a > INT64_MAX / 4 || b > INT64_MAX / 4 ? INT64_MAX / 4 : a + b;
}

typedef struct { uint32_t f; int64_t next; } visit;

static bool visit_calls(importer *imp, uint32_t root)
{
    vec(visit) stack = { 0 };
    function_info *fs = imp->functions.at;
    if (fs[root].state == CALLS_DONE) return true;
    fs[root].state = CALLS_OPEN;
    fs[root].expanded = fs[root].n_nodes;
    vec_push(imp->scratch, &stack, ((visit){ root, 0 }));
    while (stack.n) {
        visit *v = &stack.at[stack.n - 1];
        function_info *f = &fs[v->f];
        if (v->next == f->calls.n) {
            f->state = CALLS_DONE;
            (void)vec_pop(&stack);
            continue;
        }
        uint32_t callee = f->calls.at[v->next];
        function_info *c = &fs[callee];
        if (c->state == CALLS_OPEN) {
            diag_onnx_model(imp->ctx, (place){ .file = imp->path, .node = c->proto->name },
                            "a function calls itself, directly or through others");
            return false;
        }
        if (c->state == CALLS_UNSEEN) {
            c->state = CALLS_OPEN;
            c->expanded = c->n_nodes;
            vec_push(imp->scratch, &stack, ((visit){ callee, 0 }));
        } else {
            f->expanded = add_capped(f->expanded, c->expanded);
            v->next++;
        }
    }
    return true;
}

bool functions_check_calls(importer *imp, int64_t n_main_nodes, const uint32_t *main_calls,
                           int64_t n_main_calls)
{
    for (int64_t i = 0; i < imp->functions.n; i++)
        if (!visit_calls(imp, (uint32_t)i)) return false;
    int64_t n = 0;
    for (int64_t i = 0; i < n_main_calls; i++) n = add_capped(n, imp->functions.at[main_calls[i]].expanded);
    if (n <= MAX_EXPANDED) return true;
    diag_onnx_limit(imp->ctx, (place){ .file = imp->path },
                    arena_printf(imp->scratch,
                                 "calls of functions expand %lld nodes to %s%lld; at most %d more are taken",
                                 (long long)n_main_nodes, n >= INT64_MAX / 4 ? "over " : "", (long long)n,
                                 MAX_EXPANDED));
    return false;
}
