/*
 * engine.h - computing: one interface, three engines behind it.
 *
 * An engine is a device (memory and a queue of work), convolution plans, and
 * kernels run by number. `ref` is plain C inside every worker and is the
 * oracle; `cpu` (oneDNN) and `cuda` (cuDNN) are plugins next to the executable.
 * Models and graphs know this header only.
 *
 * Calls enqueue; the order of execution is the order of the calls; results may
 * be read on the host after engine_finish or engine_download. On engines whose
 * memory is the host's (engine_is_host) work is done when the call returns.
 * engine*.c are the only callers of a backend: they check shapes and dtypes, count
 * memory and write the trace, so that backends hold no argument checks and every
 * backend fails alike. (tune.c calls one, too, to time convolutions of its own.)
 *
 * Calling sequence
 *	struct engine *e;
 *	if (engine_open(&e, "auto", &config) < 0) ...
 *	engine_alloc(e, bytes, &p); engine_conv_plan(e, &desc, &plan);
 *	engine_conv_run(e, plan, &args); engine_run(e, KERN_ADD, &add);
 *	engine_finish(e); ... engine_conv_free(e, plan); engine_close(e);
 *
 * Adding an operation: a body in kern/, its number and arguments in
 * kern/table.h, a case in t/unit/30-ops.c, a row in nn/ops.c.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "engine/kern/table.h"
#include "tensor/tensor.h"
#include "util/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ENGINE_ABI 8

struct engine; /* an open device */

/* A convolution can be computed in several forms (tune.h). */
enum engine_tune {
    TUNE_OFF,   /* the engine chooses by rule */
    TUNE_KNOWN, /* as found in an earlier trial, else by rule */
    TUNE_TRY    /* as found in a trial, made now if there was none */
};

struct engine_config {
    int device;            /* ordinal among visible devices; -1: choose */
    int local;             /* chosen: of rank number local of this host */
    int world;             /* ranks that may form a team; 0, 1: none */
    int threads;           /* CPU engines; 0: OMP_NUM_THREADS or all allowed */
    const char *dir;       /* where plugins are looked for first; NULL: none */
    const char *trace;     /* path of a trace of every call; NULL: none */
    bool deterministic;    /* only kernels whose bits are repeatable */
    bool tf32;             /* cuda: fp32 products rounded to 10 bits, fast */
    int level;             /* 'B', 'C' or 0: richest fused forms to offer */
    enum engine_tune tune; /* who chooses the forms of convolutions */
    bool no_tapes;         /* engine_records says no */
};

/* ---- convolution plans (gpu-engine 2.5)
 *
 * One description serves convolution and matrix product: a linear layer is a
 * 1x1 convolution of an image of one pixel. Activations are [N,H,W,C], weights
 * [K,R,S,C], both dense.
 *
 *   CONV_FORWARD  out[n,p,q,k] = sum_{r,s,c} z[n,p*stride+r-pad,...,c]*w[k,r,s,c]
 *   CONV_DGRAD    out = gradient of x from dy and w
 *   CONV_WGRAD    out (+)= gradient of w from x (through the prologue) and dy
 *
 * Prologue, on x as it is read (FORWARD and WGRAD), per channel c:
 *   PRO_NONE  z = x          PRO_SBR   z = relu(x*scale + bias)
 *   PRO_SBAR  z = relu(x*scale + bias + add)
 * Epilogue, on the result before it is stored:
 *   EPI_NONE
 *   EPI_STATS   FORWARD: also sum[k], sumsq[k] over n,p,q of what is stored
 *   EPI_BIAS    FORWARD: act(out + bias[k])
 *   EPI_ADD_BIAS FORWARD: act(out + add + bias[k])
 *   EPI_ADD     DGRAD: out + add
 *   EPI_DACT    DGRAD: (out [+ add]) * (y > 0), y the saved activation
 *   EPI_BNSUMS1 DGRAD: EPI_DACT where y is recomputed from the input x of one
 *               batch norm [+ residual], and the sums dbeta, dgamma of that norm
 *   EPI_BNSUMS2 the same for a residual sum of two batch norms
 * EPI_DACT and EPI_BNSUMS add `add` if the description says so.
 * An engine need not have a form: conv_available answers. Every form is equal
 * to its decomposition into plain convolution and kernels; ref has all that are
 * implemented anywhere, by that decomposition.
 */
