#include "train/metrics.h"

#include "util/buf.h"
#include "util/fdio.h"
#include "util/json.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int metrics_open(struct metrics *m, const char *path, int64_t attempt,
                 int64_t every, bool progress)
{
    memset(m, 0, sizeof *m);
    m->fd = -1;
    m->attempt = attempt;
    m->every = every;
    progress_begin(&m->progress, "img", 0, 0, progress);
    if (!path)
        return 0;
    m->path = xstrdup(path);
    m->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (m->fd < 0)
        return err_sys(ERR_CANTCREAT, "%s: open", path);
    return 0;
}

void metrics_close(struct metrics *m)
{
    metrics_clear_line(m);
    if (m->fd >= 0)
        close(m->fd);
    m->fd = -1;
    free(m->path);
    m->path = NULL;
}

void metrics_clear_line(struct metrics *m)
{
    progress_clear(&m->progress);
}

/* One object as one line in one write; takes j. */
static int put(struct metrics *m, json_t *j)
{
    struct buf b = BUF_INIT;
    int r = 0;

    if (m->fd >= 0) {
        json_canonical(&b, j);
        buf_addch(&b, '\n');
        r = fd_write(m->fd, b.data, b.len, FD_FOREVER);
        if (r < 0)
            err_wrap("%s", m->path);
        buf_release(&b);
    }
    json_decref(j);
    return r;
}

static void add_int(json_t *j, const char *key, int64_t v)
{
    json_object_set_new(j, key, json_integer(v));
}

static json_t *line(const struct metrics *m, const struct metrics_place *p,
                    const char *phase)
{
    json_t *j = json_object();

    add_int(j, "t", wall_ms());
    add_int(j, "attempt", m->attempt);
    add_int(j, "step", p->step);
    add_int(j, "samples", p->samples);
    json_add_real(j, "epoch",
                  (double)p->samples / (double)p->batch->epoch_samples);
    json_object_set_new(j, "phase", json_string(phase));
    return j;
}

double metrics_rate(const struct metrics *m)
{
    return progress_rate(&m->progress);
}

static void show(struct metrics *m, const struct metrics_place *p)
{
    const struct recipe_batch *b = p->batch;
    double images = m->images > 0 ? m->images : 1;

    m->progress.total = b->total_samples;
    progress_step(&m->progress, p->samples,
                  "epoch %.2f/%.4g  step %lld/%lld  loss %.3f  top1 %.3f",
                  (double)p->samples / (double)b->epoch_samples,
                  (double)b->total_samples / (double)b->epoch_samples,
                  (long long)p->step, (long long)b->total_steps,
                  m->loss / images, m->correct1 / images);
}

/* Where the time of the steps since the last line went, in seconds a step. */
static void add_times(const struct metrics *m, json_t *j)
{
    double n = (double)m->steps;

    add_int(j, "waits", m->waits);
    json_add_real(j, "t_data", m->data_s / n);
    json_add_real(j, "t_compute", m->compute_s / n);
    json_add_real(j, "t_comm", m->comm_s / n);
    json_add_real(j, "t_opt", m->update_s / n);
}

static int log_line(struct metrics *m, const struct metrics_place *p)
{
    json_t *j = line(m, p, "train");

    json_add_real(j, "loss", m->loss / m->images);
    json_add_real(j, "top1", m->correct1 / m->images);
    json_add_real(j, "top5", m->correct5 / m->images);
    json_add_real(j, "lr", m->lr);
    json_add_real(j, "grad_norm", m->grad_norm);
    json_add_real(j, "scale", p->loss_scale);
    add_int(j, "skipped", p->skipped);
    json_add_real(j, "img_s", metrics_rate(m));
    add_times(m, j);
    m->loss = m->images = m->correct1 = m->correct5 = 0;
    m->data_s = m->compute_s = m->comm_s = m->update_s = 0;
    m->steps = m->waits = 0;
    return put(m, j);
}

int metrics_step(struct metrics *m, const struct metrics_place *p,
                 const struct step_result *res)
{
    m->loss += res->stats.loss;
    m->images += res->stats.n;
    m->correct1 += res->stats.correct1;
    m->correct5 += res->stats.correct5;
    m->data_s += res->data_s;
    m->compute_s += res->compute_s;
    m->comm_s += res->comm_s;
    m->update_s += res->update_s;
    m->lr = res->lr;
    m->grad_norm = res->grad_norm;
    m->waits += res->waits;
    m->steps++;
    show(m, p);
    return p->step % m->every == 0 ? log_line(m, p) : 0;
}

int metrics_flush(struct metrics *m, const struct metrics_place *p)
{
    return m->steps ? log_line(m, p) : 0;
}

int metrics_event(struct metrics *m, const struct metrics_place *p,
                  const char *name, const char *detail)
{
    json_t *j = line(m, p, "event");

    json_object_set_new(j, "event", json_string(name));
    if (detail)
        json_object_set_new(j, "detail", json_string(detail));
    return put(m, j);
}
