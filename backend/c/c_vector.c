/* backend/c/c_vector.c: lanes as vector types of gcc and clang (--c-vectors).
 *
 *     for (int64_t l = 0; l < 8; l += m_STEP_x8) {
 *         m_AT(m_f32x8, acc[l + 8]) = t * m_AT(m_f32x8, b[l + 16*c]) + m_AT(m_f32x8, acc[l + 8]);
 *     }
 *
 * Why    Whether a compiler vectorizes a loop, and keeps its sums in registers, is luck. Here nothing is left
 *        to it.
 * How    A `vector` loop of n lanes takes as many of them at once as a register of the target holds:
 *        m_STEP_x8, made of m_VECTOR_BYTES, which is guessed from the compiler's macros and may be defined.
 *        So one text runs at full width on any target (a 6 x 16 tile over 256 steps, GFLOP/s of 118: gcc -O2
 *        39 with 128-bit vectors, 117 with AVX2; a type of fixed 32 bytes 2.5 and 117). Memory is read and
 *        written through types that need no alignment; local arrays stay arrays of scalars, of which both
 *        compilers make registers.
 * Values An expression is a scalar, if it is the same in all lanes, or a vector. A bool is a mask, 0 or -1,
 *        as wide as the loop's widest value. What has no vector operation, or reads memory in no row, is
 *        computed lane by lane into a local (put_by_lane). The other loops (conditions by lane, two lanes in
 *        one place) are written as in the plain form.
 * Keeps  the operations on each element and their order: the same bits as the plain form.
 */
#include "backend/c/cgen_inside.h"
#include <assert.h>

/* -- Types ----------------------------------------------------------------------------------------------- */

static const char *suffix(arena *a, lane_shape sh)
{
    return arena_printf(a, sh.bytes == 4 ? "x%d" : "x%dw%d", sh.lanes, sh.bytes);
}

static dtype signed_of(int n)
{
    return n == 1 ? DTYPE_i8 : n == 2 ? DTYPE_i16 : n == 4 ? DTYPE_i32 : DTYPE_i64;
}

static dtype unsigned_of(int n)
{
    return n == 1 ? DTYPE_u8 : n == 2 ? DTYPE_u16 : n == 4 ? DTYPE_u32 : DTYPE_u64;
}

static dtype mask_of(lane_shape sh) { return signed_of(sh.bytes); }

static const char *memory_vector(writer *w, lane_shape sh, dtype t)
{
    w->uses_shape[sh.lanes][sh.bytes] = true;
    w->uses_vector[sh.lanes][sh.bytes][t] = true;
    return arena_printf(w->a, "%s_%s%s", w->prefix, dtype_info[t].name, suffix(w->a, sh));
}

const char *vector_type(writer *w, lane_shape sh, dtype t)
{
    return memory_vector(w, sh, t == DTYPE_bool ? mask_of(sh) : t);
}

static const char *step_of(writer *w, lane_shape sh)
{
    w->uses_shape[sh.lanes][sh.bytes] = true;
    return arena_printf(w->a, "%s_STEP_%s", w->prefix, suffix(w->a, sh));
}

static const char width_source[] =
    "/* Vectors of the target's width: `x8` of loops of 8 lanes, so many at once as fit. */\n"
    "#if !defined(__GNUC__) || defined(__TINYC__)\n"
    "#error \"made with --c-vectors: needs gcc (from 9 on) or clang\"\n#endif\n"
    "#pragma GCC diagnostic ignored \"-Wpsabi\"\n"
    "#ifndef X_VECTOR_BYTES\n#if defined(__AVX512BW__)\n#define X_VECTOR_BYTES 64\n#elif defined(__AVX2__)\n"
    "#define X_VECTOR_BYTES 32\n"
    "#else\n#define X_VECTOR_BYTES 16\n#endif\n#endif\n"
    "#ifdef __clang__\n#define X_PIECES\n#else\n#define X_PIECES _Pragma(\"GCC unroll 16\")\n#endif\n"
    "#define X_AT(type, element) (*(type##_at *)&(element))\n";

void put_vector_types(writer *w, text *t)
{
    bool any = false;
    for (int n = 0; n <= MAX_LANES; n++)
        for (int b = 1; b <= 8; b *= 2) any |= w->uses_shape[n][b];
    if (!any) return;
    for (const char *s = width_source; *s; s++) {
        if (*s == 'X' && s[1] == '_') text_put(t, w->prefix);
        else text_putn(t, s, 1);
    }
    for (int n = 0; n <= MAX_LANES; n++)
        for (int b = 1; b <= 8; b *= 2) {
            if (!w->uses_shape[n][b]) continue;
            const char *x = suffix(w->a, (lane_shape){ n, b });
            text_printf(t, "#define %s_STEP_%s (%s_VECTOR_BYTES / %d < %d ? %s_VECTOR_BYTES / %d : %d)\n",
                        w->prefix, x, w->prefix, b, n, w->prefix, b, n);
            for (int d = 0; d < DTYPE_COUNT; d++) {
                if (!w->uses_vector[n][b][d]) continue;
                int size = dtype_bytes((dtype)d);
                const char *fmt = "typedef %s %s_%s%s%s __attribute__((vector_size(%d * %s_STEP_%s)%s));\n";
                text_printf(t, fmt, c_type((dtype)d), w->prefix, dtype_info[d].name, x, "", size, w->prefix,
                            x, "");
                text_printf(t, fmt, c_type((dtype)d), w->prefix, dtype_info[d].name, x, "_at", size,
                            w->prefix, x, arena_printf(w->a, ", aligned(%d), may_alias", size));
            }
        }
    text_put(t, "\n");
}

/* -- Helpers: as in c_helper.c, on vectors ------------------------------------------------------------------
 * %V the vector   %I %U ints of its width   %M mask   %T element   %N name   %S step
 * %R whole from there on   %F f or nothing
 * {f} helper f at the same type; {mask} {unmask} an int as wide as the value to a mask and back, nothing if
 * they are the same */

typedef struct { const char *name, *source; } vector_row_text;

