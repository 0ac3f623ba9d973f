#include "util/svg.h"

#include <math.h>
#include <string.h>

#define TICK 4 /* pixels */

/* Light and dark: text, help lines, and inks of equal weight in both. */
static const char style[] =
    "<style>\n"
    "svg{font:12px system-ui,-apple-system,\"Segoe UI\",sans-serif}\n"
    ".bg{fill:#fff}.t{fill:#24292f}.h{font-size:14px;font-weight:600}\n"
    ".s{font-size:11px;fill:#59636e}.g{stroke:#d8dee4}.a{stroke:#818b98}\n"
    ".g,.a,.m{stroke-width:1;fill:none}.m{stroke:#59636e;stroke-dasharray:4 "
    "3}\n"
    ".l{stroke-width:1.75;fill:none;stroke-linejoin:round}\n"
    ".f0{fill:#2f6fc4}.f1{fill:#b85410}.f2{fill:#23804f}\n"
    ".f3{fill:#7a4cb3}.f4{fill:#b3304a}.f5{fill:#59636e}\n"
    ".l0{stroke:#2f6fc4}.l1{stroke:#b85410}.l2{stroke:#23804f}\n"
    ".l3{stroke:#7a4cb3}.l4{stroke:#b3304a}.l5{stroke:#59636e}\n"
    "@media (prefers-color-scheme:dark){\n"
    ".bg{fill:#16191d}.t{fill:#e6eaef}.s{fill:#9aa4af}\n"
    ".g{stroke:#30363d}.a{stroke:#6e7781}.m{stroke:#9aa4af}\n"
    ".f0{fill:#6ea8f2}.f1{fill:#f0985c}.f2{fill:#5cc28e}\n"
    ".f3{fill:#b690ea}.f4{fill:#f07d92}.f5{fill:#9aa4af}\n"
    ".l0{stroke:#6ea8f2}.l1{stroke:#f0985c}.l2{stroke:#5cc28e}\n"
    ".l3{stroke:#b690ea}.l4{stroke:#f07d92}.l5{stroke:#9aa4af}}\n"
    "</style>\n";

/* ---- text */

/* Bytes of the UTF-8 character at s, 0 if it is none that XML may hold. */
static size_t character(const unsigned char *s)
{
    static const unsigned long least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = s[0] < 0x80             ? 1
               : (s[0] & 0xe0) == 0xc0 ? 2
               : (s[0] & 0xf0) == 0xe0 ? 3
               : (s[0] & 0xf8) == 0xf0 ? 4
                                       : 0;
    unsigned long c = n == 1 ? s[0] : n ? s[0] & (0x7fu >> n) : 0;

    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    if (!n || c < 0x20 || c < least[n] || c > 0x10ffff ||
        (c >= 0xd800 && c < 0xe000) || c == 0xfffe || c == 0xffff)
        return 0;
    return n;
}

static void add_text(struct buf *b, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;

    while (*s) {
        size_t n = character(s);

        if (*s == '&')
            buf_addstr(b, "&amp;");
        else if (*s == '<')
            buf_addstr(b, "&lt;");
        else if (*s == '>')
            buf_addstr(b, "&gt;");
        else if (*s == '"')
            buf_addstr(b, "&quot;");
        else if (n)
            buf_add(b, s, n);
        else
            buf_addch(b, '?');
        s += n ? n : 1;
    }
}

void svg_number(struct buf *b, double v)
{
    static const struct {
        double unit;
        const char *name;
    } big[] = {{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e4, "k"}};

    for (size_t i = 0; i < sizeof(big) / sizeof(*big); i++)
        if (fabs(v) >= big[i].unit) {
            buf_addf(b, "%.4g%s", v / (i == 3 ? 1e3 : big[i].unit),
                     big[i].name);
            return;
        }
    buf_addf(b, "%.4g", v);
}

void svg_text(struct buf *b, double x, double y, enum svg_at at,
              enum svg_style style_of, const char *text)
{
    static const char *const anchor[] = {"start", "middle", "end"};
    static const char *const class[] = {"t", "t h", "s"};

