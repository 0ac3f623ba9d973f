/* What is only said in a frame, done to its pixels: erasing, then mixing. */
#include "vision/batch.h"

#include "lib/tap.h"

#include <string.h>

#define ROWS 3

/* Rows of 2x2 pixels of one colour each: 10, 20, 30; the last one is none. */
static void fill(struct batch_frame *f)
{
    for (int i = 0; i < 4 * 3 * (ROWS + 1); i++)
        f->image[i] = (uint8_t)(10 * (1 + i / 12));
}

/* Red of the pixels of the rows, a word each. */
static const char *red(const struct batch_frame *f)
{
    static char text[100];
    char *p = text;

    for (int i = 0; i < 4 * (ROWS + 1); i++)
        p += snprintf(p, 8, "%d%s", f->image[3 * i], i % 4 == 3 ? " " : ",");
    return text;
}

int main(void)
{
    static uint8_t pixels[4 * 3 * (ROWS + 1)];
    static const double mean[3] = {0.5, 0.25, 0.125};
    int32_t box[4 * (ROWS + 1)] = {0, 1, 1, 2, 0, 0, 0, 0, 1, 0, 2, 2};
    struct batch_frame f = {
        .head = {.n = ROWS}, .rows = ROWS + 1, .h = 2, .w = 2, .image = pixels};

    fill(&f);
    batch_seen(&f, mean);
    is_str(red(&f), "10,10,10,10 20,20,20,20 30,30,30,30 40,40,40,40 ",
           "nothing said, nothing done");
    f.erase = box;
    batch_seen(&f, mean);
    is_str(red(&f), "10,128,10,10 20,20,20,20 30,30,128,128 40,40,40,40 ",
           "what is erased has the mean colour");
    is_int(pixels[4], 64, "of each channel");
    f.erase = NULL;
    fill(&f);
    f.mix = (struct mix){.kind = MIX_MIXUP, .lambda = 0.75};
    batch_seen(&f, mean);
    is_str(red(&f), "15,15,15,15 18,18,18,18 28,28,28,28 40,40,40,40 ",
           "mixed with the row before, the first with the last that counts");
    fill(&f);
    f.mix = (struct mix){.kind = MIX_CUTMIX, .box = {1, 0, 2, 1}};
    batch_seen(&f, mean);
    is_str(red(&f), "10,10,30,10 20,20,10,20 30,30,20,30 40,40,40,40 ",
           "a part of the row before");
    fill(&f);
    f.mix.box[3] = 0;
    batch_seen(&f, mean);
    is_str(red(&f), "10,10,10,10 20,20,20,20 30,30,30,30 40,40,40,40 ",
           "a part without pixels");
    f.erase = box;
    fill(&f);
    f.mix = (struct mix){.kind = MIX_CUTMIX, .box = {0, 0, 2, 2}};
    batch_seen(&f, mean);
    is_str(red(&f), "30,30,128,128 10,128,10,10 20,20,20,20 40,40,40,40 ",
           "erased first, then mixed");
    return done_testing();
}
