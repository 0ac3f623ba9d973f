/*
 * save.h - the state of a run <-> named tensors.
 *
 * What is here is all that may influence the next step: weights, momentum,
 * batch-norm buffers and counters, the average of the weights, loss scale,
 * progress, seed. Each rank writes its share of the tensors (io/ckpt.h). With
 * shards no rank holds the whole momentum; then it is gathered, so that a
 * checkpoint is the same with shards and without, and any run can go on from it.
 * A run that is interrupted anywhere and resumed gives the bits of the run that
 * was not.
 */
#ifndef TRAIN_SAVE_H
#define TRAIN_SAVE_H

#include "io/ckpt.h"
#include "nn/params.h"
#include "train/comm.h"
#include "train/ema.h"
#include "train/optim.h"
#include "util/err.h"

#include <stdint.h>

/* What is saved, all lent. */
struct save {
    struct params *ps;
    struct comm *comm;
    struct optim *optim;
    struct ema *ema;
};

/*
 * Write and commit a checkpoint of all ranks under dir; rank 0 prunes
 * afterwards. st is what state.json shall hold (its digest of tensors is filled
 * in here). 1 with an error, on all ranks, where a disk is full or the like: the
 * earlier checkpoints are there and the ranks can go on.
 */
int save_checkpoint(const char *dir, const struct save *s,
                    struct ckpt_state *st, int64_t keep,
                    int64_t keep_every) MUST_CHECK;
/* Rank 0, before the first step: leftovers are removed, and ERR_IO says so if there
 * is no room for one checkpoint below dir, which is there. */
int save_room(const char *dir, const struct save *s) MUST_CHECK;
/* Load all of it; ERR_DATA, ERR_CONFIG. */
int save_restore(struct ckpt *c, const struct save *s) MUST_CHECK;
/* The model file: every state entry, F32, with metadata format=pt, model,
 * classes. Atomic. */
int save_model(const char *path, struct params *ps, const char *model,
               int64_t classes) MUST_CHECK;
/* Weights of a model file (or of a checkpoint directory). */
int save_load_model(const char *path, struct params *ps) MUST_CHECK;

#endif
