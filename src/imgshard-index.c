/* imgshard index - .idx files, native index and manifest of tars. */
#include "imgshard.h"
#include "io/digest.h"
#include "io/shardout.h"
#include "io/tar.h"
#include "util/fdio.h"
#include "util/work.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define CLASSES_MAX 1000000

static struct {
    char *split, *name, *classes;
    int64_t jobs;
    int check;
    bool force, dali;
} set;

/* clang-format off */
struct opt index_opts[] = {
    {.name = "split", .type = OPT_STRING, .addr = &set.split, .arg = "NAME",
     .help = "name of the split; default: that of the first shard"},
    {.name = "name", .type = OPT_STRING, .addr = &set.name, .def = "images",
     .arg = "NAME", .help = "name of the data set, for the manifest"},
    {.name = "classes", .type = OPT_STRING, .addr = &set.classes,
     .arg = "FILE",
     .help = "classes in order, one a line, or another split's manifest"},
    {.name = "check", .type = OPT_CHOICE, .addr = &set.check,
     .def = "header", .choices = "full|header|none",
     .help = "decode each image, read its header, or only its first bytes"},
    {.name = "dali", .type = OPT_FLAG, .addr = &set.dali,
     .help = "make the .idx files only"},
    {.name = "jobs", .letter = 'j', .type = OPT_INT, .addr = &set.jobs,
     .def = "0", .min = 0, .max = 1024, .arg = "N",
     .help = "threads; 0: one per CPU"},
    {.name = "force", .letter = 'f', .type = OPT_FLAG, .addr = &set.force,
     .help = "replace a manifest that is there"},
    OPT_END,
};
/* clang-format on */

/* What one thread finds in one shard. */
struct scan {
    const char *path;
    struct shard sh;
    struct shard_idx idx;
    struct shard_row *row; /* keys are owned */
    size_t n, cap;
};

struct indexing {
    struct scan *scan;
    size_t n_scans;
    struct shard_set shards;
};

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* .cls: a decimal number with blanks around it; -1 if there is none. */
static int label_of(const struct tar_sample *s, int32_t *label)
{
    const struct tar_part *p = tar_sample_part(s, "cls");
    char *end;
    long v;

    *label = -1;
    if (!p)
        return 0;
    v = p->data.len ? strtol(p->data.data, &end, 10) : -1;
    if (v < 0 || v >= CLASSES_MAX || end == p->data.data ||
        end[strspn(end, " \t\r\n")])
        return err_set(ERR_DATA, "%s: not a class number", p->path);
    *label = (int32_t)v;
    return 0;
}

static const struct tar_part *image_of(const struct tar_sample *s)
{
    for (int i = 0; i < s->n; i++)
        if (image_sniff(s->part[i].data.data, s->part[i].data.len) !=
            IMAGE_NEITHER)
            return &s->part[i];
    return NULL;
}

static int add_row(struct scan *sc, const struct tar_sample *s,
                   struct image_decoder *d)
{
    const struct tar_part *image = image_of(s);
    struct shard_row row = {0};

    if (!image)
        return err_set(ERR_DATA, "%s: offset %llu: %s: no JPEG or PNG member",
                       sc->path, (unsigned long long)s->part[0].offset, s->key);
    if (label_of(s, &row.label) < 0 ||
        probe_image(d, (enum probe_check)set.check, image->data.data,
                    image->data.len, &row) < 0)
        return err_wrap("%s: offset %llu: %s", sc->path,
                        (unsigned long long)image->offset, s->key);
    row.key = xstrdup(s->key);
    row.offset = image->offset;
    row.size = (uint32_t)image->data.len;
    row.crc32 = digest_crc32(0, image->data.data, image->data.len);
    if (sc->n == sc->cap) {
        sc->cap = sc->cap ? sc->cap * 2 : 256;
        sc->row = xreallocarray(sc->row, sc->cap, sizeof(*sc->row));
    }
    sc->row[sc->n++] = row;
    return 0;
}

static int scan_samples(struct scan *sc, struct tar_samples *t)
{
    struct image_decoder *d = image_decoder_new();
    struct tar_sample s = {0};
    int r;

    while ((r = tar_sample_next(t, &s)) > 0) {
        if (shard_idx_sample(&sc->idx, &s) < 0) {
            r = err_wrap("%s", sc->path);
            break;
        }
        if (!set.dali && add_row(sc, &s, d) < 0) {
            r = -1;
            break;
        }
    }
    if (r == 0 && sc->idx.n == 0)
        r = err_set(ERR_DATA, "%s: no samples in it", sc->path);
    if (r == 0 && !t->tar.ended)
        warn("%s: no end of archive", sc->path);
    tar_sample_release(&s);
    image_decoder_free(d);
    return r;
}

static int scan_shard(void *arg, size_t i, int thread)
{
    struct indexing *x = arg;
    struct scan *sc = &x->scan[i];
    struct tar_samples t;
    int fd = open(sc->path, O_RDONLY | O_CLOEXEC), r;

    (void)thread;
    if (fd < 0)
        return err_sys(ERR_NOINPUT, "%s: open", sc->path);
    tar_samples_init(&t, fd, sc->path);
    r = scan_samples(sc, &t);
    tar_samples_release(&t);
    close(fd);
    if (r < 0 || set.dali)
        return r;
    return digest_file(sc->path, &sc->sh.bytes, &sc->sh.crc32, sc->sh.sha256);
}

/* ---- putting the shards together */

