#include "train/step.h"

#include "train/samplelog.h"
#include "util/fault.h"
#include "util/fdio.h"

#include <stdlib.h>
#include <string.h>

/* Ranks hear of a step after equally many. */
static int agree_late(struct step *s)
{
    double late = engine_is_host(s->m->e) ? 0 : 1;

    if (s->comm->world > 1 && comm_reduce(s->comm, COMM_MAX, &late, 1) < 0)
        return -1;
    s->late = (int)late;
    return 0;
}

int step_init(struct step *s, struct classifier *m, struct comm *comm,
              const struct recipe *r, bool shards)
{
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
    upload_init(&s->upload, m->e);
    tapes_init(&s->tapes, &m->params);
    if (update_init(&s->update, m, comm, &s->shard, r) < 0)
        return -1;
    return agree_late(s);
}

void step_release(struct step *s)
{
    tapes_release(&s->tapes);
    upload_release(&s->upload);
    update_release(&s->update);
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

        if (comm_start(s->comm, what, s->posted, arena(s, begin), n) < 0)
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
        comm_start(s->comm, COMM_MEAN, last, buffers, ps->buffer_total) < 0)
        return -1;
    for (b = 0; b <= last; b++)
        if (comm_wait(s->comm, b) < 0)
            return -1;
    return 0;
}

/* ---- results */

/* A step is on its way: the record of it. */
static struct step_result *new_result(struct step *s, double lr)
{
    struct step_result *res = &s->result[s->n_results++];

    memset(res, 0, sizeof *res);
    res->lr = lr;
    return res;
}

/* The parameter of an element of the arena. */
static const char *name_at(const struct params *ps, int64_t at)
{
    int i;

    for (i = 0; i < ps->n; i++)
        if (at >= ps->p[i].offset && at < ps->p[i].offset + ps->p[i].count)
            return ps->p[i].name;
    return NULL;
}

int step_result(struct step *s, bool all, struct step_result *res)
{
    double t = clock_s();
    struct kern_state k;

    if (s->n_results <= (all ? 0 : s->late))
        return 0;
    if (update_wait(&s->update, &k) < 0)
        return -1;
    *res = s->result[0];
    memmove(s->result, s->result + 1, --s->n_results * sizeof *s->result);
    res->compute_s += clock_s() - t;
    res->stats.loss = k.stats[0];
    res->stats.correct1 = k.stats[1];
    res->stats.correct5 = k.stats[2];
    res->stats.n = k.stats[3];
    res->grad_norm = k.norm;
    res->skipped = s->update.scaler.on && !k.update;
    res->loss_scale = k.scale;
    res->skips = k.skipped;
    res->bad = k.bad ? name_at(&s->m->params, k.bad - 1) : NULL;
    return 1;
}

/* ---- the step */

/* A pass over a micro-batch that is in the engine, and what of the step can go
 * with it. */
struct pass {
    struct step *s;
    struct class_pass of;
    int64_t rows; /* of the step */
    bool first, last, update;
};

static int enqueue(void *arg)
{
    const struct pass *p = arg;
    struct step *s = p->s;
    struct params *ps = &s->m->params;

    if (p->first && engine_fill(s->m->e, ps->g, 0,
                                (size_t)ps->total * dtype_size(ps->pt)) < 0)
        return -1;
    if (classifier_pass(s->m, &p->of, s->r->smoothing, 1 / (double)p->rows,
                        p->last ? ready : NULL, s) < 0)
        return -1;
    return p->update ? update_run(&s->update) : 0;
}

/* Ranks exchange in between, and batches that are mixed differ each time: these
 * go call by call. */
static int run_pass(struct step *s, struct pass *p)
{
    struct tape_key key = {.plan = p->of.plan,
                           .n = p->of.n,
                           .rows = p->rows,
                           .first = p->first,
                           .last = p->last,
                           .erased = p->of.erased};

    if (s->comm->world > 1 || p->of.mixed || !p->of.plan)
        return enqueue(p);
    p->update = p->last && engine_records(s->m->e);
    s->updated = p->update;
    return tapes_run(&s->tapes, &key, enqueue, p);
}

static int micro(struct step *s, const struct input_batch *b, bool first,
                 bool last)
{
    struct class_batch c = {.image = &b->image,
                            .label = b->label,
                            .erase = b->erase,
                            .mix = b->mix,
                            .cut = b->cut};
    struct pass p = {.s = s, .rows = b->rows, .first = first, .last = last};

    if (upload_take(&s->upload, b, &c.there) < 0)
        return -1;
    memcpy(c.box, b->box, sizeof c.box);
    /* without rows here the exchange still takes place */
    if (b->n > 0 &&
        (classifier_load(s->m, &c, &p.of) < 0 || upload_read(&s->upload) < 0))
        return -1;
    if (run_pass(s, &p) < 0)
        return -1;
    classifier_passed(&p.of);
    return 0;
}

