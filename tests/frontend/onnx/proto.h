/* tests/frontend/onnx/proto.h: protobuf messages written by hand, also wrong ones. A message is a text;
 * fields are appended in the order of the calls. */
#ifndef DLC_TESTS_PROTO_H
#define DLC_TESTS_PROTO_H
#include "base/base.h"

static inline void pb_varint(text *t, uint64_t v)
{
    char b[10];
    size_t n = 0;
    for (; v > 127; v >>= 7) b[n++] = (char)(v | 0x80);
    b[n++] = (char)v;
    text_putn(t, b, n);
}

static inline void pb_int(text *t, unsigned field, uint64_t v)
{
    pb_varint(t, (uint64_t)field << 3);
    pb_varint(t, v);
}

static inline void pb_bytes(text *t, unsigned field, const void *p, size_t n)
{
    pb_varint(t, (uint64_t)field << 3 | 2);
    pb_varint(t, n);
    text_putn(t, p, n);
}

static inline void pb_str(text *t, unsigned field, const char *s) { pb_bytes(t, field, s, strlen(s)); }
static inline void pb_msg(text *t, unsigned field, const text *m)
{
    pb_bytes(t, field, m->at ? m->at : "", (size_t)m->n);
}

static inline bytes pb_done(const text *t)
{
    return (bytes){ (const uint8_t *)(t->at ? t->at : ""), (size_t)t->n };
}

#endif
