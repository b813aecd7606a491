/* resolve: what an operator's name means in a model
 *
 * What   Finds for (domain, operator, opset) the implementing row, the version that applies, and the
 *        signature in the standard; or the model-local function of that name, which goes first.
 * How    The version is the standard's: the newest since-version not above the opset. The row must list it. A
 *        domain outside the standard has only the row's own versions.
 *        An operator that the user defines (options->library) goes before one that is built in. Each answer
 *        is kept, so a model with a million nodes asks the tables once for each distinct operator.
 */
#include "frontend/onnx/importer.h"
#include <stdlib.h>

/* -- Opset imports --------------------------------------------------------------------------------------- */

bool opsets_read(importer *imp, opsets *s, size_t n, Onnx__OperatorSetIdProto *const *imports, place at)
{
    map_init(&s->versions, imp->scratch);
    map_init(&s->resolved, imp->scratch);
    bool ok = true;
    for (size_t i = 0; i < n && imp->ctx->n_errors < MAX_ERRORS; i++) {
        const char *domain = domain_name(imports[i]->domain);
        int64_t version = imports[i]->version;
        int newest = standard_newest(domain);
        const char *shown = *domain ? domain : "ai.onnx";
        if (version < 1) {
            diag_onnx_model(imp->ctx, at,
                            arena_printf(imp->scratch, "opset %.200s is %lld, not 1 or more", shown,
                                         (long long)version));
            ok = false;
        } else if (newest && version > newest) {
            diag_onnx_opset(imp->ctx, at, shown, (long long)version, newest);
            ok = false;
        }
        bool is_new;
        uint64_t *known = map_put(&s->versions, domain, strlen(domain), (uint64_t)version, &is_new);
        if (!is_new && *known != (uint64_t)version) {
            diag_onnx_model(imp->ctx, at,
                            arena_printf(imp->scratch, "opset %.200s is imported as %lld and as %lld", shown,
                                         (long long)*known, (long long)version));
            ok = false;
        }
    }
    return ok;
}

/* -- Signatures ------------------------------------------------------------------------------------------ */

/* "T=c02 T1=40" -> the mask of a variable, and its number. */
static uint32_t mask_of(const char *types, const char *var, size_t n, int *number)
{
    *number = 0;
    for (const char *p = types; *p; (*number)++) {
        size_t k = strcspn(p, "=");
        char *end;
        unsigned long mask = strtoul(p + k + 1, &end, 16);
        if (k == n && memcmp(p, var, n) == 0) return (uint32_t)mask;
        p = end + strspn(end, " ");
    }
    return 0;
}

void standard_parse(const standard_row *r, const char *list, standard_params *out)
{
    memset(out, 0, sizeof *out);
    for (const char *p = list; *p && out->n < MAX_PARAMS;) {
        size_t n = strcspn(p, "?*~ ");
        standard_param *q = &out->at[out->n++];
        q->mask = mask_of(r->types, p, n, &q->var);
        p += n;
        q->mode = *p && *p != ' ' ? *p++ : ' ';
        bool may_be_none = *p == '0';
        p += strspn(p, "0 ");
        out->is_variadic = q->mode == '*' || q->mode == '~';
        if (q->mode == ' ' || (out->is_variadic && !may_be_none)) out->least = out->n;
    }
}

char standard_attr(const standard_row *r, const char *name, bool *required)
{
    size_t n = strlen(name);
    *required = false;
    for (const char *p = r->attributes; *p;) {
        size_t k = strcspn(p, ":");
        char kind = p[k + 1];
        bool must = p[k + 2] == '!';
        if (k == n && memcmp(p, name, n) == 0) {
            *required = must;
            return kind;
        }
        p += k + 2 + (must ? 1 : 0);
        p += strspn(p, " ");
    }
    return 0;
}

/* -- Resolution ------------------------------------------------------------------------------------------ */

static const char *missing_version(importer *imp, const op_row *row, int since)
{
    text t = { .a = imp->scratch };
    text_printf(&t, "version %d is not implemented (", since);
    for (int i = 0; i < row->n_versions; i++) text_printf(&t, "%s%d", i ? ", " : "", row->versions[i]);
    text_put(&t, " are)");
    return text_str(&t);
}

/* The version of the row that applies: 0 if none. */
static int version_of(const op_row *row, const standard_row *standard, int opset)
{
    int best = 0;
    for (int i = 0; i < row->n_versions; i++) {
        if (standard && row->versions[i] == standard->since) return standard->since;
        if (!standard && (row->versions[i] <= opset || best == 0)) best = row->versions[i];
    }
    return standard ? 0 : best;
}

static void resolve_operator(importer *imp, resolved_op *r)
{
    const standard_row *any;
    r->standard = standard_find(r->domain, r->op, r->opset, &any);
    r->row = onnx_op_find(r->domain, r->op);
    if (r->standard && !r->standard->is_deprecated) {
        standard_parse(r->standard, r->standard->inputs, &r->inputs);
        standard_parse(r->standard, r->standard->outputs, &r->outputs);
    }
    bool is_listed = r->row && r->standard && version_of(r->row, r->standard, r->opset);
    if (r->standard && r->standard->is_deprecated && !is_listed) {
        r->missing = arena_printf(imp->scratch, "is deprecated since opset %d", r->standard->since);
    } else if (any && !r->standard) {
        r->missing = arena_printf(imp->scratch, "is not in opset %d", r->opset);
    } else if (!r->row) {
        r->missing = any                          ? "is not implemented"
                     : standard_newest(r->domain) ? "is not known in this domain"
                                                  : "belongs to a domain that is not known";
    } else {
        r->version = version_of(r->row, r->standard, r->opset);
        if (r->version == 0)
            r->missing = missing_version(imp, r->row, r->standard ? r->standard->since : r->opset);
    }
    if (r->missing) r->row = NULL;
    if (r->standard && r->standard->is_deprecated) r->standard = NULL;
}

resolved_op *resolve(importer *imp, opsets *s, const node_proto *n)
{
    const char *domain = domain_name(n->domain), *op = str_or(n->op_type, ""),
               *overload = str_or(n->overload, "");
    size_t key_n;
    const char *key = join_key(imp, domain, op, overload, &key_n);
    bool is_new;
    uint64_t *known = map_put(&s->resolved, key, key_n, 0, &is_new);
    if (!is_new) return (resolved_op *)(uintptr_t)*known;

    uint64_t *function = map_find(&imp->function_names, key, key_n);
    uint64_t *version = map_find(&s->versions, domain, strlen(domain));
    const operator_library *lib = imp->options->library;
    const void *defined = lib && !function ? lib->find(lib->arg, domain, op) : NULL;
    if (!version && !function) return NULL;          /* and NULL is kept */
    resolved_op *r = NEW(imp->scratch, resolved_op);
    *r = (resolved_op){ .domain = arena_strdup(imp->scratch, domain), .op = arena_strdup(imp->scratch, op),
                        .users = { .a = imp->scratch } };
    *known = (uint64_t)(uintptr_t)r;
    r->opset = version ? (int)(int64_t)*version : 1;
    if (function) r->function = &imp->functions.at[*function];
    else if (defined) r->defined = defined;
    else resolve_operator(imp, r);
    return r;
}
