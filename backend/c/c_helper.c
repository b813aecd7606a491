/* backend/c/c_helper.c: what C has no operator for, as small static functions; only those that are called get
 * written.
 *
 * How    A row of the table is the text of a function at some element type:
 *          %N name of the type   %T its C type   %W bits   %MIN %MAX
 *          %U unsigned, at least 32 bits wide   %B unsigned of the same width
 *          %R the float from which on all are whole   {f} {f:t} the name of helper f at this type or t
 *        A helper that is named in another is written before it.
 * Keeps  the meaning of ir/scalar_eval.c to the bit, without libm and without anything that C leaves
 *        undefined: ints are computed unsigned. Narrowing to a signed type wraps, as every compiler of
 *        interest has it.
 */
#include "backend/c/cgen_inside.h"
#include <assert.h>

/* -- Names ----------------------------------------------------------------------------------------------- */

static const char *const words[] = {
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern",
    "float", "for",
    "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed", "sizeof",
    "static", "struct",
    "switch", "typedef", "union", "unsigned", "void", "volatile", "while", "asm", "typeof", "linux", "unix",
    "i386", "near", "far",
    "offsetof", "alignas", "alignof", "bool", "constexpr", "false", "nullptr", "static_assert",
    "thread_local", "true",
    "typeof_unqual", "main", "hook", "run", "arg", "begin", "end", "in", "out", "dims", "extents", "work",
    "weights", "states", "vector",
    "pixel", "arm", "sun", "mips", "hpux", "PPC", "R", "abs", "labs", "class", "new", "delete", "this",
    "template", "operator",
    "private", "public", "protected", "namespace", "try", "catch", "throw", "using", "virtual", "friend",
    "export", "mutable",
    "explicit", "typename", "and", "or", "not", "xor", "bitand", "bitor", "compl", "wchar_t",
};

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

const char *c_word(arena *a, const char *name)
{
    text t = { .a = a };
    if (!*name || is_digit(*name) || *name == '_') text_put(&t, "m");
    for (const char *p = name; *p && t.n < 100; p++)
        text_printf(&t, "%c", is_letter(*p) || is_digit(*p) ? *p : '_');
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(text_str(&t), words[i]) == 0) { text_put(&t, "_"); break; }
    return text_str(&t);
}

void names_init(name_set *s, arena *a, const char *prefix)
{
    s->a = a;
    s->prefix = prefix;
    map_init(&s->taken, a);
}

/* Could a header, or this file, define it? */
static bool is_suspect(const name_set *s, const char *name)
{
    size_t n = strlen(name), m = strlen(s->prefix), n_capitals = 0;
    for (const char *p = name; *p; p++) n_capitals += *p >= 'A' && *p <= 'Z';
    bool is_macro = n_capitals > 2, is_type = n > 2 && strcmp(name + n - 2, "_t") == 0;
    return is_macro || is_type || strncmp(name, s->prefix, m) == 0 || strncmp(name, "dlc_", 4) == 0 ||
           strncmp(name, "e_", 2) == 0;
}

const char *name_new(name_set *s, const char *wanted)
{
    const char *base = c_word(s->a, wanted), *name = base;
    if (is_suspect(s, base)) name = base = arena_printf(s->a, "%s_", base);
    for (int i = 2;; i++) {
        bool fresh;
        map_put(&s->taken, name, strlen(name), 1, &fresh);
        if (fresh) return name;
        name = arena_printf(s->a, "%s_%d", base, i);
    }
}

/* -- Types and constants --------------------------------------------------------------------------------- */

const char *c_type(dtype t)
{
    static const char *const name[DTYPE_COUNT] = {
        [DTYPE_f64] = "double", [DTYPE_f32] = "float", [DTYPE_f16] = "uint16_t", [DTYPE_bf16] = "uint16_t",
        [DTYPE_i64] = "int64_t", [DTYPE_i32] = "int32_t", [DTYPE_i16] = "int16_t", [DTYPE_i8] = "int8_t",
        [DTYPE_u64] = "uint64_t", [DTYPE_u32] = "uint32_t", [DTYPE_u16] = "uint16_t", [DTYPE_u8] = "uint8_t",
        [DTYPE_bool] = "uint8_t",
    };
    return name[carrier_dtype(t)];
}

