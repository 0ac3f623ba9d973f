/*
 * Convolutions on vector registers beside engine ref. The numbers are small
 * integers, whose sums fp32 holds: every bit must be equal, whatever the order.
 */
#include "lib/must.h"
#include "lib/tap.h"

#include "engine/engine.h"
#include "util/isa.h"

static uint32_t state = 1;

/* n numbers of -3..3 */
static float *numbers(struct engine *e, int64_t n)
{
    void *p;
    int64_t i;

    must(engine_alloc(e, (size_t)n * sizeof(float) + 1, &p));
    for (i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        ((float *)p)[i] = (float)(state >> 16) / 65536 * 7 - 3;
        ((float *)p)[i] = (float)(int)((float *)p)[i];
    }
    return p;
}

struct numbers {
    int64_t x, w, y;
};

static struct numbers sizes(const struct conv_desc *d)
{
    struct numbers n = {d->n * d->h * d->w * d->c, d->k * d->r * d->s * d->c,
                        d->n * conv_p(d) * conv_q(d) * d->k};

    return n;
}

/* One run in `form` (NULL: by rule) on e; out is what it begins with. */
static void run(struct engine *e, const struct conv_desc *d, const char *form,
                const struct conv_args *from, float *out)
{
    struct conv_args a = *from;
    struct conv_needs needs;
    struct conv_plan *plan;
    void *packed = NULL, *scratch;

    must(engine_conv_plan_as(e, d, form, &plan, &needs));
    must(engine_alloc(e, needs.scratch_bytes + 1, &scratch));
    memset(scratch, 0xff, needs.scratch_bytes); /* NaN */
    if (needs.packed_bytes) {
        must(engine_alloc(e, needs.packed_bytes, &packed));
        must(engine_conv_pack(e, plan, a.w, packed));
        a.w = packed;
    }
    a.out = out;
    a.scratch = scratch;
    must(engine_conv_run(e, plan, &a));
    engine_free(e, scratch);
    engine_free(e, packed);
    engine_conv_free(e, plan);
}

static void compare(struct engine *e, struct engine *ref,
                    const struct conv_desc *d, bool accumulate)
{
    struct numbers n = sizes(d);
    int64_t size = d->kind == CONV_FORWARD ? n.y
                   : d->kind == CONV_DGRAD ? n.x
                                           : n.w;
    float *x = numbers(e, n.x), *w = numbers(e, n.w), *dy = numbers(e, n.y);
    float *bias = numbers(e, d->k), *add = numbers(e, n.y);
    float *got = numbers(e, size), *want = numbers(e, size);
    struct conv_args a = {.x = x,
                          .w = w,
                          .dy = dy,
                          .bias = bias,
                          .add = add,
                          .accumulate = accumulate};
    int64_t i, wrong = 0;

    memcpy(want, got, (size_t)size * sizeof(float));
    run(e, d, "lanes", &a, got);
    run(ref, d, NULL, &a, want);
    for (i = 0; i < size; i++)
        wrong += got[i] != want[i];
    is_int(wrong, 0, "%s of %dx%d/%d on %dx%dx%dx%d to %d%s%s",
           d->kind == CONV_FORWARD ? "forward"
           : d->kind == CONV_DGRAD ? "gradient of x"
                                   : "gradient of weights",
           (int)d->r, (int)d->s, d->stride, (int)d->n, (int)d->h, (int)d->w,
           (int)d->c, (int)d->k, accumulate ? ", added" : "",
           d->epi == EPI_ADD_BIAS ? ", with a sum and relu" : "");
    engine_free(e, x);
    engine_free(e, w);
    engine_free(e, dy);
    engine_free(e, bias);
    engine_free(e, add);
    engine_free(e, got);
    engine_free(e, want);
}

/* Sizes that leave a rest of places, of terms, of rows; strides; one pixel; few
 * channels; windows that hang over on all sides. */
static const struct conv_desc cases[] = {
    {.n = 2, .h = 7, .w = 5, .c = 64, .k = 64, .r = 3, .s = 3, .pad = 1},
    {.n = 3, .h = 11, .w = 13, .c = 64, .k = 128, .r = 1, .s = 1},
    {.n = 2,
     .h = 9,
     .w = 8,
     .c = 192,
     .k = 64,
     .r = 3,
     .s = 3,
     .pad = 1,
     .stride = 2},
    {.n = 5, .h = 7, .w = 7, .c = 128, .k = 64, .r = 1, .s = 1, .stride = 2},
    {.n = 2,
     .h = 29,
     .w = 23,
     .c = 3,
     .k = 64,
     .r = 7,
     .s = 7,
     .pad = 3,
     .stride = 2},
    {.n = 1, .h = 1, .w = 1, .c = 64, .k = 64, .r = 3, .s = 3, .pad = 1},
    {.n = 1,
     .h = 2,
     .w = 3,
     .c = 64,
     .k = 64,
     .r = 5,
     .s = 5,
     .pad = 2,
     .stride = 2},
    {.n = 2, .h = 6, .w = 6, .c = 64, .k = 64, .r = 1, .s = 1, .pad = 2},
    {.n = 1, .h = 5, .w = 31, .c = 64, .k = 64, .r = 3, .s = 1, .pad = 0},
    {.n = 4, .h = 16, .w = 16, .c = 70, .k = 64, .r = 3, .s = 3, .pad = 1},
    {.n = 2, .h = 12, .w = 12, .c = 64, .k = 70, .r = 3, .s = 3, .pad = 1},
    /* sums of parts: of places, of terms */
    {.n = 8, .h = 32, .w = 24, .c = 64, .k = 64, .r = 1, .s = 1},
    {.n = 1, .h = 5, .w = 4, .c = 320, .k = 64, .r = 3, .s = 3, .pad = 1},
};

static void test_all(struct engine *e, struct engine *ref)
{
    static const enum conv_kind kinds[] = {CONV_FORWARD, CONV_DGRAD,
                                           CONV_WGRAD};
    size_t i, k;

    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (k = 0; k < 3; k++) {
            struct conv_desc d = cases[i];

            d.kind = kinds[k];
            d.dtype = d.out = d.param = DT_F32;
            d.stride = d.stride ? d.stride : 1;
            /* whole vectors of results, or a first layer */
            if ((d.kind == CONV_FORWARD && d.k % 64) ||
                (d.kind == CONV_DGRAD && d.c % 64) ||
                (d.kind == CONV_WGRAD && d.c % 64 && d.c > 3))
                continue;
            compare(e, ref, &d, false);
            if (d.kind == CONV_WGRAD)
                compare(e, ref, &d, true);
            if (d.kind == CONV_FORWARD) {
                d.epi = EPI_ADD_BIAS;
                d.relu = true;
                compare(e, ref, &d, false);
            }
        }
    }
}

int main(void)
{
    struct engine_config c = {
        .device = -1, .threads = 1, .dir = tap_env("BIN", NULL)};
    struct engine *e = NULL, *ref = NULL;

    setenv("OMP_WAIT_POLICY", "passive", 0);
    verbosity = -1;
    if (isa_best() == ISA_BASE || engine_open(&e, "cpu", &c) < 0) {
        skip(1, "lanes: no cpu engine, or no fused multiply-add");
        return done_testing();
    }
    must(engine_open(&ref, "ref", &c));
    test_all(e, ref);
    engine_close(e);
    c.threads = 3; /* of which some have nothing to do */
    must(engine_open(&e, "cpu", &c));
    test_all(e, ref);
    engine_close(e);
    engine_close(ref);
    return done_testing();
}
