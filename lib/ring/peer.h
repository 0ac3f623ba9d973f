/*
 * peer.h - how the ring processes of one host find each other.
 *
 * The leader of a host, its local rank 0, listens on a unix socket; the others
 * connect, retrying until it is there. Only processes of the same user are heard
 * (SO_PEERCRED). Each says hello (a frame: proto, run, rank, world, local rank
 * and number, port for data). When all are there, and after the leader has found
 * the other hosts (join.h), it answers hello and hands over the shared memory
 * and its bell (SCM_RIGHTS). A rank that is there twice or thinks of another
 * world ends the run for everybody (ERR_CONFIG, both are named); a stranger of
 * another run is turned away alone.
 *
 *	peers_gather	all of the host are there / hello is said
 *	peers_share	memory is handed over / received
 *	peers_refuse	the leader gives up: all are told the error that is set
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
    int local_rank, local_world;
    int port;           /* where this rank takes data from other hosts, 0 */
    const char *rdzv;   /* path of a socket, or "@name" for an abstract one */
    const char *run_id; /* must be equal on all; "" is a value too */
    int64_t timeout_ms; /* to have everybody there */
};

/* By local rank. The leader has the connections of all others and knows their
 * ranks and ports; the others have that of the leader; else -1. */
struct peers {
    int n, index;
    int *fd, *rank, *port;
};
#define PEERS_INIT                                                             \
    {                                                                          \
        0, 0, NULL, NULL, NULL                                                 \
    }

/* ERR_PEER after the deadline. */
int peers_gather(struct peers *p, const struct peer_address *a) MUST_CHECK;
/* s: of the leader, to give; of the others, to be filled. */
int peers_share(struct peers *p, struct shm *s,
                const struct peer_address *a) MUST_CHECK;
void peers_refuse(struct peers *p);
/* Connection i is readable: it can only have ended. If its rank had not, the run
 * is aborted with its name. */
void peers_check(struct peers *p, const struct shm *s, int i);
void peers_release(struct peers *p);

#endif
