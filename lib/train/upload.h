/*
 * upload.h - the images of the next batch travel to the device while it computes.
 *
 * Two slots of the device's memory: a batch is sent into one, beside the engine's
 * queue, while the network works on what is in the other. It is sent from where it
 * lies if the engine can have that memory registered, else from a copy in memory
 * of the engine's. A batch that is on its way stays what it is until upload_done.
 * On an engine whose memory is the host's there is nothing to do.
 *
 *	upload_init(&u, e);
 *	upload_share(&u, memory, bytes);            where batches may lie
 *	if (upload_ahead(&u, next) < 0) ...         a batch that will be used
 *	if (upload_take(&u, b, &images) < 0) ...    NULL: it is not on its way
 *	    ... enqueue what reads images ...
 *	if (upload_read(&u) < 0) ...
 *	if (upload_done(&u) < 0) ...                b may be written to
 *	upload_release(&u);                         before memory is unmapped
 */
#ifndef TRAIN_UPLOAD_H
#define TRAIN_UPLOAD_H

#include "engine/engine.h"
#include "train/input.h"
#include "util/err.h"

struct upload {
    struct engine *e;
    struct upload_slot {
        void *dev;
        void *host; /* copies of what does not lie in shared; or NULL */
        size_t bytes;
        const struct input_batch *batch; /* in it, or NULL */
        bool lent; /* and sent from where it lies; not yet done */
        bool read; /* the mark says when the device has read it */
    } slot[2];
    int next;     /* to fill */
    int taken;    /* by upload_take, -1: none */
    char *shared; /* registered with the engine, or NULL */
    size_t shared_bytes;
};

void upload_init(struct upload *u, struct engine *e);
void upload_release(struct upload *u);
/* Whole pages (input_memory) in which images may lie; NULL: none. An engine that
 * cannot have them copies images: note() says so. */
void upload_share(struct upload *u, void *memory, size_t bytes);
/* b stays where it is until it is taken or never used. Once for each batch. */
int upload_ahead(struct upload *u, const struct input_batch *b) MUST_CHECK;
/* *images: where the engine finds the images of b, in work enqueued from now on. */
int upload_take(struct upload *u, const struct input_batch *b,
                const void **images) MUST_CHECK;
/* All work that reads them is enqueued. */
int upload_read(struct upload *u) MUST_CHECK;
/* Until nothing reads the batch that was taken where it lies. */
int upload_done(struct upload *u) MUST_CHECK;

#endif
