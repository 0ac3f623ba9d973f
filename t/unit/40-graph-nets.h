/* Networks of 40-graph.c, and what to count in their plans. */

/* A stem, a block with projection and stride, a block without, a head. */
static void build_residual(struct graph *g)
{
    int x = graph_input(g, 3, true), y, z;

    x = graph_conv(g, x, "conv1", 8, 3, 1, 1, true);
    x = graph_relu(g, graph_norm(g, x, "bn1", EPS, 0.1));
    x = graph_maxpool(g, x, 3, 2, 1);
    y = graph_conv(g, x, "a.conv1", 4, 1, 1, 0, false);
    y = graph_relu(g, graph_norm(g, y, "a.bn1", EPS, 0.1));
    y = graph_conv(g, y, "a.conv2", 8, 3, 2, 1, false);
    y = graph_norm(g, y, "a.bn2", EPS, 0.1);
    z = graph_conv(g, x, "a.down.0", 8, 1, 2, 0, false);
    z = graph_norm(g, z, "a.down.1", EPS, 0.1);
    x = graph_relu(g, graph_add(g, y, z));
    y = graph_conv(g, x, "b.conv1", 8, 3, 1, 1, false);
    y = graph_norm(g, y, "b.bn1", EPS, 0.1);
    x = graph_relu(g, graph_add(g, y, x));
    x = graph_avgpool(g, x);
    graph_output(g, graph_linear(g, x, "fc", 5));
}

/* Values with many readers, two outputs, sums that are not fused. */
static void build_branches(struct graph *g)
{
    int x = graph_input(g, 4, true), a, b, c, d;

    a = graph_conv(g, x, "a", 4, 3, 1, 1, true);
    b = graph_conv(g, a, "b", 4, 1, 1, 0, true);
    c = graph_relu(g, a);
    d = graph_norm(g, a, "n", EPS, 0.1); /* read twice: stays plain */
    c = graph_add(g, graph_add(g, b, c), d);
    c = graph_add(g, c, graph_add(g, a, a)); /* six readers of a */
    d = graph_relu(g, graph_add(g, d, x));
    graph_output(g, c);
    a = graph_add(g, graph_norm(g, d, "m", EPS, 0.1), c); /* no relu */
    b = graph_add(g, x, graph_norm(g, a, "k", EPS, 0.1));
    graph_output(g,
                 graph_linear(g, graph_avgpool(g, graph_relu(g, b)), "fc", 3));
}

/* Norms only, on inputs that make all their numbers whole. */
static void build_whole(struct graph *g)
{
    int x = graph_input(g, 4, true), y = graph_input(g, 4, true);
    int a = graph_norm(g, x, "a", 3, 0.5), b = graph_norm(g, y, "b", 3, 0.5);
    int c = graph_relu(g, graph_add(g, a, b));

    graph_output(g, c);
    a = graph_add(g, graph_norm(g, x, "c", 3, 0.5), y);
    graph_output(g, graph_relu(g, a));
    graph_output(g, graph_relu(g, graph_norm(g, y, "d", 3, 0.5)));
}

/* The bottlenecks of ResNet-50, narrow: with projection and stride, without, a
 * basic block, and one whose tail is read by more than the next block. */
static int bottleneck(struct graph *g, int x, const char *name, int stride,
                      bool project)
{
    static char text[8][20]; /* names are kept by the parameters */
    int y, z = x, i;

    for (i = 0; i < 8; i++)
        snprintf(text[i], sizeof text[i], "%s.%c%d", name, i < 4 ? 'c' : 'n',
                 i % 4);
    y = graph_conv(g, x, text[0], 8, 1, 1, 0, false);
    y = graph_relu(g, graph_norm(g, y, text[4], EPS, 0.1));
    y = graph_conv(g, y, text[1], 8, 3, stride, 1, false);
    y = graph_relu(g, graph_norm(g, y, text[5], EPS, 0.1));
    y = graph_conv(g, y, text[2], 16, 1, 1, 0, false);
    y = graph_norm(g, y, text[6], EPS, 0.1);
    if (project) {
        z = graph_conv(g, x, text[3], 16, 1, stride, 0, false);
        z = graph_norm(g, z, text[7], EPS, 0.1);
    }
    return graph_relu(g, graph_add(g, y, z));
}

static void build_bottlenecks(struct graph *g)
{
    int x = graph_input(g, 3, true), y;

    x = graph_conv(g, x, "conv1", 16, 3, 1, 1, false);
    x = graph_relu(g, graph_norm(g, x, "bn1", EPS, 0.1));
    x = graph_maxpool(g, x, 3, 2, 1);
    x = bottleneck(g, x, "a", 2, true);
    x = bottleneck(g, x, "b", 1, false);
    x = bottleneck(g, x, "c", 2, true);
    y = graph_conv(g, x, "d.c0", 16, 3, 1, 1, false);
    y = graph_relu(g, graph_norm(g, y, "d.n0", EPS, 0.1));
    y = graph_conv(g, y, "d.c1", 16, 3, 1, 1, false);
    y = graph_norm(g, y, "d.n1", EPS, 0.1);
    x = graph_relu(g, graph_add(g, y, x));
    y = graph_conv(g, x, "e.c0", 16, 1, 1, 0, false);
    y = graph_relu(g, graph_norm(g, y, "e.n0", EPS, 0.1));
    graph_output(g, y);
    y = graph_conv(g, y, "e.c1", 16, 1, 1, 0, false);
    x = graph_add(g, y, x);
    graph_output(g, graph_linear(g, graph_avgpool(g, x), "fc", 5));
}

/* Forms of convolutions in a plan with this prologue and epilogue. */
static int count_forms(const struct plan *p, enum conv_pro pro,
                       enum conv_epi epi)
{
    int i, n = 0;

    for (i = 0; i < p->n_ins; i++)
        n += p->ins[i].kind == INS_CONV &&
             p->conv[p->ins[i].conv].desc.pro == pro &&
             p->conv[p->ins[i].conv].desc.epi == epi;
    return n;
}
