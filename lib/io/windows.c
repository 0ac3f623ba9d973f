#include "io/windows.h"

#include "io/media.h"
#include "util/work.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Samples of one window. */
struct window {
    uint32_t *sample;
    uint64_t n;
};

struct windows {
    const struct reader *r;
    bool give_up; /* what is done */
    int64_t epoch;
    int64_t begin, end; /* of the window that rows are in */
    int64_t next;       /* end of the one behind it, which was asked for */
    struct work_task *task;
    struct window want, done; /* the task's while it runs */
};

struct windows *windows_new(const struct reader *r)
{
    struct windows *w;
    uint64_t memory = media_memory();

    if (r->order.kind != ORDER_BLOCK || r->order.lanes > 1)
        return NULL;
    w = xcalloc(1, sizeof(*w));
    w->r = r;
    w->give_up = memory && r->set.bytes > memory / 2;
    w->epoch = -1;
    return w;
}

static int advise(void *arg)
{
    struct windows *w = arg;

    if (reader_files_advise(w->r->files, w->want.sample, w->want.n, true) < 0)
        return -1;
    return reader_files_advise(w->r->files, w->done.sample, w->done.n, false);
}

/* The row that reads what could not be opened says so: it is no failure here. */
static void wait_for_task(struct windows *w)
{
    if (w->task && work_join(w->task) < 0)
        note("%s", err_text());
    w->task = NULL;
}

/* The samples at positions begin .. end-1, behind those that are there. */
static void gather(const struct reader *r, struct window *w, int64_t begin,
                   int64_t end)
{
    w->sample = xreallocarray(w->sample, w->n + (uint64_t)(end - begin) + 1,
                              sizeof(*w->sample));
    for (int64_t p = begin; p < end; p++)
        w->sample[w->n++] = reader_sample(r, p);
}

void windows_enter(struct windows *w, int64_t position)
{
    const struct reader *r = w->r;
    int64_t end, n = r->order.set.n, last_begin = w->begin, last_end = w->end;
    bool first = r->order.epoch != w->epoch;

    if (position >= n) /* the tail begins at the beginning again */
        return;
    if (!first && position >= w->begin && position < w->end)
        return;
    end = order_window_end(&r->order, position);
    if (end < 0)
        return;
    wait_for_task(w);
    w->want.n = w->done.n = 0;
    if (first || position >= w->next)
        gather(r, &w->want, position, end);
    if (!first && w->give_up)
        gather(r, &w->done, last_begin, last_end);
    w->begin = position;
    w->end = end;
    w->epoch = r->order.epoch;
    w->next = end < n ? order_window_end(&r->order, end) : n;
    gather(r, &w->want, end, w->next);
    w->task = work_begin(advise, w);
}

void windows_free(struct windows *w)
{
    if (!w)
        return;
    wait_for_task(w);
    free(w->want.sample);
    free(w->done.sample);
    free(w);
}
