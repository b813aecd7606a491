/* backend/c/cgen_inside.h: inside of the C writer: who writes what.
 *
 *   c_helper.c    the static functions that the text calls, each written once it is needed; their table
 *   c_expr.c      expressions; addresses
 *   c_kernel.c    statements, kernels, regions
 *   c_vector.c    lanes as vector types (--c-vectors)
 *   c_program.c   constants, run(), workspace(), shapes(), tables
 */
#ifndef DLC_BACKEND_C_CGEN_INSIDE_H
#define DLC_BACKEND_C_CGEN_INSIDE_H
#include "backend/c/cgen.h"

/* Names in one scope of C: of buffers, variables, temps and sizes; no two equal, none a word of C. */
typedef struct { arena *a; const char *prefix; map_str taken; } name_set;
void names_init(name_set *s, arena *a, const char *prefix);
const char *c_word(arena *a, const char *name);          /* what fits in an identifier */
const char *name_new(name_set *s, const char *wanted);

typedef vec(dim) dim_list;

enum { MAX_LANES = 64 };

/* A loop over lanes, as vectors: how many, and the bytes of its widest value. */
typedef struct { int lanes, bytes; } lane_shape;

typedef struct writer {
    dlc_context *ctx; arena *a;
    const program *p; const c_options *o;
    const char *prefix;
    expander *ex;
    text helpers;               /* static functions, callees first */
    text kernels;               /* kernel and region functions */
    map_str has_helper;         /* by name; value 1 */
    bool uses_type[DTYPE_COUNT];     /* as elements of memory */
    bool uses_lanes[MAX_LANES + 1];  /* as extents of vector loops */
    bool uses_shape[MAX_LANES + 1][9], uses_vector[MAX_LANES + 1][9][DTYPE_COUNT];      /* by lanes, bytes */
} writer;

/* -- Text (c_helper.c) ----------------------------------------------------------------------------------- */

const char *c_type(dtype t);                               /* of a value */
const char *element_type(writer *w, dtype t);              /* of memory: PREFIX_f32 */
void put_const(writer *w, text *t, dtype type, scalar_value v, int prec);
void put_i64(text *t, int64_t v);
/* The name of a helper (c_helper.c: the table) at a type, written if it was not yet. */
const char *helper(writer *w, const char *name, dtype t);
bool mark_helper(writer *w, const char *name);             /* is it new? Then it is to be added: */
void add_helper(writer *w, const char *source);
const char *cast_helper(writer *w, dtype from, dtype to);  /* NULL: a C cast does it */
const char *row_function(writer *w, scalar fn, dtype t);   /* of a row that is not basic */
const char *tree_function(writer *w, scalar fn, dtype t);

/* -- Expressions (c_expr.c) ------------------------------------------------------------------------------ */

/* How tightly C binds: what is put where more is needed gets parentheses. */
enum { BIND_any = 0, BIND_choose = 3, BIND_bits = 5, BIND_compare = 9, BIND_add = 11, BIND_mul = 12,
       BIND_unary = 13, BIND_primary = 14 };

/* known: in a copy of an unrolled body */
typedef struct { bool is_known; int64_t k; const char *name; } var_text;
typedef struct { const expr *e; const char *name; } named_expr;
typedef struct scope_text {                               /* a function being written */
    writer *w; kernel_code *k;
    text *out;
    int depth;                  /* of indentation */
    name_set *names;
    var_text *var;
    range *ranges;              /* by variable */
    /* index: made of variables, sizes and constants alone: cannot overflow */
    const char **temp; bool *temp_is_index;
    const char **buf; bool *buf_is_scalar;
    dim_list dims; const char **dim_name;         /* of a kernel: by number */
    const char *const *symbol_name;               /* of the program's own functions: by symbol */
    vec(named_expr) named;                        /* of the statement in work */
    bool in_region; int *n_regions; int *n_made; const char *fn_name;
    int64_t copies;                               /* product of the unrolled loops around */
    /* in lanes as vectors (c_vector.c): */
    lane_shape shape;                /* .lanes 0: not in one */
    int lane_var;
    bool *temp_varies, *is_private;          /* by temp: differs by lane; by buffer: every lane has its own */
    const char *lane_q;         /* not NULL: what is written is scalar, for this lane */
    bool in_address;
} scope_text;

void put_dim(scope_text *s, text *t, dim d, int prec);
void put_expr(scope_text *s, text *t, const expr *e, int prec);
void put_element(scope_text *s, text *t, int buf, const expr *const *index);
/* Writes locals for what is used twice, or lies deep; the first n_index roots are indices. */
void name_shared(scope_text *s, int n_index, int n, const expr *const *roots);
/* Is e max or min with a constant, for which one comparison is enough? f: the helper; other: the operand. */
bool limit_of(const expr *e, const char **f, int *other);
bool is_index(const scope_text *s, const expr *e);
/* fn of operands of type `from`, given as text that binds as tightly as row_bind() asks; SCALAR_COUNT: a
 * bitcast. */
void put_row(writer *w, text *t, scalar fn, dtype from, dtype to, const char *const *args,
             const bool *is_const, int prec);
int row_bind(writer *w, scalar fn, dtype from, dtype to, int i);
void start_line(scope_text *s);

/* -- Lanes as vectors (c_vector.c) ----------------------------------------------------------------------- */

const char *vector_type(writer *w, lane_shape sh, dtype t);     /* of a value */
/* sets up the scope, if the loop can be written so */
bool enter_lanes(scope_text *s, const stmt *x, int64_t n);
void leave_lanes(scope_text *s);
bool varies(const scope_text *s, const expr *e);           /* by lane */
/* has no vector form: a local is made of it, one lane at a time */
bool is_by_lane(const scope_text *s, const expr *e);
void put_by_lane(scope_text *s, const expr *e, const char *name);
void put_one_lane(scope_text *s, text *t, const char *vector, dtype d);
void put_vector(scope_text *s, text *t, const expr *e, int prec);
void put_lanes_head(scope_text *s, const stmt *x);         /* up to the brace */
void put_vector_let(scope_text *s, const stmt *x);
void put_vector_store(scope_text *s, const stmt *x);
void put_vector_alloc(scope_text *s, const stmt *x, int64_t n);
void put_vector_types(writer *w, text *t);                 /* after everything else is written */

/* -- Kernels (c_kernel.c) -------------------------------------------------------------------------------- */

bool mentions(const char *source, const char *name);      /* as a word */
void kernel_open_dims_c(arena *a, const kernel_code *k, dim_list *out);
void write_kernel(writer *w, kernel_code *k, const char *name);
int64_t kernel_stack_bytes(const kernel_code *k);

#endif
