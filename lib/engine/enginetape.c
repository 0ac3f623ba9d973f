/* Tapes: pieces of the queue that are recorded and repeated. */
#include "engine/engine_private.h"

#include <stdlib.h>

struct engine_tape {
    void *inner;
    uint64_t numbers; /* of blocks when it was recorded */
    bool stale;
    struct engine_tape *next;
};

void engine_tapes_lose(struct engine *e, uint64_t number)
{
    struct engine_tape *t;

    for (t = e->tapes; t; t = t->next)
        t->stale = t->stale || number < t->numbers;
}

bool engine_records(const struct engine *e)
{
    return e->b.ops->record && !e->no_tapes && !e->trace && !e->watch;
}

int engine_record(struct engine *e)
{
    double start = engine_begin(e);

    return engine_done(e, start, "record", 0, e->b.ops->record(e->dev));
}

int engine_recorded(struct engine *e, struct engine_tape **tape)
{
    double start = engine_begin(e);
    struct engine_tape *t;
    void *inner = NULL;

    *tape = NULL;
    if (engine_done(e, start, "recorded", 0,
                    e->b.ops->recorded(e->dev, true, &inner)) < 0)
        return -1;
    t = xcalloc(1, sizeof *t);
    t->inner = inner;
    t->numbers = e->numbers;
    t->next = e->tapes;
    e->tapes = *tape = t;
    return 0;
}

/* The error that is set stays. */
void engine_record_drop(struct engine *e)
{
    struct err_kept kept = err_keep();

    (void)!e->b.ops->recorded(e->dev, false, NULL); /* it broke before */
    err_restore(&kept);
}

int engine_replay(struct engine *e, struct engine_tape *t)
{
    double start = engine_begin(e);

    if (t->stale)
        return err_set(ERR_INTERNAL, "%s: replay: what it needs is gone",
                       e->name);
    return engine_done(e, start, "replay", 0,
                       e->b.ops->replay(e->dev, t->inner));
}

bool engine_tape_stale(const struct engine_tape *t)
{
    return t->stale;
}

void engine_tape_free(struct engine *e, struct engine_tape *t)
{
    struct engine_tape **at;

    if (!t)
        return;
    at = &e->tapes;
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    e->b.ops->tape_free(e->dev, t->inner);
    free(t);
}
