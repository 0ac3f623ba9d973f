/*
 * marks.h - who in training has which marks of the engine (0 to 63, engine.h).
 */
#ifndef TRAIN_MARKS_H
#define TRAIN_MARKS_H

#define MARKS_FETCHED 32 /* buckets on their way to the host at a time */

enum {
    MARK_FETCHED = 0, /* + i: such a bucket is there (comm_device) */
    MARK_SUMMED = 32, /* a sum is back */
    MARK_SENT = 40,   /* + slot: images are there (upload.h) */
    MARK_READ = 42,   /* + slot: and were read */
    MARK_TOLD = 44    /* + place in the log: what became of a step (update.h) */
};

#endif
