#include "ring/peer.h"

#include "io/ctl.h"
#include "io/frame.h"
#include "io/local.h"
#include "util/fdio.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HELLO_MS 5000 /* for one hello, once connected */
#define TELL_MS 10000 /* between two lists of who is missing */

/* ---- handing over the memory of a host */

static int send_memory(int fd, const struct shm *s)
{
    const int fds[] = {s->fd[SHM_TABLE], s->fd[SHM_DATA], s->bell};

    if (local_give(fd, fds, s->bell >= 0 ? SHM_PARTS + 1 : SHM_PARTS) < 0)
        return err_wrap("rendezvous");
    return 0;
}

/* fds: memory, and bell or -1. */
static int receive_memory(int fd, int fds[LOCAL_FDS])
{
    if (local_take(fd, fds) < SHM_PARTS)
        return err_set(ERR_PEER,
                       "the leader of this host left while the run was joined");
    return 0;
}

/* ---- hello */

static int say_hello(int fd, const struct peer_address *a)
{
    struct frame_writer w;
    char text[5][16];
    const int number[5] = {a->local_rank, a->local_world, a->port, a->rank,
                           a->world};
    struct frame_pair meta[] = {
        {"local_rank", text[0]}, {"local_world", text[1]}, {"port", text[2]},
        {"proto", CTL_PROTO},    {"rank", text[3]},        {"role", "ring"},
        {"run", a->run_id},      {"world", text[4]}};
    int r;

    for (int i = 0; i < 5; i++)
        snprintf(text[i], sizeof(text[i]), "%d", number[i]);
    frame_writer_init(&w, fd, "rendezvous");
    r = frame_write(&w, CTL_HELLO, meta, 8, NULL, 0, HELLO_MS);
    frame_writer_release(&w);
    return r;
}

/* Tell the other end why, keeping the error that is set. */
static void say_error(int fd)
{
    struct frame_writer w;

    frame_writer_init(&w, fd, "rendezvous");
    (void)!frame_write_error(&w);
    frame_writer_release(&w);
}

struct hello {
    int64_t rank, world, local_rank, local_world, port;
    char run[128];
};

static int hear_hello(int fd, int64_t deadline_ms, struct hello *h)
{
    struct frame_stream s;
    struct frame f = FRAME_INIT;
    const char *proto, *run;
    int r = -1;

    frame_stream_init(&s, fd, "rendezvous");
    s.deadline_ms = deadline_ms;
    if (frame_next(&s, &f) <= 0) {
        /* The root cause as rank 0 told it, without our frame around it. */
        if (frame_meta(&f, "msg"))
            err_set(err_code(), "%s", frame_meta(&f, "msg"));
        goto out;
    }
    proto = frame_meta(&f, "proto");
    run = frame_meta(&f, "run");
    if (!proto || strncmp(proto, CTL_PROTO, 2) != 0) {
        err_set(ERR_CONFIG, "rendezvous: protocol \"%.20s\", here %s",
                proto ? proto : "", CTL_PROTO);
        goto out;
    }
    if (frame_meta_int(&f, "rank", &h->rank) < 0 ||
        frame_meta_int(&f, "world", &h->world) < 0 ||
        frame_meta_int(&f, "local_rank", &h->local_rank) < 0 ||
        frame_meta_int(&f, "local_world", &h->local_world) < 0 ||
        frame_meta_int(&f, "port", &h->port) < 0)
        goto out;
    snprintf(h->run, sizeof(h->run), "%s", run ? run : "");
    r = 0;
out:
    frame_release(&f);
    return r;
}

/* ---- the leader */

struct lobby {
    const struct peer_address *a;
    struct peers *p;
    pid_t *pid; /* [n] */
    int n;      /* there, with the leader */
    int64_t deadline, tell;
};

/* Do they mean the same run of the same size? */
static int check_hello(const struct lobby *l, const struct hello *h, pid_t pid)
{
    const struct peer_address *a = l->a;

    if (h->world != a->world || h->rank < 0 || h->rank >= a->world)
        return err_set(ERR_CONFIG,
                       "rank %lld (pid %d) is one of %lld, rank %d (pid %d) "
                       "one of %d",
                       (long long)h->rank, (int)pid, (long long)h->world,
                       a->rank, (int)getpid(), a->world);
    if (h->local_world != a->local_world || h->local_rank < 0 ||
        h->local_rank >= a->local_world || h->port < 0 || h->port > 65535)
        return err_set(
            ERR_CONFIG,
            "rank %lld (pid %d) is one of %lld on this host, rank %d "
            "(pid %d) one of %d",
            (long long)h->rank, (int)pid, (long long)h->local_world, a->rank,
            (int)getpid(), a->local_world);
    for (int i = 0; i < a->local_world; i++)
        if ((i == 0 || l->p->fd[i] >= 0) &&
            (l->p->rank[i] == h->rank || i == h->local_rank))
            return err_set(ERR_CONFIG,
                           "rank %lld is there twice: pid %d and pid %d",
                           (long long)h->rank, (int)l->pid[i], (int)pid);
    return 0;
}

