/*
 * draw.h - on pixels: images beside each other, frames of boxes, words.
 *
 * Everything that would lie outside the canvas is cut off, so that callers need
 * not care. Words are in one small face, capitals only; what it lacks is a dot.
 *
 *	struct canvas c;
 *	canvas_init(&c, 640, 480, DRAW_GREY);
 *	draw_image(&c, 8, 8, &(struct picture){pixels, 224, 224, 3 * 224}, 1);
 *	draw_box(&c, 20, 30, 100, 90, draw_ink(2));
 *	draw_text(&c, 8, 236, "tench", DRAW_WHITE);
 *	canvas_save(&c, "sheet.jpg")
 *	canvas_release(&c);
 */
#ifndef VISION_DRAW_H
#define VISION_DRAW_H

#include "util/err.h"

#include <stddef.h>
#include <stdint.h>

#define DRAW_BLACK 0x000000u
#define DRAW_GREY 0x303438u
#define DRAW_WHITE 0xf0f0f0u
#define DRAW_LINE 10    /* pixels from one line of words to the next */
#define DRAW_ADVANCE 6  /* and from one character to the next */
#define DRAW_SIDE 65500 /* of a canvas, as JPEG has it */

/* RGB, 3 bytes a pixel, without gaps. */
struct canvas {
    uint8_t *pixels;
    int w, h;
};

/* ERR_USAGE: a side over DRAW_SIDE or no pixel; ERR_SYSTEM: no memory. */
int canvas_init(struct canvas *c, int w, int h, uint32_t colour) MUST_CHECK;
void canvas_release(struct canvas *c);
/*
 * To a file, atomically; what kind, its name says: .jpg or .jpeg (quality 95,
 * full chroma), or .ppm, which keeps every bit. ERR_USAGE: another name.
 */
int canvas_save(const struct canvas *c, const char *path) MUST_CHECK;
/* Would canvas_save know the kind? ERR_USAGE. */
int canvas_kind(const char *path) MUST_CHECK;

/* RGB, 3 bytes a pixel; rows are stride bytes apart. Lent. */
struct picture {
    const uint8_t *pixels;
    int w, h;
    size_t stride;
};
/* Made smaller `down` times (1: as it is): each pixel is the mean of its square,
 * what is left at the right and below of a smaller one. */
void draw_image(struct canvas *c, int x, int y, const struct picture *p,
                int down);
/* The outline of the pixels x0..x1-1, y0..y1-1, two pixels thick, inside. */
void draw_box(struct canvas *c, int x0, int y0, int x1, int y1,
              uint32_t colour);
void draw_fill(struct canvas *c, int x0, int y0, int x1, int y1,
               uint32_t colour);
/* 5x7 pixels each; x, y is the top left. */
void draw_text(struct canvas *c, int x, int y, const char *text,
               uint32_t colour);
/* A colour that stands out, of a few; neighbours differ. */
uint32_t draw_ink(int64_t i);

#endif