enum conv_kind {
    CONV_FORWARD,
    CONV_DGRAD,
    CONV_WGRAD
};
enum conv_pro {
    PRO_NONE,
    PRO_SBR,
    PRO_SBAR
};
enum conv_epi {
    EPI_NONE,
    EPI_STATS,
    EPI_BIAS,
    EPI_ADD_BIAS,
    EPI_ADD,
    EPI_DACT,
    EPI_BNSUMS1,
    EPI_BNSUMS2
};

struct conv_desc {
    enum conv_kind kind;
    enum conv_pro pro;
    enum conv_epi epi;
    bool relu;          /* the act of EPI_BIAS, EPI_ADD_BIAS is relu, not x */
    bool add;           /* EPI_DACT, EPI_BNSUMS: args.add is there */
    bool residual;      /* EPI_BNSUMS1: args.residual is there */
    enum dtype dtype;   /* of x, dy, z, add and of the packed weights */
    enum dtype out;     /* of out: dtype or param; WGRAD: param */
    enum dtype param;   /* of master weights, bias, sums: F32, F64 in ref */
    int64_t n, h, w, c; /* x [n,h,w,c] */
    int64_t k, r, s;    /* weights [k,r,s,c] */
    int stride, pad;    /* same in both directions */
    int64_t pitch; /* FORWARD, WGRAD without prologue: x is [n,h,w,pitch], zero
                      from channel c on; 0: dense */
};
/* Elements from one pixel of x to the next. */
static inline int64_t conv_pitch(const struct conv_desc *d)
{
    return d->pitch ? d->pitch : d->c;
}
/* Is there a bias? */
static inline bool conv_has_bias(const struct conv_desc *d)
{
    return d->epi == EPI_BIAS || d->epi == EPI_ADD_BIAS;
}
/* Batch norms whose sums it leaves: 0 to 2. */
static inline int conv_norms(const struct conv_desc *d)
{
    return d->epi == EPI_BNSUMS1 ? 1 : d->epi == EPI_BNSUMS2 ? 2 : 0;
}
/* Height and width of the output: (h + 2*pad - r)/stride + 1. */
int64_t conv_p(const struct conv_desc *d);
int64_t conv_q(const struct conv_desc *d);
static inline bool conv_same(const struct conv_desc *a,
                             const struct conv_desc *b)
{
    return a->kind == b->kind && a->pro == b->pro && a->epi == b->epi &&
           a->relu == b->relu && a->add == b->add &&
           a->residual == b->residual && a->dtype == b->dtype &&
           a->out == b->out && a->param == b->param && a->n == b->n &&
           a->h == b->h && a->w == b->w && a->c == b->c && a->k == b->k &&
           a->r == b->r && a->s == b->s && a->stride == b->stride &&
           a->pad == b->pad && conv_pitch(a) == conv_pitch(b);
}
/* Multiply-adds of one run. */
double conv_macs(const struct conv_desc *d);

/* What a plan wants from its owner. */
struct conv_needs {
    size_t packed_bytes; /* FORWARD, DGRAD: of the weights in its own layout;
                             0: it takes the master weights as they are */
    uint64_t layout; /* equal numbers: the packed forms are the same bytes */
    size_t scratch_bytes; /* for the time of a run; 64-byte aligned */
};

struct conv_args {
    const void *x;  /* [n,h,w,c], FORWARD and WGRAD */
    const void *w;  /* packed or master weights, FORWARD and DGRAD */
    const void *dy; /* [n,p,q,k], DGRAD and WGRAD */
    void *out;
    bool accumulate; /* WGRAD: out += instead of out = */
    void *scratch;
    const void *pro_scale, *pro_bias; /* [c] param */
    const void *pro_add;              /* [n,h,w,c] */
    const void *bias;                 /* [k] param */
    const void *add;                  /* like out */
    const void *y;                    /* EPI_DACT: like out */
    const void *residual;             /* EPI_BNSUMS1: like out */
    void *sum, *sumsq;                /* EPI_STATS [k] param */
    /* EPI_BNSUMS1, 2: norms a (and b) over the channels c of dx */
    struct {
        const void *x, *mean, *invstd, *gamma, *beta;
        void *dbeta, *dgamma;
    } bn[2];
};

struct conv_plan; /* the engine's own */

/* ---- ranks: sums in the memory of devices, by a library that the engine brings
 *
 * The ranks of a team each have a device. One makes an identifier, all join with
 * it; from then on each makes the same calls in the same order. A sum is
 * enqueued: it begins when the work that was enqueued before it is done and runs
 * beside what comes after; that finds it done behind team_wait.
 *
 * A rank that is lost leaves the others waiting. So every wait for the device asks
 * failed(arg), and after timeout_ms gives up: the team is broken off and every
 * further call fails with ERR_PEER.
 */
