#include "engine/cuda/cuconv.h"

#include "engine/kern/index.h"

/* Level B: single convolutions, results in the dtype of the activations. */
bool cuconv_has(const struct conv_desc *d)
{
    if (d->pro != PRO_NONE || d->epi != EPI_NONE || d->param != DT_F32 ||
        d->dtype == DT_F64)
        return false;
    return d->kind == CONV_WGRAD ? d->out == DT_F32 : d->out == d->dtype;
}

enum dtype cuconv_wgrad_type(const struct conv_desc *d)
{
    return d->dtype; /* cuDNN has no other for halves */
}

int cuconv_make(const struct cudnn *lib, const struct conv_desc *d,
                const struct cuplan_want *want, struct cugraph *g,
                struct cuplan *plan)
{
    int64_t x[4] = {d->n, d->h, d->w, d->c};
    int64_t w[4] = {d->k, d->r, d->s, d->c};
    int64_t y[4] = {d->n, kern_out_size(d->h, d->r, d->stride, d->pad),
                    kern_out_size(d->w, d->s, d->stride, d->pad), d->k};

    cugraph_init(g, lib);
    cugraph_conv(g, d->kind, d->stride, d->pad,
                 cugraph_tensor(g, CUCONV_X, d->dtype, x),
                 cugraph_tensor(g, CUCONV_W, d->dtype, w),
                 cugraph_tensor(g, CUCONV_Y, d->dtype, y));
    if (cugraph_plan(g, want, plan) < 0) {
        cugraph_release(g);
        return -1;
    }
    return 0;
}