const char *element_type(writer *w, dtype t)
{
    w->uses_type[t] = true;
    return arena_printf(w->a, "%s_%s", w->prefix, dtype_info[t].name);
}

void put_i64(text *t, int64_t v)
{
    if (v == INT64_MIN) text_put(t, "(-INT64_C(9223372036854775807) - 1)");
    else if (v > INT32_MAX || v < -INT32_MAX) text_printf(t, "INT64_C(%lld)", (long long)v);
    else text_printf(t, "%lld", (long long)v);
}

/* By hexadecimal digits, which every compiler reads exactly. */
static void put_float(text *t, dtype of, uint64_t bits)
{
    bool is_f64 = of == DTYPE_f64;
    int width = is_f64 ? 52 : 23, bias = is_f64 ? 1023 : 127;
    uint64_t fraction = bits & (((uint64_t)1 << width) - 1);
    int exponent = (int)(bits >> width) & (2 * bias + 1);
    double x = sv_to_f64(of, (scalar_value){ bits });
    if (x == (double)(int64_t)(x > -1e6 && x < 1e6 ? x : 0.5))
        text_printf(t, "%lld.0%s", (long long)x, is_f64 ? "" : "f");
    else {
        if (!is_f64) fraction <<= 1;
        text_printf(t, exponent ? "0x1." : "0x0.");
        text_printf(t, is_f64 ? "%013llx" : "%06llx", (unsigned long long)fraction);
        text_printf(t, "p%d%s", (exponent ? exponent : 1) - bias, is_f64 ? "" : "f");
    }
}

void put_const(writer *w, text *t, dtype of, scalar_value v, int prec)
{
    dtype c = carrier_dtype(of);
    if (c == DTYPE_f32 || c == DTYPE_f64) {
        uint64_t top = c == DTYPE_f32 ? 31 : 63, a = v.bits & (((uint64_t)1 << top) - 1);
        bool is_special = a >= (c == DTYPE_f32 ? UINT64_C(0x7f800000) : UINT64_C(0x7ff0000000000000));
        if (is_special) {
            text_printf(t, c == DTYPE_f32 ? "%s(UINT32_C(0x%08llx))" : "%s(UINT64_C(0x%016llx))",
                        helper(w, "of_bits", c), (unsigned long long)v.bits);
            return;
        }
        bool is_negative = v.bits >> top & 1, in_parentheses = is_negative && prec > BIND_add;
        if (in_parentheses) text_put(t, "(");
        if (is_negative) text_put(t, "-");
        put_float(t, c, a);
        if (in_parentheses) text_put(t, ")");
        return;
    }
    if (c == DTYPE_u64) { text_printf(t, "UINT64_C(%llu)", (unsigned long long)v.bits); return; }
    if (c == DTYPE_u32) { text_printf(t, "UINT32_C(%llu)", (unsigned long long)v.bits); return; }
    int64_t k = is_signed(c) ? sv_to_i64(c, v) : (int64_t)v.bits;
    bool in_parentheses = k < 0 && prec > BIND_add;
    if (in_parentheses) text_put(t, "(");
    put_i64(t, k);
    if (in_parentheses) text_put(t, ")");
}

/* -- The table ------------------------------------------------------------------------------------------- */

typedef struct { const char *name, *source; } helper_row;

#define F1(name, body) { #name, "static inline %T $" #name "_%N(%T x)\n{\n" body "}\n" }
#define F2(name, body) { #name, "static inline %T $" #name "_%N(%T a, %T b)\n{\n" body "}\n" }

