/* The cuda engine's table: opening, memory, the queue, kernels. */
#include "engine/cuda/cuteam.h"
#include "util/fdio.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- can it be used here */

static int dev_score(char *why, size_t n)
{
    struct cudnn lib;
    char name[80];
    int capability;

    if (cuda_devices() < 0 || cuda_device_fits(0, name, &capability) < 0 ||
        cudnn_open(&lib) < 0) {
        snprintf(why, n, "%s", err_text());
        return 0;
    }
    return 100;
}

static void dev_last_error(enum err_class *c, const char **text)
{
    *c = err_code();
    *text = err_text();
}

/* ---- opening */

static void dev_close(void *dev)
{
    struct cuda *c = dev;
    int i;

    if (!c)
        return;
    cuda_team_leave(c);
    if (c->team)
        return; /* the device hangs; the process is about to end */
    if (c->stream)
        cudaStreamSynchronize(c->stream);
    if (c->in)
        cudaStreamDestroy(c->in);
    if (c->out)
        cudaStreamDestroy(c->out);
    if (c->handle)
        c->lib.Destroy(c->handle);
    for (i = 0; i < CUDA_MARKS; i++)
        if (c->mark[i])
            cudaEventDestroy(c->mark[i]);
    for (i = 0; i < CUDA_STAGES; i++) {
        if (c->stage[i].sent)
            cudaEventDestroy(c->stage[i].sent);
        if (c->stage[i].p)
            cudaFreeHost(c->stage[i].p);
    }
    if (c->kernels.work)
        cudaFree(c->kernels.work);
    if (c->stream)
        cudaStreamDestroy(c->stream);
    free(c->form);
    cuda_forget_names(c);
    free(c->nccl);
    free(c);
}

static int choose_device(struct cuda *c, int wanted, int local)
{
    int n = cuda_devices();
    size_t left;

    if (n < 0)
        return -1;
    c->device = wanted < 0 ? local % n : wanted;
    if (c->device >= n)
        return err_set(ERR_UNAVAILABLE, "device %d: there %s %d", wanted,
                       n == 1 ? "is" : "are", n);
    if (cuda_device_fits(c->device, c->name, &c->capability) < 0)
        return -1;
    c->identity = cuda_device_identity(c->device);
    if (cuda_check(cudaSetDevice(c->device), "device") < 0)
        return -1;
    return cuda_check(cudaMemGetInfo(&left, &c->memory), "memory");
}

static int make_queue(struct cuda *c)
{
    int i;

    if (cuda_check(cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking),
                   "stream") < 0)
        return -1;
    for (i = 0; i < CUDA_MARKS; i++)
        if (cuda_check(cudaEventCreateWithFlags(&c->mark[i],
                                                cudaEventDisableTiming |
                                                    cudaEventBlockingSync),
                       "event") < 0)
            return -1;
    for (i = 0; i < CUDA_STAGES; i++)
        if (cuda_check(cudaEventCreateWithFlags(&c->stage[i].sent,
                                                cudaEventDisableTiming),
                       "event") < 0 ||
            cuda_check(cudaMallocHost(&c->stage[i].p, CUDA_STAGE),
                       "pinned memory") < 0)
            return -1;
    if (cuda_check(cudaMalloc(&c->kernels.work, CUK_WORK), "memory") < 0)
        return -1;
    c->kernels.work_bytes = CUK_WORK;
    c->kernels.stream = c->stream;
    return 0;
}

static int dev_open(const struct engine_config *config, void **dev)
{
    struct cuda *c = xcalloc(1, sizeof *c);

    c->deterministic = config->deterministic;
    c->tf32 = config->tf32;
    c->world = config->world;
    if (cudnn_open(&c->lib) < 0 ||
        choose_device(c, config->device, config->local) < 0 ||
        make_queue(c) < 0 ||
        cudnn_check(&c->lib, c->lib.Create(&c->handle), "open") < 0 ||
        cudnn_check(&c->lib, c->lib.SetStream(c->handle, c->stream), "stream") <
            0) {
        dev_close(c);
        return -1;
    }
    *dev = c;
    return 0;
}

