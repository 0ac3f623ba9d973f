/* imgshard verify - are the shards what the manifest and the index say? */
#include "imgshard.h"
#include "io/digest.h"
#include "io/shardout.h"
#include "util/progress.h"
#include "util/work.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    bool full;
    int64_t jobs;
} set;

/* clang-format off */
struct opt verify_opts[] = {
    {.name = "full", .type = OPT_FLAG, .addr = &set.full,
     .help = "compare SHA-256 and .idx of each shard too"},
    {.name = "jobs", .letter = 'j', .type = OPT_INT, .addr = &set.jobs,
     .def = "0", .min = 0, .max = 1024, .arg = "N",
     .help = "threads; 0: one per CPU"},
    OPT_END,
};
/* clang-format on */

/* What was found in a shard. */
struct finding {
    struct buf report; /* lines of what is wrong */
    uint64_t samples;  /* wrong ones */
    bool file;         /* the shard itself, or its .idx, is wrong */
};

struct verifying {
    struct shard_set shards;
    struct reader_files *files;
    struct finding *found; /* of each shard */
    pthread_mutex_t lock;  /* of what follows */
    struct progress progress;
    int64_t done;
};

/* A failure that is about data is noted; others end the program. */
static int note_wrong(struct finding *f)
{
    enum err_class c = err_code();

    if (c != ERR_DATA && c != ERR_NOINPUT && c != ERR_IO)
        return -1;
    buf_addf(&f->report, "%s\n", err_text());
    err_clear();
    return 0;
}

/* The file as a whole; its checksum covers headers, labels and padding. Without
 * the right size none of its samples can be looked at. */
static int check_file(const struct shard *sh, const char *path, bool *sized)
{
    uint64_t bytes;
    uint32_t crc;
    char hex[65] = "";

    *sized = false;
    if (digest_file(path, &bytes, &crc, set.full ? hex : NULL) < 0)
        return -1;
    *sized = bytes == sh->bytes;
    if (!*sized)
        return err_set(ERR_DATA, "%s: %llu bytes, the manifest says %llu", path,
                       (unsigned long long)bytes,
                       (unsigned long long)sh->bytes);
    if (crc != sh->crc32)
        return err_set(ERR_DATA, "%s: CRC-32 is %08x, the manifest says %08x",
                       path, crc, sh->crc32);
    if (set.full && strcmp(hex, sh->sha256) != 0)
        return err_set(ERR_DATA, "%s: SHA-256 is %s, the manifest says %s",
                       path, hex, sh->sha256);
    return 0;
}

/* DALI's index, where there is one: what index would write. */
static int check_idx(const char *tar)
{
    const char *dot = strrchr(tar, '.'), *slash = strrchr(tar, '/');
    int stem =
        (int)(dot && (!slash || dot > slash) ? dot - tar : (long)strlen(tar));
    char *path = xstrfmt("%.*s.idx", stem, tar);
    struct shard_idx x = {.n = 0};
    struct buf want = BUF_INIT, have = BUF_INIT;
    int r = buf_read_file(&have, path, 1 << 30);

    if (r < 0 && err_code() == ERR_NOINPUT) {
        err_clear();
        r = 0;
    } else if (r == 0 && (r = shard_idx_scan(&x, tar)) == 0) {
        shard_idx_text(&x, &want);
        if (have.len != want.len || memcmp(have.data, want.data, want.len) != 0)
            r = err_set(ERR_DATA,
                        "%s: not the index of its shard: imgshard index --dali "
                        "makes it anew",
                        path);
    }
    free(path);
    buf_release(&want);
    buf_release(&have);
    shard_idx_release(&x);
    return r;
}

static void count_one(struct verifying *v)
{
    pthread_mutex_lock(&v->lock);
    progress_step(&v->progress, ++v->done, NULL);
    pthread_mutex_unlock(&v->lock);
}

/* The annotation: its checksum, and that it can be used. */
static int check_annot(const struct verifying *v, uint32_t i, struct buf *b)
{
    const struct shard_set *s = &v->shards;
    struct annot a = {0};
    struct buf name = BUF_INIT;
    int r = reader_files_fetch_annot(v->files, i, true, b);

    if (r < 0)
        return -1;
    r = annot_parse(&a, b->data, b->len);
    if (r == 0 && (a.w != s->width[i] || a.h != s->height[i] ||
                   annot_usable(&a) != !(s->flags[i] & SHARD_EMPTY)))
        r = err_set(ERR_DATA, "annotation: not what the index says of it");
    if (r == 0)
        r = annot_check(&a, s->n_classes);
    if (r < 0) {
        shard_describe(s, i, &name);
        err_wrap("%s", name.data);
    }
    buf_release(&name);
    annot_release(&a);
    return r;
}

