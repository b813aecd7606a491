/* api/settings.h: options of the driver by name, as the command line and the public API spell them. */
#ifndef DLC_API_SETTINGS_H
#define DLC_API_SETTINGS_H
#include "api/engine.h"

typedef struct {
    driver_options driver;
    engine_kind kind;
    const char *cpu, *triple; int vector_bytes;       /* what settings_target() will look up */
    const char *prefix;                               /* of the symbols; NULL: the name of the file */
    bool has_no_cache;
    bool has_no_pool;                                 /* no pool in a shared library */
    bool has_pool;                                    /* write pool.c beside */
    text given;                             /* the options that shape files, as they were given, one a line */
    vec(onnx_dim_option) dims;
    vec(onnx_bind_option) binds;
    vec(lang_set) sets;
    vec(const char *) ops;
} settings;

settings settings_default(void);
/* Sets one option. False: a diagnostic. *is_known false: no option of that name. Strings live in `a`. */
bool settings_set(dlc_context *ctx, arena *a, settings *s, const char *name, const char *word,
                  bool *is_known);
/* After the last one: the target, and the lists into the driver's options. */
bool settings_finish(dlc_context *ctx, settings *s);
/* A pass by its name; -1 and a diagnostic that names the nearest. `option` is the option's name. */
int settings_pass(dlc_context *ctx, arena *a, const char *option, const char *name);
/* Marks every pass of a list "a,b". */
bool settings_pass_list(dlc_context *ctx, arena *a, const char *option, const char *list,
                        bool chosen[PASS_COUNT]);

/* The word of a list that is spelled most alike; NULL if none is near. */
const char *nearest(const char *word, int n, const char *const *words);
#endif
