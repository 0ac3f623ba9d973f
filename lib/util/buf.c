#include "util/buf.h"

#include "util/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void buf_release(struct buf *b)
{
    free(b->data);
    b->data = NULL;
    b->len = b->cap = 0;
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    if (b->data)
        b->data[0] = 0;
}

char *buf_reserve(struct buf *b, size_t extra)
{
    size_t need, cap;

    if (extra > SIZE_MAX / 4 || b->len > SIZE_MAX / 4)
        die_with(ERR_SYSTEM, "out of memory: %zu bytes", extra);
    need = b->len + extra + 1;
    if (need > b->cap) {
        cap = b->cap + b->cap / 2;
        if (cap < 64)
            cap = 64;
        if (cap < need)
            cap = need;
        b->data = xrealloc(b->data, cap);
        b->cap = cap;
        b->data[b->len] = 0;
    }
    return b->data + b->len;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
    char *to = buf_reserve(b, n);

    if (n)
        memcpy(to, p, n);
    b->len += n;
    b->data[b->len] = 0;
}

void buf_addstr(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_addch(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void buf_addplain(struct buf *b, const char *s, size_t n)
{
    buf_add(b, s, n);
    utf8_plain(b->data + b->len - n, n);
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(b, fmt, ap);
    va_end(ap);
}

void buf_vaddf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    char *to;
    int n;

    va_copy(again, ap);
    to = buf_reserve(b, 0);
    n = vsnprintf(to, 1, fmt, ap);
    if (n < 0)
        BUG("format \"%s\" cannot be written", fmt);
    to = buf_reserve(b, (size_t)n);
    vsnprintf(to, (size_t)n + 1, fmt, again);
    va_end(again);
    b->len += (size_t)n;
}

void buf_addfill(struct buf *b, char c, size_t n)
{
    memset(buf_reserve(b, n), c, n);
    b->len += n;
    b->data[b->len] = 0;
}

char *buf_detach(struct buf *b)
{
    char *s;

    buf_reserve(b, 0);
    s = b->data;
    b->data = NULL;
    b->len = b->cap = 0;
    return s;
}

int buf_read_file(struct buf *b, const char *path, size_t max)
{
    size_t start = b->len, room;
    ssize_t n;
    int fd, r = -1;

    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(ERR_NOINPUT, "%s: open", path);
    for (;;) {
        /* One byte more than allowed shows that there is more. */
        room = max - (b->len - start);
        room = room < 65536 ? room + 1 : 65536;
        n = read(fd, buf_reserve(b, room), room);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            err_sys(ERR_IO, "%s: read", path);
            goto out;
        }
        b->len += (size_t)n;
        b->data[b->len] = 0;
        if (b->len - start > max) {
            err_set(ERR_DATA, "%s: larger than %zu bytes", path, max);
            goto out;
        }
        if (n == 0)
            break;
    }
    r = 0;
out:
    if (r < 0) {
        b->len = start;
        buf_reserve(b, 0);
        b->data[start] = 0;
    }
    close(fd);
    return r;
}

void buf_addreal(struct buf *b, double v)
{
    char text[40];

    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    /* fewer digits than places: a whole number, such as 9e+01 */
    if (strchr(text, 'e') && fabs(v) >= 1 && fabs(v) < 1e15)
        snprintf(text, sizeof text, "%.0f", v);
    buf_addstr(b, text);
}
