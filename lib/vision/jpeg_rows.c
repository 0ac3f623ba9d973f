/*
 * Markers and their segments: ITU-T T.81, annex B. Which rows a decoder looks
 * at: data-and-collectives 2.4. The walk is stricter than that of jpeg_probe:
 * whatever is odd is left to the ordinary way.
 */
#include "vision/jpeg_rows.h"

#include <string.h>

#define MARGIN 2 /* columns that upsampling looks at beside the region */

/* What the header says. Offsets are those of a segment's contents. */
struct head {
    size_t sof, dri, scan; /* 0: not seen */
    size_t data;           /* the first restart interval */
    int width, height;
    int components;
    int h, v; /* largest sampling factors; 1 if there is one component */
};

static int u16(const uint8_t *p)
{
    return p[0] << 8 | p[1];
}

static void put16(struct buf *b, size_t at, int v)
{
    b->data[at] = (char)(v >> 8);
    b->data[at + 1] = (char)v;
}

static bool frame(struct head *f, const uint8_t *p, size_t n)
{
    int i;

    if (n < 6 || p[0] != 8 || n != 6 + 3 * (size_t)p[5])
        return false;
    f->height = u16(p + 1);
    f->width = u16(p + 3);
    f->components = p[5];
    f->h = f->v = 1;
    for (i = 0; i < f->components; i++) {
        int h = p[7 + 3 * i] >> 4, v = p[7 + 3 * i] & 15;

        if (h < 1 || h > 4 || v < 1 || v > 4)
            return false;
        f->h = h > f->h ? h : f->h;
        f->v = v > f->v ? v : f->v;
    }
    if (f->components == 1)
        f->h = f->v = 1; /* one block is an MCU, whatever the factors */
    return f->components && f->width && f->height;
}

/* A segment with marker m whose contents are n bytes at offset at. */
static bool segment(struct head *f, int m, const uint8_t *p, size_t at,
                    size_t n)
{
    if (m == 0xc4 || m == 0xdb || m == 0xfe || (m >= 0xe0 && m <= 0xef))
        return true;
    if ((m == 0xc0 || m == 0xc1) && !f->sof) {
        f->sof = at;
        return frame(f, p + at, n);
    }
    if (m == 0xdd && !f->dri && n == 2) {
        f->dri = at;
        return true;
    }
    if (m == 0xda && f->sof && f->dri) {
        f->scan = at;
        f->data = at + n;
        return n == 4 + 2 * (size_t)p[at] && p[at] == f->components;
    }
    return false;
}

static bool read_head(struct head *f, const uint8_t *p, size_t n)
{
    size_t at = 2, len;

    if (!jpeg_sniff(p, n))
        return false;
    while (!f->scan) {
        if (n - at < 5 || p[at] != 0xff)
            return false;
        len = (size_t)u16(p + at + 2);
        if (len < 3 || len > n - at - 2)
            return false;
        if (!segment(f, p[at + 1], p, at + 4, len - 2))
            return false;
        at += 2 + len;
    }
    return true;
}

/* The next marker in entropy-coded data from at on. */
struct mark {
    int code;
    size_t begin, end;
};

static bool find_mark(const uint8_t *p, size_t n, size_t at, struct mark *m)
{
    const uint8_t *q;

    while (at < n && (q = memchr(p + at, 0xff, n - at))) {
        m->begin = (size_t)(q - p);
        for (at = m->begin + 1; at < n && p[at] == 0xff; at++)
            ;
        if (at == n)
            return false;
        m->code = p[at++];
        m->end = at;
        if (m->code) /* else a byte of data */
            return true;
    }
    return false;
}

/* Rows first..last-1 of all there are. */
struct span {
    int first, last, rows;
};

/* Append the intervals of some rows with their markers numbered anew. */
static bool copy_rows(const uint8_t *p, size_t n, size_t at,
                      const struct span *s, struct buf *out)
{
    struct mark m;
    int i;

    for (i = 0; i < s->last; i++) {
        int want = i + 1 < s->rows ? 0xd0 + i % 8 : 0xd9;

        if (!find_mark(p, n, at, &m) || m.code != want)
            return false;
        if (i > s->first) {
            buf_addch(out, (char)0xff);
            buf_addch(out, (char)(0xd0 + (i - s->first - 1) % 8));
        }
        if (i >= s->first)
            buf_add(out, p + at, m.begin - at);
        at = m.end;
    }
    buf_add(out, "\xff\xd9", 2);
    return true;
}

bool jpeg_rows_cut(const void *bytes, size_t n, const struct rect *r,
                   struct buf *out, struct jpeg_cut *cut)
{
    const uint8_t *p = bytes;
    struct head f = {0};
    int mw, mh, more, right;
    struct span s;

    if (!read_head(&f, p, n))
        return false;
    if (r->x < 0 || r->y < 0 || r->w < 1 || r->h < 1 || r->w > f.width - r->x ||
        r->h > f.height - r->y)
        return false;
    mw = 8 * f.h;
    mh = 8 * f.v;
    if (u16(p + f.dri) != (f.width + mw - 1) / mw)
        return false;
    s.rows = (f.height + mh - 1) / mh;
    more = f.v > 1; /* vertical upsampling looks at the rows beside */
    s.first = r->y / mh - more;
    if (s.first < 0)
        s.first = 0;
    s.last = (r->y + r->h + mh - 1) / mh + more;
    if (s.last > s.rows)
        s.last = s.rows;
    right = (r->x + r->w + MARGIN + mw - 1) / mw * mw;
    if (right > f.width)
        right = f.width;
    cut->top = r->y - s.first * mh;
    cut->narrow = right < f.width;
    if (s.first == 0 && s.last == s.rows && !cut->narrow)
        return false;
    buf_reset(out);
    buf_reserve(out, n + 2);
    buf_add(out, p, f.data);
    put16(out, f.sof + 1,
          (s.last == s.rows ? f.height : s.last * mh) - s.first * mh);
    if (cut->narrow) {
        put16(out, f.sof + 3, right);
        put16(out, f.dri, right / mw);
    }
    return copy_rows(p, n, f.data, &s, out);
}
