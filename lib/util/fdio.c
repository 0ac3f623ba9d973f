#include "util/fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PIECES 1024 /* of one writev; IOV_MAX of Linux */

static int64_t ms_of(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t clock_ms(void)
{
    return ms_of(CLOCK_MONOTONIC);
}

int64_t wall_ms(void)
{
    return ms_of(CLOCK_REALTIME);
}

double clock_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct timespec clock_after(clockid_t clock, int64_t ms)
{
    struct timespec t;

    clock_gettime(clock, &t);
    ms += t.tv_nsec / 1000000;
    t.tv_sec += (time_t)(ms / 1000);
    t.tv_nsec = (long)(ms % 1000) * 1000000;
    return t;
}

/* Wait for events; 1 when they are there, 0 past the deadline, -1 on error. */
static int wait_for(int fd, short events, int64_t deadline)
{
    struct pollfd p = {.fd = fd, .events = events};
    int64_t left;
    int ms, r;

    for (;;) {
        ms = -1;
        if (deadline != FD_FOREVER) {
            left = deadline - clock_ms();
            if (left < 0)
                left = 0;
            ms = left > INT_MAX ? INT_MAX : (int)left;
        }
        r = poll(&p, 1, ms);
        if (r > 0)
            return 1;
        if (r == 0 && (deadline != FD_FOREVER && clock_ms() >= deadline))
            return 0;
        if (r < 0 && errno != EINTR)
            return -1;
    }
}

int fd_read(int fd, void *p, size_t n, int64_t deadline)
{
    size_t got = 0, want;
    ssize_t r;
    int ready;

    while (got < n) {
        if (deadline != FD_FOREVER) {
            ready = wait_for(fd, POLLIN, deadline);
            if (ready == 0)
                return err_set(ERR_PEER,
                               "deadline passed: expected %zu bytes, got %zu",
                               n, got);
            if (ready < 0)
                return err_sys(ERR_IO, "poll");
        }
        want = n - got < SSIZE_MAX ? n - got : SSIZE_MAX;
        r = read(fd, (char *)p + got, want);
        if (r > 0) {
            got += (size_t)r;
        } else if (r == 0) {
            if (got == 0)
                return 0;
            return err_set(ERR_IO, "expected %zu bytes, got %zu", n, got);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            if (wait_for(fd, POLLIN, deadline) < 0)
                return err_sys(ERR_IO, "poll");
        } else if (errno != EINTR) {
            return err_sys(ERR_IO, "read");
        }
    }
    return 1;
}

/* Seek over n bytes of a regular file. -2: it is not one, read instead. */
static int skip_seek(int fd, uint64_t n)
{
    struct stat st;
    off_t at;
    uint64_t left;

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return -2;
    at = lseek(fd, 0, SEEK_CUR);
    if (at < 0)
        return -2;
    left = st.st_size > at ? (uint64_t)(st.st_size - at) : 0;
    if (left == 0)
        return 0;
    if (left < n)
        return err_set(ERR_IO, "expected %llu bytes, got %llu",
                       (unsigned long long)n, (unsigned long long)left);
    if (lseek(fd, (off_t)n, SEEK_CUR) < 0)
        return err_sys(ERR_IO, "seek");
    return 1;
}

ssize_t fd_some(int fd, void *p, size_t n, int64_t deadline)
{
    ssize_t r;

    for (;;) {
        int ready = 1;
        if (deadline != FD_FOREVER)
            ready = wait_for(fd, POLLIN, deadline);
        if (ready == 0)
            return err_set(ERR_PEER, "deadline passed: nothing came");
        if (ready < 0)
            return err_sys(ERR_IO, "poll");
        r = read(fd, p, n < SSIZE_MAX ? n : SSIZE_MAX);
        if (r >= 0)
            return r;
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            if (wait_for(fd, POLLIN, deadline) < 0)
                return err_sys(ERR_IO, "poll");
        } else if (errno != EINTR) {
            return err_sys(ERR_IO, "read");
        }
    }
}

int fd_skip(int fd, uint64_t n, int64_t deadline)
{
    char waste[65536];
    uint64_t done = 0;
    size_t part;
    int r;

    if (n == 0)
        return 1;
    r = skip_seek(fd, n);
    if (r != -2)
        return r;
    while (done < n) {
        part = n - done < sizeof(waste) ? (size_t)(n - done) : sizeof(waste);
        r = fd_read(fd, waste, part, deadline);
        if (r < 0)
            return -1;
        if (r == 0)
            return done == 0 ? 0
                             : err_set(ERR_IO, "expected %llu bytes, got %llu",
                                       (unsigned long long)n,
                                       (unsigned long long)done);
        done += part;
    }
    return 1;
}

