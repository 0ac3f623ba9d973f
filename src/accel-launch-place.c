/* accel-launch: which launcher of how many this is: by --nodes, or as the
 * variables of srun, mpirun, torchrun or Kubernetes say. */
#include "accel-launch.h"

#include "io/launchhosts.h"
#include "ring/crypt.h"
#include "rows.h"
#include "util/err.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t nodes, node;
static char *master, *key_file, *hostfile;
static bool over_ssh;
static int from;

static const char *const family_names[] = {
    "auto", "accel-launch", "torchrun", "openmpi",
    "pmi",  "mvapich2",     "slurm",    "none"};

struct opt launch_place_opts[] = {
    {.name = "nodes",
     .type = OPT_INT,
     .addr = &nodes,
     .min = 1,
     .max = RANKS_MOST,
     .arg = "M",
     .help = "hosts of the run; start accel-launch on each"},
    {.name = "node",
     .type = OPT_INT,
     .addr = &node,
     .min = 0,
     .max = RANKS_MOST - 1,
     .arg = "I",
     .help = "with --nodes: number of this host, from 0"},
    ROW_MASTER(&master),
    ROW_KEY_FILE(&key_file),
    {.name = "rank-from",
     .type = OPT_CHOICE,
     .addr = &from,
     .def = "auto",
     .choices = RANKS_FAMILIES,
     .help = "the launcher whose variables count"},
    {.name = "hostfile",
     .type = OPT_STRING,
     .addr = &hostfile,
     .arg = "FILE",
     .help = "start a launcher on each of these hosts by ssh"},
    {.name = "over-ssh",
     .type = OPT_FLAG,
     .addr = &over_ssh,
     .help = "one of those launchers",
     .hidden = true},
    OPT_END,
};

static bool on_command_line(const struct command *c, const char *name)
{
    return opt_find(c, name)->origin == ORIGIN_COMMAND;
}

static int check_master(void)
{
    const char *colon = strrchr(master, ':');
    char *end;
    long port = colon ? strtol(colon + 1, &end, 10) : 0;

    if (!colon || colon == master || !isdigit((unsigned char)colon[1]) ||
        *end || port < 1 || port > 65535)
        return err_set(ERR_USAGE, "--master %.80s: not HOST:PORT", master);
    if (strlen(master) >= RANKS_TEXT)
        return err_set(ERR_USAGE, "--master: longer than %d", RANKS_TEXT - 1);
    return 0;
}

/* The number of the pod in an indexed job of Kubernetes, which does not say of
 * how many. */
static int node_of_pod(void)
{
    const char *text = getenv("JOB_COMPLETION_INDEX");
    char *end;

    if (!text || !*text)
        return err_set(ERR_USAGE,
                       "--nodes %lld: which of them is this? "
                       "--node I",
                       (long long)nodes);
    node = strtol(text, &end, 10);
    if (!isdigit((unsigned char)*text) || *end || node >= nodes)
        return err_set(ERR_CONFIG,
                       "environment: JOB_COMPLETION_INDEX=%.20s, not a number "
                       "below --nodes %lld",
                       text, (long long)nodes);
    return 0;
}

static int place_by_nodes(struct ranks *task, const struct command *c)
{
    bool given = opt_given(c, "node");

    if (opt_given(c, "rank-from"))
        return err_set(ERR_USAGE, "--nodes and --rank-from: only one");
    if (!given && node_of_pod() < 0)
        return -1;
    if (node >= nodes)
        return err_set(ERR_USAGE, "--node %lld: the %lld nodes are 0 to %lld",
                       (long long)node, (long long)nodes, (long long)nodes - 1);
    if (nodes > 1 && !master)
        return err_set(ERR_USAGE,
                       "--nodes %lld: --master HOST:PORT says where "
                       "they meet",
                       (long long)nodes);
    if (ranks_from(task, "none") < 0)
        return -1;
    task->rank = task->node = (int)node;
    task->world = (int)nodes;
    task->family = given ? "--node" : "JOB_COMPLETION_INDEX";
    /* Equal on all nodes, however each spells the master's name. */
    if (nodes > 1 && !task->run[0])
        snprintf(task->run, sizeof(task->run), "nodes%s", strrchr(master, ':'));
    return 0;
}

static int place_by_launcher(struct ranks *task, const struct command *c)
{
    if (opt_given(c, "node"))
        return err_set(ERR_USAGE, "--node needs --nodes");
    if (ranks_from(task, family_names[from]) < 0)
        return -1;
    if (task->world == 1 && !opt_given(c, "ranks") && ranks_batch_shell())
        return ranks_refuse_shell();
    if (task->world == 1 && on_command_line(c, "master"))
        return err_set(ERR_USAGE, "--master: one host alone: --nodes M and "
                                  "--node I make several");
    if (task->local_world < task->world && !master && !task->master[0])
        return err_set(ERR_USAGE,
                       "%s: %d of %d tasks are on this host: --master "
                       "HOST:PORT of rank 0 says where they meet",
                       task->family, task->local_world, task->world);
    return 0;
}

static int check_key(void)
{
    unsigned char key[CRYPT_KEY];

    if (!key_file)
        return 0;
    if (crypt_load(key_file, key) < 0)
        return -1;
    crypt_forget(key, sizeof(key));
    setenv("ACCEL_KEY_FILE", key_file, 1);
    return 0;
}

int launch_place(struct ranks *task, const struct command *c, int64_t n)
{
    bool several = opt_given(c, "nodes");
    char name[108];

    if ((master && check_master() < 0) || check_key() < 0 ||
        (several ? place_by_nodes(task, c) : place_by_launcher(task, c)) < 0)
        return -1;
    if (task->world > RANKS_MOST / n)
        return err_set(ERR_USAGE, "%lld ranks on each of %d: more than %d",
                       (long long)n, task->world, RANKS_MOST);
    if (task->local_world > 1 && ranks_place(task, name, sizeof(name)) < 0)
        return -1;
    if (master && task->world > 1)
        snprintf(task->master, sizeof(task->master), "%s", master);
    return 0;
}

int launch_hostfile_given(struct launch_hostfile *o, const struct command *c)
{
    static const char *const alone[] = {"nodes", "node", "rank-from",
                                        "over-ssh"};

    if (!hostfile)
        return 0;
    for (size_t i = 0; i < sizeof(alone) / sizeof(alone[0]); i++)
        if (opt_given(c, alone[i]))
            return err_set(ERR_USAGE, "--hostfile and --%s: only one",
                           alone[i]);
    if (master && check_master() < 0)
        return -1;
    o->path = hostfile;
    o->master = master;
    o->key_file = key_file;
    return 1;
}

int launch_remote(int *in)
{
    if (!over_ssh)
        return 0;
    key_file = launch_take_key(in);
    return key_file ? 0 : -1;
}
