/* ITU-T T.81: codes, annex C; MCUs, annex A.2; decoding, annex F.2. */
#include "vision/jpeg_scan.h"

#include "vision/jpeg_scan_kern.h"

#include <stdlib.h>
#include <string.h>

/* Samples left of a plane: fancy upsampling reads one. */
#define LEFT SCAN_SLACK

struct block {
    uint8_t *p;
    size_t cap;
};

/* Codes and what they were made of, for many files have the same. */
struct codes {
    struct scan_codes t;
    uint8_t bits[17], symbols[256];
    bool dc, made;
};

struct plane {
    struct block mem;
    uint8_t *at; /* the first sample */
    size_t stride;
    int top;     /* its row in the component */
    int columns; /* samples in a row of the component, beginning with at */
};

struct jpeg_scan {
    const struct scan_kern *kern;
    struct codes dc[3], ac[3];
    struct block clean; /* an interval without stuffing */
    struct block line;  /* rows of Cb and Cr, upsampled */
    struct plane plane[3];
};

/* A region of one scan. MCUs are numbered row by row. */
struct job {
    struct jpeg_scan *s;
    const struct jpeg_scan_head *head;
    struct rect r;
    struct scan_part part[3];
    struct scan_bits bits;
    int mw, mh;       /* samples of an MCU */
    int across, down; /* MCUs in a row, and rows of them */
    int left, right;  /* columns of MCUs kept */
    int top, bottom;  /* rows of them */
    const uint8_t *p; /* the next interval */
    uint8_t *pixels;
    size_t stride;
    int done; /* rows of the region that are there */
};

static uint8_t *room(struct block *b, size_t n)
{
    if (n > b->cap) {
        free(b->p);
        b->p = xmalloc(n);
        b->cap = n;
    }
    return b->p;
}

/* ---- codes */

/* Codes of length n from code on, count of them, to the tables of a look. */
static void short_codes(struct scan_codes *t, int n, uint32_t code, int symbol,
                        bool dc)
{
    int extra = symbol & 15, spare = SCAN_LOOK - n, i;
    int run = symbol == 0xf0 ? 16 : extra ? (symbol >> 4) + 1 : SCAN_END;
    uint32_t *e = t->look + (code << spare), head;

    if (dc)
        run = 1;
    head = (uint32_t)run << 8;
    for (i = 0; i < 1 << spare; i++) {
        int v = i >> (spare - extra < 0 ? 0 : spare - extra);

        if (extra > spare) {
            e[i] = (uint32_t)extra << 16 | head | SCAN_LONG | (uint32_t)n;
            continue;
        }
        if (extra && v < 1 << (extra - 1))
            v += 1 - (1 << extra);
        e[i] = (uint32_t)(v & (extra ? -1 : 0)) << 16 | head |
               (uint32_t)(n + extra);
    }
}

/* Bits that the symbol of an entry takes, those behind its code too. */
static unsigned whole(uint32_t e)
{
    return (e & 31) + (e & SCAN_LONG ? e >> 16 : 0);
}

/* As many symbols as the bits of each entry have the codes of. */
static void make_jumps(struct scan_codes *t)
{
    uint32_t i, e, mask = (1 << SCAN_LOOK) - 1;

    for (i = 0; i <= mask; i++) {
        unsigned n = 0, run = 0, code;

        t->jump[i] = 0;
        for (;;) {
            e = t->look[i << n & mask];
            code = e & 31; /* not less than its own length */
            if (!code || n + code > SCAN_LOOK)
                break;
            n += whole(e);
            run += e >> 8 & 255;
            t->jump[i] = (uint16_t)(run << 8 | n);
            if (run >= SCAN_END || n >= SCAN_LOOK)
                break;
        }
    }
}

