/*
 * Fresh values of parameters. A draw is a function of its place, so some rows of
 * a parameter at a time are drawn by whoever has nothing to do; each keeps them in
 * its cache until they lie in the order of memory.
 */
#include "nn/params.h"

#include "util/rng.h"
#include "util/work.h"

#include <stdlib.h>

enum {
    DRAWN = 1 << 14, /* values at a time, or one row */
    SHARE = 1 << 17  /* values that are worth a thread */
};

/* Rows (output channels) of a parameter. */
struct part {
    int param;
    int64_t row, n;
};

struct fresh {
    const struct params *ps;
    uint64_t seed;
    char *arena; /* of the host */
    struct part *part;
    size_t n;
    double **own; /* of each thread: values in disk order, in memory order */
    int64_t most; /* values of a part */
};

static int64_t row_of(const struct param *p)
{
    return p->count / p->disk[0];
}

/* Values first.. of a parameter. */
static void draw(const struct param *p, struct rng *r, int64_t first, int64_t n,
                 double *v)
{
    int64_t i;

    switch (p->init) {
    case INIT_ZERO:
    case INIT_ONE:
        for (i = 0; i < n; i++)
            v[i] = p->init == INIT_ONE;
        break;
    case INIT_NORMAL:
        rng_skip(r, 2 * (uint64_t)first);
        rng_normals(r, v, (size_t)n);
        for (i = 0; i < n; i++)
            v[i] *= p->arg;
        break;
    case INIT_UNIFORM:
        rng_skip(r, (uint64_t)first);
        for (i = 0; i < n; i++)
            v[i] = p->arg * (2 * rng_unit(r) - 1);
        break;
    }
}

/* Rows [c,r,s] become [r,s,c]. */
static void turn(const struct param *p, int64_t rows, const double *v,
                 double *to)
{
    int64_t c = p->disk[1], rs = p->disk[2] * p->disk[3], k, i, j;

    for (k = 0; k < rows; k++, v += c * rs, to += c * rs)
        for (j = 0; j < rs; j++)
            for (i = 0; i < c; i++)
                to[j * c + i] = v[i * rs + j];
}

static int fresh_part(void *arg, size_t i, int t)
{
    const struct fresh *f = arg;
    const struct part *a = &f->part[i];
    const struct param *p = &f->ps->p[a->param];
    int64_t first = a->row * row_of(p), n = a->n * row_of(p);
    double *v = f->own[t];
    struct rng r;

    rng_init(&r, f->seed, (uint32_t)a->param, 0, RNG_INIT);
    draw(p, &r, first, n, v);
    if (p->kind == PARAM_CONV) {
        turn(p, a->n, v, v + f->most);
        v += f->most;
    }
    dtype_convert(f->ps->pt,
                  f->arena +
                      (size_t)(p->offset + first) * dtype_size(f->ps->pt),
                  DT_F64, v, (size_t)n);
    return 0;
}

static void cut(struct fresh *f)
{
    const struct params *ps = f->ps;
    int64_t row, rows, at;
    int i;

    for (i = 0; i < ps->n; i++) {
        row = row_of(&ps->p[i]);
        rows = row < DRAWN ? DRAWN / row : 1;
        f->most = row * rows > f->most ? row * rows : f->most;
        for (at = 0; at < ps->p[i].disk[0]; at += rows, f->n++) {
            int64_t left = ps->p[i].disk[0] - at;

            if ((f->n & (f->n - 1)) == 0)
                f->part = xreallocarray(f->part, 2 * f->n + 1, sizeof *f->part);
            f->part[f->n] = (struct part){i, at, left < rows ? left : rows};
        }
    }
}

/* All parameters, into an arena of the host. */
static int draw_all(const struct params *ps, uint64_t seed, void *arena)
{
    struct fresh f = {.ps = ps, .seed = seed, .arena = arena};
    int64_t worth = 1 + ps->total / SHARE;
    int threads = work_cpus(), t, r;

    threads = threads < worth ? threads : (int)worth;
    cut(&f);
    f.own = xcalloc((size_t)threads, sizeof *f.own);
    for (t = 0; t < threads; t++)
        f.own[t] = xmalloc(2 * (size_t)f.most * sizeof *f.own[t]);
    r = work_for(f.n, threads, fresh_part, &f);
    for (t = 0; t < threads; t++)
        free(f.own[t]);
    free(f.own);
    free(f.part);
    return r;
}

static int fresh_params(struct params *ps, uint64_t seed)
{
    size_t bytes = (size_t)ps->total * dtype_size(ps->pt);
    void *arena;
    int r;

    if (!ps->w)
        BUG("parameters without memory");
    if (engine_is_host(ps->e))
        return draw_all(ps, seed, ps->w);
    arena = xcalloc(bytes + 1, 1);
    r = draw_all(ps, seed, arena);
    if (r == 0)
        r = engine_upload(ps->e, ps->w, arena, bytes);
    if (r == 0)
        r = engine_finish(ps->e); /* arena ends here */
    free(arena);
    return r < 0 ? err_wrap("parameters") : 0;
}

int params_fresh(struct params *ps, uint64_t seed)
{
    float *v;
    int64_t j;
    int i, e;

    if (fresh_params(ps, seed) < 0)
        return -1;
    for (i = 0; i < ps->n_state; i++) {
        const struct param_buffer *b;

        if (ps->state[i].what != STATE_BUFFER)
            continue;
        b = &ps->buffer[ps->state[i].index];
        v = xmalloc((size_t)b->count * sizeof *v);
        for (j = 0; j < b->count; j++)
            v[j] = (float)b->init;
        e = params_set(ps, i, v, false);
        free(v);
        if (e < 0)
            return -1;
    }
    for (i = 0; i < ps->n_counters; i++)
        ps->counter[i].value = 0;
    ps->version++;
    return 0;
}
