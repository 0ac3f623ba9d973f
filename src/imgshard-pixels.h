/*
 * imgshard-pixels.h - what decode, feed and bench share: options of the pixel
 * side, and frames on stdout.
 */
#ifndef IMGSHARD_PIXELS_H
#define IMGSHARD_PIXELS_H

#include "imgshard.h"

#include "io/lend.h"
#include "vision/batch.h"

struct pixels {
    int64_t threads, queue; /* threads 0: one CPU is left to others */
    bool train, eval, detect, strict;
    int shm; /* 0: where the reader can, 1: not */
    struct frame_writer out;
    struct lender *lend; /* whose slots batches are made in, or NULL */
};
extern struct pixels pixels;

#define PIXELS_ROWS                                                            \
    {.name = "train",                                                          \
     .type = OPT_FLAG,                                                         \
     .addr = &pixels.train,                                                    \
     .help = "random crops and flips (default)"},                              \
        {.name = "eval",                                                       \
         .type = OPT_FLAG,                                                     \
         .addr = &pixels.eval,                                                 \
         .help = "central crops of resized images"},                           \
        {.name = "detect",                                                     \
         .type = OPT_FLAG,                                                     \
         .addr = &pixels.detect,                                               \
         .help = "whole images and their objects, for a detector"},            \
        {.name = "threads",                                                    \
         .letter = 't',                                                        \
         .type = OPT_INT,                                                      \
         .addr = &pixels.threads,                                              \
         .def = "0",                                                           \
         .min = 0,                                                             \
         .max = 1024,                                                          \
         .help = "decoding threads; 0: one CPU is left to others"},            \
        {.name = "queue",                                                      \
         .type = OPT_INT,                                                      \
         .addr = &pixels.queue,                                                \
         .def = "4",                                                           \
         .min = 2,                                                             \
         .max = 1024,                                                          \
         .help = "batches in memory"},                                         \
    {                                                                          \
        .name = "strict", .type = OPT_FLAG, .addr = &pixels.strict,            \
        .help = "warnings of the decoder are errors"                           \
    }

#define SHM_ROW                                                                \
    {                                                                          \
        .name = "shm", .type = OPT_CHOICE, .addr = &pixels.shm, .def = "auto", \
        .choices = "auto|off",                                                 \
        .help =                                                                \
            "batches in memory shared with their reader; off: all through "    \
            "the pipe"                                                         \
    }

/* What a split is for decides whether it is detection; ERR_CONFIG: --detect, and
 * it is not. Before pixels_config. */
int pixels_task(const struct shard_set *s) MUST_CHECK;
/* The recipe and the options as a configuration; rows are the caller's.
 * ERR_USAGE: --train and --eval. With --detect c->detect is lent for ever. */
int pixels_config(struct batch_config *c) MUST_CHECK;
/*
 * Make stdout ready for frames: not a terminal, a large pipe, SIGPIPE ignored,
 * SIGINT and SIGTERM end the stream after the current frame.
 */
int pixels_begin(void) MUST_CHECK;
/* Before hello: batches are made where the reader of stdout can have them, if it
 * comes for them. c is ready but for this. */
void pixels_lend(struct batch_config *c);
/* For batch_run. Exits with 0 when nobody reads stdout any more. */
int pixels_emit(void *arg, struct batch_frame *f);
/* What hello says of the pixels, in room for 4 pairs that lives as long as the
 * text; how many. */
int pixels_describe(struct frame_pair *meta, char text[2][24]);
/* As frame_write(&pixels.out, "hello", ...), with the same exit; of training
 * the settings of its input are added. */
int pixels_hello(const struct frame_pair *meta, int n) MUST_CHECK;
/*
 * The last frame: end, or error if rc is -1. Returns the exit status, -1 to
 * die() with the error.
 */
int pixels_end(int rc);

#endif
