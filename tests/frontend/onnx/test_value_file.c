/* test_value_file: tensors of every type, sequences and optionals, written and read back; initializers in
 * every form. */
#include "frontend/onnx/importer.h"
#include "tests/frontend/onnx/proto.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

typedef struct { dlc_context *ctx; arena *a; char path[32]; } fixture;

static int setup(void **state)
{
    static fixture f;
    f.ctx = context_new();
    f.a = arena_new(&f.ctx->mem);
    strcpy(f.path, "/tmp/dlc_value_XXXXXX");
    int fd = mkstemp(f.path);
    if (fd < 0) return -1;
    close(fd);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    unlink(f->path);
    arena_free(f->a);
    context_free(f->ctx);
    return 0;
}

static onnx_tensor there_and_back(fixture *f, const onnx_tensor *v)
{
    text t = { .a = f->a };
    onnx_put_value(&t, v);
    FILE *o = fopen(f->path, "wb");
    assert_non_null(o);
    assert_int_equal(fwrite(text_str(&t), 1, (size_t)t.n, o), t.n);
    fclose(o);
    onnx_tensor back;
    dlc_status st = onnx_read_value(f->ctx, f->a, f->path, v->kind, &back);
    if (st != DLC_OK) print_error("%s: %s\n", dtype_info[v->dtype].name, f->ctx->diags.at[0].message);
    assert_int_equal(st, DLC_OK);
    return back;
}

/* Elements that the type can hold: bits below its width, sign-extended where it has a sign. */
static onnx_tensor sample(fixture *f, dtype t, int64_t n)
{
    int size = dtype_bytes(t), bits = dtype_info[t].bits;
    uint8_t *p = arena_alloc(f->a, (size_t)(n * size));
    for (int64_t i = 0; i < n * size; i++) p[i] = (uint8_t)(i * 37 + 11);
    for (int64_t i = 0; i < n && bits < 8; i++) {
        unsigned v = p[i] & ((1u << bits) - 1);
        bool is_negative = (t == DTYPE_i4 || t == DTYPE_i2) && v >> (bits - 1);
        p[i] = (uint8_t)(is_negative ? v | ~((1u << bits) - 1) : v);
    }
    return (onnx_tensor){ .dtype = t, .rank = 1, .dims = { n }, .n = n, .bytes = p, .name = "x" };
}

static void every_type(void **state)
{
    fixture *f = *state;
    for (int t = DTYPE_NONE + 1; t < DTYPE_COUNT; t++) {
        for (int64_t n = 0; n < 9; n++) {
            onnx_tensor v = sample(f, (dtype)t, n), back = there_and_back(f, &v);
            assert_int_equal(back.dtype, t);
            assert_int_equal(back.n, n);
            assert_memory_equal(back.bytes, v.bytes, (size_t)(n * dtype_bytes((dtype)t)));
        }
    }
}

static void sequences_and_optionals(void **state)
{
    fixture *f = *state;
    onnx_tensor items[2] = { sample(f, DTYPE_f32, 3), sample(f, DTYPE_i64, 2) };
    static const struct { onnx_kind kind; int n; bool is_absent; } c[] = {
        { ONNX_SEQUENCE, 2, false }, { ONNX_SEQUENCE, 0, false }, { ONNX_OPTIONAL, 1, false },
        { ONNX_OPTIONAL, 0, true },
        { ONNX_OPTIONAL_SEQUENCE, 2, false },
    };
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        onnx_tensor v = { .kind = c[i].kind, .n_items = c[i].n, .items = items, .is_absent = c[i].is_absent };
        onnx_tensor back = there_and_back(f, &v);
        assert_int_equal(back.kind, c[i].kind);
        assert_int_equal(back.n_items, c[i].n);
        assert_int_equal(back.is_absent, c[i].is_absent);
        for (int k = 0; k < c[i].n; k++) assert_int_equal(back.items[k].dtype, items[k].dtype);
    }
}

