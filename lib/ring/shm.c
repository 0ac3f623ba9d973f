#include "ring/shm.h"

#include "io/ctl.h"
#include "io/sealed.h"
#include "ring/sum.h"
#include "util/fdio.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define MAGIC 0x3152414d /* "MAR1" */
#define CHUNK 8192       /* elements added at a time: 32 KiB */
/* Looks before a wait sleeps: some 10 us. */
#define LOOKS 200
#define CAUSE_MS 2000

/* Of those who abort at the same time; the first to publish counts. */
#define CAUSES 16

struct cause {
    int32_t class, origin;
    char text[2048];
};

struct shm_head {
    uint32_t magic, world, host, n_local;
    uint64_t arena_bytes;
    struct roster roster;
    int16_t index[SHM_RANKS]; /* among the local ranks, or -1 */
    int16_t local[SHM_RANKS];
    _Atomic uint32_t n_causes; /* begun */
    _Atomic uint32_t aborted;  /* 1 + the cause that counts, 0: none */
    struct cause cause[CAUSES];
};

static size_t round_up(size_t n)
{
    return (n + PAGE - 1) / PAGE * PAGE;
}

/* Where the parts lie; all begin on a page. */
static size_t ranks_at(void)
{
    return round_up(sizeof(struct shm_head));
}

static size_t ops_at(int world)
{
    return ranks_at() + (size_t)world * round_up(sizeof(struct shm_rank));
}

static size_t numbers_at(int world)
{
    return ops_at(world) +
           (size_t)world * round_up(SHM_OPS * sizeof(struct shm_op));
}

static size_t table_bytes(int world)
{
    return numbers_at(world) +
           (size_t)world * round_up(SHM_NUMBERS * sizeof(double));
}

/* Arenas, sums and broadcast data: n + 2 regions of the same size. */
static size_t data_bytes(int n_local, size_t arena)
{
    return ((size_t)n_local + 2) * arena;
}

static int map(struct shm *s, enum shm_part part)
{
    void *p = mmap(NULL, s->bytes[part], PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_NORESERVE, s->fd[part], 0);

    if (p == MAP_FAILED)
        return err_sys(ERR_SYSTEM, "shared memory: map of %zu bytes",
                       s->bytes[part]);
    s->base[part] = p;
    if (part == SHM_TABLE)
        s->head = p;
    return 0;
}

static void unmap(struct shm *s)
{
    for (int i = 0; i < SHM_PARTS; i++) {
        if (s->base[i])
            munmap(s->base[i], s->bytes[i]);
        s->base[i] = NULL;
    }
}

static int make_part(struct shm *s, enum shm_part part)
{
    s->fd[part] = sealed_new(s->bytes[part]);
    return s->fd[part] < 0 ? -1 : map(s, part);
}

static int make_memory(struct shm *s)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    size_t memory = pages > 0 && size > 0 ? (size_t)pages * (size_t)size : 0;

    if (memory < (size_t)1 << 28)
        memory = (size_t)1 << 28;
    s->arena_bytes = memory / (size_t)(s->n_local + 1) / PAGE * PAGE;
    s->bytes[SHM_TABLE] = table_bytes(s->world);
    s->bytes[SHM_DATA] = data_bytes(s->n_local, s->arena_bytes);
    return make_part(s, SHM_TABLE) < 0 ? -1 : make_part(s, SHM_DATA);
}