#define V1(name, body) { #name, "static inline %V $" #name "_%N(%V x)\n{\n" body "}\n" }
#define V2(name, body) { #name, "static inline %V $" #name "_%N(%V a, %V b)\n{\n" body "}\n" }

static const vector_row_text all_rows[] = {
    { "mask", "static inline %M $mask_%N(%I x)\n{\n    return __builtin_convertvector(x, %M);\n}\n" },
    { "unmask", "static inline %I $unmask_%N(%M x)\n{\n    return __builtin_convertvector(x, %I);\n}\n" },
    { "pick",
      "static inline %V $pick_%N(%I c, %V a, %V b)\n{\n    return (%V)((c & (%I)a) | (~c & (%I)b));\n}\n" },
    { "select",
      "static inline %V $select_%N(%M c, %V a, %V b)\n{\n    return {pick}({unmask}(c), a, b);\n}\n" },
    { "of_mask",
      "static inline %V $of_mask_%N(%M c)                /* 0 or 1 */\n{\n"
      "    return __builtin_convertvector(c & 1, %V);\n}\n" },
    { "nonzero", "static inline %M $nonzero_%N(%V x)\n{\n    return {mask}((%I)(x != (%V){ 0 }));\n}\n" },
    { 0, 0 }
};

static const vector_row_text float_vectors[] = {
    { "splat", "static inline %V $splat_%N(%T x)\n{\n    return x - (%V){ 0 };\n}\n" },
    { "fma",
      "static inline %V $fma_%N(%V a, %V b, %V c)\n{\n    %V r = { 0 };\n"
      "    for (int i = 0; i < %S; i++) r[i] = __builtin_fma%F(a[i], b[i], c[i]);\n    return r;\n}\n" },
    V2(max,
       "    const %I more = (%I)(a > b), less = (%I)(a < b), same = (%I)(a == b);\n"
       "    return (%V)((more & (%I)a) | (less & (%I)b) | (same & (%I)a & (%I)b) | (~(more | less | same) & "
       "(%I)(a + b)));\n"),
    V2(min,
       "    const %I more = (%I)(a > b), less = (%I)(a < b), same = (%I)(a == b);\n"
       "    return (%V)((less & (%I)a) | (more & (%I)b) | (same & ((%I)a | (%I)b)) | (~(more | less | same) "
       "& (%I)(a + b)));\n"),
    { "at_least",
      "static inline %V $at_least_%N(%V x, %T k)                /* max, k neither NaN nor -0 */\n{\n"
      "    const %V all = {splat}(k);\n    return {pick}((%I)(x <= all), all, x);\n}\n" },
    { "at_most",
      "static inline %V $at_most_%N(%V x, %T k)                /* min, k neither NaN nor +0 */\n{\n"
      "    const %V all = {splat}(k);\n    return {pick}((%I)(x >= all), all, x);\n}\n" },
    V1(abs, "    return (%V)((%U)x & (~(%U){ 0 } >> 1));\n"),
    V1(relu, "    return (%V)((%I)x & ~(%I)(x < (%V){ 0 }));\n"),
    { "signed_as", "static inline %V $signed_as_%N(%V a, %V s)           /* a >= 0 with the sign of s */\n{\n"
                   "    return (%V)((%U)a | ((%U)s & ~(~(%U){ 0 } >> 1)));\n}\n" },
    { "whole",
      "static inline %V $whole_%N(%V m)                /* 0 <= m < %R to nearest, ties to even */\n{\n"
      "    return (m + %R) - %R;\n}\n" },
    { "small", "static inline %I $small_%N(%V m)\n{\n    return (%I)(m < {splat}(%R));\n}\n" },
    V1(rint, "    const %V m = {abs}(x);\n    return {pick}({small}(m), {signed_as}({whole}(m), x), x);\n"),
    V1(trunc,
       "    const %V m = {abs}(x), r = {whole}(m);\n"
       "    return {pick}({small}(m), {signed_as}({pick}((%I)(r > m), r - 1, r), x), x);\n"),
    V1(floor, "    const %V m = {abs}(x), r = {signed_as}({whole}(m), x);\n"
              "    return {pick}({small}(m), {signed_as}({abs}({pick}((%I)(r > x), r - 1, r)), x), x);\n"),
    V1(ceil, "    const %V m = {abs}(x), r = {signed_as}({whole}(m), x);\n"
             "    return {pick}({small}(m), {signed_as}({abs}({pick}((%I)(r < x), r + 1, r)), x), x);\n"),
    { 0, 0 }
};

static const vector_row_text int_vectors[] = {
    { "splat", "static inline %V $splat_%N(%T x)\n{\n    return x + (%V){ 0 };\n}\n" },
    V2(add, "    return (%V)((%U)a + (%U)b);\n"),
    V2(sub, "    return (%V)((%U)a - (%U)b);\n"),
    V2(mul, "    return (%V)((%U)a * (%U)b);\n"),
    V1(neg, "    return (%V)((%U){ 0 } - (%U)x);\n"),
    V2(max, "    return {pick}((%I)(a < b), b, a);\n"),
    V2(min, "    return {pick}((%I)(a < b), a, b);\n"),
    V1(abs, "    return {pick}((%I)(x < (%V){ 0 }), (%V)((%U){ 0 } - (%U)x), x);\n"),
    V1(relu, "    return {pick}((%I)(x < (%V){ 0 }), (%V){ 0 }, x);\n"),
    { 0, 0 }
};

static const char *find_row(const vector_row_text *rows, const char *name)
{
    for (; rows->name; rows++)
        if (strcmp(rows->name, name) == 0) return rows->source;
    return NULL;
}

static const char *vector_helper(writer *w, lane_shape sh, const char *name, dtype t);

static const char *named_helper(writer *w, lane_shape sh, const char *name, dtype t)
{
    bool converts = strcmp(name, "mask") == 0 || strcmp(name, "unmask") == 0;
    return converts && dtype_bytes(t) == sh.bytes ? "" : vector_helper(w, sh, name, t);
}

