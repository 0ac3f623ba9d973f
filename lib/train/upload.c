#include "train/upload.h"

#include <string.h>
#include <time.h>

/* Marks of the engine: a slot was sent, a slot was read (below: comm_device). */
#define SENT 40
#define READ 42

void upload_init(struct upload *u, struct engine *e)
{
    memset(u, 0, sizeof *u);
    u->e = e;
    u->taken = -1;
}

static void free_slot(struct upload *u, struct upload_slot *s)
{
    if (s->host)
        engine_host_free(u->e, s->host);
    if (s->dev)
        engine_free(u->e, s->dev);
    memset(s, 0, sizeof *s);
}

void upload_release(struct upload *u)
{
    int i;

    for (i = 0; i < 2; i++)
        free_slot(u, &u->slot[i]);
}

static int make_room(struct upload *u, struct upload_slot *s, size_t bytes)
{
    if (bytes <= s->bytes)
        return 0;
    free_slot(u, s);
    if (engine_host_alloc(u->e, bytes, &s->host) < 0 ||
        engine_alloc(u->e, bytes, &s->dev) < 0)
        return err_wrap("batch");
    s->bytes = bytes;
    return 0;
}

/* Until the device has read what was in slot i. */
static int wait_read(struct upload *u, int i)
{
    static const struct timespec pause = {0, 50000};
    int r = 1;

    while (u->slot[i].read && (r = engine_passed(u->e, READ + i)) == 0)
        nanosleep(&pause, NULL);
    u->slot[i].read = false;
    return r < 0 ? -1 : 0;
}

int upload_ahead(struct upload *u, const struct input_batch *b)
{
    struct upload_slot *s = &u->slot[u->next];
    size_t bytes = tensor_bytes(&b->image);

    if (engine_is_host(u->e) || bytes == 0)
        return 0;
    if (wait_read(u, u->next) < 0 || make_room(u, s, bytes) < 0)
        return -1;
    memcpy(s->host, b->image.data, bytes);
    if (engine_send(u->e, s->dev, s->host, bytes, SENT + u->next) < 0)
        return -1;
    s->batch = b;
    u->next = 1 - u->next;
    return 0;
}

int upload_take(struct upload *u, const struct input_batch *b,
                const void **images)
{
    int i;

    *images = NULL;
    u->taken = -1;
    for (i = 0; i < 2; i++)
        if (u->slot[i].batch == b)
            u->taken = i;
    if (u->taken < 0)
        return 0;
    u->slot[u->taken].batch = NULL;
    *images = u->slot[u->taken].dev;
    return engine_after(u->e, SENT + u->taken);
}

int upload_read(struct upload *u)
{
    if (u->taken < 0)
        return 0;
    u->slot[u->taken].read = true;
    return engine_mark(u->e, READ + u->taken);
}
