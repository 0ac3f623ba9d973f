/*
 * How long a convolution takes on the device: events around each run, so neither
 * the launches nor what other processes do to the host are in it. Before each run
 * other memory is written, more than the card's cache holds: as in a training
 * step, little of the operands is there, and while that goes on the run is queued.
 */
#include "engine/cuda/cuda.h"

enum {
    RUNS = 3
};

size_t cuda_cold_bytes(void *dev)
{
    struct cuda *c = dev;
    int cache = 0;

    if (cudaDeviceGetAttribute(&cache, cudaDevAttrL2CacheSize, c->device) !=
        cudaSuccess)
        cuda_forget();
    return cache > 0 ? 2 * (size_t)cache : 0;
}

/* All runs, each between two events. */
static int queue(struct cuda *c, struct conv_plan *plan,
                 const struct conv_args *a, void *cold,
                 cudaEvent_t event[2 * RUNS])
{
    size_t bytes = cold ? cuda_cold_bytes(c) : 0;
    int i;

    for (i = 0; i < RUNS; i++) {
        if (bytes &&
            cuda_check(cudaMemsetAsync(cold, i, bytes, c->stream), "trial") < 0)
            return -1;
        if (cuda_check(cudaEventRecord(event[2 * i], c->stream), "trial") < 0 ||
            cuda_conv_run(c, plan, a) < 0 ||
            cuda_check(cudaEventRecord(event[2 * i + 1], c->stream), "trial") <
                0)
            return -1;
    }
    return cuda_wait(c, NULL, "trial");
}

int cuda_conv_time(void *dev, struct conv_plan *plan, const struct conv_args *a,
                   void *cold, double *seconds)
{
    cudaEvent_t event[2 * RUNS] = {NULL};
    struct cuda *c = dev;
    float ms, best = 0;
    int i, r = 0;

    for (i = 0; i < 2 * RUNS && r == 0; i++)
        r = cuda_check(cudaEventCreateWithFlags(&event[i], cudaEventDefault),
                       "event");
    if (r == 0)
        r = queue(c, plan, a, cold, event);
    for (i = 0; i < RUNS && r == 0; i++) {
        r = cuda_check(
            cudaEventElapsedTime(&ms, event[2 * i], event[2 * i + 1]), "trial");
        if (r == 0 && (i == 0 || ms < best))
            best = ms;
    }
    for (i = 0; i < 2 * RUNS; i++)
        if (event[i])
            cudaEventDestroy(event[i]);
    *seconds = (double)best * 1e-3;
    return r;
}
