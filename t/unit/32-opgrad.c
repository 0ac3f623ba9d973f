/*
 * Gradients against finite differences, in double precision on ref.
 *
 * A net is a small chain of calls: from its inputs to one number (a weighted sum
 * of its result, or a loss), and back to the gradients of its inputs. Each
 * element of each input is moved by +-STEP; what the number does must be what the
 * gradient says.
 */
#include "lib/tap.h"

#include "engine/engine.h"
#include "util/rng.h"

#define STEP 1e-5
#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

static struct engine *e;
static struct rng g;
static void *mem[64];
static int n_mem;

static void *room(int64_t bytes)
{
    if (engine_alloc(e, (size_t)bytes, &mem[n_mem]) < 0 ||
        engine_fill(e, mem[n_mem], 0, (size_t)bytes) < 0)
        die();
    return mem[n_mem++];
}

static double *zeros(int64_t n)
{
    return room(n * (int64_t)sizeof(double));
}

static double *noise(int64_t n)
{
    double *p = zeros(n);
    int64_t i;

    for (i = 0; i < n; i++)
        p[i] = rng_normal(&g);
    return p;
}

static double dot(const double *a, const double *b, int64_t n)
{
    double s = 0;
    int64_t i;

    for (i = 0; i < n; i++)
        s += a[i] * b[i];
    return s;
}

static void go(enum kernel k, const void *args)
{
    if (engine_run(e, k, args) < 0)
        die();
}

struct input {
    const char *name;
    double *x, *dx;
    int64_t n;
};

struct net {
    double (*forward)(void *arg);
    void (*backward)(void *arg);
    void *arg;
    struct input in[6];
    int n_in;
};

static void input(struct net *t, const char *name, double *x, double *dx,
                  int64_t n)
{
    t->in[t->n_in++] = (struct input){name, x, dx, n};
}

static void check(struct net *t, const char *name)
{
    int i, bad = 0;
    double worst = 0;
    int64_t j;

    t->forward(t->arg);
    t->backward(t->arg);
    for (i = 0; i < t->n_in; i++) {
        for (j = 0; j < t->in[i].n; j++) {
            double *x = &t->in[i].x[j], x0 = *x, up, want, err;

            *x = x0 + STEP;
            up = t->forward(t->arg);
            *x = x0 - STEP;
            want = (up - t->forward(t->arg)) / (2 * STEP);
            *x = x0;
            err = fabs(t->in[i].dx[j] - want) / (1 + fabs(want));
            worst = err > worst || err != err ? err : worst;
            if (!(err < 1e-7) && bad++ < 3)
                printf("# %s d%s[%d]: %.12g, differences %.12g\n", name,
                       t->in[i].name, (int)j, t->in[i].dx[j], want);
        }
    }
    ok(bad == 0, "gradient of %s, worst error %.2g", name, worst);
    while (n_mem > 0)
        engine_free(e, mem[--n_mem]);
}

/* ---- convolution, with relu and bias: dgrad with EPI_DACT, wgrad, colsum */

struct conv_net {
    struct conv_desc d;
    struct conv_args a;
    struct conv_plan *plan[3];
    double *x, *w, *bias, *y, *seed, *dx, *dw, *db, *dy, *above, *dabove;
    int64_t nx, ny;
};

static double conv_forward(void *arg)
{
    struct conv_net *t = arg;
    struct kern_relu relu = {t->above, t->x, t->nx, DT_F64};
    struct conv_args a = {.x = t->x, .w = t->w, .out = t->y};

    go(KERN_RELU, &relu);
    a.bias = t->bias;
    a.scratch = t->a.scratch;
    if (engine_conv_run(e, t->plan[0], &a) < 0)
        die();
    return dot(t->y, t->seed, t->ny);
}

