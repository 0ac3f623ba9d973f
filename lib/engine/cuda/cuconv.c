/*
 * Convolutions on a device: cuDNN's plan between a cast of the weights (pack)
 * and, for their gradient, an addition in fp32. Weights in fp32 are taken as they
 * are. Whether a form of level C or a pitch is there is found out by making its
 * plan, once.
 */
#include "engine/cuda/cuconv.h"

#include "engine/cuda/cuda.h"

#include <stdio.h>
#include <stdlib.h>

#define ALIGN 256 /* of parts of the scratch memory */

struct conv_plan {
    struct conv_desc whole; /* what is asked for */
    struct conv_desc d;     /* what the graph does: all of it, or */
    bool apart;             /* the convolution alone */
    struct cugraph graph;
    struct cuplan plan;
    int64_t weights; /* elements, with those of the pitch */
    bool gather;     /* WGRAD: the gradient goes through scratch memory */
    /* places in scratch memory; the workspace is in front */
    size_t gather_at, vectors_at, rest_at, before_at;
    char name[80];
};

/* A form that was asked for, and what cuDNN said. */
struct cuda_form {
    struct conv_desc d;
    bool there;
};

struct cuplan_want cuda_wanted(const struct cuda *c, const struct conv_desc *d)
{
    struct cuplan_want w = cuconv_want(d, c->memory);

    w.handle = c->handle;
    w.exact = d->dtype == DT_F32 && !c->tf32;
    w.repeatable = c->deterministic;
    return w;
}

int cuda_conv_available(void *dev, const struct conv_desc *d)
{
    struct cuda *c = dev;
    struct cuplan_want want = cuda_wanted(c, d);
    struct cugraph graph;
    struct cuplan plan;
    int i;

    if (!cuconv_has(d) || (d->dtype == DT_BF16 && c->capability < 80))
        return 0;
    if (!cuconv_fused(d) && !cuconv_padded(d))
        return 1;
    for (i = 0; i < c->n_forms; i++)
        if (conv_same(&c->form[i].d, d))
            return c->form[i].there;
    c->form = xreallocarray(c->form, (size_t)c->n_forms + 1, sizeof *c->form);
    c->form[c->n_forms].d = *d;
    c->form[c->n_forms].there =
        cuconv_make(&c->lib, d, &want, &graph, &plan) == 0;
    if (c->form[c->n_forms].there) {
        cuplan_release(&plan);
        cugraph_release(&graph);
    } else {
        err_clear();
    }
    return c->form[c->n_forms++].there;
}

/* Bytes behind what is there, at the next good place. */
static size_t place(size_t *all, size_t bytes)
{
    size_t at = (*all + ALIGN - 1) / ALIGN * ALIGN;

    *all = bytes ? at + bytes : *all;
    return at;
}

/* What the owner has to provide. */
static void note_needs(struct conv_plan *p, struct conv_needs *needs)
{
    const struct conv_desc *d = &p->d;
    size_t size = dtype_size(d->dtype), all = p->plan.workspace;
    bool sums = conv_norms(d) > 0;

    p->weights = d->k * d->r * d->s * conv_pitch(d);
    p->gather = d->kind == CONV_WGRAD;
    p->gather_at = place(&all, p->gather ? (size_t)p->weights * size : 0);
    p->vectors_at = place(&all, d->pro ? 2 * cuk_vector(d->c) * size : 0);
    p->rest_at = place(&all, sums ? 6 * cuk_vector(d->c) * sizeof(float) : 0);
    p->before_at = place(&all, p->apart ? cuda_before_bytes(&p->whole) : 0);
    needs->scratch_bytes = all;
    needs->packed_bytes = d->kind != CONV_WGRAD && d->dtype != DT_F32
                              ? (size_t)p->weights * size
                              : 0;
    /* [k,r,s,c] for all, or [k,r,s,pitch] */
    needs->layout = (uint64_t)d->dtype + 1;
    if (cuconv_padded(d))
        needs->layout |= (uint64_t)d->pitch << 8;
}

/* A form that was chosen keeps the cap on workspace, with what comes before. */
static int make(struct cuda *c, struct conv_plan *p, const char *form)
{
    struct cuplan_want want;
    const char *rest = cuda_apart(&p->whole, form);

    p->apart = rest != NULL;
    p->d = p->apart ? cuconv_plain(&p->whole) : p->whole;
    want = cuda_wanted(c, &p->d);
    want.form = p->apart ? rest : form;
    if (p->apart &&
        cuda_before_bytes(&p->whole) > cuda_wanted(c, &p->whole).workspace)
        return err_set(ERR_UNAVAILABLE, "\"%s\": takes too much memory", form);
    return cuconv_make(&c->lib, &p->d, &want, &p->graph, &p->plan);
}

int cuda_conv_plan(void *dev, const struct conv_desc *d, const char *form,
                   struct conv_plan **plan, struct conv_needs *needs)
{
    struct cuda *c = dev;
    struct conv_plan *p;

    if (cuda_outside(c, "plan") < 0)
        return -1;
    p = xcalloc(1, sizeof *p);
    p->whole = *d;
    if (make(c, p, form) < 0) {
        free(p);
        cuda_blame(c->stream, "plan");
        return err_wrap("%lldx%lldx%lldx%lld by %lldx%lldx%lld stride %d in %s",
                        (long long)d->n, (long long)d->h, (long long)d->w,
                        (long long)d->c, (long long)d->k, (long long)d->r,
                        (long long)d->s, d->stride, dtype_name(d->dtype));
    }
    note_needs(p, needs);
    snprintf(p->name, sizeof p->name, "%scudnn engine %d%s, %zu KB",
             p->apart ? CUDA_APART : "", p->plan.engine,
             p->plan.compiled ? " compiled here" : "", p->plan.workspace >> 10);
    *plan = p;
    return 0;
}

