#include "io/ahead.h"

#include "util/work.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

struct ahead_file {
    struct ahead_file *prev, *next; /* in the order of wanting */
    uint32_t sample;
    enum {
        WANTED,
        READING,
        READ,
        FAILED
    } state;
    struct buf bytes;
    enum err_class class;
    char *why;
};

struct ahead {
    struct reader *r;
    pthread_mutex_t lock;
    pthread_cond_t work; /* there may be something to read */
    pthread_cond_t read; /* a file was read */
    struct ahead_file *first, *last;
    struct ahead_file *wanted; /* the first that nobody reads yet */
    int64_t files, least;      /* read or being read by threads of ours */
    uint64_t bytes, max_bytes;
    bool stop;
    int threads;
    struct work_task **task;
};

/* ---- the list; under the lock */

static void unlink_file(struct ahead *a, struct ahead_file *w)
{
    if (a->wanted == w)
        a->wanted = w->next;
    *(w->prev ? &w->prev->next : &a->first) = w->next;
    *(w->next ? &w->next->prev : &a->last) = w->prev;
}

static void free_file(struct ahead_file *w)
{
    buf_release(&w->bytes);
    free(w->why);
    free(w);
}

/* The next to be read by a thread of ours, NULL if there is none now. */
static struct ahead_file *claim(struct ahead *a)
{
    struct ahead_file *w = a->wanted;

    if (!w || (a->files >= a->least && a->bytes >= a->max_bytes))
        return NULL;
    w->state = READING;
    a->wanted = w->next; /* all behind it are wanted too */
    a->files++;
    a->bytes += a->r->set.size[w->sample];
    return w;
}

/* ---- threads */

static int read_on(void *arg)
{
    struct ahead *a = arg;
    struct ahead_file *w;
    int r;

    pthread_mutex_lock(&a->lock);
    while (!a->stop) {
        w = claim(a);
        if (!w) {
            pthread_cond_wait(&a->work, &a->lock);
            continue;
        }
        pthread_mutex_unlock(&a->lock);
        r = reader_fetch(a->r, w->sample, &w->bytes);
        if (r < 0) {
            w->class = err_code();
            w->why = xstrdup(err_text());
        }
        pthread_mutex_lock(&a->lock);
        w->state = r < 0 ? FAILED : READ;
        pthread_cond_broadcast(&a->read);
    }
    pthread_mutex_unlock(&a->lock);
    return 0;
}

struct ahead *ahead_new(struct reader *r, int threads, int64_t least,
                        uint64_t bytes)
{
    struct ahead *a = xcalloc(1, sizeof(*a));

    a->r = r;
    a->least = least;
    a->max_bytes = bytes;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->work, NULL);
    pthread_cond_init(&a->read, NULL);
    a->task = xcalloc((size_t)threads + 1, sizeof(struct work_task *));
    /* fewer, or none, do as well */
    while (a->threads < threads &&
           (a->task[a->threads] = work_begin(read_on, a)))
        a->threads++;
    return a;
}

void ahead_free(struct ahead *a)
{
    struct ahead_file *w;

    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    a->stop = true;
    pthread_cond_broadcast(&a->work);
    pthread_mutex_unlock(&a->lock);
    for (int i = 0; i < a->threads; i++)
        if (work_join(a->task[i]) < 0)
            BUG("a reading thread failed");
    while ((w = a->first)) {
        a->first = w->next;
        free_file(w);
    }
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->work);
    pthread_cond_destroy(&a->read);
    free(a->task);
    free(a);
}

/* ---- both ends */

struct ahead_file *ahead_want(struct ahead *a, uint32_t sample)
{
    struct ahead_file *w = xcalloc(1, sizeof(*w));

    w->sample = sample;
    pthread_mutex_lock(&a->lock);
    w->prev = a->last;
    *(a->last ? &a->last->next : &a->first) = w;
    a->last = w;
    if (!a->wanted)
        a->wanted = w;
    pthread_cond_signal(&a->work);
    pthread_mutex_unlock(&a->lock);
    return w;
}

int ahead_take(struct ahead *a, struct ahead_file *w, struct buf *b)
{
    struct buf swap;
    bool own;
    int r = 0;

    pthread_mutex_lock(&a->lock);
    while (w->state == READING)
        pthread_cond_wait(&a->read, &a->lock);
    own = w->state == WANTED;
    unlink_file(a, w);
    if (!own) {
        a->files--;
        a->bytes -= a->r->set.size[w->sample];
        pthread_cond_signal(&a->work);
    }
    pthread_mutex_unlock(&a->lock);
    if (own) {
        r = reader_fetch(a->r, w->sample, b);
    } else if (w->state == FAILED) {
        r = err_give(w->class, w->why);
    } else {
        swap = *b;
        *b = w->bytes;
        w->bytes = swap;
    }
    free_file(w);
    return r < 0 ? -1 : 0;
}
