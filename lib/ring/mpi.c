/* The mpi engine: added in each host, exchanged between hosts by Open MPI. */
#include "ring/mpi/mpi.h"

#include "ring/plane.h"
#include "ring/sum.h"
#include "util/fdio.h"
#include "util/plugin.h"
#include "util/work.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHUNK 4096   /* elements added at a time */
#define LOOKS 2000   /* at messages before it sleeps between looks */
#define END_MS 10000 /* for the others to come to the end, too */
#define TICK_MS 100  /* between looks at an abort */
#define WHY_BYTES 300

enum tag {
    TAG_PART = 1, /* of the receiver's slice */
    TAG_SUM       /* of the sender's slice */
};

/* One thread makes all calls of Open MPI; it starts with the first bucket, after
 * the worker, since a process that uses Open MPI should not fork. add posts a
 * bucket and waits, looking for an abort: what hangs in Open MPI hangs alone. */
struct plane {
    struct shm *shm;
    const struct mpi_plugin *mpi;
    int lane, lanes; /* lane of this rank; -1: it has none */
    pthread_t thread;
    bool started, ended; /* the thread has ended in order */
    pthread_mutex_t lock;
    pthread_cond_t news;
    uint32_t posted, done; /* requests; done: 0 none */
    bool closing, failed, finite;
    enum err_class class;
    char why[WHY_BYTES];
    float *mine, *parts; /* own sums, those of the other hosts */
    size_t room;
};

/* ---- one bucket */

static int mpi_error(const char *why)
{
    return err_set(ERR_PEER, "Open MPI: %s", why);
}

/* Until all messages are through. */
static int wait_messages(struct plane *p)
{
    static const struct timespec nap = {0, 50000};
    char why[WHY_BYTES] = "";
    bool done = false;

    for (int looks = 0; !done; looks++) {
        if (p->mpi->test(&done, why, sizeof(why)) < 0)
            return mpi_error(why);
        if (done)
            break;
        if (shm_aborted(p->shm))
            return shm_wait_abort(p->shm, 0);
        if (looks > LOOKS)
            nanosleep(&nap, NULL);
    }
    return 0;
}

/* Sums over the ranks of this host of elements a to b of the bucket. */
static void add_local(struct plane *p, size_t base, uint64_t a, uint64_t b)
{
    const float *in[SHM_RANKS];

    for (uint64_t i = a; i < b; i += CHUNK) {
        size_t n = b - i < CHUNK ? (size_t)(b - i) : CHUNK;
        for (int r = 0; r < p->shm->n_local; r++)
            in[r] = shm_arena(p->shm, shm_local(p->shm, r)) + base + i;
        (void)sum_chunk(p->mine + (i - a), in, p->shm->n_local, n);
    }
}

struct slices {
    uint64_t first[ROSTER_HOSTS], end[ROSTER_HOSTS];
    int host, hosts;
    uint64_t a; /* of the lane */
    size_t own; /* elements of the slice of this host */
    float *sums;
};

static int post(struct plane *p, const struct slices *c, enum tag tag)
{
    const struct roster *r = shm_roster(p->shm);
    char why[WHY_BYTES] = "";

    for (int h = 0; h < c->hosts; h++) {
        int rank = roster_owner(r, h, p->lane), theirs = (int)c->own, e;
        float *to = p->parts + (size_t)h * c->own;
        const float *from = p->mine + (c->first[h] - c->a);
        int n = (int)(c->end[h] - c->first[h]);
        if (h == c->host)
            continue;
        if (tag == TAG_SUM) {
            to = c->sums + c->first[h];
            theirs = n;
            from = c->sums + c->first[c->host];
            n = (int)c->own;
        }
        e = p->mpi->recv(rank, tag, to, theirs, why, sizeof(why));
        if (e == 0)
            e = p->mpi->send(rank, tag, from, n, why, sizeof(why));
        if (e < 0)
            return mpi_error(why);
    }
    return wait_messages(p);
}

/* Own slice: the sums of the hosts in their order, in fp32. */
static bool add_hosts(struct plane *p, const struct slices *c)
{
    const float *in[ROSTER_HOSTS];
    uint64_t at = c->first[c->host];
    bool finite = true;

    for (size_t i = 0; i < c->own; i += CHUNK) {
        size_t n = c->own - i < CHUNK ? c->own - i : CHUNK;
        for (int h = 0; h < c->hosts; h++)
            in[h] = h == c->host ? p->mine + (at - c->a) + i
                                 : p->parts + (size_t)h * c->own + i;
        finite &= sum_chunk(c->sums + at + i, in, c->hosts, n);
    }
    return finite;
}

