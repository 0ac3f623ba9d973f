/* Kernels over flat arrays: bodies of elem.h and optim.h. */
#include "engine/ref/ref_private.h"

#include "engine/kern/elem.h"
#include "engine/kern/sgd.h"
#include "engine/kern/verdict.h"

#define CHUNKS(n) (((n) + REF_WIDE - 1) / REF_WIDE)

typedef void chunk_fn(const void *args, int64_t i, int n);

/* fn for elements i .. i+n-1, in pieces of REF_WIDE. */
static void each_chunk(const void *args, int64_t n, chunk_fn *fn)
{
    int64_t j, chunks = CHUNKS(n);

    REF_PARALLEL
    for (j = 0; j < chunks; j++) {
        int64_t i = j * REF_WIDE;

        fn(args, i, (int)(n - i < REF_WIDE ? n - i : REF_WIDE));
    }
}

static void image_chunk(const void *args, int64_t row, int n)
{
    const struct kern_image *a = args;
    double y[64];
    int i, ch;

    for (i = 0; i < n; i++) {
        const uint8_t *x = a->x + (row + i) * a->c;

        for (ch = 0; ch < a->cy; ch++)
            y[ch] = ch >= a->c ? 0
                               : kern_image_at(x[ch], (double)a->mul[ch],
                                               (double)a->add[ch]);
        ref_store(a->dt, a->y, (row + i) * a->cy, a->cy, y);
    }
}

/* Row `row` of picture i, normalised and erased. */
static void image_pixel(const struct kern_image *a, int64_t i, int64_t row,
                        double *y)
{
    const uint8_t *x = a->x + (i * a->h * a->w + row) * a->c;
    bool erased =
        a->erase && kern_inside(a->erase + 4 * i, row / a->w, row % a->w);
    int ch;

    for (ch = 0; ch < a->cy; ch++)
        y[ch] = ch >= a->c || erased ? 0
                                     : kern_image_at(x[ch], (double)a->mul[ch],
                                                     (double)a->add[ch]);
}

static void mixed_chunk(const void *args, int64_t row, int n)
{
    const struct kern_image *a = args;
    int64_t size = a->h * a->w, pictures = a->rows / size, end = row + n;
    double y[64], other[64];
    int ch;

    for (; row < end; row++) {
        int64_t i = row / size, at = row % size;
        bool cut = kern_inside(a->box, at / a->w, at % a->w);

        image_pixel(a, i, at, y);
        if (cut || a->mix > 0)
            image_pixel(a, (i + pictures - 1) % pictures, at, other);
        for (ch = 0; cut && ch < a->cy; ch++)
            y[ch] = other[ch];
        for (ch = 0; !cut && a->mix > 0 && ch < a->cy; ch++)
            y[ch] = kern_mixed(y[ch], other[ch], 1 - a->mix, a->mix);
        ref_store(a->dt, a->y, row * a->cy, a->cy, y);
    }
}

void ref_image(const void *args)
{
    const struct kern_image *a = args;

    each_chunk(args, a->rows, a->h > 0 ? mixed_chunk : image_chunk);
}

static void cast_chunk(const void *args, int64_t i, int n)
{
    const struct kern_cast *a = args;
    double x[REF_WIDE];

    ref_load(a->from, a->x, i, n, x);
    ref_store(a->to, a->y, i, n, x);
}

void ref_cast(const void *args)
{
    each_chunk(args, ((const struct kern_cast *)args)->n, cast_chunk);
}

static void add_chunk(const void *args, int64_t i, int n)
{
    const struct kern_add *k = args;
    double a[REF_WIDE], b[REF_WIDE];
    int j;

    ref_load(k->dt, k->a, i, n, a);
    ref_load(k->dt, k->b, i, n, b);
    for (j = 0; j < n; j++)
        a[j] += b[j];
    ref_store(k->dt, k->y, i, n, a);
}

void ref_add(const void *args)
{
    each_chunk(args, ((const struct kern_add *)args)->n, add_chunk);
}

