/* passes/pass.h: what a pass sees of the pipeline, and the rewriting walk most graph passes are made of.
 *
 * A graph pass takes a verified graph and leaves another, valid one, in *g (graphs are never changed in
 * place: a pass builds the new one with the builder, which simplifies and shares as it goes). Passes are rows
 * of pass.def.
 */
#ifndef DLC_PASSES_PASS_H
#define DLC_PASSES_PASS_H
#include "ir/build.h"
#include "ir/loop.h"

typedef enum {
#define PASS(name, ...) PASS_##name,
#define BEFORE(a, b, why)
#include "passes/pass.def"
    PASS_COUNT
} pass_id;

typedef enum { STAGE_GRAPH, STAGE_LOWER, STAGE_PROGRAM } pass_stage;
typedef enum { BITS_EXACT, BITS_VALUE } pass_bits;     /* docs/design.md §7 */

enum { BY_NAME = 9 };            /* level of the passes that run only when they are named */

typedef struct pass_run {
    dlc_context *ctx;
    arena *scratch;              /* emptied when the pass ends */
    int64_t changes;
    int64_t limit;               /* changes allowed; < 0: any number (--limit) */
    text *explain;               /* one line a decision, or NULL (--explain) */
    const uint32_t *uses;        /* readers of each value of the graph being rewritten (pass_rewrite) */
    /* of the body of a scan being rewritten: inputs from here on are the same in each step; else a large
     * number */
    int first_capture;
    void *state;                 /* a pass's own, in scratch */
} pass_run;

/* May one more change be made? Counts it. */
static inline bool pass_allow(pass_run *run)
{
    if (run->limit >= 0 && run->changes >= run->limit) return false;
    run->changes++;
    return true;
}

/* With --explain: a line "node (Op): map relu f32[4]: WHAT". */
void pass_explain(const pass_run *run, const graph *g, const node *n, const char *what);

typedef struct { const char *name; pass_stage stage; int level; pass_bits bits; const char *doc;
                 dlc_status (*graph_pass)(pass_run *run, graph **g); } pass_row;
extern const pass_row pass_info[PASS_COUNT];

/* Walks g in topological order into a new graph. `rewrite` may give the value that replaces the node's
 * results (its operands in the new graph are in[]), or false to keep the node. Bodies are walked too, before
 * the node that owns them. */
typedef bool (*node_rewrite)(pass_run *run, graph *to, const graph *from, const node *n, const value *in,
                             value *out);
dlc_status pass_rewrite(pass_run *run, graph **g, node_rewrite rewrite);

/* Is v computed of constants alone, by at most `depth` nodes? */
bool is_constant_value(const graph *g, value v, int depth);

/* Does v, in the body of a scan being rewritten, depend on captures alone, by at most `depth` nodes? Then the
 * builder computes it once, outside the loop. */
bool is_invariant_value(const pass_run *run, const graph *g, value v, int depth);

#endif
