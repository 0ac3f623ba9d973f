/*
 * imgshard-feeding.h - the batches of a run: a reader whose rows are decoded as
 * the options of the pixel side say. feed writes them, sheet and show look at
 * them.
 *
 *	struct feeding f = {.max_steps = 0};
 *	if (feeding_open(&f, c, manifest, -1) == 0)
 *		feeding_run(&f, emit, &mine);
 *	feeding_close(&f);		in every state
 */
#ifndef IMGSHARD_FEEDING_H
#define IMGSHARD_FEEDING_H

#include "imgshard-pixels.h"
#include "io/ahead.h"

struct feeding {
    struct reader reader;
    struct batch_config config;
    int64_t max_steps, max_frames; /* to hand out; 0: all there are */
    const int64_t *only; /* a row: the others of a frame may be empty, but for
                            the one it is mixed with; NULL: no */
    /* private */
    struct reader_step step;
    struct ahead *ahead;
    int64_t steps, frames; /* begun */
    char order[64];
};

/* Of the options; epoch as in reading_open. ERR_CONFIG: another task. */
int feeding_open(struct feeding *f, const struct command *c,
                 const char *manifest, int64_t epoch) MUST_CHECK;
/* batch_run. */
int feeding_run(struct feeding *f,
                int (*emit)(void *arg, struct batch_frame *f),
                void *arg) MUST_CHECK;
void feeding_close(struct feeding *f);

#endif
