/* imgshard pack - images as people have them become shards. */
#include "imgshard-item.h"
#include "io/coco.h"
#include "io/shardout.h"
#include "util/fdio.h"
#include "util/progress.h"
#include "util/rng.h"
#include "util/work.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BAD_SHOWN 20 /* with --on-bad fail: stop after so many */

static struct {
    char *out, *split, *name, *classes, *labels, *synsets;
    int64_t shard_bytes, shard_count, seed, max_bad, jobs, raw;
    int order, check, on_bad, jpeg;
    bool force, keep_exif;
} set;

/* clang-format off */
struct opt pack_opts[] = {
    {.name = "output", .letter = 'o', .type = OPT_STRING, .addr = &set.out,
     .def = "shards", .arg = "DIR", .help = "where the shards go"},
    {.name = "split", .type = OPT_STRING, .addr = &set.split, .def = "train",
     .arg = "NAME", .help = "name of the split and of its files"},
    {.name = "name", .type = OPT_STRING, .addr = &set.name, .def = "images",
     .arg = "NAME", .help = "name of the data set, for the manifest"},
    {.name = "classes", .type = OPT_STRING, .addr = &set.classes,
     .arg = "FILE",
     .help = "classes in order, one a line, or another split's manifest"},
    {.name = "labels", .type = OPT_STRING, .addr = &set.labels,
     .arg = "FILE",
     .help = "classes of the images: one a line, in order, or a table"},
    {.name = "synsets", .type = OPT_STRING, .addr = &set.synsets,
     .arg = "FILE", .help = "what numbers in --labels mean: number and class"},
    {.name = "shard-size", .type = OPT_SIZE, .addr = &set.shard_bytes,
     .def = "256M", .min = 1, .max = 1e15, .arg = "BYTES",
     .help = "close a shard at this size"},
    {.name = "shard-count", .type = OPT_INT, .addr = &set.shard_count,
     .def = "10000", .min = 1, .max = 1e9, .arg = "N",
     .help = "close a shard after so many samples"},
    {.name = "order", .type = OPT_CHOICE, .addr = &set.order,
     .def = "shuffle", .choices = "shuffle|sorted",
     .help = "order of the samples in the shards"},
    {.name = "seed", .type = OPT_INT, .addr = &set.seed, .def = "0",
     .min = 0, .max = 9e15, .arg = "S", .help = "of that order"},
    {.name = "check", .type = OPT_CHOICE, .addr = &set.check, .def = "full",
     .choices = "full|header|none",
     .help = "decode each image, read its header, or only its first bytes"},
    {.name = "jpeg", .type = OPT_CHOICE, .addr = &set.jpeg, .def = "keep",
     .choices = "keep|rows",
     .help = "keep JPEG files, or rewrite them without loss to decode faster"},
    {.name = "raw", .type = OPT_INT, .addr = &set.raw, .def = "0", .min = 0,
     .max = 16384, .arg = "SIZE",
     .help = "keep pixels, not files: short sides of SIZE; 0: files"},
    {.name = "keep-exif", .type = OPT_FLAG, .addr = &set.keep_exif,
     .help = "rewritten files keep their EXIF"},
    {.name = "on-bad", .type = OPT_CHOICE, .addr = &set.on_bad,
     .def = "fail", .choices = "fail|drop",
     .help = "what becomes of a file that is no usable image"},
    {.name = "max-bad", .type = OPT_INT, .addr = &set.max_bad, .def = "100",
     .min = 0, .max = 1e9, .arg = "N", .help = "drop at most so many"},
    {.name = "jobs", .letter = 'j', .type = OPT_INT, .addr = &set.jobs,
     .def = "0", .min = 0, .max = 1024, .arg = "N",
     .help = "threads; 0: one per CPU"},
    {.name = "force", .letter = 'f', .type = OPT_FLAG, .addr = &set.force,
     .help = "replace a split that is there"},
    OPT_END,
};
/* clang-format on */

struct pack {
    struct source src;
    struct shard_set shards;
    struct shard_out out;
    struct item_tools *tools; /* of each thread */
    uint32_t *order;          /* of the files; NULL: as they are */
    size_t next, done, bad, png;
    struct progress progress;
};

static int pack_next(void *arg, void *item)
{
    struct pack *p = arg;
    struct load *l = item;

    load_reset(l);
    while (p->next < p->src.n &&
           load_add(l, &p->src, p->order ? p->order[p->next] : p->next)) {
        p->next++;
        /* a compressed tar is read here, where files come in their order */
        if (p->src.sequential && item_read(&l->item[l->n - 1], &p->src) < 0)
            return -1;
    }
    return l->n > 0;
}

