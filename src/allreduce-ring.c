/* allreduce-ring: join the ranks of a run, start the worker, sum its gradients
 * with those of the others. */
#include "allreduce-ring.h"

#include "ring/loop.h"
#include "util/err.h"
#include "util/opt.h"

#include <stdio.h>
#include <stdlib.h>

static int64_t tell_s;

static struct opt run_opts[] = {
    {.name = "tell",
     .type = OPT_INT,
     .addr = &tell_s,
     .def = "60",
     .min = 1,
     .max = 1000000,
     .arg = "S",
     .help = "seconds until a rank that is waited for is named"},
    OPT_END,
};

static int run(const struct command *c, int argc, char **argv)
{
    struct ring_options o = {.tell_ms = tell_s * 1000};
    char number[16];

    if (argc < 1)
        die_with(ERR_USAGE, "no program given: allreduce-ring [options] -- "
                            "PROGRAM ARG...");
    if (ring_join_options(c, &o.join) < 0)
        return -1;
    snprintf(number, sizeof(number), "%d", o.join.ranks.rank);
    setenv("RANK", number, 1);
    snprintf(number, sizeof(number), "%d", o.join.ranks.world);
    setenv("WORLD_SIZE", number, 1);
    prog_set("allreduce-ring");
    o.argv = argv;
    o.launch = getenv("ACCEL_LAUNCH");
    return ring_run(&o);
}

static const struct command commands[] = {
    {.name = "",
     .operands = "[--] PROGRAM [ARG...]",
     .help = "run PROGRAM as one rank of a run",
     .opts = run_opts,
     .shared = ring_join_opts,
     .max_operands = -1,
     .run = run},
    {.name = "bench",
     .operands = "",
     .help = "time the sum of one bucket",
     .opts = ring_bench_opts,
     .shared = ring_join_opts,
     .run = ring_bench},
    {.name = "check",
     .operands = "",
     .help = "see whether ranks can meet and add, and how fast",
     .opts = ring_check_opts,
     .shared = ring_join_opts,
     .run = ring_check},
    {.name = "keygen",
     .operands = "FILE",
     .help = "make the secret of a run over several hosts",
     .n_fixed = 1,
     .max_operands = 1,
     .run = ring_keygen},
    {.name = NULL},
};

static const struct program program = {
    .name = "allreduce-ring",
    .help = "sums the gradients of the ranks of a run",
    .commands = commands,
};

int main(int argc, char **argv)
{
    return program_main(&program, argc, argv);
}
