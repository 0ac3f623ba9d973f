/* The picture of imgshard stats: classes, sizes, shapes, files. */
#include "imgshard-stats.h"

#include "util/svg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH 960
#define PANEL_W 380
#define PANEL_H 200
#define LEFT 70
#define RIGHT (LEFT + PANEL_W + 80)
#define TOP 90
#define DOWN (TOP + PANEL_H + 120)
#define BELOW (PANEL_H + 90)
#define HEIGHT (DOWN + PANEL_H + 60)
#define BINS 40
#define CELLS 32
#define NAMED 24 /* classes that are bars with names, not a line */

/* An axis of counts: whole numbers, and some air above. */
static void counts(struct svg_axis *a, double most)
{
    svg_axis(a, 0, most < 1 ? 1 : most * 1.1, false);
    if (a->step < 1)
        svg_axis(a, 0, 5, false);
}

/* Images of each class: the largest first. */
static void draw_classes(const struct stats *s, struct buf *b)
{
    uint32_t n = s->set->n_classes;
    struct svg_panel p = {
        .x = LEFT,
        .y = TOP,
        .w = PANEL_W,
        .h = PANEL_H,
        .title = shard_is_detection(s->set) ? "objects of each class"
                                            : "images of each class",
        .across_label = n <= NAMED ? NULL : "classes, the largest first"};
    double *x = xcalloc((size_t)n + 1, sizeof(*x));
    double *y = xcalloc((size_t)n + 1, sizeof(*y));
    struct buf tip = BUF_INIT;

    for (uint32_t i = 0; i < n; i++) {
        x[i] = i;
        y[i] = (double)s->of_class[s->by_count[i]];
    }
    counts(&p.up, n ? y[0] : 1);
    svg_axis(&p.across, 0, n > NAMED ? n - 1 : n, false);
    if (n <= NAMED) {
        /* numbers of classes in an order of its own say nothing */
        p.across = (struct svg_axis){0, n ? n : 1, 0, false};
    }
    svg_panel(b, &p);
    for (uint32_t i = 0; i < n && n <= NAMED; i++) {
        const struct shard_class *c = &s->set->cls[s->by_count[i]];

        buf_reset(&tip);
        buf_addf(&tip, "%s: %.0f", c->label, y[i]);
        svg_bar(b, &p, &(struct svg_box){i, 0, i + 1, y[i]}, 0, tip.data);
        buf_reset(&tip);
        buf_addf(&tip, "%.18s", c->label);
        svg_name(b, &p, i + 0.5, tip.data);
    }
    if (n > NAMED)
        svg_line(b, &p, x, y, n, 0);
    buf_release(&tip);
    free(x);
    free(y);
}

/* How many values lie in each of equal parts of an axis. */
static void histogram(struct buf *b, struct svg_panel *p,
                      const struct quantity *q, bool log)
{
    double count[BINS] = {0}, most = 0, edge[BINS + 1];
    size_t k = 0;
    struct buf tip = BUF_INIT;

    svg_axis(&p->across, quantity_at(q, 0), quantity_at(q, 1), log);
    for (int i = 0; i <= BINS; i++)
        edge[i] = p->across.log
                      ? p->across.lo *
                            pow(p->across.hi / p->across.lo, (double)i / BINS)
                      : p->across.lo + (p->across.hi - p->across.lo) * i / BINS;
    for (int i = 0; i < BINS; i++) {
        while (k < q->n && (q->v[k] < edge[i + 1] || i == BINS - 1)) {
            count[i]++;
            k++;
        }
        if (count[i] > most)
            most = count[i];
    }
    counts(&p->up, most);
    svg_panel(b, p);
    for (int i = 0; i < BINS; i++) {
        buf_reset(&tip);
        svg_number(&tip, edge[i]);
        buf_addstr(&tip, " to ");
        svg_number(&tip, edge[i + 1]);
        buf_addf(&tip, "%s%s: %.0f", *q->unit ? " " : "", q->unit, count[i]);
        svg_bar(b, p, &(struct svg_box){edge[i], 0, edge[i + 1], count[i]}, 0,
                tip.data);
    }
    buf_reset(&tip);
    buf_addstr(&tip, "median ");
    svg_number(&tip, quantity_at(q, 0.5));
    svg_mark(b, p, quantity_at(q, 0.5), tip.data);
    buf_release(&tip);
}