/* False: no codes that are used here. */
static bool make_codes(struct codes *c, const uint8_t *bits,
                       const uint8_t *symbols, bool dc)
{
    struct scan_codes *t = &c->t;
    int n, i, k = 0;
    uint32_t code = 0, j;

    if (c->made && c->dc == dc && !memcmp(c->bits + 1, bits + 1, 16) &&
        !memcmp(c->symbols, symbols, 256))
        return true;
    c->made = false;
    c->dc = dc;
    memcpy(c->bits, bits, 17);
    memcpy(c->symbols, symbols, 256);
    for (j = 0; j < 1 << SCAN_LOOK; j++)
        t->look[j] = SCAN_LONG;
    memcpy(t->value, symbols, 256);
    for (n = 1; n <= 16; n++, code <<= 1) {
        if (k + bits[n] > 256 || code + bits[n] > 1u << n)
            return false;
        t->max[n] = bits[n] ? (int32_t)code + bits[n] - 1 : -1;
        t->first[n] = k - (int32_t)code;
        for (i = 0; i < bits[n]; i++, k++, code++) {
            /* sizes of 8-bit samples: T.81, tables F.1 and F.2 */
            if (dc ? symbols[k] > 11 : (symbols[k] & 15) > 10)
                return false;
            if (n <= SCAN_LOOK)
                short_codes(t, n, code, symbols[k], dc);
        }
    }
    if (!dc)
        make_jumps(t);
    c->made = true;
    return true;
}

/* ---- entropy-coded data */

/*
 * The bytes from p to the next marker, to s->clean without stuffing; *end is
 * where the marker is. False: fill bytes, which are rare.
 */
static bool unstuff(struct jpeg_scan *s, const uint8_t *p, const uint8_t *stop,
                    struct scan_bits *b, const uint8_t **end)
{
    uint8_t *out = room(&s->clean, (size_t)(stop - p) + SCAN_TAIL);
    const uint8_t *q;

    *b = (struct scan_bits){0, 0, out, NULL};
    while ((q = memchr(p, 0xff, (size_t)(stop - p)))) {
        bool stuffed = stop - q > 1 && !q[1];
        size_t n = (size_t)(q - p) + stuffed;

        memcpy(out, p, n);
        out += n;
        p = q + 2 * stuffed;
        if (!stuffed)
            break;
    }
    if (!q) {
        memcpy(out, p, (size_t)(stop - p));
        out += stop - p;
        p = stop;
    }
    memset(out, 0, SCAN_TAIL);
    b->end = out;
    *end = p;
    return stop - p < 2 || p[1] != 0xff;
}

/* Behind the next marker, which must be restart marker i, or NULL. */
static const uint8_t *behind(const uint8_t *p, const uint8_t *stop, int i)
{
    while ((p = memchr(p, 0xff, (size_t)(stop - p)))) {
        if (stop - p < 2)
            return NULL;
        if (p[1])
            return p[1] == 0xd0 + i % 8 ? p + 2 : NULL;
        p += 2;
    }
    return NULL;
}

/* ---- the region */

bool jpeg_scan_takes(const struct jpeg_scan_head *head)
{
    const struct jpeg_scan_part *p = head->part;

    if (head->components == 1)
        return true;
    return head->components == 3 && p[0].h <= 2 && p[0].v <= 2 &&
           p[1].h * p[1].v * p[2].h * p[2].v == 1 &&
           (p[0].h == 1 || head->width > 4);
}

static int divide_up(int a, int b)
{
    return (a + b - 1) / b;
}

/* MCUs first..last-1 of an axis hold samples from..from+n-1 and, if chroma is
 * upsampled along it, what that looks at. */
static void span(int from, int n, int sub, int side, int mcus, int *first,
                 int *last)
{
    int a = from / sub - (sub > 1), b = (from + n - 1) / sub + (sub > 1);

    *first = a < 0 ? 0 : a * sub / side;
    *last = b * sub / side + 1;
    if (*last > mcus)
        *last = mcus;
}