static void make_room(struct plane *p, size_t lane, size_t parts)
{
    if (lane + parts <= p->room)
        return;
    free(p->mine);
    p->mine = xreallocarray(NULL, lane + parts, sizeof(*p->mine));
    p->room = lane + parts;
}

static int exchange(struct plane *p, uint32_t k, bool *finite)
{
    const struct shm_op *op = shm_op(p->shm, p->shm->rank, k);
    const struct roster *r = shm_roster(p->shm);
    size_t base = op->offset / sizeof(float);
    struct slices c = {.host = shm_host(p->shm),
                       .hosts = (int)r->n_hosts,
                       .sums = shm_sums(p->shm) + base};
    uint64_t b;

    if (p->lane < 0)
        return 0;
    if (op->count > INT_MAX)
        return err_set(ERR_UNAVAILABLE,
                       "--engine mpi: a bucket of %llu elements",
                       (unsigned long long)op->count);
    shm_slice(op->count, p->lane, p->lanes, &c.a, &b);
    for (int h = 0; h < c.hosts; h++) {
        shm_slice(b - c.a, h, c.hosts, &c.first[h], &c.end[h]);
        c.first[h] += c.a;
        c.end[h] += c.a;
    }
    c.own = (size_t)(c.end[c.host] - c.first[c.host]);
    make_room(p, (size_t)(b - c.a), c.own * (size_t)c.hosts);
    p->parts = p->mine + (b - c.a);
    add_local(p, base, c.a, b);
    if (post(p, &c, TAG_PART) < 0)
        return -1;
    *finite = add_hosts(p, &c);
    if (post(p, &c, TAG_SUM) < 0)
        return -1;
    for (int h = 0; h < c.hosts; h++) {
        const float *x = c.sums + c.first[h];
        if (h != c.host)
            *finite &= sum_chunk(c.sums + c.first[h], &x, 1,
                                 (size_t)(c.end[h] - c.first[h]));
    }
    return 0;
}

/* ---- the thread */

static int init(struct plane *p)
{
    char why[WHY_BYTES] = "";
    int rank = -1, world = -1;

    if (p->mpi->init(&rank, &world, why, sizeof(why)) < 0)
        return mpi_error(why);
    if (rank != p->shm->rank || world != p->shm->world)
        return err_set(ERR_CONFIG,
                       "--engine mpi: rank %d of %d is process %d of %d of "
                       "Open MPI: start one rank for each",
                       p->shm->rank, p->shm->world, rank, world);
    return 0;
}

static void *run(void *arg)
{
    struct plane *p = arg;
    int r = init(p);

    pthread_mutex_lock(&p->lock);
    for (;;) {
        bool finite = true;
        uint32_t k;
        while (r == 0 && !p->closing && p->posted == p->done)
            pthread_cond_wait(&p->news, &p->lock);
        k = p->posted;
        if (r < 0 || p->closing)
            break;
        pthread_mutex_unlock(&p->lock);
        r = exchange(p, k, &finite);
        pthread_mutex_lock(&p->lock);
        p->finite = finite;
        if (r == 0)
            p->done = k;
        pthread_cond_broadcast(&p->news);
    }
    if (r < 0) {
        p->failed = true;
        p->class = err_code();
        snprintf(p->why, sizeof(p->why), "%s", err_text());
    }
    pthread_cond_broadcast(&p->news);
    pthread_mutex_unlock(&p->lock);
    if (r == 0 && !shm_aborted(p->shm)) {
        p->mpi->finalize();
        p->ended = true;
    }
    return NULL;
}

/* ---- the plugin */

