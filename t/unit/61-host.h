/*
 * 61-host.h - the rings of one host as threads of a test, and the ends of the pipes
 * that their workers would have, of 4 KiB.
 */
#ifndef T_UNIT_61_HOST_H
#define T_UNIT_61_HOST_H

#include "lib/tap.h"

#include "ring/serve.h"

#include <fcntl.h>
#include <unistd.h>

#define WORLD 2

struct host {
    struct shm shm[WORLD];
    struct plane *plane[WORLD];
    struct serve serve[WORLD];
    int fd_in[WORLD], fd_out[WORLD]; /* of the workers */
};

static void small_pipe(int p[2])
{
    if (pipe(p) < 0)
        exit(1);
    fcntl(p[0], F_SETPIPE_SZ, 4096);
}

/* shared: the first so many ranks share memory with their workers. */
static void host_start(struct host *h, const struct plane_kind *engine,
                       int shared)
{
    int in[2], out[2];
    struct serve_plane p;

    if (shm_create(&h->shm[0], WORLD) < 0)
        die();
    for (int r = 0; r < WORLD; r++) {
        h->shm[r] = h->shm[0];
        h->shm[r].rank = r;
        small_pipe(in);
        small_pipe(out);
        h->fd_in[r] = out[0];
        h->fd_out[r] = in[1];
        if (plane_shm.open(&h->plane[r], &h->shm[r], NULL) < 0)
            die();
        p = (struct serve_plane){&h->shm[r], engine, h->plane[r],
                                 r < shared ? h->shm[0].fd[SHM_DATA] : -1};
        if (serve_start(&h->serve[r], &p, in[0], out[1]) < 0)
            die();
    }
}

/* Both ranks' threads have ended. A communicator that was left after a
 * deadline may still have its reader at fd_in: that stays open then. */
static int host_stop(struct host *h, int left)
{
    int good = 1;

    for (int r = 0; r < WORLD; r++) {
        close(h->fd_out[r]);
        good &= serve_stop(&h->serve[r], 5000);
        plane_shm.close(h->plane[r]);
        if (!left)
            close(h->fd_in[r]);
    }
    shm_release(&h->shm[0]);
    return good;
}

#endif
