/*
 * imgshard-stats.h - what a split is like, in numbers: counted once, then told
 * as text, as JSON or as a picture.
 */
#ifndef IMGSHARD_STATS_H
#define IMGSHARD_STATS_H

#include "imgshard.h"

/* Something that every image (or box) has, as sorted values. */
struct quantity {
    const char *name, *unit; /* unit "" for none */
    double *v;               /* [n], ascending */
    size_t n;
    double mean;
};

enum {
    STATS_WIDTH,
    STATS_HEIGHT,
    STATS_ASPECT,
    STATS_PIXELS,
    STATS_BYTES,
    /* detection only: the first of each image, the others of each object */
    STATS_OBJECTS,
    STATS_BOX,        /* square root of width times height */
    STATS_BOX_SHARE,  /* the same, of that of its image */
    STATS_BOX_ASPECT, /* width through height */
    STATS_QUANTITIES
};

struct stats {
    const struct shard_set *set; /* lent */
    const char *what;            /* what has a class: "images", "objects" */
    uint64_t *of_class;          /* [set->n_classes] how many */
    uint32_t *by_count;          /* classes, those with most first */
    uint64_t unlabelled;         /* images */
    uint64_t empty_classes;
    uint64_t crowds;     /* objects that are; in no other number */
    uint64_t of_area[3]; /* objects that are small, medium, large for COCO */
    struct quantity q[STATS_QUANTITIES];
    uint64_t flag[16]; /* images with bit i of the column flags */
};

/* Annotations are read, on threads; ERR_DATA, ERR_IO of those. s is zero. */
int stats_init(struct stats *s, const struct shard_set *set) MUST_CHECK;
void stats_release(struct stats *s);
/* The value below which the part p of them lies, 0..1; NaN if there is none. */
double quantity_at(const struct quantity *q, double p);
/* imgshard-statsvg.c: the picture, appended. */
void stats_svg(const struct stats *s, struct buf *b);

#endif
