/* Loops of the resizer; compiled for each instruction set (ISA). */
#include "vision/resize_kern.h"

#include <string.h>
#ifdef __AVX2__
#    include <immintrin.h>
#endif

#define HALF (1 << 21) /* rounding of 22 bits */
#define BITS 22

/* ---- weighed sums of rows */

#if defined(__AVX512BW__)
#    define VECTOR 64
typedef __m512i vec;
#    define LOAD(p) _mm512_loadu_si512(p)
#    define STORE(p, v) _mm512_storeu_si512(p, v)
#    define ZERO _mm512_setzero_si512()
#    define SET32(x) _mm512_set1_epi32(x)
#    define OP(name) _mm512_##name
#elif defined(__AVX2__)
#    define VECTOR 32
typedef __m256i vec;
#    define LOAD(p) _mm256_loadu_si256((const __m256i *)(p))
#    define STORE(p, v) _mm256_storeu_si256((__m256i *)(void *)(p), v)
#    define ZERO _mm256_setzero_si256()
#    define SET32(x) _mm256_set1_epi32(x)
#    define OP(name) _mm256_##name
#endif

#ifdef VECTOR
/* (hi << 11) + lo, shifted down to a byte's place. */
static inline vec join(vec hi, vec lo)
{
    return OP(srai_epi32)(OP(add_epi32)(OP(slli_epi32)(hi, 11), lo), BITS);
}

/* sum + pairs of 16-bit values times pairs of weights */
static inline vec dot(vec sum, vec a, vec k)
{
    return OP(add_epi32)(sum, OP(madd_epi16)(a, k));
}

/* VECTOR bytes of one output row; p is at the first tap's row. */
static inline vec weigh_vector(const uint8_t *p, size_t stride,
                               const struct resize_tap *t)
{
    vec z = ZERO, half = SET32(HALF);
    vec h0 = z, h1 = z, h2 = z, h3 = z;
    vec l0 = half, l1 = half, l2 = half, l3 = half;
    int q;

    for (q = 0; q < t->pairs; q++, p += 2 * stride) {
        vec a = LOAD(p), b = LOAD(p + stride);
        vec hi = SET32(t->hi[q]), lo = SET32(t->lo[q]);
        vec ab = OP(unpacklo_epi8)(a, b), cd = OP(unpackhi_epi8)(a, b);

        a = OP(unpacklo_epi8)(ab, z);
        b = OP(unpackhi_epi8)(ab, z);
        h0 = dot(h0, a, hi);
        l0 = dot(l0, a, lo);
        h1 = dot(h1, b, hi);
        l1 = dot(l1, b, lo);
        a = OP(unpacklo_epi8)(cd, z);
        b = OP(unpackhi_epi8)(cd, z);
        h2 = dot(h2, a, hi);
        l2 = dot(l2, a, lo);
        h3 = dot(h3, b, hi);
        l3 = dot(l3, b, lo);
    }
    /* packing undoes the order of unpacking, lane by lane */
    return OP(packus_epi16)(OP(packs_epi32)(join(h0, l0), join(h1, l1)),
                            OP(packs_epi32)(join(h2, l2), join(h3, l3)));
}
#endif

#ifdef VECTOR
static void weigh(const uint8_t *in, size_t in_stride,
                  const struct resize_tap *tap, int n, uint8_t *out,
                  size_t out_stride, size_t len)
{
    size_t x;
    int i;

    for (i = 0; i < n; i++, out += out_stride) {
        const uint8_t *p = in + in_stride * (size_t)tap[i].from;

        for (x = 0; x < len; x += VECTOR)
            STORE(out + x, weigh_vector(p + x, in_stride, &tap[i]));
    }
}
#else
static uint8_t clip(int32_t v)
{
    v >>= BITS;
    return v < 0 ? 0 : v > 255 ? 255 : (uint8_t)v;
}

/* sum[x] += two rows, each times its weight */
static void add_pair(int32_t *sum, const uint8_t *a, const uint8_t *b,
                     int32_t ka, int32_t kb)
{
    int x;

    for (x = 0; x < RESIZE_ALIGN; x++)
        sum[x] += a[x] * ka + b[x] * kb;
}

static void weigh(const uint8_t *in, size_t in_stride,
                  const struct resize_tap *tap, int n, uint8_t *out,
                  size_t out_stride, size_t len)
{
    int32_t sum[RESIZE_ALIGN];
    size_t x;
    int i, q, j;

    for (i = 0; i < n; i++, out += out_stride)
        for (x = 0; x < len; x += RESIZE_ALIGN) {
            const uint8_t *p = in + in_stride * (size_t)tap[i].from + x;

            for (j = 0; j < RESIZE_ALIGN; j++)
                sum[j] = HALF;
            for (q = 0; q < tap[i].pairs; q++, p += 2 * in_stride) {
                int32_t h = tap[i].hi[q], l = tap[i].lo[q];

                add_pair(sum, p, p + in_stride, (int16_t)h * 2048 + (int16_t)l,
                         (h >> 16) * 2048 + (l >> 16));
            }
            for (j = 0; j < RESIZE_ALIGN; j++)
                out[x + (size_t)j] = clip(sum[j]);
        }
}
#endif

