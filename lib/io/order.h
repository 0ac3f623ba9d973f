/*
 * order.h - the order of an epoch: position -> sample, for every rank the same.
 *
 * A pure function of (order, seed, epoch) and, for block order, of the shards
 * and the global batch. Nothing is exchanged between ranks and nothing is
 * stored: each computes the whole permutation (4 bytes a sample).
 *
 *	global  Fisher-Yates over all samples, stream (seed, 0, epoch, RNG_ORDER)
 *	seq     the order of the shards
 *	block   blocks of shards permuted, samples shuffled inside windows of
 *	        blocks, for media that must be read sequentially; man/shards.5
 *
 * With repeat R > 1 each sample comes R times, so an epoch sees an Rth of the
 * samples: the positions of a step of G are R runs of the same G/R samples. Views
 * of a sample thus lie G/R apart, on different ranks where there are many
 * (pytorch/vision: references/classification/sampler.py, RASampler; the same
 * samples in each step).
 *
 * An order may be grouped by shape: its samples are dealt, as they come, to two
 * queues, images wider than high and others, and B images of one queue become
 * the next B positions. What is left in the queues goes on into the next epoch,
 * so that no batch of B ever mixes shapes (facebookresearch/detectron2:
 * detectron2/data/common.py, there in each process for itself). An epoch is
 * then found by walking those before it.
 *
 *	struct order o;
 *	if (order_parse(&o, "global") < 0 || order_bind(&o, seed, group, &s) < 0 ||
 *	    order_epoch(&o, 3) < 0)
 *		...
 *	sample = order_at(&o, position);
 *	order_release(&o);
 */
#ifndef IO_ORDER_H
#define IO_ORDER_H

#include "util/buf.h"
#include "util/err.h"

#include <stdint.h>

enum order_kind {
    ORDER_GLOBAL,
    ORDER_SEQ,
    ORDER_BLOCK
};

/* What of a data set an order depends on; the arrays are lent. */
struct order_set {
    uint32_t n;                  /* samples */
    const uint32_t *size;        /* [n] bytes of the images */
    const uint64_t *shard_first; /* [shards+1] first sample of each shard */
    uint32_t shards;
};

struct order {
    enum order_kind kind;
    int64_t block_bytes, window, lanes; /* block only */
    uint64_t seed;
    int64_t repeat; /* 1, or set between order_parse and order_bind */
    int64_t group;  /* samples of a global batch, which is group * repeat:
                       lanes deal group/lanes of them a step */
    struct order_set set;
    int64_t epoch;               /* of perm; -1 none */
    uint32_t *perm;              /* NULL for seq */
    struct order_groups *groups; /* NULL: none */
    uint64_t *window_end;        /* of block order, ascending; the last is n */
};

/* "global", "seq", "block" or "block:BYTES:WINDOW:LANES" (2097152:512:1).
 * ERR_USAGE otherwise. */
int order_parse(struct order *o, const char *text) MUST_CHECK;
/* The full name, as order_parse reads it, and behind it *R for a repeat and
 * "/shape:B" if it is grouped;
 * appended. */
void order_name(const struct order *o, struct buf *b);
/* group: the global batch. ERR_USAGE when repeat or lanes do not divide it. */
int order_bind(struct order *o, uint64_t seed, int64_t group,
               const struct order_set *s) MUST_CHECK;
/*
 * Group by shape, after order_bind: wide[n] says which samples are wider than
 * high, lent; rows is B; an epoch has `positions`, a multiple of B.
 */
void order_group(struct order *o, const uint8_t *wide, int64_t rows,
                 int64_t positions);
/* Compute the order of an epoch (0 <= epoch < 2^32). */
int order_epoch(struct order *o, int64_t epoch) MUST_CHECK;
/* Sample at position p >= 0 of that epoch; positions past n, or past
 * those of an epoch that is grouped, wrap. */
uint32_t order_at(const struct order *o, int64_t p);
/*
 * Where the window of block order that position p lies in ends, a position; what
 * lies before it comes in any order from the same blocks. -1 where positions are
 * not windows one after the other: other orders, several lanes, repeats, groups.
 */
int64_t order_window_end(const struct order *o, int64_t p);
void order_release(struct order *o);

#endif
