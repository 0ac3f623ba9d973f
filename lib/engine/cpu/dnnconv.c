#include "engine/cpu/dnnconv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ALIGN = 64,
    ROLES = 4,
    COLUMNS_MOST = 32 << 20 /* bytes of columns that are offered, not usual */
};
enum role {
    IN_X,
    IN_W,
    IN_DY,
    RESULT
}; /* of a conv_args */

struct dnnconv {
    struct conv_desc d;    /* as asked for */
    struct conv_desc core; /* what is run: d, or 1x1 on columns of d */
    bool product, columns, fold;
    int arg[ROLES];                 /* oneDNN's name of each role, 0: none */
    struct dnn_prim run, run_sum;   /* run_sum: out += */
    struct dnn_prim pack;           /* master -> own layout */
    struct dnn_prim back, back_sum; /* own layout -> master (+=) */
    struct dnn_md *master;          /* the weights as the caller has them */
    size_t columns_at, grad_at;     /* places in the scratch memory */
    struct conv_needs needs;
    char name[64];
};

static dnnl_data_type_t dnn_type(enum dtype t)
{
    return t == DT_BF16 ? dnnl_bf16 : dnnl_f32;
}

static size_t align_up(size_t n)
{
    return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

/*
 * Does the core of this become a matrix product? (Measured with 2.6.) In fp32
 * the wide ones do: just as fast, and their sums are cut, while a convolution
 * on [N,H,W,C] adds all terms in one chain: 2048 of them 1.7 times as far off.
 */
static bool as_product(const struct conv_desc *d)
{
    if (d->r != 1 || d->s != 1 || d->stride != 1 || d->pad != 0)
        return false;
    if (d->h == 1 && d->w == 1)
        return true;
    if (d->dtype == DT_BF16)
        return d->kind != CONV_FORWARD;
    if (d->kind == CONV_FORWARD)
        return d->c >= 512;
    return d->kind == CONV_DGRAD && (d->k >= 512 || d->c * d->k >= 1 << 19);
}

/*
 * Is this run on columns, which are [n*p*q, r*s*c]? Strided windows of one
 * place are, for they only select; of others those gradients for which oneDNN
 * 2.6 was two to four times slower than a product (bf16, many channels).
 */
static bool on_columns(const struct conv_desc *d)
{
    int64_t size = d->c * d->k;

    if (d->r == 1 && d->s == 1)
        return d->stride > 1 && d->pad == 0;
    if (d->dtype != DT_BF16)
        return false;
    if (d->kind == CONV_WGRAD)
        return size >= (d->stride > 1 ? 1 << 16 : 1 << 18);
    return d->kind == CONV_DGRAD && d->stride > 1 && size >= 1 << 18;
}

static struct dnn_post post_of(const struct conv_desc *d)
{
    struct dnn_post p = {d->epi == EPI_ADD_BIAS, conv_has_bias(d) && d->relu};

    return p;
}

/* ---- columns: one row [r,s,c] of x for each place of the output */

/* Row r of a window lies in one piece in x, but for what hangs over. */
static void columns_line(const struct conv_desc *d, const char *x, char *out,
                         int64_t line)
{
    int64_t np = conv_p(d), nq = conv_q(d), img = line / np, q, r;
    size_t c = (size_t)d->c * dtype_size(d->dtype), row = (size_t)d->s * c;
    int64_t top = line % np * d->stride - d->pad;

    out += (size_t)(line * nq * d->r) * row;
    for (q = 0; q < nq; q++) {
        int64_t left = q * d->stride - d->pad, lo = left < 0 ? -left : 0;
        int64_t hi = d->w - left < d->s ? d->w - left : d->s;

        for (r = 0; r < d->r; r++, out += row) {
            int64_t h = top + r;

            if (h < 0 || h >= d->h || hi <= lo) {
                memset(out, 0, row);
                continue;
            }
            memset(out, 0, (size_t)lo * c);
            memcpy(out + (size_t)lo * c,
                   x + (size_t)((img * d->h + h) * d->w + left + lo) * c,
                   (size_t)(hi - lo) * c);
            memset(out + (size_t)hi * c, 0, (size_t)(d->s - hi) * c);
        }
    }
}

static void columns(const struct conv_desc *d, const void *x, void *out)
{
    int64_t line, lines = d->n * conv_p(d);

#pragma omp parallel for schedule(static)
    for (line = 0; line < lines; line++)
        columns_line(d, x, out, line);
}

/* The adjoint for windows of one place: nothing adds up. */
static void scatter(const struct conv_desc *d, const void *y, void *out)
{
    int64_t i, q, np = conv_p(d), nq = conv_q(d), lines = d->n * d->h;
    size_t row = (size_t)d->c * dtype_size(d->dtype);
    const char *in = y;
    char *to = out;

#pragma omp parallel for private(q) schedule(static)
    for (i = 0; i < lines; i++) {
        int64_t n = i / d->h, h = i % d->h, p = h / d->stride;
        char *t = to + (size_t)(i * d->w) * row;
        const char *f = in + (size_t)((n * np + p) * nq) * row;

        memset(t, 0, (size_t)d->w * row);
        if (h % d->stride != 0 || p >= np)
            continue;
        for (q = 0; q < nq; q++)
            memcpy(t + (size_t)(q * d->stride) * row, f + (size_t)q * row, row);
    }
}

/* ---- planning */

static int add_args(struct dnnconv *p, struct cpu *c, struct dnn_prim *run,
                    const struct dnn_spec *s, const struct dnn_md *w)
{
    const struct dnn_md *md[ROLES] = {s->x, w, s->y, s->y};
    const struct conv_desc *d = &p->core;
    int i;

    if (p->product) {
        /* of a product x, w, y are source, weights and destination */
        md[IN_X] = d->kind == CONV_WGRAD ? s->w : s->x;
        md[IN_DY] = s->x;
    } else if (d->kind == CONV_DGRAD) {
        md[RESULT] = s->x;
    } else if (d->kind == CONV_WGRAD) {
        md[RESULT] = w;
    }
    for (i = 0; i < ROLES; i++) {
        if (p->arg[i] && dnn_arg(run, &c->dnn, p->arg[i], md[i]) < 0)
            return -1;
    }
    if (s->bias && dnn_arg(run, &c->dnn, DNNL_ARG_BIAS, s->bias) < 0)
        return -1;
    return 0;
}

static void set_roles(struct dnnconv *p)
{
    static const int conv[3][ROLES] = {
        [CONV_FORWARD] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, 0, DNNL_ARG_DST},
        [CONV_DGRAD] = {0, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST,
                        DNNL_ARG_DIFF_SRC},
        [CONV_WGRAD] = {DNNL_ARG_SRC, 0, DNNL_ARG_DIFF_DST,
                        DNNL_ARG_DIFF_WEIGHTS}};
    static const int product[3][ROLES] = {
        [CONV_FORWARD] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, 0, DNNL_ARG_DST},
        [CONV_DGRAD] = {0, DNNL_ARG_WEIGHTS, DNNL_ARG_SRC, DNNL_ARG_DST},
        [CONV_WGRAD] = {DNNL_ARG_WEIGHTS, 0, DNNL_ARG_SRC, DNNL_ARG_DST}};

    memcpy(p->arg, p->product ? product[p->core.kind] : conv[p->core.kind],
           sizeof(p->arg));
}

