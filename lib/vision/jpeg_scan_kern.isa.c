/* Loops of the decoder of scans; compiled for each instruction set (ISA). */
#include "vision/jpeg_scan_kern.h"

#include <string.h>
#ifdef __AVX2__
#    include <immintrin.h>
#endif

/* Blocks that are transformed at once. */
#if defined(__AVX512BW__)
#    define LANES 4
#elif defined(__AVX2__)
#    define LANES 2
#else
#    define LANES 1
#endif

/* ---- bits */

static inline uint64_t big_endian(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

/* At least 56 bits. Those that acc has beyond count are the same anew. */
static inline void refill(struct scan_bits *b)
{
    b->acc |= big_endian(b->p) >> b->count;
    b->p += (63 - b->count) >> 3;
    b->count |= 56;
}

static inline void take(struct scan_bits *b, int n)
{
    b->acc <<= n;
    b->count -= n;
}

/* The value of s bits, at most 15: its first is 0 if it is negative (T.81,
 * figure F.12). */
static inline int extend(struct scan_bits *b, int s)
{
    int v = (int)(b->acc >> 1 >> (63 - s)), low = (int)(~b->acc >> 63);

    take(b, s);
    return v + (-low & (1 - (1 << s)));
}

/* The symbol of a code longer than SCAN_LOOK, -1 if there is none. */
static int long_code(struct scan_bits *b, const struct scan_codes *t)
{
    int n = SCAN_LOOK + 1, code = (int)(b->acc >> (64 - n));

    for (; code > t->max[n]; n++) {
        if (n == 16)
            return -1;
        code = (int)(b->acc >> (63 - n));
    }
    take(b, n);
    return t->value[(code + t->first[n]) & 255];
}

/* How far a symbol moves. */
static inline int run_of(int symbol)
{
    if (symbol & 15)
        return (symbol >> 4) + 1;
    return symbol == 0xf0 ? 16 : SCAN_END;
}

/* The next coefficient of AC to *v; how far it moves, -1: none. 32 bits are
 * there. */
static inline int coefficient(struct scan_bits *b, const struct scan_codes *t,
                              int *v)
{
    uint32_t e = t->look[b->acc >> (64 - SCAN_LOOK)];
    int symbol;

    take(b, e & 31);
    *v = (int32_t)e >> 16;
    if (!(e & SCAN_LONG))
        return e >> 8 & 255;
    if (e & 31) {
        *v = extend(b, *v);
        return e >> 8 & 255;
    }
    symbol = long_code(b, t);
    if (symbol < 0)
        return -1;
    *v = extend(b, symbol & 15);
    return run_of(symbol);
}

/* The difference of a DC coefficient; false: a code that is none. */
static inline bool predict(struct scan_bits *b, struct scan_part *c)
{
    const struct scan_codes *t = c->dc;
    uint32_t e;
    int s, v;

    refill(b);
    e = t->look[b->acc >> (64 - SCAN_LOOK)];
    take(b, e & 31);
    v = (int32_t)e >> 16;
    if (e & SCAN_LONG) {
        s = e & 31 ? v : long_code(b, t);
        if (s < 0)
            return false;
        v = extend(b, s);
    }
    c->last += v;
    return c->last >= -32768 && c->last <= 32767;
}

/* ---- blocks */

/* Place of a coefficient where blocks lie row by row beside each other. */
#define Z(r, c) (r) * 8 * LANES + (c)
static const uint16_t zigzag[64] = {
    Z(0, 0), Z(0, 1), Z(1, 0), Z(2, 0), Z(1, 1), Z(0, 2), Z(0, 3), Z(1, 2),
    Z(2, 1), Z(3, 0), Z(4, 0), Z(3, 1), Z(2, 2), Z(1, 3), Z(0, 4), Z(0, 5),
    Z(1, 4), Z(2, 3), Z(3, 2), Z(4, 1), Z(5, 0), Z(6, 0), Z(5, 1), Z(4, 2),
    Z(3, 3), Z(2, 4), Z(1, 5), Z(0, 6), Z(0, 7), Z(1, 6), Z(2, 5), Z(3, 4),
    Z(4, 3), Z(5, 2), Z(6, 1), Z(7, 0), Z(7, 1), Z(6, 2), Z(5, 3), Z(4, 4),
    Z(3, 5), Z(2, 6), Z(1, 7), Z(2, 7), Z(3, 6), Z(4, 5), Z(5, 4), Z(6, 3),
    Z(7, 2), Z(7, 3), Z(6, 4), Z(5, 5), Z(4, 6), Z(3, 7), Z(4, 7), Z(5, 6),
    Z(6, 5), Z(7, 4), Z(7, 5), Z(6, 6), Z(5, 7), Z(6, 7), Z(7, 6), Z(7, 7)};

/* Coefficients 1 to 63: 1 if there are some, 0 if not, -1: odd. */
static inline int read_block(struct scan_bits *at, const struct scan_codes *t,
                             int16_t *block)
{
    struct scan_bits b = *at;
    int k = 0, n, v, i;

    while (k < 63) {
        refill(&b);
        /* 56 bits: at most 25 for each but the last */
        for (i = 0; i < 2 && k < 63; i++) {
            n = coefficient(&b, t, &v);
            if (n < 0)
                return -1;
            k += n;
            if (k > 63)
                break;
            block[zigzag[k]] = (int16_t)v;
        }
    }
    *at = b;
    if (k > 63 && k < SCAN_END)
        return -1;
    return k != SCAN_END;
}

/* The same without storing; 0 or -1. */
static inline int pass_block(struct scan_bits *at, const struct scan_codes *t)
{
    struct scan_bits b = *at;
    int k = 0, n, v;

    while (k < 63) {
        uint32_t e;

        refill(&b);
        e = t->jump[b.acc >> (64 - SCAN_LOOK)];
        n = (int)(e >> 8);
        if (n && k + (n & 127) < 63) {
            take(&b, e & 255);
        } else {
            n = coefficient(&b, t, &v);
            if (n < 0)
                return -1;
        }
        k += n;
    }
    *at = b;
    return k > 63 && k < SCAN_END ? -1 : 0;
}

/* ---- inverse DCT: jidctint.c, with the 16-bit sums of its vector versions */

#define FIX_0_298 2446
#define FIX_0_390 3196
#define FIX_0_541 4433
#define FIX_0_765 6270
#define FIX_0_899 7373
#define FIX_1_175 9633
#define FIX_1_501 12299
#define FIX_1_847 15137
#define FIX_1_961 16069
#define FIX_2_053 16819
#define FIX_2_562 20995
#define FIX_3_072 25172
#define FIRST 11 /* bits dropped by the first pass */
#define SECOND 18

/* A coefficient that the vector versions treat in two ways. */
#define ODD_LIMIT 8192

#if LANES > 1
#    if LANES == 4
typedef __m512i vec;
#        define OP(name) _mm512_##name
#        define LOAD(p) _mm512_loadu_si512(p)
#        define ZERO _mm512_setzero_si512()
#        define OR(a, b) _mm512_or_si512(a, b)
#        define XOR(a, b) _mm512_xor_si512(a, b)
#        define AND(a, b) _mm512_and_si512(a, b)
#        define EACH(p) _mm512_broadcast_i32x4(p)
#        define LANE(v, i) _mm512_extracti32x4_epi32(v, i)
#    else
typedef __m256i vec;
#        define OP(name) _mm256_##name
#        define LOAD(p) _mm256_loadu_si256((const __m256i *)(const void *)(p))
#        define ZERO _mm256_setzero_si256()
#        define OR(a, b) _mm256_or_si256(a, b)
#        define XOR(a, b) _mm256_xor_si256(a, b)
#        define AND(a, b) _mm256_and_si256(a, b)
#        define EACH(p) _mm256_broadcastsi128_si256(p)
#        define LANE(v, i) _mm256_extracti128_si256(v, i)
#    endif

/* Of both halves of each lane one. */
static inline vec mix(vec a, vec b, bool high)
{
    return high ? OP(unpackhi_epi16)(a, b) : OP(unpacklo_epi16)(a, b);
}

/* Pairs times two numbers. */
static inline vec times(vec pairs, int a, int b)
{
    return OP(madd_epi16)(
        pairs, OP(set1_epi32)((int)((uint32_t)b << 16 | (a & 0xffff))));
}

#    define ADD16(a, b) OP(add_epi16)(a, b)
#    define SUB16(a, b) OP(sub_epi16)(a, b)
#    define ADD(a, b) OP(add_epi32)(a, b)
#    define SUB(a, b) OP(sub_epi32)(a, b)

/* Eight coefficients each of half the columns of all lanes. */
static inline void half_pass(const vec *r, bool high, int shift, vec *out)
{
    vec round = OP(set1_epi32)(1 << (shift - 1));
    vec e = mix(r[2], r[6], high);
    vec t0 = mix(ZERO, ADD16(r[0], r[4]), high);
    vec t1 = mix(ZERO, SUB16(r[0], r[4]), high);
    vec t2 = times(e, FIX_0_541, FIX_0_541 - FIX_1_847);
    vec t3 = times(e, FIX_0_541 + FIX_0_765, FIX_0_541);
    vec z = mix(ADD16(r[7], r[3]), ADD16(r[5], r[1]), high);
    vec z3 = times(z, FIX_1_175 - FIX_1_961, FIX_1_175);
    vec z4 = times(z, FIX_1_175, FIX_1_175 - FIX_0_390);
    vec p = mix(r[7], r[1], high), q = mix(r[5], r[3], high);
    vec o0 = ADD(times(p, FIX_0_298 - FIX_0_899, -FIX_0_899), z3);
    vec o3 = ADD(times(p, -FIX_0_899, FIX_1_501 - FIX_0_899), z4);
    vec o1 = ADD(times(q, FIX_2_053 - FIX_2_562, -FIX_2_562), z4);
    vec o2 = ADD(times(q, -FIX_2_562, FIX_3_072 - FIX_2_562), z3);

    t0 = ADD(OP(srai_epi32)(t0, 3), round);
    t1 = ADD(OP(srai_epi32)(t1, 3), round);
    e = SUB(t0, t3);
    t0 = ADD(t0, t3);
    z = SUB(t1, t2);
    t1 = ADD(t1, t2);
    out[0] = OP(srai_epi32)(ADD(t0, o3), shift);
    out[7] = OP(srai_epi32)(SUB(t0, o3), shift);
    out[1] = OP(srai_epi32)(ADD(t1, o2), shift);
    out[6] = OP(srai_epi32)(SUB(t1, o2), shift);
    out[2] = OP(srai_epi32)(ADD(z, o1), shift);
    out[5] = OP(srai_epi32)(SUB(z, o1), shift);
    out[3] = OP(srai_epi32)(ADD(e, o0), shift);
    out[4] = OP(srai_epi32)(SUB(e, o0), shift);
}

static inline void pass(vec *r, int shift)
{
    vec low[8], high[8];
    int i;

    half_pass(r, false, shift, low);
    half_pass(r, true, shift, high);
    for (i = 0; i < 8; i++)
        r[i] = OP(packs_epi32)(low[i], high[i]);
}

static inline void turn(vec *r)
{
    vec a0 = OP(unpacklo_epi16)(r[0], r[1]),
        a1 = OP(unpackhi_epi16)(r[0], r[1]);
    vec b0 = OP(unpacklo_epi16)(r[2], r[3]),
        b1 = OP(unpackhi_epi16)(r[2], r[3]);
    vec c0 = OP(unpacklo_epi16)(r[4], r[5]),
        c1 = OP(unpackhi_epi16)(r[4], r[5]);
    vec d0 = OP(unpacklo_epi16)(r[6], r[7]),
        d1 = OP(unpackhi_epi16)(r[6], r[7]);
    vec e0 = OP(unpacklo_epi32)(a0, b0), e1 = OP(unpackhi_epi32)(a0, b0);
    vec e2 = OP(unpacklo_epi32)(a1, b1), e3 = OP(unpackhi_epi32)(a1, b1);
    vec f0 = OP(unpacklo_epi32)(c0, d0), f1 = OP(unpackhi_epi32)(c0, d0);
    vec f2 = OP(unpacklo_epi32)(c1, d1), f3 = OP(unpackhi_epi32)(c1, d1);

    r[0] = OP(unpacklo_epi64)(e0, f0);
    r[1] = OP(unpackhi_epi64)(e0, f0);
    r[2] = OP(unpacklo_epi64)(e1, f1);
    r[3] = OP(unpackhi_epi64)(e1, f1);
    r[4] = OP(unpacklo_epi64)(e2, f2);
    r[5] = OP(unpackhi_epi64)(e2, f2);
    r[6] = OP(unpacklo_epi64)(e3, f3);
    r[7] = OP(unpackhi_epi64)(e3, f3);
}

/* Columns of 16 bits to rows of bytes: two rows in each of four vectors. */
static inline void to_bytes(const vec *c, vec *out)
{
    vec a = OP(packs_epi16)(c[0], c[2]), b = OP(packs_epi16)(c[1], c[3]);
    vec d = OP(packs_epi16)(c[4], c[6]), e = OP(packs_epi16)(c[5], c[7]);
    vec flip = OP(set1_epi8)(-128);
    vec ab0 = OP(unpacklo_epi8)(a, b), ab1 = OP(unpackhi_epi8)(a, b);
    vec de0 = OP(unpacklo_epi8)(d, e), de1 = OP(unpackhi_epi8)(d, e);
    vec l0 = OP(unpacklo_epi16)(ab0, ab1), l1 = OP(unpackhi_epi16)(ab0, ab1);
    vec h0 = OP(unpacklo_epi16)(de0, de1), h1 = OP(unpackhi_epi16)(de0, de1);

    out[0] = XOR(OP(unpacklo_epi32)(l0, h0), flip);
    out[1] = XOR(OP(unpackhi_epi32)(l0, h0), flip);
    out[2] = XOR(OP(unpacklo_epi32)(l1, h1), flip);
    out[3] = XOR(OP(unpackhi_epi32)(l1, h1), flip);
}

static inline void store_two(uint8_t *p, size_t stride, __m128i v)
{
    _mm_storel_epi64((__m128i *)(void *)p, v);
    _mm_storeh_pd((double *)(void *)(p + stride), _mm_castsi128_pd(v));
}

#    define STORE_LANE(i)                                                      \
        if (n > (i))                                                           \
            for (y = 0; y < 4; y++)                                            \
        store_two(dst[i] + 2 * (size_t)y * stride, stride, LANE(out[y], i))

/* n blocks to where each belongs; false: one is odd. */
static bool transform(const int16_t *coef, const uint16_t *quant, int n,
                      uint8_t *const *dst, size_t stride)
{
    vec r[8], out[4], odd;
    int y;

    for (y = 0; y < 8; y++)
        r[y] = OP(mullo_epi16)(
            LOAD(coef + 8 * LANES * y),
            EACH(_mm_loadu_si128((const __m128i *)(const void *)quant + y)));
    odd = AND(ADD16(r[0], OP(set1_epi16)(ODD_LIMIT)),
              OP(set1_epi16)(-2 * ODD_LIMIT));
    pass(r, FIRST);
    turn(r);
    pass(r, SECOND);
    to_bytes(r, out);
    STORE_LANE(0);
    STORE_LANE(1);
#    if LANES == 4
    STORE_LANE(2);
    STORE_LANE(3);
    return !_mm512_test_epi16_mask(odd, odd);
#    else
    return _mm256_testz_si256(odd, odd);
#    endif
}
#else
/* Sums wrap; what overflows 32 bits is no picture either. */
static int32_t sum(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

static int32_t times(int16_t p, int a, int16_t q, int b)
{
    return sum(p * a, q * b);
}

static int16_t descale(int32_t a, int32_t b, int shift)
{
    int32_t v = sum(sum(a, b), 1 << (shift - 1)) >> shift;

    return (int16_t)(v < -32768 ? -32768 : v > 32767 ? 32767 : v);
}

/* Eight coefficients, step apart, in place. */
static void pass(int16_t *r, int step, int shift)
{
    int16_t r0 = r[0], r1 = r[step], r2 = r[2 * step], r3 = r[3 * step];
    int16_t r4 = r[4 * step], r5 = r[5 * step], r6 = r[6 * step];
    int16_t r7 = r[7 * step];
    int16_t z3 = (int16_t)(r7 + r3), z4 = (int16_t)(r5 + r1);
    int32_t t0 = (int16_t)(r0 + r4) * 8192, t1 = (int16_t)(r0 - r4) * 8192;
    int32_t t2 = times(r2, FIX_0_541, r6, FIX_0_541 - FIX_1_847);
    int32_t t3 = times(r2, FIX_0_541 + FIX_0_765, r6, FIX_0_541);
    int32_t a = times(z3, FIX_1_175 - FIX_1_961, z4, FIX_1_175);
    int32_t b = times(z3, FIX_1_175, z4, FIX_1_175 - FIX_0_390);
    int32_t o0 = sum(times(r7, FIX_0_298 - FIX_0_899, r1, -FIX_0_899), a);
    int32_t o3 = sum(times(r7, -FIX_0_899, r1, FIX_1_501 - FIX_0_899), b);
    int32_t o1 = sum(times(r5, FIX_2_053 - FIX_2_562, r3, -FIX_2_562), b);
    int32_t o2 = sum(times(r5, -FIX_2_562, r3, FIX_3_072 - FIX_2_562), a);

    r[0] = descale(sum(t0, t3), o3, shift);
    r[7 * step] = descale(sum(t0, t3), sum(~o3, 1), shift);
    r[step] = descale(sum(t1, t2), o2, shift);
    r[6 * step] = descale(sum(t1, t2), sum(~o2, 1), shift);
    r[2 * step] = descale(sum(t1, sum(~t2, 1)), o1, shift);
    r[5 * step] = descale(sum(t1, sum(~t2, 1)), sum(~o1, 1), shift);
    r[3 * step] = descale(sum(t0, sum(~t3, 1)), o0, shift);
    r[4 * step] = descale(sum(t0, sum(~t3, 1)), sum(~o0, 1), shift);
}

static bool transform(const int16_t *coef, const uint16_t *quant, int n,
                      uint8_t *const *dst, size_t stride)
{
    int16_t r[64];
    bool odd = false;
    int i;

    (void)n;
    for (i = 0; i < 64; i++)
        r[i] = (int16_t)((uint32_t)coef[i] * quant[i]);
    for (i = 0; i < 8; i++)
        odd |= r[i] < -ODD_LIMIT || r[i] >= ODD_LIMIT;
    for (i = 0; i < 8; i++)
        pass(r + i, 8, FIRST);
    for (i = 0; i < 8; i++)
        pass(r + 8 * i, 1, SECOND);
    for (i = 0; i < 64; i++) {
        int v = r[i] + 128;

        dst[0][stride * (size_t)(i / 8) + (size_t)(i % 8)] =
            (uint8_t)(v < 0     ? 0
                      : v > 255 ? 255
                                : v);
    }
    return !odd;
}
#endif

/* A block of one value. */
static inline bool fill(int dc, const struct scan_part *c, uint8_t *dst)
{
    int16_t v = (int16_t)((uint32_t)dc * c->quant[0]);
    int s = v < -1028 ? 0 : (v + 1028) >> 3, y;

    s = s > 255 ? 255 : s;
    for (y = 0; y < 8; y++)
        memset(dst + c->stride * (size_t)y, s, 8);
    return v >= -ODD_LIMIT && v < ODD_LIMIT;
}

/* ---- MCUs */

/* Blocks of a component that wait to be transformed. */
struct group {
    int16_t coef[64 * LANES];
    uint8_t *dst[LANES];
    int n;
};

static bool finish(struct group *g, const struct scan_part *c)
{
    bool sound = !g->n || transform(g->coef, c->quant, g->n, g->dst, c->stride);

    memset(g->coef, 0, sizeof(g->coef));
    g->n = 0;
    return sound;
}

/* A block of c to dst, now or later. */
static inline bool keep_block(struct scan_bits *b, struct scan_part *c,
                              struct group *g, uint8_t *dst)
{
    int16_t *coef = g->coef + 8 * g->n;
    int some;

    if (!predict(b, c))
        return false;
    some = read_block(b, c->ac, coef);
    if (some <= 0)
        return some == 0 && fill(c->last, c, dst);
    coef[0] = (int16_t)c->last;
    g->dst[g->n++] = dst;
    return g->n < LANES || finish(g, c);
}

static bool keep(struct scan_bits *b, struct scan_part *part, int parts, int at,
                 int mcus)
{
    struct group group[3];
    int i, j, x, y;

    for (i = 0; i < parts; i++) {
        group[i].n = 0;
        memset(group[i].coef, 0, sizeof(group[i].coef));
    }
    for (j = at; j < at + mcus; j++) {
        for (i = 0; i < parts; i++) {
            struct scan_part *c = &part[i];

            for (y = 0; y < c->down; y++)
                for (x = 0; x < c->across; x++)
                    if (!keep_block(b, c, &group[i],
                                    c->row + 8 * (size_t)y * c->stride +
                                        8 * (size_t)(j * c->across + x)))
                        return false;
        }
        if (b->p > b->end + 8)
            return false;
    }
    for (i = 0; i < parts; i++)
        if (!finish(&group[i], &part[i]))
            return false;
    return true;
}

static bool skip(struct scan_bits *b, struct scan_part *part, int parts,
                 int mcus)
{
    int i, j, k;

    for (j = 0; j < mcus; j++) {
        for (i = 0; i < parts; i++)
            for (k = 0; k < part[i].across * part[i].down; k++)
                if (!predict(b, &part[i]) || pass_block(b, part[i].ac) < 0)
                    return false;
        if (b->p > b->end + 8)
            return false;
    }
    return true;
}

/* ---- pixels */

static void wider(const uint8_t *near, const uint8_t *far, int n, uint8_t *out)
{
    int i;

    if (!far) {
        for (i = 0; i < n; i++) {
            int s = near[i] * 3;

            out[2 * i] = (uint8_t)((s + near[i - 1] + 1) >> 2);
            out[2 * i + 1] = (uint8_t)((s + near[i + 1] + 2) >> 2);
        }
        return;
    }
    for (i = 0; i < n; i++) {
        int s = (near[i] * 3 + far[i]) * 3;

        out[2 * i] = (uint8_t)((s + near[i - 1] * 3 + far[i - 1] + 8) >> 4);
        out[2 * i + 1] = (uint8_t)((s + near[i + 1] * 3 + far[i + 1] + 7) >> 4);
    }
}

static void higher(const uint8_t *near, const uint8_t *far, bool lower, int n,
                   uint8_t *out)
{
    int i, bias = lower ? 2 : 1;

    for (i = 0; i < n; i++)
        out[i] = (uint8_t)((near[i] * 3 + far[i] + bias) >> 2);
}

#if LANES > 1
/* 16-bit samples of the next pixels, and what is stored of them. */
#    if LANES == 4
#        define PIXELS 32
#        define WIDEN(p)                                                       \
            _mm512_cvtepu8_epi16(_mm256_loadu_si256((const void *)(p)))
#        define STORE(p, v) _mm512_storeu_si512(p, v)
#    else
#        define PIXELS 16
#        define WIDEN(p)                                                       \
            _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)(p)))
