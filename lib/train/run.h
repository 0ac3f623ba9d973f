/*
 * run.h - the loops: train until done, predict a stream.
 *
 * A run is a recipe, a model on an engine, ranks, a stream of batches and a run
 * directory:
 *
 *	RUN/ckpt/step-NNNNNNNNN/   committed checkpoints
 *	RUN/metrics.jsonl          the log
 *	RUN/run.json               effective settings, ledger, versions
 *	RUN/profile-RANK.json      where the time of some steps went, if asked
 *
 * What a start does is said in one line: "fresh", "resuming from step N of M",
 * or "already complete" (status 0, nothing done; where the recipe has no steps at
 * all, what it begins with is committed).
 */
#ifndef TRAIN_RUN_H
#define TRAIN_RUN_H

#include "io/recipe.h"
#include "model/model.h"
#include "train/cadence.h"
#include "train/comm.h"
#include "train/input.h"
#include "train/profile.h"
#include "util/buf.h"
#include "util/err.h"

#include <stdbool.h>
#include <stdint.h>

struct run_options {
    const struct recipe *r;
    const char *dir;     /* run directory; NULL: nothing is kept */
    const char *weights; /* model file to begin with, or NULL */
    struct cadence save; /* beside the end; by rank 0's clock */
    int64_t keep, keep_every;
    int64_t log_every;
    bool log_samples;  /* RUN/samples-RANK.tsv */
    int64_t max_steps; /* stop in order (status 75) after so many; 0: no */
    struct profile_span profile; /* needs dir */
    bool progress;
    bool shard_optim; /* state of the optimizer over the ranks (sharding.h) */
    const char *settings; /* JSON object of the effective settings */
    const char *program;  /* "accel-worker 0.1" */
};

/*
 * Train with the model (initialised for training, no values yet) on the batches
 * of in, whose hello was h. Returns the exit status: 0 complete, 75 stopped in
 * order after a commit (130 by INT); -1 with an error.
 */
int run_train(const struct run_options *o, struct classifier *m,
              struct comm *comm, struct input *in,
              const struct input_hello *h) MUST_CHECK;
/*
 * Progress of the newest committed checkpoint of o->dir, 0 if there is none:
 * what a communicator tells the other ranks before anything is loaded.
 */
int run_progress(const char *dir, int64_t *samples) MUST_CHECK;

/* "batch 256 = 32 micro x 4 ranks x 2 accum; lr 0.1; 5005 steps/epoch, ..."
 * appended: the arithmetic of a run, before its first step. */
void run_ledger(const struct recipe *r, const struct recipe_batch *b,
                struct buf *out);

/*
 * Predict every batch of in; frames "pred" with index I64 [n], label I64 [n],
 * logits F32 [n,classes] to the descriptor out, begun by hello and ended by end.
 */
int run_predict(struct classifier *m, const char *model, struct input *in,
                const struct input_hello *h, int out) MUST_CHECK;

#endif
