/*
 * peer.h - how the ring processes of one host find each other.
 *
 * Rank 0 listens on a unix socket; the others connect, retrying until it is
 * there. Only processes of the same user are heard (SO_PEERCRED). Each says
 * hello (a frame: proto, run, rank, world); when all are there rank 0 answers
 * hello and hands over the shared memory (SCM_RIGHTS). A rank that is there
 * twice or thinks of another world ends the run for everybody (ERR_CONFIG,
 * both are named); a stranger of another run is turned away alone.
 *
 * The connections stay open and carry nothing more: their end is how the death
 * of a ring process is seen, whatever killed it.
 */
#ifndef RING_PEER_H
#define RING_PEER_H

#include "ring/shm.h"
#include "util/err.h"

#include <stdint.h>

struct peer_address {
    int rank, world;
    const char *rdzv;   /* path of a socket, or "@name" for an abstract one */
    const char *run_id; /* must be equal on all; "" is a value too */
    int64_t timeout_ms; /* to have everybody there */
};

struct peers {
    int rank, world;
    int *fd; /* [world]; rank 0 has all others, others have rank 0; else -1 */
};
#define PEERS_INIT                                                             \
    {                                                                          \
        0, 0, NULL                                                             \
    }

/* Join, and make or receive the shared memory. ERR_PEER after the deadline. */
int peers_join(struct peers *p, struct shm *s,
               const struct peer_address *a) MUST_CHECK;
void peers_release(struct peers *p);

#endif
