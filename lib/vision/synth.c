#include "vision/synth.h"

#include "util/rng.h"
#include "vision/jpeg.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHAPES 8
#define TEXTURES 6
#define LATTICE 64 /* side of the table of noise, a power of two */

static const char *const shape_name[SHAPES] = {
    "disc", "square", "triangle", "cross", "ring", "star", "bar", "dome"};
static const char *const texture_name[TEXTURES] = {
    "striped", "dotted", "ringed", "plain", "checked", "hatched"};

struct colour {
    int c[3];
};

/* A direction: cosine and sine of an angle. */
struct turn {
    double x, y;
};

/* The object: where, how large, how turned, what it looks like. */
struct object {
    double cx, cy, radius;
    struct turn turn, grain; /* of the shape, of the texture in it */
    double period, phase;    /* of the texture, in radii */
    int shape, texture;
    struct colour a, b;
};

struct canvas {
    int w, h;
    uint8_t *rgb;
    uint8_t lattice[LATTICE * LATTICE];
    uint32_t grain; /* state of the sensor noise */
};

/* ---- chance */

static int between(struct rng *g, int lo, int hi)
{
    return lo + (int)rng_below(g, (uint64_t)(hi - lo + 1));
}

static double within(struct rng *g, double lo, double hi)
{
    return lo + (hi - lo) * rng_unit(g);
}

/* A random direction without sine or cosine: the rational points of a quarter
 * circle, and one of four quarters. */
static struct turn any_turn(struct rng *g)
{
    double t = within(g, -1.0, 1.0) * 0.41421356237309503, d = 1.0 + t * t;
    struct turn r = {(1.0 - t * t) / d, 2.0 * t / d}, q = r;

    switch (rng_below(g, 4)) {
    case 0:
        return r;
    case 1:
        q.x = -r.y;
        q.y = r.x;
        return q;
    case 2:
        q.x = -r.x;
        q.y = -r.y;
        return q;
    default:
        q.x = r.y;
        q.y = -r.x;
        return q;
    }
}

/* At most 2 atan(most) away from upright. */
static struct turn tilt(struct rng *g, double most)
{
    double t = within(g, -most, most), d = 1.0 + t * t;

    return (struct turn){(1.0 - t * t) / d, 2.0 * t / d};
}

/* Light or dark first, a tint of up to 60 on top. */
static struct colour any_colour(struct rng *g)
{
    int light = between(g, 20, 235), i;
    struct colour c;

    for (i = 0; i < 3; i++) {
        c.c[i] = light + between(g, -60, 60);
        c.c[i] = c.c[i] < 0 ? 0 : c.c[i] > 255 ? 255 : c.c[i];
    }
    return c;
}

static int luma(struct colour c)
{
    return (77 * c.c[0] + 150 * c.c[1] + 29 * c.c[2]) >> 8;
}

/* A colour whose lightness is at least so far from that of another. */
static struct colour unlike(struct rng *g, struct colour other, int far)
{
    struct colour c;

    do
        c = any_colour(g);
    while (abs(luma(c) - luma(other)) < far);
    return c;
}

/* ---- the ground */

static uint8_t clip(int v)
{
    return v < 0 ? 0 : v > 255 ? 255 : (uint8_t)v;
}

/* Smooth noise 0..255; x, y in 1/256 of a cell. */
static int noise(const struct canvas *c, int x, int y)
{
    int cx = x >> 8 & (LATTICE - 1), cy = y >> 8 & (LATTICE - 1);
    int nx = (cx + 1) & (LATTICE - 1), ny = (cy + 1) & (LATTICE - 1);
    int fx = x & 255, fy = y & 255;
    const uint8_t *p = c->lattice + LATTICE * cy;
    const uint8_t *q = c->lattice + LATTICE * ny;
    int top = p[cx] * (256 - fx) + p[nx] * fx;
    int low = q[cx] * (256 - fx) + q[nx] * fx;

    return (top * (256 - fy) + low * fy) >> 16;
}

