/*
 * Values that are computed again. A SEGMENT ends at a step whose value alone of
 * all before it is read behind it: in a residual network the value of a block, of
 * the pool after the stem. Where a graph is to save memory, the values inside of a
 * segment end with its forward pass; before its backward pass the same
 * instructions make them once more, in other buffers. Statistics of norms are kept
 * (they are small) and not taken again, so running statistics move once and all
 * bits are those without it.
 */
#include "nn/lower.h"

#include <stdlib.h>
#include <string.h>

/* The values that a step reads: their number, at most 4. */
static int read_by(const struct plan *p, const struct step *s, int v[4])
{
    const struct node *nd = &p->g->node[s->node];
    int n = 0, j;

    for (j = 0; j < nd->n_in; j++)
        v[n++] = nd->in[j];
    if (s->norm2 >= 0)
        v[n++] = p->g->node[s->norm2].in[0];
    if (s->residual >= 0)
        v[n++] = s->residual;
    return n;
}

/* The last step that reads each value. */
static int *last_reads(const struct plan *p)
{
    int *last = xcalloc((size_t)p->g->n + 1, sizeof *last), v[4], i, j, n;

    for (i = 0; i < p->n_steps; i++) {
        n = read_by(p, &p->step[i], v);
        for (j = 0; j < n; j++)
            last[v[j]] = i;
    }
    for (i = 0; i < p->g->n_outputs; i++)
        last[p->g->output[i]] = p->n_steps;
    return last;
}

/* Is it worth to keep the value of this step, if it may end a segment? */
static bool is_end(const struct plan *p, const struct step *s)
{
    enum op op = p->g->node[s->node].op;

    return s->add >= 0 || s->pool >= 0 || op == OP_ADD || op == OP_MAXPOOL ||
           op == OP_INPUT || op == OP_IMAGE;
}

void recompute_choose(struct plan *p)
{
    int i, first = 0, alive = -1, before = -1, *last;

    for (i = 0; i < p->n_steps; i++)
        p->step[i].again = -1;
    if (!p->g->recompute || !p->key.train)
        return;
    last = last_reads(p);
    for (i = 0; i < p->n_steps; i++) {
        /* alive: the last reading of all values made before */
        if (is_end(p, &p->step[i]) && alive <= i) {
            if (i > first)
                before = p->step[i].again = first;
            first = i + 1;
        }
        if (last[p->step[i].out] > alive)
            alive = last[p->step[i].out];
    }
    /* the last one is still there when backward begins */
    for (i = p->n_steps - 1; i >= 0 && before >= 0; i--)
        if (p->step[i].again == before) {
            p->step[i].again = -1;
            break;
        }
    free(last);
}

/* The instruction at `from` once more, with other buffers for some. */
static void repeat(struct plan *p, int from, const int *other)
{
    struct ins was = p->ins[from], *i = lower_again(p, &was);
    int r;

    for (r = 0; r < was.n_refs; r++)
        lower_ref(p, i, (const char *)i + was.ref[r].at,
                  other[was.ref[r].buf] >= 0 ? other[was.ref[r].buf]
                                             : was.ref[r].buf);
}

static bool is_statistic(const struct ins *i)
{
    return i->kind == INS_KERNEL &&
           (i->kernel == KERN_NORM_STATS || i->kernel == KERN_NORM_FINAL);
}

/* The sums that a convolution leaves are not wanted again, nor may they go where by
 * now others are waited for. */
static void leave_elsewhere(struct plan *p, const struct step *s, int *other)
{
    const int *vec;
    int i;

    if (s->stats_of[0] < 0)
        return;
    vec = p->step[s->stats_of[0]].vec[s->stats_of[1]];
    for (i = NV_S1; i <= NV_S2; i++)
        other[vec[i]] = lower_buf(p, p->buf[vec[i]].bytes);
}

void recompute_emit(struct plan *p, int end)
{
    int first = p->step[end].again, n = p->n_bufs, i, *other;

    if (first < 0)
        return;
    other = xmalloc((size_t)n * sizeof *other);
    for (i = 0; i < n; i++)
        other[i] = BUF_NONE;
    for (i = first; i < end; i++) {
        struct val *v = &p->val[p->step[i].out];

        leave_elsewhere(p, &p->step[i], other);
        if (v->buf == BUF_NONE)
            continue;
        other[v->buf] = lower_buf(p, val_bytes(v));
        v->buf = other[v->buf];
    }
    for (i = 0; i < p->n_forward; i++)
        if (p->ins[i].step >= first && p->ins[i].step < end &&
            !is_statistic(&p->ins[i])) {
            repeat(p, i, other);
            p->ins[p->n_ins - 1].step = p->ins[i].step;
        }
    free(other);
}
