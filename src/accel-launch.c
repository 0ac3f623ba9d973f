/* accel-launch: start the ranks of a run on this host and end them together. */
#include "io/launch.h"
#include "util/err.h"
#include "util/opt.h"
#include "util/work.h"

#include <stdio.h>
#include <stdlib.h>

static int64_t ranks, retries, grace_s;
static char *logdir;

static struct opt opts[] = {
    {.name = "ranks",
     .letter = 'n',
     .type = OPT_INT,
     .addr = &ranks,
     .def = "1",
     .min = 1,
     .max = LAUNCH_RANKS,
     .arg = "N",
     .help = "ranks to start"},
    {.name = "retries",
     .type = OPT_INT,
     .addr = &retries,
     .def = "0",
     .min = 0,
     .max = 1000000,
     .arg = "K",
     .help = "restarts after status 75, 76 or death by a signal"},
    {.name = "logdir",
     .type = OPT_STRING,
     .addr = &logdir,
     .arg = "DIR",
     .help = "keep what rank R says in DIR/rank-R.log"},
    {.name = "grace",
     .type = OPT_INT,
     .addr = &grace_s,
     .def = "5",
     .min = 0,
     .max = 100000,
     .arg = "S",
     .help = "seconds between TERM and KILL when a rank has failed"},
    OPT_END,
};

/* Threads of all ranks together should be no more than processors. */
static void share_processors(void)
{
    const char *given = getenv("OMP_NUM_THREADS");
    int64_t each = work_cpus() / ranks;
    char text[24];

    if (given && *given)
        return;
    snprintf(text, sizeof(text), "%lld", (long long)(each > 0 ? each : 1));
    setenv("OMP_NUM_THREADS", text, 1);
    note("OMP_NUM_THREADS=%s for each of %lld ranks", text, (long long)ranks);
}

static int run(const struct command *c, int argc, char **argv)
{
    struct launch_options o = {.n = (int)ranks,
                               .retries = retries,
                               .grace_ms = grace_s * 1000,
                               .logdir = logdir,
                               .argv = argv};

    (void)c;
    if (argc < 1)
        die_with(ERR_USAGE, "no command given: accel-launch -n N -- "
                            "COMMAND ARG...");
    share_processors();
    return launch_run(&o);
}

static const struct command commands[] = {
    {.name = "",
     .operands = "[--] COMMAND [ARG...]",
     .help = "start COMMAND as every rank of a run on this host",
     .opts = opts,
     .max_operands = -1,
     .run = run},
    {.name = NULL},
};

static const struct program program = {
    .name = "accel-launch",
    .help = "starts the ranks of a run and ends them together",
    .commands = commands,
};

int main(int argc, char **argv)
{
    return program_main(&program, argc, argv);
}
