/* The resizer: vectors computed from Pillow's definition (imagenet-recipe 9),
 * equal bytes of all instruction sets and of any part of the output. */
#include "lib/tap.h"

#include "util/isa.h"
#include "util/rng.h"
#include "vision/resize.h"

static struct resizer *r;

/* One row of grey values through the whole machine. */
static void row(const uint8_t *in, int n, int out, const int *want)
{
    uint8_t src[4 * 16], dst[3 * 16];
    struct resize_job job = {n, 1, out, 1, {0, 0, out, 1}, false, false, false};
    int i, bad = 0;

    for (i = 0; i < 4 * n; i++)
        src[i] = in[i / 4];
    resize_run(r, &job, src, 4 * (size_t)n, dst, sizeof(dst));
    for (i = 0; i < 3 * out; i++)
        bad += dst[i] != want[i / 3];
    is_int(bad, 0, "%s: %d to %d", resizer_set(r), n, out);
    /* the same as a column */
    job =
        (struct resize_job){1, n, 1, out, {0, 0, 1, out}, false, false, false};
    resize_run(r, &job, src, 4, dst, 3);
    for (i = bad = 0; i < 3 * out; i++)
        bad += dst[i] != want[i / 3];
    is_int(bad, 0, "%s: column %d to %d", resizer_set(r), n, out);
}

static void vectors(void)
{
    static const uint8_t a[] = {0, 10, 20, 40, 80, 160, 255, 255};
    static const uint8_t b[] = {0, 100, 255};
    static const int want2[] = {68, 95, 122, 155, 119, 146};
    struct resize_job job = {5, 4, 3, 2, {0, 0, 3, 2}, false, false, false};
    uint8_t src[80], dst[18];
    int i, bad = 0;

    row(a, 8, 3, (const int[]){12, 73, 219});
    row(a, 8, 5, (const int[]){4, 21, 63, 170, 255});
    row(b, 3, 8, (const int[]){0, 6, 44, 81, 129, 187, 245, 255});
    row(a, 8, 8, (const int[]){0, 10, 20, 40, 80, 160, 255, 255});
    for (i = 0; i < 80; i++)
        src[i] = (uint8_t)(17 * (i / 4));
    resize_run(r, &job, src, 20, dst, 9);
    for (i = 0; i < 18; i++)
        bad += dst[i] != want2[i / 3];
    is_int(bad, 0, "%s: 5x4 to 3x2", resizer_set(r));
}

static void weights(void)
{
    static const int32_t want[3][6] = {
        {1214141, 1655646, 993388, 331129},
        {99864, 699051, 1298237, 1298237, 699051, 99864},
        {331129, 993388, 1655646, 1214141}};
    static const int from[] = {0, 1, 4}, count[] = {4, 6, 4};
    struct resize_axis a = {0};
    int i, q;

    resize_axis_make(&a, 8, 3, 0, 3);
    for (i = 0; i < 3; i++) {
        is_int(a.from[i], from[i], "output %d begins", i);
        is_int(a.count[i], count[i], "output %d has taps", i);
        for (q = 0; q < count[i]; q++)
            is_int(a.weight[i * a.taps + q], want[i][q], "weight %d,%d", i, q);
    }
    resize_axis_release(&a);
}

/* The definition, slowly: two passes over one channel. */
static void pass(const uint8_t *in, int n_in, size_t step_in, uint8_t *out,
                 int n_out, size_t step_out)
{
    struct resize_axis a = {0};
    int i, q;

    resize_axis_make(&a, n_in, n_out, 0, n_out);
    for (i = 0; i < n_out; i++) {
        int64_t sum = 1 << 21;

        for (q = 0; q < a.count[i]; q++)
            sum += (int64_t)a.weight[i * a.taps + q] *
                   in[(size_t)(a.from[i] + q) * step_in];
        sum >>= 22;
        out[(size_t)i * step_out] = sum < 0     ? 0
                                    : sum > 255 ? 255
                                                : (uint8_t)sum;
    }
    resize_axis_release(&a);
}

static void slow_down(const uint8_t *src, int w, int h, uint8_t *dst, int ow,
                      int oh)
{
    uint8_t *mid = malloc((size_t)w * (size_t)oh * 3);
    int c, i;

    for (c = 0; c < 3; c++) {
        for (i = 0; i < w; i++)
            pass(src + c + i * 4, h, (size_t)w * 4, mid + c + i * 3, oh,
                 (size_t)w * 3);
        for (i = 0; i < oh; i++)
            pass(mid + c + (size_t)i * (size_t)w * 3, w, 3,
                 dst + c + (size_t)i * (size_t)ow * 3, ow, 3);
    }
    free(mid);
}

