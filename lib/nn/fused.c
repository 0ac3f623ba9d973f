/*
 * Level C of gpu-engine 2.5: which convolutions take a batch norm in.
 *
 *   statistics  a convolution in front of a norm leaves the sums of its results
 *   prologue    a norm + relu that one convolution alone reads is not stored:
 *               forward and wgrad compute it from the norm's input, and dgrad
 *               gives the gradient in front of the relu, and its sums
 *   sums        the dgrad that gives the last part of the gradient of a
 *               norm [+ add] + relu does the same for that
 *
 * A form is used where the engine has it; the others of the same chain run at
 * level B. A norm inside a prologue needs its three forms together, since nobody
 * could do without the stored value. At level S there are statistics alone.
 */
#include "nn/lower.h"

#include <string.h>

static bool is_op(const struct plan *p, const struct step *s, enum op op)
{
    return s && p->g->node[s->node].op == op;
}

static bool learns(const struct plan *p, int param)
{
    return param >= 0 && !p->g->ps->p[param].frozen;
}

static bool offered(const struct plan *p, const struct conv_desc *d)
{
    return engine_conv_available(p->e, d) != 0;
}

static void count(struct plan *p, const struct step *s, bool yes)
{
    if (!p->fused)
        return;
    if (yes)
        p->forms++;
    else if (p->missing++ == 0)
        p->first = &p->g->node[s->node];
}

/* ---- what the others ask */

const struct step *fused_pro(const struct plan *p, const struct step *s)
{
    return s->pro < 0 ? NULL : &p->step[s->pro];
}

const struct val *fused_input(const struct plan *p, const struct step *s)
{
    const struct step *pro = fused_pro(p, s);

    return &p->val[p->g->node[pro ? pro->node : s->node].in[0]];
}

struct conv_desc fused_desc(const struct plan *p, const struct step *s,
                            enum conv_kind kind)
{
    const struct node *nd = &p->g->node[s->node];
    const struct val *x = &p->val[nd->in[0]];
    struct conv_desc d = op_conv(nd, &x->s, kind, x->dt, p->pt);

    if (s->pro >= 0 && kind != CONV_DGRAD)
        d.pro = PRO_SBR;
    if (s->stats_of[0] >= 0 && kind == CONV_FORWARD)
        d.epi = EPI_STATS;
    if (x->pitch != x->s.c && kind != CONV_DGRAD)
        d.pitch = x->pitch;
    return d;
}

void fused_prologue(struct plan *p, struct ins *i, const struct step *s)
{
    const struct step *pro = fused_pro(p, s);

    if (!pro)
        return;
    lower_ref(p, i, &i->u.conv.pro_scale, pro->vec[0][NV_SCALE]);
    lower_ref(p, i, &i->u.conv.pro_bias, pro->vec[0][NV_BIAS]);
}

/* dgrad of s through the norm that made its input; add: to other parts. */
static struct conv_desc through(const struct plan *p, const struct step *s,
                                const struct step *norm, bool add)
{
    struct conv_desc d = fused_desc(p, s, CONV_DGRAD);

    d.epi = norm->norm2 >= 0 ? EPI_BNSUMS2 : EPI_BNSUMS1;
    d.residual = norm->residual >= 0;
    d.add = add;
    return d;
}

struct step *fused_dgrad(struct plan *p, const struct step *s,
                         struct conv_desc *d)
{
    int v = p->g->node[s->node].in[0];
    struct step *norm = lower_maker(p, v);
    struct conv_desc rich;

    *d = fused_desc(p, s, CONV_DGRAD);
    if (!p->fused || !is_op(p, s, OP_CONV) || !is_op(p, norm, OP_NORM) ||
        norm->relu < 0 || norm->pool >= 0 ||
        !p->g->node[norm->node].needs_grad || p->val[v].owed != 1)
        return NULL;
    rich = through(p, s, norm, p->val[v].n_grad > 0);
    if (offered(p, &rich)) {
        count(p, s, true);
        *d = rich;
        return norm;
    }
    if (norm->inside)
        BUG("%s: a form that was there is gone",
            node_name(&p->g->node[s->node]));
    count(p, s, false);
    return NULL;
}

