/*
 * The communicator whose buckets are in a device's memory. What is small goes
 * through the one below, which also knows of lost ranks. Buckets are added by the
 * devices, or travel: fetched to pinned memory, posted below once they are there,
 * sent back when the sum is.
 */
#include "train/comm.h"

#include "io/ctl.h"
#include "train/marks.h"
#include "util/fdio.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GRACE_MS 2000 /* for the root cause to come */

struct travelling {
    float *host; /* pinned, [room] */
    int64_t room;
    float *g;
    int64_t numel, first, end; /* the part that goes up: [first, end) */
    enum comm_what what;
    bool posted;
};

struct device_comm {
    struct comm c;
    struct comm *below;
    struct engine *e;
    bool team;
    bool waited;  /* team: nothing was started since the last wait */
    int64_t *end; /* team: where the slices of a gather end, [world] */
    struct travelling *bucket; /* [COMM_BUCKETS], in an order */
    int queue[MARKS_FETCHED];  /* fetched and not yet posted, oldest first */
    int n_queue, next_mark, first_mark;
};

static struct device_comm *self(struct comm *c)
{
    return (struct device_comm *)(void *)c;
}

static struct comm *below(struct comm *c)
{
    struct comm *b = self(c)->below;

    b->step = c->step;
    return b;
}

/* ---- buckets that travel */

/* Post what has arrived, in order; wait for it if must. */
static int post_arrived(struct device_comm *d, bool must)
{
    while (d->n_queue > 0) {
        struct travelling *b = &d->bucket[d->queue[0]];
        int mark = MARK_FETCHED + d->first_mark, r = 1;

        if (must && engine_wait(d->e, mark) < 0)
            return -1;
        if (!must)
            r = engine_passed(d->e, mark);
        if (r <= 0)
            return r;
        if (comm_start(below(&d->c), b->what, d->queue[0], b->host, b->numel) <
            0)
            return -1;
        b->posted = true;
        d->n_queue--;
        memmove(d->queue, d->queue + 1, (size_t)d->n_queue * sizeof *d->queue);
        d->first_mark = (d->first_mark + 1) % MARKS_FETCHED;
    }
    return 0;
}

static int make_room(struct device_comm *d, struct travelling *b, int64_t n)
{
    void *p;

    if (n <= b->room)
        return 0;
    if (engine_host_alloc(d->e, (size_t)n * sizeof(float), &p) < 0)
        return err_wrap("gradients");
    engine_host_free(d->e, b->host);
    b->host = p;
    b->room = n;
    return 0;
}

static int fetch(struct device_comm *d, enum comm_what what, int bucket,
                 float *g, int64_t numel)
{
    struct travelling *b = &d->bucket[bucket];
    int64_t from = 0, to = numel;

    if (make_room(d, b, numel) < 0 ||
        (d->n_queue == MARKS_FETCHED && post_arrived(d, true) < 0))
        return -1;
    b->g = g;
    b->numel = numel;
    b->what = what;
    b->posted = false;
    b->first = 0;
    b->end = numel;
    if (what == COMM_GATHER)
        ctl_slice(numel, d->c.share, d->c.world, &from, &to);
    if (what == COMM_SCATTER)
        ctl_slice(numel, d->c.share, d->c.world, &b->first, &b->end);
    if (engine_fetch(d->e, b->host + from, g + from,
                     (size_t)(to - from) * sizeof *g,
                     MARK_FETCHED + d->next_mark) < 0)
        return -1;
    d->next_mark = (d->next_mark + 1) % MARKS_FETCHED;
    d->queue[d->n_queue++] = bucket;
    return post_arrived(d, false);
}

/* The sum is on its way back when this returns, and the queue waits for it. */
static int send_back(struct device_comm *d, int bucket)
{
    struct travelling *b = &d->bucket[bucket];

    if ((!b->posted && post_arrived(d, true) < 0) ||
        comm_wait(below(&d->c), bucket) < 0)
        return -1;
    if (engine_send(d->e, b->g + b->first, b->host + b->first,
                    (size_t)(b->end - b->first) * sizeof *b->g,
                    MARK_SUMMED) < 0)
        return -1;
    return engine_after(d->e, MARK_SUMMED);
}

