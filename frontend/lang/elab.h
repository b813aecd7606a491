/* frontend/lang/elab.h: what the parts of the elaborator share: files, values, scopes, the walk's state. */
#ifndef DLC_FRONTEND_LANG_ELAB_H
#define DLC_FRONTEND_LANG_ELAB_H
#include "frontend/lang/ast.h"
#include "frontend/lang/lang.h"
#include "ir/build.h"

/* -- Files ----------------------------------------------------------------------------------------------- */

/* A model of ONNX: its file, the name it has here, what it takes and gives. */
typedef struct { const char *path, *name; model_signature sig; } net;

typedef struct module module;
struct module {
    const source *src;
    ast *file;
    module **uses; int n_uses;             /* `use "x.dl"`: all their definitions */
    const char **as_name; module **as; int n_as;    /* `use "x.dl" as b` */
    module *std;                           /* the library, as one module of several files; NULL in it */
    module **parts; int n_parts;           /* of the library */
    struct val *consts; bool *const_known; int n_const_done;
    const net *net;                        /* `use "x.onnx" as N`: a module of one model */
};
/* The definition of a name as this file sees it: own, used, library. */
ast *module_find(const module *m, const char *name, module **home);
module *module_as(const module *m, const char *name);
void names_check(lang *l, module *m);              /* duplicates, unknown names, values that nobody uses */
bool prim_exists(const char *name);
const char *const *prim_names(int *n);
dtype dtype_named(const char *name);               /* f16 … bool as spelled in the language */

/* -- Values ---------------------------------------------------------------------------------------------- */

typedef enum { V_VOID, V_INT, V_FLOAT, V_BOOL, V_STRING, V_NONE, V_LIST, V_TUPLE, V_FN, V_LAYER_DEF, V_LAYER,
               V_MODEL,
               V_DTYPE, V_TENSOR, V_PRIM, V_ONNX_OP, V_SPACE, V_PATH } vkind;

typedef struct val val;
typedef struct bind bind;
typedef struct layer layer;
typedef struct state_cell state_cell;
typedef struct scope scope;
typedef struct { ast *def; module *home; bind *head; scope *at; } closure;
struct val {
    vkind k;
    dim d;                                 /* INT */
    double f;
    bool b;
    const char *s;                         /* STRING, PRIM, ONNX_OP, PATH; a name for messages */
    dtype t;
    int n; val *item; const char **names;  /* LIST, TUPLE */
    const closure *fn;                     /* FN, LAYER_DEF, MODEL */
    const net *net;                        /* MODEL: of ONNX, in place of fn */
    layer *layer;
    module *space;
    graph *g; value v;                     /* TENSOR */
    int axes; bool is_elem;    /* inside index brackets: a single element, spread over this many index axes */
    const struct recipe *recipe;           /* of a data set: how it is divided and prepared */
    bool is_weak;                          /* an index: adapts like a number */
};
/* Names, newest first: a binding is a new node, so a function value keeps what it saw. */
struct bind { const char *name, *from; val v; state_cell *state; bind *next; };

/* A place in the tree of paths: counts names. */
struct scope { const char *path; map_str counts; };
struct layer { val def; bind *hyper; scope *made_in; const char *bound; const char *path; };

typedef struct frame frame;                /* a graph under construction and the bodies around it */
struct frame { graph *g; frame *outer; vec(value) outer_of, inner_of; };

typedef struct env env;
struct env {
    bind *head;
    module *mod;
    scope *sc;
    /* names from here on belong outside of a loop or branch */
    bind *barrier; bool has_barrier; const char *barrier_what;
    bool is_loop;
    vec(val) yields; bool takes_yields;
    bool in_train;
    int hidden;                            /* indices below this belong to callers */
};

typedef struct call_site { const ast *at; const char *what; struct call_site *outer; } call_site;

typedef struct index_axis {
    const char *name;
    const ast *binder;
    bool is_spread;
    int first, n;
    dim lo[MAX_RANK], size[MAX_RANK];
    bool known;
} index_axis;

