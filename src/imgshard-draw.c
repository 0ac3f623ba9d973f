/* Rows of batches on a canvas. */
#include "imgshard-draw.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct picture row_picture(const struct batch_frame *f, int64_t j)
{
    size_t stride = (size_t)f->w * 3;
    struct picture p = {f->image + stride * (size_t)f->h * (size_t)j, f->w,
                        f->h, stride};

    /* what lies behind a smaller image is padding */
    if (f->size) {
        p.h = f->size[2 * j];
        p.w = f->size[2 * j + 1];
    }
    return p;
}

void row_draw(const struct spot *at, const struct batch_frame *f, int64_t j)
{
    struct picture p = row_picture(f, j);

    draw_image(at->c, at->x, at->y, &p, at->down);
}

static void name_of(const struct shard_set *s, int64_t category, bool crowd,
                    char *text, size_t n)
{
    const char *name = category >= 0 && category < (int64_t)s->n_classes
                           ? s->cls[category].label
                           : "?";

    snprintf(text, n, "%.20s%s", name, crowd ? " (crowd)" : "");
}

/* The name stands on the box, or in it at the top of the image. */
static void draw_object(const struct spot *at, const float *box,
                        const char *name, uint32_t ink)
{
    int x0 = at->x + (int)lrintf(box[0]) / at->down;
    int y0 = at->y + (int)lrintf(box[1]) / at->down;
    int x1 = at->x + (int)lrintf(box[2]) / at->down;
    int y1 = at->y + (int)lrintf(box[3]) / at->down;
    int wide = (int)strlen(name) * DRAW_ADVANCE + 1;
    int top = y0 - DRAW_LINE >= at->y ? y0 - DRAW_LINE : y0;

    draw_box(at->c, x0, y0, x1 > x0 ? x1 : x0 + 1, y1 > y0 ? y1 : y0 + 1, ink);
    draw_fill(at->c, x0, top, x0 + wide, top + DRAW_LINE - 1, ink);
    draw_text(at->c, x0 + 1, top + 1, name, DRAW_BLACK);
}

void row_boxes(const struct spot *at, const struct batch_frame *f, int64_t j,
               const struct shard_set *s)
{
    const struct detect_objects *o = &f->objects;
    char name[40];

    for (size_t i = 0; i < o->n; i++)
        if (o->image[i] == j) {
            name_of(s, o->category[i], o->crowd[i], name, sizeof(name));
            draw_object(at, o->box + 4 * i, name, draw_ink(o->category[i]));
        }
}
