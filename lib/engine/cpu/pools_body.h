/*
 * pools_body.h - pools and the adjoint of columns, for one element type: included
 * before loops_body.h, with the same macros.
 */

/* ---- pools, LANES channels at a time */

struct FN(window) {
    int64_t ylo, yhi, xlo, xhi; /* offsets inside the image */
    const EL *line[TAPS];       /* of the image, of each offset down */
    int64_t x;                  /* in a line, of offset 0; perhaps before it */
};

/* lanes channels of one window; index or NULL */
ALWAYS_INLINE void FN(max_lanes)(const struct kern_maxpool *a,
                                 const struct FN(window) * w, int64_t ch, EL *y,
                                 uint8_t *index, const int lanes)
{
    int32_t which[LANES];
    float best[LANES];
    int64_t ky, kx;
    int j;

    for (j = 0; j < lanes; j++) {
        best[j] = LD(w->line[w->ylo][(w->x + w->xlo) * a->c + ch + j]);
        which[j] = (int32_t)(w->ylo * a->r + w->xlo);
    }
    for (ky = w->ylo; ky < w->yhi; ky++) {
        for (kx = w->xlo; kx < w->xhi; kx++) {
            const EL *x = w->line[ky] + (w->x + kx) * a->c + ch;
            int32_t tap = (int32_t)(ky * a->r + kx);

#pragma omp simd
            for (j = 0; j < lanes; j++) {
                float v = LD(x[j]);
                int takes = (v > best[j]) | ((v != v) & (best[j] == best[j]));

                best[j] = takes ? v : best[j];
                which[j] = takes ? tap : which[j];
            }
        }
    }
#pragma omp simd
    for (j = 0; j < lanes; j++)
        y[j] = ST(best[j]);
    for (j = 0; index && j < lanes; j++)
        index[j] = (uint8_t)which[j];
}

/* Line `line` of the result, of nq windows; of w the lines are there. */
static void FN(max_line)(const struct kern_maxpool *a, struct FN(window) * w,
                         int64_t line, int64_t nq)
{
    int64_t q, ch, at;
    EL *y = a->y;

    for (q = 0; q < nq; q++) {
        kern_window(q, a->w, a->r, a->stride, a->pad, &w->xlo, &w->xhi);
        w->x = q * a->stride - a->pad;
        at = (line * nq + q) * a->c;
        for (ch = 0; ch < a->c; ch += LANES) {
            uint8_t *index = a->index ? a->index + at + ch : NULL;

            if (a->c - ch >= LANES)
                FN(max_lanes)(a, w, ch, y + at + ch, index, LANES);
            else
                FN(max_lanes)(a, w, ch, y + at + ch, index, (int)(a->c - ch));
        }
    }
}

static void FN(maxpool)(const struct kern_maxpool *a)
{
    int64_t np = kern_out_size(a->h, a->r, a->stride, a->pad);
    int64_t nq = kern_out_size(a->w, a->r, a->stride, a->pad);
    int64_t line, lines = a->n * np;

#pragma omp parallel for schedule(static)
    for (line = 0; line < lines; line++) {
        int64_t p = line % np, k;
        int64_t y = line / np * a->h + p * a->stride - a->pad;
        struct FN(window) w;

        kern_window(p, a->h, a->r, a->stride, a->pad, &w.ylo, &w.yhi);
        for (k = w.ylo; k < w.yhi; k++)
            w.line[k] = (const EL *)a->x + (y + k) * a->w * a->c;
        FN(max_line)(a, &w, line, nq);
    }
}

/* sum += where index is tap, dy0 (+ dy1) */
ALWAYS_INLINE void FN(unpool_lanes)(float *sum, const uint8_t *index, int tap,
                                    const EL *p, const EL *q, const int lanes)
{
    int j;

    if (q) {
#pragma omp simd
        for (j = 0; j < lanes; j++) {
            float v = LD(p[j]) + LD(q[j]);

            sum[j] += (int)index[j] == tap ? v : 0;
        }
    } else {
#pragma omp simd
        for (j = 0; j < lanes; j++) {
            float v = LD(p[j]);

            sum[j] += (int)index[j] == tap ? v : 0;
        }
    }
}

/* One place of the input, from the windows p0..p1, q0..q1 that hold it. */
struct FN(place) {
    int64_t y, x;           /* in the image, plus pad */
    int64_t lo, hi, p0, p1; /* windows across, windows down */
    int64_t first;          /* line of windows 0 of the image */
    int64_t nq;
};

static void FN(unpool_place)(const struct kern_maxpool_grad *a,
                             const struct FN(place) * w, EL *dx)
{
    const EL *dy0 = a->dy0, *dy1 = a->dy1;
    int64_t ch, p, q;
    int j, lanes;

    for (ch = 0; ch < a->c; ch += LANES) {
        float sum[LANES] = {0};

        lanes = (int)at_most(LANES, a->c - ch);
        for (p = w->p0; p < w->p1; p++) {
            for (q = w->lo; q < w->hi; q++) {
                int64_t at = ((w->first + p) * w->nq + q) * a->c + ch;
                int tap =
                    (int)((w->y - p * a->stride) * a->r + w->x - q * a->stride);
                const EL *more = dy1 ? dy1 + at : NULL;

                if (lanes == LANES)
                    FN(unpool_lanes)
                (sum, a->index + at, tap, dy0 + at, more, LANES);
                else FN(unpool_lanes)(sum, a->index + at, tap, dy0 + at, more,
                                      lanes);
            }
        }
        for (j = 0; j < lanes; j++)
            dx[ch + j] = ST(sum[j]);
    }
}

