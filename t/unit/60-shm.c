/* Sums in shared memory over forked processes: whole numbers are exact, the
 * order of addition is 0, 1, 2, ..., all ranks read the same bits. */
#include "lib/tap.h"

#include "ring/shm.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const uint64_t sizes[] = {1,     2,     15,    16,    17,   31,
                                 33,    100,   1023,  4097,  8192, 8193,
                                 16385, 65537, 99999, 100000};
#define N_SIZES (sizeof(sizes) / sizeof(sizes[0]))

/* Element i of rank r in round t: whole numbers, or values of very different
 * size, whose sum depends on the order. */
static float element(int t, uint64_t i, int r)
{
    static const float scale[] = {1.0f, 1e8f, -1e8f, 3e-3f};
    float x = (float)((i * 2654435761u + (uint64_t)r * 40503u) % 2048);

    return t == 0 ? x - 1024.0f : x * scale[(i + (uint64_t)r) % 4] + 0.1f;
}

static float expected(int t, uint64_t i, int world)
{
    float sum = element(t, i, 0);

    for (int r = 1; r < world; r++)
        sum += element(t, i, r);
    return sum;
}

static int sum_all(const struct shm *s)
{
    struct shm_rank *me = shm_rank(s, s->rank);
    float *g = shm_arena(s, s->rank), *sums = shm_sums(s), want;
    uint32_t k = 0;
    int bad = 0;

    for (size_t z = 0; z < N_SIZES; z++) {
        for (int t = 0; t < 2; t++) {
            size_t at = (z % 3) * 1024; /* elements; slots begin anywhere */
            for (uint64_t i = 0; i < sizes[z]; i++)
                g[at + i] = element(t, i, s->rank);
            shm_post(&me->ready, ++k);
            if (shm_wait_all(s, SHM_READY, k) < 0)
                return -1;
            bad += !shm_add_slice(s, at * sizeof(float), sizes[z]);
            shm_post(&me->done, k);
            if (shm_wait_all(s, SHM_DONE, k) < 0)
                return -1;
            for (uint64_t i = 0; i < sizes[z]; i++) {
                want = expected(t, i, s->world);
                bad += memcmp(&want, &sums[at + i], sizeof(want)) != 0;
            }
            /* Nobody goes on before all have compared. */
            shm_post(&me->ready, ++k);
            if (shm_wait_all(s, SHM_READY, k) < 0)
                return -1;
            shm_post(&me->done, k);
        }
    }
    return bad;
}

static void test_sums(int world)
{
    struct shm s = SHM_INIT;
    pid_t pid[8];
    int bad = 0, status;

    if (!ok(shm_create(&s, world) == 0, "memory for %d ranks", world))
        return;
    for (int r = 1; r < world; r++) {
        pid[r] = fork();
        if (pid[r] == 0) {
            struct shm mine = SHM_INIT;
            /* Through the descriptor, as a ring gets it. */
            if (shm_attach(&mine, s.fd, r, world) < 0)
                _exit(1);
            _exit(sum_all(&mine) != 0);
        }
    }
    is_int(sum_all(&s), 0, "rank 0 of %d reads the right bits", world);
    for (int r = 1; r < world; r++) {
        waitpid(pid[r], &status, 0);
        bad += status != 0;
    }
    is_int(bad, 0, "and the other ranks do");
    shm_release(&s);
}

static void test_slices(void)
{
    uint64_t first, end, next;
    int bad = 0;

    for (int world = 1; world <= 9; world++) {
        for (size_t z = 0; z < N_SIZES; z++) {
            next = 0;
            for (int r = 0; r < world; r++) {
                shm_slice(sizes[z], r, world, &first, &end);
                bad += first != next || end < first;
                bad += r + 1 < world && end % 16 && end != sizes[z];
                next = end;
            }
            bad += next != sizes[z];
        }
    }
    is_int(bad, 0, "slices cover everything once, in steps of 16");
}

static void test_finite(void)
{
    struct shm s = SHM_INIT;
    float *g;

    if (shm_create(&s, 1) < 0)
        exit(1);
    g = shm_arena(&s, 0);
    for (int i = 0; i < 1000; i++)
        g[i] = 3e38f;
    ok(shm_add_slice(&s, 0, 1000), "large numbers are finite");
    g[999] = INFINITY;
    ok(!shm_add_slice(&s, 0, 1000), "an infinity is seen");
    g[999] = 0.0f;
    g[3] = NAN;
    ok(!shm_add_slice(&s, 0, 1000), "a NaN is seen");
    ok(shm_add_slice(&s, 4 * sizeof(float), 900), "where it is");
    shm_release(&s);
}

