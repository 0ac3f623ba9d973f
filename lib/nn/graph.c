#include "nn/graph.h"

#include "nn/cache.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void graph_init(struct graph *g, struct params *ps)
{
    memset(g, 0, sizeof *g);
    g->ps = ps;
}

void graph_release(struct graph *g)
{
    int i;

    cache_free(g->cache);
    for (i = 0; i < g->n; i++)
        free(g->node[i].name);
    free(g->node);
    memset(g, 0, sizeof *g);
}

/* ---- building */

static struct node *add_node(struct graph *g, enum op op, const char *name)
{
    struct node *nd;

    if (g->sealed)
        BUG("building on a sealed graph");
    g->node = xreallocarray(g->node, (size_t)g->n + 1, sizeof *g->node);
    nd = &g->node[g->n++];
    memset(nd, 0, sizeof *nd);
    nd->op = op;
    nd->in[0] = nd->in[1] = -1;
    nd->weight = nd->bias = nd->mean = nd->var = nd->counter = -1;
    nd->r = nd->stride = 1;
    nd->name = name ? xstrdup(name) : NULL;
    return nd;
}

static void take_input(struct graph *g, struct node *nd, int x)
{
    if (x < 0 || x >= g->n - 1)
        BUG("%s: value %d is not there", nd->name ? nd->name : "node", x);
    nd->in[nd->n_in++] = x;
    nd->c = g->node[x].c;
}

static int source(struct graph *g)
{
    if (g->n_inputs == (int)(sizeof g->input / sizeof g->input[0]))
        BUG("too many inputs");
    g->input[g->n_inputs++] = g->n - 1;
    return g->n - 1;
}

int graph_input(struct graph *g, int64_t c, bool needs_grad)
{
    struct node *nd = add_node(g, OP_INPUT, NULL);

    nd->c = c;
    nd->needs_grad = needs_grad;
    return source(g);
}

int graph_image(struct graph *g, int64_t c, const float *mul, const float *add)
{
    struct node *nd = add_node(g, OP_IMAGE, NULL);
    int64_t i;

    if (c < 1 || c > 4)
        BUG("image of %lld channels", (long long)c);
    nd->c = c;
    for (i = 0; i < c; i++) {
        nd->mul[i] = mul[i];
        nd->add[i] = add[i];
    }
    return source(g);
}

/* Parameter NAME.what. */
static int add_param(struct graph *g, const char *name, const char *what,
                     const struct param *p)
{
    char *full = xstrfmt("%s.%s", name, what);
    int i = params_add(g->ps, full, p->kind, p->rank, p->disk, p->init, p->arg);

    free(full);
    return i;
}

int graph_conv(struct graph *g, int x, const char *name, int64_t k, int r,
               int stride, int pad, bool bias)
{
    struct node *nd = add_node(g, OP_CONV, name);
    struct param p = {.kind = PARAM_CONV, .init = INIT_NORMAL, .rank = 4};

    take_input(g, nd, x);
    if (r < 1 || stride < 1 || pad < 0 || pad >= r + stride)
        BUG("%s: window %d, stride %d, padding %d", name, r, stride, pad);
    p.disk[0] = k;
    p.disk[1] = nd->c;
    p.disk[2] = p.disk[3] = r;
    p.arg = sqrt(2.0 / (double)(k * r * r));
    nd->c = k;
    nd->r = r;
    nd->stride = stride;
    nd->pad = pad;
    nd->weight = add_param(g, name, "weight", &p);
    if (bias) {
        struct param b = {.kind = PARAM_BIAS, .init = INIT_ZERO, .rank = 1};

        b.disk[0] = k;
        nd->bias = add_param(g, name, "bias", &b);
    }
    return g->n - 1;
}

int graph_linear(struct graph *g, int x, const char *name, int64_t k)
{
    struct node *nd = add_node(g, OP_LINEAR, name);
    struct param p = {.kind = PARAM_LINEAR, .init = INIT_UNIFORM, .rank = 2};

    take_input(g, nd, x);
    p.arg = 1 / sqrt((double)nd->c);
    p.disk[0] = k;
    p.disk[1] = nd->c;
    nd->c = k;
    nd->weight = add_param(g, name, "weight", &p);
    p.kind = PARAM_BIAS;
    p.rank = 1;
    nd->bias = add_param(g, name, "bias", &p);
    return g->n - 1;
}

int graph_norm(struct graph *g, int x, const char *name, double eps,
               double momentum)
{
    struct node *nd = add_node(g, OP_NORM, name);
    struct param p = {.kind = PARAM_GAMMA, .init = INIT_ONE, .rank = 1};
    char *full;

    take_input(g, nd, x);
    nd->eps = eps;
    nd->momentum = momentum;
    p.disk[0] = nd->c;
    nd->weight = add_param(g, name, "weight", &p);
    p.kind = PARAM_BETA;
    p.init = INIT_ZERO;
    nd->bias = add_param(g, name, "bias", &p);
    full = xstrfmt("%s.running_mean", name);
    nd->mean = params_add_buffer(g->ps, full, nd->c, 0);
    free(full);
    full = xstrfmt("%s.running_var", name);
    nd->var = params_add_buffer(g->ps, full, nd->c, 1);
    free(full);
    full = xstrfmt("%s.num_batches_tracked", name);
    nd->counter = params_add_counter(g->ps, full);
    free(full);
    return g->n - 1;
}

int graph_relu(struct graph *g, int x)
{
    take_input(g, add_node(g, OP_RELU, NULL), x);
    return g->n - 1;
}

int graph_add(struct graph *g, int a, int b)
{
    struct node *nd = add_node(g, OP_ADD, NULL);

    take_input(g, nd, a);
    take_input(g, nd, b);
    if (g->node[a].c != g->node[b].c)
        BUG("sum of %lld and %lld channels", (long long)g->node[a].c,
            (long long)g->node[b].c);
    return g->n - 1;
}

int graph_maxpool(struct graph *g, int x, int r, int stride, int pad)
{
    struct node *nd = add_node(g, OP_MAXPOOL, NULL);

    take_input(g, nd, x);
    if (r < 1 || r > 15 || stride < 1 || pad < 0 || 2 * pad > r)
        BUG("maxpool: window %d, stride %d, padding %d", r, stride, pad);
    nd->r = r;
    nd->stride = stride;
    nd->pad = pad;
    return g->n - 1;
}

int graph_avgpool(struct graph *g, int x)
{
    take_input(g, add_node(g, OP_AVGPOOL, NULL), x);
    return g->n - 1;
}

void graph_output(struct graph *g, int x)
{
    if (g->sealed || x < 0 || x >= g->n)
        BUG("output %d", x);
    if (g->n_outputs == (int)(sizeof g->output / sizeof g->output[0]))
        BUG("too many outputs");
    g->output[g->n_outputs++] = x;
}

static bool learns(const struct graph *g, int param)
{
    return param >= 0 && !g->ps->p[param].frozen;
}

void graph_seal(struct graph *g)
{
    int i, j;

    for (i = 0; i < g->n; i++) {
        struct node *nd = &g->node[i];

        if (learns(g, nd->weight) || learns(g, nd->bias))
            nd->needs_grad = true;
        for (j = 0; j < nd->n_in; j++)
            if (g->node[nd->in[j]].needs_grad)
                nd->needs_grad = true;
    }
    params_place(g->ps);
    g->sealed = true;
}