#define ENGINE_TEAM_ID 128

struct engine_team {
    unsigned char id[ENGINE_TEAM_ID];
    int rank, world;
    enum dtype wire;           /* F32, BF16, F16: what travels in a sum */
    int64_t timeout_ms;        /* 0: for ever */
    bool (*failed)(void *arg); /* has somebody said that the run is over? */
    void *arg;
    char *slow; /* joining: why sums are slower than they might be, or "" */
    size_t slow_bytes;
};

enum team_op {
    TEAM_SUM,  /* p [n] f32 in place, numbers of the wire's dtype */
    TEAM_MEAN, /* the sum over the number of ranks, fp32 throughout */
    TEAM_GATHER /* rank r gives p[end[r-1], end[r]), all get all; end[world-1]=n */
};

/* ---- the table that a backend fills; only engine*.c call through it */
struct engine_ops {
    int abi; /* ENGINE_ABI of its build */
    const char *name;
    /* > 0: usable here, higher is better; 0: not, and why says it. */
    int (*score)(char *why, size_t n);
    int (*open)(const struct engine_config *c, void **dev);
    void (*close)(void *dev);
    /* One line for people: library versions, device, threads. */
    void (*describe)(void *dev, char *text, size_t n);
    /* All that the speed of forms depends on: device, libraries, threads. NULL
     * where conv_forms is. */
    void (*machine)(void *dev, char *text, size_t n);
    /* The sentence of the last call that returned -1, of this thread. */
    void (*last_error)(enum err_class *c, const char **text);
    /* Compute dtype: 0 refused (why says it), 1 emulated, slow, 2 native. */
    int (*precision)(void *dev, enum dtype t, char *why, size_t n);
    bool host_memory; /* its addresses are the host's */
    bool wide_norms;  /* beside fp32 activations: kern/table.h */
    bool leaves_sums; /* level S */
    /* A number that no two devices of any host share, below 2^53. */
    uint64_t (*identity)(void *dev);
    /* Bytes of the device's memory that it holds for itself; NULL: 0. */
    size_t (*own)(void *dev);

    int (*alloc)(void *dev, size_t bytes, void **p); /* 64-byte aligned */
    /* What teams will sum, before one is joined; NULL: as alloc. */
    int (*alloc_sums)(void *dev, size_t bytes, void **p);
    void (*free)(void *dev, void *p);
    int (*upload)(void *dev, void *dst, const void *src, size_t n);
    int (*download)(void *dev, void *dst, const void *src, size_t n);
    int (*copy)(void *dev, void *dst, const void *src, size_t n);
    int (*fill)(void *dev, void *dst, int byte, size_t n);

    /* Queue: a mark is passed when all work enqueued before it is done. */
    int (*mark)(void *dev, int mark);   /* mark 0..63, may be set again */
    int (*passed)(void *dev, int mark); /* 1, 0, -1 */
    int (*wait)(void *dev, int mark);   /* NULL: memory is the host's */
    int (*finish)(void *dev);

    /* Beside the queue, for engines whose memory is not the host's; see
     * engine_fetch. */
    int (*host_alloc)(void *dev, size_t bytes, void **p);
    void (*host_free)(void *dev, void *p);
    int (*host_register)(void *dev, void *p, size_t bytes);
    void (*host_unregister)(void *dev, void *p);
    int (*fetch)(void *dev, void *host, const void *src, size_t n, int mark);
    int (*send)(void *dev, void *dst, const void *host, size_t n, int mark);
    int (*after)(void *dev, int mark);

    /* Tapes; NULL: none. recorded: keep or drop what was recorded. */
    int (*record)(void *dev);
    int (*recorded)(void *dev, bool keep, void **tape);
    int (*replay)(void *dev, void *tape);
    void (*tape_free)(void *dev, void *tape);

    /* Teams; NULL: none. team_version: of the library, or -1 and why not. */
    int (*team_version)(void *dev);
    int (*team_id)(void *dev, void *id);
    int (*team_join)(void *dev, const struct engine_team *t);
    int (*team_start)(void *dev, enum team_op op, float *p, int64_t n,
                      const int64_t *end);
    int (*team_wait)(void *dev);
    void (*team_leave)(void *dev);

