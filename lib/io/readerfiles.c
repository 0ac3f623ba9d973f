/* Open shards, and samples out of them. */
#include "io/reader.h"

#include "io/digest.h"
#include "util/fdio.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_MAX_SHARDS 512
#define ADVICE_BYTES (128 << 10) /* the kernel takes no more at a time */

struct shard_fd {
    int fd;        /* -1: closed */
    int users;     /* fetches under way */
    uint64_t used; /* when last, for choosing whom to close */
};

struct reader_files {
    const struct shard_set *set;
    bool sequential;
    pthread_mutex_t lock;
    struct shard_fd *shard; /* [n_shards] */
    uint32_t n_open;
    uint64_t clock;
};

struct reader_files *reader_files_new(const struct shard_set *s,
                                      bool sequential)
{
    struct reader_files *f = xcalloc(1, sizeof(*f));

    f->set = s;
    f->sequential = sequential;
    f->shard = xcalloc(s->n_shards, sizeof(*f->shard));
    for (uint32_t i = 0; i < s->n_shards; i++)
        f->shard[i].fd = -1;
    pthread_mutex_init(&f->lock, NULL);
    return f;
}

void reader_files_free(struct reader_files *f)
{
    if (!f)
        return;
    for (uint32_t i = 0; i < f->set->n_shards; i++)
        if (f->shard[i].fd >= 0)
            close(f->shard[i].fd);
    free(f->shard);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

/* Close the one that rested longest, if there are too many. Locked. */
static void make_room(struct reader_files *f)
{
    struct shard_fd *oldest = NULL;

    if (f->n_open < OPEN_MAX_SHARDS)
        return;
    for (uint32_t i = 0; i < f->set->n_shards; i++) {
        struct shard_fd *s = &f->shard[i];

        if (s->fd >= 0 && !s->users && (!oldest || s->used < oldest->used))
            oldest = s;
    }
    if (!oldest)
        return;
    close(oldest->fd);
    oldest->fd = -1;
    f->n_open--;
}

static int open_shard(struct reader_files *f, uint32_t shard)
{
    struct buf path = BUF_INIT;
    struct stat st = {0};
    int fd;

    shard_path(f->set, shard, &path);
    fd = open(path.data, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        err_sys(ERR_NOINPUT, "%s: open", path.data);
    } else if (fstat(fd, &st) < 0 ||
               (uint64_t)st.st_size != f->set->shard[shard].bytes) {
        err_set(ERR_DATA, "%s: %lld bytes, the manifest says %llu", path.data,
                (long long)st.st_size,
                (unsigned long long)f->set->shard[shard].bytes);
        close(fd);
        fd = -1;
    } else {
        /* else a large file may be taken for the start of a long read */
        posix_fadvise(fd, 0, 0,
                      f->sequential ? POSIX_FADV_SEQUENTIAL
                                    : POSIX_FADV_RANDOM);
    }
    buf_release(&path);
    return fd;
}

static int acquire(struct reader_files *f, uint32_t shard)
{
    struct shard_fd *s = &f->shard[shard];
    int fd;

    pthread_mutex_lock(&f->lock);
    if (s->fd < 0) {
        make_room(f);
        s->fd = open_shard(f, shard);
        f->n_open += s->fd >= 0;
    }
    fd = s->fd;
    if (fd >= 0) {
        s->users++;
        s->used = ++f->clock;
    }
    pthread_mutex_unlock(&f->lock);
    return fd;
}

static void release(struct reader_files *f, uint32_t shard)
{
    pthread_mutex_lock(&f->lock);
    f->shard[shard].users--;
    pthread_mutex_unlock(&f->lock);
}

/* A member of sample i: where it lies, and its checksum. */
struct piece {
    uint32_t i;
    uint64_t offset;
    uint32_t size, crc32;
    const char *what; /* in front of errors: "", or "annotation: " */
};

/* Put "shard: offset: key" in front of the failure. */
static int about_sample(const struct shard_set *s, const struct piece *p)
{
    struct buf b = BUF_INIT;

    shard_describe(s, p->i, &b);
    if (*p->what)
        err_wrap("%s", p->what);
    err_wrap("%s", b.data);
    buf_release(&b);
    return -1;
}

static int fetch(struct reader_files *f, const struct piece *p, bool check,
                 struct buf *b)
{
    const struct shard_set *s = f->set;
    uint32_t n = p->size, shard = s->shard_of[p->i], found = 0;
    int fd = acquire(f, shard), result = -1;

    if (fd < 0)
        return -1;
    buf_reset(b);
    buf_reserve(b, n);
    for (int attempt = 0; attempt < 2; attempt++) {
        if (fd_pread(fd, b->data, n, p->offset) < 0) {
            about_sample(s, p);
            goto out;
        }
        if (!check)
            break;
        found = digest_crc32(0, b->data, n);
        if (found == p->crc32)
            break;
        /* perhaps the page cache is wrong and the disk is not */
        posix_fadvise(fd, (off_t)p->offset, n, POSIX_FADV_DONTNEED);
    }
    if (check && found != p->crc32) {
        err_set(ERR_DATA, "CRC-32 is %08x, the index says %08x", found,
                p->crc32);
        about_sample(s, p);
        goto out;
    }
    b->len = n;
    b->data[n] = 0;
    result = 0;
out:
    release(f, shard);
    return result;
}

static int no_sample(const struct shard_set *s, uint32_t i)
{
    return err_set(ERR_INTERNAL, "sample %lu of %lu", (unsigned long)i,
                   (unsigned long)s->n);
}

int reader_files_fetch(struct reader_files *f, uint32_t i, bool check,
                       struct buf *b)
{
    const struct shard_set *s = f->set;
    struct piece p = {i, 0, 0, 0, ""};

    if (i >= s->n)
        return no_sample(s, i);
    p.offset = s->offset[i];
    p.size = s->size[i];
    p.crc32 = s->crc32[i];
    return fetch(f, &p, check, b);
}

int reader_files_fetch_annot(struct reader_files *f, uint32_t i, bool check,
                             struct buf *b)
{
    const struct shard_set *s = f->set;
    struct piece p = {i, 0, 0, 0, "annotation"};

    if (i >= s->n)
        return no_sample(s, i);
    if (!s->annot_offset)
        return err_set(ERR_DATA, "%s: not for detection: no annotations",
                       s->path);
    p.offset = s->annot_offset[i];
    p.size = s->annot_size[i];
    p.crc32 = s->annot_crc32[i];
    return fetch(f, &p, check, b);
}

/* ---- what will be wanted, or no more */

static int by_place(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    /* samples are numbered as they lie */
    return x < y ? -1 : x > y;
}

/* From the first byte of sample a to the last of b, of one shard. */
static int advise(struct reader_files *f, uint32_t a, uint32_t b, int advice)
{
    const struct shard_set *s = f->set;
    uint64_t at = s->offset[a], end = s->offset[b] + s->size[b], n;
    int fd = acquire(f, s->shard_of[a]);

    if (fd < 0)
        return -1;
    for (; at < end; at += n) {
        n = end - at < ADVICE_BYTES ? end - at : ADVICE_BYTES;
        posix_fadvise(fd, (off_t)at, (off_t)n, advice);
    }
    release(f, s->shard_of[a]);
    return 0;
}

int reader_files_advise(struct reader_files *f, uint32_t *sample, uint64_t n,
                        bool wanted)
{
    int advice = wanted ? POSIX_FADV_WILLNEED : POSIX_FADV_DONTNEED;
    uint64_t i, begin = 0;

    if (n)
        qsort(sample, n, sizeof(*sample), by_place);
    for (i = 1; i <= n; i++) {
        if (i < n && sample[i] == sample[i - 1] + 1 &&
            f->set->shard_of[sample[i]] == f->set->shard_of[sample[i - 1]])
            continue;
        if (advise(f, sample[begin], sample[i - 1], advice) < 0)
            return -1;
        begin = i;
    }
    return 0;
}
