/*
 * colour.h - operations on small RGB pictures, bit-equal to Pillow's.
 *
 * What the augmentation policies are made of: each operation changes w x h dense
 * RGB pixels of 8 bits in place and has one number, its magnitude, with the
 * meaning that torchvision gives it (pytorch/vision:
 * torchvision/transforms/autoaugment.py, _apply_op); but for the enhancements it
 * is the factor itself. What lies outside of the picture is black; geometry
 * interpolates bilinearly. Sources of the arithmetic: python-pillow/Pillow
 * src/libImaging/{Blend,Convert,Filter,Geometry}.c, src/PIL/{Image,
 * ImageEnhance,ImageOps}.py.
 *
 *	uint8_t *scratch = xmalloc(colour_scratch(w, h));
 *	colour_apply(rgb, w, h, COLOUR_ROTATE, 30.0, scratch);
 */
#ifndef VISION_COLOUR_H
#define VISION_COLOUR_H

#include <stddef.h>
#include <stdint.h>

enum colour_op {
    COLOUR_IDENTITY,
    COLOUR_SHEAR_X,      /* source x += m y; m: tangent */
    COLOUR_SHEAR_Y,      /* source y += m x */
    COLOUR_TRANSLATE_X,  /* whole pixels to the right, m truncated */
    COLOUR_TRANSLATE_Y,  /* down */
    COLOUR_ROTATE,       /* degrees against the clock, about the middle */
    COLOUR_BRIGHTNESS,   /* factor: 0 black, 1 nothing */
    COLOUR_COLOUR,       /* factor: 0 grey, 1 nothing; saturation */
    COLOUR_CONTRAST,     /* factor: 0 the mean grey */
    COLOUR_SHARPNESS,    /* factor: 0 smoothed, 2 sharpened */
    COLOUR_POSTERIZE,    /* bits kept, 1 to 8 */
    COLOUR_SOLARIZE,     /* what is not below m is inverted */
    COLOUR_AUTOCONTRAST, /* no magnitude: this one and the following */
    COLOUR_EQUALIZE,
    COLOUR_INVERT,
    COLOUR_GREY,
    COLOUR_HUE, /* m in -0.5..0.5: turns of the colour circle */
    COLOUR_N
};

/* torchvision's name of an operation, "ShearX". */
const char *colour_name(enum colour_op op);
/* Bytes of scratch memory for a picture. */
size_t colour_scratch(int w, int h);
/* w, h > 0; scratch is overwritten. */
void colour_apply(uint8_t *rgb, int w, int h, enum colour_op op, double m,
                  uint8_t *scratch);

#endif
