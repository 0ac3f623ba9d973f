/* What an image file is: kind, size, flags; decoded if that is wanted. */
#include "imgshard.h"

int probe_image(struct image_decoder *d, enum probe_check check, const void *p,
                size_t n, struct shard_row *row)
{
    struct image_info info = {.kind = IMAGE_NEITHER};
    int r = check == PROBE_FULL ? image_check(d, p, n, &info)
                                : image_probe(p, n, &info);

    row->width = row->height = row->flags = 0;
    if (r == 0) {
        row->width = (uint16_t)info.width;
        row->height = (uint16_t)info.height;
        row->flags = (uint16_t)info.flags;
    } else if (info.kind != IMAGE_NEITHER && check == PROBE_NONE) {
        err_clear();
        row->flags = info.kind == IMAGE_PNG ? SHARD_PNG : SHARD_JPEG;
        r = 0;
    }
    return r;
}
