/* accel-launch: start the ranks of a run on this host and end them together. */
#include "accel-launch.h"

#include "io/launch.h"
#include "util/err.h"
#include "util/opt.h"
#include "util/work.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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

/* Threads of all ranks together should be no more than processors. Tasks on
 * this host may each have been given processors of their own. */
static void share_processors(const struct ranks *task)
{
    const char *given = getenv("OMP_NUM_THREADS");
    int64_t each = work_cpus() / ranks;
    int64_t all = sysconf(_SC_NPROCESSORS_ONLN) / (ranks * task->local_world);
    char text[24];

    if (given && *given)
        return;
    if (task->local_world > 1 && all < each)
        each = all;
    snprintf(text, sizeof(text), "%lld", (long long)(each > 0 ? each : 1));
    setenv("OMP_NUM_THREADS", text, 1);
    note("OMP_NUM_THREADS=%s for each of %lld ranks", text, (long long)ranks);
}

/* Where several launchers make one run, what this one takes itself for. */
static void tell_place(const struct ranks *t)
{
    char node[32] = "", host[64] = "?";

    if (t->world == 1 || verbosity < 0)
        return;
    if (gethostname(host, sizeof(host) - 1) < 0)
        host[0] = 0;
    if (t->node >= 0)
        snprintf(node, sizeof(node), ", node %d", t->node);
    warn("ranks %lld to %lld of %lld on %s%s, from %s%s%s",
         (long long)(t->rank * ranks), (long long)((t->rank + 1) * ranks - 1),
         (long long)(t->world * ranks), host, node, t->family,
         t->local_world < t->world && t->master[0] ? ", master " : "",
         t->local_world < t->world ? t->master : "");
}

static int run(const struct command *c, int argc, char **argv)
{
    struct launch_options o = {.n = (int)ranks,
                               .retries = retries,
                               .grace_ms = grace_s * 1000,
                               .logdir = logdir,
                               .argv = argv};
    struct launch_hostfile h = {.ranks = ranks,
                                .ranks_given = opt_given(c, "ranks"),
                                .retries = retries,
                                .grace_s = grace_s,
                                .logdir = logdir,
                                .argv = argv};
    int given;

    if (argc < 1)
        die_with(ERR_USAGE, "no command given: accel-launch -n N -- "
                            "COMMAND ARG...");
    given = launch_hostfile_given(&h, c);
    if (given < 0)
        return -1;
    if (given)
        return launch_by_hostfile(&h);
    if (launch_remote(&o.control) < 0 || launch_place(&o.task, c, ranks) < 0)
        return -1;
    share_processors(&o.task);
    tell_place(&o.task);
    return launch_run(&o);
}

static const struct command commands[] = {
    {.name = "",
     .operands = "[--] COMMAND [ARG...]",
     .help = "start COMMAND as every rank of a run on this host",
     .opts = opts,
     .shared = launch_place_opts,
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
