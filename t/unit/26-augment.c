/* Crops: vectors of imagenet-recipe 9 and data-and-collectives 2.9. */
#include "lib/tap.h"

#include "vision/augment.h"

#include <math.h>

static const struct augment usual = AUGMENT_INIT;

/* A negative top or flip is not looked at. */
static void is_crop(struct crop c, int y, int x, int h, int w, int flip,
                    const char *name)
{
    if (y >= 0) {
        is_int(c.box.y, y, "%s: top", name);
        is_int(c.box.x, x, "%s: left", name);
    }
    is_int(c.box.h, h, "%s: height", name);
    is_int(c.box.w, w, "%s: width", name);
    if (flip >= 0)
        is_int(c.flip, flip, "%s: flip", name);
}

static void train(void)
{
    is_crop(augment_train(&usual, 500, 375, 0, 0, 0), 75, 147, 234, 264, 1,
            "seed 0, position 0");
    is_crop(augment_train(&usual, 500, 375, 0, 0, 1), 33, 52, 312, 379, 1,
            "seed 0, position 1");
    is_crop(augment_train(&usual, 500, 333, 42, 3, 12345), 66, 1, 267, 253, 0,
            "seed 42, epoch 3");
}

static void tries(void)
{
    int w, h;

    augment_try(500.0 * 375 * 0.5, 1.0, &w, &h);
    is_int(w, 306, "half the area: width");
    is_int(h, 306, "half the area: height");
    augment_try(500.0 * 375 * 0.08, 4.0 / 3.0, &w, &h);
    is_int(w, 141, "least area, wide: width");
    is_int(h, 106, "least area, wide: height");
    augment_try(500.0 * 375, 0.75, &w, &h);
    is_int(w, 375, "all of it, tall: width");
    is_int(h, 500, "all of it, tall: height");
}

static void fallback(void)
{
    struct crop c = {.flip = false};

    c.box = augment_fallback(&usual, 1000, 100);
    is_crop(c, 0, 433, 100, 133, -1, "wide");
    c.box = augment_fallback(&usual, 100, 1000);
    is_crop(c, 433, 0, 133, 100, -1, "tall");
    c.box = augment_fallback(&usual, 500, 375);
    is_crop(c, 0, 0, 375, 500, -1, "usual");
}

static void bounds(void)
{
    static const int size[][2] = {{1, 1},        {1, 9000},  {9000, 1},
                                  {2, 3},        {640, 480}, {100, 1000},
                                  {16384, 16384}};
    struct augment odd = {{0.5, 0.5}, {1, 1}, 1.0, 0};
    uint32_t p;
    size_t i;
    int bad = 0, flips = 0;

    for (i = 0; i < sizeof(size) / sizeof(*size); i++)
        for (p = 0; p < 2000; p++) {
            int w = size[i][0], h = size[i][1];
            struct crop c = augment_train(&usual, w, h, 7, 1, p);

            bad += c.box.x < 0 || c.box.y < 0 || c.box.w < 1 || c.box.h < 1 ||
                   c.box.x + c.box.w > w || c.box.y + c.box.h > h;
            flips += c.flip;
        }
    is_int(bad, 0, "every crop lies in its image");
    ok(flips > 6600 && flips < 7400, "about half are flipped: %d", flips);
    is_crop(augment_train(&odd, 200, 100, 0, 0, 0), -1, -1, 100, 100, 1,
            "fixed area and ratio, always flipped");
}

static void eval_is(int w, int h, int resize, int size, const int *want)
{
    struct resize_job j;
    int left, top;

    augment_eval(w, h, resize, size, false, &j, &left, &top);
    is_int(j.out_w, want[0], "%dx%d: width", w, h);
    is_int(j.out_h, want[1], "%dx%d: height", w, h);
    is_int(j.part.x, want[2], "%dx%d: cut at left", w, h);
    is_int(j.part.y, want[3], "%dx%d: cut at top", w, h);
    is_int(j.part.w, size, "%dx%d: wide", w, h);
    is_int(j.part.h, size, "%dx%d: high", w, h);
    is_int(left + top, 0, "%dx%d: nothing black", w, h);
}

static void eval(void)
{
    struct resize_job j;
    int left, top;

    eval_is(500, 375, 256, 224, (const int[]){341, 256, 58, 16});
    eval_is(375, 500, 256, 224, (const int[]){256, 341, 16, 58});
    eval_is(500, 333, 256, 224, (const int[]){384, 256, 80, 16});
    eval_is(1024, 683, 256, 224, (const int[]){383, 256, 80, 16});
    eval_is(500, 375, 232, 224, (const int[]){309, 232, 42, 4});
    augment_eval(500, 375, 100, 224, false, &j, &left, &top);
    is_int(j.out_w, 133, "small: width");
    is_int(j.part.w, 133, "small: all of it");
    is_int(left, 45, "small: left border");
    is_int(top, 62, "small: top border");
    augment_eval(500, 375, 256, 224, true, &j, &left, &top);
    is_int(j.out_w, 256, "squashed: width");
    is_int(j.out_h, 256, "squashed: height");
    is_int(j.part.x, 16, "squashed: cut at left");
}

int main(void)
{
    train();
    tries();
    fallback();
    bounds();
    eval();
    return done_testing();
}
