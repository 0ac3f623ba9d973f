#include "vision/draw.h"

#include "util/buf.h"
#include "util/fdio.h"
#include "vision/jpeg.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- the face: 7 rows of 5 bits for each letter, the top one first */

static const char letters[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 -_.,:/+()#%'=?!*&";
static const uint64_t face[] = {
    0x3a31fc631ull, 0x7a31f463eull, 0x3a308422eull, 0x7a318c63eull,
    0x7e10f421full, 0x7e10f4210ull, 0x3a30bc62full, 0x4631fc631ull,
    0x38842108eull, 0x1c4210a4cull, 0x4654c5251ull, 0x42108421full,
    0x4775ac631ull, 0x4735ace31ull, 0x3a318c62eull, 0x7a31f4210ull,
    0x3a318d64dull, 0x7a31f5251ull, 0x3e107043eull, 0x7c8421084ull,
    0x46318c62eull, 0x46318c544ull, 0x4631ad771ull, 0x462a22a31ull,
    0x462a21084ull, 0x7c222221full, 0x3a33ae62eull, 0x11842108eull,
    0x3a213221full, 0x78217043eull, 0x08ca97c42ull, 0x7e1e0862eull,
    0x1910f462eull, 0x7c2222108ull, 0x3a317462eull, 0x3a317844cull,
    0x000000000ull, 0x0000f8000ull, 0x00000001full, 0x00000018cull,
    0x000003088ull, 0x018c03180ull, 0x042222210ull, 0x0084f9080ull,
    0x088842082ull, 0x208210888ull, 0x295f57d4aull, 0x672222273ull,
    0x108800000ull, 0x001f07c00ull, 0x3a2131004ull, 0x108421004ull,
    0x02aefbaa0ull, 0x32544564dull,
};
#define LETTER_W 5
#define LETTER_H 7

/* ---- canvas */

int canvas_init(struct canvas *c, int w, int h, uint32_t colour)
{
    *c = (struct canvas){NULL, w, h};
    if (w < 1 || h < 1 || w > DRAW_SIDE || h > DRAW_SIDE)
        return err_set(ERR_USAGE, "a picture of %dx%d: a side is 1 to %d", w, h,
                       DRAW_SIDE);
    c->pixels = malloc((size_t)w * (size_t)h * 3);
    if (!c->pixels)
        return err_set(ERR_SYSTEM, "a picture of %dx%d: no memory", w, h);
    draw_fill(c, 0, 0, w, h, colour);
    return 0;
}

void canvas_release(struct canvas *c)
{
    free(c->pixels);
    c->pixels = NULL;
}

/* 'j', 'p' or 0. */
static char kind_of(const char *path)
{
    const char *dot = strrchr(path, '.');

    if (!dot || strchr(dot, '/'))
        return 0;
    if (!strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg"))
        return 'j';
    return !strcasecmp(dot, ".ppm") ? 'p' : 0;
}

int canvas_kind(const char *path)
{
    if (kind_of(path))
        return 0;
    return err_set(ERR_USAGE, "%s: a picture ends in .jpg or .ppm", path);
}

int canvas_save(const struct canvas *c, const char *path)
{
    struct jpeg_how how = {.quality = 95, .full_chroma = true};
    struct buf b = BUF_INIT;
    int r = canvas_kind(path);

    if (r == 0 && kind_of(path) == 'j')
        r = jpeg_encode(&b, c->pixels, c->w, c->h, &how);
    if (r == 0 && kind_of(path) == 'p') {
        buf_addf(&b, "P6\n%d %d\n255\n", c->w, c->h);
        buf_add(&b, c->pixels, (size_t)c->w * (size_t)c->h * 3);
    }
    if (r == 0)
        r = atomic_write(path, b.data, b.len);
    buf_release(&b);
    return r;
}

/* ---- drawing */

static int between(int v, int lo, int hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

void draw_fill(struct canvas *c, int x0, int y0, int x1, int y1,
               uint32_t colour)
{
    const uint8_t rgb[3] = {(uint8_t)(colour >> 16), (uint8_t)(colour >> 8),
                            (uint8_t)colour};

    x0 = between(x0, 0, c->w);
    x1 = between(x1, 0, c->w);
    y0 = between(y0, 0, c->h);
    y1 = between(y1, 0, c->h);
    for (int y = y0; y < y1; y++) {
        uint8_t *p = c->pixels + 3 * ((size_t)y * (size_t)c->w + (size_t)x0);

        for (int x = x0; x < x1; x++, p += 3)
            memcpy(p, rgb, 3);
    }
}

/* The mean of the pixels of a square that begins at x, y. */
static void mean_of(const struct picture *p, int x, int y, int side,
                    uint8_t *rgb)
{
    int w = between(side, 1, p->w - x), h = between(side, 1, p->h - y);
    unsigned sum[3] = {0, 0, 0}, n = (unsigned)(w * h);

    for (int i = 0; i < h; i++) {
        const uint8_t *q =
            p->pixels + p->stride * (size_t)(y + i) + 3 * (size_t)x;

        for (int k = 0; k < 3 * w; k++)
            sum[k % 3] += q[k];
    }
    for (int k = 0; k < 3; k++)
        rgb[k] = (uint8_t)((sum[k] + n / 2) / n);
}

void draw_image(struct canvas *c, int x, int y, const struct picture *p,
                int down)
{
    for (int i = 0; i * down < p->h; i++)
        for (int k = 0; k * down < p->w; k++)
            if (y + i >= 0 && y + i < c->h && x + k >= 0 && x + k < c->w)
                mean_of(p, k * down, i * down, down,
                        c->pixels + 3 * ((size_t)(y + i) * (size_t)c->w +
                                         (size_t)(x + k)));
}

void draw_box(struct canvas *c, int x0, int y0, int x1, int y1, uint32_t colour)
{
    int thick = x1 - x0 > 4 && y1 - y0 > 4 ? 2 : 1;

    draw_fill(c, x0, y0, x1, y0 + thick, colour);
    draw_fill(c, x0, y1 - thick, x1, y1, colour);
    draw_fill(c, x0, y0, x0 + thick, y1, colour);
    draw_fill(c, x1 - thick, y0, x1, y1, colour);
}

void draw_text(struct canvas *c, int x, int y, const char *text,
               uint32_t colour)
{
    for (; *text; text++, x += DRAW_ADVANCE) {
        const char *at = strchr(letters, toupper((unsigned char)*text));
        uint64_t bits = face[(at ? at : strchr(letters, '.')) - letters];

        for (int i = 0; i < LETTER_W * LETTER_H; i++)
            if (bits >> (LETTER_W * LETTER_H - 1 - i) & 1)
                draw_fill(c, x + i % LETTER_W, y + i / LETTER_W,
                          x + i % LETTER_W + 1, y + i / LETTER_W + 1, colour);
    }
}

uint32_t draw_ink(int64_t i)
{
    static const uint32_t ink[] = {0xff4d4d, 0x3fd15c, 0x4da3ff, 0xffd23f,
                                   0xff7ae0, 0x2fe0d8, 0xff9a3d, 0xb08cff};

    return ink[(uint64_t)i % (sizeof(ink) / sizeof(*ink))];
}
