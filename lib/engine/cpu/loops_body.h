/*
 * loops_body.h - the loops over activations, for one element type.
 *
 * loops.isa.c includes this once per type, with EL the type in memory, LD and
 * ST to and from float, VT the type of the vectors of norms and of arithmetic
 * with them (table.h), and FN(name) the name for the type. Rows are cut into
 * blocks of block_rows(c); a block is the work of one thread and has a place of
 * its own for its sums, which are added up afterwards in the order of the
 * blocks. Inside a block all channels of a row are taken in turn, so memory is
 * read in order and any number of channels vectorises.
 */

/* ---- flat loops */

static void FN(add)(const struct kern_add *a)
{
    const EL *p = a->a, *q = a->b;
    int64_t b, i, blocks = flat_blocks(a->n);
    EL *y = a->y;

#pragma omp parallel for private(i) schedule(static) if (blocks > 1)
    for (b = 0; b < blocks; b++) {
#pragma omp simd
        for (i = b * FLAT; i < at_most((b + 1) * FLAT, a->n); i++)
            y[i] = ST(LD(p[i]) + LD(q[i]));
    }
}

static void FN(relu)(const struct kern_relu *a)
{
    int64_t b, i, blocks = flat_blocks(a->n);
    const EL *x = a->x;
    EL *y = a->y;

#pragma omp parallel for private(i) schedule(static) if (blocks > 1)
    for (b = 0; b < blocks; b++) {
#pragma omp simd
        for (i = b * FLAT; i < at_most((b + 1) * FLAT, a->n); i++)
            y[i] = ST(kern_relu_at(LD(x[i])));
    }
}

static void FN(relu_grad)(const struct kern_relu_grad *a)
{
    const EL *y = a->y, *p = a->dy0, *q = a->dy1;
    int64_t b, i, blocks = flat_blocks(a->n);
    EL *dx = a->dx;

#pragma omp parallel for private(i) schedule(static) if (blocks > 1)
    for (b = 0; b < blocks; b++) {
        int64_t end = at_most((b + 1) * FLAT, a->n);

        if (q) {
#pragma omp simd
            for (i = b * FLAT; i < end; i++)
                dx[i] = ST(kern_relu_grad_at(LD(y[i]), LD(p[i]) + LD(q[i])));
        } else {
#pragma omp simd
            for (i = b * FLAT; i < end; i++)
                dx[i] = ST(kern_relu_grad_at(LD(y[i]), LD(p[i])));
        }
    }
}

/* Bytes of images: with as many channels out as in, a pattern of 16 pixels;
 * else pixel by pixel. */
static void FN(image_block)(const struct kern_image *a, int64_t from,
                            int64_t to)
{
    const int c = a->c, step = 16 * c;
    const uint8_t *x = a->x + from * c;
    EL *y = (EL *)a->y + from * a->cy;
    float mul[64], add[64];
    int64_t i = from;
    int j;

    for (j = 0; j < step; j++) {
        mul[j] = a->mul[j % c];
        add[j] = a->add[j % c];
    }
    for (; a->cy == c && i + 16 <= to; i += 16, x += step, y += step) {
#pragma omp simd
        for (j = 0; j < step; j++)
            y[j] = ST(kern_image_at((float)x[j], mul[j], add[j]));
    }
    for (; i < to; i++, x += c, y += a->cy) {
        for (j = 0; j < a->cy; j++)
            y[j] = ST(j < c ? kern_image_at((float)x[j], mul[j], add[j]) : 0);
    }
}

static void FN(put)(void *to, int64_t at, const float *x, int64_t n)
{
    EL *y = (EL *)to + at;
    int64_t i;

#pragma omp simd
    for (i = 0; i < n; i++)
        y[i] = ST(x[i]);
}

