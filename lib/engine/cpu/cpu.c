/*
 * The cpu engine: a table that begins as ref's and is replaced where it is
 * slow. All work is done when a call returns, so the queue is empty.
 */
#include "engine/cpu/cpu.h"
#include "engine/cpu/tiles.h"
#include "engine/ref/ref.h"

#ifdef __x86_64__
#    include <cpuid.h>
#endif
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MILLRACE_CFLAGS
#    define MILLRACE_CFLAGS "unknown"
#endif

enum {
    CHUNK = 1 << 20
}; /* bytes copied by one thread at a time */
#define HUGE_PAGE ((size_t)2 << 20)

/* ---- the device */

static int cpu_score(char *why, size_t n)
{
    if (n > 0)
        why[0] = '\0';
    return 50;
}

static int cpu_open(const struct engine_config *config, void **dev)
{
    static const struct cpu_kern *const kern[] = ISA_TABLE(cpu_kern);
    static const struct cpu_dense *const dense[] = ISA_TABLE(cpu_dense);
    struct cpu *c = xcalloc(1, sizeof(*c));

    c->isa = isa_best();
    c->kern = kern[c->isa];
    c->dense = dense[c->isa];
    /* without a number: OMP_NUM_THREADS, else the CPUs allowed */
    c->threads =
        config && config->threads > 0 ? config->threads : omp_get_max_threads();
    omp_set_num_threads(c->threads);
    if (dnn_open(&c->dnn) < 0) {
        free(c);
        return -1;
    }
    *dev = c;
    return 0;
}

static void cpu_close(void *dev)
{
    struct cpu *c = dev;

    if (!c)
        return;
    dnn_close(&c->dnn);
    free(c->work);
    free(c);
}

static void cpu_describe(void *dev, char *text, size_t n)
{
    const struct tile_ops *tiles = tile_ops_find();
    struct cpu *c = dev;
    char lib[80];

    dnn_describe(lib, sizeof(lib));
    snprintf(text, n, "cpu: %s, tiles %s, loops %s, %d thread%s", lib,
             tiles ? tiles->name : "none", isa_names[c->isa], c->threads,
             c->threads == 1 ? "" : "s");
}

/* "cpu: Intel(R) Xeon(R) Processor 6/143/8" */
static void processor(char *text, size_t n)
{
#ifdef __x86_64__
    unsigned r[13] = {0}, i;

    for (i = 0; i < 3; i++)
        if (!__get_cpuid(0x80000002u + i, &r[4 * i], &r[4 * i + 1],
                         &r[4 * i + 2], &r[4 * i + 3]))
            break;
    i = 0;
    if (__get_cpuid(1, &i, &(unsigned){0}, &(unsigned){0}, &(unsigned){0})) {
        snprintf(text, n, "%s %x", (const char *)r, i);
        return;
    }
#endif
    snprintf(text, n, "unknown");
}

static void cpu_machine(void *dev, char *text, size_t n)
{
    char name[80], all[300];

    processor(name, sizeof(name));
    cpu_describe(dev, all, sizeof(all));
    snprintf(text, n, "%s; %s; millrace %s %s", all, name, MILLRACE_VERSION,
             MILLRACE_CFLAGS);
}

static void cpu_last_error(enum err_class *c, const char **text)
{
    *c = err_code();
    *text = err_text();
}

static int cpu_precision(void *dev, enum dtype t, char *why, size_t n)
{
    (void)dev;
    if (n > 0)
        why[0] = '\0';
    switch (t) {
    case DT_F32:
        return 2;
    case DT_BF16:
        if (dnn_fast_bf16())
            return 2;
        snprintf(why, n, "this CPU has no instructions for bf16");
        return 1;
    case DT_F16:
        snprintf(why, n, "oneDNN does not train in fp16");
        return 0;
    default:
        snprintf(why, n, "only engine ref computes in %s", dtype_name(t));
        return 0;
    }
}

/* ---- memory: large blocks lie on huge pages, because a page fault costs
 * microseconds on virtual machines */