/* Forward and dgrad: from master weights to those that `run` wants. */
static int plan_pack(struct dnnconv *p, struct cpu *c, const struct dnn_md *own)
{
    p->needs.layout = dnn_md_hash(own);
    if (dnn_md_same(own, p->master))
        return 0;
    p->needs.packed_bytes = dnn_md_bytes(own);
    return dnn_reorder(&p->pack, &c->dnn, p->master, own, false);
}

/* Wgrad: from the layout in which `run` leaves it to the master's. */
static int plan_back(struct dnnconv *p, struct cpu *c, const struct dnn_md *own)
{
    if (!dnn_md_same(own, p->master) &&
        dnn_reorder(&p->back, &c->dnn, own, p->master, false) < 0)
        return -1;
    return dnn_reorder(&p->back_sum, &c->dnn, own, p->master, true);
}

static int plan_conv(struct dnnconv *p, struct cpu *c)
{
    const struct conv_desc *d = &p->core;
    int64_t np = conv_p(d), nq = conv_q(d);
    int64_t xd[4] = {d->n, d->c, d->h, d->w}, yd[4] = {d->n, d->k, np, nq};
    int64_t wd[4] = {d->k, d->c, d->r, d->s};
    dnnl_data_type_t t = dnn_type(d->dtype);
    bool forward = d->kind == CONV_FORWARD, wgrad = d->kind == CONV_WGRAD;
    struct dnn_md *x, *w, *fw, *y, *bias = NULL, *own = NULL;
    struct dnn_spec s = {.stride = {d->stride, d->stride},
                         .pad_left = {d->pad, d->pad}};
    int status = -1;

    s.kind = forward ? DNN_FORWARD
             : wgrad ? DNN_BACKWARD_WEIGHTS
                     : DNN_BACKWARD_DATA;
    /* what the windows reach, which may be less than the image */
    s.pad_right[0] = (np - 1) * d->stride + d->r - d->h - d->pad;
    s.pad_right[1] = (nq - 1) * d->stride + d->s - d->w - d->pad;
    s.post = post_of(d);
    s.x = x = dnn_md_new(4, xd, d->kind == CONV_DGRAD ? dnn_type(d->out) : t,
                         dnnl_acdb);
    s.y = y = dnn_md_new(4, yd, forward ? dnn_type(d->out) : t, dnnl_acdb);
    s.w = w = dnn_md_new(4, wd, wgrad ? dnnl_f32 : t, dnnl_format_tag_any);
    s.fwd_w = fw = dnn_md_new(4, wd, t, dnnl_format_tag_any);
    p->master = dnn_md_new(4, wd, dnnl_f32, dnnl_acdb);
    if (conv_has_bias(d))
        s.bias = bias = dnn_md_new(1, &d->k, dnnl_f32, dnnl_a);
    if (dnn_conv(&p->run, &c->dnn, &s, &own) < 0 ||
        add_args(p, c, &p->run, &s, own) < 0)
        goto out;
    if (!wgrad) {
        status = plan_pack(p, c, own);
    } else {
        status = plan_back(p, c, own);
        p->needs.scratch_bytes += align_up(dnn_md_bytes(own));
    }
out:
    dnn_md_free(x);
    dnn_md_free(w);
    dnn_md_free(fw);
    dnn_md_free(y);
    dnn_md_free(bias);
    dnn_md_free(own);
    return status;
}

