#include "io/launchhosts.h"

#include "io/rankout.h"
#include "util/buf.h"
#include "util/fdio.h"
#include "util/signals.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILE_MAX_BYTES (1 << 20)
#define SLOTS_MOST 1024
#define KEY_MS 10000 /* until it is there */
#define SSH_FAILED 255
#define SETTLE_MS 12000 /* rings find out that a host is lost */
#define LAST_MS 15000   /* after the connections have been closed */

/* ---- the list */

static bool good_name(const char *name)
{
    if (!isalnum((unsigned char)*name) || strlen(name) > 200)
        return false;
    for (; *name; name++)
        if (!isalnum((unsigned char)*name) && !strchr("@._-", *name))
            return false;
    return true;
}

static int take_slots(struct hostfile *f, const char *word, const char *where)
{
    char *end;
    long v;

    if (strncmp(word, "slots=", 6) != 0)
        return err_set(ERR_CONFIG, "%s: \"%.40s\": not slots=N", where, word);
    v = strtol(word + 6, &end, 10);
    if (!isdigit((unsigned char)word[6]) || *end || v < 1 || v > SLOTS_MOST)
        return err_set(ERR_CONFIG, "%s: \"%.40s\": not 1 to %d", where, word,
                       SLOTS_MOST);
    if (f->n > 1 && f->slots != v)
        return err_set(ERR_CONFIG,
                       "%s: slots=%ld, but the hosts before have %d: all need "
                       "the same",
                       where, v, f->slots);
    f->slots = (int)v;
    return 0;
}

static int take_line(struct hostfile *f, char *line, const char *where)
{
    char *word[3] = {NULL}, *save = NULL;
    int n = 0;

    line[strcspn(line, "#")] = 0;
    while (n < 3 && (word[n] = strtok_r(n ? NULL : line, " \t\r", &save)))
        n++;
    if (n == 0)
        return 0;
    if (n > 2)
        return err_set(ERR_CONFIG, "%s: \"%.40s\": after HOST slots=N", where,
                       word[2]);
    if (!good_name(word[0]))
        return err_set(ERR_CONFIG, "%s: \"%.40s\": not the name of a host",
                       where, word[0]);
    for (int i = 0; i < f->n; i++)
        if (strcmp(f->name[i], word[0]) == 0)
            return err_set(ERR_CONFIG, "%s: %s is there already", where,
                           word[0]);
    f->name = xreallocarray(f->name, (size_t)f->n + 1, sizeof(*f->name));
    f->name[f->n++] = xstrdup(word[0]);
    if (n == 2)
        return take_slots(f, word[1], where);
    if (f->slots)
        return err_set(ERR_CONFIG, "%s: no slots, but the hosts before have %d",
                       where, f->slots);
    return 0;
}

int hostfile_read(struct hostfile *f, const char *path)
{
    struct buf b = BUF_INIT;
    char *line, *end;
    int r = 0;

    *f = (struct hostfile){0};
    if (buf_read_file(&b, path, FILE_MAX_BYTES) < 0)
        return -1;
    line = b.data ? b.data : NULL;
    for (int k = 1; r == 0 && line && *line; k++) {
        char *where = xstrfmt("%s: line %d", path, k);
        end = line + strcspn(line, "\n");
        if (*end)
            *end++ = 0;
        r = take_line(f, line, where);
        line = end;
        free(where);
    }
    buf_release(&b);
    if (r == 0 && f->n == 0)
        r = err_set(ERR_CONFIG, "%s: no host in it", path);
    if (r < 0)
        hostfile_release(f);
    return r;
}

void hostfile_release(struct hostfile *f)
{
    for (int i = 0; i < f->n; i++)
        free(f->name[i]);
    free(f->name);
    *f = (struct hostfile){0};
}

/* ---- one host */

struct host {
    pid_t pid;
    int in;    /* of its ssh */
    int fd[2]; /* its stderr and, but for the first, its stdout */
    struct rankout out;
    int status; /* -1: goes on */
    int64_t ended_at;
};

struct hosts {
    const struct hosts_options *o;
    struct host *host;
    int n;
    int signals;
    sigset_t mask;
    int interrupts;
    bool stopping, asked, closed, killed;
    int64_t failed_at; /* 0: none */
};

_Noreturn static void become_ssh(const struct hosts *s, int i, pid_t parent,
                                 const int fd[3])
{
    char word[][16] = {"ssh", "-T", "-x", "-o", "BatchMode=yes", "--"};
    char *argv[] = {word[0],
                    word[1],
                    word[2],
                    word[3],
                    word[4],
                    word[5],
                    s->o->file->name[i],
                    s->o->command(s->o->arg, i),
                    NULL};

    if (!signals_child(parent, SIGTERM, &s->mask))
        _exit(ERR_PEER);
    for (int k = 0; k < 3; k++)
        if (fd[k] >= 0)
            dup2(fd[k], k);
    execvp(argv[0], argv);
    warn("ssh: %s", strerror(errno));
    _exit(ERR_UNAVAILABLE);
}

