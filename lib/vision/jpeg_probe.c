/* The header of a JPEG file, read without a decoder (ITU-T T.81, annex B). */
#include "vision/jpeg.h"

#include <string.h>

/* A walk over the marker segments of one file. */
struct walk {
    const uint8_t *p, *end;
    struct jpeg_info *info;
    int h[4], v[4];  /* sampling factors */
    bool sequential; /* SOF0 or SOF1 */
    bool framed;     /* SOFn was seen */
};

static int u16(const uint8_t *p)
{
    return p[0] << 8 | p[1];
}

bool jpeg_sniff(const void *p, size_t n)
{
    return n >= 3 && !memcmp(p, "\xff\xd8\xff", 3);
}

/* 16 or 32 bits of a TIFF header in its own byte order. */
static uint32_t tiff(const uint8_t *p, int n, bool little)
{
    uint32_t v = 0;
    int i;

    for (i = 0; i < n; i++)
        v = v << 8 | p[little ? n - 1 - i : i];
    return v;
}

/* The orientation of an APP1 segment, or 1: damage here is nobody's concern. */
static int orientation(const uint8_t *p, size_t n)
{
    bool little;
    uint32_t at, count, i;

    if (n < 14 || memcmp(p, "Exif\0", 6))
        return 1;
    p += 6;
    n -= 6;
    if (memcmp(p, "II*\0", 4) && memcmp(p, "MM\0*", 4))
        return 1;
    little = *p == 'I';
    at = tiff(p + 4, 4, little);
    if (at > n || n - at < 2)
        return 1;
    count = tiff(p + at, 2, little);
    for (i = 0, at += 2; i < count && at <= n && n - at >= 12; i++, at += 12) {
        uint32_t v = tiff(p + at + 8, 2, little);

        if (tiff(p + at, 2, little) == 0x0112)
            return v >= 1 && v <= 8 ? (int)v : 1;
    }
    return 1;
}

/* The flag of the subsampling of three components. */
static unsigned sampling(const int *h, const int *v)
{
    bool same = h[1] == h[2] && v[1] == v[2];

    if (same && h[0] == h[1] && v[0] == v[1])
        return 0;
    if (same && h[0] == 2 * h[1] && v[0] == 2 * v[1])
        return JPEG_420;
    if (same && h[0] == 2 * h[1] && v[0] == v[1])
        return JPEG_422;
    if (same && h[0] == h[1] && v[0] == 2 * v[1])
        return JPEG_440;
    return JPEG_OTHER;
}

static int check_size(const struct jpeg_info *f)
{
    if (f->width < 1 || f->height < 1)
        return err_set(ERR_DATA, "jpeg: size %dx%d: empty", f->width,
                       f->height);
    if (f->width > JPEG_MAX_SIDE || f->height > JPEG_MAX_SIDE)
        return err_set(ERR_DATA, "jpeg: size %dx%d: a side is over %d",
                       f->width, f->height, JPEG_MAX_SIDE);
    if ((int64_t)f->width * f->height > JPEG_MAX_PIXELS)
        return err_set(ERR_DATA, "jpeg: size %dx%d: over %d pixels", f->width,
                       f->height, JPEG_MAX_PIXELS);
    return 0;
}

/* A frame header: SOF of kind m with n bytes at p. */
static int frame_head(struct walk *w, int m, const uint8_t *p, int n)
{
    struct jpeg_info *f = w->info;
    int i;

    if (w->framed)
        return err_set(ERR_DATA, "jpeg: two frame headers");
    if (m != 0xc0 && m != 0xc1 && m != 0xc2 && m != 0xc9 && m != 0xca)
        return err_set(ERR_DATA, "jpeg: process SOF%d: not supported",
                       m - 0xc0);
    if (n < 6 || n < 6 + 3 * p[5])
        return err_set(ERR_DATA, "jpeg: frame header: %d bytes: too short", n);
    if (p[0] != 8)
        return err_set(ERR_DATA, "jpeg: %d bits a sample: not supported", p[0]);
    f->height = u16(p + 1);
    f->width = u16(p + 3);
    f->components = p[5];
    if (check_size(f) < 0)
        return -1;
    if (f->components != 1 && f->components != 3 && f->components != 4)
        return err_set(ERR_DATA, "jpeg: %d components: not supported",
                       f->components);
    for (i = 0; i < f->components; i++) {
        w->h[i] = p[7 + 3 * i] >> 4;
        w->v[i] = p[7 + 3 * i] & 15;
        if (w->h[i] < 1 || w->h[i] > 4 || w->v[i] < 1 || w->v[i] > 4)
            return err_set(ERR_DATA, "jpeg: sampling %dx%d: out of range",
                           w->h[i], w->v[i]);
    }
    w->framed = true;
    w->sequential = m == 0xc0 || m == 0xc1;
    if (m == 0xc2 || m == 0xca)
        f->flags |= JPEG_PROGRESSIVE;
    if (f->components == 1)
        f->flags |= JPEG_GREY;
    else if (f->components == 4)
        f->flags |= JPEG_FOUR;
    else
        f->flags |= sampling(w->h, w->v);
    return 0;
}