/* ---- choosing */

/* The convolution that alone reads the value of a norm + relu; or NULL. */
static struct step *sole_conv(const struct plan *p, const struct step *norm)
{
    struct step *s;
    int i;

    if (norm->relu < 0 || norm->add >= 0 || norm->pool >= 0 ||
        p->val[norm->out].readers != 1)
        return NULL;
    for (i = 0; i < p->n_steps; i++) {
        s = &p->step[i];
        if (is_op(p, s, OP_CONV) && p->g->node[s->node].in[0] == norm->out)
            return s;
    }
    return NULL;
}

/* Let the one reader of a norm + relu compute it, if all its forms are there. */
static void choose_prologue(struct plan *p, int at)
{
    struct step *norm = &p->step[at], *s = sole_conv(p, norm);
    const struct node *nd;
    struct conv_desc fwd, back, w;

    if (!s)
        return;
    nd = &p->g->node[s->node];
    if (nd->bias >= 0 || !p->g->node[norm->node].needs_grad ||
        !p->g->node[s->out].needs_grad)
        return;
    s->pro = at;
    fwd = fused_desc(p, s, CONV_FORWARD);
    w = fused_desc(p, s, CONV_WGRAD);
    back = through(p, s, norm, false);
    norm->inside = offered(p, &fwd) && offered(p, &back) &&
                   (!learns(p, nd->weight) || offered(p, &w));
    if (!norm->inside)
        s->pro = -1;
    count(p, s, norm->inside);
}

/* Let the convolution in front of a norm leave the sums; not one of a few input
 * channels, which no library does well (gpu-engine 2.4, rule 6). */
static void choose_stats(struct plan *p, int at, int which)
{
    struct step *norm = &p->step[at], *s;
    int node = which ? norm->norm2 : norm->node;
    const struct node *from;
    struct conv_desc d;

    s = lower_maker(p, p->g->node[node].in[0]);
    if (!is_op(p, s, OP_CONV) || p->g->node[s->node].bias >= 0 ||
        s->stats_of[0] >= 0)
        return;
    from = &p->g->node[p->g->node[s->node].in[0]];
    if (from->op == OP_IMAGE || from->op == OP_INPUT)
        return;
    s->stats_of[0] = at;
    s->stats_of[1] = which;
    d = fused_desc(p, s, CONV_FORWARD);
    norm->from_sums[which] = offered(p, &d);
    if (!norm->from_sums[which])
        s->stats_of[0] = s->stats_of[1] = -1;
    count(p, s, norm->from_sums[which]);
}

/* Once for all plans of a graph: what was wanted and is not there. */
void fused_tell(struct plan *p)
{
    bool surprise = p->forms > 0 || p->key.compute == DT_F16;

    if (p->missing == 0 || p->g->told_level)
        return;
    p->g->told_level = true;
    (surprise ? warn : note)(
        "engine %s: level C in %s: %d of %d forms are not there (the first for "
        "%s): level B is taken for these",
        engine_name(p->e), dtype_name(p->key.compute), p->missing,
        p->forms + p->missing, node_name(p->first));
}

void fused_choose(struct plan *p)
{
    char level = engine_level(p->e);
    int i;

    /* a prologue has nothing stored that could be computed again */
    if (!p->key.train || p->g->unfused || (p->g->recompute && level == 'C'))
        return;
    p->fused = level == 'C';
    /* Sums first: a prologue is asked for with those behind it. Without them cuDNN
     * has none for Hopper but what it compiles, a second each (gpu-engine 2.3). */
    for (i = 0; level != 'B' && i < p->n_steps; i++) {
        if (!is_op(p, &p->step[i], OP_NORM))
            continue;
        choose_stats(p, i, 0);
        if (p->step[i].norm2 >= 0)
            choose_stats(p, i, 1);
    }
    for (i = 0; p->fused && i < p->n_steps; i++)
        if (is_op(p, &p->step[i], OP_NORM))
            choose_prologue(p, i);
}