static int start_host(struct hosts *s, int i)
{
    struct host *h = &s->host[i];
    int p[3][2], fd[3];
    char *label = xstrfmt("%s: ", s->o->file->name[i]);
    pid_t parent = getpid();
    struct buf b = BUF_INIT;

    rankout_label(&h->out, label);
    free(label);
    for (int k = 0; k < 3; k++)
        if (pipe2(p[k], O_CLOEXEC) < 0)
            return err_sys(ERR_SYSTEM, "pipe");
    fd[0] = p[0][0];
    fd[1] = i ? p[1][1] : -1;
    fd[2] = p[2][1];
    h->pid = fork();
    if (h->pid == 0)
        become_ssh(s, i, parent, fd);
    if (h->pid < 0)
        return err_sys(ERR_SYSTEM, "fork");
    close(p[0][0]);
    close(p[1][1]);
    close(p[2][1]);
    h->in = p[0][1];
    h->fd[0] = p[2][0];
    h->fd[1] = p[1][0];
    for (int k = 0; k < 2; k++)
        if (fcntl(h->fd[k], F_SETFL, O_NONBLOCK) < 0)
            return err_sys(ERR_SYSTEM, "pipe");
    buf_addstr(&b, "key ");
    for (int k = 0; k < HOSTS_KEY; k++)
        buf_addf(&b, "%02x", s->o->key[k]);
    buf_addch(&b, '\n');
    /* Fits into the pipe; an ssh that has ended is seen by its status. */
    (void)!write(h->in, b.data, b.len);
    explicit_bzero(b.data, b.len);
    buf_release(&b);
    return 0;
}

static void read_host(struct host *h, int stream)
{
    char text[16384];
    ssize_t n;

    while ((n = read(h->fd[stream], text, sizeof(text))) > 0)
        rankout_add(&h->out, stream, text, (size_t)n);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    rankout_add(&h->out, stream, NULL, 0);
    close(h->fd[stream]);
    h->fd[stream] = -1;
}

/* ---- all */

static void tell_all(struct hosts *s, int sig)
{
    char line[24];

    snprintf(line, sizeof(line), "signal %d\n", sig);
    for (int i = 0; i < s->n; i++)
        if (s->host[i].in >= 0)
            (void)!write(s->host[i].in, line, strlen(line));
}

static void close_all(struct hosts *s)
{
    for (int i = 0; i < s->n; i++)
        if (s->host[i].in >= 0) {
            close(s->host[i].in);
            s->host[i].in = -1;
        }
}

static void take_signals(struct hosts *s)
{
    struct signalfd_siginfo g;

    while (read(s->signals, &g, sizeof(g)) == (ssize_t)sizeof(g)) {
        int sig = (int)g.ssi_signo;
        if (sig == SIGCHLD)
            continue;
        if (sig != SIGUSR2)
            s->stopping = true;
        if (sig == SIGINT)
            s->interrupts++;
        tell_all(s, sig);
    }
}

static void reap(struct hosts *s)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (int i = 0; i < s->n; i++) {
            struct host *h = &s->host[i];
            if (h->pid != pid)
                continue;
            h->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status)
                                            : WEXITSTATUS(status);
            h->ended_at = clock_ms();
            if (h->in >= 0)
                close(h->in);
            h->in = -1;
            if (h->status == SSH_FAILED) {
                warn("%s: ssh ended with %d: no connection, or it broke",
                     s->o->file->name[i], SSH_FAILED);
                h->status = ERR_UNAVAILABLE;
            }
            /* Where nobody came the others need not wait. */
            if (h->status && !s->failed_at)
                s->failed_at = h->ended_at -
                               (h->status == ERR_UNAVAILABLE ? SETTLE_MS : 0);
        }
}

static bool going_on(const struct hosts *s)
{
    for (int i = 0; i < s->n; i++)
        if (s->host[i].status < 0 || s->host[i].fd[0] >= 0 ||
            s->host[i].fd[1] >= 0)
            return true;
    return false;
}

/* A host has failed: its ranks' rings tell the others, who end by themselves;
 * else they are asked, then cut off. */
static void press(struct hosts *s)
{
    int64_t age = s->failed_at ? clock_ms() - s->failed_at : 0;
    int64_t asked = SETTLE_MS, cut = asked + s->o->grace_ms + 2000;

    if (s->failed_at && !s->stopping && age >= asked && !s->asked) {
        s->asked = true;
        tell_all(s, SIGTERM);
    }
    if ((s->failed_at && age >= cut + (s->stopping ? 30000 : 0)) ||
        s->interrupts > 2) {
        if (!s->closed)
            close_all(s);
        s->closed = true;
    }
    if (s->closed && age >= cut + LAST_MS && !s->killed) {
        s->killed = true;
        for (int i = 0; i < s->n; i++)
            if (s->host[i].status < 0)
                kill(-s->host[i].pid, SIGKILL);
    }
}

