#include "util/utf8.h"

#include <string.h>

size_t utf8_len(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    unsigned char low = 0x80, high = 0xbf;
    size_t n, i;

    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (s[0] == 0xe0)
        low = 0xa0;
    else if (s[0] == 0xed)
        high = 0x9f; /* no surrogates */
    else if (s[0] == 0xf0)
        low = 0x90;
    else if (s[0] == 0xf4)
        high = 0x8f;
    for (i = 1; i < n; i++) {
        if (s[i] < low || s[i] > high)
            return 0;
        low = 0x80;
        high = 0xbf;
    }
    return n;
}

bool utf8_valid(const char *s)
{
    size_t n;

    while (*s && (n = utf8_len(s)) > 0)
        s += n;
    return !*s;
}

void utf8_plain(char *text, size_t n)
{
    size_t i, len;

    for (i = 0; i < n; i += len ? len : 1) {
        len = utf8_len(text + i);
        if (!len || (unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = '?';
        else if (len == 2 && !memcmp(text + i, "\xc2", 1) &&
                 (unsigned char)text[i + 1] < 0xa0)
            memset(text + i, '?', 2); /* U+0080 to U+009F */
    }
}

size_t utf8_bom(const char *text, size_t n)
{
    return n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? 3 : 0;
}
