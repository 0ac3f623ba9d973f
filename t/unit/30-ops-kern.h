/* Cases of 30-ops.c: the kernels of table.h. A case runs variant v, or says
 * false when there are no more. */

static const int sizes[][2] = {{1, 1},   {3, 3},    {7, 5},
                               {33, 16}, {130, 17}, {20, 64},
                               {9, 100}, {5, 600},  {1100, 3}};

/* Shape v of sizes, with option bits behind; *opt < options. */
static bool shape(struct run *r, int v, int options, int64_t rc[2], int *opt)
{
    *opt = v / COUNT(sizes);
    rc[0] = sizes[v % COUNT(sizes)][0];
    rc[1] = sizes[v % COUNT(sizes)][1];
    snprintf(r->what, sizeof(r->what), "rows %d c %d options %d", (int)rc[0],
             (int)rc[1], *opt);
    return *opt < options;
}

static bool c_image(struct run *r, int v)
{
    struct kern_image a = {0};
    int64_t rc[2];
    int opt, i;

    if (!shape(r, v, 8, rc, &opt))
        return false;
    a.rows = rc[0] * rc[1];
    if (opt > 2 && opt < 7) { /* three pictures, changed as wholes */
        a.h = rc[0];
        a.w = rc[1];
        a.rows *= 3;
        a.mix = opt == 3 || opt == 6 ? 0.25 : 0;
        a.box[1] = (int32_t)a.w / 3;
        a.box[2] = opt == 4 || opt == 6 ? (int32_t)(a.h + 1) / 2 : 0;
        a.box[3] = (int32_t)a.w;
        a.erase = opt > 4 ? rectangles(r, 3, a.h, a.w) : NULL;
    }
    a.c = opt == 2 ? 1 : 3;
    a.cy = opt == 1 || opt == 6 ? 4 : opt == 2 || opt == 7 ? 8 : 3;
    a.dt = r->dt;
    for (i = 0; i < 4; i++) {
        a.mul[i] = r->whole ? (float)(i + 1) : 0.017f + 0.001f * (float)i;
        a.add[i] = r->whole ? (float)-i : -2.1f + 0.2f * (float)i;
    }
    a.x = in_as(r, BYTE, a.rows * a.c, IMAGE, false);
    a.y = out(r, "y", ACT, a.rows * a.cy);
    go(r, KERN_IMAGE, &a);
    return true;
}

static bool c_cast(struct run *r, int v)
{
    struct kern_cast a = {0};
    int64_t rc[2];
    int opt;

    if (!shape(r, v, 2, rc, &opt))
        return false;
    a.n = rc[0] * rc[1];
    a.from = opt ? r->pt : r->dt;
    a.to = opt ? r->dt : r->pt;
    a.x = in(r, opt ? PAR : ACT, a.n);
    a.y = out(r, "y", opt ? ACT : PAR, a.n);
    go(r, KERN_CAST, &a);
    return true;
}

static bool c_add(struct run *r, int v)
{
    struct kern_add a = {.dt = r->dt};
    int64_t rc[2];
    int opt;

    if (!shape(r, v, 3, rc, &opt))
        return false;
    a.n = rc[0] * rc[1];
    a.a = opt == 1 ? inout(r, "y", ACT, a.n) : in(r, ACT, a.n);
    a.b = opt == 2 ? inout(r, "y", ACT, a.n) : in(r, ACT, a.n);
    a.y = opt ? r->out[0].dev : out(r, "y", ACT, a.n);
    go(r, KERN_ADD, &a);
    return true;
}

static bool c_relu(struct run *r, int v)
{
    struct kern_relu a = {.dt = r->dt};
    int64_t rc[2];
    int opt;

    if (!shape(r, v, 2, rc, &opt))
        return false;
    a.n = rc[0] * rc[1];
    a.x = opt ? inout(r, "y", ACT, a.n) : in(r, ACT, a.n);
    a.y = opt ? r->out[0].dev : out(r, "y", ACT, a.n);
    go(r, KERN_RELU, &a);
    return true;
}

static bool c_relu_grad(struct run *r, int v)
{
    struct kern_relu_grad a = {.dt = r->dt};
    int64_t rc[2];
    int opt;

    if (!shape(r, v, 2, rc, &opt))
        return false;
    a.n = rc[0] * rc[1];
    a.y = in(r, ACT, a.n);
    a.dy0 = in(r, ACT, a.n);
    a.dy1 = opt ? in(r, ACT, a.n) : NULL;
    a.dx = out(r, "dx", ACT, a.n);
    go(r, KERN_RELU_GRAD, &a);
    return true;
}