/* Two colours run into each other; coarse and fine noise on top. */
static void draw_ground(struct canvas *c, struct rng *g, struct colour *mean)
{
    struct colour a = any_colour(g), b = any_colour(g);
    struct turn t = any_turn(g);
    int cell[2] = {between(g, 12, 40), between(g, 2, 6)};
    int amount[2] = {between(g, 10, 60), between(g, 0, 30)};
    int dx = (int)(t.x * 256.0) * 256 / (c->w + c->h);
    int dy = (int)(t.y * 256.0) * 256 / (c->w + c->h);
    int x, y, k, mix, n;
    uint8_t *p = c->rgb;

    for (y = 0; y < c->h; y++)
        for (x = 0; x < c->w; x++, p += 3) {
            mix = 128 + ((dx * (2 * x - c->w) + dy * (2 * y - c->h)) >> 8);
            mix = clip(mix);
            n = (noise(c, x * 256 / cell[0], y * 256 / cell[0]) - 128) *
                amount[0];
            n += (noise(c, x * 256 / cell[1] + 9000, y * 256 / cell[1]) - 128) *
                 amount[1];
            for (k = 0; k < 3; k++)
                p[k] =
                    clip((a.c[k] * (255 - mix) + b.c[k] * mix) / 255 + n / 256);
        }
    for (k = 0; k < 3; k++)
        mean->c[k] = (a.c[k] + b.c[k]) / 2;
}

/* Mix a colour into a pixel, alpha of 256. */
static void blend(uint8_t *p, struct colour c, int alpha)
{
    int k;

    for (k = 0; k < 3; k++)
        p[k] = (uint8_t)((p[k] * (256 - alpha) + c.c[k] * alpha) >> 8);
}

/* One faint thing that is no object: an ellipse or a long stroke. */
static void draw_scrap(struct canvas *c, struct rng *g)
{
    int side = c->w < c->h ? c->w : c->h, alpha = between(g, 50, 140);
    double cx = within(g, 0, c->w), cy = within(g, 0, c->h);
    double rx = within(g, 0.03, 0.12) * side, ry = within(g, 0.02, 0.09) * side;
    struct turn t = any_turn(g);
    struct colour ink = any_colour(g);
    int x, y, far;

    if (rng_below(g, 3) == 0) {
        rx = within(g, 0.3, 0.9) * side;
        ry = within(g, 0.005, 0.02) * side;
    }
    far = (int)(rx > ry ? rx : ry) + 1;
    for (y = (int)cy - far; y <= (int)cy + far; y++)
        for (x = (int)cx - far; x <= (int)cx + far; x++) {
            double u = ((x - cx) * t.x + (y - cy) * t.y) / rx;
            double v = ((y - cy) * t.x - (x - cx) * t.y) / ry;

            if (x >= 0 && x < c->w && y >= 0 && y < c->h && u * u + v * v < 1.0)
                blend(c->rgb + 3 * ((size_t)y * (size_t)c->w + (size_t)x), ink,
                      alpha);
        }
}

/* ---- the object */

/* Is (u, v), in radii, inside the shape? */
static int inside(int shape, double u, double v)
{
    /* the sides of a pentagram: outside of one of them is still inside */
    static const double star[5][2] = {
        {0.0, 1.0},
        {0.9510565162951535, 0.3090169943749475},
        {0.5877852522924731, -0.8090169943749475},
        {-0.5877852522924731, -0.8090169943749475},
        {-0.9510565162951535, 0.3090169943749475}};
    double au = fabs(u), av = fabs(v), rr = u * u + v * v;
    int i, n = 0;

    switch (shape) {
    case 0:
        return rr < 0.92;
    case 1:
        return au < 0.82 && av < 0.82;
    case 2:
        return v > -0.55 && 1.7320508075688772 * au + v < 1.1;
    case 3:
        return (au < 0.3 || av < 0.3) && au < 1.0 && av < 1.0;
    case 4:
        return rr < 1.0 && rr > 0.25;
    case 5:
        for (i = 0; i < 5; i++)
            n += u * star[i][0] + v * star[i][1] < 0.36;
        return n >= 4;
    case 6:
        return au < 1.1 && av < 0.4;
    default:
        return rr < 1.1 && v > 0.0;
    }
}

/* The whole number at or below x, |x| < 2^20. */
static int low(double x)
{
    return (int)(x + 1048576.0) - 1048576;
}

