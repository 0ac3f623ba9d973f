/*
 * loop.h - one rank of the ring: join, run the worker, watch everything that
 * can die, end with the root cause.
 *
 * The supervisor polls: signals, the worker, the connections to the other
 * rings, the launcher, and the threads that serve the worker (serve.h). It
 * moves no data. The worker is a process group of its own, so that a signal
 * reaches it exactly once, through ring_run; it is killed when this process
 * dies. A signal to stop before the worker has said a word ends the run for all
 * with ERR_AGAIN: nothing has begun.
 *
 * The end: when all ranks have said end, with the status of the worker. When a
 * rank is lost, every ring sends its worker an error frame, gives it 2 s, kills
 * it and ends with the class of the root cause, ERR_PEER if that is unknown.
 */
#ifndef RING_LOOP_H
#define RING_LOOP_H

#include "ring/join.h"
#include "util/err.h"

#include <stdint.h>

struct ring_options {
    struct join_options join; /* its timeout holds for a rank that lags, too */
    const char *launch;       /* address of the launcher's socket, or NULL */
    int64_t tell_ms;          /* a lagging rank is named after this */
    char **argv;              /* the worker, ended by NULL */
};

/* Run to the end. The exit status of this process; messages are printed. */
int ring_run(const struct ring_options *o);

#endif