#        define STORE(p, v) _mm256_storeu_si256((void *)(p), v)
#    endif

/* (v*k + 2^15) >> 16 */
static inline vec scale(vec v, int k)
{
    vec twice = OP(mulhi_epi16)(ADD16(v, v), OP(set1_epi16)((short)k));

    return OP(srai_epi16)(ADD16(twice, OP(set1_epi16)(1)), 1);
}

/* Pixels of half of each lane to out in their order. */
static inline void store_pixels(vec low, vec high, uint8_t *out)
{
#    if LANES == 4
    vec first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    vec second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);

    STORE(out, _mm512_permutex2var_epi64(low, first, high));
    STORE(out + 64, _mm512_permutex2var_epi64(low, second, high));
#    else
    STORE(out, _mm256_permute2x128_si256(low, high, 0x20));
    STORE(out + 32, _mm256_permute2x128_si256(low, high, 0x31));
#    endif
}

static inline void store_rgbx(vec r, vec g, vec b, uint8_t *out)
{
    vec rb = OP(packus_epi16)(r, b);
    vec gx = OP(packus_epi16)(g, OP(set1_epi16)(255));
    vec rg = OP(unpacklo_epi8)(rb, gx), bx = OP(unpackhi_epi8)(rb, gx);

    store_pixels(OP(unpacklo_epi16)(rg, bx), OP(unpackhi_epi16)(rg, bx), out);
}

