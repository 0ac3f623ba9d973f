/* What an engine does beside its queue: copies to and from memory of the host that
 * it knows, and sums over ranks. */
#include "engine/engine_private.h"

/* ---- copies */

static int check_beside(const struct engine *e, const struct engine_call *c,
                        const char *what)
{
    if (!c->ops->fetch)
        return err_set(ERR_INTERNAL, "%s: %s: its memory is the host's",
                       engine_name(e), what);
    return 0;
}

int engine_host_alloc(struct engine *e, size_t bytes, void **p)
{
    struct engine_call c = engine_begin(e);

    *p = NULL;
    if (check_beside(e, &c, "host_alloc") < 0)
        return -1;
    return engine_end(e, &c, "host_alloc", bytes,
                      c.ops->host_alloc(c.dev, bytes, p));
}

void engine_host_free(struct engine *e, void *p)
{
    struct engine_call c = engine_begin(e);

    if (p)
        c.ops->host_free(c.dev, p);
}

int engine_host_register(struct engine *e, void *p, size_t bytes)
{
    struct engine_call c = engine_begin(e);

    if (check_beside(e, &c, "host_register") < 0)
        return -1;
    return engine_end(e, &c, "host_register", bytes,
                      c.ops->host_register(c.dev, p, bytes));
}

void engine_host_unregister(struct engine *e, void *p)
{
    struct engine_call c = engine_begin(e);

    if (p)
        c.ops->host_unregister(c.dev, p);
}

int engine_fetch(struct engine *e, void *host, const void *src, size_t n,
                 int mark)
{
    struct engine_call c = engine_begin(e);

    if (check_beside(e, &c, "fetch") < 0 || engine_check_mark(e, mark) < 0)
        return -1;
    return engine_end(e, &c, "fetch", n,
                      c.ops->fetch(c.dev, host, src, n, mark));
}

int engine_send(struct engine *e, void *dst, const void *host, size_t n,
                int mark)
{
    struct engine_call c = engine_begin(e);

    if (check_beside(e, &c, "send") < 0 || engine_check_mark(e, mark) < 0)
        return -1;
    return engine_end(e, &c, "send", n, c.ops->send(c.dev, dst, host, n, mark));
}

int engine_after(struct engine *e, int mark)
{
    struct engine_call c = engine_begin(e);

    if (check_beside(e, &c, "after") < 0 || engine_check_mark(e, mark) < 0)
        return -1;
    return engine_end(e, &c, "after", (size_t)mark, c.ops->after(c.dev, mark));
}

/* ---- teams */

int engine_team_version(struct engine *e)
{
    struct engine_call c = engine_begin(e);

    if (!c.ops->team_version)
        return err_set(ERR_UNAVAILABLE, "engine %s brings no collectives",
                       engine_name(e));
    return engine_end(e, &c, "ranks", 0, c.ops->team_version(c.dev));
}

int engine_team_id(struct engine *e, void *id)
{
    struct engine_call c = engine_begin(e);

    return engine_end(e, &c, "team_id", 0, c.ops->team_id(c.dev, id));
}

int engine_team_join(struct engine *e, const struct engine_team *t)
{
    struct engine_call c = engine_begin(e);

    return engine_end(e, &c, "team_join", (size_t)t->world,
                      c.ops->team_join(c.dev, t));
}

int engine_team_start(struct engine *e, enum team_op op, float *p, int64_t n,
                      const int64_t *end)
{
    struct engine_call c = engine_begin(e);

    return engine_end(e, &c, "team_start", (size_t)n * sizeof *p,
                      c.ops->team_start(c.dev, op, p, n, end));
}

int engine_team_wait(struct engine *e)
{
    struct engine_call c = engine_begin(e);

    return engine_end(e, &c, "team_wait", 0, c.ops->team_wait(c.dev));
}

void engine_team_leave(struct engine *e)
{
    struct engine_call c = engine_begin(e);

    c.ops->team_leave(c.dev);
}
