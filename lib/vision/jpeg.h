/*
 * jpeg.h - JPEG bytes to pixels: header, full check, region; and back.
 *
 * Pixels are those of Pillow's default path: libjpeg-turbo, accurate integer
 * DCT, fancy upsampling, no scaling; grey is replicated, four components are
 * taken as Adobe's inverted CMYK whatever the file says, orientation and
 * colour profile are ignored (data-and-collectives 2.2 to 2.5). Bytes come
 * from anywhere: nothing here trusts them, and every failure is ERR_DATA with
 * a sentence that the caller puts the shard, offset and key in front of.
 *
 * A decoder is an object of one thread, kept for many images:
 *
 *	struct jpeg_decoder *d = jpeg_decoder_new();
 *	if (jpeg_begin(d, p, n, &w, &h) < 0 ||
 *	    jpeg_region(d, &(struct rect){x, y, rw, rh}, &im) < 0)
 *		...                   (d can take the next image all the same)
 *	jpeg_decoder_free(d);
 */
#ifndef VISION_JPEG_H
#define VISION_JPEG_H

#include "util/buf.h"
#include "util/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bits of the column "flags" of a shard index that a JPEG file can set. */
enum jpeg_flag {
    JPEG_IS_JPEG = 1 << 0,
    JPEG_PROGRESSIVE = 1 << 2,
    JPEG_GREY = 1 << 3,
    JPEG_FOUR = 1 << 4, /* four components */
    JPEG_420 = 1 << 5,
    JPEG_422 = 1 << 6,
    JPEG_440 = 1 << 7,
    JPEG_ROWS = 1 << 8,     /* one restart interval per row of MCUs */
    JPEG_WARNED = 1 << 9,   /* set by jpeg_check only */
    JPEG_ROTATED = 1 << 10, /* EXIF orientation 2..8 */
    JPEG_OTHER = 1 << 13    /* three components, another subsampling */
};

/* What is refused, whatever the file says (data-and-collectives 2.6). */
#define JPEG_MAX_BYTES (64 << 20)
#define JPEG_MAX_SIDE 16384
#define JPEG_MAX_PIXELS (64 << 20)
#define JPEG_MAX_SCANS 100

struct jpeg_info {
    int width, height; /* as coded, before any rotation */
    int components;    /* 1, 3 or 4 */
    int restart;       /* MCUs between restart markers, 0: none */
    int orientation;   /* EXIF, 1..8; 1 if there is none */
    unsigned flags;    /* enum jpeg_flag */
};

/* Do the bytes begin like a JPEG file (FF D8 FF)? */
bool jpeg_sniff(const void *p, size_t n);
/*
 * Walk the markers up to the first scan; decodes nothing. ERR_DATA if it is no
 * JPEG file of ours: not JPEG, lossless, hierarchical, not 8 bits, two or more
 * than four components, over a limit, cut off in the header.
 */
int jpeg_probe(const void *p, size_t n, struct jpeg_info *info) MUST_CHECK;

struct jpeg_decoder;
struct jpeg_decoder *jpeg_decoder_new(void);
void jpeg_decoder_free(struct jpeg_decoder *d);
/* Warnings make an image fail (default: only a cut off one does). */
void jpeg_decoder_strict(struct jpeg_decoder *d, bool strict);
/*
 * Decode with the loops of an instruction set (isa_names in util/isa.h) or with
 * libjpeg alone ("libjpeg"); false if this machine or this build lacks it.
 */
bool jpeg_decoder_use(struct jpeg_decoder *d, const char *set) MUST_CHECK;

/*
 * jpeg_probe, then decode every row; JPEG_WARNED is set in info->flags if the
 * decoder met damage that it could pass over. ERR_DATA if the image is unusable.
 */
int jpeg_check(struct jpeg_decoder *d, const void *p, size_t n,
               struct jpeg_info *info) MUST_CHECK;

/* Pixels x..x+w-1, y..y+h-1. */
struct rect {
    int x, y, w, h;
};

/* Is it one pixel at least, and inside a picture of w x h? */
static inline bool rect_inside(const struct rect *r, int w, int h)
{
    return r->x >= 0 && r->y >= 0 && r->w > 0 && r->h > 0 && r->w <= w - r->x &&
           r->h <= h - r->y;
}

/*
 * 32-bit pixels R, G, B, unspecified; row y begins at pixels + y*stride. Lent:
 * good until the next call for the same decoder.
 */
struct jpeg_image {
    uint8_t *pixels;
    size_t stride; /* bytes */
    int width, height;
};

/* Read the header of an image. The bytes must stay until jpeg_region is done. */
int jpeg_begin(struct jpeg_decoder *d, const void *p, size_t n, int *width,
               int *height) MUST_CHECK;
/*
 * Decode a part of the image begun and leave the rest undecoded; exactly the
 * pixels of a full decode. NULL: all of it, with what is wrong behind its last
 * row. Once per jpeg_begin. r must lie in the image. What lies outside may not
 * even be looked at (jpeg_scan.h), so that damage there goes unnoticed.
 */
int jpeg_region(struct jpeg_decoder *d, const struct rect *r,
                struct jpeg_image *im) MUST_CHECK;
/* Was the last region decoded by jpeg_scan.h, without libjpeg? */
bool jpeg_scanned(const struct jpeg_decoder *d);
/* What was met in the last image beside errors: number of warnings. */
long jpeg_warnings(const struct jpeg_decoder *d);

/* How an image is written. */
struct jpeg_how {
    int quality;      /* 1..100 */
    bool full_chroma; /* 4:4:4, else 4:2:0 */
    bool grey;        /* pixels are one byte each */
    bool cmyk;        /* pixels are four bytes each, stored as they are */
    bool progressive;
    bool apart;       /* a scan for each component */
    int restart_rows; /* rows of MCUs between restart markers, 0: none */
    int across, down; /* sampling factors of the first component, those of the
                         others being 1; 0: as full_chroma says */
};
/* Append a JPEG file of w*h pixels (RGB, 3 bytes each, or as said) to out. */
int jpeg_encode(struct buf *out, const uint8_t *pixels, int w, int h,
                const struct jpeg_how *how) MUST_CHECK;

/*
 * Append the same image to out as a file whose parts decode fast: sequential,
 * one scan, Huffman tables of its own, a restart marker per row of MCUs. The
 * coefficients are those of the file and all pixels were compared; of the other
 * segments it has JFIF's and Adobe's, and APP1 if exif says so. False: the file
 * should be kept as it is, being arithmetic-coded, damaged or not of use; out
 * is as before. The bytes depend on those of the file alone.
 */
bool jpeg_to_rows(struct jpeg_decoder *d, const void *p, size_t n, bool exif,
                  struct buf *out);

#endif
