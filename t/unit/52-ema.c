/* The average of weights beside that of torchvision's script (t/golden/ema.txt),
 * on every engine; what it does with the recipe. */
#include "lib/must.h"
#include "lib/tap.h"

#include "train/ema.h"
#include "util/buf.h"

#include <math.h>

enum {
    N_WEIGHT = 20,
    N_RUNNING = 6
};

/* As in t/golden/make-ema.py. */
static const struct recipe made_up = {
    .ema = true, .ema_decay = 0.9998, .ema_steps = 4, .epochs = 5, .warmup = 1};
static const struct recipe_batch cut = {.global = 64, .epoch_steps = 10};

static float value(int i, int64_t step)
{
    return (float)((i * 7 + step * 13) % 101) / 16 - 3;
}

/* The weights after so many steps. */
static void move(struct params *ps, int64_t step)
{
    float v[N_WEIGHT];
    int i;

    for (i = 0; i < N_WEIGHT; i++)
        v[i] = value(i, step);
    must(params_set(ps, 0, v, false));
    for (i = 0; i < N_RUNNING; i++)
        v[i] = value(i, 2 * step);
    must(params_set(ps, 1, v, false));
    must(params_set(ps, 2, &step, false));
}

/* The largest relative distance of the average from a line of the file. */
static double distance(struct ema *e, const char *name, char *values)
{
    bool running = strcmp(name, "running") == 0;
    int i, n = running ? N_RUNNING : N_WEIGHT;
    double worst = 0, want;
    float got[N_WEIGHT];

    must(params_fetch(e->shard->ps, running, running ? e->buffers : e->w, got,
                      false));
    for (i = 0; i < n; i++) {
        want = strtod(values, &values);
        worst = fmax(worst, fabs((double)got[i] - want) / fabs(want + 1e-3));
    }
    return worst;
}

/* Compare with the lines of a step; how many there were. */
static int compare(struct ema *e, int64_t step, double *worst)
{
    char *path = xstrfmt("%s/t/golden/ema.txt", tap_env("TOP", "."));
    FILE *f = fopen(path, "r");
    char line[512], name[16];
    int at, n = 0;
    long of;

    if (!f) {
        printf("Bail out! %s\n", path);
        exit(1);
    }
    free(path);
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%ld %15s %n", &of, name, &at) != 2 || of != step)
            continue;
        n++;
        if (strcmp(name, "counter") == 0)
            is_int(e->counter[0], strtoll(line + at, NULL, 10),
                   "step %d: the counter", (int)step);
        else if (strcmp(name, "averaged") == 0)
            is_int(e->updates, strtoll(line + at, NULL, 10),
                   "step %d: averages since the copy", (int)step);
        else
            *worst = fmax(*worst, distance(e, name, line + at));
    }
    fclose(f);
    return n;
}

static void golden(const char *name, enum dtype pt)
{
    struct engine_config c = {
        .device = -1, .threads = 1, .dir = tap_env("BIN", "bin")};
    const int64_t n = N_WEIGHT;
    struct params ps;
    struct comm *comm = comm_null();
    struct sharding s;
    struct ema e;
    double worst = 0;
    int64_t step;
    int lines = 0;
    struct engine *engine;

    if (engine_open(&engine, name, &c) < 0) {
        skip(1, "onednn: no cpu engine");
        comm_free(comm);
        return;
    }
    params_init(&ps);
    params_add(&ps, "weight", PARAM_BIAS, 1, &n, INIT_ZERO, 0);
    params_add_buffer(&ps, "running", N_RUNNING, 0);
    params_add_counter(&ps, "counter");
    must(params_alloc(&ps, engine, pt, true));
    sharding_init(&s, &ps, comm, false);
    must(ema_init(&e, &s, &made_up, &cut));
    is_double(e.decay, 0.98976000000000108, 1e-15, "the decay, adjusted");
    move(&ps, 0);
    must(ema_begin(&e));
    for (step = 0; step < 50; step++) {
        move(&ps, step + 1);
        must(ema_step(&e, step));
        lines += compare(&e, step, &worst);
    }
    is_int(lines, 16, "all lines of the file");
    ok(worst <= 1e-6, "%s %s: within %.1e of torchvision's", name,
       dtype_name(pt), worst);
    ema_release(&e);
    sharding_release(&s);
    params_release(&ps);
    comm_free(comm);
    engine_close(engine);
}

int main(void)
{
    struct recipe r = made_up;

    golden("ref", DT_F32);
    golden("ref", DT_F64);
    golden("cpu", DT_F32);
    /* imagenet-recipe 2.7: 8 x 128 images, 600 epochs */
    r.ema_decay = 0.99998;
    r.ema_steps = 32;
    r.epochs = 600;
    is_double(ema_decay(&r, &(struct recipe_batch){.global = 1024}), 0.9989077,
              5e-8, "the decay of the V2 recipe");
    r.epochs = 0.25;
    is_double(ema_decay(&r, &(struct recipe_batch){.global = 1 << 20}), 0, 0,
              "a short run of large batches: copies");
    return done_testing();
}
