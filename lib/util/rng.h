/*
 * rng.h - one counter-based generator, Philox4x32-10.
 *
 * Everything random in the toolkit is a pure function of (seed, a, epoch,
 * domain) and the number of the draw; no generator state is ever stored.
 * Definition and known answers: Random123 (D. E. Shaw Research), as restated in
 * man/shards.5.
 *
 *	struct rng r;
 *	rng_init(&r, seed, position, epoch, RNG_AUGMENT);
 *	y = rng_below(&r, h + 1);
 */
#ifndef UTIL_RNG_H
#define UTIL_RNG_H

#include <stddef.h>
#include <stdint.h>

enum rng_domain {
    RNG_ORDER = 1,  /* global order of an epoch */
    RNG_BLOCK = 2,  /* block order */
    RNG_WINDOW = 3, /* shuffle inside a window */
    RNG_PACK = 8,   /* order of packing */
    RNG_AUGMENT = 16,
    RNG_BATCH = 17,  /* mixup and cutmix, per batch */
    RNG_COLOUR = 18, /* jitter and policies */
    RNG_ERASE = 19,
    RNG_INIT = 32,   /* fresh weights */
    RNG_WORKER = 33, /* dropout and sampling in the worker */
    RNG_SYNTH = 64   /* made-up data */
};

struct rng {
    uint32_t key[2], ctr[4]; /* ctr = (block, a, epoch, domain) */
    uint64_t spare;          /* second half of the current block */
    int odd;                 /* spare is the next draw */
};

/* One block: out = philox(ctr, key), 10 rounds. */
void rng_philox(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4]);
void rng_init(struct rng *r, uint64_t seed, uint32_t a, uint32_t epoch,
              enum rng_domain domain);
uint64_t rng_u64(struct rng *r);
/* Pass over n of these, of which a normal number takes two. */
void rng_skip(struct rng *r, uint64_t n);
/* Uniform in 0..n-1 without bias (Lemire), n > 0. */
uint64_t rng_below(struct rng *r, uint64_t n);
/* Uniform in [0,1), 53 bits. */
double rng_unit(struct rng *r);
/* Normal, mean 0, variance 1 (Box-Muller; two draws, the cosine half). */
double rng_normal(struct rng *r);
/* The next n of them to out [n], by vectors. */
void rng_normals(struct rng *r, double *out, size_t n);
/* p[i] = i, then Fisher-Yates from the end: i = n-1..1, j = below(i+1). */
void rng_permute(struct rng *r, uint32_t *p, uint32_t n);

#endif
