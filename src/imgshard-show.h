/*
 * imgshard-show.h - an image and where an epoch sees it: found and drawn by
 * imgshard-show.c, told by imgshard-told.c.
 */
#ifndef IMGSHARD_SHOW_H
#define IMGSHARD_SHOW_H

#include "imgshard-feeding.h"

#define SHOW_MOST 16 /* places of one sample in an epoch that are told */

/* Where a sample stands: a row of a micro-batch of a rank. */
struct place {
    int64_t pos, step, micro, rank, row;
};

struct showing {
    struct feeding f;
    int64_t epoch, sample;
    struct place at[SHOW_MOST];
    int n;
};

/* To stdout, as lines of name and value or as one JSON object. */
int show_tell(struct showing *s, bool json) MUST_CHECK;

#endif
