/* test_ops_open: operators over open sizes give what they give over known ones; loops and branches take the
 * form that they should, and compute the same in each.
 */
#include "tests/frontend/onnx/model_run.h"

static int count_prim(const graph *g, prim p)
{
    int n = 0;
    for (int64_t i = 1; i < n_nodes(g); i++) n += g->nodes.at[i].prim == p;
    return n;
}

/* -- Open against known sizes ---------------------------------------------------------------------------- */

/* `body`: the lines after the inputs. Inputs: their sizes, open (as in the text) and known. */
typedef struct { const char *name, *open, *known, *body; int64_t x[MAX_RANK]; int rank; } open_case;

static const open_case cases[] = {
    { "conv, SAME_UPPER, stride 2",
      "in x f32 N 2 H W",
      "in x f32 2 2 7 6",
      "const w f32 [1 2 3 3] = 1 2 3 -1 .5 2 0 1 -2 3 1 .25 4 -3 2 1 1 -1\n"
      "y = Conv x w | auto_pad=SAME_UPPER strides=2,2",
      { 2, 2, 7, 6 },
      4 },
    { "conv, pads, dilations, groups",
      "in x f32 N 2 H 9",
      "in x f32 1 2 8 9",
      "const w f32 [2 1 2 2] = 1 2 3 -1 .5 2 0 1\ny = Conv x w | pads=1,0,2,1 dilations=2,3 group=2",
      { 1, 2, 8, 9 },
      4 },
    { "transposed conv",
      "in x f32 1 2 H W",
      "in x f32 1 2 4 3",
      "const w f32 [2 1 3 2] = 1 2 3 -1 .5 2 0 1 2 4 -2 1\n"
      "y = ConvTranspose x w | strides=2,3 output_padding=1,0 pads=0,1,1,0",
      { 1, 2, 4, 3 },
      4 },
    { "transposed conv, SAME_LOWER",
      "in x f32 1 1 H 3",
      "in x f32 1 1 4 3",
      "const w f32 [1 1 3 2] = 1 2 3 -1 .5 2\ny = ConvTranspose x w | strides=2,2 auto_pad=SAME_LOWER",
      { 1, 1, 4, 3 },
      4 },
    { "max pool with indices, SAME_LOWER",
      "in x f32 N 2 H W",
      "in x f32 2 2 7 6",
      "y z = MaxPool x | kernel_shape=3,2 strides=2,2 auto_pad=SAME_LOWER",
      { 2, 2, 7, 6 },
      4 },
    { "max pool, ceil",
      "in x f32 N 2 H W",
      "in x f32 2 2 7 6",
      "y z = MaxPool x | kernel_shape=2,2 strides=2,3 ceil_mode=1 pads=1,0,0,1 storage_order=1",
      { 2, 2, 7, 6 },
      4 },
    { "average pool, SAME_UPPER",
      "in x f32 1 1 H W",
      "in x f32 1 1 8 5",
      "y = AveragePool x | kernel_shape=3,3 strides=2,2 auto_pad=SAME_UPPER",
      { 1, 1, 8, 5 },
      4 },
    { "average pool counting the padding",
      "in x f32 1 1 H W",
      "in x f32 1 1 8 5",
      "y = AveragePool x | kernel_shape=3,2 strides=2,2 pads=1,1,1,1 count_include_pad=1",
      { 1, 1, 8, 5 },
      4 },
    { "average pool, ceil",
      "in x f32 1 1 H W",
      "in x f32 1 1 8 5",
      "y = AveragePool x | kernel_shape=3,3 strides=2,2 pads=1,1,1,1 ceil_mode=1",
      { 1, 1, 8, 5 },
      4 },
    { "lp pool",
      "in x f32 1 1 H W",
      "in x f32 1 1 8 5",
      "y = LpPool x | kernel_shape=3,2 p=2",
      { 1, 1, 8, 5 },
      4 },
    { "norms",
      "in x f32 N 4 S",
      "in x f32 2 4 3",
      "const s f32 [4] = 1 2 3 4\nconst b f32 [4] = .5 1 0 -1\na = InstanceNormalization x s b\n"
      "y = BatchNormalization a s b b s",
      { 2, 4, 3 },
      3 },
    { "layer norm over the open axis",
      "in x f32 2 4 S",
      "in x f32 2 4 3",
      "const s f32 [1] = 2\ny m i = LayerNormalization x s | axis=1",
      { 2, 4, 3 },
      3 },
    { "lrn", "in x f32 N C 2", "in x f32 1 5 2", "y = LRN x | size=3", { 1, 5, 2 }, 3 },
    { "lstm, backwards, lengths",
      "in x f32 T 2 1",
      "in x f32 4 2 1",
      "const w f32 [1 4 1] = 1 .5 -.5 2\nconst r f32 [1 4 1] = .25 -1 .5 1\nconst l i64 [2] = 4 2\n"
      "li = Cast l | to=6\n"
      "y h z = LSTM x w r _ li | hidden_size=1 direction=reverse",
      { 4, 2, 1 },
      3 },
    { "gru, both ways",
      "in x f32 T B 1",
      "in x f32 3 2 1",
      "const w f32 [2 3 1] = 1 .5 -.5 2 1 1\nconst r f32 [2 3 1] = .25 -1 .5 1 2 -2\n"
      "y h = GRU x w r | hidden_size=1 direction=bidirectional linear_before_reset=1",
      { 3, 2, 1 },
      3 },
    { "einsum with an ellipsis",
      "in x f32 B 2 K",
      "in x f32 3 2 4",
      "y = Einsum x x | equation=...ij,...kj->...ik",
      { 3, 2, 4 },
      3 },
    { "diagonal", "in x f32 N N 2", "in x f32 3 3 2", "y = Einsum x | equation=iij->ji", { 3, 3, 2 }, 3 },
    { "determinant", "in x f32 B 3 3", "in x f32 2 3 3", "y = Det x", { 2, 3, 3 }, 3 },
    { "short-time transform",
      "in x f32 1 L 1",
      "in x f32 1 21 1",
      "const s i64 [] = 4\nconst n i64 [] = 8\ny = STFT x s _ n",
      { 1, 21, 1 },
      3 },
};

