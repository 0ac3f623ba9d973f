#include "tensor/dtype.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} types[DT_N] = {
    [DT_U8] = {"U8", 1},     [DT_I8] = {"I8", 1},   [DT_U16] = {"U16", 2},
    [DT_I16] = {"I16", 2},   [DT_F16] = {"F16", 2}, [DT_BF16] = {"BF16", 2},
    [DT_U32] = {"U32", 4},   [DT_I32] = {"I32", 4}, [DT_F32] = {"F32", 4},
    [DT_U64] = {"U64", 8},   [DT_I64] = {"I64", 8}, [DT_F64] = {"F64", 8},
    [DT_BOOL] = {"BOOL", 1},
};

size_t dtype_size(enum dtype t)
{
    return types[t].size;
}

const char *dtype_name(enum dtype t)
{
    return types[t].name;
}

int dtype_find(const char *name, enum dtype *t)
{
    int i;

    for (i = 0; i < DT_N; i++) {
        if (strcmp(name, types[i].name) == 0) {
            *t = (enum dtype)i;
            return 0;
        }
    }
    return err_set(ERR_DATA, "unknown dtype \"%.40s\"", name);
}

static float f32_of_bits(uint32_t u)
{
    float f;

    memcpy(&f, &u, sizeof(f));
    return f;
}

static uint32_t bits_of_f32(float f)
{
    uint32_t u;

    memcpy(&u, &f, sizeof(u));
    return u;
}

float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t e = h >> 10 & 31, m = h & 0x3ff;
    float f;

    if (e == 31)
        return f32_of_bits(sign | 0x7f800000u | m << 13 | (m ? 0x400000u : 0));
    if (e)
        return f32_of_bits(sign | (e + 112) << 23 | m << 13);
    f = (float)m * 0x1p-24f;
    return sign ? -f : f;
}

float bf16_to_f32(uint16_t h)
{
    return f32_of_bits((uint32_t)h << 16);
}

/*
 * Round a double to a 16-bit format with mb bits of mantissa and that exponent
 * bias, to nearest, ties to even. A double below the normal range of doubles is
 * far below half of the least number of either format.
 */
static uint16_t narrow(double d, int mb, int bias)
{
    uint32_t inf = (0x7fffu >> mb) << mb;
    uint64_t u, m, rest, half, v;
    uint32_t sign;
    int e, shift = 52 - mb;

    memcpy(&u, &d, sizeof(u));
    sign = (uint32_t)(u >> 63) << 15;
    e = (int)(u >> 52 & 0x7ff);
    m = u & 0xfffffffffffffu;
    if (e == 0x7ff) {
        if (m)
            inf |= 1u << (mb - 1) | (uint32_t)(m >> shift);
        return (uint16_t)(sign | inf);
    }
    e += bias - 1023;
    if (e <= 0) {
        shift += 1 - e;
        e = 1;
    }
    if (shift > 53)
        return (uint16_t)sign;
    m |= (uint64_t)1 << 52;
    v = m >> shift;
    rest = m & (((uint64_t)1 << shift) - 1);
    half = (uint64_t)1 << (shift - 1);
    if (rest > half || (rest == half && (v & 1)))
        v++;
    /* v has the implicit bit in it, so a carry moves into the exponent. */
    v += (uint64_t)(e - 1) << mb;
    return (uint16_t)(sign | (v > inf ? inf : (uint32_t)v));
}

uint16_t f64_to_f16(double d)
{
    return narrow(d, 10, 15);
}

uint16_t f64_to_bf16(double d)
{
    return narrow(d, 7, 127);
}

uint16_t f32_to_f16(float f)
{
    return narrow((double)f, 10, 15);
}