static void dev_describe(void *dev, char *text, size_t n)
{
    struct cuda *c = dev;
    size_t v = c->lib.GetVersion();
    int driver = 0;

    if (cudaDriverGetVersion(&driver) != cudaSuccess)
        driver = 0;
    snprintf(text, n,
             "cuda: device %d %s (%d.%d), CUDA %d.%d on driver %d.%d, cuDNN "
             "%zu.%zu.%zu%s",
             c->device, c->name, c->capability / 10, c->capability % 10,
             CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10, driver / 1000,
             driver % 1000 / 10, v / 10000, v / 100 % 100, v % 100,
             c->tf32 ? ", fp32 as TF32" : "");
}

/* What the device is and computes with, but for its place in this host. */
static void dev_machine(void *dev, char *text, size_t n)
{
    struct cuda *c = dev;
    size_t v = c->lib.GetVersion();
    int driver = 0, units = 0;

    if (cudaDriverGetVersion(&driver) != cudaSuccess)
        driver = 0;
    if (cudaDeviceGetAttribute(&units, cudaDevAttrMultiProcessorCount,
                               c->device) != cudaSuccess)
        units = 0;
    cuda_forget();
    snprintf(text, n,
             "cuda: %s (%d.%d), %d multiprocessors, %zu MB; CUDA %d on driver "
             "%d, cuDNN %zu%s%s; millrace %s",
             c->name, c->capability / 10, c->capability % 10, units,
             c->memory >> 20, CUDART_VERSION, driver, v,
             c->tf32 ? ", fp32 as TF32" : "",
             c->deterministic ? "" : ", bits may vary", MILLRACE_VERSION);
}

static int dev_precision(void *dev, enum dtype t, char *why, size_t n)
{
    struct cuda *c = dev;

    if (n > 0)
        why[0] = 0;
    if (t == DT_F32 || t == DT_F16 || (t == DT_BF16 && c->capability >= 80))
        return 2;
    if (t == DT_BF16)
        snprintf(why, n, "compute capability 8.0 is needed, %s has %d.%d",
                 c->name, c->capability / 10, c->capability % 10);
    else
        snprintf(why, n, "only engine ref computes in %s", dtype_name(t));
    return 0;
}

/* ---- memory */

int cuda_alloc(void *dev, size_t bytes, void **p)
{
    size_t left = 0, all = 0;
    cudaError_t e;

    if (cuda_outside(dev, "memory") < 0)
        return -1;
    e = cudaMalloc(p, bytes);
    if (e != cudaErrorMemoryAllocation)
        return cuda_check(e, "memory");
    cuda_forget();
    if (cudaMemGetInfo(&left, &all) != cudaSuccess)
        left = 0;
    return err_set(ERR_SYSTEM,
                   "memory: %zu MB wanted, %zu of %zu MB are free: a smaller "
                   "micro-batch takes less",
                   bytes >> 20, left >> 20, all >> 20);
}

bool cuda_ends(struct cuda *c)
{
    struct err_kept kept = err_keep();
    bool yes = !c->team || cuteam_alive(c->team, clock_ms()) == 0;

    err_restore(&kept);
    return yes;
}

static void dev_free(void *dev, void *p)
{
    struct cuda *c = dev;

    if (cuda_ends(c) && !cuda_free_sums(c, p))
        cudaFree(p);
}

/* The source may be written over when this returns. */
static int dev_upload(void *dev, void *dst, const void *src, size_t n)
{
    struct cuda *c = dev;
    size_t at, len;
    int i;

    if (cuda_outside(c, "upload") < 0)
        return -1;
    for (at = 0; at < n; at += len) {
        i = c->next_stage;
        len = n - at < CUDA_STAGE ? n - at : CUDA_STAGE;
        if (c->stage[i].busy && cuda_wait(c, c->stage[i].sent, "upload") < 0)
            return -1;
        memcpy(c->stage[i].p, (const char *)src + at, len);
        if (cuda_check(cudaMemcpyAsync((char *)dst + at, c->stage[i].p, len,
                                       cudaMemcpyHostToDevice, c->stream),
                       "upload") < 0 ||
            cuda_check(cudaEventRecord(c->stage[i].sent, c->stream), "upload") <
                0)
            return -1;
        c->stage[i].busy = true;
        c->next_stage = (i + 1) % CUDA_STAGES;
    }
    return 0;
}

static int dev_download(void *dev, void *dst, const void *src, size_t n)
{
    struct cuda *c = dev;

    if (cuda_outside(c, "download") < 0)
        return -1;
    /* A copy to memory that is not pinned waits by itself, and for ever. */
    if (c->team && cuda_wait(c, NULL, "download") < 0)
        return -1;
    if (cuda_check(
            cudaMemcpyAsync(dst, src, n, cudaMemcpyDeviceToHost, c->stream),
            "download") < 0)
        return -1;
    return cuda_wait(c, NULL, "download");
}

