/* imgsynth coco - scenes of made-up objects, laid out as COCO is. */
#include "imgsynth.h"
#include "io/annot.h"
#include "util/fdio.h"
#include "util/work.h"
#include "vision/synth.h"

#include <stdlib.h>
#include <string.h>

/* clang-format off */
struct opt coco_opts[] = {
    {.name = "classes", .type = OPT_INT, .addr = &synth_set.classes,
     .def = "8", .min = 1, .max = SYNTH_CLASSES_MAX, .help = "categories"},
    {.name = "train", .type = OPT_INT, .addr = &synth_set.train, .def = "200",
     .min = 1, .max = 1e6, .help = "training images"},
    {.name = "val", .type = OPT_INT, .addr = &synth_set.val, .def = "50",
     .min = 0, .max = 1e6, .help = "validation images"},
    SYNTH_ROWS("160", "320"),
    OPT_END};
/* clang-format on */

static const char *const splits[] = {"train2017", "val2017"};

struct making {
    const char *dir;
    struct synth synth;
    int split;
    struct buf *file; /* [threads] */
    struct annot *image;
};

/* Ids of the two splits are apart, as those of COCO are. */
static int64_t image_id(int split, size_t i)
{
    return (int64_t)i + (split ? 5000001 : 1);
}

/* With holes, as COCO's. */
static int category_id(int class_id)
{
    return class_id + 1 + class_id / 3;
}

static int make_image(void *arg, size_t i, int t)
{
    struct making *m = arg;
    struct annot *a = &m->image[i];
    char *path = xstrfmt("%s/%s/%012lld.jpg", m->dir, splits[m->split],
                         (long long)image_id(m->split, i));
    int rc;

    a->object = xcalloc(SYNTH_OBJECTS_MAX, sizeof(*a->object));
    a->id = image_id(m->split, i);
    buf_reset(&m->file[t]);
    rc = synth_scene(&m->synth, m->split, (int)synth_set.classes, (uint32_t)i,
                     &m->file[t], a);
    if (rc == 0)
        rc = synth_file(path, &m->file[t]);
    free(path);
    return rc;
}

/* The box as a polygon or, of a crowd, as runs of pixels down the columns. */
static void add_outline(struct buf *b, const struct annot *a,
                        const struct annot_object *o)
{
    int x = (int)o->bbox[0], y = (int)o->bbox[1], w = (int)o->bbox[2],
        h = (int)o->bbox[3];

    if (!o->crowd) {
        buf_addf(b, "[[%d,%d,%d,%d,%d,%d,%d,%d]]", x, y, x + w, y, x + w, y + h,
                 x, y + h);
        return;
    }
    buf_addf(b, "{\"counts\":[%d", x * a->h + y);
    for (int k = 0; k < w; k++)
        buf_addf(b, ",%d,%d", h,
                 k + 1 < w ? a->h - h : a->h - h - y + (a->w - x - w) * a->h);
    buf_addf(b, "],\"size\":[%d,%d]}", (int)a->h, (int)a->w);
}

static void add_objects(struct buf *b, const struct annot *a, int64_t *id)
{
    for (size_t k = 0; k < a->n; k++) {
        const struct annot_object *o = &a->object[k];

        buf_addf(b, "%s\n{\"area\":", *id > 1 ? "," : "");
        buf_addreal(b, o->area);
        buf_addf(b,
                 ",\"bbox\":[%.0f,%.0f,%.0f,%.0f],\"category_id\":%d,"
                 "\"id\":%lld,\"image_id\":%lld,\"iscrowd\":%d,"
                 "\"segmentation\":",
                 o->bbox[0], o->bbox[1], o->bbox[2], o->bbox[3],
                 category_id(o->cat), (long long)(*id)++, (long long)a->id,
                 o->crowd);
        add_outline(b, a, o);
        buf_addch(b, '}');
    }
}

static int write_instances(const struct making *m, size_t n)
{
    char *path =
        xstrfmt("%s/annotations/instances_%s.json", m->dir, splits[m->split]);
    struct buf b = BUF_INIT;
    int64_t id = 1;
    char name[32];
    int rc;

    buf_addstr(&b, "{\"info\":{\"description\":\"made up by imgsynth\"},"
                   "\n\"images\":[");
    for (size_t i = 0; i < n; i++)
        buf_addf(&b,
                 "%s\n{\"file_name\":\"%012lld.jpg\",\"height\":%d,"
                 "\"id\":%lld,\"width\":%d}",
                 i ? "," : "", (long long)m->image[i].id, (int)m->image[i].h,
                 (long long)m->image[i].id, (int)m->image[i].w);
    buf_addstr(&b, "],\n\"annotations\":[");
    for (size_t i = 0; i < n; i++)
        add_objects(&b, &m->image[i], &id);
    buf_addstr(&b, "],\n\"categories\":[");
    for (int k = 0; k < (int)synth_set.classes; k++) {
        synth_class(k, name, sizeof(name));
        buf_addf(&b, "%s\n{\"id\":%d,\"name\":\"%s\"}", k ? "," : "",
                 category_id(k), name);
    }
    buf_addstr(&b, "]}\n");
    rc = atomic_write(path, b.data, b.len);
    buf_release(&b);
    free(path);
    return rc;
}

static int make_folder(const char *dir, const char *name)
{
    char *path = xstrfmt("%s/%s", dir, name);
    int rc = make_dirs(path);

    free(path);
    return rc;
}

static int make_split(struct making *m, size_t n, int threads)
{
    int rc = make_folder(m->dir, splits[m->split]);

    m->image = xcalloc(n, sizeof(*m->image));
    if (rc == 0)
        rc = work_for(n, threads, make_image, m);
    if (rc == 0)
        rc = write_instances(m, n);
    for (size_t i = 0; i < n; i++)
        annot_release(&m->image[i]);
    free(m->image);
    return rc;
}

static int make_set(const char *dir)
{
    const struct synth_settings *set = &synth_set;
    struct making m = {
        .dir = dir,
        .synth = {(uint64_t)set->seed, (int)set->size_min, (int)set->size_max}};
    int threads = set->threads ? (int)set->threads : work_cpus(), t, rc;

    m.file = xcalloc((size_t)threads, sizeof(*m.file));
    rc = make_folder(dir, "annotations");
    if (rc == 0)
        rc = make_split(&m, (size_t)set->train, threads);
    m.split = 1;
    if (rc == 0 && set->val)
        rc = make_split(&m, (size_t)set->val, threads);
    if (rc == 0)
        rc = synth_tell(dir, "coco",
                        " The class of an object is\n"
                        "its shape and texture; boxes are those of the pixels "
                        "that were drawn.");
    for (t = 0; t < threads; t++)
        buf_release(&m.file[t]);
    free(m.file);
    return rc;
}

int imgsynth_coco(const struct command *c, int argc, char **argv)
{
    (void)c;
    (void)argc;
    return synth_make(argv[0], make_set);
}
