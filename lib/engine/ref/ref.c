#include "engine/ref/ref_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- rows of doubles */

static inline double of_bf16(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;

    memcpy(&f, &u, sizeof(f));
    return (double)f;
}

void ref_load(enum dtype t, const void *p, int64_t i, int64_t n, double *out)
{
    int64_t j;

    switch (t) {
    case DT_F32:
        for (j = 0; j < n; j++)
            out[j] = (double)((const float *)p)[i + j];
        break;
    case DT_F64:
        memcpy(out, (const double *)p + i, (size_t)n * sizeof(*out));
        break;
    case DT_BF16:
        for (j = 0; j < n; j++)
            out[j] = of_bf16(((const uint16_t *)p)[i + j]);
        break;
    case DT_U8:
        for (j = 0; j < n; j++)
            out[j] = ((const uint8_t *)p)[i + j];
        break;
    default:
        for (j = 0; j < n; j++)
            out[j] = dtype_load(t, p, (size_t)(i + j));
    }
}

void ref_store(enum dtype t, void *p, int64_t i, int64_t n, const double *in)
{
    int64_t j;

    switch (t) {
    case DT_F32:
        for (j = 0; j < n; j++)
            ((float *)p)[i + j] = (float)in[j];
        break;
    case DT_F64:
        memcpy((double *)p + i, in, (size_t)n * sizeof(*in));
        break;
    default:
        for (j = 0; j < n; j++)
            dtype_store(t, p, (size_t)(i + j), in[j]);
    }
}

/* ---- tiles */

struct tiling {
    const void *args;
    tile_fn *fn;
    int64_t rows, c, block; /* rows of a block */
    int64_t across;         /* tiles side by side */
    int n_sums;
    double *part; /* [blocks][n_sums][c] */
};

static void one_tile(const struct tiling *g, int64_t i)
{
    int64_t block = i / g->across;
    struct tile t = {.c = g->c};
    int s;

    t.row0 = block * g->block;
    t.row1 = t.row0 + g->block < g->rows ? t.row0 + g->block : g->rows;
    t.c0 = i % g->across * REF_WIDE;
    t.cn = (int)(g->c - t.c0 < REF_WIDE ? g->c - t.c0 : REF_WIDE);
    for (s = 0; s < g->n_sums; s++)
        t.sum[s] = g->part + (block * g->n_sums + s) * g->c + t.c0;
    g->fn(g->args, &t);
}

void ref_tiles(const void *args, int64_t rows, int64_t c, tile_fn *fn,
               int n_sums, double *sums)
{
    struct tiling g = {args, fn, rows, c, 0, 0, n_sums, NULL};
    int64_t blocks, i, j, n;

    g.block = (rows + REF_BLOCKS - 1) / REF_BLOCKS;
    if (g.block < 16)
        g.block = 16;
    blocks = (rows + g.block - 1) / g.block;
    g.across = (c + REF_WIDE - 1) / REF_WIDE;
    n = n_sums * c;
    if (n)
        g.part = xcalloc((size_t)(blocks * n), sizeof(*g.part));
    REF_PARALLEL
    for (i = 0; i < blocks * g.across; i++)
        one_tile(&g, i);
    for (j = 0; j < n; j++)
        sums[j] = 0;
    for (i = 0; i < (n ? blocks : 0); i++) {
        for (j = 0; j < n; j++)
            sums[j] += g.part[i * n + j];
    }
    free(g.part);
}

void ref_channels(enum dtype t, const void *p, const struct tile *tile,
                  double value, double *out)
{
    int j;

    if (p) {
        ref_load(t, p, tile->c0, tile->cn, out);
        return;
    }
    for (j = 0; j < tile->cn; j++)
        out[j] = value;
}

void ref_row(enum dtype t, const void *p, const struct tile *tile, int64_t i,
             double *out)
{
    if (p)
        ref_load(t, p, i * tile->c + tile->c0, tile->cn, out);
    else
        memset(out, 0, (size_t)tile->cn * sizeof(*out));
}

void ref_put_row(enum dtype t, void *p, const struct tile *tile, int64_t i,
                 const double *in)
{
    ref_store(t, p, i * tile->c + tile->c0, tile->cn, in);
}

