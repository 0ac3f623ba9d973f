#include "ring/ranks.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MOST 65536

/* In the order in which they are tried. */
static const struct family {
    const char *name, *rank, *world, *local_rank, *local_world;
} families[] = {
    {"accel-launch", "ACCEL_RANK", "ACCEL_WORLD_SIZE", "ACCEL_LOCAL_RANK",
     "ACCEL_LOCAL_WORLD_SIZE"},
    {"RANK and WORLD_SIZE", "RANK", "WORLD_SIZE", "LOCAL_RANK",
     "LOCAL_WORLD_SIZE"},
};

static bool is_set(const char *name)
{
    const char *v = getenv(name);

    return v && *v;
}

/* Variable name as a number below limit; other when it is not set. */
static int number(const char *name, int other, int limit, int *value)
{
    const char *text = getenv(name);
    char *end;
    long v;

    *value = other;
    if (!text || !*text)
        return 0;
    v = strtol(text, &end, 10);
    if (*end || v < 0 || v >= limit)
        return err_set(ERR_CONFIG,
                       "environment: %s=\"%.40s\": not a number below %d", name,
                       text, limit);
    *value = (int)v;
    return 0;
}

static int take_family(struct ranks *r, const struct family *f)
{
    if (number(f->world, 0, MOST, &r->world) < 0 ||
        number(f->rank, 0, MOST, &r->rank) < 0 ||
        number(f->local_rank, r->rank, MOST, &r->local_rank) < 0 ||
        number(f->local_world, r->world, MOST, &r->local_world) < 0)
        return -1;
    r->family = f->name;
    if (r->rank >= r->world)
        return err_set(ERR_CONFIG, "environment: %s=%d with %s=%d", f->rank,
                       r->rank, f->world, r->world);
    return 0;
}

int ranks_find(struct ranks *r, int64_t rank, int64_t world)
{
    if ((rank < 0) != (world < 0))
        return err_set(ERR_USAGE, "--rank and --world: give both or neither");
    if (rank >= 0) {
        if (world < 1 || world > MOST || rank >= world)
            return err_set(ERR_USAGE, "--rank %lld of --world %lld",
                           (long long)rank, (long long)world);
        *r = (struct ranks){(int)rank, (int)world, (int)rank, (int)world,
                            "command line"};
        return 0;
    }
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        const struct family *f = &families[i];
        if (is_set(f->rank) != is_set(f->world))
            return err_set(ERR_CONFIG, "environment: %s is set and %s is not",
                           is_set(f->rank) ? f->rank : f->world,
                           is_set(f->rank) ? f->world : f->rank);
        if (is_set(f->rank))
            return take_family(r, f);
    }
    *r = (struct ranks){0, 1, 0, 1, "one process"};
    return 0;
}
