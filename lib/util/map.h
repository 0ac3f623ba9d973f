/*
 * map.h - string to number, insertion order kept elsewhere.
 *
 * Open addressing; keys are copied. Values are 64-bit numbers, usually the
 * index of an item in an array of the caller.
 */
#ifndef UTIL_MAP_H
#define UTIL_MAP_H

#include "util/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map {
    struct map_slot *slot;
    size_t n, cap;
};
#define MAP_INIT                                                               \
    {                                                                          \
        NULL, 0, 0                                                             \
    }

void map_release(struct map *m);
/* Returns true and sets *value if the key is there. value may be NULL. */
bool map_get(const struct map *m, const char *key, int64_t *value);
/* Returns false, and changes nothing, if the key is there already. */
bool map_add(struct map *m, const char *key, int64_t value);

#endif
