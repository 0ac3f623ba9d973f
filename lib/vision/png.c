/* The one file that knows libpng. Facts: its manual, libpng-manual.txt. */
#include "vision/png.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

#define CHUNKS_MAX 128        /* that libpng keeps */
#define CHUNK_BYTES (8 << 20) /* that it allocates for one */
#define IHDR_END 33

struct png_decoder {
    png_structp png; /* of the image begun, or NULL */
    png_infop info;
    jmp_buf back;
    char text[200];
    const uint8_t *p, *end; /* not read yet */
    int width, height;
    long warnings;
    bool strict, interlaced;
    uint8_t *pixels;
    size_t cap;
    png_bytep *rows; /* of an interlaced image */
    size_t rows_cap;
};

/* ---- header */

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 |
           p[3];
}

bool png_sniff(const void *p, size_t n)
{
    return n >= 4 && !memcmp(p, "\x89PNG", 4);
}

int png_probe(const void *bytes, size_t n, struct png_info *info)
{
    static const char begin[] = "\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR";
    const uint8_t *p = bytes;
    uint32_t w, h;

    if (n < IHDR_END || memcmp(p, begin, 16) != 0)
        return err_set(ERR_DATA, "png: no header");
    if (n > JPEG_MAX_BYTES)
        return err_set(ERR_DATA, "png: %zu bytes: over %d", n, JPEG_MAX_BYTES);
    w = be32(p + 16);
    h = be32(p + 20);
    if (!w || !h)
        return err_set(ERR_DATA, "png: size %lux%lu: empty", (unsigned long)w,
                       (unsigned long)h);
    if (w > JPEG_MAX_SIDE || h > JPEG_MAX_SIDE)
        return err_set(ERR_DATA, "png: size %lux%lu: a side is over %d",
                       (unsigned long)w, (unsigned long)h, JPEG_MAX_SIDE);
    if ((uint64_t)w * h > JPEG_MAX_PIXELS)
        return err_set(ERR_DATA, "png: size %lux%lu: over %d pixels",
                       (unsigned long)w, (unsigned long)h, JPEG_MAX_PIXELS);
    info->width = (int)w;
    info->height = (int)h;
    info->flags = PNG_IS_PNG;
    if (p[24] == 16)
        info->flags |= PNG_16BIT;
    if (p[25] == 0 || p[25] == 4)
        info->flags |= PNG_GREY;
    if (p[24] == 16 && p[25] == 0)
        return err_set(ERR_DATA,
                       "png: 16-bit grey (I;16 of Pillow): not supported");
    return 0;
}

/* ---- what libpng calls */

