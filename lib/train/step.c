#include "train/step.h"

#include "train/samplelog.h"
#include "util/fault.h"
#include "util/fdio.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int step_init(struct step *s, struct classifier *m, struct comm *comm,
              const struct recipe *r, bool shards)
{
    size_t bytes = 2 * (size_t)comm->world * sizeof(double);
    void *p;

    memset(s, 0, sizeof *s);
    if (comm->world > 1 && m->params.pt != DT_F32)
        return err_set(ERR_UNAVAILABLE, "precision fp64: one rank only");
    s->m = m;
    s->comm = comm;
    s->r = r;
    /* Backward writes where the ring reads, which writes where update reads. */
    if (comm->world > 1 &&
        comm->shared.room >= (size_t)m->params.total * sizeof(float))
        params_lend(&m->params, comm->shared.arena, comm->shared.sums);
    sharding_init(&s->shard, &m->params, comm, shards);
    scaler_init(&s->scaler, r);
    upload_init(&s->upload, m->e);
    s->sums = xmalloc(bytes);
    if (optim_init(&s->optim, &s->shard, r) < 0 ||
        engine_alloc(m->e, bytes, &p) < 0)
        return -1;
    s->check = p;
    return 0;
}

void step_release(struct step *s)
{
    if (s->check)
        engine_free(s->m->e, s->check);
    free(s->sums);
    upload_release(&s->upload);
    optim_release(&s->optim);
    sharding_release(&s->shard);
    if (s->m && s->m->params.lent)
        params_lend(&s->m->params, NULL, NULL);
    memset(s, 0, sizeof *s);
}

/* ---- the exchange */

static float *arena(struct step *s, int64_t at)
{
    return (float *)s->m->params.g + at;
}

/* Post every bucket that lies inside the final gradients [0,end). */
static int ready(void *arg, int64_t end)
{
    struct step *s = arg;
    const struct sharding *k = &s->shard;
    enum comm_what what = k->on ? COMM_SCATTER : COMM_ALL;

    if (s->comm->world == 1)
        return 0;
    while (s->posted < k->n_buckets && k->bucket_end[s->posted] <= end) {
        int64_t begin = s->posted ? k->bucket_end[s->posted - 1] : 0;
        int64_t n = k->bucket_end[s->posted] - begin;

        if (comm_start_slices(s->comm, what, s->posted, arena(s, begin), n) < 0)
            return -1;
        s->posted++;
    }
    return 0;
}

/* Gradients summed, all or own slices; buffers averaged. */
static int exchange(struct step *s)
{
    struct params *ps = &s->m->params;
    float *buffers = ps->buffers;
    int b, last = s->shard.n_buckets;

    if (s->comm->world == 1)
        return 0;
    if (ready(s, ps->total) < 0 ||
        comm_start_slices(s->comm, COMM_MEAN, last, buffers, ps->buffer_total) <
            0)
        return -1;
    for (b = 0; b <= last; b++)
        if (comm_wait(s->comm, b) < 0)
            return -1;
    return 0;
}

/* ---- the update */

/* Add to out[2] of engine memory the squares of gradients, and how many are not
 * finite. */
static int check_range(struct step *s, int64_t begin, int64_t n, double *out)
{
    const struct params *ps = &s->m->params;
    struct kern_grad_check a = {.g = (const char *)ps->sum +
                                     (size_t)begin * dtype_size(ps->pt),
                                .stats = out,
                                .n = n,
                                .pt = ps->pt};

    return engine_run(s->m->e, KERN_GRAD_CHECK, &a);
}

static int clear_check(struct step *s)
{
    return engine_fill(s->m->e, s->check, 0,
                       2 * (size_t)s->comm->world * sizeof(double));
}

static int fetch_check(struct step *s)
{
    return engine_download(s->m->e, s->sums, s->check,
                           2 * (size_t)s->comm->world * sizeof(double));
}

const char *step_nonfinite(struct step *s)
{
    const struct params *ps = &s->m->params;
    int i;

    for (i = 0; i < ps->n; i++) {
        if (clear_check(s) < 0 ||
            check_range(s, ps->p[i].offset, ps->p[i].count, s->check) < 0 ||
            fetch_check(s) < 0)
            return NULL;
        if (s->sums[1] > 0)
            return ps->p[i].name;
    }
    return NULL;
}

/* The squares of a share, bucket after bucket. */
static int check_share(struct step *s, int share)
{
    int64_t begin, end;
    int b;

    for (b = 0; b < s->shard.n_buckets; b++) {
        sharding_slice(&s->shard, b, share, &begin, &end);
        if (begin < end &&
            check_range(s, begin, end - begin, s->check + 2 * share) < 0)
            return -1;
    }
    return 0;
}

