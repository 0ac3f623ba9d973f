/*
 * annot.h - the objects of one image: the .json member of a detection sample.
 *
 *	{"ann":[{"area":A,"bbox":[X,Y,W,H],"cat":C,"id":I,"iscrowd":0},...],
 *	 "h":H,"id":I,"w":W}
 *
 * Canonical JSON: keys in byte order, no blanks, whole numbers without point
 * or exponent, others as the shortest text that reads back. cat is the class
 * of the manifest, 0..K-1; ids are those of COCO; boxes are in pixels of the
 * image as it is seen, after its EXIF orientation, and as they were given:
 * they may be empty or reach outside (data-and-collectives 1.3).
 *
 *	struct annot a = {0};
 *	if (annot_parse(&a, text, n) < 0)
 *		...                     (a can take the next text all the same)
 *	annot_release(&a)
 */
#ifndef IO_ANNOT_H
#define IO_ANNOT_H

#include "util/buf.h"
#include "util/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ANNOT_TEXT_MAX (1 << 20)    /* bytes of a member */
#define ANNOT_OBJECTS_MAX 10000     /* of an image */
#define ANNOT_SIDE_MAX 65535        /* of an image */
#define ANNOT_ID_MAX 999999999999LL /* of an image: 12 digits */
#define ANNOT_CLASS_MAX 1000000
#define ANNOT_NUMBER_MAX 1e12 /* of a coordinate or an area */

struct annot_object {
    double bbox[4]; /* x, y, width, height */
    double area;    /* of the segmentation */
    int64_t id;
    int32_t cat;
    bool crowd;
};

struct annot {
    int64_t id;
    int32_t w, h;
    size_t n;
    struct annot_object *object; /* [n] */
    size_t cap;                  /* room of annot_parse */
};

/* The text, appended. */
void annot_text(const struct annot *a, struct buf *b);
/* A text into a, whose memory is used again. ERR_DATA, one line. Fuzzed. */
int annot_parse(struct annot *a, const char *text, size_t n) MUST_CHECK;
/* What annot_parse took. */
void annot_release(struct annot *a);
/* Are the classes of all objects among so many? ERR_DATA. */
int annot_check(const struct annot *a, uint32_t classes) MUST_CHECK;
/* Has an object that is no crowd: it can be trained on. */
bool annot_usable(const struct annot *a);

#endif
