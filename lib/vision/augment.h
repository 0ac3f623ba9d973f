/*
 * augment.h - which part of an image becomes the network's input: pure
 * functions of the size and, for training, of (seed, epoch, position).
 *
 * Position, not thread or rank, owns the randomness: a row looks the same on
 * any number of threads and ranks and after any restart. Geometry only; no
 * pixel is touched here (data-and-collectives 2.9).
 */
#ifndef VISION_AUGMENT_H
#define VISION_AUGMENT_H

#include "vision/resize.h"

#include <stdbool.h>
#include <stdint.h>

/* Settings of the train crop (torchvision's RandomResizedCrop and flip). */
struct augment {
    double scale[2]; /* area, 0.08..1 of the image */
    double ratio[2]; /* width to height, 3/4..4/3, log-uniform */
    double flip;     /* probability */
    double erase;    /* probability that a rectangle is erased */
};
#define AUGMENT_INIT                                                           \
    {                                                                          \
        {0.08, 1.0}, {0.75, 4.0 / 3.0}, 0.5, 0                                 \
    }

struct crop {
    struct rect box;
    bool flip;
};
/*
 * The crop of an image of w x h at a position of an epoch; it is cut out first
 * and resized then (pytorch/vision: torchvision/transforms/transforms.py).
 * seed, epoch and pos are those of rng_init, domain RNG_AUGMENT.
 */
struct crop augment_train(const struct augment *a, int w, int h, uint64_t seed,
                          uint32_t epoch, uint32_t pos);
/*
 * The rectangle of a picture of size x size that is erased, that is, made the
 * mean colour; w and h 0: none. Area 0.02..0.33, height to width 0.3..3.3,
 * domain RNG_ERASE (the same file, RandomErasing).
 */
struct rect augment_erase(const struct augment *a, int size, uint64_t seed,
                          uint32_t epoch, uint32_t pos);
/* The central crop taken when ten tries have failed. */
struct rect augment_fallback(const struct augment *a, int w, int h);
/* One try of the size of a crop: area of `area` pixels, ratio; may not fit. */
void augment_try(double area, double ratio, int *w, int *h);

/*
 * Evaluation: the short side becomes `resize` (squash: both sides do), then the
 * central size x size is cut out. job says which part of the resized image is
 * made, *left and *top where it lies in the size x size output, which is black
 * where the image does not reach (pytorch/vision:
 * torchvision/transforms/functional.py, center_crop).
 */
void augment_eval(int w, int h, int resize, int size, bool squash,
                  struct resize_job *job, int *left, int *top);

#endif