static bool job_init(struct job *j)
{
    const struct jpeg_scan_head *f = j->head;
    bool grey = f->components == 1;
    int h = grey ? 1 : f->part[0].h, v = grey ? 1 : f->part[0].v, i;

    j->mw = 8 * h;
    j->mh = 8 * v;
    j->across = divide_up(f->width, j->mw);
    j->down = divide_up(f->height, j->mh);
    span(j->r.x, j->r.w, h, j->mw, j->across, &j->left, &j->right);
    span(j->r.y, j->r.h, v, j->mh, j->down, &j->top, &j->bottom);
    for (i = 0; i < f->components; i++) {
        const struct jpeg_scan_part *q = &f->part[i];
        struct plane *p = &j->s->plane[i];
        int ph = i || grey ? 1 : h, pv = i || grey ? 1 : v;
        size_t rows = (size_t)(j->bottom - j->top) * 8 * (size_t)pv;

        if (!make_codes(&j->s->dc[i], q->dc_bits, q->dc_symbols, true) ||
            !make_codes(&j->s->ac[i], q->ac_bits, q->ac_symbols, false))
            return false;
        p->stride =
            LEFT + (size_t)(j->right - j->left) * 8 * (size_t)ph + SCAN_SLACK;
        p->at = room(&p->mem, p->stride * rows + SCAN_SLACK) + LEFT;
        p->top = j->top * 8 * pv;
        p->columns = divide_up(f->width * ph, h) - j->left * 8 * ph;
        j->part[i] = (struct scan_part){
            &j->s->dc[i].t, &j->s->ac[i].t, q->quant, ph, pv, 0,
            NULL,           p->stride};
    }
    room(&j->s->line, 2 * ((size_t)j->r.w + 2 * SCAN_SLACK));
    return true;
}

/* The first MCU wanted from number a on; all there are, if none is. */
static int wanted(const struct job *j, int a)
{
    int row = a / j->across, column = a % j->across;

    if (row < j->top) {
        row = j->top;
        column = j->left;
    } else if (column >= j->right) {
        row++;
        column = j->left;
    } else if (column < j->left) {
        column = j->left;
    }
    return row < j->bottom ? row * j->across + column : j->across * j->down;
}

/* Row y of a component, or that of its rows which is nearest. */
static const uint8_t *sample_row(const struct job *j, int i, int y)
{
    const struct plane *p = &j->s->plane[i];
    int rows = divide_up(j->head->height * j->part[i].down, j->mh / 8);

    y = y < 0 ? 0 : y >= rows ? rows - 1 : y;
    return p->at + p->stride * (size_t)(y - p->top);
}

/* Cb or Cr of row y of the image, from column r.x on; good until the next
 * call for the same one. */
static const uint8_t *chroma(const struct job *j, int i, int y)
{
    const struct scan_kern *kern = j->s->kern;
    uint8_t *out = j->s->line.p + (i == 2) * ((size_t)j->r.w + 2 * SCAN_SLACK);
    int sub = j->mw / 8, x = j->r.x - j->left * j->mw;
    const uint8_t *near = sample_row(j, i, y * 8 / j->mh), *far = NULL;

    near += x / sub;
    if (j->mh > 8)
        far = sample_row(j, i, y / 2 + (y & 1 ? 1 : -1)) + x / sub;
    if (sub == 1 && !far)
        return near;
    if (sub == 1) {
        kern->higher(near, far, y & 1, j->r.w, out);
        return out;
    }
    kern->wider(near, far, (x + j->r.w + 1) / 2 - x / 2, out);
    return out + x % 2;
}

/* Rows of the region whose samples are there once row m of MCUs is. */
static void paint(struct job *j, int m)
{
    int end = (m + 1) * j->mh - (j->mh > 8), y;
    const uint8_t *luma;

    if (m + 1 >= j->down || end > j->r.y + j->r.h)
        end = j->r.y + j->r.h;
    for (y = j->r.y + j->done; y < end; y++, j->done++) {
        luma = sample_row(j, 0, y) + (j->r.x - j->left * j->mw);
        j->s->kern->colour(luma,
                           j->head->components == 1 ? NULL : chroma(j, 1, y),
                           j->head->components == 1 ? NULL : chroma(j, 2, y),
                           j->r.w, j->pixels + j->stride * (size_t)j->done);
    }
}

