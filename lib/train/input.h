/*
 * input.h - micro-batches from a stream of frames, read ahead by a thread.
 *
 * The stream is what `imgshard feed` and `imgshard decode` write: hello, then
 * batch and epoch frames, then end. Some slots are filled while the
 * network works on another, so the pipe never waits for the worker and the
 * worker only for data. Of a producer at the other end of the same pipe images
 * are read where it made them (lend.h).
 *
 *	input_wait(0, "stdin", STOP_TERM, 300000);
 *	input_open(&in, 0, "stdin", 300000, &hello);
 *	while ((r = input_get(in, &b)) > 0) {
 *		... b->image, b->label ...
 *		input_put(in, b);
 *	}
 *	input_close(in);
 */
#ifndef TRAIN_INPUT_H
#define TRAIN_INPUT_H

#include "tensor/tensor.h"
#include "util/err.h"

#include <stdbool.h>
#include <stdint.h>

/* What the producer says of itself; numbers it does not say are -1. */
struct input_hello {
    char dataset[33];
    char split[64];
    int64_t samples, classes;
    int64_t rank, world;
    int64_t global, micro, accum; /* how it cuts the run */
    int64_t start;                /* samples consumed before its first batch */
    char input[2048];             /* recipe_input, or "" */
};

struct input_batch {
    struct tensor image;    /* u8 [micro,h,w,3] */
    int64_t *label, *index; /* [micro]; -1 in rows of padding */
    int64_t n;              /* rows that count, the first ones */
    int64_t epoch, micro;   /* number of the micro-step in its step */
    int64_t pos;            /* position of the first row in the epoch */
    int64_t rows;           /* of the whole step, over ranks and micro-steps */
    int64_t samples;        /* progress when this step is done */
    bool last;              /* last micro-step of its step */
    /* As in struct class_batch: erase [micro,4] or NULL, how rows are mixed. */
    int32_t *erase;
    double mix;
    bool cut;
    int32_t box[4];
    /* private */
    void *memory;
    size_t capacity;
    int slot; /* of the producer's memory that the images lie in, or -1 */
};

/* Until the descriptor has something to read or has ended: 1; 2 when one of the
 * stop flags (stop.h) is up before; -1 after timeout_ms, 0: none. */
int input_wait(int fd, const char *name, int stops,
               int64_t timeout_ms) MUST_CHECK;

struct input;
/* Reads hello. The descriptor stays the caller's. timeout_ms bounds every wait for
 * the producer, 0: for ever. A pipe whose writer is gone before its end frame is
 * ERR_PEER, a file that was cut ERR_IO. */
int input_open(struct input **in, int fd, const char *name, int64_t timeout_ms,
               struct input_hello *h) MUST_CHECK;
/*
 * Until the next micro-batch or the end is there: 1; 2 when one of the stop
 * flags (stop.h) is up and it is not. A signal may go to the feeder as well and
 * reach it first: a stream that breaks off together with the flag is 2, too, and
 * so is one whose producer says that it was stopped.
 */
int input_ready(struct input *in, int stops);
/* What input_get would give without waiting, or NULL. */
const struct input_batch *input_next(struct input *in);
/* The next micro-batch: 1; 0 after the end frame; -1 on failure. */
int input_get(struct input *in, struct input_batch **b) MUST_CHECK;
void input_put(struct input *in, struct input_batch *b);
/* Where images may lie beside memory of this process, until input_close; NULL and
 * 0: nowhere else. */
void *input_memory(const struct input *in, size_t *bytes);
void input_close(struct input *in); /* NULL allowed */

#endif
