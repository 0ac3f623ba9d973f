/*
 * mix.h - mixup and cutmix: how the pictures of one micro-batch are mixed with
 * their neighbours, a pure function of (seed, epoch, position of its first row).
 *
 * Row i is mixed with row i-1, the first with the last; labels alike, lambda the
 * weight of a row's own. With both, each micro-batch takes one of the two with
 * equal chances (pytorch/vision: torchvision/transforms/v2/_augment.py,
 * references/classification/transforms.py). Only what is to be done is drawn
 * here: mixing is done on normalised numbers, so it is the network's first step.
 */
#ifndef VISION_MIX_H
#define VISION_MIX_H

#include <stdint.h>

enum mix_kind {
    MIX_NONE,
    MIX_MIXUP,
    MIX_CUTMIX
};

/* Alpha of the Beta(alpha, alpha) distribution of lambda; 0: not at all. */
struct mix_config {
    double mixup, cutmix;
};

struct mix {
    enum mix_kind kind;
    double lambda; /* of cutmix: the part that is left of the own picture */
    int box[4];    /* cutmix: top, left, bottom, right of the other's part */
};

/* For pictures of size x size; domain RNG_BATCH of rng.h. */
struct mix mix_draw(const struct mix_config *c, int size, uint64_t seed,
                    uint32_t epoch, uint32_t pos);

#endif
