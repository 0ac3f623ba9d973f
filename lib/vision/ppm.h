/*
 * ppm.h - pixels as they are, behind a line that says how many: binary PPM with
 * 8 bits a colour, which imgshard pack --raw writes.
 *
 * Read are "P6", width, height and 255 with white space and comments between
 * (netpbm: ppm(5)); nothing may follow the pixels. The limits are those of
 * jpeg.h, every failure is ERR_DATA, and the calls are those of png.h.
 */
#ifndef VISION_PPM_H
#define VISION_PPM_H

#include "util/buf.h"
#include "util/err.h"
#include "vision/jpeg.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PPM_FLAG (1 << 14) /* of the column "flags" of a shard index */

struct ppm_info {
    int width, height;
    const uint8_t *pixels; /* [height,width,3] RGB, inside the file */
};

/* Do the bytes begin with "P6" and white space? */
bool ppm_sniff(const void *p, size_t n);
int ppm_probe(const void *p, size_t n, struct ppm_info *info) MUST_CHECK;
/* The header of width x height pixels, appended; the pixels go behind it. */
void ppm_header(struct buf *b, int width, int height);

/* Of one thread. */
struct ppm_decoder;
struct ppm_decoder *ppm_decoder_new(void);
void ppm_decoder_free(struct ppm_decoder *d);
int ppm_begin(struct ppm_decoder *d, const void *p, size_t n, int *width,
              int *height) MUST_CHECK;
int ppm_region(struct ppm_decoder *d, const struct rect *r,
               struct jpeg_image *im) MUST_CHECK;

#endif
