/*
 * norm.h - bodies of batch normalisation, for one channel or one element.
 *
 * Source of the backward formulas: pytorch
 * aten/src/ATen/native/Normalization.cpp.
 */
#ifndef ENGINE_KERN_NORM_H
#define ENGINE_KERN_NORM_H

#include "engine/kern/kern.h"

/* KERN_NORM_FINAL: mean and variance from the sums of rows values. */
KERN_FN void kern_norm_moments(KREAL sum, KREAL sumsq, KREAL rows, KREAL *mean,
                               KREAL *var)
{
    KREAL m = sum / rows, v = sumsq / rows - m * m;

    *mean = m;
    *var = v > 0 || v != v ? v : 0; /* a NaN stays one */
}

/* KERN_NORM_FINAL: 1/sqrt(var + eps). */
KERN_FN KREAL kern_norm_invstd(KREAL var, KREAL eps)
{
    return 1 / KSQRT(var + eps);
}

/* The affine form: scale and bias of y = x*scale + bias. */
KERN_FN void kern_norm_fold(KREAL mean, KREAL invstd, KREAL gamma, KREAL beta,
                            KREAL *scale, KREAL *bias)
{
    *scale = gamma * invstd;
    *bias = beta - mean * *scale;
}

/* A running statistic after one more batch. */
KERN_FN KREAL kern_norm_running(KREAL r, KREAL v, KREAL momentum)
{
    return (1 - momentum) * r + momentum * v;
}

/* The unbiased variance of rows values, which the running one follows. */
KERN_FN KREAL kern_norm_unbiased(KREAL var, KREAL rows)
{
    return rows > 1 ? var * (rows / (rows - 1)) : var;
}

/* KERN_NORM_APPLY without residual and activation. */
KERN_FN KREAL kern_norm_apply_at(KREAL x, KREAL scale, KREAL bias)
{
    return x * scale + bias;
}

/* KERN_NORM_GRAD_SUMS: the term of s2 of one element. */
KERN_FN KREAL kern_norm_xhat(KREAL x, KREAL mean, KREAL invstd)
{
    return (x - mean) * invstd;
}

/* KERN_NORM_GRAD_FINAL: dx = a*dz + b*x + k. */
KERN_FN void kern_norm_grad_fold(KREAL s1, KREAL s2, KREAL mean, KREAL invstd,
                                 KREAL gamma, KREAL rows, KREAL *a, KREAL *b,
                                 KREAL *k)
{
    *a = gamma * invstd;
    *b = -*a * invstd * s2 / rows;
    *k = -*a * s1 / rows - *b * mean;
}

KERN_FN KREAL kern_norm_grad_at(KREAL dz, KREAL x, KREAL a, KREAL b, KREAL k)
{
    return a * dz + b * x + k;
}

#endif
