/* allreduce-ring: join the ranks of a run, start the worker, sum its gradients
 * with those of the others. */
#include "allreduce-ring.h"

#include "ring/loop.h"
#include "util/err.h"
#include "util/opt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t rank, world, timeout_s, tell_s;
static char *rdzv;
static int engine;

/* Who moves the gradients. An engine that is not here is an error, never
 * another engine in its place. */
static const struct engine {
    const char *name;
    bool available;
} engines[] = {
    {"auto", true}, {"shm", true},   {"tcp", false},
    {"mpi", false}, {"nccl", false},
};

static struct opt run_opts[] = {
    {.name = "engine",
     .type = OPT_CHOICE,
     .addr = &engine,
     .def = "auto",
     .choices = "auto|shm|tcp|mpi|nccl",
     .help = "who adds the gradients"},
    {.name = "rank",
     .type = OPT_INT,
     .addr = &rank,
     .min = 0,
     .max = 65535,
     .arg = "R",
     .help = "number of this rank; with --world, in place of the environment"},
    {.name = "world",
     .type = OPT_INT,
     .addr = &world,
     .min = 1,
     .max = 65536,
     .arg = "W",
     .help = "number of ranks"},
    {.name = "rdzv",
     .env = "ACCEL_RDZV",
     .type = OPT_STRING,
     .addr = &rdzv,
     .arg = "PATH|@NAME",
     .help = "socket where the ranks of this run meet"},
    {.name = "timeout",
     .type = OPT_INT,
     .addr = &timeout_s,
     .def = "600",
     .min = 1,
     .max = 1000000,
     .arg = "S",
     .help = "seconds to wait for a rank that does not come"},
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

/* Where the ranks meet: as told, or a name that torchrun's ranks share. */
static char *find_rdzv(const struct ranks *r)
{
    const char *addr = getenv("MASTER_ADDR"), *port = getenv("MASTER_PORT");

    if (rdzv)
        return xstrdup(rdzv);
    if (r->world == 1)
        return NULL;
    if (!addr || !port || strcmp(r->family, "command line") == 0)
        die_with(ERR_USAGE, "%d ranks need a place to meet: --rdzv PATH",
                 r->world);
    return xstrfmt("@millrace-%.60s-%.20s", addr, port);
}

static int run(const struct command *c, int argc, char **argv)
{
    struct ring_options o = {
        .timeout_ms = timeout_s * 1000, .tell_ms = tell_s * 1000, .argv = argv};
    const char *run_id = getenv("ACCEL_RUN_ID");
    char *place, *launch = NULL, number[16];
    int status;

    if (argc < 1)
        die_with(ERR_USAGE, "no program given: allreduce-ring [options] -- "
                            "PROGRAM ARG...");
    if (!engines[engine].available)
        die_with(ERR_UNAVAILABLE, "--engine %s: not built in this version",
                 engines[engine].name);
    if (ranks_find(&o.ranks, opt_given(c, "rank") ? rank : -1,
                   opt_given(c, "world") ? world : -1) < 0)
        return -1;
    if (o.ranks.local_world != o.ranks.world)
        die_with(ERR_UNAVAILABLE,
                 "%d ranks, %d of them on this host: the tcp engine is not "
                 "built in this version",
                 o.ranks.world, o.ranks.local_world);
    snprintf(number, sizeof(number), "%d", o.ranks.rank);
    setenv("RANK", number, 1);
    snprintf(number, sizeof(number), "%d", o.ranks.world);
    setenv("WORLD_SIZE", number, 1);
    prog_set("allreduce-ring");
    place = find_rdzv(&o.ranks);
    o.rdzv = place;
    o.run_id = run_id ? run_id : "";
    if (place && getenv("ACCEL_RANK"))
        launch = xstrfmt("%s-launch", place);
    o.launch = launch;
    note("rank %d/%d engine shm (from %s)", o.ranks.rank, o.ranks.world,
         o.ranks.family);
    status = ring_run(&o);
    free(place);
    free(launch);
    return status;
}

static const struct command commands[] = {
    {.name = "",
     .operands = "[--] PROGRAM [ARG...]",
     .help = "run PROGRAM as one rank of a run",
     .opts = run_opts,
     .max_operands = -1,
     .run = run},
    {.name = "bench",
     .operands = "",
     .help = "time the sum of one bucket over ranks on this host",
     .opts = ring_bench_opts,
     .run = ring_bench},
    {.name = "check",
     .operands = "",
     .help = "see whether ranks can meet and add on this host",
     .opts = ring_check_opts,
     .run = ring_check},
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
