/*
 * cuda.h - what the files of the cuda engine share: the device and its parts.
 *
 * One device, one stream, in order. cuprobe.c says whether there is one that this
 * build serves; cudev.c holds memory, queue and the table; cuconv.c makes plans
 * of cuDNN (cugraph.h) for convolutions, cuforms.c says which there are and
 * cutime.c how long they take; the .cu files run the kernels (cuk.h).
 * What is offered is level B of gpu-engine, single convolutions and everything
 * else by our kernels, and in fp16 the forms of level C that cuDNN has for this
 * card. cutape.c makes graphs of what goes into the stream. cuside.c copies beside
 * the queue, and cuteam.c (nccllib.h) adds over ranks.
 *
 * Errors of the runtime become err_set sentences by cuda_check.
 */
#ifndef ENGINE_CUDA_CUDA_H
#define ENGINE_CUDA_CUDA_H

#include "engine/cuda/cudnnlib.h"
#include "engine/cuda/cuk.h"
#include "engine/engine.h"

#include <cuda_runtime_api.h>

#define CUDA_MARKS 64
#define CUDA_SUMS 4
struct cuda_named;
struct cuteam;
struct cuplan_want;
struct nccl;
/* Uploads go through pinned memory, in pieces; a piece is filled while the one
 * before it travels. */
#define CUDA_STAGES 4
#define CUDA_STAGE ((size_t)4 << 20)

struct cuda {
    int device;
    int capability; /* 90: 9.0 */
    char name[80];
    cudaStream_t stream;
    cudaEvent_t mark[CUDA_MARKS];
    struct {
        void *p;
        cudaEvent_t sent;
        bool busy;
    } stage[CUDA_STAGES];
    int next_stage;
    struct cuk kernels;
    struct cudnn lib;
    cudnnHandle_t handle;
    bool deterministic, tf32;
    uint64_t identity;
    cudaStream_t in, out; /* copies beside the queue, once there are any */
    struct cuteam *team;  /* cuteam.h, NULL: none */
    int world;            /* ranks of it, perhaps */
    struct nccl *nccl;    /* once it is opened */
    struct {              /* memory of NCCL's */
        void *p, *registered;
        size_t bytes;
    } sums[CUDA_SUMS];
    int n_sums;
    size_t memory;          /* of the card, bytes */
    struct cuda_form *form; /* that were asked for so far (cuconv.c) */
    int n_forms;
    char **form_name; /* of forms (cuforms.c) */
    int n_names;
    struct cuda_named *named; /* and which a convolution has */
    int n_named;
    bool recording; /* cutape.c: the stream notes what it gets, */
    bool spoiled;   /* and was asked for what has no place there */
};

/* 0, or -1 and "what: the runtime's words". ERR_PEER: the device is lost to this
 * process, the next may have it; ERR_SYSTEM: no memory; ERR_INTERNAL: arguments
 * that cannot be; else ERR_UNAVAILABLE. The runtime has forgotten it then. */
int cuda_check(cudaError_t e, const char *what) MUST_CHECK;
/* -1 with the error that a library set, or, if the device is lost, that one. */
int cuda_blame(cudaStream_t stream, const char *what);
/* After an answer that is no failure, as that something is not ready: the runtime
 * keeps it as its last error, which the next launch would be charged with. */
void cuda_forget(void);

/* cuprobe.c: the number of devices, or -1 and why there is none to use. */
int cuda_devices(void) MUST_CHECK;
/* Is the device of a kind that this build has code for? name has 80 bytes. */
int cuda_device_fits(int device, char *name, int *capability) MUST_CHECK;
/* A number made of its UUID, below 2^53 and not 0. */
uint64_t cuda_device_identity(int device);

/* cudev.c: an entry of the table. */
int cuda_alloc(void *dev, size_t bytes, void **p) MUST_CHECK;

/* cuside.c. Wait for an event, or for the queue (NULL): 0, or -1 when the team
 * broke meanwhile. */
int cuda_wait(struct cuda *c, cudaEvent_t event, const char *what) MUST_CHECK;
/* The same for what goes next, whatever became of it: the error that is set
 * stays. */
void cuda_settle(struct cuda *c);
/* Will all that the device was given end? Not where a rank of its team was lost:
 * then nothing may be freed, for that waits. The error that is set stays. */
bool cuda_ends(struct cuda *c);
/* Wait for the copies beside the queue as well, and, of a team, for its sums: true,
 * all that is enqueued is done; false, as cuda_ends, and of all that only what was
 * sent is sure to be done. */
bool cuda_settle_all(struct cuda *c) MUST_CHECK;
/* Entries of the table. */
int cuda_host_alloc(void *dev, size_t bytes, void **p);
void cuda_host_free(void *dev, void *p);
int cuda_host_register(void *dev, void *p, size_t bytes);
void cuda_host_unregister(void *dev, void *p);
int cuda_fetch(void *dev, void *host, const void *src, size_t n, int mark);
int cuda_send(void *dev, void *dst, const void *host, size_t n, int mark);
int cuda_after(void *dev, int mark);

/* cutape.c: entries of the table. */
int cuda_record(void *dev);
int cuda_recorded(void *dev, bool keep, void **tape);
int cuda_replay(void *dev, void *tape);
void cuda_tape_free(void *dev, void *tape);
/* ERR_INTERNAL where the stream is recording: the recording will fail, then. */
int cuda_outside(struct cuda *c, const char *what) MUST_CHECK;

/* cuconv.c: entries of the table. */
int cuda_conv_available(void *dev, const struct conv_desc *d);
int cuda_conv_plan(void *dev, const struct conv_desc *d, const char *form,
                   struct conv_plan **plan, struct conv_needs *needs);
int cuda_conv_pack(void *dev, struct conv_plan *plan, const void *weights,
                   void *packed);
int cuda_conv_run(void *dev, struct conv_plan *plan, const struct conv_args *a);
void cuda_conv_free(void *dev, struct conv_plan *plan);
const char *cuda_conv_name(void *dev, struct conv_plan *plan);
/* What its plans are to be like. */
struct cuplan_want cuda_wanted(const struct cuda *c, const struct conv_desc *d);

/* cuforms.c. Entry of the table: */
int cuda_conv_forms(void *dev, const struct conv_desc *d, const char **name,
                    int most);
void cuda_forget_names(struct cuda *c);
#define CUDA_APART "apart " /* begins the name of such a form */
/* The rest of it; NULL: it is none. */
const char *cuda_apart(const struct conv_desc *d, const char *form);
/* What the convolution alone takes for x, and what is done with its result. */
size_t cuda_before_bytes(const struct conv_desc *d); /* of z; 0: x itself */
int cuda_before(struct cuda *c, const struct conv_desc *d,
                const struct conv_args *a, void *z) MUST_CHECK;
int cuda_behind(struct cuda *c, const struct conv_desc *d,
                const struct conv_args *a) MUST_CHECK;

/* cutime.c: entries of the table. */
size_t cuda_cold_bytes(void *dev);
int cuda_conv_time(void *dev, struct conv_plan *plan, const struct conv_args *a,
                   void *cold, double *seconds);

#endif
