#include "ring/loop.h"

#include "io/ctl.h"
#include "io/local.h"
#include "ring/child.h"
#include "ring/request.h"
#include "ring/serve.h"
#include "util/fault.h"
#include "util/fdio.h"
#include "util/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEAVE_MS 2000 /* for a worker to end after an error */
#define TICK_MS 500
#define SIGNAL_MS 300 /* for one sent to worker and ring to be here */

struct ring {
    const struct ring_options *o;
    struct join join;
    struct serve serve;
    struct child child;
    int signals, launch;
    bool asked; /* a signal to stop has been passed on */
    bool gone;  /* the worker has ended, with status */
    int status;
    bool posted;        /* the end, for a worker that did not speak */
    int64_t closed_at;  /* since when it should have ended, 0: no reason */
    int64_t stopped_at; /* since when a signal has stopped it, 0: it runs */
    uint64_t progress;  /* of all ranks together */
    int64_t progress_at, told_at;
};

/* ---- words to the launcher */

static void tell_launcher(struct ring *g, const char *line)
{
    if (g->launch >= 0)
        (void)!send(g->launch, line, strlen(line), MSG_NOSIGNAL);
}

/* Rank it began with, class, sentence. */
static void tell_cause(struct ring *g, enum err_class c, int origin,
                       const char *text)
{
    char *line = xstrfmt("cause %d %d %s\n", origin, (int)c, text);

    tell_launcher(g, line);
    free(line);
}

/* ---- the run ends because of this rank or another */

static void describe_worker(const struct ring *g, struct buf *b)
{
    buf_addf(b, "rank %d: %s (pid %d)", g->o->join.ranks.rank, g->child.name,
             (int)g->child.pid);
}

static void add_step(const struct ring *g, struct buf *b)
{
    long long step = (long long)atomic_load(
        &shm_rank(&g->join.shm, g->o->join.ranks.rank)->step);

    if (step >= 0)
        buf_addf(b, ", last seen at step %lld", step);
    else
        buf_addstr(b, ", before its first step");
}

static void give_up(struct ring *g, enum err_class c, int origin,
                    struct buf *why)
{
    shm_abort(&g->join.shm, c, origin, why->data);
    buf_release(why);
}

/* The worker has ended, and not in order. */
static void blame_status(struct ring *g)
{
    struct buf b = BUF_INIT;
    int code = child_exit_status(g->status);
    bool named = code >= ERR_USAGE && code <= ERR_CONFIG && code != ERR_AGAIN;

    describe_worker(g, &b);
    buf_addstr(&b, ": ");
    child_describe(g->status, &b);
    add_step(g, &b);
    if (code == 0 || code == ERR_AGAIN)
        buf_addstr(&b, ", before the other ranks ended");
    give_up(g, named ? (enum err_class)code : ERR_PEER, g->o->join.ranks.rank,
            &b);
}

static void blame_words(struct ring *g, enum err_class c, const char *words)
{
    struct buf b = BUF_INIT;

    describe_worker(g, &b);
    add_step(g, &b);
    buf_addf(&b, ": %s", words);
    give_up(g, c, g->o->join.ranks.rank, &b);
}

/* Was it stopped before it said a word? */
static bool never_began(const struct ring *g, uint64_t frames)
{
    int code = child_exit_status(g->status);

    return frames == 0 &&
           (code == ERR_AGAIN || (code > 128 && signals_stop(code - 128)));
}

/* No rank has begun then, and all may be run again. Where the signal goes to
 * every process of a job it may be here a little later. */
static bool stopped_early(struct ring *g, uint64_t frames)
{
    struct buf b = BUF_INIT;

    if (!never_began(g, frames))
        return false;
    if (!g->closed_at)
        g->closed_at = clock_ms();
    if (g->asked) {
        buf_addf(&b, "rank %d: stopped before it began", g->o->join.ranks.rank);
        give_up(g, ERR_AGAIN, g->o->join.ranks.rank, &b);
    }
    return g->asked || clock_ms() - g->closed_at < SIGNAL_MS;
}

/* Has the worker broken off? How it ended says more than how its pipe did, so
 * wait a little for that. */
