/*
 * The steady step: from the fourth on a training step takes no page fault, asks
 * for no memory of the C library or of the engine, and packs each weight once.
 * (What oneDNN and the C++ library ask for within a call is not ours.)
 */
#include "lib/must.h"
#include "lib/tap.h"

#include "train/step.h"
#include "util/rng.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <sys/resource.h>

enum {
    IMAGES = 4,
    SIZE = 64,
    WARM = 3,
    STEPS = 7
};

/* ---- calls of the allocator, of all that is loaded; by glibc's other names */

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) &&                    \
    !defined(__SANITIZE_THREAD__) && !defined(__clang__)
#    define COUNTED true
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);

static long calls;

static void count(const void *caller)
{
    Dl_info where;

    if (dladdr(caller, &where) && !strstr(where.dli_fname, "libdnnl") &&
        !strstr(where.dli_fname, "libstdc++"))
        __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
}

void *malloc(size_t n)
{
    count(__builtin_return_address(0));
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    count(__builtin_return_address(0));
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    count(__builtin_return_address(0));
    return __libc_realloc(p, n);
}

int posix_memalign(void **p, size_t align, size_t n)
{
    count(__builtin_return_address(0));
    *p = __libc_memalign(align, n);
    return *p ? 0 : 12;
}

static long allocations(void)
{
    return __atomic_load_n(&calls, __ATOMIC_RELAXED);
}
#else
#    define COUNTED false
static long allocations(void)
{
    return 0;
}
#endif

static long faults(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return u.ru_minflt;
}

static int packs;

static void watch(void *arg, const char *call, const char *detail, double start,
                  double end)
{
    (void)arg;
    (void)detail;
    (void)start;
    (void)end;
    packs += strcmp(call, "pack") == 0;
}

static void make_batch(struct input_batch *b, int64_t *label)
{
    size_t n = (size_t)IMAGES * SIZE * SIZE * 3, i;
    uint8_t *p = xmalloc(n);
    struct rng r;

    memset(b, 0, sizeof *b);
    rng_init(&r, 1, 0, 0, RNG_SYNTH);
    for (i = 0; i < n; i++)
        p[i] = (uint8_t)rng_below(&r, 256);
    for (i = 0; i < IMAGES; i++)
        label[i] = (int64_t)i;
    b->image = TENSOR4(DT_U8, p, IMAGES, SIZE, SIZE, 3);
    b->label = label;
    b->n = b->rows = IMAGES;
    b->last = true;
}

static void go(struct step *s, const struct input_batch *b)
{
    struct step_result res;

    must(step_batch(s, b, 0.01));
    must(step_result(s, true, &res));
}

static void steady(struct engine *e, const char *name, enum dtype compute)
{
    static const struct recipe r = {.momentum = 0.9, .weight_decay = 1e-4};
    struct model_config c = {.classes = 10,
                             .width = 16,
                             .bn_eps = 1e-5,
                             .bn_momentum = 0.1,
                             .std = {1, 1, 1}};
    struct classifier m;
    struct comm *comm = comm_null();
    struct step s;
    struct input_batch b;
    int64_t label[IMAGES];
    size_t before, after, peak;
    long asked, touched;
    int i;

    must(classifier_init(&m, name, &c, e, compute, true));
    must(params_fresh(&m.params, 1));
    must(step_init(&s, &m, comm, &r, false));
    make_batch(&b, label);
    for (i = 0; i < WARM; i++)
        go(&s, &b);
    engine_memory(e, &before, &peak);
    asked = allocations();
    touched = faults();
    for (i = 0; i < STEPS; i++)
        go(&s, &b);
    touched = faults() - touched;
    asked = allocations() - asked;
    engine_memory(e, &after, &peak);
    is_int(asked, 0, "%s %s: calls of the allocator in %d steps", name,
           dtype_name(compute), STEPS);
    /* The kernel may take a page back now and then; a sanitizer takes many. */
    if (COUNTED)
        ok(touched <= 100, "%s %s: %ld page faults", name, dtype_name(compute),
           touched);
    else
        skip(1, "sanitized: its own memory");
    is_int((long long)after, (long long)before, "%s %s: the engine's memory",
           name, dtype_name(compute));
    packs = 0;
    engine_watch(e, watch, NULL);
    go(&s, &b);
    engine_watch(e, NULL, NULL);
    ok(packs > 0 && packs <= m.params.n_packed,
       "%s %s: %d of %d copies of weights packed", name, dtype_name(compute),
       packs, m.params.n_packed);
    step_release(&s);
    classifier_release(&m);
    comm_free(comm);
    free(b.image.data);
}

int main(void)
{
    struct engine_config c = {
        .device = -1, .threads = 1, .dir = tap_env("BIN", "bin")};
    struct engine *e;

    if (engine_open(&e, "cpu", &c) < 0) {
        skip(1, "onednn: no cpu engine");
        return done_testing();
    }
    steady(e, "resnet18", DT_F32);
    steady(e, "resnet18", DT_BF16);
    steady(e, "resnet50", DT_F32);
    steady(e, "resnet50", DT_BF16);
    engine_close(e);
    return done_testing();
}