/* A connection that says who it is. 0: settled, -1: the run is over. */
static int admit(struct lobby *l, int fd)
{
    const struct peer_address *a = l->a;
    struct hello h = {0};
    pid_t pid;

    if (local_user(fd, &pid) < 0 || hear_hello(fd, HELLO_MS, &h) < 0)
        goto stranger;
    if (strcmp(h.run, a->run_id) != 0) {
        err_set(ERR_CONFIG, "process %d belongs to run \"%s\", this is \"%s\"",
                (int)pid, h.run, a->run_id);
        goto stranger;
    }
    if (check_hello(l, &h, pid) < 0) {
        say_error(fd);
        close(fd);
        return -1;
    }
    l->p->fd[h.local_rank] = fd;
    l->p->rank[h.local_rank] = (int)h.rank;
    l->p->port[h.local_rank] = (int)h.port;
    l->pid[h.local_rank] = pid;
    l->n++;
    return 0;
stranger:
    warn("%s: turned away", err_text());
    say_error(fd);
    close(fd);
    return 0;
}

static char *missing(const struct lobby *l)
{
    struct buf b = BUF_INIT;

    /* On one of several hosts their ranks are not known. */
    buf_addstr(&b, l->a->local_world < l->a->world ? "local rank " : "rank ");
    for (int i = 1, n = 0; i < l->a->local_world; i++)
        if (l->p->fd[i] < 0)
            buf_addf(&b, "%s%d", n++ ? ", " : "", i);
    return buf_detach(&b);
}

