#include "train/ema.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double ema_decay(const struct recipe *r, const struct recipe_batch *b)
{
    double adjust = (double)b->global * (double)r->ema_steps / r->epochs;

    return 1 - fmin(1, (1 - r->ema_decay) * adjust);
}

int ema_init(struct ema *e, const struct sharding *s, const struct recipe *r,
             const struct recipe_batch *b)
{
    const struct params *ps = s->ps;

    memset(e, 0, sizeof *e);
    e->shard = s;
    if (!r->ema)
        return 0;
    e->decay = ema_decay(r, b);
    e->every = r->ema_steps;
    e->epoch_steps = b->epoch_steps;
    e->warmup = r->warmup;
    e->counter = xcalloc((size_t)ps->n_counters + 1, sizeof *e->counter);
    e->on = true;
    if (sharding_alloc(s, &e->w) < 0)
        return -1;
    return engine_alloc(ps->e, (size_t)ps->buffer_total * dtype_size(ps->pt),
                        &e->buffers);
}

void ema_release(struct ema *e)
{
    if (e->w)
        engine_free(e->shard->ps->e, e->w);
    if (e->buffers)
        engine_free(e->shard->ps->e, e->buffers);
    free(e->counter);
    memset(e, 0, sizeof *e);
}

/* n elements of the average at avg, of the parameters or buffers at now. */
static int blend(struct ema *e, void *avg, const void *now, int64_t n)
{
    const struct params *ps = e->shard->ps;
    struct kern_ema a = {
        .avg = avg, .w = now, .n = n, .decay = e->decay, .pt = ps->pt};

    if (e->updates == 0)
        return engine_copy(ps->e, avg, now, (size_t)n * dtype_size(ps->pt));
    return engine_run(ps->e, KERN_EMA, &a);
}

static void blend_counters(struct ema *e)
{
    const struct params *ps = e->shard->ps;
    int i;

    for (i = 0; i < ps->n_counters; i++) {
        float old = (float)e->decay * (float)e->counter[i];
        float now = (float)(1 - e->decay) * (float)ps->counter[i].value;

        e->counter[i] =
            e->updates ? (int64_t)(old + now) : ps->counter[i].value;
    }
}

static int update(struct ema *e)
{
    const struct params *ps = e->shard->ps;
    size_t size = dtype_size(ps->pt);
    int i;

    for (i = 0; i < e->shard->n; i++) {
        const struct sharding_piece *p = &e->shard->piece[i];

        if (blend(e, (char *)e->w + (size_t)p->at * size,
                  (const char *)ps->w + (size_t)p->begin * size,
                  p->end - p->begin) < 0)
            return err_wrap("average of the weights");
    }
    if (blend(e, e->buffers, ps->buffers, ps->buffer_total) < 0)
        return err_wrap("average of the weights");
    blend_counters(e);
    e->updates++;
    return 0;
}

int ema_begin(struct ema *e)
{
    if (!e->on)
        return 0;
    e->updates = 0;
    if (update(e) < 0)
        return -1;
    e->updates = 0;
    return 0;
}

int ema_step(struct ema *e, int64_t step)
{
    int64_t epoch;

    if (!e->on || step % e->epoch_steps % e->every)
        return 0;
    if (update(e) < 0)
        return -1;
    epoch = step / e->epoch_steps;
    if ((double)epoch < e->warmup)
        e->updates = 0;
    return 0;
}