    int (*conv_available)(void *dev, const struct conv_desc *d);
    /* Names of the forms it may be computed in, the usual one first: their
     * number, at most `most`. They live as long as dev. NULL: there is one. */
    int (*conv_forms)(void *dev, const struct conv_desc *d, const char **name,
                      int most);
    /* For trials: the seconds of the device that a run takes, when `cold` has
     * been written before it, memory of cold_bytes (more than caches hold; 0:
     * NULL). NULL: by the host's clock. */
    size_t (*cold_bytes)(void *dev);
    int (*conv_time)(void *dev, struct conv_plan *plan,
                     const struct conv_args *a, void *cold, double *seconds);
    /* form NULL: by rule; one that cannot be had is ERR_UNAVAILABLE. */
    int (*conv_plan)(void *dev, const struct conv_desc *d, const char *form,
                     struct conv_plan **plan, struct conv_needs *needs);
    int (*conv_pack)(void *dev, struct conv_plan *plan, const void *weights,
                     void *packed);
    int (*conv_run)(void *dev, struct conv_plan *plan,
                    const struct conv_args *a);
    void (*conv_free)(void *dev, struct conv_plan *plan);
    /* The kernel chosen, for profiles; lent. */
    const char *(*conv_name)(void *dev, struct conv_plan *plan);

    int (*run)(void *dev, enum kernel k, const void *args);
};
/* The one symbol of a plugin. */
#define ENGINE_SYMBOL "millrace_engine"
typedef const struct engine_ops *engine_entry(void);
/* The engine inside. */
const struct engine_ops *engine_ref(void);

/* ---- what everybody else calls */

/*
 * Open by name ("ref", "cpu", "cuda") or "auto": the usable engine of highest
 * score; note() says which and why not the others. A named engine that cannot
 * serve is ERR_UNAVAILABLE. Plugins are looked for, by absolute path, in
 * config->dir, next to the executable, and in ../lib/millrace beside it; never
 * in the working directory.
 */
int engine_open(struct engine **e, const char *name,
                const struct engine_config *config) MUST_CHECK;
void engine_close(struct engine *e);
/*
 * Tell watch of every call as it ends: its name, details (" 8x56x56x64 ..." or
 * ""), when it began and ended (clock_s). Of an engine that queues its work that
 * is the time to queue it. NULL: nobody any more.
 */
typedef void engine_watch_fn(void *arg, const char *call, const char *detail,
                             double start, double end);
void engine_watch(struct engine *e, engine_watch_fn *watch, void *arg);
const char *engine_name(const struct engine *e);
/* By auto: why the first engine whose plugin is there was passed over, or "". */
const char *engine_passed_over(const struct engine *e);
bool engine_is_host(const struct engine *e);
/* Are calls of norms to be wide (kern/table.h) beside such activations? */
bool engine_wide_norms(const struct engine *e, enum dtype t);
/* 'C': fused forms are to be used where they are available; 'S': only EPI_STATS;
 * 'B': none. Unless config.level says, engines with memory of their own are at C,
 * those to which it is worth it at S. */
char engine_level(const struct engine *e);
void engine_describe(struct engine *e, char *text, size_t n);
/* ERR_UNAVAILABLE if the dtype cannot be computed in here; warns if slow. */
int engine_precision(struct engine *e, enum dtype t) MUST_CHECK;
/* Each engine that is there and its score or reason, a line each, to stdout. */
void engine_list(const char *dir);

int engine_alloc(struct engine *e, size_t bytes, void **p) MUST_CHECK;
/* For what teams will sum, where config.world says that there may be one. */
int engine_alloc_sums(struct engine *e, size_t bytes, void **p) MUST_CHECK;
void engine_free(struct engine *e, void *p);
/* src may be written over as soon as this returns. */
int engine_upload(struct engine *e, void *dst, const void *src,
                  size_t n) MUST_CHECK;
int engine_download(struct engine *e, void *dst, const void *src,
                    size_t n) MUST_CHECK; /* waits */
int engine_copy(struct engine *e, void *dst, const void *src,
                size_t n) MUST_CHECK;
int engine_fill(struct engine *e, void *dst, int byte, size_t n) MUST_CHECK;
int engine_mark(struct engine *e, int mark) MUST_CHECK;
int engine_passed(struct engine *e, int mark) MUST_CHECK;
/* Until it is passed. */
int engine_wait(struct engine *e, int mark) MUST_CHECK;
int engine_finish(struct engine *e) MUST_CHECK;
uint64_t engine_identity(const struct engine *e); /* 0: the host itself */

