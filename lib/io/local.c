#include "io/local.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int address_of(const char *text, struct sockaddr_un *a, socklen_t *n)
{
    size_t len = strlen(text);

    memset(a, 0, sizeof(*a));
    a->sun_family = AF_UNIX;
    if (len < 2 || len >= sizeof(a->sun_path))
        return err_set(ERR_USAGE, "socket \"%.120s\": 2 to %zu bytes", text,
                       sizeof(a->sun_path) - 1);
    memcpy(a->sun_path, text, len);
    *n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    if (text[0] == '@')
        a->sun_path[0] = 0;
    else
        *n += 1;
    return 0;
}

int local_connect(const char *address)
{
    struct sockaddr_un a;
    socklen_t n;
    int fd, saved;

    if (address_of(address, &a, &n) < 0) {
        errno = EINVAL;
        return -1;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, n) < 0) {
        saved = errno;
        close(fd);
        errno = saved;
        fd = -1;
    }
    return fd;
}

/* A socket file that nobody listens on is what a killed run left. */
static bool is_stale(const char *path)
{
    struct stat st;
    int fd;

    if (path[0] == '@' || lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return false;
    fd = local_connect(path);
    if (fd >= 0)
        close(fd);
    return fd < 0 && errno == ECONNREFUSED;
}

int local_listen(const char *address, int backlog)
{
    struct sockaddr_un a;
    socklen_t n;
    int fd, r;

    if (address_of(address, &a, &n) < 0)
        return -1;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_sys(ERR_SYSTEM, "socket");
    r = bind(fd, (struct sockaddr *)&a, n);
    if (r < 0 && errno == EADDRINUSE && is_stale(address)) {
        unlink(address);
        r = bind(fd, (struct sockaddr *)&a, n);
    }
    if (r < 0 || listen(fd, backlog) < 0) {
        err_sys(errno == EADDRINUSE ? ERR_CONFIG : ERR_CANTCREAT,
                "socket \"%s\"%s", address,
                errno == EADDRINUSE ? ": somebody listens there already" : "");
        close(fd);
        return -1;
    }
    return fd;
}

int local_user(int fd, pid_t *pid)
{
    struct ucred c;
    socklen_t n = sizeof(c);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &n) < 0)
        return err_sys(ERR_SYSTEM, "socket: who is there");
    if (c.uid != geteuid())
        return err_set(ERR_NOPERM, "process %d belongs to user %u, not %u",
                       (int)c.pid, (unsigned)c.uid, (unsigned)geteuid());
    *pid = c.pid;
    return 0;
}

/* ---- descriptors */

union fd_room {
    struct cmsghdr h;
    char room[CMSG_SPACE(LOCAL_FDS * sizeof(int))];
};

int local_give(int fd, const int *fds, int n)
{
    size_t bytes = (size_t)n * sizeof(int);
    union fd_room control;
    char byte = 'm';
    struct iovec v = {&byte, 1};
    struct msghdr m = {.msg_iov = &v,
                       .msg_iovlen = 1,
                       .msg_control = control.room,
                       .msg_controllen = CMSG_SPACE(bytes)};

    memset(&control, 0, sizeof(control));
    control.h.cmsg_level = SOL_SOCKET;
    control.h.cmsg_type = SCM_RIGHTS;
    control.h.cmsg_len = CMSG_LEN(bytes);
    memcpy(CMSG_DATA(&control.h), fds, bytes);
    if (sendmsg(fd, &m, MSG_NOSIGNAL) != 1)
        return err_sys(ERR_PEER, "socket: hand over descriptors");
    return 0;
}

int local_take(int fd, int fds[LOCAL_FDS])
{
    union fd_room control;
    char byte;
    struct iovec v = {&byte, 1};
    struct msghdr m = {.msg_iov = &v,
                       .msg_iovlen = 1,
                       .msg_control = control.room,
                       .msg_controllen = sizeof(control.room)};
    ssize_t r;

    for (int i = 0; i < LOCAL_FDS; i++)
        fds[i] = -1;
    do {
        r = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
    } while (r < 0 && errno == EINTR);
    if (r != 1 || m.msg_controllen < CMSG_LEN(sizeof(int)) ||
        control.h.cmsg_level != SOL_SOCKET ||
        control.h.cmsg_type != SCM_RIGHTS ||
        control.h.cmsg_len > CMSG_LEN(LOCAL_FDS * sizeof(int)))
        return err_set(ERR_PEER, "socket: no descriptors were handed over");
    memcpy(fds, CMSG_DATA(&control.h), control.h.cmsg_len - CMSG_LEN(0));
    return (int)((control.h.cmsg_len - CMSG_LEN(0)) / sizeof(int));
}