static void conv_backward(void *arg)
{
    struct conv_net *t = arg;
    struct kern_relu_grad rg = {t->y, t->seed, NULL, t->dy, t->ny, DT_F64};
    struct kern_colsum sum = {t->dy,  t->db,  t->ny / t->d.k, t->d.k,
                              DT_F64, DT_F64, false};
    struct conv_args a = {.dy = t->dy, .scratch = t->a.scratch};

    go(KERN_RELU_GRAD, &rg);
    go(KERN_COLSUM, &sum);
    a.x = t->x;
    a.out = t->dw;
    if (engine_conv_run(e, t->plan[2], &a) < 0)
        die();
    a.x = NULL;
    a.w = t->w;
    a.y = t->x; /* the relu above */
    a.out = t->dabove;
    if (engine_conv_run(e, t->plan[1], &a) < 0)
        die();
}

static void conv_case(const int s[8])
{
    static const enum conv_epi epi[3] = {EPI_BIAS, EPI_DACT, EPI_NONE};
    struct conv_net t = {0};
    struct net n = {conv_forward, conv_backward, &t, {{0}}, 0};
    size_t scratch = 0;
    int64_t nw;
    char name[80];
    int i;

    t.d = (struct conv_desc){.dtype = DT_F64, .out = DT_F64, .param = DT_F64};
    t.d.n = s[0], t.d.h = s[1], t.d.w = s[2], t.d.c = s[3], t.d.k = s[4];
    t.d.r = t.d.s = s[5];
    t.d.stride = s[6], t.d.pad = s[7];
    for (i = 0; i < 3; i++) {
        struct conv_desc d = t.d;
        struct conv_needs needs;

        d.kind = (enum conv_kind)i;
        d.epi = epi[i];
        d.relu = i == 0;
        if (engine_conv_plan(e, &d, &t.plan[i], &needs) < 0)
            die();
        if (needs.scratch_bytes > scratch)
            scratch = needs.scratch_bytes;
    }
    t.a.scratch = room((int64_t)scratch);
    t.nx = t.d.n * t.d.h * t.d.w * t.d.c;
    t.ny = t.d.n * conv_p(&t.d) * conv_q(&t.d) * t.d.k;
    nw = t.d.k * t.d.r * t.d.s * t.d.c;
    t.above = noise(t.nx), t.dabove = zeros(t.nx), t.x = zeros(t.nx);
    t.w = noise(nw), t.dw = zeros(nw);
    t.bias = noise(t.d.k), t.db = zeros(t.d.k);
    t.y = zeros(t.ny), t.dy = zeros(t.ny), t.seed = noise(t.ny);
    input(&n, "x", t.above, t.dabove, t.nx);
    input(&n, "w", t.w, t.dw, nw);
    input(&n, "bias", t.bias, t.db, t.d.k);
    snprintf(name, sizeof(name),
             "relu, %s, relu: %dx%dx%dx%d to %d window %d/%d/%d",
             s[1] == 1 ? "linear" : "conv", s[0], s[1], s[2], s[3], s[4], s[5],
             s[6], s[7]);
    check(&n, name);
    for (i = 0; i < 3; i++)
        engine_conv_free(e, t.plan[i]);
}

/* ---- batch norm of two branches, added, relu */

struct norm_net {
    int64_t rows, c;
    int branches;
    bool relu, made; /* its mask: of y as it is, or as it is made */
    double *x[2], *dx[2], *gamma[2], *dgamma[2], *beta[2], *dbeta[2];
    double *mean[2], *var[2], *invstd[2], *scale[2], *bias[2];
    double *y, *seed, *dz, *s1, *s2[2], *a, *b, *k;
};

