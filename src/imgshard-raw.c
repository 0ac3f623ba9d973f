/* pack --raw: an image as pixels of a fixed size. */
#include "imgshard-item.h"

#include "vision/augment.h"
#include "vision/ppm.h"

#include <string.h>

/* The whole of it with its short side made size, as for evaluation. */
static void plan(int w, int h, int size, struct resize_job *job)
{
    int left, top;

    if (w <= size || h <= size)
        *job =
            (struct resize_job){.in_w = w, .in_h = h, .out_w = w, .out_h = h};
    else
        augment_eval(w, h, size, size, false, job, &left, &top);
    job->part = (struct rect){0, 0, job->out_w, job->out_h};
}

static void copy(const struct jpeg_image *im, uint8_t *to)
{
    for (int y = 0; y < im->height; y++) {
        const uint8_t *from = im->pixels + im->stride * (size_t)y;

        for (int x = 0; x < im->width; x++, to += 3, from += 4)
            memcpy(to, from, 3);
    }
}

int raw_make(struct item_tools *t, int size, struct buf *image,
             struct buf *spare, struct shard_row *row)
{
    struct buf old = *image;
    struct resize_job job;
    struct jpeg_image im;
    struct rect need;
    size_t stride;
    uint8_t *to;
    int w, h;

    if (image_begin(t->decoder, old.data, old.len, &w, &h) < 0)
        return -1;
    plan(w, h, size, &job);
    if (resize_need(&job, &need) < 0 || image_region(t->decoder, NULL, &im) < 0)
        return -1;
    stride = (size_t)job.out_w * 3;
    buf_reset(spare);
    ppm_header(spare, job.out_w, job.out_h);
    to = (uint8_t *)buf_reserve(spare, stride * (size_t)job.out_h);
    if (job.out_w == w && job.out_h == h)
        copy(&im, to);
    else
        resize_run(t->resizer, &job,
                   im.pixels + im.stride * (size_t)need.y + 4 * (size_t)need.x,
                   im.stride, to, stride);
    spare->len += stride * (size_t)job.out_h;
    spare->data[spare->len] = 0;
    *image = *spare;
    *spare = old;
    row->width = (uint16_t)job.out_w;
    row->height = (uint16_t)job.out_h;
    row->flags = SHARD_RAW;
    return 0;
}