static _Noreturn void on_error(png_structp png, png_const_charp text)
{
    struct png_decoder *d = png_get_error_ptr(png);

    snprintf(d->text, sizeof(d->text), "%s", text);
    longjmp(d->back, 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
    struct png_decoder *d = png_get_error_ptr(png);

    d->warnings++;
    if (d->strict)
        on_error(png, text);
}

static void on_read(png_structp png, png_bytep to, size_t n)
{
    struct png_decoder *d = png_get_io_ptr(png);

    if (n > (size_t)(d->end - d->p))
        on_error(png, "cut off: the data end too soon");
    memcpy(to, d->p, n);
    d->p += n;
}

/* ---- the object */

struct png_decoder *png_decoder_new(void)
{
    return xcalloc(1, sizeof(struct png_decoder));
}

static void end_image(struct png_decoder *d)
{
    if (d->png)
        png_destroy_read_struct(&d->png, &d->info, NULL);
    d->png = NULL;
    d->info = NULL;
}

void png_decoder_free(struct png_decoder *d)
{
    if (!d)
        return;
    end_image(d);
    free(d->pixels);
    free(d->rows);
    free(d);
}

void png_decoder_strict(struct png_decoder *d, bool strict)
{
    d->strict = strict;
}

long png_warnings(const struct png_decoder *d)
{
    return d->warnings;
}

/* Give up the image; the object stays usable. */
static int fail(struct png_decoder *d)
{
    end_image(d);
    return err_set(ERR_DATA, "png: %s", d->text);
}

static void open_image(struct png_decoder *d)
{
    png_structp png = d->png;

    png_set_read_fn(png, d, on_read);
    png_set_user_limits(png, JPEG_MAX_SIDE, JPEG_MAX_SIDE);
    png_set_chunk_cache_max(png, CHUNKS_MAX);
    png_set_chunk_malloc_max(png, CHUNK_BYTES);
    png_set_benign_errors(png, 1);
    png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    /* all chunks but those that pixels depend on are passed over, unread */
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_read_info(png, d->info);
    png_set_expand(png);
    png_set_strip_16(png);
    png_set_gray_to_rgb(png);
    png_set_filler(png, 255, PNG_FILLER_AFTER); /* where there is no alpha */
    d->interlaced = png_set_interlace_handling(png) > 1;
    png_read_update_info(png, d->info);
    if (png_get_rowbytes(png, d->info) != 4 * (size_t)d->width)
        on_error(png, "not four bytes a pixel");
}

int png_begin(struct png_decoder *d, const void *p, size_t n, int *width,
              int *height)
{
    struct png_info info;

    end_image(d);
    d->warnings = 0;
    if (png_probe(p, n, &info) < 0)
        return -1;
    d->p = p;
    d->end = d->p + n;
    *width = d->width = info.width;
    *height = d->height = info.height;
    snprintf(d->text, sizeof(d->text), "no memory");
    d->png =
        png_create_read_struct(PNG_LIBPNG_VER_STRING, d, on_error, on_warning);
    d->info = d->png ? png_create_info_struct(d->png) : NULL;
    if (!d->info || setjmp(d->back))
        return fail(d);
    open_image(d);
    return 0;
}

/* ---- pixels */

static void make_room(struct png_decoder *d, size_t rows)
{
    size_t need = rows * (size_t)d->width * 4;

    if (need > d->cap) {
        free(d->pixels);
        d->pixels = xmalloc(need);
        d->cap = need;
    }
    if (d->interlaced && rows > d->rows_cap) {
        free(d->rows);
        d->rows = xreallocarray(NULL, rows, sizeof(*d->rows));
        d->rows_cap = rows;
    }
}

/* Rows [top, top+n), or all of an interlaced image. */
static int read_rows(struct png_decoder *d, int top, int n, bool whole)
{
    size_t stride = (size_t)d->width * 4;
    int y;

    if (setjmp(d->back))
        return fail(d);
    if (d->interlaced) {
        for (y = 0; y < d->height; y++)
            d->rows[y] = d->pixels + stride * (size_t)y;
        png_read_image(d->png, d->rows);
    } else {
        /* those above go where the first one will be */
        for (y = 0; y < top + n; y++)
            png_read_row(d->png,
                         d->pixels + (y < top ? 0 : stride * (size_t)(y - top)),
                         NULL);
    }
    if (whole)
        png_read_end(d->png, NULL);
    end_image(d);
    return 0;
}

static int region(struct png_decoder *d, const struct rect *r, bool whole,
                  struct jpeg_image *im)
{
    size_t stride = (size_t)d->width * 4;

    make_room(d, (size_t)(d->interlaced ? d->height : r->h));
    if (read_rows(d, r->y, r->h, whole) < 0)
        return -1;
    im->pixels = d->pixels + 4 * (size_t)r->x +
                 (d->interlaced ? stride * (size_t)r->y : 0);
    im->stride = stride;
    im->width = r->w;
    im->height = r->h;
    return 0;
}

int png_region(struct png_decoder *d, const struct rect *r,
               struct jpeg_image *im)
{
    struct rect all = {0, 0, d->width, d->height};

    if (!d->png)
        BUG("png_region without png_begin");
    if (!r)
        r = &all;
    if (!rect_inside(r, all.w, all.h))
        BUG("region %d,%d %dx%d outside %dx%d", r->x, r->y, r->w, r->h, all.w,
            all.h);
    return region(d, r, false, im);
}

int png_check(struct png_decoder *d, const void *p, size_t n,
              struct png_info *info)
{
    struct jpeg_image im;
    int w, h;

    if (png_probe(p, n, info) < 0 || png_begin(d, p, n, &w, &h) < 0 ||
        region(d, &(struct rect){0, 0, w, h}, true, &im) < 0)
        return -1;
    if (d->warnings)
        info->flags |= PNG_WARNED;
    return 0;
}
