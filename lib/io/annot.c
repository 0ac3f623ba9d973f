#include "io/annot.h"

#include "util/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void add_number(struct buf *b, double v)
{
    if (v == trunc(v) && fabs(v) < 1e15)
        buf_addf(b, "%.0f", v == 0 ? 0.0 : v);
    else
        buf_addreal(b, v);
}

void annot_text(const struct annot *a, struct buf *b)
{
    buf_addstr(b, "{\"ann\":[");
    for (size_t i = 0; i < a->n; i++) {
        const struct annot_object *o = &a->object[i];

        buf_addstr(b, i ? ",{\"area\":" : "{\"area\":");
        add_number(b, o->area);
        for (int k = 0; k < 4; k++) {
            buf_addstr(b, k ? "," : ",\"bbox\":[");
            add_number(b, o->bbox[k]);
        }
        buf_addf(b, "],\"cat\":%ld,\"id\":%lld,\"iscrowd\":%d}", (long)o->cat,
                 (long long)o->id, o->crowd);
    }
    buf_addf(b, "],\"h\":%ld,\"id\":%lld,\"w\":%ld}", (long)a->h,
             (long long)a->id, (long)a->w);
}

static int get_range(const json_t *o, const char *key, int64_t least,
                     int64_t most, int64_t *v)
{
    if (json_get_int(o, key, v) < 0)
        return -1;
    if (*v < least || *v > most)
        return err_set(ERR_DATA, "%s %lld: out of range", key, (long long)*v);
    return 0;
}

static int check_number(const char *what, double v)
{
    if (!(fabs(v) <= ANNOT_NUMBER_MAX))
        return err_set(ERR_DATA, "%s %g: out of range", what, v);
    return 0;
}

static int parse_object(struct annot_object *to, const json_t *o)
{
    int64_t cat, crowd;
    json_t *box;

    if (json_get_array(o, "bbox", &box) < 0 ||
        json_get_real(o, "area", &to->area) < 0 ||
        check_number("area", to->area) < 0 ||
        get_range(o, "cat", 0, ANNOT_CLASS_MAX - 1, &cat) < 0 ||
        get_range(o, "iscrowd", 0, 1, &crowd) < 0 ||
        json_get_int(o, "id", &to->id) < 0)
        return -1;
    if (json_array_size(box) != 4)
        return err_set(ERR_DATA, "bbox: %zu numbers", json_array_size(box));
    for (size_t k = 0; k < 4; k++) {
        const json_t *v = json_array_get(box, k);

        if (!json_is_number(v))
            return err_set(ERR_DATA, "bbox: not four numbers");
        to->bbox[k] = json_number_value(v);
        if (check_number("bbox", to->bbox[k]) < 0)
            return -1;
    }
    to->cat = (int32_t)cat;
    to->crowd = crowd != 0;
    return 0;
}

static int parse_root(struct annot *a, const json_t *root)
{
    int64_t w, h;
    json_t *list;

    if (json_get_array(root, "ann", &list) < 0 ||
        get_range(root, "w", 1, ANNOT_SIDE_MAX, &w) < 0 ||
        get_range(root, "h", 1, ANNOT_SIDE_MAX, &h) < 0 ||
        get_range(root, "id", 0, ANNOT_ID_MAX, &a->id) < 0)
        return -1;
    a->w = (int32_t)w;
    a->h = (int32_t)h;
    if (json_array_size(list) > ANNOT_OBJECTS_MAX)
        return err_set(ERR_DATA, "%zu objects: over %d", json_array_size(list),
                       ANNOT_OBJECTS_MAX);
    if (json_array_size(list) > a->cap) {
        a->cap = json_array_size(list);
        a->object = xreallocarray(a->object, a->cap, sizeof(*a->object));
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (parse_object(&a->object[i], json_array_get(list, i)) < 0)
            return err_wrap("object %zu", i);
        a->n++;
    }
    return 0;
}

int annot_parse(struct annot *a, const char *text, size_t n)
{
    json_t *root;
    int r;

    a->n = 0;
    if (n > ANNOT_TEXT_MAX)
        return err_set(ERR_DATA, "annotation: %zu bytes: over 1 MiB", n);
    root = json_text(text, n, "annotation");
    if (!root)
        return -1;
    r = parse_root(a, root);
    json_decref(root);
    return r < 0 ? err_wrap("annotation") : 0;
}

void annot_release(struct annot *a)
{
    free(a->object);
    memset(a, 0, sizeof(*a));
}

int annot_check(const struct annot *a, uint32_t classes)
{
    for (size_t i = 0; i < a->n; i++)
        if ((uint32_t)a->object[i].cat >= classes)
            return err_set(ERR_DATA, "annotation: class %ld: there are %lu",
                           (long)a->object[i].cat, (unsigned long)classes);
    return 0;
}

bool annot_usable(const struct annot *a)
{
    for (size_t i = 0; i < a->n; i++)
        if (!a->object[i].crowd)
            return true;
    return false;
}
