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

#endif