static int begin(struct step *s, double lr)
{
    s->posted = 0;
    s->updated = false;
    return update_begin(&s->update, lr);
}

static int finish(struct step *s, struct step_result *res)
{
    double t = clock_s(), u;

    fault_point("reduce");
    if (exchange(s) < 0)
        return -1;
    profile_phase(s->profile, "exchange", t);
    u = clock_s();
    res->comm_s = u - t;
    fault_point("step");
    if ((!s->updated && update_run(&s->update) < 0) ||
        update_post(&s->update) < 0)
        return -1;
    profile_phase(s->profile, "update", u);
    t = clock_s();
    res->update_s = t - u;
    if (sharding_weights(&s->shard) < 0)
        return -1;
    if (s->shard.on)
        profile_phase(s->profile, "gather", t);
    res->comm_s += clock_s() - t;
    return 0;
}

int step_update(struct step *s, double lr)
{
    new_result(s, lr);
    if (update_begin(&s->update, lr) < 0 || update_run(&s->update) < 0)
        return -1;
    return update_post(&s->update);
}

int step_batch(struct step *s, const struct input_batch *b, double lr)
{
    struct step_result *res = new_result(s, lr);
    double t = clock_s();

    res->rows = b->rows;
    if (begin(s, lr) < 0 || micro(s, b, true, true) < 0)
        return -1;
    /* as in a run: the next batch travels while this one is computed */
    if (upload_ahead(&s->upload, b) < 0)
        return -1;
    res->compute_s = clock_s() - t;
    return finish(s, res);
}

/* A step of nothing would go unseen: what has no class is told. */
static int check_labels(const struct input_batch *b)
{
    for (int64_t i = 0; i < b->n; i++)
        if (b->label[i] < 0)
            return err_set(ERR_DATA,
                           "batch: image %lld of the data set has no class to "
                           "be trained on",
                           (long long)b->index[i]);
    return 0;
}

/* Micro-batch m of the step: 1; 0 where the data ended before the first. */
static int take(struct step *s, struct input *in, struct step_result *res,
                int m, struct input_batch **b)
{
    double t = clock_s();
    int r;

    fault_point("data");
    res->waits += m > 0 && !input_next(in);
    r = input_get(in, b);
    if (r < 0 || (r == 0 && m == 0))
        return r;
    if (r == 0)
        return err_set(ERR_DATA,
                       "batches ended inside a step, after %d of its "
                       "micro-batches",
                       m);
    profile_phase(s->profile, "data", t);
    res->data_s += clock_s() - t;
    return 1;
}

static int compute(struct step *s, struct input *in,
                   const struct input_batch *b, int m, double lr)
{
    const struct input_batch *next;

    if (b->micro != m || b->rows <= 0)
        return err_set(ERR_DATA,
                       "batch: micro-step %lld of a step where %d was expected",
                       (long long)b->micro, m);
    if (check_labels(b) < 0 || (m == 0 && begin(s, lr) < 0))
        return -1;
    if (s->sample_log && samplelog_add(s->sample_log, s->comm->step + 1, b) < 0)
        return -1;
    if (micro(s, b, m == 0, b->last) < 0)
        return -1;
    /* the device computes: the next batch, if it is there, can go to it */
    next = input_next(in);
    if (next && upload_ahead(&s->upload, next) < 0)
        return -1;
    return upload_done(&s->upload);
}

int step_run(struct step *s, struct input *in, double lr,
             struct step_result **begun)
{
    struct step_result *res = new_result(s, lr);
    struct input_batch *b;
    bool last = false;
    double t;
    int r, m;

    *begun = res;
    for (m = 0; !last; m++) {
        r = take(s, in, res, m, &b);
        if (r == 0)
            s->n_results--;
        if (r <= 0)
            return r;
        t = clock_s();
        last = b->last;
        res->rows = b->rows;
        res->samples = b->samples;
        r = compute(s, in, b, m, lr);
        input_put(in, b);
        if (r < 0)
            return -1;
        profile_phase(s->profile, "compute", t);
        res->compute_s += clock_s() - t;
    }
    return finish(s, res) < 0 ? -1 : 1;
}
