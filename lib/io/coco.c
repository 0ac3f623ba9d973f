#include "io/coco.h"

#include "util/json.h"
#include "util/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (4ULL << 30)
#define NAME_MAX_BYTES 4096
#define WHOLE_MAX 9007199254740992.0 /* beyond, not every number is one */

/* An object before images and categories are known. */
struct raw {
    int64_t image, category;
    struct annot_object o;
};

struct parsing {
    struct coco *c;
    size_t cap, cap_classes;
    struct raw *raw;
    size_t n_raw, cap_raw;
};

/* Room for one more of size bytes. */
static void *more(void *p, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return p;
    *cap = *cap ? *cap * 2 : 256;
    return xreallocarray(p, *cap, size);
}

void coco_release(struct coco *c)
{
    for (size_t i = 0; i < c->n; i++)
        free(c->file[i]);
    for (size_t i = 0; i < c->n_classes; i++)
        free(c->cls[i].name);
    free(c->image);
    free(c->file);
    free(c->cls);
    free(c->object);
    memset(c, 0, sizeof(*c));
}

/* ---- elements */

/* A whole number, which some write with a point. */
static int get_whole(const json_t *o, const char *key, int64_t *v)
{
    const json_t *m = json_object_get(o, key);
    double real = json_real_value(m); /* 0 of anything else */

    if (!json_is_real(m) || real != trunc(real) || fabs(real) > WHOLE_MAX)
        return json_get_int(o, key, v);
    *v = (int64_t)real;
    return 0;
}

/* A member that is neither missing nor null. */
static bool is_given(const json_t *o, const char *key)
{
    const json_t *m = json_object_get(o, key);

    return m && !json_is_null(m);
}

static int get_range(const json_t *o, const char *key, int64_t least,
                     int64_t most, int64_t *v)
{
    if (get_whole(o, key, v) < 0)
        return -1;
    if (*v < least || *v > most)
        return err_set(ERR_DATA, "%s %lld: out of range", key, (long long)*v);
    return 0;
}

/* A name in a folder: nothing that leaves it. */
static int check_name(const char *name)
{
    const char *p = name;

    if (!*name || *name == '/' || strlen(name) > NAME_MAX_BYTES)
        return err_set(ERR_DATA, "file_name \"%.80s\": not a relative file",
                       name);
    for (; p; p = strchr(p, '/')) {
        p += *p == '/';
        if (!strncmp(p, "..", 2) && (!p[2] || p[2] == '/'))
            return err_set(ERR_DATA, "file_name \"%.80s\": leaves its folder",
                           name);
    }
    for (p = name; *p; p++)
        if ((unsigned char)*p < 0x20)
            return err_set(ERR_DATA, "file_name: control character");
    return 0;
}

static int parse_image(struct parsing *p, const json_t *j)
{
    struct coco *c = p->c;
    size_t cap = p->cap;
    const char *file;
    int64_t id, w, h;

    if (get_range(j, "id", 0, ANNOT_ID_MAX, &id) < 0)
        return err_wrap("image %zu", c->n);
    if (get_range(j, "width", 1, ANNOT_SIDE_MAX, &w) < 0 ||
        get_range(j, "height", 1, ANNOT_SIDE_MAX, &h) < 0 ||
        json_get_str(j, "file_name", &file) < 0 || check_name(file) < 0)
        return err_wrap("image id %lld", (long long)id);
    c->image = more(c->image, c->n, &p->cap, sizeof(*c->image));
    c->file = more(c->file, c->n, &cap, sizeof(*c->file));
    c->image[c->n] = (struct annot){.id = id, .w = (int32_t)w, .h = (int32_t)h};
    c->file[c->n++] = xstrdup(file);
    return 0;
}

static int parse_class(struct parsing *p, const json_t *j)
{
    struct coco *c = p->c;
    const char *name;
    int64_t id;

    if (get_range(j, "id", INT64_MIN, INT64_MAX, &id) < 0)
        return err_wrap("category %zu", c->n_classes);
    if (json_get_str(j, "name", &name) < 0)
        return err_wrap("category id %lld", (long long)id);
    if (c->n_classes >= ANNOT_CLASS_MAX)
        return err_set(ERR_DATA, "more than %d categories", ANNOT_CLASS_MAX);
    c->cls = more(c->cls, c->n_classes, &p->cap_classes, sizeof(*c->cls));
    c->cls[c->n_classes++] = (struct coco_class){id, xstrdup(name)};
    return 0;
}

/* Polygons are there, but none has three corners. */
static bool is_shapeless(const json_t *segmentation)
{
    size_t n = json_array_size(segmentation), i;

    for (i = 0; i < n; i++) {
        size_t k = json_array_size(json_array_get(segmentation, i));

        if (k >= 6 && k % 2 == 0)
            return false;
    }
    return n > 0;
}

