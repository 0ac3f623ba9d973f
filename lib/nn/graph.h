/*
 * graph.h - a model as data: nodes once, plans per shape.
 *
 * A model is built once as an array of nodes (operation, inputs by index,
 * attributes, parameters). No shapes inside but channels. graph_seal computes
 * what needs a gradient, so that frozen parts cost nothing.
 *
 * A PLAN belongs to one tuple of input shapes, a precision and a purpose
 * (training, evaluation). Making it infers shapes, lowers nodes to STEPS - a
 * chain such as norm + add + relu becomes one step, and with an engine that
 * offers them the fused convolution forms of gpu-engine 2.5 - lays out memory
 * by lifetime in one arena, and makes the engine's plans. Fusion is a choice
 * of the lowering; models state plain operations. Plans are cached, least
 * recently used first out.
 *
 * Backward takes gradients for any set of outputs, adds parameter gradients
 * (always +=), overwrites activation gradients, and tells when parameters are
 * final, in an order known in advance.
 *
 * Calling sequence
 *	graph_init(&g, &params);
 *	x = graph_image(&g, 3, mul, add);            (uint8 [N,H,W,3])
 *	x = graph_conv(&g, x, "conv1", 64, 7, 2, 3, false);
 *	x = graph_norm(&g, x, "bn1"); x = graph_relu(&g, x); ...
 *	graph_output(&g, x); graph_seal(&g);
 *	params_alloc(&params, e, DT_F32, true);
 *	graph_plan(&g, e, &key, &plan);
 *	engine_upload(e, plan_input(plan, 0), ...);
 *	plan_forward(plan); ... write plan_output_grad(plan, 0) ...
 *	plan_backward(plan, ready, arg);
 */
#ifndef NN_GRAPH_H
#define NN_GRAPH_H

#include "engine/engine.h"
#include "nn/params.h"
#include "util/buf.h"

#include <stdbool.h>
#include <stdint.h>

enum op {
    OP_INPUT,  /* activations [n,h,w,c] in the compute dtype */
    OP_IMAGE,  /* uint8 [n,h,w,c] -> (x*mul + add) */
    OP_CONV,   /* convolution, bias optional */
    OP_LINEAR, /* matrix product + bias on [n,1,1,c]; output in F32 (pt) */
    OP_NORM,   /* batch norm (batch statistics in training) */
    OP_RELU,
    OP_ADD, /* sum of two values */
    OP_MAXPOOL,
    OP_AVGPOOL, /* over the whole image: [n,1,1,c] */
    OP_N
};

struct node {
    enum op op;
    int in[2], n_in;
    int64_t c;              /* channels of the value */
    int r, stride, pad;     /* conv, maxpool */
    int weight, bias;       /* parameters, -1: none; norm: gamma, beta */
    int mean, var, counter; /* buffers of a norm */
    double eps, momentum;   /* norm */
    float mul[4], add[4];   /* image */
    char *name;
    bool needs_grad; /* by graph_seal: gradient of the value is wanted */
};

struct graph {
    struct params *ps;
    int n;
    struct node *node;
    int n_inputs, input[8];
    int n_outputs, output[8];
    bool sealed;
    bool told_level; /* which forms of level C are not there */
    /* before any plan: keep the values between blocks only, and compute those
     * inside once more in the backward pass. Same bits, less memory, a third
     * more work; forms of level C are not used. */
    bool recompute;
    bool unfused; /* lower every node by itself; for tests, before any plan */
    struct plan_cache *cache;
};

void graph_init(struct graph *g, struct params *ps);
void graph_release(struct graph *g); /* plans too */
/* Building: each returns the index of the new node's value. */
int graph_input(struct graph *g, int64_t c, bool needs_grad);
/* mul, add: [c], copied; c is at most 4. */
int graph_image(struct graph *g, int64_t c, const float *mul, const float *add);
/* Parameters NAME.weight [k,c,r,r] (Kaiming fan-out normal), NAME.bias. */
int graph_conv(struct graph *g, int x, const char *name, int64_t k, int r,
               int stride, int pad, bool bias);
