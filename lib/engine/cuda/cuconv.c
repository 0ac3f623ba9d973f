/*
 * Convolutions on a device: cuDNN's plan between a cast of the weights (pack)
 * and, for their gradient, an addition in fp32. Weights in fp32 are taken as they
 * are.
 */
#include "engine/cuda/cuconv.h"

#include "engine/cuda/cuda.h"

#include <stdio.h>
#include <stdlib.h>

#define ALIGN 256 /* of parts of the scratch memory */

struct conv_plan {
    struct conv_desc d;
    struct cugraph graph;
    struct cuplan plan;
    int64_t weights;  /* elements */
    bool gather;      /* WGRAD: the gradient goes through scratch memory */
    size_t gather_at; /* its place there; the workspace is in front */
    char name[64];
};

int cuda_conv_available(void *dev, const struct conv_desc *d)
{
    const struct cuda *c = dev;

    return cuconv_has(d) && (d->dtype != DT_BF16 || c->capability >= 80);
}

/* What the owner has to provide. */
static void note_needs(struct conv_plan *p, struct conv_needs *needs)
{
    const struct conv_desc *d = &p->d;
    size_t size = dtype_size(d->dtype);

    p->weights = d->k * d->r * d->s * d->c;
    p->gather = d->kind == CONV_WGRAD;
    p->gather_at = (p->plan.workspace + ALIGN - 1) / ALIGN * ALIGN;
    needs->scratch_bytes = p->gather ? p->gather_at + (size_t)p->weights * size
                                     : p->plan.workspace;
    needs->packed_bytes = d->kind != CONV_WGRAD && d->dtype != DT_F32
                              ? (size_t)p->weights * size
                              : 0;
    needs->layout = (uint64_t)d->dtype + 1; /* [k,r,s,c] for all */
}

int cuda_conv_plan(void *dev, const struct conv_desc *d,
                   struct conv_plan **plan, struct conv_needs *needs)
{
    struct cuda *c = dev;
    struct cuplan_want want = {.handle = c->handle,
                               .exact = d->dtype == DT_F32 && !c->tf32,
                               .repeatable = c->deterministic,
                               .workspace = CUDA_WORKSPACE};
    struct conv_plan *p = xcalloc(1, sizeof *p);

    p->d = *d;
    if (cuconv_make(&c->lib, d, &want, &p->graph, &p->plan) < 0) {
        free(p);
        return err_wrap("%lldx%lldx%lldx%lld by %lldx%lldx%lld stride %d in %s",
                        (long long)d->n, (long long)d->h, (long long)d->w,
                        (long long)d->c, (long long)d->k, (long long)d->r,
                        (long long)d->s, d->stride, dtype_name(d->dtype));
    }
    note_needs(p, needs);
    snprintf(p->name, sizeof p->name, "cudnn engine %d%s, %zu KB",
             p->plan.engine, p->plan.compiled ? " compiled here" : "",
             p->plan.workspace >> 10);
    *plan = p;
    return 0;
}

int cuda_conv_pack(void *dev, struct conv_plan *plan, const void *weights,
                   void *packed)
{
    struct cuda *c = dev;
    struct kern_cast cast = {.x = weights,
                             .y = packed,
                             .n = plan->weights,
                             .from = DT_F32,
                             .to = plan->d.dtype};

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

int cuda_conv_run(void *dev, struct conv_plan *p, const struct conv_args *a)
{
    static const int64_t uids[3] = {CUCONV_X, CUCONV_W, CUCONV_Y};
    struct cuda *c = dev;
    void *dw = p->gather ? (char *)a->scratch + p->gather_at : NULL;
    void *address[3];
    struct cuk_gather gather = {dw, a->out, p->weights,
                                cuconv_wgrad_type(&p->d), a->accumulate};

    address[0] = p->d.kind == CONV_DGRAD ? a->out : in(a->x);
    address[1] = p->d.kind == CONV_WGRAD ? dw : in(a->w);
    address[2] = p->d.kind == CONV_FORWARD ? a->out : in(a->dy);
    if (cuplan_run(&p->plan, c->handle, uids, address, 3, a->scratch) < 0)
        return -1;
    if (!p->gather)
        return 0;
    return cuda_check((cudaError_t)cuk_gather(&c->kernels, &gather), "gather");
}

void cuda_conv_free(void *dev, struct conv_plan *plan)
{
    (void)dev;
    if (!plan)
        return;
    cuplan_release(&plan->plan);
    cugraph_release(&plan->graph);
    free(plan);
}

const char *cuda_conv_name(void *dev, struct conv_plan *plan)
{
    (void)dev;
    return plan->name;
}