int fd_pread(int fd, void *p, size_t n, uint64_t offset)
{
    size_t got = 0, want;
    ssize_t r;

    if (offset > INT64_MAX || n > INT64_MAX - offset)
        return err_set(ERR_DATA, "offset %llu is beyond any file",
                       (unsigned long long)offset);
    while (got < n) {
        want = n - got < SSIZE_MAX ? n - got : SSIZE_MAX;
        r = pread(fd, (char *)p + got, want, (off_t)(offset + got));
        if (r > 0)
            got += (size_t)r;
        else if (r == 0)
            return err_set(ERR_DATA,
                           "expected %zu bytes at offset %llu, got %zu", n,
                           (unsigned long long)offset, got);
        else if (errno != EINTR)
            return err_sys(ERR_IO, "read at offset %llu",
                           (unsigned long long)offset);
    }
    return 0;
}

int fd_write(int fd, const void *p, size_t n, int64_t deadline)
{
    struct iovec v = {.iov_base = (void *)(uintptr_t)p, .iov_len = n};

    return fd_writev(fd, &v, 1, deadline);
}

/*
 * One write that does not wait although the descriptor may be a blocking one:
 * poll() says only that some room is there. Sockets have a flag for it; pipes
 * have one from Linux 6.5, before that PIPE_BUF bytes are sure to fit.
 */
static ssize_t write_some(int fd, struct iovec *v, int n, bool is_socket)
{
    struct msghdr m = {.msg_iov = v, .msg_iovlen = (size_t)n};
    ssize_t r;

    if (is_socket)
        return sendmsg(fd, &m, MSG_DONTWAIT);
    r = pwritev2(fd, v, n, -1, RWF_NOWAIT);
    if (r < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL))
        r = write(fd, v->iov_base,
                  v->iov_len < PIPE_BUF ? v->iov_len : PIPE_BUF);
    return r;
}

/* Drop what has been written, and empty pieces, from the front. */
static void advance(struct iovec **v, int *n, size_t done)
{
    while (*n > 0 && (*v)->iov_len <= done) {
        done -= (*v)->iov_len;
        (*v)++;
        (*n)--;
    }
    if (*n > 0) {
        (*v)->iov_base = (char *)(*v)->iov_base + done;
        (*v)->iov_len -= done;
    }
}

int fd_writev(int fd, struct iovec *v, int n, int64_t deadline)
{
    bool timed = false, is_socket = false;
    struct stat st;
    ssize_t r;
    int ready, part;

    if (deadline != FD_FOREVER && fstat(fd, &st) == 0) {
        timed = !S_ISREG(st.st_mode); /* a disk has no deadline */
        is_socket = S_ISSOCK(st.st_mode);
    }
    for (advance(&v, &n, 0); n > 0; advance(&v, &n, (size_t)r)) {
        if (timed) {
            ready = wait_for(fd, POLLOUT, deadline);
            if (ready == 0)
                return err_set(ERR_PEER, "deadline passed while writing");
            if (ready < 0)
                return err_sys(ERR_IO, "poll");
        }
        part = n < PIECES ? n : PIECES;
        r = timed ? write_some(fd, v, part, is_socket) : writev(fd, v, part);
        if (r >= 0)
            continue;
        r = 0;
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            if (wait_for(fd, POLLOUT, deadline) < 0)
                return err_sys(ERR_IO, "poll");
        } else if (errno != EINTR) {
            return err_sys(ERR_IO, "write");
        }
    }
    return 0;
}

int fd_standard(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd < 0)
        return err_sys(ERR_SYSTEM, "/dev/null: open");
    close(fd);
    return 0;
}

int fd_cloexec(int fd)
{
    int flags = fcntl(fd, F_GETFD);

    if (flags < 0 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) < 0)
        return err_sys(ERR_SYSTEM, "descriptor %d: close on exec", fd);
    return 0;
}

void fd_grow_pipe(int fd)
{
#ifdef F_SETPIPE_SZ
    int size, saved = errno;

    for (size = 1 << 20; size > 1 << 16; size /= 2) {
        if (fcntl(fd, F_SETPIPE_SZ, size) >= 0)
            break;
    }
    errno = saved;
#else
    (void)fd;
#endif
}
