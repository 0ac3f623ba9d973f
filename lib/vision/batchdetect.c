/* Rows of detection: images of their own size, with objects, made one frame. */
#include "vision/batch_private.h"

#include <stdlib.h>
#include <string.h>

void batch_no_part(struct batch_part *p)
{
    p->w = p->h = p->orig_w = p->orig_h = 0;
    p->image_id = -1;
    p->objects.n = 0;
}

/* The file must be the image that the annotation speaks of. */
static int check_size(const struct annot *a, const struct image_info *info)
{
    bool turned = info->orientation >= 5;
    int w = turned ? info->height : info->width;
    int h = turned ? info->width : info->height;

    if (w == a->w && h == a->h)
        return 0;
    return err_set(ERR_DATA, "%d x %d pixels, its annotation says %ld x %ld", w,
                   h, (long)a->w, (long)a->h);
}

/* The whole image, upright, to out->pixels as the plan says. */
static int make_pixels(const struct batch_row *row, struct batch_tools *t,
                       int orientation, const struct detect_plan *p, bool bgr,
                       struct buf *out)
{
    struct resize_job job = {.in_w = p->in_w,
                             .in_h = p->in_h,
                             .out_w = p->w,
                             .out_h = p->h,
                             .part = {0, 0, p->w, p->h},
                             .flip = p->flip,
                             .bgr = bgr};
    size_t stride = (size_t)p->w * 3;
    struct jpeg_image im;
    struct rect need;
    int w, h;

    if (resize_need(&job, &need) < 0 ||
        image_begin(t->decoder, row->data, row->size, &w, &h) < 0 ||
        image_region(t->decoder, NULL, &im) < 0)
        return -1;
    detect_upright(&im, orientation, &t->upright);
    buf_reset(out);
    buf_reserve(out, stride * (size_t)p->h);
    resize_run(t->resizer, &job,
               im.pixels + im.stride * (size_t)need.y + 4 * (size_t)need.x,
               im.stride, (uint8_t *)out->data, stride);
    return 0;
}

int batch_detect(const struct batch_config *c, const struct batch_row *row,
                 struct batch_tools *t, struct batch_part *out)
{
    const struct detect *d = c->detect;
    struct image_info info;
    struct detect_plan p;

    if (!row->annot.len)
        return err_set(ERR_DATA, "no annotation");
    if (annot_parse(&t->annot, row->annot.data, row->annot.len) < 0 ||
        image_probe(row->data, row->size, &info) < 0 ||
        check_size(&t->annot, &info) < 0)
        return -1;
    p = detect_plan(d, t->annot.w, t->annot.h, c->seed, (uint32_t)row->epoch,
                    (uint32_t)row->pos);
    if (p.w < 1 || p.h < 1)
        return err_set(ERR_DATA, "%d x %d pixels: too thin: one side becomes 0",
                       p.in_w, p.in_h);
    if (make_pixels(row, t, info.orientation, &p, d->bgr, &out->pixels) < 0)
        return -1;
    out->w = p.w;
    out->h = p.h;
    out->orig_w = p.in_w;
    out->orig_h = p.in_h;
    out->image_id = t->annot.id;
    out->objects.n = 0;
    detect_boxes(&out->objects, &t->annot, &p, 0, d->crowd);
    return 0;
}

/* ---- frames */

static int rounded(int side)
{
    return (side + DETECT_STRIDE - 1) / DETECT_STRIDE * DETECT_STRIDE;
}

/* A part at the top left of h x w pixels. */
static void lay(const struct batch_part *p, int w, int h, uint8_t *to)
{
    const char *from = p->pixels.data;
    size_t line = (size_t)p->w * 3, stride = (size_t)w * 3;

    for (int y = 0; y < p->h; y++, to += stride, from += line) {
        memcpy(to, from, line);
        memset(to + line, 0, stride - line);
    }
    memset(to, 0, stride * (size_t)(h - p->h));
}

int batch_join(struct batch_frame *f, struct buf *canvas)
{
    size_t bytes;
    int w = 1, h = 1;

    f->objects.n = 0;
    for (int64_t j = 0; j < f->rows; j++) {
        const struct batch_part *p = &f->part[j];

        w = p->w > w ? p->w : w;
        h = p->h > h ? p->h : h;
        f->size[2 * j] = p->h;
        f->size[2 * j + 1] = p->w;
        f->orig[2 * j] = p->orig_h;
        f->orig[2 * j + 1] = p->orig_w;
        f->image_id[j] = p->image_id;
        detect_append(&f->objects, &p->objects, (int32_t)j);
    }
    f->w = rounded(w);
    f->h = rounded(h);
    bytes = (size_t)f->w * (size_t)f->h * 3;
    if (bytes * (size_t)f->rows > canvas->cap) {
        /* not realloc: what is in it is not wanted */
        buf_release(canvas);
        canvas->data = malloc(bytes * (size_t)f->rows);
        if (!canvas->data)
            return err_set(ERR_SYSTEM,
                           "batch of %lld images of %d x %d: no memory",
                           (long long)f->rows, f->w, f->h);
        canvas->cap = bytes * (size_t)f->rows;
    }
    f->image = (uint8_t *)canvas->data;
    for (int64_t j = 0; j < f->rows; j++)
        lay(&f->part[j], f->w, f->h, f->image + bytes * (size_t)j);
    return 0;
}
