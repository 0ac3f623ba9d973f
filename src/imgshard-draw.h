/*
 * imgshard-draw.h - rows of batches on a canvas, for sheet and show.
 */
#ifndef IMGSHARD_DRAW_H
#define IMGSHARD_DRAW_H

#include "io/shard.h"
#include "vision/batch.h"
#include "vision/draw.h"

/* Where, and how many times smaller than it is (1: as it is). */
struct spot {
    struct canvas *c;
    int x, y, down;
};

/* The pixels of row j of a frame that went through batch_seen; lent. */
struct picture row_picture(const struct batch_frame *f, int64_t j);
void row_draw(const struct spot *at, const struct batch_frame *f, int64_t j);
/* Its objects, if it has some: boxes and the names of their classes. */
void row_boxes(const struct spot *at, const struct batch_frame *f, int64_t j,
               const struct shard_set *s);

#endif
