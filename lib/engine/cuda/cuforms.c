/*
 * The forms that a convolution may be computed in: engines of cuDNN by name; and
 * of what level C has in one pass, also the convolution alone with our passes
 * before and behind it ("apart").
 */
#include "engine/cuda/cuconv.h"
#include "engine/cuda/cuda.h"
#include "engine/kern/index.h"

#include <stdlib.h>
#include <string.h>

enum {
    MOST = 8,      /* engines for one description */
    MOST_APART = 3 /* for the convolution alone */
};

/* What a convolution was found to have: to find out makes a plan of each. */
struct cuda_named {
    struct conv_desc d;
    const char *name[MOST + MOST_APART];
    int n;
};

/* The text as long as the device lives. */
static const char *kept(struct cuda *c, const char *text)
{
    int i;

    for (i = 0; i < c->n_names; i++)
        if (strcmp(c->form_name[i], text) == 0)
            return c->form_name[i];
    c->form_name =
        xreallocarray(c->form_name, (size_t)c->n_names + 1, sizeof(char *));
    return c->form_name[c->n_names++] = xstrdup(text);
}

void cuda_forget_names(struct cuda *c)
{
    while (c->n_names > 0)
        free(c->form_name[--c->n_names]);
    free(c->form_name);
    free(c->named);
}

const char *cuda_apart(const struct conv_desc *d, const char *form)
{
    size_t n = strlen(CUDA_APART);

    return form && cuconv_fused(d) && strncmp(form, CUDA_APART, n) == 0
               ? form + n
               : NULL;
}

static void find(struct cuda *c, struct cuda_named *a)
{
    char found[MOST][CUPLAN_NAME], *text;
    struct conv_desc plain = cuconv_plain(&a->d);
    struct cuplan_want want = cuda_wanted(c, &a->d);
    int i, k;

    a->n = cuconv_forms(&c->lib, &a->d, &want, found, MOST);
    for (i = 0; i < a->n; i++)
        a->name[i] = kept(c, found[i]);
    if (!cuconv_fused(&a->d))
        return;
    want = cuda_wanted(c, &plain);
    k = cuconv_forms(&c->lib, &plain, &want, found, MOST_APART);
    for (i = 0; i < k; i++) {
        text = xstrfmt("%s%s", CUDA_APART, found[i]);
        a->name[a->n++] = kept(c, text);
        free(text);
    }
}

int cuda_conv_forms(void *dev, const struct conv_desc *d, const char **name,
                    int most)
{
    struct cuda *c = dev;
    struct cuda_named *a;
    int i;

    for (i = 0; i < c->n_named && !conv_same(&c->named[i].d, d); i++)
        ;
    if (i == c->n_named) {
        c->named =
            xreallocarray(c->named, (size_t)c->n_named + 1, sizeof *c->named);
        c->named[i].d = *d;
        find(c, &c->named[c->n_named++]);
    }
    a = &c->named[i];
    for (i = 0; i < a->n && i < most; i++)
        name[i] = a->name[i];
    return i;
}

/* ---- passes of our own */

size_t cuda_before_bytes(const struct conv_desc *d)
{
    return d->pro == PRO_NONE
               ? 0
               : (size_t)(d->n * d->h * d->w * d->c) * dtype_size(d->dtype);
}

int cuda_before(struct cuda *c, const struct conv_desc *d,
                const struct conv_args *a, void *z)
{
    struct kern_norm_apply k = {.x = a->x,
                                .scale = a->pro_scale,
                                .bias = a->pro_bias,
                                .y = z,
                                .rows = d->n * d->h * d->w,
                                .c = d->c,
                                .relu = true,
                                .dt = d->dtype,
                                .pt = d->param};

    return cuda_check((cudaError_t)cuk_norm(&c->kernels, KERN_NORM_APPLY, &k),
                      "prologue");
}

static int behind_dgrad(struct cuda *c, const struct conv_desc *d,
                        const struct conv_args *a)
{
    struct cuk_norm_back k = {.dz = a->out,
                              .add = d->add ? a->add : NULL,
                              .residual = d->residual ? a->residual : NULL,
                              .rows = d->n * d->h * d->w,
                              .c = d->c,
                              .dt = d->dtype};
    int i;

    for (i = 0; i < conv_norms(d); i++) {
        k.norm[i].x = a->bn[i].x;
        k.norm[i].mean = a->bn[i].mean;
        k.norm[i].invstd = a->bn[i].invstd;
        k.norm[i].gamma = a->bn[i].gamma;
        k.norm[i].beta = a->bn[i].beta;
        k.norm[i].dbeta = a->bn[i].dbeta;
        k.norm[i].dgamma = a->bn[i].dgamma;
    }
    return cuda_check((cudaError_t)cuk_norm_back(&c->kernels, &k), "norm");
}

int cuda_behind(struct cuda *c, const struct conv_desc *d,
                const struct conv_args *a)
{
    int64_t p = kern_out_size(d->h, d->r, d->stride, d->pad);
    int64_t q = kern_out_size(d->w, d->s, d->stride, d->pad);
    struct cuk_moments k = {.x = a->out,
                            .sum = a->sum,
                            .sumsq = a->sumsq,
                            .rows = d->n * p * q,
                            .c = d->k,
                            .dt = d->out};

    if (conv_norms(d) > 0)
        return behind_dgrad(c, d, a);
    if (d->epi != EPI_STATS)
        return 0;
    return cuda_check((cudaError_t)cuk_moments(&c->kernels, &k), "sums");
}