/* What parts(), standardize() … ask for; done once the samples are there (lang_train.c). */
typedef struct recipe {
    bool has_parts, shuffle;
    double valid, test;
    int n;
    struct {
        const char *op, *field;
    } step[8];
} recipe;

typedef struct parameter {
    const char *path, *name;
    type t;
    graph *g;
    value v;
    bool is_state;
    value init;
    state_cell *cell;
    bool is_updated;
    val updated;
} parameter;
struct state_cell { const char *path; val now; type t; };

typedef struct gradient_of { parameter *p; value v; } gradient_of;       /* v: before any clipping */

/* What the library's softmax (over the last axis) or sigmoid gave, and of what: losses go back to it. */
typedef struct { graph *g; value v; const char *fn; val of; } squashed;

typedef struct elab {
    lang *l;
    arena *a;
    dlc_context *ctx;
    const lang_options *o;
    module *main;
    frame *fr;
    frame *top;
    call_site *site;
    int depth;
    int64_t steps;
    vec(index_axis) idx; int n_axes;
    vec(parameter *) params; map_str param_at;
    map_str updated; /* states that the model updates outside of training, by path: inputs and results then */
    map_str models;                        /* path scope of a model by name */
    bool training, has_grad;
    frame *init;                           /* in training: where initial values are built */
    /* is_real: a step to be run, with data read; else types only */
    vec(struct data_set *) sets; bool is_real;
    int64_t batch;                         /* samples in a step; 0: all */
    int part;             /* 0 the step on the training part; 1 2 evaluation on the validation or test part */
    uint64_t seed;
    bool is_cut;                           /* gradients are inputs grad:PATH */
    vec(struct gradient_of) gradients;     /* of the block, in order */
    dims *dims;
    int n_loops;
    bool in_index;
    vec(squashed) squashed;
    vec(module *) modules;                 /* every file that was read */
    bool in_operator;   /* in the body of an `op` that an ONNX model calls: no parameters, no random values */
    /* constants given as inputs, so that they are not folded before a gradient */
    vec(value) kept, kept_input;
    vec(index_axis) ranges;                /* of inner indices, found with those around them */
    vec(ast *) base_ast; vec(val) base_val;   /* bases of subscripts evaluated while ranges were looked for */
} elab;