static const helper_row float_rows[] = {
    { "bits",
      "static inline %B $bits_%N(%T x)\n{\n    union { %T f; %B b; } u;\n    u.f = x;\n    return u.b;\n"
      "}\n" },
    { "of_bits",
      "static inline %T $of_bits_%N(%B b)\n{\n    union { %T f; %B b; } u;\n    u.b = b;\n    return u.f;\n"
      "}\n" },
    F1(abs, "    return {of_bits}({bits}(x) & ((%B)-1 >> 1));\n"),
    /* every comparison made in any case: compilers will not vectorize one that depends on another */
    F2(max,
       "    const %T both = {of_bits}({bits}(a) & {bits}(b)), sum = a + b;\n"
       "    const int more = a > b, less = a < b, same = a == b;\n"
       "    return more ? a : less ? b : same ? both : sum;\n"),
    F2(min,
       "    const %T both = {of_bits}({bits}(a) | {bits}(b)), sum = a + b;\n"
       "    const int more = a > b, less = a < b, same = a == b;\n"
       "    return less ? a : more ? b : same ? both : sum;\n"),
    { "at_least",
      "static inline %T $at_least_%N(%T x, %T k)                /* max, k neither NaN nor -0 */\n{\n"
      "    return x <= k ? k : x;\n}\n" },
    { "at_most",
      "static inline %T $at_most_%N(%T x, %T k)                /* min, k neither NaN nor +0 */\n{\n"
      "    return x >= k ? k : x;\n}\n" },
    F1(relu, "    return x < 0 ? 0 : x;\n"),
    { "signed_as", "static inline %T $signed_as_%N(%T a, %T s)           /* a >= 0 with the sign of s */\n{\n"
                   "    return {of_bits}({bits}(a) | ({bits}(s) & ~((%B)-1 >> 1)));\n}\n" },
    { "whole",
      "static inline %T $whole_%N(%T m)                /* 0 <= m < %R to nearest, ties to even */\n{\n"
      "    return (m + %R) - %R;\n}\n" },
    F1(rint, "    %T m = {abs}(x);\n    return m < %R ? {signed_as}({whole}(m), x) : x;\n"),
    F1(trunc,
       "    %T m = {abs}(x), r = {whole}(m);\n    return m < %R ? {signed_as}(r > m ? r - 1 : r, x) : x;\n"),
    F1(floor,
       "    %T m = {abs}(x), r = {signed_as}({whole}(m), x);\n"
       "    return m < %R ? {signed_as}({abs}(r > x ? r - 1 : r), x) : x;\n"),
    F1(ceil,
       "    %T m = {abs}(x), r = {signed_as}({whole}(m), x);\n"
       "    return m < %R ? {signed_as}({abs}(r < x ? r + 1 : r), x) : x;\n"),
    { 0, 0 }
};

static const helper_row int_rows[] = {
    F2(max, "    return a < b ? b : a;\n"),
    F2(min, "    return a < b ? a : b;\n"),
    { "lt", "static inline int $lt_%N(%T a, %T b)\n{\n    return a < b;\n}\n" },
    { "le", "static inline int $le_%N(%T a, %T b)\n{\n    return a <= b;\n}\n" },
    F2(add, "    return (%T)((%U)a + (%U)b);\n"),
    F2(sub, "    return (%T)((%U)a - (%U)b);\n"),
    F2(mul, "    return (%T)((%U)a * (%U)b);\n"),
    F1(neg, "    return (%T)(0u - (%U)x);\n"),
    { 0, 0 }
};

static const helper_row sint_rows[] = {
    F2(div, "    return b == 0 ? 0 : b == -1 ? (%T)(0u - (%U)a) : (%T)(a / b);\n"),
    F1(abs, "    return x < 0 ? (%T)(0u - (%U)x) : x;\n"),
    F1(relu, "    return x < 0 ? 0 : x;\n"),
    F2(shl, "    return b < 0 || b >= %W ? 0 : (%T)((%U)a << b);\n"),
    { "shr", "static inline %T $shr_%N(%T a, %T b)\n{\n    int n = b < 0 || b >= %W ? %W - 1 : (int)b;\n"
      "    return a < 0 ? (%T)~(%T)((%B)~(%U)a >> n) : (%T)((%B)a >> n);\n}\n" },
    { 0, 0 }
};

