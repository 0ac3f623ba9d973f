#include "ring/sum.h"

/* The functions of one instruction set; see sum.isa.c. */
struct sum_set {
    bool (*chunk)(float *out, const float *const *in, int n_in, size_t n);
    void (*narrow)(uint16_t *out, const float *in, size_t n, bool half);
    void (*widen)(float *out, const uint16_t *in, size_t n, bool half);
};

extern const struct sum_set sum_set_base;
#if defined(__x86_64__)
extern const struct sum_set sum_set_avx2, sum_set_avx512;
#endif

static const struct sum_set *choose(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        return &sum_set_avx512;
    /* Every processor with AVX2 converts 16-bit floats, too. */
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &sum_set_avx2;
#endif
    return &sum_set_base;
}

bool sum_chunk(float *out, const float *const *in, int n_in, size_t n)
{
    return choose()->chunk(out, in, n_in, n);
}

void sum_narrow(uint16_t *out, const float *in, size_t n, bool half)
{
    choose()->narrow(out, in, n, half);
}

void sum_widen(float *out, const uint16_t *in, size_t n, bool half)
{
    choose()->widen(out, in, n, half);
}
