/* allreduce-ring.h - the subcommands of allreduce-ring, one file each. */
#ifndef ALLREDUCE_RING_H
#define ALLREDUCE_RING_H

#include "ring/join.h"
#include "util/opt.h"

/* How to join a run: options of all commands that do. */
extern struct opt ring_join_opts[];
/* What they say, with the environment. Strings live as long as the table. Ranks
 * of one process if nothing says otherwise. */
int ring_join_options(const struct command *c,
                      struct join_options *o) MUST_CHECK;

extern struct opt ring_bench_opts[], ring_check_opts[];
int ring_bench(const struct command *c, int argc, char **argv);
int ring_check(const struct command *c, int argc, char **argv);
int ring_keygen(const struct command *c, int argc, char **argv);

#endif
