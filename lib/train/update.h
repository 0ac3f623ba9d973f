/*
 * update.h - the end of a step: check of the gradients, clipping, loss scale,
 * weights.
 *
 * All of it is the engine's work, and what one step leaves to the next stays in
 * the engine (struct kern_state). The host gives the rate before a step and learns
 * afterwards, when it asks, what became of it; so an engine that queues its work
 * has the next step before this one is done. Only where each rank steps its share
 * of the weights (sharding.h) do the ranks first tell each other the squares.
 *
 *	update_init(&u, m, comm, shard, recipe);
 *	u.scaler.scale = ... of a checkpoint; update_restore(&u);
 *	each step: update_begin(&u, lr); gradients; update_run(&u); update_post(&u);
 *	           update_wait(&u, &state);      of the oldest that was not told
 *	update_release(&u);
 *
 * The norm of the gradients is added in one order, with shards or without: the
 * squares of each share, then the shares. With several ranks the gradients are
 * those of all, so the verdict is the same on each.
 */
#ifndef TRAIN_UPDATE_H
#define TRAIN_UPDATE_H

#include "io/recipe.h"
#include "model/model.h"
#include "train/comm.h"
#include "train/optim.h"
#include "train/scaler.h"
#include "util/err.h"

#include <stdint.h>

#define UPDATE_LOG 2 /* steps that may be posted and not yet told */

struct update {
    struct classifier *m;
    struct comm *comm;
    const struct sharding *shard;
    struct optim optim;
    struct scaler scaler; /* as of the step that was told last */
    double clip;
    /* engine memory: the state, behind it its copies [UPDATE_LOG], and
     * KERN_GRAD_CHECK of each share [world,3] */
    struct kern_state *state;
    double *check;
    /* here: the copies, pinned where that is a thing; check, where the ranks
     * tell each other */
    struct kern_state *told;
    double *sums;
    int64_t posted, waited; /* steps */
};

/* m, comm and shard are lent. The loss of m is scaled from now on. */
int update_init(struct update *u, struct classifier *m, struct comm *comm,
                const struct sharding *shard,
                const struct recipe *r) MUST_CHECK;
void update_release(struct update *u);
/* u->scaler is what goes on from here. */
int update_restore(struct update *u) MUST_CHECK;
/* Before the first pass of a step: its rate. */
int update_begin(struct update *u, double lr) MUST_CHECK;
/* Gradients are there: enqueue the rest of the step. */
int update_run(struct update *u) MUST_CHECK;
/* It is enqueued (or an equal one repeated): the weights count as new ones, what
 * became of them is on its way here. At most UPDATE_LOG at a time. */
int update_post(struct update *u) MUST_CHECK;
int update_wait(struct update *u, struct kern_state *s) MUST_CHECK;

#endif