static void FN(image)(const struct kern_image *a)
{
    int64_t b, blocks = (a->rows + PIXELS - 1) / PIXELS;

    if (a->h > 0) {
        image_mixed(a, FN(put));
        return;
    }
#pragma omp parallel for schedule(static) if (blocks > 1)
    for (b = 0; b < blocks; b++)
        FN(image_block)(a, b * PIXELS, at_most((b + 1) * PIXELS, a->rows));
}

/* ---- large activations: rows that come next are fetched, and what is written is
 * written past the cache, unless it was read just now */

static bool FN(is_large)(int64_t rows, int64_t c)
{
    return (size_t)(rows * c) * sizeof(EL) >= LARGE;
}

static bool FN(goes_past)(int64_t rows, int64_t c, const void *y, const void *p,
                          const void *q)
{
    return CAN_PAST && FN(is_large)(rows, c) && c <= PAST_WIDE &&
           (size_t)c * sizeof(EL) % LINE == 0 && (uintptr_t)y % LINE == 0 &&
           y != p && y != q;
}

ALWAYS_INLINE void FN(fetch)(bool large, const EL *x, int64_t n)
{
    const char *next = (const char *)x + AHEAD;
    int64_t i, bytes = large ? n * (int64_t)sizeof(EL) : 0;

    for (i = 0; i < bytes; i += LINE)
        __builtin_prefetch(next + i);
}

/* ---- sums over rows: up to RUN rows in fp32, these runs in double; a single
 * chain in fp32 was most of the error of the gradients of biases */

static void FN(colsum_block)(const EL *x, int64_t rows, int64_t c, double *s)
{
    int64_t r, j;

    memset(s, 0, (size_t)c * sizeof(*s));
    for (r = 0; r + 4 <= rows; r += 4, x += 4 * c) {
#pragma omp simd
        for (j = 0; j < c; j++)
            s[j] += (double)((LD(x[j]) + LD(x[j + c])) +
                             (LD(x[j + 2 * c]) + LD(x[j + 3 * c])));
    }
    for (; r < rows; r++, x += c) {
#pragma omp simd
        for (j = 0; j < c; j++)
            s[j] += (double)LD(x[j]);
    }
}

/* s [blocks][c] */
static void FN(colsum)(const struct kern_colsum *a, double *s)
{
    int64_t b, size = block_rows(a->c), blocks = (a->rows + size - 1) / size;
    const EL *x = a->x;

#pragma omp parallel for schedule(static) if (blocks > 1)
    for (b = 0; b < blocks; b++)
        FN(colsum_block)
    (x + b * size * a->c, at_most(size, a->rows - b * size), a->c,
     s + b * a->c);
}

/* Sums of x - shift and of its square; shift is the mean of the first rows of
 * the block, in fp32, so that a mean far from 0 costs no precision. */
static void FN(stats_block)(const EL *x, int64_t rows, int64_t c, bool large,
                            double *part)
{
    float *s = runs_of(part, c), *q = s + c, *shift = q + c;
    int64_t r, j, first = at_most(rows, 8);

    FN(colsum_block)(x, first, c, part);
    for (j = 0; j < c; j++)
        part[j] = (double)(shift[j] = (float)(part[j] / (double)first));
    memset(s, 0, 2 * (size_t)c * sizeof(*s));
    memset(part + c, 0, 2 * (size_t)c * sizeof(*part));
    for (r = 0; r + 4 <= rows; r += 4, x += 4 * c) {
        FN(fetch)(large, x, 4 * c);
#pragma omp simd
        for (j = 0; j < c; j++) {
            float d0 = LD(x[j]) - shift[j], d1 = LD(x[j + c]) - shift[j];
            float d2 = LD(x[j + 2 * c]) - shift[j];
            float d3 = LD(x[j + 3 * c]) - shift[j];

            s[j] += (d0 + d1) + (d2 + d3);
            q[j] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3);
        }
        if (r % RUN == RUN - 4)
            end_run(s, part + c, 2 * c);
    }
    for (; r < rows; r++, x += c) {
#pragma omp simd
        for (j = 0; j < c; j++) {
            float d = LD(x[j]) - shift[j];

            s[j] += d;
            q[j] += d * d;
        }
    }
    end_run(s, part + c, 2 * c);
}

