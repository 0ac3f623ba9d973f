/*
 * policy.h - which operations of colour.h a picture goes through: colour
 * jitter, random grey and the augmentation policies of torchvision, pure
 * functions of (seed, epoch, position).
 *
 * One table in policy.c says how far each operation goes and whether it has two
 * directions; the policies choose from it. Magnitudes are exactly those of
 * torchvision (pytorch/vision: torchvision/transforms/autoaugment.py), fp32
 * numbers included; draws are those of rng.h, domain RNG_COLOUR.
 *
 *	struct policy_step step[POLICY_STEPS];
 *	n = policy_draw(&p, size, seed, epoch, pos, step);
 *	policy_run(step, n, rgb, size, scratch);
 */
#ifndef VISION_POLICY_H
#define VISION_POLICY_H

#include "vision/colour.h"

#include <stdint.h>

enum policy_kind {
    POLICY_NONE,
    POLICY_TRIVIAL, /* TrivialAugmentWide: one operation, any magnitude */
    POLICY_RAND,    /* RandAugment: some operations, one magnitude */
    POLICY_AUTO     /* AutoAugment: pairs that were found for ImageNet */
};

#define POLICY_BINS 31    /* magnitudes of trivial and rand, 0 to 30 */
#define POLICY_OPS_MAX 16 /* operations of rand */
#define POLICY_STEPS (4 + 1 + POLICY_OPS_MAX)

struct policy {
    int kind;           /* enum policy_kind */
    int ops, magnitude; /* rand: how many, 0..30 */
    /* Brightness, contrast, saturation: factors from max(0, 1 - x) to 1 + x;
     * hue: from -x to x, at most 0.5. In random order; 0: not at all. */
    double jitter[4];
    double grey; /* probability of becoming grey */
};

struct policy_step {
    enum colour_op op;
    double m; /* as colour_apply takes it */
};

/* The steps, at most POLICY_STEPS, in order: jitter, grey, policy; their
 * number. size: side of the picture. */
int policy_draw(const struct policy *p, int size, uint64_t seed, uint32_t epoch,
                uint32_t pos, struct policy_step *step);
void policy_run(const struct policy_step *step, int n, uint8_t *rgb, int size,
                uint8_t *scratch);
/* Magnitude j of `bins` of an operation: wide (trivial) or not. In the table's
 * direction; for the enhancements what is added to 1. For tests too. */
double policy_magnitude(enum colour_op op, int wide, int bins, int j, int size);

#endif
