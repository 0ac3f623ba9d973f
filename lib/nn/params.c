#include "nn/params.h"

#include <stdlib.h>
#include <string.h>

/* Elements between the beginnings of tensors in an arena. */
#define PARAM_ALIGN 16

/* A copy of a weight in an engine's layout. */
struct packed_weight {
    int param;
    uint64_t layout;
    uint64_t version; /* of the weights it was made from */
    size_t bytes;
    void *data;
};

void params_init(struct params *ps)
{
    memset(ps, 0, sizeof *ps);
    ps->pt = DT_F32;
    ps->version = 1;
}

void params_release(struct params *ps)
{
    int i;

    for (i = 0; i < ps->n_packed; i++)
        engine_free(ps->e, ps->packed[i].data);
    if (ps->e) {
        engine_free(ps->e, ps->w);
        if (!ps->lent)
            engine_free(ps->e, ps->g);
        engine_free(ps->e, ps->buffers);
    }
    for (i = 0; i < ps->n; i++)
        free(ps->p[i].name);
    for (i = 0; i < ps->n_buffers; i++)
        free(ps->buffer[i].name);
    for (i = 0; i < ps->n_counters; i++)
        free(ps->counter[i].name);
    free(ps->packed);
    free(ps->p);
    free(ps->buffer);
    free(ps->counter);
    free(ps->state);
    map_release(&ps->by_name);
    memset(ps, 0, sizeof *ps);
}

/* ---- adding */

/* One more item of an array of n. */
#define GROW(a, n) ((a) = xreallocarray(a, (size_t)(n) + 1, sizeof *(a)))

static void add_state(struct params *ps, const char *name, enum state_what what,
                      int index, struct tensor disk)
{
    struct state_entry *s;

    if (!map_add(&ps->by_name, name, ps->n_state))
        BUG("parameter %s is there twice", name);
    GROW(ps->state, ps->n_state);
    s = &ps->state[ps->n_state++];
    s->name = name;
    s->what = what;
    s->index = index;
    s->disk = disk;
}

int params_add(struct params *ps, const char *name, enum param_kind kind,
               int rank, const int64_t *disk, enum param_init init, double arg)
{
    struct param *p;
    int i;

    if (rank < 1 || rank > 4 || (kind == PARAM_CONV && rank != 4))
        BUG("%s: a parameter of rank %d", name, rank);
    GROW(ps->p, ps->n);
    p = &ps->p[ps->n];
    memset(p, 0, sizeof *p);
    p->name = xstrdup(name);
    p->kind = kind;
    p->init = init;
    p->arg = arg;
    p->rank = rank;
    p->count = 1;
    for (i = 0; i < rank; i++) {
        p->disk[i] = disk[i];
        if (disk[i] <= 0 || !mul_ok(p->count, disk[i], &p->count))
            BUG("%s: dimension %lld", name, (long long)disk[i]);
    }
    add_state(ps, p->name, STATE_PARAM, ps->n,
              tensor_of(DT_F32, rank, disk, NULL));
    return ps->n++;
}

int params_add_buffer(struct params *ps, const char *name, int64_t count,
                      double init)
{
    struct param_buffer *b;

    GROW(ps->buffer, ps->n_buffers);
    b = &ps->buffer[ps->n_buffers];
    b->name = xstrdup(name);
    b->count = count;
    b->offset = 0;
    b->init = init;
    add_state(ps, b->name, STATE_BUFFER, ps->n_buffers,
              TENSOR1(DT_F32, NULL, count));
    return ps->n_buffers++;
}

int params_add_counter(struct params *ps, const char *name)
{
    struct param_counter *c;

    GROW(ps->counter, ps->n_counters);
    c = &ps->counter[ps->n_counters];
    c->name = xstrdup(name);
    c->value = 0;
    add_state(ps, c->name, STATE_COUNTER, ps->n_counters,
              tensor_of(DT_I64, 0, NULL, NULL));
    return ps->n_counters++;
}

