/*
 * metrics.h - metrics.jsonl and the progress line.
 *
 * The log is append-only: one JSON object a line, each in one write with
 * O_APPEND, numbers that are not finite as null. Everything to look at is made
 * from it by other programs. After a resume the lines of the new attempt stand
 * behind those they supersede; of equal steps the last attempt counts. Keys:
 * man/accel-worker.1.
 *
 * Rates and the remaining time are those of util/progress.h.
 */
#ifndef TRAIN_METRICS_H
#define TRAIN_METRICS_H

#include "io/recipe.h"
#include "train/step.h"
#include "util/err.h"
#include "util/progress.h"

#include <stdbool.h>
#include <stdint.h>

struct metrics {
    int fd; /* -1: no log (ranks other than 0) */
    char *path;
    struct progress progress; /* a point for each step */
    int64_t attempt;
    int64_t every; /* steps between lines of the log */
    /* sums since the last line */
    double loss, images, correct1, correct5;
    double data_s, compute_s, comm_s, update_s;
    int64_t steps, waits;
    double lr, grad_norm; /* of the last step */
};

/* What a line is about. */
struct metrics_place {
    int64_t step, samples;
    const struct recipe_batch *batch;
    double loss_scale;
    int64_t skipped;
};

/* path NULL: no log. every >= 1. */
int metrics_open(struct metrics *m, const char *path, int64_t attempt,
                 int64_t every, bool progress) MUST_CHECK;
void metrics_close(struct metrics *m);
/* A step is done; stats in res are those of all ranks. */
int metrics_step(struct metrics *m, const struct metrics_place *p,
                 const struct step_result *res) MUST_CHECK;
/* Write the line of the steps since the last one, if there are any. */
int metrics_flush(struct metrics *m, const struct metrics_place *p) MUST_CHECK;
/* {"phase":"event","event":NAME,...}; detail: text or NULL. */
int metrics_event(struct metrics *m, const struct metrics_place *p,
                  const char *name, const char *detail) MUST_CHECK;
/* Images per second over the last steps. */
double metrics_rate(const struct metrics *m);
/* progress_clear, before other messages. */
void metrics_clear_line(struct metrics *m);

#endif
