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

/* ---- handing over */

static int send_memory(int fd, int memory)
{
    union {
        struct cmsghdr h;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    char byte = 'm';
    struct iovec v = {&byte, 1};
    struct msghdr m = {.msg_iov = &v,
                       .msg_iovlen = 1,
                       .msg_control = control.room,
                       .msg_controllen = sizeof(control.room)};

    memset(&control, 0, sizeof(control));
    control.h.cmsg_level = SOL_SOCKET;
    control.h.cmsg_type = SCM_RIGHTS;
    control.h.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.h), &memory, sizeof(int));
    if (sendmsg(fd, &m, MSG_NOSIGNAL) != 1)
        return err_sys(ERR_PEER, "rendezvous: hand over the memory");
    return 0;
}

static int receive_memory(int fd, int *memory)
{
    union {
        struct cmsghdr h;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    char byte;
    struct iovec v = {&byte, 1};
    struct msghdr m = {.msg_iov = &v,
                       .msg_iovlen = 1,
                       .msg_control = control.room,
                       .msg_controllen = sizeof(control.room)};
    ssize_t r;

    do {
        r = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
    } while (r < 0 && errno == EINTR);
    if (r != 1 || m.msg_controllen < sizeof(control.room) ||
        control.h.cmsg_type != SCM_RIGHTS)
        return err_set(ERR_PEER, "rank 0: left while the run was joined");
    memcpy(memory, CMSG_DATA(&control.h), sizeof(int));
    return 0;
}

/* ---- hello */

static int say_hello(int fd, const struct peer_address *a)
{
    struct frame_writer w;
    char rank[16], world[16];
    struct frame_pair meta[] = {{"proto", CTL_PROTO},
                                {"rank", rank},
                                {"role", "ring"},
                                {"run", a->run_id},
                                {"world", world}};
    int r;

    snprintf(rank, sizeof(rank), "%d", a->rank);
    snprintf(world, sizeof(world), "%d", a->world);
    frame_writer_init(&w, fd, "rendezvous");
    r = frame_write(&w, CTL_HELLO, meta, 5, NULL, 0, HELLO_MS);
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
    int64_t rank, world;
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
        frame_meta_int(&f, "world", &h->world) < 0)
        goto out;
    snprintf(h->run, sizeof(h->run), "%s", run ? run : "");
    r = 0;
out:
    frame_release(&f);
    return r;
}

/* ---- rank 0 */

struct lobby {
    const struct peer_address *a;
    struct peers *p;
    pid_t *pid; /* [world] */
    int n;      /* there, with rank 0 */
    int64_t deadline, tell;
};

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
    if (h.world != a->world || h.rank < 0 || h.rank >= a->world)
        err_set(ERR_CONFIG,
                "rank %lld (pid %d) is one of %lld, rank 0 (pid %d) one of %d",
                (long long)h.rank, (int)pid, (long long)h.world, (int)getpid(),
                a->world);
    else if (l->p->fd[h.rank] >= 0 || h.rank == 0)
        err_set(ERR_CONFIG, "rank %lld is there twice: pid %d and pid %d",
                (long long)h.rank, (int)l->pid[h.rank], (int)pid);
    else {
        l->p->fd[h.rank] = fd;
        l->pid[h.rank] = pid;
        l->n++;
        return 0;
    }
    say_error(fd);
    close(fd);
    return -1;
stranger:
    warn("%s: turned away", err_text());
    say_error(fd);
    close(fd);
    return 0;
}

static char *missing(const struct lobby *l)
{
    struct buf b = BUF_INIT;

    for (int r = 1; r < l->a->world; r++)
        if (l->p->fd[r] < 0)
            buf_addf(&b, "%s%d", b.len ? ", " : "", r);
    return buf_detach(&b);
}

