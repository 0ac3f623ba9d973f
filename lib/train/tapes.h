/*
 * tapes.h - a step that was enqueued before is repeated as one.
 *
 * The calls of a pass are the same each time, but for what lies at the same
 * addresses. So an engine that records (engine_record) gets them one by one only
 * at first: once to run, so that all it needs is there, once to record. A tape is
 * for one shape of the batch and one place in the step; there are a few of them.
 * One whose memory is gone is made anew. An engine that cannot goes on call by
 * call, and says why once.
 *
 *	tapes_init(&t, params);
 *	tapes_run(&t, &key, body, arg);      body enqueues, and nothing else
 *	tapes_release(&t);
 */
#ifndef TRAIN_TAPES_H
#define TRAIN_TAPES_H

#include "engine/engine.h"
#include "nn/params.h"
#include "util/err.h"

#include <stdbool.h>
#include <stdint.h>

#define TAPES 8

/* What makes bodies differ. */
struct tape_key {
    const void *plan;
    int64_t n, rows; /* that count: of the micro-batch, of the step */
    bool first, last, erased;
};

struct tapes {
    struct engine *e;
    struct params *ps;
    bool broken;
    uint64_t clock;
    struct tape_slot {
        struct tape_key key;
        uint64_t used; /* 0: none */
        bool warm;     /* the body ran once */
        struct engine_tape *tape;
    } slot[TAPES];
};

/* ps is lent. */
void tapes_init(struct tapes *t, struct params *ps);
void tapes_release(struct tapes *t);
int tapes_run(struct tapes *t, const struct tape_key *key,
              int (*body)(void *arg), void *arg) MUST_CHECK;

#endif
