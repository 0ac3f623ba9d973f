#include "ring/gcm.h"

#include "ring/crypt.h"
#include "util/err.h"
#include "util/isa.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)

#    include <cpuid.h>
#    include <immintrin.h>

#    define WIDE                                                               \
        __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,aes,pclmul," \
                              "vaes,vpclmulqdq")))

enum {
    BLOCK = 16,
    POWERS = 64,             /* blocks that are added up before a reduction */
    STRIDE = POWERS * BLOCK, /* bytes of them */
    ROUNDS = 14,
    STREAM = 512,      /* bytes of the key stream made at a time */
    NEAR = 8 * STREAM, /* bytes that stay in the first cache */
    AHEAD = 2048       /* bytes that are fetched before they are needed */
};

struct gcm {
    _Alignas(64) unsigned char power[POWERS][BLOCK]; /* see set_powers */
    unsigned char round[ROUNDS + 1][BLOCK];
    unsigned char sum[BLOCK];   /* so far, bytes reversed */
    unsigned char first[BLOCK]; /* encrypted, what hides the tag */
    unsigned char nonce[BLOCK];
    unsigned char held[STRIDE];   /* bytes that wait for more */
    unsigned char stream[STREAM]; /* its last n_stream bytes are unused */
    size_t n_held, n_stream;
    uint64_t aad, text; /* bytes of the message */
    uint32_t counter;
    bool opens;
};

/* ---- places */

WIDE static __m128i get(const unsigned char p[BLOCK])
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

WIDE static void put(unsigned char p[BLOCK], __m128i x)
{
    _mm_storeu_si128((__m128i *)(void *)p, x);
}

