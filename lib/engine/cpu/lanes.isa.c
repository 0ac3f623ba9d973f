/*
 * A block of sums, rows x vectors, stays in registers. Each term loads the
 * vectors once and one number for each row, which goes to all lanes: fewer loads
 * than multiplications, so these need not wait. With 32 registers the sums of the
 * runs before stay there, too: to store and load them after each run would cost a
 * tenth where a vector takes two cycles to store.
 */
#include "engine/cpu/lanes.h"

#if defined(__AVX512F__) || (defined(__AVX2__) && defined(__FMA__))

#    include <immintrin.h>

#    ifdef __AVX512F__
typedef __m512 vec;
#        define LOAD _mm512_loadu_ps
#        define STORE _mm512_storeu_ps
#        define SPREAD(p) _mm512_set1_ps(*(p))
#        define MADD _mm512_fmadd_ps
#        define ADD _mm512_add_ps
#        define STREAM _mm512_stream_ps
#        define GROUP_LOAD(p, n)                                               \
            _mm256_maskz_loadu_ps((__mmask8)((1u << (n)) - 1), p)
#        define GROUP_STORE(p, n, v)                                           \
            _mm256_mask_storeu_ps(p, (__mmask8)((1u << (n)) - 1), v)
#        define MAX _mm512_max_ps
enum {
    LANES = 16,
    ROWS = 6,
    TURN = 3, /* of them at a time: 12 sums and 12 parts in 32 registers */
    WIDE = 4
};
#    else
typedef __m256 vec;
#        define LOAD _mm256_loadu_ps
#        define STORE _mm256_storeu_ps
#        define SPREAD(p) _mm256_set1_ps(*(p))
#        define MADD _mm256_fmadd_ps
#        define ADD _mm256_add_ps
#        define STREAM _mm256_stream_ps
#        define FIRST(n)                                                       \
            _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(n)),                    \
                               _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
#        define GROUP_LOAD(p, n) _mm256_maskload_ps(p, FIRST(n))
#        define GROUP_STORE(p, n, v) _mm256_maskstore_ps(p, FIRST(n), v)
#        define MAX _mm256_max_ps
enum {
    LANES = 8,
    ROWS = 6,
    TURN = 6, /* 12 sums in 16 registers */
    WIDE = 2
};
#    endif
enum {
    WIDTH = WIDE * LANES
};

#    define EACH(i, n) _Pragma("GCC unroll 8") for (i = 0; i < (n); i++)

static inline void keep(float *y, vec sum, bool add)
{
    STORE(y, add ? ADD(LOAD(y), sum) : sum);
}

static inline void fetch(struct lane_ahead *a)
{
    const char *to = a->next + a->step * 64;

    if (to > a->end)
        to = a->end;
    for (; a->next < to; a->next += 64)
        __builtin_prefetch(a->next, 0, 2);
}

/* s += one number of each row, x[i][t], times the vectors at b. These are loaded
 * once, which compilers do not always see. */
static inline void multiply_term(vec s[TURN][WIDE], const float *const x[TURN],
                                 int64_t t, const float *b)
{
    vec v[WIDE], of;
    int i, j;

    EACH(j, WIDE)
    {
        v[j] = LOAD(b + j * LANES);
        __asm__("" : "+v"(v[j]));
    }
    EACH(i, TURN)
    {
        of = SPREAD(x[i] + t);
        EACH(j, WIDE)
        s[i][j] = MADD(of, v[j], s[i][j]);
    }
}

static inline void begin(vec s[TURN][WIDE])
{
    int i, j;

    EACH(i, TURN)
    EACH(j, WIDE)
    s[i][j] = (vec){0};
}

static inline void end_run(vec s[TURN][WIDE], vec part[TURN][WIDE], bool add)
{
    int i, j;

    EACH(i, TURN)
    EACH(j, WIDE)
    part[i][j] = add ? ADD(part[i][j], s[i][j]) : s[i][j];
}

/* One run of the terms of a group -> part. Most are whole: with a loop of known
 * length they are an eighth faster. */
static inline void multiply_terms(const float *const row[TURN], int64_t t,
                                  int64_t end, const float *b,
                                  vec part[TURN][WIDE])
{
    const bool add = t > 0;
    vec s[TURN][WIDE];
    int k;

    begin(s);
    b += t * WIDTH;
    if (end - t == LANE_TERMS) {
        for (k = 0; k < LANE_TERMS; k++)
            multiply_term(s, row, t + k, b + k * WIDTH);
    } else {
        for (; t < end; t++, b += WIDTH)
            multiply_term(s, row, t, b);
    }
    end_run(s, part, add);
}