/* part [blocks][PLACES][c]: shift, sum, sum of squares */
static void FN(stats)(const struct kern_norm_stats *a, double *part)
{
    int64_t b, size = block_rows(a->c), blocks = (a->rows + size - 1) / size;
    const EL *x = a->x;

#pragma omp parallel for schedule(static) if (blocks > 1)
    for (b = 0; b < blocks; b++)
        FN(stats_block)
    (x + b * size * a->c, at_most(size, a->rows - b * size), a->c,
     FN(is_large)(a->rows, a->c), part + PLACES * b * a->c);
}

/* ---- normalisation. The flags are constants at every call, so that each
 * combination of terms becomes a loop of its own. */

ALWAYS_INLINE void FN(apply_block)(const struct kern_norm_apply *a,
                                   int64_t from, int64_t rows, const int terms,
                                   const bool relu)
{
    const VT *scale = a->scale, *bias = a->bias;
    const VT *rscale = a->rscale, *rbias = a->rbias;
    int64_t i, j, c = a->c;
    const EL *x = (const EL *)a->x + from * c;
    const EL *r = terms ? (const EL *)a->r + from * c : x;
    _Alignas(64) EL own[PAST_WIDE];
    EL *line = (EL *)a->y + from * c;
    const bool large = FN(is_large)(a->rows, c);
    const bool past = FN(goes_past)(a->rows, c, a->y, a->x, a->r);

    for (i = 0; i < rows; i++, x += c, r += c, line += c) {
        EL *y = past ? own : line;

        FN(fetch)(large, x, c);
        if (terms)
            FN(fetch)(large, r, c);
#pragma omp simd
        for (j = 0; j < c; j++) {
            VT v = (VT)LD(x[j]) * scale[j] + bias[j];
            float f;

            if (terms == 1)
                v += (VT)LD(r[j]);
            if (terms == 2)
                v += (VT)LD(r[j]) * rscale[j] + rbias[j];
            f = (float)v;
            y[j] = ST(relu ? kern_relu_at(f) : f);
        }
        if (past)
            put_past(line, own, (size_t)c * sizeof(*own));
    }
}

/* Lines of the norm that a window holds, each in a slot of own [r][w*c] of this
 * thread; have: which line of all images is in a slot, or -1. */
static void FN(apply_lines)(const struct kern_norm_apply *a, EL *own,
                            int64_t *have, int64_t first, struct FN(window) * w)
{
    const struct kern_pool *pool = &a->pool;
    struct kern_norm_apply one = *a;
    int64_t k, at, width = pool->w * a->c;

    one.rows = pool->w;
    for (k = w->ylo; k < w->yhi; k++) {
        at = (first + k) % pool->r;
        w->line[k] = own + at * width;
        if (have[at] == first + k)
            continue;
        have[at] = first + k;
        one.x = (const EL *)a->x + (first + k) * width;
        one.y = own + at * width;
        if (a->relu)
            FN(apply_block)(&one, 0, one.rows, 0, true);
        else
            FN(apply_block)(&one, 0, one.rows, 0, false);
    }
}

