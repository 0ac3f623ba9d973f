#include "train/step.h"

#include "util/fault.h"
#include "util/fdio.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Cut where a tensor ends: small first, so that the exchange begins early; the
 * rest of a size that stays in a core's cache (data-and-collectives 4.3). */
#define FIRST_BUCKET (1 << 20)
#define BUCKET (4 << 20)

static void cut_buckets(struct step *s)
{
    const struct params *ps = &s->m->params;
    int64_t size = (int64_t)dtype_size(ps->pt), begin = 0, end;
    int i;

    s->bucket_end = xcalloc((size_t)ps->n + 1, sizeof *s->bucket_end);
    for (i = ps->n - 1; i >= 0; i--) {
        end = i > 0 ? ps->p[i - 1].offset : ps->total;
        if ((end - begin) * size < (s->n_buckets ? BUCKET : FIRST_BUCKET) &&
            i > 0)
            continue;
        s->bucket_end[s->n_buckets++] = end;
        begin = end;
    }
}

int step_init(struct step *s, struct classifier *m, struct comm *comm,
              const struct recipe *r)
{
    void *p;

    memset(s, 0, sizeof *s);
    if (comm->world > 1 && !engine_is_host(m->e))
        return err_set(ERR_UNAVAILABLE,
                       "engine %s: ranks: its memory is not the host's and it "
                       "brings no collectives",
                       engine_name(m->e));
    if (comm->world > 1 && m->params.pt != DT_F32)
        return err_set(ERR_UNAVAILABLE, "precision fp64: one rank only");
    s->m = m;
    s->comm = comm;
    s->r = r;
    cut_buckets(s);
    optim_init(&s->optim, &m->params, r);
    scaler_init(&s->scaler, r);
    if (engine_alloc(m->e, 2 * sizeof(double), &p) < 0)
        return -1;
    s->check = p;
    return 0;
}

void step_release(struct step *s)
{
    if (s->check)
        engine_free(s->m->e, s->check);
    free(s->bucket_end);
    optim_release(&s->optim);
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

    if (s->comm->world == 1)
        return 0;
    while (s->posted < s->n_buckets && s->bucket_end[s->posted] <= end) {
        int64_t begin = s->posted ? s->bucket_end[s->posted - 1] : 0;
        int64_t n = s->bucket_end[s->posted] - begin;

        if (comm_start(s->comm, s->posted, arena(s, begin), n) < 0)
            return -1;
        s->posted++;
    }
    return 0;
}

/* All gradients summed, buffers averaged. */
static int exchange(struct step *s)
{
    struct params *ps = &s->m->params;
    float *buffers = ps->buffers;
    int64_t i;
    int b;

    if (s->comm->world == 1)
        return 0;
    if (ready(s, ps->total) < 0 ||
        comm_start(s->comm, s->n_buckets, buffers, ps->buffer_total) < 0)
        return -1;
    for (b = 0; b <= s->n_buckets; b++)
        if (comm_wait(s->comm, b) < 0)
            return -1;
    for (i = 0; i < ps->buffer_total; i++)
        buffers[i] /= (float)s->comm->world;
    return 0;
}

/* ---- the update */

static int check_range(struct step *s, int64_t begin, int64_t n, double out[2])
{
    const struct params *ps = &s->m->params;
    struct kern_grad_check a = {.g = (const char *)ps->g +
                                     (size_t)begin * dtype_size(ps->pt),
                                .stats = s->check,
                                .n = n,
                                .pt = ps->pt};

    if (engine_fill(s->m->e, s->check, 0, 2 * sizeof(double)) < 0 ||
        engine_run(s->m->e, KERN_GRAD_CHECK, &a) < 0 ||
        engine_download(s->m->e, out, s->check, 2 * sizeof(double)) < 0)
        return err_wrap("gradients");
    return 0;
}

const char *step_nonfinite(struct step *s)
{
    const struct params *ps = &s->m->params;
    double c[2] = {0, 0};
    int i;

    for (i = 0; i < ps->n; i++) {
        if (check_range(s, ps->p[i].offset, ps->p[i].count, c) < 0)
            return NULL;
        if (c[1] > 0)
            return ps->p[i].name;
    }
    return NULL;
}

static int update(struct step *s, double lr, struct step_result *res)
{
    double c[2] = {0, 0}, unscale = 1 / s->scaler.scale, coef = 1;
    bool finite;

    if (check_range(s, 0, s->m->params.total, c) < 0)
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

    if (b->n == 0)
        return 0; /* nothing here; the exchange still takes place */
    memcpy(c.box, b->box, sizeof c.box);
    return classifier_step(s->m, &c, s->r->smoothing, gscale,
                           last ? ready : NULL, s);
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
    if (update(s, lr, res) < 0)
        return -1;
    profile_phase(s->profile, "update", u);
    res->update_s = clock_s() - u;
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
    struct input_batch *b;
    bool last = false;
    double t;
    int r, m, e;

    memset(res, 0, sizeof *res);
    for (m = 0; !last; m++) {
        t = clock_s();
        fault_point("data");
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
        res->rows = b->rows;
        res->samples = b->samples;
        if (!e)
            e = micro(s, b, b->rows, last);
        input_put(in, b);
        if (e < 0)
            return -1;
        profile_phase(s->profile, "compute", t);
        res->compute_s += clock_s() - t;
    }
    return finish(s, lr, res) < 0 ? -1 : 1;
}