static int parse_box(const json_t *j, double bbox[4])
{
    json_t *list;

    if (json_get_array(j, "bbox", &list) < 0)
        return -1;
    if (json_array_size(list) != 4)
        return err_set(ERR_DATA, "bbox has %zu numbers", json_array_size(list));
    for (size_t k = 0; k < 4; k++) {
        const json_t *v = json_array_get(list, k);

        bbox[k] = json_number_value(v);
        if (!json_is_number(v) || !(fabs(bbox[k]) <= ANNOT_NUMBER_MAX))
            return err_set(ERR_DATA, "bbox: not four numbers");
    }
    return 0;
}

/* 0 or another number; 0 if it is not there. */
static int get_flag(const json_t *j, const char *key, bool *v)
{
    const json_t *m = json_object_get(j, key);

    if (is_given(j, key) && !json_is_number(m) && !json_is_boolean(m))
        return err_set(ERR_DATA, "%s: not a number", key);
    *v = json_is_true(m) || (m && json_number_value(m) != 0);
    return 0;
}

static int take_object(struct parsing *p, const json_t *j, struct raw *r)
{
    bool ignore;

    if (get_whole(j, "image_id", &r->image) < 0 ||
        get_whole(j, "category_id", &r->category) < 0 ||
        get_flag(j, "iscrowd", &r->o.crowd) < 0 ||
        get_flag(j, "ignore", &ignore) < 0 || parse_box(j, r->o.bbox) < 0)
        return -1;
    if (ignore)
        return err_set(ERR_DATA, "ignore is set: such a file is not for "
                                 "training");
    r->o.area = r->o.bbox[2] * r->o.bbox[3];
    if (is_given(j, "area") && json_get_real(j, "area", &r->o.area) < 0)
        return -1;
    if (!(fabs(r->o.area) <= ANNOT_NUMBER_MAX))
        return err_set(ERR_DATA, "area %g: out of range", r->o.area);
    if (is_shapeless(json_object_get(j, "segmentation"))) {
        p->c->shapeless++;
        r->o.cat = -1;
    }
    return 0;
}

static int parse_object(struct parsing *p, const json_t *j)
{
    struct raw r = {.image = 0};

    if (get_whole(j, "id", &r.o.id) < 0)
        return err_wrap("annotation %zu", p->n_raw);
    if (take_object(p, j, &r) < 0)
        return err_wrap("annotation id %lld", (long long)r.o.id);
    p->raw = more(p->raw, p->n_raw, &p->cap_raw, sizeof(*p->raw));
    p->raw[p->n_raw++] = r;
    return 0;
}

/* ---- the file */

static const struct part {
    const char *name;
    int (*parse)(struct parsing *p, const json_t *j);
} parts[] = {{"images", parse_image},
             {"categories", parse_class},
             {"annotations", parse_object}}; /* a test set may lack these */

static int parse_text(struct parsing *p, struct json_walk *w)
{
    bool seen[3] = {false};
    json_t *j;
    int r, k;

    while ((r = json_walk_member(w)) > 0) {
        for (k = 0; k < 3 && strcmp(w->key, parts[k].name) != 0; k++)
            ;
        if (k == 3)
            continue;
        if (seen[k])
            return err_set(ERR_DATA, "%s: \"%s\" is there twice", w->what,
                           w->key);
        seen[k] = true;
        while ((r = json_walk_element(w, &j)) > 0) {
            int bad = parts[k].parse(p, j);

            json_decref(j);
            if (bad < 0)
                return err_wrap("%s", w->what);
        }
        if (r < 0)
            return -1;
    }
    for (k = 0; k < 2 && r == 0; k++)
        if (!seen[k])
            return err_set(ERR_DATA, "%s: no \"%s\": not a file of instances",
                           w->what, parts[k].name);
    return r;
}

/* ---- putting it together */

static int compare(int64_t a, int64_t b)
{
    return a < b ? -1 : a > b;
}

static int by_class_id(const void *a, const void *b)
{
    const struct coco_class *x = a, *y = b;

    return compare(x->id, y->id);
}

static int by_number(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return compare(*x, *y);
}

/* Images in the order of their ids; the names with them. */
struct place {
    int64_t id;
    size_t at;
};

static int by_place(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    return compare(x->id, y->id);
}

static void sort_images(struct coco *c)
{
    struct place *order = xcalloc(c->n + 1, sizeof(*order));
    struct annot *image = xcalloc(c->n + 1, sizeof(*image));
    char **file = xcalloc(c->n + 1, sizeof(*file));

    for (size_t i = 0; i < c->n; i++)
        order[i] = (struct place){c->image[i].id, i};
    qsort(order, c->n, sizeof(*order), by_place);
    for (size_t i = 0; i < c->n; i++) {
        image[i] = c->image[order[i].at];
        file[i] = c->file[order[i].at];
    }
    free(c->image);
    free(c->file);
    free(order);
    c->image = image;
    c->file = file;
}