static void turn(struct hosts *s, int ms)
{
    struct pollfd *p = xcalloc((size_t)(1 + 2 * s->n), sizeof(*p));

    p[0] = (struct pollfd){.fd = s->signals, .events = POLLIN};
    for (int i = 0; i < 2 * s->n; i++)
        p[1 + i] =
            (struct pollfd){.fd = s->host[i / 2].fd[i % 2], .events = POLLIN};
    if (poll(p, (nfds_t)(1 + 2 * s->n), ms) > 0) {
        if (p[0].revents)
            take_signals(s);
        for (int i = 0; i < 2 * s->n; i++)
            if (p[1 + i].revents)
                read_host(&s->host[i / 2], i % 2);
    }
    reap(s);
    free(p);
}

/* What failed by itself, before what lost a peer, before what stopped. */
static int verdict(const struct hosts *s)
{
    int64_t at = 0;
    int status = 0, kind = 0;

    for (int i = 0; i < s->n; i++) {
        const struct host *h = &s->host[i];
        int k = h->status == 0           ? 0
                : h->status == ERR_AGAIN ? 1
                : h->status == ERR_PEER  ? 2
                                         : 3;
        if (k > kind || (k && k == kind && h->ended_at < at)) {
            kind = k;
            status = h->status;
            at = h->ended_at;
        }
    }
    return status;
}

static void tell_end(const struct hosts *s)
{
    struct buf b = BUF_INIT;

    for (int i = 0; i < s->n; i++)
        buf_addf(&b, "%s%s %d", i ? ", " : "", s->o->file->name[i],
                 s->host[i].status);
    warn("status of the hosts: %s", b.data);
    buf_release(&b);
}

int launch_hosts(const struct hosts_options *o)
{
    struct hosts s = {.o = o, .n = o->file->n, .signals = -1};
    int status = -1;

    s.host = xcalloc((size_t)s.n, sizeof(*s.host));
    for (int i = 0; i < s.n; i++)
        s.host[i] = (struct host){
            .in = -1, .fd = {-1, -1}, .status = -1, .out.log = -1};
    s.signals = signals_open(&s.mask, true);
    if (s.signals < 0)
        goto out;
    for (int i = 0; i < s.n; i++)
        if (start_host(&s, i) < 0) {
            close_all(&s);
            goto out;
        }
    while (going_on(&s)) {
        turn(&s, 200);
        press(&s);
    }
    status = verdict(&s);
    if (status)
        tell_end(&s);
out:
    for (int i = 0; i < s.n; i++)
        rankout_release(&s.host[i].out);
    free(s.host);
    if (s.signals >= 0)
        close(s.signals);
    return status;
}

/* ---- the other side */

static int hex_digit(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int read_key(unsigned char key[HOSTS_KEY])
{
    char text[4 + 2 * HOSTS_KEY + 1];
    int r = fd_read(STDIN_FILENO, text, sizeof(text), clock_ms() + KEY_MS);
    bool bad = r != 1 || memcmp(text, "key ", 4) != 0 ||
               text[sizeof(text) - 1] != '\n';

    for (int i = 0; !bad && i < HOSTS_KEY; i++) {
        int a = hex_digit(text[4 + 2 * i]), b = hex_digit(text[5 + 2 * i]);
        bad = a < 0 || b < 0;
        key[i] = (unsigned char)(a * 16 + b);
    }
    explicit_bzero(text, sizeof(text));
    if (!bad)
        return 0;
    return err_set(ERR_USAGE, "--over-ssh: no key on standard input: it is for "
                              "accel-launch --hostfile");
}

char *launch_take_key(int *in)
{
    unsigned char key[HOSTS_KEY];
    int null, fd;
    bool ok;

    if (read_key(key) < 0)
        return NULL;
    null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    *in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    fd = memfd_create("key", MFD_CLOEXEC);
    ok = null >= 0 && *in >= 0 && fd >= 0 && fchmod(fd, 0600) == 0 &&
         fd_write(fd, key, sizeof(key), FD_FOREVER) == 0 &&
         dup2(null, STDIN_FILENO) == 0 && fcntl(*in, F_SETFL, O_NONBLOCK) == 0;
    explicit_bzero(key, sizeof(key));
    if (null >= 0)
        close(null);
    if (ok)
        return xstrfmt("/proc/%d/fd/%d", (int)getpid(), fd);
    err_sys(ERR_SYSTEM, "--over-ssh: key");
    if (fd >= 0)
        close(fd);
    return NULL;
}
