/* Compiled once for each instruction set; see sum.c. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PASTE(a, b) a##_##b
#define NAME(a, b) PASTE(a, b)

bool NAME(sum_chunk, ISA)(float *out, const float *const *in, int n_in,
                          size_t n);

static uint32_t exponent_full(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof(bits));
    return (bits & 0x7f800000) == 0x7f800000;
}

static uint32_t add_two(float *restrict out, const float *restrict a,
                        const float *restrict b, size_t n)
{
    uint32_t bad = 0;

    for (size_t i = 0; i < n; i++) {
        out[i] = a[i] + b[i];
        bad |= exponent_full(out[i]);
    }
    return bad;
}

static uint32_t add_to(float *restrict out, const float *restrict a, size_t n)
{
    uint32_t bad = 0;

    for (size_t i = 0; i < n; i++) {
        out[i] += a[i];
        bad |= exponent_full(out[i]);
    }
    return bad;
}

static uint32_t look(const float *a, size_t n)
{
    uint32_t bad = 0;

    for (size_t i = 0; i < n; i++)
        bad |= exponent_full(a[i]);
    return bad;
}

bool NAME(sum_chunk, ISA)(float *out, const float *const *in, int n_in,
                          size_t n)
{
    uint32_t bad;

    if (n_in == 1) {
        if (out != in[0])
            memcpy(out, in[0], n * sizeof(*out));
        return !look(out, n);
    }
    /* Once infinite or NaN, a sum never becomes finite again: the last pass
     * sees them all. */
    bad = add_two(out, in[0], in[1], n);
    for (int i = 2; i < n_in; i++)
        bad = add_to(out, in[i], n);
    return !bad;
}
