/* frontend/onnx/importer.h: what the files of the import share.
 *
 *     decode.c        bytes -> messages
 *     resolve.c       (domain, operator, opset) -> row of the table, version, signature; or a model-local
 *                     function
 *     check_model.c   everything that can be checked before the first node is built
 *     functions.c     model-local functions: their table, recursion, size when expanded
 *     scope.c         names -> edges; captures of bodies
 *     import.c        inputs, nodes, outputs
 *     op_call.c       what operator functions see (op.h)
 *     as_model.c      a whole model for another front end
 *     call_op.c       one operator, called by name from another front end
 *     separate.c      values that a Gradient differentiates by
 */
#ifndef DLC_FRONTEND_ONNX_IMPORTER_H
#define DLC_FRONTEND_ONNX_IMPORTER_H
#include "frontend/onnx/onnx_model.h"
#include "frontend/onnx/onnx.h"
#include "frontend/onnx/op.h"
#include "frontend/onnx/standard.h"
#include "frontend/onnx/tensor_read.h"
#undef in                          /* op.h's shorthand is for operator functions */
#undef out

enum {
    MAX_BODIES = 48,               /* bodies inside bodies while building */
    MAX_EXPANDED = 4000000,        /* nodes that calls of functions may add */
    MAX_ERRORS = 40                /* the checks stop here */
};

typedef struct function_info function_info;

/* What an operator name means under one set of opset imports. */
typedef struct {
    const char *domain, *op;
    const op_row *row;             /* NULL: a function, defined elsewhere, or missing */
    function_info *function;
    const void *defined;           /* by options->library */
    const char *missing;           /* why there is neither, or NULL */
    int version, opset;
    const standard_row *standard;  /* NULL: not an operator of the standard */
    standard_params inputs, outputs;
    text users; int n_users;       /* nodes that need it, if missing */
} resolved_op;

typedef struct {
    map_str versions;              /* domain -> opset */
    map_str resolved;              /* domain NUL op NUL overload -> resolved_op* */
} opsets;

struct function_info {
    const function_proto *proto;
    opsets opsets;
    int64_t n_nodes;               /* in it and its bodies */
    vec(uint32_t) calls;           /* functions it calls, once a call */
    int64_t expanded;              /* nodes when all calls are expanded */
    enum { CALLS_UNSEEN, CALLS_OPEN, CALLS_DONE } state;
};

/* Attributes that a function body refers to by name (ref_attr_name). */
typedef struct call_env {
    const function_proto *function;
    const node_proto *call;
    const struct call_env *outer;  /* in which the call's own references resolve */
} call_env;

typedef struct { edge e; const tensor_proto *init; const sparse_proto *sparse; } slot;

typedef struct { int param; value now; } statistic_update;

/* A model built for another front end: over its dims, for inputs of given types. Initializers of floating
 * point with axes are inputs after the model's own, unless one decides a structure: then it is taken, as an
 * offered value is. */
typedef struct {
    dims *dims;
    int n_in; const type *in;
    vec(model_parameter) params;
    bool by_batch;                     /* normalizations by the statistics of the batch; those that are kept move on */
    value *at;                         /* of each parameter: its input */
    vec(statistic_update) updates;
} foreign_build;

/* What a call by name gives in attributes besides numbers and words. */
typedef struct { const char *attr; value tensor; const operand_body *body; int n_out; } given_attr;

typedef struct scope {
    struct scope *outer;           /* where names not found here are looked for; NULL: nowhere */
    graph *g;
    capture_list *captures;        /* of a body that is a graph of its own; NULL: outer's graph */
    opsets *opsets;
    const call_env *env;
    const char *path;              /* before the names of nodes: "" or "block1/" */
    map_str names;                 /* -> slots */
    vec(slot) slots;
} scope;

typedef struct { const char *name; dim symbol; int64_t lo, hi; } symbol_bounds;
typedef struct { const char *name, *is; } merged_symbol;

