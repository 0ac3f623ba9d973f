/*
 * progress.h - how far a long job is, on one line of a terminal: what it says
 * of itself, rate, remaining time.
 *
 * Nothing is shown unless stderr is a terminal and verbosity allows it; rates
 * are kept all the same. A rate is that of the last PROGRESS_POINTS points, so
 * that a slow start does not linger. Points closer than `gap` seconds are not
 * kept, and neither is the line drawn more often.
 *
 *	struct progress p;
 *	progress_begin(&p, "img", total, 0.25, true);
 *	for each piece: progress_step(&p, done, "pack")
 *	progress_clear(&p);	before any other message, and at the end
 */
#ifndef UTIL_PROGRESS_H
#define UTIL_PROGRESS_H

#include "util/err.h"

#include <stdbool.h>
#include <stdint.h>

#define PROGRESS_POINTS 20

struct progress {
    const char *unit; /* what is counted, for the rate: "img"; lent */
    int64_t total;    /* 0: not known */
    double gap;       /* seconds */
    bool terminal, shown;
    double at[PROGRESS_POINTS]; /* when points were, and what was done */
    int64_t done[PROGRESS_POINTS];
    int64_t n; /* points there have been */
};

/* wanted: show it, where there is a terminal. */
void progress_begin(struct progress *p, const char *unit, int64_t total,
                    double gap, bool wanted);
/*
 * So much is done by now. The line is the text that fmt makes, rate and
 * remaining time; a bar and the counts too if fmt is NULL.
 */
void progress_step(struct progress *p, int64_t done, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* Units a second over the last points; 0 before there are two. */
double progress_rate(const struct progress *p);
/* Put the cursor at the beginning of an empty line, before other messages. */
void progress_clear(struct progress *p);

#endif
