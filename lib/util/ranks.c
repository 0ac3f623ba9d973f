#include "util/ranks.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Steps from here on are shells and helpers of Slurm, not tasks:
 * SchedMD/slurm: slurm/slurm.h, SLURM_MAX_NORMAL_STEP_ID. */
#define SLURM_STEPS 0xfffffff0UL

struct family {
    const char *name;
    const char *rank, *world, *local_rank, *local_world;
    const char *node;   /* number of the host, or NULL */
    const char *run[2]; /* tell this start from others */
    const char *mark;   /* set by a launcher only; without it it may be stale */
    bool need_local;    /* else without both all ranks are on this host */
    bool (*there)(const struct family *f);
    int (*rest)(struct ranks *r, const struct family *f); /* or NULL */
};

static bool is_set(const char *name)
{
    const char *v = name ? getenv(name) : NULL;

    return v && *v;
}

/* Variable name as a number below limit. */
static int number(const char *name, int limit, int *value)
{
    const char *text = getenv(name);
    char *end;
    long v;

    v = strtol(text ? text : "", &end, 10);
    if (!text || !isdigit((unsigned char)*text) || *end || v < 0 || v >= limit)
        return err_set(ERR_CONFIG,
                       "environment: %s=\"%.40s\": not a number below %d", name,
                       text ? text : "", limit);
    *value = (int)v;
    return 0;
}

/* ---- Slurm */

static bool in_step(void)
{
    const char *text = getenv("SLURM_STEP_ID");
    char *end;
    unsigned long id = strtoul(text ? text : "", &end, 10);

    return text && isdigit((unsigned char)*text) && !*end && id < SLURM_STEPS;
}

bool ranks_batch_shell(void)
{
    const char *tasks = getenv("SLURM_NTASKS");

    return is_set("SLURM_PROCID") && is_set("SLURM_JOB_ID") && !in_step() &&
           tasks && strtol(tasks, NULL, 10) > 1;
}

int ranks_refuse_shell(void)
{
    return err_set(ERR_CONFIG,
                   "SLURM_NTASKS=%.20s in the shell of job %.20s, which is "
                   "none of its tasks: start with srun, or accel-launch -n N",
                   getenv("SLURM_NTASKS"), getenv("SLURM_JOB_ID"));
}

/* Tasks of host i in "4(x2),3"; 0 if it does not say. */
static int tasks_of(const char *list, int i)
{
    char *end;

    while (isdigit((unsigned char)*list)) {
        long tasks = strtol(list, &end, 10), hosts = 1;
        if (strncmp(end, "(x", 2) == 0) {
            hosts = strtol(end + 2, &end, 10);
            if (*end++ != ')')
                return 0;
        }
        if (tasks < 1 || tasks > RANKS_MOST || hosts < 1)
            return 0;
        if (i < hosts)
            return (int)tasks;
        i -= (int)(hosts < RANKS_MOST ? hosts : RANKS_MOST);
        if (*end != ',')
            return 0;
        list = end + 1;
    }
    return 0;
}

/* The first host of "a[1,3-5]b,c". */
static void first_host(const char *list, char *host, size_t n)
{
    size_t k = 0;

    for (; *list && *list != ',' && k + 1 < n; list++) {
        if (*list != '[') {
            host[k++] = *list;
            continue;
        }
        while (isdigit((unsigned char)*++list) && k + 1 < n)
            host[k++] = *list;
        while (*list && *list != ']')
            list++;
        if (!*list)
            break;
    }
    host[k] = 0;
}

/* The port is another for each step, so that jobs can share hosts. */
static int rest_of_slurm(struct ranks *r, const struct family *f)
{
    const char *list = getenv("SLURM_STEP_NODELIST");
    char host[RANKS_TEXT - 8];
    unsigned long job, step;

    r->local_world = tasks_of(getenv(f->local_world), r->node);
    if (!r->local_world)
        return err_set(ERR_CONFIG,
                       "environment: %s=\"%.40s\" does not say how many tasks "
                       "are on host %s=%d",
                       f->local_world, getenv(f->local_world), f->node,
                       r->node);
    if (!is_set("SLURM_STEP_NODELIST"))
        return 0;
    first_host(list, host, sizeof(host));
    job = strtoul(is_set("SLURM_JOB_ID") ? getenv("SLURM_JOB_ID") : "0", NULL,
                  10);
    step = strtoul(getenv("SLURM_STEP_ID"), NULL, 10);
    snprintf(r->master, sizeof(r->master), "%s:%lu", host,
             20000 + (job * 61 + step) % 40000);
    return 0;
}

static bool slurm_there(const struct family *f)
{
    return in_step() && is_set(f->rank);
}

/* ---- torchrun and others that set the same */