/* (-22554*b + 18734*r + 2^15) >> 16 */
static inline vec green(vec b, vec r)
{
    vec half = OP(set1_epi32)(1 << 15);
    vec low = ADD(times(mix(b, r, false), -22554, 18734), half);
    vec high = ADD(times(mix(b, r, true), -22554, 18734), half);

    return OP(packs_epi32)(OP(srai_epi32)(low, 16), OP(srai_epi32)(high, 16));
}

static void colour(const uint8_t *y, const uint8_t *cb, const uint8_t *cr,
                   int n, uint8_t *out)
{
    vec middle = OP(set1_epi16)(128);
    int i;

    for (i = 0; i < n; i += PIXELS) {
        vec v = WIDEN(y + i), b, r, g;

        if (!cb) {
            store_rgbx(v, v, v, out + 4 * i);
            continue;
        }
        b = SUB16(WIDEN(cb + i), middle);
        r = SUB16(WIDEN(cr + i), middle);
        g = ADD16(v, SUB16(green(b, r), r));
        r = ADD16(ADD16(v, r), scale(r, 91881 - 65536));
        b = ADD16(ADD16(v, ADD16(b, b)), scale(b, 116130 - 131072));
        store_rgbx(r, g, b, out + 4 * i);
    }
}
#else
static uint8_t clip(int v)
{
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static void colour(const uint8_t *y, const uint8_t *cb, const uint8_t *cr,
                   int n, uint8_t *out)
{
    int i;

    for (i = 0; i < n; i++, out += 4) {
        int b = cb ? cb[i] - 128 : 0, r = cb ? cr[i] - 128 : 0;

        out[0] = clip(y[i] + ((91881 * r + 32768) >> 16));
        out[1] = clip(y[i] + ((-22554 * b - 46802 * r + 32768) >> 16));
        out[2] = clip(y[i] + ((116130 * b + 32768) >> 16));
        out[3] = 255;
    }
}
#endif

const struct scan_kern ISA_NAME(scan_kern) = {keep, skip, wider, higher,
                                              colour};