/* As lang_error, at the innermost place in the user's own files; elab_error_op at the operator there. */
#define elab_error(e, at, help, row, ...) \
    (diag_lang_##row((e)->ctx, elab_place(e, at, false) __VA_OPT__(,) __VA_ARGS__), lang_leave((e)->l, help))
#define elab_error_op(e, at, help, row, ...) \
    (diag_lang_##row((e)->ctx, elab_place(e, at, true) __VA_OPT__(,) __VA_ARGS__), lang_leave((e)->l, help))
place elab_place(elab *e, const ast *at, bool is_op);

/* What the builder reported since, where the program's own words say it better. */
typedef struct { int64_t n_diags; int n_errors; dlc_status status; } told;
static inline told told_so_far(const elab *e)
{
    return (told){ e->ctx->diags.n, e->ctx->n_errors, e->ctx->status };
}

static inline void forget_since(elab *e, told t)
{
    e->ctx->diags.n = t.n_diags;
    e->ctx->n_errors = t.n_errors;
    e->ctx->status = t.status;
}

/* values (elab_value.c) */
static inline val v_dim(dim d) { return (val){ .k = V_INT, .d = d }; }
static inline val v_int(int64_t i) { return (val){ .k = V_INT, .d = dim_const(i) }; }
static inline val v_float(double f) { return (val){ .k = V_FLOAT, .f = f }; }
static inline val v_bool(bool b) { return (val){ .k = V_BOOL, .b = b }; }
static inline val v_none(void) { return (val){ .k = V_NONE }; }
val v_tensor(elab *e, value v);
val v_list(elab *e, int n, const val *items);
const char *show_value(elab *e, const val *v);          /* for messages and str() */
const char *show_kind(elab *e, const val *v);           /* "the layer Dense", "f32[N, 8]" */
const char *show_dims(elab *e, int n, const dim *d);
value here(elab *e, const val *v);  /* a tensor's value in the graph under construction: captured if needed */
int rank_v(elab *e, const val *v);                      /* an element of index brackets has rank 0 */
dim dim_v(elab *e, const val *v, int axis);
dtype dtype_v(const val *v);
bool is_number(const val *v);
/* numbers and lists become tensors; DTYPE_NONE: by themselves */
val to_tensor(elab *e, const ast *at, val v, dtype hint);
val arith(elab *e, const ast *at, const char *op, val a, val b);
val elementwise(elab *e, const ast *at, const char *what, scalar fn, int n, val *x);
val where_v(elab *e, const ast *at, val c, val a, val b);
val convert(elab *e, const ast *at, val v, dtype t);
int64_t need_int(elab *e, const ast *at, const val *v, const char *what);
dim need_dim(elab *e, const ast *at, const val *v);

/* the walk (elab.c) */
val eval(elab *e, env *n, ast *x);
val eval_block(elab *e, env *n, ast *x);
val apply(elab *e, env *n, const ast *at, val f, int n_pos, const val *pos, const ast *const *pos_at,
          int n_named, const char *const *names, const val *named, const ast *const *named_at);
val call1(elab *e, env *n, const ast *at, const char *std_name, val x);
void bind_name(elab *e, env *n, const char *name, val v);
bind *lookup(env *n, const char *name);
bool name_value(elab *e, env *n, const ast *at, const char *name, val *out);
const char *scope_name(elab *e, scope *s, const char *name);       /* the next free one: x, x_2, … */

/* index notation (elab_index.c) */
val eval_comp(elab *e, env *n, ast *x);
val eval_reduction(elab *e, env *n, ast *x);
val eval_subscript(elab *e, env *n, ast *x);
bool index_value(elab *e, env *n, const char *name, val *out);

/* models and operators of ONNX (elab_onnx.c) */
val net_call(elab *e, const ast *at, const net *f, int n_pos, const val *pos, const ast *const *pos_at,
             int n_named, const char *const *names, const val *named, const ast *const *named_at);
val onnx_op_value(elab *e, const ast *at, const char *name);
val onnx_call(elab *e, env *n, const ast *at, const char *name, int n_pos, const val *pos,
              const ast *const *pos_at, int n_named, const char *const *names, const val *named,
              const ast *const *named_at);
parameter *net_parameter(elab *e, const ast *at, const char *path, const char *name, const tensor *first);
operator_library elab_operators(arena *a, int n, elab *const *e);       /* what these programs define */
val kept_apart(elab *e, val c);                /* a constant that a gradient may be taken by (elab_value.c) */
val trained_value(elab *e, const ast *at, type t, const char *path);

/* training (lang_train.c) */
typedef struct data_set { const char *name; lang_data *data; val record; } data_set;

/* data sources (lang_data.c) */
bool is_data_source(const char *name);
val data_source(elab *e, const ast *at, const char *name, int n_pos, const val *pos, int n_named,
                const char *const *names, const val *named);

/* the entry points (lang_compile.c) */
/* the graph under construction; constants that were kept apart as inputs take their places */
graph *with_constants(elab *e);
void elab_begin(elab *e, const char *name);
elab *elab_new(dlc_context *ctx, arena *a, const char *path, const lang_options *o, jmp_buf *stop);
void check_train(elab *e, ast *d, module *home);

/* built in (elab_prim.c) */
val prim_call(elab *e, env *n, const ast *at, const char *name, int n_pos, const val *pos,
              const ast *const *pos_at, int n_named, const char *const *names, const val *named,
              const ast *const *named_at);
val reduce_value(elab *e, const ast *at, const char *name, value x, uint32_t axes, bool keep);

bool depends(elab *e, graph *g, value y, value x);        /* differentiably */

#endif
