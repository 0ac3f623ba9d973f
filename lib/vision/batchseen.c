#include "vision/batch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What is erased is 0 when normalised: the mean colour. */
static void erase(uint8_t *row, int w, const int32_t *box, const uint8_t *mean)
{
    for (int y = box[0]; y < box[2]; y++)
        for (int x = box[1]; x < box[3]; x++)
            memcpy(row + 3 * ((size_t)y * (size_t)w + (size_t)x), mean, 3);
}

static void mix(const struct mix *m, uint8_t *row, const uint8_t *other, int w,
                size_t bytes)
{
    const int *b = m->box;

    if (m->kind == MIX_MIXUP)
        for (size_t i = 0; i < bytes; i++)
            row[i] =
                (uint8_t)lrint(m->lambda * row[i] + (1 - m->lambda) * other[i]);
    else if (b[3] > b[1])
        for (int y = b[0]; y < b[2]; y++) {
            size_t at = 3 * ((size_t)y * (size_t)w + (size_t)b[1]);

            memcpy(row + at, other + at, 3 * (size_t)(b[3] - b[1]));
        }
}

static void to_rgb(uint8_t *p, size_t pixels)
{
    for (; pixels > 0; pixels--, p += 3) {
        uint8_t blue = p[0];

        p[0] = p[2];
        p[2] = blue;
    }
}

void batch_seen(struct batch_frame *f, const double *mean)
{
    size_t bytes = (size_t)f->h * (size_t)f->w * 3;
    int64_t n = f->head.n;
    uint8_t *last, colour[3];

    if (f->bgr)
        to_rgb(f->image, (size_t)f->rows * (size_t)f->h * (size_t)f->w);
    for (int c = 0; c < 3; c++)
        colour[c] = (uint8_t)lrint(255 * mean[c]);
    for (int64_t j = 0; f->erase && j < n; j++)
        erase(f->image + bytes * (size_t)j, f->w, f->erase + 4 * j, colour);
    if (f->mix.kind == MIX_NONE || n < 1)
        return;
    /* from the last one on, so that the row before is still its own */
    last = xmalloc(bytes);
    memcpy(last, f->image + bytes * (size_t)(n - 1), bytes);
    for (int64_t j = n - 1; j >= 0; j--) {
        uint8_t *row = f->image + bytes * (size_t)j;

        mix(&f->mix, row, j ? row - bytes : last, f->w, bytes);
    }
    free(last);
}
