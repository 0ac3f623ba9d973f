/*
 * The queue of the cuda engine, a piece of it recorded and repeated: a CUDA graph.
 *
 * What the recording thread enqueues is noted by the stream instead of done. All
 * of it must have run once before: by then kernels are loaded, plans made, memory
 * is there. What waits or allocates meanwhile, and what would be noted but mean
 * another thing when it is repeated (a copy from the host, a mark), is refused here
 * and the recording fails: of what the runtime refuses it does not say everywhere
 * whether the rest is still recorded.
 */
#include "engine/cuda/cuda.h"

#include <stdlib.h>

struct cuda_tape {
    cudaGraphExec_t exec;
};

int cuda_outside(struct cuda *c, const char *what)
{
    if (!c->recording)
        return 0;
    c->spoiled = true;
    return err_set(ERR_INTERNAL, "%s: inside of what is recorded", what);
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
    c->spoiled = false;
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
    if (r == 0 && keep && c->spoiled)
        r = err_set(ERR_INTERNAL, "record: what was asked for meanwhile cannot "
                                  "be a part of it");
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
