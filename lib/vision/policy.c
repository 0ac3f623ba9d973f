#include "vision/policy.h"

#include "util/rng.h"

#include <math.h>
#include <stdbool.h>

/* ---- the table */

/*
 * The most that an operation does: in the wide space of TrivialAugment, in that
 * of the others (there translations go by the side of the picture). Posterize
 * takes away so many of 8 bits; solarize comes down from 255.
 */
static const struct {
    double wide, narrow;
    bool two_ways, add_1;
} table[] = {
    [COLOUR_IDENTITY] = {0, 0, false, false},
    [COLOUR_SHEAR_X] = {0.99, 0.3, true, false},
    [COLOUR_SHEAR_Y] = {0.99, 0.3, true, false},
    [COLOUR_TRANSLATE_X] = {32, 150.0 / 331.0, true, false},
    [COLOUR_TRANSLATE_Y] = {32, 150.0 / 331.0, true, false},
    [COLOUR_ROTATE] = {135, 30, true, false},
    [COLOUR_BRIGHTNESS] = {0.99, 0.9, true, true},
    [COLOUR_COLOUR] = {0.99, 0.9, true, true},
    [COLOUR_CONTRAST] = {0.99, 0.9, true, true},
    [COLOUR_SHARPNESS] = {0.99, 0.9, true, true},
    [COLOUR_POSTERIZE] = {6, 4, false, false},
    [COLOUR_SOLARIZE] = {255, 255, false, false},
    [COLOUR_AUTOCONTRAST] = {0, 0, false, false},
    [COLOUR_EQUALIZE] = {0, 0, false, false},
    [COLOUR_INVERT] = {0, 0, false, false},
};
#define CHOICES (COLOUR_EQUALIZE + 1) /* of trivial and rand: without invert */

/* AutoAugment's pairs for ImageNet: probability, and magnitude of 0 to 9. */
static const struct {
    struct {
        enum colour_op op;
        double p;
        int j;
    } step[2];
} pairs[] = {
    {{{COLOUR_POSTERIZE, 0.4, 8}, {COLOUR_ROTATE, 0.6, 9}}},
    {{{COLOUR_SOLARIZE, 0.6, 5}, {COLOUR_AUTOCONTRAST, 0.6, 0}}},
    {{{COLOUR_EQUALIZE, 0.8, 0}, {COLOUR_EQUALIZE, 0.6, 0}}},
    {{{COLOUR_POSTERIZE, 0.6, 7}, {COLOUR_POSTERIZE, 0.6, 6}}},
    {{{COLOUR_EQUALIZE, 0.4, 0}, {COLOUR_SOLARIZE, 0.2, 4}}},
    {{{COLOUR_EQUALIZE, 0.4, 0}, {COLOUR_ROTATE, 0.8, 8}}},
    {{{COLOUR_SOLARIZE, 0.6, 3}, {COLOUR_EQUALIZE, 0.6, 0}}},
    {{{COLOUR_POSTERIZE, 0.8, 5}, {COLOUR_EQUALIZE, 1.0, 0}}},
    {{{COLOUR_ROTATE, 0.2, 3}, {COLOUR_SOLARIZE, 0.6, 8}}},
    {{{COLOUR_EQUALIZE, 0.6, 0}, {COLOUR_POSTERIZE, 0.4, 6}}},
    {{{COLOUR_ROTATE, 0.8, 8}, {COLOUR_COLOUR, 0.4, 0}}},
    {{{COLOUR_ROTATE, 0.4, 9}, {COLOUR_EQUALIZE, 0.6, 0}}},
    {{{COLOUR_EQUALIZE, 0.0, 0}, {COLOUR_EQUALIZE, 0.8, 0}}},
    {{{COLOUR_INVERT, 0.6, 0}, {COLOUR_EQUALIZE, 1.0, 0}}},
    {{{COLOUR_COLOUR, 0.6, 4}, {COLOUR_CONTRAST, 1.0, 8}}},
    {{{COLOUR_ROTATE, 0.8, 8}, {COLOUR_COLOUR, 1.0, 2}}},
    {{{COLOUR_COLOUR, 0.8, 8}, {COLOUR_SOLARIZE, 0.8, 7}}},
    {{{COLOUR_SHARPNESS, 0.4, 7}, {COLOUR_INVERT, 0.6, 0}}},
    {{{COLOUR_SHEAR_X, 0.6, 5}, {COLOUR_EQUALIZE, 1.0, 0}}},
    {{{COLOUR_COLOUR, 0.4, 0}, {COLOUR_EQUALIZE, 0.6, 0}}},
    {{{COLOUR_EQUALIZE, 0.4, 0}, {COLOUR_SOLARIZE, 0.2, 4}}},
    {{{COLOUR_SOLARIZE, 0.6, 5}, {COLOUR_AUTOCONTRAST, 0.6, 0}}},
    {{{COLOUR_INVERT, 0.6, 0}, {COLOUR_EQUALIZE, 1.0, 0}}},
    {{{COLOUR_COLOUR, 0.6, 4}, {COLOUR_CONTRAST, 1.0, 8}}},
    {{{COLOUR_EQUALIZE, 0.8, 0}, {COLOUR_EQUALIZE, 0.6, 0}}},
};
#define PAIRS (sizeof(pairs) / sizeof(*pairs))
#define PAIR_BINS 10

