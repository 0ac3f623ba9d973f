/*
 * roster.h - which ranks run on which hosts, and where they listen for data.
 *
 * Hosts are numbered by their lowest rank, so host 0 has rank 0; the ranks of a
 * host are taken in rising order. Made once by rank 0, equal on all ranks from
 * then on. A run on one host has a roster of one host.
 *
 * Lanes cut every bucket into parts that travel by themselves: lane l of host h
 * is served by the rank l modulo (ranks of h) of that host.
 */
#ifndef RING_ROSTER_H
#define RING_ROSTER_H

#include "ring/net.h"
#include "util/err.h"

#include <stdint.h>

#define ROSTER_HOSTS 256
#define ROSTER_RANKS 1024
#define ROSTER_LANES 256
#define ROSTER_NAME 64

struct roster_host {
    char name[ROSTER_NAME]; /* for messages */
    char addr[NET_TEXT];    /* ADDRESS:0 */
};

struct roster {
    uint32_t n_hosts, world, lanes;
    uint8_t wire, protect;  /* enum plane_wire, plane_protect */
    unsigned char salt[16]; /* names this start of the run */
    struct roster_host host[ROSTER_HOSTS];
    uint16_t host_of[ROSTER_RANKS];
    uint16_t port[ROSTER_RANKS]; /* for data */
};

/* One host with all ranks. */
void roster_single(struct roster *r, int world);
/* Number of ranks on a host; list [ROSTER_RANKS] gets them if not NULL. */
int roster_locals(const struct roster *r, int host, int *list);
/* The number of a rank when those of host 0 are counted first, then those of
 * host 1, ...: its share of what is cut over all ranks. */
int roster_share(const struct roster *r, int rank);
/* The rank that serves a lane on a host. */
int roster_owner(const struct roster *r, int host, int lane);
/* "host b at 10.0.0.2 (ranks 2, 3)". */
void roster_describe(const struct roster *r, int host, char *text, size_t size);
/* Counts within limits, every host has a rank, in order of the lowest. */
int roster_check(const struct roster *r) MUST_CHECK;

#endif