static void relu_chunk(const void *args, int64_t i, int n)
{
    const struct kern_relu *a = args;
    double x[REF_WIDE];
    int j;

    ref_load(a->dt, a->x, i, n, x);
    for (j = 0; j < n; j++)
        x[j] = kern_relu_at(x[j]);
    ref_store(a->dt, a->y, i, n, x);
}

void ref_relu(const void *args)
{
    each_chunk(args, ((const struct kern_relu *)args)->n, relu_chunk);
}

static void relu_grad_chunk(const void *args, int64_t i, int n)
{
    const struct kern_relu_grad *a = args;
    double y[REF_WIDE], d0[REF_WIDE], d1[REF_WIDE];
    int j;

    ref_load(a->dt, a->y, i, n, y);
    ref_load(a->dt, a->dy0, i, n, d0);
    if (a->dy1)
        ref_load(a->dt, a->dy1, i, n, d1);
    for (j = 0; j < n; j++)
        d0[j] = kern_relu_grad_at(y[j], a->dy1 ? d0[j] + d1[j] : d0[j]);
    ref_store(a->dt, a->dx, i, n, d0);
}

void ref_relu_grad(const void *args)
{
    each_chunk(args, ((const struct kern_relu_grad *)args)->n, relu_grad_chunk);
}

static void check_block(const struct kern_grad_check *a, int64_t i, int64_t end,
                        double *part)
{
    double g[REF_WIDE];
    int64_t n, j;

    part[0] = part[1] = part[2] = 0;
    for (; i < end; i += n) {
        n = end - i < REF_WIDE ? end - i : REF_WIDE;
        ref_load(a->pt, a->g, i, n, g);
        for (j = 0; j < n; j++) {
            if (kern_finite(g[j])) {
                part[0] += g[j] * g[j];
            } else {
                part[1] += 1;
                part[2] = (double)(1 + a->base + i + j);
            }
        }
    }
}

void ref_grad_check(const void *args)
{
    const struct kern_grad_check *a = args;
    int64_t b, block = CHUNKS(CHUNKS(a->n)) * REF_WIDE;
    double part[REF_WIDE][3];
    int64_t blocks;

    /* At most REF_WIDE blocks, cut by n alone. */
    blocks = block ? (a->n + block - 1) / block : 0;
    REF_PARALLEL
    for (b = 0; b < blocks; b++) {
        int64_t end = (b + 1) * block < a->n ? (b + 1) * block : a->n;

        check_block(a, b * block, end, part[b]);
    }
    for (b = 0; b < blocks; b++) {
        a->stats[0] += part[b][0];
        a->stats[1] += part[b][1];
        if (part[b][1] > 0 && part[b][2] > a->stats[2])
            a->stats[2] = part[b][2];
    }
}

static void sgd_chunk(const void *args, int64_t i, int n)
{
    const struct kern_sgd *a = args;
    double w[REF_WIDE], m[REF_WIDE], g[REF_WIDE];
    int j;

    ref_load(a->pt, a->w, i, n, w);
    ref_load(a->pt, a->m, i, n, m);
    ref_load(a->pt, a->g, i, n, g);
    for (j = 0; j < n; j++)
        kern_sgd_at(a, g[j], &w[j], &m[j]);
    ref_store(a->pt, a->w, i, n, w);
    ref_store(a->pt, a->m, i, n, m);
}

void ref_sgd(const void *args)
{
    struct kern_sgd own;

    if (kern_sgd_begin(args, &own))
        each_chunk(&own, own.n, sgd_chunk);
}

void ref_step(const void *args)
{
    kern_step_at(args);
}

static void ema_chunk(const void *args, int64_t i, int n)
{
    const struct kern_ema *a = args;
    double avg[REF_WIDE], w[REF_WIDE];
    int j;

    ref_load(a->pt, a->avg, i, n, avg);
    ref_load(a->pt, a->w, i, n, w);
    for (j = 0; j < n; j++)
        avg[j] = kern_ema_at(a, avg[j], w[j]);
    ref_store(a->pt, a->avg, i, n, avg);
}

void ref_ema(const void *args)
{
    each_chunk(args, ((const struct kern_ema *)args)->n, ema_chunk);
}
