/*
 * profile.h - where the time of a few steps went, call by call.
 *
 * The steps FIRST to LAST of a run, written as a Chrome trace (complete events,
 * microseconds of the monotonic clock): one row for the phases of a step, one
 * for the calls of the engine. chrome://tracing and Perfetto show it; the files
 * of several ranks of a host put together stand on one time line. Outside of
 * those steps it costs nothing.
 *
 *	profile_open(&p, "5:7", path, rank, engine)
 *	each step: profile_begin(&p, step); t = clock_s(); ...
 *		profile_phase(&p, "data", t); ... profile_end(&p, step)
 *	profile_close(&p)
 *
 * Format: the Trace Event Format of catapult (google/catapult, tracing/docs).
 */
#ifndef TRAIN_PROFILE_H
#define TRAIN_PROFILE_H

#include "engine/engine.h"
#include "util/buf.h"
#include "util/err.h"

#include <stdbool.h>
#include <stdint.h>

struct profile_span {
    int64_t first, last; /* steps, from 1; 0: none */
};
/* "5:7", or "5" for one step. ERR_USAGE otherwise. */
int profile_parse(const char *text, struct profile_span *s) MUST_CHECK;

struct profile {
    struct profile_span span;
    struct engine *e; /* lent */
    char *path;
    int rank;
    bool on;
    struct buf out;
};

/* path is copied. A span of no steps: nothing is ever written. */
void profile_open(struct profile *p, struct profile_span span, const char *path,
                  int rank, struct engine *e);
/* A step of the run begins (counted from 1), or has ended; after the last one
 * the file is written. */
void profile_begin(struct profile *p, int64_t step);
int profile_end(struct profile *p, int64_t step) MUST_CHECK;
/* A phase that began at start (clock_s) has ended. p may be NULL. */
void profile_phase(struct profile *p, const char *name, double start);
/* Writes what there is of a run that ended before the last step. */
int profile_close(struct profile *p) MUST_CHECK;

#endif
