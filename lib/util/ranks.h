/*
 * ranks.h - which rank of how many this process is.
 *
 * Launchers say it in families of environment variables. One family is taken
 * whole, the first that is there; variables of two are never mixed, since the
 * rank of one launcher and the size of another make a run that waits for ever.
 * The order is that of the table in ranks.c, the innermost launcher first.
 *
 * A family that is there in part, or whose numbers contradict each other, is an
 * error that names the variables. So is one that may be stale: RANK and
 * WORLD_SIZE without the mark of a launcher, and smaller than what an outer
 * launcher says.
 *
 *	ranks_find(&r, -1, -1)
 *	ranks_place(&r, name, sizeof(name))   where the ranks of this host meet
 */
#ifndef UTIL_RANKS_H
#define UTIL_RANKS_H

#include "util/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RANKS_MOST 65536
#define RANKS_TEXT 256
/* Names of ranks_from, as choices of an option. */
#define RANKS_FAMILIES                                                         \
    "auto|accel-launch|torchrun|openmpi|pmi|mvapich2|slurm|none"

struct ranks {
    int rank, world;
    int local_rank, local_world; /* those on this host */
    int node;                    /* number of this host, -1: not known */
    const char *family;          /* where it comes from, for messages */
    char run[RANKS_TEXT];        /* equal on all ranks of this start, or "" */
    char master[RANKS_TEXT];     /* HOST:PORT where hosts can meet, or "" */
};

/*
 * rank and world from the command line, -1 where not given (then both), else
 * from the environment. ERR_USAGE or ERR_CONFIG names what is incomplete or
 * impossible; so is the shell of a Slurm batch job, which is none of its tasks.
 */
int ranks_find(struct ranks *r, int64_t rank, int64_t world) MUST_CHECK;
/* From the environment, by the name of a family. The batch shell is one
 * process. */
int ranks_from(struct ranks *r, const char *family) MUST_CHECK;
/* Is this the shell of a Slurm job of several tasks, not one of them? */
bool ranks_batch_shell(void);
/* An error of ranks_batch_shell; returns -1. */
int ranks_refuse_shell(void);
/* Name of the socket where the ranks of this host and this user meet, for n
 * bytes. ERR_USAGE if nothing tells this start from others. */
int ranks_place(const struct ranks *r, char *name, size_t n) MUST_CHECK;

#endif
