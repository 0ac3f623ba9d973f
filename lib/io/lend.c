/* The end that writes. */
#include "io/lend.h"

#include "io/lend_private.h"
#include "io/local.h"
#include "io/sealed.h"
#include "io/slots.h"
#include "util/fault.h"
#include "util/fdio.h"
#include "util/work.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096
#define LARGE ((size_t)2 << 20) /* slots from here on begin at a multiple */

enum slot_state {
    SLOT_FREE,
    SLOT_TAKEN, /* by the writer */
    SLOT_LENT
};

struct lender {
    char *base;
    size_t slot_bytes, bytes;
    int n, memory;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t freed;
    /* guarded by the lock */
    enum slot_state *state;
    int listener; /* -1: it is there, or was */
    int conn;     /* the reader, -1: not there */
    bool ready;   /* it has the memory */
    bool gone;    /* it will not come, or has left */
    bool wrong;   /* what it said makes no sense: text */
    char *text;
    int64_t lent; /* so far */
};

char *lend_address(int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0 || !S_ISFIFO(st.st_mode))
        return NULL;
    return xstrfmt("@millrace-lend-%u-%llx-%llx", (unsigned)geteuid(),
                   (unsigned long long)st.st_dev,
                   (unsigned long long)st.st_ino);
}

/* ---- the reader */

static int greet(struct lender *l)
{
    char slots[24], bytes[24];
    struct frame_pair meta[] = {
        {"bytes", bytes}, {"role", "lend"}, {"slots", slots}};
    struct frame_writer w;
    int r;

    fault_point("lend.meet");
    snprintf(slots, sizeof(slots), "%d", l->n);
    snprintf(bytes, sizeof(bytes), "%zu", l->slot_bytes);
    if (local_give(l->conn, &l->memory, 1) < 0)
        return -1;
    fault_point("lend.given");
    frame_writer_init(&w, l->conn, "reader");
    r = frame_write(&w, "hello", meta, 3, NULL, 0, LEND_WAIT_MS);
    frame_writer_release(&w);
    return r;
}

static int take_back(struct lender *l, const struct frame *f)
{
    int64_t slot;
    bool good;

    fault_point("lend.back");
    if (strcmp(frame_type(f), "free") != 0)
        return err_set(ERR_DATA, "unknown frame \"%.40s\"", frame_type(f));
    if (frame_meta_int(f, "slot", &slot) < 0)
        return -1;
    pthread_mutex_lock(&l->lock);
    good = slot >= 0 && slot < l->n && l->state[slot] == SLOT_LENT;
    if (good)
        l->state[slot] = SLOT_FREE;
    pthread_cond_signal(&l->freed);
    pthread_mutex_unlock(&l->lock);
    if (!good)
        return err_set(ERR_DATA,
                       "gave back slot %" PRId64 ", which it did not have",
                       slot);
    return 0;
}

/* What the reader says until it is gone; -1: what makes no sense. */
static int listen_to(struct lender *l)
{
    struct frame_stream s;
    struct frame f = FRAME_INIT;
    int r;

    frame_stream_init(&s, l->conn, "reader of the batches");
    while ((r = frame_next(&s, &f)) > 0) {
        if (s.seq > 1) {
            r = take_back(l, &f);
            if (r < 0)
                break;
            continue;
        }
        pthread_mutex_lock(&l->lock);
        l->ready = true;
        pthread_mutex_unlock(&l->lock);
    }
    frame_release(&f);
    return r < 0 && err_code() == ERR_DATA ? -1 : 0;
}