int shm_create_host(struct shm *s, const struct roster *r, int host)
{
    struct shm t = SHM_INIT;
    int list[SHM_RANKS];

    if (roster_check(r) < 0)
        return -1;
    t.world = (int)r->world;
    t.n_local = roster_locals(r, host, list);
    t.rank = list[0];
    if (r->n_hosts > 1) {
        t.bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (t.bell < 0)
            return err_sys(ERR_SYSTEM, "eventfd");
    }
    if (make_memory(&t) < 0) {
        shm_release(&t);
        return -1;
    }
    t.head->world = r->world;
    t.head->host = (uint32_t)host;
    t.head->n_local = (uint32_t)t.n_local;
    t.head->arena_bytes = t.arena_bytes;
    t.head->roster = *r;
    for (int i = 0; i < t.world; i++) {
        t.head->index[i] = -1;
        atomic_init(&shm_rank(&t, i)->step, -1);
    }
    for (int i = 0; i < t.n_local; i++) {
        t.head->index[list[i]] = (int16_t)i;
        t.head->local[i] = (int16_t)list[i];
    }
    t.head->magic = MAGIC;
    *s = t;
    return 0;
}

int shm_create(struct shm *s, int world)
{
    struct roster r;

    if (world < 1 || world > SHM_RANKS)
        return err_set(ERR_USAGE, "%d ranks: 1 to %d", world, SHM_RANKS);
    roster_single(&r, world);
    return shm_create_host(s, &r, 0);
}

int shm_attach(struct shm *s, const int fd[SHM_PARTS], int rank, int world)
{
    struct shm t = SHM_INIT;
    uint64_t bytes;

    t.rank = rank;
    t.world = world;
    for (int i = 0; i < SHM_PARTS; i++) {
        t.fd[i] = fd[i];
        t.bytes[i] = sealed_size(fd[i], &bytes) < 0 ? 0 : bytes;
    }
    if (t.bytes[SHM_TABLE] != table_bytes(world) || t.bytes[SHM_DATA] == 0)
        return err_set(ERR_PEER, "shared memory: rank 0 sent something else");
    if (map(&t, SHM_TABLE) < 0 || map(&t, SHM_DATA) < 0) {
        unmap(&t);
        return -1;
    }
    t.arena_bytes = t.head->arena_bytes;
    t.n_local = (int)t.head->n_local;
    if (t.head->magic != MAGIC || t.head->world != (uint32_t)world ||
        t.n_local < 1 || t.n_local > world ||
        t.arena_bytes > t.bytes[SHM_DATA] ||
        data_bytes(t.n_local, t.arena_bytes) != t.bytes[SHM_DATA]) {
        unmap(&t);
        return err_set(ERR_PEER, "shared memory: its header does not fit");
    }
    *s = t;
    return 0;
}

void shm_release(struct shm *s)
{
    unmap(s);
    for (int i = 0; i < SHM_PARTS; i++)
        if (s->fd[i] >= 0)
            close(s->fd[i]);
    if (s->bell >= 0)
        close(s->bell);
    *s = (struct shm)SHM_INIT;
}

const struct roster *shm_roster(const struct shm *s)
{
    return &s->head->roster;
}

int shm_host(const struct shm *s)
{
    return (int)s->head->host;
}

int shm_local(const struct shm *s, int i)
{
    return s->head->local[i];
}

int shm_index(const struct shm *s, int rank)
{
    return s->head->index[rank];
}

struct shm_rank *shm_rank(const struct shm *s, int rank)
{
    return (struct shm_rank *)(void *)(s->base[SHM_TABLE] + ranks_at() +
                                       (size_t)rank *
                                           round_up(sizeof(struct shm_rank)));
}

struct shm_op *shm_op(const struct shm *s, int rank, uint32_t k)
{
    char *table = s->base[SHM_TABLE] + ops_at(s->world) +
                  (size_t)rank * round_up(SHM_OPS * sizeof(struct shm_op));

    return (struct shm_op *)(void *)table + k % SHM_OPS;
}

double *shm_numbers(const struct shm *s, int rank)
{
    return (double *)(void *)(s->base[SHM_TABLE] + numbers_at(s->world) +
                              (size_t)rank *
                                  round_up(SHM_NUMBERS * sizeof(double)));
}

static char *region(const struct shm *s, int i)
{
    return s->base[SHM_DATA] + (size_t)i * s->arena_bytes;
}

float *shm_arena(const struct shm *s, int rank)
{
    return (float *)(void *)region(s, shm_index(s, rank));
}