WIDE static __m128i reverse(__m128i x)
{
    return _mm_shuffle_epi8(
        x, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

/* ---- AES (FIPS 197) */

WIDE static __m128i encrypt(const struct gcm *g, __m128i x)
{
    x = _mm_xor_si128(x, get(g->round[0]));
    for (int i = 1; i < ROUNDS; i++)
        x = _mm_aesenc_si128(x, get(g->round[i]));
    return _mm_aesenclast_si128(x, get(g->round[ROUNDS]));
}

/* x, x ^ x0, x ^ x0 ^ x1, ...: the words of a round key, without what comes of
 * the key before. */
WIDE static __m128i spread(__m128i x)
{
    x = _mm_xor_si128(x, _mm_slli_si128(x, 4));
    return _mm_xor_si128(x, _mm_slli_si128(x, 8));
}

WIDE static void set_rounds(struct gcm *g, const unsigned char *key)
{
    __m128i a = get(key), b = get(key + BLOCK), t;

    put(g->round[0], a);
    put(g->round[1], b);
/* The constant of a round is part of the instruction. */
#    define TWO(i, constant)                                                   \
        do {                                                                   \
            t = _mm_aeskeygenassist_si128(b, constant);                        \
            a = _mm_xor_si128(spread(a), _mm_shuffle_epi32(t, 0xff));          \
            put(g->round[i], a);                                               \
            if ((i) == ROUNDS)                                                 \
                break;                                                         \
            t = _mm_aeskeygenassist_si128(a, 0);                               \
            b = _mm_xor_si128(spread(b), _mm_shuffle_epi32(t, 0xaa));          \
            put(g->round[(i) + 1], b);                                         \
        } while (0)
    TWO(2, 1);
    TWO(4, 2);
    TWO(6, 4);
    TWO(8, 8);
    TWO(10, 16);
    TWO(12, 32);
    TWO(14, 64);
#    undef TWO
}

/* ---- GHASH */

/* Numbers are polynomials over two elements, the bytes of a block reversed: then
 * bit i stands for x^(127 - i), and the carry-less product of two of them is that
 * of the polynomials, one bit too low. So powers of H are kept times x. */
struct product {
    __m128i low, middle, high;
};

/* Modulo x^128 + x^7 + x^2 + x + 1, from the low end: 64 bits at a time are added
 * to what they are congruent to (Gueron, "Speeding up AES-GCM", Montgomery's
 * reduction). */
WIDE static __m128i reduce(struct product p)
{
    const __m128i poly = _mm_set_epi64x((long long)0xc200000000000000, 1);
    __m128i t = _mm_clmulepi64_si128(poly, p.low, 0x01);

    p.middle = _mm_xor_si128(p.middle, _mm_shuffle_epi32(p.low, 0x4e));
    p.middle = _mm_xor_si128(p.middle, t);
    t = _mm_clmulepi64_si128(poly, p.middle, 0x01);
    p.high = _mm_xor_si128(p.high, _mm_shuffle_epi32(p.middle, 0x4e));
    return _mm_xor_si128(p.high, t);
}

WIDE static __m128i multiply(__m128i a, __m128i b)
{
    struct product p = {_mm_clmulepi64_si128(a, b, 0x00),
                        _mm_xor_si128(_mm_clmulepi64_si128(a, b, 0x01),
                                      _mm_clmulepi64_si128(a, b, 0x10)),
                        _mm_clmulepi64_si128(a, b, 0x11)};

    return reduce(p);
}

WIDE static void set_powers(struct gcm *g)
{
    unsigned char b[BLOCK];
    uint64_t high, low, carry;
    __m128i h, p;

    put(b, reverse(encrypt(g, _mm_setzero_si128())));
    memcpy(&low, b, 8);
    memcpy(&high, b + 8, 8);
    carry = -(high >> 63);
    high = (high << 1 | low >> 63) ^ (carry & 0xc200000000000000);
    low = low << 1 ^ (carry & 1);
    h = p = _mm_set_epi64x((long long)high, (long long)low);
    for (int i = POWERS - 1; i >= 0; i--) {
        put(g->power[i], p);
        p = multiply(p, h);
    }
    crypt_forget(b, sizeof(b));
}

WIDE static __m128i lanes(__m512i x)
{
    __m256i y = _mm256_xor_si256(_mm512_castsi512_si256(x),
                                 _mm512_extracti64x4_epi64(x, 1));

    return _mm_xor_si128(_mm256_castsi256_si128(y),
                         _mm256_extracti128_si256(y, 1));
}

/* Of four blocks each. */
struct products {
    __m512i low, middle, high;
};

WIDE static inline __attribute__((always_inline)) void
add_four(struct products *p, __m512i x, __m512i power)
{
    p->low = _mm512_xor_si512(p->low, _mm512_clmulepi64_epi128(x, power, 0x00));
    p->middle = _mm512_ternarylogic_epi64(
        p->middle, _mm512_clmulepi64_epi128(x, power, 0x01),
        _mm512_clmulepi64_epi128(x, power, 0x10), 0x96);
    p->high =
        _mm512_xor_si512(p->high, _mm512_clmulepi64_epi128(x, power, 0x11));
}

/* n blocks, at most POWERS, into the sum: block i times H^(n - i), added before
 * one reduction. */
WIDE static inline __attribute__((always_inline)) __m128i
add_blocks(const struct gcm *g, __m128i sum, const unsigned char *p, size_t n)
{
    const __m512i turn = _mm512_broadcast_i32x4(
        _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    const unsigned char *power = g->power[POWERS - n];
    __m512i before = _mm512_zextsi128_si512(sum);
    struct products all = {_mm512_setzero_si512(), _mm512_setzero_si512(),
                           _mm512_setzero_si512()};
    size_t i = 0;

    for (; i + 4 <= n; i += 4) {
        __m512i x = _mm512_loadu_si512(p + i * BLOCK);
        /* Beyond the page, where the processor does not look by itself. */
        _mm_prefetch((const char *)((uintptr_t)p + i * BLOCK + AHEAD),
                     _MM_HINT_T0);
        x = _mm512_xor_si512(_mm512_shuffle_epi8(x, turn), before);
        before = _mm512_setzero_si512();
        add_four(&all, x, _mm512_loadu_si512(power + i * BLOCK));
    }
    if (i < n) {
        __mmask8 some = (__mmask8)((1u << 2 * (n - i)) - 1);
        __m512i x = _mm512_maskz_loadu_epi64(some, p + i * BLOCK);
        x = _mm512_xor_si512(_mm512_shuffle_epi8(x, turn), before);
        add_four(&all, x, _mm512_maskz_loadu_epi64(some, power + i * BLOCK));
    }
    return reduce(
        (struct product){lanes(all.low), lanes(all.middle), lanes(all.high)});
}

/* Whole blocks, any number. */
WIDE static void hash_blocks(struct gcm *g, const unsigned char *p, size_t n)
{
    __m128i sum = get(g->sum);

    for (; n >= STRIDE; n -= STRIDE, p += STRIDE)
        sum = add_blocks(g, sum, p, POWERS);
    if (n)
        sum = add_blocks(g, sum, p, n / BLOCK);
    put(g->sum, sum);
}

static void hold(struct gcm *g, const unsigned char *p, size_t n)
{
    memcpy(g->held + g->n_held, p, n);
    g->n_held += n;
}

static void flush(struct gcm *g)
{
    hash_blocks(g, g->held, g->n_held);
    g->n_held = 0;
}

static void hash(struct gcm *g, const unsigned char *p, size_t n)
{
    if (g->n_held) {
        /* Of much only as far as the block that was begun. */
        size_t m = n >= STRIDE              ? -g->n_held % BLOCK
                   : n < STRIDE - g->n_held ? n
                                            : STRIDE - g->n_held;
        hold(g, p, m);
        p += m;
        n -= m;
        if (n > 0 || g->n_held == STRIDE)
            flush(g);
    }
    hash_blocks(g, p, n / STRIDE * STRIDE);
    hold(g, p + n / STRIDE * STRIDE, n % STRIDE);
}

/* To the end of the block. */
static void hash_zeros(struct gcm *g)
{
    static const unsigned char zero[BLOCK];

    hash(g, zero, -g->n_held % BLOCK);
}

static void put_bits(unsigned char p[8], uint64_t bytes)
{
    for (int i = 0; i < 8; i++)
        p[7 - i] = (unsigned char)(bytes * 8 >> (8 * i));
}

/* ---- the key stream */

/* For eight registers x0 to x7. */
#    define EIGHT(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7)

/* The next STREAM bytes of it, added to from. */
WIDE static void stream(struct gcm *g, unsigned char *to,
                        const unsigned char *from)
{
    /* The counter is the last word, its highest byte first. */
    const __m512i turn = _mm512_broadcast_i32x4(
        _mm_set_epi8(12, 13, 14, 15, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
    const __m512i four = _mm512_broadcast_i32x4(_mm_set_epi32(4, 0, 0, 0));
    __m512i k = _mm512_broadcast_i32x4(get(g->round[0]));
    __m512i count = _mm512_broadcast_i32x4(
        _mm_insert_epi32(get(g->nonce), (int)g->counter, 3));

    count = _mm512_add_epi32(count, _mm512_set_epi32(3, 0, 0, 0, 2, 0, 0, 0, 1,
                                                     0, 0, 0, 0, 0, 0, 0));
#    define BEGIN(i)                                                           \
        __m512i x##i = _mm512_xor_si512(_mm512_shuffle_epi8(count, turn), k);  \
        count = _mm512_add_epi32(count, four);
#    define STEP(i) x##i = _mm512_aesenc_epi128(x##i, k);
#    define END(i)                                                             \
        x##i = _mm512_aesenclast_epi128(x##i, k);                              \
        _mm512_storeu_si512(                                                   \
            to + i * 64,                                                       \
            _mm512_xor_si512(x##i, _mm512_loadu_si512(from + i * 64)));
    EIGHT(BEGIN)
    for (int r = 1; r < ROUNDS; r++) {
        k = _mm512_broadcast_i32x4(get(g->round[r]));
        EIGHT(STEP)
    }
    k = _mm512_broadcast_i32x4(get(g->round[ROUNDS]));
    EIGHT(END)
#    undef BEGIN
#    undef STEP
#    undef END
    g->counter += STREAM / BLOCK;
}

static void apply(struct gcm *g, unsigned char *to, const unsigned char *from,
                  size_t n)
{
    static const unsigned char zero[STREAM];

    while (n > 0) {
        size_t m = n < g->n_stream ? n : g->n_stream;
        for (size_t i = 0; i < m; i++)
            to[i] = from[i] ^ g->stream[STREAM - g->n_stream + i];
        g->n_stream -= m;
        for (; m + STREAM <= n; m += STREAM)
            stream(g, to + m, from + m);
        to += m;
        from += m;
        n -= m;
        if (n > 0) {
            stream(g, g->stream, zero);
            g->n_stream = STREAM;
        }
    }
}

/* ---- messages */

static struct gcm *wide_make(bool opens)
{
    struct gcm *g = aligned_alloc(_Alignof(struct gcm), sizeof(*g));

    if (!g)
        BUG("no memory for a key");
    memset(g, 0, sizeof(*g));
    g->opens = opens;
    return g;
}

static void wide_free(struct gcm *g)
{
    crypt_forget(g, sizeof(*g));
    free(g);
}

static void wide_key(struct gcm *g, const unsigned char key[GCM_KEY])
{
    set_rounds(g, key);
    set_powers(g);
}

WIDE static void wide_begin(struct gcm *g, const unsigned char nonce[GCM_NONCE])
{
    memset(g->nonce, 0, sizeof(g->nonce));
    memcpy(g->nonce, nonce, GCM_NONCE);
    g->nonce[BLOCK - 1] = 1;
    put(g->first, encrypt(g, get(g->nonce)));
    g->counter = 2;
    memset(g->sum, 0, sizeof(g->sum));
    g->n_held = g->n_stream = 0;
    g->aad = g->text = 0;
}

static void wide_aad(struct gcm *g, const void *p, size_t n)
{
    hash(g, p, n);
    g->aad += n;
}

static void wide_text(struct gcm *g, void *to, const void *from, size_t n)
{
    const unsigned char *p = from;
    unsigned char *q = to;

    if (g->text == 0)
        hash_zeros(g);
    g->text += n;
    while (n > 0) {
        size_t m = n < NEAR ? n : NEAR;
        if (g->opens)
            hash(g, p, m);
        apply(g, q, p, m);
        if (!g->opens)
            hash(g, q, m);
        p += m;
        q += m;
        n -= m;
    }
}

WIDE static void wide_tag(struct gcm *g, unsigned char tag[GCM_TAG])
{
    unsigned char bits[BLOCK];

    hash_zeros(g);
    put_bits(bits, g->aad);
    put_bits(bits + 8, g->text);
    hash(g, bits, sizeof(bits));
    flush(g);
    put(tag, _mm_xor_si128(reverse(get(g->sum)), get(g->first)));
}

static bool wide_check(struct gcm *g, const unsigned char tag[GCM_TAG])
{
    unsigned char want[GCM_TAG];

    wide_tag(g, want);
    return crypt_equal(want, tag, sizeof(want));
}

static const struct gcm_kind wide = {wide_make,  wide_free, wide_key,
                                     wide_begin, wide_aad,  wide_text,
                                     wide_tag,   wide_check};

/* Not every compiler knows their names. */
enum {
    CPU_PCLMUL = 1 << 1, /* leaf 1, ecx */
    CPU_AES = 1 << 25,
    CPU_VAES = 1 << 9, /* leaf 7, ecx */
    CPU_VPCLMUL = 1 << 10
};

static bool has(unsigned leaf, unsigned bits)
{
    unsigned a, b, c, d;

    return __get_cpuid_count(leaf, 0, &a, &b, &c, &d) && (c & bits) == bits;
}

const struct gcm_kind *gcm_wide(void)
{
    return isa_here(ISA_AVX512) && has(1, CPU_PCLMUL | CPU_AES) &&
                   has(7, CPU_VAES | CPU_VPCLMUL)
               ? &wide
               : NULL;
}

#else

const struct gcm_kind *gcm_wide(void)
{
    return NULL;
}

#endif
