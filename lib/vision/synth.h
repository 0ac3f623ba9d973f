/*
 * synth.h - made-up photographs: one textured object on a cluttered ground.
 *
 * The class is the pair of shape and texture of the object ("striped disc");
 * place, size, rotation, colours, light, ground, clutter, blur, noise and
 * compression are drawn at random and say nothing about it. A picture is a pure
 * function of (seed, split, class, number), drawn with integers and with +, -,
 * *, / and square roots of doubles alone, so it is the same everywhere the same
 * libjpeg-turbo writes it. A scene has several objects, or none, of any class,
 * and an annotation that says where they are.
 */
#ifndef VISION_SYNTH_H
#define VISION_SYNTH_H

#include "io/annot.h"
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
#define SYNTH_OBJECTS_MAX 8
/*
 * Append a JPEG file; a has room for SYNTH_OBJECTS_MAX objects and gets size and
 * objects, no ids: boxes are those of the pixels drawn, area counts them. Now
 * and then a scene has a crowd, as one object.
 */
int synth_scene(const struct synth *s, int split, int classes, uint32_t number,
                struct buf *jpeg, struct annot *a) MUST_CHECK;

#endif
