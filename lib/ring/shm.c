#include "ring/shm.h"

#include "ring/sum.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define MAGIC 0x3152414d /* "MAR1" */
#define CHUNK 8192       /* elements added at a time: 32 KiB */
#define SPINS 2000

enum {
    RUNNING,
    LEAVING,
    ABORTED
};

struct shm_head {
    uint32_t magic, world;
    uint64_t arena_bytes;
    _Atomic uint32_t state;
    int32_t class, origin;
    char text[2048];
};

static size_t round_up(size_t n)
{
    return (n + PAGE - 1) / PAGE * PAGE;
}

/* Where the parts lie; all begin on a page. */
static size_t ranks_at(void)
{
    return PAGE;
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

static size_t arenas_at(int world)
{
    return numbers_at(world) +
           (size_t)world * round_up(SHM_NUMBERS * sizeof(double));
}

/* Arenas, sums and broadcast data: world + 2 regions of the same size. */
static size_t total_bytes(int world, size_t arena)
{
    return arenas_at(world) + ((size_t)world + 2) * arena;
}

static int map(struct shm *s)
{
    void *p = mmap(NULL, s->bytes, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_NORESERVE, s->fd, 0);

    if (p == MAP_FAILED)
        return err_sys(ERR_SYSTEM, "shared memory: map of %zu bytes", s->bytes);
    s->base = p;
    s->head = p;
    return 0;
}

int shm_create(struct shm *s, int world)
{
    struct shm t = SHM_INIT;
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    size_t memory = pages > 0 && size > 0 ? (size_t)pages * (size_t)size : 0;

    if (world < 1 || world > SHM_RANKS)
        return err_set(ERR_USAGE, "%d ranks: 1 to %d on one host", world,
                       SHM_RANKS);
    if (memory < (size_t)1 << 28)
        memory = (size_t)1 << 28;
    t.world = world;
    t.arena_bytes = memory / (size_t)(world + 1) / PAGE * PAGE;
    t.bytes = total_bytes(world, t.arena_bytes);
    t.fd = memfd_create("millrace", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (t.fd < 0)
        return err_sys(ERR_SYSTEM, "shared memory: create");
    /* Sealed, so that no peer can make it shorter under a reader. */
    if (ftruncate(t.fd, (off_t)t.bytes) < 0 ||
        fcntl(t.fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) <
            0) {
        err_sys(ERR_SYSTEM, "shared memory: size %zu bytes", t.bytes);
        close(t.fd);
        return -1;
    }
    if (map(&t) < 0) {
        close(t.fd);
        return -1;
    }
    t.head->world = (uint32_t)world;
    t.head->arena_bytes = t.arena_bytes;
    t.head->magic = MAGIC;
    for (int r = 0; r < world; r++)
        atomic_init(&shm_rank(&t, r)->step, -1);
    *s = t;
    return 0;
}

int shm_attach(struct shm *s, int fd, int rank, int world)
{
    struct shm t = SHM_INIT;
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);

    t.fd = fd;
    t.rank = rank;
    t.world = world;
    if (fstat(fd, &st) < 0 || seals < 0 ||
        (seals & (F_SEAL_SHRINK | F_SEAL_SEAL)) !=
            (F_SEAL_SHRINK | F_SEAL_SEAL) ||
        (size_t)st.st_size < arenas_at(world))
        return err_set(ERR_PEER, "shared memory: rank 0 sent something else");
    t.bytes = (size_t)st.st_size;
    if (map(&t) < 0)
        return -1;
    t.arena_bytes = t.head->arena_bytes;
    if (t.head->magic != MAGIC || t.head->world != (uint32_t)world ||
        t.arena_bytes > t.bytes ||
        total_bytes(world, t.arena_bytes) != t.bytes) {
        munmap(t.base, t.bytes);
        return err_set(ERR_PEER, "shared memory: its header does not fit");
    }
    *s = t;
    return 0;
}

void shm_release(struct shm *s)
{
    if (s->base)
        munmap(s->base, s->bytes);
    if (s->fd >= 0)
        close(s->fd);
    *s = (struct shm)SHM_INIT;
}

struct shm_rank *shm_rank(const struct shm *s, int rank)
{
    return (struct shm_rank *)(void *)(s->base + ranks_at() +
                                       (size_t)rank *
                                           round_up(sizeof(struct shm_rank)));
}

struct shm_op *shm_op(const struct shm *s, int rank, uint32_t k)
{
    char *table = s->base + ops_at(s->world) +
                  (size_t)rank * round_up(SHM_OPS * sizeof(struct shm_op));

    return (struct shm_op *)(void *)table + k % SHM_OPS;
}

double *shm_numbers(const struct shm *s, int rank)
{
    return (double *)(void *)(s->base + numbers_at(s->world) +
                              (size_t)rank *
                                  round_up(SHM_NUMBERS * sizeof(double)));
}

float *shm_arena(const struct shm *s, int rank)
{
    return (float *)(void *)(s->base + arenas_at(s->world) +
                             (size_t)rank * s->arena_bytes);
}

float *shm_sums(const struct shm *s)
{
    /* The sum over one rank is what that rank gave. */
    return shm_arena(s, s->world > 1 ? s->world : 0);
}

char *shm_bcast(const struct shm *s)
{
    return (char *)shm_arena(s, s->world + 1);
}

size_t shm_room(const struct shm *s)
{
    return s->arena_bytes;
}

/* ---- waiting */

static long futex(_Atomic uint32_t *word, int op, uint32_t v,
                  const struct timespec *timeout)
{
    return syscall(SYS_futex, word, op, v, timeout, NULL, 0);
}

void shm_post(struct shm_count *c, uint32_t k)
{
    atomic_store_explicit(&c->v, k, memory_order_release);
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

int shm_wait_one(const struct shm *s, enum shm_counter which, int rank,
                 uint32_t k)
{
    static const struct timespec slice = {0, 100000000};
    struct shm_rank *r = shm_rank(s, rank);
    struct shm_count *c = which == SHM_READY  ? &r->ready
                          : which == SHM_DONE ? &r->done
                                              : &r->sent;
    uint32_t v;

    for (int spins = 0;; spins++) {
        v = atomic_load_explicit(&c->v, memory_order_acquire);
        if ((int32_t)(v - k) >= 0)
            return 0;
        if (spins < SPINS) {
            pause_cpu();
            continue;
        }
        if (shm_aborted(s)) {
            const char *text;
            enum err_class class = shm_cause(s, NULL, &text);
            return err_give(class, text);
        }
        /* Bounded, since a rank that was killed wakes nobody. */
        futex(&c->v, FUTEX_WAIT, v, &slice);
    }
}

int shm_wait_all(const struct shm *s, enum shm_counter which, uint32_t k)
{
    for (int r = 0; r < s->world; r++)
        if (shm_wait_one(s, which, r, k) < 0)
            return -1;
    return 0;
}

/* ---- adding */

void shm_slice(uint64_t n, int rank, int world, uint64_t *first, uint64_t *end)
{
    uint64_t blocks = (n + 15) / 16;
    uint64_t a = blocks * (uint64_t)rank / (uint64_t)world * 16;
    uint64_t b = blocks * (uint64_t)(rank + 1) / (uint64_t)world * 16;

    *first = a < n ? a : n;
    *end = b < n ? b : n;
}

bool shm_add_slice(const struct shm *s, size_t offset, uint64_t n)
{
    const float *in[SHM_RANKS];
    size_t base = offset / sizeof(float);
    uint64_t i, end;
    bool finite = true;

    shm_slice(n, s->rank, s->world, &i, &end);
    for (; i < end; i += CHUNK) {
        size_t m = end - i < CHUNK ? end - i : CHUNK, at = base + i;
        for (int r = 0; r < s->world; r++)
            in[r] = shm_arena(s, r) + at;
        finite &= sum_chunk(shm_sums(s) + at, in, s->world, m);
    }
    return finite;
}

/* ---- the end by failure */

bool shm_abort(const struct shm *s, enum err_class c, int origin,
               const char *text)
{
    static const struct timespec moment = {0, 100000000};
    struct shm_head *h = s->head;
    uint32_t expected = RUNNING;

    if (!atomic_compare_exchange_strong(&h->state, &expected, LEAVING)) {
        if (expected == ABORTED)
            return false;
        /* Another is writing the cause, or was killed while it did. */
        nanosleep(&moment, NULL);
        if (shm_aborted(s))
            return false;
    }
    h->class = c;
    h->origin = origin;
    snprintf(h->text, sizeof(h->text), "%s", text);
    atomic_store_explicit(&h->state, ABORTED, memory_order_release);
    return true;
}

bool shm_aborted(const struct shm *s)
{
    return atomic_load_explicit(&s->head->state, memory_order_acquire) ==
           ABORTED;
}

enum err_class shm_cause(const struct shm *s, int *origin, const char **text)
{
    if (origin)
        *origin = s->head->origin;
    if (text)
        *text = s->head->text;
    return (enum err_class)s->head->class;
}