float *shm_sums(const struct shm *s)
{
    /* The sum over one rank is what that rank gave. */
    return (float *)(void *)region(s, s->n_local > 1 ? s->n_local : 0);
}

char *shm_bcast(const struct shm *s)
{
    return region(s, s->n_local + 1);
}

size_t shm_room(const struct shm *s)
{
    return s->arena_bytes;
}

uint64_t shm_data_at(const struct shm *s, const void *p)
{
    return (uint64_t)((const char *)p - s->base[SHM_DATA]);
}

/* ---- waiting */

static long futex(_Atomic uint32_t *word, int op, uint32_t v,
                  const struct timespec *timeout)
{
    return syscall(SYS_futex, word, op, v, timeout, NULL, 0);
}

void shm_post(struct shm_count *c, uint32_t k)
{
    /* In one order with what a sleeper does: either it sees k, or it is seen
     * here. One that was killed asleep is woken for ever, which does no harm. */
    atomic_store_explicit(&c->cpu, sched_getcpu() + 1, memory_order_relaxed);
    atomic_store(&c->v, k);
    if (atomic_load(&c->sleepers))
        futex(&c->v, FUTEX_WAKE, INT32_MAX, NULL);
}

static void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

struct shm_count *shm_count(const struct shm *s, enum shm_counter which,
                            int rank)
{
    struct shm_rank *r = shm_rank(s, rank);

    return which == SHM_READY  ? &r->ready
           : which == SHM_DONE ? &r->done
                               : &r->sent;
}

static void ring_bell(const struct shm *s)
{
    uint64_t one = 1;

    if (s->bell >= 0)
        (void)!write(s->bell, &one, sizeof(one));
}

struct shm_counts shm_counts(const struct shm *s, int rank)
{
    const struct shm_rank *r = shm_rank(s, rank);
    struct shm_counts c;

    /* The last to be moved is read first. */
    c.sent = atomic_load_explicit(&r->sent.v, memory_order_acquire);
    c.done = atomic_load_explicit(&r->done.v, memory_order_acquire);
    c.ready = atomic_load_explicit(&r->ready.v, memory_order_acquire);
    return c;
}

void shm_advance(const struct shm *s, enum shm_counter which, uint32_t k)
{
    shm_post(shm_count(s, which, s->rank), k);
    ring_bell(s);
}

static int give_cause(const struct shm *s)
{
    const char *text;
    enum err_class class = shm_cause(s, NULL, &text);

    return err_give(class, text);
}

static bool reached(const struct shm_count *c, uint32_t k)
{
    return (int32_t)(atomic_load_explicit(&c->v, memory_order_acquire) - k) >=
           0;
}

/* Look for a while, unless who is waited for was last on this CPU: looking would
 * only keep it from coming. */
static bool look(const struct shm_count *c, uint32_t k)
{
    if (atomic_load_explicit(&c->cpu, memory_order_relaxed) ==
        sched_getcpu() + 1)
        return false;
    for (int i = 0; i < LOOKS; i++) {
        if (reached(c, k))
            return true;
        pause_cpu();
    }
    return false;
}

int shm_wait(const struct shm *s, struct shm_count *c, uint32_t k)
{
    static const struct timespec slice = {0, 100000000};
    uint32_t v;

    if (reached(c, k) || look(c, k))
        return 0;
    for (;;) {
        if (shm_aborted(s))
            return give_cause(s);
        atomic_fetch_add(&c->sleepers, 1);
        v = atomic_load(&c->v);
        /* Bounded, since a rank that was killed wakes nobody. */
        if ((int32_t)(v - k) < 0)
            futex(&c->v, FUTEX_WAIT, v, &slice);
        atomic_fetch_sub(&c->sleepers, 1);
        if (reached(c, k))
            return 0;
    }
}

int shm_wait_one(const struct shm *s, enum shm_counter which, int rank,
                 uint32_t k)
{
    return shm_wait(s, shm_count(s, which, rank), k);
}

