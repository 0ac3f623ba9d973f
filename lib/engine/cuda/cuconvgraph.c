#include "engine/cuda/cuconv.h"

#include "engine/kern/index.h"

#define WIDTH 8 /* channels are a multiple of it in fused forms */
/* Workspace of a plan: as a rule; of one that is there to save it. */
#define WORKSPACE ((size_t)256 << 20)
#define WORKSPACE_PADDED ((size_t)32 << 20)

typedef cudnnBackendDescriptor_t desc;

bool cuconv_fused(const struct conv_desc *d)
{
    return d->pro != PRO_NONE || d->epi != EPI_NONE;
}

/* Level C: of which the library's engines for one pass are in fp16 only. */
static bool has_fused(const struct conv_desc *d)
{
    if (d->dtype != DT_F16 || d->c % WIDTH || d->k % WIDTH ||
        d->pro == PRO_SBAR)
        return false;
    if (d->kind == CONV_FORWARD) /* without sums Hopper's are to be compiled */
        return d->epi == EPI_STATS;
    if (d->kind == CONV_DGRAD)
        return conv_norms(d) > 0;
    return d->epi == EPI_NONE;
}

bool cuconv_has(const struct conv_desc *d)
{
    if (d->param != DT_F32 || d->dtype == DT_F64 ||
        d->out != (d->kind == CONV_WGRAD ? DT_F32 : d->dtype))
        return false;
    if (cuconv_padded(d))
        return !cuconv_fused(d) && d->dtype != DT_F32 &&
               (d->pitch == WIDTH / 2 || d->pitch == WIDTH);
    return !cuconv_fused(d) || has_fused(d);
}

struct cuplan_want cuconv_want(const struct conv_desc *d, size_t memory)
{
    struct cuplan_want w = {.workspace = WORKSPACE, .limit = memory / 4};

    if (cuconv_padded(d)) {
        w.matrix = true;
        w.workspace = WORKSPACE_PADDED;
        w.limit = 0;
    } else if (cuconv_fused(d)) { /* some engines for one pass take much */
        w.limit = 0;
        if (memory / 64 > WORKSPACE)
            w.workspace = memory / 64;
    }
    return w;
}

enum dtype cuconv_wgrad_type(const struct conv_desc *d)
{
    return d->dtype; /* cuDNN has no other for halves */
}

/* What the parts of a graph are drawn with. */
struct drawing {
    struct cugraph *g;
    const struct conv_desc *d;
    int64_t x[4], w[4], y[4], c[4], k[4]; /* shapes; vectors of channels */
};

static desc vector(const struct drawing *p, int64_t uid, enum dtype t)
{
    return cugraph_tensor(p->g, uid, t, p->c);
}

/* relu(x scale + bias). Vectors and what is between are in the dtype of x: with
 * fp32 the engines for Hopper are gone (gpu-engine 2.4, rule 1). */
static desc prologue(const struct drawing *p, desc x)
{
    enum dtype t = p->d->dtype;
    desc a, b, z;

    if (p->d->pro == PRO_NONE)
        return x;
    a = cugraph_virtual(p->g, t, p->x);
    b = cugraph_virtual(p->g, t, p->x);
    z = cugraph_virtual(p->g, t, p->x);
    cugraph_pointwise(p->g, CUDNN_POINTWISE_MUL, x, vector(p, CUCONV_SCALE, t),
                      a);
    cugraph_pointwise(p->g, CUDNN_POINTWISE_ADD, a, vector(p, CUCONV_BIAS, t),
                      b);
    cugraph_pointwise(p->g, CUDNN_POINTWISE_RELU_FWD, b, NULL, z);
    return z;
}

static void draw_forward(const struct drawing *p)
{
    const struct conv_desc *d = p->d;
    desc x = cugraph_tensor(p->g, CUCONV_X, d->dtype, p->x);
    desc w = cugraph_tensor(p->g, CUCONV_W, d->dtype, p->w);
    desc y = cugraph_tensor(p->g, CUCONV_Y, d->dtype, p->y);

    cugraph_conv(p->g, CONV_FORWARD, d->stride, d->pad, prologue(p, x), w, y);
    if (d->epi == EPI_STATS)
        cugraph_stats(p->g, y, cugraph_tensor(p->g, CUCONV_SUM, DT_F32, p->k),
                      cugraph_tensor(p->g, CUCONV_SUMSQ, DT_F32, p->k));
}

static void draw_wgrad(const struct drawing *p)
{
    const struct conv_desc *d = p->d;
    desc x = cugraph_tensor(p->g, CUCONV_X, d->dtype, p->x);
    desc w = cugraph_tensor(p->g, CUCONV_W, d->dtype, p->w);
    desc y = cugraph_tensor(p->g, CUCONV_Y, d->dtype, p->y);

    cugraph_conv(p->g, CONV_WGRAD, d->stride, d->pad, prologue(p, x), w, y);
}

/* The norm's result again, ((x - mean) invstd) gamma + beta in fp32: no engine
 * takes it in another form (gpu-engine 2.4, rule 1). */
