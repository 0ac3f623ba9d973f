/*
 * sharding.h - buckets of the arenas, and which part of them this rank steps.
 *
 * The arena of parameters is cut into buckets at ends of tensors; a bucket is
 * what the ranks exchange at once. Without shards every rank steps the whole
 * arena. With them (ZeRO-1) each bucket is cut again, into one slice for each
 * rank (ctl_slice), and a rank keeps the state of the optimizer of its slices
 * only:
 *
 *	gradients    reduce-scatter: the sums of own slices
 *	update       weights of own slices, with state of own slices
 *	weights      all-gather
 *
 * A state arena (momentum, average) is packed: of each piece [begin, end) of
 * the parameters the state lies from element `at` on. Without shards there is
 * one piece, and a state arena has the layout of the parameters.
 *
 * To read or to load whole tensors, the gradients lend their arena: between
 * steps nothing else is in it.
 */
#ifndef TRAIN_SHARDING_H
#define TRAIN_SHARDING_H

#include "nn/params.h"
#include "train/comm.h"
#include "util/err.h"

#include <stdbool.h>
#include <stdint.h>

struct sharding {
    bool on;
    struct params *ps;
    struct comm *comm;
    int n_buckets;
    int64_t *bucket_end; /* arena elements */
    int n;
    struct sharding_piece {
        int64_t begin, end, at;
    } * piece;
    int64_t total; /* elements of a state arena */
};

/* Buckets of ps; shards over the ranks of comm if on and there are several. */
void sharding_init(struct sharding *s, struct params *ps, struct comm *comm,
                   bool on);
void sharding_release(struct sharding *s);
/* Slice of a bucket that belongs to a share (0..world-1), arena elements. */
void sharding_slice(const struct sharding *s, int bucket, int share,
                    int64_t *begin, int64_t *end);
/* A state arena, zero. */
int sharding_alloc(const struct sharding *s, void **state) MUST_CHECK;

/*
 * The whole of a state in the layout of the parameters: *whole, to be read until
 * the next step or the next call. All ranks call it together.
 */
int sharding_whole(const struct sharding *s, void *state,
                   void **whole) MUST_CHECK;
/* The way back: where whole tensors may be put, and own pieces of it taken. */
void *sharding_room(const struct sharding *s, void *state);
int sharding_take(const struct sharding *s, void *state) MUST_CHECK;
/* After own slices of the weights were stepped: those of all. */
int sharding_weights(const struct sharding *s) MUST_CHECK;

#endif
