#include "train/profile.h"

#include "util/fdio.h"
#include "util/json.h"

#include <stdlib.h>
#include <string.h>

/* Rows of a rank in the picture. */
enum row {
    ROW_PHASES,
    ROW_ENGINE
};

int profile_parse(const char *text, struct profile_span *s)
{
    const char *at = text;
    char *end;

    s->first = s->last = strtoll(at, &end, 10);
    if (end != at && *end == ':') {
        at = end + 1;
        s->last = strtoll(at, &end, 10);
    }
    if (end == at || *end || s->first < 1 || s->last < s->first)
        return err_set(ERR_USAGE,
                       "\"%s\": not steps: FIRST:LAST is meant, from 1", text);
    return 0;
}

/* ---- events */

static void add(struct profile *p, json_t *event)
{
    buf_addstr(&p->out, p->out.len ? ",\n" : "[\n");
    json_canonical(&p->out, event);
    json_decref(event);
}

static json_t *event_new(const struct profile *p, const char *kind,
                         const char *name, enum row row)
{
    json_t *j = json_object();

    json_object_set_new(j, "ph", json_string(kind));
    json_object_set_new(j, "name", json_string(name));
    json_object_set_new(j, "pid", json_integer(p->rank));
    json_object_set_new(j, "tid", json_integer(row));
    return j;
}

/* Names of the rank and of its rows. */
static void add_name(struct profile *p, const char *what, enum row row,
                     const char *name)
{
    json_t *j = event_new(p, "M", what, row), *args = json_object();

    json_object_set_new(args, "name", json_string(name));
    json_object_set_new(j, "args", args);
    add(p, j);
}

static void add_span(struct profile *p, enum row row, const char *name,
                     const char *detail, double start, double end)
{
    json_t *j = event_new(p, "X", name, row), *args;

    json_add_real(j, "ts", start * 1e6);
    json_add_real(j, "dur", (end - start) * 1e6);
    if (*detail) {
        args = json_object();
        json_object_set_new(args, "detail", json_string(detail));
        json_object_set_new(j, "args", args);
    }
    add(p, j);
}

static void watch(void *arg, const char *call, const char *detail, double start,
                  double end)
{
    add_span(arg, ROW_ENGINE, call, detail + (*detail == ' '), start, end);
}

void profile_phase(struct profile *p, const char *name, double start)
{
    if (p && p->on)
        add_span(p, ROW_PHASES, name, "", start, clock_s());
}

/* ---- the steps */

void profile_open(struct profile *p, struct profile_span span, const char *path,
                  int rank, struct engine *e)
{
    memset(p, 0, sizeof *p);
    p->span = span;
    p->rank = rank;
    p->e = e;
    p->path = xstrdup(path);
}

void profile_begin(struct profile *p, int64_t step)
{
    char *name;

    if (p->on || step < p->span.first || step > p->span.last)
        return;
    p->on = true;
    name = xstrfmt("rank %d", p->rank);
    add_name(p, "process_name", ROW_PHASES, name);
    add_name(p, "thread_name", ROW_PHASES, "step");
    add_name(p, "thread_name", ROW_ENGINE, engine_name(p->e));
    free(name);
    engine_watch(p->e, watch, p);
}

static int finish(struct profile *p)
{
    int r;

    if (!p->on)
        return 0;
    engine_watch(p->e, NULL, NULL);
    p->on = false;
    buf_addstr(&p->out, "\n]\n");
    r = atomic_write(p->path, p->out.data, p->out.len);
    buf_reset(&p->out);
    return r;
}

int profile_end(struct profile *p, int64_t step)
{
    return step >= p->span.last ? finish(p) : 0;
}

int profile_close(struct profile *p)
{
    int r = finish(p);

    buf_release(&p->out);
    free(p->path);
    memset(p, 0, sizeof *p);
    return r;
}