static const char *spelled(writer *w, lane_shape sh, dtype t, char c)
{
    switch (c) {
    case 'V': return memory_vector(w, sh, t);
    case 'I': return memory_vector(w, sh, signed_of(dtype_bytes(t)));
    case 'U': return memory_vector(w, sh, unsigned_of(dtype_bytes(t)));
    case 'M': return memory_vector(w, sh, mask_of(sh));
    case 'T': return c_type(t);
    case 'N': return arena_printf(w->a, "%s%s", dtype_info[t].name, suffix(w->a, sh));
    case 'S': return step_of(w, sh);
    case 'R': return t == DTYPE_f32 ? "0x1p23f" : "0x1p52";
    case 'F': return t == DTYPE_f32 ? "f" : "";
    default: assert(!"no such word of a template"); return "";
    }
}

static const char *vector_helper(writer *w, lane_shape sh, const char *name, dtype t)
{
    const char *full = arena_printf(w->a, "%s_%s_%s%s", w->prefix, name, dtype_info[t].name,
                                    suffix(w->a, sh));
    if (!mark_helper(w, full)) return full;
    const char *s = find_row(is_float(t) ? float_vectors : int_vectors, name);
    if (!s) s = find_row(all_rows, name);
    assert(s);
    text out = { .a = w->a };
    for (; *s; s++) {
        const char *end = *s == '{' && s[1] >= 'a' && s[1] <= 'z' ? strchr(s, '}') : NULL;
        if (end) {
            text_put(&out, named_helper(w, sh, arena_strndup(w->a, s + 1, (size_t)(end - s) - 1), t));
            s = end;
        } else if (*s == '%') text_put(&out, spelled(w, sh, t, *++s));
        else if (*s == '$') text_printf(&out, "%s_", w->prefix);
        else text_putn(&out, s, 1);
    }
    add_helper(w, text_str(&out));
    return full;
}

/* -- Rows ------------------------------------------------------------------------------------------------ */

/* An operand; `known`: the count of a shift. */
typedef struct { const char *text; int bind; bool is_vector; bool is_known; int64_t k; } operand;

static const char *bound_text(arena *a, const operand *x, int prec)
{
    return x->bind < prec ? arena_printf(a, "(%s)", x->text) : x->text;
}

static const char *call_text(writer *w, const char *f, const operand *x, int n)
{
    text t = { .a = w->a };
    text_printf(&t, "%s(", f);
    for (int i = 0; i < n; i++) text_printf(&t, "%s%s", i ? ", " : "", x[i].text);
    text_put(&t, ")");
    return text_str(&t);
}

static operand splat(writer *w, lane_shape sh, dtype t, operand x)
{
    if (x.is_vector) return x;
    operand r = x;
    if (t == DTYPE_bool) x.text = arena_printf(w->a, "-(%s)(%s)", c_type(mask_of(sh)), x.text);
    r.text = call_text(w, vector_helper(w, sh, "splat", t == DTYPE_bool ? mask_of(sh) : t), &x, 1);
    r.bind = BIND_primary;
    r.is_vector = true;
    return r;
}

/* One lane of an operand as the scalar text; a mask's as 0 or 1. */
static const char *lane_text(arena *a, const char *vector, const char *i, dtype t)
{
    return arena_printf(a, t == DTYPE_bool ? "(%s[%s] != 0)" : "%s[%s]", vector, i);
}

/* A row lane by lane, as a function. */
static const char *each_function(writer *w, lane_shape sh, scalar fn, dtype from, dtype to)
{
    const char *what = fn == SCALAR_COUNT ? "bits" : scalar_info[fn].name, *x = suffix(w->a, sh);
    const char *name = arena_printf(w->a, "%s_each_%s_%s_%s%s", w->prefix, what, dtype_info[from].name,
                                    dtype_info[to].name, x);
    if (!mark_helper(w, name)) return name;
    static const char *const arg[] = { "x", "y", "z" };
    int n = fn == SCALAR_COUNT ? 1 : scalar_info[fn].arity;
    const char *in[3] = { 0 };
    static const bool none[3] = { 0 };
    text out = { .a = w->a };
    text_printf(&out, "static inline %s %s(", vector_type(w, sh, to), name);
    for (int i = 0; i < n; i++) {
        dtype t = fn == SCALAR_select && i == 0 ? DTYPE_bool : from;
        text_printf(&out, "%s%s %s", i ? ", " : "", vector_type(w, sh, t), arg[i]);
        in[i] = lane_text(w->a, arg[i], "i", t);
    }
    text_printf(&out,
                ")\n{\n    %s r = { 0 };\n    for (int i = 0; i < %s; i++) r[i] = ", vector_type(w, sh, to),
                step_of(w, sh));
    if (to == DTYPE_bool) text_printf(&out, "-(%s)(", c_type(mask_of(sh)));
    put_row(w, &out, fn, from, to, in, none, BIND_any);
    text_put(&out, to == DTYPE_bool ? ");\n    return r;\n}\n" : ";\n    return r;\n}\n");
    add_helper(w, text_str(&out));
    return name;
}

/* An int as wide as t's values to a mask, and back. */
static const char *to_mask(writer *w, lane_shape sh, dtype t, const char *x)
{
    return arena_printf(w->a, "%s(%s)", named_helper(w, sh, "mask", t), x);
}

static bool is_narrow(dtype t) { return is_int(t) && dtype_bytes(t) < 4; }
static bool is_wide_float(dtype t) { return t == DTYPE_f32 || t == DTYPE_f64; }

static const char *conversion(writer *w, lane_shape sh, dtype to, const char *x)
{
    return arena_printf(w->a, "__builtin_convertvector(%s, %s)", x, memory_vector(w, sh, to));
}