/* The first scan header: everything is known. */
static int scan_head(struct walk *w, const uint8_t *p, int n)
{
    struct jpeg_info *f = w->info;
    int i, hmax = 1, per_row;

    if (!w->framed)
        return err_set(ERR_DATA, "jpeg: scan before the frame header");
    if (n < 1)
        return err_set(ERR_DATA, "jpeg: scan header: too short");
    for (i = 0; i < f->components; i++)
        if (w->h[i] > hmax)
            hmax = w->h[i];
    if (f->components == 1)
        hmax = 1;
    per_row = (f->width + 8 * hmax - 1) / (8 * hmax);
    if (w->sequential && p[0] == f->components && f->restart == per_row)
        f->flags |= JPEG_ROWS;
    return 0;
}

/* The next marker, fill bytes passed over, or -1 at the end of the bytes. */
static int marker(struct walk *w)
{
    while (w->p < w->end && *w->p != 0xff)
        w->p++; /* rubbish between segments: decoders pass over it */
    while (w->p < w->end && *w->p == 0xff)
        w->p++;
    return w->p < w->end ? *w->p++ : -1;
}

/* APPn, COM, DNL: no part of the image for decoders. */
static bool is_note(int m)
{
    return (m >= 0xe0 && m <= 0xef) || m == 0xfe || m == 0xdc;
}

/* One segment; returns 1 when the first scan begins. */
static int segment(struct walk *w)
{
    struct jpeg_info *f = w->info;
    int m = marker(w), n;
    const uint8_t *p;

    if (m < 0 || m == 0xd9)
        return err_set(ERR_DATA, "jpeg: no scan: %s",
                       m < 0 ? "cut off in the header" : "the image ends");
    if (m == 0 || m == 1 || (m >= 0xd0 && m <= 0xd7))
        return 0;
    n = w->end - w->p < 2 ? 0 : u16(w->p);
    if (n < 2 && w->end - w->p >= 2 && is_note(m))
        n = 2; /* so do decoders read what has no room for its own length */
    if (n < 2 || n > w->end - w->p)
        return err_set(ERR_DATA, "jpeg: marker 0x%02x: cut off", m);
    p = w->p + 2;
    w->p += n;
    n -= 2;
    if (m >= 0xc0 && m <= 0xcf && m != 0xc4 && m != 0xc8 && m != 0xcc)
        return frame_head(w, m, p, n);
    if (m == 0xdd && n >= 2)
        f->restart = u16(p);
    if (m == 0xe1 && f->orientation == 1) {
        f->orientation = orientation(p, (size_t)n);
        if (f->orientation != 1)
            f->flags |= JPEG_ROTATED;
    }
    if (m == 0xda)
        return scan_head(w, p, n) < 0 ? -1 : 1;
    return 0;
}

int jpeg_probe(const void *p, size_t n, struct jpeg_info *info)
{
    struct walk w = {.p = p, .info = info};
    int r;

    *info = (struct jpeg_info){.orientation = 1, .flags = JPEG_IS_JPEG};
    if (!jpeg_sniff(p, n))
        return err_set(ERR_DATA, "jpeg: not a JPEG file");
    if (n > JPEG_MAX_BYTES)
        return err_set(ERR_DATA, "jpeg: %zu bytes: over %d", n, JPEG_MAX_BYTES);
    w.end = w.p + n;
    w.p += 2;
    while ((r = segment(&w)) == 0)
        ;
    return r < 0 ? -1 : 0;
}
