/* accel-worker fit: the largest micro-batch that memory allows. */
#include "accel-worker.h"

#include "io/recipe.h"
#include "train/fit.h"
#include "util/memory.h"

#include <inttypes.h>
#include <stdio.h>

/* Of what is free: batches that wait, the program itself, other programs. */
#define SHARE 0.9

static struct {
    int64_t world, here, room;
} o;

struct opt fit_opts[] = {WORKER_WORLD_ROW(&o.world, "number of ranks"),
                         {.name = "here",
                          .type = OPT_INT,
                          .addr = &o.here,
                          .def = "1",
                          .min = 1,
                          .max = 65536,
                          .arg = "L",
                          .help = "ranks that share the memory of this host"},
                         {.name = "room",
                          .type = OPT_INT,
                          .addr = &o.room,
                          .def = "0",
                          .max = 1e9,
                          .arg = "MIB",
                          .help = "memory of a rank; 0: nine tenths of what is "
                                  "free, shared by the ranks"},
                         WORKER_RECOMPUTE_ROW,
                         WORKER_ENGINE_ROWS,
                         OPT_END};

static int find_room(const struct worker *w, size_t *room, const char **bound)
{
    *bound = "--room";
    *room = (size_t)o.room << 20;
    if (*room)
        return 0;
    if (!engine_is_host(w->e))
        return err_set(ERR_UNAVAILABLE,
                       "engine %s: does not say what memory is free: --room "
                       "says it",
                       engine_name(w->e));
    *room = (size_t)((double)memory_room(bound) * SHARE / (double)o.here);
    return 0;
}

static int fit(struct worker *w)
{
    struct plan_key k = {.h = recipe.size,
                         .w = recipe.size,
                         .compute = worker_dtype(),
                         .train = true};
    const struct params *ps = &w->m.params;
    int64_t each = recipe.batch / o.world;
    size_t average = 0;
    const char *bound;
    size_t room;
    struct fit f;

    if (find_room(w, &room, &bound) < 0)
        return -1;
    /* the average of the weights is no part of a plan */
    if (recipe.ema)
        average = (size_t)(ps->total + ps->buffer_total) * dtype_size(ps->pt);
    room = room > average ? room - average : 0;
    if (fit_micro(&w->m.graph, w->e, k, each, room, &f) < 0)
        return -1;
    if (f.bytes > room)
        return err_set(ERR_SYSTEM,
                       "memory: one image at a time takes %zu MiB of the %zu "
                       "of a rank (%s): a smaller INPUT.SIZE, MODEL.NAME or "
                       "SOLVER.PRECISION takes less",
                       f.bytes >> 20, room >> 20, bound);
    note("micro %" PRId64 " x accum %" PRId64 ": %zu MiB of %zu (%s)", f.micro,
         f.accum, f.bytes >> 20, room >> 20, bound);
    printf("%" PRId64 "\n", f.micro);
    return 0;
}

int worker_fit(const struct command *c, int argc, char **argv)
{
    struct worker w = {.e = NULL};
    struct recipe_batch b;
    int r;

    (void)c;
    (void)argc;
    (void)argv;
    if (recipe.micro || recipe.accum)
        return err_set(ERR_USAGE, "SOLVER.MICRO, SOLVER.ACCUM: given: there is "
                                  "nothing to choose");
    if (recipe_check(&recipe) < 0 ||
        recipe_divide(&recipe, recipe.batch, o.world, &b) < 0)
        return -1;
    r = worker_begin_alone(&w, true, TUNE_KNOWN);
    if (r == 0)
        r = fit(&w);
    worker_end(&w);
    return r;
}
