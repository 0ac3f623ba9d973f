/*
 * Nodes to steps, steps to instructions: what all of that needs, and its order.
 * The instructions themselves are in forward.c and backward.c.
 */
#include "nn/lower.h"

#include "nn/precision.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* ---- building blocks */

size_t val_bytes(const struct val *v)
{
    return (size_t)(shape_rows(v->s) * v->pitch) * dtype_size(v->dt);
}

int lower_buf(struct plan *p, size_t bytes)
{
    struct buffer *b;

    p->buf = xreallocarray(p->buf, (size_t)p->n_bufs + 1, sizeof *p->buf);
    b = &p->buf[p->n_bufs];
    memset(b, 0, sizeof *b);
    b->bytes = bytes;
    b->first = INT_MAX;
    b->last = -1;
    return p->n_bufs++;
}

int lower_buf_kept(struct plan *p, size_t bytes)
{
    int b = lower_buf(p, bytes);

    p->buf[b].first = 0;
    p->buf[b].last = INT_MAX;
    return b;
}

static struct ins *new_ins(struct plan *p, enum ins_kind kind)
{
    struct ins *i;

    p->ins = xreallocarray(p->ins, (size_t)p->n_ins + 1, sizeof *p->ins);
    i = &p->ins[p->n_ins++];
    memset(i, 0, sizeof *i);
    i->kind = kind;
    i->conv = i->weight = i->grad[0] = i->grad[1] = -1;
    i->step = p->n_steps; /* set by the caller's loop */
    return i;
}

struct ins *lower_kernel(struct plan *p, enum kernel k)
{
    struct ins *i = new_ins(p, INS_KERNEL);

    i->kernel = k;
    return i;
}

struct ins *lower_again(struct plan *p, const struct ins *like)
{
    struct ins *i = new_ins(p, like->kind);

    *i = *like;
    i->n_refs = 0;
    return i;
}

void lower_ref(struct plan *p, struct ins *i, const void *field, int buf)
{
    struct buffer *b;
    int now = (int)(i - p->ins);

    if (buf == BUF_NONE)
        return;
    if (i->n_refs == INS_REFS)
        BUG("instruction with too many buffers");
    i->ref[i->n_refs].at = (uint16_t)((const char *)field - (const char *)i);
    i->ref[i->n_refs++].buf = buf;
    b = &p->buf[buf];
    if (now < b->first)
        b->first = now;
    if (now > b->last)
        b->last = now;
}

void lower_pool(struct plan *p, struct ins *i, struct kern_pool *pool,
                const struct step *s)
{
    const struct node *nd = s->pool < 0 ? NULL : &p->g->node[s->pool];
    const struct shape *x = &p->val[s->node].s;

    if (!nd)
        return;
    lower_ref(p, i, &pool->index, s->index);
    pool->n = x->n;
    pool->h = x->h;
    pool->w = x->w;
    pool->r = nd->r;
    pool->stride = nd->stride;
    pool->pad = nd->pad;
}

struct ins *lower_conv(struct plan *p, const struct conv_desc *d, int weight)
{
    struct conv_use *u;
    struct ins *i;
    int c;

    for (c = 0; c < p->n_convs; c++)
        if (conv_same(&p->conv[c].desc, d))
            break;
    if (c == p->n_convs) {
        p->conv = xreallocarray(p->conv, (size_t)c + 1, sizeof *p->conv);
        u = &p->conv[c];
        memset(u, 0, sizeof *u);
        u->desc = *d;
        if (engine_conv_plan(p->e, d, &u->plan, &u->needs) < 0)
            return NULL;
        p->n_convs++;
        if (u->needs.scratch_bytes > p->scratch)
            p->scratch = u->needs.scratch_bytes;
    }
    i = new_ins(p, INS_CONV);
    i->conv = c;
    i->weight = weight;
    return i;
}

/* ---- steps */

struct fusion {
    int *uses, *user; /* of each value: number of readers, the last of them */
    bool *taken;      /* node belongs to a step of another node */
    int *step_at;     /* step whose last node this is, or -1 */
};

