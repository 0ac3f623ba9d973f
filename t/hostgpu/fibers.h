/*
 * fibers.h - the .cu files of the cuda engine as plain C++, for tests.
 *
 * Put in front of each by -include. Every thread of a block is a fiber; blocks
 * run one after the other. A fiber runs until it ends or comes to a barrier; when
 * all have, each goes on. HOSTGPU_ORDER=backward turns the order round: a result
 * that depends on it has missed a barrier. Memory of the device can be touched
 * only inside a launch or a copy (cudart.c beside this).
 *
 * Fibers are made once. On x86-64 they change places in a few instructions,
 * elsewhere by swapcontext, which makes a system call each time.
 */
#ifndef T_HOSTGPU_FIBERS_H
#define T_HOSTGPU_FIBERS_H

#include "hostgpu.h"

#include <math.h>
#include <new>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define __global__ static
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)
#define GPU_UNROLL

struct uint3 {
    unsigned x, y, z;
};
struct dim3 : uint3 {
    dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1)
    {
        x = a;
        y = b;
        z = c;
    }
};

#define HOSTGPU_THREADS 256
#define HOSTGPU_STACK (64 << 10)

#ifdef __x86_64__
typedef void *hostgpu_context; /* a stack pointer */
#else
typedef ucontext_t hostgpu_context;
#endif

struct hostgpu_fiber {
    hostgpu_context at;
    char *stack;
    bool done;
};

static struct {
    hostgpu_fiber fiber[HOSTGPU_THREADS];
    hostgpu_context main;
    uint3 thread, block, grid;
    void (*fn)(void *arg);
    void *arg;
    int now;
    bool ready, backward;
} hostgpu;

#define threadIdx hostgpu.thread
#define blockIdx hostgpu.block
#define gridDim hostgpu.grid

static void hostgpu_life(void);

#ifdef __x86_64__
/* hostgpu_hop(from, to): what a function keeps goes on its stack, the stack
 * pointer into *from, and all comes back from *to. */
asm(".text\n"
    ".p2align 4\n"
    ".type hostgpu_hop_asm, @function\n"
    "hostgpu_hop_asm:\n"
    "push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
    "mov %rsp, (%rdi)\n"
    "mov (%rsi), %rsp\n"
    "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
    "ret\n"
    ".size hostgpu_hop_asm, .-hostgpu_hop_asm\n");
extern "C" {
void hostgpu_hop(void **from, void **to) asm("hostgpu_hop_asm")
    __attribute__((visibility("hidden")));
}

/* A stack that begins with a return into hostgpu_life. */
static inline void hostgpu_prepare(hostgpu_fiber *f)
{
    void **top = (void **)(((uintptr_t)f->stack + HOSTGPU_STACK) & ~15ul);

    memset(top - 8, 0, 8 * sizeof *top);
    top[-2] = (void *)hostgpu_life;
    f->at = top - 8;
}
#else
static inline void hostgpu_hop(ucontext_t *from, ucontext_t *to)
{
    swapcontext(from, to);
}

static inline void hostgpu_prepare(hostgpu_fiber *f)
{
    if (getcontext(&f->at) < 0)
        abort();
    f->at.uc_stack.ss_sp = f->stack;
    f->at.uc_stack.ss_size = HOSTGPU_STACK;
    f->at.uc_link = NULL;
    makecontext(&f->at, hostgpu_life, 0);
}
#endif

/* A barrier: back to the scheduler until all have come. */
static inline void __syncthreads(void)
{
    hostgpu_hop(&hostgpu.fiber[hostgpu.now].at, &hostgpu.main);
}

static void hostgpu_life(void)
{
    for (;;) {
        hostgpu.fn(hostgpu.arg);
        hostgpu.fiber[hostgpu.now].done = true;
        __syncthreads();
    }
}

static inline void hostgpu_make(void)
{
    const char *order = getenv("HOSTGPU_ORDER");

    hostgpu.ready = true;
    hostgpu.backward = order && strcmp(order, "backward") == 0;
    for (int i = 0; i < HOSTGPU_THREADS; i++) {
        hostgpu.fiber[i].stack = (char *)malloc(HOSTGPU_STACK);
        if (!hostgpu.fiber[i].stack)
            abort();
        hostgpu_prepare(&hostgpu.fiber[i]);
    }
}

/* One block: each fiber to its next barrier, again and again. */
static inline void hostgpu_block(void)
{
    int left = HOSTGPU_THREADS;

    for (int i = 0; i < HOSTGPU_THREADS; i++)
        hostgpu.fiber[i].done = false;
    while (left > 0) {
        for (int k = 0; k < HOSTGPU_THREADS; k++) {
            int i = hostgpu.backward ? HOSTGPU_THREADS - 1 - k : k;

            if (hostgpu.fiber[i].done)
                continue;
            hostgpu.now = i;
            hostgpu.thread = {(unsigned)i, 0, 0};
            hostgpu_hop(&hostgpu.main, &hostgpu.fiber[i].at);
            left -= hostgpu.fiber[i].done;
        }
    }
}

template <class F> static void hostgpu_call(void *f)
{
    (*(F *)f)();
}

/* As many blocks as a card takes, and not none. */
static inline void hostgpu_check(dim3 grid)
{
    if (grid.x && grid.y && grid.z && grid.x < 1u << 31 && grid.y < 65536 &&
        grid.z < 65536)
        return;
    fprintf(stderr, "hostgpu: a launch of %u x %u x %u blocks\n", grid.x,
            grid.y, grid.z);
    abort();
}

template <class F> static void hostgpu_run(dim3 grid, bool barriers, F f)
{
    if (!hostgpu.ready)
        hostgpu_make();
    hostgpu_enter();
    hostgpu.grid = grid;
    hostgpu.fn = hostgpu_call<F>;
    hostgpu.arg = &f;
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                hostgpu.block = {x, y, z};
                if (barriers) {
                    hostgpu_block();
                    continue;
                }
                for (unsigned i = 0; i < HOSTGPU_THREADS; i++) {
                    hostgpu.thread = {i, 0, 0};
                    f();
                }
            }
    hostgpu_leave();
}

/* A launch that has to wait, with its arguments as they were. */
template <class F> struct hostgpu_job {
    dim3 grid;
    bool barriers;
    F f;
};

template <class F> static bool hostgpu_late(void *arg)
{
    hostgpu_job<F> *j = (hostgpu_job<F> *)arg;

    hostgpu_run(j->grid, j->barriers, j->f);
    return true;
}

template <class K, class... A>
static void hostgpu_launch(void *stream, dim3 grid, bool barriers, K k, A... a)
{
    auto f = [=] { k(a...); };
    typedef hostgpu_job<decltype(f)> job;

    hostgpu_check(grid);
    if (hostgpu_ready(stream))
        hostgpu_run(grid, barriers, f);
    else
        hostgpu_enqueue(stream, hostgpu_late<decltype(f)>,
                        new (malloc(sizeof(job))) job{grid, barriers, f});
}

#define GPU_LAUNCH(k, grid, l, ...)                                            \
    hostgpu_launch((l)->stream, grid, true, [](auto... a) { (k)(a...); },      \
                   __VA_ARGS__)
#define GPU_LAUNCH_FLAT(k, grid, l, ...)                                       \
    hostgpu_launch((l)->stream, grid, false, [](auto... a) { (k)(a...); },     \
                   __VA_ARGS__)
#define GPU_LAST_ERROR() hostgpu_last_error()

#endif
