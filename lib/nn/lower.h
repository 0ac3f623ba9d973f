/*
 * lower.h - from nodes to instructions; private to nn.
 *
 *	nodes --fuse--> steps --emit--> instructions --place--> addresses
 *
 * A STEP is what one node, or a chain of nodes taken together (norm [+ add]
 * [+ relu], norm + relu + max pool), computes. An INSTRUCTION is one call of the engine; its argument
 * struct is complete but for addresses in the arena, which are listed as (field,
 * BUFFER) pairs and filled in when the arena is laid out. Instructions of the
 * forward pass come first, those of the backward pass behind them, in order of
 * execution, so the life of a buffer is the range from the first to the last
 * instruction that names it.
 *
 * Gradients of values: a value collects up to two CONTRIBUTIONS, buffers whose
 * sum is its gradient; the kernels that read a gradient add the two themselves.
 * A third one, or a reader that takes only one, costs an addition.
 */
#ifndef NN_LOWER_H
#define NN_LOWER_H

#include "nn/graph.h"

#include <stddef.h>

struct shape {
    int64_t n, h, w, c;
};
static inline int64_t shape_rows(struct shape s)
{
    return s.n * s.h * s.w;
}
static inline int64_t shape_count(struct shape s)
{
    return s.n * s.h * s.w * s.c;
}

/* ---- ops.c: what is known of each operation */

const char *op_name(enum op op);
/* The name of node i, or that of its operation. */
const char *node_name(const struct node *nd);
/* Shape of node i from those of its inputs; ERR_DATA if it does not work,
 * ERR_CONFIG for a norm in training that would see one value per channel. */
int op_shape(const struct graph *g, int i, const struct plan_key *key,
             const struct shape *in, struct shape *out) MUST_CHECK;
/* Description of the convolution of a CONV or LINEAR node on x. */
struct conv_desc op_conv(const struct node *nd, const struct shape *x,
                         enum conv_kind kind, enum dtype compute,
                         enum dtype pt);

/* ---- buffers */

#define BUF_NONE (-1)
struct buffer {
    size_t bytes, offset;
    int first, last; /* instructions; first > last: not used */
    int held;        /* contributions of values waiting in it */
};

/* ---- instructions */

enum ins_kind {
    INS_CONV,
    INS_KERNEL,
    INS_ZERO
};
struct ins_ref {
    uint16_t at; /* offset of the pointer in struct ins */
    int buf;
};
#define INS_REFS 16
struct ins {
    enum ins_kind kind;
    int step;
    enum kernel kernel;
    int conv;   /* INS_CONV: index into plan.conv */
    int weight; /* INS_CONV: parameter that goes in packed, or -1 */
    void *zero; /* INS_ZERO */
    size_t zero_bytes;
    int grad[2];   /* parameters whose gradient it adds to, or -1 */
    int64_t ready; /* gradients [0,ready) are final behind it; 0: as before */
    int n_refs;
    struct ins_ref ref[INS_REFS];
    union {
        struct conv_args conv;
        struct kern_image image;
        struct kern_cast cast;
        struct kern_add add;
        struct kern_relu relu;
        struct kern_relu_grad relu_grad;
        struct kern_colsum colsum;
        struct kern_norm_stats stats;
        struct kern_norm_final final;
        struct kern_norm_apply apply;
        struct kern_norm_grad_sums sums;
        struct kern_norm_grad_final grad_final;
        struct kern_norm_grad_apply grad_apply;
        struct kern_maxpool maxpool;
        struct kern_maxpool_grad maxpool_grad;
        struct kern_avgpool avgpool;
        struct kern_avgpool_grad avgpool_grad;
    } u;
};

/* A plan of the engine; equal descriptions share one. */
struct conv_use {
    struct conv_desc desc;
    struct conv_plan *plan;
    struct conv_needs needs;
};

/* ---- steps */

/* Vectors of one norm, [c] each, that live as long as the plan. */
enum norm_vec {
    NV_MEAN,
    NV_VAR,
    NV_INVSTD,
    NV_SCALE,
    NV_BIAS,
    NV_S1,
    NV_S2,
    NV_A,
    NV_B,
    NV_K,
    NV_N
};

struct step {
    int node;         /* the main node; a norm if it is a chain */
    int add, relu;    /* nodes taken in, or -1 */
    int pool;         /* a max pool taken in, behind norm + relu, or -1 */
    int norm2;        /* second norm of the add, or -1 */
    int residual;     /* other value of the add where it is no norm taken in */
    int out;          /* node whose value this computes */
    int index;        /* of a max pool: buffer of the indices */
    int vec[2][NV_N]; /* norm: buffers of the vectors of node and norm2 */
    /* level C (fused.c) */
    bool inside; /* norm: its one reader computes it from the norm's input */
    bool from_sums[2]; /* norm: S1, S2 are sums of values, by a convolution */
    bool summed;       /* norm: S1, S2 are the gradient's sums, likewise */
    int stats_of[2]; /* conv: step and norm of it that its sums go to, or -1 */
    int pro;         /* conv: step of the norm inside its prologue, or -1 */
    int again; /* steps [again, this) are computed again before the backward
                  pass of this one (recompute.c); -1: none */
};