static void count_uses(const struct graph *g, int *uses, int *user)
{
    int i, j;

    for (i = 0; i < g->n; i++)
        for (j = 0; j < g->node[i].n_in; j++) {
            uses[g->node[i].in[j]]++;
            if (user)
                user[g->node[i].in[j]] = i;
        }
    for (i = 0; i < g->n_outputs; i++)
        uses[g->output[i]]++;
}

/* The node that alone reads value i, if it is that operation; or -1. */
static int sole_user(const struct graph *g, const struct fusion *f, int i,
                     enum op op)
{
    if (f->uses[i] != 1 || f->user[i] < 0 || g->node[f->user[i]].op != op)
        return -1;
    return f->user[i];
}

/* norm [+ add of a value or a second norm] [+ relu], norm + relu + max pool. */
static void fuse_norm(const struct graph *g, struct fusion *f, struct step *s)
{
    int u = sole_user(g, f, s->out, OP_ADD), other;

    if (u >= 0) {
        other = g->node[u].in[g->node[u].in[0] == s->node ? 1 : 0];
        if (g->node[other].op == OP_NORM && !f->taken[other] &&
            sole_user(g, f, other, OP_ADD) == u) {
            s->norm2 = other;
            f->taken[other] = true;
        } else {
            s->residual = other;
        }
        s->add = s->out = u;
        f->taken[u] = true;
    }
    u = sole_user(g, f, s->out, OP_RELU);
    if (u >= 0) {
        s->relu = s->out = u;
        f->taken[u] = true;
    }
    u = sole_user(g, f, s->out, OP_MAXPOOL);
    if (u >= 0 && s->relu >= 0 && s->add < 0) {
        s->pool = s->out = u;
        f->taken[u] = true;
    }
}

static void fuse(struct plan *p)
{
    const struct graph *g = p->g;
    size_t n = (size_t)g->n + 1;
    struct fusion f = {xcalloc(n, sizeof(int)), xcalloc(n, sizeof(int)),
                       xcalloc(n, sizeof(bool)), xcalloc(n, sizeof(int))};
    struct step *found = xcalloc(n, sizeof *found);
    int i, n_found = 0;

    for (i = 0; i < g->n; i++)
        f.user[i] = f.step_at[i] = -1;
    count_uses(g, f.uses, f.user);
    for (i = 0; i < g->n; i++) {
        struct step *s = &found[n_found];

        if (f.taken[i])
            continue;
        memset(s, 0, sizeof *s);
        s->node = s->out = i;
        s->add = s->relu = s->pool = s->norm2 = s->residual = -1;
        s->index = BUF_NONE;
        s->pro = s->stats_of[0] = s->stats_of[1] = -1;
        if (g->node[i].op == OP_NORM && !g->unfused)
            fuse_norm(g, &f, s);
        f.step_at[s->out] = n_found++;
    }
    /* a step runs where its last node stands: all it reads is there then */
    p->step = xcalloc((size_t)n_found + 1, sizeof *p->step);
    for (i = 0; i < g->n; i++)
        if (f.step_at[i] >= 0)
            p->step[p->n_steps++] = found[f.step_at[i]];
    free(f.uses);
    free(f.user);
    free(f.taken);
    free(f.step_at);
    free(found);
}

/* ---- values */

static int shapes(struct plan *p)
{
    const struct graph *g = p->g;
    struct shape in[2] = {{0, 0, 0, 0}, {0, 0, 0, 0}};
    int i, j;

    p->val = xcalloc((size_t)g->n + 1, sizeof *p->val);
    for (i = 0; i < g->n; i++) {
        struct val *v = &p->val[i];

        for (j = 0; j < g->node[i].n_in; j++)
            in[j] = p->val[g->node[i].in[j]].s;
        if (op_shape(g, i, &p->key, in, &v->s) < 0)
            return -1;
        v->dt = precision_of(g->node[i].op, p->key.compute, p->pt);
        v->pitch = v->s.c;
        v->buf = v->grad[0] = v->grad[1] = BUF_NONE;
    }
    return 0;
}

