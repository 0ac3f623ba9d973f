#include "io/launch.h"

#include "io/launchrank.h"
#include "util/buf.h"
#include "util/fault.h"
#include "util/fdio.h"
#include "util/signals.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define SETTLE_MS 2000   /* for what a ring leaves; ranks that stop early */
#define RINGS_MS 4000    /* rings end together; they may have to kill workers */
#define STOPPED_MS 30000 /* after a signal that asked all to end */
#define LAST_MS 5000     /* for what is left after KILL */
#define PLACE_BYTES 108  /* of the name of a socket */

/* How far the ending of an attempt has come. */
enum stage {
    RUNNING,
    ASKED,
    KILLED
};

struct launch {
    const struct launch_options *o;
    struct launch_rank *rank; /* [n] */
    struct launch_hub hub;
    int signals;
    sigset_t mask; /* of the ranks */
    int attempt;
    enum stage stage;
    int first; /* rank here that failed first by time, -1: none */
    int64_t failed_at, asked_at;
    bool stopping; /* a signal asked for the end */
    int control;   /* -1: none, or it has ended */
    struct buf said;
    int64_t cut_at; /* when it ended, 0: not yet */
    int interrupts;
};

/* ---- signals to ranks */

static bool group_signal(pid_t pid, int sig)
{
    return pid > 0 && kill(-pid, sig) == 0;
}

/* To the ring if there is one, else to the whole group. */
static void forward(struct launch *l, int sig)
{
    for (int r = 0; r < l->o->n; r++) {
        struct launch_rank *k = &l->rank[r];
        pid_t ring = launch_hub_ring(&l->hub, r);
        if (k->ended)
            continue;
        if (ring > 0)
            kill(ring, sig);
        else
            group_signal(k->pid, sig);
    }
}

/* Every group, those of leaders that ended as well, and orphans. */
static void signal_all(struct launch *l, int sig)
{
    for (int r = 0; r < l->o->n; r++)
        group_signal(l->rank[r].pid, sig);
    launch_orphans(sig);
}

static void take_signal(struct launch *l, int sig)
{
    if (sig == SIGINT && l->interrupts++ > 0) {
        warn("interrupted twice: all ranks are killed");
        signal_all(l, SIGKILL);
        l->stage = KILLED;
        l->asked_at = clock_ms();
        return;
    }
    if (sig != SIGUSR2)
        l->stopping = true;
    note("signal %d (%s) goes to all ranks", sig, strsignal(sig));
    forward(l, sig);
}

static void take_signals(struct launch *l)
{
    struct signalfd_siginfo s;

    while (read(l->signals, &s, sizeof(s)) == (ssize_t)sizeof(s))
        if (s.ssi_signo != SIGCHLD)
            take_signal(l, (int)s.ssi_signo);
}

/* Signals that another launcher passes on, and its end. */
static void take_control(struct launch *l)
{
    char text[256], *end, *line;
    ssize_t n = read(l->control, text, sizeof(text));

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || l->said.len > sizeof(text)) {
        warn("the connection to who started this has ended: so do the ranks");
        close(l->control);
        l->control = -1;
        l->cut_at = clock_ms();
        take_signal(l, SIGTERM);
        return;
    }
    buf_add(&l->said, text, (size_t)n);
    for (line = l->said.data; (end = strchr(line, '\n')); line = end + 1) {
        long sig = strncmp(line, "signal ", 7) ? 0 : strtol(line + 7, NULL, 10);
        if (sig == SIGTERM || sig == SIGINT || sig == SIGUSR1 ||
            sig == SIGUSR2 || sig == SIGHUP)
            take_signal(l, (int)sig);
    }
    l->said.len -= (size_t)(line - l->said.data);
    memmove(l->said.data, line, l->said.len + 1);
}

/* ---- watching */

static void end_rank(struct launch *l, int r, int status)
{
    struct launch_rank *k = &l->rank[r];

    k->ended = true;
    k->status = status;
    /* A ring that had its say ended before it was asked to. */
    k->after = l->stage != RUNNING && l->hub.said[r] < 0;
    if (k->status && l->first < 0) {
        l->first = r;
        l->failed_at = clock_ms();
    }
}

/* Some send a signal to every process of a job. The shell of a pipeline dies of
 * it, and the rank ends when its ring does. */
static bool becomes_hollow(struct launch *l, int r, int status)
{
    struct launch_rank *k = &l->rank[r];

    if (!WIFSIGNALED(status) ||
        !(signals_stop(WTERMSIG(status)) || WTERMSIG(status) == SIGUSR2) ||
        l->stage != RUNNING || launch_hub_ring(&l->hub, r) == 0)
        return false;
    k->hollow = true;
    k->status = 128 + WTERMSIG(status);
    return true;
}