static bool c_colsum(struct run *r, int v)
{
    struct kern_colsum a = {.dt = r->dt, .pt = r->pt};
    int64_t rc[2];
    int opt;

    if (!shape(r, v, 2, rc, &opt))
        return false;
    a.rows = rc[0];
    a.c = rc[1];
    a.accumulate = opt;
    a.x = in(r, ACT, a.rows * a.c);
    a.out = opt ? inout(r, "out", PAR, a.c) : out(r, "out", PAR, a.c);
    go(r, KERN_COLSUM, &a);
    return true;
}

static bool c_norm_stats(struct run *r, int v)
{
    struct kern_norm_stats a = {.dt = r->dt, .pt = r->pt, .wide = r->wide};
    int64_t rc[2];
    int opt;

    if (!shape(r, v, 2, rc, &opt))
        return false;
    a.rows = rc[0];
    a.c = rc[1];
    a.x = in_as(r, ACT, a.rows * a.c, opt ? LARGE_MEAN : NORMAL, false);
    a.mean = out(r, "mean", VEC, a.c);
    a.var = out(r, "var", VEC, a.c);
    go(r, KERN_NORM_STATS, &a);
    return true;
}

static bool c_norm_final(struct run *r, int v)
{
    struct kern_norm_final a = {
        .eps = 1e-5, .momentum = 0.1, .pt = r->pt, .wide = r->wide};
    int64_t rc[2];
    int opt;

    if (!shape(r, v, 4, rc, &opt))
        return false;
    a.rows = rc[0];
    a.c = rc[1];
    if (opt == 3) {
        a.sum = in(r, VEC, a.c);
        a.sumsq = in_as(r, VEC, a.c, LARGE_MEAN, false);
        a.batch_mean = out(r, "mean", VEC, a.c);
    } else {
        a.mean = in(r, opt == 2 ? VEC : PAR, a.c);
        a.var = in_as(r, opt == 2 ? VEC : PAR, a.c, POSITIVE, false);
    }
    a.gamma = in(r, PAR, a.c);
    a.beta = in(r, PAR, a.c);
    a.invstd = opt ? out(r, "invstd", VEC, a.c) : NULL;
    a.scale = out(r, "scale", VEC, a.c);
    a.bias = out(r, "bias", VEC, a.c);
    if (opt >= 2) {
        a.running_mean = inout(r, "running_mean", PAR, a.c);
        a.running_var = inout(r, "running_var", PAR, a.c);
    }
    go(r, KERN_NORM_FINAL, &a);
    return true;
}

static bool c_norm_apply(struct run *r, int v)
{
    struct kern_norm_apply a = {.dt = r->dt, .pt = r->pt, .wide = r->wide};
    int64_t rc[2], n;
    int opt;

    if (!shape(r, v, 10, rc, &opt))
        return false;
    a.rows = rc[0];
    a.c = rc[1];
    n = a.rows * a.c;
    a.relu = opt & 1;
    opt /= 2; /* plain, r, r with its norm, in place of x, in place of r */
    a.x = opt == 3 ? inout(r, "y", ACT, n) : in(r, ACT, n);
    a.scale = in(r, VEC, a.c);
    a.bias = in(r, VEC, a.c);
    if (opt)
        a.r = opt == 4 ? inout(r, "y", ACT, n) : in(r, ACT, n);
    a.rscale = opt == 2 ? in(r, VEC, a.c) : NULL;
    a.rbias = opt == 2 ? in(r, VEC, a.c) : NULL;
    a.y = opt > 2 ? r->out[0].dev : out(r, "y", ACT, n);
    go(r, KERN_NORM_APPLY, &a);
    return true;
}