/* A rank that has said hello and goes away again ends the run. */
static int check_alive(struct lobby *l)
{
    char byte;

    for (int r = 1; r < l->a->world; r++) {
        int fd = l->p->fd[r];
        if (fd >= 0 && recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
            return err_set(ERR_PEER,
                           "rank %d: allreduce-ring (pid %d) died before all "
                           "had joined",
                           r, (int)l->pid[r]);
    }
    return 0;
}

static int wait_for_all(struct lobby *l, int listener)
{
    struct pollfd p = {.fd = listener, .events = POLLIN};
    char *who;
    int fd;

    while (l->n < l->a->world) {
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
                err_set(ERR_PEER, "rank %s: not there within %lld s", who,
                        (long long)(l->a->timeout_ms / 1000));
                free(who);
                return -1;
            }
            warn("waiting for rank %s of %d", who, l->a->world);
            free(who);
            l->tell += TELL_MS;
        }
        if (l->tell > l->deadline)
            l->tell = l->deadline;
    }
    return 0;
}

static int host(struct peers *p, struct shm *s, const struct peer_address *a)
{
    struct lobby l = {.a = a, .p = p, .n = 1};
    int listener = local_listen(a->rdzv, a->world), r = -1;

    if (listener < 0)
        return -1;
    l.deadline = clock_ms() + a->timeout_ms;
    l.tell = clock_ms() + TELL_MS;
    if (l.tell > l.deadline)
        l.tell = l.deadline;
    l.pid = xcalloc((size_t)a->world, sizeof(*l.pid));
    l.pid[0] = getpid();
    if (shm_create(s, a->world) < 0 || wait_for_all(&l, listener) < 0)
        goto out;
    for (int i = 1; i < a->world; i++)
        if (say_hello(p->fd[i], a) < 0 || send_memory(p->fd[i], s->fd) < 0) {
            err_wrap("rank %d", i);
            goto out;
        }
    r = 0;
out:
    for (int i = 1; r < 0 && i < a->world; i++)
        if (p->fd[i] >= 0)
            say_error(p->fd[i]);
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
                           "rank 0: not there within %lld s: rendezvous \"%s\"",
                           (long long)(a->timeout_ms / 1000), a->rdzv);
        nanosleep(&t, NULL);
        pause = pause < 100 ? pause * 2 : 200;
    }
    return fd;
}

static int visit(struct peers *p, struct shm *s, const struct peer_address *a)
{
    int64_t deadline = clock_ms() + a->timeout_ms, left;
    struct hello h;
    pid_t pid;
    int fd = connect_to_host(a, deadline), memory = -1;

    if (fd < 0)
        return -1;
    p->fd[0] = fd;
    if (local_user(fd, &pid) < 0 || say_hello(fd, a) < 0)
        return -1;
    /* Rank 0 gives up first, with the names of those it misses. */
    left = deadline - clock_ms() + HELLO_MS;
    if (hear_hello(fd, left, &h) < 0) {
        if (err_code() == ERR_IO)
            err_set(ERR_PEER,
                    "rank 0: allreduce-ring (pid %d) died before "
                    "all had joined",
                    (int)pid);
        return -1;
    }
    if (receive_memory(fd, &memory) < 0)
        return -1;
    if (shm_attach(s, memory, a->rank, a->world) < 0) {
        close(memory);
        return -1;
    }
    return 0;
}

int peers_join(struct peers *p, struct shm *s, const struct peer_address *a)
{
    int r;

    p->rank = a->rank;
    p->world = a->world;
    p->fd = xreallocarray(NULL, (size_t)a->world, sizeof(*p->fd));
    for (int i = 0; i < a->world; i++)
        p->fd[i] = -1;
    if (a->world == 1)
        r = shm_create(s, 1);
    else if (a->rank == 0)
        r = host(p, s, a);
    else
        r = visit(p, s, a);
    if (r == 0)
        shm_rank(s, a->rank)->ring_pid = getpid();
    return r;
}

void peers_release(struct peers *p)
{
    for (int i = 0; i < p->world; i++)
        if (p->fd[i] >= 0)
            close(p->fd[i]);
    free(p->fd);
    *p = (struct peers)PEERS_INIT;
}