static void count_readers(struct plan *p)
{
    const struct graph *g = p->g;
    int i, j;

    for (i = 0; i < p->n_steps; i++) {
        const struct step *s = &p->step[i];

        for (j = 0; j < g->node[s->node].n_in; j++)
            p->val[g->node[s->node].in[j]].readers++;
        if (s->norm2 >= 0)
            p->val[g->node[s->norm2].in[0]].readers++;
        if (s->residual >= 0)
            p->val[s->residual].readers++;
    }
    for (i = 0; i < g->n_outputs; i++)
        p->val[g->output[i]].readers++;
    for (i = 0; i < g->n; i++)
        p->val[i].left = p->val[i].readers;
}

/* Can all that is to be computed from pictures v be so, if a pixel has that many
 * elements, of which those behind the channels are zero? */
static bool pitch_serves(struct plan *p, int v, int64_t pitch)
{
    const struct graph *g = p->g;
    struct conv_desc d;
    int i, readers = 0;

    p->val[v].pitch = pitch;
    for (i = 0; i < p->n_steps; i++) {
        const struct step *s = &p->step[i];
        const struct node *nd = &g->node[s->node];

        if (nd->op != OP_CONV || nd->in[0] != v)
            continue;
        readers++;
        d = fused_desc(p, s, CONV_FORWARD);
        if (!engine_conv_available(p->e, &d))
            return false;
        d = fused_desc(p, s, CONV_WGRAD);
        if (p->key.train && !engine_conv_available(p->e, &d))
            return false;
    }
    return readers > 0 && readers == p->val[v].readers;
}

/* Three channels are no number for matrix units: gpu-engine 2.4, rule 6. */
static void choose_pitch(struct plan *p)
{
    int i;

    for (i = 0; i < p->g->n && !p->g->unfused; i++) {
        int64_t c = p->val[i].s.c, pitch = 4;

        if (p->g->node[i].op != OP_IMAGE || c >= 4)
            continue;
        while (pitch <= 8 && !pitch_serves(p, i, pitch))
            pitch *= 2;
        p->val[i].pitch = pitch <= 8 ? pitch : c;
    }
}

struct step *lower_maker(const struct plan *p, int v)
{
    int i;

    for (i = 0; i < p->n_steps; i++)
        if (p->step[i].out == v)
            return &p->step[i];
    return NULL;
}

/* The vectors of a step's norms, which live as long as the plan. */
static void norm_vectors(struct plan *p, struct step *s)
{
    bool train = p->key.train;
    int which, k, node;

    for (which = 0; which < 2; which++) {
        node = which ? s->norm2 : s->node;
        for (k = 0; k < NV_N && node >= 0; k++)
            s->vec[which][k] =
                train || k == NV_SCALE || k == NV_BIAS
                    ? lower_buf_kept(
                          p, (size_t)p->g->node[node].c *
                                 dtype_size(kern_vector(p->pt, p->wide)))
                    : BUF_NONE;
    }
}

int plan_lower(struct plan *p)
{
    const struct graph *g = p->g;
    int i, k, b;

    if (!g->sealed)
        BUG("a plan of an unsealed graph");
    p->ones = BUF_NONE;
    if (shapes(p) < 0)
        return -1;
    fuse(p);
    count_readers(p);
    for (i = 0; i < p->n_steps; i++)
        if (g->node[p->step[i].node].op == OP_NORM)
            norm_vectors(p, &p->step[i]);
    fused_choose(p);
    choose_pitch(p);
    recompute_choose(p);
    if (lower_forward(p) < 0)
        return -1;
    for (k = 0; k < g->n_outputs; k++) {
        b = p->val[g->output[k]].buf;
        p->buf[b].last = INT_MAX; /* the caller reads it when it likes */
    }
    if (p->key.train && lower_backward(p) < 0)
        return -1;
    fused_tell(p);
    return 0;
}