static bool c_norm_grad_sums(struct run *r, int v)
{
    struct kern_norm_grad_sums a = {.dt = r->dt, .pt = r->pt, .wide = r->wide};
    int64_t rc[2], n;
    int opt;
    bool made;

    if (!shape(r, v, 36, rc, &opt))
        return false;
    a.rows = rc[0];
    a.c = rc[1];
    n = a.rows * a.c;
    made = opt >= 24; /* y is made of x, and rx */
    if (made)
        opt = (opt - 24) / 4 * 8 | (opt & 1) | 2 | (opt & 2) * 2;
    /* dz: none, apart, in place; dy1, y, rx: bits */
    a.dy0 = opt / 8 == 2 ? inout(r, "dz", ACT, n) : in(r, ACT, n);
    a.dz = opt / 8 == 2   ? r->out[0].dev
           : opt / 8 == 1 ? out(r, "dz", ACT, n)
                          : NULL;
    a.dy1 = opt & 1 ? in(r, ACT, n) : NULL;
    a.y = opt & 2 && !made ? in(r, ACT, n) : NULL;
    a.x = in(r, ACT, n);
    a.mean = in(r, VEC, a.c);
    a.invstd = in_as(r, VEC, a.c, POSITIVE, false);
    if (made) {
        a.scale = in(r, VEC, a.c);
        a.bias = in(r, VEC, a.c);
        a.rscale = opt & 4 ? in(r, VEC, a.c) : NULL;
        a.rbias = opt & 4 ? in(r, VEC, a.c) : NULL;
    }
    a.s1 = out(r, "s1", VEC, a.c);
    a.s2 = out(r, "s2", VEC, a.c);
    if (opt & 4) {
        a.rx = in(r, ACT, n);
        a.rmean = in(r, VEC, a.c);
        a.rinvstd = in_as(r, VEC, a.c, POSITIVE, false);
        a.rs2 = out(r, "rs2", VEC, a.c);
    }
    r->loose = true; /* sums of dz or of what is stored of it */
    go(r, KERN_NORM_GRAD_SUMS, &a);
    return true;
}

static bool c_norm_grad_final(struct run *r, int v)
{
    struct kern_norm_grad_final a = {.pt = r->pt, .wide = r->wide};
    int64_t rc[2];
    int opt;

    if (!shape(r, v, 2, rc, &opt))
        return false;
    a.rows = rc[0];
    a.c = rc[1];
    a.s1 = in(r, VEC, a.c);
    a.s2 = in(r, VEC, a.c);
    a.mean = in(r, VEC, a.c);
    a.invstd = in_as(r, VEC, a.c, POSITIVE, false);
    a.gamma = in(r, PAR, a.c);
    a.dgamma = opt ? inout(r, "dgamma", PAR, a.c) : NULL;
    a.dbeta = opt ? inout(r, "dbeta", PAR, a.c) : NULL;
    a.a = out(r, "a", VEC, a.c);
    a.b = out(r, "b", VEC, a.c);
    a.k = out(r, "k", VEC, a.c);
    go(r, KERN_NORM_GRAD_FINAL, &a);
    return true;
}

static bool c_norm_grad_apply(struct run *r, int v)
{
    struct kern_norm_grad_apply a = {.dt = r->dt, .pt = r->pt, .wide = r->wide};
    int64_t rc[2], n;
    int opt;

    if (!shape(r, v, 20, rc, &opt))
        return false;
    a.rows = rc[0];
    a.c = rc[1];
    n = a.rows * a.c;
    if (opt >= 16) { /* y is made of x */
        opt = 4 | (opt & 1) | (opt & 2) * 4;
        a.scale = in(r, VEC, a.c);
        a.bias = in(r, VEC, a.c);
    }
    a.dy0 = opt & 8 ? inout(r, "dx", ACT, n) : in(r, ACT, n);
    a.dy1 = opt & 1 ? in(r, ACT, n) : NULL;
    a.y = opt & 2 ? in(r, ACT, n) : NULL;
    a.a = in(r, VEC, a.c);
    if (opt & 4) {
        a.x = in(r, ACT, n);
        a.b = in(r, VEC, a.c);
        a.k = in(r, VEC, a.c);
    }
    a.dx = opt & 8 ? r->out[0].dev : out(r, "dx", ACT, n);
    go(r, KERN_NORM_GRAD_APPLY, &a);
    return true;
}

/* n h w c r stride pad */
static const int pools[][7] = {
    {1, 1, 1, 1, 1, 1, 0},    {1, 4, 5, 3, 3, 2, 1},   {2, 7, 6, 5, 3, 2, 1},
    {3, 15, 14, 16, 3, 2, 1}, {1, 9, 9, 17, 2, 2, 0},  {2, 5, 8, 64, 3, 1, 1},
    {1, 8, 3, 100, 3, 3, 0},  {1, 13, 15, 3, 7, 4, 3}, {1, 6, 6, 520, 3, 2, 1},
};

static bool pool_shape(struct run *r, int v, int64_t d[4], int win[3],
                       int64_t size[2])
{
    const int *s = pools[v % COUNT(pools)];
    int i;

    if (v >= 2 * COUNT(pools))
        return false;
    for (i = 0; i < 4; i++)
        d[i] = s[i];
    for (i = 0; i < 3; i++)
        win[i] = s[4 + i];
    size[0] = d[0] * d[1] * d[2] * d[3];
    size[1] = d[0] * ((d[1] + 2 * win[2] - win[0]) / win[1] + 1) *
              ((d[2] + 2 * win[2] - win[0]) / win[1] + 1) * d[3];
    snprintf(r->what, sizeof(r->what), "%dx%dx%dx%d window %d/%d/%d option %d",
             s[0], s[1], s[2], s[3], s[4], s[5], s[6], v / COUNT(pools));
    return true;
}