struct importer {
    dlc_context *ctx;
    arena *a;                      /* the graph's */
    arena *scratch;                /* the import's */
    const onnx_options *options;
    const char *path;
    decoded file;
    const model_proto *model;
    tensor_source source;
    graph *g;
    opsets opsets;
    vec(function_info) functions;
    map_str function_names;        /* domain NUL name NUL overload -> index */
    map_str declared;              /* value name -> type_proto*, of the main graph */
    map_str binds;                 /* value name -> index of the option */
    bool *is_bound;                /* by option: was used */
    bool *is_dim_used;
    map_str symbols;               /* dim_param -> dim */
    vec(symbol_bounds) bounds;     /* of those symbols, as they start in this try */
    vec(merged_symbol) merged;   /* open sizes of other names that are the same one: found by earlier tries */
    vec(int) offer_of_input;       /* graph input -> index into options->offers, or -1 */
    bool wants_restart;            /* an offer was taken: build again with it as a constant */
    foreign_build *foreign;        /* NULL: none */
    int n_given; const given_attr *given;
    map_str by_gradient;           /* names that a Gradient differentiates by */
    vec(value) separate, separate_from;        /* such a value as an input of its own, and what it is */
    int n_bodies;                  /* open now */
    int64_t n_built;
    text key;
    bool failed;
};

static inline place place_of(const importer *imp, const node_proto *n)
{
    const char *name = n && n->name && *n->name ? n->name : n && n->n_output ? n->output[0] : NULL;
    return (place){ .file = imp->path, .node = name, .op = n ? n->op_type : NULL };
}

static inline const char *join_key(importer *imp, const char *domain, const char *name, const char *overload,
                                   size_t *n)
{
    imp->key.a = imp->scratch;
    imp->key.n = 0;
    text_putn(&imp->key, domain, strlen(domain) + 1);
    text_putn(&imp->key, name, strlen(name) + 1);
    text_put(&imp->key, overload);
    *n = (size_t)imp->key.n;
    return imp->key.at;
}

static inline bool in_main_graph(const importer *imp, const scope *s)
{
    return s->g == imp->g && !s->outer && !s->env;
}

/* resolve.c */
bool opsets_read(importer *imp, opsets *s, size_t n, Onnx__OperatorSetIdProto *const *imports, place at);
resolved_op *resolve(importer *imp, opsets *s, const node_proto *n);    /* NULL: the domain is not imported */

/* functions.c */
bool functions_read(importer *imp);
bool functions_check_calls(importer *imp, int64_t n_main_nodes, const uint32_t *main_calls,
                           int64_t n_main_calls);

/* check_model.c */
bool check_model(importer *imp);
/* a call by name: its inputs have names of their own */
bool check_alone(importer *imp, opsets *s, const node_proto *n);
const attribute_proto *attr_find(const node_proto *n, const char *name);

/* op_call.c */
op_value operand_of(arena *a, edge e);
edge edge_of(arena *a, op_value o);

/* scope.c */
void scope_open(importer *imp, scope *s, scope *outer, graph *g, capture_list *captures);
void scope_define(importer *imp, scope *s, const char *name, slot what);
bool scope_find(importer *imp, scope *s, const char *name, edge *e);       /* false: undefined (or failed) */
value tensor_constant(graph *g, const tensor_data *t, const char *name);

/* value_file.c */
onnx_kind declared_kind(const type_proto *t);
bool onnx_map(dlc_context *ctx, arena *a, const char *path, bytes *file);

/* separate.c */
void separate_find(importer *imp, size_t n, node_proto *const *nodes);
void separate_initializers(importer *imp, scope *s);
edge separate_edge(importer *imp, const char *name, edge e);
graph *separate_join(importer *imp);

/* as_model.c */
void foreign_types(importer *imp, scope *s, const graph_proto *g);
void foreign_parameters(importer *imp, scope *s);
void foreign_results(importer *imp, graph *g);
value foreign_input(importer *imp, graph *g, const char *name, int ordinal);

/* import.c */
void import_begin(importer *imp, dlc_context *ctx, arena *a, arena *scratch, const char *path,
                  const onnx_options *options);
bool import_model(importer *imp);                                          /* checks and builds imp->model */
bool run_nodes(importer *imp, scope *s, size_t n, node_proto *const *nodes);
void bind_result(importer *imp, scope *s, const char *name, edge e);
bool read_type(importer *imp, graph *g, const char *name, const type_proto *t, place at, dtype *dt, int *rank,
               dim *dims);

#endif