uint16_t f32_to_bf16(float f)
{
    uint32_t u = bits_of_f32(f);

    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* Reads through memcpy: the data of a file need not be aligned. */
#define LOAD(type)                                                             \
    do {                                                                       \
        type x;                                                                \
        memcpy(&x, (const char *)p + i * sizeof(x), sizeof(x));                \
        return (double)x;                                                      \
    } while (0)

double dtype_load(enum dtype t, const void *p, size_t i)
{
    uint16_t h;

    switch (t) {
    case DT_U8:
        LOAD(uint8_t);
    case DT_I8:
        LOAD(int8_t);
    case DT_U16:
        LOAD(uint16_t);
    case DT_I16:
        LOAD(int16_t);
    case DT_U32:
        LOAD(uint32_t);
    case DT_I32:
        LOAD(int32_t);
    case DT_F32:
        LOAD(float);
    case DT_U64:
        LOAD(uint64_t);
    case DT_I64:
        LOAD(int64_t);
    case DT_F64:
        LOAD(double);
    case DT_F16:
    case DT_BF16:
        memcpy(&h, (const char *)p + i * sizeof(h), sizeof(h));
        return (double)(t == DT_F16 ? f16_to_f32(h) : bf16_to_f32(h));
    case DT_BOOL:
        return ((const uint8_t *)p)[i] != 0;
    default:
        BUG("dtype %d", (int)t);
    }
}

/* Integers: nearest (ties to even), kept in range; NaN is 0. */
static double clamp(double v, double lo, double hi)
{
    if (isnan(v))
        return 0;
    v = nearbyint(v);
    return v < lo ? lo : v > hi ? hi : v;
}

/* 64-bit integers: the limit itself is no double. */
static int64_t to_i64(double v)
{
    v = clamp(v, -0x1p63, 0x1p63);
    return v >= 0x1p63 ? INT64_MAX : (int64_t)v;
}

static uint64_t to_u64(double v)
{
    v = clamp(v, 0, 0x1p64);
    return v >= 0x1p64 ? UINT64_MAX : (uint64_t)v;
}

#define STORE(type, value)                                                     \
    do {                                                                       \
        type x = (type)(value);                                                \
        memcpy((char *)p + i * sizeof(x), &x, sizeof(x));                      \
        return;                                                                \
    } while (0)

void dtype_store(enum dtype t, void *p, size_t i, double v)
{
    switch (t) {
    case DT_U8:
        STORE(uint8_t, clamp(v, 0, UINT8_MAX));
    case DT_I8:
        STORE(int8_t, clamp(v, INT8_MIN, INT8_MAX));
    case DT_U16:
        STORE(uint16_t, clamp(v, 0, UINT16_MAX));
    case DT_I16:
        STORE(int16_t, clamp(v, INT16_MIN, INT16_MAX));
    case DT_F16:
        STORE(uint16_t, f64_to_f16(v));
    case DT_BF16:
        STORE(uint16_t, f64_to_bf16(v));
    case DT_U32:
        STORE(uint32_t, clamp(v, 0, UINT32_MAX));
    case DT_I32:
        STORE(int32_t, clamp(v, INT32_MIN, INT32_MAX));
    case DT_F32:
        STORE(float, v);
    case DT_U64:
        STORE(uint64_t, to_u64(v));
    case DT_I64:
        STORE(int64_t, to_i64(v));
    case DT_F64:
        STORE(double, v);
    case DT_BOOL:
        STORE(uint8_t, v != 0);
    default:
        BUG("dtype %d", (int)t);
    }
}

static void narrow_f64(float *restrict to, const double *restrict from,
                       size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (float)from[i];
}

void dtype_convert(enum dtype tt, void *to, enum dtype ft, const void *from,
                   size_t n)
{
    if (ft == tt)
        memcpy(to, from, n * dtype_size(ft));
    else if (ft == DT_F64 && tt == DT_F32 &&
             (uintptr_t)to % sizeof(float) == 0 &&
             (uintptr_t)from % sizeof(double) == 0)
        narrow_f64(to, from, n); /* fresh weights, the common case */
    else
        for (size_t i = 0; i < n; i++)
            dtype_store(tt, to, i, dtype_load(ft, from, i));
}