/* Which of its two colours the texture has at (u, v). */
static int second(const struct object *o, double u, double v)
{
    double a = (u * o->grain.x + v * o->grain.y) / o->period + o->phase;
    double b = (v * o->grain.x - u * o->grain.y) / o->period + o->phase;
    double fa = a - low(a), fb = b - low(b), r;

    switch (o->texture) {
    case 0:
        return fa < 0.5;
    case 1:
        return (fa - 0.5) * (fa - 0.5) + (fb - 0.5) * (fb - 0.5) < 0.1;
    case 2:
        r = sqrt(u * u + v * v) / o->period + o->phase;
        return r - low(r) < 0.5;
    case 3:
        return 0;
    case 4:
        return (low(a) + low(b)) & 1;
    default:
        return fa < 0.22 || fb < 0.22;
    }
}

/* One pixel from four samples: part of it ground, of either colour. How many
 * samples are the object's. */
static int draw_pixel(struct canvas *c, const struct object *o, int x, int y)
{
    uint8_t *p = c->rgb + 3 * ((size_t)y * (size_t)c->w + (size_t)x);
    int n[2] = {0, 0}, i, k;

    for (i = 0; i < 4; i++) {
        double dx = x + 0.25 + 0.5 * (i & 1) - o->cx;
        double dy = y + 0.25 + 0.5 * (i >> 1) - o->cy;
        double u = (dx * o->turn.x + dy * o->turn.y) / o->radius;
        double v = (dy * o->turn.x - dx * o->turn.y) / o->radius;

        if (inside(o->shape, u, v))
            n[second(o, u, v)]++;
    }
    for (k = 0; k < 3; k++)
        p[k] = (uint8_t)((p[k] * (4 - n[0] - n[1]) + o->a.c[k] * n[0] +
                          o->b.c[k] * n[1]) /
                         4);
    return n[0] + n[1];
}

/* Pixels that were drawn. */
struct extent {
    int x0, y0, x1, y1; /* ends excluded; x0 >= x1: none */
    int samples;        /* quarters of a pixel */
};

static struct extent draw_object(struct canvas *c, const struct object *o)
{
    struct extent e = {c->w, c->h, 0, 0, 0};
    int x0 = (int)(o->cx - 1.2 * o->radius),
        x1 = (int)(o->cx + 1.2 * o->radius);
    int y0 = (int)(o->cy - 1.2 * o->radius),
        y1 = (int)(o->cy + 1.2 * o->radius);
    int x, y, n;

    for (y = y0 < 0 ? 0 : y0; y <= y1 && y < c->h; y++)
        for (x = x0 < 0 ? 0 : x0; x <= x1 && x < c->w; x++) {
            n = draw_pixel(c, o, x, y);
            if (!n)
                continue;
            e.samples += n;
            e.x0 = x < e.x0 ? x : e.x0;
            e.x1 = x >= e.x1 ? x + 1 : e.x1;
            e.y0 = y < e.y0 ? y : e.y0;
            e.y1 = y + 1;
        }
    return e;
}

/* What has nothing to do with its place. */
static void dress_object(struct object *o, struct rng *g, struct colour ground)
{
    o->turn = tilt(g, 0.22);
    o->grain = tilt(g, 0.22);
    o->period = within(g, 0.42, 0.56);
    o->phase = o->texture == 2 ? within(g, 0.0, 0.99) : rng_unit(g);
    o->a = unlike(g, ground, 50);
    o->b = unlike(g, o->a, 100);
}

/* In the middle square of the picture, so that a central crop shows it. */
static void place_object(struct object *o, const struct canvas *c,
                         struct rng *g, struct colour ground)
{
    double side = c->w < c->h ? c->w : c->h, slack;

    o->radius = within(g, 0.32, 0.47) * side;
    slack = 0.5 * side - 0.95 * o->radius;
    o->cx = c->w * 0.5 + within(g, -slack, slack);
    o->cy = c->h * 0.5 + within(g, -slack, slack);
    dress_object(o, g, ground);
}

/* ---- light and camera */

/* Brighter on one side, and all of it brighter or darker. */
static void shine(struct canvas *c, struct rng *g)
{
    struct turn t = any_turn(g);
    int gain = between(g, 170, 290), slope = between(g, 0, 90), x, y, k, f;
    int dx = (int)(t.x * 65536.0) * slope / (c->w + c->h);
    int dy = (int)(t.y * 65536.0) * slope / (c->w + c->h);
    uint8_t *p = c->rgb;

    for (y = 0; y < c->h; y++)
        for (x = 0; x < c->w; x++, p += 3) {
            f = gain + ((dx * (2 * x - c->w) + dy * (2 * y - c->h)) >> 16);
            for (k = 0; k < 3; k++)
                p[k] = clip(p[k] * f >> 8);
        }
}

