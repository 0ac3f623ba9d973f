/* imgshard verify - are the shards what the manifest and the index say? */
#include "imgshard.h"
#include "io/digest.h"
#include "util/work.h"

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
     .help = "compare the SHA-256 of each shard too"},
    {.name = "jobs", .letter = 'j', .type = OPT_INT, .addr = &set.jobs,
     .def = "0", .min = 0, .max = 1024, .arg = "N",
     .help = "threads; 0: one per CPU"},
    OPT_END,
};
/* clang-format on */

struct verifying {
    struct shard_set shards;
    struct reader_files *files;
    struct buf *report; /* of each shard: lines of what is wrong */
    size_t *wrong;
};

/* A failure that is about data is noted; others end the program. */
static int note_wrong(struct verifying *v, size_t shard)
{
    enum err_class c = err_code();

    if (c != ERR_DATA && c != ERR_NOINPUT && c != ERR_IO)
        return -1;
    buf_addf(&v->report[shard], "%s\n", err_text());
    v->wrong[shard]++;
    err_clear();
    return 0;
}

static int check_file(const struct verifying *v, size_t shard)
{
    const struct shard *sh = &v->shards.shard[shard];
    struct buf path = BUF_INIT;
    uint64_t bytes;
    uint32_t crc;
    char hex[65];
    int r;

    shard_path(&v->shards, (uint32_t)shard, &path);
    r = digest_file(path.data, &bytes, &crc, hex);
    if (r == 0 && bytes == sh->bytes && crc != sh->crc32)
        r = err_set(ERR_DATA, "%s: CRC-32 is %08x, the manifest says %08x",
                    path.data, crc, sh->crc32);
    else if (r == 0 && bytes == sh->bytes && strcmp(hex, sh->sha256) != 0)
        r = err_set(ERR_DATA, "%s: SHA-256 is %s, the manifest says %s",
                    path.data, hex, sh->sha256);
    buf_release(&path);
    return r;
}

static int check_shard(void *arg, size_t shard, int thread)
{
    struct verifying *v = arg;
    const struct shard_set *s = &v->shards;
    struct buf b = BUF_INIT;
    int r = 0;

    (void)thread;
    if (set.full && check_file(v, shard) < 0)
        r = note_wrong(v, shard);
    for (uint64_t i = s->shard_first[shard];
         r == 0 && i < s->shard_first[shard + 1]; i++) {
        if (reader_files_fetch(v->files, (uint32_t)i, true, &b) == 0)
            continue;
        r = note_wrong(v, shard);
        if (!b.cap)
            break; /* it cannot be opened: one line is enough */
    }
    buf_release(&b);
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

static int verify(struct verifying *v, const char *manifest)
{
    struct shard_set *s = &v->shards;
    size_t wrong = 0;
    uint32_t i;

    if (shard_set_open(s, manifest) < 0 || check_index(s) < 0)
        return -1;
    v->files = reader_files_new(s, true);
    v->report = xcalloc(s->n_shards, sizeof(*v->report));
    v->wrong = xcalloc(s->n_shards, sizeof(*v->wrong));
    if (work_for(s->n_shards, set.jobs ? (int)set.jobs : work_cpus(),
                 check_shard, v) < 0)
        return -1;
    for (i = 0; i < s->n_shards; i++) {
        char *line = v->report[i].data, *end;

        wrong += v->wrong[i];
        for (; line && (end = strchr(line, '\n')); line = end + 1)
            warn("%.*s", (int)(end - line), line);
    }
    if (wrong)
        return err_set(ERR_DATA, "%s: %zu things are wrong", manifest, wrong);
    printf("%s: %lu samples in %lu shards are sound\n", manifest,
           (unsigned long)s->n, (unsigned long)s->n_shards);
    return 0;
}

int imgshard_verify(const struct command *c, int argc, char **argv)
{
    struct verifying v = {0};
    int r = verify(&v, argv[0]);

    (void)c;
    (void)argc;
    reader_files_free(v.files);
    for (uint32_t i = 0; v.report && i < v.shards.n_shards; i++)
        buf_release(&v.report[i]);
    free(v.report);
    free(v.wrong);
    shard_set_release(&v.shards);
    return r;
}
