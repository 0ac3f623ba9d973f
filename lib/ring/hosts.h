/*
 * hosts.h - how the hosts of a run find each other over TCP.
 *
 * The leader of the first host (rank 0) listens at the master's address until all
 * ranks are there; the leaders of the other hosts connect, retrying, log in
 * (login.h) and say which ranks they have (MSG_JOIN). Then rank 0 sends everybody
 * the roster. The channels stay: they are the control plane (mirror.h).
 *
 * A stranger - no ring, wrong key, other version - is turned away alone and
 * named at most once a second; so is a ring of another run. A host that knows the
 * key and does not fit - another world, a rank twice, other settings - ends the
 * run for all (ERR_CONFIG), as does one that leaves again (ERR_PEER).
 */
#ifndef RING_HOSTS_H
#define RING_HOSTS_H

#include "ring/channel.h"
#include "ring/msg.h"
#include "ring/net.h"
#include "ring/roster.h"
#include "util/err.h"

#include <stdint.h>

struct hosts_address {
    const char *master;      /* HOST:PORT */
    struct net_place bind;   /* where rank 0 listens if not there; n 0: there */
    struct net_place source; /* address to connect from */
    const unsigned char *key; /* [CRYPT_KEY] */
    const char *run_id;
    int64_t timeout_ms;
    struct msg_join self; /* this host */
};

struct hosts {
    int n;
    /* Rank 0: by host, that of host 0 is closed. The others: one, to rank 0. */
    struct channel *channel;
};
#define HOSTS_INIT                                                             \
    {                                                                          \
        0, NULL                                                                \
    }

/* As the leader of a host; fills the roster. */
int hosts_join(struct hosts *h, struct roster *r,
               const struct hosts_address *a) MUST_CHECK;
/* The error that is set is told to all hosts. */
void hosts_refuse(struct hosts *h);
void hosts_release(struct hosts *h);

#endif
