/* What an image file is: kind, size, flags; decoded if that is wanted. */
#include "imgshard.h"

#include <limits.h>
#include <string.h>

static uint32_t be32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 |
           p[3];
}

/* The header chunk alone: PNG files are kept, not decoded. */
static int probe_png(const unsigned char *p, size_t n, struct shard_row *row)
{
    static const unsigned char begin[] = "\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR";
    uint32_t w, h;

    if (n < 33 || memcmp(p, begin, 16) != 0)
        return err_set(ERR_DATA, "png: no header");
    w = be32(p + 16);
    h = be32(p + 20);
    if (!w || !h || w > USHRT_MAX || h > USHRT_MAX)
        return err_set(ERR_DATA, "png: %lu x %lu pixels", (unsigned long)w,
                       (unsigned long)h);
    row->width = (uint16_t)w;
    row->height = (uint16_t)h;
    row->flags = SHARD_PNG;
    if (p[24] == 16)
        row->flags |= SHARD_16BIT;
    if (p[25] == 0 || p[25] == 4)
        row->flags |= SHARD_GRAY;
    return 0;
}

enum probe_kind probe_kind(const void *p, size_t n)
{
    if (jpeg_sniff(p, n))
        return PROBE_JPEG;
    return n >= 4 && !memcmp(p, "\x89PNG", 4) ? PROBE_PNG : PROBE_NEITHER;
}

int probe_image(struct jpeg_decoder *d, enum probe_check check, const void *p,
                size_t n, struct shard_row *row)
{
    enum probe_kind kind = probe_kind(p, n);
    struct jpeg_info info;
    int r = 0;

    row->width = row->height = row->flags = 0;
    if (kind == PROBE_NEITHER)
        return err_set(ERR_DATA, "neither JPEG nor PNG");
    if (kind == PROBE_PNG) {
        row->flags = SHARD_PNG;
        r = probe_png(p, n, row);
    } else {
        row->flags = SHARD_JPEG;
        r = check == PROBE_FULL ? jpeg_check(d, p, n, &info)
                                : jpeg_probe(p, n, &info);
        if (r == 0) {
            row->width = (uint16_t)info.width;
            row->height = (uint16_t)info.height;
            row->flags = (uint16_t)info.flags;
        }
    }
    if (r < 0 && check == PROBE_NONE) {
        err_clear();
        r = 0;
    }
    return r;
}
