#include "util/rng.h"
#include "util/normal_kern.h"

void rng_philox(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c[4] = {ctr[0], ctr[1], ctr[2], ctr[3]};

    philox_rounds(c, key[0], key[1]);
    memcpy(out, c, sizeof(c));
}

void rng_init(struct rng *r, uint64_t seed, uint32_t a, uint32_t epoch,
              enum rng_domain domain)
{
    r->key[0] = (uint32_t)seed;
    r->key[1] = (uint32_t)(seed >> 32);
    r->ctr[0] = 0;
    r->ctr[1] = a;
    r->ctr[2] = epoch;
    r->ctr[3] = (uint32_t)domain;
    r->spare = 0;
    r->odd = 0;
}

uint64_t rng_u64(struct rng *r)
{
    uint32_t w[4];

    if (r->odd) {
        r->odd = 0;
        return r->spare;
    }
    rng_philox(r->ctr, r->key, w);
    r->ctr[0]++;
    r->spare = w[2] | (uint64_t)w[3] << 32;
    r->odd = 1;
    return w[0] | (uint64_t)w[1] << 32;
}

void rng_skip(struct rng *r, uint64_t n)
{
    if (n > 0 && r->odd) {
        r->odd = 0;
        n--;
    }
    r->ctr[0] += (uint32_t)(n / 2);
    if (n % 2)
        (void)rng_u64(r);
}

/* a * b as 128 bits: returns the high half, sets *low. */
static uint64_t mul128(uint64_t a, uint64_t b, uint64_t *low)
{
    uint64_t a0 = (uint32_t)a, a1 = a >> 32;
    uint64_t b0 = (uint32_t)b, b1 = b >> 32;
    uint64_t p00 = a0 * b0, p01 = a0 * b1, p10 = a1 * b0;
    uint64_t mid = (p00 >> 32) + (uint32_t)p01 + (uint32_t)p10;

    *low = mid << 32 | (uint32_t)p00;
    return a1 * b1 + (p01 >> 32) + (p10 >> 32) + (mid >> 32);
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
    uint64_t low, high, th;

    high = mul128(rng_u64(r), n, &low);
    if (low < n) {
        th = (0 - n) % n;
        while (low < th)
            high = mul128(rng_u64(r), n, &low);
    }
    return high;
}

double rng_unit(struct rng *r)
{
    return (double)(rng_u64(r) >> 11) * 0x1p-53;
}

double rng_normal(struct rng *r)
{
    uint64_t u = rng_u64(r), v = rng_u64(r);

    return normal_of(u, v);
}

void rng_normals(struct rng *r, double *out, size_t n)
{
    static normal_fill_fn *const fill[] = ISA_TABLE(normal_fill);

    if (!r->odd) {
        fill[isa_best()](out, n, r->ctr, r->key);
        r->ctr[0] += (uint32_t)n;
        return;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = rng_normal(r);
}

void rng_permute(struct rng *r, uint32_t *p, uint32_t n)
{
    uint32_t i, j, t;

    for (i = 0; i < n; i++)
        p[i] = i;
    for (i = n; i-- > 1;) {
        j = (uint32_t)rng_below(r, (uint64_t)i + 1);
        t = p[i];
        p[i] = p[j];
        p[j] = t;
    }
}
