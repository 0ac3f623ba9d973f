#include "util/err.h"

#include "util/utf8.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX 4096
#define TAIL_MAX (TEXT_MAX + 2)

int verbosity;

static _Thread_local struct {
    enum err_class class;
    char text[TEXT_MAX];
} last;

static char program[96] = "millrace";

/*
 * The arguments may point into last.text, so the sentence is made in a buffer
 * of its own first. tail is put behind it (NULL: nothing).
 */
PRINTF_LIKE(3, 0)
static void sentence(enum err_class c, const char *tail, const char *fmt,
                     va_list ap)
{
    char text[4 * TEXT_MAX];
    size_t n;

    if (vsnprintf(text, sizeof(text) - TAIL_MAX, fmt, ap) < 0)
        text[0] = 0;
    n = strlen(text);
    if (tail)
        snprintf(text + n, sizeof(text) - n, ": %s", tail);
    n = strlen(text);
    /* of a subject without end a part is left out: the reason stands behind it */
    if (n >= TEXT_MAX) {
        size_t kept = TEXT_MAX - 1 - (TEXT_MAX / 2 + 3);

        memcpy(text + TEXT_MAX / 2, "...", 3);
        memmove(text + TEXT_MAX / 2 + 3, text + n - kept, kept + 1);
        n = TEXT_MAX - 1;
    }
    memcpy(last.text, text, n + 1);
    last.class = c;
}

int err_set(enum err_class c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    sentence(c, NULL, fmt, ap);
    va_end(ap);
    return -1;
}

int err_sys(enum err_class c, const char *fmt, ...)
{
    int saved = errno;
    va_list ap;

    /* not the fault of what was to be opened */
    if (saved == EMFILE || saved == ENFILE || saved == ENOMEM)
        c = ERR_SYSTEM;
    va_start(ap, fmt);
    sentence(c, strerror(saved), fmt, ap);
    va_end(ap);
    errno = saved;
    return -1;
}

int err_wrap(const char *fmt, ...)
{
    char old[TEXT_MAX];
    va_list ap;

    memcpy(old, last.text, strlen(last.text) + 1);
    va_start(ap, fmt);
    sentence(last.class ? last.class : ERR_INTERNAL, old, fmt, ap);
    va_end(ap);
    return -1;
}

const char *err_text(void)
{
    return last.text;
}

enum err_class err_code(void)
{
    return last.class;
}

void err_clear(void)
{
    last.class = ERR_NONE;
    last.text[0] = 0;
}

int err_give(enum err_class c, const char *text)
{
    return err_set(c, "%s", text);
}

struct err_kept err_keep(void)
{
    return (struct err_kept){last.class, xstrdup(last.text)};
}

void err_restore(struct err_kept *k)
{
    memcpy(last.text, k->text, strlen(k->text) + 1);
    last.class = k->code;
    free(k->text);
}

void prog_set(const char *name)
{
    const char *world = getenv("WORLD_SIZE"), *rank = getenv("RANK");
    const char *base = strrchr(name, '/');

    base = base ? base + 1 : name;
    if (world && rank && strtol(world, NULL, 10) > 1)
        snprintf(program, sizeof(program), "%.64s[%.16s]", base, rank);
    else
        snprintf(program, sizeof(program), "%.64s", base);
}

const char *prog_name(void)
{
    return program;
}

/* One write, so that lines of several processes do not mix. */
PRINTF_LIKE(1, 0)
static void message(const char *fmt, va_list ap)
{
    char line[TEXT_MAX + 128];
    size_t n;
    ssize_t r;

    snprintf(line, sizeof(line), "%s: ", program);
    n = strlen(line);
    if (vsnprintf(line + n, sizeof(line) - 1 - n, fmt, ap) < 0)
        line[n] = 0;
    n = strlen(line);
    utf8_plain(line, n);
    line[n++] = '\n';
    do {
        r = write(STDERR_FILENO, line, n);
    } while (r < 0 && errno == EINTR);
}

void warn(const char *fmt, ...)
{
    int saved = errno;
    va_list ap;

    va_start(ap, fmt);
    message(fmt, ap);
    va_end(ap);
    errno = saved;
}

void note(const char *fmt, ...)
{
    int saved = errno;
    va_list ap;

    if (verbosity < 1)
        return;
    va_start(ap, fmt);
    message(fmt, ap);
    va_end(ap);
    errno = saved;
}

void die(void)
{
    enum err_class c = last.class;

    warn("%s", last.text[0] ? last.text : "failed without a reason");
    exit(c == ERR_NONE ? ERR_INTERNAL : (int)c);
}

void die_with(enum err_class c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    sentence(c, NULL, fmt, ap);
    va_end(ap);
    die();
}

void bug_at(const char *file, int line, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
        text[0] = 0;
    va_end(ap);
    warn("%s:%d: bug: %s", file, line, text);
    abort();
}

void *xmalloc(size_t n)
{
    return xrealloc(NULL, n);
}

void *xcalloc(size_t n, size_t size)
{
    void *p;

    if (n == 0 || size == 0)
        n = size = 1;
    p = calloc(n, size);
    if (!p)
        die_with(ERR_SYSTEM, "out of memory: %zu items of %zu bytes", n, size);
    return p;
}

void *xrealloc(void *p, size_t n)
{
    void *q = realloc(p, n ? n : 1);

    if (!q)
        die_with(ERR_SYSTEM, "out of memory: %zu bytes", n);
    return q;
}

void *xreallocarray(void *p, size_t n, size_t size)
{
    if (size && n > SIZE_MAX / size)
        die_with(ERR_SYSTEM, "out of memory: %zu items of %zu bytes", n, size);
    return xrealloc(p, n * size);
}

char *xstrdup(const char *s)
{
    size_t n = strlen(s) + 1;

    return memcpy(xmalloc(n), s, n);
}

char *xstrfmt(const char *fmt, ...)
{
    va_list ap, again;
    char *s;
    int n;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        BUG("format \"%s\" cannot be written", fmt);
    s = xmalloc((size_t)n + 1);
    vsnprintf(s, (size_t)n + 1, fmt, again);
    va_end(again);
    return s;
}
