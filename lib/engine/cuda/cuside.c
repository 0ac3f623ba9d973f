/* Beside the queue of the cuda engine: copies by streams of their own, and the
 * waits of the host. */
#include "engine/cuda/cuteam.h"
#include "util/fdio.h"

#include <time.h>

int cuda_wait(struct cuda *c, cudaEvent_t event, const char *what)
{
    static const struct timespec pause = {0, 20000};
    int64_t begun = c->team ? clock_ms() : 0;
    cudaError_t e;

    if (cuda_outside(c, what) < 0)
        return -1;
    if (!c->team)
        return cuda_check(event ? cudaEventSynchronize(event)
                                : cudaStreamSynchronize(c->stream),
                          what);
    for (;;) {
        e = event ? cudaEventQuery(event) : cudaStreamQuery(c->stream);
        if (e != cudaErrorNotReady)
            break;
        cuda_forget();
        if (cuteam_alive(c->team, begun) < 0)
            return -1;
        nanosleep(&pause, NULL);
    }
    /* What an abort let go on is no result. */
    if (cuteam_alive(c->team, begun) < 0)
        return -1;
    return cuda_check(e, what);
}

void cuda_settle(struct cuda *c)
{
    struct err_kept kept = err_keep();

    (void)!cuda_wait(c, NULL, "queue");
    err_restore(&kept);
}

/* What was sent waits for nothing; what is fetched, for the queue. */
bool cuda_settle_all(struct cuda *c)
{
    bool ends = cuda_ends(c);

    if (ends) {
        cuteam_settle(c);
        cuda_settle(c);
        ends = cuda_ends(c);
    }
    if (c->in)
        cudaStreamSynchronize(c->in);
    if (ends && c->out)
        cudaStreamSynchronize(c->out);
    return ends;
}

int cuda_host_alloc(void *dev, size_t bytes, void **p)
{
    if (cuda_outside(dev, "pinned memory") < 0)
        return -1;
    return cuda_check(cudaMallocHost(p, bytes), "pinned memory");
}

/* Copies may be reading or writing it, and nothing says that the runtime waits for
 * them. */
void cuda_host_free(void *dev, void *p)
{
    if (cuda_settle_all(dev))
        cudaFreeHost(p);
}

/* Seen by all devices. */
int cuda_host_register(void *dev, void *p, size_t bytes)
{
    if (cuda_outside(dev, "pages of others") < 0)
        return -1;
    return cuda_check(cudaHostRegister(p, bytes, cudaHostRegisterPortable),
                      "pages of others");
}

/* It is only sent from: whoever unmaps it later is in no copy's way. */
void cuda_host_unregister(void *dev, void *p)
{
    if (cuda_settle_all(dev))
        cudaHostUnregister(p);
}

static int side_stream(cudaStream_t *s)
{
    if (*s)
        return 0;
    return cuda_check(cudaStreamCreateWithFlags(s, cudaStreamNonBlocking),
                      "stream");
}

/* The event of `mark` serves twice: first it is the place in the queue. */
int cuda_fetch(void *dev, void *host, const void *src, size_t n, int mark)
{
    struct cuda *c = dev;

    if (cuda_outside(c, "fetch") < 0)
        return -1;
    if (side_stream(&c->out) < 0 ||
        cuda_check(cudaEventRecord(c->mark[mark], c->stream), "fetch") < 0 ||
        cuda_check(cudaStreamWaitEvent(c->out, c->mark[mark], 0), "fetch") <
            0 ||
        cuda_check(
            cudaMemcpyAsync(host, src, n, cudaMemcpyDeviceToHost, c->out),
            "fetch") < 0)
        return -1;
    return cuda_check(cudaEventRecord(c->mark[mark], c->out), "fetch");
}

int cuda_send(void *dev, void *dst, const void *host, size_t n, int mark)
{
    struct cuda *c = dev;

    if (cuda_outside(c, "send") < 0)
        return -1;
    if (side_stream(&c->in) < 0 ||
        cuda_check(cudaMemcpyAsync(dst, host, n, cudaMemcpyHostToDevice, c->in),
                   "send") < 0)
        return -1;
    return cuda_check(cudaEventRecord(c->mark[mark], c->in), "send");
}

int cuda_after(void *dev, int mark)
{
    struct cuda *c = dev;

    if (cuda_outside(c, "after") < 0)
        return -1;
    return cuda_check(cudaStreamWaitEvent(c->stream, c->mark[mark], 0),
                      "after");
}