static int pack_work(void *arg, void *item, int t)
{
    struct item_how how = {(enum probe_check)set.check, set.jpeg == 1,
                           set.keep_exif, (int)set.raw};
    struct pack *p = arg;
    struct load *l = item;

    for (int i = 0; i < l->n; i++)
        if ((!p->src.sequential && item_read(&l->item[i], &p->src) < 0) ||
            item_make(&l->item[i], &p->tools[t], &how) < 0)
            return -1;
    return 0;
}

/* Count a file that is left out; -1 when there are too many. */
static int left_out(struct pack *p, struct item *it)
{
    struct buf path = BUF_INIT;

    progress_clear(&p->progress);
    source_path(&p->src, it->number, &path);
    if (!strncmp(it->why, path.data, path.len) &&
        !strncmp(it->why + path.len, ": ", 2))
        warn("%s", it->why);
    else
        warn("%s: %s", path.data, it->why);
    buf_release(&path);
    free(it->why);
    it->why = NULL;
    p->bad++;
    if (set.on_bad == 0 && p->bad >= BAD_SHOWN)
        return err_set(ERR_DATA,
                       "%zu files are no usable images; stopped "
                       "looking",
                       p->bad);
    if (set.on_bad == 1 && p->bad > (size_t)set.max_bad)
        return err_set(ERR_DATA,
                       "more than %lld files are no usable images "
                       "(--max-bad)",
                       (long long)set.max_bad);
    return 0;
}

static int take_item(struct pack *p, struct item *it)
{
    progress_step(&p->progress, (int64_t)++p->done, NULL);
    if (it->why)
        return left_out(p, it);
    p->png += (it->row.flags & SHARD_PNG) != 0;
    if (set.on_bad == 0 && p->bad)
        return 0; /* nothing will be committed: only the checks go on */
    return shard_out_add(&p->out, &it->row, it->tar.data, it->tar.len, it->part,
                         it->parts);
}

static int pack_done(void *arg, void *item)
{
    struct load *l = item;

    for (int i = 0; i < l->n; i++)
        if (take_item(arg, &l->item[i]) < 0)
            return -1;
    return 0;
}

static int run_pipeline(struct pack *p, int threads)
{
    struct work_stages stages = {pack_next, pack_work, pack_done, p};
    int n = threads * 4, i, r;
    struct load *loads = xcalloc((size_t)n, sizeof(*loads));
    void **list = xcalloc((size_t)n, sizeof(*list));

    p->tools = xcalloc((size_t)threads, sizeof(*p->tools));
    for (i = 0; i < threads; i++) {
        p->tools[i].decoder = image_decoder_new();
        p->tools[i].resizer = resizer_new();
    }
    for (i = 0; i < n; i++)
        list[i] = &loads[i];
    progress_begin(&p->progress, "img", (int64_t)p->src.n, 0.25, true);
    r = work_pipeline(&stages, list, n, threads);
    progress_clear(&p->progress);
    for (i = 0; i < threads; i++) {
        image_decoder_free(p->tools[i].decoder);
        resizer_free(p->tools[i].resizer);
    }
    for (i = 0; i < n; i++)
        load_release(&loads[i]);
    free(p->tools);
    free(loads);
    free(list);
    return r;
}