/* With a pool: what the norm makes is nowhere but in a thread's lines. */
static int FN(apply_pooled)(struct cpu *dev, const struct kern_norm_apply *a)
{
    const struct kern_maxpool m =
        kern_pool_there(&a->pool, NULL, a->y, a->c, a->dt);
    int64_t np = kern_out_size(m.h, m.r, m.stride, m.pad);
    int64_t nq = kern_out_size(m.w, m.r, m.stride, m.pad);
    int64_t lines = m.n * np, own = m.r * m.w * m.c;
    EL *work = cpu_work(dev, (size_t)(dev->threads * own) * sizeof(*work));

    if (!work)
        return -1;
#pragma omp parallel num_threads(dev->threads)
    {
        int64_t have[TAPS], line, first, k;
        struct FN(window) w;

        for (k = 0; k < TAPS; k++)
            have[k] = -1;
#pragma omp for schedule(static)
        for (line = 0; line < lines; line++) {
            kern_window(line % np, m.h, m.r, m.stride, m.pad, &w.ylo, &w.yhi);
            first = line / np * m.h + line % np * m.stride - m.pad;
            FN(apply_lines)
            (a, work + omp_get_thread_num() * own, have, first, &w);
            FN(max_line)(&m, &w, line, nq);
        }
    }
    return 1;
}

static void FN(apply)(const struct kern_norm_apply *a)
{
    int64_t b, size = block_rows(a->c), blocks = (a->rows + size - 1) / size;
    int terms = !a->r ? 0 : !a->rscale ? 1 : 2;

#pragma omp parallel for schedule(static) if (blocks > 1)
    for (b = 0; b < blocks; b++) {
        int64_t at = b * size, rows = at_most(size, a->rows - at);

        switch (2 * terms + a->relu) {
#define CASE(t, act)                                                           \
    case 2 * t + act:                                                          \
        FN(apply_block)(a, at, rows, t, act);                                  \
        break
            CASE(0, 0);
            CASE(0, 1);
            CASE(1, 0);
            CASE(1, 1);
            CASE(2, 0);
            CASE(2, 1);
#undef CASE
        }
    }
}

ALWAYS_INLINE void FN(grad_sums_block)(const struct kern_norm_grad_sums *a,
                                       int64_t from, int64_t rows, double *part,
                                       const int flags)
{
    const bool has1 = flags & 1, hasy = flags & 2, hasz = flags & 4;
    const bool hasr = flags & 8, makes = flags & 16, pooled = flags & 32;
    const struct kern_maxpool_grad pool =
        kern_pool_back(&a->pool, a->dy0, a->dy1, NULL, a->c, a->dt);
    const VT *mean = a->mean, *rmean = hasr ? a->rmean : a->mean;
    const VT *scale = makes ? a->scale : mean, *bias = makes ? a->bias : mean;
    const VT *rscale = makes && hasr ? a->rscale : mean;
    const VT *rbias = makes && hasr ? a->rbias : mean;
    int64_t i, j, c = a->c, at = from * c, sums = (hasr ? 3 : 2) * c;
    _Alignas(64) EL got[PAST_WIDE];
    const EL *p = pooled ? got : (const EL *)a->dy0 + at;
    const EL *x = (const EL *)a->x + at;
    const EL *q = has1 ? (const EL *)a->dy1 + at : p;
    const EL *y = hasy ? (const EL *)a->y + at : p;
    const EL *rx = hasr ? (const EL *)a->rx + at : x;
    _Alignas(64) EL own[PAST_WIDE];
    EL *line = hasz ? (EL *)a->dz + at : NULL, *z = NULL;
    const bool large = FN(is_large)(a->rows, c);
    const bool past = hasz && FN(goes_past)(a->rows, c, a->dz, a->dy0, a->dy1);
    float *s1 = runs_of(part, c), *s2 = s1 + c, *rs2 = s2 + c;

    memset(s1, 0, (size_t)sums * sizeof(*s1));
    memset(part, 0, (size_t)sums * sizeof(*part));
    for (i = 0; i < rows; i++) {
        if (hasz)
            z = past ? own : line;
        if (pooled)
            p = FN(unpooled)(&pool, from, rows, i, got);
        else
            FN(fetch)(large, p, c);
        FN(fetch)(large, x, c);
        if (has1)
            FN(fetch)(large, q, c);
        if (hasy)
            FN(fetch)(large, y, c);
        if (hasr)
            FN(fetch)(large, rx, c);
#pragma omp simd
        for (j = 0; j < c; j++) {
            float d = LD(p[j]);

            if (has1)
                d += LD(q[j]);
            if (hasy)
                d = kern_relu_grad_at(LD(y[j]), d);
            if (makes) {
                VT v = (VT)LD(x[j]) * scale[j] + bias[j];

                if (hasr)
                    v += (VT)LD(rx[j]) * rscale[j] + rbias[j];
                d = relu_mask((float)v, ZERO, d);
            }
            s1[j] += d;
            s2[j] += d * (LD(x[j]) - (float)mean[j]);
            if (hasr)
                rs2[j] += d * (LD(rx[j]) - (float)rmean[j]);
            if (hasz)
                z[j] = ST(d);
        }
        if (past)
            put_past(line, own, (size_t)c * sizeof(*own));
        if (i % RUN == RUN - 1 || i == rows - 1)
            end_run(s1, part, sums);
        p += c;
        q += c;
        y += c;
        x += c;
        rx += c;
        if (hasz)
            line += c;
    }
}

