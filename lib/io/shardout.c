#include "io/shardout.h"

#include "io/digest.h"
#include "util/work.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OUT_BYTES (1 << 20) /* written at a time */
#define SUM_BYTES (1 << 18) /* summed up at a time */
#define LOCK_MS 60000

/* ---- DALI's index */

static int check_word(const char *w)
{
    bool good = *w;

    for (const char *p = w; *p; p++)
        good &= (unsigned char)*p > ' ' && *p != 0x7f;
    return good ? 0
                : err_set(ERR_DATA,
                          "\"%s\": white space or control characters, which "
                          "DALI's index cannot hold",
                          w);
}

static void add_number(struct buf *b, uint64_t v)
{
    char digits[24], *at = digits + sizeof(digits);

    do
        *--at = (char)('0' + v % 10);
    while (v /= 10);
    buf_add(b, at, (size_t)(digits + sizeof(digits) - at));
}

int shard_idx_add(struct shard_idx *x, const struct shard_part *p, int n)
{
    for (int i = 0; i < n; i++) {
        if (check_word(p[i].ext) < 0 || check_word(p[i].path) < 0)
            return -1;
        if (i)
            buf_addch(&x->lines, ' ');
        buf_addstr(&x->lines, p[i].ext);
        buf_addch(&x->lines, ' ');
        add_number(&x->lines, p[i].offset);
        buf_addch(&x->lines, ' ');
        add_number(&x->lines, p[i].size);
        buf_addch(&x->lines, ' ');
        buf_addstr(&x->lines, p[i].path);
    }
    buf_addch(&x->lines, '\n');
    x->n++;
    return 0;
}

int shard_idx_sample(struct shard_idx *x, const struct tar_sample *s)
{
    struct shard_part parts[TAR_MEMBERS_MAX];

    for (int i = 0; i < s->n; i++)
        parts[i] = (struct shard_part){s->part[i].ext, s->part[i].path,
                                       s->part[i].offset, s->part[i].data.len};
    return shard_idx_add(x, parts, s->n);
}

int shard_idx_scan(struct shard_idx *x, const char *tar)
{
    int fd = open(tar, O_RDONLY | O_CLOEXEC), r;
    struct tar_sample s = {0};
    struct tar_samples t;

    if (fd < 0)
        return err_sys(ERR_NOINPUT, "%s: open", tar);
    tar_samples_init(&t, fd, tar);
    while ((r = tar_sample_next(&t, &s)) > 0)
        if (shard_idx_sample(x, &s) < 0) {
            r = err_wrap("%s", tar);
            break;
        }
    tar_sample_release(&s);
    tar_samples_release(&t);
    close(fd);
    return r;
}

void shard_idx_text(const struct shard_idx *x, struct buf *b)
{
    buf_addf(b, "v1.2 %llu\n", (unsigned long long)x->n);
    buf_add(b, x->lines.data, x->lines.len);
}

int shard_idx_write(struct shard_idx *x, const char *path)
{
    struct buf text = BUF_INIT;
    int r;

    shard_idx_text(x, &text);
    r = atomic_write(path, text.data, text.len);
    buf_release(&text);
    buf_reset(&x->lines);
    x->n = 0;
    return r;
}

void shard_idx_release(struct shard_idx *x)
{
    buf_release(&x->lines);
    x->n = 0;
}

/* ---- shards */

/* The sums of a shard, made by a thread that reads behind the writer. */
struct shard_sum {
    struct work_task *task; /* NULL: there is none, it is done at the end */
    char *path;
    pthread_mutex_t lock;
    pthread_cond_t more;
    uint64_t written;
    bool closed;  /* no more will be */
    bool dropped; /* nobody wants to know */
    uint32_t crc;
    char sha256[65];
};

static struct shard_sum *sum_new(const char *path)
{
    struct shard_sum *m = xcalloc(1, sizeof(*m));

    m->path = xstrdup(path);
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->more, NULL);
    return m;
}

static void sum_free(struct shard_sum *m)
{
    pthread_mutex_destroy(&m->lock);
    pthread_cond_destroy(&m->more);
    free(m->path);
    free(m);
}

/* So many bytes are there, and perhaps no more will be. */
static void sum_tell(struct shard_sum *m, uint64_t written, bool closed)
{
    pthread_mutex_lock(&m->lock);
    m->written = written;
    m->closed = closed;
    pthread_cond_signal(&m->more);
    pthread_mutex_unlock(&m->lock);
}

