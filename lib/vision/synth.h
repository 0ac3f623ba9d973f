/*
 * synth.h - made-up photographs: one textured object on a cluttered ground.
 *
 * The class is the pair of shape and texture of the object ("striped disc");
 * place, size, rotation, colours, light, ground, clutter, blur, noise and
 * compression are drawn at random and say nothing about it. A picture is a pure
 * function of (seed, split, class, number), drawn with integers and with +, -,
 * *, / and square roots of doubles alone, so it is the same everywhere the same
 * libjpeg-turbo writes it.
 */
#ifndef VISION_SYNTH_H
#define VISION_SYNTH_H

#include "util/buf.h"
#include "util/err.h"

#include <stdint.h>

#define SYNTH_CLASSES_MAX 48

struct synth {
    uint64_t seed;
    int size_min, size_max; /* of the sides, pixels; 16..4096 */
};

/* "c00-striped-disc"; name holds at least 32 bytes. */
void synth_class(int class_id, char *name, size_t n);
/* Append a JPEG file. split: 0 train, 1 val. */
int synth_image(const struct synth *s, int split, int class_id, uint32_t number,
                struct buf *jpeg) MUST_CHECK;

#endif