/* Each value mixed with its neighbours, a step apart in memory. */
static void smear(uint8_t *p, size_t n, size_t step)
{
    uint8_t before[4096 * 3];
    size_t i;

    memcpy(before, p, step);
    for (i = 0; i + step < n; i++) {
        uint8_t old = p[i];

        p[i] = (uint8_t)((before[i % step] + 2 * old + p[i + step] + 2) / 4);
        before[i % step] = old;
    }
}

static void blur(struct canvas *c)
{
    size_t row = (size_t)c->w * 3;
    int y;

    for (y = 0; y < c->h; y++)
        smear(c->rgb + row * (size_t)y, row, 3);
    smear(c->rgb, row * (size_t)c->h, row);
}

/* Noise of the sensor: the sum of two draws of a small generator. */
static void roughen(struct canvas *c, int amount)
{
    size_t i, n = (size_t)c->w * (size_t)c->h * 3;
    uint32_t s = c->grain;
    int v;

    for (i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        v = (int)(s >> 24) + (int)(s >> 16 & 255) - 255;
        c->rgb[i] = clip(c->rgb[i] + v * amount / 256);
    }
}

static void to_grey(struct canvas *c)
{
    size_t i, n = (size_t)c->w * (size_t)c->h;
    uint8_t *p = c->rgb;

    for (i = 0; i < n; i++)
        p[i] = (uint8_t)((77 * p[3 * i] + 150 * p[3 * i + 1] +
                          29 * p[3 * i + 2]) >>
                         8);
}

/* ---- all of it */

static int shape_of(int class_id)
{
    return class_id % SHAPES;
}

/* Classes with one texture come to have shapes that differ in more than their
 * corners: a dotted disc and a dotted square ask for a longer training. */
static int texture_of(int class_id)
{
    static const int offset[TEXTURES] = {0, 2, 4, 1, 3, 5};

    return (class_id % SHAPES + offset[class_id / SHAPES]) % TEXTURES;
}

void synth_class(int class_id, char *name, size_t n)
{
    snprintf(name, n, "c%02d-%s-%s", class_id,
             texture_name[texture_of(class_id)],
             shape_name[shape_of(class_id)]);
}

/* All that is behind the objects; its mean colour. */
static struct colour draw_behind(struct canvas *c, struct rng *g)
{
    struct colour ground;
    uint64_t r = 0;
    int i, n;

    for (i = 0; i < LATTICE * LATTICE; i++, r >>= 8) {
        if (i % 8 == 0)
            r = rng_u64(g);
        c->lattice[i] = (uint8_t)r;
    }
    draw_ground(c, g, &ground);
    for (i = 0, n = between(g, 2, 8); i < n; i++)
        draw_scrap(c, g);
    return ground;
}

/* All that is in front of them: scraps, light, the camera. */
static void draw_before(struct canvas *c, struct rng *g)
{
    int i, n;

    for (i = 0, n = between(g, 0, 2); i < n; i++)
        draw_scrap(c, g);
    shine(c, g);
    for (i = 0, n = between(g, 0, 1); i < n; i++)
        blur(c);
    c->grain = (uint32_t)rng_u64(g);
    roughen(c, between(g, 0, 16));
}

/* Size and kind of a picture; memory for it. */
static void begin(const struct synth *s, struct rng *g, struct canvas *c,
                  struct jpeg_how *how)
{
    int kind;

    c->w = between(g, s->size_min, s->size_max);
    c->h = between(g, s->size_min, s->size_max);
    if (c->w > 2 * c->h) /* rarely seen in photographs */
        c->w = 2 * c->h;
    if (c->h > 2 * c->w)
        c->h = 2 * c->w;
    *how = (struct jpeg_how){.quality = between(g, 70, 95)};
    kind = between(g, 0, 9); /* 1 in 10 grey, 3 without subsampling */
    how->grey = kind == 0;
    how->full_chroma = kind <= 3;
    c->rgb = xmalloc((size_t)c->w * (size_t)c->h * 3);
}

static int finish(struct canvas *c, const struct jpeg_how *how,
                  struct buf *jpeg)
{
    int rc;