static int plan_product(struct dnnconv *p, struct cpu *c)
{
    const struct conv_desc *d = &p->core;
    int64_t rows = d->n * d->h * d->w, bd[2] = {1, d->k};
    int64_t fwd[3][2] = {{rows, d->c}, {d->c, d->k}, {rows, d->k}};
    int64_t dgr[3][2] = {{rows, d->k}, {d->k, d->c}, {rows, d->c}};
    int64_t wgr[3][2] = {{d->k, rows}, {rows, d->c}, {d->k, d->c}};
    bool forward = d->kind == CONV_FORWARD, wgrad = d->kind == CONV_WGRAD;
    int64_t(*dims)[2] = forward ? fwd : wgrad ? wgr : dgr;
    dnnl_data_type_t t = dnn_type(d->dtype);
    struct dnn_md *x, *w, *y, *bias = NULL, *own = NULL;
    struct dnn_spec s = {.post = post_of(d)};
    int status = -1;

    s.short_sums = t == dnnl_f32 && !wgrad;
    s.x = x = dnn_md_new(2, dims[0], t, wgrad ? dnnl_ba : dnnl_ab);
    s.w = w = dnn_md_new(2, dims[1], t, wgrad ? dnnl_ab : dnnl_format_tag_any);
    s.y = y = dnn_md_new(2, dims[2], dnn_type(d->out), dnnl_ab);
    if (!wgrad)
        p->master =
            dnn_md_new(2, dims[1], dnnl_f32, forward ? dnnl_ba : dnnl_ab);
    if (conv_has_bias(d))
        s.bias = bias = dnn_md_new(2, bd, dnnl_f32, dnnl_ab);
    if (dnn_matmul(&p->run, &c->dnn, &s, &own) < 0 ||
        add_args(p, c, &p->run, &s, own) < 0)
        goto out;
    if (!wgrad) {
        status = plan_pack(p, c, own);
        goto out;
    }
    s.post.sum = true;
    if (dnn_matmul(&p->run_sum, &c->dnn, &s, NULL) == 0)
        status = add_args(p, c, &p->run_sum, &s, w);
out:
    dnn_md_free(x);
    dnn_md_free(w);
    dnn_md_free(y);
    dnn_md_free(bias);
    dnn_md_free(own);
    return status;
}