static int cpu_alloc(void *dev, size_t bytes, void **p)
{
    size_t align = bytes >= 2 * HUGE_PAGE ? HUGE_PAGE : 64;

    (void)dev;
    if (posix_memalign(p, align, bytes ? bytes : 1) != 0)
        return err_set(ERR_SYSTEM, "memory: %zu bytes: not available", bytes);
    if (align == HUGE_PAGE)
        madvise(*p, bytes & ~(HUGE_PAGE - 1), MADV_HUGEPAGE);
    return 0;
}

static void cpu_free(void *dev, void *p)
{
    (void)dev;
    free(p);
}

void *cpu_work(struct cpu *c, size_t bytes)
{
    if (bytes > c->work_bytes) {
        cpu_free(c, c->work);
        c->work = NULL;
        c->work_bytes = 0;
        if (cpu_alloc(c, bytes, &c->work) < 0)
            return NULL;
        c->work_bytes = bytes;
    }
    return c->work;
}

static int cpu_copy(void *dev, void *dst, const void *src, size_t n)
{
    int64_t i, chunks = (int64_t)((n + CHUNK - 1) / CHUNK);

    omp_set_num_threads(((struct cpu *)dev)->threads);
#pragma omp parallel for schedule(static) if (chunks > 1)
    for (i = 0; i < chunks; i++) {
        size_t at = (size_t)i * CHUNK, len = n - at;

        memcpy((char *)dst + at, (const char *)src + at,
               len < CHUNK ? len : CHUNK);
    }
    return 0;
}

static int cpu_fill(void *dev, void *dst, int byte, size_t n)
{
    int64_t i, chunks = (int64_t)((n + CHUNK - 1) / CHUNK);

    omp_set_num_threads(((struct cpu *)dev)->threads);
#pragma omp parallel for schedule(static) if (chunks > 1)
    for (i = 0; i < chunks; i++) {
        size_t at = (size_t)i * CHUNK, len = n - at;

        memset((char *)dst + at, byte, len < CHUNK ? len : CHUNK);
    }
    return 0;
}

/* ---- the queue, always empty */

static int cpu_mark(void *dev, int mark)
{
    (void)dev;
    (void)mark;
    return 0;
}

static int cpu_passed(void *dev, int mark)
{
    (void)dev;
    (void)mark;
    return 1;
}

static int cpu_finish(void *dev)
{
    (void)dev;
    return 0;
}

/* ---- kernels */

static int cpu_run(void *dev, enum kernel k, const void *args)
{
    struct cpu *c = dev;
    int done;

    /* the number is kept per thread, and callers may change theirs */
    omp_set_num_threads(c->threads);
    done = c->kern->loops(c, k, args);
    if (done < 0)
        return -1;
    return done ? 0 : ref_run(dev, k, args);
}

static const struct engine_ops ops = {
    .abi = ENGINE_ABI,
    .name = "cpu",
    .score = cpu_score,
    .open = cpu_open,
    .close = cpu_close,
    .describe = cpu_describe,
    .machine = cpu_machine,
    .last_error = cpu_last_error,
    .precision = cpu_precision,
    .host_memory = true,
    .wide_norms = true,
    .leaves_sums = true,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .upload = cpu_copy,
    .download = cpu_copy,
    .copy = cpu_copy,
    .fill = cpu_fill,
    .mark = cpu_mark,
    .passed = cpu_passed,
    .finish = cpu_finish,
    .conv_available = cpu_conv_available,
    .conv_forms = cpu_conv_forms,
    .conv_plan = cpu_conv_plan,
    .conv_pack = cpu_conv_pack,
    .conv_run = cpu_conv_run,
    .conv_free = cpu_conv_free,
    .conv_name = cpu_conv_name,
    .run = cpu_run,
};

/* The symbol looked for: ENGINE_SYMBOL. */
__attribute__((visibility("default"))) engine_entry millrace_engine;

const struct engine_ops *millrace_engine(void)
{
    return &ops;
}
