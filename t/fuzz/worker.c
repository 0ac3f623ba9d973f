/*
 * Fuzz target: what a worker writes to its ring (ring/serve.h), as one rank that
 * shares memory with it. Whatever it is, the threads come to an end, and no
 * request reaches beyond the memory.
 */
#include "ring/serve.h"

#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define ROOM 1048576 /* bytes of an arena */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_requests(const struct shm *s)
{
    uint32_t ready = atomic_load(&shm_rank(s, 0)->ready.v);

    for (uint32_t k = 1; k <= ready && k < SHM_OPS; k++) {
        const struct shm_op *op = shm_op(s, 0, k);
        if (op->kind >= OP_KINDS)
            abort();
        if (op->kind == OP_GRAD && (op->count > ROOM / sizeof(float) ||
                                    op->offset > ROOM - op->count * 4))
            abort();
    }
}

/* Has it taken all that there is? Else it has ended the run. */
static bool wait_for_reader(struct serve *v)
{
    for (;;) {
        struct pollfd p = {.fd = v->event, .events = POLLIN};
        uint64_t count;
        enum serve_input input;
        pthread_mutex_lock(&v->lock);
        input = v->input;
        pthread_mutex_unlock(&v->lock);
        if (input != INPUT_OPEN || shm_aborted(v->shm))
            return input != INPUT_OPEN;
        if (poll(&p, 1, 100) > 0)
            (void)!read(v->event, &count, sizeof(count));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int in = memfd_create("worker", MFD_CLOEXEC);
    int out = open("/dev/null", O_WRONLY | O_CLOEXEC);
    struct shm s = SHM_INIT;
    struct plane *plane;
    struct serve v;
    struct serve_plane p = {.shm = &s, .engine = &plane_shm};

    if (in < 0 || out < 0 || write(in, data, size) != (ssize_t)size ||
        lseek(in, 0, SEEK_SET) < 0 || shm_create(&s, 1) < 0)
        abort();
    s.arena_bytes = ROOM;
    if (plane_shm.open(&plane, &s, NULL) < 0)
        abort();
    p.plane = plane;
    p.shared = size % 2 ? s.fd[SHM_DATA] : -1;
    if (serve_start(&v, &p, in, out) < 0)
        abort();
    if (wait_for_reader(&v))
        check_requests(&s);
    /* As the supervisor does when the worker is gone. */
    shm_abort(&s, ERR_PEER, 0, "the worker is gone");
    if (!serve_stop(&v, 10000))
        abort();
    plane_shm.close(plane);
    shm_release(&s);
    return 0;
}