/* torchrun itself listens at MASTER_PORT where its agents share a store. */
static int rest_of_torchrun(struct ranks *r, const struct family *f)
{
    const char *addr = getenv("MASTER_ADDR");
    const char *agent = getenv("TORCHELASTIC_USE_AGENT_STORE");
    int port;

    (void)f;
    if (!is_set("MASTER_ADDR") || !is_set("MASTER_PORT"))
        return 0;
    if (number("MASTER_PORT", 65535, &port) < 0)
        return -1;
    if (agent && strcmp(agent, "True") == 0)
        port++;
    snprintf(r->master, sizeof(r->master),
             strchr(addr, ':') ? "[%.240s]:%d" : "%.240s:%d", addr, port);
    return 0;
}

/* ---- the table, in the order in which families are tried */

static bool any_there(const struct family *f)
{
    return is_set(f->rank) || is_set(f->world);
}

static const struct family families[] = {
    {"accel-launch",
     "ACCEL_RANK",
     "ACCEL_WORLD_SIZE",
     "ACCEL_LOCAL_RANK",
     "ACCEL_LOCAL_WORLD_SIZE",
     "ACCEL_NODE_RANK",
     {"ACCEL_RUN_ID"},
     "ACCEL_RUN_ID",
     false,
     any_there,
     NULL},
    {"torchrun",
     "RANK",
     "WORLD_SIZE",
     "LOCAL_RANK",
     "LOCAL_WORLD_SIZE",
     "GROUP_RANK",
     {"MASTER_ADDR", "MASTER_PORT"},
     "TORCHELASTIC_RUN_ID",
     false,
     any_there,
     rest_of_torchrun},
    /* OMPI_COMM_WORLD_NODE_RANK is not the number of the host: open-mpi/ompi:
     * docs/tuning-apps/environment-var.rst. */
    {"openmpi",
     "OMPI_COMM_WORLD_RANK",
     "OMPI_COMM_WORLD_SIZE",
     "OMPI_COMM_WORLD_LOCAL_RANK",
     "OMPI_COMM_WORLD_LOCAL_SIZE",
     NULL,
     {"PMIX_NAMESPACE"},
     "OMPI_COMM_WORLD_RANK",
     true,
     any_there,
     NULL},
    {"pmi",
     "PMI_RANK",
     "PMI_SIZE",
     "MPI_LOCALRANKID",
     "MPI_LOCALNRANKS",
     NULL,
     {"PMI_JOBID"},
     "PMI_RANK",
     true,
     any_there,
     NULL},
    {"mvapich2",
     "MV2_COMM_WORLD_RANK",
     "MV2_COMM_WORLD_SIZE",
     "MV2_COMM_WORLD_LOCAL_RANK",
     "MV2_COMM_WORLD_LOCAL_SIZE",
     NULL,
     {NULL},
     "MV2_COMM_WORLD_RANK",
     true,
     any_there,
     NULL},
    {"slurm",
     "SLURM_PROCID",
     "SLURM_STEP_NUM_TASKS",
     "SLURM_LOCALID",
     "SLURM_STEP_TASKS_PER_NODE",
     "SLURM_NODEID",
     {"SLURM_JOB_ID", "SLURM_STEP_ID"},
     "SLURM_STEP_ID",
     true,
     slurm_there,
     rest_of_slurm},
};
#define N_FAMILIES ((int)(sizeof(families) / sizeof(families[0])))

/* ---- one family, whole */

static int need_both(const char *a, const char *b)
{
    if (is_set(a) == is_set(b))
        return 0;
    return err_set(ERR_CONFIG, "environment: %s is set and %s is not",
                   is_set(a) ? a : b, is_set(a) ? b : a);
}

static int take_locals(struct ranks *r, const struct family *f)
{
    r->local_rank = r->rank;
    r->local_world = r->world;
    if (need_both(f->local_rank, f->local_world) < 0)
        return -1;
    if (!is_set(f->local_rank)) {
        if (!f->need_local)
            return 0;
        return err_set(ERR_CONFIG,
                       "environment: %s and %s without %s and %s: which ranks "
                       "are on this host is not known",
                       f->rank, f->world, f->local_rank, f->local_world);
    }
    if (number(f->local_rank, RANKS_MOST, &r->local_rank) < 0)
        return -1;
    /* Slurm's is a list. */
    if (f->rest == rest_of_slurm)
        return 0;
    return number(f->local_world, RANKS_MOST + 1, &r->local_world);
}

static void name_run(struct ranks *r, const struct family *f)
{
    const char *a = f->run[0], *b = f->run[1];

    if (is_set("ACCEL_RUN_ID"))
        a = "ACCEL_RUN_ID", b = NULL;
    if (!is_set(a) || (b && !is_set(b)))
        return;
    snprintf(r->run, sizeof(r->run), "%s%s%s", getenv(a), b ? "." : "",
             b ? getenv(b) : "");
}