static const struct mpi_plugin *load(void)
{
    const struct mpi_plugin *plugin;
    plugin_fn *entry = NULL;
    char path[PATH_MAX];
    void *dl;

    if (plugin_find("ring-mpi.so", NULL, path) < 0) {
        err_set(ERR_UNAVAILABLE, "--engine mpi: not built: it needs Open MPI "
                                 "(libopenmpi-dev), then make");
        return NULL;
    }
    /* Its own plugins look for its symbols. */
    if (plugin_load(path, MPI_PLUGIN_SYMBOL, RTLD_GLOBAL, &dl, &entry) < 0) {
        err_wrap("--engine mpi");
        return NULL;
    }
    plugin = ((mpi_plugin_entry *)entry)();
    if (plugin->abi == MPI_PLUGIN_ABI)
        return plugin;
    err_set(ERR_UNAVAILABLE, "--engine mpi: %s: of another version", path);
    return NULL;
}

/* ---- the engine */

/* Messages of one lane go between ranks that have the same place on their
 * hosts. */
static void choose_lane(struct plane *p)
{
    const struct roster *r = shm_roster(p->shm);
    int i = shm_index(p->shm, p->shm->rank);

    p->lanes = roster_locals(r, 0, NULL);
    for (int h = 1; h < (int)r->n_hosts; h++) {
        int n = roster_locals(r, h, NULL);
        if (n < p->lanes)
            p->lanes = n;
    }
    p->lane = i < p->lanes ? i : -1;
}

/* Each rank must be a process of mpirun by itself. */
static int check_place(const struct shm *s)
{
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    const char *world = getenv("OMPI_COMM_WORLD_SIZE");

    if (!getenv("PMIX_RANK"))
        return err_set(ERR_UNAVAILABLE,
                       "--engine mpi: not started by Open "
                       "MPI: mpirun -n %d ...",
                       s->world);
    if (rank && world &&
        (strtol(rank, NULL, 10) != s->rank ||
         strtol(world, NULL, 10) != s->world))
        return err_set(ERR_CONFIG,
                       "--engine mpi: rank %d of %d is process %.20s of %.20s "
                       "of mpirun: start one rank for each",
                       s->rank, s->world, rank, world);
    return 0;
}

static int open_mpi(struct plane **out, struct shm *s,
                    const struct plane_options *o)
{
    const struct roster *r = shm_roster(s);
    struct plane *p;

    (void)o;
    if (r->wire != WIRE_F32)
        return err_set(ERR_USAGE, "--engine mpi: --wire %s: only f32",
                       plane_wire_name[r->wire]);
    if (check_place(s) < 0)
        return -1;
    p = xcalloc(1, sizeof(*p));
    p->shm = s;
    p->mpi = load();
    if (!p->mpi) {
        free(p);
        return -1;
    }
    choose_lane(p);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->news, NULL);
    *out = p;
    return 0;
}

static int add_mpi(struct plane *p, uint32_t k, bool *finite)
{
    int r = 0;

    if (!p->started && work_thread(&p->thread, run, p) != 0)
        return err_set(ERR_SYSTEM, "threads cannot be started");
    p->started = true;
    pthread_mutex_lock(&p->lock);
    p->posted = k;
    pthread_cond_broadcast(&p->news);
    while (p->done != k && !p->failed && r == 0) {
        struct timespec t = clock_after(CLOCK_REALTIME, TICK_MS);
        pthread_cond_timedwait(&p->news, &p->lock, &t);
        if (shm_aborted(p->shm))
            r = shm_wait_abort(p->shm, 0);
    }
    *finite = p->finite;
    if (r == 0 && p->failed)
        r = err_give(p->class, p->why);
    pthread_mutex_unlock(&p->lock);
    return r;
}

/* Open MPI's own handlers at the end of a process may wait for ranks that are
 * lost. */
static void leave_now(int status, void *arg)
{
    (void)arg;
    fflush(NULL);
    _exit(status);
}

static void close_mpi(struct plane *p)
{
    struct timespec t;

    if (!p)
        return;
    if (p->started) {
        pthread_mutex_lock(&p->lock);
        p->closing = true;
        pthread_cond_broadcast(&p->news);
        pthread_mutex_unlock(&p->lock);
        t = clock_after(CLOCK_REALTIME, shm_aborted(p->shm) ? 1000 : END_MS);
        if (pthread_timedjoin_np(p->thread, NULL, &t) != 0 || !p->ended) {
            /* The thread may still look at all this. */
            on_exit(leave_now, NULL);
            return;
        }
    }
    free(p->mine);
    free(p);
}

const struct plane_kind plane_mpi = {"mpi",   true,      open_mpi,
                                     add_mpi, close_mpi, false};
