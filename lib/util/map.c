#include "util/map.h"

#include "util/fnv.h"

#include <stdlib.h>
#include <string.h>

struct map_slot {
    char *key; /* NULL: empty */
    uint64_t hash;
    int64_t value;
};

/* With the high half folded in for the low bits that choose a slot. */
static uint64_t hash_of(const char *key)
{
    uint64_t h = FNV_EMPTY;

    for (; *key; key++)
        h = fnv_add(h, (unsigned char)*key);
    return h ^ h >> 32;
}

void map_release(struct map *m)
{
    size_t i;

    for (i = 0; i < m->cap; i++)
        free(m->slot[i].key);
    free(m->slot);
    m->slot = NULL;
    m->n = m->cap = 0;
}

/* The slot with the key, or the empty one where it belongs. */
static struct map_slot *place(struct map_slot *slot, size_t cap,
                              const char *key, uint64_t h)
{
    size_t i = h & (cap - 1);

    while (slot[i].key && (slot[i].hash != h || strcmp(slot[i].key, key) != 0))
        i = (i + 1) & (cap - 1);
    return &slot[i];
}

bool map_get(const struct map *m, const char *key, int64_t *value)
{
    struct map_slot *s;

    if (m->n == 0)
        return false;
    s = place(m->slot, m->cap, key, hash_of(key));
    if (!s->key)
        return false;
    if (value)
        *value = s->value;
    return true;
}

static void grow(struct map *m)
{
    size_t cap = m->cap ? 2 * m->cap : 16, i;
    struct map_slot *slot = xcalloc(cap, sizeof(*slot));

    for (i = 0; i < m->cap; i++) {
        if (m->slot[i].key)
            *place(slot, cap, m->slot[i].key, m->slot[i].hash) = m->slot[i];
    }
    free(m->slot);
    m->slot = slot;
    m->cap = cap;
}

bool map_add(struct map *m, const char *key, int64_t value)
{
    uint64_t h = hash_of(key);
    struct map_slot *s;

    if (4 * (m->n + 1) > 3 * m->cap)
        grow(m);
    s = place(m->slot, m->cap, key, h);
    if (s->key)
        return false;
    s->key = xstrdup(key);
    s->hash = h;
    s->value = value;
    m->n++;
    return true;
}