/* Wait for one that may have the memory: false when there will be none. */
static bool wait_reader(struct lender *l)
{
    pid_t pid;
    int fd;

    while ((fd = accept4(l->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        if (local_user(fd, &pid) == 0)
            break;
        note("memory of the batches: %s: turned away", err_text());
        close(fd);
    }
    /* There is one reader: another one goes on without, at once. */
    pthread_mutex_lock(&l->lock);
    l->conn = fd;
    close(l->listener);
    l->listener = -1;
    pthread_mutex_unlock(&l->lock);
    return fd >= 0;
}

static void *serve(void *arg)
{
    struct lender *l = arg;
    int r = 0;

    if (wait_reader(l) && greet(l) == 0)
        r = listen_to(l);
    pthread_mutex_lock(&l->lock);
    if (r < 0) {
        l->wrong = true;
        l->text = xstrdup(err_text());
    }
    l->ready = false;
    l->gone = true;
    for (int i = 0; i < l->n; i++)
        if (l->state[i] == SLOT_LENT)
            l->state[i] = SLOT_FREE;
    pthread_cond_signal(&l->freed);
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* ---- the slots */

static int make_memory(struct lender *l)
{
    void *p;

    l->memory = sealed_new(l->bytes);
    if (l->memory < 0)
        return -1;
    /* Not populated: each thread that decodes has the pages it touches first. */
    p = mmap(NULL, l->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, l->memory, 0);
    if (p == MAP_FAILED)
        return err_sys(ERR_SYSTEM, "%zu bytes", l->bytes);
    l->base = p;
    return 0;
}

static void release(struct lender *l)
{
    if (l->base)
        munmap(l->base, l->bytes);
    if (l->memory >= 0)
        close(l->memory);
    if (l->listener >= 0)
        close(l->listener);
    if (l->conn >= 0)
        close(l->conn);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->freed);
    free(l->state);
    free(l->text);
    free(l);
}

static int start(struct lender *l, const char *address)
{
    int e;

    l->listener = local_listen(address, 4);
    if (l->listener < 0 || make_memory(l) < 0)
        return -1;
    e = work_thread(&l->thread, serve, l);
    return e ? err_set(ERR_SYSTEM, "thread: %s", strerror(e)) : 0;
}

struct lender *lend_open(int fd, size_t bytes, int n)
{
    char *address = slots_allowed() ? lend_address(fd) : NULL;
    size_t step = bytes < LARGE ? PAGE : LARGE;
    struct lender *l;

    if (!address || n < 1 || n > LEND_SLOTS ||
        bytes > SIZE_MAX / 2 / (size_t)n - LARGE) {
        free(address);
        return NULL;
    }
    l = xcalloc(1, sizeof(*l));
    l->n = n;
    l->slot_bytes = (bytes + step - 1) / step * step;
    l->bytes = l->slot_bytes * (size_t)n;
    l->memory = l->listener = l->conn = -1;
    l->state = xcalloc((size_t)n, sizeof(*l->state));
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->freed, NULL);
    if (start(l, address) < 0) {
        note("memory of the batches: %s: they go through the pipe", err_text());
        err_clear();
        release(l);
        l = NULL;
    }
    free(address);
    return l;
}

static int find(const struct lender *l, enum slot_state state)
{
    for (int i = 0; i < l->n; i++)
        if (l->state[i] == state)
            return i;
    return -1;
}

void *lend_take(struct lender *l)
{
    void *p = NULL;
    int i;

    pthread_mutex_lock(&l->lock);
    while ((i = find(l, SLOT_FREE)) < 0 && !l->gone)
        pthread_cond_wait(&l->freed, &l->lock);
    if (l->wrong) {
        err_give(ERR_DATA, l->text);
    } else if (i < 0) {
        BUG("%d slots, none is free", l->n);
    } else {
        l->state[i] = SLOT_TAKEN;
        p = l->base + (size_t)i * l->slot_bytes;
    }
    pthread_mutex_unlock(&l->lock);
    return p;
}

bool lend_offer(struct lender *l, const void *p, struct frame_slot *s)
{
    int i = (int)((size_t)((const char *)p - l->base) / l->slot_bytes);
    bool ready;

    pthread_mutex_lock(&l->lock);
    ready = l->ready;
    if (ready) {
        l->state[i] = SLOT_LENT;
        l->lent++;
    }
    pthread_mutex_unlock(&l->lock);
    *s = (struct frame_slot){i, p, l->slot_bytes};
    if (ready)
        fault_point("lend.offer");
    return ready;
}

void lend_close(struct lender *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    if (l->listener >= 0)
        shutdown(l->listener, SHUT_RDWR);
    if (l->conn >= 0)
        shutdown(l->conn, SHUT_RDWR);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    if (l->lent)
        note("%" PRId64 " batches in shared memory", l->lent);
    release(l);
}