static void check_worker(struct ring *g)
{
    struct serve *v = &g->serve;
    enum serve_input input;
    uint64_t frames;
    bool deaf;
    int code = g->gone ? child_exit_status(g->status) : -1;

    pthread_mutex_lock(&v->lock);
    input = v->input;
    frames = v->frames;
    deaf = v->output_closed;
    pthread_mutex_unlock(&v->lock);
    if (input == INPUT_END || g->posted)
        return;
    if (input == INPUT_ERROR) {
        blame_words(g, v->class, v->text);
        return;
    }
    if (!g->gone && input == INPUT_OPEN && !deaf)
        return;
    if (g->gone && input == INPUT_CLOSED) {
        if (stopped_early(g, frames))
            return;
        if (frames == 0 && (code == 0 || code == ERR_AGAIN)) {
            serve_post_end(v);
            g->posted = true;
        } else {
            blame_status(g);
        }
        return;
    }
    if (!g->closed_at)
        g->closed_at = clock_ms();
    if (clock_ms() - g->closed_at < LEAVE_MS)
        return;
    if (g->gone)
        blame_status(g);
    else
        blame_words(g, ERR_PEER,
                    deaf ? "closed descriptor 6"
                         : "closed descriptor 7 without an end "
                           "frame");
}

/* Where all workers stand still, none waits for another: each ring looks. */
static void check_stopped(struct ring *g)
{
    siginfo_t s = {.si_pid = 0};
    char words[64];

    if (!g->gone &&
        waitid(P_PID, (id_t)g->child.pid, &s,
               WSTOPPED | WCONTINUED | WNOHANG) == 0 &&
        s.si_pid)
        g->stopped_at = s.si_code == CLD_STOPPED ? clock_ms() : 0;
    if (g->gone || !g->stopped_at ||
        clock_ms() - g->stopped_at < g->o->join.timeout_ms)
        return;
    snprintf(words, sizeof(words), "stopped by a signal for %lld s",
             (long long)(g->o->join.timeout_ms / 1000));
    blame_words(g, ERR_PEER, words);
}

static void check_launcher(struct ring *g)
{
    struct buf b = BUF_INIT;
    char waste[64];
    ssize_t n = recv(g->launch, waste, sizeof(waste), MSG_DONTWAIT);

    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    close(g->launch);
    g->launch = -1;
    buf_addf(&b, "rank %d: accel-launch died", g->o->join.ranks.rank);
    give_up(g, ERR_PEER, g->o->join.ranks.rank, &b);
}

/* ---- a rank that lives and does not come */

struct lag {
    int rank;  /* who lags behind, -1: nobody */
    int waits; /* the first rank that waits for it */
    uint64_t progress;
};

static struct lag find_lag(const struct ring *g)
{
    struct lag l = {-1, -1, 0};
    uint32_t low = 0, high = 0;

    /* First by requests; when all have made theirs, by the adding. */
    for (int pass = 0; pass < 2 && l.rank < 0; pass++) {
        int slow = 0, fast = 0;
        for (int r = 0; r < g->join.shm.world; r++) {
            struct shm_rank *s = shm_rank(&g->join.shm, r);
            uint32_t v = atomic_load(pass ? &s->done.v : &s->ready.v);
            l.progress += v;
            if (r == 0 || (int32_t)(v - low) < 0) {
                low = v;
                slow = r;
            }
            if (r == 0 || (int32_t)(v - high) > 0) {
                high = v;
                fast = r;
            }
        }
        if (low != high) {
            l.rank = slow;
            l.waits = fast;
        }
    }
    return l;
}

static void check_lag(struct ring *g)
{
    int64_t now = clock_ms(), since;
    struct lag l;
    struct buf b = BUF_INIT;
    uint32_t k;
    char what[200];

    /* Who has ended waits for nobody, and other hosts may have left. */
    if (atomic_load(&shm_rank(&g->join.shm, g->o->join.ranks.rank)->ended))
        return;
    l = find_lag(g);
    if (l.rank < 0 || l.progress != g->progress || !g->progress_at) {
        g->progress = l.progress;
        g->progress_at = g->told_at = now;
        return;
    }
    since = now - g->progress_at;
    if (now - g->told_at < g->o->tell_ms && since < g->o->join.timeout_ms)
        return;
    g->told_at = now;
    k = atomic_load(&shm_rank(&g->join.shm, l.rank)->done.v) + 1;
    request_describe(&g->join.shm, l.waits, k, what, sizeof(what));
    buf_addf(&b, "rank %d: no progress for %lld s while rank %d waits for %s",
             l.rank, (long long)(since / 1000), l.waits, what);
    if (since >= g->o->join.timeout_ms) {
        give_up(g, ERR_PEER, l.rank, &b);
        return;
    }
    if (l.waits == g->o->join.ranks.rank)
        warn("%s", b.data);
    buf_release(&b);
}