static size_t most_scratch(const struct dnnconv *p)
{
    const struct dnn_prim *all[] = {&p->run, &p->run_sum, &p->back,
                                    &p->back_sum};
    size_t i, most = 0;

    for (i = 0; i < sizeof(all) / sizeof(*all); i++) {
        if (all[i]->scratch > most)
            most = all[i]->scratch;
    }
    return align_up(most);
}

/* ---- ways */

static bool on_places(const struct conv_desc *d)
{
    return d->r == 1 && d->s == 1 && d->stride == 1 && d->pad == 0;
}

/* The 1x1 convolution on columns of d. */
static struct conv_desc core_of(const struct conv_desc *d)
{
    struct conv_desc k = *d;

    k.h = conv_p(d);
    k.w = conv_q(d);
    k.c = d->r * d->s * d->c;
    k.r = k.s = 1;
    k.stride = 1;
    k.pad = 0;
    return k;
}

/* Places that windows share are added, in fp32. */
static bool is_fold(const struct conv_desc *d)
{
    return d->kind == CONV_DGRAD && d->r * d->s > 1;
}

static size_t columns_bytes(const struct conv_desc *d)
{
    struct conv_desc k = core_of(d);

    return align_up((size_t)(k.n * k.h * k.w * k.c) *
                    dtype_size(is_fold(d) ? DT_F32 : d->dtype));
}

/*
 * In fp32 nothing is gained that costs digits: products add shorter chains than
 * convolutions, but for gradients of weights it is the other way round.
 */
static bool digits_lost(const struct conv_desc *d, unsigned way)
{
    bool product = way & DNNCONV_PRODUCT;

    return d->dtype == DT_F32 && product == (d->kind == CONV_WGRAD);
}

bool dnnconv_takes(const struct conv_desc *d, unsigned way)
{
    bool selects = d->r == 1 && d->s == 1 && d->pad == 0;

    if (way == dnnconv_usual(d))
        return true;
    if (digits_lost(d, way))
        return false;
    if (way == 0)
        return true;
    if (way == DNNCONV_PRODUCT)
        return on_places(d);
    if (on_places(d) || columns_bytes(d) > COLUMNS_MOST)
        return false;
    /* scatter knows of no padding */
    return selects || (way & DNNCONV_PRODUCT && d->r * d->s > 1);
}

unsigned dnnconv_usual(const struct conv_desc *d)
{
    bool columns = on_columns(d);
    struct conv_desc core = columns ? core_of(d) : *d;
    bool product = (columns && is_fold(d)) || as_product(&core);

    return (columns ? DNNCONV_COLUMNS : 0u) | (product ? DNNCONV_PRODUCT : 0u);
}

int dnnconv_new(struct cpu *c, const struct conv_desc *d, unsigned way,
                struct conv_needs *needs, struct dnnconv **out)
{
    struct dnnconv *p = xcalloc(1, sizeof(*p));
    int status;