static void reap(struct launch *l)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (int r = 0; r < l->o->n; r++) {
            struct launch_rank *k = &l->rank[r];
            if (k->pid != pid || k->ended || becomes_hollow(l, r, status))
                continue;
            /* How a group ends that we end says less than its ring did. */
            end_rank(l, r,
                     l->hub.said[r] >= 0 && (k->pressed || l->stage != RUNNING)
                         ? l->hub.said[r]
                     : WIFSIGNALED(status) ? 128 + WTERMSIG(status)
                                           : WEXITSTATUS(status));
        }
    for (int r = 0; r < l->o->n; r++) {
        struct launch_rank *k = &l->rank[r];
        if (!k->hollow || k->ended)
            continue;
        if (l->hub.said[r] >= 0)
            end_rank(l, r, l->hub.said[r]);
        else if (launch_hub_ring(&l->hub, r) == 0)
            end_rank(l, r, k->status);
    }
}

static bool all_ended(const struct launch *l)
{
    for (int r = 0; r < l->o->n; r++)
        if (!l->rank[r].ended)
            return false;
    return true;
}

/* Wait for anything, at most ms, and take note of it. */
static void turn(struct launch *l, int ms)
{
    int n = 2 * l->o->n, hub = launch_hub_fds(&l->hub, NULL);
    struct pollfd *p = xcalloc((size_t)(2 + n + hub), sizeof(*p));
    struct pollfd *control = &p[1 + n + hub];

    *control = (struct pollfd){.fd = l->control, .events = POLLIN};
    p[0] = (struct pollfd){.fd = l->signals, .events = POLLIN};
    for (int i = 0; i < n; i++)
        p[1 + i] =
            (struct pollfd){.fd = l->rank[i / 2].fd[i % 2], .events = POLLIN};
    launch_hub_fds(&l->hub, p + 1 + n);
    if (poll(p, (nfds_t)(2 + n + hub), ms) > 0) {
        if (p[0].revents)
            take_signals(l);
        if (control->revents)
            take_control(l);
        /* What a rank said last is there before its end is judged. */
        for (int i = 0; i < n; i++)
            if (p[1 + i].revents)
                launch_rank_read(&l->rank[i / 2], i % 2);
        launch_hub_serve(&l->hub, p + 1 + n);
    }
    reap(l);
    free(p);
}

/* A ring has ended and its rank goes on: its shell waits for a feeder that does
 * not notice. The status is known; the rest of the group is ended. */
static void press_groups(struct launch *l)
{
    int64_t now = clock_ms(), age;

    for (int r = 0; r < l->o->n; r++) {
        struct launch_rank *k = &l->rank[r];
        if (k->ended || l->hub.said[r] < 0)
            continue;
        if (!k->said_at)
            k->said_at = now;
        age = now - k->said_at;
        if (age >= SETTLE_MS && !k->pressed) {
            k->pressed = true;
            group_signal(k->pid, SIGTERM);
        }
        if (age >= SETTLE_MS + l->o->grace_ms)
            group_signal(k->pid, SIGKILL);
    }
}

/* How long the others are left to end by themselves. */
static int64_t settle_ms(const struct launch *l)
{
    if (l->stopping)
        return STOPPED_MS;
    for (int r = 0; r < l->o->n; r++)
        if (!l->rank[r].ended &&
            (launch_hub_ring(&l->hub, r) > 0 || l->hub.said[r] >= 0))
            return RINGS_MS;
    return l->first >= 0 && l->rank[l->first].status == ERR_AGAIN ? SETTLE_MS
                                                                  : 0;
}

/* A rank has failed: bring the others to their end, step by step. */
static void press(struct launch *l)
{
    int64_t now = clock_ms();

    if (l->stage == RUNNING &&
        ((l->first >= 0 && now - l->failed_at >= settle_ms(l)) ||
         (l->cut_at && now - l->cut_at >= STOPPED_MS))) {
        l->stage = ASKED;
        l->asked_at = now;
        signal_all(l, SIGTERM);
    }
    if (l->stage == ASKED && now - l->asked_at >= l->o->grace_ms) {
        l->stage = KILLED;
        l->asked_at = now;
        signal_all(l, SIGKILL);
    }
}

/* The leaders have ended; so must everything they started. */
static void sweep(struct launch *l)
{
    int64_t begin = clock_ms();

    while (waitpid(-1, NULL, WNOHANG) >= 0 || errno != ECHILD) {
        int64_t age = clock_ms() - begin;
        bool hard = l->stage == KILLED || age >= l->o->grace_ms;
        if (age > l->o->grace_ms + LAST_MS)
            break;
        launch_orphans(hard ? SIGKILL : SIGTERM);
        turn(l, 20);
    }
    turn(l, 0);
}