/* ---- events */

static void forward_signals(struct ring *g)
{
    struct signalfd_siginfo s;

    while (read(g->signals, &s, sizeof(s)) == (ssize_t)sizeof(s)) {
        g->asked |= signals_stop((int)s.ssi_signo);
        if (!g->gone)
            kill(g->child.pid, (int)s.ssi_signo);
    }
}

static void reap(struct ring *g)
{
    if (!g->gone && waitpid(g->child.pid, &g->status, WNOHANG) == g->child.pid)
        g->gone = true;
}

/* Wait for anything, at most ms, and take note of it. */
static void turn(struct ring *g, int ms)
{
    int n = 4 + g->join.peers.n;
    struct pollfd *p = xcalloc((size_t)n, sizeof(*p));
    uint64_t count;

    p[0].fd = g->signals;
    p[1].fd = g->gone ? -1 : g->child.pidfd;
    p[2].fd = g->serve.event;
    p[3].fd = g->launch;
    for (int i = 0; i < g->join.peers.n; i++)
        p[4 + i].fd = g->join.peers.fd[i];
    for (int i = 0; i < n; i++)
        p[i].events = POLLIN;
    if (poll(p, (nfds_t)n, ms) > 0) {
        if (p[0].revents)
            forward_signals(g);
        if (p[1].revents)
            reap(g);
        if (p[2].revents)
            (void)!read(g->serve.event, &count, sizeof(count));
        if (p[3].revents)
            check_launcher(g);
        for (int i = 0; i < g->join.peers.n; i++)
            if (p[4 + i].revents)
                peers_check(&g->join.peers, &g->join.shm, i);
    }
    free(p);
}

static bool finished(struct ring *g)
{
    struct serve *v = &g->serve;
    bool end;

    pthread_mutex_lock(&v->lock);
    end = (v->input == INPUT_END || g->posted) && v->running == 0;
    pthread_mutex_unlock(&v->lock);
    return end && g->gone;
}

/* ---- the two ends */

/* Some rank was lost: the worker learns it, ends or is ended. */
static int leave(struct ring *g)
{
    const char *text;
    int origin, code = 0;
    bool killed = false;
    enum err_class c = shm_cause(&g->join.shm, &origin, &text);
    int64_t end = clock_ms() + LEAVE_MS;

    /* The launcher reports the cause once for all ranks. */
    if (g->launch < 0 || origin == g->o->join.ranks.rank)
        warn("%s", text);
    tell_cause(g, c, origin, text);
    while (!g->gone && clock_ms() < end)
        turn(g, 50);
    killed = !g->gone;
    /* Its whole group: a shell may have started the worker. */
    kill(-g->child.pid, SIGKILL);
    for (end = clock_ms() + 1000; !g->gone && clock_ms() < end;)
        turn(g, 50);
    if (g->gone && !killed && origin == g->o->join.ranks.rank)
        code = child_exit_status(g->status);
    if (code && c != ERR_AGAIN)
        return code;
    return c >= ERR_USAGE && c <= ERR_CONFIG ? (int)c : ERR_PEER;
}

static int supervise(struct ring *g)
{
    bool stuck;
    int status;

    while (!finished(g) && !shm_aborted(&g->join.shm)) {
        turn(g, g->gone || g->closed_at ? 50 : TICK_MS);
        check_worker(g);
        check_stopped(g);
        check_lag(g);
    }
    status = finished(g) ? child_exit_status(g->status) : leave(g);
    fault_point("ring.leave");
    /* A thread that is stuck at a pipe goes with the process. */
    stuck = !serve_stop(&g->serve, 1000);
    if (stuck)
        note("a thread is stuck at the worker's pipe");
    join_leave(&g->join, stuck);
    return status;
}