static const helper_row uint_rows[] = {
    F2(div, "    return b == 0 ? 0 : (%T)(a / b);\n"),
    F1(abs, "    return x;\n"),
    F1(relu, "    return x;\n"),
    F2(shl, "    return b >= %W ? 0 : (%T)((%U)a << b);\n"),
    F2(shr, "    return b >= %W ? 0 : (%T)(a >> b);\n"),
    { 0, 0 }
};

/* Root: digit by digit, exact; a tie cannot be. */
static const helper_row f32_rows[] = {
    { "sqrt", "static inline float $sqrt_f32(float x)\n{\n"
              "#if defined(__GNUC__) && !defined(__TINYC__) && defined(__SSE2__)\n"
              "    float r;\n    __asm__(\"sqrtss %%1, %%0\" : \"=x\"(r) : \"x\"(x));\n    return r;\n"
              "#elif defined(__GNUC__) && !defined(__TINYC__) && defined(__aarch64__)\n"
              "    float r;\n    __asm__(\"fsqrt %%s0, %%s1\" : \"=w\"(r) : \"w\"(x));\n    return r;\n"
              "#else\n"
              "    union { float f; uint32_t b; } u;\n"
              "    uint32_t b, m, root = 0, rest = 0;\n"
              "    uint64_t digits;\n"
              "    int e, i;\n"
              "    u.f = x;\n"
              "    b = u.b;\n"
              "    m = b & 0x7fffff;\n"
              "    e = (int)(b >> 23 & 255);\n"
              "    if (x == 0 || x != x || b == 0x7f800000) return x;\n"
              "    u.b = 0x7fc00000;\n"
              "    if (b >> 31) return u.f;\n"
              "    if (e) m |= 0x800000;\n"
              "    else for (e = 1; m < 0x800000; e--) m <<= 1;\n"
              "    e -= 127;\n"
              "    digits = (uint64_t)m << (e & 1 ? 26 : 25);\n"
              "    for (i = 48; i >= 0; i -= 2) {\n"
              "        rest = rest << 2 | (uint32_t)(digits >> i & 3);\n"
              "        root <<= 1;\n"
              "        if (rest > root << 1) { rest -= root << 1 | 1; root |= 1; }\n"
              "    }\n"
              "    root += root & 1;                          /* 25 digits: the last one rounds */\n"
              "    u.b = (root >> 1) + ((uint32_t)((e - (e & 1)) / 2 + 126) << 23);\n"
              "    return u.f;\n"
              "#endif\n}\n" },
    { "of_f16", "static inline float $of_f16_f32(uint16_t h)\n{\n"
                "    uint32_t sign = (uint32_t)(h >> 15) << 31, e = h >> 10 & 31, m = h & 1023;\n"
                "    if (e == 31) return {of_bits}(sign | 0x7f800000 | m << 13);\n"
                "    if (e == 0) return {of_bits}({bits}((float)m * 0x1p-24f) | sign);\n"
                "    return {of_bits}(sign | (e + 112) << 23 | m << 13);\n}\n" },
    { "to_f16", "static inline uint16_t $to_f16_f32(float x)\n{\n"
                "    uint32_t b = {bits}(x), sign = b >> 16 & 0x8000, a = b & 0x7fffffff;\n"
                "    float m = {of_bits}(a);\n"
                "    if (x != x) return (uint16_t)(sign | 0x7e00);\n"
                "    if (m >= 65520.0f) return (uint16_t)(sign | 0x7c00);\n"
                "    if (m < 0x1p-14f) return (uint16_t)(sign | (uint32_t){whole}(m * 0x1p24f));\n"
                "    a += 0xfff + (a >> 13 & 1);\n"
                "    return (uint16_t)(sign | ((a >> 13) - (112u << 10)));\n}\n" },
    { "of_bf16",
      "static inline float $of_bf16_f32(uint16_t h)\n{\n    return {of_bits}((uint32_t)h << 16);\n}\n" },
    { "to_bf16", "static inline uint16_t $to_bf16_f32(float x)\n{\n"
                 "    uint32_t b = {bits}(x);\n"
                 "    if (x != x) return (uint16_t)(b >> 16 | 0x40);\n"
                 "    return (uint16_t)((b + 0x7fff + (b >> 16 & 1)) >> 16);\n}\n" },
    { 0, 0 }
};

