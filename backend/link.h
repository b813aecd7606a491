/* backend/link.h: constants as objects, and objects joined by the system's linker. */
#ifndef DLC_BACKEND_LINK_H
#define DLC_BACKEND_LINK_H
#include "backend/target/target.h"

/* Constant data with a hidden symbol; aligned to 64. */
typedef struct { const char *name; const void *data; int64_t bytes; } data_symbol;

/* Writes a relocatable ELF64 object that holds them in .rodata. False: errno says why. */
bool elf_write_data(int fd, const char *triple, int n, const data_symbol *symbols);

typedef enum { LINK_SHARED, LINK_RELOCATABLE } link_kind;
typedef struct {
    link_kind kind;
    const target *target;
    int n_objects; const bytes *objects;
    int n_data; const data_symbol *data;
} link_job;

/* Joins objects and data into `output` (written beside it, then renamed) with ld.lld or ld, run without a
 * shell. The result asks for no other library. */
dlc_status link_to_file(dlc_context *ctx, const char *output, const link_job *job);
/* The same into memory. */
dlc_status link_to_memory(dlc_context *ctx, arena *a, const link_job *job, bytes *out);
#endif
