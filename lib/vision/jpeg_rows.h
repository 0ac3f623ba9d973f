/*
 * jpeg_rows.h - a part of a JPEG file as a smaller JPEG file.
 *
 * Where each row of MCUs is a restart interval (flag JPEG_ROWS), the rows that
 * a region needs can be cut out without decoding anything: header, intervals,
 * end. A decoder then never sees what lies above, below and right of the
 * region. Such files are made by jpeg_to_rows (jpeg.h); bytes may come from
 * anywhere, and nothing is read or written outside the file that is given.
 *
 *	if (jpeg_rows_cut(p, n, &r, &out, &cut))
 *		decode out; the region is at r.x, cut.top
 *	else
 *		decode the file itself
 */
#ifndef VISION_JPEG_ROWS_H
#define VISION_JPEG_ROWS_H

#include "util/buf.h"
#include "vision/jpeg.h"

struct jpeg_cut {
    int top;     /* row of the smaller image where the region begins */
    bool narrow; /* columns right of the region were left out: of each interval
                    the end is not used, which decoders warn about */
};

/*
 * Make a file in out (its contents are replaced) from which the pixels of
 * region r can be decoded, bit for bit. It has at most 2 bytes more than n.
 * False: nothing to win, no file of this kind, or its restart markers are not
 * those that its size asks for; out then holds nothing of use.
 */
bool jpeg_rows_cut(const void *p, size_t n, const struct rect *r,
                   struct buf *out, struct jpeg_cut *cut);

#endif
