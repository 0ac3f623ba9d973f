/* allreduce-ring.h - the subcommands of allreduce-ring, one file each. */
#ifndef ALLREDUCE_RING_H
#define ALLREDUCE_RING_H

#include "util/opt.h"

extern struct opt ring_bench_opts[], ring_check_opts[];
int ring_bench(const struct command *c, int argc, char **argv);
int ring_check(const struct command *c, int argc, char **argv);

#endif