static bool c_maxpool(struct run *r, int v)
{
    struct kern_maxpool a = {.dt = r->dt};
    int64_t d[4], size[2];
    int win[3];

    if (!pool_shape(r, v, d, win, size))
        return false;
    a.n = d[0], a.h = d[1], a.w = d[2], a.c = d[3];
    a.r = win[0], a.stride = win[1], a.pad = win[2];
    a.x = in(r, ACT, size[0]);
    a.y = out(r, "y", ACT, size[1]);
    a.index = v < COUNT(pools) ? out(r, "index", BYTE, size[1]) : NULL;
    go(r, KERN_MAXPOOL, &a);
    return true;
}

static bool c_maxpool_grad(struct run *r, int v)
{
    struct kern_maxpool_grad a = {.dt = r->dt};
    struct kern_maxpool f = {.dt = r->dt};
    int64_t d[4], size[2];
    int win[3];

    if (!pool_shape(r, v, d, win, size))
        return false;
    a.n = f.n = d[0], a.h = f.h = d[1], a.w = f.w = d[2], a.c = f.c = d[3];
    a.r = f.r = win[0], a.stride = f.stride = win[1], a.pad = f.pad = win[2];
    f.x = in(r, ACT, size[0]);
    f.y = out(r, "y", ACT, size[1]);
    a.index = f.index = out(r, "index", BYTE, size[1]);
    go(r, KERN_MAXPOOL, &f);
    a.dy0 = in(r, ACT, size[1]);
    a.dy1 = v < COUNT(pools) ? NULL : in(r, ACT, size[1]);
    a.dx = out(r, "dx", ACT, size[0]);
    go(r, KERN_MAXPOOL_GRAD, &a);
    return true;
}

static struct kern_pool pool_of(const int64_t d[4], const int win[3])
{
    struct kern_pool p = {.n = d[0], .h = d[1], .w = d[2]};

    p.r = win[0], p.stride = win[1], p.pad = win[2];
    return p;
}

/* A norm and the pool behind it. Which of nearly equal numbers is largest depends on
 * how they are rounded: whole ones alone have an index to compare. */
static bool c_norm_pool(struct run *r, int v)
{
    struct kern_norm_apply a = {.dt = r->dt, .pt = r->pt, .wide = r->wide};
    int64_t d[4], size[2];
    int win[3];

    if (!pool_shape(r, v, d, win, size))
        return false;
    a.pool = pool_of(d, win);
    a.rows = size[0] / d[3];
    a.c = d[3];
    a.relu = v < COUNT(pools);
    a.x = in(r, ACT, size[0]);
    a.scale = in(r, VEC, a.c);
    a.bias = in(r, VEC, a.c);
    a.y = out(r, "y", ACT, size[1]);
    a.pool.index = r->whole ? out(r, "index", BYTE, size[1]) : NULL;
    go(r, KERN_NORM_APPLY, &a);
    return true;
}

static bool c_norm_pool_grad(struct run *r, int v)
{
    struct kern_norm_grad_sums a = {.dt = r->dt, .pt = r->pt, .wide = r->wide};
    struct kern_maxpool f = {.dt = r->dt};
    int64_t d[4], size[2];
    int win[3];

    if (!pool_shape(r, v, d, win, size))
        return false;
    f.n = d[0], f.h = d[1], f.w = d[2], f.c = d[3];
    f.r = win[0], f.stride = win[1], f.pad = win[2];
    f.x = a.x = in(r, ACT, size[0]);
    f.y = out(r, "y", ACT, size[1]);
    a.pool = pool_of(d, win);
    a.pool.index = f.index = out(r, "index", BYTE, size[1]);
    go(r, KERN_MAXPOOL, &f);
    a.rows = size[0] / d[3];
    a.c = d[3];
    a.dy0 = in(r, ACT, size[1]);
    a.dy1 = v < COUNT(pools) ? NULL : in(r, ACT, size[1]);
    a.mean = in(r, VEC, a.c);
    a.invstd = in_as(r, VEC, a.c, POSITIVE, false);
    a.scale = in(r, VEC, a.c);
    a.bias = in(r, VEC, a.c);
    a.dz = out(r, "dz", ACT, size[0]);
    a.s1 = out(r, "s1", VEC, a.c);
    a.s2 = out(r, "s2", VEC, a.c);
    r->loose = true;
    go(r, KERN_NORM_GRAD_SUMS, &a);
    return true;
}

