#include "train/update.h"

#include "train/marks.h"

#include <stdlib.h>
#include <string.h>

/* ---- memory */

static struct engine *engine_of(const struct update *u)
{
    return u->m->e;
}

static size_t check_bytes(const struct update *u)
{
    return 3 * (size_t)u->comm->world * sizeof *u->check;
}

static int make_told(struct update *u)
{
    size_t bytes = UPDATE_LOG * sizeof *u->told;
    void *p;

    if (engine_is_host(engine_of(u)))
        p = xmalloc(bytes);
    else if (engine_host_alloc(engine_of(u), bytes, &p) < 0)
        return -1;
    u->told = p;
    return 0;
}

int update_init(struct update *u, struct classifier *m, struct comm *comm,
                const struct sharding *shard, const struct recipe *r)
{
    void *state, *check;

    memset(u, 0, sizeof *u);
    u->m = m;
    u->comm = comm;
    u->shard = shard;
    u->clip = r->clip_norm;
    scaler_init(&u->scaler, r);
    u->sums = xmalloc(check_bytes(u));
    if (optim_init(&u->optim, shard, r) < 0 ||
        engine_alloc(m->e, (1 + UPDATE_LOG) * sizeof *u->state, &state) < 0)
        return -1;
    u->state = state;
    if (engine_alloc(m->e, check_bytes(u), &check) < 0)
        return -1;
    u->check = check;
    m->scale = &u->state->scale;
    if (make_told(u) < 0)
        return -1;
    return update_restore(u);
}

void update_release(struct update *u)
{
    if (!u->m)
        return;
    u->m->scale = NULL;
    if (u->state)
        engine_free(engine_of(u), u->state);
    if (u->check)
        engine_free(engine_of(u), u->check);
    if (engine_is_host(engine_of(u)))
        free(u->told);
    else
        engine_host_free(engine_of(u), u->told);
    free(u->sums);
    optim_release(&u->optim);
    memset(u, 0, sizeof *u);
}

int update_restore(struct update *u)
{
    struct kern_state s = {.scale = u->scaler.scale,
                           .good = u->scaler.good,
                           .skipped = u->scaler.skipped,
                           .steps = u->posted};

    return engine_upload(engine_of(u), u->state, &s, sizeof s);
}

/* ---- a step */

int update_begin(struct update *u, double lr)
{
    return engine_upload(engine_of(u), &u->state->lr, &lr, sizeof lr);
}

/* Add a range of the gradients to the check of a share. */
static int check_range(struct update *u, int64_t begin, int64_t n, int share)
{
    const struct params *ps = &u->m->params;
    struct kern_grad_check a = {.g = (const char *)ps->sum +
                                     (size_t)begin * dtype_size(ps->pt),
                                .stats = u->check + 3 * (ptrdiff_t)share,
                                .n = n,
                                .pt = ps->pt,
                                .base = begin};

    return engine_run(engine_of(u), KERN_GRAD_CHECK, &a);
}

/* A share, bucket after bucket. */
static int check_share(struct update *u, int share)
{
    int64_t begin, end;
    int b;

    for (b = 0; b < u->shard->n_buckets; b++) {
        sharding_slice(u->shard, b, share, &begin, &end);
        if (begin < end && check_range(u, begin, end - begin, share) < 0)
            return -1;
    }
    return 0;
}

/* Zeros of all but one rank are added to each: exact. */
static int tell_shares(struct update *u)
{
    size_t bytes = check_bytes(u);

    if (engine_download(engine_of(u), u->sums, u->check, bytes) < 0 ||
        comm_reduce(u->comm, COMM_SUM, u->sums, 3 * u->comm->world) < 0)
        return -1;
    return engine_upload(engine_of(u), u->check, u->sums, bytes);
}

static int check_all(struct update *u)
{
    int i, world = u->comm->world;

    if (engine_fill(engine_of(u), u->check, 0, check_bytes(u)) < 0)
        return -1;
    if (world == 1)
        return check_range(u, 0, u->m->params.total, 0);
    for (i = 0; i < world; i++)
        if ((!u->shard->on || i == u->comm->share) && check_share(u, i) < 0)
            return -1;
    return u->shard->on ? tell_shares(u) : 0;
}

int update_run(struct update *u)
{
    struct kern_step k = {.state = u->state,
                          .check = u->check,
                          .stats = u->m->stats,
                          .log = u->state + 1,
                          .shares = u->comm->world,
                          .logs = UPDATE_LOG,
                          .clip = u->clip};

    scaler_rules(&u->scaler, &k);
    if (check_all(u) < 0 || engine_run(engine_of(u), KERN_STEP, &k) < 0)
        return err_wrap("gradients");
    return optim_step(&u->optim, u->state);
}

int update_post(struct update *u)
{
    int i = (int)(u->posted++ % UPDATE_LOG);
    const struct kern_state *from = u->state + 1 + i;

    u->m->params.version++;
    if (engine_is_host(engine_of(u)))
        return engine_download(engine_of(u), u->told + i, from, sizeof *from);
    return engine_fetch(engine_of(u), u->told + i, from, sizeof *from,
                        MARK_TOLD + i);
}

int update_wait(struct update *u, struct kern_state *s)
{
    int i = (int)(u->waited++ % UPDATE_LOG);

    if (engine_wait(engine_of(u), MARK_TOLD + i) < 0)
        return -1;
    *s = u->told[i];
    u->scaler.scale = s->scale;
    u->scaler.good = s->good;
    u->scaler.skipped = s->skipped;
    return 0;
}
