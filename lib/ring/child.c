#include "ring/child.h"

#include "io/ctl.h"
#include "util/fdio.h"
#include "util/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void set_number(const char *name, int v)
{
    char text[16];

    snprintf(text, sizeof(text), "%d", v);
    setenv(name, text, 1);
}

/* In the child; never returns. fail gets the errno of what went wrong. */
_Noreturn static void become(const struct child_options *o, pid_t parent,
                             const int fd[3], int fail)
{
    int saved;

    if (!signals_child(parent, SIGKILL, o->mask))
        _exit(ERR_PEER);
    /* fd[] are above these numbers, see start. */
    if (dup2(fd[0], CTL_FD_IN) >= 0 && dup2(fd[1], CTL_FD_OUT) >= 0 &&
        (fd[2] < 0 || dup2(fd[2], CTL_FD_SLOTS) >= 0))
        execvp(o->argv[0], o->argv);
    saved = errno;
    (void)!write(fail, &saved, sizeof(saved));
    _exit(ERR_UNAVAILABLE);
}

/* Above the numbers that mean something. */
static int move_up(int fd)
{
    return fcntl(fd, F_DUPFD_CLOEXEC, CTL_FD_SLOTS + 1);
}

static int make_pipe(int p[2], int bytes)
{
    int q[2];

    if (pipe2(q, O_CLOEXEC) < 0)
        return err_sys(ERR_SYSTEM, "pipe");
    for (int i = 0; i < 2; i++) {
        p[i] = move_up(q[i]);
        close(q[i]);
    }
    if (p[0] < 0 || p[1] < 0)
        return err_sys(ERR_SYSTEM, "pipe");
    if (bytes > 0)
        fcntl(p[0], F_SETPIPE_SZ, bytes);
    else
        fd_grow_pipe(p[0]);
    return 0;
}

static int wait_for_exec(struct child *c, int fail)
{
    int e, status;

    if (fd_read(fail, &e, sizeof(e), FD_FOREVER) != 1)
        return 0;
    while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    c->pid = -1;
    errno = e;
    return err_sys(ERR_UNAVAILABLE, "%s", c->name);
}

int child_start(struct child *c, const struct child_options *o)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1}, fail[2] = {-1, -1};
    int theirs[3] = {-1, -1, -1}, ok = -1;
    pid_t parent = getpid();
    const char *slash = strrchr(o->argv[0], '/');
    const struct ranks *r = o->ranks;

    *c = (struct child){-1, -1, -1, -1, slash ? slash + 1 : o->argv[0]};
    if (make_pipe(in, o->pipe_bytes) < 0 || make_pipe(out, o->pipe_bytes) < 0 ||
        make_pipe(fail, 0) < 0)
        goto out;
    if (o->shared >= 0 && (theirs[2] = move_up(o->shared)) < 0) {
        err_sys(ERR_SYSTEM, "descriptor for the worker");
        goto out;
    }
    set_number("RANK", r->rank);
    set_number("WORLD_SIZE", r->world);
    set_number("LOCAL_RANK", r->local_rank);
    set_number("LOCAL_WORLD_SIZE", r->local_world);
    setenv("ACCEL_RING", "6,7", 1);
    theirs[0] = out[0];
    theirs[1] = in[1];
    c->pid = fork();
    if (c->pid == 0)
        become(o, parent, theirs, fail[1]);
    if (c->pid < 0) {
        err_sys(ERR_SYSTEM, "fork");
        goto out;
    }
    setpgid(c->pid, c->pid);
    close(fail[1]);
    fail[1] = -1;
    if (wait_for_exec(c, fail[0]) < 0)
        goto out;
    c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
    if (c->pidfd < 0) {
        err_sys(ERR_SYSTEM, "pidfd_open");
        goto out;
    }
    c->in = in[0];
    c->out = out[1];
    in[0] = out[1] = -1;
    ok = 0;
out:
    if (theirs[2] >= 0)
        close(theirs[2]);
    for (int i = 0; i < 2; i++) {
        if (in[i] >= 0)
            close(in[i]);
        if (out[i] >= 0)
            close(out[i]);
        if (fail[i] >= 0)
            close(fail[i]);
    }
    return ok;
}

void child_describe(int status, struct buf *b)
{
    if (WIFSIGNALED(status))
        buf_addf(b, "killed by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        buf_addf(b, "exited with status %d", WEXITSTATUS(status));
}

int child_exit_status(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