static double norm_forward(void *arg)
{
    struct norm_net *t = arg;
    struct kern_norm_apply apply = {0};
    int i;

    for (i = 0; i < t->branches; i++) {
        struct kern_norm_stats st = {t->x[i], t->mean[i], t->var[i], t->rows,
                                     t->c,    DT_F64,     DT_F64,    false};
        struct kern_norm_final f = {0};

        go(KERN_NORM_STATS, &st);
        f.mean = t->mean[i], f.var = t->var[i];
        f.gamma = t->gamma[i], f.beta = t->beta[i];
        f.invstd = t->invstd[i], f.scale = t->scale[i], f.bias = t->bias[i];
        f.rows = t->rows, f.c = t->c;
        f.eps = 1e-5;
        f.pt = DT_F64;
        go(KERN_NORM_FINAL, &f);
    }
    apply.x = t->x[0], apply.scale = t->scale[0], apply.bias = t->bias[0];
    apply.r = t->x[1], apply.rscale = t->scale[1], apply.rbias = t->bias[1];
    apply.y = t->y;
    apply.rows = t->rows, apply.c = t->c;
    apply.relu = t->relu;
    apply.dt = apply.pt = DT_F64;
    go(KERN_NORM_APPLY, &apply);
    return dot(t->y, t->seed, t->rows * t->c);
}

static void norm_backward(void *arg)
{
    struct norm_net *t = arg;
    struct kern_norm_grad_sums s = {0};
    int i;

    s.dy0 = t->seed;
    s.y = t->relu && !t->made ? t->y : NULL;
    if (t->relu && t->made) {
        s.scale = t->scale[0], s.bias = t->bias[0];
        s.rscale = t->scale[1], s.rbias = t->bias[1];
    }
    s.x = t->x[0], s.mean = t->mean[0], s.invstd = t->invstd[0];
    s.rx = t->x[1], s.rmean = t->mean[1], s.rinvstd = t->invstd[1];
    s.dz = t->dz, s.s1 = t->s1, s.s2 = t->s2[0], s.rs2 = t->s2[1];
    s.rows = t->rows, s.c = t->c;
    s.dt = s.pt = DT_F64;
    go(KERN_NORM_GRAD_SUMS, &s);
    for (i = 0; i < t->branches; i++) {
        struct kern_norm_grad_final f = {0};
        struct kern_norm_grad_apply a = {0};

        f.s1 = t->s1, f.s2 = t->s2[i], f.mean = t->mean[i];
        f.invstd = t->invstd[i], f.gamma = t->gamma[i];
        f.dgamma = t->dgamma[i], f.dbeta = t->dbeta[i];
        f.a = t->a, f.b = t->b, f.k = t->k;
        f.rows = t->rows, f.c = t->c;
        f.pt = DT_F64;
        go(KERN_NORM_GRAD_FINAL, &f);
        a.dy0 = t->dz, a.x = t->x[i], a.a = t->a, a.b = t->b, a.k = t->k;
        a.dx = t->dx[i];
        a.rows = t->rows, a.c = t->c;
        a.dt = a.pt = DT_F64;
        go(KERN_NORM_GRAD_APPLY, &a);
    }
}

static void norm_case(int rows, int c, int branches, bool relu, bool made)
{
    struct norm_net t = {.rows = rows, .c = c, .branches = branches};
    struct net n = {norm_forward, norm_backward, &t, {{0}}, 0};
    int64_t size = (int64_t)rows * c;
    char name[80];
    int i;

    t.relu = relu;
    t.made = made;
    for (i = 0; i < branches; i++) {
        t.x[i] = noise(size), t.dx[i] = zeros(size);
        t.gamma[i] = noise(c), t.dgamma[i] = zeros(c);
        t.beta[i] = noise(c), t.dbeta[i] = zeros(c);
        t.mean[i] = zeros(c), t.var[i] = zeros(c), t.invstd[i] = zeros(c);
        t.scale[i] = zeros(c), t.bias[i] = zeros(c), t.s2[i] = zeros(c);
        input(&n, i ? "r" : "x", t.x[i], t.dx[i], size);
        input(&n, "gamma", t.gamma[i], t.dgamma[i], c);
        input(&n, "beta", t.beta[i], t.dbeta[i], c);
    }
    t.y = zeros(size), t.seed = noise(size), t.dz = zeros(size);
    t.s1 = zeros(c), t.a = zeros(c), t.b = zeros(c), t.k = zeros(c);
    snprintf(name, sizeof(name), "%d batch norm of %d rows, %d channels%s%s",
             branches, rows, c, relu ? ", relu" : "",
             made ? " made again" : "");
    check(&n, name);
}