static void test_open_sizes(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const open_case *k = &cases[i];
        tensor x = floats(f, k->rank, k->x), *y[2];
        int64_t n = 0;
        for (int known = 0; known < 2; known++) {
            text t = { .a = f->a };
            text_printf(&t, "%s\n%s\nout y\n", known ? k->known : k->open, k->body);
            graph *g = import(f, text_str(&t));
            if (!g) print_message("%s (%s)\n", k->name, known ? "known" : "open"), fixture_messages(f);
            assert_non_null(g);
            assert_int_equal(dims_n_symbols(g->dims) > 0, !known);
            y[known] = run(f, g, &x);
            n = g->results.n;
        }
        for (int64_t r = 0; r < n; r++) {
            tensor *a = &y[0][r], *b = &y[1][r];
            if (a->rank != b->rank || tensor_n(a) != tensor_n(b)) print_message("%s\n", k->name);
            assert_int_equal(a->rank, b->rank);
            assert_memory_equal(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims);
            if (memcmp(a->bytes, b->bytes, tensor_bytes(a))) print_message("%s\n", k->name);
            assert_memory_equal(a->bytes, b->bytes, tensor_bytes(a));
        }
    }
}

/* A bound that a node further down asks for counts in the shapes above it, too: min(N, 4) is N. */
static void test_bounds_from_below(void **state)
{
    fixture *f = *state;
    graph *g = import(
        f,
        "in x f32 N 3\nconst z i64 [1] = 0\nconst e i64 [1] = 4\ny = Slice x z e z\n"
        "const table f32 [4 3] = 1 2 3 4 5 6 7 8 9 10 11 12\ns = Shape x\nconst one i64 [1] = 1\n"
        "n = Slice s z one z\nt = Slice table z n z\n"
        "u = Add t x\nout y\nout u\n");
    if (!g) fixture_messages(f);
    assert_non_null(g);
    text shape = fixture_text(f);
    type_print(g, type_of(g, g->results.at[0]), &shape);
    assert_string_equal(text_str(&shape), "f32[N, 3]");
}

/* -- Sizes of different names ---------------------------------------------------------------------------- */

/* Inputs by open and by known sizes; what is made of them; how many open sizes are left; -1: refused. */
typedef struct {
    const char *name, *open, *known, *body;
    int n_open;
    int rank[3];
    int64_t d[3][3];
} merge_case;

