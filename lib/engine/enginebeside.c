/* What an engine does beside its queue: copies to and from memory of the host that
 * it knows, and sums over ranks. */
#include "engine/engine_private.h"

/* ---- copies */

static int check_beside(const struct engine *e, const char *what)
{
    if (!e->b.ops->fetch)
        return err_set(ERR_INTERNAL, "%s: %s: its memory is the host's",
                       e->name, what);
    return 0;
}

int engine_host_alloc(struct engine *e, size_t bytes, void **p)
{
    double start = engine_begin(e);

    *p = NULL;
    if (check_beside(e, "host_alloc") < 0)
        return -1;
    return engine_done(e, start, "host_alloc", bytes,
                       e->b.ops->host_alloc(e->dev, bytes, p));
}

void engine_host_free(struct engine *e, void *p)
{
    if (p)
        e->b.ops->host_free(e->dev, p);
}

int engine_host_register(struct engine *e, void *p, size_t bytes)
{
    double start = engine_begin(e);

    if (check_beside(e, "host_register") < 0)
        return -1;
    return engine_done(e, start, "host_register", bytes,
                       e->b.ops->host_register(e->dev, p, bytes));
}

void engine_host_unregister(struct engine *e, void *p)
{
    if (p)
        e->b.ops->host_unregister(e->dev, p);
}

int engine_fetch(struct engine *e, void *host, const void *src, size_t n,
                 int mark)
{
    double start = engine_begin(e);

    if (check_beside(e, "fetch") < 0 || engine_check_mark(e, mark) < 0)
        return -1;
    return engine_done(e, start, "fetch", n,
                       e->b.ops->fetch(e->dev, host, src, n, mark));
}

int engine_send(struct engine *e, void *dst, const void *host, size_t n,
                int mark)
{
    double start = engine_begin(e);

    if (check_beside(e, "send") < 0 || engine_check_mark(e, mark) < 0)
        return -1;
    return engine_done(e, start, "send", n,
                       e->b.ops->send(e->dev, dst, host, n, mark));
}

int engine_after(struct engine *e, int mark)
{
    double start = engine_begin(e);

    if (check_beside(e, "after") < 0 || engine_check_mark(e, mark) < 0)
        return -1;
    return engine_done(e, start, "after", (size_t)mark,
                       e->b.ops->after(e->dev, mark));
}

/* ---- teams */

int engine_team_version(struct engine *e)
{
    double start = engine_begin(e);

    if (!e->b.ops->team_version)
        return err_set(ERR_UNAVAILABLE, "engine %s brings no collectives",
                       e->name);
    return engine_done(e, start, "ranks", 0, e->b.ops->team_version(e->dev));
}

int engine_team_id(struct engine *e, void *id)
{
    double start = engine_begin(e);

    return engine_done(e, start, "team_id", 0, e->b.ops->team_id(e->dev, id));
}

int engine_team_join(struct engine *e, const struct engine_team *t)
{
    double start = engine_begin(e);

    return engine_done(e, start, "team_join", (size_t)t->world,
                       e->b.ops->team_join(e->dev, t));
}

int engine_team_start(struct engine *e, enum team_op op, float *p, int64_t n,
                      const int64_t *end)
{
    double start = engine_begin(e);

    return engine_done(e, start, "team_start", (size_t)n * sizeof *p,
                       e->b.ops->team_start(e->dev, op, p, n, end));
}

int engine_team_wait(struct engine *e)
{
    double start = engine_begin(e);

    return engine_done(e, start, "team_wait", 0, e->b.ops->team_wait(e->dev));
}

void engine_team_leave(struct engine *e)
{
    e->b.ops->team_leave(e->dev);
}
