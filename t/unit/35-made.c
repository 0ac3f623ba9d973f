/*
 * What a kernel makes again instead of reading it is what another would have
 * stored: a norm's relu in its gradient, in ordinary numbers and in those that are
 * stored as 0, and the pool behind a norm, there and back. The same bits, but for
 * sums. In the engine named, with its folder and a dtype, or in ref and cpu.
 */
#include "engine/engine.h"
#include "lib/must.h"
#include "lib/tap.h"

#include <math.h>

static struct engine *e;
static enum dtype dt, vt;
static uint64_t state;

/* -1..1 */
static double number(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)state / 9223372036854775808.0;
}

static double least(void)
{
    return dt == DT_F16 ? 0x1p-24 : dt == DT_BF16 ? 0x1p-133 : 0x1p-149;
}

/* n elements: multiples of unit, or numbers from -1 to 1. */
static void *filled(enum dtype t, int64_t n, double unit)
{
    char *host = xmalloc((size_t)n * 8);
    void *p;
    int64_t i;

    for (i = 0; i < n; i++)
        dtype_store(t, host, (size_t)i,
                    unit > 0 ? unit * floor(5 * number()) : number());
    must(engine_alloc(e, (size_t)n * dtype_size(t), &p));
    must(engine_upload(e, p, host, (size_t)n * dtype_size(t)));
    free(host);
    return p;
}

/* Room for results, which begins as another for each. */
static void *room(size_t bytes)
{
    static int byte = 0x31;
    void *p;

    must(engine_alloc(e, bytes, &p));
    must(engine_fill(e, p, byte++, bytes));
    return p;
}

static void *get(const void *p, size_t bytes)
{
    void *host = xmalloc(bytes + 1);

    must(engine_download(e, host, p, bytes));
    return host;
}

static bool same(void *a, void *b, size_t bytes)
{
    char *x = get(a, bytes), *y = get(b, bytes);
    bool r = memcmp(x, y, bytes) == 0;

    free(x);
    free(y);
    return r;
}

/* Sums in fp32, perhaps in another order: to a part of what is added up. */
static bool near(const void *a, const void *b, int64_t c, int64_t rows)
{
    size_t bytes = (size_t)c * dtype_size(vt);
    char *x = get(a, bytes), *y = get(b, bytes);
    bool r = true;
    int64_t i;

    for (i = 0; i < c; i++)
        r = r && fabs(dtype_load(vt, x, (size_t)i) -
                      dtype_load(vt, y, (size_t)i)) <= 1e-6 * (double)rows;
    free(x);
    free(y);
    return r;
}

static void go(enum kernel k, const void *args)
{
    must(engine_run(e, k, args));
}

/* ---- the relu of a norm, or of two that are added */

