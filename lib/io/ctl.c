#include "io/ctl.h"

#define BLOCK 16

void ctl_slice(int64_t n, int i, int parts, int64_t *first, int64_t *end)
{
    int64_t blocks = (n + BLOCK - 1) / BLOCK;
    int64_t a = blocks * i / parts * BLOCK;
    int64_t b = blocks * (i + 1) / parts * BLOCK;

    *first = a < n ? a : n;
    *end = b < n ? b : n;
}