static const merge_case merges[] = {
    { "elementwise",
      "in x f32 batch 3\nin z f32 batch_size 3",
      "in x f32 2 3\nin z f32 2 3",
      "y = Add x z",
      1,
      { 2, 2 },
      { { 2, 3 }, { 2, 3 } } },
    { "inner size",
      "in x f32 N M\nin z f32 K 2",
      "in x f32 3 4\nin z f32 4 2",
      "y = MatMul x z",
      2,
      { 2, 2 },
      { { 3, 4 }, { 4, 2 } } },
    { "batches of a product",
      "in x f32 A 2 3\nin z f32 B 3 2",
      "in x f32 2 2 3\nin z f32 2 3 2",
      "y = MatMul x z",
      1,
      { 3, 3 },
      { { 2, 2, 3 }, { 2, 3, 2 } } },
    { "other axes of a concat",
      "in x f32 A 2\nin z f32 B 3",
      "in x f32 2 2\nin z f32 2 3",
      "y = Concat x z | axis=1",
      1,
      { 2, 2 },
      { { 2, 2 }, { 2, 3 } } },
    { "a chain",
      "in x f32 s0\nin z f32 s1\nin u f32 s2",
      "in x f32 2\nin z f32 2\nin u f32 2",
      "v = Add z u\ny = Mul x v",
      1,
      { 1, 1, 1 },
      { { 2 }, { 2 }, { 2 } } },
    { "both already merged",
      "in x f32 a b\nin z f32 c a\nin u f32 c b",
      "in x f32 2 2\nin z f32 2 2\nin u f32 2 2",
      "v = MatMul z x\nw = Add u x\ny = Add v w",
      2,
      { 2, 2, 2 },
      { { 2, 2 }, { 2, 2 }, { 2, 2 } } },
    { "in a product of sizes",
      "in x f32 N 2\nin z f32 M 2",
      "in x f32 3 2\nin z f32 3 2",
      "const s i64 [1] = -1\na = Reshape x s\nb = Reshape z s\ny = Add a b",
      1,
      { 2, 2 },
      { { 3, 2 }, { 3, 2 } } },
    { "twice the size",
      "in x f32 N\nin z f32 M",
      "in x f32 4\nin z f32 2",
      "a = Concat z z | axis=0\ny = Add x a",
      -1,
      { 1, 1 },
      { { 4 }, { 2 } } },
    { "a size that data decide",
      "in x f32 1 N\nin z f32 M",
      "in x f32 1 4\nin z f32 2",
      "n = NonZero z\nf = Cast n | to=1\ny = Add x f",
      -1,
      { 2, 1 },
      { { 1, 4 }, { 2 } } },
};

static void test_sizes_of_two_names(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < sizeof merges / sizeof *merges; i++) {
        const merge_case *k = &merges[i];
        tensor in[3], *y[2];
        for (int j = 0; j < 3; j++) in[j] = floats(f, k->rank[j], k->d[j]);
        for (int known = 0; known < 2; known++) {
            text t = { .a = f->a };
            text_printf(&t, "%s\n%s\nout y\n", known ? k->known : k->open, k->body);
            context_clear_diags(f->ctx);
            graph *g = import(f, text_str(&t));
            if (k->n_open < 0) {
                if (g && !known) fail_msg("%s: not refused", k->name);
                if (!known) continue;
                break;
            }
            if (!g) print_message("%s (%s)\n", k->name, known ? "known" : "open"), fixture_messages(f);
            assert_non_null(g);
            if (!known) assert_int_equal(dims_n_symbols(g->dims), k->n_open);
            y[known] = run(f, g, in);
        }
        if (k->n_open < 0) continue;
        assert_memory_equal(y[0]->dims, y[1]->dims, (size_t)y[1]->rank * sizeof *y[1]->dims);
        assert_memory_equal(y[0]->bytes, y[1]->bytes, tensor_bytes(y[1]));
    }
}

/* In a branch, too: the model would be refused otherwise. */
static void test_sizes_in_a_branch(void **state)
{
    fixture *f = *state;
    graph *g = import(
        f,
        "in p bool\nin x f32 N\nin z f32 M\ngraph t\nu = Add x z\nout u\nend\ngraph e\nv = Neg x\nout v\n"
        "end\n"
        "y = If p | then_branch=@t else_branch=@e\nout y\n");
    if (!g) fixture_messages(f);
    assert_non_null(g);
    assert_int_equal(dims_n_symbols(g->dims), 1);
}

/* -- Loops ----------------------------------------------------------------------------------------------- */

/* h = the partial sums x, 2x, 3x, … while their first element is below `lim` */
#define SUMS(cond)                                                                                           \
    "graph b\nin i i64\nin c bool\nin a f32 2\nz = Add a x\nh = Identity z\n" cond                           \
    "out k\nout z\nout h\nend\n"

