/*
 * buf.h - growable bytes and strings.
 *
 * Invariant: data is never NULL after the first add, and data[len] is 0, so a
 * buffer of text is a C string. An all-zero struct (BUF_INIT) is a valid empty
 * buffer. Used for headers, messages and records; not for tensors.
 */
#ifndef UTIL_BUF_H
#define UTIL_BUF_H

#include "util/err.h"

#include <stddef.h>

struct buf {
    char *data;
    size_t len, cap;
};
#define BUF_INIT                                                               \
    {                                                                          \
        NULL, 0, 0                                                             \
    }

void buf_release(struct buf *b); /* free the contents; b is empty again */
void buf_reset(struct buf *b);   /* length 0, memory kept */
/* Room for extra more bytes and the 0; the address of the first of them. */
char *buf_reserve(struct buf *b, size_t extra);
void buf_add(struct buf *b, const void *p, size_t n);
void buf_addstr(struct buf *b, const char *s);
void buf_addch(struct buf *b, char c);
/* n bytes of a name from outside, for a line that is read by people
 * (utf8_plain). */
void buf_addplain(struct buf *b, const char *s, size_t n);
void buf_addf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_vaddf(struct buf *b, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);
/* The shortest decimal text that reads back as the same double, without an
 * exponent from 1 to 1e15. */
void buf_addreal(struct buf *b, double v);
/* n bytes of value c */
void buf_addfill(struct buf *b, char c, size_t n);
/* The contents, owned by the caller from now on (free); b is empty again. */
char *buf_detach(struct buf *b);
/* All of a file (at most max bytes, else ERR_DATA); appended to b. */
int buf_read_file(struct buf *b, const char *path, size_t max) MUST_CHECK;

#endif