static void test_relu(int64_t rows, int64_t c, bool two, bool tiny)
{
    int64_t n = rows * c;
    size_t bytes = (size_t)n * dtype_size(dt), wide = (size_t)c * 8;
    double unit = tiny ? least() : 0;
    void *y = room(bytes), *dy = filled(dt, n, 0), *more = filled(dt, n, 0);
    void *bias = tiny ? NULL : filled(vt, c, 0);
    struct kern_norm_apply f = {.x = filled(dt, n, unit),
                                .scale = filled(vt, c, 0),
                                .bias = bias,
                                .y = y,
                                .rows = rows,
                                .c = c,
                                .relu = true,
                                .dt = dt,
                                .pt = DT_F32,
                                .wide = vt == DT_F64};
    struct kern_norm_grad_sums s[2];
    struct kern_norm_grad_apply a[2];
    int i;

    if (tiny) {
        must(engine_alloc(e, wide, &bias));
        must(engine_fill(e, bias, 0, wide));
        f.bias = bias;
    }
    if (two) {
        f.r = filled(dt, n, unit);
        f.rscale = filled(vt, c, 0);
        f.rbias = bias;
    }
    go(KERN_NORM_APPLY, &f);
    for (i = 0; i < 2; i++) {
        s[i] = (struct kern_norm_grad_sums){.dy0 = dy,
                                            .dy1 = more,
                                            .x = f.x,
                                            .mean = f.scale,
                                            .invstd = f.scale,
                                            .dz = room(bytes),
                                            .s1 = room(wide),
                                            .s2 = room(wide),
                                            .rows = rows,
                                            .c = c,
                                            .dt = dt,
                                            .pt = DT_F32,
                                            .wide = f.wide};
        a[i] = (struct kern_norm_grad_apply){.dy0 = dy,
                                             .dy1 = more,
                                             .x = f.x,
                                             .a = f.scale,
                                             .b = f.scale,
                                             .k = f.scale,
                                             .dx = room(bytes),
                                             .rows = rows,
                                             .c = c,
                                             .dt = dt,
                                             .pt = DT_F32,
                                             .wide = f.wide};
        if (two) {
            s[i].rx = f.r;
            s[i].rmean = s[i].rinvstd = f.scale;
            s[i].rs2 = room(wide);
        }
    }
    s[0].y = a[0].y = y;
    s[1].scale = a[1].scale = f.scale;
    s[1].bias = a[1].bias = f.bias;
    s[1].rscale = f.rscale;
    s[1].rbias = f.rbias;
    for (i = 0; i < 2; i++) {
        go(KERN_NORM_GRAD_SUMS, &s[i]);
        if (!two)
            go(KERN_NORM_GRAD_APPLY, &a[i]);
    }
    ok(same(s[0].dz, s[1].dz, bytes) && near(s[0].s1, s[1].s1, c, rows) &&
           near(s[0].s2, s[1].s2, c, rows) &&
           (!two || near(s[0].rs2, s[1].rs2, c, rows)) &&
           (two || same(a[0].dx, a[1].dx, bytes)),
       "%s %s: relu of %s%s, %lldx%lld", engine_name(e), dtype_name(dt),
       two ? "two norms" : "a norm", tiny ? " in tiny numbers" : "",
       (long long)rows, (long long)c);
}

/* ---- the pool behind a norm */