static void check_sums(fixture *f, const graph *g, int64_t trips)
{
    static const float ones[2] = { 1, 2 };
    static const int64_t d[1] = { 2 };
    tensor x = floats(f, 1, d);
    x.bytes = (void *)(uintptr_t)ones;
    tensor *y = run(f, g, &x);
    assert_int_equal(y[1].rank, 2);
    assert_int_equal(y[1].dims[0], trips);
    for (int64_t t = 0; t < trips; t++) {
        assert_true(((float *)y[1].bytes)[2 * t] == (float)(t + 2));
        assert_true(((float *)y[1].bytes)[2 * t + 1] == (float)(2 * t + 4));
    }
    assert_true(((float *)y[0].bytes)[0] == (float)(trips + 1));
}

static void test_loop_scan(void **state)
{
    fixture *f = *state;
    graph *g = import(f, "in x f32 2\nconst m i64 [] = 5\n" SUMS(
                             "k = Identity c\n") "y h = Loop m _ x | body=@b\nout y\nout h\n");
    if (!g) fixture_messages(f);
    assert_non_null(g);
    assert_int_equal(count_prim(g, PRIM_scan), 1);
    check_sums(f, g, 5);
}

/* A loop that also counts itself, as exporters write it: t goes from 0 by `step`, and t below the length (as
 * type `word`) is the condition. x[N, 2] doubled by each trip. */
static graph *counting_loop(fixture *f, const char *size, const char *step, const char *word)
{
    text t = { .a = f->a };
    text_printf(
        &t,
        "graph b\nin i i64\nin c bool\nin t i64\nin a f32 2\nu = Add t step\nuf = Cast u | to=%s\n"
        "k = Less uf nf\n"
        "z = Add a a\nh = Identity z\nout k\nout u\nout z\nout h\nend\n"
        "in x f32 %s 2\nconst zero i64 [] = 0\nconst step i64 [] = %s\nconst y0 f32 [2] = 1 1\n"
        "const of i64 [1] = 0\n"
        "s = Shape x\nn1 = Gather s of\nn = Squeeze n1 of\nnf = Cast n | to=%s\nzf = Cast zero | to=%s\n"
        "go = Less zf nf\n"
        "v y h = Loop n go zero y0 | body=@b\nout y\nout h\n",
        word, size, step, word, word);
    graph *g = import(f, text_str(&t));
    if (!g) fixture_messages(f);
    assert_non_null(g);
    return g;
}

static void test_loop_counts_itself(void **state)
{
    static const struct { const char *size, *step, *word; bool is_scan; int64_t trips; } loops[] = {
        { "N", "1", "7", true, 4 }, { "4", "1", "1", true, 4 }, { "4", "1", "6", true, 4 },
        { "N", "2", "7", false, 2 }, { "4", "2", "7", false, 2 },
        { "N", "1", "1", false, 4 },                              /* N in f32 is not N beyond 2^24 */
    };
    fixture *f = *state;
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++) {
        graph *g = counting_loop(f, loops[i].size, loops[i].step, loops[i].word);
        assert_int_equal(count_prim(g, PRIM_scan), loops[i].is_scan);
        assert_int_equal(count_prim(g, PRIM_while), !loops[i].is_scan);
        tensor x = floats(f, 2, (int64_t[]){ 4, 2 }), *y = run(f, g, &x);
        assert_true(*(const float *)y[0].bytes == (float)(1 << loops[i].trips));
        assert_int_equal(y[1].dims[0], loops[i].trips);
        assert_true(((const float *)y[1].bytes)[2] == 4);
    }
}

static void test_loop_while(void **state)
{
    fixture *f = *state;
    graph *g = import(
        f,
        "in x f32 2\nconst m i64 [] = 9\nconst lim f32 [] = 4.5\nconst z0 i64 [1] = 0\n" SUMS(
            "s = ReduceMin z | keepdims=0\nk = Less s lim\n") "y h = Loop m _ x | body=@b\nout y\nout h\n");
    if (!g) fixture_messages(f);
    assert_non_null(g);
    assert_int_equal(count_prim(g, PRIM_while), 1);
    check_sums(f, g, 4);                               /* stops once the sum is 5 */
}

