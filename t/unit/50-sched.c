/* Learning rates against tables, dependence on nothing but progress. */
#include "lib/tap.h"

#include "train/sched.h"

#include <string.h>

static struct recipe base(double epochs, double lr)
{
    static double thirty[] = {30};
    struct recipe r;

    memset(&r, 0, sizeof r);
    r.epochs = epochs;
    r.lr = lr;
    r.batch = 256;
    r.gamma = 0.1;
    r.steps.n = 1;
    r.steps.f = thirty;
    r.poly_power = 2;
    r.warmup_factor = 0.01;
    r.per_epoch = true;
    return r;
}

/* Rate of the first and of the last step of an epoch. */
static double at(const struct recipe *r, int64_t epoch, int last)
{
    struct recipe_batch b;

    if (recipe_divide(r, 1281167, 1, &b) < 0)
        BUG("%s", err_text());
    return sched_lr(r, &b,
                    epoch * b.epoch_samples +
                        (last ? b.epoch_samples - b.global : 0));
}

static void check(const struct recipe *r, int64_t epoch, double want,
                  const char *what)
{
    int good = fabs(at(r, epoch, 0) / want - 1) < 1e-12 &&
               fabs(at(r, epoch, 1) / want - 1) < 1e-12;

    ok(good, "%s: epoch %lld: %.9g", what, (long long)epoch, want);
    if (!good)
        printf("#      got: %.17g, %.17g\n", at(r, epoch, 0), at(r, epoch, 1));
}

/* imagenet-recipe 3.3: torchvision's schedules, stepped once per epoch. */
static void tables(void)
{
    static const double warm[] = {0.01, 0.028, 0.046, 0.064, 0.082, 0.1};
    static const double v2[] = {0.005, 0.104, 0.203, 0.302, 0.401, 0.5};
    struct recipe r = base(90, 0.1);
    int i;

    check(&r, 0, 0.1, "V1");
    check(&r, 29, 0.1, "V1");
    check(&r, 30, 0.01, "V1");
    check(&r, 60, 0.001, "V1");
    check(&r, 89, 0.001, "V1");
    r.warmup = 5;
    r.warmup_factor = 0.1;
    r.warmup_shift = true;
    for (i = 0; i < 6; i++)
        check(&r, i, warm[i], "warm-up from 0.1");
    check(&r, 34, 0.1, "warm-up from 0.1");
    check(&r, 35, 0.01, "warm-up from 0.1");
    check(&r, 65, 0.001, "warm-up from 0.1");
    r = base(600, 0.5);
    r.sched = SCHED_COSINE;
    r.warmup = 5;
    r.warmup_shift = true;
    for (i = 0; i < 6; i++)
        check(&r, i, v2[i], "V2");
    /* 0.5*(1+cos(pi*594/595))/2 */
    check(&r, 599, 0.5 * (1 + cos(M_PI * 594 / 595)) / 2, "V2");
    ok(fabs(at(&r, 599, 0) - 3.5e-6) < 0.05e-6, "V2: last epoch 3.5e-6");
}

static void per_step(void)
{
    static double steps[] = {2, 3.5};
    struct recipe r = base(4, 1);
    struct recipe_batch b;

    r.per_epoch = false;
    r.sched = SCHED_POLY;
    if (recipe_divide(&r, 1024, 1, &b) < 0)
        BUG("%s", err_text());
    is_double(sched_lr(&r, &b, 0), 1, 0, "poly: begins at the base rate");
    is_double(sched_lr(&r, &b, 2048), 0.25, 1e-15, "poly: half-way, power 2");
    r.lr_min = 0.5;
    is_double(sched_lr(&r, &b, 2048), 0.625, 1e-15, "poly: above its end");
    r.sched = SCHED_COSINE;
    is_double(sched_lr(&r, &b, 2048), 0.75, 1e-15, "cosine: half-way");
    r.sched = SCHED_STEP;
    r.steps.f = steps;
    r.steps.n = 2;
    is_double(sched_lr(&r, &b, 2048 - 256), 1, 0, "steps at epochs: before");
    is_double(sched_lr(&r, &b, 2048), 0.1, 1e-15, "steps at epochs: at 2");
    is_double(sched_lr(&r, &b, 3584), 0.01, 1e-15, "steps at epochs: at 3.5");
    r.warmup = 1;
    r.warmup_factor = 0;
    is_double(sched_lr(&r, &b, 512), 0.5, 1e-15, "linear warm-up, per step");
    r.warmup_method = WARMUP_CONSTANT;
    r.warmup_factor = 0.25;
    is_double(sched_lr(&r, &b, 512), 0.25, 1e-15, "constant warm-up");
    is_double(sched_lr(&r, &b, 1024), 1, 1e-15, "constant warm-up: over");
}

/* The curve over samples does not know ranks or accumulation. */
static void same_everywhere(void)
{
    static const int64_t cuts[][2] = {{1, 1}, {2, 1}, {4, 1}, {1, 4}, {2, 2}};
    struct recipe r = base(3, 0.1);
    struct recipe_batch b;
    double first = 0, sum;
    int64_t s;
    size_t i;

    r.per_epoch = false;
    r.sched = SCHED_COSINE;
    r.warmup = 0.5;
    for (i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        r.accum = cuts[i][1];
        if (recipe_divide(&r, 5000, cuts[i][0], &b) < 0)
            BUG("%s", err_text());
        for (s = 0, sum = 0; s < b.total_samples; s += b.global)
            sum = sum * 1.0001 + sched_lr(&r, &b, s);
        if (i == 0)
            first = sum;
        ok(sum == first, "%lld ranks, %lld accumulated: the same curve",
           (long long)cuts[i][0], (long long)cuts[i][1]);
    }
}

int main(void)
{
    tables();
    per_step();
    same_everywhere();
    return done_testing();
}
