#include "engine/plancache.h"

#include "util/buf.h"
#include "util/fdio.h"
#include "util/hash.h"
#include "util/map.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    MOST = 4 << 20, /* bytes of a file that are read */
    POLL_MS = 3
};

struct plancache {
    char *path, *header;
    int fd;              /* -1: none */
    bool writable, torn; /* torn: the last line has no end */
    bool locked, told;
    off_t seen;       /* bytes that were read */
    struct map index; /* key -> place in form */
    char **form;
    int n;
};

/* ---- where */

/* A home that is not there, as of a daemon's user, is not made. */
static char *directory(void)
{
    const char *of = getenv("MILLRACE_CACHE");
    struct stat st;

    if (of && of[0])
        return xstrdup(of);
    of = getenv("XDG_CACHE_HOME");
    if (of && of[0] == '/')
        return xstrfmt("%s/millrace", of);
    of = getenv("HOME");
    if (of && of[0] == '/' && stat(of, &st) == 0 && S_ISDIR(st.st_mode))
        return xstrfmt("%s/.cache/millrace", of);
    return NULL;
}

static char *file_of(const char *dir, const char *machine)
{
    char hex[33];
    int n = (int)strcspn(machine, " :,/");

    hash_hex(machine, strlen(machine), hex);
    return xstrfmt("%s/%.*s-%.16s.txt", dir, n < 32 ? n : 32, machine, hex);
}

/* ---- lines */

static void keep(struct plancache *c, const char *key, const char *form)
{
    int64_t at;

    if (map_get(&c->index, key, &at)) {
        free(c->form[at]);
    } else {
        at = c->n++;
        c->form = xreallocarray(c->form, (size_t)c->n, sizeof *c->form);
        if (!map_add(&c->index, key, at))
            BUG("a key twice");
    }
    c->form[at] = xstrdup(form);
}

static bool is_text(const char *s)
{
    size_t i;

    for (i = 0; s[i]; i++)
        if (iscntrl((unsigned char)s[i]))
            return false;
    return i > 0 && i < 200;
}

/* One line, which is cut up. */
static bool take_line(struct plancache *c, char *line)
{
    char *form = strchr(line, '\t'), *ms = form ? strchr(form + 1, '\t') : NULL;
    char *end;
    double v;

    if (line[0] == '#')
        return true;
    if (!ms)
        return false;
    *form++ = *ms++ = '\0';
    v = strtod(ms, &end);
    if (!isdigit((unsigned char)ms[0]) || *end || v < 0 || !is_text(line) ||
        !is_text(form))
        return false;
    keep(c, line, form);
    return true;
}

/* Lines of text that ends with a 0; those that are none are counted. */
static int take_lines(struct plancache *c, char *text, size_t n)
{
    char *line = text, *end;
    int bad = 0;

    while (line < text + n &&
           (end = memchr(line, '\n', (size_t)(text + n - line)))) {
        *end = '\0';
        bad += strlen(line) != (size_t)(end - line) || !take_line(c, line);
        line = end + 1;
    }
    return bad;
}

/* ---- the file */

static void forget_file(struct plancache *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->writable = c->locked = false;
}

/* What is new since the last time. Under the lock a line without an end is one
 * that somebody could not finish. */
static void read_more(struct plancache *c)
{
    struct buf b = BUF_INIT;
    struct stat st;
    size_t n, len;
    int bad = 0;

    if (c->fd < 0 || fstat(c->fd, &st) < 0)
        return;
    if (st.st_size < c->seen)
        c->seen = 0;
    n = (size_t)(st.st_size - c->seen);
    if (st.st_size > MOST || n == 0)
        return;
    buf_reserve(&b, n + 1);
    if (fd_pread(c->fd, b.data, n, (uint64_t)c->seen) < 0)
        goto out;
    b.data[n] = '\0';
    len = strlen(c->header);
    if (c->seen == 0 && (n < len || memcmp(b.data, c->header, len) != 0)) {
        if (!c->locked)
            goto out; /* it may be written just now */
        warn("%s: not of this machine: begun anew", c->path);
        if (ftruncate(c->fd, 0) < 0)
            forget_file(c);
        goto out;
    }
    for (len = n; len > 0 && b.data[len - 1] != '\n'; len--)
        ;
    bad = take_lines(c, b.data, len);
    c->torn = c->locked && len < n;
    bad += c->torn;
    c->seen += (off_t)(c->torn ? n : len);
    if (bad)
        warn("%s: %d line%s passed over: damaged", c->path, bad,
             bad == 1 ? " is" : "s are");
out:
    err_clear();
    buf_release(&b);
}