static void test_loop_unrolled(void **state)
{
    fixture *f = *state;
    static const int64_t d[1] = { 2 };
    graph *g = import(
        f,
        "in x f32 2\nconst m i64 [] = 3\ngraph b\nin i i64\nin c bool\nin a f32 n\nz = Concat a x | axis=0\n"
        "k = Identity c\nout k\nout z\nend\ny = Loop m _ x | body=@b\nout y\n");
    if (!g) fixture_messages(f);
    assert_non_null(g);
    assert_int_equal(count_prim(g, PRIM_scan) + count_prim(g, PRIM_while), 0);
    tensor x = floats(f, 1, d), *y = run(f, g, &x);
    assert_int_equal(y[0].dims[0], 8);
    assert_memory_equal((char *)y[0].bytes + 24, x.bytes, 8);
}

/* A loop whose shapes change, with a trip count that only data know, asks for it. */
static void test_loop_asks(void **state)
{
    fixture *f = *state;
    graph *g = import(
        f,
        "in x f32 2\nin m i64\ngraph b\nin i i64\nin c bool\nin a f32 n\nz = Concat a x | axis=0\n"
        "k = Identity c\n"
        "out k\nout z\nend\ny = Loop m _ x | body=@b\nout y\n");
    assert_null(g);
    assert_int_equal(f->ctx->status, DLC_ERR_UNSUPPORTED);
    assert_non_null(strstr(f->ctx->diags.at[0].message, "trip count"));
}

/* -- Branches -------------------------------------------------------------------------------------------- */

#define BRANCHES(t, e) \
    "graph t\n" t "out u\nend\ngraph e\n" e "out v\nend\ny = If p | then_branch=@t else_branch=@e\nout y\n"

/* Each branch captures something the other does not. */
static void test_if_captures(void **state)
{
    fixture *f = *state;
    graph *g = import(f, "in p bool\nin a f32 2\nin b f32 2\n" BRANCHES("u = Add a a\n",
                                                                        "w = Mul b b\nv = Sub w a\n"));
    if (!g) fixture_messages(f);
    assert_non_null(g);
    assert_int_equal(count_prim(g, PRIM_cond), 1);
    for (int take = 0; take < 2; take++) {
        uint8_t p = (uint8_t)take;
        float a[2] = { 1, 2 }, b[2] = { 3, 5 };
        tensor x[3] = { { .dtype = DTYPE_bool, .bytes = &p },
                        { .dtype = DTYPE_f32, .rank = 1, .dims = { 2 }, .bytes = a },
                        { .dtype = DTYPE_f32, .rank = 1, .dims = { 2 }, .bytes = b } };
        const float *y = run(f, g, x)[0].bytes;
        assert_true(y[0] == (take ? 2 : 8) && y[1] == (take ? 4 : 23));
    }
}

static void test_if_known(void **state)
{
    fixture *f = *state;
    graph *g = import(f,
                      "in a f32 2\nconst p bool [] = 1\n" BRANCHES("u = Add a a\n", "v = NoSuchShape a\n"));
    assert_null(g);                      /* an operator that does not exist is refused in a dead branch too */
    g = import(f, "in a f32 2\nconst p bool [] = 1\n" BRANCHES("u = Add a a\n",
                                                               "const s i64 [1] = 7\nv = Reshape a s\n"));
    if (!g) fixture_messages(f);
    assert_non_null(g);
    assert_int_equal(count_prim(g, PRIM_cond), 0);
}

static void test_if_asks(void **state)
{
    fixture *f = *state;
    graph *g = import(f, "in p bool\nin a f32 2\n" BRANCHES("u = Add a a\n", "v = ReduceMax a\n"));
    assert_null(g);
    assert_non_null(strstr(f->ctx->diags.at[0].message, "differ in type"));
    context_clear_diags(f->ctx);
    g = import(f,
               "in p bool\nin a f32 2\n" BRANCHES("u = Add a a\n", "const s i64 [1] = 7\nv = Reshape a s\n"));
    assert_null(g);                                   /* the message says why a branch cannot be built */
    assert_int_equal(f->ctx->diags.n, 1);
    assert_non_null(strstr(f->ctx->diags.at[0].message, "reshape"));
}

int main(void)
{
#define T(name) FIXTURE_TEST(name)
    const struct CMUnitTest tests[] = {
        T(test_open_sizes), T(test_bounds_from_below), T(test_sizes_of_two_names), T(test_sizes_in_a_branch),
        T(test_loop_scan), T(test_loop_counts_itself), T(test_loop_while), T(test_loop_unrolled),
        T(test_loop_asks),
        T(test_if_captures), T(test_if_known), T(test_if_asks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
