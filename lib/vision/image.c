#include "vision/image.h"

#include "vision/png.h"
#include "vision/ppm.h"

#include <stdlib.h>
#include <string.h>

struct image_decoder {
    enum image_kind kind; /* of the image begun */
    struct jpeg_decoder *jpeg;
    struct png_decoder *png;
    struct ppm_decoder *ppm;
};

enum image_kind image_sniff(const void *p, size_t n)
{
    if (!n)
        return IMAGE_NEITHER;
    if (jpeg_sniff(p, n))
        return IMAGE_JPEG;
    if (ppm_sniff(p, n))
        return IMAGE_PPM;
    return png_sniff(p, n) ? IMAGE_PNG : IMAGE_NEITHER;
}

/* What others keep under the same names. */
static int neither(const void *p, size_t n)
{
    static const struct {
        const char *name;
        size_t at;
        const char *magic;
    } known[] = {{"GIF: ", 0, "GIF8"},    {"WebP: ", 8, "WEBP"},
                 {"BMP: ", 0, "BM"},      {"TIFF: ", 0, "II*"},
                 {"TIFF: ", 0, "MM"},     {"HEIF or AVIF: ", 4, "ftyp"},
                 {"grey PNM: ", 0, "P5"}, {"a page: ", 0, "<"}};
    const char *name = n ? "" : "empty: ";

    for (size_t i = 0; i < sizeof(known) / sizeof(*known) && !*name; i++) {
        size_t len = strlen(known[i].magic);

        if (n >= known[i].at + len &&
            !memcmp((const char *)p + known[i].at, known[i].magic, len))
            name = known[i].name;
    }
    return err_set(ERR_DATA, "%sneither JPEG nor PNG", name);
}

static int from_jpeg(struct image_info *info, const struct jpeg_info *j)
{
    info->width = j->width;
    info->height = j->height;
    info->orientation = j->orientation;
    info->flags = j->flags;
    return 0;
}

static int from_png(struct image_info *info, const struct png_info *png)
{
    info->width = png->width;
    info->height = png->height;
    info->orientation = 1;
    info->flags = png->flags;
    return 0;
}

/* That there is a pixel for each place is all that can be checked. */
static int probe_ppm(const void *p, size_t n, struct image_info *info)
{
    struct ppm_info ppm;

    if (ppm_probe(p, n, &ppm) < 0)
        return -1;
    info->width = ppm.width;
    info->height = ppm.height;
    info->orientation = 1;
    info->flags = PPM_FLAG;
    return 0;
}

int image_probe(const void *p, size_t n, struct image_info *info)
{
    struct jpeg_info j;
    struct png_info png;

    info->kind = image_sniff(p, n);
    if (info->kind == IMAGE_NEITHER)
        return neither(p, n);
    if (info->kind == IMAGE_PNG)
        return png_probe(p, n, &png) < 0 ? -1 : from_png(info, &png);
    if (info->kind == IMAGE_PPM)
        return probe_ppm(p, n, info);
    return jpeg_probe(p, n, &j) < 0 ? -1 : from_jpeg(info, &j);
}

struct image_decoder *image_decoder_new(void)
{
    struct image_decoder *d = xcalloc(1, sizeof(*d));

    d->jpeg = jpeg_decoder_new();
    d->png = png_decoder_new();
    d->ppm = ppm_decoder_new();
    return d;
}

void image_decoder_free(struct image_decoder *d)
{
    if (!d)
        return;
    jpeg_decoder_free(d->jpeg);
    png_decoder_free(d->png);
    ppm_decoder_free(d->ppm);
    free(d);
}

void image_decoder_strict(struct image_decoder *d, bool strict)
{
    jpeg_decoder_strict(d->jpeg, strict);
    png_decoder_strict(d->png, strict);
}

bool image_decoder_use(struct image_decoder *d, const char *set)
{
    return jpeg_decoder_use(d->jpeg, set);
}

int image_check(struct image_decoder *d, const void *p, size_t n,
                struct image_info *info)
{
    struct jpeg_info j;
    struct png_info png;

    d->kind = info->kind = image_sniff(p, n);
    if (d->kind == IMAGE_NEITHER)
        return neither(p, n);
    if (d->kind == IMAGE_PNG)
        return png_check(d->png, p, n, &png) < 0 ? -1 : from_png(info, &png);
    if (d->kind == IMAGE_PPM)
        return probe_ppm(p, n, info);
    return jpeg_check(d->jpeg, p, n, &j) < 0 ? -1 : from_jpeg(info, &j);
}

int image_begin(struct image_decoder *d, const void *p, size_t n, int *width,
                int *height)
{
    d->kind = image_sniff(p, n);
    if (d->kind == IMAGE_NEITHER)
        return neither(p, n);
    if (d->kind == IMAGE_PPM)
        return ppm_begin(d->ppm, p, n, width, height);
    return d->kind == IMAGE_PNG ? png_begin(d->png, p, n, width, height)
                                : jpeg_begin(d->jpeg, p, n, width, height);
}

int image_region(struct image_decoder *d, const struct rect *r,
                 struct jpeg_image *im)
{
    if (d->kind == IMAGE_PPM)
        return ppm_region(d->ppm, r, im);
    return d->kind == IMAGE_PNG ? png_region(d->png, r, im)
                                : jpeg_region(d->jpeg, r, im);
}

long image_warnings(const struct image_decoder *d)
{
    if (d->kind == IMAGE_PPM)
        return 0;
    return d->kind == IMAGE_PNG ? png_warnings(d->png) : jpeg_warnings(d->jpeg);
}
