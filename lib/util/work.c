#include "util/work.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- how many */

static int affinity_cpus(void)
{
    int size = 1024, n = 0;
    cpu_set_t *set;
    long online;

    for (; size <= 1 << 20; size *= 4) {
        set = CPU_ALLOC((size_t)size);
        if (!set)
            break;
        if (sched_getaffinity(0, CPU_ALLOC_SIZE((size_t)size), set) == 0)
            n = CPU_COUNT_S(CPU_ALLOC_SIZE((size_t)size), set);
        CPU_FREE(set);
        if (n > 0)
            return n;
    }
    online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

/* Numbers of one line of a file: how many there are, -1 if it is not there. */
static int read_numbers(const char *path, long long v[2])
{
    char line[128], *at = line, *end;
    FILE *f = fopen(path, "re");
    int n = 0;

    if (!f)
        return -1;
    if (!fgets(line, sizeof(line), f))
        at = NULL;
    fclose(f);
    while (at && n < 2) { /* "max" is no number */
        v[n] = strtoll(at, &end, 10);
        if (end == at)
            break;
        at = end;
        n++;
    }
    return n;
}

/* CPUs of a quota of one group, rounded up; 0: none set. */
static int group_cpus(const char *root, const char *group, bool v2)
{
    long long v[2] = {0, 0}, period[2] = {0, 0}, cpus = 0;
    char *a, *b = NULL;

    if (v2) {
        a = xstrfmt("%s%s/cpu.max", root, group);
        if (read_numbers(a, v) == 2 && v[0] > 0 && v[1] > 0)
            cpus = (v[0] + v[1] - 1) / v[1];
    } else {
        a = xstrfmt("%s%s/cpu.cfs_quota_us", root, group);
        b = xstrfmt("%s%s/cpu.cfs_period_us", root, group);
        if (read_numbers(a, v) == 1 && read_numbers(b, period) == 1 &&
            v[0] > 0 && period[0] > 0)
            cpus = (v[0] + period[0] - 1) / period[0];
    }
    free(a);
    free(b);
    return cpus > 1 << 20 ? 0 : (int)cpus;
}

/* The least quota of a group and the groups above it; 0: none. */
static int least_quota(const char *root, char *group, bool v2)
{
    int least = 0, n;
    char *slash;

    group[strcspn(group, "\n")] = 0;
    for (;;) {
        n = group_cpus(root, strcmp(group, "/") == 0 ? "" : group, v2);
        if (n > 0 && (least == 0 || n < least))
            least = n;
        slash = strrchr(group, '/');
        if (!slash)
            return least;
        *slash = 0;
    }
}

/*
 * Lines of /proc/self/cgroup are "ID:CONTROLLERS:/PATH"; version 2 has the one
 * "0::/PATH". In a container the path may be that of the host while the mount
 * shows the group as the root: the walk upwards ends there.
 */
static int quota_cpus(void)
{
    FILE *f = fopen("/proc/self/cgroup", "re");
    char line[4096], *names, *path;
    int least = 0, n;
    bool v2;

    if (!f)
        return 0;
    while (fgets(line, sizeof(line), f)) {
        names = strchr(line, ':');
        path = names ? strchr(names + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = 0;
        names++;
        v2 = names[0] == 0;
        if (!v2 && strncmp(names, "cpu", 3) != 0 && !strstr(names, ",cpu"))
            continue;
        n = least_quota(v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu", path, v2);
        if (n > 0 && (least == 0 || n < least))
            least = n;
    }
    fclose(f);
    return least;
}

int work_cpus(void)
{
    int cpus = affinity_cpus(), quota = quota_cpus();

    return quota > 0 && quota < cpus ? quota : cpus;
}

/* ---- threads and failures */

int work_thread(pthread_t *t, void *(*fn)(void *arg), void *arg)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    sigset_t block, old;
    int r;

    sigfillset(&block);
    for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++)
        sigdelset(&block, own[i]);
    pthread_sigmask(SIG_SETMASK, &block, &old);
    r = pthread_create(t, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return r;
}

/* A failure on its way from one thread to another. */
struct failure {
    enum err_class class;
    char *text;
};

static void failure_take(struct failure *f)
{
    free(f->text);
    f->class = err_code() ? err_code() : ERR_INTERNAL;
    f->text = xstrdup(err_text());
}

static int failure_give(struct failure *f)
{
    err_give(f->class, f->text[0] ? f->text : "failed without a reason");
    free(f->text);
    f->text = NULL;
    return -1;
}

/* ---- parallel for */

struct loop {
    pthread_mutex_t lock;
    size_t n, next;
    size_t bad; /* lowest item that failed; n: none */
    struct failure why;
    int (*fn)(void *arg, size_t i, int t);
    void *arg;
};

struct loop_thread {
    struct loop *l;
    int t;
    pthread_t id;
};

/* Items are given out in order, so all before a failed one do run. */
static void *loop_run(void *p)
{
    struct loop_thread *me = p;
    struct loop *l = me->l;
    size_t i;
    int r;

    for (;;) {
        pthread_mutex_lock(&l->lock);
        i = l->next < l->bad ? l->next++ : l->n;
        pthread_mutex_unlock(&l->lock);
        if (i == l->n)
            return NULL;
        err_clear();
        r = l->fn(l->arg, i, me->t);
        if (r == 0)
            continue;
        pthread_mutex_lock(&l->lock);
        if (i < l->bad) {
            l->bad = i;
            failure_take(&l->why);
        }
        pthread_mutex_unlock(&l->lock);
    }
}

int work_for(size_t n, int threads, int (*fn)(void *arg, size_t i, int t),
             void *arg)
{
    struct loop l = {.n = n, .bad = n, .fn = fn, .arg = arg};
    struct loop_thread *th;
    size_t i;
    int t, started;

    if (threads < 1)
        threads = 1;
    if ((size_t)threads > n)
        threads = n ? (int)n : 1;
    if (threads == 1) {
        for (i = 0; i < n; i++) {
            if (fn(arg, i, 0) != 0)
                return -1;
        }
        return 0;
    }
    pthread_mutex_init(&l.lock, NULL);
    th = xcalloc((size_t)threads, sizeof(*th));
    for (started = 1; started < threads; started++) {
        th[started].l = &l;
        th[started].t = started;
        /* Fewer threads do the same work. */
        if (work_thread(&th[started].id, loop_run, &th[started]) != 0)
            break;
    }
    th[0].l = &l;
    loop_run(&th[0]);
    for (t = 1; t < started; t++)
        pthread_join(th[t].id, NULL);
    pthread_mutex_destroy(&l.lock);
    free(th);
    return l.why.text ? failure_give(&l.why) : 0;
}

/* ---- a task */

struct work_task {
    int (*fn)(void *arg);
    void *arg;
    pthread_t id;
    int result;
    struct failure why;
};

static void *task_run(void *p)
{
    struct work_task *t = p;

    err_clear();
    t->result = t->fn(t->arg);
    if (t->result < 0)
        failure_take(&t->why);
    return NULL;
}

struct work_task *work_begin(int (*fn)(void *arg), void *arg)
{
    struct work_task *t = xcalloc(1, sizeof(*t));

    t->fn = fn;
    t->arg = arg;
    if (work_thread(&t->id, task_run, t) == 0)
        return t;
    free(t);
    return NULL;
}

int work_join(struct work_task *t)
{
    int r;

    pthread_join(t->id, NULL);
    r = t->result;
    if (r < 0)
        failure_give(&t->why);
    free(t);
    return r;
}

/* ---- pipeline */

enum slot_state {
    SLOT_FREE,
    SLOT_FILLED,
    SLOT_WORKED,
    SLOT_FAILED
};

struct slot {
    void *item;
    enum slot_state state;
    struct failure why;
};

/*
 * Item number s lies in slot s % n_slots. tail <= ticket <= head:
 *	done has handled   0 .. tail-1
 *	workers have taken .. ticket-1
 *	next has filled    .. head-1
 * A failure is left in the slot of its item, where the thread of done finds it
 * after all earlier items: so the earliest one wins by construction.
 */
struct pipeline {
    const struct work_stages *s;
    pthread_mutex_t lock;
    pthread_cond_t room, filled, worked;
    struct slot *slots;
    size_t n_slots;
    size_t head, ticket, tail;
    bool ended; /* no item after head-1 */
    bool stop;  /* nothing more is wanted */
};

struct pipeline_thread {
    struct pipeline *p;
    int t;
    pthread_t id;
};

static void *run_next(void *arg)
{
    struct pipeline *p = arg;
    struct slot *slot;
    int r;

    pthread_mutex_lock(&p->lock);
    while (!p->stop && !p->ended) {
        if (p->head - p->tail == p->n_slots) {
            pthread_cond_wait(&p->room, &p->lock);
            continue;
        }
        slot = &p->slots[p->head % p->n_slots];
        pthread_mutex_unlock(&p->lock);
        err_clear();
        r = p->s->next(p->s->arg, slot->item);
        pthread_mutex_lock(&p->lock);
        if (r < 0) {
            failure_take(&slot->why);
            slot->state = SLOT_FAILED;
        } else if (r > 0) {
            slot->state = SLOT_FILLED;
        }
        if (r != 0)
            p->head++;
        p->ended = r <= 0;
        pthread_cond_signal(&p->filled);
        /* done waits for this too: for an end or a failure */
        if (r <= 0) {
            pthread_cond_broadcast(&p->filled);
            pthread_cond_signal(&p->worked);
        }
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static void *run_work(void *arg)
{
    struct pipeline_thread *me = arg;
    struct pipeline *p = me->p;
    struct slot *slot;
    size_t seq;
    int r;

    pthread_mutex_lock(&p->lock);
    while (!p->stop) {
        if (p->ticket == p->head) {
            if (p->ended)
                break;
            pthread_cond_wait(&p->filled, &p->lock);
            continue;
        }
        seq = p->ticket++;
        slot = &p->slots[seq % p->n_slots];
        if (slot->state == SLOT_FAILED)
            continue;
        pthread_mutex_unlock(&p->lock);
        err_clear();
        r = p->s->work(p->s->arg, slot->item, me->t);
        pthread_mutex_lock(&p->lock);
        if (r < 0)
            failure_take(&slot->why);
        slot->state = r < 0 ? SLOT_FAILED : SLOT_WORKED;
        if (seq == p->tail)
            pthread_cond_signal(&p->worked);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* The serial end, on the thread of the caller. */
static int run_done(struct pipeline *p)
{
    struct slot *slot;
    int r = 0;

    pthread_mutex_lock(&p->lock);
    for (;;) {
        slot = &p->slots[p->tail % p->n_slots];
        if (p->tail == p->head && p->ended)
            break;
        if (p->tail == p->head || slot->state == SLOT_FILLED) {
            pthread_cond_wait(&p->worked, &p->lock);
            continue;
        }
        if (slot->state == SLOT_FAILED) {
            r = failure_give(&slot->why);
            break;
        }
        pthread_mutex_unlock(&p->lock);
        r = p->s->done(p->s->arg, slot->item);
        pthread_mutex_lock(&p->lock);
        if (r < 0)
            break;
        slot->state = SLOT_FREE;
        p->tail++;
        pthread_cond_signal(&p->room);
    }
    p->stop = true;
    pthread_cond_broadcast(&p->room);
    pthread_cond_broadcast(&p->filled);
    pthread_mutex_unlock(&p->lock);
    return r < 0 ? -1 : 0;
}

/* Start the threads, run the end, join. */
static int run_all(struct pipeline *p, struct pipeline_thread *th, int threads)
{
    int started = 0, t, r = -1;
    pthread_t next;

    while (started < threads) {
        th[started].p = p;
        th[started].t = started;
        if (work_thread(&th[started].id, run_work, &th[started]) != 0)
            break;
        started++;
    }
    if (started == 0)
        return err_set(ERR_SYSTEM, "cannot start a thread");
    if (work_thread(&next, run_next, p) == 0) {
        r = run_done(p);
        pthread_join(next, NULL);
    } else {
        pthread_mutex_lock(&p->lock);
        p->stop = true;
        pthread_cond_broadcast(&p->filled);
        pthread_mutex_unlock(&p->lock);
        err_set(ERR_SYSTEM, "cannot start a thread");
    }
    for (t = 0; t < started; t++)
        pthread_join(th[t].id, NULL);
    return r;
}

int work_pipeline(const struct work_stages *s, void **items, int n_items,
                  int threads)
{
    struct pipeline p = {.s = s};
    struct pipeline_thread *th;
    size_t i;
    int r;

    if (n_items < 1)
        return err_set(ERR_INTERNAL, "pipeline: no items");
    if (threads < 1)
        threads = 1;
    p.n_slots = (size_t)n_items;
    p.slots = xcalloc(p.n_slots, sizeof(*p.slots));
    for (i = 0; i < p.n_slots; i++)
        p.slots[i].item = items[i];
    pthread_mutex_init(&p.lock, NULL);
    pthread_cond_init(&p.room, NULL);
    pthread_cond_init(&p.filled, NULL);
    pthread_cond_init(&p.worked, NULL);
    th = xcalloc((size_t)threads, sizeof(*th));
    r = run_all(&p, th, threads);
    free(th);
    pthread_cond_destroy(&p.worked);
    pthread_cond_destroy(&p.filled);
    pthread_cond_destroy(&p.room);
    pthread_mutex_destroy(&p.lock);
    for (i = 0; i < p.n_slots; i++)
        free(p.slots[i].why.text);
    free(p.slots);
    return r;
}
