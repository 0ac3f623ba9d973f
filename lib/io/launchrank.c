#include "io/launchrank.h"

#include "io/local.h"
#include "util/fdio.h"
#include "util/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TEXT_MAX_BYTES 8192

/* ---- a rank */

void launch_rank_init(struct launch_rank *k)
{
    memset(k, 0, sizeof(*k));
    k->fd[0] = k->fd[1] = -1;
    k->out.log = -1;
}

void launch_rank_release(struct launch_rank *k)
{
    for (int i = 0; i < 2; i++)
        if (k->fd[i] >= 0)
            close(k->fd[i]);
    rankout_release(&k->out);
    launch_rank_init(k);
}

static void set_number(const char *prefix, const char *name, int v)
{
    char key[64], text[16];

    snprintf(key, sizeof(key), "%s%s", prefix, name);
    snprintf(text, sizeof(text), "%d", v);
    setenv(key, text, 1);
}

static void set_environment(const struct launch_start *s)
{
    static const char *const prefix[] = {"", "ACCEL_"};
    const struct ranks *p = &s->place;

    for (int i = 0; i < 2; i++) {
        set_number(prefix[i], "RANK", p->rank);
        set_number(prefix[i], "LOCAL_RANK", p->local_rank);
        set_number(prefix[i], "WORLD_SIZE", p->world);
        set_number(prefix[i], "LOCAL_WORLD_SIZE", p->local_world);
    }
    if (p->node >= 0)
        set_number("ACCEL_", "NODE_RANK", p->node);
    else
        unsetenv("ACCEL_NODE_RANK");
    if (p->master[0])
        setenv("ACCEL_MASTER", p->master, 1);
    set_number("ACCEL_", "ATTEMPT", s->attempt);
    setenv("ACCEL_RDZV", s->rdzv, 1);
    setenv("ACCEL_LAUNCH", s->launch, 1);
    setenv("ACCEL_RUN_ID", p->run, 1);
}

/* In the child; never returns. */
_Noreturn static void become(const struct launch_start *s, pid_t parent,
                             int out, int err)
{
    int null;

    if (!signals_child(parent, SIGTERM, s->mask))
        _exit(ERR_PEER);
    /* One rank may read the launcher's input; a group in the background may
     * not read a terminal. */
    if (s->place.rank > 0 || isatty(STDIN_FILENO)) {
        null = open("/dev/null", O_RDONLY);
        if (null >= 0)
            dup2(null, STDIN_FILENO);
    }
    if (out >= 0)
        dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    set_environment(s);
    execvp(s->argv[0], s->argv);
    warn("%s: %s", s->argv[0], strerror(errno));
    _exit(ERR_UNAVAILABLE);
}

/* A pipe whose ends are not 0 to 2, even if those were closed. */
static int make_pipe(int p[2])
{
    int q[2];

    if (pipe2(q, O_CLOEXEC) < 0)
        return err_sys(ERR_SYSTEM, "pipe");
    for (int i = 0; i < 2; i++) {
        p[i] = fcntl(q[i], F_DUPFD_CLOEXEC, 3);
        close(q[i]);
    }
    if (p[0] < 0 || p[1] < 0 || fcntl(p[0], F_SETFL, O_NONBLOCK) < 0)
        return err_sys(ERR_SYSTEM, "pipe");
    return 0;
}

int launch_rank_start(struct launch_rank *k, const struct launch_start *s)
{
    int err[2] = {-1, -1}, out[2] = {-1, -1}, r = -1;
    pid_t parent = getpid();

    if (rankout_init(&k->out, s->place.rank, s->logdir) < 0 ||
        make_pipe(err) < 0 || (s->place.rank > 0 && make_pipe(out) < 0))
        goto out;
    k->pid = fork();
    if (k->pid == 0)
        become(s, parent, out[1], err[1]);
    if (k->pid < 0) {
        k->pid = 0;
        err_sys(ERR_SYSTEM, "fork");
        goto out;
    }
    setpgid(k->pid, k->pid);
    k->fd[0] = err[0];
    k->fd[1] = out[0];
    err[0] = out[0] = -1;
    r = 0;
out:
    for (int i = 0; i < 2; i++) {
        if (err[i] >= 0)
            close(err[i]);
        if (out[i] >= 0)
            close(out[i]);
    }
    return r;
}

void launch_rank_read(struct launch_rank *k, int stream)
{
    char text[16384];
    ssize_t n;

    while ((n = read(k->fd[stream], text, sizeof(text))) > 0)
        rankout_add(&k->out, stream, text, (size_t)n);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    rankout_add(&k->out, stream, NULL, 0);
    close(k->fd[stream]);
    k->fd[stream] = -1;
}

