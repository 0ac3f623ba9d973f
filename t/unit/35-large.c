/*
 * Activations larger than a cache, which the cpu engine reads ahead and writes
 * past it: each row is what it is in a small array.
 */
#include "engine/engine.h"
#include "lib/must.h"
#include "lib/tap.h"

enum {
    CHANNELS = 96,
    PARTS = 7
};

/* What all kernels here share. */
struct arrays {
    struct engine *e;
    enum dtype dt;
    int64_t rows;
    char *x, *r, *y; /* [rows, CHANNELS] */
    void *a, *b, *k; /* as the engine's loops take them */
    bool wide;
};

static const char *const name[] = {"norm_apply", "norm_apply with a term",
                                   "norm_grad_apply", "dz of norm_grad_sums"};

/* Rows from..from+n-1 to out + their place. */
static void run(const struct arrays *v, int form, int64_t from, int64_t n,
                char *out)
{
    size_t at = (size_t)(from * CHANNELS) * dtype_size(v->dt);
    const void *x = v->x + at, *r = v->r + at, *y = v->y + at;
    struct kern_norm_apply apply = {.x = x,
                                    .scale = v->a,
                                    .bias = v->b,
                                    .r = form ? r : NULL,
                                    .y = out + at,
                                    .rows = n,
                                    .c = CHANNELS,
                                    .relu = !form,
                                    .dt = v->dt,
                                    .pt = DT_F32,
                                    .wide = v->wide};
    struct kern_norm_grad_apply grad = {.dy0 = r,
                                        .y = y,
                                        .x = x,
                                        .a = v->a,
                                        .b = v->b,
                                        .k = v->k,
                                        .dx = out + at,
                                        .rows = n,
                                        .c = CHANNELS,
                                        .dt = v->dt,
                                        .pt = DT_F32,
                                        .wide = v->wide};
    double s1[CHANNELS], s2[CHANNELS];
    struct kern_norm_grad_sums sums = {.dy0 = r,
                                       .dy1 = x,
                                       .y = y,
                                       .x = x,
                                       .mean = v->b,
                                       .invstd = v->a,
                                       .dz = out + at,
                                       .s1 = s1,
                                       .s2 = s2,
                                       .rows = n,
                                       .c = CHANNELS,
                                       .dt = v->dt,
                                       .pt = DT_F32,
                                       .wide = v->wide};

    if (form < 2)
        must(engine_run(v->e, KERN_NORM_APPLY, &apply));
    else if (form == 2)
        must(engine_run(v->e, KERN_NORM_GRAD_APPLY, &grad));
    else
        must(engine_run(v->e, KERN_NORM_GRAD_SUMS, &sums));
}

static void *filled(struct engine *e, enum dtype t, int64_t n, int seed)
{
    void *p;
    int64_t i;

    must(engine_alloc(e, (size_t)n * dtype_size(t), &p));
    for (i = 0; i < n; i++)
        dtype_store(t, p, (size_t)i,
                    (double)((i * 7919 + seed) % 1009) / 500 - 1);
    return p;
}

static void test_type(struct engine *e, enum dtype t)
{
    struct arrays v = {.e = e, .dt = t, .wide = engine_wide_norms(e, t)};
    enum dtype pt = v.wide ? DT_F64 : DT_F32;
    size_t size = dtype_size(t), bytes;
    char *whole, *parts;
    int64_t i, part;
    int form;

    v.rows = (17 << 20) / (int64_t)(CHANNELS * size);
    part = v.rows / PARTS + 1;
    bytes = (size_t)(v.rows * CHANNELS) * size;
    v.x = filled(e, t, v.rows * CHANNELS, 1);
    v.r = filled(e, t, v.rows * CHANNELS, 2);
    v.y = filled(e, t, v.rows * CHANNELS, 3);
    v.a = filled(e, pt, CHANNELS, 4);
    v.b = filled(e, pt, CHANNELS, 5);
    v.k = filled(e, pt, CHANNELS, 6);
    whole = filled(e, t, v.rows * CHANNELS, 7);
    parts = filled(e, t, v.rows * CHANNELS, 8);
    for (form = 0; form < 4; form++) {
        run(&v, form, 0, v.rows, whole);
        for (i = 0; i < v.rows; i += part)
            run(&v, form, i, i + part < v.rows ? part : v.rows - i, parts);
        ok(memcmp(whole, parts, bytes) == 0, "%s in %s, at once and in parts",
           name[form], dtype_name(t));
    }
    engine_free(e, v.x);
    engine_free(e, v.r);
    engine_free(e, v.y);
    engine_free(e, v.a);
    engine_free(e, v.b);
    engine_free(e, v.k);
    engine_free(e, whole);
    engine_free(e, parts);
}

int main(void)
{
    struct engine_config c = {.device = -1, .threads = 2};
    struct engine *e;

    c.dir = tap_env("BIN", NULL);
    if (engine_open(&e, "cpu", &c) < 0) {
        skip(1, err_text());
        return done_testing();
    }
    test_type(e, DT_F32);
    test_type(e, DT_BF16);
    engine_close(e);
    return done_testing();
}
