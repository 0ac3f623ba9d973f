/*
 * The queue of the cuda engine, a piece of it recorded and repeated: a CUDA graph.
 *
 * What the recording thread enqueues is noted by the stream instead of done. All
 * of it must have run once before: by then kernels are loaded, plans made, memory
 * is there. Nothing may wait or allocate meanwhile; the runtime refuses that and
 * the recording fails. What would be noted, but mean another thing when it is
 * repeated (a copy from the host, a mark), is refused here.
 */
#include "engine/cuda/cuda.h"

#include <stdlib.h>

struct cuda_tape {
    cudaGraphExec_t exec;
};

int cuda_outside(const struct cuda *c, const char *what)
{
    if (c->recording)
        return err_set(ERR_INTERNAL, "%s: inside of what is recorded", what);
    return 0;
}

int cuda_record(void *dev)
{
    struct cuda *c = dev;

    if (cuda_outside(c, "record") < 0 ||
        cuda_check(
            cudaStreamBeginCapture(c->stream, cudaStreamCaptureModeThreadLocal),
            "record") < 0)
        return -1;
    c->recording = true;
    return 0;
}

int cuda_recorded(void *dev, bool keep, void **tape)
{
    struct cuda *c = dev;
    cudaGraph_t graph = NULL;
    struct cuda_tape *t;
    int r;

    c->recording = false;
    r = cuda_check(cudaStreamEndCapture(c->stream, &graph), "record");
    cuda_forget(); /* what broke it in a library */
    if (r < 0 || !keep) {
        if (graph)
            cudaGraphDestroy(graph);
        return r;
    }
    t = xcalloc(1, sizeof *t);
    r = cuda_check(cudaGraphInstantiate(&t->exec, graph, 0), "graph");
    cudaGraphDestroy(graph);
    if (r < 0) {
        free(t);
        return -1;
    }
    *tape = t;
    return 0;
}

int cuda_replay(void *dev, void *tape)
{
    struct cuda *c = dev;
    struct cuda_tape *t = tape;

    if (cuda_outside(c, "replay") < 0)
        return -1;
    return cuda_check(cudaGraphLaunch(t->exec, c->stream), "replay");
}

void cuda_tape_free(void *dev, void *tape)
{
    struct cuda_tape *t = tape;

    cuda_settle(dev); /* it may be running */
    cudaGraphExecDestroy(t->exec);
    free(t);
}