static const helper_row f64_rows[] = {
    { "sqrt",
      "static inline double $sqrt_f64(double x)\n{\n"
      "#if defined(__GNUC__) && !defined(__TINYC__) && defined(__SSE2__)\n"
      "    double r;\n    __asm__(\"sqrtsd %%1, %%0\" : \"=x\"(r) : \"x\"(x));\n    return r;\n"
      "#elif defined(__GNUC__) && !defined(__TINYC__) && defined(__aarch64__)\n"
      "    double r;\n    __asm__(\"fsqrt %%d0, %%d1\" : \"=w\"(r) : \"w\"(x));\n    return r;\n"
      "#else\n"
      "    union { double f; uint64_t b; } u;\n"
      "    uint64_t b, m, root = 0, rest = 0;\n"
      "    int e, i;\n"
      "    u.f = x;\n"
      "    b = u.b;\n"
      "    m = b & UINT64_C(0xfffffffffffff);\n"
      "    e = (int)(b >> 52 & 2047);\n"
      "    if (x == 0 || x != x || b == UINT64_C(0x7ff0000000000000)) return x;\n"
      "    u.b = UINT64_C(0x7ff8000000000000);\n"
      "    if (b >> 63) return u.f;\n"
      "    if (e) m |= UINT64_C(1) << 52;\n"
      "    else for (e = 1; m < UINT64_C(1) << 52; e--) m <<= 1;\n"
      "    e -= 1023;\n"
      "    if (e & 1) m <<= 1;\n"
      "    for (i = 52; i >= -54; i -= 2) {\n"
      "        rest = rest << 2 | (i >= 0 ? m >> i & 3 : 0);\n"
      "        root <<= 1;\n"
      "        if (rest > root << 1) { rest -= root << 1 | 1; root |= 1; }\n"
      "    }\n"
      "    root += root & 1;                          /* 54 digits: the last one rounds */\n"
      "    u.b = (root >> 1) + ((uint64_t)((e - (e & 1)) / 2 + 1022) << 52);\n"
      "    return u.f;\n"
      "#endif\n}\n" },
    { "to_f16",
      "static inline uint16_t $to_f16_f64(double x)\n{\n"
      "    uint64_t b = {bits}(x), a = b & ((uint64_t)-1 >> 1);\n"
      "    uint32_t sign = (uint32_t)(b >> 48) & 0x8000;\n"
      "    double m = {of_bits}(a);\n"
      "    if (x != x) return (uint16_t)(sign | 0x7e00);\n"
      "    if (m >= 65520.0) return (uint16_t)(sign | 0x7c00);\n"
      "    if (m < 0x1p-14) return (uint16_t)(sign | (uint32_t){whole}(m * 0x1p24));\n"
      "    a += ((uint64_t)1 << 41) - 1 + (a >> 42 & 1);\n"
      "    return (uint16_t)(sign | ((uint32_t)(a >> 42) - (1008u << 10)));\n}\n" },
    { 0, 0 }
};