/* ---- buckets that the devices add */

static int add(struct device_comm *d, enum comm_what what, float *g,
               int64_t numel)
{
    /* a scatter may give more than own slice */
    static const enum team_op of[] = {[COMM_ALL] = TEAM_SUM,
                                      [COMM_SCATTER] = TEAM_SUM,
                                      [COMM_GATHER] = TEAM_GATHER,
                                      [COMM_MEAN] = TEAM_MEAN};
    int64_t begin;

    for (int i = 0; what == COMM_GATHER && i < d->c.world; i++)
        ctl_slice(numel, i, d->c.world, &begin, &d->end[i]);
    d->waited = false;
    return engine_team_start(d->e, of[what], g, numel, d->end);
}

static int wait_team(struct device_comm *d)
{
    if (d->waited)
        return 0;
    d->waited = true;
    return engine_team_wait(d->e);
}

/* Asked by the engine while it waits. */
static bool others_failed(void *arg)
{
    return comm_failed(arg);
}

/* ---- the table */

static int dev_start(struct comm *c, enum comm_what what, int bucket, float *g,
                     int64_t numel)
{
    struct device_comm *d = self(c);

    return d->team ? add(d, what, g, numel) : fetch(d, what, bucket, g, numel);
}

static int dev_wait(struct comm *c, int bucket)
{
    struct device_comm *d = self(c);

    return d->team ? wait_team(d) : send_back(d, bucket);
}

static int dev_reduce(struct comm *c, enum comm_op op, double *v, int n)
{
    return comm_reduce(below(c), op, v, n);
}

static int dev_bcast(struct comm *c, int root, void *p, size_t bytes)
{
    return comm_bcast(below(c), root, p, bytes);
}

static int dev_barrier(struct comm *c, const char *name)
{
    return comm_barrier(below(c), name);
}

static int dev_end(struct comm *c)
{
    return comm_end(below(c));
}

/* Where a device saw that a rank was lost, the ring knows or will know which, and
 * its sentence is told; unless that is the end of the one there is. */
static void give_up(struct comm *b)
{
    static const struct timespec pause = {0, 1000000};
    int64_t until = clock_ms() + GRACE_MS;
    struct err_kept seen;
    double none;

    if (err_code() == ERR_PEER) {
        while (!comm_failed(b) && clock_ms() < until)
            nanosleep(&pause, NULL);
        seen = err_keep();
        if (comm_failed(b) && comm_reduce(b, COMM_SUM, &none, 0) == 0)
            BUG("a ring that has failed reduces");
        if (strstr(seen.text, err_text()))
            err_restore(&seen);
        else
            free(seen.text);
    }
    comm_abort(b);
}

static void dev_abort(struct comm *c)
{
    give_up(below(c));
}

static bool dev_failed(struct comm *c)
{
    return comm_failed(self(c)->below);
}

static void dev_free(struct comm *c)
{
    struct device_comm *d = self(c);
    int i;

    if (d->team)
        engine_team_leave(d->e); /* that asks the one below */
    comm_free(d->below);         /* whose threads use the buckets */
    for (i = 0; d->bucket && i < COMM_BUCKETS; i++)
        engine_host_free(d->e, d->bucket[i].host);
    free(d->bucket);
    free(d->end);
    free(d);
}

static const struct comm_ops dev_ops = {
    dev_start, dev_wait,  dev_reduce, dev_bcast, dev_barrier,
    dev_end,   dev_abort, dev_failed, dev_free,  true,
};

/* ---- who adds */

/* Each rank's number to all. */
static int tell_all(struct comm *c, double mine, double *all)
{
    int at, n;

    memset(all, 0, (size_t)c->world * sizeof *all);
    all[c->rank] = mine;
    for (at = 0; at < c->world; at += n) {
        n = c->world - at < COMM_REDUCE_MAX ? c->world - at : COMM_REDUCE_MAX;
        if (comm_reduce(c, COMM_SUM, all + at, n) < 0)
            return -1;
    }
    return 0;
}

