#include "ring/sum.h"
#include "ring/sum_kern.h"

static const struct sum_kern *choose(void)
{
    static const struct sum_kern *const kern[] = ISA_TABLE(sum_kern);

    return kern[isa_best()];
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
