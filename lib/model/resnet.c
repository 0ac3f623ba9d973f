/*
 * ResNet v1.5: the stride of a bottleneck is on its 3x3 convolution. Source:
 * pytorch/vision torchvision/models/resnet.py.
 *
 * Nodes are built in the order of torchvision's state_dict, so downsample.*
 * comes behind the block's own layers.
 */
#include "model/model.h"

#include <stdio.h>

struct builder {
    struct graph *g;
    const struct model_config *c;
    bool bottleneck;
};

static const struct {
    int depth;
    bool bottleneck;
    int blocks[4];
} kinds[] = {
    {18, false, {2, 2, 2, 2}},  {34, false, {3, 4, 6, 3}},
    {50, true, {3, 4, 6, 3}},   {101, true, {3, 4, 23, 3}},
    {152, true, {3, 8, 36, 3}},
};

/* Parts of a block have names below the block's. */
static const char *below(char *text, size_t n, const char *block,
                         const char *part)
{
    snprintf(text, n, "%s.%s", block, part);
    return text;
}

static int norm(struct builder *b, int x, const char *name)
{
    return graph_norm(b->g, x, name, b->c->bn_eps, b->c->bn_momentum);
}

/* Convolution k x r x r and norm i of a block. */
static int conv_norm(struct builder *b, int x, const char *block, int i,
                     int64_t k, int r, int stride)
{
    char part[16], name[64];

    snprintf(part, sizeof part, "conv%d", i);
    x = graph_conv(b->g, x, below(name, sizeof name, block, part), k, r, stride,
                   r / 2, false);
    snprintf(part, sizeof part, "bn%d", i);
    return norm(b, x, below(name, sizeof name, block, part));
}

static int block(struct builder *b, int x, const char *name, int64_t width,
                 int stride)
{
    struct graph *g = b->g;
    char text[64];
    int64_t out = b->bottleneck ? 4 * width : width;
    int y, identity = x;

    if (b->bottleneck) {
        y = graph_relu(g, conv_norm(b, x, name, 1, width, 1, 1));
        y = graph_relu(g, conv_norm(b, y, name, 2, width, 3, stride));
        y = conv_norm(b, y, name, 3, out, 1, 1);
    } else {
        y = graph_relu(g, conv_norm(b, x, name, 1, width, 3, stride));
        y = conv_norm(b, y, name, 2, out, 3, 1);
    }
    if (b->c->zero_init)
        g->ps->p[g->node[y].weight].init = INIT_ZERO;
    if (stride != 1 || g->node[x].c != out) {
        identity =
            graph_conv(g, x, below(text, sizeof text, name, "downsample.0"),
                       out, 1, stride, 0, false);
        identity =
            norm(b, identity, below(text, sizeof text, name, "downsample.1"));
    }
    return graph_relu(g, graph_add(g, y, identity));
}

void resnet_build(struct graph *g, const struct model_config *c, int depth)
{
    struct builder b = {.g = g, .c = c};
    float mul[3], add[3];
    int64_t width = c->width > 0 ? c->width : 64;
    char name[32];
    size_t kind;
    int i, l, x;

    for (kind = 0; kind < sizeof kinds / sizeof kinds[0]; kind++)
        if (kinds[kind].depth == depth)
            break;
    if (kind == sizeof kinds / sizeof kinds[0])
        BUG("ResNet of depth %d", depth);
    b.bottleneck = kinds[kind].bottleneck;
    for (i = 0; i < 3; i++) { /* (x/255 - mean) / std */
        mul[i] = 1 / (255 * c->std[i]);
        add[i] = -c->mean[i] / c->std[i];
    }
    x = graph_image(g, 3, mul, add);
    x = graph_conv(g, x, "conv1", width, 7, 2, 3, false);
    x = graph_relu(g, norm(&b, x, "bn1"));
    x = graph_maxpool(g, x, 3, 2, 1);
    for (l = 0; l < 4; l++)
        for (i = 0; i < kinds[kind].blocks[l]; i++) {
            snprintf(name, sizeof name, "layer%d.%d", l + 1, i);
            x = block(&b, x, name, width << l, l > 0 && i == 0 ? 2 : 1);
        }
    x = graph_avgpool(g, x);
    graph_output(g, graph_linear(g, x, "fc", c->classes));
}