/* Do two ranks have one device? *shared says so if they may. */
static int check_devices(struct comm *c, const double *id, bool may,
                         bool *shared)
{
    int i, k;

    *shared = false;
    for (i = 0; i < c->world; i++)
        for (k = 0; k < i; k++)
            if (id[i] > 0 && id[i] == id[k])
                goto found;
    return 0;
found:
    *shared = true;
    if (may)
        return 0;
    return err_set(ERR_CONFIG,
                   "ranks %d and %d have the same device: as many ranks as "
                   "devices (NGPU), or --share-device lets them take turns",
                   k, i);
}

/* The version of NCCL where all ranks can: 1, 0, with why in the error. */
static int all_can(struct comm *c, struct engine *e, bool shared, double *v)
{
    int mine = engine_team_version(e), i;

    if (tell_all(c, mine, v) < 0)
        return -1;
    if (mine < 0)
        return 0;
    for (i = 0; i < c->world; i++) {
        if (v[i] < 0)
            err_set(ERR_UNAVAILABLE, "not on rank %d", i);
        else if ((int)v[i] != mine)
            err_set(ERR_UNAVAILABLE, "NCCL %d here, %d on rank %d", mine,
                    (int)v[i], i);
        else
            continue;
        return 0;
    }
    if (!shared)
        return 1;
    err_set(ERR_UNAVAILABLE, "NCCL: not where ranks have the same device");
    return 0;
}

static int join_team(struct comm *c, struct engine *e,
                     const struct comm_device_options *o)
{
    char slow[300] = "";
    struct engine_team t = {.rank = c->share,
                            .world = c->world,
                            .wire = o->wire,
                            .timeout_ms = o->timeout_ms,
                            .failed = others_failed,
                            .arg = c,
                            .slow = slow,
                            .slow_bytes = sizeof slow};

    if (c->rank == 0 && engine_team_id(e, t.id) < 0)
        return -1;
    if (comm_bcast(c, 0, t.id, sizeof t.id) < 0)
        return -1;
    if (engine_team_join(e, &t) < 0)
        return -1;
    if (slow[0] && c->rank == 0)
        note("%s", slow);
    return 0;
}

/* 1: the devices add, 0: the buckets travel. */
static int choose(struct comm *c, struct engine *e,
                  const struct comm_device_options *o)
{
    double *v = xcalloc((size_t)c->world, sizeof *v);
    bool shared;
    int r = tell_all(c, (double)engine_identity(e), v);

    if (r == 0)
        r = check_devices(c, v, o->share, &shared);
    if (r == 0 && o->by != COMM_RING) {
        r = all_can(c, e, shared, v);
        if (r == 0 && o->by == COMM_NCCL)
            r = -1;
        else if (r == 0 && c->rank == 0 && !engine_is_host(e))
            warn("gradients travel through the host: %s", err_text());
    }
    free(v);
    return r;
}

struct comm *comm_device(struct comm *c, struct engine *e,
                         const struct comm_device_options *o)
{
    struct device_comm *d;
    int team = 0;

    if (c->world > 1) {
        team = choose(c, e, o);
        if (team > 0 && join_team(c, e, o) < 0)
            team = -1;
    }
    if (team < 0) {
        give_up(c);
        comm_free(c);
        return NULL;
    }
    if (c->world == 1 || engine_is_host(e))
        return c;
    d = xcalloc(1, sizeof *d);
    d->c = *c;
    d->c.ops = &dev_ops;
    d->c.shared = (struct comm_shared){NULL, NULL, 0};
    d->below = c;
    d->e = e;
    d->team = team;
    d->waited = true;
    d->end = xcalloc((size_t)c->world, sizeof *d->end);
    if (!team)
        d->bucket = xcalloc(COMM_BUCKETS, sizeof *d->bucket);
    return &d->c;
}