/* Samples beyond the edges, in the rows of MCUs m, for upsampling. */
static void edges(struct job *j, int m)
{
    int i, y;

    for (i = 1; i < j->head->components && j->mw > 8; i++) {
        struct plane *p = &j->s->plane[i];

        for (y = 0; y < 8; y++) {
            uint8_t *row = p->at + p->stride * (size_t)(8 * (m - j->top) + y);

            if (!j->left)
                row[-1] = row[0];
            if (j->right == j->across)
                row[p->columns] = row[p->columns - 1];
        }
    }
}

/* Decode MCUs a..b-1, all of one row, and keep them. */
static bool keep(struct job *j, int a, int b)
{
    int row = a / j->across, i;

    for (i = 0; i < j->head->components; i++)
        j->part[i].row = j->s->plane[i].at + j->part[i].stride * 8 *
                                                 (size_t)j->part[i].down *
                                                 (size_t)(row - j->top);
    if (!j->s->kern->keep(&j->bits, j->part, j->head->components,
                          a % j->across - j->left, b - a))
        return false;
    if (b - row * j->across == j->right) {
        edges(j, row);
        paint(j, row);
    }
    return true;
}

/* Was nothing taken that is not there? */
static bool is_there(const struct scan_bits *b)
{
    return b->p - (b->count >> 3) <= b->end;
}

/* An interval, MCUs a..b-1, of which some are wanted. */
static bool interval(struct job *j, int a, int b, bool last)
{
    const uint8_t *stop = j->head->data + j->head->size, *end;
    int i, w, e;

    if (!unstuff(j->s, j->p, stop, &j->bits, &end))
        return false;
    for (i = 0; i < j->head->components; i++)
        j->part[i].last = 0;
    for (; a < b; a = e) {
        w = wanted(j, a);
        if (w >= b) /* the rest is of no interest */
            break;
        if (!j->s->kern->skip(&j->bits, j->part, j->head->components, w - a))
            return false;
        e = (w / j->across) * j->across + j->right;
        if (e > b)
            e = b;
        if (!keep(j, w, e) || !is_there(&j->bits))
            return false;
    }
    if (last)
        return true;
    /* bytes left over are for libjpeg to warn about */
    if (a >= b && j->bits.end - j->bits.p + (j->bits.count >> 3) > 0)
        return false;
    j->p = end;
    return true;
}

bool jpeg_scan_region(struct jpeg_scan *s, const struct jpeg_scan_head *head,
                      const struct rect *r, uint8_t *pixels, size_t stride)
{
    struct job j = {.s = s, .head = head, .r = *r, .pixels = pixels};
    const uint8_t *stop = head->data + head->size;
    int a, b, n, all;

    j.stride = stride;
    j.p = head->data;
    if (!jpeg_scan_takes(head) || !job_init(&j))
        return false;
    all = j.across * j.down;
    n = head->restart ? head->restart : all;
    for (a = 0; a < all && wanted(&j, a) < all; a = b) {
        b = all - a < n ? all : a + n;
        if (wanted(&j, a) < b && !interval(&j, a, b, wanted(&j, b) >= all))
            return false;
        if (b < all && wanted(&j, b) < all && !(j.p = behind(j.p, stop, a / n)))
            return false;
    }
    return true;
}

/* ---- the object */

bool jpeg_scan_use(struct jpeg_scan *s, const char *set)
{
    static const struct scan_kern *const kern[] = ISA_TABLE(scan_kern);
    enum isa i;

    if (!isa_find(set, &i))
        return false;
    s->kern = kern[i];
    return true;
}

struct jpeg_scan *jpeg_scan_new(void)
{
    struct jpeg_scan *s = xcalloc(1, sizeof(*s));

    if (!jpeg_scan_use(s, isa_names[isa_best()]))
        BUG("no instruction set");
    return s;
}

void jpeg_scan_free(struct jpeg_scan *s)
{
    int i;

    if (!s)
        return;
    for (i = 0; i < 3; i++)
        free(s->plane[i].mem.p);
    free(s->clean.p);
    free(s->line.p);
    free(s);
}