void launch_orphans(int sig)
{
    struct buf b = BUF_INIT;
    char *path = xstrfmt("/proc/self/task/%d/children", (int)getpid());
    struct err_kept kept = err_keep(); /* why all is to end, perhaps */
    char *p, *end;
    long pid;

    /* Without that file (an old kernel) groups are all that is reached. */
    (void)!buf_read_file(&b, path, 1 << 20);
    err_restore(&kept);
    for (p = b.data; p && (pid = strtol(p, &end, 10)) > 0; p = end)
        kill((pid_t)pid, sig);
    buf_release(&b);
    free(path);
}

/* ---- the hub */

int launch_hub_open(struct launch_hub *h, const char *address, int first, int n)
{
    *h = (struct launch_hub){
        .listener = -1, .first = first, .n = n, .origin = -1};
    h->said = xreallocarray(NULL, (size_t)n, sizeof(*h->said));
    h->met = xcalloc((size_t)n, sizeof(*h->met));
    for (int r = 0; r < n; r++)
        h->said[r] = -1;
    h->listener = local_listen(address, 64);
    return h->listener < 0 ? -1 : 0;
}

static void drop(struct launch_hub *h, int i)
{
    close(h->conn[i].fd);
    buf_release(&h->conn[i].text);
    h->conn[i] = h->conn[--h->n_conns];
}

void launch_hub_close(struct launch_hub *h)
{
    while (h->n_conns)
        drop(h, 0);
    free(h->conn);
    free(h->said);
    free(h->met);
    free(h->cause);
    if (h->listener >= 0)
        close(h->listener);
    *h = (struct launch_hub){.listener = -1, .origin = -1};
}

int launch_hub_fds(const struct launch_hub *h, struct pollfd *p)
{
    for (int i = 0; p && i <= h->n_conns; i++)
        p[i] = (struct pollfd){.fd = i ? h->conn[i - 1].fd : h->listener,
                               .events = POLLIN};
    return h->n_conns + 1;
}

static void admit(struct launch_hub *h)
{
    int fd = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    pid_t pid;

    if (fd < 0)
        return;
    if (local_user(fd, &pid) < 0) {
        warn("%s: turned away", err_text());
        close(fd);
        return;
    }
    h->conn = xreallocarray(h->conn, (size_t)h->n_conns + 1, sizeof(*h->conn));
    h->conn[h->n_conns++] = (struct launch_conn){
        .fd = fd, .pid = pid, .rank = -1, .text = BUF_INIT};
}

static void take_line(struct launch_hub *h, struct launch_conn *c, char *line)
{
    char *end;

    if (strncmp(line, "rank ", 5) == 0)
        c->rank = (int)strtol(line + 5, NULL, 10) - h->first;
    if (c->rank >= 0 && c->rank < h->n)
        h->met[c->rank] = true;
    if (strncmp(line, "status ", 7) == 0 && c->rank >= 0 && c->rank < h->n)
        h->said[c->rank] = (int)strtol(line + 7, NULL, 10) & 255;
    if (strncmp(line, "cause ", 6) != 0 || h->cause)
        return;
    h->origin = (int)strtol(line + 6, &end, 10);
    h->class = (int)strtol(end, &end, 10) & 255;
    h->cause = xstrdup(*end == ' ' ? end + 1 : end);
}

/* Lines of a ring; false when it has ended. */
static bool listen_to(struct launch_hub *h, struct launch_conn *c)
{
    char text[4096], *line, *end;
    ssize_t n;

    while ((n = read(c->fd, text, sizeof(text))) > 0 &&
           c->text.len < TEXT_MAX_BYTES)
        buf_add(&c->text, text, (size_t)n);
    if (!c->text.len)
        return n < 0 && errno == EAGAIN;
    line = c->text.data;
    while ((end = strchr(line, '\n'))) {
        *end = 0;
        take_line(h, c, line);
        line = end + 1;
    }
    c->text.len -= (size_t)(line - c->text.data);
    memmove(c->text.data, line, c->text.len + 1);
    return n < 0 && errno == EAGAIN;
}

void launch_hub_serve(struct launch_hub *h, const struct pollfd *p)
{
    /* From the end, since drop moves the last one. */
    for (int i = h->n_conns - 1; i >= 0; i--)
        if (p[i + 1].revents && !listen_to(h, &h->conn[i]))
            drop(h, i);
    if (p[0].revents)
        admit(h);
}

pid_t launch_hub_ring(const struct launch_hub *h, int r)
{
    for (int i = 0; i < h->n_conns; i++)
        if (h->conn[i].rank == r)
            return h->conn[i].pid;
    return 0;
}
