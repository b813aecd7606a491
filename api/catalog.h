/* api/catalog.h: what dlc knows, listed from its tables: operators, primitives, scalar functions, processors.
 */
#ifndef DLC_API_CATALOG_H
#define DLC_API_CATALOG_H
#include "base/base.h"

typedef enum { CATALOG_onnx, CATALOG_prim, CATALOG_scalar } catalog;
/* One row each; only those whose name contains `part` (NULL: all). is_markdown: a table for a page. */
void catalog_put(text *out, catalog which, const char *part, bool is_markdown);
#endif
