/*
 * dnn.h - oneDNN, of whatever version: descriptors and primitives.
 *
 * oneDNN 2 builds an operation descriptor and then a primitive descriptor, and
 * its memory descriptors are plain structs; 3 makes primitive descriptors at
 * once and hides the structs. dnn.c is the only file that knows; it is tested
 * with 2.6 and 3.2. All primitives are made for scratch memory of the caller.
 *
 * Calling sequence
 *	dnn_open(&d);
 *	x = dnn_md(4, dims, dnnl_f32, dnnl_acdb); w = dnn_md(.., any); ...
 *	dnn_conv(&prim, d, &spec);                prim knows its scratch bytes
 *	dnn_arg(&prim, DNNL_ARG_SRC, x); ...      once
 *	dnn_set(&prim, DNNL_ARG_SRC, p); ... dnn_run(d, &prim);   at will
 *	dnn_prim_release(&prim); dnn_md_free(x); dnn_close(d);
 *
 * Invariant: a zeroed struct dnn_prim is an absent one and may be released.
 * Nothing here allocates in dnn_set or dnn_run.
 */
#ifndef ENGINE_CPU_DNN_H
#define ENGINE_CPU_DNN_H

#include "util/err.h"

#include <oneapi/dnnl/dnnl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DNN_ARGS = 6
};

struct dnn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
};

struct dnn_md; /* a memory descriptor */

struct dnn_prim {
    dnnl_primitive_t prim;
    dnnl_exec_arg_t arg[DNN_ARGS];
    int n;
    size_t scratch;   /* bytes of DNNL_ARG_SCRATCHPAD */
    const char *name; /* of the implementation; lives as long as prim */
};

/* What is done to a result: dst = act(result + bias + old dst). */
struct dnn_post {
    bool sum;  /* add what the destination held */
    bool relu; /* then max(., 0) */
};

/* A convolution or matrix product; descriptors are lent. */
struct dnn_spec {
    enum {
        DNN_FORWARD,
        DNN_BACKWARD_DATA,
        DNN_BACKWARD_WEIGHTS
    } kind;
    /* convolution: source, weights and destination of the forward pass;
     * fwd_w: the weights as a forward pass would have them, for the hint */
    const struct dnn_md *x, *w, *fwd_w, *y, *bias;
    dnnl_dims_t stride, pad_left, pad_right; /* [0], [1]: height, width */
    struct dnn_post post;
    bool short_sums; /* product: rather one that adds in short pieces */
};

/* ERR_UNAVAILABLE when oneDNN cannot serve here. */
int dnn_open(struct dnn *d) MUST_CHECK;
void dnn_close(struct dnn *d);
/* "oneDNN 2.6.3 (avx512_core_amx)" */
void dnn_describe(char *text, size_t n);
/* Has this CPU instructions for products of bf16? */
bool dnn_fast_bf16(void);

/* A dense tensor with dims in oneDNN's logical order, stored as tag says;
 * dnnl_format_tag_any leaves the choice to the primitive. Dies without memory.
 */
struct dnn_md *dnn_md_new(int nd, const int64_t *dims, dnnl_data_type_t t,
                          dnnl_format_tag_t tag);
void dnn_md_free(struct dnn_md *m);
size_t dnn_md_bytes(const struct dnn_md *m);
bool dnn_md_same(const struct dnn_md *a, const struct dnn_md *b);
/* Of dims, types and layout: equal for descriptors of equal bytes. */
uint64_t dnn_md_hash(const struct dnn_md *m);

/* Make a primitive. Failure with ERR_UNAVAILABLE: no implementation. If chosen
 * is not NULL it becomes the descriptor of the weights (fresh, to be freed). */
int dnn_conv(struct dnn_prim *p, const struct dnn *d, const struct dnn_spec *s,
             struct dnn_md **chosen) MUST_CHECK;
/* y [m,n] = x [m,k] * w [k,n] (+ bias [1,n]); kind is not read. */
int dnn_matmul(struct dnn_prim *p, const struct dnn *d,
               const struct dnn_spec *s, struct dnn_md **chosen) MUST_CHECK;
/* to = from (+ to if sum), between any types and layouts. */
int dnn_reorder(struct dnn_prim *p, const struct dnn *d,
                const struct dnn_md *from, const struct dnn_md *to,
                bool sum) MUST_CHECK;

/* Declare an argument; the scratchpad is declared by the makers above. */
int dnn_arg(struct dnn_prim *p, const struct dnn *d, int which,
            const struct dnn_md *m) MUST_CHECK;
/* Give an argument its memory; nothing if the primitive has no such argument.
 */
void dnn_set(struct dnn_prim *p, int which, const void *data);
int dnn_run(const struct dnn *d, const struct dnn_prim *p) MUST_CHECK;
void dnn_prim_release(struct dnn_prim *p);

#endif
