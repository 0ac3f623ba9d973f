/*
 * local.h - sockets between processes of one host and one user.
 *
 * An address is the path of a socket file, or "@name" for a name in the
 * kernel's own table, which leaves nothing behind. All sockets are streams and
 * close-on-exec. Whoever accepts or connects asks local_user who is there.
 */
#ifndef IO_LOCAL_H
#define IO_LOCAL_H

#include "util/err.h"

#include <sys/types.h>

#define LOCAL_FDS 4 /* handed over at once */

/* Listen; a socket file that a killed run left is replaced. ERR_CONFIG if
 * somebody listens there already. */
int local_listen(const char *address, int backlog) MUST_CHECK;
/* Connect once; -1 leaves errno and no error. */
int local_connect(const char *address) MUST_CHECK;
/* The process at the other end; ERR_NOPERM if it is another user's. */
int local_user(int fd, pid_t *pid) MUST_CHECK;
/* Hand over n descriptors, 1 to LOCAL_FDS; the other end gets its own. */
int local_give(int fd, const int *fds, int n) MUST_CHECK;
/* Take what was given, close-on-exec: how many, at least 1; others are -1. Waits.
 * ERR_PEER: something else came, or nothing will. */
int local_take(int fd, int fds[LOCAL_FDS]) MUST_CHECK;

#endif
