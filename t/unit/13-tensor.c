/* Element types and tensors. */
#include "lib/tap.h"

#include "tensor/tensor.h"

#include <math.h>

static uint32_t bits(float f)
{
    uint32_t u;

    memcpy(&u, &f, sizeof(u));
    return u;
}

static float of_bits(uint32_t u)
{
    float f;

    memcpy(&f, &u, sizeof(f));
    return f;
}

static void test_names(void)
{
    static const struct {
        const char *name;
        size_t size;
    } want[] = {{"U8", 1},   {"I8", 1},  {"U16", 2}, {"I16", 2}, {"F16", 2},
                {"BF16", 2}, {"U32", 4}, {"I32", 4}, {"F32", 4}, {"U64", 8},
                {"I64", 8},  {"F64", 8}, {"BOOL", 1}};
    enum dtype t;
    int i, bad = 0;

    for (i = 0; i < DT_N; i++) {
        if (dtype_find(want[i].name, &t) < 0 || (int)t != i ||
            strcmp(dtype_name(t), want[i].name) != 0 ||
            dtype_size(t) != want[i].size)
            bad++;
    }
    is_int(bad, 0, "%d dtypes by name", DT_N);
    is_int(dtype_find("f32", &t), -1, "names are exact");
    is_int(err_code(), ERR_DATA, "bad data");
    is_str(err_text(), "unknown dtype \"f32\"", "the sentence");
}

/* Every half is exact in wider types, and comes back. */
static void test_all_halves(void)
{
    uint32_t h, bad = 0, nans = 0;
    float f, b;

    for (h = 0; h < 65536; h++) {
        f = f16_to_f32((uint16_t)h);
        b = bf16_to_f32((uint16_t)h);
        if (isnan(f)) {
            nans++;
            bad += !isnan(f16_to_f32(f32_to_f16(f))) ||
                   f32_to_f16(f) != (h | 0x200);
        } else {
            bad += f32_to_f16(f) != h || f64_to_f16((double)f) != h;
        }
        if (isnan(b))
            bad += f32_to_bf16(b) != (h | 0x40);
        else
            bad += f32_to_bf16(b) != h || f64_to_bf16((double)b) != h;
    }
    is_int(bad, 0, "all halves of both kinds come back");
    is_int(nans, 2046, "fp16 has 2046 NaN");
    is_double((double)f16_to_f32(0x0001), 0x1p-24, 0, "least fp16");
    is_double((double)f16_to_f32(0x7bff), 65504, 0, "greatest fp16");
    is_double((double)f16_to_f32(0xc000), -2, 0, "-2");
    is_double((double)bf16_to_f32(0x3f80), 1, 0, "1 in bf16");
}

/* Between neighbours: nearest; the middle goes to the even one. */
static void test_rounding(void)
{
    uint32_t h, bad = 0;
    double lo, hi, mid;

    for (h = 0; h < 0x7bff; h++) {
        lo = (double)f16_to_f32((uint16_t)h);
        hi = (double)f16_to_f32((uint16_t)(h + 1));
        mid = (lo + hi) / 2;
        bad += f64_to_f16(mid) != (h & 1 ? h + 1 : h);
        bad += f32_to_f16((float)mid) != (h & 1 ? h + 1 : h);
        bad += f64_to_f16(nextafter(mid, -1)) != h;
        bad += f64_to_f16(nextafter(mid, 1e9)) != h + 1;
        bad += f64_to_f16(-nextafter(mid, 1e9)) != ((h + 1) | 0x8000);
    }
    is_int(bad, 0, "fp16 rounds to nearest, ties to even");
    for (h = 0; h < 0x7f7f; h++) {
        lo = (double)bf16_to_f32((uint16_t)h);
        hi = (double)bf16_to_f32((uint16_t)(h + 1));
        mid = (lo + hi) / 2;
        bad += f64_to_bf16(mid) != (h & 1 ? h + 1 : h);
        bad += f32_to_bf16((float)mid) != (h & 1 ? h + 1 : h);
        bad += f64_to_bf16(nextafter(mid, -1)) != h;
        bad += f64_to_bf16(nextafter(mid, HUGE_VAL)) != h + 1;
    }
    is_int(bad, 0, "bf16 rounds to nearest, ties to even");
}

static void test_edges(void)
{
    is_int(f32_to_f16(65519.996f), 0x7bff, "just below the middle");
    is_int(f32_to_f16(65520.0f), 0x7c00, "the middle above the greatest");
    is_int(f32_to_f16(1e30f), 0x7c00, "far too large");
    is_int(f32_to_f16(-HUGE_VALF), 0xfc00, "minus infinity");
    is_int(f32_to_f16(0x1p-25f), 0, "half of the least is even 0");
    is_int(f32_to_f16(0x1.000002p-25f), 1, "a little more is the least");
    is_int(f32_to_f16(-0.0f), 0x8000, "minus zero");
    is_int(f64_to_f16(5e-324), 0, "least double");
    is_int(f64_to_f16(0x1.ff8p0 + 0x1p-11 + 0x1p-50), 0x3fff,
           "one rounding, not two");
    is_int(f32_to_bf16(of_bits(0x7f7fffff)), 0x7f80, "greatest float");
    is_int(f32_to_bf16(of_bits(0x7f7f7fff)), 0x7f7f, "below the middle");
    is_int(f32_to_bf16(of_bits(0xff800000)), 0xff80, "minus infinity");
    is_int(f32_to_bf16(of_bits(0x7f800001)), 0x7fc0,
           "a NaN with low bits only stays one");
    is_int(f32_to_bf16(of_bits(0x00000001)), 0, "least float");
    is_int(bits(bf16_to_f32(0xff80)), 0xff800000, "and back");
    is_int(f64_to_bf16(HUGE_VAL), 0x7f80, "infinity from double");
    is_int(f64_to_bf16((double)NAN) & 0x7fff, 0x7fc0, "NaN from double");
}

