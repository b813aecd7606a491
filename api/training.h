/* api/training.h: the step of a train block as programs over one block of states, for files. */
#ifndef DLC_API_TRAINING_H
#define DLC_API_TRAINING_H
#include "api/driver.h"

/* What becomes of a train block (docs/abi.md, "A training step"):
 *     step    batch -> losses; states updated          grad    batch -> losses, gradients; states of layers updated
 *     apply   gradients -> ; the other states updated  test    batch -> losses, reports; nothing updated
 *     init    states set to their first values */
#define STEP_LIST(X) X(step) X(grad) X(apply) X(test) X(init)
typedef enum {
#define X(name) STEP_##name,
    STEP_LIST(X)
#undef X
    STEP_COUNT
} step_entry;
extern const char *const step_entry_name[STEP_COUNT];

typedef struct {
    lang_training t;
    tensor *values;                        /* first ones, of t.vars */
    state_row *rows;                       /* of t.vars */
    int64_t states_bytes, first_bytes;     /* behind first_bytes all states begin with zeros */
} training;

/* Reads and elaborates the block o->train of a program, and lays out its states. All in `a`. with_data: reads the data, too; else
 * only its shapes are known (t.data). */
dlc_status training_open(dlc_context *ctx, arena *a, const char *path, const driver_options *o, bool with_data, training *out);
/* Rows and sizes of t->t.vars, whose values are set. */
void training_lay_out(arena *a, training *t);
/* The graph of an entry (not init), and which of its inputs and outputs are states. */
void training_graph(arena *a, const training *t, step_entry entry, graph **g, state_binding *states);
/* All entries, compiled to loop programs and joined (program.next); the first is step. */
dlc_status training_programs(dlc_context *ctx, arena *a, const char *path, const driver_options *o, program **out);
#endif