/* f32 to an int of at most 32 bits: NaN to 0, saturating. What is out of range is not converted. */
static const char *saturating(writer *w, lane_shape sh, dtype to)
{
    const char *name = arena_printf(w->a, "%s_%s_of_f32%s", w->prefix, dtype_info[to].name, suffix(w->a, sh));
    if (!mark_helper(w, name)) return name;
    arena *a = w->a;
    const char *F = memory_vector(w, sh, DTYPE_f32), *I = memory_vector(w, sh, DTYPE_i32),
               *V = memory_vector(w, sh, to);
    const char *splat_f = vector_helper(w, sh, "splat", DTYPE_f32),
               *pick_f = vector_helper(w, sh, "pick", DTYPE_f32);
    int width = 8 * dtype_bytes(to);
    text out = { .a = a };
    text_printf(&out, "static inline %s %s(%s x)\n{\n", V, name, F);
    if (to == DTYPE_i32) {
        const char *splat_i = vector_helper(w, sh, "splat", DTYPE_i32),
                   *pick_i = vector_helper(w, sh, "pick", DTYPE_i32);
        text_printf(&out, "    const %s low = %s(-0x1p31f), high = %s(0x1p31f);\n", F, splat_f, splat_f);
        text_printf(
            &out,
            "    const %s above = (%s)(x >= high), below = (%s)(x < low), inside = (%s)(x == x) & ~above & "
            "~below;\n",
            I, I, I, I);
        text_printf(&out, "    const %s r = __builtin_convertvector(%s(inside, x, (%s){ 0 }), %s);\n", I,
                    pick_f, F, I);
        text_printf(&out, "    return %s(above, %s(INT32_MAX), %s(below, %s(INT32_MIN), r));\n}\n", pick_i,
                    splat_i, pick_i, splat_i);
    } else {
        text_printf(&out, "    const %s low = %s(%s%lld.0f), high = %s(%lld.0f);\n", F, splat_f,
                    is_signed(to) ? "-" : "", is_signed(to) ? 1LL << (width - 1) : 0LL, splat_f,
                    is_signed(to) ? (1LL << (width - 1)) - 1 : (1LL << width) - 1);
        text_printf(
            &out,
            "    const %s r = %s((%s)(x >= high), high, %s((%s)(x <= low), low, %s((%s)(x == x), x, (%s){ 0 "
            "})));\n",
            F, pick_f, I, pick_f, I, pick_f, I, F);
        text_printf(&out, "    return __builtin_convertvector(__builtin_convertvector(r, %s), %s);\n}\n", I,
                    V);
    }
    add_helper(w, text_str(&out));
    return name;
}

/* bf16 and f16, held as u16. */
static const char *const half_source[4] = {
    /* of_bf16 */ "    return (%f)(__builtin_convertvector(h, %u) << 16);\n",
    /* to_bf16 */
    "    const %u b = (%u)x;\n    const %u nan = (%u)(x != x);\n"
    "    return __builtin_convertvector((nan & (b >> 16 | 0x40)) | (~nan & ((b + 0x7fff + (b >> 16 & 1)) >> "
    "16)), %h);\n",
    /* of_f16 */
    "    const %u b = __builtin_convertvector(h, %u), sign = (b & 0x8000) << 16, e = b >> 10 & 31, m = b & "
    "1023;\n"
    "    const %u big = (%u)(e == 31), small = (%u)(e == 0), tiny = (%u)(__builtin_convertvector((%i)m, %f) "
    "* 0x1p-24f);\n"
    "    return (%f)(sign | (big & (0x7f800000 | m << 13)) | (small & tiny) | (~(big | small) & ((e + 112) "
    "<< 23 | m << 13)));\n",
    /* to_f16 */
    "    const %u b = (%u)x, sign = b >> 16 & 0x8000, a = b & 0x7fffffff;\n    const %f m = (%f)a;\n"
    "    const %u nan = (%u)(x != x), big = (%u)(m >= 65520.0f - (%f){ 0 }), small = (%u)(m < 0x1p-14f - "
    "(%f){ 0 });\n"
    "    const %f tiny = (%f)(small & (%u)m) * 0x1p24f;\n"
    "    const %u normal = ((a + 0xfff + (a >> 13 & 1)) >> 13) - (112u << 10);\n"
    "    const %u low = (%u)__builtin_convertvector((tiny + 0x1p23f) - 0x1p23f, %i);\n"
    "    return __builtin_convertvector(sign | (nan & 0x7e00) | (big & 0x7c00) | (small & low) | (~(nan | "
    "big | small) & normal), %h);\n",
};

static const char *half_helper(writer *w, lane_shape sh, dtype half, bool is_from)
{
    arena *a = w->a;
    const char *name = arena_printf(a, "%s_%s_%s%s", w->prefix, is_from ? "of" : "to", dtype_info[half].name,
                                    suffix(a, sh));
    if (!mark_helper(w, name)) return name;
    text out = { .a = a };
    const char *f = memory_vector(w, sh, DTYPE_f32), *h = memory_vector(w, sh, half);
    text_printf(&out, "static inline %s %s(%s %s)\n{\n", is_from ? f : h, name, is_from ? h : f,
                is_from ? "h" : "x");
    for (const char *s = half_source[2 * (half == DTYPE_f16) + !is_from]; *s; s++) {
        if (*s != '%') { text_putn(&out, s, 1); continue; }
        s++;
        text_put(&out, *s == 'f'   ? f
                       : *s == 'h' ? h
                                   : memory_vector(w, sh, *s == 'u' ? DTYPE_u32 : DTYPE_i32));
    }
    text_put(&out, "}\n");
    add_helper(w, text_str(&out));
    return name;
}

static bool is_half(dtype t) { return t == DTYPE_f16 || t == DTYPE_bf16; }

/* NULL: lane by lane. */
static const char *cast_vector(writer *w, lane_shape sh, dtype from, dtype to, const char *x)
{
    from = carrier_dtype(from);
    to = carrier_dtype(to);
    arena *a = w->a;
    if (from == to) return x;
    if (is_half(from)) {
        const char *wide = arena_printf(a, "%s(%s)", half_helper(w, sh, from, true), x);
        return to == DTYPE_f32 ? wide : cast_vector(w, sh, DTYPE_f32, to, wide);
    }
    if (is_half(to)) {
        if (from == DTYPE_f64 && to == DTYPE_f16) return NULL;                         /* rounds once */
        const char *f = from == DTYPE_f32 ? x : cast_vector(w, sh, from, DTYPE_f32, x);
        return f ? arena_printf(a, "%s(%s)", half_helper(w, sh, to, false), f) : NULL;
    }
    if (to == DTYPE_bool) return arena_printf(a, "%s(%s)", vector_helper(w, sh, "nonzero", from), x);
    if (from == DTYPE_bool) return arena_printf(a, "%s(%s)", vector_helper(w, sh, "of_mask", to), x);
    if (is_wide_float(from) && is_wide_float(to)) return conversion(w, sh, to, x);
    if (is_int(from) && is_int(to))
        return dtype_bytes(from) == dtype_bytes(to) ? arena_printf(a, "(%s)(%s)", memory_vector(w, sh, to), x)
                                                    : conversion(w, sh, to, x);
    if (is_wide_float(to) && (is_signed(from) || is_narrow(from))) {
        if (is_narrow(from)) x = conversion(w, sh, DTYPE_i32, x);
        return conversion(w, sh, to, x);
    }
    if (from == DTYPE_f32 && (to == DTYPE_i32 || is_narrow(to)))
        return arena_printf(a, "%s(%s)", saturating(w, sh, to), x);
    return NULL;
}

