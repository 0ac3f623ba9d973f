/*
 * Fuzz target: what the reader of lent memory says to its writer (lend.h).
 * Whatever it is, the writer learns that the reader is gone or keeps no rules, no
 * slot is given out twice, and everything comes to an end.
 */
#include "io/lend.h"

#include "io/lend_private.h"
#include "io/local.h"
#include "util/fdio.h"

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define SLOTS 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int reader(int fd, const uint8_t *data, size_t size)
{
    char *address = lend_address(fd);
    int conn = local_connect(address), fds[LOCAL_FDS];

    free(address);
    if (conn < 0 || local_take(conn, fds) != 1)
        abort();
    close(fds[0]);
    /* it may be gone before it has all */
    (void)!fd_write(conn, data, size, clock_ms() + 5000);
    shutdown(conn, SHUT_WR);
    return conn;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame_slot s;
    struct lender *l;
    char *p[SLOTS];
    int q[2], conn, i;

    signal(SIGPIPE, SIG_IGN);
    if (pipe(q) < 0 || !(l = lend_open(q[1], 1, SLOTS)))
        abort();
    for (i = 0; i < SLOTS; i++)
        if (!(p[i] = lend_take(l)))
            abort();
    conn = reader(q[0], data, size);
    /* some are lent, if it has said hello by now */
    for (i = 0; i < SLOTS - 1; i++) {
        if (lend_offer(l, p[i], &s) && !(p[i] = lend_take(l)))
            break;
        if (p[i] == p[SLOTS - 1])
            abort();
    }
    close(conn);
    lend_close(l);
    close(q[0]);
    close(q[1]);
    return 0;
}
