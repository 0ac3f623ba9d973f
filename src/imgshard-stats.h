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

#define STATS_QUANTITIES 5

enum {
    STATS_WIDTH,
    STATS_HEIGHT,
    STATS_ASPECT,
    STATS_PIXELS,
    STATS_BYTES
};

struct stats {
    const struct shard_set *set;         /* lent */
    uint64_t *of_class;                  /* [set->n_classes] images */
    uint32_t *by_count;                  /* classes, most images first */
    uint64_t unlabelled, without_images; /* images, classes */
    struct quantity q[STATS_QUANTITIES];
    uint64_t flag[16]; /* images with bit i of the column flags */
};

void stats_init(struct stats *s, const struct shard_set *set);
void stats_release(struct stats *s);
/* The value below which the part p of them lies, 0..1; NaN if there is none. */
double quantity_at(const struct quantity *q, double p);
/* imgshard-statsvg.c: the picture, appended. */
void stats_svg(const struct stats *s, struct buf *b);

#endif
