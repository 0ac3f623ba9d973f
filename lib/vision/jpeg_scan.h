/*
 * jpeg_scan.h - a region of a sequential JPEG file, fast.
 *
 * libjpeg reads the header (jpeg.c); the one scan of a sequential file with
 * Huffman codes, which nearly every photograph is, is decoded here: of blocks
 * outside the region only the lengths of their codes are looked at, restart
 * intervals outside it not even that. Pixels are those of libjpeg-turbo with
 * accurate DCT and fancy upsampling (its jidctint.c, jdsample.c, jdcolor.c and
 * simd/x86_64), bit for bit; every instruction set gives equal bytes.
 *
 * Nothing is decoded by halves: whatever is odd, such as a code that no symbol
 * has, data that end too soon or a coefficient that no picture gives, ends the
 * attempt, and what becomes of such a file is for libjpeg to say.
 *
 *	struct jpeg_scan *s = jpeg_scan_new();
 *	if (jpeg_scan_takes(&head) &&
 *	    jpeg_scan_region(s, &head, &r, pixels, stride))
 *		...
 *	jpeg_scan_free(s);
 */
#ifndef VISION_JPEG_SCAN_H
#define VISION_JPEG_SCAN_H

#include "vision/jpeg.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the header says; all memory is the caller's. */
struct jpeg_scan_head {
    int width, height;
    int components; /* 1: grey; 3: Y, Cb, Cr */
    int restart;    /* MCUs between restart markers, 0: none */
    struct jpeg_scan_part {
        int h, v;                            /* sampling factors */
        const uint16_t *quant;               /* [8][8] */
        const uint8_t *dc_bits, *dc_symbols; /* codes of each length 1..16, */
        const uint8_t *ac_bits, *ac_symbols; /* [17]; their symbols [256] */
    } part[3];
    const uint8_t *data; /* behind the header of the scan */
    size_t size;
};

struct jpeg_scan;
struct jpeg_scan *jpeg_scan_new(void);
void jpeg_scan_free(struct jpeg_scan *s);
/* By name (isa_names in util/isa.h); false if it is not here. */
bool jpeg_scan_use(struct jpeg_scan *s, const char *set);

/* Are its sampling factors of those that are known here? */
bool jpeg_scan_takes(const struct jpeg_scan_head *head);
/*
 * Decode r, which lies in the image, to RGBX. False: the data are odd, the
 * pixels of no use. Rows have room for JPEG_SCAN_ROOM bytes more.
 */
#define JPEG_SCAN_ROOM 256
bool jpeg_scan_region(struct jpeg_scan *s, const struct jpeg_scan_head *head,
                      const struct rect *r, uint8_t *pixels, size_t stride);

#endif