/* ---- the end of a net: max pool, mean, softmax cross-entropy */

struct tail_net {
    struct kern_maxpool pool;
    struct kern_maxpool_grad pool_grad;
    struct kern_avgpool mean;
    struct kern_avgpool_grad mean_grad;
    struct kern_softmax_ce ce;
};

static double tail_forward(void *arg)
{
    struct tail_net *t = arg;

    go(KERN_MAXPOOL, &t->pool);
    go(KERN_AVGPOOL, &t->mean);
    t->ce.stats[0] = 0;
    go(KERN_SOFTMAX_CE, &t->ce);
    return t->ce.stats[0] * t->ce.gscale;
}

static void tail_backward(void *arg)
{
    struct tail_net *t = arg;

    go(KERN_AVGPOOL_GRAD, &t->mean_grad);
    go(KERN_MAXPOOL_GRAD, &t->pool_grad);
}

static void tail_case(const int s[7], double smoothing, double mix)
{
    int64_t n = s[0], h = s[1], w = s[2], c = s[3], p, q, i;
    int r = s[4], stride = s[5], pad = s[6];
    struct tail_net t = {0};
    struct net net = {tail_forward, tail_backward, &t, {{0}}, 0};
    double *x = noise(n * h * w * c), *dx = zeros(n * h * w * c), *y, *dy;
    uint8_t *index;
    int64_t *label = room(2 * n * (int64_t)sizeof(*label));
    char name[80];

    p = (h + 2 * pad - r) / stride + 1;
    q = (w + 2 * pad - r) / stride + 1;
    y = zeros(n * p * q * c);
    dy = zeros(n * p * q * c);
    index = room(n * p * q * c);
    for (i = 0; i < n; i++) {
        label[i] = i == 1 ? -1 : i % c;
        label[i + n] = (i * 3 + 1) % c;
    }
    t.pool =
        (struct kern_maxpool){x, y, index, n, h, w, c, r, stride, pad, DT_F64};
    t.mean = (struct kern_avgpool){y, zeros(n * c), n, p * q, c, DT_F64};
    t.ce = (struct kern_softmax_ce){
        t.mean.y,  label, zeros(n * c), zeros(4), n, c,
        smoothing, 0.5,   DT_F64,       NULL,     0, NULL};
    if (mix > 0) {
        t.ce.label2 = label + n;
        t.ce.mix = mix;
    }
    t.mean_grad =
        (struct kern_avgpool_grad){t.ce.dlogits, NULL, dy, n, p * q, c, DT_F64};
    t.pool_grad = (struct kern_maxpool_grad){dy, NULL, index,  dx,  n,     h, w,
                                             c,  r,    stride, pad, DT_F64};
    input(&net, "x", x, dx, n * h * w * c);
    snprintf(name, sizeof(name),
             "max pool %d/%d/%d of %dx%d, mean, cross-entropy of %d, %g, %g", r,
             stride, pad, s[1], s[2], s[3], smoothing, mix);
    check(&net, name);
}

/* ---- fused backward: dgrad, relu of norms, their sums */

struct fused_net {
    struct conv_desc d;
    struct conv_args a;
    struct conv_plan *plan;
    int norms;
    double *w, *y, *add; /* add: gradient that arrives by another way */
    double *gamma[2], *beta[2], *dgamma[2], *dbeta[2], *x[2];
    double *mean[2], *invstd[2];
    int64_t size;
};

/* <dgrad(seed) + add, relu(sum of norms)> as a function of gamma and beta. */
static double fused_forward(void *arg)
{
    struct fused_net *t = arg;
    int64_t i, c = t->d.c;
    double s = 0, v;
    int b;

    for (i = 0; i < t->size; i++) {
        for (v = 0, b = 0; b < t->norms; b++)
            v += (t->x[b][i] - t->mean[b][i % c]) * t->invstd[b][i % c] *
                     t->gamma[b][i % c] +
                 t->beta[b][i % c];
        s += v > 0 ? v * t->y[i] : 0;
    }
    return s;
}

