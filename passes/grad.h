/* passes/grad.h: gradients of graphs, as graphs (docs/gradients.md).
 *
 * Both append to g the nodes that compute, for each i,
 *     dwrt[i] = d(sum over k of <dy[k], y[k]>) / d wrt[i]          of wrt[i]'s type; zeros where nothing
 *     depends on it
 * wrt may be inputs or values inside. y and wrt must be floats. False: a diagnostic says why, g->failed is
 * set. The result is made of primitives like any other, so that it can be differentiated again.
 */
#ifndef DLC_PASSES_GRAD_H
#define DLC_PASSES_GRAD_H
#include "ir/build.h"

bool grad_of(graph *g, int n_y, const value *y, const value *dy, int n, const value *wrt, value *dwrt);
/* Of one value; of the sum of its elements if there are several. */
bool grad(graph *g, value loss, int n, const value *wrt, value *dwrt);

#endif