    buf_addf(b, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\"", class[style_of], x,
             y);
    if (at != SVG_START)
        buf_addf(b, " text-anchor=\"%s\"", anchor[at]);
    buf_addch(b, '>');
    add_text(b, text);
    buf_addstr(b, "</text>\n");
}

static void number_at(struct buf *b, double x, double y, enum svg_at at,
                      double v)
{
    struct buf t = BUF_INIT;

    svg_number(&t, v);
    svg_text(b, x, y, at, SVG_SMALL, t.data);
    buf_release(&t);
}

void svg_begin(struct buf *b, double w, double h, const char *title)
{
    buf_addf(b,
             "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" "
             "height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" role=\"img\">\n<title>",
             w, h, w, h);
    add_text(b, title);
    buf_addf(
        b, "</title>\n%s<rect class=\"bg\" width=\"%.0f\" height=\"%.0f\"/>\n",
        style, w, h);
}

void svg_end(struct buf *b)
{
    buf_addstr(b, "</svg>\n");
}

/* ---- axes */

/* 1, 2 or 5 times a power of ten, so that about five fit. */
static double nice_step(double range)
{
    double step = pow(10, floor(log10(range / 5))), n = range / 5 / step;

    return step * (n < 1.5 ? 1 : n < 3.5 ? 2 : n < 7.5 ? 5 : 10);
}

void svg_axis(struct svg_axis *a, double lo, double hi, bool log)
{
    double t;

    if (!isfinite(lo) || !isfinite(hi))
        lo = log ? 1 : 0, hi = log ? 10 : 1;
    if (lo > hi)
        t = lo, lo = hi, hi = t;
    a->log = log && lo > 0;
    if (a->log) {
        a->lo = pow(10, floor(log10(lo) + 1e-9));
        a->hi = pow(10, ceil(log10(hi) - 1e-9));
        if (a->hi <= a->lo)
            a->hi = a->lo * 10;
        a->step = 10;
        return;
    }
    if (hi - lo < 1e-9 * (fabs(hi) + fabs(lo)) || hi == lo)
        hi = lo + (fabs(lo) > 0 ? fabs(lo) * 0.1 : 1);
    a->step = nice_step(hi - lo);
    a->lo = floor(lo / a->step + 1e-9) * a->step;
    a->hi = ceil(hi / a->step - 1e-9) * a->step;
}

/* 0..1 along an axis; a value outside is taken to its end. */
static double part_of(const struct svg_axis *a, double v)
{
    double part = a->log ? (v > 0 ? log(v / a->lo) / log(a->hi / a->lo) : 0)
                         : (v - a->lo) / (a->hi - a->lo);

    return part < 0 ? 0 : part > 1 ? 1 : part;
}

double svg_x(const struct svg_panel *p, double v)
{
    return p->x + p->w * part_of(&p->across, v);
}

double svg_y(const struct svg_panel *p, double v)
{
    return p->y + p->h * (1 - part_of(&p->up, v));
}

/* The i-th tick; false behind the last, or where there are none. */
static bool tick(const struct svg_axis *a, int i, double *v)
{
    *v = a->log ? a->lo * pow(10, i) : a->lo + i * a->step;
    /* what ought to be 0 is no 1e-17 */
    if (!a->log && fabs(*v) < a->step * 1e-6)
        *v = 0;
    if (a->step <= 0)
        return false;
    return *v <= (a->log ? a->hi * 1.001 : a->hi + a->step * 1e-3);
}

static void line(struct buf *b, const char *class, const double at[4])
{
    buf_addf(b, "<path class=\"%s\" d=\"M%.1f %.1fL%.1f %.1f\"/>\n", class,
             at[0], at[1], at[2], at[3]);
}

