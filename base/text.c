/* base/text.c: text that grows in an arena; names out of files made printable. */
#include "base/base.h"
#include <stdio.h>

void text_putn(text *t, const char *s, size_t n)
{
    vec_reserve_(t->a, (void **)&t->at, t->n, &t->cap, 1, (int64_t)n + 1);
    if (n) memcpy(t->at + t->n, s, n);
    t->n += (int64_t)n;
    t->at[t->n] = '\0';
}

void text_put(text *t, const char *s) { text_putn(t, s, strlen(s)); }

void text_printf(text *t, const char *fmt, ...)
{
    char small[256];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    if (n < 0) return;
    if ((size_t)n < sizeof small) {
        text_putn(t, small, (size_t)n);
        return;
    }
    vec_reserve_(t->a, (void **)&t->at, t->n, &t->cap, 1, (int64_t)n + 1);
    va_start(ap, fmt);
    vsnprintf(t->at + t->n, (size_t)n + 1, fmt, ap);
    va_end(ap);
    t->n += n;
}

const char *text_str(text *t) { return t->at ? t->at : ""; }

/* Length of the well-formed UTF-8 sequence at s, 0 if there is none (overlong, surrogate, cut off). */
static size_t utf8_length(const unsigned char *s, size_t n)
{
    if (s[0] < 0x80) return 1;
    size_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || len > n) return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f)) return 0;
    if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f)) return 0;
    return len;
}

void text_put_escaped(text *t, const char *s, size_t n, size_t max)
{
    const unsigned char *u = (const unsigned char *)s;
    size_t put = 0;
    for (size_t i = 0; i < n;) {
        size_t len = utf8_length(u + i, n - i);
        bool plain = len > 1 ? !(len == 2 && u[i] == 0xc2 && u[i + 1] < 0xa0)      /* C1 controls */
                             : len == 1 && u[i] >= 0x20 && u[i] != 0x7f && u[i] != '"' && u[i] != '\\';
        size_t width = plain ? len : 4;
        if (put + width > max) {
            text_put(t, "…");
            return;
        }
        if (plain) text_putn(t, s + i, len);
        else text_printf(t, "\\x%02x", u[i]);
        put += width;
        i += plain ? len : 1;
    }
}
