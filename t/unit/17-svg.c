/* Axes, places and texts of pictures. */
#include "util/svg.h"

#include "lib/tap.h"

#include <math.h>
#include <stdio.h>

static void axis(double lo, double hi, bool log, const char *want)
{
    struct svg_axis a;
    char got[80];

    svg_axis(&a, lo, hi, log);
    snprintf(got, sizeof(got), "%g %g %g %s", a.lo, a.hi, a.step,
             a.log ? "log" : "linear");
    is_str(got, want, "an axis for %g to %g", lo, hi);
}

static void axes(void)
{
    double nan = (double)NAN;

    axis(0, 7.3, false, "0 8 1 linear");
    axis(0, 1281167, false, "0 1.4e+06 200000 linear");
    axis(3, 3, false, "3 3.3 0.05 linear");
    axis(0, 0, false, "0 1 0.2 linear");
    axis(1, -1, false, "-1 1 0.5 linear");
    axis(nan, 2, false, "0 1 0.2 linear");
    axis(120, 99000, true, "100 100000 10 log");
    axis(10, 10, true, "10 100 10 log");
    axis(0, 10, true, "0 10 2 linear");
}

static void number(double v, const char *want)
{
    struct buf b = BUF_INIT;

    svg_number(&b, v);
    is_str(b.data, want, "%g as people write it", v);
    buf_release(&b);
}

static void text(const char *t, const char *want)
{
    struct buf b = BUF_INIT;

    svg_text(&b, 1, 2, SVG_START, SVG_PLAIN, t);
    has_str(b.data, want, "text %s", want);
    buf_release(&b);
}

int main(void)
{
    struct svg_panel p = {.x = 100, .y = 50, .w = 200, .h = 80, .title = "a<b"};
    const double x[] = {0, 5, 10, 10}, y[] = {0, 50, (double)NAN, 100};
    struct buf b = BUF_INIT;

    axes();
    number(0, "0");
    number(1500, "1500");
    number(12345, "12.35k");
    number(-3.4e6, "-3.4M");
    number(2e9, "2G");
    number(0.25, "0.25");
    text("<&>\"", ">&lt;&amp;&gt;&quot;<");
    text("\303\251\342\202\254\360\237\230\200",
         ">\303\251\342\202\254\360\237\230\200<");
    text("a\001\033b", ">a??b<");
    text("\300\200\355\240\200\377\342\202", ">????????"
                                             "<"); /* no UTF-8 */
    svg_axis(&p.across, 0, 10, false);
    svg_axis(&p.up, 1, 100, true);
    is_double(svg_x(&p, 5), 200, 1e-9, "the middle of an axis");
    is_double(svg_y(&p, 10), 90, 1e-9, "of a logarithmic one");
    is_double(svg_y(&p, 0), 130, 1e-9, "what is outside lies at the end");
    is_double(svg_x(&p, 99), 300, 1e-9, "either end");
    svg_begin(&b, 400, 200, "x & y");
    svg_panel(&b, &p);
    has_str(b.data, "<title>x &amp; y</title>", "the title of all");
    has_str(b.data, ">a&lt;b</text>", "and of a panel");
    buf_reset(&b);
    svg_line(&b, &p, x, y, 4, 1);
    has_str(b.data, "d=\"M100.0 130.0L200.0 62.0M300.0 50.0\"",
            "a line is broken where there is no number");
    has_str(b.data, "class=\"l l1\"", "its ink");
    buf_reset(&b);
    svg_bar(&b, &p, &(struct svg_box){0, 0, 5, 10}, 7, "t<p");
    has_str(b.data,
            "class=\"f1\" x=\"100.50\" y=\"90.00\" width=\"99.00\" "
            "height=\"40.00\"><title>t&lt;p</title></rect>",
            "a bar with a tip");
    buf_release(&b);
    return done_testing();
}