/* ---- the verdict */

/* After a signal that stops in order: who died of it before its ring was there
 * had not begun and may be run again, as one that stopped; and who lost a peer
 * while others stopped lost one that did so. */
static void forgive(struct launch *l)
{
    bool again = false;

    for (int r = 0; l->stopping && r < l->o->n; r++) {
        struct launch_rank *k = &l->rank[r];
        if (k->status > 128 && signals_stop(k->status - 128) && !l->hub.met[r])
            k->status = ERR_AGAIN;
        again |= k->status == ERR_AGAIN;
    }
    for (int r = 0; again && r < l->o->n; r++)
        if (l->rank[r].status == ERR_PEER)
            l->rank[r].status = ERR_AGAIN;
}

static bool is_here(const struct launch *l, int rank)
{
    return rank >= l->hub.first && rank - l->hub.first < l->o->n;
}

/* The rank here it began with: as the rings say, else the first by time. One
 * that stopped with its state saved (75) is not it if another really failed. */
static int culprit(const struct launch *l)
{
    int origin = l->hub.origin;

    if (is_here(l, origin) && l->rank[origin - l->hub.first].status)
        return origin - l->hub.first;
    if (l->first < 0 || l->rank[l->first].status != ERR_AGAIN)
        return l->first;
    for (int r = 0; r < l->o->n; r++)
        if (l->rank[r].status && l->rank[r].status != ERR_AGAIN &&
            !l->rank[r].after)
            return r;
    return l->first;
}

/* Its status; what the rings say where we ended it before it could end with
 * that itself. */
static int verdict(const struct launch *l, int who)
{
    bool told = l->hub.origin >= 0 && l->hub.class;

    if (who < 0)
        return 0;
    if (l->rank[who].after && told &&
        (who == l->hub.origin - l->hub.first || !is_here(l, l->hub.origin)))
        return l->hub.class;
    return l->rank[who].status;
}

static void describe_status(int status, struct buf *b)
{
    if (status <= 128 || status > 128 + SIGRTMAX) {
        buf_addf(b, "exited with status %d", status);
        return;
    }
    buf_addf(b, "killed by signal %d (%s)", status - 128,
             strsignal(status - 128));
    if (status == 128 + SIGKILL)
        buf_addstr(b, ": out of memory? see dmesg");
}

static void report(const struct launch *l, int who)
{
    struct buf b = BUF_INIT;
    const char *comma = "";
    bool here = l->hub.origin < 0 || is_here(l, l->hub.origin);

    if (here) {
        buf_addf(&b, "%s: rank %d failed first: pid %d: ", prog_name(),
                 l->hub.first + who, (int)l->rank[who].pid);
        describe_status(verdict(l, who), &b);
        buf_addch(&b, '\n');
    } else {
        buf_addf(&b, "%s: rank %d failed first, not one of those here\n",
                 prog_name(), l->hub.origin);
    }
    if (l->hub.cause)
        buf_addf(&b, "%s: cause: %s\n", prog_name(), l->hub.cause);
    if (here && l->rank[who].out.n_lines) {
        buf_addf(&b, "%s: last lines of rank %d:\n", prog_name(),
                 l->hub.first + who);
        rankout_last(&l->rank[who].out, &b);
    }
    if (l->o->n > 1 || !here)
        buf_addf(&b, "%s: status of the others: ", prog_name());
    for (int r = 0; r < l->o->n; r++)
        if (r != who || !here) {
            buf_addf(&b, "%srank %d %d", comma, l->hub.first + r,
                     l->rank[r].status);
            comma = ", ";
        }
    if (*comma)
        buf_addch(&b, '\n');
    (void)!fd_write(STDERR_FILENO, b.data, b.len, FD_FOREVER);
    buf_release(&b);
}

/* ---- an attempt */

/* Rank r of this launcher, in the run. */
static struct ranks place_of(const struct launch *l, int r, const char *run_id)
{
    struct ranks p = l->o->task;
    int n = l->o->n;

    p.rank = p.rank * n + r;
    p.world *= n;
    p.local_rank = p.local_rank * n + r;
    p.local_world *= n;
    snprintf(p.run, sizeof(p.run), "%s", run_id);
    return p;
}