static int check_samples(struct verifying *v, size_t shard)
{
    const struct shard_set *s = &v->shards;
    struct finding *f = &v->found[shard];
    struct buf b = BUF_INIT;
    int r = 0;

    for (uint64_t i = s->shard_first[shard];
         r == 0 && i < s->shard_first[shard + 1]; i++) {
        count_one(v);
        if (reader_files_fetch(v->files, (uint32_t)i, true, &b) == 0 &&
            (!shard_is_detection(s) || check_annot(v, (uint32_t)i, &b) == 0))
            continue;
        f->samples++;
        r = note_wrong(f);
    }
    buf_release(&b);
    return r;
}

static int check_shard(void *arg, size_t shard, int thread)
{
    struct verifying *v = arg;
    const struct shard *sh = &v->shards.shard[shard];
    struct finding *f = &v->found[shard];
    struct buf path = BUF_INIT;
    bool sized;
    int r = 0;

    (void)thread;
    shard_path(&v->shards, (uint32_t)shard, &path);
    if (check_file(sh, path.data, &sized) < 0) {
        f->file = true;
        r = note_wrong(f);
    }
    if (r == 0 && sized)
        r = check_samples(v, shard);
    if (r == 0 && !f->file && set.full && check_idx(path.data) < 0) {
        f->file = true;
        r = note_wrong(f);
    }
    buf_release(&path);
    return r;
}

static int check_index(const struct shard_set *s)
{
    char *path = xstrfmt("%s/%s", s->dir, s->index_file), hex[65];
    uint64_t bytes;
    uint32_t crc;
    int r = digest_file(path, &bytes, &crc, hex);

    if (r == 0 && strcmp(hex, s->index_sha256) != 0)
        r = err_set(ERR_DATA, "%s: SHA-256 is %s, the manifest says %s", path,
                    hex, s->index_sha256);
    free(path);
    return r;
}

static int report(const struct verifying *v)
{
    const struct shard_set *s = &v->shards;
    unsigned long files = 0;
    unsigned long long samples = 0;

    for (uint32_t i = 0; i < s->n_shards; i++) {
        const struct finding *f = &v->found[i];
        char *line = f->report.data, *end;

        files += f->file;
        samples += f->samples;
        for (; line && (end = strchr(line, '\n')); line = end + 1)
            warn("%.*s", (int)(end - line), line);
    }
    if (files || samples)
        return err_set(ERR_DATA,
                       "%s: %lu of %lu shards, %llu of %lu samples "
                       "are bad",
                       s->path, files, (unsigned long)s->n_shards, samples,
                       (unsigned long)s->n);
    printf("%s: %lu samples in %lu shards are sound\n", s->path,
           (unsigned long)s->n, (unsigned long)s->n_shards);
    return 0;
}

static int verify(struct verifying *v, const char *manifest)
{
    struct shard_set *s = &v->shards;
    int r;

    if (shard_set_open(s, manifest) < 0 || check_index(s) < 0)
        return -1;
    v->files = reader_files_new(s, true);
    v->found = xcalloc(s->n_shards, sizeof(*v->found));
    pthread_mutex_init(&v->lock, NULL);
    progress_begin(&v->progress, "img", s->n, 0.25, true);
    r = work_for(s->n_shards, set.jobs ? (int)set.jobs : work_cpus(),
                 check_shard, v);
    progress_clear(&v->progress);
    pthread_mutex_destroy(&v->lock);
    return r < 0 ? -1 : report(v);
}

int imgshard_verify(const struct command *c, int argc, char **argv)
{
    struct verifying v = {.done = 0};
    int r = verify(&v, argv[0]);

    (void)c;
    (void)argc;
    reader_files_free(v.files);
    for (uint32_t i = 0; v.found && i < v.shards.n_shards; i++)
        buf_release(&v.found[i].report);
    free(v.found);
    shard_set_release(&v.shards);
    return r;
}