static int sort_all(struct coco *c)
{
    sort_images(c);
    for (size_t i = 1; i < c->n; i++)
        if (c->image[i].id == c->image[i - 1].id)
            return err_set(ERR_DATA, "image id %lld is there twice",
                           (long long)c->image[i].id);
    if (c->n_classes)
        qsort(c->cls, c->n_classes, sizeof(*c->cls), by_class_id);
    for (size_t i = 1; i < c->n_classes; i++)
        if (c->cls[i].id == c->cls[i - 1].id)
            return err_set(ERR_DATA, "category id %lld is there twice",
                           (long long)c->cls[i].id);
    return 0;
}

/* "minival" has ids twice and is used all the same. */
static int check_ids(const struct parsing *p, const char *path)
{
    int64_t *id;
    size_t i;

    if (strstr(path, "minival"))
        return 0;
    id = xcalloc(p->n_raw + 1, sizeof(*id));
    for (i = 0; i < p->n_raw; i++)
        id[i] = p->raw[i].o.id;
    qsort(id, p->n_raw, sizeof(*id), by_number);
    for (i = 1; i < p->n_raw && id[i] != id[i - 1]; i++)
        ;
    if (i < p->n_raw)
        err_set(ERR_DATA, "annotation id %lld is there twice",
                (long long)id[i]);
    i = i < p->n_raw;
    free(id);
    return i ? -1 : 0;
}

/* Which image: -1 if none. */
static int64_t find_image(const struct coco *c, int64_t id)
{
    size_t low = 0, high = c->n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (c->image[mid].id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low < c->n && c->image[low].id == id ? (int64_t)low : -1;
}

/* Image and class of each object; those that are left out get image -1. */
static int resolve(struct parsing *p)
{
    struct coco *c = p->c;

    for (size_t i = 0; i < p->n_raw; i++) {
        struct raw *r = &p->raw[i];
        const struct coco_class want = {r->category, NULL};
        const struct coco_class *cls =
            c->n_classes ? bsearch(&want, c->cls, c->n_classes, sizeof(*c->cls),
                                   by_class_id)
                         : NULL;

        if (!cls)
            return err_set(ERR_DATA, "annotation id %lld: no category id %lld",
                           (long long)r->o.id, (long long)r->category);
        r->image = find_image(c, r->image);
        c->strangers += r->image < 0;
        if (r->o.cat < 0)
            r->image = -1;
        r->o.cat = (int32_t)(cls - c->cls);
        if (r->image < 0)
            continue;
        if (++c->image[r->image].n > ANNOT_OBJECTS_MAX)
            return err_set(ERR_DATA, "image id %lld: more than %d objects",
                           (long long)c->image[r->image].id, ANNOT_OBJECTS_MAX);
        c->n_objects++;
    }
    return 0;
}

static bool is_outside(const struct annot *a, const struct annot_object *o)
{
    const double *b = o->bbox;

    return !(b[2] > 0 && b[3] > 0 && b[0] < a->w && b[1] < a->h &&
             b[0] + b[2] > 0 && b[1] + b[3] > 0);
}

/* The objects of each image in one piece. */
static void share_out(struct parsing *p)
{
    struct coco *c = p->c;
    size_t at = 0;

    c->object = xcalloc(c->n_objects + 1, sizeof(*c->object));
    for (size_t i = 0; i < c->n; i++) {
        c->image[i].object = c->object + at;
        at += c->image[i].n;
        c->image[i].n = 0;
    }
    for (size_t i = 0; i < p->n_raw; i++) {
        const struct raw *r = &p->raw[i];
        struct annot *a;

        if (r->image < 0)
            continue;
        a = &c->image[r->image];
        a->object[a->n++] = r->o;
        c->crowds += r->o.crowd;
        c->outside += is_outside(a, &r->o);
    }
}

int coco_parse(struct coco *c, const char *text, size_t n, const char *path)
{
    struct parsing p = {.c = c};
    size_t bom = utf8_bom(text, n);
    struct json_walk w = {.text = text + bom, .n = n - bom, .what = path};
    int r = parse_text(&p, &w);

    if (r == 0) {
        if (c->n == 0)
            r = err_set(ERR_DATA, "no images in it");
        else if (c->n_classes == 0)
            r = err_set(ERR_DATA, "no categories in it");
        else if (sort_all(c) < 0 || check_ids(&p, path) < 0 || resolve(&p) < 0)
            r = -1;
        if (r < 0)
            err_wrap("%s", path);
        else
            share_out(&p);
    }
    json_walk_release(&w);
    free(p.raw);
    if (r < 0)
        coco_release(c);
    return r;
}

int coco_open(struct coco *c, const char *path)
{
    struct buf text = BUF_INIT;
    int r = buf_read_file(&text, path, FILE_MAX);

    if (r == 0)
        r = coco_parse(c, text.data ? text.data : "", text.len, path);
    buf_release(&text);
    return r;
}
