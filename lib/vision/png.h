/*
 * png.h - PNG bytes to pixels: header, full check, region.
 *
 * Pixels are those of Pillow's convert("RGB"): palettes looked up, fewer than
 * 8 bits widened, of 16-bit colour the high byte, alpha and transparent colours
 * dropped without compositing, grey replicated, gamma and profiles ignored
 * (data-and-collectives 2.7). 16-bit grey is refused, as Pillow has a mode of
 * its own for it, I;16, that is no picture of 8 bits. Sizes are checked against
 * the limits of jpeg.h before anything is allocated; wrong checksums and data
 * that end too soon are errors. Nothing here trusts a byte, every failure is
 * ERR_DATA, and the calls are those of jpeg.h:
 *
 *	struct png_decoder *d = png_decoder_new();
 *	if (png_begin(d, p, n, &w, &h) < 0 ||
 *	    png_region(d, &(struct rect){x, y, rw, rh}, &im) < 0)
 *		...                   (d can take the next image all the same)
 *	png_decoder_free(d);
 */
#ifndef VISION_PNG_H
#define VISION_PNG_H

#include "util/err.h"
#include "vision/jpeg.h"

#include <stdbool.h>
#include <stddef.h>

/* Bits of the column "flags" of a shard index that a PNG file can set. */
enum png_flag {
    PNG_IS_PNG = 1 << 1,
    PNG_GREY = 1 << 3,   /* with alpha or without */
    PNG_WARNED = 1 << 9, /* set by png_check only */
    PNG_16BIT = 1 << 12
};

struct png_info {
    int width, height;
    unsigned flags; /* enum png_flag */
};

/* Do the bytes begin like a PNG file (89 'P' 'N' 'G')? */
bool png_sniff(const void *p, size_t n);
/* The first chunk alone. ERR_DATA: not PNG, a limit, 16-bit grey. */
int png_probe(const void *p, size_t n, struct png_info *info) MUST_CHECK;

struct png_decoder;
struct png_decoder *png_decoder_new(void);
void png_decoder_free(struct png_decoder *d);
/* Warnings make an image fail. */
void png_decoder_strict(struct png_decoder *d, bool strict);

/* png_probe, then decode every row and read to the end of the file. */
int png_check(struct png_decoder *d, const void *p, size_t n,
              struct png_info *info) MUST_CHECK;
/* Read what is in front of the pixels. The bytes must stay until png_region is
 * done. */
int png_begin(struct png_decoder *d, const void *p, size_t n, int *width,
              int *height) MUST_CHECK;
/*
 * A part of the image begun (NULL: all of it), once per png_begin; as
 * jpeg_region. Rows below it are not decoded unless the file is interlaced.
 */
int png_region(struct png_decoder *d, const struct rect *r,
               struct jpeg_image *im) MUST_CHECK;
/* Number of warnings met in the last image. */
long png_warnings(const struct png_decoder *d);

#endif