/* ---- transposition */

static void transpose_part(const uint32_t *in, size_t in_stride, int w, int h,
                           uint32_t *out, size_t out_stride)
{
    int x, y;

    for (y = 0; y < h; y++)
        for (x = 0; x < w; x++)
            out[(size_t)x * out_stride + (size_t)y] =
                in[(size_t)y * in_stride + (size_t)x];
}

#ifdef __AVX2__
#    define LO32(a, b) _mm256_unpacklo_epi32(a, b)
#    define HI32(a, b) _mm256_unpackhi_epi32(a, b)
#    define LO64(a, b) _mm256_unpacklo_epi64(a, b)
#    define HI64(a, b) _mm256_unpackhi_epi64(a, b)
#    define ROW(i) _mm256_loadu_si256((const __m256i *)(in + (i)*is))
#    define PUT(i, a, b, half)                                                 \
        _mm256_storeu_si256((__m256i *)(void *)(out + (i)*os),                 \
                            _mm256_permute2x128_si256(a, b, half))

static inline void tile(const uint32_t *in, size_t is, uint32_t *out, size_t os)
{
    __m256i a = ROW(0), b = ROW(1), c = ROW(2), d = ROW(3);
    __m256i e = ROW(4), f = ROW(5), g = ROW(6), h = ROW(7);
    __m256i ab = LO32(a, b), cd = LO32(c, d), AB = HI32(a, b), CD = HI32(c, d);
    __m256i ef = LO32(e, f), gh = LO32(g, h), EF = HI32(e, f), GH = HI32(g, h);

    a = LO64(ab, cd);
    e = LO64(ef, gh);
    PUT(0, a, e, 0x20);
    PUT(4, a, e, 0x31);
    b = HI64(ab, cd);
    f = HI64(ef, gh);
    PUT(1, b, f, 0x20);
    PUT(5, b, f, 0x31);
    c = LO64(AB, CD);
    g = LO64(EF, GH);
    PUT(2, c, g, 0x20);
    PUT(6, c, g, 0x31);
    d = HI64(AB, CD);
    h = HI64(EF, GH);
    PUT(3, d, h, 0x20);
    PUT(7, d, h, 0x31);
}
#else
static inline void tile(const uint32_t *in, size_t is, uint32_t *out, size_t os)
{
    transpose_part(in, is, 8, 8, out, os);
}
#endif

static void transpose(const uint32_t *in, size_t in_stride, int w, int h,
                      uint32_t *out, size_t out_stride)
{
    int w8 = w & ~7, h8 = h & ~7, x, y;

    for (y = 0; y < h8; y += 8)
        for (x = 0; x < w8; x += 8)
            tile(in + (size_t)y * in_stride + (size_t)x, in_stride,
                 out + (size_t)x * out_stride + (size_t)y, out_stride);
    transpose_part(in + w8, in_stride, w - w8, h8,
                   out + (size_t)w8 * out_stride, out_stride);
    transpose_part(in + (size_t)h8 * in_stride, in_stride, w, h - h8, out + h8,
                   out_stride);
}

/* ---- RGBX to RGB */

static void store_few(const uint8_t *in, int n, uint8_t *out)
{
    for (; n > 0; n--, in += 4, out += 3) {
        out[0] = in[0];
        out[1] = in[1];
        out[2] = in[2];
    }
}

static void store_few_flip(const uint8_t *in, int n, uint8_t *out)
{
    for (in += 4 * (n - 1); n > 0; n--, in -= 4, out += 3) {
        out[0] = in[0];
        out[1] = in[1];
        out[2] = in[2];
    }
}

#ifdef __AVX2__
/* Four pixels to 12 bytes and 4 zeros. */
static inline void put4(const uint8_t *in, uint8_t *out, __m128i order)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)in);

    _mm_storeu_si128((__m128i *)(void *)out, _mm_shuffle_epi8(v, order));
}

/* Six pixels are the least that 16 bytes can be stored for. */
static void store(const uint8_t *in, int n, uint8_t *out)
{
    const __m128i order =
        _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);

    for (; n >= 6; n -= 4, in += 16, out += 12)
        put4(in, out, order);
    store_few(in, n, out);
}

static void store_flip(const uint8_t *in, int n, uint8_t *out)
{
    const __m128i order =
        _mm_setr_epi8(12, 13, 14, 8, 9, 10, 4, 5, 6, 0, 1, 2, -1, -1, -1, -1);

    for (; n >= 6; n -= 4, out += 12)
        put4(in + 4 * (n - 4), out, order);
    store_few_flip(in, n, out);
}
#else
static void store(const uint8_t *in, int n, uint8_t *out)
{
    store_few(in, n, out);
}

static void store_flip(const uint8_t *in, int n, uint8_t *out)
{
    store_few_flip(in, n, out);
}
#endif

const struct resize_kern ISA_NAME(resize_kern) = {weigh, transpose, store,
                                                  store_flip};