/* ---- the table */

static ref_kernel *const kernels[KERN_N] = {
    [KERN_IMAGE] = ref_image,
    [KERN_CAST] = ref_cast,
    [KERN_ADD] = ref_add,
    [KERN_RELU] = ref_relu,
    [KERN_RELU_GRAD] = ref_relu_grad,
    [KERN_COLSUM] = ref_colsum,
    [KERN_NORM_STATS] = ref_norm_stats,
    [KERN_NORM_FINAL] = ref_norm_final,
    [KERN_NORM_APPLY] = ref_norm_apply,
    [KERN_NORM_GRAD_SUMS] = ref_norm_grad_sums,
    [KERN_NORM_GRAD_FINAL] = ref_norm_grad_final,
    [KERN_NORM_GRAD_APPLY] = ref_norm_grad_apply,
    [KERN_MAXPOOL] = ref_maxpool,
    [KERN_MAXPOOL_GRAD] = ref_maxpool_grad,
    [KERN_AVGPOOL] = ref_avgpool,
    [KERN_AVGPOOL_GRAD] = ref_avgpool_grad,
    [KERN_SOFTMAX_CE] = ref_softmax_ce,
    [KERN_GRAD_CHECK] = ref_grad_check,
    [KERN_STEP] = ref_step,
    [KERN_SGD] = ref_sgd,
    [KERN_EMA] = ref_ema,
};

int ref_run(void *dev, enum kernel k, const void *args)
{
    (void)dev;
    kernels[k](args);
    return 0;
}

static int score(char *why, size_t n)
{
    (void)why;
    (void)n;
    return 1;
}

static int open_dev(const struct engine_config *c, void **dev)
{
    static char here;

    (void)c;
    *dev = &here;
    return 0;
}

static void close_dev(void *dev)
{
    (void)dev;
}

static void describe(void *dev, char *text, size_t n)
{
    (void)dev;
    snprintf(text, n, "ref: plain C, double arithmetic, 1 thread");
}

static void last_error(enum err_class *c, const char **text)
{
    *c = err_code();
    *text = err_text();
}

static int precision(void *dev, enum dtype t, char *why, size_t n)
{
    (void)dev;
    switch (t) {
    case DT_F32:
    case DT_F64:
        return 2;
    case DT_F16:
    case DT_BF16:
        return 1;
    default:
        snprintf(why, n, "not a floating type");
        return 0;
    }
}

static int alloc(void *dev, size_t bytes, void **p)
{
    (void)dev;
    if (bytes > SIZE_MAX - 64)
        return err_set(ERR_SYSTEM, "%zu bytes: too many", bytes);
    *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!*p)
        return err_set(ERR_SYSTEM, "%zu bytes: out of memory", bytes);
    return 0;
}

static void free_mem(void *dev, void *p)
{
    (void)dev;
    free(p);
}

static int copy(void *dev, void *dst, const void *src, size_t n)
{
    (void)dev;
    memmove(dst, src, n);
    return 0;
}

static int fill(void *dev, void *dst, int byte, size_t n)
{
    (void)dev;
    memset(dst, byte, n);
    return 0;
}

static int mark(void *dev, int m)
{
    (void)dev;
    (void)m;
    return 0;
}

static int passed(void *dev, int m)
{
    (void)dev;
    (void)m;
    return 1;
}

static int finish(void *dev)
{
    (void)dev;
    return 0;
}

const struct engine_ops *engine_ref(void)
{
    static const struct engine_ops ops = {
        .abi = ENGINE_ABI,
        .name = "ref",
        .score = score,
        .open = open_dev,
        .close = close_dev,
        .describe = describe,
        .last_error = last_error,
        .precision = precision,
        .host_memory = true,
        .alloc = alloc,
        .free = free_mem,
        .upload = copy,
        .download = copy,
        .copy = copy,
        .fill = fill,
        .mark = mark,
        .passed = passed,
        .finish = finish,
        .conv_available = ref_conv_available,
        .conv_plan = ref_conv_plan,
        .conv_pack = ref_conv_pack,
        .conv_run = ref_conv_run,
        .conv_free = ref_conv_free,
        .conv_name = ref_conv_name,
        .run = ref_run,
    };

    return &ops;
}
