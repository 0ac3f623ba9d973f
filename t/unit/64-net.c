/*
 * Listening: ports of a range, one after the other and taken by two at once; a
 * range that is full; a port that is taken.
 */
#include "lib/tap.h"

#include "ring/net.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum {
    TIMES = 500
};

static pthread_barrier_t start;

static void loopback(struct net_place *p, int port)
{
    if (net_find(p, "127.0.0.1", port) < 0)
        die();
}

/* A range of n ports, all free a moment ago. */
static struct net_ports some(int n)
{
    struct net_ports all = {0};
    struct net_place p;

    for (int low = 10000 + (int)(getpid() % 20000); all.high == 0; low += n) {
        int k = 0, fd[8];

        for (; k < n; k++) {
            loopback(&p, low + k);
            fd[k] = net_listen(&p, all, 1);
            if (fd[k] < 0)
                break;
        }
        if (k == n)
            all = (struct net_ports){low, low + n - 1};
        while (k > 0)
            close(fd[--k]);
    }
    return all;
}

struct side {
    struct net_ports ports;
    int taken[TIMES], failed;
};

/* Takes a port when the other does, TIMES times. */
static void *take(void *p)
{
    struct side *me = p;

    for (int i = 0; i < TIMES; i++) {
        struct net_place place;
        int fd;

        loopback(&place, 0);
        pthread_barrier_wait(&start);
        fd = net_listen(&place, me->ports, 1);
        me->failed += fd < 0;
        me->taken[i] = fd < 0 ? -1 : net_port(&place);
        pthread_barrier_wait(&start);
        if (fd >= 0)
            close(fd);
    }
    return NULL;
}

static void both(void)
{
    static struct side side[2];
    pthread_t thread[2];
    int same = 0;

    side[0].ports = side[1].ports = some(4);
    pthread_barrier_init(&start, NULL, 2);
    for (int i = 0; i < 2; i++)
        pthread_create(&thread[i], NULL, take, &side[i]);
    for (int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < TIMES; i++)
        same += side[0].taken[i] == side[1].taken[i];
    is_int(side[0].failed + side[1].failed, 0, "two take ports of one range");
    is_int(same, 0, "each its own");
}

int main(void)
{
    struct net_ports range = some(2), none = {0};
    struct net_place p;
    int fd[2];

    for (int i = 0; i < 2; i++) {
        loopback(&p, 0);
        fd[i] = net_listen(&p, range, 1);
        is_int(net_port(&p), range.low + i, "port %d of the range", i);
    }
    loopback(&p, 0);
    is_int(net_listen(&p, range, 1), -1, "a range that is full");
    is_int((int)err_code(), ERR_CONFIG, "is how the host is set up");
    loopback(&p, range.low);
    is_int(net_listen(&p, none, 1), -1, "a port that is taken");
    close(fd[0]);
    close(fd[1]);
    both();
    return done_testing();
}