    if (how->grey)
        to_grey(c);
    rc = jpeg_encode(jpeg, c->rgb, c->w, c->h, how);
    free(c->rgb);
    return rc;
}

int synth_image(const struct synth *s, int split, int class_id, uint32_t number,
                struct buf *jpeg)
{
    struct object o = {.shape = shape_of(class_id),
                       .texture = texture_of(class_id)};
    struct jpeg_how how;
    struct canvas c;
    struct rng g;

    rng_init(&g, s->seed, number, (uint32_t)(class_id * 2 + split), RNG_SYNTH);
    begin(s, &g, &c, &how);
    place_object(&o, &c, &g, draw_behind(&c, &g));
    (void)draw_object(&c, &o);
    draw_before(&c, &g);
    return finish(&c, &how, jpeg);
}

/* ---- scenes */

/* Anywhere, but not upon the n objects before it; false: no room was found. */
static bool find_room(struct object *o, const struct object *before, int n,
                      const struct canvas *c, struct rng *g)
{
    double side = c->w < c->h ? c->w : c->h;

    for (int tries = 0; tries < 30; tries++) {
        int k;

        o->radius = within(g, 0.07, 0.3) * side;
        o->cx = within(g, 0.3 * o->radius, c->w - 0.3 * o->radius);
        o->cy = within(g, 0.3 * o->radius, c->h - 0.3 * o->radius);
        for (k = 0; k < n; k++) {
            double dx = before[k].cx - o->cx, dy = before[k].cy - o->cy;
            double far = 0.95 * (before[k].radius + o->radius);

            if (dx * dx + dy * dy < far * far)
                break;
        }
        if (k == n)
            return true;
    }
    return false;
}

/* Many small ones in the circle of one. */
static struct extent draw_crowd(struct canvas *c, struct rng *g,
                                struct object o)
{
    struct extent all = {c->w, c->h, 0, 0, 0};
    double cx = o.cx, cy = o.cy, far = 0.7 * o.radius;

    o.radius *= 0.3;
    for (int i = between(g, 5, 9); i > 0; i--) {
        struct extent e;

        o.cx = cx + within(g, -far, far);
        o.cy = cy + within(g, -far, far);
        e = draw_object(c, &o);
        all.samples += e.samples;
        all.x0 = e.x0 < all.x0 ? e.x0 : all.x0;
        all.y0 = e.y0 < all.y0 ? e.y0 : all.y0;
        all.x1 = e.x1 > all.x1 ? e.x1 : all.x1;
        all.y1 = e.y1 > all.y1 ? e.y1 : all.y1;
    }
    return all;
}

int synth_scene(const struct synth *s, int split, int classes, uint32_t number,
                struct buf *jpeg, struct annot *a)
{
    struct object o[SYNTH_OBJECTS_MAX];
    struct jpeg_how how;
    struct colour ground;
    struct canvas c;
    struct rng g;
    int n, k = 0;

    rng_init(&g, s->seed, number, (uint32_t)(1 << 20 | split), RNG_SYNTH);
    begin(s, &g, &c, &how);
    ground = draw_behind(&c, &g);
    /* one scene in 32 is empty, one object in 64 a crowd */
    n = rng_below(&g, 32) ? between(&g, 1, SYNTH_OBJECTS_MAX) : 0;
    a->n = 0;
    for (; n > 0 && find_room(&o[k], o, k, &c, &g); n--, k++) {
        struct annot_object *to = &a->object[a->n];
        int cat = (int)rng_below(&g, (uint64_t)classes);
        struct extent e;

        *to = (struct annot_object){.cat = cat, .crowd = !rng_below(&g, 64)};
        o[k].shape = shape_of(cat);
        o[k].texture = texture_of(cat);
        dress_object(&o[k], &g, ground);
        e = to->crowd ? draw_crowd(&c, &g, o[k]) : draw_object(&c, &o[k]);
        to->bbox[0] = e.x0;
        to->bbox[1] = e.y0;
        to->bbox[2] = e.x1 - e.x0;
        to->bbox[3] = e.y1 - e.y0;
        to->area = e.samples / 4.0;
        a->n += e.x0 < e.x1;
    }
    a->w = c.w;
    a->h = c.h;
    draw_before(&c, &g);
    return finish(&c, &how, jpeg);
}
