/*
 * upload.h - the images of the next batch travel to the device while it computes.
 *
 * Two slots, each of pinned memory and as much of the device's: a batch is copied
 * into one and sent beside the engine's queue while the network works on what is
 * in the other. On an engine whose memory is the host's there is nothing to do.
 *
 *	upload_init(&u, e);
 *	if (upload_ahead(&u, next) < 0) ...         a batch that will be used
 *	if (upload_take(&u, b, &images) < 0) ...    NULL: it is not on its way
 *	    ... enqueue what reads images ...
 *	if (upload_read(&u) < 0) ...
 *	upload_release(&u);
 */
#ifndef TRAIN_UPLOAD_H
#define TRAIN_UPLOAD_H

#include "engine/engine.h"
#include "train/input.h"
#include "util/err.h"

struct upload {
    struct engine *e;
    struct upload_slot {
        void *host, *dev;
        size_t bytes;
        const struct input_batch *batch; /* in it, or NULL */
        bool read; /* the mark says when the device has read it */
    } slot[2];
    int next;  /* to fill */
    int taken; /* by upload_take, -1: none */
};

void upload_init(struct upload *u, struct engine *e);
void upload_release(struct upload *u);
/* b stays where it is until it is taken or never used. Once for each batch. */
int upload_ahead(struct upload *u, const struct input_batch *b) MUST_CHECK;
/* *images: where the engine finds the images of b, in work enqueued from now on. */
int upload_take(struct upload *u, const struct input_batch *b,
                const void **images) MUST_CHECK;
/* All work that reads them is enqueued. */
int upload_read(struct upload *u) MUST_CHECK;

#endif
