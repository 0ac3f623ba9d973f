/*
 * A network in a program, for tests of several hosts on one machine: with
 * arguments it is a switch between network namespaces.
 *	67-hub.t hub DELAY_MS LOSS_PERMILLE NAMESPACE...
 * makes a tap device "eth0" in each namespace and hands Ethernet frames on after
 * the delay; some are lost. Lines of standard input command it: "cut N" drops
 * everything of the N-th namespace from now on, "join N" ends that; the end of
 * the input ends the hub. It says "ready" when the devices are there.
 *
 * Without arguments it tests the queue.
 */
#include "lib/tap.h"

#include "util/err.h"
#include "util/fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PORTS 16
#define FRAME 2048

struct packet {
    struct packet *next;
    int64_t due; /* ms */
    int from;
    size_t n;
    unsigned char data[FRAME];
};

struct queue {
    struct packet *first, **last;
};

static void queue_add(struct queue *q, struct packet *p)
{
    p->next = NULL;
    *q->last = p;
    q->last = &p->next;
}

/* The first packet if it is due. */
static struct packet *queue_take(struct queue *q, int64_t now)
{
    struct packet *p = q->first;

    if (!p || p->due > now)
        return NULL;
    q->first = p->next;
    if (!q->first)
        q->last = &q->first;
    return p;
}

struct hub {
    int n, fd[PORTS];
    bool cut[PORTS], known[PORTS];
    unsigned char address[PORTS][6];
    int64_t delay, loss;
    struct queue q;
    uint64_t dice;
};

/* xorshift64: the same losses in every run. */
static uint64_t roll(struct hub *h)
{
    h->dice ^= h->dice << 13;
    h->dice ^= h->dice >> 7;
    h->dice ^= h->dice << 17;
    return h->dice >> 33;
}

/* A tap device inside a namespace; this thread comes back. */
static int open_port(const char *name)
{
    char *path = xstrfmt("/run/netns/%s", name);
    int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int there = open(path, O_RDONLY | O_CLOEXEC), fd = -1;
    struct ifreq r;

    if (home < 0 || there < 0 || setns(there, CLONE_NEWNET) < 0)
        die_with(ERR_SYSTEM, "%s: %s", path, strerror(errno));
    fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    memset(&r, 0, sizeof(r));
    r.ifr_flags = IFF_TAP | IFF_NO_PI;
    memcpy(r.ifr_name, "eth0", 5);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &r) < 0)
        die_with(ERR_SYSTEM, "%s: tap: %s", path, strerror(errno));
    if (setns(home, CLONE_NEWNET) < 0)
        die_with(ERR_SYSTEM, "namespace: %s", strerror(errno));
    close(home);
    close(there);
    free(path);
    return fd;
}

static void receive(struct hub *h, int from)
{
    for (int i = 0; i < 64; i++) {
        struct packet *p = xmalloc(sizeof(*p));
        ssize_t n = read(h->fd[from], p->data, sizeof(p->data));
        if (n < 14) {
            free(p);
            return;
        }
        memcpy(h->address[from], p->data + 6, 6);
        h->known[from] = true;
        if (h->cut[from] || (int64_t)(roll(h) % 1000) < h->loss) {
            free(p);
            continue;
        }
        p->n = (size_t)n;
        p->from = from;
        p->due = clock_ms() + h->delay;
        queue_add(&h->q, p);
    }
}

static void deliver(struct hub *h)
{
    struct packet *p;

    while ((p = queue_take(&h->q, clock_ms()))) {
        int to = -1;
        for (int i = 0; i < h->n; i++)
            if (h->known[i] && memcmp(p->data, h->address[i], 6) == 0)
                to = i;
        for (int i = 0; i < h->n; i++)
            if (i != p->from && !h->cut[i] && (to < 0 || to == i))
                (void)!write(h->fd[i], p->data, p->n);
        free(p);
    }
}

/* False at the end of the input. */
static bool command(struct hub *h)
{
    char line[128];
    ssize_t n = read(0, line, sizeof(line) - 1);
    char *digits;
    long port;

    if (n <= 0)
        return false;
    line[n] = 0;
    digits = strchr(line, ' ');
    port = digits ? strtol(digits, NULL, 10) : -1;
    if (port >= 0 && port < h->n)
        h->cut[port] = strncmp(line, "cut", 3) == 0;
    return true;
}

static int run_hub(int argc, char **argv)
{
    struct hub h = {.dice = 88172645463325252u};
    struct pollfd p[PORTS + 1];

    prog_set("hub");
    if (argc < 3 || argc - 2 > PORTS)
        die_with(ERR_USAGE, "hub DELAY_MS LOSS_PERMILLE NAMESPACE...");
    h.delay = strtoll(argv[0], NULL, 10);
    h.loss = strtoll(argv[1], NULL, 10);
    h.q.last = &h.q.first;
    h.n = argc - 2;
    for (int i = 0; i < h.n; i++)
        h.fd[i] = open_port(argv[2 + i]);
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        int64_t wait = h.q.first ? h.q.first->due - clock_ms() : 1000;
        for (int i = 0; i < h.n; i++)
            p[i] = (struct pollfd){.fd = h.fd[i], .events = POLLIN};
        p[h.n] = (struct pollfd){.fd = 0, .events = POLLIN};
        (void)poll(p, (nfds_t)h.n + 1, wait < 0 ? 0 : (int)wait);
        if (p[h.n].revents && !command(&h))
            return 0;
        for (int i = 0; i < h.n; i++)
            if (p[i].revents)
                receive(&h, i);
        deliver(&h);
    }
}

int main(int argc, char **argv)
{
    struct queue q = {.first = NULL};
    struct packet a = {.due = 5}, b = {.due = 6};

    if (argc > 1 && !strcmp(argv[1], "hub"))
        return run_hub(argc - 2, argv + 2);
    q.last = &q.first;
    ok(!queue_take(&q, 100), "an empty queue");
    queue_add(&q, &a);
    queue_add(&q, &b);
    ok(!queue_take(&q, 4), "nothing is due");
    ok(queue_take(&q, 5) == &a && !queue_take(&q, 5), "the first");
    ok(queue_take(&q, 7) == &b && !queue_take(&q, 7), "and the second");
    return done_testing();
}