static void fused_backward(void *arg)
{
    struct fused_net *t = arg;

    if (engine_conv_run(e, t->plan, &t->a) < 0)
        die();
}

static void fused_case(int norms)
{
    struct fused_net t = {.norms = norms};
    struct net n = {fused_forward, fused_backward, &t, {{0}}, 0};
    struct conv_needs needs;
    struct conv_plan *plain;
    int64_t c = 5;
    int i;

    t.d = (struct conv_desc){.kind = CONV_DGRAD,
                             .epi = EPI_ADD,
                             .n = 2,
                             .h = 4,
                             .w = 3,
                             .c = c,
                             .k = 3,
                             .r = 3,
                             .s = 3,
                             .stride = 2,
                             .pad = 1,
                             .dtype = DT_F64,
                             .out = DT_F64,
                             .param = DT_F64};
    t.size = t.d.n * t.d.h * t.d.w * c;
    if (engine_conv_plan(e, &t.d, &plain, &needs) < 0)
        die();
    t.d.epi = norms == 2 ? EPI_BNSUMS2 : EPI_BNSUMS1;
    t.d.add = true;
    if (engine_conv_plan(e, &t.d, &t.plan, &needs) < 0)
        die();
    t.y = zeros(t.size);
    t.a.w = noise(t.d.k * 9 * c);
    t.a.dy = noise(2 * 2 * 2 * t.d.k);
    t.a.add = noise(t.size);
    t.a.out = t.y;
    t.a.scratch = room((int64_t)needs.scratch_bytes);
    if (engine_conv_run(e, plain, &t.a) < 0)
        die();
    t.a.out = zeros(t.size);
    for (i = 0; i < norms; i++) {
        t.a.bn[i].x = t.x[i] = noise(t.size);
        t.a.bn[i].mean = t.mean[i] = noise(c);
        t.a.bn[i].invstd = t.invstd[i] = noise(c);
        t.a.bn[i].gamma = t.gamma[i] = noise(c);
        t.a.bn[i].beta = t.beta[i] = noise(c);
        t.a.bn[i].dgamma = t.dgamma[i] = zeros(c);
        t.a.bn[i].dbeta = t.dbeta[i] = zeros(c);
        input(&n, "gamma", t.gamma[i], t.dgamma[i], c);
        input(&n, "beta", t.beta[i], t.dbeta[i], c);
    }
    check(&n, norms == 2 ? "two norms inside dgrad" : "a norm inside dgrad");
    engine_conv_free(e, plain);
    engine_conv_free(e, t.plan);
}

int main(void)
{
    static const int convs[][8] = {
        {2, 5, 4, 3, 4, 3, 1, 1}, {1, 7, 7, 2, 5, 3, 2, 1},
        {1, 9, 8, 3, 2, 7, 2, 3}, {2, 4, 5, 4, 3, 1, 2, 0},
        {3, 1, 1, 9, 7, 1, 1, 0}, {1, 4, 3, 1, 1, 3, 1, 2},
    };
    static const int pools[][7] = {
        {3, 7, 6, 6, 3, 2, 1}, {2, 4, 4, 3, 2, 2, 0}, {1, 5, 6, 2, 3, 1, 1}};
    int i;

    if (engine_open(&e, "ref", NULL) < 0)
        die();
    rng_init(&g, 5, 0, 0, RNG_SYNTH);
    for (i = 0; i < COUNT(convs); i++)
        conv_case(convs[i]);
    norm_case(12, 3, 1, false, false);
    norm_case(12, 3, 1, true, false);
    norm_case(12, 3, 1, true, true);
    norm_case(9, 5, 2, true, false);
    norm_case(9, 5, 2, true, true);
    norm_case(2, 1, 1, true, true);
    for (i = 0; i < COUNT(pools); i++) {
        tail_case(pools[i], 0, 0);
        tail_case(pools[i], 0.1, 0);
        tail_case(pools[i], 0.1, 0.3);
        tail_case(pools[i], 1, 0.3);
    }
    fused_case(1);
    fused_case(2);
    engine_close(e);
    return done_testing();
}
