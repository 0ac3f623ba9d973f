/*
 * lane.h - one lane: a part of every bucket, added over all hosts.
 *
 * A lane has one connection to each other host and one thread here. It goes
 * through the requests of its rank by itself, ahead of the others where it can,
 * and adds its part of every bucket:
 *	The bucket is cut into a slice for each host, of the shares of its ranks
 *	(roster.h), and each slice into lanes. Each host sends its own sums of
 *	slice i (over its ranks, in order) to host i (FLOW_PART). Host i adds
 *	what came in the order of the hosts, in fp32, and sends the sums to all
 *	(FLOW_SUM). Both go in segments, each kind in order and the first a part,
 *	so that adding and both directions of all connections overlap; sums are
 *	sent before parts that wait, while they are in the caches.
 * Where each rank wants its share only (OP_SCATTER), FLOW_SUM is left out; where
 * each has its share (OP_GATHER), FLOW_PART.
 * With 16 bits on the wire the owner of a slice rounds the sums, too, and keeps
 * the rounded ones. So every element is made once and copied: all hosts have the
 * same bits, whatever the timing.
 *
 * There is no ring around the hosts, whatever the program is called: of a bucket
 * of S bytes each of H hosts sends and receives 2 (H-1)/H S here, which is what a
 * ring needs and the least there can be, and waits for two messages on the way
 * where a ring waits for 2 (H-1). A ring would also round partial sums at every
 * host with 16 bits. It has fewer connections (2 for H-1), which would matter with
 * thousands of hosts.
 *
 * A connection that breaks is a symptom: the lane waits a moment for the control
 * plane to tell the cause, then gives its own.
 */
#ifndef RING_LANE_H
#define RING_LANE_H

#include "ring/flow.h"
#include "ring/shm.h"
#include "util/err.h"

#include <stdbool.h>
#include <stdint.h>

struct lane; /* private */

/* number: of all lanes of the roster. The memory is lent. */
struct lane *lane_new(struct shm *s, int number);
/* The connection to another host; it belongs to the lane. */
struct flow *lane_flow(struct lane *l, int host);
int lane_start(struct lane *l) MUST_CHECK;
/* Until the lane is through with request k; finite as in plane.h. */
int lane_wait(struct lane *l, uint32_t k, bool *finite) MUST_CHECK;
/* After the last request or an abort: its thread ends within 100 ms. */
void lane_free(struct lane *l);

#endif
