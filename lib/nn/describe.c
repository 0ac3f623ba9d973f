/* The graph and its lowering as text for people. */
#include "nn/lower.h"

#include <inttypes.h>
#include <stdio.h>

static int64_t param_count(const struct graph *g, const struct node *nd)
{
    int64_t n = 0;

    if (nd->weight >= 0)
        n += g->ps->p[nd->weight].count;
    if (nd->bias >= 0)
        n += g->ps->p[nd->bias].count;
    return n;
}

static void add_window(struct buf *out, const struct node *nd)
{
    if (nd->op == OP_CONV || nd->op == OP_MAXPOOL)
        buf_addf(out, " %dx%d/%d", nd->r, nd->r, nd->stride);
}

static void add_shape(struct buf *out, struct shape s)
{
    char text[96];

    snprintf(text, sizeof text, "%" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64,
             s.n, s.h, s.w, s.c);
    buf_addf(out, " %-20s", text);
}

static void add_node(struct buf *out, const struct graph *g,
                     const struct plan *p, int i)
{
    const struct node *nd = &g->node[i];
    struct buf what = BUF_INIT, from = BUF_INIT;
    int64_t n = param_count(g, nd);
    int k;

    buf_addstr(&what, op_name(nd->op));
    add_window(&what, nd);
    for (k = 0; k < nd->n_in; k++)
        buf_addf(&from, "%s%d", k ? "," : "", nd->in[k]);
    buf_addf(out, "%4d %-14s %-26s %-9s", i, what.data,
             nd->name ? nd->name : "-", from.data ? from.data : "-");
    if (p)
        add_shape(out, p->val[i].s);
    else
        buf_addf(out, " %6" PRId64 " channels", nd->c);
    if (n)
        buf_addf(out, " %10" PRId64 " parameters", n);
    if (p)
        buf_addf(out, " %12zu bytes", val_bytes(&p->val[i]));
    buf_addstr(out, nd->needs_grad ? "\n" : " no gradient\n");
    buf_release(&what);
    buf_release(&from);
}

static void add_step(struct buf *out, const struct plan *p, int i)
{
    const struct graph *g = p->g;
    const struct step *s = &p->step[i];
    int forward = 0, backward = 0, k;

    for (k = 0; k < p->n_ins; k++)
        if (p->ins[k].step == i)
            *(k < p->n_forward ? &forward : &backward) += 1;
    buf_addf(out, "step %3d %s %s", i, op_name(g->node[s->node].op),
             node_name(&g->node[s->node]));
    if (s->add >= 0)
        buf_addstr(out, " + add");
    if (s->norm2 >= 0)
        buf_addf(out, " of norm %s", node_name(&g->node[s->norm2]));
    if (s->residual >= 0)
        buf_addf(out, " of value %d", s->residual);
    if (s->relu >= 0)
        buf_addstr(out, " + relu");
    if (s->pool >= 0)
        buf_addstr(out, " + maxpool");
    buf_addf(out, ": %d calls forward, %d backward\n", forward, backward);
}

int graph_describe(struct graph *g, struct engine *e,
                   const struct plan_key *key, struct buf *out)
{
    struct plan *p = NULL;
    struct plan_cost c;
    int64_t n = 0;
    int i;

    if (key) {
        p = plan_new(g, e, key);
        if (!p)
            return -1;
    }
    for (i = 0; i < g->n; i++)
        add_node(out, g, p, i);
    for (i = 0; i < g->ps->n; i++)
        n += g->ps->p[i].count;
    buf_addf(out,
             "%d parameter tensors, %" PRId64 " parameters, %d state "
             "entries\n",
             g->ps->n, n, g->ps->n_state);
    if (!p)
        return 0;
    for (i = 0; i < p->n_steps; i++)
        add_step(out, p, i);
    plan_cost(p, &c);
    buf_addf(out, "activations %zu bytes, scratch %zu, packed weights %zu\n",
             c.activations, c.scratch, c.packed);
    buf_addf(out, "multiply-adds: %.0f forward, %.0f backward\n",
             c.forward_macs, c.backward_macs);
    plan_free(p);
    return 0;
}
