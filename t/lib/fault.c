/*
 * Faults on purpose: takes the place of lib/util/fault.c in the programs of
 * bin/t/faulty.
 *
 *	ACCEL_FAULT=kill:rank2:step7:phase=ckpt      or several, with commas
 *	ACCEL_FAULT=ACTION[=N][:rankR][:stepS][:attemptA][:phase=PHASE]
 *
 * The first time that a process of rank R (any, if not given; by RANK) is in step
 * S (any) and comes to PHASE (any; "ckpt" means the first moment of it), in
 * attempt A (0) of its launcher:
 *	kill      it kills itself with SIGKILL
 *	stop      it stops itself
 *	term      it gets SIGTERM
 *	slow=MS   it sleeps so long (100 ms), here and every further time
 *	full=N    the next N writes to files write a part and find the disk full (1)
 *	small=N   the next N questions for the room on a disk find none (1)
 *	cut       its TCP connections are shut down
 *	corrupt   a bit of the next large message on a TCP connection is turned over
 */
#include "util/fault.h"

#include "util/err.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define FAULTS 8
#define LARGE 512 /* bytes: a message with data in it */

const char fault_variable[] = "ACCEL_FAULT";

struct fault {
    char action[16], phase[32];
    long n, rank, step, attempt; /* -1: any, not given */
    atomic_bool done;
};

static struct fault faults[FAULTS];
static int n_faults;
static _Atomic int64_t step_now;
static atomic_long full, small, corrupt;

static long env_number(const char *name, long def)
{
    const char *text = getenv(name);

    return text && *text ? strtol(text, NULL, 10) : def;
}

static void parse_word(struct fault *f, const char *word, bool first)
{
    const char *equal = strchr(word, '=');
    size_t n = equal ? (size_t)(equal - word) : strlen(word);

    if (first && n < sizeof(f->action)) {
        memcpy(f->action, word, n);
        f->n = equal ? strtol(equal + 1, NULL, 10) : -1;
    } else if (strncmp(word, "phase=", 6) == 0 &&
               strlen(word) - 6 < sizeof(f->phase)) {
        memcpy(f->phase, word + 6, strlen(word) - 5);
    } else if (strncmp(word, "rank", 4) == 0) {
        f->rank = strtol(word + 4, NULL, 10);
    } else if (strncmp(word, "step", 4) == 0) {
        f->step = strtol(word + 4, NULL, 10);
    } else if (strncmp(word, "attempt", 7) == 0) {
        f->attempt = strtol(word + 7, NULL, 10);
    } else {
        die_with(ERR_USAGE, "ACCEL_FAULT: \"%s\": not understood", word);
    }
}

__attribute__((constructor)) static void parse(void)
{
    const char *text = getenv(fault_variable);
    char *copy, *one, *word, *rest, *words;

    if (!text)
        return;
    copy = xstrdup(text);
    for (one = strtok_r(copy, ",", &rest); one && n_faults < FAULTS;
         one = strtok_r(NULL, ",", &rest)) {
        struct fault *f = &faults[n_faults++];
        f->rank = f->step = -1;
        for (word = strtok_r(one, ":", &words); word;
             word = strtok_r(NULL, ":", &words))
            parse_word(f, word, !f->action[0]);
    }
    free(copy);
}

/* ---- what can happen */

static void cut_links(void)
{
    int domain;
    socklen_t n;

    for (int fd = 3; fd < 1024; fd++) {
        n = sizeof(domain);
        if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) == 0 &&
            (domain == AF_INET || domain == AF_INET6))
            shutdown(fd, SHUT_RDWR);
    }
}

static void pause_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    while (nanosleep(&t, &t) < 0 && errno == EINTR)
        continue;
}

static void act(const struct fault *f, const char *phase)
{
    const char *a = f->action;

    if (strcmp(a, "slow") == 0) {
        pause_ms(f->n < 0 ? 100 : f->n);
        return;
    }
    warn("fault: %s in step %lld, %s", a, (long long)step_now, phase);
    if (strcmp(a, "kill") == 0)
        kill(getpid(), SIGKILL);
    else if (strcmp(a, "stop") == 0)
        kill(getpid(), SIGSTOP);
    else if (strcmp(a, "term") == 0)
        kill(getpid(), SIGTERM);
    else if (strcmp(a, "full") == 0)
        full = f->n < 0 ? 1 : f->n;
    else if (strcmp(a, "small") == 0)
        small = f->n < 0 ? 1 : f->n;
    else if (strcmp(a, "cut") == 0)
        cut_links();
    else if (strcmp(a, "corrupt") == 0)
        corrupt = 1;
    else
        die_with(ERR_USAGE, "ACCEL_FAULT: \"%s\": no such fault", a);
}

static bool is_phase(const struct fault *f, const char *phase)
{
    size_t n = strlen(f->phase);

    return n == 0 || (strncmp(f->phase, phase, n) == 0 &&
                      (phase[n] == 0 || phase[n] == '.'));
}

void fault_step(int64_t step)
{
    step_now = step;
}

void fault_point(const char *phase)
{
    for (int i = 0; i < n_faults; i++) {
        struct fault *f = &faults[i];
        if (!is_phase(f, phase) || (f->step >= 0 && f->step != step_now) ||
            (f->rank >= 0 && f->rank != env_number("RANK", 0)) ||
            f->attempt != env_number("ACCEL_ATTEMPT", 0))
            continue;
        if (!atomic_exchange(&f->done, true) || strcmp(f->action, "slow") == 0)
            act(f, phase);
    }
}

/* ---- in front of the C library */

/* A part is written, then the disk is full. */
ssize_t writev(int fd, const struct iovec *v, int n)
{
    struct stat st;

    if (full > 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        full--;
        (void)!write(fd, v[n - 1].iov_base, v[n - 1].iov_len / 2);
        errno = ENOSPC;
        return -1;
    }
    return syscall(SYS_writev, fd, v, n);
}

int statvfs(const char *path, struct statvfs *st)
{
    struct statfs s;

    if (statfs(path, &s) < 0)
        return -1;
    *st = (struct statvfs){.f_frsize = (unsigned long)s.f_bsize,
                           .f_blocks = s.f_blocks,
                           .f_bfree = s.f_bfree,
                           .f_bavail = s.f_bavail};
    if (small > 0) {
        small--;
        st->f_bfree = st->f_bavail = 3;
    }
    return 0;
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    char all[1 << 16];
    size_t n = 0;
    struct iovec one = {all, 0};
    struct msghdr changed = {.msg_iov = &one, .msg_iovlen = 1};
    int domain = 0;
    socklen_t len = sizeof(domain);

    for (size_t i = 0; i < m->msg_iovlen; i++)
        n += m->msg_iov[i].iov_len;
    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len);
    if (!corrupt || n < LARGE || n > sizeof(all) ||
        (domain != AF_INET && domain != AF_INET6))
        return syscall(SYS_sendmsg, fd, m, flags);
    for (size_t i = 0; i < m->msg_iovlen; i++) {
        memcpy(all + one.iov_len, m->msg_iov[i].iov_base,
               m->msg_iov[i].iov_len);
        one.iov_len += m->msg_iov[i].iov_len;
    }
    corrupt = 0;
    all[n / 2] ^= 1;
    return syscall(SYS_sendmsg, fd, &changed, flags);
}