/* Of the index type: divisors are positive (floor_div, modulo), or anything (of sizes: by 0 as by 1). */
static const helper_row index_rows[] = {
    { "floor_div",
      "static inline int64_t $floor_div_i64(int64_t a, int64_t b)\n{\n    return a / b - (a % b < 0);\n}\n" },
    { "modulo",
      "static inline int64_t $modulo_i64(int64_t a, int64_t b)\n{\n    int64_t r = a % b;\n"
      "    return r < 0 ? r + b : r;\n}\n" },
    { "size_div", "static inline int64_t $size_div_i64(int64_t a, int64_t b)\n{\n    if (b == 0) b = 1;\n"
                  "    return a / b - ((a % b < 0) != (b < 0) && a % b != 0);\n}\n" },
    { "size_mod",
      "static inline int64_t $size_mod_i64(int64_t a, int64_t b)\n{\n    int64_t r;\n    if (b == 0) b = 1;\n"
      "    r = a % b;\n"
      "    return r != 0 && (r < 0) != (b < 0) ? r + b : r;\n}\n" },
    { "copy",
      "static inline void $copy_i64(void *to, const void *from, int64_t n)\n{\n"
      "    int64_t i;\n    for (i = 0; i < n; i++) ((unsigned char *)to)[i] = ((const unsigned char "
      "*)from)[i];\n}\n" },
    { 0, 0 }
};

static const char *find_row(const helper_row *rows, const char *name)
{
    for (; rows->name; rows++)
        if (strcmp(rows->name, name) == 0) return rows->source;
    return NULL;
}

static const char *source_of(const char *name, dtype t)
{
    const char *s = NULL;
    if (t == DTYPE_f32) s = find_row(f32_rows, name);
    if (t == DTYPE_f64) s = find_row(f64_rows, name);
    if (!s && is_float(t)) return find_row(float_rows, name);
    if (!s && t == DTYPE_i64) s = find_row(index_rows, name);
    if (!s) s = find_row(is_signed(t) ? sint_rows : uint_rows, name);
    return s ? s : find_row(int_rows, name);
}

static void put_type_part(text *t, const char **at, dtype d)
{
    static const char *const by_width[9] = {
        [1] = "uint8_t", [2] = "uint16_t", [4] = "uint32_t", [8] = "uint64_t"
    };
    int width = 8 * dtype_bytes(d);
    const char *p = *at + 1;
    *at += 2;
    switch (*p) {
    case 'N': text_put(t, dtype_info[d].name); return;
    case 'T': text_put(t, c_type(d)); return;
    case 'B': text_put(t, by_width[width / 8]); return;
    case 'U': text_put(t, width == 64 ? "uint64_t" : "uint32_t"); return;
    case 'W': text_printf(t, "%d", width); return;
    case 'R': text_put(t, d == DTYPE_f32 ? "0x1p23f" : "0x1p52"); return;
    default: text_put(t, "%"); return;                    /* %% */
    }
}

static dtype named_type(const char *p, size_t n, dtype other)
{
    const char *colon = memchr(p, ':', n);
    return colon ? dtype_by_name(colon + 1, n - (size_t)(colon + 1 - p)) : other;
}

/* "{name}" and "{name:type}", but not the braces of C. */
static size_t reference_length(const char *p)
{
    size_t n = 1;
    while (is_letter(p[n]) || is_digit(p[n]) || p[n] == '_' || p[n] == ':') n++;
    return n > 1 && p[n] == '}' ? n + 1 : 0;
}

static void render(writer *w, text *t, const char *source, dtype d)
{
    for (const char *p = source; *p;) {
        size_t n = *p == '{' ? reference_length(p) : 0;
        if (n) {
            const char *colon = memchr(p, ':', n);
            const char *name = arena_strndup(w->a, p + 1, colon ? (size_t)(colon - p) - 1 : n - 2);
            text_put(t, helper(w, name, named_type(p + 1, n - 2, d)));
            p += n;
        } else if (*p == '%') put_type_part(t, &p, d);
        else if (*p == '$') { text_printf(t, "%s_", w->prefix); p++; }
        else text_putn(t, p++, 1);
    }
}