/* part [blocks][PLACES][c]: s1, s2, rs2, without the factors invstd, about means
 * rounded to float */
static void FN(grad_sums)(const struct kern_norm_grad_sums *a, double *part)
{
    int64_t b, size = block_rows(a->c), blocks = (a->rows + size - 1) / size;
    int flags = a->pool.r
                    ? 4 | 16 | 32
                    : (a->dy1 ? 1 : 0) | (a->y ? 2 : 0) | (a->dz ? 4 : 0) |
                          (a->rx ? 8 : 0) | (a->scale ? 16 : 0);

#pragma omp parallel for schedule(static) if (blocks > 1)
    for (b = 0; b < blocks; b++) {
        int64_t at = b * size, rows = at_most(size, a->rows - at);
        double *s = part + PLACES * b * a->c;

        switch (flags) {
#define CASE(f)                                                                \
    case f:                                                                    \
        FN(grad_sums_block)(a, at, rows, s, f);                                \
        break
            CASE(0);
            CASE(1);
            CASE(2);
            CASE(3);
            CASE(4);
            CASE(5);
            CASE(6);
            CASE(7);
            CASE(8);
            CASE(9);
            CASE(10);
            CASE(11);
            CASE(12);
            CASE(13);
            CASE(14);
            CASE(15);
            CASE(16);
            CASE(17);
            CASE(20);
            CASE(21);
            CASE(24);
            CASE(25);
            CASE(28);
            CASE(29);
            CASE(52);
        default:
            BUG("sums of form %d", flags);
#undef CASE
        }
    }
}

/* First through the pool, then the sums: of rows that no buffer holds. */
static int FN(sums_apart)(struct cpu *dev, const struct kern_norm_grad_sums *a)
{
    const struct kern_maxpool_grad g =
        kern_pool_back(&a->pool, a->dy0, a->dy1, a->dz, a->c, a->dt);
    struct kern_norm_grad_sums s = *a;

    FN(maxpool_grad)(&g);
    s.pool.r = 0;
    s.dy0 = a->dz;
    s.dy1 = NULL;
    return norm_grad_sums(dev, &s, FN(grad_sums));
}

