/*
 * detect.h - images and boxes as a detector sees them: Detectron2's geometry.
 *
 * An image is turned upright (EXIF), its short side becomes one of a few
 * lengths unless the long one would exceed a limit, and it is mirrored half of
 * the time; its boxes go the same way. What is chosen depends on (seed, epoch,
 * position) alone, as in augment.h (facebookresearch/detectron2:
 * detectron2/data/transforms/augmentation_impl.py, detection_utils.py;
 * coco-detector 4.2).
 *
 *	plan = detect_plan(&settings, w, h, seed, epoch, pos);
 *	detect_boxes(&objects, &annot, &plan, row, crowd);
 */
#ifndef VISION_DETECT_H
#define VISION_DETECT_H

#include "io/annot.h"
#include "vision/jpeg.h"

#include <stdbool.h>
#include <stdint.h>

#define DETECT_SIZES 64
#define DETECT_STRIDE 32 /* sides of a batch are multiples of it */

struct detect {
    int n;                    /* lengths */
    int length[DETECT_SIZES]; /* of the short side; 0: the image as it is */
    bool range;               /* any from length[0] to length[1] */
    int max;                  /* of the long side */
    double flip;              /* probability */
    bool bgr;                 /* order of the channels */
    bool crowd;               /* regions of crowds are kept */
};

struct detect_plan {
    int in_w, in_h; /* upright */
    int w, h;       /* 0: too thin to be made so small */
    bool flip;
};

/* The size of an image of w x h with a short side of `length`, a long one of
 * at most max. A side may become 0. */
void detect_shape(int w, int h, int length, int max, int *out_w, int *out_h);
/* seed, epoch and pos are those of rng_init, domain RNG_AUGMENT. */
struct detect_plan detect_plan(const struct detect *d, int w, int h,
                               uint64_t seed, uint32_t epoch, uint32_t pos);

/* Objects of several images, one after the other. Zero before; lasting room. */
struct detect_objects {
    size_t n, cap;
    float *box;     /* [n,4] x0 y0 x1 y1 */
    int32_t *image; /* [n] which image */
    int64_t *category;
    uint8_t *crowd;
    float *area; /* as annotated, in pixels of the file */
};
/*
 * Append the objects of an image. Coordinates are made fp32 corners, scaled in
 * double, mirrored, put in order, clipped to the image and stored as fp32;
 * boxes with a side of 1e-5 or less are left out, crowds too unless wanted.
 */
void detect_boxes(struct detect_objects *o, const struct annot *a,
                  const struct detect_plan *p, int32_t image, bool crowd);
/* Append those of another list as those of image `image`. */
void detect_append(struct detect_objects *o, const struct detect_objects *from,
                   int32_t image);
void detect_objects_release(struct detect_objects *o);

/*
 * The image turned as its EXIF orientation 2..8 says, in memory of `scratch`
 * (orientation 1: untouched). *im is changed to be the turned one.
 */
void detect_upright(struct jpeg_image *im, int orientation,
                    struct buf *scratch);

#endif
