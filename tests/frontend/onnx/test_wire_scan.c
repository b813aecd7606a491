/* test_wire_scan: what the scan lets through, what it leaves in the file, what it refuses. */
#include "frontend/onnx/onnx_model.h"
#include "tests/frontend/onnx/proto.h"
#include "tests/support/fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const model_proto *decode_model(fixture *f, bytes b, decoded *d)
{
    return decode_message(f->ctx, f->a, "m", b, &onnx__model_proto__descriptor, d)
               ? (const model_proto *)d->root
               : NULL;
}

static void refused(fixture *f, bytes b, const char *id)
{
    decoded d;
    context_clear_diags(f->ctx);
    assert_null(decode_model(f, b, &d));
    assert_int_equal(f->ctx->n_errors, 1);
    assert_string_equal(f->ctx->diags.at[0].id, id);
}

/* Elements stay where they are: raw, packed, and unpacked ones, which join to one chunk. */
static void payloads_stay(void **state)
{
    fixture *f = *state;
    text t = fixture_text(f), g = fixture_text(f), m = fixture_text(f);
    pb_int(&t, 1, 3);
    pb_int(&t, 2, 1);
    pb_int(&t, 100, 77);                             /* our own number, in a file: skipped */
    pb_bytes(&t, 4, "abcdefgh", 8);
    for (int i = 0; i < 3; i++) pb_int(&t, 7, (uint64_t)i);
    pb_bytes(&t, 9, "0123456789", 10);
    pb_msg(&g, 5, &t);
    pb_msg(&m, 7, &g);
    decoded d;
    const model_proto *p = decode_model(f, pb_done(&m), &d);
    assert_non_null(p);
    const tensor_proto *x = p->graph->initializer[0];
    assert_int_equal(x->n_dims, 1);
    assert_int_equal(x->raw_data.len, 0);
    assert_int_equal(x->n_float_data, 0);
    assert_int_equal(x->payload, 0);
    assert_int_equal(d.scan.payloads[0].n, 3);
    const wire_chunk *c = d.scan.chunks;
    assert_int_equal(c[0].n_elem, 2);
    assert_true(c[0].packed);
    assert_int_equal(c[1].n_elem, 3);
    assert_int_equal(c[1].n, 6);
    assert_false(c[1].packed);
    assert_int_equal(c[2].n, 10);
    assert_memory_equal(c[2].at, "0123456789", 10);
    assert_true((const char *)c[2].at > m.at && (const char *)c[2].at < m.at + m.n);
}

static void unknown_fields_go(void **state)
{
    fixture *f = *state;
    text m = fixture_text(f);
    pb_str(&m, 6, "a doc string");
    pb_int(&m, 1, 8);
    pb_bytes(&m, 900, "\0\0\0", 3);
    decoded d;
    const model_proto *p = decode_model(f, pb_done(&m), &d);
    assert_non_null(p);
    assert_int_equal(p->ir_version, 8);
    assert_int_equal(p->base.n_unknown_fields, 0);
}

static void last_scalar_counts(void **state)
{
    fixture *f = *state;
    text m = fixture_text(f);
    pb_int(&m, 1, 3);
    pb_int(&m, 1, 8);
    decoded d;
    assert_int_equal(decode_model(f, pb_done(&m), &d)->ir_version, 8);
}

static void malformed_is_refused(void **state)
{
    fixture *f = *state;
    static const struct { const char *what; const char *p; size_t n; const char *id; } bad[] = {
        { "tag cut off", "\x88", 1, "onnx_wire" },
        { "varint of 11 bytes", "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12, "onnx_wire" },
        { "varint over 64 bits", "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11, "onnx_wire" },
        { "field number 0", "\x00\x01", 2, "onnx_wire" },
        { "group", "\x0b\x0c", 2, "onnx_wire" },
        { "wire type 6", "\x0e", 1, "onnx_wire" },
        { "wire type 7", "\x0f", 1, "onnx_wire" },
        { "length past the end", "\x3a\x05" "ab", 4, "onnx_length" },
        { "length of 2^64-1", "\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, "onnx_length" },
        { "graph as a varint", "\x38\x05", 2, "onnx_wire_type" },
        { "ir_version as a string", "\x0a\x01" "a", 3, "onnx_wire_type" },
        { "fixed64 cut off", "\x09\x01\x02", 3, "onnx_wire" },
        { "NUL in a name", "\x12\x02" "a\0", 4, "onnx_wire" },
        { "graph given twice", "\x3a\x00\x3a\x00", 4, "onnx_twice" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(f, (bytes){ (const uint8_t *)bad[i].p, bad[i].n }, bad[i].id);
}

/* graph > node > attribute > graph …: 33 levels of three messages are taken, 34 are not. */
static void depth_is_limited(void **state)
{
    fixture *f = *state;
    for (int levels = 32; levels < 35; levels++) {
        text g = fixture_text(f);
        for (int i = 0; i < levels; i++) {
            text a = fixture_text(f), n = fixture_text(f), outer = fixture_text(f);
            pb_msg(&a, 6, &g);
            pb_msg(&n, 5, &a);
            pb_msg(&outer, 1, &n);
            g = outer;
        }
        text m = fixture_text(f);
        pb_msg(&m, 7, &g);
        decoded d;
        if (levels <= 32) assert_non_null(decode_model(f, pb_done(&m), &d));
        else refused(f, pb_done(&m), "onnx_depth");
    }
}

/* Every cut of a valid message is refused or valid, and never read past its end (ASan looks). */
static void every_cut(void **state)
{
    fixture *f = *state;
    text t = fixture_text(f), g = fixture_text(f), m = fixture_text(f);
    pb_int(&t, 1, 2);
    pb_int(&t, 2, 1);
    pb_bytes(&t, 9, "01234567", 8);
    pb_msg(&g, 5, &t);
    pb_str(&g, 2, "g");
    pb_int(&m, 1, 8);
    pb_msg(&m, 7, &g);
    for (int64_t n = 0; n < m.n; n++) {
        uint8_t *cut = arena_copy(f->a, m.at, (size_t)n);
        decoded d;
        context_clear_diags(f->ctx);
        bool ok = decode_model(f, (bytes){ cut, (size_t)n }, &d) != NULL;
        assert_int_equal(ok, n == 0 || n == 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(payloads_stay),
        FIXTURE_TEST(unknown_fields_go),
        FIXTURE_TEST(last_scalar_counts),
        FIXTURE_TEST(malformed_is_refused),
        FIXTURE_TEST(depth_is_limited),
        FIXTURE_TEST(every_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