static const char *row_vector_function(writer *w, lane_shape sh, scalar fn, dtype t);

static const char *infix(writer *w, const char *op, const operand *x, int bind)
{
    return arena_printf(w->a, "%s%s%s", bound_text(w->a, &x[0], bind), op, bound_text(w->a, &x[1], bind + 1));
}

/* fn of operands of type from, at least one of them a vector; SCALAR_COUNT: a bitcast. */
static operand vector_row(writer *w, lane_shape sh, scalar fn, dtype from, dtype to, const operand *given)
{
    arena *a = w->a;
    operand r = { .is_vector = true, .bind = BIND_primary }, x[3];
    bool is_plain = is_wide_float(from), is_bool = from == DTYPE_bool;
    bool is_infix = (is_plain || from == DTYPE_u32 || from == DTYPE_u64) &&
                    (fn == SCALAR_add || fn == SCALAR_sub || fn == SCALAR_mul);
    int n = fn == SCALAR_COUNT ? 1 : scalar_info[fn].arity;
    for (int i = 0; i < n; i++)
        x[i] = is_plain ? given[i]
                        : splat(w, sh, fn == SCALAR_select && i == 0 ? DTYPE_bool : from, given[i]);
    if (is_infix || (is_plain && fn == SCALAR_div)) {
        static const char *const op[] = {
            [SCALAR_add] = " + ", [SCALAR_sub] = " - ", [SCALAR_mul] = " * ", [SCALAR_div] = " / "
        };
        r.bind = fn == SCALAR_add || fn == SCALAR_sub ? BIND_add : BIND_mul;
        r.text = infix(w, op[fn], x, r.bind);
        return r;
    }
    if (fn == SCALAR_fma && w->p->fma == FMA_ROUNDED) {
        r.bind = BIND_add;
        if (!x[0].is_vector && !x[1].is_vector) x[0] = splat(w, sh, from, x[0]);
        r.text = arena_printf(a, "%s + %s", infix(w, " * ", x, BIND_mul), bound_text(a, &x[2], BIND_mul));
        return r;
    }
    for (int i = 0; i < n; i++) x[i] = splat(w, sh, fn == SCALAR_select && i == 0 ? DTYPE_bool : from, x[i]);
    if (fn == SCALAR_COUNT) {
        if (is_bool || to == DTYPE_bool) goto by_lane;
        r.bind = BIND_unary;
        r.text = arena_printf(a, "(%s)%s", memory_vector(w, sh, to), bound_text(a, &x[0], BIND_unary));
        return r;
    }
    if (!scalar_info[fn].is_basic) {
        r.text = call_text(w, row_vector_function(w, sh, fn, from), x, n);
        return r;
    }
    dtype self = is_bool ? mask_of(sh) : from;
    switch (fn) {
    case SCALAR_eq: case SCALAR_lt: case SCALAR_le:
        if (is_bool) goto by_lane;
        r.text = to_mask(w, sh, from,
                         arena_printf(a, "(%s)(%s)", memory_vector(w, sh, signed_of(dtype_bytes(from))),
                                      infix(w,
                                            fn == SCALAR_eq   ? " == "
                                            : fn == SCALAR_lt ? " < "
                                                              : " <= ",
                                            x, BIND_compare)));
        return r;
    case SCALAR_and: case SCALAR_or: case SCALAR_xor: bitwise:
        r.bind = BIND_bits;
        r.text = arena_printf(a, "%s%s%s", bound_text(a, &x[0], BIND_unary),
                              fn == SCALAR_and || fn == SCALAR_min ? " & "
                              : fn == SCALAR_xor                   ? " ^ "
                                                                   : " | ",
                              bound_text(a, &x[1], BIND_unary));
        return r;
    case SCALAR_not:
        r.bind = BIND_unary;
        r.text = arena_printf(a, "~%s", bound_text(a, &x[0], BIND_primary));
        return r;
    case SCALAR_neg:
        if (!is_plain) break;
        r.bind = BIND_unary;
        r.text = arena_printf(a, "-%s", bound_text(a, &x[0], BIND_primary));
        return r;
    case SCALAR_shl: case SCALAR_shr: {
        if (!given[1].is_known || given[1].k < 0 || given[1].k >= 8 * dtype_bytes(from)) goto by_lane;
        const char *V = memory_vector(w, sh, from), *U = memory_vector(w, sh, unsigned_of(dtype_bytes(from)));
        r.text = fn == SCALAR_shl
                     ? arena_printf(a, "(%s)((%s)%s << %d)", V, U, bound_text(a, &x[0], BIND_unary),
                                    (int)given[1].k)
                     : arena_printf(a, "(%s >> %d)", bound_text(a, &x[0], BIND_unary), (int)given[1].k);
        return r;
    }
    case SCALAR_cast: {
        const char *c = cast_vector(w, sh, from, to, x[0].text);
        if (!c) goto by_lane;
        r.text = c;
        if (c == x[0].text) r.bind = x[0].bind;
        return r;
    }
    case SCALAR_max: case SCALAR_min:
        if (is_bool) goto bitwise;
        break;
    case SCALAR_div: case SCALAR_sqrt: goto by_lane;
    default: break;
    }
    if (is_half(from)) goto by_lane;
    r.text = call_text(w, vector_helper(w, sh, scalar_info[fn].name, self), x, n);
    return r;
by_lane:
    r.text = call_text(w, each_function(w, sh, fn, from, to), x, n);
    r.bind = BIND_primary;
    return r;
}

