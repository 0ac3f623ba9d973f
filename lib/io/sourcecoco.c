/* COCO: a file of instances, and its images in a folder or in a tar. */
#include "io/coco.h"
#include "io/source_private.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define TWICE (-1)

/* Files of a tar by their paths, and by names that only one of them has. */
struct found {
    struct source tar;
    struct map by_path, by_name;
};

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static int list_tar(struct found *f, const char *path)
{
    const struct source_how flat = {.split = "", .labels = path};
    size_t prefix = strlen(path) + 2;
    struct buf b = BUF_INIT;

    if (source_tar(&f->tar, path, &flat) < 0)
        return -1;
    for (size_t i = 0; i < f->tar.n; i++) {
        const char *name;

        buf_reset(&b);
        source_path(&f->tar, i, &b);
        name = b.data + prefix;
        (void)map_add(&f->by_path, name, (int64_t)i);
        if (!map_add(&f->by_name, base_of(name), (int64_t)i))
            (void)map_add(&f->by_path, base_of(name), TWICE);
    }
    buf_release(&b);
    return 0;
}

/* The member that a name of the annotations means, or NULL. */
static const struct source_place *member(const struct found *f,
                                         const char *name)
{
    int64_t i;

    if (!map_get(&f->by_path, name, &i) &&
        !map_get(&f->by_path, base_of(name), &i) &&
        !map_get(&f->by_name, base_of(name), &i))
        return NULL;
    return i < 0 ? NULL : source_place(&f->tar, (size_t)i);
}

/* Image i of the list; true if it is there. */
static bool add_image(struct source *src, uint32_t folder, size_t i,
                      const struct found *tar)
{
    const struct coco *c = src->coco;
    struct source_place *p =
        source_put(src, source_add(src, folder, c->file[i]));
    const struct source_place *m;
    struct buf path = BUF_INIT;
    struct stat st;

    p->annot = &c->image[i];
    if (tar) {
        m = member(tar, c->file[i]);
        p->missing = !m;
        if (m) {
            p->archive = m->archive;
            p->offset = m->offset;
            p->size = m->size;
        }
    } else {
        source_path(src, src->n - 1, &path);
        p->missing = stat(path.data, &st) < 0 || !S_ISREG(st.st_mode);
        p->size = p->missing ? 0 : (uint64_t)st.st_size;
        buf_release(&path);
    }
    return !p->missing;
}

/* The classes of the list that was given, by their names. */
static int use_list(const struct shard_set *s, const struct map *listed,
                    struct coco *c)
{
    int32_t *number = xcalloc(c->n_classes, sizeof(*number));
    int r = 0;

    for (size_t k = 0; k < c->n_classes && r == 0; k++) {
        int64_t i = 0;

        if (!map_get(listed, c->cls[k].name, &i))
            r = err_set(ERR_DATA,
                        "category \"%s\": not in the list of %lu classes",
                        c->cls[k].name, (unsigned long)s->n_classes);
        number[k] = (int32_t)i;
    }
    for (size_t i = 0; i < c->n_objects && r == 0; i++)
        c->object[i].cat = number[c->object[i].cat];
    free(number);
    return r;
}

static void say(const struct coco *c, const char *path)
{
    note("%s: %zu images, %zu objects of %zu categories, %zu of them crowds",
         path, c->n, c->n_objects, c->n_classes, c->crowds);
    if (!c->n_objects)
        warn("%s: no objects in it: a set to be predicted, not trained on",
             path);
    if (c->strangers)
        warn("%s: %zu objects are of images that it does not list", path,
             c->strangers);
    if (c->shapeless)
        warn("%s: %zu objects left out: their polygons are too short", path,
             c->shapeless);
    if (c->outside)
        warn("%s: %zu boxes are empty or outside their image: kept, and left "
             "out of batches",
             path, c->outside);
}

static int add_images(struct source *src, const char *images, bool folder)
{
    struct found tar = {.tar = {0}};
    const struct coco *c = src->coco;
    char *path = xstrfmt(folder ? "%s/" : "%s: ", images);
    uint32_t number = source_folder(src, path, "", KEY_ID);
    size_t missing = 0;
    int r = folder ? 0 : list_tar(&tar, images);

    free(path);
    for (size_t i = 0; i < c->n && r == 0; i++)
        missing += !add_image(src, number, i, folder ? NULL : &tar);
    if (r == 0 && missing == c->n)
        r = err_set(ERR_NOINPUT, "%s: none of the %zu images is there, as %s",
                    images, c->n, c->file[0]);
    else if (r == 0 && missing)
        warn("%s: %zu of %zu images are not there", images, missing, c->n);
    src->sequential = tar.tar.sequential;
    src->archive = tar.tar.archive;
    src->n_archives = tar.tar.n_archives;
    tar.tar.archive = NULL;
    tar.tar.n_archives = 0;
    source_release(&tar.tar);
    map_release(&tar.by_path);
    map_release(&tar.by_name);
    return r;
}

int source_coco(struct source *src, struct shard_set *s, const char *json,
                const char *images, bool folder)
{
    struct map listed = MAP_INIT;
    struct coco *c = xcalloc(1, sizeof(*c));
    int r = 0;

    src->coco = c;
    if (coco_open(c, json) < 0)
        return -1;
    say(c, json);
    for (uint32_t k = 0; k < s->n_classes; k++)
        (void)map_add(&listed, s->cls[k].name, k);
    if (s->n_classes)
        r = use_list(s, &listed, c);
    for (size_t k = 0; !listed.n && k < c->n_classes; k++)
        shard_set_class(s, c->cls[k].name, NULL, c->cls[k].id);
    map_release(&listed);
    return r < 0 ? err_wrap("%s", json) : add_images(src, images, folder);
}