bool mark_helper(writer *w, const char *name)
{
    bool fresh;
    map_put(&w->has_helper, name, strlen(name), 1, &fresh);
    return fresh;
}

void add_helper(writer *w, const char *source)
{
    text_put(&w->helpers, source);
    text_put(&w->helpers, "\n");
}

const char *helper(writer *w, const char *name, dtype t)
{
    const char *full = arena_printf(w->a, "%s_%s_%s", w->prefix, name, dtype_info[t].name);
    if (!mark_helper(w, full)) return full;
    const char *source = source_of(name, t);
    assert(source);
    text r = { .a = w->a };
    render(w, &r, source, t);
    add_helper(w, text_str(&r));
    return full;
}

/* -- Casts ----------------------------------------------------------------------------------------------- */

static const char *float_to_int(writer *w, dtype from, dtype to)
{
    const char *name = arena_printf(w->a, "%s_%s_of_%s", w->prefix, dtype_info[to].name,
                                    dtype_info[from].name);
    if (!mark_helper(w, name)) return name;
    int width = 8 * dtype_bytes(to);
    const char *f = from == DTYPE_f32 ? "f" : "", *T = c_type(to), *S = is_signed(to) ? "INT" : "UINT";
    text t = { .a = w->a };
    text_printf(&t, "static inline %s %s(%s x)\n{\n    if (x != x) return 0;\n", T, name, c_type(from));
    text_printf(&t, "    if (x >= 0x1p%d%s) return %s%d_MAX;\n", is_signed(to) ? width - 1 : width, f, S,
                width);
    if (is_signed(to)) text_printf(&t, "    if (x < -0x1p%d%s) return INT%d_MIN;\n", width - 1, f, width);
    else text_put(&t, "    if (x <= 0) return 0;\n");
    if (to == DTYPE_u64)                                /* old compilers call a function for the upper half */
        text_printf(
            &t,
            "    if (x >= 0x1p63%s) return (uint64_t)(int64_t)(x - 0x1p63%s) + (UINT64_C(1) << 63);\n"
            "    return (uint64_t)(int64_t)x;\n}\n",
            f, f);
    else
        text_printf(&t, "    return (%s)%sx;\n}\n", T,
                    to == DTYPE_u32 ? "(int64_t)"
                    : width < 32    ? "(int32_t)"
                                    : "");
    add_helper(w, text_str(&t));
    return name;
}

/* u64 to a float, rounded once, by the signed conversion: the last bit is kept sticky. */
static const char *u64_to_float(writer *w, dtype to)
{
    const char *name = arena_printf(w->a, "%s_%s_of_u64", w->prefix, dtype_info[to].name);
    if (!mark_helper(w, name)) return name;
    add_helper(
        w, arena_printf(w->a,
                        "static inline %s %s(uint64_t x)\n{\n    if (x >> 63 == 0) return (%s)(int64_t)x;\n"
                        "    return (%s)(int64_t)(x >> 1 | (x & 1)) * 2;\n}\n",
                        c_type(to), name, c_type(to), c_type(to)));
    return name;
}

const char *cast_helper(writer *w, dtype from, dtype to)
{
    if (from == DTYPE_u64 && (to == DTYPE_f32 || to == DTYPE_f64)) return u64_to_float(w, to);
    return (from == DTYPE_f32 || from == DTYPE_f64) && is_int(to) ? float_to_int(w, from, to) : NULL;
}

/* -- Rows that are not basic, and trees ------------------------------------------------------------------ */

