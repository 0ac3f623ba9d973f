/*
 * cadence.h - how often something is done in the course of a run.
 *
 *	cadence_parse("2ep", &c);
 *	if (cadence_due(&c, &last, &now)) ...      last: when it was done before
 */
#ifndef TRAIN_CADENCE_H
#define TRAIN_CADENCE_H

#include "util/err.h"

#include <stdbool.h>
#include <stdint.h>

struct cadence {
    int64_t steps;   /* every so many optimizer steps; 0: not */
    double epochs;   /* every so many epochs; 0: not */
    int64_t seconds; /* every so many seconds; 0: not */
};

/* A moment of a run. */
struct cadence_moment {
    int64_t step;
    double epoch, time; /* epochs, seconds so far */
};

/* "0", "500it", "2ep", "30m", "1h", "90s". ERR_USAGE otherwise. */
int cadence_parse(const char *text, struct cadence *c) MUST_CHECK;
/* By steps or epochs, counted from the beginning of the run, or by the clock. */
bool cadence_due(const struct cadence *c, const struct cadence_moment *last,
                 const struct cadence_moment *now);

#endif
