/* passes/grad_step.h: what the files of the gradient share: one step of the sweep, and its rules.
 *
 * A rule reads the node and the gradients of its results and writes, for each operand that is wanted, the
 * gradient to add to the operand's (NO_VALUE: zero). Nodes move while one builds; a step has a copy.
 */
#ifndef DLC_PASSES_GRAD_STEP_H
#define DLC_PASSES_GRAD_STEP_H
#include "passes/grad.h"

typedef struct {
    graph *g;
    arena *scratch;           /* of the sweep */
    node n;
    value y;                  /* its first result */
    const value *dy;          /* [n.n_out]; NO_VALUE: zero. At least one is set. */
    const bool *wanted;       /* [n.n_in]; only floats are */
    value *dx;                /* [n.n_in], all NO_VALUE before */
} grad_step;

/* The reasons of nondiff.def. */
typedef enum {
#define NONDIFF(name, ...) NONDIFF_##name,
#include "passes/nondiff.def"
    NONDIFF_COUNT
} nondiff;
void grad_refuse(graph *g, nondiff why, const char *what);

/* -- Rules ----------------------------------------------------------------------------------------------- */

void grad_scalar_row(grad_step *s);                   /* the row's rule alone: dx of the result's shape */
void grad_map(grad_step *s);
void grad_reduce(grad_step *s);
void grad_contract(grad_step *s);
void grad_window(grad_step *s);
void grad_reshape(grad_step *s);
void grad_transpose(grad_step *s);
void grad_broadcast(grad_step *s);
void grad_slice(grad_step *s);
void grad_pad(grad_step *s);
void grad_concat(grad_step *s);
void grad_gather(grad_step *s);
void grad_scatter(grad_step *s);
void grad_scan(grad_step *s);
void grad_cond(grad_step *s);
void grad_while(grad_step *s);

/* -- Parts of rules -------------------------------------------------------------------------------------- */

static inline value grad_zeros(graph *g, type t)
{
    return splat(g, scalar_f64(g, t.dtype, 0), t.rank, t.dims);
}

/* Sum over the dims along which a value of type t was stretched. */
value grad_unstretch(graph *g, value dy, type t);
/* Rebuilds in `to` what these roots of `from` need. map: values of `from` to values of `to`; entries that are
 * set are taken as they are (at least the inputs that are reached), the others are filled. */
bool grad_inline(graph *to, const graph *from, int n, const value *roots, value *map);
/* The step's gradient through a composition of other primitives that gives the same results: f builds it over
 * parameters in[n.n_in] of a graph of its own. */
typedef bool (*grad_composition)(graph *g, const node *n, const value *in, value *out);
void grad_through(grad_step *s, grad_composition f);

#endif