/*
 * Copies beside the queue, to and from memory of engine_host_alloc (pinned on a
 * GPU), on engines whose memory is not the host's. fetch begins when the work
 * enqueued before it is done; send begins at once: nothing enqueued may be using
 * dst. Both set the mark, passed when the copy is done; engine_after lets the
 * queue go on only then. Freed by engine_host_free before the engine closes.
 */
int engine_host_alloc(struct engine *e, size_t bytes, void **p) MUST_CHECK;
void engine_host_free(struct engine *e, void *p); /* NULL allowed */
/*
 * Pages that somebody else has mapped serve as those of engine_host_alloc until
 * they are unregistered, which waits for copies of them and comes before they are
 * unmapped. -1: not of this kind, or not here; nothing has changed.
 */
int engine_host_register(struct engine *e, void *p, size_t bytes) MUST_CHECK;
void engine_host_unregister(struct engine *e, void *p); /* NULL allowed */
int engine_fetch(struct engine *e, void *host, const void *src, size_t n,
                 int mark) MUST_CHECK;
int engine_send(struct engine *e, void *dst, const void *host, size_t n,
                int mark) MUST_CHECK;
int engine_after(struct engine *e, int mark) MUST_CHECK;

/*
 * Tapes: between engine_record and engine_recorded what is enqueued (kernels,
 * convolutions, packing, copies and fills inside the engine's memory) is not done
 * but noted; engine_replay then enqueues all of it at once, any number of times,
 * with the addresses and numbers it was noted with. All of it must have run
 * before; nothing else may be called meanwhile. What goes wrong may show in the
 * end only; then, and after engine_record_drop, nothing was done. A tape is stale,
 * and must not be replayed, when memory or a plan that was there is freed.
 * engine_records: does the engine do that, now? Not while it is traced or watched:
 * the calls would not be seen.
 */
struct engine_tape;
bool engine_records(const struct engine *e);
int engine_record(struct engine *e) MUST_CHECK;
int engine_recorded(struct engine *e, struct engine_tape **t) MUST_CHECK;
void engine_record_drop(struct engine *e);
int engine_replay(struct engine *e, struct engine_tape *t) MUST_CHECK;
bool engine_tape_stale(const struct engine_tape *t);
void engine_tape_free(struct engine *e,
                      struct engine_tape *t); /* NULL allowed */

/* Version of the library for teams, such as 22809; -1 and ERR_UNAVAILABLE where
 * there is none, or it cannot serve. */
int engine_team_version(struct engine *e) MUST_CHECK;
int engine_team_id(struct engine *e, void *id) MUST_CHECK;
int engine_team_join(struct engine *e, const struct engine_team *t) MUST_CHECK;
int engine_team_start(struct engine *e, enum team_op op, float *p, int64_t n,
                      const int64_t *end) MUST_CHECK;
int engine_team_wait(struct engine *e) MUST_CHECK;
/* Before what failed(arg) looks at is gone. */
void engine_team_leave(struct engine *e);

/* 1 or 0. */
int engine_conv_available(struct engine *e, const struct conv_desc *d);
int engine_conv_plan(struct engine *e, const struct conv_desc *d,
                     struct conv_plan **plan,
                     struct conv_needs *needs) MUST_CHECK;
/* Forms by name, the usual one first, at most `most`: their number, 0 if there is
 * no choice. */
int engine_conv_forms(struct engine *e, const struct conv_desc *d,
                      const char **name, int most);
/* As engine_conv_plan, in that form (NULL: by rule); ERR_UNAVAILABLE where it
 * cannot be had. */
int engine_conv_plan_as(struct engine *e, const struct conv_desc *d,
                        const char *form, struct conv_plan **plan,
                        struct conv_needs *needs) MUST_CHECK;
/* Of the forms in use that were chosen by trials: 32 hex digits, equal for equal
 * choices, or "" for none; how many convolutions were in no trial yet (those of
 * TUNE_KNOWN). Both counts may be NULL. */
void engine_choices(const struct engine *e, char hex[33], int *chosen,
                    int *untried);
int engine_conv_pack(struct engine *e, struct conv_plan *plan,
                     const void *weights, void *packed) MUST_CHECK;
int engine_conv_run(struct engine *e, struct conv_plan *plan,
                    const struct conv_args *a) MUST_CHECK;
void engine_conv_free(struct engine *e, struct conv_plan *plan);
int engine_run(struct engine *e, enum kernel k, const void *args) MUST_CHECK;

/* Bytes of memory held now and at most; both with those that the engine holds of a
 * device for itself, which are returned. */
size_t engine_memory(const struct engine *e, size_t *now, size_t *peak);

#endif
