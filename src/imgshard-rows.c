/* pack --jpeg rows: an image file in a form that decodes faster. */
#include "imgshard.h"

int rows_make(struct buf *image, struct buf *spare, bool exif,
              struct shard_row *row)
{
    struct jpeg_decoder *d;
    struct buf old = *image;
    struct jpeg_info info;
    bool made;

    if (!(row->flags & SHARD_JPEG))
        return 0;
    d = jpeg_decoder_new();
    buf_reset(spare);
    made = jpeg_to_rows(d, old.data, old.len, exif, spare);
    jpeg_decoder_free(d);
    if (!made)
        return 0;
    *image = *spare;
    *spare = old;
    if (jpeg_probe(image->data, image->len, &info) < 0)
        return -1;
    row->width = (uint16_t)info.width;
    row->height = (uint16_t)info.height;
    row->flags = (uint16_t)info.flags;
    return 0;
}
