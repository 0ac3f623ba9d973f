/*
 * step.h - one optimizer step.
 *
 * For each micro-batch: forward, backward (gradients add up in the arena).
 * During the last backward each bucket of gradients is handed to the
 * communicator when its last gradient is final. Then, on every rank alike: wait
 * for the sums, check that they are finite, clip by the global norm, update,
 * move the loss scale. The check comes after the exchange: infinities and NaN
 * survive a sum, so every rank sees the same verdict.
 *
 * The loss of a step is the mean over the images of the step that count, on all
 * ranks and micro-batches together; a short last group is so weighted by its
 * true number of images. Batch-norm buffers are averaged over the ranks in the
 * same exchange, so that all ranks hold equal state.
 *
 * An engine that queues its work has a step before the one before it is done: the
 * host waits for no step but the last but one, and hears of each a step late
 * (step_result). With several ranks, if one is late all are. One rank alone on an
 * engine that records (tapes.h) gives it a whole step at once.
 */
#ifndef TRAIN_STEP_H
#define TRAIN_STEP_H

#include "io/recipe.h"
#include "model/model.h"
#include "train/comm.h"
#include "train/input.h"
#include "train/profile.h"
#include "train/tapes.h"
#include "train/update.h"
#include "train/upload.h"
#include "util/err.h"

#include <stdbool.h>
#include <stdint.h>

struct step_result {
    int64_t rows;    /* images of the step on all ranks */
    int64_t samples; /* progress after the step, as the data says */
    double lr;
    int waits; /* micro-batches that were not there when they were wanted */
    double data_s, compute_s, comm_s, update_s;
    /* known when the step is done */
    struct class_stats stats; /* of this rank */
    double grad_norm;         /* global, unscaled, before clipping; or NaN */
    bool skipped;             /* not finite: nothing was updated */
    double loss_scale;        /* after the step */
    int64_t skips;            /* of the run so far */
    const char *bad; /* first parameter with a gradient not finite, or NULL */
};

struct step {
    struct classifier *m;
    struct comm *comm;
    const struct recipe *r;
    struct sharding shard;
    struct update update;
    struct upload upload; /* the images of the next batch */
    struct tapes tapes;   /* of passes, and of the update behind them */
    bool updated;         /* the update of this step is enqueued */
    int posted;           /* buckets started in this step */
    int late;             /* steps between one and its result: 0, 1 */
    /* of steps whose results were not asked for yet, oldest first */
    struct step_result result[UPDATE_LOG];
    int n_results;
    struct profile *profile; /* told of the phases; NULL: nobody */
    int sample_log;          /* see samplelog.h; 0: none */
};

/* shards: each rank steps its share (sharding.h); same weights, bit for bit. All
 * ranks call it together. */
int step_init(struct step *s, struct classifier *m, struct comm *comm,
              const struct recipe *r, bool shards) MUST_CHECK;
void step_release(struct step *s);
/*
 * Run one step with rate lr on the micro-batches that come next: all of it is
 * enqueued. *begun, until its result is taken: what is known of it, to which the
 * caller may add. Returns 1; 0 when the data ended before the first micro-batch;
 * -1 on failure, which includes data that ended inside a step and data of another
 * place than samples (ERR_CONFIG).
 */
int step_run(struct step *s, struct input *in, double lr,
             struct step_result **begun) MUST_CHECK;
/* The same on one micro-batch that is at hand, again and again: for bench. Its
 * images stay as they are. */
int step_batch(struct step *s, const struct input_batch *b,
               double lr) MUST_CHECK;
/* The end of a step, of gradients that are there: check, clip, update. */
int step_update(struct step *s, double lr) MUST_CHECK;
/* After each of these: 1 and the result of the oldest step, if it is due (after a
 * late start) or if all are wanted now; 0: there is none. Waits for that step. */
int step_result(struct step *s, bool all, struct step_result *res) MUST_CHECK;

#endif