static int take_family(struct ranks *r, const struct family *f)
{
    *r = (struct ranks){.node = -1, .family = f->name};
    if (need_both(f->rank, f->world) < 0 ||
        number(f->world, RANKS_MOST + 1, &r->world) < 0 ||
        number(f->rank, RANKS_MOST, &r->rank) < 0 || take_locals(r, f) < 0)
        return -1;
    if (f->rest == rest_of_slurm && !is_set(f->node))
        return err_set(ERR_CONFIG, "environment: %s is set and %s is not",
                       f->rank, f->node);
    if (is_set(f->node) && number(f->node, RANKS_MOST, &r->node) < 0)
        return -1;
    if (f->rest && f->rest(r, f) < 0)
        return -1;
    if (r->rank >= r->world)
        return err_set(ERR_CONFIG, "environment: %s=%d with %s=%d", f->rank,
                       r->rank, f->world, r->world);
    if (r->local_rank >= r->local_world || r->local_rank > r->rank ||
        r->local_world > r->world)
        return err_set(ERR_CONFIG,
                       "environment: %s=%d and %s=%d, but %s=%d and %s=%s",
                       f->rank, r->rank, f->world, r->world, f->local_rank,
                       r->local_rank, f->local_world, getenv(f->local_world));
    name_run(r, f);
    return 0;
}

/* A smaller world by variables that anybody may have exported, inside a
 * launcher that says more. */
static int check_stale(const struct ranks *r, int chosen)
{
    const struct family *f = &families[chosen];

    for (int i = chosen + 1; !is_set(f->mark) && i < N_FAMILIES; i++) {
        const struct family *o = &families[i];
        int world;
        if (!o->there(o) || !is_set(o->world))
            continue;
        if (number(o->world, RANKS_MOST + 1, &world) < 0)
            return -1;
        if (world > r->world)
            return err_set(ERR_CONFIG,
                           "environment: %s=%d, but %s=%d: one is stale: unset "
                           "it, or accel-launch --rank-from %s|%s",
                           f->world, r->world, o->world, world, f->name,
                           o->name);
    }
    return 0;
}

int ranks_from(struct ranks *r, const char *family)
{
    bool any = strcmp(family, "auto") == 0;

    *r = (struct ranks){
        .world = 1, .local_world = 1, .node = -1, .family = "one process"};
    if (is_set("ACCEL_RUN_ID"))
        snprintf(r->run, sizeof(r->run), "%s", getenv("ACCEL_RUN_ID"));
    if (strcmp(family, "none") == 0)
        return 0;
    for (int i = 0; i < N_FAMILIES; i++) {
        const struct family *f = &families[i];
        if (!any && strcmp(family, f->name) != 0)
            continue;
        if (f->there(f)) {
            if (take_family(r, f) < 0)
                return -1;
            return any ? check_stale(r, i) : 0;
        }
        if (!any)
            return err_set(ERR_CONFIG,
                           "environment: %s and %s are not those of a process "
                           "of %s",
                           f->rank, f->world, f->name);
    }
    if (is_set("PMIX_RANK"))
        return err_set(ERR_CONFIG,
                       "environment: PMIX_RANK is set, but nothing says of how "
                       "many: neither OMPI_COMM_WORLD_SIZE nor a step of "
                       "Slurm");
    return 0;
}

int ranks_find(struct ranks *r, int64_t rank, int64_t world)
{
    if ((rank < 0) != (world < 0))
        return err_set(ERR_USAGE, "--rank and --world: give both or neither");
    if (rank < 0) {
        if (ranks_from(r, "auto") < 0)
            return -1;
        if (r->world == 1 && ranks_batch_shell())
            return ranks_refuse_shell();
        return 0;
    }
    if (world < 1 || world > RANKS_MOST || rank >= world)
        return err_set(ERR_USAGE, "--rank %lld of --world %lld",
                       (long long)rank, (long long)world);
    *r = (struct ranks){.rank = (int)rank,
                        .world = (int)world,
                        .local_rank = (int)rank,
                        .local_world = (int)world,
                        .node = -1,
                        .family = "command line"};
    return 0;
}

int ranks_place(const struct ranks *r, char *name, size_t n)
{
    if (!r->run[0])
        return err_set(ERR_USAGE,
                       "%d ranks need a place to meet: --rdzv PATH, or "
                       "ACCEL_RUN_ID, a name of this run on all",
                       r->local_world);
    snprintf(name, n, "@millrace-%u-%d-%.70s", (unsigned)getuid(),
             r->node < 0 ? 0 : r->node, r->run);
    return 0;
}