static void slow(const uint8_t *src, int w, int h, uint8_t *dst, int ow, int oh)
{
    uint8_t *mid = malloc((size_t)ow * (size_t)h * 3);
    int c, i;

    for (c = 0; c < 3; c++) {
        for (i = 0; i < h; i++)
            pass(src + c + (size_t)i * (size_t)w * 4, w, 4,
                 mid + c + (size_t)i * (size_t)ow * 3, ow, 3);
        for (i = 0; i < ow; i++)
            pass(mid + c + i * 3, h, (size_t)ow * 3, dst + c + i * 3, oh,
                 (size_t)ow * 3);
    }
    free(mid);
}

/* Part of the output, flipped, against the same of the slow whole. */
static int differ(const struct resize_job *j, const uint8_t *got,
                  const uint8_t *whole)
{
    int x, y, bad = 0;

    for (y = 0; y < j->part.h; y++)
        for (x = 0; x < j->part.w; x++) {
            int wx = j->part.x + (j->flip ? j->part.w - 1 - x : x);
            const uint8_t *a = got + 3 * (y * j->part.w + x);
            const uint8_t *b = whole + 3 * ((j->part.y + y) * j->out_w + wx);

            bad += memcmp(a, b, 3) != 0;
        }
    return bad;
}

static void one_size(int w, int h, int ow, int oh, uint32_t number, bool newer)
{
    size_t n = (size_t)w * (size_t)h * 4;
    uint8_t *src = malloc(n), *got = malloc((size_t)ow * (size_t)oh * 3);
    uint8_t *want = malloc((size_t)ow * (size_t)oh * 3);
    struct rng g;
    size_t i;
    int k;

    rng_init(&g, 25, number, 0, RNG_SYNTH);
    for (i = 0; i < n; i++)
        src[i] = number % 3 ? (uint8_t)rng_below(&g, 256)
                            : (uint8_t)(rng_below(&g, 2) * 255);
    if (oh < h && (newer ? h - oh > 2 * (w - ow) : h > 100 * w))
        slow_down(src, w, h, want, ow, oh);
    else
        slow(src, w, h, want, ow, oh);
    for (k = 0; k < 4; k++) {
        struct resize_job j = {w,     h,     ow,   oh, {0, 0, ow, oh},
                               k & 1, newer, false};
        struct rect need;

        if (k & 2) {
            j.part.x = (int)rng_below(&g, (uint64_t)ow);
            j.part.y = (int)rng_below(&g, (uint64_t)oh);
            j.part.w = 1 + (int)rng_below(&g, (uint64_t)(ow - j.part.x));
            j.part.h = 1 + (int)rng_below(&g, (uint64_t)(oh - j.part.y));
        }
        if (resize_need(&j, &need) < 0)
            ok(0, "%s", err_text());
        resize_run(r, &j,
                   src + 4 * ((size_t)need.y * (size_t)w + (size_t)need.x),
                   4 * (size_t)w, got, 3 * (size_t)j.part.w);
        is_int(differ(&j, got, want), 0, "%s: %dx%d to %dx%d%s%s%s",
               resizer_set(r), w, h, ow, oh, k & 1 ? " flipped" : "",
               k & 2 ? " part" : "", newer ? " (13)" : "");
    }
    free(src);
    free(got);
    free(want);
}

static void sizes(void)
{
    static const int s[][4] = {
        {1, 1, 1, 1},         {1, 1, 7, 5},         {2, 3, 64, 64},
        {9, 7, 224, 224},     {500, 375, 341, 256}, {500, 375, 224, 224},
        {130, 67, 64, 64},    {333, 500, 176, 176}, {64, 64, 64, 64},
        {700, 3, 20, 40},     {3, 700, 40, 20},     {255, 257, 31, 33},
        {1000, 9, 5, 3},      {17, 65, 16, 64},     {2049, 2, 3, 2},
        {211, 261, 224, 224}, {3, 300, 40, 20},     {312, 376, 224, 176},
        {3, 301, 40, 20},     {20, 130, 90, 128}};
    size_t i;

    for (i = 0; i < sizeof(s) / sizeof(*s); i++)
        one_size(s[i][0], s[i][1], s[i][2], s[i][3], (uint32_t)i, i & 1);
}

static void limit(void)
{
    struct resize_job j = {10241,          10,    10,    10,
                           {0, 0, 10, 10}, false, false, false};
    struct rect need;

    is_int(resize_need(&j, &need), -1, "too much shrinking is refused");
    is_int(err_code(), ERR_DATA, "as bad data");
    j.in_w = 10240;
    is_int(resize_need(&j, &need), 0, "1024 times is not");
    is_int(need.w, 10240, "and needs all");
}

int main(void)
{
    int i;

    r = resizer_new();
    weights();
    limit();
    for (i = 0; isa_names[i]; i++) {
        if (!resizer_use(r, isa_names[i])) {
            skip(1, "isa: this machine lacks an instruction set");
            continue;
        }
        vectors();
        sizes();
    }
    resizer_free(r);
    return done_testing();
}