/* A rank that has said hello and goes away again ends the run. */
static int check_alive(struct lobby *l)
{
    char byte;

    for (int i = 1; i < l->a->local_world; i++) {
        int fd = l->p->fd[i];
        if (fd >= 0 && recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
            return err_set(ERR_PEER,
                           "rank %d: allreduce-ring (pid %d) died before all "
                           "had joined",
                           l->p->rank[i], (int)l->pid[i]);
    }
    return 0;
}

static int wait_for_all(struct lobby *l, int listener)
{
    struct pollfd p = {.fd = listener, .events = POLLIN};
    char *who;
    int fd;

    while (l->n < l->a->local_world) {
        if (poll(&p, 1, 250) > 0) {
            fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
            if (fd >= 0 && admit(l, fd) < 0)
                return -1;
            continue;
        }
        if (check_alive(l) < 0)
            return -1;
        if (clock_ms() >= l->tell) {
            who = missing(l);
            if (clock_ms() >= l->deadline) {
                err_set(ERR_PEER, "%s: not there within %lld s", who,
                        (long long)(l->a->timeout_ms / 1000));
                free(who);
                return -1;
            }
            warn("waiting for %s of %d", who, l->a->local_world);
            free(who);
            l->tell += TELL_MS;
        }
        if (l->tell > l->deadline)
            l->tell = l->deadline;
    }
    return 0;
}

static int host(struct peers *p, const struct peer_address *a)
{
    struct lobby l = {.a = a, .p = p, .n = 1};
    int listener = local_listen(a->rdzv, a->local_world), r;

    if (listener < 0)
        return -1;
    l.deadline = clock_ms() + a->timeout_ms;
    l.tell = clock_ms() + TELL_MS;
    if (l.tell > l.deadline)
        l.tell = l.deadline;
    l.pid = xcalloc((size_t)a->local_world, sizeof(*l.pid));
    l.pid[0] = getpid();
    r = wait_for_all(&l, listener);
    if (r < 0)
        peers_refuse(p);
    close(listener);
    if (a->rdzv[0] != '@')
        unlink(a->rdzv);
    free(l.pid);
    return r;
}

/* ---- the others */

static int connect_to_host(const struct peer_address *a, int64_t deadline)
{
    int64_t pause = 5;
    int fd;

    while ((fd = local_connect(a->rdzv)) < 0) {
        struct timespec t = {0, pause * 1000000};
        if (errno != ENOENT && errno != ECONNREFUSED && errno != EAGAIN)
            return err_sys(ERR_PEER, "rendezvous \"%s\"", a->rdzv);
        if (clock_ms() >= deadline)
            return err_set(ERR_PEER,
                           "rank %d: not there within %lld s: rendezvous "
                           "\"%s\"",
                           a->rank - a->local_rank,
                           (long long)(a->timeout_ms / 1000), a->rdzv);
        nanosleep(&t, NULL);
        pause = pause < 100 ? pause * 2 : 200;
    }
    return fd;
}

static int visit(struct peers *p, const struct peer_address *a)
{
    int fd = connect_to_host(a, clock_ms() + a->timeout_ms);
    pid_t pid;

    if (fd < 0)
        return -1;
    p->fd[0] = fd;
    return local_user(fd, &pid) < 0 || say_hello(fd, a) < 0 ? -1 : 0;
}

static int receive(struct peers *p, struct shm *s, const struct peer_address *a)
{
    int fds[LOCAL_FDS];
    struct hello h;
    pid_t pid;

    /* The leader gives up first, with the names of those it misses: here, or
     * after a second time as long on other hosts. */
    if (local_user(p->fd[0], &pid) < 0)
        return -1;
    if (hear_hello(p->fd[0], 2 * a->timeout_ms + HELLO_MS, &h) < 0) {
        if (err_code() == ERR_IO)
            err_set(ERR_PEER,
                    "rank %d: allreduce-ring (pid %d) died before all had "
                    "joined",
                    a->rank - a->local_rank, (int)pid);
        return -1;
    }
    if (receive_memory(p->fd[0], fds) < 0)
        return -1;
    if (shm_attach(s, fds, a->rank, a->world) < 0) {
        for (int i = 0; i < LOCAL_FDS; i++)
            if (fds[i] >= 0)
                close(fds[i]);
        return -1;
    }
    s->bell = fds[SHM_PARTS];
    return 0;
}

int peers_gather(struct peers *p, const struct peer_address *a)
{
    size_t n = (size_t)a->local_world;

    p->n = a->local_world;
    p->index = a->local_rank;
    p->fd = xreallocarray(NULL, n, sizeof(*p->fd));
    p->rank = xcalloc(n, sizeof(*p->rank));
    p->port = xcalloc(n, sizeof(*p->port));
    for (int i = 0; i < p->n; i++)
        p->fd[i] = -1;
    p->rank[p->index] = a->rank;
    p->port[p->index] = a->port;
    if (p->n == 1)
        return 0;
    return p->index == 0 ? host(p, a) : visit(p, a);
}

int peers_share(struct peers *p, struct shm *s, const struct peer_address *a)
{
    if (p->index != 0)
        return receive(p, s, a);
    for (int i = 1; i < p->n; i++)
        if (say_hello(p->fd[i], a) < 0 || send_memory(p->fd[i], s) < 0) {
            err_wrap("rank %d", p->rank[i]);
            peers_refuse(p);
            return -1;
        }
    return 0;
}

void peers_refuse(struct peers *p)
{
    for (int i = 1; p->index == 0 && i < p->n; i++)
        if (p->fd[i] >= 0)
            say_error(p->fd[i]);
}

void peers_check(struct peers *p, const struct shm *s, int i)
{
    int r = shm_local(s, i);
    struct shm_rank *peer = shm_rank(s, r);
    struct buf b = BUF_INIT;
    char waste[64];
    ssize_t n = recv(p->fd[i], waste, sizeof(waste), MSG_DONTWAIT);

    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    close(p->fd[i]);
    p->fd[i] = -1;
    if (atomic_load(&peer->ended))
        return;
    buf_addf(&b, "rank %d: allreduce-ring (pid %d) died", r,
             (int)peer->ring_pid);
    if (atomic_load(&peer->step) >= 0)
        buf_addf(&b, ", last seen at step %lld",
                 (long long)atomic_load(&peer->step));
    shm_abort(s, ERR_PEER, r, b.data);
    buf_release(&b);
}

void peers_release(struct peers *p)
{
    for (int i = 0; i < p->n; i++)
        if (p->fd[i] >= 0)
            close(p->fd[i]);
    free(p->fd);
    free(p->rank);
    free(p->port);
    *p = (struct peers)PEERS_INIT;
}