static bool open_file(struct plancache *c, int flags)
{
    struct stat st;
    int fd = open(c->path, flags | O_CLOEXEC | O_NONBLOCK, 0666);

    if (fd < 0)
        return false;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        errno = EINVAL;
        return false;
    }
    forget_file(c);
    c->fd = fd;
    c->writable = flags != O_RDONLY;
    return true;
}

struct plancache *plancache_open(const char *machine)
{
    struct plancache *c = xcalloc(1, sizeof *c);
    char *dir = directory();

    c->fd = -1;
    c->header = xstrfmt("# forms of convolutions: %s\n", machine);
    if (dir) {
        c->path = file_of(dir, machine);
        if (open_file(c, O_RDONLY))
            read_more(c);
    }
    free(dir);
    return c;
}

void plancache_free(struct plancache *c)
{
    int i;

    if (!c)
        return;
    forget_file(c);
    for (i = 0; i < c->n; i++)
        free(c->form[i]);
    map_release(&c->index);
    free(c->form);
    free(c->path);
    free(c->header);
    free(c);
}

const char *plancache_path(const struct plancache *c)
{
    return c->path;
}

const char *plancache_get(const struct plancache *c, const char *key)
{
    int64_t at;

    return map_get(&c->index, key, &at) ? c->form[at] : NULL;
}

/* ---- adding */

static void tell(struct plancache *c, const char *why)
{
    if (!c->told)
        warn("%s: %s: forms of convolutions are not kept, and other runs may "
             "choose others",
             c->path ? c->path : "no MILLRACE_CACHE and no HOME", why);
    c->told = true;
}

/* A file that can be written, if there is a place for one. */
static bool ready(struct plancache *c)
{
    char *dir, *end;
    int r, why;

    if (c->writable || c->told)
        return c->writable;
    if (!c->path) {
        tell(c, "no place");
        return false;
    }
    dir = xstrdup(c->path);
    end = strrchr(dir, '/');
    *end = '\0';
    r = make_dirs(dir);
    why = errno;
    free(dir);
    err_clear();
    /* another file may have come to be there; it is read from the start */
    if (r == 0 && !open_file(c, O_RDWR | O_CREAT | O_APPEND)) {
        r = -1;
        why = errno;
    }
    if (r < 0) {
        tell(c, strerror(why));
        return false;
    }
    c->seen = 0;
    return true;
}

int plancache_lock(struct plancache *c, double seconds)
{
    const struct timespec pause = {0, POLL_MS * 1000000L};
    double end = clock_s() + seconds;

    if (!ready(c))
        return 0;
    while (flock(c->fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            tell(c, strerror(errno));
            forget_file(c);
            return 0;
        }
        if (clock_s() > end)
            return -1;
        nanosleep(&pause, NULL);
    }
    c->locked = true;
    read_more(c);
    return 0;
}

void plancache_unlock(struct plancache *c)
{
    if (c->locked)
        flock(c->fd, LOCK_UN);
    c->locked = false;
}

void plancache_put(struct plancache *c, const char *key, const char *form,
                   double ms)
{
    struct buf b = BUF_INIT;
    struct stat st;
    ssize_t n;

    keep(c, key, form);
    if (!c->locked || fstat(c->fd, &st) < 0)
        return;
    if (st.st_size == 0)
        buf_addstr(&b, c->header);
    else if (c->torn)
        buf_addch(&b, '\n');
    buf_addf(&b, "%s\t%s\t%.3f\n", key, form, ms);
    n = write(c->fd, b.data, b.len);
    if (n == (ssize_t)b.len) {
        c->seen = st.st_size + n;
        c->torn = false;
    } else {
        tell(c, n < 0 ? strerror(errno) : "no room");
        if (n > 0 && ftruncate(c->fd, st.st_size) < 0)
            err_clear(); /* a damaged line, which readers pass over */
        forget_file(c);
    }
    buf_release(&b);
}
