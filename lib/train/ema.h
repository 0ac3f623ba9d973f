/*
 * ema.h - the average of the weights that is published: of parameters, of the
 * running statistics of batch normalisation and of its counters.
 *
 * Every `every` steps of an epoch, its first among them, after the update:
 *	average = d average + (1 - d) now
 *	d = 1 - min(1, (1 - decay) batch every / epochs)
 * and during the warm-up, and the first time, a copy. Counters are averaged in
 * fp32 and cut to whole numbers, as the reference does.
 * Source: pytorch/vision references/classification/train.py (model_ema).
 *
 * With shards (sharding.h) a rank averages the parameters of its own pieces.
 */
#ifndef TRAIN_EMA_H
#define TRAIN_EMA_H

#include "io/recipe.h"
#include "train/sharding.h"
#include "util/err.h"

#include <stdbool.h>
#include <stdint.h>

struct ema {
    bool on;
    const struct sharding *shard;
    double decay; /* d */
    int64_t every, epoch_steps;
    double warmup;
    void *w;          /* state arena */
    void *buffers;    /* as params.buffers */
    int64_t *counter; /* as params.counter */
    int64_t updates;  /* averages since the last copy; 0: the next copies */
};

/* d of the recipe for its global batch. */
double ema_decay(const struct recipe *r, const struct recipe_batch *b);
/* Off unless the recipe says so: then nothing is allocated and ema_step does
 * nothing. The shard is lent. */
int ema_init(struct ema *e, const struct sharding *s, const struct recipe *r,
             const struct recipe_batch *b) MUST_CHECK;
void ema_release(struct ema *e);
/* The average of a run that begins: what the parameters are. */
int ema_begin(struct ema *e) MUST_CHECK;
/* After the update of the step that `step` others came before. */
int ema_step(struct ema *e, int64_t step) MUST_CHECK;

#endif
