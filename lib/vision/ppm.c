#include "vision/ppm.h"

#include <stdlib.h>
#include <string.h>

struct ppm_decoder {
    struct ppm_info info; /* of the image begun; pixels NULL: none */
    struct buf rgbx;
};

/* ---- the header */

static bool is_space(unsigned char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

bool ppm_sniff(const void *p, size_t n)
{
    const unsigned char *b = p;

    return n > 2 && b[0] == 'P' && b[1] == '6' &&
           (is_space(b[2]) || b[2] == '#');
}

/* The next number, up to max, behind white space and comments; -1: none. */
static long number(const unsigned char *b, size_t n, size_t *at, long max)
{
    size_t i = *at;
    long v = 0;

    while (i < n && (is_space(b[i]) || b[i] == '#')) {
        if (b[i] == '#')
            while (i < n && b[i] != '\n')
                i++;
        else
            i++;
    }
    if (i == *at || i >= n || b[i] < '0' || b[i] > '9')
        return -1;
    for (; i < n && b[i] >= '0' && b[i] <= '9' && v <= max; i++)
        v = v * 10 + (b[i] - '0');
    *at = i;
    return v;
}

int ppm_probe(const void *p, size_t n, struct ppm_info *info)
{
    const unsigned char *b = p;
    size_t at = 2, want;
    long w, h;

    if (!ppm_sniff(p, n))
        return err_set(ERR_DATA, "not PPM");
    if (n > JPEG_MAX_BYTES)
        return err_set(ERR_DATA, "PPM: %zu bytes: over 64 MiB", n);
    w = number(b, n, &at, JPEG_MAX_SIDE);
    h = number(b, n, &at, JPEG_MAX_SIDE);
    if (w < 1 || h < 1)
        return err_set(ERR_DATA, "PPM: no width and height");
    if (w > JPEG_MAX_SIDE || h > JPEG_MAX_SIDE || w * h > JPEG_MAX_PIXELS)
        return err_set(ERR_DATA, "PPM: too large");
    if (number(b, n, &at, 65535) != 255 || at >= n || !is_space(b[at]))
        return err_set(ERR_DATA, "PPM: not 8 bits a colour");
    at++;
    want = (size_t)w * (size_t)h * 3;
    if (n - at != want)
        return err_set(ERR_DATA, "PPM: %zu bytes of pixels, want %zu", n - at,
                       want);
    *info = (struct ppm_info){(int)w, (int)h, b + at};
    return 0;
}

void ppm_header(struct buf *b, int width, int height)
{
    buf_addf(b, "P6\n%d %d\n255\n", width, height);
}

/* ---- pixels */

struct ppm_decoder *ppm_decoder_new(void)
{
    return xcalloc(1, sizeof(struct ppm_decoder));
}

void ppm_decoder_free(struct ppm_decoder *d)
{
    if (d)
        buf_release(&d->rgbx);
    free(d);
}

int ppm_begin(struct ppm_decoder *d, const void *p, size_t n, int *width,
              int *height)
{
    d->info.pixels = NULL;
    if (ppm_probe(p, n, &d->info) < 0)
        return -1;
    *width = d->info.width;
    *height = d->info.height;
    return 0;
}

/* n pixels of 3 bytes become pixels of 4: what is behind a pixel goes along,
 * but not what is behind the last. */
static void widen(uint8_t *to, const uint8_t *from, int n)
{
    for (int i = 0; i < n - 1; i++)
        memcpy(to + 4 * (size_t)i, from + 3 * (size_t)i, 4);
    memcpy(to + 4 * (size_t)(n - 1), from + 3 * (size_t)(n - 1), 3);
    to[4 * (size_t)n - 1] = 0;
}

int ppm_region(struct ppm_decoder *d, const struct rect *r,
               struct jpeg_image *im)
{
    struct rect all = {0, 0, d->info.width, d->info.height};
    size_t stride;
    char *to;

    if (!d->info.pixels)
        BUG("ppm_region without ppm_begin");
    if (!r)
        r = &all;
    if (!rect_inside(r, all.w, all.h))
        BUG("region %d,%d %dx%d outside %dx%d", r->x, r->y, r->w, r->h, all.w,
            all.h);
    stride = (size_t)r->w * 4;
    buf_reset(&d->rgbx);
    to = buf_reserve(&d->rgbx, stride * (size_t)r->h);
    for (int y = 0; y < r->h; y++)
        widen((uint8_t *)to + stride * (size_t)y,
              d->info.pixels +
                  ((size_t)(r->y + y) * (size_t)all.w + (size_t)r->x) * 3,
              r->w);
    *im = (struct jpeg_image){(uint8_t *)to, stride, r->w, r->h};
    d->info.pixels = NULL;
    return 0;
}