static void multiply(const struct lane_rows *r)
{
    const float *row[TURN];
    vec part[TURN][WIDE];
    int64_t m, t, end;
    int i, j;

    for (m = 0; m < r->n; m += TURN) {
        EACH(i, TURN)
        row[i] = r->x + r->pixel[m + i] * r->line;
        t = 0;
        do {
            end = t + LANE_TERMS < r->terms ? t + LANE_TERMS : r->terms;
            fetch(r->ahead);
            multiply_terms(row, t, end, r->b, part);
            t = end;
        } while (t < r->terms);
        EACH(i, TURN)
        EACH(j, WIDE)
        keep(r->sum + r->at[m + i] * (int64_t)WIDTH + j * LANES, part[i][j],
             r->add);
    }
}

/* One pair, of the rows from `first` on. */
static inline void multiply_pair(vec s[TURN][WIDE], const struct lane_pairs *p,
                                 int first, int64_t t)
{
    const float *a = p->a + p->at[t] * (int64_t)ROWS + first, *x[TURN];
    int i;

    EACH(i, TURN)
    x[i] = a + i;
    multiply_term(s, x, 0, p->b + p->pixel[t] * (int64_t)WIDTH);
}

/* One run of pairs -> part */
static inline void multiply_run(const struct lane_pairs *p, int first,
                                int64_t t, int64_t end, vec part[TURN][WIDE])
{
    const bool add = t > 0;
    vec s[TURN][WIDE];
    int k;

    begin(s);
    if (end - t == LANE_TERMS) {
        for (k = 0; k < LANE_TERMS; k++)
            multiply_pair(s, p, first, t + k);
    } else {
        for (; t < end; t++)
            multiply_pair(s, p, first, t);
    }
    end_run(s, part, add);
}

static void multiply_pairs(const struct lane_pairs *p)
{
    vec part[TURN][WIDE];
    int64_t t, end;
    int first, i, j;

    for (i = 0; i < p->rows; i++)
        for (j = 0; j < WIDTH; j += 16)
            __builtin_prefetch(p->sum + i * p->line + j, 1);
    for (first = 0; first < p->rows; first += TURN) {
        t = 0;
        do { /* once at least: no pairs are a sum too */
            end = t + LANE_TERMS < p->n ? t + LANE_TERMS : p->n;
            fetch(&p->ahead[0]);
            fetch(&p->ahead[1]);
            multiply_run(p, first, t, end, part);
            t = end;
        } while (t < p->n);
        EACH(i, TURN)
        EACH(j, WIDE)
        if (first + i < p->rows)
            keep(p->sum + (first + i) * p->line + j * LANES, part[i][j],
                 p->add);
    }
}

static void cut(const struct lane_cut *c)
{
    int64_t i, b;
    int j;

    for (i = 0; i < c->n; i++) {
        const float *x = c->x + i * c->line;
        float *out = c->out + i * WIDTH;

        for (b = 0; b < c->line; b += WIDTH, out += c->next)
            EACH(j, WIDE)
        STORE(out + j * LANES, LOAD(x + b + j * LANES));
    }
}

/* Rows from..to of the group that begins at number b. */
static inline void cut_group(const struct lane_cut *c, int64_t b, int64_t from,
                             int64_t to, int64_t n)
{
    float *out = c->out + b / ROWS * c->next;
    int64_t i;

    for (i = from; i < to; i++)
        GROUP_STORE(out + i * ROWS, ROWS,
                    GROUP_LOAD(c->x + i * c->line + b, n));
}

static void cut_groups(const struct lane_cut *c)
{
    enum {
        TOGETHER = 8 /* rows: they fill lines of the cache */
    };
    int64_t whole = c->line / ROWS * ROWS, from, to, b;

    for (from = 0; from < c->n; from = to) {
        to = from + TOGETHER < c->n ? from + TOGETHER : c->n;
        for (b = 0; b < whole; b += ROWS)
            cut_group(c, b, from, to, ROWS);
        if (whole < c->line) /* zeros after the last */
            cut_group(c, b, from, to, c->line - whole);
    }
}

static void store(const struct lane_store *s)
{
    const float *sum = s->sum;
    const vec zero = {0};
    int64_t i, at;
    int j;

    for (i = 0; i < s->n; i++) {
        at = s->pixel[i] * s->line;
        for (j = 0; j < WIDTH; j += LANES, sum += LANES) {
            vec v = LOAD(sum);

            if (s->bias)
                v = ADD(v, LOAD(s->bias + j));
            if (s->add)
                v = ADD(v, LOAD(s->add + at + j));
            if (s->relu) /* the order keeps NaN, the sum makes -0 0 */
                v = ADD(MAX(zero, v), zero);
            if (s->past)
                STREAM(s->y + at + j, v);
            else
                STORE(s->y + at + j, v);
        }
    }
    if (s->past)
        _mm_sfence();
}

const struct lane_ops ISA_NAME(lane_ops) = {
    .places = ROWS,
    .width = WIDTH,
    .multiply = multiply,
    .multiply_pairs = multiply_pairs,
    .cut = cut,
    .cut_groups = cut_groups,
    .store = store,
};

#else

const struct lane_ops ISA_NAME(lane_ops) = {0};

#endif
