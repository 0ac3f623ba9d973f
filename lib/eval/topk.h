/*
 * topk.h - is the label among the first k? Counted in whole numbers.
 *
 * The rank of a label is the number of classes that stand before it: those with
 * a larger score, and those with an equal score and a lower index. A label is
 * correct at k if its rank is below k. Nothing is ever averaged before the end,
 * so any split of the samples over files or ranks gives the same counts.
 *
 *	struct topk t;
 *	if (topk_init(&t, k, n) < 0) ...
 *	for (each sample)
 *		topk_add(&t, topk_rank(scores, classes, label));
 *	t.correct[i] of t.n samples are correct at t.k[i]
 *
 * A sample with a NaN among its scores has no order: it is wrong at every k,
 * and counted in t.nan.
 */
#ifndef EVAL_TOPK_H
#define EVAL_TOPK_H

#include "tensor/dtype.h"
#include "util/err.h"

#include <stdint.h>

#define TOPK_MAX 16    /* values of k */
#define TOPK_NAN (-1)  /* rank of a sample without an order */
#define TOPK_MISS (-2) /* rank of a label that is not there */

struct topk {
    int n_k;
    int64_t k[TOPK_MAX];
    int64_t correct[TOPK_MAX];
    int64_t n, nan;
};

/* 1 to TOPK_MAX different numbers, each at least 1. ERR_USAGE. */
int topk_init(struct topk *t, const int64_t *k, int n_k) MUST_CHECK;
/* The largest k. */
int64_t topk_most(const struct topk *t);
/* scores [classes] F32 or F64, label in 0..classes-1: the rank, or TOPK_NAN. */
int64_t topk_rank(enum dtype type, const void *scores, int64_t classes,
                  int64_t label);
/* classes named in falling order: the place of the label, or TOPK_MISS. */
int64_t topk_place(const int64_t *named, int64_t n, int64_t label);
/* One sample with a rank (or TOPK_NAN, TOPK_MISS). */
void topk_add(struct topk *t, int64_t rank);

#endif