static void test_pool(const int v[7], bool tiny)
{
    int64_t c = v[3], rows = (int64_t)v[0] * v[1] * v[2], far;
    size_t wide = (size_t)c * 8, bytes, behind;
    struct kern_pool pool = {.n = v[0],
                             .h = v[1],
                             .w = v[2],
                             .r = v[4],
                             .stride = v[5],
                             .pad = v[6]};
    struct kern_norm_apply f[2];
    struct kern_maxpool m = {.n = v[0],
                             .h = v[1],
                             .w = v[2],
                             .c = c,
                             .r = v[4],
                             .stride = v[5],
                             .pad = v[6],
                             .dt = dt};
    struct kern_maxpool_grad g = {.n = v[0],
                                  .h = v[1],
                                  .w = v[2],
                                  .c = c,
                                  .r = v[4],
                                  .stride = v[5],
                                  .pad = v[6],
                                  .dt = dt};
    struct kern_norm_grad_sums s[2];
    void *dy[2];
    int i;

    far = v[0] * ((v[1] + 2 * (int64_t)v[6] - v[4]) / v[5] + 1) *
          ((v[2] + 2 * (int64_t)v[6] - v[4]) / v[5] + 1) * c;
    bytes = (size_t)(rows * c) * dtype_size(dt);
    behind = (size_t)far * dtype_size(dt);
    for (i = 0; i < 2; i++)
        dy[i] = filled(dt, far, 0);
    f[0] =
        (struct kern_norm_apply){.x = filled(dt, rows * c, tiny ? least() : 0),
                                 .scale = filled(vt, c, 0),
                                 .bias = filled(vt, c, tiny ? 0x1p-149 : 0),
                                 .y = room(bytes),
                                 .rows = rows,
                                 .c = c,
                                 .relu = true,
                                 .dt = dt,
                                 .pt = DT_F32,
                                 .wide = vt == DT_F64};
    f[1] = f[0];
    f[1].pool = pool;
    m.x = f[0].y;
    m.y = room(behind);
    m.index = room((size_t)far);
    f[1].y = room(behind);
    f[1].pool.index = room((size_t)far);
    go(KERN_NORM_APPLY, &f[0]);
    go(KERN_MAXPOOL, &m);
    go(KERN_NORM_APPLY, &f[1]);

    g.dy0 = dy[0];
    g.dy1 = dy[1];
    g.index = m.index;
    g.dx = room(bytes);
    go(KERN_MAXPOOL_GRAD, &g);
    for (i = 0; i < 2; i++) {
        s[i] = (struct kern_norm_grad_sums){.dy0 = i ? dy[0] : g.dx,
                                            .dy1 = i ? dy[1] : NULL,
                                            .x = f[0].x,
                                            .mean = f[0].scale,
                                            .invstd = f[0].scale,
                                            .dz = room(bytes),
                                            .s1 = room(wide),
                                            .s2 = room(wide),
                                            .rows = rows,
                                            .c = c,
                                            .dt = dt,
                                            .pt = DT_F32,
                                            .wide = f[0].wide,
                                            .scale = f[0].scale,
                                            .bias = f[0].bias};
        if (i)
            s[i].pool = f[1].pool;
        go(KERN_NORM_GRAD_SUMS, &s[i]);
    }
    ok(same(m.y, f[1].y, behind) &&
           same(m.index, f[1].pool.index, (size_t)far) &&
           same(s[0].dz, s[1].dz, bytes) && near(s[0].s1, s[1].s1, c, rows) &&
           near(s[0].s2, s[1].s2, c, rows),
       "%s %s: pool %d/%d/%d of a norm%s, %dx%dx%dx%d", engine_name(e),
       dtype_name(dt), v[4], v[5], v[6], tiny ? " in tiny numbers" : "", v[0],
       v[1], v[2], v[3]);
}

static void test_type(enum dtype t)
{
    /* n h w c, window stride pad */
    static const int pools[][7] = {
        {1, 4, 5, 3, 3, 2, 1},    {3, 15, 14, 16, 3, 2, 1},
        {2, 5, 8, 64, 3, 1, 1},   {1, 9, 9, 17, 2, 2, 0},
        {1, 8, 3, 100, 3, 3, 0},  {1, 13, 15, 8, 7, 4, 3},
        {2, 28, 28, 64, 3, 2, 1}, {1, 3, 4, 4104, 3, 2, 1}};
    size_t i;

    if (engine_precision(e, t) < 0) {
        printf("# %s\n", err_text());
        return;
    }
    state = 1;
    dt = t;
    vt = kern_vector(DT_F32, engine_wide_norms(e, t));
    for (i = 0; i < 8; i++)
        test_relu(i & 1 ? 1234 : 33, i & 1 ? 24 : 17, i & 2, i & 4);
    for (i = 0; i < sizeof pools / sizeof pools[0]; i++) {
        test_pool(pools[i], false);
        test_pool(pools[i], true);
    }
}

static void test_engine(const char *name, const char *dir, const char *only)
{
    static const enum dtype all[] = {DT_F32, DT_BF16, DT_F16};
    struct engine_config c = {.device = -1, .threads = 2, .dir = dir};
    size_t i;

    if (engine_open(&e, name, &c) < 0) {
        skip(1, err_text());
        return;
    }
    for (i = 0; i < sizeof all / sizeof all[0]; i++)
        if (!only || strcmp(only, dtype_name(all[i])) == 0)
            test_type(all[i]);
    engine_close(e);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        test_engine(argv[1], argc > 2 ? argv[2] : tap_env("BIN", NULL),
                    argc > 3 ? argv[3] : NULL);
        return done_testing();
    }
    test_engine("ref", NULL, NULL);
    test_engine("cpu", tap_env("BIN", NULL), NULL);
    return done_testing();
}