static int dev_copy(void *dev, void *dst, const void *src, size_t n)
{
    struct cuda *c = dev;

    return cuda_check(
        cudaMemcpyAsync(dst, src, n, cudaMemcpyDeviceToDevice, c->stream),
        "copy");
}

static int dev_fill(void *dev, void *dst, int byte, size_t n)
{
    struct cuda *c = dev;

    return cuda_check(cudaMemsetAsync(dst, byte, n, c->stream), "fill");
}

/* ---- the queue */

static int dev_mark(void *dev, int mark)
{
    struct cuda *c = dev;

    if (cuda_outside(c, "mark") < 0)
        return -1;
    return cuda_check(cudaEventRecord(c->mark[mark], c->stream), "mark");
}

static int dev_passed(void *dev, int mark)
{
    struct cuda *c = dev;
    cudaError_t e;

    if (cuda_outside(c, "mark") < 0)
        return -1;
    e = cudaEventQuery(c->mark[mark]);
    if (e == cudaErrorNotReady) {
        cuda_forget();
        return 0;
    }
    return cuda_check(e, "mark") < 0 ? -1 : 1;
}

static int dev_wait(void *dev, int mark)
{
    struct cuda *c = dev;

    return cuda_wait(c, c->mark[mark], "wait");
}

static int dev_finish(void *dev)
{
    struct cuda *c = dev;

    return cuda_wait(c, NULL, "finish");
}

/* ---- kernels */

static int dev_run(void *dev, enum kernel k, const void *args)
{
    static int (*const file[])(const struct cuk *, enum kernel,
                               const void *) = {cuk_norm, cuk_elem, cuk_pool,
                                                cuk_loss, cuk_step};
    struct cuda *c = dev;
    int i, r = -1;

    for (i = 0; i < 5 && r < 0; i++)
        r = file[i](&c->kernels, k, args);
    if (r < 0)
        return err_set(ERR_INTERNAL, "kernel %d: not there", (int)k);
    return cuda_check((cudaError_t)r, "launch");
}

static uint64_t dev_identity(void *dev)
{
    return ((struct cuda *)dev)->identity;
}

static const struct engine_ops ops = {
    .abi = ENGINE_ABI,
    .name = "cuda",
    .score = dev_score,
    .open = dev_open,
    .close = dev_close,
    .describe = dev_describe,
    .machine = dev_machine,
    .last_error = dev_last_error,
    .precision = dev_precision,
    .host_memory = false,
    .identity = dev_identity,
    .own = cuda_own,
    .alloc = cuda_alloc,
    .alloc_sums = cuda_alloc_sums,
    .free = dev_free,
    .upload = dev_upload,
    .download = dev_download,
    .copy = dev_copy,
    .fill = dev_fill,
    .mark = dev_mark,
    .passed = dev_passed,
    .wait = dev_wait,
    .finish = dev_finish,
    .host_alloc = cuda_host_alloc,
    .host_free = cuda_host_free,
    .host_register = cuda_host_register,
    .host_unregister = cuda_host_unregister,
    .fetch = cuda_fetch,
    .send = cuda_send,
    .after = cuda_after,
    .record = cuda_record,
    .recorded = cuda_recorded,
    .replay = cuda_replay,
    .tape_free = cuda_tape_free,
    .team_version = cuda_team_version,
    .team_id = cuda_team_id,
    .team_join = cuda_team_join,
    .team_start = cuda_team_start,
    .team_wait = cuda_team_wait,
    .team_leave = cuda_team_leave,
    .conv_available = cuda_conv_available,
    .conv_forms = cuda_conv_forms,
    .cold_bytes = cuda_cold_bytes,
    .conv_time = cuda_conv_time,
    .conv_plan = cuda_conv_plan,
    .conv_pack = cuda_conv_pack,
    .conv_run = cuda_conv_run,
    .conv_free = cuda_conv_free,
    .conv_name = cuda_conv_name,
    .run = dev_run,
};

/* The symbol looked for: ENGINE_SYMBOL. */
__attribute__((visibility("default"))) engine_entry millrace_engine;

const struct engine_ops *millrace_engine(void)
{
    return &ops;
}
