/*
 * Any bytes as a COCO file and as an annotation: refused with a sentence of class
 * ERR_DATA, or records that keep what io/coco.h promises, whose annotations are
 * written and read back the same.
 */
#include "io/coco.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void refused(void)
{
    if (err_code() != ERR_DATA || !*err_text())
        BUG("refused without a reason: class %d", (int)err_code());
}

/* What is written is read, and written again the same. */
static void round_trip(const struct annot *a)
{
    static struct buf one, two;
    static struct annot back;

    buf_reset(&one);
    buf_reset(&two);
    annot_text(a, &one);
    if (one.len > ANNOT_TEXT_MAX)
        return;
    if (annot_parse(&back, one.data, one.len) < 0)
        BUG("own text: %s", err_text());
    annot_text(&back, &two);
    if (one.len != two.len || memcmp(one.data, two.data, one.len) != 0)
        BUG("%s became %s", one.data, two.data);
    if (annot_usable(a) != annot_usable(&back))
        BUG("usable or not");
}

static void check_file(const struct coco *c)
{
    size_t objects = 0;

    for (size_t i = 0; i < c->n; i++) {
        const struct annot *a = &c->image[i];

        if ((i && a->id <= c->image[i - 1].id) || !*c->file[i] ||
            *c->file[i] == '/' || strstr(c->file[i], "/../"))
            BUG("image %zu", i);
        for (size_t k = 0; k < a->n; k++)
            if ((size_t)a->object[k].cat >= c->n_classes)
                BUG("class of object %zu", k);
        objects += a->n;
        round_trip(a);
    }
    if (objects != c->n_objects || !c->n || !c->n_classes)
        BUG("%zu objects, %zu counted", objects, c->n_objects);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = size ? (const char *)data : "";
    static struct annot a;
    struct coco c = {0};

    err_clear();
    if (coco_parse(&c, text, size, "F") < 0)
        refused();
    else
        check_file(&c);
    coco_release(&c);
    err_clear();
    if (annot_parse(&a, text, size) < 0)
        refused();
    else
        round_trip(&a);
    return 0;
}
