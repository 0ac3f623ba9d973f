/*
 * jpeg_scan_kern.h - the loops of jpeg_scan.c, one set per instruction set.
 *
 * jpeg_scan_kern.isa.c is compiled once for each; all sets give equal bytes.
 * Used by jpeg_scan.c only.
 */
#ifndef VISION_JPEG_SCAN_KERN_H
#define VISION_JPEG_SCAN_KERN_H

#include "util/isa.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that are read, or written, beyond what is asked for. */
#define SCAN_SLACK 64
/* Zeros behind the entropy-coded data: more than an MCU takes of them. */
#define SCAN_TAIL 2048

/* ---- Huffman codes */

/*
 * What the next SCAN_LOOK bits begin with. An entry of look is one symbol:
 *
 *	bits 0-4   bits to take, those of the value among them
 *	bit 7      SCAN_LONG: take 8-11 more, which are the value; or, if bits
 *	           0-4 are zero, the code is longer than SCAN_LOOK
 *	bits 8-15  how far it moves in the block: run + 1, or SCAN_END
 *	bits 16-31 the value; with SCAN_LONG how many bits that has
 *
 * An entry of jump is as many symbols as the bits tell the codes of: 0-7 and
 * 8-15 as above, summed up; zero: the code of the first is longer.
 */
#define SCAN_LOOK 10
#define SCAN_LONG 0x80u
#define SCAN_END 128

struct scan_codes {
    uint32_t look[1 << SCAN_LOOK];
    uint16_t jump[1 << SCAN_LOOK];
    /* codes by their length, as ITU-T T.81, annex F.2.2.3, has them; of
     * length n the largest is max[n], -1 if there is none */
    int32_t max[18], first[18];
    uint8_t value[256];
};

/* Entropy-coded data without stuffing, SCAN_TAIL zeros behind end. The next bit
 * is the uppermost of acc. */
struct scan_bits {
    uint64_t acc;
    int count; /* bits of acc that are behind p already */
    const uint8_t *p, *end;
};

/* ---- planes */

/* A component. */
struct scan_part {
    const struct scan_codes *dc, *ac;
    const uint16_t *quant; /* [8][8] */
    int across, down;      /* blocks of it in an MCU */
    int last;              /* the predictor of DC coefficients */
    uint8_t *row;          /* where the row of MCUs in hand is stored, column 0
                              being that of the first MCU kept */
    size_t stride;
};

struct scan_kern {
    /*
     * Decode MCUs and store the samples of each, the first as MCU number `at`
     * of those kept. False: the data are odd, or may be (jpeg_scan.h).
     */
    bool (*keep)(struct scan_bits *b, struct scan_part *part, int parts, int at,
                 int mcus);
    /* Pass over MCUs: only predictors come of them. */
    bool (*skip)(struct scan_bits *b, struct scan_part *part, int parts,
                 int mcus);
    /*
     * 2n samples from n of a row, of which -1 and n are read too. Far is the
     * row next nearest; NULL if rows are not upsampled.
     */
    void (*wider)(const uint8_t *near, const uint8_t *far, int n, uint8_t *out);
    /* n samples of a row that is upsampled; lower: far lies below. */
    void (*higher)(const uint8_t *near, const uint8_t *far, bool lower, int n,
                   uint8_t *out);
    /* n pixels RGBX from Y, Cb, Cr; of grey ones cb is NULL. */
    void (*colour)(const uint8_t *y, const uint8_t *cb, const uint8_t *cr,
                   int n, uint8_t *out);
};

ISA_DECLARE(const struct scan_kern, scan_kern);

#endif