static void ticks(struct buf *b, const struct svg_panel *p)
{
    double v, bottom = p->y + p->h;
    int i;

    for (i = 0; tick(&p->up, i, &v); i++) {
        double y = svg_y(p, v);

        line(b, "g", (double[]){p->x, y, p->x + p->w, y});
        number_at(b, p->x - TICK - 2, y + 4, SVG_END, v);
    }
    for (i = 0; tick(&p->across, i, &v); i++) {
        double x = svg_x(p, v);

        line(b, "a", (double[]){x, bottom, x, bottom + TICK});
        number_at(b, x, bottom + TICK + 12, SVG_MIDDLE, v);
    }
}

void svg_panel(struct buf *b, const struct svg_panel *p)
{
    double bottom = p->y + p->h;

    ticks(b, p);
    line(b, "a", (double[]){p->x, bottom, p->x + p->w, bottom});
    if (p->title)
        svg_text(b, p->x, p->y - 12, SVG_START, SVG_HEAD, p->title);
    if (p->up_label)
        svg_text(b, p->x + p->w, p->y - 12, SVG_END, SVG_SMALL, p->up_label);
    if (p->across_label)
        svg_text(b, p->x + p->w / 2, bottom + TICK + 28, SVG_MIDDLE, SVG_SMALL,
                 p->across_label);
}

/* ---- data */

static void rect(struct buf *b, const double at[4], const char *more,
                 const char *tip)
{
    buf_addf(b, "<rect %s x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\"",
             more, at[0], at[1], at[2], at[3]);
    if (!tip) {
        buf_addstr(b, "/>\n");
        return;
    }
    buf_addstr(b, "><title>");
    add_text(b, tip);
    buf_addstr(b, "</title></rect>\n");
}

static int ink_of(int ink)
{
    return (ink % SVG_INKS + SVG_INKS) % SVG_INKS;
}

void svg_bar(struct buf *b, const struct svg_panel *p, const struct svg_box *at,
             int ink, const char *tip)
{
    double left = svg_x(p, at->x0), right = svg_x(p, at->x1);
    double top = svg_y(p, at->y1), gap = right - left > 4 ? 1 : 0;
    char class[16] = "class=\"f0\"";

    if (!(at->y1 > p->up.lo))
        return;
    class[8] = (char)('0' + ink_of(ink));
    rect(b,
         (double[]){left + gap / 2, top, right - left - gap, p->y + p->h - top},
         class, tip);
}

void svg_cell(struct buf *b, const struct svg_panel *p,
              const struct svg_box *at, double strength, const char *tip)
{
    double left = svg_x(p, at->x0), top = svg_y(p, at->y1);
    struct buf more = BUF_INIT;

    if (strength <= 0)
        return;
    buf_addf(&more, "class=\"f0\" fill-opacity=\"%.3f\"",
             strength > 1 ? 1 : strength);
    rect(b,
         (double[]){left, top, svg_x(p, at->x1) - left, svg_y(p, at->y0) - top},
         more.data, tip);
    buf_release(&more);
}

void svg_line(struct buf *b, const struct svg_panel *p, const double *x,
              const double *y, size_t n, int ink)
{
    bool down = false;

    buf_addf(b, "<path class=\"l l%d\" d=\"", ink_of(ink));
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i]) || !isfinite(y[i])) {
            down = false;
            continue;
        }
        buf_addf(b, "%c%.1f %.1f", down ? 'L' : 'M', svg_x(p, x[i]),
                 svg_y(p, y[i]));
        down = true;
    }
    buf_addstr(b, "\"/>\n");
}

void svg_mark(struct buf *b, const struct svg_panel *p, double x,
              const char *text)
{
    double at = svg_x(p, x);

    line(b, "m", (double[]){at, p->y, at, p->y + p->h});
    if (text)
        svg_text(b, at + 3, p->y + 10, SVG_START, SVG_SMALL, text);
}

void svg_name(struct buf *b, const struct svg_panel *p, double x,
              const char *text)
{
    double at = svg_x(p, x) + 4, under = p->y + p->h + 14;

    buf_addf(b,
             "<text class=\"s\" text-anchor=\"end\" transform=\"translate(%.1f "
             "%.1f) rotate(-35)\">",
             at, under);
    add_text(b, text);
    buf_addstr(b, "</text>\n");
}
