/*
 * Fuzz target: messages of the control plane (ring/msg.h) and what they do to the
 * table of requests (ring/mirror.h). The input is messages with a length of two
 * bytes before each. One that is taken is written again and read equally.
 */
#include "ring/mirror.h"
#include "ring/msg.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct shm memory;
static struct msg m, again;

static void start(void)
{
    struct roster r = {.n_hosts = 3, .world = 4, .lanes = 2};

    if (memory.head)
        return;
    r.host_of[1] = 1;
    r.host_of[2] = 1;
    r.host_of[3] = 2;
    if (shm_create_host(&memory, &r, 0) < 0)
        abort();
}

static void check_again(const uint8_t *p, size_t n)
{
    struct buf b = BUF_INIT;

    msg_put(&b, &m);
    if (b.len != n || memcmp(b.data, p, n) != 0 ||
        msg_take(&again, b.data, b.len) < 0)
        abort();
    buf_release(&b);
}

static void check_table(void)
{
    for (int r = 1; r < 4; r++) {
        const struct shm_rank *s = shm_rank(&memory, r);
        uint32_t ready = atomic_load(&s->ready.v);
        if (atomic_load(&s->done.v) > ready || atomic_load(&s->sent.v) > ready)
            abort();
    }
    if (atomic_load(&shm_rank(&memory, 0)->ready.v) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    start();
    for (int r = 1; r < 4; r++) {
        struct shm_rank *s = shm_rank(&memory, r);
        atomic_store(&s->ready.v, 0);
        atomic_store(&s->done.v, 0);
        atomic_store(&s->sent.v, 0);
    }
    while (size >= 2) {
        size_t n = data[0] | (size_t)data[1] << 8;
        data += 2;
        size -= 2;
        if (n > size)
            n = size;
        if (msg_take(&m, data, n) == 0) {
            check_again(data, n);
            if (m.type != MSG_ABORT)
                (void)!mirror_apply(&memory, &m, n & 1 ? 1 : -1);
            check_table();
        }
        data += n;
        size -= n;
    }
    return 0;
}