/* A value of the plan: of one node. */
struct val {
    struct shape s;
    enum dtype dt;
    int buf;       /* BUF_NONE: inside a step */
    int64_t pitch; /* elements of a pixel; more than channels: zeros */
    int readers;   /* steps that read it; being an output counts as one */
    int left;      /* of these, the ones to come while lowering */
    int grad[2];   /* contributions */
    int n_grad;
    int owed; /* steps whose contributions are to come while going backward */
};

/* ---- the plan */

struct plan {
    struct graph *g;
    struct engine *e;
    struct plan_key key;
    enum dtype pt;
    bool wide;  /* vectors of norms are F64, else pt */
    bool fused; /* level C (fused.c): forms used, and not offered */
    int forms, missing;
    const struct node *first; /* that misses one */
    struct val *val;          /* one for each node */
    int n_steps, n_bufs, n_ins, n_convs;
    struct step *step;
    struct buffer *buf;
    struct ins *ins;
    int n_forward; /* instructions [0,n_forward) */
    struct conv_use *conv;
    int64_t ready;    /* gradients final before backward begins */
    int ones, ones_n; /* buffer of ones for a bias without its own form */
    int out_grad[8], in_grad[8]; /* buffers */
    bool seeded[8];              /* gradient of that output is to be written */
    void *arena;
    size_t arena_bytes, scratch; /* arena without scratch; scratch behind it */
    uint64_t used;               /* clock of the cache */
};

/* lower.c: fill an empty plan: shapes, steps, instructions, lives. Makes engine
 * plans; allocates nothing in the engine. */
int plan_lower(struct plan *p) MUST_CHECK;
/* forward.c, backward.c: the instructions of all steps, there and back. */
int lower_forward(struct plan *p) MUST_CHECK;
int lower_backward(struct plan *p) MUST_CHECK;

/* fused.c: which steps take which form of level C; before anything is emitted. */
void fused_choose(struct plan *p);
/* Say once what is not there; after everything is emitted. */
void fused_tell(struct plan *p);
/* Description of a convolution step's kind in the form chosen for it. */
struct conv_desc fused_desc(const struct plan *p, const struct step *s,
                            enum conv_kind kind);
/* The norm in the prologue of convolution step s; NULL: none. */
const struct step *fused_pro(const struct plan *p, const struct step *s);
/* The input of a convolution step: its value, or that of the norm's inside. */
const struct val *fused_input(const struct plan *p, const struct step *s);
/* The prologue's vectors. */
void fused_prologue(struct plan *p, struct ins *i, const struct step *s);
/* The form of dgrad of step s that is also the backward of the norm that made
 * its input: that norm's step, with d set; NULL: there is none. */
struct step *fused_dgrad(struct plan *p, const struct step *s,
                         struct conv_desc *d);

/* recompute.c: which steps are computed again; before anything is emitted. */
void recompute_choose(struct plan *p);
/* Do so for the segment that ends with step `end`, before its backward pass. */
void recompute_emit(struct plan *p, int end);

/* For all: */
/* The step whose value is v. */
struct step *lower_maker(const struct plan *p, int v);
int lower_buf(struct plan *p, size_t bytes);
/* Stays for the time of the plan. */
int lower_buf_kept(struct plan *p, size_t bytes);
/* A new instruction, zeroed. Valid until the next one. */
struct ins *lower_kernel(struct plan *p, enum kernel k);
/* The pool of a norm's step, if it has one, goes into that field of i. */
void lower_pool(struct plan *p, struct ins *i, struct kern_pool *pool,
                const struct step *s);
/* A new one like that (a copy of one of the plan), but without buffers. */
struct ins *lower_again(struct plan *p, const struct ins *like);
/* The field is to hold the address of the buffer (BUF_NONE: stays NULL). */
void lower_ref(struct plan *p, struct ins *i, const void *field, int buf);
/* A convolution instruction for desc; NULL with an error. */
struct ins *lower_conv(struct plan *p, const struct conv_desc *d, int weight);
size_t val_bytes(const struct val *v);

/* arena.c: offsets of all used buffers by their lives; the bytes in all. */
size_t arena_place(struct buffer *buf, int n);

/* plan.c: make without memory; with it; what is in the arena from the start. */
struct plan *plan_new(struct graph *g, struct engine *e,
                      const struct plan_key *key) MUST_CHECK;
int plan_alloc(struct plan *p) MUST_CHECK;
int plan_constants(struct plan *p) MUST_CHECK;
void plan_free(struct plan *p);
void plan_cost(const struct plan *p, struct plan_cost *cost);

#endif
