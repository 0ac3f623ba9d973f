/* Pixels on a canvas: what is outside is cut off, words are where they should. */
#include "vision/draw.h"

#include "lib/tap.h"

#include <stdio.h>
#include <string.h>

/* The canvas as text, "#" where there is colour. */
static const char *shape(const struct canvas *c)
{
    static char text[4096];
    char *p = text;

    for (int y = 0; y < c->h; y++) {
        for (int x = 0; x < c->w; x++)
            *p++ = c->pixels[3 * (y * c->w + x)] ? '#' : '.';
        *p++ = '\n';
    }
    *p = 0;
    return text;
}

static void image(void)
{
    uint8_t pixels[2 * 3 * 3];
    struct picture p = {pixels, 3, 2, 9};
    struct canvas c;

    memset(pixels, 9, sizeof(pixels));
    if (canvas_init(&c, 4, 3, DRAW_BLACK) < 0)
        BUG("%s", err_text());
    draw_image(&c, -1, 1, &p, 1);
    is_str(shape(&c), "....\n##..\n##..\n", "an image over the left edge");
    draw_image(&c, 3, -1, &p, 1);
    is_str(shape(&c), "...#\n##..\n##..\n", "and over the corner");
    draw_image(&c, 4, 0, &p, 1);
    draw_image(&c, -3, 3, &p, 1);
    is_str(shape(&c), "...#\n##..\n##..\n", "and outside");
    draw_fill(&c, -5, -5, 50, 2, DRAW_WHITE);
    is_str(shape(&c), "####\n####\n##..\n", "an area larger than the canvas");
    canvas_release(&c);
}

static void smaller(void)
{
    static const uint8_t grey[] = {10, 20, 90, 30, 44, 91, 7, 8, 60};
    uint8_t pixels[27], got[4];
    struct picture p = {pixels, 3, 3, 9};
    struct canvas c;

    for (int i = 0; i < 27; i++)
        pixels[i] = grey[i / 3];
    if (canvas_init(&c, 2, 2, DRAW_BLACK) < 0)
        BUG("%s", err_text());
    draw_image(&c, 0, 0, &p, 2);
    for (int i = 0; i < 4; i++)
        got[i] = c.pixels[3 * i + 2];
    /* (10+20+30+44)/4, (90+91)/2 up, (7+8)/2 up, 60 */
    ok(got[0] == 26 && got[1] == 91 && got[2] == 8 && got[3] == 60,
       "half the size: means, of fewer pixels at the rims");
    canvas_release(&c);
}

static void boxes(void)
{
    struct canvas c;

    if (canvas_init(&c, 9, 7, DRAW_BLACK) < 0)
        BUG("%s", err_text());
    draw_box(&c, 1, 1, 8, 7, DRAW_WHITE);
    is_str(shape(&c),
           ".........\n.#######.\n.#######.\n.##...##.\n.##...##.\n"
           ".#######.\n.#######.\n",
           "a box");
    draw_fill(&c, 0, 0, 9, 7, DRAW_BLACK);
    draw_box(&c, 6, 4, 20, 7, DRAW_WHITE);
    is_str(shape(&c),
           ".........\n.........\n.........\n.........\n......###\n......#..\n"
           "......###\n",
           "a thin one over the edge");
    canvas_release(&c);
}

static void words(void)
{
    struct canvas c;

    if (canvas_init(&c, 13, 8, DRAW_BLACK) < 0)
        BUG("%s", err_text());
    draw_text(&c, 1, 0, "t7", DRAW_WHITE);
    is_str(shape(&c),
           ".#####.#####.\n...#.......#.\n...#......#..\n...#.....#...\n"
           "...#....#....\n...#....#....\n...#....#....\n.............\n",
           "a letter and a number");
    draw_fill(&c, 0, 0, 13, 8, DRAW_BLACK);
    draw_text(&c, -4, -5, "\377E", DRAW_WHITE);
    is_str(shape(&c),
           "..#..........\n..#####......\n.............\n.............\n"
           ".............\n.............\n.............\n.............\n",
           "cut off");
    canvas_release(&c);
}

int main(void)
{
    struct canvas c;

    image();
    smaller();
    boxes();
    words();
    ok(canvas_init(&c, 70000, 1, DRAW_BLACK) < 0 && err_code() == ERR_USAGE,
       "too wide");
    ok(canvas_init(&c, 1, 0, DRAW_BLACK) < 0, "no pixel");
    ok(canvas_kind("a.b/c.JPG") == 0 && canvas_kind("x.ppm") == 0 &&
           canvas_kind("x.jpeg") == 0,
       "kinds of files");
    ok(canvas_kind("a.ppm/c") < 0 && canvas_kind("x.png") < 0 &&
           err_code() == ERR_USAGE,
       "and others");
    ok(draw_ink(0) != draw_ink(1) && draw_ink(8) == draw_ink(0),
       "inks of neighbours differ");
    return done_testing();
}