/* Wait for bytes behind `done`: how many there are then, done at the end. */
static uint64_t sum_wait(struct shard_sum *m, uint64_t done)
{
    uint64_t n;

    pthread_mutex_lock(&m->lock);
    while (m->written == done && !m->closed)
        pthread_cond_wait(&m->more, &m->lock);
    n = m->dropped ? done : m->written;
    pthread_mutex_unlock(&m->lock);
    return n;
}

static int sum_up(void *arg)
{
    struct shard_sum *m = arg;
    struct digest *sha = digest_new();
    unsigned char *piece = xmalloc(SUM_BYTES);
    int fd = open(m->path, O_RDONLY | O_CLOEXEC), r = 0;
    uint64_t n, done = 0;
    size_t part;

    if (fd < 0)
        r = err_sys(ERR_IO, "%s: open", m->path);
    while (r == 0 && (n = sum_wait(m, done)) > done) {
        part = n - done < SUM_BYTES ? (size_t)(n - done) : SUM_BYTES;
        r = fd_pread(fd, piece, part, done);
        m->crc = digest_crc32(m->crc, piece, part);
        digest_add(sha, piece, part);
        done += part;
    }
    digest_hex(sha, m->sha256);
    digest_free(sha);
    free(piece);
    if (r == 0 && fsync(fd) < 0 && errno != EINVAL && errno != EROFS)
        r = err_sys(ERR_IO, "%s: flush to disk", m->path);
    if (fd >= 0)
        close(fd);
    return r;
}

/* Wait for it and forget it; the caller's error, if there is one, stays. */
static void drop_sum(struct shard_sum *m)
{
    struct err_kept why = err_keep();

    pthread_mutex_lock(&m->lock);
    m->closed = m->dropped = true;
    pthread_cond_signal(&m->more);
    pthread_mutex_unlock(&m->lock);
    if (m->task)
        (void)!work_join(m->task);
    err_restore(&why);
    sum_free(m);
}

int shard_out_init(struct shard_out *o, struct shard_set *set, const char *dir,
                   uint64_t max_bytes, uint64_t max_samples)
{
    *o = (struct shard_out)SHARD_OUT_INIT;
    o->set = set;
    o->max_bytes = max_bytes;
    o->max_samples = max_samples;
    o->dir = xstrdup(dir);
    if (make_dirs(dir) < 0)
        return -1;
    return tmp_dir_open(&o->tmp, dir, set->split);
}

void shard_out_release(struct shard_out *o)
{
    if (o->fd >= 0)
        close(o->fd);
    for (int i = 0; i < SHARD_OUT_TASKS; i++)
        if (o->sum[i])
            drop_sum(o->sum[i]);
    tmp_dir_close(&o->tmp);
    free(o->dir);
    shard_idx_release(&o->idx);
    buf_release(&o->out);
    *o = (struct shard_out)SHARD_OUT_INIT;
}

static char *shard_name(const struct shard_set *s, uint32_t n, const char *ext)
{
    return xstrfmt("%s-%06lu.%s", s->split, (unsigned long)n, ext);
}

static struct shard_sum **sum_of(struct shard_out *o, uint32_t shard)
{
    return &o->sum[shard % SHARD_OUT_TASKS];
}

static int flush(struct shard_out *o)
{
    if (fd_write(o->fd, o->out.data, o->out.len, FD_FOREVER) < 0) {
        char *name = shard_name(o->set, o->set->n_shards, "tar");

        err_wrap("%s/%s", o->dir, name);
        free(name);
        return -1;
    }
    o->bytes += o->out.len;
    buf_reset(&o->out);
    sum_tell(*sum_of(o, o->set->n_shards), o->bytes, false);
    return 0;
}

/* Wait for the sum of a shard that is closed, if it was not taken yet. */
static int take_sum(struct shard_out *o, uint32_t shard)
{
    struct shard_sum **at = sum_of(o, shard), *m = *at;
    int r;

    if (!m)
        return 0;
    *at = NULL;
    r = m->task ? work_join(m->task) : sum_up(m);
    if (r == 0) {
        o->set->shard[shard].crc32 = m->crc;
        memcpy(o->set->shard[shard].sha256, m->sha256, sizeof(m->sha256));
    }
    sum_free(m);
    return r;
}

static int open_next(struct shard_out *o)
{
    uint32_t number = o->set->n_shards;
    char *name = shard_name(o->set, number, "tar");
    char *path = xstrfmt("%s/%s", o->tmp.path, name);
    struct shard_sum *m;
    int result = -1;

    if (number >= SHARD_OUT_TASKS && take_sum(o, number - SHARD_OUT_TASKS) < 0)
        goto out;
    o->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (o->fd < 0) {
        err_sys(ERR_CANTCREAT, "%s: create", path);
        goto out;
    }
    o->bytes = o->samples = 0;
    *sum_of(o, number) = m = sum_new(path);
    m->task = work_begin(sum_up, m);
    result = 0;
out:
    free(name);
    free(path);
    return result;
}

