/* imgshard index - .idx files, native index and manifest of tars. */
#include "imgshard-scan.h"
#include "util/fdio.h"
#include "util/work.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

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

static int scan_one(void *arg, size_t i, int thread)
{
    struct indexing *x = arg;

    (void)thread;
    return scan_shard(&x->scan[i], (enum probe_check)set.check, set.dali);
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

/* For detection are splits of samples that all have annotations; most: the
 * largest class in them. */
static int find_task(struct indexing *x, int32_t *most)
{
    size_t n = 0, annotated = 0;
    const char *why = NULL;

    for (size_t i = 0; i < x->n_scans; i++) {
        const struct scan *sc = &x->scan[i];

        n += sc->n;
        annotated += sc->annotated;
        if (sc->annotated && sc->most > *most)
            *most = sc->most;
        why = why ? why : sc->why;
    }
    if (annotated && annotated < n)
        return err_set(ERR_DATA,
                       "%zu of %zu samples have no annotation for detection, "
                       "as %s",
                       n - annotated, n, why);
    x->shards.task = xstrdup(annotated ? "detection" : "classification");
    return 0;
}

static int write_manifest(struct indexing *x, const char *dir,
                          const char *manifest)
{
    struct shard_set *s = &x->shards;
    int32_t most = -1;

    s->name = xstrdup(set.name);
    if (find_task(x, &most) < 0)
        return -1;
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
    if (!*x->shards.split) {
        err_set(ERR_USAGE,
                "%s: no name to take for the split: --split gives "
                "one",
                argv[0]);
        goto out;
    }
    manifest = xstrfmt("%s%s.json", dir_len ? dir : "", x->shards.split);
    if (!set.dali && check_dirs(argc, argv) < 0)
        goto out;
    if (!set.dali && !set.force && access(manifest, F_OK) == 0) {
        err_set(ERR_CANTCREAT, "%s: is there already: -f replaces it",
                manifest);
        goto out;
    }
    if (work_for(x->n_scans, set.jobs ? (int)set.jobs : work_cpus(), scan_one,
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
    for (size_t i = 0; i < x.n_scans; i++)
        scan_release(&x.scan[i]);
    free(x.scan);
    shard_set_release(&x.shards);
    return r;
}
