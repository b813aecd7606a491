/* ir/attr.c: attributes compared and hashed, field by field.
 *
 * Why    Equal attributes are kept once in a graph, so that nodes may compare them by address. The bytes of
 *        two structs say less: between the fields and behind them lies padding, which any store may change.
 * How    One table: of each primitive's struct, the fields, and those of the entries of its arrays. Unused
 *        entries are zero, since a builder function zeroes a struct before it fills it.
 * Keeps  What only names something (the labels of a contract, the symbol of a compact's count) is a field of
 *        ATTR_ALL, not of ATTR_MEANING: nodes that differ in it compute the same.
 */
#include "ir/build_inner.h"
#include <stddef.h>

enum { MAX_FIELDS = 24 };

typedef struct {
    attr_part part;
    size_t at, bytes;         /* the first one, in the struct */
    size_t n, stride;         /* how many there are, how far apart */
} attr_field;

#define FIELD_AS(part, s, f) { part, offsetof(s, f), sizeof ((s *)0)->f, 1, 0 }
#define FIELD(s, f) FIELD_AS(ATTR_MEANING, s, f)
#define EACH(s, array, f)                                                                  \
    { ATTR_MEANING, offsetof(s, array[0].f), sizeof ((s *)0)->array[0].f,                  \
      sizeof ((s *)0)->array / sizeof ((s *)0)->array[0], sizeof ((s *)0)->array[0] }

static const struct { size_t bytes; attr_field fields[MAX_FIELDS];
} attr_info[PRIM_COUNT] = {
    [PRIM_input] = { sizeof(input_attr), { FIELD(input_attr, index), FIELD(input_attr, name) } },
    [PRIM_iota] = { sizeof(iota_attr), { FIELD(iota_attr, axis) } },
    [PRIM_map] = { sizeof(map_attr), { FIELD(map_attr, fn), FIELD(map_attr, to) } },
    [PRIM_reduce] = { sizeof(reduce_attr),
                      { FIELD(reduce_attr, kind), FIELD(reduce_attr, axes), FIELD(reduce_attr, last) } },
    [PRIM_contract] = { sizeof(contract_attr),
                        { FIELD(contract_attr, n_labels), FIELD_AS(ATTR_ALL, contract_attr, label_name),
                          FIELD(contract_attr, la), FIELD(contract_attr, lb), FIELD(contract_attr, lo),
                          FIELD(contract_attr, sum), FIELD(contract_attr, n_sum),
                          FIELD(contract_attr, extent), EACH(contract_attr, windows, a),
                          EACH(contract_attr, windows, b), EACH(contract_attr, windows, o),
                          EACH(contract_attr, windows, r), FIELD(contract_attr, n_windows),
                          EACH(contract_attr, limits, x), EACH(contract_attr, limits, scale),
                          EACH(contract_attr, limits, y), EACH(contract_attr, limits, bound),
                          FIELD(contract_attr, n_limits), FIELD(contract_attr, acc) } },
    [PRIM_window] = { sizeof(window_attr),
                      { FIELD(window_attr, kind), FIELD(window_attr, n), EACH(window_attr, axes, axis),
                        EACH(window_attr, axes, size), EACH(window_attr, axes, k),
                        EACH(window_attr, axes, r) } },
    [PRIM_transpose] = { sizeof(transpose_attr), { FIELD(transpose_attr, perm) } },
    [PRIM_slice] = { sizeof(slice_attr), { FIELD(slice_attr, start), FIELD(slice_attr, step) } },
    [PRIM_pad] = { sizeof(pad_attr),
                   { FIELD(pad_attr, lo), FIELD(pad_attr, hi), FIELD(pad_attr, interior) } },
    [PRIM_concat] = { sizeof(concat_attr), { FIELD(concat_attr, axis) } },
#define GATHER_FIELDS                                                                      \
    FIELD(gather_attr, n_axes), FIELD(gather_attr, axes), FIELD(gather_attr, n_batch),     \
    FIELD(gather_attr, batch_x), FIELD(gather_attr, batch_s), FIELD(gather_attr, mode)
    [PRIM_gather] = { sizeof(gather_attr), { GATHER_FIELDS } },
    [PRIM_scatter] = { sizeof(gather_attr), { GATHER_FIELDS } },
    [PRIM_sort] = { sizeof(sort_attr),
                    { FIELD(sort_attr, axis), FIELD(sort_attr, descending), FIELD(sort_attr, k) } },
    [PRIM_scan] = { sizeof(scan_attr),
                    { FIELD(scan_attr, body), FIELD(scan_attr, n_carry), FIELD(scan_attr, n_xs),
                      FIELD(scan_attr, n), FIELD(scan_attr, reverse) } },
    [PRIM_cond] = { sizeof(cond_attr), { FIELD(cond_attr, then_body), FIELD(cond_attr, else_body) } },
    [PRIM_while] = { sizeof(while_attr),
                     { FIELD(while_attr, test), FIELD(while_attr, body), FIELD(while_attr, n_carry),
                       FIELD(while_attr, max_trip) } },
    [PRIM_compact] = { sizeof(compact_attr),
                       { FIELD(compact_attr, has_symbol), FIELD_AS(ATTR_ALL, compact_attr, symbol) } },
    [PRIM_bitcast] = { sizeof(bitcast_attr), { FIELD(bitcast_attr, to) } },
    [PRIM_kernel] = { sizeof(kernel_attr), { FIELD(kernel_attr, anchor), FIELD(kernel_attr, body) } },
};

size_t attr_bytes(prim p) { return attr_info[p].bytes; }

bool attr_same(prim p, const void *a, const void *b, attr_part part)
{
    for (const attr_field *f = attr_info[p].fields; f->n; f++) {
        if (f->part > part) continue;
        for (size_t i = 0, at = f->at; i < f->n; i++, at += f->stride)
            if (memcmp((const char *)a + at, (const char *)b + at, f->bytes) != 0) return false;
    }
    return true;
}

uint64_t attr_hash(prim p, const void *a, attr_part part, uint64_t seed)
{
    uint64_t h = seed;
    for (const attr_field *f = attr_info[p].fields; f->n; f++) {
        if (f->part > part) continue;
        for (size_t i = 0, at = f->at; i < f->n; i++, at += f->stride)
            h = hash_bytes((const char *)a + at, f->bytes, h);
    }
    return h;
}
