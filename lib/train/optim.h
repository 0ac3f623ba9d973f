/*
 * optim.h - SGD with momentum, or LARS, over groups of parameters.
 *
 * Groups differ in weight decay only: norms' gamma and beta, and biases, are
 * decayed or not by SOLVER.DECAY_NORM and SOLVER.DECAY_BIAS, by the kind of the
 * parameter and never by its name. Neighbours in the arena with equal decay are
 * one range, so an update is a handful of passes. With shards (sharding.h) the
 * ranges are cut to the pieces of this rank.
 *
 * LARS is SGD whose gradient, decay included, is multiplied in each weight of a
 * convolution or linear layer by
 *	ETA |w| / (|g| + WEIGHT_DECAY |w| + 1e-8)
 * (1 where a norm is 0), so a step moves every layer by like parts. The norms are
 * those of KERN_GRAD_CHECK; KERN_SGD makes the factor of them. Each such weight is
 * a range of its own. Source: NVIDIA/apex
 * apex/parallel/LARC.py with clip=False.
 */
#ifndef TRAIN_OPTIM_H
#define TRAIN_OPTIM_H

#include "io/recipe.h"
#include "train/sharding.h"
#include "util/err.h"

#include <stdbool.h>

struct optim {
    struct params *ps;
    const struct sharding *shard;
    void *m; /* state arena of the momentum */
    double momentum;
    bool nesterov;
    double eta;    /* of LARS; 0: SGD */
    int n_layers;  /* weights with a factor of their own */
    double *norms; /* engine memory [n_layers,6]: KERN_GRAD_CHECK of w, of g */
    double *sums;  /* the same, here, where the ranks tell each other */
    int n;
    struct optim_range {
        int64_t begin, end; /* arena elements */
        int64_t at;         /* of begin in the state arena */
        double decay;
        int layer; /* its factor; -1: none */
    } * range;
};

/* The shard is lent. */
int optim_init(struct optim *o, const struct sharding *s,
               const struct recipe *r) MUST_CHECK;
void optim_release(struct optim *o);
/* Enqueue one update of the pieces of this rank, as state (in the engine's memory)
 * says: whether, by which rate, gradients times what. */
int optim_step(struct optim *o, const struct kern_state *state) MUST_CHECK;

#endif