ALWAYS_INLINE void FN(grad_apply_block)(const struct kern_norm_grad_apply *a,
                                        int64_t from, int64_t rows,
                                        const int flags)
{
    const bool has1 = flags & 1, hasy = flags & 2, hasx = flags & 4;
    const bool makes = flags & 8;
    const VT *scale = makes ? a->scale : a->a, *bias = makes ? a->bias : a->a;
    const VT *ka = a->a, *kb = hasx ? a->b : a->a, *kk = hasx ? a->k : a->a;
    int64_t i, j, c = a->c, at = from * c;
    const EL *p = (const EL *)a->dy0 + at;
    const EL *q = has1 ? (const EL *)a->dy1 + at : p;
    const EL *y = hasy ? (const EL *)a->y + at : p;
    const EL *x = hasx ? (const EL *)a->x + at : p;
    _Alignas(64) EL own[PAST_WIDE];
    EL *line = (EL *)a->dx + at;
    const bool large = FN(is_large)(a->rows, c);
    const bool past = FN(goes_past)(a->rows, c, a->dx, a->dy0, a->dy1);

    for (i = 0; i < rows; i++, p += c, q += c, y += c, x += c, line += c) {
        EL *dx = past ? own : line;

        FN(fetch)(large, p, c);
        if (has1)
            FN(fetch)(large, q, c);
        if (hasy)
            FN(fetch)(large, y, c);
        if (hasx)
            FN(fetch)(large, x, c);
#pragma omp simd
        for (j = 0; j < c; j++) {
            float d = LD(p[j]);
            VT v;

            if (has1)
                d += LD(q[j]);
            if (hasy)
                d = relu_mask(LD(y[j]), 0, d);
            if (makes) {
                v = (VT)LD(x[j]) * scale[j] + bias[j];
                d = relu_mask((float)v, ZERO, d);
            }
            v = ka[j] * (VT)d;
            if (hasx)
                v += kb[j] * (VT)LD(x[j]) + kk[j];
            dx[j] = ST((float)v);
        }
        if (past)
            put_past(line, own, (size_t)c * sizeof(*own));
    }
}

static void FN(grad_apply)(const struct kern_norm_grad_apply *a)
{
    int64_t b, size = block_rows(a->c), blocks = (a->rows + size - 1) / size;
    int flags =
        (a->dy1 ? 1 : 0) | (a->y ? 2 : 0) | (a->x ? 4 : 0) | (a->scale ? 8 : 0);

#pragma omp parallel for schedule(static) if (blocks > 1)
    for (b = 0; b < blocks; b++) {
        int64_t at = b * size, rows = at_most(size, a->rows - at);

        switch (flags) {
#define CASE(f)                                                                \
    case f:                                                                    \
        FN(grad_apply_block)(a, at, rows, f);                                  \
        break
            CASE(0);
            CASE(1);
            CASE(2);
            CASE(3);
            CASE(4);
            CASE(5);
            CASE(6);
            CASE(7);
            CASE(12);
            CASE(13);
        default:
            BUG("gradients of form %d", flags);
#undef CASE
        }
    }
}

/* ---- by number */

static int FN(run)(struct cpu *dev, enum kernel k, const void *args)
{
    const struct kern_norm_apply *apply = args;
    const struct kern_norm_grad_sums *sums = args;

    switch (k) {
    case KERN_IMAGE:
        FN(image)(args);
        return 1;
    case KERN_ADD:
        FN(add)(args);
        return 1;
    case KERN_RELU:
        FN(relu)(args);
        return 1;
    case KERN_RELU_GRAD:
        FN(relu_grad)(args);
        return 1;
    case KERN_COLSUM:
        return sum_columns(dev, args, FN(colsum));
    case KERN_NORM_STATS:
        return norm_stats(dev, args, FN(stats));
    case KERN_NORM_APPLY:
        if (apply->pool.r)
            return FN(apply_pooled)(dev, apply);
        FN(apply)(apply);
        return 1;
    case KERN_NORM_GRAD_SUMS:
        if (sums->pool.r && sums->c > PAST_WIDE)
            return FN(sums_apart)(dev, sums);
        return norm_grad_sums(dev, sums, FN(grad_sums));
    case KERN_NORM_GRAD_APPLY:
        FN(grad_apply)(args);
        return 1;
    case KERN_MAXPOOL:
        FN(maxpool)(args);
        return 1;
    case KERN_MAXPOOL_GRAD:
        FN(maxpool_grad)(args);
        return 1;
    case KERN_AVGPOOL:
        FN(avgpool)(args);
        return 1;
    case KERN_AVGPOOL_GRAD:
        FN(avgpool_grad)(args);
        return 1;
    default:
        return 0;
    }
}