static double round_trip(enum dtype t, double v)
{
    unsigned char room[9 * 3];

    /* an odd address, as in a file */
    dtype_store(t, room + 1, 2, v);
    return dtype_load(t, room + 1, 2);
}

static void test_load_store(void)
{
    static const struct {
        enum dtype t;
        double v, want;
    } c[] = {
        {DT_U8, 254.5, 254},
        {DT_U8, 255.5, 255},
        {DT_U8, -3, 0},
        {DT_I8, -128.4, -128},
        {DT_I8, 1e9, 127},
        {DT_U16, 65535.4, 65535},
        {DT_I16, -40000, -32768},
        {DT_F16, 1.0 / 3, 0.333251953125},
        {DT_BF16, 1.0 / 3, 0.333984375},
        {DT_U32, 4294967295.0, 4294967295.0},
        {DT_I32, -2147483648.0, -2147483648.0},
        {DT_I32, 2.5, 2},
        {DT_F32, 0.1, 0.100000001490116119384765625},
        {DT_U64, 0x1p63, 0x1p63},
        {DT_U64, 0x1p70, 0x1p64},
        {DT_I64, -0x1p63, -0x1p63},
        {DT_I64, 0x1p63, 0x1p63},
        {DT_I64, 9007199254740991.0, 9007199254740991.0},
        {DT_F64, 0.1, 0.1},
        {DT_BOOL, 0.2, 1},
        {DT_BOOL, 0, 0},
    };
    size_t i;

    for (i = 0; i < sizeof(c) / sizeof(c[0]); i++)
        is_double(round_trip(c[i].t, c[i].v), c[i].want, 0, "%s of %.17g",
                  dtype_name(c[i].t), c[i].v);
    is_double(round_trip(DT_I32, (double)NAN), 0, 0, "NaN as integer is 0");
    is_double(round_trip(DT_F32, (double)NAN), (double)NAN, 0, "NaN as F32");
}

/* As element by element, whatever the dtypes. */
static void test_convert(void)
{
    enum {
        N = 5
    };
    static const double from[N] = {0.1, -3.75, 1e30, 65504.5, 7};
    char a[N * 8], b[N * 8], c[N * 8];
    int bad = 0;

    for (int ft = 0; ft < DT_N; ft++)
        for (int tt = 0; tt < DT_N; tt++) {
            memset(b, 0, sizeof(b));
            memset(c, 0, sizeof(c));
            for (size_t i = 0; i < N; i++)
                dtype_store((enum dtype)ft, a, i, from[i]);
            for (size_t i = 0; i < N; i++)
                dtype_store((enum dtype)tt, b, i,
                            dtype_load((enum dtype)ft, a, i));
            dtype_convert((enum dtype)tt, c, (enum dtype)ft, a, N);
            bad += memcmp(b, c, sizeof(b)) != 0;
        }
    is_int(bad, 0, "arrays of every dtype to every other");
}

static void test_shape(void)
{
    struct tensor t = TENSOR4(DT_F32, NULL, 64, 7, 7, 3), u;
    struct buf b = BUF_INIT;
    uint64_t n = 0;
    int64_t r;

    tensor_describe(&t, &b);
    is_str(b.data, "F32 [64,7,7,3]", "description");
    is_int(tensor_count(&t), 9408, "count");
    is_int((long long)tensor_bytes(&t), 37632, "bytes");
    ok(tensor_check(&t, &n) == 0 && n == 37632, "checked bytes");
    u = t;
    ok(tensor_same_shape(&t, &u), "same shape");
    u.shape[3] = 4;
    ok(!tensor_same_shape(&t, &u), "another size");
    u.rank = 3;
    ok(!tensor_same_shape(&t, &u), "another rank");

    t = tensor_of(DT_I64, 0, NULL, NULL);
    ok(tensor_count(&t) == 1 && tensor_check(&t, &n) == 0 && n == 8,
       "rank 0 is one element");
    t = TENSOR2(DT_F64, NULL, 5, 0);
    ok(tensor_count(&t) == 0 && tensor_check(&t, &n) == 0 && n == 0,
       "a dimension of 0");
    t = TENSOR2(DT_U8, NULL, (int64_t)1 << 40, (int64_t)1 << 40);
    is_int(tensor_check(&t, &n), -1, "2^80 elements");
    is_int(err_code(), ERR_DATA, "bad data");
    t = TENSOR2(DT_F64, NULL, (int64_t)1 << 31, (int64_t)1 << 31);
    is_int(tensor_check(&t, &n), -1, "2^62 elements of 8 bytes");
    t = TENSOR2(DT_U8, NULL, -1, -1);
    is_int(tensor_check(&t, &n), -1, "negative dimensions");
    ok(mul_ok(INT64_MAX, 1, &r) && r == INT64_MAX, "mul_ok at the limit");
    ok(!mul_ok((int64_t)1 << 32, (int64_t)1 << 31, &r), "2^63 overflows");
    ok(mul_ok(INT64_MAX, 0, &r) && r == 0, "times 0");
    ok(!mul_ok(-1, 1, &r) && !mul_ok(1, -1, &r), "negative operands");
    ok(add_ok(INT64_MAX - 1, 1, &r) && r == INT64_MAX, "add_ok");
    ok(!add_ok(INT64_MAX, 1, &r) && !add_ok(-1, 5, &r), "overflow");
    buf_release(&b);
}

int main(void)
{
    test_names();
    test_all_halves();
    test_rounding();
    test_edges();
    test_load_store();
    test_convert();
    test_shape();
    return done_testing();
}
