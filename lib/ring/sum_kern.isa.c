/* Compiled once for each instruction set; see sum_kern.h. */
#include "ring/sum_kern.h"
#include "tensor/dtype.h"

#include <string.h>
#if defined(__F16C__)
#    include <immintrin.h>
#endif

#define BLOCK 512 /* elements that stay in the first cache */

static uint32_t exponent_full(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof(bits));
    return (bits & 0x7f800000) == 0x7f800000;
}

static void add_two(float *restrict out, const float *restrict a,
                    const float *restrict b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = a[i] + b[i];
}

/* The same where out is neither: most sums of a host, in one go. */
static uint32_t add_away(float *restrict out, const float *restrict a,
                         const float *restrict b, size_t n)
{
    uint32_t bad = 0;

    for (size_t i = 0; i < n; i++) {
        out[i] = a[i] + b[i];
        bad |= exponent_full(out[i]);
    }
    return bad;
}

static void add_to(float *restrict out, const float *restrict a, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] += a[i];
}

static uint32_t look(const float *a, size_t n)
{
    uint32_t bad = 0;

    for (size_t i = 0; i < n; i++)
        bad |= exponent_full(a[i]);
    return bad;
}

static uint32_t give(float *restrict out, const float *restrict a, size_t n)
{
    uint32_t bad = 0;

    for (size_t i = 0; i < n; i++) {
        out[i] = a[i];
        bad |= exponent_full(a[i]);
    }
    return bad;
}

static bool chunk(float *out, const float *const *in, int n_in, size_t n)
{
    float sum[BLOCK];
    uint32_t bad = 0;

    if (n_in == 1 && out == in[0])
        return !look(out, n);
    if (n_in == 2 && out != in[0] && out != in[1])
        return !add_away(out, in[0], in[1], n);
    for (size_t at = 0; at < n; at += BLOCK) {
        size_t m = n - at < BLOCK ? n - at : BLOCK;
        if (n_in == 1) {
            bad |= give(out + at, in[0] + at, m);
            continue;
        }
        /* Read from all before anything is written: out may be one of them. */
        add_two(sum, in[0] + at, in[1] + at, m);
        for (int i = 2; i < n_in; i++)
            add_to(sum, in[i] + at, m);
        bad |= give(out + at, sum, m);
    }
    return !bad;
}

/* ---- 16 bits */

static void narrow_bf16(uint16_t *restrict out, const float *restrict in,
                        size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t u, r;
        memcpy(&u, &in[i], sizeof(u));
        /* To nearest, ties to even; a NaN keeps its upper bits and is quiet. */
        r = (u + 0x7fff + (u >> 16 & 1)) >> 16;
        out[i] = (uint16_t)((u & 0x7fffffff) > 0x7f800000 ? u >> 16 | 0x40 : r);
    }
}

static void widen_bf16(float *restrict out, const uint16_t *restrict in,
                       size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t u = (uint32_t)in[i] << 16;
        memcpy(&out[i], &u, sizeof(u));
    }
}

static void narrow(uint16_t *out, const float *in, size_t n, bool half)
{
    size_t i = 0;

    if (!half) {
        narrow_bf16(out, in, n);
        return;
    }
#if defined(__F16C__)
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(void *)(out + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(in + i),
                                         _MM_FROUND_TO_NEAREST_INT));
#endif
    for (; i < n; i++)
        out[i] = f32_to_f16(in[i]);
}

static void widen(float *out, const uint16_t *in, size_t n, bool half)
{
    size_t i = 0;

    if (!half) {
        widen_bf16(out, in, n);
        return;
    }
#if defined(__F16C__)
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((
                                      const __m128i *)(const void *)(in + i))));
#endif
    for (; i < n; i++)
        out[i] = f16_to_f32(in[i]);
}

const struct sum_kern ISA_NAME(sum_kern) = {chunk, narrow, widen};