/* NAME.weight [k,c], NAME.bias, both uniform +-1/sqrt(c). */
int graph_linear(struct graph *g, int x, const char *name, int64_t k);
/* NAME.weight (ones), .bias, .running_mean, .running_var,
 * .num_batches_tracked, in this order. */
int graph_norm(struct graph *g, int x, const char *name, double eps,
               double momentum);
/* The shape of what they read; a and b are of one shape (graph_plan: ERR_DATA). */
int graph_relu(struct graph *g, int x);
int graph_add(struct graph *g, int a, int b);
/* Windows of r x r pixels; the rim is padded with what is never the largest. */
int graph_maxpool(struct graph *g, int x, int r, int stride, int pad);
/* [n,h,w,c] to [n,1,1,c] */
int graph_avgpool(struct graph *g, int x);
/* Value x is the next result of the model, of which there are at most 8. */
void graph_output(struct graph *g, int x);
/* Mark what needs gradients; no more building or freezing after it. */
void graph_seal(struct graph *g);

/* What a plan is for. */
struct plan_key {
    int64_t n, h, w;    /* of input 0 (others follow in shape[]) */
    enum dtype compute; /* F32, BF16, F16, F64 */
    bool train;         /* batch statistics, saved values, gradients */
};
struct plan;

/* From the cache or new. ERR_SYSTEM when memory does not suffice, ERR_DATA
 * when a shape does not work out ("conv1: image of 3x3 is smaller than ..."),
 * ERR_CONFIG where a norm in training would see one value per channel. */
int graph_plan(struct graph *g, struct engine *e, const struct plan_key *key,
               struct plan **plan) MUST_CHECK;
/* As graph_plan, but allocates nothing and makes no engine plans that do: what
 * it would take, for accel-worker plan. */
struct plan_cost {
    size_t weights, gradients, momentum, buffers, packed; /* bytes */
    size_t activations, scratch;                          /* bytes */
    double forward_macs, backward_macs;
    double
        traffic; /* bytes of activations that calls read or write, each operand
                       of a call once */
};
int graph_cost(struct graph *g, struct engine *e, const struct plan_key *key,
               struct plan_cost *cost) MUST_CHECK;

/* Engine memory of inputs and outputs, [n,h,w,c]. Inputs stay as written;
 * outputs stand until the next plan_forward. */
struct tensor plan_input(struct plan *p, int i);
struct tensor plan_output(struct plan *p, int i);
/* Where the gradient of output i is to be written between plan_forward and
 * plan_backward; dtype as the output's. An output that nobody asked this of
 * since plan_forward has gradient zero. */
struct tensor plan_output_grad(struct plan *p, int i);
/* The gradient of input i after plan_backward (graph_input with needs_grad). */
struct tensor plan_input_grad(struct plan *p, int i);

/*
 * Input i is a graph_image: how the next plan_forward erases and mixes its
 * pictures; the fields of struct kern_image behind h and w, which are set. The
 * plan keeps them; a zeroed struct switches them off.
 */
void plan_mix(struct plan *p, int i, const struct kern_image *how);

int plan_forward(struct plan *p) MUST_CHECK;
/* Its parts: the work of the engine, and what the host notes of a pass. */
int plan_launch(struct plan *p) MUST_CHECK;
void plan_count(struct plan *p);
/*
 * ready(arg, end): gradients of arena elements [0,end) are final (enqueued);
 * end grows. Called in the same order with the same values on every rank. NULL:
 * nobody listens. A step that returns -1 stops.
 */
int plan_backward(struct plan *p, int (*ready)(void *arg, int64_t end),
                  void *arg) MUST_CHECK;

/* Text for people: nodes with shapes, parameters and bytes; with a plan's key
 * also the steps of the lowering. */
int graph_describe(struct graph *g, struct engine *e,
                   const struct plan_key *key, struct buf *out) MUST_CHECK;

#endif