/* What the tars do not say: from an older manifest, if it can be read. */
static void take_old(struct shard_set *s, const char *manifest)
{
    struct shard_set old = {0};
    struct buf text = BUF_INIT;
    uint32_t i;

    if (buf_read_file(&text, manifest, 1 << 30) == 0 &&
        shard_manifest_parse(&old, text.data ? text.data : "", text.len,
                             manifest) == 0) {
        free(s->name);
        s->name = xstrdup(old.name);
        s->pack_order = xstrdup(old.pack_order);
        s->pack_seed = old.pack_seed;
        s->jpeg = xstrdup(old.jpeg);
        s->program = xstrdup(old.program);
        for (i = 0; i < old.n_classes && !set.classes; i++)
            shard_set_class(s, old.cls[i].name, old.cls[i].label,
                            old.cls[i].source_id);
        shard_set_release(&old);
    }
    buf_release(&text);
    err_clear();
}

static void fill_set(struct indexing *x)
{
    struct shard_set *s = &x->shards;

    for (size_t i = 0; i < x->n_scans; i++) {
        struct scan *sc = &x->scan[i];

        for (size_t k = 0; k < sc->n; k++)
            shard_set_add(s, &sc->row[k]);
        sc->sh.file = xstrdup(base_of(sc->path));
        shard_set_shard(s, &sc->sh);
        free(sc->sh.file);
    }
}

static int write_manifest(struct indexing *x, const char *dir,
                          const char *manifest)
{
    struct shard_set *s = &x->shards;
    int32_t most = -1;

    s->name = xstrdup(set.name);
    s->task = xstrdup("classification");
    if (set.classes && shard_set_classes(s, set.classes) < 0)
        return -1;
    take_old(s, manifest);
    if (!s->program) {
        s->pack_order = xstrdup("unknown");
        s->jpeg = xstrdup("keep");
        s->program = xstrdup(IMGSHARD);
    }
    fill_set(x);
    for (uint32_t i = 0; i < s->n; i++)
        if (s->label[i] > most)
            most = s->label[i];
    if (!s->n_classes)
        shard_set_classes_of_keys(s, most + 1);
    if (most >= (int64_t)s->n_classes)
        return err_set(ERR_DATA, "label %ld: there are %lu classes", (long)most,
                       (unsigned long)s->n_classes);
    if (shard_set_write(s, dir) < 0)
        return -1;
    printf("%s: %lu samples, %lu classes, %lu shards, %llu bytes, "
           "dataset %s\n",
           manifest, (unsigned long)s->n, (unsigned long)s->n_classes,
           (unsigned long)s->n_shards, (unsigned long long)s->bytes,
           s->dataset);
    return 0;
}

/* "train" of "train-000012.tar", or all but the extension. */
static char *split_of(const char *path)
{
    const char *base = base_of(path), *dash;
    size_t n = strcspn(base, ".");

    dash = n > 7 && base[n - 7] == '-' ? base + n - 7 : NULL;
    if (dash && strspn(dash + 1, "0123456789") == 6)
        n = (size_t)(dash - base);
    return xstrfmt("%.*s", (int)n, base);
}

static int write_idx(struct scan *sc)
{
    const char *base = base_of(sc->path), *dot = strrchr(base, '.');
    size_t n = dot && dot != base ? (size_t)(dot - sc->path) : strlen(sc->path);
    char *path = xstrfmt("%.*s.idx", (int)n, sc->path);
    int r = shard_idx_write(&sc->idx, path);

    free(path);
    return r;
}

static int check_dirs(int argc, char **argv)
{
    size_t n = (size_t)(base_of(argv[0]) - argv[0]);

    for (int i = 1; i < argc; i++)
        if ((size_t)(base_of(argv[i]) - argv[i]) != n ||
            strncmp(argv[0], argv[i], n) != 0)
            return err_set(ERR_USAGE,
                           "%s and %s: shards of a split lie in "
                           "one directory",
                           argv[0], argv[i]);
    return 0;
}

static int make_index(struct indexing *x, int argc, char **argv)
{
    size_t dir_len = (size_t)(base_of(argv[0]) - argv[0]);
    char *dir =
        dir_len ? xstrfmt("%.*s", (int)dir_len, argv[0]) : xstrdup("./");
    char *manifest = NULL;
    int r = -1;

    if (shard_check_names(set.split ? set.split : "any", set.name) < 0)
        goto out;
    x->shards.split = set.split ? xstrdup(set.split) : split_of(argv[0]);
    manifest = xstrfmt("%s%s.json", dir_len ? dir : "", x->shards.split);
    if (!set.dali && check_dirs(argc, argv) < 0)
        goto out;
    if (!set.dali && !set.force && access(manifest, F_OK) == 0) {
        err_set(ERR_CANTCREAT, "%s: is there already: -f replaces it",
                manifest);
        goto out;
    }
    if (work_for(x->n_scans, set.jobs ? (int)set.jobs : work_cpus(), scan_shard,
                 x) < 0)
        goto out;
    for (size_t i = 0; i < x->n_scans; i++)
        if (write_idx(&x->scan[i]) < 0)
            goto out;
    r = set.dali ? 0 : write_manifest(x, dir, manifest);
out:
    free(dir);
    free(manifest);
    return r;
}

int imgshard_index(const struct command *c, int argc, char **argv)
{
    struct indexing x = {.n_scans = (size_t)argc};
    int r;

    (void)c;
    clean_on_signals();
    x.scan = xcalloc(x.n_scans, sizeof(*x.scan));
    for (int i = 0; i < argc; i++)
        x.scan[i].path = argv[i];
    r = make_index(&x, argc, argv);
    for (size_t i = 0; i < x.n_scans; i++) {
        for (size_t k = 0; k < x.scan[i].n; k++)
            free((void *)(uintptr_t)x.scan[i].row[k].key);
        free(x.scan[i].row);
        shard_idx_release(&x.scan[i].idx);
    }
    free(x.scan);
    shard_set_release(&x.shards);
    return r;
}
