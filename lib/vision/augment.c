#include "vision/augment.h"

#include "util/rng.h"

#include <math.h>

void augment_try(double area, double ratio, int *w, int *h)
{
    /* rint: half to even, as Python's round */
    *w = (int)rint(sqrt(area * ratio));
    *h = (int)rint(sqrt(area / ratio));
}

struct rect augment_fallback(const struct augment *a, int w, int h)
{
    double r = (double)w / h;
    struct rect b = {0, 0, w, h};

    if (r < a->ratio[0])
        b.h = (int)rint(w / a->ratio[0]);
    else if (r > a->ratio[1])
        b.w = (int)rint(h * a->ratio[1]);
    b.x = (w - b.w) / 2;
    b.y = (h - b.h) / 2;
    return b;
}

struct crop augment_train(const struct augment *a, int w, int h, uint64_t seed,
                          uint32_t epoch, uint32_t pos)
{
    double lo = log(a->ratio[0]), hi = log(a->ratio[1]);
    struct crop c;
    struct rng r;
    int i;

    rng_init(&r, seed, pos, epoch, RNG_AUGMENT);
    for (i = 0; i < 10; i++) {
        double part = a->scale[0] + (a->scale[1] - a->scale[0]) * rng_unit(&r);
        double ratio = exp(lo + (hi - lo) * rng_unit(&r));

        augment_try((double)w * h * part, ratio, &c.box.w, &c.box.h);
        if (c.box.w > 0 && c.box.w <= w && c.box.h > 0 && c.box.h <= h) {
            c.box.y = (int)rng_below(&r, (uint64_t)(h - c.box.h + 1));
            c.box.x = (int)rng_below(&r, (uint64_t)(w - c.box.w + 1));
            break;
        }
    }
    if (i == 10)
        c.box = augment_fallback(a, w, h);
    /* for 0.5 this is the top bit of the draw */
    c.flip = rng_unit(&r) >= 1.0 - a->flip;
    return c;
}

struct rect augment_erase(const struct augment *a, int size, uint64_t seed,
                          uint32_t epoch, uint32_t pos)
{
    const double lo = log(0.3), hi = log(3.3);
    struct rect b = {0, 0, 0, 0};
    struct rng r;
    int i;

    rng_init(&r, seed, pos, epoch, RNG_ERASE);
    if (!(rng_unit(&r) < a->erase))
        return b;
    for (i = 0; i < 10; i++) {
        double part = 0.02 + (0.33 - 0.02) * rng_unit(&r);
        double ratio = exp(lo + (hi - lo) * rng_unit(&r));

        augment_try((double)size * size * part, ratio, &b.h, &b.w);
        if (b.h >= size || b.w >= size)
            continue;
        b.y = (int)rng_below(&r, (uint64_t)(size - b.h + 1));
        b.x = (int)rng_below(&r, (uint64_t)(size - b.w + 1));
        return b;
    }
    return (struct rect){0, 0, 0, 0};
}

/* Centre `size` on `len`: where to cut, how much, and where to put it. */
static void centre(int len, int size, int *from, int *n, int *at)
{
    *from = len > size ? (int)rint((len - size) / 2.0) : 0;
    *n = len > size ? size : len;
    *at = len < size ? (size - len) / 2 : 0;
}

void augment_eval(int w, int h, int resize, int size, bool squash,
                  struct resize_job *job, int *left, int *top)
{
    struct rect *p = &job->part;

    *job = (struct resize_job){.in_w = w, .in_h = h};
    job->out_w = job->out_h = resize;
    if (!squash && w > h)
        job->out_w = (int)((int64_t)resize * w / h);
    else if (!squash)
        job->out_h = (int)((int64_t)resize * h / w);
    centre(job->out_w, size, &p->x, &p->w, left);
    centre(job->out_h, size, &p->y, &p->h, top);
}