/* -- The lists of a TensorProto -------------------------------------------------------------------------- */

static bool read_message(fixture *f, const text *m, tensor_data *out)
{
    decoded d;
    context_clear_diags(f->ctx);
    assert_true(decode_message(f->ctx, f->a, "t", pb_done(m), &onnx__tensor_proto__descriptor, &d));
    tensor_source s = { f->ctx, f->a, &d, NULL };
    return tensor_read(&s, (place){ .file = "t" }, (const tensor_proto *)d.root, TENSOR_ELEMENTS, out);
}

static text typed(fixture *f, int code, int64_t n)
{
    text t = { .a = f->a };
    pb_int(&t, 1, (uint64_t)n);
    pb_int(&t, 2, (uint64_t)code);
    return t;
}

static void lists_packed_and_not(void **state)
{
    fixture *f = *state;
    tensor_data d;
    text t = typed(f, ONNX_INT16, 3);
    pb_int(&t, 5, (uint64_t)-2);
    pb_bytes(&t, 5, "\x05\x80\x01", 3);              /* 5 and 128, packed: both forms may be mixed */
    assert_true(read_message(f, &t, &d));
    const int16_t want[3] = { -2, 5, 128 };
    assert_memory_equal(d.bytes, want, 6);

    t = typed(f, ONNX_INT4, 3);
    pb_bytes(&t, 5, "\x9f\x01\x07", 3);              /* bytes 0x9f and 0x07: -1, -7, 7 */
    assert_true(read_message(f, &t, &d));
    assert_memory_equal(d.bytes, "\xff\xf9\x07", 3);

    t = typed(f, ONNX_DOUBLE, 1);
    pb_bytes(&t, 10, "\0\0\0\0\0\0\xf0\x3f", 8);
    assert_true(read_message(f, &t, &d));
    const double one = 1.0;
    assert_memory_equal(d.bytes, &one, 8);
}

/* Empty raw_data beside a list counts for nothing: the list is read, not what follows in the file. */
static void empty_raw_data(void **state)
{
    fixture *f = *state;
    tensor_data d;
    text t = typed(f, ONNX_INT32, 1);
    pb_int(&t, 5, 77);
    pb_bytes(&t, 9, "", 0);
    assert_true(read_message(f, &t, &d));
    const int32_t want = 77;
    assert_memory_equal(d.bytes, &want, 4);
}

static void sizes_must_match(void **state)
{
    fixture *f = *state;
    tensor_data d;
    static const struct { int code; int64_t n; const char *raw; size_t n_raw; } bad[] = {
        { ONNX_FLOAT, 2, "1234", 4 }, { ONNX_FLOAT, 1, "12345678", 8 },
        { ONNX_FLOAT, (int64_t)1 << 40, "", 0 },
        { ONNX_FLOAT, ((int64_t)1 << 62) + 1, "1234", 4 }, { ONNX_FLOAT, -1, "", 0 },
        { ONNX_INT4, 3, "1", 1 },
        { 0, 1, "1234", 4 }, { 999, 1, "1234", 4 },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        text t = typed(f, bad[i].code, bad[i].n);
        pb_bytes(&t, 9, bad[i].raw, bad[i].n_raw);
        assert_false(read_message(f, &t, &d));
        assert_string_equal(f->ctx->diags.at[0].id, "onnx_tensor");
    }
    text t = typed(f, ONNX_UINT8, 1);
    pb_int(&t, 5, 256);
    assert_false(read_message(f, &t, &d));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_type, setup, teardown),
        cmocka_unit_test_setup_teardown(sequences_and_optionals, setup, teardown),
        cmocka_unit_test_setup_teardown(lists_packed_and_not, setup, teardown),
        cmocka_unit_test_setup_teardown(empty_raw_data, setup, teardown),
        cmocka_unit_test_setup_teardown(sizes_must_match, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
