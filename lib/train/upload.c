#include "train/upload.h"

#include "train/marks.h"

#include <string.h>
#include <time.h>

void upload_init(struct upload *u, struct engine *e)
{
    memset(u, 0, sizeof *u);
    u->e = e;
    u->taken = -1;
}

void upload_share(struct upload *u, void *memory, size_t bytes)
{
    if (!memory || engine_is_host(u->e))
        return;
    if (engine_host_register(u->e, memory, bytes) < 0) {
        note("memory of the batches: %s: images are copied before they are "
             "sent",
             err_text());
        err_clear();
        return;
    }
    u->shared = memory;
    u->shared_bytes = bytes;
}

/* It has mostly been passed, so this looks: what engine_wait is called for is what
 * a step is said to wait for. */
static int wait_mark(struct upload *u, int mark)
{
    static const struct timespec pause = {0, 50000};
    int r;

    while ((r = engine_passed(u->e, mark)) == 0)
        nanosleep(&pause, NULL);
    return r < 0 ? -1 : 0;
}

/* Until slot i has what was sent to it from where it lies. */
static int wait_sent(struct upload *u, int i)
{
    bool wait = u->slot[i].lent;

    u->slot[i].lent = false;
    return wait ? wait_mark(u, MARK_SENT + i) : 0;
}

/* Until the device has read what was in slot i. */
static int wait_read(struct upload *u, int i)
{
    bool wait = u->slot[i].read;

    u->slot[i].read = false;
    return wait ? wait_mark(u, MARK_READ + i) : 0;
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

    if (u->shared)
        engine_host_unregister(u->e, u->shared);
    u->shared = NULL;
    for (i = 0; i < 2; i++)
        free_slot(u, &u->slot[i]);
}

static int make_room(struct upload *u, struct upload_slot *s, size_t bytes,
                     bool copy)
{
    if (bytes > s->bytes) {
        free_slot(u, s);
        if (engine_alloc(u->e, bytes, &s->dev) < 0)
            return err_wrap("batch");
        s->bytes = bytes;
    }
    if (copy && !s->host && engine_host_alloc(u->e, s->bytes, &s->host) < 0)
        return err_wrap("batch");
    return 0;
}

static bool is_shared(const struct upload *u, const char *p)
{
    return u->shared && p >= u->shared && p < u->shared + u->shared_bytes;
}

int upload_ahead(struct upload *u, const struct input_batch *b)
{
    struct upload_slot *s = &u->slot[u->next];
    size_t bytes = tensor_bytes(&b->image);
    bool lent = is_shared(u, b->image.data);
    const void *host = b->image.data;

    if (engine_is_host(u->e) || bytes == 0)
        return 0;
    if (wait_read(u, u->next) < 0 || make_room(u, s, bytes, !lent) < 0)
        return -1;
    if (!lent)
        host = memcpy(s->host, b->image.data, bytes);
    if (engine_send(u->e, s->dev, host, bytes, MARK_SENT + u->next) < 0)
        return -1;
    s->lent = lent;
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
    return engine_after(u->e, MARK_SENT + u->taken);
}

int upload_read(struct upload *u)
{
    if (u->taken < 0)
        return 0;
    u->slot[u->taken].read = true;
    return engine_mark(u->e, MARK_READ + u->taken);
}

int upload_done(struct upload *u)
{
    return u->taken < 0 ? 0 : wait_sent(u, u->taken);
}