static int prepare(struct pack *p, char **dirs, int n)
{
    struct source_how how = {set.split, set.labels, set.synsets};
    struct shard_set *s = &p->shards;
    char *manifest;
    struct rng r;
    int there;

    if (shard_check_names(set.split, set.name) < 0)
        return -1;
    if (set.synsets && !set.labels)
        return err_set(ERR_USAGE, "--synsets is for --labels");
    if (set.raw && set.jpeg)
        return err_set(ERR_USAGE, "--raw keeps no files for --jpeg rows");
    manifest = xstrfmt("%s/%s.json", set.out, set.split);
    there = access(manifest, F_OK) == 0;
    if (there && !set.force)
        err_set(ERR_CANTCREAT, "%s: is there already: -f replaces it",
                manifest);
    free(manifest);
    if (there && !set.force)
        return -1;
    s->split = xstrdup(set.split);
    s->name = xstrdup(set.name);
    s->pack_seed = set.seed;
    s->jpeg = set.raw ? xstrfmt("raw:%lld", (long long)set.raw)
                      : xstrdup(set.jpeg == 0 ? "keep" : "rows");
    s->program = xstrdup(IMGSHARD);
    if ((set.classes && shard_set_classes(s, set.classes) < 0) ||
        source_open(&p->src, s, dirs, n, &how) < 0)
        return -1;
    if (set.raw && p->src.coco)
        return err_set(ERR_USAGE,
                       "--raw is not for boxes, which are those of files");
    s->task = xstrdup(p->src.coco ? "detection" : "classification");
    if (p->src.sequential)
        warn("a compressed tar is read in sequence: the samples keep its "
             "order");
    s->pack_order = xstrdup(p->src.sequential ? "source"
                            : set.order == 0  ? "shuffle"
                                              : "sorted");
    if (p->src.n > UINT32_MAX)
        return err_set(ERR_DATA, "%zu files: too many", p->src.n);
    if (set.order == 0 && !p->src.sequential) {
        p->order = xreallocarray(NULL, p->src.n, sizeof(*p->order));
        rng_init(&r, (uint64_t)set.seed, 0, 0, RNG_PACK);
        rng_permute(&r, p->order, (uint32_t)p->src.n);
    }
    return shard_out_init(&p->out, s, set.out, (uint64_t)set.shard_bytes,
                          (uint64_t)set.shard_count);
}

static void say_classes(const struct shard_set *s)
{
    size_t *count = xcalloc((size_t)s->n_classes + 1, sizeof(*count)), none = 0;
    size_t *unknown = &count[s->n_classes];

    for (uint32_t i = 0; i < s->n; i++)
        (*(s->label[i] < 0 ? unknown : &count[s->label[i]]))++;
    for (uint32_t c = 0; c < s->n_classes; c++)
        none += count[c] == 0;
    if (none)
        warn("%zu of %lu classes have no image", none,
             (unsigned long)s->n_classes);
    if (*unknown)
        warn("%zu images have no class", *unknown);
    if (s->n_classes == 1 && !*unknown)
        warn("one class alone, \"%s\": are classes the folders of the folder "
             "that was given?",
             s->cls[0].name);
    free(count);
}

/* The same of objects. */
static void say_objects(const struct shard_set *s, const struct coco *c)
{
    size_t *count = xcalloc((size_t)s->n_classes + 1, sizeof(*count)), none = 0;
    size_t empty = 0;

    for (size_t i = 0; i < c->n_objects; i++)
        count[c->object[i].cat] += !c->object[i].crowd;
    for (uint32_t k = 0; k < s->n_classes; k++)
        none += count[k] == 0;
    for (uint32_t i = 0; i < s->n; i++)
        empty += (s->flags[i] & SHARD_EMPTY) != 0;
    if (none)
        warn("%zu of %lu classes have no object", none,
             (unsigned long)s->n_classes);
    if (empty)
        note("%zu images have no object that is no crowd: training leaves "
             "them out",
             empty);
    free(count);
}

static int pack(struct pack *p, char **dirs, int n)
{
    struct shard_set *s = &p->shards;

    if (prepare(p, dirs, n) < 0 ||
        run_pipeline(p, set.jobs ? (int)set.jobs : work_cpus()) < 0)
        return -1;
    if (p->bad && set.on_bad == 0)
        return err_set(ERR_DATA,
                       "%zu files are no usable images: nothing "
                       "written (--on-bad drop leaves them out)",
                       p->bad);
    if (s->n == 0)
        return err_set(ERR_DATA, "no usable image in %zu files", p->src.n);
    if (!s->n_classes)
        shard_set_classes_of_keys(s, p->src.numbers);
    if (shard_out_commit(&p->out) < 0)
        return -1;
    if (p->src.ignored)
        note("%zu hidden files and files outside class folders or samples "
             "ignored",
             p->src.ignored);
    if (p->src.coco)
        say_objects(s, p->src.coco);
    else
        say_classes(s);
    printf("%s/%s.json: %lu samples, %lu classes, %lu shards, %llu bytes, "
           "%zu png, %zu dropped, dataset %s\n",
           set.out, set.split, (unsigned long)s->n, (unsigned long)s->n_classes,
           (unsigned long)s->n_shards, (unsigned long long)s->bytes, p->png,
           p->bad, s->dataset);
    return 0;
}

int imgshard_pack(const struct command *c, int argc, char **argv)
{
    struct pack p = {.out = SHARD_OUT_INIT};
    int r;

    (void)c;
    clean_on_signals();
    r = pack(&p, argv, argc);
    shard_out_release(&p.out);
    shard_set_release(&p.shards);
    source_release(&p.src);
    free(p.order);
    return r;
}
