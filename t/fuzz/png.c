/*
 * Any bytes as an image file: see image.h. The corpus is of PNG files, whose
 * checksums are made right for a second try, since hardly anything would get
 * behind them otherwise.
 */
#include "fuzz/image.h"
#include "io/digest.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Write the checksum of each chunk that is there whole. */
static void right_sums(uint8_t *p, size_t n)
{
    size_t at = 8;

    while (n >= 12 && at <= n - 12) {
        size_t len = (size_t)p[at] << 24 | (size_t)p[at + 1] << 16 |
                     (size_t)p[at + 2] << 8 | p[at + 3];
        uint32_t crc;

        if (len > n - 12 - at)
            return;
        crc = digest_crc32(0, p + at + 4, len + 4);
        for (int i = 0; i < 4; i++)
            p[at + 8 + len + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
        at += len + 12;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = xmalloc(size + 1);

    fuzz_image(data, size);
    memcpy(copy, data, size);
    right_sums(copy, size);
    fuzz_image(copy, size);
    free(copy);
    return 0;
}
