/*
 * ranks.h - which rank of how many this process is.
 *
 * Launchers say it in families of environment variables. One family is taken
 * whole, the first that is complete; variables of two are never mixed, since
 * the rank of one launcher and the size of another make a run that waits for
 * ever. Order: command line, ACCEL_*, RANK/WORLD_SIZE, one process alone.
 */
#ifndef RING_RANKS_H
#define RING_RANKS_H

#include "util/err.h"

#include <stdint.h>

struct ranks {
    int rank, world;
    int local_rank, local_world;
    const char *family; /* where it comes from, for messages */
};

/*
 * rank and world from the command line, -1 where not given (then both).
 * ERR_USAGE or ERR_CONFIG names a family that is incomplete or impossible.
 */
int ranks_find(struct ranks *r, int64_t rank, int64_t world) MUST_CHECK;

#endif
