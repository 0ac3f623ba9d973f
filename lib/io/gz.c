#include "io/gz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#define PIECE (1 << 17)

struct gz {
    gzFile file;
    char *path;
    uint64_t offset;
    unsigned char *scratch;
};

bool gz_sniff(const void *p, size_t n)
{
    const unsigned char *b = p;

    return n >= 2 && b[0] == 0x1f && b[1] == 0x8b;
}

struct gz *gz_open(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct gz *g;

    if (fd < 0) {
        err_sys(ERR_NOINPUT, "%s: open", path);
        return NULL;
    }
    g = xcalloc(1, sizeof(*g));
    g->file = gzdopen(fd, "rb");
    if (!g->file) {
        close(fd);
        free(g);
        err_set(ERR_SYSTEM, "%s: no memory to decompress it", path);
        return NULL;
    }
    gzbuffer(g->file, PIECE);
    g->path = xstrdup(path);
    g->scratch = xmalloc(PIECE);
    return g;
}

void gz_close(struct gz *g)
{
    if (!g)
        return;
    gzclose(g->file); /* only read: what failed was said before */
    free(g->path);
    free(g->scratch);
    free(g);
}

static int failed(const struct gz *g)
{
    int code;
    const char *text = gzerror(g->file, &code);

    if (code == Z_ERRNO)
        return err_sys(ERR_IO, "%s: read", g->path);
    if (code == Z_OK || code == Z_BUF_ERROR)
        text = "the data end too soon";
    return err_set(ERR_DATA, "%s: offset %llu decompressed: gzip: %s", g->path,
                   (unsigned long long)g->offset, text);
}

int gz_read(struct gz *g, void *p, size_t n)
{
    unsigned char *to = p;
    size_t done = 0;

    while (done < n) {
        size_t part = n - done < (1U << 30) ? n - done : 1U << 30;
        int r = gzread(g->file, to + done, (unsigned)part), code;

        if (r < 0)
            return failed(g);
        if (r == 0) {
            /* the end: is it one? */
            (void)gzerror(g->file, &code);
            return done == 0 && code == Z_OK ? 0 : failed(g);
        }
        done += (size_t)r;
        g->offset += (size_t)r;
    }
    return 1;
}

int gz_skip(struct gz *g, uint64_t n)
{
    while (n) {
        size_t part = n < PIECE ? (size_t)n : PIECE;
        int r = gz_read(g, g->scratch, part);

        if (r <= 0)
            return r < 0 ? -1 : failed(g);
        n -= part;
    }
    return 1;
}

int gz_finish(struct gz *g)
{
    int r, code;

    while ((r = gzread(g->file, g->scratch, PIECE)) > 0)
        g->offset += (size_t)r;
    (void)gzerror(g->file, &code);
    return r == 0 && code == Z_OK ? 0 : failed(g);
}

uint64_t gz_offset(const struct gz *g)
{
    return g->offset;
}