    p->d = p->core = *d;
    p->columns = way & DNNCONV_COLUMNS;
    p->product = way & DNNCONV_PRODUCT;
    if (p->columns) {
        p->core = core_of(d);
        p->fold = is_fold(d);
        if (p->fold)
            p->core.out = DT_F32;
    }
    set_roles(p);
    status = p->product ? plan_product(p, c) : plan_conv(p, c);
    if (status < 0) {
        dnnconv_free(p);
        return -1;
    }
    /* scratch: oneDNN's, the gradient's own layout, columns */
    p->grad_at = most_scratch(p);
    p->columns_at = p->grad_at + p->needs.scratch_bytes;
    p->needs.scratch_bytes =
        p->columns_at + (p->columns ? columns_bytes(d) : 0);
    snprintf(p->name, sizeof(p->name), "%s%s%s", p->run.name,
             p->product ? " product" : "", p->columns ? " columns" : "");
    *needs = p->needs;
    *out = p;
    return 0;
}

int dnnconv_pack(struct cpu *c, struct dnnconv *p, const void *weights,
                 void *packed)
{
    if (!p->pack.prim)
        return 0;
    dnn_set(&p->pack, DNNL_ARG_FROM, weights);
    dnn_set(&p->pack, DNNL_ARG_TO, packed);
    return dnn_run(&c->dnn, &p->pack);
}

/* ---- running */

static void copy_all(void *to, const void *from, size_t n)
{
    int64_t i, blocks = (int64_t)(n >> 18) + 1;

#pragma omp parallel for schedule(static)
    for (i = 0; i < blocks; i++) {
        size_t at = (size_t)i << 18, len = n - at;

        memcpy((char *)to + at, (const char *)from + at,
               len < 1u << 18 ? len : 1u << 18);
    }
}

static int run_back(struct dnnconv *p, struct cpu *c, const struct conv_args *a)
{
    struct dnn_prim *b = a->accumulate ? &p->back_sum : &p->back;

    dnn_set(b, DNNL_ARG_FROM, (char *)a->scratch + p->grad_at);
    dnn_set(b, DNNL_ARG_TO, a->out);
    dnn_set(b, DNNL_ARG_SCRATCHPAD, a->scratch);
    return dnn_run(&c->dnn, b);
}

int dnnconv_run(struct cpu *c, struct dnnconv *p, const struct conv_args *a)
{
    const struct conv_desc *d = &p->d;
    char *scratch = a->scratch;
    const void *x = a->x;
    void *out = a->out;
    bool wgrad = d->kind == CONV_WGRAD, dgrad = d->kind == CONV_DGRAD;
    bool sum = wgrad && a->accumulate && p->run_sum.prim;
    struct dnn_prim *run = sum ? &p->run_sum : &p->run;
    bool back = wgrad && !p->product && (a->accumulate || p->back.prim);

    if (p->columns && dgrad) {
        out = scratch + p->columns_at;
    } else if (p->columns) {
        columns(d, a->x, scratch + p->columns_at);
        x = scratch + p->columns_at;
    }
    if (back)
        out = scratch + p->grad_at;
    if (d->epi == EPI_ADD_BIAS && a->add != out)
        copy_all(out, a->add,
                 (size_t)(d->n * conv_p(d) * conv_q(d) * d->k) *
                     dtype_size(d->out));
    if (p->arg[IN_X])
        dnn_set(run, p->arg[IN_X], x);
    if (p->arg[IN_W])
        dnn_set(run, p->arg[IN_W], a->w);
    if (p->arg[IN_DY])
        dnn_set(run, p->arg[IN_DY], a->dy);
    dnn_set(run, p->arg[RESULT], out);
    dnn_set(run, DNNL_ARG_BIAS, a->bias);
    dnn_set(run, DNNL_ARG_SCRATCHPAD, scratch);
    if (dnn_run(&c->dnn, run) < 0)
        return -1;
    if (p->fold)
        c->kern->fold(d, out, a->out);
    else if (p->columns && dgrad)
        scatter(d, out, a->out);
    return back ? run_back(p, c, a) : 0;
}

void dnnconv_free(struct dnnconv *p)
{
    if (!p)
        return;
    dnn_prim_release(&p->run);
    dnn_prim_release(&p->run_sum);
    dnn_prim_release(&p->pack);
    dnn_prim_release(&p->back);
    dnn_prim_release(&p->back_sum);
    dnn_md_free(p->master);
    free(p);
}

const char *dnnconv_name(const struct dnnconv *p)
{
    return p->name;
}
