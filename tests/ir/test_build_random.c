/* Random chains of primitives, built twice: over a constant, where everything folds, and over an input with
 * the same elements, where only rewrites apply. The interpreter must give the same bits for both. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include "backend/eval/eval.h"
#include "ir/build.h"

enum { CHAINS = 10000, LENGTH = 7, MAX_LEAVES = 40 };

typedef struct { value folded, computed; } twin;
typedef struct {
    dlc_context *ctx;
    graph *g;
    tensor in[MAX_LEAVES];
    int n_in, n_folded;
} chain;

static uint64_t seed;
static int below(int n) { return (int)((seed = hash_u64(seed, 1)) >> 33) % n; }

static int64_t extent(chain *c, value v, int axis)
{
    int64_t n = 0;
    assert_true(dim_is_const(dim_of(c->g, v, axis), &n));
    return n;
}

static twin leaf(chain *c, dtype t, int rank, const dim *d, int lo, int hi)
{
    int64_t n = 0;
    type ty = { t, rank, d };
    assert_true(dim_is_const(type_elements(c->g, ty), &n));
    int size = dtype_bytes(t);
    char *p = arena_alloc(c->g->arena, (size_t)(n * size));
    bool same = below(4) == 0;
    int first = lo + below(hi - lo + 1);
    for (int64_t i = 0; i < n; i++) {
        int x = same ? first : lo + below(hi - lo + 1);
        sv_store(t, p + i * size,
                 is_float(t) && x == 0 && below(2) ? sv_from_f64(t, -0.0) : sv_from_i64(t, x));
    }
    assert_true(c->n_in < MAX_LEAVES);
    tensor *in = &c->in[c->n_in++];
    *in = (tensor){ .dtype = t, .rank = rank, .bytes = p };
    for (int i = 0; i < rank; i++) dim_is_const(d[i], &in->dims[i]);
    return (twin){ constant(c->g, t, rank, d, p, NULL), input(c->g, NULL, t, rank, d) };
}

static twin random_reshape(chain *c, twin x)
{
    int64_t n = 0;
    dim_is_const(type_elements(c->g, type_of(c->g, x.folded)), &n);
    dim d[4];
    int rank = 0;
    for (int64_t f = 2; f <= 3 && n; f++)
        if (n % f == 0 && below(2)) {
            d[rank++] = dim_const(f);
            n /= f;
        }
    if (n == 0) return x;
    if (below(3) == 0) d[rank++] = dim_const(1);
    d[rank++] = dim_const(n);
    return (twin){ reshape(c->g, x.folded, rank, d), reshape(c->g, x.computed, rank, d) };
}

static twin random_transpose(chain *c, twin x)
{
    int perm[MAX_RANK], rank = rank_of(c->g, x.folded);
    for (int i = 0; i < rank; i++) perm[i] = i;
    for (int i = rank - 1; i > 0; i--) {
        int j = below(i + 1), p = perm[i];
        perm[i] = perm[j];
        perm[j] = p;
    }
    return (twin){ transpose(c->g, x.folded, perm), transpose(c->g, x.computed, perm) };
}

static twin random_broadcast(chain *c, twin x)
{
    dim d[MAX_RANK];
    int rank = rank_of(c->g, x.folded);
    for (int i = 0; i < rank; i++)
        d[i] = dim_is(dim_of(c->g, x.folded, i), 1) && below(2) ? dim_const(below(3) + 1)
                                                                : dim_of(c->g, x.folded, i);
    return (twin){ broadcast(c->g, x.folded, rank, d), broadcast(c->g, x.computed, rank, d) };
}

static twin random_slice(chain *c, twin x)
{
    dim start[MAX_RANK], size[MAX_RANK];
    int64_t by[MAX_RANK];
    for (int i = 0; i < rank_of(c->g, x.folded); i++) {
        int n = (int)extent(c, x.folded, i), from = n ? below(n) : 0;
        bool back = below(3) == 0;
        by[i] = 1 + below(2);
        int room = n == 0 ? 0 : (back ? from : n - 1 - from) / (int)by[i] + 1;
        if (back) by[i] = -by[i];
        start[i] = dim_const(from);
        size[i] = dim_const(room ? below(8) ? 1 + below(room) : 0 : 0);
        if (below(2)) {
            start[i] = dim_const(0);
            size[i] = dim_const(n);
            by[i] = 1;
        }
    }
    return (twin){ slice(c->g, x.folded, start, size, by), slice(c->g, x.computed, start, size, by) };
}

static twin random_pad(chain *c, twin x)
{
    dim lo[MAX_RANK], hi[MAX_RANK];
    int64_t interior[MAX_RANK];
    for (int i = 0; i < rank_of(c->g, x.folded); i++) {
        lo[i] = dim_const(below(3));
        hi[i] = dim_const(below(3));
        interior[i] = below(4) == 0;
        if (extent(c, x.folded, i) > 2 && below(3) == 0)
            lo[i] = dim_const(-below(2)), hi[i] = dim_const(-below(2));
    }
    twin w = leaf(c, dtype_of(c->g, x.folded), 0, NULL, 0, 1);
    return (twin){ pad(c->g, x.folded, lo, hi, interior, w.folded),
                   pad(c->g, x.computed, lo, hi, interior, w.folded) };
}

static twin random_concat(chain *c, twin x, twin other)
{
    int rank = rank_of(c->g, x.folded), axis = rank ? below(rank) : 0;
    if (!rank) return x;
    type t = type_of(c->g, x.folded);
    dim d[MAX_RANK];
    memcpy(d, t.dims, (size_t)rank * sizeof *d);
    d[axis] = dim_const(below(3));
    if (!type_same(t, type_of(c->g, other.folded)) || below(2)) other = leaf(c, t.dtype, rank, d, -3, 3);
    value f[3] = { x.folded, other.folded, x.folded }, k[3] = { x.computed, other.computed, x.computed };
    int n = 2 + below(2);
    return (twin){ concat(c->g, n, f, axis), concat(c->g, n, k, axis) };
}

static twin random_gather(chain *c, twin x)
{
    int rank = rank_of(c->g, x.folded);
    if (!rank) return x;
    int axis = below(rank), n = (int)extent(c, x.folded, axis);
    dim d[2] = { dim_const(1 + below(3)), dim_const(2) };
    twin i = leaf(c, below(2) ? DTYPE_i64 : DTYPE_i32, below(rank < 3 ? 3 : 2), d, below(4) ? 0 : -1,
                  below(4) && n ? n - 1 : n);
    value idx = below(2) ? i.folded : i.computed;
    return (twin){ gather(c->g, x.folded, 1, &i.folded, &axis, 0, NULL, NULL),
                   gather(c->g, x.computed, 1, &idx, &axis, 0, NULL, NULL) };
}

static twin random_map(chain *c, twin x)
{
    static const scalar binary[] = {
        SCALAR_add, SCALAR_sub, SCALAR_mul, SCALAR_div, SCALAR_max, SCALAR_min, SCALAR_mod, SCALAR_fmod
    };
    static const scalar unary[] = { SCALAR_neg, SCALAR_abs, SCALAR_relu, SCALAR_sign };
    type t = type_of(c->g, x.folded);
    if (below(4) == 0) {
        scalar fn = unary[below(4)];
        return (twin){ map(c->g, fn, 1, &x.folded), map(c->g, fn, 1, &x.computed) };
    }
    dim d[MAX_RANK];
    for (int i = 0; i < t.rank; i++) d[i] = below(2) ? dim_const(1) : t.dims[i];
    twin y = leaf(c, t.dtype, t.rank, d, -2, 2);
    value yc = below(2) ? y.folded : y.computed;
    if (below(4) == 0) {
        value less = map(c->g, SCALAR_lt, 2, (value[]){ x.folded, y.folded }),
              less_c = map(c->g, SCALAR_lt, 2, (value[]){ x.computed, yc });
        return (twin){ map(c->g, SCALAR_select, 3, (value[]){ less, y.folded, x.folded }),
                       map(c->g, SCALAR_select, 3, (value[]){ less_c, yc, x.computed }) };
    }
    scalar fn = binary[below(8)];
    bool swap = below(2);
    return (twin){ map(c->g, fn, 2, swap ? (value[]){ y.folded, x.folded } : (value[]){ x.folded, y.folded }),
                   map(c->g, fn, 2, swap ? (value[]){ yc, x.computed } : (value[]){ x.computed, yc }) };
}

static twin random_reduce(chain *c, twin x)
{
    static const reduce_kind kinds[] = { REDUCE_max, REDUCE_min, REDUCE_sum, REDUCE_prod };
    int rank = rank_of(c->g, x.folded);
    if (!rank) return x;
    reduce_kind kind = kinds[below(is_float(dtype_of(c->g, x.folded)) ? 2 : 4)];
    uint32_t axes = 1u << below(rank);
    return (twin){ reduce(c->g, kind, x.folded, axes, false), reduce(c->g, kind, x.computed, axes, false) };
}

static twin random_step(chain *c, twin x, twin before)
{
    switch (below(11)) {
    case 0: return random_reshape(c, x);
    case 1: return random_transpose(c, x);
    case 2: return random_broadcast(c, x);
    case 3: case 4: return random_slice(c, x);
    case 5: return random_pad(c, x);
    case 6: return random_concat(c, x, before);
    case 7: return random_gather(c, x);
    case 8: return random_reduce(c, x);
    default: return random_map(c, x);
    }
}

static bool same_bits(dtype t, const uint8_t *a, const uint8_t *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        scalar_value x = sv_load(t, a + i * dtype_bytes(t)), y = sv_load(t, b + i * dtype_bytes(t));
        double p = sv_to_f64(t, x), q = sv_to_f64(t, y);
        if (x.bits != y.bits && !(p != p && q != q)) return false;
    }
    return true;
}

static void run_chain(chain *c, int number)
{
    dim d[3];
    int rank = 1 + below(3) - (below(10) == 0);
    for (int i = 0; i < rank; i++) d[i] = dim_const(1 + below(7) - (below(10) == 0));
    twin x = leaf(c, below(3) ? DTYPE_i64 : DTYPE_f32, rank, d, -4, 4), before = x;
    for (int i = 0; i < LENGTH; i++) {
        int64_t n = 0;
        dim_is_const(type_elements(c->g, type_of(c->g, x.folded)), &n);
        if (n > 700 || rank_of(c->g, x.folded) > 5) break;
        twin y = random_step(c, x, before);
        if (!is_value(y.folded)) break;
        if (c->g->failed) fail_msg("chain %d: %s", number, c->ctx->diags.at[0].message);
        before = x;
        x = y;
    }
    if (c->g->failed) fail_msg("chain %d: %s", number, c->ctx->diags.at[0].message);
    add_result(c->g, x.folded, NULL);
    add_result(c->g, x.computed, NULL);
    c->n_folded += node_of(c->g, x.folded)->prim == PRIM_const;
    tensor out[2];
    eval_options options = { .fma = FMA_FUSED };
    dlc_status s = eval_graph(c->ctx, c->g->arena, c->g, NULL, c->in, out, &options);
    if (s) fail_msg("chain %d: %s", number, c->ctx->diags.n ? c->ctx->diags.at[0].message : "failed");
    type t = type_of(c->g, x.folded);
    int64_t n = 0;
    dim_is_const(type_elements(c->g, t), &n);
    assert_true(type_same(t, type_of(c->g, x.computed)));
    if (same_bits(t.dtype, out[0].bytes, out[1].bytes, n)) return;
    text shown = { .a = c->g->arena };
    graph_print(c->g, &shown);
    fail_msg("chain %d: folded and computed elements differ\n%s", number, text_str(&shown));
}

static void chains(void **state)
{
    (void)state;
    volatile int n_folded = 0;
    for (volatile int i = 0; i < CHAINS; i++) {
        seed = (uint64_t)i * 1000003 + 1;
        chain c = { .ctx = context_new() };
        mem_frame f;
        if (!mem_try(&c.ctx->mem, &f)) fail();
        arena *a = arena_new(&c.ctx->mem);
        c.g = graph_new(c.ctx, a, dims_new(c.ctx, a), "chain");
        run_chain(&c, i);
        n_folded += c.n_folded;
        mem_end(&c.ctx->mem, &f);
        context_free(c.ctx);
    }
    assert_true(n_folded > CHAINS / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(chains) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
