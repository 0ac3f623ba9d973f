#include "ring/sum.h"

typedef bool sum_fn(float *out, const float *const *in, int n_in, size_t n);

sum_fn sum_chunk_base;
#if defined(__x86_64__)
sum_fn sum_chunk_avx2, sum_chunk_avx512;
#endif

static sum_fn *choose(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        return sum_chunk_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return sum_chunk_avx2;
#endif
    return sum_chunk_base;
}

bool sum_chunk(float *out, const float *const *in, int n_in, size_t n)
{
    return choose()(out, in, n_in, n);
}
