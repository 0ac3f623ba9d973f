/*
 * resize.h - Pillow's antialiased bilinear resize of 8-bit pixels, bit for bit.
 *
 * Definition (python-pillow/Pillow: src/libImaging/Resample.c; restated in
 * data-and-collectives 2.8): a triangle filter as wide as the scale, weights in
 * double precision made fixed point of 22 bits, the horizontal pass rounded to
 * bytes, then the vertical; the other way round for images more than 100 times
 * as high as wide that become lower (Pillow up to 12, src/PIL/Image.py).
 * Pillow 13 turns the passes round more often; resize_job.pillow13 asks for its
 * rule, found by experiment: the height shrinks by more than twice as many
 * pixels as the width. The last bit of a pixel may depend on it. Any part of
 * the output can be asked for: it equals that part of the whole, and only the
 * source pixels it needs are read. Every instruction set gives equal bytes.
 *
 *	struct resize_job job = {w, h, 224, 224, {0, 0, 224, 224}, flip};
 *	if (resize_need(&job, &need) < 0 || jpeg_region(d, &need, &im) < 0)
 *		...
 *	resize_run(r, &job, im.pixels, im.stride, dst, 3 * 224);
 */
#ifndef VISION_RESIZE_H
#define VISION_RESIZE_H

#include "vision/jpeg.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A side may not shrink by more than this. */
#define RESIZE_MAX_SCALE 1024

struct resize_job {
    int in_w, in_h;   /* all of the source */
    int out_w, out_h; /* all of the output */
    struct rect part; /* of the output: what is made */
    bool flip;        /* mirror the part left to right as it is stored */
    bool pillow13;    /* order of the passes as in Pillow 13 */
    bool bgr;         /* store blue, green, red */
};

/*
 * The source pixels that a job reads. ERR_DATA if a side shrinks more than
 * RESIZE_MAX_SCALE times.
 */
int resize_need(const struct resize_job *job, struct rect *need) MUST_CHECK;

/* Scratch memory of one thread, and the instruction set chosen. */
struct resizer;
struct resizer *resizer_new(void);
void resizer_free(struct resizer *r);
/*
 * By name (isa_names), for tests and measurements; false if this machine or this
 * build lacks it.
 */
bool resizer_use(struct resizer *r, const char *set);
const char *resizer_set(const struct resizer *r);

/*
 * src is the RGBX pixel (need.x, need.y) of the source, stride in bytes; dst
 * receives part.h rows of part.w RGB pixels (3 bytes), dst_stride bytes apart.
 * The job has passed resize_need.
 */
void resize_run(struct resizer *r, const struct resize_job *job,
                const uint8_t *src, size_t stride, uint8_t *dst,
                size_t dst_stride);

/* ---- one axis, for the tests of the arithmetic */

/* Weights of outputs first..first+n-1 of an axis of `in` made `out` long. */
struct resize_axis {
    int n;    /* outputs */
    int taps; /* room for each in weight, even */
    int *from, *count;
    int32_t *weight; /* [n][taps], 22 bits; zero behind count */
    int cap_n, cap_weight;
};
void resize_axis_make(struct resize_axis *a, int in, int out, int first, int n);
void resize_axis_release(struct resize_axis *a);

#endif
