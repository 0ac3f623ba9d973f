/*
 * image.h - an image file of any kind: which it is, and its pixels.
 *
 * What a file is called says nothing: its first bytes do. The calls are those
 * of jpeg.h, png.h and ppm.h, and so are pixels, limits and errors; this is what all
 * others use.
 *
 *	struct image_decoder *d = image_decoder_new();
 *	if (image_begin(d, p, n, &w, &h) < 0 ||
 *	    image_region(d, &(struct rect){x, y, rw, rh}, &im) < 0)
 *		...                   (d can take the next image all the same)
 *	image_decoder_free(d);
 */
#ifndef VISION_IMAGE_H
#define VISION_IMAGE_H

#include "util/err.h"
#include "vision/jpeg.h"

#include <stdbool.h>
#include <stddef.h>

enum image_kind {
    IMAGE_NEITHER,
    IMAGE_JPEG,
    IMAGE_PNG,
    IMAGE_PPM
};

struct image_info {
    enum image_kind kind;
    int width, height; /* as coded, before any rotation */
    int orientation;   /* EXIF, 1..8; 1 for PNG */
    unsigned flags;    /* enum jpeg_flag, png_flag, PPM_FLAG */
};

/* By the first bytes; p may be NULL if n is 0. */
enum image_kind image_sniff(const void *p, size_t n);
/* The header alone; decodes nothing. ERR_DATA: neither kind, or what jpeg_probe
 * and png_probe refuse; kind is set all the same. */
int image_probe(const void *p, size_t n, struct image_info *info) MUST_CHECK;

struct image_decoder;
/* Of one thread, kept for many images. */
struct image_decoder *image_decoder_new(void);
void image_decoder_free(struct image_decoder *d);
/* Warnings of the decoder make an image fail. */
void image_decoder_strict(struct image_decoder *d, bool strict);
/* By name (isa_names in util/isa.h); false if it is not here. */
bool image_decoder_use(struct image_decoder *d, const char *set) MUST_CHECK;

/* image_probe, then decode all of it; ERR_DATA if it is unusable. */
int image_check(struct image_decoder *d, const void *p, size_t n,
                struct image_info *info) MUST_CHECK;
/* Read the header of an image. The bytes must stay until image_region is done.
 */
int image_begin(struct image_decoder *d, const void *p, size_t n, int *width,
                int *height) MUST_CHECK;
/*
 * A part of the image begun (NULL: all of it), once per image_begin: exactly
 * the pixels of a full decode, lent until the next call for d. r must lie in
 * the image.
 */
int image_region(struct image_decoder *d, const struct rect *r,
                 struct jpeg_image *im) MUST_CHECK;
/* Number of warnings met in the last image. */
long image_warnings(const struct image_decoder *d);

#endif
