/*
 * mirror.h - the table of requests of all ranks, kept equal on all hosts.
 *
 * A thread of each leader tells the other hosts what the ranks of this host ask
 * for and have done (the bell of shm.h wakes it), and writes what it hears into
 * the shared memory, where the ranks of this host wait for it as they wait for
 * each other. Rank 0 hands on what comes from one host to all others.
 *
 * It is the watch, too: something is said at least once a second, and a host that
 * is not heard for dead_ms, or whose connection ends before its ranks have
 * ended, is lost: the run is aborted with its name. An abort anywhere is told to
 * all.
 */
#ifndef RING_MIRROR_H
#define RING_MIRROR_H

#include "ring/hosts.h"
#include "ring/shm.h"
#include "util/err.h"

#include <stdint.h>

struct mirror; /* private */

/* The channels belong to the mirror from now on; the memory is lent. */
struct mirror *mirror_start(struct shm *s, struct hosts *h, int64_t dead_ms);
/* Tell the last news and the end, wait for that of the others (a few seconds at
 * most), free everything. m may be NULL. */
void mirror_stop(struct mirror *m);

/*
 * One message as it came from a host (from < 0: rank 0 hands it on), for tests
 * and fuzzing. ERR_PEER when it cannot be: of ranks that are not there, out of
 * order, too large.
 */
int mirror_apply(struct shm *s, const struct msg *m, int from) MUST_CHECK;

#endif