/* c[2]: squares of all gradients, and how many are not finite. */
static int check_all(struct step *s, double c[2])
{
    int i, world = s->comm->world, r = clear_check(s);

    if (r == 0 && world == 1)
        r = check_range(s, 0, s->m->params.total, s->check);
    for (i = 0; r == 0 && world > 1 && i < world; i++)
        if (!s->shard.on || i == s->comm->share)
            r = check_share(s, i);
    if (r == 0)
        r = fetch_check(s);
    if (r < 0)
        return err_wrap("gradients");
    /* zeros of all but one rank are added to each: exact */
    if (s->shard.on && comm_reduce(s->comm, COMM_SUM, s->sums, 2 * world) < 0)
        return -1;
    c[0] = c[1] = 0;
    for (i = 0; i < world; i++) {
        c[0] += s->sums[2 * i];
        c[1] += s->sums[2 * i + 1];
    }
    return 0;
}

int step_update(struct step *s, double lr, struct step_result *res)
{
    double c[2] = {0, 0}, unscale = 1 / s->scaler.scale, coef = 1;
    bool finite;

    if (check_all(s, c) < 0)
        return -1;
    finite = c[1] == 0 && isfinite(c[0]);
    res->grad_norm = finite ? sqrt(c[0]) * unscale : (double)NAN;
    res->lr = lr;
    /* the reference's form: min(1, max/(norm + 1e-6)) */
    if (s->r->clip_norm > 0)
        coef = fmin(1, s->r->clip_norm / (res->grad_norm + 1e-6));
    if (!finite && !s->scaler.on)
        return 0; /* the caller sees the norm and stops */
    res->skipped = !scaler_update(&s->scaler, finite);
    if (res->skipped)
        return 0;
    return optim_step(&s->optim, lr, coef * unscale);
}

/* ---- the step */

static int micro(struct step *s, const struct input_batch *b, int64_t rows,
                 bool last)
{
    double gscale = s->scaler.scale / (double)rows;
    struct class_batch c = {.image = &b->image,
                            .label = b->label,
                            .erase = b->erase,
                            .mix = b->mix,
                            .cut = b->cut};

    if (upload_take(&s->upload, b, &c.there) < 0)
        return -1;
    if (b->n == 0)
        return 0; /* nothing here; the exchange still takes place */
    memcpy(c.box, b->box, sizeof c.box);
    if (classifier_step(s->m, &c, s->r->smoothing, gscale, last ? ready : NULL,
                        s) < 0)
        return -1;
    return upload_read(&s->upload);
}

static int begin(struct step *s)
{
    struct params *ps = &s->m->params;

    s->posted = 0;
    return engine_fill(s->m->e, ps->g, 0,
                       (size_t)ps->total * dtype_size(ps->pt));
}

static int finish(struct step *s, double lr, struct step_result *res)
{
    double t = clock_s(), u;

    fault_point("reduce");
    if (exchange(s) < 0)
        return -1;
    profile_phase(s->profile, "exchange", t);
    u = clock_s();
    res->comm_s = u - t;
    fault_point("step");
    if (step_update(s, lr, res) < 0)
        return -1;
    profile_phase(s->profile, "update", u);
    t = clock_s();
    res->update_s = t - u;
    if (!res->skipped && sharding_weights(&s->shard) < 0)
        return -1;
    if (s->shard.on)
        profile_phase(s->profile, "gather", t);
    res->comm_s += clock_s() - t;
    return classifier_stats(s->m, &res->stats);
}

int step_batch(struct step *s, const struct input_batch *b, double lr,
               struct step_result *res)
{
    double t = clock_s();

    memset(res, 0, sizeof *res);
    res->rows = b->rows;
    if (begin(s) < 0 || micro(s, b, b->rows, true) < 0 ||
        engine_finish(s->m->e) < 0)
        return -1;
    res->compute_s = clock_s() - t;
    return finish(s, lr, res);
}

int step_run(struct step *s, struct input *in, double lr,
             struct step_result *res)
{
    const struct input_batch *next;
    struct input_batch *b;
    bool last = false;
    double t;
    int r, m, e;

    memset(res, 0, sizeof *res);
    for (m = 0; !last; m++) {
        t = clock_s();
        fault_point("data");
        res->waits += m > 0 && !input_next(in);
        r = input_get(in, &b);
        if (r < 0)
            return -1;
        if (m == 0 && r != 1)
            return r;
        if (r == 0)
            return err_set(ERR_DATA,
                           "batches ended inside a step, after %d "
                           "of its micro-batches",
                           m);
        profile_phase(s->profile, "data", t);
        res->data_s += clock_s() - t;
        t = clock_s();
        last = b->last;
        if (b->micro != m || b->rows <= 0)
            e = err_set(ERR_DATA,
                        "batch: micro-step %lld of a step where %d "
                        "was expected",
                        (long long)b->micro, m);
        else
            e = m == 0 ? begin(s) : 0;
        if (!e && s->sample_log)
            e = samplelog_add(s->sample_log, s->comm->step + 1, b);
        res->rows = b->rows;
        res->samples = b->samples;
        if (!e)
            e = micro(s, b, b->rows, last);
        /* the device computes: the next batch, if it is there, can go to it */
        next = input_next(in);
        if (!e && next)
            e = upload_ahead(&s->upload, next);
        if (!e)
            e = upload_done(&s->upload);
        input_put(in, b);
        if (e < 0)
            return -1;
        profile_phase(s->profile, "compute", t);
        res->compute_s += clock_s() - t;
    }
    return finish(s, lr, res) < 0 ? -1 : 1;
}
