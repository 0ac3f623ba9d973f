/*
 * request.h - do the ranks ask for the same? The requests of shm.h in words, and
 * their comparison.
 *
 * What is equal on all ranks: kind, operation or bucket or root, size, name, the
 * step of a bucket; of a hello the layout of the parameters, the recipe and the
 * samples. A difference is ERR_CONFIG and names both ranks. The answer is the
 * same on every rank.
 */
#ifndef RING_REQUEST_H
#define RING_REQUEST_H

#include "ring/shm.h"
#include "util/err.h"

#include <stddef.h>
#include <stdint.h>

/* "sum", "min", "max": operations of a reduction, by number. */
#define REQUEST_OPERATIONS 3
extern const char *const request_operation[REQUEST_OPERATIONS];
/* Types of the frames of the worker, by enum shm_kind. */
extern const char *const request_kind[OP_KINDS];

/* Is it one that an engine (plane.h) performs? */
bool request_is_bucket(uint32_t kind);

/* What rank asked for as its request k, in words ("barrier \"x\""). */
void request_describe(const struct shm *s, int rank, uint32_t k, char *text,
                      size_t size);
/* Requests k of all ranks, or of those of this host; they are there. */
int request_compare(const struct shm *s, uint32_t k) MUST_CHECK;
int request_compare_local(const struct shm *s, uint32_t k) MUST_CHECK;

#endif