/* A row that is not basic: the steps of its expansion, on vectors. */
static const char *row_vector_function(writer *w, lane_shape sh, scalar fn, dtype t)
{
    const char *name = arena_printf(w->a, "%s_%s_%s%s", w->prefix, scalar_info[fn].name, dtype_info[t].name,
                                    suffix(w->a, sh));
    if (!mark_helper(w, name)) return name;
    const scalar_code *c = scalar_expand(w->ex, fn, t);
    assert(c);
    static const char *const arg[] = { "x", "y", "z" };
    int n_all = c->n_in + c->n_steps;
    text out = { .a = w->a };
    operand *term = NEW_ARRAY(w->a, operand, n_all);
    bool *used = NEW_ARRAY(w->a, bool, n_all);
    text_printf(&out, "static inline %s %s(", vector_type(w, sh, t), name);
    for (int i = 0; i < c->n_in; i++) {
        text_printf(&out, "%s%s %s", i ? ", " : "", vector_type(w, sh, t), arg[i]);
        term[i] = (operand){ .text = arg[i], .bind = BIND_primary, .is_vector = true };
    }
    text_put(&out, ")\n{\n");
    used[n_all - 1] = true;
    for (int i = c->n_steps - 1; i >= 0; i--) {
        const scalar_step *s = &c->steps[i];
        int n = s->kind == STEP_CONST ? 0 : s->kind == STEP_BITCAST ? 1 : scalar_info[s->fn].arity;
        for (int j = 0; j < n && used[c->n_in + i]; j++) used[s->in[j]] = true;
    }
    for (int i = 0; i < c->n_in; i++)
        if (!used[i]) text_printf(&out, "    (void)%s;\n", arg[i]);
    for (int i = 0; i < c->n_steps; i++) {
        const scalar_step *s = &c->steps[i];
        bool is_last = i == c->n_steps - 1, any = false;
        operand in[3] = { { 0 } };
        if (!used[c->n_in + i]) continue;
        int n = s->kind == STEP_CONST ? 0 : s->kind == STEP_BITCAST ? 1 : scalar_info[s->fn].arity;
        for (int j = 0; j < n; j++) { in[j] = term[s->in[j]]; any |= in[j].is_vector; }
        operand r;
        if (s->kind == STEP_CONST) {
            text k = { .a = w->a };
            put_const(w, &k, s->type, s->imm, BIND_primary);
            r = (operand){ .text = text_str(&k),
                           .bind = BIND_primary,
                           .is_known = is_int(s->type),
                           .k = (int64_t)s->imm.bits };
            if (!is_last) { term[c->n_in + i] = r; continue; }
        } else {
            if (!any)
                in[0] = splat(w, sh, s->kind == STEP_SCALAR && s->fn == SCALAR_select ? DTYPE_bool : s->from,
                              in[0]);
            r = vector_row(w, sh, s->kind == STEP_BITCAST ? SCALAR_COUNT : s->fn, s->from, s->type, in);
        }
        r = splat(w, sh, s->type, r);
        if (is_last) { text_printf(&out, "    return %s;\n", r.text); break; }
        text_printf(&out, "    const %s t%d = %s;\n", vector_type(w, sh, s->type), i, r.text);
        term[c->n_in + i] =
            (operand){ .text = arena_printf(w->a, "t%d", i), .bind = BIND_primary, .is_vector = true };
    }
    text_put(&out, "}\n");
    add_helper(w, text_str(&out));
    return name;
}

/* -- What differs by lane -------------------------------------------------------------------------------- */

bool varies(const scope_text *s, const expr *e)
{
    if (e->kind == EXPR_var) return e->id == s->lane_var;
    if (e->kind == EXPR_temp) return s->temp_varies[e->id];
    if ((e->kind == EXPR_load || e->kind == EXPR_tree) && s->is_private[e->id]) return true;
    for (int i = 0; i < e->n_args; i++)
        if (varies(s, e->args[i])) return true;
    return false;
}

/* e = coefficient * lane + what is the same in all lanes. */
static bool lane_coefficient(const scope_text *s, const expr *e, int64_t *coef)
{
    int64_t a, b, k;
    *coef = 0;
    if (!varies(s, e)) return true;
    if (e->kind == EXPR_var) { *coef = 1; return true; }
    if (e->kind != EXPR_op || !is_index(s, e)) return false;
    if (e->fn == SCALAR_neg) { bool ok = lane_coefficient(s, e->args[0], &a); *coef = -a; return ok; }
    if (!lane_coefficient(s, e->args[0], &a) || !lane_coefficient(s, e->args[1], &b)) return false;
    switch (e->fn) {
    case SCALAR_add: *coef = a + b; return true;
    case SCALAR_sub: *coef = a - b; return true;
    case SCALAR_mul:
        if (x_is_int(e->args[0], &k)) { *coef = k * b; return true; }
        if (x_is_int(e->args[1], &k)) { *coef = k * a; return true; }
        return false;
    default: return false;
    }
}

typedef enum { ROW_same, ROW_dense, ROW_other } row_kind;

/* How the lanes of an access lie: in one place, side by side, or anyhow. */
static row_kind row_of(const scope_text *s, int buf, const expr *const *index)
{
    const buffer *b = &s->k->bufs.at[buf];
    int64_t stride = 1, sum = 0, k;
    bool any = false;
    for (int i = b->rank - 1; i >= 0; i--) {
        int64_t c;
        if (!lane_coefficient(s, index[i], &c)) return ROW_other;
        any |= varies(s, index[i]);
        if (c && !stride) return ROW_other;
        sum += c * stride;
        if (!dim_is_const(b->dims[i], &k) || !mul_ok(stride, k, &stride)) stride = 0;
    }
    return !any || sum == 0 ? ROW_same : sum == 1 ? ROW_dense : ROW_other;
}

