#include "util/progress.h"

#include "util/buf.h"
#include "util/fdio.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BAR 24              /* characters of the bar */
#define COLUMNS 80          /* of a terminal that does not say */
#define LONG (100 * 3600LL) /* seconds that are shown as hours only */

void progress_begin(struct progress *p, const char *unit, int64_t total,
                    double gap, bool wanted)
{
    *p = (struct progress){.unit = unit, .total = total, .gap = gap};
    p->terminal = wanted && verbosity >= 0 && isatty(STDERR_FILENO);
}

double progress_rate(const struct progress *p)
{
    int64_t last = p->n - 1;
    int64_t first = p->n > PROGRESS_POINTS ? p->n - PROGRESS_POINTS : 0;
    double s;

    if (p->n < 2)
        return 0;
    last %= PROGRESS_POINTS;
    first %= PROGRESS_POINTS;
    s = p->at[last] - p->at[first];
    return s > 0 ? (double)(p->done[last] - p->done[first]) / s : 0;
}

static void add_time(struct buf *b, double seconds)
{
    long long s = (long long)seconds;

    if (s >= LONG)
        buf_addf(b, "%lld h", s / 3600);
    else if (s >= 3600)
        buf_addf(b, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
    else
        buf_addf(b, "%lld:%02lld", s / 60, s % 60);
}

static void add_bar(struct buf *b, int64_t done, int64_t total)
{
    double part = (double)done / (double)total;
    int full = (int)(part * BAR);

    if (full > BAR)
        full = BAR;
    buf_addch(b, '[');
    buf_addfill(b, '#', (size_t)full);
    buf_addfill(b, '.', (size_t)(BAR - full));
    buf_addf(b, "] %3.0f%%  ", part * 100);
}

static void draw(struct progress *p, int64_t done, const char *text)
{
    struct buf b = BUF_INIT;
    struct winsize size = {0};
    double rate = progress_rate(p);
    size_t columns = COLUMNS;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col)
        columns = size.ws_col;
    if (text)
        buf_addf(&b, "%s  ", text);
    else if (p->total > 0)
        add_bar(&b, done, p->total);
    if (!text)
        buf_addf(&b, "%lld", (long long)done);
    if (!text && p->total > 0)
        buf_addf(&b, "/%lld", (long long)p->total);
    if (rate > 0)
        buf_addf(&b, "%s%.1f %s/s", text ? "" : "  ", rate, p->unit);
    if (p->total > 0 && rate > 0) {
        buf_addstr(&b, "  eta ");
        add_time(&b, (double)(p->total - done) / rate);
    }
    /* a line that wraps could not be taken back */
    if (b.len >= columns)
        b.data[columns - 1] = 0;
    fprintf(stderr, "\r\033[K%s", b.data);
    p->shown = true;
    buf_release(&b);
}

void progress_step(struct progress *p, int64_t done, const char *fmt, ...)
{
    double now = clock_s();
    struct buf text = BUF_INIT;
    va_list ap;

    if (p->n && now - p->at[(p->n - 1) % PROGRESS_POINTS] < p->gap)
        return;
    p->at[p->n % PROGRESS_POINTS] = now;
    p->done[p->n % PROGRESS_POINTS] = done;
    p->n++;
    if (!p->terminal)
        return;
    va_start(ap, fmt);
    if (fmt)
        buf_vaddf(&text, fmt, ap);
    va_end(ap);
    draw(p, done, fmt ? text.data : NULL);
    buf_release(&text);
}

void progress_clear(struct progress *p)
{
    if (p->shown)
        fputs("\r\033[K", stderr);
    p->shown = false;
}
