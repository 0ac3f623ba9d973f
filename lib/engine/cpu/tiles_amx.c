/*
 * Tiles by AMX (Intel 64 and IA-32 Architectures Software Developer's Manual,
 * volume 1, chapter 18): eight registers of 16 rows of 64 bytes; TDPBF16PS adds
 * the product of 16 x 32 and 32 x 16 numbers to 16 x 16 sums.
 */
#include "engine/cpu/tiles.h"
#include "util/isa.h"

#if defined(__x86_64__) && defined(__linux__)

#    include <cpuid.h>
#    include <immintrin.h>
#    include <pthread.h>
#    include <sys/syscall.h>
#    include <unistd.h>

#    define AMX                                                                \
        __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16," \
                              "amx-tile,amx-bf16")))
#    define INLINE AMX static inline __attribute__((always_inline))

enum {
    HALF = 16,    /* rows of a register, columns of fp32 */
    RUN = 16,     /* steps whose sums stay in registers */
    TOGETHER = 4, /* steps for which one sum of all is exact enough */
    REQ_XCOMP_PERM = 0x1023, /* arch_prctl: asm/prctl.h of Linux 5.16 */
    XTILEDATA = 18,
    AHEAD = 16 /* rows that are fetched before they are copied */
};

/* For LDTILECFG: all registers are full. Not a local variable: gcc 12 does not
 * see that the instruction reads all of it. */
