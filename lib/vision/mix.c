#include "vision/mix.h"

#include "util/rng.h"

#include <math.h>

/*
 * Logarithm of a Gamma(a) number, by Marsaglia and Tsang (2000); below 1 from
 * Gamma(a + 1) times U^(1/a), which would be 0 for small a but for the
 * logarithm.
 */
static double log_gamma_draw(struct rng *r, double a)
{
    double d, c, x, v, more = 0;

    if (a < 1) {
        more = log(1.0 - rng_unit(r)) / a;
        a += 1;
    }
    d = a - 1.0 / 3.0;
    c = 1 / sqrt(9 * d);
    do {
        do {
            x = rng_normal(r);
            v = 1 + c * x;
        } while (v <= 0);
        v = v * v * v;
    } while (log(1.0 - rng_unit(r)) >= 0.5 * x * x + d - d * v + d * log(v));
    return log(d * v) + more;
}

/*
 * Beta(a, a): 0 or 1, each half of the time, as a goes to 0. (So does numpy; torch,
 * whose gammas are never less than the least number, goes to 0.5 from 1e-3 down.)
 */
static double beta_draw(struct rng *r, double a)
{
    double x = log_gamma_draw(r, a), y = log_gamma_draw(r, a);

    /* both are minus infinity for an a below all normal numbers */
    if (isinf(x) && isinf(y))
        return (double)rng_below(r, 2);
    return 1 / (1 + exp(y - x));
}

static int limit(int v, int size)
{
    return v < 0 ? 0 : v > size ? size : v;
}

/* A box of the area 1 - lambda about a random middle, cut off at the rim. */
static void cut(struct mix *m, struct rng *r, int size)
{
    int half = (int)(0.5 * sqrt(1.0 - m->lambda) * size);
    int x = (int)rng_below(r, (uint64_t)size);
    int y = (int)rng_below(r, (uint64_t)size);
    int *b = m->box;

    b[0] = limit(y - half, size);
    b[1] = limit(x - half, size);
    b[2] = limit(y + half, size);
    b[3] = limit(x + half, size);
    m->lambda = 1.0 - (double)((b[2] - b[0]) * (b[3] - b[1])) /
                          ((double)size * (double)size);
}

struct mix mix_draw(const struct mix_config *c, int size, uint64_t seed,
                    uint32_t epoch, uint32_t pos)
{
    struct mix m = {.kind = MIX_NONE, .lambda = 1};
    struct rng r;

    rng_init(&r, seed, pos, epoch, RNG_BATCH);
    if (c->mixup > 0 && c->cutmix > 0)
        m.kind = rng_below(&r, 2) ? MIX_CUTMIX : MIX_MIXUP;
    else if (c->mixup > 0 || c->cutmix > 0)
        m.kind = c->mixup > 0 ? MIX_MIXUP : MIX_CUTMIX;
    if (m.kind == MIX_NONE)
        return m;
    m.lambda = beta_draw(&r, m.kind == MIX_MIXUP ? c->mixup : c->cutmix);
    if (m.kind == MIX_CUTMIX)
        cut(&m, &r, size);
    return m;
}
