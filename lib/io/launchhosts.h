/*
 * launchhosts.h - start a launcher on each host of a list by ssh, and end them
 * together.
 *
 * Each connection carries, on the standard input of the remote launcher, first
 * "key HEX", then "signal N" for each signal that is to go to its ranks. The end
 * of it, whatever the reason, ends the ranks there: nothing is killed from afar.
 * The key is on no command line, in no file and in no environment.
 *
 *	hostfile_read(&f, path), launch_hosts(&o), hostfile_release(&f)
 *	remote: launch_take_key(&in), then launch_run with control = in
 */
#ifndef IO_LAUNCHHOSTS_H
#define IO_LAUNCHHOSTS_H

#include "util/err.h"

#include <stdint.h>

#define HOSTS_KEY 32

struct hostfile {
    char **name; /* [n] HOST or USER@HOST */
    int n;
    int slots; /* ranks of each host, 0: not said */
};

/*
 * Lines "HOST" or "HOST slots=N", '#' begins a comment. ERR_CONFIG with line and
 * word for anything else, a host that is there twice, slots that differ.
 */
int hostfile_read(struct hostfile *f, const char *path) MUST_CHECK;
void hostfile_release(struct hostfile *f);

struct hosts_options {
    const struct hostfile *file;
    const unsigned char *key; /* [HOSTS_KEY] */
    int64_t grace_ms;
    /* the command for the shell of host i, to be freed */
    char *(*command)(const void *arg, int i);
    const void *arg;
};

/* Run to the end. The exit status: 0; that of the host that failed first, one
 * whose ranks failed before one that lost them (76) or stopped in order (75);
 * 69 for a host that ssh does not reach. */
int launch_hosts(const struct hosts_options *o) MUST_CHECK;

/* On the other side: take standard input over as the connection (*in) and the
 * key from it; returns the path of a file in memory that holds it, readable by
 * this user while this process lives. NULL on failure. */
char *launch_take_key(int *in) MUST_CHECK;

#endif