static int close_shard(struct shard_out *o)
{
    uint32_t number = o->set->n_shards;
    char *tar = shard_name(o->set, number, "tar");
    char *idx = shard_name(o->set, number, "idx");
    char *path = xstrfmt("%s/%s", o->tmp.path, idx);
    struct shard sh = {.file = tar};
    int fd = o->fd, result = -1;

    tar_end(&o->out, o->bytes + o->out.len);
    if (flush(o) < 0)
        goto out;
    o->fd = -1;
    if (close(fd) < 0) {
        err_sys(ERR_IO, "%s/%s: close", o->dir, tar);
        goto out;
    }
    sum_tell(*sum_of(o, number), o->bytes, true);
    sh.bytes = o->bytes;
    shard_set_shard(o->set, &sh);
    result = shard_idx_write(&o->idx, path);
out:
    free(tar);
    free(idx);
    free(path);
    return result;
}

int shard_out_add(struct shard_out *o, const struct shard_row *row,
                  const void *bytes, size_t n, const struct shard_part *parts,
                  int n_parts)
{
    struct shard_part moved[TAR_MEMBERS_MAX];
    struct shard_row r = *row;
    uint64_t base;

    if (o->fd < 0 && open_next(o) < 0)
        return -1;
    base = o->bytes + o->out.len;
    r.offset += base;
    r.annot_offset += base;
    for (int i = 0; i < n_parts; i++) {
        moved[i] = parts[i];
        moved[i].offset += base;
    }
    if (shard_idx_add(&o->idx, moved, n_parts) < 0)
        return -1;
    buf_add(&o->out, bytes, n);
    shard_set_add(o->set, &r);
    o->samples++;
    if (base + n >= o->max_bytes || o->samples >= o->max_samples)
        return close_shard(o);
    return o->out.len >= OUT_BYTES ? flush(o) : 0;
}

static int move(const struct shard_out *o, uint32_t i, const char *ext)
{
    char *name = shard_name(o->set, i, ext);
    char *from = xstrfmt("%s/%s", o->tmp.path, name);
    char *to = xstrfmt("%s/%s", o->dir, name);
    int r = 0;

    if (rename(from, to) < 0)
        r = err_sys(ERR_CANTCREAT, "%s: rename", to);
    free(name);
    free(from);
    free(to);
    return r;
}

/* Shards of an older, larger split of the same name. */
static int remove_rest(const struct shard_out *o)
{
    static const char *const exts[] = {"tar", "idx"};
    bool found = true;
    int r = 0;

    for (uint32_t i = o->set->n_shards; found && r == 0; i++) {
        found = false;
        for (int e = 0; e < 2 && r == 0; e++) {
            char *name = shard_name(o->set, i, exts[e]);
            char *path = xstrfmt("%s/%s", o->dir, name);

            if (unlink(path) == 0)
                found = true;
            else if (errno != ENOENT)
                r = err_sys(ERR_CANTCREAT, "%s: remove", path);
            free(name);
            free(path);
        }
    }
    return r;
}

int shard_out_commit(struct shard_out *o)
{
    char *manifest = xstrfmt("%s/%s.json", o->dir, o->set->split);
    uint32_t i, n;
    int result = -1, lock = -1;

    if (o->fd >= 0 && close_shard(o) < 0)
        goto out;
    n = o->set->n_shards;
    for (i = n > SHARD_OUT_TASKS ? n - SHARD_OUT_TASKS : 0; i < n; i++)
        if (take_sum(o, i) < 0)
            goto out;
    /* two that end together would mix their shards */
    lock = lock_dir(o->dir, LOCK_MS);
    if (lock < 0)
        goto out;
    if (unlink(manifest) < 0 && errno != ENOENT) {
        err_sys(ERR_CANTCREAT, "%s: remove", manifest);
        goto out;
    }
    for (i = 0; i < n; i++)
        if (move(o, i, "tar") < 0 || move(o, i, "idx") < 0)
            goto out;
    if (remove_rest(o) < 0 || sync_dir(o->dir) < 0)
        goto out;
    result = shard_set_write(o->set, o->dir);
out:
    if (lock >= 0)
        close(lock);
    free(manifest);
    return result;
}
