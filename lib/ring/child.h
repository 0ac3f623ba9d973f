/*
 * child.h - the worker process of a ring: start it, tell how it ended.
 *
 * The worker gets descriptor 6 (read) and 7 (write) and keeps 0 to 2; RANK,
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

/*
 * Start argv (ended by NULL, found in PATH). mask is the signal mask it gets.
 * ERR_UNAVAILABLE if the program cannot be run. pipe_bytes: size of the pipes,
 * 0: as large as may be.
 */
int child_start(struct child *c, char **argv, const struct ranks *r,
                const sigset_t *mask, int pipe_bytes) MUST_CHECK;
/* "killed by signal 9 (Killed)" or "exited with status 3" for a status of
 * waitpid. */
void child_describe(int status, struct buf *b);
/* As a shell would say it: 128 + n for a signal. */
int child_exit_status(int status);

#endif