const char *row_function(writer *w, scalar fn, dtype t)
{
    const char *name = arena_printf(w->a, "%s_%s_%s", w->prefix, scalar_info[fn].name, dtype_info[t].name);
    if (!mark_helper(w, name)) return name;
    const scalar_code *c = scalar_expand(w->ex, fn, t);
    assert(c);
    static const char *const operand[] = { "x", "y", "z" };
    text out = { .a = w->a };
    text_printf(&out, "static inline %s %s(", c_type(t), name);
    for (int i = 0; i < c->n_in; i++) text_printf(&out, "%s%s %s", i ? ", " : "", c_type(t), operand[i]);
    text_put(&out, ")\n{\n");
    const char **term = NEW_ARRAY(w->a, const char *, c->n_in + c->n_steps);
    bool *used = NEW_ARRAY(w->a, bool, c->n_in + c->n_steps),
         *fixed = NEW_ARRAY(w->a, bool, c->n_in + c->n_steps);
    for (int i = 0; i < c->n_in; i++) term[i] = operand[i];
    used[c->n_in + c->n_steps - 1] = true;
    for (int i = c->n_steps - 1; i >= 0; i--) {
        const scalar_step *s = &c->steps[i];
        int n = s->kind == STEP_CONST ? 0 : s->kind == STEP_BITCAST ? 1 : scalar_info[s->fn].arity;
        for (int j = 0; j < n && used[c->n_in + i]; j++) used[s->in[j]] = true;
    }
    for (int i = 0; i < c->n_in; i++)
        if (!used[i]) text_printf(&out, "    (void)%s;\n", operand[i]);
    for (int i = 0; i < c->n_steps; i++) {
        const scalar_step *s = &c->steps[i];
        if (!used[c->n_in + i]) continue;
        if (s->kind == STEP_CONST) {
            text k = { .a = w->a };
            put_const(w, &k, s->type, s->imm, BIND_primary);
            term[c->n_in + i] = text_str(&k);
            fixed[c->n_in + i] = true;
            continue;
        }
        const char *in[3] = { 0 };
        bool is_const[3] = { 0 };
        for (int j = 0; j < (s->kind == STEP_BITCAST ? 1 : scalar_info[s->fn].arity); j++) {
            in[j] = term[s->in[j]];
            is_const[j] = fixed[s->in[j]];
        }
        bool is_last = i == c->n_steps - 1;
        if (is_last) text_put(&out, "    return ");
        else {
            term[c->n_in + i] = arena_printf(w->a, "t%d", i);
            text_printf(&out, "    const %s t%d = ", c_type(s->type), i);
        }
        if (s->kind == STEP_BITCAST) put_row(w, &out, SCALAR_COUNT, s->from, s->type, in, is_const, BIND_any);
        else put_row(w, &out, s->fn, s->from, s->type, in, is_const, BIND_any);
        text_put(&out, ";\n");
        if (is_last) term[c->n_in + i] = "";
    }
    if (c->n_steps && c->steps[c->n_steps - 1].kind == STEP_CONST)
        text_printf(&out, "    return %s;\n", term[c->n_in + c->n_steps - 1]);
    text_put(&out, "}\n");
    add_helper(w, text_str(&out));
    return name;
}

const char *tree_function(writer *w, scalar fn, dtype t)
{
    const char *name = arena_printf(w->a, "%s_tree_%s_%s", w->prefix, scalar_info[fn].name,
                                    dtype_info[t].name);
    if (!mark_helper(w, name)) return name;
    text out = { .a = w->a };
    text_printf(&out, "static inline %s %s(const %s *e)\n{\n    %s t[8];\n    int i;\n", c_type(t), name,
                c_type(t), c_type(t));
    static const bool none[3] = { 0 };
    text_put(&out, "    for (i = 0; i < 8; i++) t[i] = ");
    put_row(w, &out, fn, t, t, (const char *const[]){ "e[i]", "e[i + 8]", 0 }, none, BIND_any);
    for (int n = 4; n; n /= 2) {
        text_printf(&out, ";\n    for (i = 0; i < %d; i++) t[i] = ", n);
        put_row(w, &out, fn, t, t, (const char *const[]){ "t[i]", arena_printf(w->a, "t[i + %d]", n), 0 },
                none, BIND_any);
    }
    text_put(&out, ";\n    return t[0];\n}\n");
    add_helper(w, text_str(&out));
    return name;
}