int cuda_conv_pack(void *dev, struct conv_plan *plan, const void *weights,
                   void *packed)
{
    const struct conv_desc *d = &plan->d;
    struct cuda *c = dev;
    struct kern_cast cast = {.x = weights,
                             .y = packed,
                             .n = plan->weights,
                             .from = DT_F32,
                             .to = d->dtype};
    struct cuk_pad pad = {weights,   packed,  plan->weights, (int)conv_pitch(d),
                          (int)d->c, d->dtype};

    if (cuconv_padded(d))
        return cuda_check((cudaError_t)cuk_pad(&c->kernels, &pad), "pack");
    return cuda_check((cudaError_t)cuk_elem(&c->kernels, KERN_CAST, &cast),
                      "pack");
}

/* A library that takes no const takes no harm: it reads. */
static void *in(const void *p)
{
    union {
        const void *from;
        void *to;
    } u = {p};

    return u.to;
}

/* Names and addresses of the tensors of a run. */
struct binding {
    int64_t uid[CUCONV_TENSORS];
    void *address[CUCONV_TENSORS];
    int n;
};

static void bind(struct binding *b, int uid, const void *p)
{
    b->uid[b->n] = uid;
    b->address[b->n++] = in(p);
}

static void bind_norm(struct binding *b, const struct conv_plan *p,
                      const struct conv_args *a, int which)
{
    size_t size = cuk_vector(p->d.c) * sizeof(float);
    char *rest = (char *)a->scratch + p->rest_at;
    int uid = CUCONV_NORM + which * NORM_N, i;

    bind(b, uid + NORM_X, a->bn[which].x);
    bind(b, uid + NORM_MEAN, a->bn[which].mean);
    bind(b, uid + NORM_INVSTD, a->bn[which].invstd);
    bind(b, uid + NORM_GAMMA, a->bn[which].gamma);
    bind(b, uid + NORM_BETA, a->bn[which].beta);
    bind(b, uid + NORM_DGAMMA, a->bn[which].dgamma);
    bind(b, uid + NORM_DBETA, a->bn[which].dbeta);
    for (i = 0; i < 3; i++)
        bind(b, uid + NORM_REST + i, rest + (size_t)(3 * which + i) * size);
}

/* The prologue's vectors in the dtype of x, made anew. */
static int bind_prologue(struct binding *b, struct cuda *c,
                         const struct conv_plan *p, const struct conv_args *a)
{
    char *to = (char *)a->scratch + p->vectors_at;
    struct cuk_vectors v = {.from = {a->pro_scale, a->pro_bias},
                            .to = to,
                            .n = p->d.c,
                            .dt = p->d.dtype};

    bind(b, CUCONV_SCALE, to);
    bind(b, CUCONV_BIAS, to + cuk_vector(p->d.c) * dtype_size(p->d.dtype));
    return cuda_check((cudaError_t)cuk_vectors(&c->kernels, &v), "prologue");
}

/* The graph's run, and of a gradient of weights the rest. */
static int run(struct cuda *c, struct conv_plan *p, const struct conv_args *a)
{
    void *dw = p->gather ? (char *)a->scratch + p->gather_at : NULL;
    struct cuk_gather gather = {.x = dw,
                                .dw = a->out,
                                .n = p->weights,
                                .pitch = (int)conv_pitch(&p->d),
                                .c = (int)p->d.c,
                                .dt = cuconv_wgrad_type(&p->d),
                                .accumulate = a->accumulate};
    struct binding b = {.n = 0};
    int i;

    bind(&b, CUCONV_X, p->d.kind == CONV_DGRAD ? a->out : a->x);
    bind(&b, CUCONV_W, p->d.kind == CONV_WGRAD ? dw : a->w);
    bind(&b, CUCONV_Y, p->d.kind == CONV_FORWARD ? a->out : a->dy);
    if (p->d.pro != PRO_NONE && bind_prologue(&b, c, p, a) < 0)
        return -1;
    if (p->d.epi == EPI_STATS) {
        bind(&b, CUCONV_SUM, a->sum);
        bind(&b, CUCONV_SUMSQ, a->sumsq);
    }
    if (p->d.add)
        bind(&b, CUCONV_ADD, a->add);
    if (p->d.residual)
        bind(&b, CUCONV_RESIDUAL, a->residual);
    for (i = 0; i < conv_norms(&p->d); i++)
        bind_norm(&b, p, a, i);
    if (cuplan_run(&p->plan, c->handle, b.uid, b.address, b.n, a->scratch) < 0)
        return cuda_blame(c->stream, "run");
    if (!p->gather)
        return 0;
    return cuda_check((cudaError_t)cuk_gather(&c->kernels, &gather), "gather");
}

int cuda_conv_run(void *dev, struct conv_plan *p, const struct conv_args *a)
{
    struct conv_args own = *a;
    struct cuda *c = dev;

    if (p->apart && p->whole.pro != PRO_NONE) {
        own.x = (char *)a->scratch + p->before_at;
        if (cuda_before(c, &p->whole, a, in(own.x)) < 0)
            return -1;
    }
    if (run(c, p, &own) < 0)
        return -1;
    return p->apart ? cuda_behind(c, &p->whole, a) : 0;
}

void cuda_conv_free(void *dev, struct conv_plan *plan)
{
    if (!plan)
        return;
    cuda_settle(dev); /* what it compiled may be running */
    cuplan_release(&plan->plan);
    cugraph_release(&plan->graph);
    free(plan);
}

const char *cuda_conv_name(void *dev, struct conv_plan *plan)
{
    (void)dev;
    return plan->name;
}
