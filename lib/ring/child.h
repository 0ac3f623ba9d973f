/*
 * child.h - the worker process of a ring: start it, tell how it ended.
 *
 * The worker gets descriptor 6 (read) and 7 (write), 8 if memory is shared with
 * it, and keeps 0 to 2; RANK,
 * LOCAL_RANK, WORLD_SIZE and ACCEL_RING are set. It is the leader of a process
 * group of its own and is killed when the thread that started it ends, so start
 * it from the main thread.
 */
#ifndef RING_CHILD_H
#define RING_CHILD_H

#include "util/buf.h"
#include "util/err.h"
#include "util/ranks.h"

#include <signal.h>
#include <sys/types.h>

struct child {
    pid_t pid;        /* -1: not started */
    int pidfd;        /* readable when it has ended */
    int in;           /* what it writes to 7 */
    int out;          /* what it reads from 6 */
    const char *name; /* last part of argv[0] */
};

struct child_options {
    char **argv; /* ended by NULL, found in PATH */
    const struct ranks *ranks;
    const sigset_t *mask; /* the signal mask it gets */
    int pipe_bytes;       /* size of the pipes, 0: as large as may be */
    int shared;           /* descriptor that becomes its 8, or -1 */
};

/* ERR_UNAVAILABLE if the program cannot be run. */
int child_start(struct child *c, const struct child_options *o) MUST_CHECK;
/* "killed by signal 9 (Killed)" or "exited with status 3" for a status of
 * waitpid. */
void child_describe(int status, struct buf *b);
/* As a shell would say it: 128 + n for a signal. */
int child_exit_status(int status);

#endif