static desc norm_again(const struct drawing *p, int which,
                       struct cugraph_norm *n)
{
    int uid = CUCONV_NORM + which * NORM_N, i;
    desc v[4];

    n->x = cugraph_tensor(p->g, uid + NORM_X, p->d->dtype, p->x);
    n->mean = vector(p, uid + NORM_MEAN, DT_F32);
    n->invstd = vector(p, uid + NORM_INVSTD, DT_F32);
    n->gamma = vector(p, uid + NORM_GAMMA, DT_F32);
    n->dgamma = vector(p, uid + NORM_DGAMMA, DT_F32);
    n->dbeta = vector(p, uid + NORM_DBETA, DT_F32);
    for (i = 0; i < 3; i++)
        n->rest[i] = vector(p, uid + NORM_REST + i, DT_F32);
    for (i = 0; i < 4; i++)
        v[i] = cugraph_virtual(p->g, DT_F32, p->x);
    cugraph_pointwise(p->g, CUDNN_POINTWISE_SUB, n->x, n->mean, v[0]);
    cugraph_pointwise(p->g, CUDNN_POINTWISE_MUL, v[0], n->invstd, v[1]);
    cugraph_pointwise(p->g, CUDNN_POINTWISE_MUL, v[1], n->gamma, v[2]);
    cugraph_pointwise(p->g, CUDNN_POINTWISE_ADD, v[2],
                      vector(p, uid + NORM_BETA, DT_F32), v[3]);
    return v[3];
}

/* y = u + v, to a new virtual tensor. */
static desc sum(const struct drawing *p, enum dtype t, desc u, desc v)
{
    desc y = cugraph_virtual(p->g, t, p->x);

    cugraph_pointwise(p->g, CUDNN_POINTWISE_ADD, u, v, y);
    return y;
}

static void draw_dgrad(const struct drawing *p)
{
    const struct conv_desc *d = p->d;
    int norms = conv_norms(d);
    desc w = cugraph_tensor(p->g, CUCONV_W, d->dtype, p->w);
    desc dy = cugraph_tensor(p->g, CUCONV_Y, d->dtype, p->y);
    desc dx = cugraph_tensor(p->g, CUCONV_X, d->dtype, p->x), v = dx, y;
    struct cugraph_norm n[2];
    int i;

    if (norms)
        v = cugraph_virtual(p->g, d->dtype, p->x);
    cugraph_conv(p->g, CONV_DGRAD, d->stride, d->pad, v, w, dy);
    if (!norms)
        return;
    if (d->add)
        v = sum(p, d->dtype, v,
                cugraph_tensor(p->g, CUCONV_ADD, d->dtype, p->x));
    y = norm_again(p, 0, &n[0]);
    if (norms == 2)
        y = sum(p, DT_F32, y, norm_again(p, 1, &n[1]));
    if (d->residual)
        y = sum(p, DT_F32, y,
                cugraph_tensor(p->g, CUCONV_RESIDUAL, d->dtype, p->x));
    cugraph_relu_grad(p->g, v, y, dx);
    for (i = 0; i < norms; i++) {
        n[i].dy = dx;
        cugraph_norm_sums(p->g, &n[i]);
    }
}

static void draw(const struct cudnn *lib, const struct conv_desc *d,
                 struct cugraph *g)
{
    struct drawing p = {
        .g = g,
        .d = d,
        .x = {d->n, d->h, d->w, conv_pitch(d)},
        .w = {d->k, d->r, d->s, conv_pitch(d)},
        .y = {d->n, kern_out_size(d->h, d->r, d->stride, d->pad),
              kern_out_size(d->w, d->s, d->stride, d->pad), d->k},
        .c = {1, 1, 1, d->c},
        .k = {1, 1, 1, d->k}};

    cugraph_init(g, lib);
    if (d->kind == CONV_FORWARD)
        draw_forward(&p);
    else if (d->kind == CONV_WGRAD)
        draw_wgrad(&p);
    else
        draw_dgrad(&p);
}

int cuconv_make(const struct cudnn *lib, const struct conv_desc *d,
                const struct cuplan_want *want, struct cugraph *g,
                struct cuplan *plan)
{
    draw(lib, d, g);
    if (cugraph_plan(g, want, plan) < 0) {
        cugraph_release(g);
        return -1;
    }
    return 0;
}

int cuconv_forms(const struct cudnn *lib, const struct conv_desc *d,
                 const struct cuplan_want *want, char (*name)[CUPLAN_NAME],
                 int most)
{
    struct cugraph g;
    int n;

    draw(lib, d, &g);
    n = cugraph_forms(&g, want, name, most);
    cugraph_release(&g);
    return n;
}

struct conv_desc cuconv_plain(const struct conv_desc *d)
{
    struct conv_desc plain = *d;

    plain.pro = PRO_NONE;
    plain.epi = EPI_NONE;
    plain.add = plain.residual = false;
    return plain;
}