bool is_by_lane(const scope_text *s, const expr *e)
{
    if (!varies(s, e)) return false;
    switch (e->kind) {
    case EXPR_temp: case EXPR_const: case EXPR_dim: return false;
    case EXPR_var: case EXPR_floordiv: case EXPR_mod: case EXPR_tree: return true;
    case EXPR_load: return !s->is_private[e->id] && row_of(s, e->id, e->args) != ROW_dense;
    case EXPR_bitcast: return is_index(s, e->args[0]);
    case EXPR_op: break;
    }
    if (is_index(s, e)) return true;
    for (int i = 0; i < e->n_args; i++)
        if (is_index(s, e->args[i]) && varies(s, e->args[i])) return true;
    return false;
}

/* -- Which loops ----------------------------------------------------------------------------------------- */

static void widen_to(scope_text *s, dtype t)
{
    int n = t == DTYPE_bool ? 1 : dtype_bytes(compute_dtype(carrier_dtype(t)));
    if (n > s->shape.bytes) s->shape.bytes = n;
}

/* What an expansion computes in, too. */
static void widen_to_steps(scope_text *s, const expr *e)
{
    if (e->kind != EXPR_op || scalar_info[e->fn].is_basic) return;
    const scalar_code *c = scalar_expand(s->w->ex, e->fn, e->type);
    for (int i = 0; i < c->n_steps; i++) widen_to(s, c->steps[i].type);
}

/* Can e be computed here? Notes the widest value. */
static bool see_value(scope_text *s, const expr *e, bool is_address)
{
    if (!varies(s, e)) return true;
    if (e->kind == EXPR_tree) return false;
    if (e->kind == EXPR_load && s->is_private[e->id])
        for (int i = 0; i < e->n_args; i++)
            if (varies(s, e->args[i])) return false;
    bool is_scalar = is_address || is_by_lane(s, e);
    if (!is_address && !is_index(s, e)) {
        widen_to(s, e->type);
        widen_to_steps(s, e);
    }
    for (int i = 0; i < e->n_args; i++)
        if (!see_value(s, e->args[i], is_scalar || e->kind == EXPR_load)) return false;
    return true;
}

static bool see_statement(scope_text *s, const stmt *x);

static bool see_block(scope_text *s, const block *b)
{
    for (int i = 0; i < b->n; i++)
        if (!see_statement(s, b->at[i])) return false;
    return true;
}

static bool see_statement(scope_text *s, const stmt *x)
{
    int rank = x->kind == STMT_store || x->kind == STMT_alloc ? s->k->bufs.at[x->id].rank : 0;
    switch (x->kind) {
    case STMT_for:
        if (varies(s, x->lo) || varies(s, x->hi)) return false;
        return see_block(s, &x->body);
    case STMT_if:
        if (varies(s, x->cond)) return false;
        return see_block(s, &x->body) && see_block(s, &x->other);
    case STMT_let:
        s->temp_varies[x->id] = varies(s, x->value);
        s->temp_is_index[x->id] = is_index(s, x->value);
        if (s->temp_varies[x->id] && s->temp_is_index[x->id]) return false;
        return see_value(s, x->value, false);
    case STMT_alloc:
        for (int i = 0; i < rank; i++)
            if (!dim_is_const(s->k->bufs.at[x->id].dims[i], NULL)) return false;
        s->is_private[x->id] = true;
        widen_to(s, s->k->bufs.at[x->id].dtype);
        return !x->value || see_value(s, x->value, false);
    case STMT_store:
        widen_to(s, s->k->bufs.at[x->id].dtype);
        if (!s->is_private[x->id] && row_of(s, x->id, x->index) == ROW_same) return false;
        for (int i = 0; i < rank; i++) {
            if (s->is_private[x->id] && varies(s, x->index[i])) return false;
            if (!see_value(s, x->index[i], true)) return false;
        }
        return see_value(s, x->value, false);
    case STMT_prefetch: return true;
    }
    return false;
}

/* Sets up the scope for lanes 0 … n - 1 of x if its body allows. */
bool enter_lanes(scope_text *s, const stmt *x, int64_t n)
{
    if (!s->w->o->vectors || s->shape.lanes || x->mark != MARK_vector || n < 2 || n > MAX_LANES ||
        (n & (n - 1)))
        return false;
    s->shape = (lane_shape){ .lanes = (int)n, .bytes = 1 };
    s->lane_var = x->var;
    if (see_block(s, &x->body)) return true;
    leave_lanes(s);
    return false;
}

void leave_lanes(scope_text *s)
{
    s->shape = (lane_shape){ 0 };
    s->lane_var = -1;
    memset(s->temp_varies, 0, (size_t)s->k->temps.n * sizeof *s->temp_varies);
    memset(s->is_private, 0, (size_t)s->k->bufs.n * sizeof *s->is_private);
}

/* -- Expressions ----------------------------------------------------------------------------------------- */

/* As an operand: a vector, or a scalar that is the same in all lanes. */
static operand operand_of(scope_text *s, const expr *e, int prec)
{
    text t = { .a = s->w->a };
    operand r = { .bind = prec,
                  .is_vector = varies(s, e),
                  .is_known = e->kind == EXPR_const,
                  .k = (int64_t)e->value.bits };
    put_expr(s, &t, e, prec);
    r.text = text_str(&t);
    return r;
}

static operand load_vector(scope_text *s, const expr *e)
{
    text t = { .a = s->w->a };
    put_element(s, &t, e->id, e->args);
    operand r = { .text = text_str(&t), .bind = BIND_primary, .is_vector = true };
    if (s->is_private[e->id]) return r;
    dtype d = s->k->bufs.at[e->id].dtype;
    r.text = arena_printf(s->w->a, "%s_AT(%s, %s)", s->w->prefix, memory_vector(s->w, s->shape, d), r.text);
    if (d == DTYPE_bool)
        r.text = arena_printf(s->w->a, "%s(%s)", vector_helper(s->w, s->shape, "nonzero", DTYPE_bool),
                              r.text);
    return r;
}

