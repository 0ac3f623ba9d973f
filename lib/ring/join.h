/*
 * join.h - become a member of the run: ranks of this host, other hosts, memory,
 * engine, in this order.
 *
 * A run whose ranks are all on one host opens no port. Otherwise the leaders meet
 * at the master's address (hosts.h), and every rank listens for data at an
 * address of this host: that of --bind or --iface, or the one this host reaches
 * the master from. Beyond the loopback interface that needs a key.
 *
 *	join_run(&j, &o), then the requests in j.shm (serve.h), then join_leave(&j)
 */
#ifndef RING_JOIN_H
#define RING_JOIN_H

#include "ring/crypt.h"
#include "ring/mirror.h"
#include "ring/net.h"
#include "ring/peer.h"
#include "ring/plane.h"
#include "util/err.h"
#include "util/ranks.h"

#include <stdint.h>

struct join_options {
    struct ranks ranks;
    const char *rdzv;       /* where the ranks of this host meet, or NULL */
    const char *run_id;     /* equal on all; "" is a value too */
    const char *master;     /* HOST:PORT of rank 0, or NULL: one host */
    const char *key_file;   /* or NULL */
    const char *bind;       /* address to listen at and send from, or NULL */
    const char *iface;      /* or the interface that has it, or NULL */
    struct net_ports ports; /* for data */
    const char *engine;     /* name of the table in plane.h, or "auto" */
    enum plane_wire wire;
    enum plane_protect protect;
    int streams;        /* lanes for each rank of a host; 0: as many as help */
    int64_t timeout_ms; /* to have everybody there */
    int64_t dead_ms;    /* a host that is not heard so long is lost */
};

struct join {
    struct shm shm;
    struct peers peers; /* of this host */
    const struct plane_kind *engine;
    struct plane *plane;
    /* private */
    struct mirror *mirror; /* of the leader where there are more hosts */
    struct hosts hosts;    /* until it has started */
    struct net_place source;
    int listener;
    unsigned char key[CRYPT_KEY];
};

/* On failure all that was opened is closed, and the others are told. */
int join_run(struct join *j, const struct join_options *o) MUST_CHECK;
/* Tell the end to the other hosts and close everything. quick: a thread may
 * still look at the memory; leave it to the end of the process. */
void join_leave(struct join *j, bool quick);

#endif