static void test_abort(void)
{
    struct shm s = SHM_INIT;
    const char *text;
    int origin;

    if (shm_create(&s, 2) < 0)
        exit(1);
    if (fork() == 0) {
        usleep(50000);
        shm_abort(&s, ERR_DATA, 1, "rank 1: bad record");
        shm_abort(&s, ERR_IO, 1, "later");
        _exit(0);
    }
    is_int(shm_wait_all(&s, SHM_READY, 1), -1, "an abort ends a wait");
    is_int(err_code(), ERR_DATA, "with its class");
    is_str(err_text(), "rank 1: bad record", "and its sentence");
    wait(NULL);
    shm_cause(&s, &origin, &text);
    is_int(origin, 1, "the first abort counts");
    is_str(text, "rank 1: bad record", "and stays");
    ok(!shm_abort(&s, ERR_IO, 0, "again"), "one more changes nothing");
    shm_release(&s);
}

static void test_memory(void)
{
    struct shm s = SHM_INIT, t = SHM_INIT;
    int fd[SHM_PARTS], size;

    if (shm_create(&s, 2) < 0)
        exit(1);
    for (int i = 0; i < SHM_PARTS; i++) {
        is_int(ftruncate(s.fd[i], 4096), -1,
               "part %d of the memory cannot be made shorter", i);
        fd[i] = s.fd[i];
    }
    is_int(shm_attach(&t, fd, 1, 3), -1, "another world is refused");
    for (int i = 0; i < SHM_PARTS; i++) {
        fd[i] = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        size = ftruncate(fd[i], (off_t)s.bytes[i]);
        is_int(size == 0 ? shm_attach(&t, fd, 1, 2) : 0, -1,
               "part %d that is not sealed is refused", i);
        is_int(err_code(), ERR_PEER, "as a peer's mistake");
        close(fd[i]);
        fd[i] = s.fd[i];
    }
    fd[SHM_DATA] = s.fd[SHM_TABLE];
    is_int(shm_attach(&t, fd, 1, 2), -1, "and data of another size");
    shm_release(&s);
    is_int(shm_create(&s, 0), -1, "no ranks are refused");
}

/* Moves the counters of its rank as fast as it can. */
static void *move(void *p)
{
    const struct shm *s = p;

    for (uint32_t k = 1; k <= 2000000; k++) {
        shm_advance(s, SHM_READY, k);
        shm_advance(s, SHM_DONE, k);
        shm_advance(s, SHM_SENT, k);
    }
    return NULL;
}

static void test_counts(void)
{
    struct shm s = SHM_INIT;
    struct shm_counts c = {0};
    pthread_t thread;
    int bad = 0;

    if (shm_create(&s, 1) < 0)
        die();
    pthread_create(&thread, NULL, move, &s);
    while (c.sent < 2000000) {
        c = shm_counts(&s, 0);
        bad += c.sent > c.done || c.done > c.ready;
    }
    pthread_join(thread, NULL);
    is_int(bad, 0, "counters are never seen out of their order");
    shm_release(&s);
}

#define ABORTERS 40

struct aborter {
    pthread_t thread;
    const struct shm *s;
    int number, first, torn;
};

static void *give_up(void *p)
{
    struct aborter *a = p;
    const char *text;
    char words[1500], want[1500];
    int origin, class;

    memset(words, 'a' + a->number % 26, sizeof(words) - 1);
    words[sizeof(words) - 1] = 0;
    a->first = shm_abort(a->s, (enum err_class)(ERR_DATA + a->number % 5),
                         a->number, words);
    class = (int)shm_cause(a->s, &origin, &text);
    a->torn = class != ERR_DATA + origin % 5;
    memset(want, 'a' + origin % 26, sizeof(want) - 1);
    want[sizeof(want) - 1] = 0;
    a->torn |= strcmp(text, want) != 0;
    return NULL;
}

/* More than there are places for causes, all at once. */
static void test_many_aborts(void)
{
    struct aborter a[ABORTERS];
    struct shm s = SHM_INIT;
    int first = 0, torn = 0;

    if (shm_create(&s, 2) < 0)
        die();
    for (int i = 0; i < ABORTERS; i++) {
        a[i] = (struct aborter){.s = &s, .number = i};
        pthread_create(&a[i].thread, NULL, give_up, &a[i]);
    }
    for (int i = 0; i < ABORTERS; i++) {
        pthread_join(a[i].thread, NULL);
        first += a[i].first;
        torn += a[i].torn;
    }
    is_int(first, 1, "of many who abort at once one is the first");
    is_int(torn, 0, "and all see its cause, whole");
    shm_release(&s);
}

int main(void)
{
    for (int world = 1; world <= 4; world++)
        test_sums(world);
    test_slices();
    test_finite();
    test_abort();
    test_many_aborts();
    test_memory();
    test_counts();
    return done_testing();
}
