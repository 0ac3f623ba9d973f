/*
 * cpu.h - what the files of the cpu engine share: the device, its loops, its
 * convolutions.
 *
 * The engine begins with the table of ref, compiled again with OpenMP, and
 * replaces what costs time: convolutions by our own on matrix tiles where the
 * processor has them (tileconv.c), linear layers by sums in double
 * (dense.isa.c), others by oneDNN (dnnconv.c over dnn.c), the passes over
 * activations and weights by vectorised loops (loops.isa.c, once per instruction
 * set). Work is cut into blocks by size, never by the number of
 * threads, so the loops give the same bits on any number.
 */
#ifndef ENGINE_CPU_CPU_H
#define ENGINE_CPU_CPU_H

#include "engine/cpu/dnn.h"
#include "engine/engine.h"
#include "util/isa.h"

enum {
    DENSE_WIDTH = 32
};

struct cpu {
    struct dnn dnn;
    int threads;
    enum isa isa; /* of the loops */
    const struct cpu_kern *kern;
    const struct cpu_dense *dense;
    void *work; /* partial sums; grows to the largest asked for */
    size_t work_bytes;
};

/* At least that many bytes, 64-byte aligned, until the next call; NULL and
 * ERR_SYSTEM without memory. */
void *cpu_work(struct cpu *c, size_t bytes);

/* loops.isa.c, compiled for each. */
struct cpu_kern {
    /* KERN_*: 1 done, 0 left to ref, -1 failed */
    int (*loops)(struct cpu *c, enum kernel k, const void *args);
    /* Gradient of x [n,h,w,c] of d->out from columns [n,p,q,r,s,c], fp32. */
    void (*fold)(const struct conv_desc *d, const float *columns, void *dx);
};
ISA_DECLARE(const struct cpu_kern, cpu_kern);

/* dense.isa.c: linear layers in fp32, on the master weights. Gradients have
 * scratch memory of DENSE_WIDTH floats for each thread and term of a sum. */
struct cpu_dense {
    void (*run)(const struct conv_desc *d, const struct conv_args *a);
};
ISA_DECLARE(const struct cpu_dense, cpu_dense);

/* Entries of the table. */
int cpu_conv_available(void *dev, const struct conv_desc *d);
int cpu_conv_forms(void *dev, const struct conv_desc *d, const char **name,
                   int most);
int cpu_conv_plan(void *dev, const struct conv_desc *d, const char *form,
                  struct conv_plan **plan, struct conv_needs *needs);
int cpu_conv_pack(void *dev, struct conv_plan *plan, const void *weights,
                  void *packed);
int cpu_conv_run(void *dev, struct conv_plan *plan, const struct conv_args *a);
void cpu_conv_free(void *dev, struct conv_plan *plan);
const char *cpu_conv_name(void *dev, struct conv_plan *plan);

#endif