int params_freeze(struct params *ps, const char *prefix)
{
    size_t len = strlen(prefix);
    int i, n = 0;

    for (i = 0; i < ps->n; i++)
        if (strncmp(ps->p[i].name, prefix, len) == 0) {
            ps->p[i].frozen = true;
            n++;
        }
    return n;
}

/* ---- arenas */

static int64_t round_up(int64_t n)
{
    return (n + PARAM_ALIGN - 1) / PARAM_ALIGN * PARAM_ALIGN;
}

void params_place(struct params *ps)
{
    int i;

    ps->total = ps->buffer_total = 0;
    for (i = ps->n - 1; i >= 0; i--) {
        ps->p[i].offset = ps->total;
        ps->total += round_up(ps->p[i].count);
    }
    for (i = 0; i < ps->n_buffers; i++) {
        ps->buffer[i].offset = ps->buffer_total;
        ps->buffer_total += round_up(ps->buffer[i].count);
    }
}

static int zeros(struct params *ps, int64_t count, bool sums, void **p)
{
    size_t bytes = (size_t)count * dtype_size(ps->pt);

    if ((sums ? engine_alloc_sums : engine_alloc)(ps->e, bytes, p) < 0)
        return err_wrap("parameters");
    return engine_fill(ps->e, *p, 0, bytes);
}

int params_alloc(struct params *ps, struct engine *e, enum dtype pt, bool train)
{
    if (ps->w)
        BUG("parameters are allocated twice");
    ps->e = e;
    ps->pt = pt;
    params_place(ps);
    if (zeros(ps, ps->total, false, &ps->w) < 0 ||
        zeros(ps, ps->buffer_total, false, &ps->buffers) < 0)
        return -1;
    if (train && zeros(ps, ps->total, true, &ps->g) < 0)
        return -1;
    ps->sum = ps->g;
    return 0;
}

void params_lend(struct params *ps, void *g, const void *sum)
{
    if (g && ps->planned)
        BUG("gradients move after a plan was made");
    if (!ps->lent)
        engine_free(ps->e, ps->g);
    ps->lent = true;
    ps->g = g;
    ps->sum = sum;
}

static void *at(const struct params *ps, void *arena, int64_t offset)
{
    return arena ? (char *)arena + (size_t)offset * dtype_size(ps->pt) : NULL;
}

void *param_w(const struct params *ps, int i)
{
    return at(ps, ps->w, ps->p[i].offset);
}

void *param_g(const struct params *ps, int i)
{
    return at(ps, ps->g, ps->p[i].offset);
}

void *param_buffer(const struct params *ps, int i)
{
    return at(ps, ps->buffers, ps->buffer[i].offset);
}

/* ---- packed copies */

static struct packed_weight *packed_find(struct params *ps, int param,
                                         uint64_t layout)
{
    int i;

    for (i = 0; i < ps->n_packed; i++)
        if (ps->packed[i].param == param && ps->packed[i].layout == layout)
            return &ps->packed[i];
    return NULL;
}

int params_packed(struct params *ps, int param, struct conv_plan *plan,
                  const struct conv_needs *needs, const void **w)
{
    struct packed_weight *k;
    void *data;

    *w = param_w(ps, param);
    if (needs->packed_bytes == 0)
        return 0;
    k = packed_find(ps, param, needs->layout);
    if (!k) {
        if (engine_alloc(ps->e, needs->packed_bytes, &data) < 0)
            return err_wrap("%s", ps->p[param].name);
        GROW(ps->packed, ps->n_packed);
        k = &ps->packed[ps->n_packed++];
        k->param = param;
        k->layout = needs->layout;
        k->version = 0;
        k->bytes = needs->packed_bytes;
        k->data = data;
    }
    if (k->bytes != needs->packed_bytes)
        BUG("%s: layout %llx has %zu bytes and %zu", ps->p[param].name,
            (unsigned long long)needs->layout, k->bytes, needs->packed_bytes);
    if (k->version != ps->version) {
        if (engine_conv_pack(ps->e, plan, *w, k->data) < 0)
            return err_wrap("%s", ps->p[param].name);
        k->version = ps->version;
    }
    *w = k->data;
    return 0;
}