static int start_ranks(struct launch *l, const char *rdzv, const char *launch,
                       const char *run_id)
{
    for (int r = 0; r < l->o->n; r++) {
        struct launch_start s = {.place = place_of(l, r, run_id),
                                 .attempt = l->attempt,
                                 .rdzv = rdzv,
                                 .launch = launch,
                                 .logdir = l->o->logdir,
                                 .mask = &l->mask,
                                 .argv = l->o->argv};
        if (launch_rank_start(&l->rank[r], &s) < 0)
            return err_wrap("rank %d", s.place.rank);
        fault_point("launch.start");
    }
    return 0;
}

static char *random_name(void)
{
    unsigned char bytes[16];
    struct buf b = BUF_INIT;

    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        return NULL;
    for (size_t i = 0; i < sizeof(bytes); i++)
        buf_addf(&b, "%02x", bytes[i]);
    return buf_detach(&b);
}

/* Ranks of other tasks of this host meet ours where they can know of. */
static int choose_place(const struct launch *l, const char *name,
                        char rdzv[PLACE_BYTES])
{
    if (l->o->task.local_world > 1)
        return ranks_place(&l->o->task, rdzv, PLACE_BYTES);
    snprintf(rdzv, PLACE_BYTES, "@millrace-%s", name);
    return 0;
}

/* Start all, watch until nothing is left; the status of the attempt. */
static int attempt(struct launch *l)
{
    const char *run_id = l->o->task.run;
    char *name = random_name(), *hub, rdzv[PLACE_BYTES];
    int who, status = -1;

    if (!name)
        return err_sys(ERR_SYSTEM, "random numbers");
    if (!*run_id)
        run_id = name;
    hub = xstrfmt("@millrace-%s-launch", name);
    l->rank = xcalloc((size_t)l->o->n, sizeof(*l->rank));
    for (int r = 0; r < l->o->n; r++)
        launch_rank_init(&l->rank[r]);
    l->stage = RUNNING;
    l->first = -1;
    if (launch_hub_open(&l->hub, hub, l->o->task.rank * l->o->n, l->o->n) < 0 ||
        choose_place(l, name, rdzv) < 0)
        goto out;
    if (start_ranks(l, rdzv, hub, run_id) < 0) {
        signal_all(l, SIGKILL);
        l->stage = KILLED;
        sweep(l);
        goto out;
    }
    while (!all_ended(l)) {
        fault_point("launch.watch");
        turn(l, l->first >= 0 || l->stage != RUNNING ? 50 : 500);
        press(l);
        press_groups(l);
    }
    sweep(l);
    forgive(l);
    who = culprit(l);
    status = verdict(l, who);
    if (l->interrupts > 1)
        status = 128 + SIGINT;
    else if (who >= 0 && status != ERR_AGAIN && !l->stopping)
        report(l, who);
out:
    for (int r = 0; r < l->o->n; r++)
        launch_rank_release(&l->rank[r]);
    free(l->rank);
    launch_hub_close(&l->hub);
    free(name);
    free(hub);
    return status;
}

/* Worth another try, and nobody asked for the end. */
static bool again(const struct launch *l, int status)
{
    return !l->stopping && l->interrupts == 0 && l->attempt < l->o->retries &&
           (status == ERR_AGAIN || status == ERR_PEER || status > 128);
}

/* 1, 2, 4, ... 60 s; a signal ends the pause and the run. */
static bool pause_before(struct launch *l)
{
    int seconds = l->attempt < 6 ? 1 << l->attempt : 60;
    struct pollfd p[] = {{.fd = l->signals, .events = POLLIN},
                         {.fd = l->control, .events = POLLIN}};
    int64_t end = clock_ms() + seconds * 1000;
    struct signalfd_siginfo s;

    warn("restart %d of %lld in %d s", l->attempt + 1, (long long)l->o->retries,
         seconds);
    fault_point("launch.pause");
    while (clock_ms() < end) {
        poll(p, 2, (int)(end - clock_ms()));
        /* A signal from there or its end: nobody waits for another try. */
        if (p[1].revents)
            return false;
        while (read(l->signals, &s, sizeof(s)) == (ssize_t)sizeof(s))
            if (s.ssi_signo != SIGCHLD && s.ssi_signo != SIGUSR2)
                return false;
    }
    return true;
}

int launch_run(const struct launch_options *o)
{
    struct launch l = {
        .o = o, .signals = -1, .control = o->control > 0 ? o->control : -1};
    int status;

    if (o->logdir && make_dirs(o->logdir) < 0)
        return -1;
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        return err_sys(ERR_SYSTEM, "subreaper");
    l.signals = signals_open(&l.mask, true);
    if (l.signals < 0)
        return -1;
    for (;;) {
        status = attempt(&l);
        if (status < 0 || !again(&l, status) || !pause_before(&l))
            return status;
        l.attempt++;
    }
}