static bool c_avgpool(struct run *r, int v)
{
    struct kern_avgpool a = {.dt = r->dt};
    int64_t rc[2];
    int opt;

    if (!shape(r, v, 2, rc, &opt))
        return false;
    a.n = opt ? 3 : 1;
    a.hw = rc[0];
    a.c = rc[1];
    a.x = in(r, ACT, a.n * a.hw * a.c);
    a.y = out(r, "y", ACT, a.n * a.c);
    go(r, KERN_AVGPOOL, &a);
    return true;
}

static bool c_avgpool_grad(struct run *r, int v)
{
    struct kern_avgpool_grad a = {.dt = r->dt};
    int64_t rc[2];
    int opt;

    if (!shape(r, v, 2, rc, &opt))
        return false;
    a.n = 2;
    a.hw = rc[0];
    a.c = rc[1];
    a.dy0 = in(r, ACT, a.n * a.c);
    a.dy1 = opt ? in(r, ACT, a.n * a.c) : NULL;
    a.dx = out(r, "dx", ACT, a.n * a.hw * a.c);
    go(r, KERN_AVGPOOL_GRAD, &a);
    return true;
}

static bool c_softmax_ce(struct run *r, int v)
{
    struct kern_softmax_ce a = {.dt = r->dt, .gscale = 0.25};
    int64_t rc[2];
    int opt;

    if (!shape(r, v, 16, rc, &opt))
        return false;
    a.n = rc[0];
    a.k = rc[1];
    a.scale = opt & 8 ? numbers(r, (double[]){8}, 1) : NULL;
    a.smoothing = opt & 1 ? 0.1 : 0;
    a.logits = in(r, ACT, a.n * a.k);
    a.label = labels(r, a.n, a.k);
    a.label2 = opt & 4 ? labels(r, a.n, a.k) : NULL;
    a.mix = opt & 4 ? 0.375 : 0;
    a.dlogits = opt & 2 ? out(r, "dlogits", ACT, a.n * a.k) : NULL;
    a.stats = inout(r, "stats", STAT, 4);
    go(r, KERN_SOFTMAX_CE, &a);
    return true;
}

static bool c_grad_check(struct run *r, int v)
{
    struct kern_grad_check a = {.pt = r->pt};
    int64_t rc[2];
    int opt;

    if (!shape(r, v, 1, rc, &opt))
        return false;
    a.n = rc[0] * rc[1] * rc[0];
    a.g = in(r, PAR, a.n);
    a.stats = inout(r, "stats", STAT, 3);
    go(r, KERN_GRAD_CHECK, &a);
    return true;
}

static const struct kern_state *state(struct run *r, double lr, double gmul,
                                      bool update)
{
    struct kern_state s = {.lr = lr, .gmul = gmul, .update = update};

    return numbers(r, (double *)&s, sizeof s / sizeof(double));
}

static bool c_sgd(struct run *r, int v)
{
    struct kern_sgd a = {.lr = 0.1, .mu = 0.9, .wd = 1e-4, .gmul = 0.5};
    int64_t rc[2];
    int opt;

    if (!shape(r, v, 16, rc, &opt))
        return false;
    if (r->whole)
        a.lr = 2, a.mu = 3, a.wd = 1, a.gmul = 2;
    a.eta = a.gmul + a.wd * 2 + 1e-8; /* for a factor of 2 */
    a.state = opt & 4 ? state(r, a.lr, a.gmul, opt & 1) : NULL;
    if (a.state)
        a.lr = a.gmul = (double)NAN; /* not looked at */
    a.norms = opt & 8 ? numbers(r, (double[]){4, 0, 0, 1, 0, 0}, 6) : NULL;
    a.pt = r->pt;
    a.n = rc[0] * rc[1];
    a.first = opt & 1;
    a.nesterov = opt & 2;
    a.w = inout(r, "w", PAR, a.n);
    a.m = inout(r, "m", PAR, a.n);
    a.g = in(r, PAR, a.n);
    go(r, KERN_SGD, &a);
    return true;
}

static bool c_ema(struct run *r, int v)
{
    struct kern_ema a = {.decay = r->whole ? 3 : 0.9990234375};
    int64_t rc[2];
    int opt;

    if (!shape(r, v, 1, rc, &opt))
        return false;
    a.pt = r->pt;
    a.n = rc[0] * rc[1];
    a.avg = inout(r, "avg", PAR, a.n);
    a.w = in(r, PAR, a.n);
    go(r, KERN_EMA, &a);
    return true;
}
