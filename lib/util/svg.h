/*
 * svg.h - pictures of numbers: panels with axes, bars, lines, text.
 *
 * One file that any browser shows: no script, no font or style from elsewhere;
 * colours are chosen for light and for dark, whichever the reader's system
 * says. Text may be anything; what XML cannot hold becomes "?". Places are in
 * pixels from the top left, values in the units of a panel's axes.
 *
 *	struct svg_panel p = {.x = 60, .y = 40, .w = 400, .h = 200,
 *	                      .title = "loss", .across_label = "epoch"};
 *	svg_begin(&b, 500, 300, "a run");
 *	svg_axis(&p.across, 0, 90, false);
 *	svg_axis(&p.up, 0, 7, false);
 *	svg_panel(&b, &p);
 *	svg_line(&b, &p, epoch, loss, n, 0);
 *	svg_end(&b);			b is the file
 */
#ifndef UTIL_SVG_H
#define UTIL_SVG_H

#include "util/buf.h"

#include <stdbool.h>
#include <stddef.h>

#define SVG_INKS 6 /* colours of data, 0.. */

enum svg_at { /* which point of a text is given */
    SVG_START,
    SVG_MIDDLE,
    SVG_END
};

/* Ends are whole steps, with log powers of ten. step 0: no ticks. */
struct svg_axis {
    double lo, hi, step;
    bool log;
};

struct svg_panel {
    double x, y, w, h; /* where the data are drawn; labels lie outside */
    struct svg_axis across, up;
    const char *title, *across_label, *up_label; /* NULL: none */
};

/* The picture; title is what it is called, not drawn. */
void svg_begin(struct buf *b, double w, double h, const char *title);
void svg_end(struct buf *b);

/*
 * An axis that holds lo and hi (in any order, NaN or equal ones are widened)
 * with about five steps. log needs lo > 0.
 */
void svg_axis(struct svg_axis *a, double lo, double hi, bool log);
/* Frame, grid, ticks with numbers, title and labels. */
void svg_panel(struct buf *b, const struct svg_panel *p);
/* Where a value lies in the picture. */
double svg_x(const struct svg_panel *p, double v);
double svg_y(const struct svg_panel *p, double v);

/* Values of both axes. */
struct svg_box {
    double x0, y0, x1, y1;
};
/* A bar from x0 to x1, as high as y1; y0 says nothing. tip is shown when
 * pointed at, or NULL. */
void svg_bar(struct buf *b, const struct svg_panel *p, const struct svg_box *at,
             int ink, const char *tip);
/* A cell of a table of counts: strength 0..1 is how much colour it has. */
void svg_cell(struct buf *b, const struct svg_panel *p,
              const struct svg_box *at, double strength, const char *tip);
/* Lines through n points; where one is not finite the line is broken. */
void svg_line(struct buf *b, const struct svg_panel *p, const double *x,
              const double *y, size_t n, int ink);
/* A line that is only a help: a mark across the panel at a value. */
void svg_mark(struct buf *b, const struct svg_panel *p, double x,
              const char *text);

enum svg_style { /* of texts */
    SVG_PLAIN,
    SVG_HEAD,
    SVG_SMALL
};
void svg_text(struct buf *b, double x, double y, enum svg_at at,
              enum svg_style style, const char *text);
/* The name of what stands at a place of the axis below, slanting. */
void svg_name(struct buf *b, const struct svg_panel *p, double x,
              const char *text);
/* A number as people write it: 1500, 12k, 3.4M; appended. */
void svg_number(struct buf *b, double v);

#endif