/* Number j of n evenly spaced ones, in fp32 and from the nearer end, as torch's
 * linspace computes them where products are fused into sums: there the middle of
 * 0..32 is a little less than 16. */
static double spaced(double from, double to, int n, int j)
{
    float a = (float)from, b = (float)to, step = (b - a) / (float)(n - 1);

    return (double)(j < n / 2 ? fmaf(step, (float)j, a)
                              : fmaf(-step, (float)(n - 1 - j), b));
}

double policy_magnitude(enum colour_op op, int wide, int bins, int j, int size)
{
    double most = wide ? table[op].wide : table[op].narrow;

    if (op == COLOUR_POSTERIZE)
        return 8 - rint((double)((float)j / (float)((bins - 1) / most)));
    if (op == COLOUR_SOLARIZE)
        return spaced(most, 0, bins, j);
    if (!wide && (op == COLOUR_TRANSLATE_X || op == COLOUR_TRANSLATE_Y))
        most *= size;
    return most > 0 ? spaced(0, most, bins, j) : 0;
}

/* ---- choices */

static void add(struct policy_step *step, int *n, enum colour_op op, double m)
{
    step[*n] = (struct policy_step){op, m};
    *n += 1;
}

static void add_of_table(struct policy_step *step, int *n, enum colour_op op,
                         double m, bool negative)
{
    if (table[op].two_ways && negative)
        m = -m;
    add(step, n, op, table[op].add_1 ? 1.0 + m : m);
}

static void jitter(const struct policy *p, struct rng *r,
                   struct policy_step *step, int *n)
{
    static const enum colour_op ops[] = {COLOUR_BRIGHTNESS, COLOUR_CONTRAST,
                                         COLOUR_COLOUR, COLOUR_HUE};
    uint32_t order[4];
    double lo, hi, m[4];
    int i;

    rng_permute(r, order, 4);
    for (i = 0; i < 4; i++) {
        hi = (i < 3) + p->jitter[i];
        lo = (i < 3) - p->jitter[i];
        if (i < 3 && lo < 0)
            lo = 0;
        m[i] = lo + (hi - lo) * rng_unit(r);
    }
    for (i = 0; i < 4; i++)
        if (p->jitter[order[i]] > 0)
            add(step, n, ops[order[i]], m[order[i]]);
}

static void trivial(struct rng *r, int size, struct policy_step *step, int *n)
{
    enum colour_op op = (enum colour_op)rng_below(r, CHOICES);
    int j = (int)rng_below(r, POLICY_BINS);

    add_of_table(step, n, op, policy_magnitude(op, 1, POLICY_BINS, j, size),
                 rng_below(r, 2));
}

static void rand_of(const struct policy *p, struct rng *r, int size,
                    struct policy_step *step, int *n)
{
    for (int i = 0; i < p->ops && i < POLICY_OPS_MAX; i++) {
        enum colour_op op = (enum colour_op)rng_below(r, CHOICES);
        double m = policy_magnitude(op, 0, POLICY_BINS, p->magnitude, size);

        add_of_table(step, n, op, m, rng_below(r, 2));
    }
}

static void pair(struct rng *r, int size, struct policy_step *step, int *n)
{
    uint64_t k = rng_below(r, PAIRS);

    for (int i = 0; i < 2; i++) {
        enum colour_op op = pairs[k].step[i].op;
        bool wanted = rng_unit(r) < pairs[k].step[i].p, back = rng_below(r, 2);

        if (wanted)
            add_of_table(
                step, n, op,
                policy_magnitude(op, 0, PAIR_BINS, pairs[k].step[i].j, size),
                back);
    }
}

int policy_draw(const struct policy *p, int size, uint64_t seed, uint32_t epoch,
                uint32_t pos, struct policy_step *step)
{
    const double *j = p->jitter;
    struct rng r;
    int n = 0;

    rng_init(&r, seed, pos, epoch, RNG_COLOUR);
    if (j[0] > 0 || j[1] > 0 || j[2] > 0 || j[3] > 0)
        jitter(p, &r, step, &n);
    if (p->grey > 0 && rng_unit(&r) < p->grey)
        add(step, &n, COLOUR_GREY, 0);
    if (p->kind == POLICY_TRIVIAL)
        trivial(&r, size, step, &n);
    else if (p->kind == POLICY_RAND)
        rand_of(p, &r, size, step, &n);
    else if (p->kind == POLICY_AUTO)
        pair(&r, size, step, &n);
    return n;
}

void policy_run(const struct policy_step *step, int n, uint8_t *rgb, int size,
                uint8_t *scratch)
{
    for (int i = 0; i < n; i++)
        colour_apply(rgb, size, size, step[i].op, step[i].m, scratch);
}
