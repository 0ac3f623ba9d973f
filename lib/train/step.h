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
 * The norm of the gradients is added in one order, with shards or without: the
 * squares of each share, then the shares.
 */
#ifndef TRAIN_STEP_H
#define TRAIN_STEP_H

#include "io/recipe.h"
#include "model/model.h"
#include "train/comm.h"
#include "train/input.h"
#include "train/optim.h"
#include "train/profile.h"
#include "train/scaler.h"
#include "train/upload.h"
#include "util/err.h"

#include <stdbool.h>
#include <stdint.h>

struct step {
    struct classifier *m;
    struct comm *comm;
    const struct recipe *r;
    struct sharding shard;
    struct optim optim;
    struct scaler scaler;
    struct upload upload;    /* the images of the next batch */
    int posted;              /* buckets started in this step */
    double *check;           /* engine memory [world,2] of KERN_GRAD_CHECK */
    double *sums;            /* [world,2], the same here */
    struct profile *profile; /* told of the phases; NULL: nobody */
    int sample_log;          /* see samplelog.h; 0: none */
};

struct step_result {
    struct class_stats stats; /* of this rank */
    int64_t rows;             /* images of the step on all ranks */
    int64_t samples;          /* progress after the step, as the data says */
    double grad_norm;         /* global, unscaled, before clipping */
    double lr;
    bool skipped; /* not finite: nothing was updated */
    int waits;    /* micro-batches that were not there when they were wanted */
    double data_s, compute_s, comm_s, update_s;
};

/* shards: each rank steps its share (sharding.h); same weights, bit for bit. */
int step_init(struct step *s, struct classifier *m, struct comm *comm,
              const struct recipe *r, bool shards) MUST_CHECK;
void step_release(struct step *s);
/*
 * Run one step with rate lr on the micro-batches that come next. Returns 1; 0
 * when the data ended before the first micro-batch; -1 on failure, which
 * includes data that ended inside a step and data of another place than
 * samples (ERR_CONFIG).
 */
int step_run(struct step *s, struct input *in, double lr,
             struct step_result *res) MUST_CHECK;
/* The same on one micro-batch that is at hand, again and again: for bench. */
int step_batch(struct step *s, const struct input_batch *b, double lr,
               struct step_result *res) MUST_CHECK;
/* The end of a step, of gradients that are there: check, clip, update, and what
 * became of it in grad_norm, lr, skipped. */
int step_update(struct step *s, double lr, struct step_result *res) MUST_CHECK;
/* Name of the first parameter with a gradient that is not finite, or NULL. */
const char *step_nonfinite(struct step *s);

#endif