static const struct {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} full = {.palette = 1,
          .bytes = {64, 64, 64, 64, 64, 64, 64, 64},
          .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

AMX static void begin(void)
{
    _tile_loadconfig(&full);
}

AMX static void end(void)
{
    _tile_release();
}

/* ---- products: sums in registers 0 to 3, A in 4 and 5, B in 6 and 7 */

#    define LOAD_A(plane)                                                      \
        do {                                                                   \
            _tile_loadd(4, a + (plane)*r->a_plane, r->a_row);                  \
            _tile_loadd(5, a + (plane)*r->a_plane + HALF * r->a_row,           \
                        r->a_row);                                             \
        } while (0)
#    define LOAD_B(plane)                                                      \
        do {                                                                   \
            _tile_loadd(6, b + (plane)*2 * TILE_BYTES, TILE_ROW);              \
            _tile_loadd(7, b + ((plane)*2 + 1) * TILE_BYTES, TILE_ROW);        \
        } while (0)
#    define MULTIPLY()                                                         \
        do {                                                                   \
            _tile_dpbf16ps(0, 4, 6);                                           \
            _tile_dpbf16ps(1, 4, 7);                                           \
            _tile_dpbf16ps(2, 5, 6);                                           \
            _tile_dpbf16ps(3, 5, 7);                                           \
        } while (0)

/* The products of first pieces in the steps from..to-1. */
AMX static void multiply_first(const struct tile_run *r, int from, int to)
{
    const size_t step = (size_t)r->planes * 2 * TILE_BYTES;
    const char *b = r->b + (size_t)from * step;
    int i;

    for (i = from; i < to; i++, b += step) {
        const char *a = r->a + r->shift[i];

        LOAD_A(0);
        LOAD_B(0);
        MULTIPLY();
    }
}

/* The five others, 2^-8 as large and less. The order loads each tile once. */
AMX static void multiply_rest(const struct tile_run *r)
{
    const char *b = r->b;
    int i;

    for (i = 0; i < r->steps; i++, b += TILE_PLANES * 2 * TILE_BYTES) {
        const char *a = r->a + r->shift[i];

        LOAD_A(2);
        LOAD_B(0);
        MULTIPLY();
        LOAD_A(1);
        MULTIPLY();
        LOAD_B(1);
        MULTIPLY();
        LOAD_A(0);
        MULTIPLY();
        LOAD_B(2);
        MULTIPLY();
    }
}

AMX static void clear(void)
{
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

AMX static void fill(const float *c)
{
    const size_t line = TILE * sizeof(float);

    _tile_loadd(0, c, line);
    _tile_loadd(1, c + HALF, line);
    _tile_loadd(2, c + HALF * TILE, line);
    _tile_loadd(3, c + HALF * TILE + HALF, line);
}

AMX static void keep(float *c)
{
    const size_t line = TILE * sizeof(float);

    _tile_stored(0, c, line);
    _tile_stored(1, c + HALF, line);
    _tile_stored(2, c + HALF * TILE, line);
    _tile_stored(3, c + HALF * TILE + HALF, line);
}

/* sum += x; what rounding took from the sum goes to low (Knuth's TwoSum) */
INLINE void add_exactly(__m512 x, __m512 *sum, __m512 *low)
{
    __m512 s = _mm512_add_ps(*sum, x), part = _mm512_sub_ps(s, *sum);
    __m512 lost = _mm512_add_ps(_mm512_sub_ps(*sum, _mm512_sub_ps(s, part)),
                                _mm512_sub_ps(x, part));

    *low = _mm512_add_ps(*low, lost);
    *sum = s;
}

AMX static void add_part(const float *part, float *sum, float *low)
{
    int i;

    for (i = 0; i < TILE * TILE; i += HALF) {
        __m512 s = _mm512_load_ps(sum + i), l = _mm512_load_ps(low + i);

        add_exactly(_mm512_load_ps(part + i), &s, &l);
        _mm512_store_ps(sum + i, s);
        _mm512_store_ps(low + i, l);
    }
}

/*
 * Products of first pieces have 16 bits: so few of them add up in 24 bits with
 * hardly any rounding, unless the others, 2^-8 as large and less, are already
 * in the sum. So these have sums of their own, and long ones are cut in runs.
 * One sum of all 144 steps of a window of 3x3x512 was three times as far off.
 */
AMX static void multiply_pieces(const struct tile_run *r)
{
    _Alignas(64) float low[TILE * TILE], sum[TILE * TILE], part[TILE * TILE];
    int i, end = r->steps < RUN ? r->steps : RUN;
    bool apart = r->steps > TOGETHER;

    clear();
    multiply_rest(r);
    if (apart) {
        keep(low);
        clear();
    }
    multiply_first(r, 0, apart ? end : r->steps);
    keep(apart || r->add ? sum : r->c);
    for (; apart && end < r->steps; end += RUN) {
        clear();
        multiply_first(r, end, end + RUN < r->steps ? end + RUN : r->steps);
        keep(part);
        add_part(part, sum, low);
    }
    if (!apart && !r->add)
        return;
    for (i = 0; i < TILE * TILE; i += HALF) {
        __m512 s = _mm512_load_ps(sum + i);

        if (apart)
            s = _mm512_add_ps(s, _mm512_load_ps(low + i));
        if (r->add)
            s = _mm512_add_ps(s, _mm512_load_ps(r->c + i));
        _mm512_store_ps(r->c + i, s);
    }
}

AMX static void multiply(const struct tile_run *r)
{
    if (r->planes > 1) {
        multiply_pieces(r);
        return;
    }
    if (r->add)
        fill(r->c);
    else
        clear();
    multiply_first(r, 0, r->steps);
    keep(r->c);
}

/* ---- cutting numbers: 32 at a time, v->n pieces of them */

struct pieces {
    __m512i p[TILE_PLANES];
};

/* bf16 to fp32, the lower or the upper 16 of them */
INLINE __m512 widen(__m512i v, int upper)
{
    __m256i h =
        upper ? _mm512_extracti64x4_epi64(v, 1) : _mm512_castsi512_si256(v);

    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

/* Of the numbers lo, hi, in this order. */
INLINE struct pieces cut(__m512 lo, __m512 hi, int planes)
{
    struct pieces v;
    int p;

    for (p = 0; p < TILE_PLANES; p++) {
        v.p[p] = (__m512i)_mm512_cvtne2ps_pbh(hi, lo);
        if (p + 1 >= planes)
            break;
        lo = _mm512_sub_ps(lo, widen(v.p[p], 0));
        hi = _mm512_sub_ps(hi, widen(v.p[p], 1));
    }
    return v;
}

static const char *pixel(const struct tile_rows *s, int64_t i)
{
    return s->x + s->at[i] * (ptrdiff_t)s->pixel;
}

/* The 32 numbers of row i. */
INLINE struct pieces row_of(const struct tile_rows *s, int64_t i)
{
    struct pieces v = {{_mm512_setzero_si512(), _mm512_setzero_si512(),
                        _mm512_setzero_si512()}};
    const char *p = pixel(s, i);

    if (s->at[i] < 0)
        return v;
    return cut(_mm512_loadu_ps(p), _mm512_loadu_ps(p + 64), s->planes);
}

/* 16 numbers of rows i and i + 1, in pairs. */
INLINE struct pieces pair_of(const struct tile_rows *s, int64_t i)
{
    const __m512i zip = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11,
                                         26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                         5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const char *p = pixel(s, i), *q = pixel(s, i + 1);
    bool has_p = s->at[i] >= 0, has_q = s->at[i + 1] >= 0;
    struct pieces v;
    int j;

    v = cut(has_p ? _mm512_loadu_ps(p) : _mm512_setzero_ps(),
            has_q ? _mm512_loadu_ps(q) : _mm512_setzero_ps(), s->planes);
    for (j = 0; j < s->planes; j++)
        v.p[j] = _mm512_permutexvar_epi16(zip, v.p[j]);
    return v;
}

AMX static void rows(const struct tile_rows *s, int64_t n, char *out,
                     size_t plane)
{
    int64_t i;
    int p;

    for (i = 0; i < n; i++, out += TILE_ROW) {
        struct pieces v = row_of(s, i);

        for (p = 0; p < s->planes; p++)
            _mm512_store_si512(out + (size_t)p * plane, v.p[p]);
    }
}

AMX static void pairs(const struct tile_rows *s, char *out, size_t plane)
{
    int i, p;

    for (i = 0; i < TILE; i += 2, out += TILE_ROW) {
        struct pieces v = pair_of(s, i);

        for (p = 0; p < s->planes; p++)
            _mm512_store_si512(out + (size_t)p * plane, v.p[p]);
    }
}

/* Rows become columns: 16 x 16 numbers of 32 bits, in four rounds that swap
 * halves of 1, 2, 4 and 8. */
INLINE void turn(__m512i v[HALF])
{
    __m512i t[HALF];
    int i;

    for (i = 0; i < HALF; i += 2) {
        t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
    }
    for (i = 0; i < HALF; i += 4) {
        v[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        v[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        v[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        v[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(v[i], v[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(v[i], v[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0xdd);
    }
    for (i = 0; i < 8; i++) {
        v[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        v[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    }
}

AMX static void turned(const struct tile_rows *s, char *out, size_t plane)
{
    __m512i v[TILE_PLANES][HALF];
    int i, p;

    for (i = 0; i < HALF; i++) {
        struct pieces w = row_of(s, i);

        for (p = 0; p < s->planes; p++)
            v[p][i] = w.p[p];
    }
    for (p = 0; p < s->planes; p++) {
        turn(v[p]);
        for (i = 0; i < HALF; i++)
            _mm512_store_si512(out + (size_t)p * plane + i * TILE_ROW, v[p][i]);
    }
}

/* 16 fp32 numbers of 16 rows, turned. */
INLINE void turned_numbers(const struct tile_rows *s, int64_t first,
                           __m512i v[HALF])
{
    int i;

    for (i = 0; i < HALF; i++)
        v[i] = s->at[first + i] < 0 ? _mm512_setzero_si512()
                                    : _mm512_loadu_si512(pixel(s, first + i));
    turn(v);
}

AMX static void columns(const struct tile_rows *s, char *out, size_t plane,
                        size_t row)
{
    __m512i lo[HALF], hi[HALF];
    int i, p;

    turned_numbers(s, 0, lo);
    turned_numbers(s, HALF, hi);
    for (i = 0; i < HALF; i++, out += row) {
        struct pieces v = cut(_mm512_castsi512_ps(lo[i]),
                              _mm512_castsi512_ps(hi[i]), s->planes);

        for (p = 0; p < s->planes; p++)
            _mm512_storeu_si512(out + (size_t)p * plane, v.p[p]);
    }
}

/* ---- bf16, line after line as they lie in memory */

INLINE __m512i half_row(const struct tile_rows *s, int64_t i, int64_t part)
{
    return s->at[i] < 0 ? _mm512_setzero_si512()
                        : _mm512_loadu_si512(pixel(s, i) + part * TILE_ROW);
}

INLINE void fetch_row(const struct tile_rows *s, int64_t i, int64_t part)
{
    if (s->next && s->next[i] >= 0)
        _mm_prefetch(s->x + s->next[i] * (ptrdiff_t)s->pixel + part * TILE_ROW,
                     _MM_HINT_T0);
}

AMX static void lines(const struct tile_rows *s, int64_t n, int64_t parts,
                      char *out, size_t part)
{
    int64_t i, p;

    for (i = 0; i < n; i++, out += TILE_ROW) {
        bool more = i + AHEAD < n && s->at[i + AHEAD] >= 0;
        const char *next = more ? pixel(s, i + AHEAD) : s->x;

        for (p = 0; p < parts; p++) {
            _mm_prefetch(next + p * TILE_ROW, _MM_HINT_T0);
            _mm512_store_si512(out + (size_t)p * part, half_row(s, i, p));
        }
    }
}

/* The lower or the upper 16 numbers of rows v and w, in pairs. */
INLINE __m512i zip(__m512i v, __m512i w, int upper)
{
    const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11,
                                         42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37,
                                         5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i step = _mm512_set1_epi16((short)(upper ? HALF : 0));

    return _mm512_permutex2var_epi16(v, _mm512_add_epi16(low, step), w);
}

AMX static void zipped(const struct tile_rows *s, int64_t parts, char *out,
                       size_t part)
{
    int64_t i, p;

    for (i = 0; i < TILE; i += 2, out += TILE_ROW) {
        for (p = 0; p < parts; p++) {
            __m512i v = half_row(s, i, p), w = half_row(s, i + 1, p);
            char *to = out + (size_t)p * part;

            fetch_row(s, i, p);
            fetch_row(s, i + 1, p);
            _mm512_store_si512(to, zip(v, w, 0));
            _mm512_store_si512(to + TILE_BYTES, zip(v, w, 1));
        }
    }
}

AMX static void upright(const struct tile_rows *s, int64_t parts, char *out,
                        size_t row)
{
    __m512i v[HALF];
    int64_t p, i;
    int upper;

    for (p = 0; p < parts; p++) {
        for (upper = 0; upper < 2; upper++) {
            for (i = 0; i < HALF; i++) {
                v[i] = zip(half_row(s, 2 * i, p), half_row(s, 2 * i + 1, p),
                           upper);
                fetch_row(s, 2 * i + upper, p);
            }
            turn(v);
            for (i = 0; i < HALF; i++, out += row)
                _mm512_storeu_si512(out, v[i]);
        }
    }
}

/* ---- results */

INLINE void put(const struct tile_store *to, ptrdiff_t place, __m512i v)
{
    if (to->past)
        _mm512_stream_si512((void *)(to->y + place), v);
    else
        _mm512_storeu_si512(to->y + place, v);
}

/* Of columns 0-15 and 16-31. */
struct sums {
    __m512 sum[2], square[2];
};

INLINE void count(struct sums *s, __m512 lo, __m512 hi)
{
    s->sum[0] = _mm512_add_ps(s->sum[0], lo);
    s->sum[1] = _mm512_add_ps(s->sum[1], hi);
    s->square[0] = _mm512_fmadd_ps(lo, lo, s->square[0]);
    s->square[1] = _mm512_fmadd_ps(hi, hi, s->square[1]);
}

INLINE void add_doubles(double *to, __m512 v)
{
    __m512d lo = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
    __m512d hi = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));

    _mm512_storeu_pd(to, _mm512_add_pd(_mm512_loadu_pd(to), lo));
    _mm512_storeu_pd(to + 8, _mm512_add_pd(_mm512_loadu_pd(to + 8), hi));
}

INLINE void keep_sums(const struct tile_store *to, const struct sums *s)
{
    int i;

    for (i = 0; i < 2; i++) {
        add_doubles(to->sum + i * HALF, s->sum[i]);
        add_doubles(to->square + i * HALF, s->square[i]);
    }
}

AMX static void store(const float *c, const int32_t *at,
                      const struct tile_store *to)
{
    const __m512 none = _mm512_setzero_ps();
    __m512 b0 = to->bias ? _mm512_loadu_ps(to->bias) : none;
    __m512 b1 = to->bias ? _mm512_loadu_ps(to->bias + HALF) : none;
    struct sums sums = {{none, none}, {none, none}};
    __m512i v;
    int i;

    for (i = 0; i < TILE; i++, c += TILE) {
        ptrdiff_t place = at[i] * (ptrdiff_t)to->pixel;
        __m512 lo = _mm512_add_ps(_mm512_load_ps(c), b0);
        __m512 hi = _mm512_add_ps(_mm512_load_ps(c + HALF), b1);

        if (at[i] < 0)
            continue;
        if (to->add && to->half) {
            v = _mm512_loadu_si512(to->add + place);
            lo = _mm512_add_ps(lo, widen(v, 0));
            hi = _mm512_add_ps(hi, widen(v, 1));
        } else if (to->add) {
            lo = _mm512_add_ps(lo, _mm512_loadu_ps(to->add + place));
            hi = _mm512_add_ps(hi, _mm512_loadu_ps(to->add + place + 64));
        }
        if (to->relu) { /* the second operand is what NaN gives */
            lo = _mm512_max_ps(none, lo);
            hi = _mm512_max_ps(none, hi);
        }
        if (to->half) {
            v = (__m512i)_mm512_cvtne2ps_pbh(hi, lo);
            put(to, place, v);
            lo = widen(v, 0);
            hi = widen(v, 1);
        } else {
            put(to, place, _mm512_castps_si512(lo));
            put(to, place + 64, _mm512_castps_si512(hi));
        }
        if (to->sum)
            count(&sums, lo, hi);
    }
    if (to->sum)
        keep_sums(to, &sums);
}

AMX static void sum_turned(const struct tile_sum *s)
{
    __m512 sum[HALF];
    __m512i v[HALF];
    int i, r, j, b;

    for (r = 0; r < TILE; r += HALF) {
        for (j = 0; j < TILE; j += HALF) {
            float *y = s->y + j * s->line + r;

            for (i = 0; i < HALF; i++)
                sum[i] = s->add ? _mm512_loadu_ps(y + i * s->line)
                                : _mm512_setzero_ps();
            for (b = 0; b < s->blocks; b++) {
                const float *c = s->c + b * s->next + r * TILE + j;

                for (i = 0; i < HALF; i++)
                    v[i] = _mm512_load_si512(c + i * TILE);
                turn(v);
                for (i = 0; i < HALF; i++)
                    sum[i] = _mm512_add_ps(sum[i], _mm512_castsi512_ps(v[i]));
            }
            for (i = 0; i < HALF; i++)
                _mm512_storeu_ps(y + i * s->line, sum[i]);
        }
    }
}

static const struct tile_ops amx = {
    .name = "amx",
    .begin = begin,
    .end = end,
    .multiply = multiply,
    .rows = rows,
    .turned = turned,
    .pairs = pairs,
    .columns = columns,
    .lines = lines,
    .zipped = zipped,
    .upright = upright,
    .store = store,
    .sum_turned = sum_turned,
};

/* ---- is it there? */

static bool usable;

static void look(void)
{
    unsigned a, b, c, d, bf16 = 1u << 22, tile = 1u << 24;

    if (!isa_here(ISA_AVX512) || !__builtin_cpu_supports("avx512bf16") ||
        !__get_cpuid_count(7, 0, &a, &b, &c, &d) ||
        (d & (bf16 | tile)) != (bf16 | tile))
        return;
    /* Linux gives the registers to who asks; threads inherit them. */
    usable = syscall(SYS_arch_prctl, REQ_XCOMP_PERM, XTILEDATA) == 0;
}

const struct tile_ops *tile_ops_amx(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, look);
    return usable ? &amx : NULL;
}

#else

const struct tile_ops *tile_ops_amx(void)
{
    return NULL;
}

#endif