/* Places [from, from+n) of the input, counted over all images, to dx. */
static void FN(unpool)(const struct kern_maxpool_grad *a, int64_t from,
                       int64_t n, EL *dx)
{
    int64_t np = kern_out_size(a->h, a->r, a->stride, a->pad);
    int64_t nq = kern_out_size(a->w, a->r, a->stride, a->pad);
    int64_t line = from / a->w, x = from % a->w;

    for (; n > 0; line++, x = 0) {
        struct FN(place) w = {.y = line % a->h + a->pad, .nq = nq};

        w.first = line / a->h * np;
        kern_windows_of(line % a->h, np, a->r, a->stride, a->pad, &w.p0, &w.p1);
        for (; x < a->w && n > 0; x++, n--, dx += a->c) {
            w.x = x + a->pad;
            kern_windows_of(x, nq, a->r, a->stride, a->pad, &w.lo, &w.hi);
            FN(unpool_place)(a, &w, dx);
        }
    }
}

/* Of a pass over places from, from + 1 ...: the gradients at place from + i, which
 * come as many at once as got [PAST_WIDE] holds. */
ALWAYS_INLINE const EL *FN(unpooled)(const struct kern_maxpool_grad *a,
                                     int64_t from, int64_t rows, int64_t i,
                                     EL *got)
{
    int64_t some = PAST_WIDE / a->c;

    if (i % some == 0)
        FN(unpool)(a, from + i, at_most(some, rows - i), got);
    return got + i % some * a->c;
}

static void FN(maxpool_grad)(const struct kern_maxpool_grad *a)
{
    int64_t line, lines = a->n * a->h;

#pragma omp parallel for schedule(static)
    for (line = 0; line < lines; line++)
        FN(unpool)
    (a, line * a->w, a->w, (EL *)a->dx + line * a->w * a->c);
}

static void FN(avgpool)(const struct kern_avgpool *a)
{
    int64_t per = (a->c + WIDE - 1) / WIDE, u, i, j;

#pragma omp parallel for private(i, j) schedule(static)
    for (u = 0; u < a->n * per; u++) {
        int64_t img = u / per, ch = u % per * WIDE;
        int64_t lanes = at_most(WIDE, a->c - ch);
        const EL *x = (const EL *)a->x + img * a->hw * a->c + ch;
        EL *y = (EL *)a->y + img * a->c + ch;
        double sum[WIDE] = {0};

        for (i = 0; i < a->hw; i++, x += a->c) {
#pragma omp simd
            for (j = 0; j < lanes; j++)
                sum[j] += (double)LD(x[j]);
        }
        for (j = 0; j < lanes; j++)
            y[j] = ST((float)(sum[j] / (double)a->hw));
    }
}

static void FN(avgpool_grad)(const struct kern_avgpool_grad *a)
{
    int64_t u, j, c = a->c, rows = a->n * a->hw;
    const EL *dy0 = a->dy0, *dy1 = a->dy1;
    EL *dx = a->dx;

#pragma omp parallel for private(j) schedule(static)
    for (u = 0; u < rows; u++) {
        int64_t at = u / a->hw * c;

        if (dy1) {
#pragma omp simd
            for (j = 0; j < c; j++)
                dx[u * c + j] = ST(kern_mean_of(
                    LD(dy0[at + j]) + LD(dy1[at + j]), (float)a->hw));
        } else {
#pragma omp simd
            for (j = 0; j < c; j++)
                dx[u * c + j] = ST(kern_mean_of(LD(dy0[at + j]), (float)a->hw));
        }
    }
}

/* ---- the adjoint of columns */

/* One place: all windows that hold it, in their order. */
static void FN(fold_place)(const struct conv_desc *d, const float *columns,
                           const struct FN(place) * w, EL *dx)
{
    int64_t ch, p, q, c = d->c;
    int j, lanes;

    for (ch = 0; ch < c; ch += LANES) {
        float sum[LANES] = {0};

        lanes = (int)at_most(LANES, c - ch);
        for (p = w->p0; p < w->p1; p++) {
            for (q = w->lo; q < w->hi; q++) {
                int64_t r = w->y - p * d->stride, s = w->x - q * d->stride;
                int64_t at = (((w->first + p) * w->nq + q) * d->r + r) * d->s;
                const float *x = columns + (at + s) * c + ch;

#pragma omp simd
                for (j = 0; j < lanes; j++)
                    sum[j] += x[j];
            }
        }
#pragma omp simd
        for (j = 0; j < lanes; j++)
            dx[ch + j] = ST(sum[j]);
    }
}

static void FN(fold)(const struct conv_desc *d, const float *columns, EL *dx)
{
    int64_t np = kern_out_size(d->h, d->r, d->stride, d->pad);
    int64_t nq = kern_out_size(d->w, d->s, d->stride, d->pad);
    int64_t line, x, lines = d->n * d->h;

#pragma omp parallel for private(x) schedule(static)
    for (line = 0; line < lines; line++) {
        struct FN(place) w = {.y = line % d->h + d->pad, .nq = nq};

        w.first = line / d->h * np;
        kern_windows_of(line % d->h, np, d->r, d->stride, d->pad, &w.p0, &w.p1);
        for (x = 0; x < d->w; x++) {
            w.x = x + d->pad;
            kern_windows_of(x, nq, d->s, d->stride, d->pad, &w.lo, &w.hi);
            FN(fold_place)(d, columns, &w, dx + (line * d->w + x) * d->c);
        }
    }
}
