/* What an image file is: kind, size, flags; decoded if that is wanted. */
#include "imgshard.h"

int annot_fit(const struct annot *a, const void *p, size_t n,
              struct shard_row *row)
{
    struct image_info info = {.orientation = 1};
    bool known = row->width > 0, turned;

    /* without a look at the header its size is not known, and not compared */
    if (known && (row->flags & SHARD_ROTATED) && image_probe(p, n, &info) < 0)
        return -1;
    turned = info.orientation >= 5;
    if (known && (a->w != (turned ? row->height : row->width) ||
                  a->h != (turned ? row->width : row->height)))
        return err_set(
            ERR_DATA, "%u x %u pixels%s, its annotation says %ld x %ld",
            row->width, row->height, turned ? " to be turned on the side" : "",
            (long)a->w, (long)a->h);
    row->width = (uint16_t)a->w;
    row->height = (uint16_t)a->h;
    if (!annot_usable(a))
        row->flags |= SHARD_EMPTY;
    return 0;
}

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
        row->flags = info.kind == IMAGE_PNG   ? SHARD_PNG
                     : info.kind == IMAGE_PPM ? SHARD_RAW
                                              : SHARD_JPEG;
        r = 0;
    }
    return r;
}