static bool limit_vector(scope_text *s, const expr *e, operand *r)
{
    const char *f;
    int other;
    if (!limit_of(e, &f, &other)) return false;
    text t = { .a = s->w->a };
    text_printf(&t, "%s(", vector_helper(s->w, s->shape, f, e->type));
    put_expr(s, &t, e->args[other], BIND_any);
    text_put(&t, ", ");
    put_expr(s, &t, e->args[1 - other], BIND_any);
    text_put(&t, ")");
    *r = (operand){ .text = text_str(&t), .bind = BIND_primary, .is_vector = true };
    return true;
}

/* e differs by lane, and is not to be computed lane by lane. */
void put_vector(scope_text *s, text *t, const expr *e, int prec)
{
    operand r = { .bind = BIND_primary }, x[3];
    switch (e->kind) {
    case EXPR_temp: text_put(t, s->temp[e->id]); return;
    case EXPR_load: r = load_vector(s, e); break;
    case EXPR_op: case EXPR_bitcast: {
        if (limit_vector(s, e, &r)) break;
        scalar fn = e->kind == EXPR_bitcast ? SCALAR_COUNT : e->fn;
        dtype from = e->args[fn == SCALAR_select ? 1 : 0]->type;
        for (int i = 0; i < e->n_args; i++) x[i] = operand_of(s, e->args[i], BIND_unary);
        r = vector_row(s->w, s->shape, fn, from, e->type, x);
        break;
    }
    default: assert(!"a vector"); return;
    }
    text_put(t, bound_text(s->w->a, &r, prec));
}

/* The value in all lanes as a vector, whatever it is. */
static const char *whole_vector(scope_text *s, const expr *e)
{
    operand x = operand_of(s, e, BIND_any);
    return splat(s->w, s->shape, e->type, x).text;
}

/* What is written between here and end_by_lane is scalar, for lane number `q`. */
typedef struct { const char *name; } by_lane;

static by_lane begin_by_lane(scope_text *s)
{
    by_lane saved = { s->var[s->lane_var].name };
    s->lane_q = arena_printf(s->w->a, "e_%d", ++*s->n_made);
    s->var[s->lane_var].name = arena_printf(s->w->a, "(%s + %s)", saved.name, s->lane_q);
    start_line(s);
    text_printf(s->out, "for (int %s = 0; %s < %s; %s++) ", s->lane_q, s->lane_q, step_of(s->w, s->shape),
                s->lane_q);
    return saved;
}

static void end_by_lane(scope_text *s, by_lane saved)
{
    text_put(s->out, ";\n");
    s->var[s->lane_var].name = saved.name;
    s->lane_q = NULL;
}

void put_by_lane(scope_text *s, const expr *e, const char *name)
{
    start_line(s);
    text_printf(s->out, "%s %s = { 0 };\n", vector_type(s->w, s->shape, e->type), name);
    by_lane saved = begin_by_lane(s);
    text_printf(s->out, e->type == DTYPE_bool ? "%s[%s] = -(%s)(" : "%s[%s] = ", name, s->lane_q,
                c_type(mask_of(s->shape)));
    put_expr(s, s->out, e, BIND_any);
    if (e->type == DTYPE_bool) text_put(s->out, ")");
    end_by_lane(s, saved);
}

/* Lane s->lane_q of a vector. */
void put_one_lane(scope_text *s, text *t, const char *vector, dtype d)
{
    text_put(t, lane_text(s->w->a, vector, s->lane_q, d));
}

/* -- Statements ------------------------------------------------------------------------------------------ */

void put_vector_store(scope_text *s, const stmt *x)
{
    writer *w = s->w;
    dtype d = s->k->bufs.at[x->id].dtype;
    const char *v = whole_vector(s, x->value);
    if (s->is_private[x->id]) {
        start_line(s);
        put_element(s, s->out, x->id, x->index);
        text_printf(s->out, " = %s;\n", v);
    } else if (row_of(s, x->id, x->index) == ROW_dense) {
        if (d == DTYPE_bool) v = arena_printf(w->a, "%s(%s)", vector_helper(w, s->shape, "of_mask", d), v);
        start_line(s);
        text_printf(s->out, "%s_AT(%s, ", w->prefix, memory_vector(w, s->shape, d));
        put_element(s, s->out, x->id, x->index);
        text_printf(s->out, ") = %s;\n", v);
    } else {
        const char *name = arena_printf(w->a, "e_%d", ++*s->n_made);
        start_line(s);
        text_printf(s->out, "const %s %s = %s;\n", vector_type(w, s->shape, d), name, v);
        by_lane saved = begin_by_lane(s);
        put_element(s, s->out, x->id, x->index);
        text_put(s->out, " = ");
        put_one_lane(s, s->out, name, d);
        end_by_lane(s, saved);
    }
}

void put_vector_let(scope_text *s, const stmt *x)
{
    start_line(s);
    text_printf(s->out, "const %s %s = ", vector_type(s->w, s->shape, s->k->temps.at[x->id].type),
                s->temp[x->id]);
    put_expr(s, s->out, x->value, BIND_any);
    text_put(s->out, ";\n");
}

/* Every lane has its own. */
void put_vector_alloc(scope_text *s, const stmt *x, int64_t n)
{
    const buffer *b = &s->k->bufs.at[x->id];
    const char *name = s->buf[x->id], *v = x->value ? whole_vector(s, x->value) : NULL;
    start_line(s);
    text_printf(s->out, "%s %s", vector_type(s->w, s->shape, b->dtype), name);
    if (b->rank == 0) {
        text_printf(s->out, v ? " = %s;\n" : ";\n", v);
        return;
    }
    text_printf(s->out, "[%lld];\n", (long long)(n ? n : 1));
    if (!v) return;
    const char *i = arena_printf(s->w->a, "e_%d", ++*s->n_made);
    start_line(s);
    text_printf(s->out, "for (int %s = 0; %s < %lld; %s++) %s[%s] = %s;\n", i, i, (long long)n, i, name, i,
                v);
}

void put_lanes_head(scope_text *s, const stmt *x)
{
    const char *v = s->var[x->var].name;
    start_line(s);
    text_printf(s->out, "%s_PIECES\n", s->w->prefix);
    start_line(s);
    text_printf(s->out, "for (int64_t %s = 0; %s < %d; %s += %s) ", v, v, s->shape.lanes, v,
                step_of(s->w, s->shape));
}