/* A panel of a histogram. */
static void draw_quantity(struct buf *b, const struct stats *s, int k, double x,
                          double y)
{
    static const struct {
        const char *title, *across, *up;
        bool log;
    } how[] = {
        [STATS_ASPECT] = {"shape of the images", "width / height", "images",
                          false},
        [STATS_BYTES] = {"size of the files", "bytes", "images", true},
        [STATS_OBJECTS] = {"objects of an image", "objects", "images", false},
        [STATS_BOX] = {"size of the boxes", "side of a square, px", "objects",
                       true},
        [STATS_BOX_SHARE] = {"size of the boxes in their images",
                             "side of a square / that of the image", "objects",
                             false},
        [STATS_BOX_ASPECT] = {"shape of the boxes", "width / height", "objects",
                              true},
    };
    struct svg_panel p = {.x = x,
                          .y = y,
                          .w = PANEL_W,
                          .h = PANEL_H,
                          .title = how[k].title,
                          .across_label = how[k].across,
                          .up_label = how[k].up};

    histogram(b, &p, &s->q[k], how[k].log);
}

/* Cell of a value of an axis. */
static int cell_of(const struct svg_axis *a, double v)
{
    int i = (int)((v - a->lo) / (a->hi - a->lo) * CELLS);

    return i < 0 ? 0 : i >= CELLS ? CELLS - 1 : i;
}

/* Width and height together; shades are of the logarithm of the count. */
static void draw_sides(const struct stats *s, struct buf *b)
{
    const struct shard_set *t = s->set;
    struct svg_panel p = {.x = RIGHT,
                          .y = TOP,
                          .w = PANEL_W,
                          .h = PANEL_H,
                          .title = "width and height",
                          .across_label = "width, px",
                          .up_label = "height, px"};
    uint32_t *count = xcalloc(CELLS * CELLS, sizeof(*count)), most = 1;
    struct buf tip = BUF_INIT;

    /* the few that are much larger than all others lie in the last cells */
    svg_axis(&p.across, 0, quantity_at(&s->q[STATS_WIDTH], 0.995), false);
    svg_axis(&p.up, 0, quantity_at(&s->q[STATS_HEIGHT], 0.995), false);
    for (uint32_t i = 0; i < t->n; i++) {
        uint32_t *c = &count[cell_of(&p.up, t->height[i]) * CELLS +
                             cell_of(&p.across, t->width[i])];

        if (++*c > most)
            most = *c;
    }
    svg_panel(b, &p);
    for (int i = 0; i < CELLS * CELLS; i++) {
        double dx = p.across.hi / CELLS, dy = p.up.hi / CELLS;
        int row = i / CELLS;
        double x = i % CELLS * dx, y = row * dy;

        if (!count[i])
            continue;
        buf_reset(&tip);
        buf_addf(&tip, "%.0f to %.0f x %.0f to %.0f: %lu images", x, x + dx, y,
                 y + dy, (unsigned long)count[i]);
        svg_cell(b, &p, &(struct svg_box){x, y, x + dx, y + dy},
                 0.15 + 0.85 * log(count[i]) / log(most > 1 ? most : 2),
                 tip.data);
    }
    buf_release(&tip);
    free(count);
}

void stats_svg(const struct stats *s, struct buf *b)
{
    const struct shard_set *t = s->set;
    bool boxes = s->q[STATS_BOX].n > 0;
    struct buf head = BUF_INIT;

    buf_addf(&head, "%s, %s: %lu images, %lu classes", t->name, t->split,
             (unsigned long)t->n, (unsigned long)t->n_classes);
    svg_begin(b, WIDTH, boxes ? HEIGHT + 2 * BELOW : HEIGHT, head.data);
    svg_text(b, LEFT, 36, SVG_START, SVG_HEAD, head.data);
    draw_classes(s, b);
    draw_sides(s, b);
    draw_quantity(b, s, STATS_ASPECT, LEFT, DOWN);
    draw_quantity(b, s, STATS_BYTES, RIGHT, DOWN);
    if (boxes) {
        draw_quantity(b, s, STATS_OBJECTS, LEFT, DOWN + BELOW);
        draw_quantity(b, s, STATS_BOX, RIGHT, DOWN + BELOW);
        draw_quantity(b, s, STATS_BOX_SHARE, LEFT, DOWN + 2 * BELOW);
        draw_quantity(b, s, STATS_BOX_ASPECT, RIGHT, DOWN + 2 * BELOW);
    }
    svg_end(b);
    buf_release(&head);
}
