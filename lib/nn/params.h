/*
 * params.h - parameters: names, layouts, initial values, arenas.
 *
 * The one place where the order on disk (a framework's: OIHW weights, names of
 * torchvision) meets the order in memory (KRSC). A model adds its parameters
 * and buffers while it is built; params_alloc then lays them out.
 *
 * Arenas. Weights and gradients are two arenas with one layout (momentum and
 * averages follow it: train/optim.h, train/ema.h), in REVERSE order of
 * construction, so that gradients become final from the front to the back
 * during backward and a bucket is one range. Each tensor begins at a multiple
 * of 16 elements; gaps are zero and stay zero. Buffers (running statistics)
 * have an arena of their own. All are engine memory of dtype `pt` (F32; F64 in
 * ref's double mode), but for gradients that are lent (params_lend).
 *
 * State. The model file is the list `state`, in the order of PyTorch's
 * state_dict: parameters, running statistics and counters under their names.
 */
#ifndef NN_PARAMS_H
#define NN_PARAMS_H

#include "engine/engine.h"
#include "tensor/tensor.h"
#include "util/map.h"

#include <stdbool.h>
#include <stdint.h>

enum param_kind {
    PARAM_CONV,   /* disk [K,C,R,S], memory [K,R,S,C] */
    PARAM_LINEAR, /* [out,in] in both */
    PARAM_BIAS,   /* [k], of a convolution or linear layer */
    PARAM_GAMMA,  /* [c], of a norm */
    PARAM_BETA
};
enum param_init {
    INIT_ZERO,
    INIT_ONE,
    INIT_NORMAL, /* mean 0, deviation arg */
    INIT_UNIFORM /* in [-arg, arg] */
};

struct param {
    char *name;
    enum param_kind kind;
    enum param_init init;
    double arg;
    int rank;
    int64_t disk[4];
    int64_t count, offset; /* elements; offset into the arenas */
    bool frozen;           /* no gradient, no update */
};

enum state_what {
    STATE_PARAM,
    STATE_BUFFER,
    STATE_COUNTER
};
struct state_entry {
    const char *name;
    enum state_what what;
    int index;          /* of param, or element offset kept elsewhere */
    struct tensor disk; /* F32 (counters I64 []), data NULL */
};

struct params {
    struct engine *e; /* set by params_alloc */
    enum dtype pt;
    int n;
    struct param *p; /* in order of construction */
    int n_buffers;
    struct param_buffer {
        char *name;
        int64_t count, offset;
        double init;
    } * buffer;
    int n_counters;
    struct param_counter {
        char *name;
        int64_t value;
    } * counter;
    int n_state;
    struct state_entry *state;
    struct map by_name;          /* name -> index into state */
    int64_t total, buffer_total; /* elements of an arena */
    void *w, *g, *buffers;
    const void *sum; /* gradients of all ranks, once exchanged: g if not lent */
    bool lent;       /* g, sum */
    bool planned;    /* a plan for training has addresses in g */
    uint64_t version; /* raised whenever w changes; packed copies follow it */
    int n_packed;     /* copies of weights in engine layouts */
    struct packed_weight *packed;
};

void params_init(struct params *ps);
void params_release(struct params *ps);
/* Adding, while a model is built; the index. Names are copied, unique (BUG). */
int params_add(struct params *ps, const char *name, enum param_kind kind,
               int rank, const int64_t *disk, enum param_init init, double arg);
/* Elements that are no parameters, all init at first: [count], F32 on disk. */
int params_add_buffer(struct params *ps, const char *name, int64_t count,
                      double init);
/* One number of the host, 0 at first; I64 [] on disk. */
int params_add_counter(struct params *ps, const char *name);
/* Freeze parameters whose name begins with prefix; the number of them. */
int params_freeze(struct params *ps, const char *prefix);

/* Lay out: offsets and totals. graph_seal and params_alloc call it. */
void params_place(struct params *ps);
/* Lay out and allocate; gradients only with train. */
int params_alloc(struct params *ps, struct engine *e, enum dtype pt,
                 bool train) MUST_CHECK;
/*
 * In place of the own arena: gradients are written to g and, once they are
 * exchanged, read at sum, which may be the same memory; both [total], of the host,
 * zero, and the caller's. Before a plan for training is made. NULL: given back, and
 * nothing can be trained any more.
 */
void params_lend(struct params *ps, void *g, const void *sum);
/* Addresses of a parameter in the arenas, of a buffer; NULL before
 * params_alloc. */
void *param_w(const struct params *ps, int i);
void *param_g(const struct params *ps, int i);
void *param_buffer(const struct params *ps, int i);

/*
 * Fresh values: pure functions of (seed, name order): parameter i draws from
 * stream(seed, i, 0, RNG_INIT) in disk order. Buffers and counters reset.
 */
int params_fresh(struct params *ps, uint64_t seed) MUST_CHECK;
/* One state entry from and to the host, in disk layout, F32 (F64 if pt is F64
 * and f64 is set), counters as int64. */
int params_get(struct params *ps, int entry, void *host, bool f64) MUST_CHECK;
int params_set(struct params *ps, int entry, const void *host,
               bool f64) MUST_CHECK;
/* The gradient of a parameter entry, F32. */
int params_get_grad(struct params *ps, int entry, void *host) MUST_CHECK;
/* Something else of the shape of an entry, no counter, that lies in engine
 * memory in the order of the arenas: momentum, an average. Types as above. */
int params_fetch(struct params *ps, int entry, const void *from, void *host,
                 bool f64) MUST_CHECK;
int params_put(struct params *ps, int entry, void *to, const void *host,
               bool f64) MUST_CHECK;
/*
 * Load a model file: every state entry must be there with its shape, F32 (BF16,
 * F16, F64 are converted), num_batches_tracked may be absent; a prefix "module."
 * is stripped; entries nobody knows are an error. ERR_DATA lists what differs.
 */
struct frame_source {
    int n;
    const char *(*name)(void *arg, int i);
    const struct tensor *(*tensor)(void *arg, int i);
    int (*read)(void *arg, int i, void *dst);
    void *arg;
};
int params_load(struct params *ps, const struct frame_source *f) MUST_CHECK;
/* Digest of names, dtypes and shapes of the state and of the bucket ends: equal
 * on all ranks of a run. 32 hex digits. */
void params_layout(const struct params *ps, char hex[33]);

/*
 * A copy of a weight in an engine's own layout (conv_needs.layout), shared by
 * all plans that want the same one, refreshed when version has moved.
 */
int params_packed(struct params *ps, int param, struct conv_plan *plan,
                  const struct conv_needs *needs, const void **w) MUST_CHECK;

#endif