int shm_wait_local(const struct shm *s, enum shm_counter which, uint32_t k)
{
    for (int i = 0; i < s->n_local; i++)
        if (shm_wait_one(s, which, shm_local(s, i), k) < 0)
            return -1;
    return 0;
}

int shm_wait_all(const struct shm *s, enum shm_counter which, uint32_t k)
{
    for (int r = 0; r < s->world; r++)
        if (shm_wait_one(s, which, r, k) < 0)
            return -1;
    return 0;
}

int shm_wait_abort(const struct shm *s, int ms)
{
    static const struct timespec tick = {0, 10000000};

    for (int64_t end = clock_ms() + ms; !shm_aborted(s);) {
        if (clock_ms() >= end)
            return 0;
        nanosleep(&tick, NULL);
    }
    return give_cause(s);
}

/* ---- adding */

void shm_slice(uint64_t n, int rank, int world, uint64_t *first, uint64_t *end)
{
    int64_t a, b;

    ctl_slice((int64_t)n, rank, world, &a, &b);
    *first = (uint64_t)a;
    *end = (uint64_t)b;
}

void shm_take_shares(const struct shm *s, size_t offset, uint64_t n,
                     uint64_t from, uint64_t end)
{
    size_t base = offset / sizeof(float);
    float *to = shm_sums(s) + base;

    for (int i = 0; i < s->n_local; i++) {
        int rank = shm_local(s, i);
        const float *own = shm_arena(s, rank) + base;
        uint64_t a, b;

        shm_slice(n, roster_share(shm_roster(s), rank), s->world, &a, &b);
        a = a > from ? a : from;
        b = b < end ? b : end;
        /* with one rank on the host the two are the same memory */
        if (a < b && to != own)
            memcpy(to + a, own + a, (size_t)(b - a) * sizeof(*to));
    }
}

bool shm_add_slice(const struct shm *s, size_t offset, uint64_t n)
{
    const float *in[SHM_RANKS];
    size_t base = offset / sizeof(float);
    uint64_t i, end;
    bool finite = true;

    shm_slice(n, shm_index(s, s->rank), s->n_local, &i, &end);
    for (; i < end; i += CHUNK) {
        size_t m = end - i < CHUNK ? end - i : CHUNK, at = base + i;
        for (int r = 0; r < s->n_local; r++)
            in[r] = (const float *)(const void *)region(s, r) + at;
        finite &= sum_chunk(shm_sums(s) + at, in, s->n_local, m);
    }
    return finite;
}

/* ---- the end by failure */

bool shm_abort(const struct shm *s, enum err_class c, int origin,
               const char *text)
{
    struct shm_head *h = s->head;
    struct cause *cause;
    uint32_t none = 0, i;

    if (shm_aborted(s))
        return false;
    i = atomic_fetch_add(&h->n_causes, 1);
    cause = &h->cause[i % CAUSES];
    /* So many write a cause now that one of them is heard soon. */
    if (i >= CAUSES && shm_wait_abort(s, CAUSE_MS) < 0)
        return false;
    /* Written whole before it is published: whoever is killed or slow here is
     * in nobody's way. */
    cause->class = c;
    cause->origin = origin;
    snprintf(cause->text, sizeof(cause->text), "%s", text);
    if (!atomic_compare_exchange_strong(&h->aborted, &none, i % CAUSES + 1))
        return false;
    ring_bell(s);
    return true;
}

bool shm_aborted(const struct shm *s)
{
    return atomic_load_explicit(&s->head->aborted, memory_order_acquire) != 0;
}

enum err_class shm_cause(const struct shm *s, int *origin, const char **text)
{
    const struct cause *c =
        &s->head->cause[(atomic_load(&s->head->aborted) - 1) % CAUSES];

    if (origin)
        *origin = c->origin;
    if (text)
        *text = c->text;
    return (enum err_class)c->class;
}
