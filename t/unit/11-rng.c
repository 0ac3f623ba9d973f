/*
 * The generator. Known answers: Random123 (kat_vectors, philox4x32 10) and the
 * order vectors of man/shards.5.
 */
#include "lib/tap.h"

#include "util/isa.h"
#include "util/normal_kern.h"
#include "util/rng.h"

#include <stdbool.h>
#include <string.h>

__extension__ typedef unsigned __int128 u128;

static void test_known(void)
{
    static const struct {
        uint32_t ctr[4], key[2], out[4];
    } v[] = {
        {{0, 0, 0, 0},
         {0, 0},
         {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    uint32_t out[4];
    size_t i, j;

    for (i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        rng_philox(v[i].ctr, v[i].key, out);
        for (j = 0; j < 4; j++)
            is_int(out[j], v[i].out[j], "known answer %zu, word %zu", i, j);
    }
}

static void test_stream(void)
{
    struct rng r;
    uint32_t w[4], ctr[4] = {3, 7, 5, 16};
    uint32_t key[2] = {0x9abcdef0, 0x12345678};
    uint64_t x = 0;
    int i;

    rng_init(&r, 0, 0, 0, RNG_ORDER);
    is_int((long long)rng_u64(&r), 0x1348e23f2dce73e5,
           "first number of stream(0,0,0,1)");
    rng_init(&r, 0x123456789abcdef0, 7, 5, RNG_AUGMENT);
    for (i = 0; i < 7; i++)
        x = rng_u64(&r);
    rng_philox(ctr, key, w);
    is_int((long long)x, (long long)(w[0] | (uint64_t)w[1] << 32),
           "draw 6 is the first half of block 3");
    is_int((long long)rng_u64(&r), (long long)(w[2] | (uint64_t)w[3] << 32),
           "draw 7 is the second half");
}

static void test_skip(void)
{
    struct rng r, q;
    int i, n, wrong = 0;

    for (i = 0; i < 4; i++)
        for (n = 0; n < 6; n++) {
            int k;

            rng_init(&r, 9, 1, 2, RNG_INIT);
            for (k = 0; k < i; k++)
                (void)rng_u64(&r);
            q = r;
            rng_skip(&r, (uint64_t)n);
            for (k = 0; k < n; k++)
                (void)rng_u64(&q);
            for (k = 0; k < 3; k++)
                wrong += rng_u64(&r) != rng_u64(&q);
        }
    is_int(wrong, 0, "numbers that are passed over are those that are drawn");
}

static void test_order(uint64_t seed, uint32_t epoch, const char *want)
{
    uint32_t p[10];
    char text[64] = "";
    struct rng r;
    int i;

    rng_init(&r, seed, 0, epoch, RNG_ORDER);
    rng_permute(&r, p, 10);
    for (i = 0; i < 10; i++)
        snprintf(text + strlen(text), 8, "%s%u", i ? " " : "", p[i]);
    is_str(text, want, "order of seed %d, epoch %u", (int)seed, epoch);
}

static void test_permute(void)
{
    enum {
        N = 100000
    };
    static uint32_t p[N];
    static bool seen[N];
    struct rng r;
    int i, bad = 0;

    rng_init(&r, 1, 0, 0, RNG_ORDER);
    rng_permute(&r, p, N);
    for (i = 0; i < N; i++) {
        if (p[i] >= N || seen[p[i]])
            bad++;
        else
            seen[p[i]] = true;
    }
    is_int(bad, 0, "100000 numbers, each once");
    rng_permute(&r, p, 1);
    is_int(p[0], 0, "one number");
    rng_permute(&r, p, 0);
    is_int(p[0], 0, "none");
}

/*
 * below(n) for n where many draws have to be refused: 3 * 2^62 refuses a
 * quarter of them. Redone here from its definition.
 */
static void test_below(void)
{
    const uint64_t n = (uint64_t)3 << 62;
    uint64_t th = (0 - n) % n, got, want;
    u128 m;
    struct rng r, q;
    int i, bad = 0, redraws = 0, low = 0;

    rng_init(&r, 9, 0, 0, RNG_SYNTH);
    q = r;
    for (i = 0; i < 10000; i++) {
        got = rng_below(&r, n);
        for (;;) {
            m = (u128)rng_u64(&q) * n;
            if ((uint64_t)m >= th)
                break;
            redraws++;
        }
        want = (uint64_t)(m >> 64);
        bad += got != want || got >= n;
        low += got < (uint64_t)1 << 62;
    }
    is_int(bad, 0, "10000 draws below 3*2^62 as defined");
    ok(redraws > 3000 && redraws < 3700, "%d redraws, about a third", redraws);
    ok(low > 3150 && low < 3520, "%d in the lowest third", low);
    for (i = 0; i < 100; i++)
        bad += rng_below(&r, 1) != 0;
    is_int(bad, 0, "below(1) is 0");
}

static void test_real(void)
{
    enum {
        N = 200000
    };
    double x, sum = 0, squares = 0, cubes = 0, least = 1, most = 0;
    struct rng r;
    int i;

    rng_init(&r, 3, 0, 0, RNG_INIT);
    for (i = 0; i < N; i++) {
        x = rng_unit(&r);
        least = x < least ? x : least;
        most = x > most ? x : most;
        sum += x;
    }
    ok(least >= 0 && least < 1e-4 && most < 1 && most > 1 - 1e-4,
       "unit fills [0,1)");
    is_double(sum / N, 0.5, 0.003, "its mean");
    sum = 0;
    for (i = 0; i < N; i++) {
        x = rng_normal(&r);
        sum += x;
        squares += x * x;
        cubes += x * x * x;
    }
    is_double(sum / N, 0, 0.01, "mean of normal");
    is_double(squares / N, 1, 0.015, "variance of normal");
    is_double(cubes / N, 0, 0.04, "skew of normal");
}

/* Known answers: 60 digits by mpmath 1.3 of the same formula. */
static void test_normal_known(void)
{
    static const struct {
        uint32_t block;
        double x;
    } v[] = {{0, 2.3286220883874451719},
             {1, 1.0190319047700315117},
             {2, 0.28818532588256210732},
             {1000000, 0.39614517634064715542}};
    struct rng r;

    for (size_t i = 0; i < sizeof(v) / sizeof(*v); i++) {
        rng_init(&r, 2026, 5, 0, RNG_INIT);
        r.ctr[0] = v[i].block;
        is_double(rng_normal(&r), v[i].x, 4e-16 * v[i].x, "normal %u",
                  v[i].block);
    }
}

/* Many at once are the same bits as one by one, by every set, over the end of
 * the counter, too. */
static void test_normals(void)
{
    enum {
        N = 1000
    };
    static normal_fill_fn *const fill[] = ISA_TABLE(normal_fill);
    static double one[N], many[N + 1];
    struct rng a, b;

    for (int odd = 0; odd < 2; odd++) {
        rng_init(&a, 9, 8, 7, RNG_INIT);
        a.ctr[0] = UINT32_MAX - 70;
        if (odd)
            (void)rng_u64(&a);
        b = a;
        for (int i = 0; i < N; i++)
            one[i] = rng_normal(&a);
        many[333] = 5;
        rng_normals(&b, many, 333);
        ok(many[333] == 5, "nothing is written beyond");
        rng_normals(&b, many + 333, N - 333);
        ok(!memcmp(one, many, sizeof(one)) && rng_u64(&a) == rng_u64(&b),
           "many normals from %s", odd ? "half a block" : "a block");
    }
    rng_init(&a, 9, 8, 7, RNG_INIT);
    rng_normals(&a, one, N);
    rng_init(&b, 9, 8, 7, RNG_INIT);
    for (int i = 0; isa_names[i]; i++) {
        if (!isa_here((enum isa)i)) {
            skip(1, "isa: this machine lacks an instruction set");
            continue;
        }
        fill[i](many, N, b.ctr, b.key);
        ok(!memcmp(one, many, sizeof(one)), "normals by %s", isa_names[i]);
    }
}

int main(void)
{
    test_known();
    test_stream();
    test_skip();
    test_order(0, 0, "9 3 6 7 1 8 4 2 5 0");
    test_order(0, 1, "7 9 6 0 4 1 8 2 3 5");
    test_order(42, 0, "1 6 9 8 0 3 4 2 7 5");
    test_permute();
    test_below();
    test_real();
    test_normal_known();
    test_normals();
    return done_testing();
}
