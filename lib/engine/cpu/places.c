#include "engine/cpu/places.h"

/* Pixels of which each is for itself lie in a column of the grid; a row of them
 * is taken in one piece. */
static void turn_column(struct grid *g)
{
    if (g->sw != 1 || g->ow != 1)
        return;
    g->sw = g->sh;
    g->ow = g->job[0].w = g->oh;
    g->sh = g->oh = g->job[0].h = 1;
}

bool places_init(struct places *p, const struct conv_desc *d, bool backward,
                 int group)
{
    bool flat = d->r == 1 && d->s == 1 && d->stride == 1 && d->pad == 0;

    *p = (struct places){.group = group};
    if (!grid_init(&p->grid, d, backward))
        return false;
    if (flat)
        turn_column(&p->grid);
    return true;
}

static int64_t places_of(const struct places *p, int job)
{
    return p->grid.n * p->grid.job[job].h * p->grid.job[job].w;
}

static int64_t groups_of(const struct places *p, int job)
{
    return (places_of(p, job) + p->group - 1) / p->group;
}

struct range places_range(const struct places *p, int64_t chunk)
{
    struct range r = {0, 0, 0};
    int64_t groups;

    while (chunk >= p->chunk[r.job])
        chunk -= p->chunk[r.job++];
    groups = groups_of(p, r.job);
    r.from = chunk * groups / p->chunk[r.job] * p->group;
    r.to = (chunk + 1) * groups / p->chunk[r.job] * p->group;
    r.to = least(r.to, places_of(p, r.job));
    return r;
}

void places_cut(struct places *p, int64_t n, int threads)
{
    int64_t i, first, end, even;
    int job;

    p->most = most(n / p->group, 1) * p->group;
    p->chunks = 0;
    for (job = 0; job < p->grid.jobs; job++) {
        n = (places_of(p, job) + p->most - 1) / p->most;
        even = (n + threads - 1) / threads * threads;
        if (n < 4 * (int64_t)threads && even <= groups_of(p, job))
            n = even;
        p->chunk[job] = n;
        p->chunks += n;
    }
    p->span = 0;
    for (i = 0; i < p->chunks; i++) {
        struct range r = places_range(p, i);

        places_span(p, &r, &first, &end);
        p->span = most(p->span, end - first);
    }
}

/* ---- pixels of an image of h x w: place (i, j) is at (y + step*i, x + step*j) */

struct view {
    int64_t y, x, h, w;
    int step;
};

static struct view view_of(const struct places *p, const struct range *r, int i)
{
    const struct grid *g = &p->grid;
    const struct grid_tap *t = &g->tap[places_job(p, r)->first + i];
    struct view v = {g->phase[t->phase].y + g->sub * t->y,
                     g->phase[t->phase].x + g->sub * t->x, g->sh, g->sw,
                     g->sub};

    return v;
}

/* Those of the places from..to of one row whose pixels are there. */
static void list_row(struct list *s, const struct view *v, int64_t from,
                     int64_t to, int64_t pixel, int64_t at)
{
    int64_t j = from, step = v->step;

    if (v->x < 0)
        j = most(j, (-v->x + step - 1) / step);
    to = least(to, (v->w - v->x + step - 1) / step);
    for (; j < to; j++, s->n++) {
        s->at[s->n] = (int32_t)(at + j - from);
        s->pixel[s->n] = (int32_t)(pixel + v->x + step * j);
    }
}

static void list_view(const struct places *p, const struct range *r,
                      const struct view *v, struct list *s)
{
    const struct grid_job *job = places_job(p, r);
    int64_t m, row, j, y, end;

    s->n = 0;
    for (m = r->from; m < r->to; m = end) {
        row = m / job->w;
        j = m % job->w;
        end = least(m - j + job->w, r->to);
        y = v->y + v->step * (row % job->h);
        if (y >= 0 && y < v->h)
            list_row(s, v, j, j + end - m, (row / job->h * v->h + y) * v->w,
                     m - r->from);
    }
}

void places_list(const struct places *p, const struct range *r, int i,
                 struct list *s)
{
    struct view v = view_of(p, r, i);

    list_view(p, r, &v, s);
}

void places_result(const struct places *p, const struct range *r,
                   struct list *s)
{
    const struct grid_job *job = places_job(p, r);
    struct view v = {job->y, job->x, p->grid.oh, p->grid.ow, p->grid.step};

    list_view(p, r, &v, s);
}

void places_fill(const struct places *p, struct list *s)
{
    while (s->n % p->group != 0) {
        s->at[s->n] = (int32_t)p->most;
        s->pixel[s->n] = s->pixel[s->n - 1];
        s->n++;
    }
}

void places_span(const struct places *p, const struct range *r, int64_t *first,
                 int64_t *end)
{
    const struct grid *g = &p->grid;
    const struct grid_job *job = places_job(p, r);
    int64_t from = r->from / job->w, to = (r->to - 1) / job->w;
    int64_t top = g->sh, bottom = 0;
    int i;

    if (g->sh == 1 && g->sw == job->w && job->taps == 1) { /* pixel by pixel */
        *first = r->from;
        *end = r->to;
        return;
    }
    for (i = 0; i < job->taps; i++) {
        struct view v = view_of(p, r, i);

        top = least(top, v.y + v.step * (from % job->h));
        bottom = most(bottom, v.y + v.step * (to % job->h) + 1);
    }
    *first = (from / job->h * g->sh + most(top, 0)) * g->sw;
    *end = (to / job->h * g->sh + least(bottom, g->sh)) * g->sw;
    *end = most(*first, *end);
}
