/* ir/interval_index.h: which of many lifetimes meet a given one (interval_index.c). */
#ifndef DLC_IR_INTERVAL_INDEX_H
#define DLC_IR_INTERVAL_INDEX_H
#include "base/base.h"

typedef struct interval_index interval_index;
typedef vec(int) item_list;

/* For times 0 … n_times-1. */
interval_index *interval_index_new(arena *a, int64_t n_times);
/* An item that is alive from first to last, both included. */
void interval_index_add(interval_index *x, int item, int64_t first, int64_t last);
/* Appends the items that are alive at some time of first … last, each once, to *out (arena a). False: there
 * are more than `most`, and *out holds some of them. */
bool interval_index_find(const interval_index *x, arena *a, int64_t first, int64_t last, int64_t most,
                         item_list *out);

#endif
