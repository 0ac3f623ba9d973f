/*
 * plane.h - who adds the gradients: the table of engines.
 *
 * Requests, small reductions, broadcasts, barriers and failure are the same for
 * all engines (shm.h, mirror.h); an engine only adds buckets. It is opened when
 * all ranks have joined, on every rank; add is called by each rank for the same
 * buckets in the same order, when the gradients of all ranks of this host lie in
 * their arenas, and returns when this rank's part of the sums is in shm_sums.
 * When add has returned on all ranks of a host, all sums of the bucket are there
 * on that host. The sums are the same bits on every rank.
 *
 * Of OP_SCATTER each rank's share must be in shm_sums of its host. For
 * OP_GATHER each rank's share lies in its arena, and all of them must be in
 * shm_sums of every host. An engine that does not tell these from OP_GRAD
 * (shards false) adds whole buckets: the rest of the arenas is then -0, which
 * changes no bit of a sum.
 *
 *	shm	one host: each rank adds its slice
 *	tcp	several hosts: added in each host, then exchanged (lane.h)
 *	mpi	the same, exchanged by Open MPI (mpi/mpi.h)
 */
#ifndef RING_PLANE_H
#define RING_PLANE_H

#include "ring/net.h"
#include "ring/shm.h"
#include "util/err.h"

#include <stdbool.h>
#include <stdint.h>

/* The type of numbers between hosts; they are added in fp32. */
enum plane_wire {
    WIRE_F32,
    WIRE_BF16,
    WIRE_F16,
    WIRES
};
extern const char *const plane_wire_name[WIRES]; /* "f32", ... */
/* What is done to data between hosts, once both ends have logged in. */
enum plane_protect {
    PROTECT_MAC,  /* a tag: cannot be changed or forged */
    PROTECT_AEAD, /* encrypted, too */
    PROTECT_NONE,
    PROTECTS
};
extern const char *const plane_protect_name[PROTECTS];

struct plane_options {
    const unsigned char *key; /* [CRYPT_KEY]; lent until open returns */
    int listener;             /* where data come in, or -1; lent */
    struct net_place source;  /* address to connect from */
    int64_t timeout_ms;
};

struct plane;
struct plane_kind {
    const char *name;
    bool hosts; /* can add over several hosts */
    int (*open)(struct plane **p, struct shm *s, const struct plane_options *o);
    /* Bucket of request k. finite: are all sums that this rank has seen? */
    int (*add)(struct plane *p, uint32_t k, bool *finite);
    /* p may be NULL; after an abort of the run or when all is done. */
    void (*close)(struct plane *p);
    bool shards; /* knows OP_SCATTER and OP_GATHER */
};

/* The engine of that name, or "auto": what serves that many hosts.
 * ERR_UNAVAILABLE with the reason when it cannot be had. */
int plane_find(const struct plane_kind **e, const char *name,
               int hosts) MUST_CHECK;

extern const struct plane_kind plane_shm, plane_tcp, plane_mpi;

#endif