/* ---- the beginning */

static volatile sig_atomic_t launch_fd = -1;
static pid_t ring_pid;

/* While the run is joined nothing has begun: to stop is to end. */
static void stop_joining(int sig)
{
    static const char line[] = "status 75\n";

    (void)sig;
    if (launch_fd >= 0 && getpid() == ring_pid)
        (void)!send(launch_fd, line, sizeof(line) - 1, MSG_NOSIGNAL);
    _exit(ERR_AGAIN);
}

static void catch_signals(void)
{
    static const int all[] = {SIGTERM, SIGUSR1, SIGHUP};
    struct sigaction a;

    memset(&a, 0, sizeof(a));
    a.sa_handler = stop_joining;
    ring_pid = getpid();
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (!signals_ignored(all[i]))
            sigaction(all[i], &a, NULL);
}

static int find_launcher(struct ring *g)
{
    char *line;

    if (!g->o->launch)
        return 0;
    g->launch = local_connect(g->o->launch);
    if (g->launch < 0)
        return err_sys(ERR_PEER, "accel-launch died");
    launch_fd = g->launch;
    line = xstrfmt("rank %d\n", g->o->join.ranks.rank);
    tell_launcher(g, line);
    free(line);
    return 0;
}

/* While the ranks meet nothing is looked at but they. The end of the launcher
 * is the end of this then: the kernel sends TERM. */
static int end_with_launcher(struct ring *g, bool on)
{
    char byte;

    if (g->launch < 0)
        return 0;
    if (fcntl(g->launch, F_SETOWN, getpid()) < 0 ||
        fcntl(g->launch, F_SETSIG, SIGTERM) < 0 ||
        fcntl(g->launch, F_SETFL, on ? O_ASYNC : 0) < 0)
        return err_sys(ERR_SYSTEM, "socket of the launcher");
    /* it may have ended before */
    if (on && recv(g->launch, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
        return err_set(ERR_PEER, "accel-launch died");
    return 0;
}

static int start(struct ring *g)
{
    const struct ring_options *o = g->o;
    const struct ranks *r = &o->join.ranks;
    const char *bytes = getenv("MILLRACE_PIPE_BYTES"); /* for tests */
    bool share = slots_allowed();
    struct serve_plane p;
    struct child_options c = {.argv = o->argv, .ranks = r};
    sigset_t old;

    if (find_launcher(g) < 0 || end_with_launcher(g, true) < 0 ||
        join_run(&g->join, &o->join) < 0 || end_with_launcher(g, false) < 0)
        return -1;
    note("rank %d/%d engine %s (from %s)", r->rank, r->world,
         g->join.engine->name, r->family);
    c.mask = &old;
    c.pipe_bytes = bytes ? (int)strtol(bytes, NULL, 10) : 0;
    c.shared = share ? g->join.shm.fd[SHM_DATA] : -1;
    fault_point("ring.start");
    g->signals = signals_open(&old, false);
    if (g->signals < 0 || child_start(&g->child, &c) < 0) {
        char *text = xstrfmt("rank %d: %s", r->rank, err_text());
        shm_abort(&g->join.shm, err_code(), r->rank, text);
        free(text);
        join_leave(&g->join, false);
        return -1;
    }
    atomic_store(&shm_rank(&g->join.shm, r->rank)->worker_pid,
                 (int32_t)g->child.pid);
    p = (struct serve_plane){&g->join.shm, g->join.engine, g->join.plane,
                             share ? CTL_FD_SLOTS : -1};
    return serve_start(&g->serve, &p, g->child.in, g->child.out);
}

int ring_run(const struct ring_options *o)
{
    struct ring g = {.o = o, .signals = -1, .launch = -1};
    struct sigaction ignore;
    char *text;
    int status;

    memset(&ignore, 0, sizeof(ignore));
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &ignore, NULL);
    catch_signals();
    if (start(&g) < 0) {
        tell_cause(&g, err_code(), o->join.ranks.rank, err_text());
        warn("%s", err_text());
        status = (int)err_code();
    } else {
        status = supervise(&g);
    }
    text = xstrfmt("status %d\n", status);
    tell_launcher(&g, text);
    free(text);
    if (g.launch >= 0)
        close(g.launch);
    return status;
}
