/*
 * layers.h - what the two halves of the layer table share: the engine, two large
 * arrays, the roofs. layers.c has the convolutions, kernels.c the kernels.
 */
#ifndef BENCH_GPU_LAYERS_H
#define BENCH_GPU_LAYERS_H

#include "engine/engine.h"

struct layer {
    int h, c, k, r, stride, pad, times;
};

struct bench {
    struct engine *e;
    enum dtype dt;
    int64_t batch, size, narrow;
    bool small;   /* no speed is wanted: one run of each */
    int64_t room; /* elements of src and out, of fp32 */
    void *src, *out;
    int64_t channels; /* elements of vector, a sixth of sums */
    float *vector, *sums;
    double copy, product; /* roofs: bytes, operations a second */
    double total[16];     /* seconds of each form in one step */
    int rows, wrong;
};
extern struct bench bench;

void *bench_alloc(size_t bytes);
void bench_finish(void);
/* Seconds of one run: the best of three series, after three runs. */
double bench_time(void (*run)(void *arg, int i), void *arg);
/* detail: "\"name\":value,...", more: ",..." or "". */
void bench_row(const char *what, const char *detail, double s, double flops,
               double bytes, const char *more);

/* Each kernel of a training step at sizes of the network. */
void bench_kernels(void);

#endif
