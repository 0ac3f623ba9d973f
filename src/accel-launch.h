/* accel-launch.h - the parts of accel-launch, one file each. */
#ifndef ACCEL_LAUNCH_H
#define ACCEL_LAUNCH_H

#include "util/opt.h"
#include "util/ranks.h"

/* Which launcher of how many this is. */
extern struct opt launch_place_opts[];
/* What they and the environment say; n ranks are to be started. The key of the
 * run, if one is named, is looked at and its name put into the environment. */
int launch_place(struct ranks *task, const struct command *c,
                 int64_t n) MUST_CHECK;

/* What --hostfile needs to know; strings are NULL where not given. */
struct launch_hostfile {
    const char *path, *master, *key_file, *logdir;
    int64_t ranks, retries, grace_s;
    bool ranks_given;
    char **argv;
};
/* Start a launcher on each host; the exit status or -1. */
int launch_by_hostfile(const struct launch_hostfile *o) MUST_CHECK;
/* Fill in path, master and key; 1 if there is a hostfile, 0 if not, -1 if it
 * does not go with the others. */
int launch_hostfile_given(struct launch_hostfile *o,
                          const struct command *c) MUST_CHECK;
/* If this was started by --hostfile: take the key, and the connection (*in). */
int launch_remote(int *in) MUST_CHECK;

#endif
