#include "io/slots.h"

#include "io/ctl.h"
#include "io/sealed.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096
#define ALIGN 64 /* a line of the caches, 16 elements */

void slots_init(struct slots *s, size_t room)
{
    memset(s, 0, sizeof(*s));
    s->room = room;
    s->slot = xcalloc(SLOTS_BUCKETS, sizeof(*s->slot));
}

void slots_release(struct slots *s)
{
    if (s->arena)
        munmap(s->arena, s->room);
    if (s->sums)
        munmap((void *)(uintptr_t)s->sums, s->room);
    free(s->slot);
    memset(s, 0, sizeof(*s));
}

int slots_place(struct slots *s, int64_t bucket, size_t bytes, size_t *offset)
{
    struct slot *slot = &s->slot[bucket];

    if (bytes > slot->bytes) {
        size_t left = s->room - s->used;
        size_t room =
            bytes <= left ? (bytes + ALIGN - 1) / ALIGN * ALIGN : bytes;
        if (room > left)
            return err_set(ERR_SYSTEM,
                           "bucket %" PRId64 " of %zu bytes: gradients need "
                           "more memory than the machine has",
                           bucket, bytes);
        slot->offset = s->used;
        slot->bytes = room;
        s->used += room;
    }
    *offset = slot->offset;
    return 0;
}

bool slots_allowed(void)
{
    const char *text = getenv(CTL_SLOTS_ENV);

    return !text || strcmp(text, "off") != 0;
}

int slots_offered(const struct frame *hello, struct slots_offer *o)
{
    int64_t fd, arena, sums, room;

    if (!frame_meta(hello, "slots"))
        return 0;
    if (frame_meta_int(hello, "slots", &fd) < 0 ||
        frame_meta_int(hello, "slots.arena", &arena) < 0 ||
        frame_meta_int(hello, "slots.sums", &sums) < 0 ||
        frame_meta_int(hello, "slots.room", &room) < 0)
        return -1;
    if (fd < 0 || fd > INT32_MAX || arena < 0 || sums < 0 || room < 0)
        return err_set(ERR_DATA, "hello: memory that cannot be");
    *o = (struct slots_offer){(int)fd, (uint64_t)arena, (uint64_t)sums,
                              (uint64_t)room};
    return 1;
}

static int check_offer(const struct slots_offer *o)
{
    uint64_t both = o->arena | o->sums | o->room, size;

    if (sealed_size(o->fd, &size) < 0)
        return -1;
    if (both % PAGE != 0 || o->room == 0 || o->room > size ||
        o->arena > size - o->room || o->sums > size - o->room)
        return err_set(ERR_UNAVAILABLE,
                       "descriptor %d: not the memory that was offered", o->fd);
    return 0;
}

int slots_map(struct slots *s, const struct slots_offer *o)
{
    void *arena, *sums;

    if (check_offer(o) < 0)
        return -1;
    arena = mmap(NULL, (size_t)o->room, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_NORESERVE, o->fd, (off_t)o->arena);
    if (arena == MAP_FAILED)
        return err_sys(ERR_UNAVAILABLE, "descriptor %d", o->fd);
    sums = mmap(NULL, (size_t)o->room, PROT_READ, MAP_SHARED | MAP_NORESERVE,
                o->fd, (off_t)o->sums);
    if (sums == MAP_FAILED) {
        err_sys(ERR_UNAVAILABLE, "descriptor %d", o->fd);
        munmap(arena, (size_t)o->room);
        return -1;
    }
    s->arena = arena;
    s->sums = sums;
    s->room = (size_t)o->room;
    return 0;
}
