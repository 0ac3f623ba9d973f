#include "engine/cpu/dnn.h"
#include "util/fnv.h"

#include <oneapi/dnnl/dnnl_debug.h>
#include <oneapi/dnnl/dnnl_version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Primitives are kept by oneDNN in a cache; a detector has thousands. */
enum {
    CACHE = 8192
};

/* A struct in 2, a pointer in 3. */
struct dnn_md {
    dnnl_memory_desc_t m;
};

struct layout {
    int32_t ndims, nblocks;
    dnnl_data_type_t type;
    const dnnl_dim_t *dims, *padded, *strides, *blocks, *index;
};

static int fail(dnnl_status_t s, const char *what)
{
    return err_set(s == dnnl_out_of_memory   ? ERR_SYSTEM
                   : s == dnnl_unimplemented ? ERR_UNAVAILABLE
                                             : ERR_INTERNAL,
                   "oneDNN: %s: %s", what, dnnl_status2str(s));
}

/* ---- what differs between the versions */

#if DNNL_VERSION_MAJOR >= 3

typedef const_dnnl_memory_desc_t lent_md;

static lent_md lend(const struct dnn_md *m)
{
    return m ? m->m : NULL;
}

static dnnl_status_t md_init(struct dnn_md *m, int nd, const int64_t *dims,
                             dnnl_data_type_t t, dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_create_with_tag(&m->m, nd, dims, t, tag);
}

static dnnl_status_t md_clone(struct dnn_md *m, lent_md from)
{
    return dnnl_memory_desc_clone(&m->m, from);
}

void dnn_md_free(struct dnn_md *m)
{
    if (m)
        dnnl_memory_desc_destroy(m->m);
    free(m);
}

static void md_layout(const struct dnn_md *m, struct layout *l)
{
    const dnnl_dims_t *v[5] = {0};
    static const dnnl_query_t what[5] = {
        dnnl_query_dims, dnnl_query_padded_dims, dnnl_query_strides,
        dnnl_query_inner_blks, dnnl_query_inner_idxs};
    int i;

    memset(l, 0, sizeof(*l));
    dnnl_memory_desc_query(m->m, dnnl_query_ndims_s32, &l->ndims);
    dnnl_memory_desc_query(m->m, dnnl_query_data_type, &l->type);
    dnnl_memory_desc_query(m->m, dnnl_query_inner_nblks_s32, &l->nblocks);
    for (i = 0; i < 5; i++)
        dnnl_memory_desc_query(m->m, what[i], (void *)&v[i]);
    l->dims = *v[0];
    l->padded = *v[1];
    l->strides = *v[2];
    l->blocks = *v[3];
    l->index = *v[4];
}

static dnnl_status_t append_sum(dnnl_post_ops_t p)
{
    return dnnl_post_ops_append_sum(p, 1, 0, dnnl_data_type_undef);
}

static dnnl_status_t append_relu(dnnl_post_ops_t p)
{
    return dnnl_post_ops_append_eltwise(p, dnnl_eltwise_relu, 0, 0);
}

static dnnl_status_t conv_desc(dnnl_primitive_desc_t *pd, const struct dnn *d,
                               const struct dnn_spec *s,
                               dnnl_primitive_attr_t attr,
                               dnnl_primitive_desc_t hint)
{
    static const dnnl_dims_t dilate;
    lent_md x = lend(s->x), y = lend(s->y), b = lend(s->bias), w = lend(s->w);

    switch (s->kind) {
    case DNN_BACKWARD_DATA:
        return dnnl_convolution_backward_data_primitive_desc_create(
            pd, d->engine, dnnl_convolution_direct, x, w, y, s->stride, dilate,
            s->pad_left, s->pad_right, hint, attr);
    case DNN_BACKWARD_WEIGHTS:
        return dnnl_convolution_backward_weights_primitive_desc_create(
            pd, d->engine, dnnl_convolution_direct, x, w, NULL, y, s->stride,
            dilate, s->pad_left, s->pad_right, hint, attr);
    default:
        return dnnl_convolution_forward_primitive_desc_create(
            pd, d->engine, dnnl_forward_training, dnnl_convolution_direct, x, w,
            b, y, s->stride, dilate, s->pad_left, s->pad_right, attr);
    }
}

/* The implementation after `skip` better ones. */
static dnnl_status_t matmul_desc(dnnl_primitive_desc_t *pd, const struct dnn *d,
                                 const struct dnn_spec *s,
                                 dnnl_primitive_attr_t attr, int skip)
{
    dnnl_status_t e = dnnl_matmul_primitive_desc_create(
        pd, d->engine, lend(s->x), lend(s->w), lend(s->bias), lend(s->y), attr);

    for (; e == dnnl_success && skip > 0; skip--) {
        e = dnnl_primitive_desc_next_impl(*pd);
        if (e != dnnl_success)
            dnnl_primitive_desc_destroy(*pd);
    }
    return e;
}

#else /* 2.x */

typedef const dnnl_memory_desc_t *lent_md;

static lent_md lend(const struct dnn_md *m)
{
    return m ? &m->m : NULL;
}

static dnnl_status_t md_init(struct dnn_md *m, int nd, const int64_t *dims,
                             dnnl_data_type_t t, dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_init_by_tag(&m->m, nd, dims, t, tag);
}

static dnnl_status_t md_clone(struct dnn_md *m, lent_md from)
{
    m->m = *from;
    return dnnl_success;
}

void dnn_md_free(struct dnn_md *m)
{
    free(m);
}

static void md_layout(const struct dnn_md *m, struct layout *l)
{
    l->ndims = m->m.ndims;
    l->nblocks = m->m.format_desc.blocking.inner_nblks;
    l->type = m->m.data_type;
    l->dims = m->m.dims;
    l->padded = m->m.padded_dims;
    l->strides = m->m.format_desc.blocking.strides;
    l->blocks = m->m.format_desc.blocking.inner_blks;
    l->index = m->m.format_desc.blocking.inner_idxs;
}

static dnnl_status_t append_sum(dnnl_post_ops_t p)
{
    return dnnl_post_ops_append_sum(p, 1);
}

static dnnl_status_t append_relu(dnnl_post_ops_t p)
{
    return dnnl_post_ops_append_eltwise(p, 1, dnnl_eltwise_relu, 0, 0);
}

static dnnl_status_t conv_desc(dnnl_primitive_desc_t *pd, const struct dnn *d,
                               const struct dnn_spec *s,
                               dnnl_primitive_attr_t attr,
                               dnnl_primitive_desc_t hint)
{
    lent_md x = lend(s->x), y = lend(s->y), b = lend(s->bias), w = lend(s->w);
    dnnl_convolution_desc_t c;
    dnnl_status_t e;

    switch (s->kind) {
    case DNN_BACKWARD_DATA:
        e = dnnl_convolution_backward_data_desc_init(
            &c, dnnl_convolution_direct, x, w, y, s->stride, s->pad_left,
            s->pad_right);
        break;
    case DNN_BACKWARD_WEIGHTS:
        e = dnnl_convolution_backward_weights_desc_init(
            &c, dnnl_convolution_direct, x, w, NULL, y, s->stride, s->pad_left,
            s->pad_right);
        break;
    default:
        e = dnnl_convolution_forward_desc_init(
            &c, dnnl_forward_training, dnnl_convolution_direct, x, w, b, y,
            s->stride, s->pad_left, s->pad_right);
        break;
    }
    if (e != dnnl_success)
        return e;
    return dnnl_primitive_desc_create(pd, &c, attr, d->engine, hint);
}

static dnnl_status_t matmul_desc(dnnl_primitive_desc_t *pd, const struct dnn *d,
                                 const struct dnn_spec *s,
                                 dnnl_primitive_attr_t attr, int skip)
{
    dnnl_primitive_desc_iterator_t it;
    dnnl_matmul_desc_t c;
    dnnl_status_t e = dnnl_matmul_desc_init(&c, lend(s->x), lend(s->w),
                                            lend(s->bias), lend(s->y));

    if (e == dnnl_success)
        e = dnnl_primitive_desc_iterator_create(&it, &c, attr, d->engine, NULL);
    if (e != dnnl_success)
        return e;
    for (; e == dnnl_success && skip > 0; skip--)
        e = dnnl_primitive_desc_iterator_next(it);
    if (e == dnnl_success)
        *pd = dnnl_primitive_desc_iterator_fetch(it);
    dnnl_primitive_desc_iterator_destroy(it);
    return e;
}

#endif

/* ---- the library */

int dnn_open(struct dnn *d)
{
    dnnl_status_t e;

    memset(d, 0, sizeof(*d));
    e = dnnl_engine_create(&d->engine, dnnl_cpu, 0);
    if (e != dnnl_success)
        return fail(e, "engine");
    e = dnnl_stream_create(&d->stream, d->engine, dnnl_stream_default_flags);
    if (e != dnnl_success) {
        dnn_close(d);
        return fail(e, "stream");
    }
    dnnl_set_primitive_cache_capacity(CACHE);
    /* fp32 means fp32, whatever the environment asks for */
    dnnl_set_default_fpmath_mode(dnnl_fpmath_mode_strict);
    return 0;
}

void dnn_close(struct dnn *d)
{
    if (d->stream)
        dnnl_stream_destroy(d->stream);
    if (d->engine)
        dnnl_engine_destroy(d->engine);
    memset(d, 0, sizeof(*d));
}

void dnn_describe(char *text, size_t n)
{
    const dnnl_version_t *v = dnnl_version();
    unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
    const char *name = dnnl_cpu_isa2str((dnnl_cpu_isa_t)isa);

    if (strncmp(name, "cpu_isa_", 8) == 0)
        name += 8;
    snprintf(text, n, "oneDNN %d.%d.%d (%s)", v->major, v->minor, v->patch,
             name);
}

bool dnn_fast_bf16(void)
{
    unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
    unsigned want = (unsigned)dnnl_cpu_isa_avx512_core_bf16;

    return (isa & want) == want;
}

/* ---- memory descriptors */

struct dnn_md *dnn_md_new(int nd, const int64_t *dims, dnnl_data_type_t t,
                          dnnl_format_tag_t tag)
{
    struct dnn_md *m = xcalloc(1, sizeof(*m));

    if (md_init(m, nd, dims, t, tag) != dnnl_success)
        BUG("oneDNN: memory descriptor of %d dimensions", nd);
    return m;
}

size_t dnn_md_bytes(const struct dnn_md *m)
{
    return m ? dnnl_memory_desc_get_size(lend(m)) : 0;
}

bool dnn_md_same(const struct dnn_md *a, const struct dnn_md *b)
{
    return dnnl_memory_desc_equal(lend(a), lend(b));
}

/* The bytes of v, the lowest first. */
static uint64_t mix(uint64_t h, int64_t v)
{
    int i;

    for (i = 0; i < 8; i++)
        h = fnv_add(h, (uint64_t)(v >> 8 * i & 255));
    return h;
}

uint64_t dnn_md_hash(const struct dnn_md *m)
{
    uint64_t h = FNV_EMPTY;
    struct layout l;
    int i;

    md_layout(m, &l);
    h = mix(mix(h, l.ndims), (int64_t)l.type);
    for (i = 0; i < l.ndims; i++)
        h = mix(mix(mix(h, l.dims[i]), l.padded[i]), l.strides[i]);
    for (i = 0; i < l.nblocks; i++)
        h = mix(mix(h, l.blocks[i]), l.index[i]);
    return h;
}

/* ---- primitives */

static dnnl_status_t attr_make(dnnl_primitive_attr_t *attr,
                               const struct dnn_post *post)
{
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t e = dnnl_primitive_attr_create(attr);

    if (e != dnnl_success)
        return e;
    e = dnnl_primitive_attr_set_scratchpad_mode(*attr,
                                                dnnl_scratchpad_mode_user);
    if (e == dnnl_success && post && (post->sum || post->relu))
        e = dnnl_post_ops_create(&ops);
    if (e == dnnl_success && ops && post->sum)
        e = append_sum(ops);
    if (e == dnnl_success && ops && post->relu)
        e = append_relu(ops);
    if (e == dnnl_success && ops)
        e = dnnl_primitive_attr_set_post_ops(*attr, ops);
    if (ops)
        dnnl_post_ops_destroy(ops);
    return e;
}

static struct dnn_md *queried(dnnl_primitive_desc_t pd, dnnl_query_t q)
{
    lent_md m = dnnl_primitive_desc_query_md(pd, q, 0);
    struct dnn_md *c;

    if (!m)
        return NULL;
    c = xcalloc(1, sizeof(*c));
    if (md_clone(c, m) != dnnl_success)
        BUG("oneDNN: copy of a memory descriptor");
    return c;
}

/* Takes pd: a primitive from it, and its scratchpad. */
static int finish(struct dnn_prim *p, const struct dnn *d,
                  dnnl_primitive_desc_t pd)
{
    const_dnnl_primitive_desc_t own = NULL;
    struct dnn_md *scratch;
    dnnl_status_t e;
    int status = 0;

    memset(p, 0, sizeof(*p));
    e = dnnl_primitive_create(&p->prim, pd);
    if (e == dnnl_success)
        e = dnnl_primitive_get_primitive_desc(p->prim, &own);
    if (e == dnnl_success)
        e = dnnl_primitive_desc_query(own, dnnl_query_impl_info_str, 0,
                                      (void *)&p->name);
    if (e != dnnl_success) {
        status = fail(e, "primitive");
        goto out;
    }
    scratch = queried(pd, dnnl_query_scratchpad_md);
    p->scratch = dnn_md_bytes(scratch);
    if (p->scratch)
        status = dnn_arg(p, d, DNNL_ARG_SCRATCHPAD, scratch);
    dnn_md_free(scratch);
out:
    dnnl_primitive_desc_destroy(pd);
    return status;
}

int dnn_conv(struct dnn_prim *p, const struct dnn *d, const struct dnn_spec *s,
             struct dnn_md **chosen)
{
    dnnl_primitive_desc_t hint = NULL, pd = NULL;
    dnnl_primitive_attr_t attr = NULL;
    struct dnn_spec f = *s;
    dnnl_status_t e;
    int status = -1;

    e = attr_make(&attr, &s->post);
    if (e == dnnl_success && s->kind != DNN_FORWARD) {
        f.kind = DNN_FORWARD;
        f.w = s->fwd_w;
        e = conv_desc(&hint, d, &f, attr, NULL);
    }
    if (e == dnnl_success)
        e = conv_desc(&pd, d, s, attr, hint);
    if (e != dnnl_success) {
        fail(e, "convolution");
        goto out;
    }
    if (chosen)
        *chosen = queried(pd, s->kind == DNN_BACKWARD_WEIGHTS
                                  ? dnnl_query_diff_weights_md
                                  : dnnl_query_weights_md);
    status = finish(p, d, pd);
out:
    if (hint)
        dnnl_primitive_desc_destroy(hint);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    return status;
}

/* Does this implementation add in short pieces? gemm, which cuts its sums where
 * they leave the cache. */
static bool adds_short(dnnl_primitive_desc_t pd)
{
    const char *name = NULL;

    return dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0,
                                     (void *)&name) == dnnl_success &&
           strncmp(name, "gemm", 4) == 0;
}

static dnnl_status_t choose_matmul(dnnl_primitive_desc_t *pd,
                                   const struct dnn *d,
                                   const struct dnn_spec *s,
                                   dnnl_primitive_attr_t attr)
{
    int skip;

    for (skip = 0; s->short_sums; skip++) {
        if (matmul_desc(pd, d, s, attr, skip) != dnnl_success)
            break;
        if (adds_short(*pd))
            return dnnl_success;
        dnnl_primitive_desc_destroy(*pd);
    }
    return matmul_desc(pd, d, s, attr, 0);
}

int dnn_matmul(struct dnn_prim *p, const struct dnn *d,
               const struct dnn_spec *s, struct dnn_md **chosen)
{
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t e;
    int status = -1;

    e = attr_make(&attr, &s->post);
    if (e == dnnl_success)
        e = choose_matmul(&pd, d, s, attr);
    if (e != dnnl_success) {
        fail(e, "matrix product");
        goto out;
    }
    if (chosen)
        *chosen = queried(pd, dnnl_query_weights_md);
    status = finish(p, d, pd);
out:
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    return status;
}

int dnn_reorder(struct dnn_prim *p, const struct dnn *d,
                const struct dnn_md *from, const struct dnn_md *to, bool sum)
{
    struct dnn_post post = {sum, false};
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd;
    dnnl_status_t e;
    int status = -1;

    e = attr_make(&attr, &post);
    if (e == dnnl_success)
        e = dnnl_reorder_primitive_desc_create(&pd, lend(from), d->engine,
                                               lend(to), d->engine, attr);
    if (e != dnnl_success)
        fail(e, "reorder");
    else
        status = finish(p, d, pd);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    if (status == 0 && (dnn_arg(p, d, DNNL_ARG_FROM, from) < 0 ||
                        dnn_arg(p, d, DNNL_ARG_TO, to) < 0)) {
        dnn_prim_release(p);
        status = -1;
    }
    return status;
}

int dnn_arg(struct dnn_prim *p, const struct dnn *d, int which,
            const struct dnn_md *m)
{
    dnnl_memory_t mem;
    dnnl_status_t e;

    if (p->n == DNN_ARGS)
        BUG("too many arguments");
    e = dnnl_memory_create(&mem, lend(m), d->engine, DNNL_MEMORY_NONE);
    if (e != dnnl_success)
        return fail(e, "memory");
    p->arg[p->n].arg = which;
    p->arg[p->n].memory = mem;
    p->n++;
    return 0;
}

void dnn_set(struct dnn_prim *p, int which, const void *data)
{
    union {
        const void *in;
        void *out;
    } u = {data}; /* oneDNN takes its inputs without const */
    int i;

    for (i = 0; i < p->n; i++) {
        if (p->arg[i].arg == which)
            dnnl_memory_set_data_handle(p->arg[i].memory, u.out);
    }
}

int dnn_run(const struct dnn *d, const struct dnn_prim *p)
{
    dnnl_status_t e = dnnl_primitive_execute(p->prim, d->stream, p->n, p->arg);

    if (e == dnnl_success)
        e = dnnl_stream_wait(d->stream);
    if (e != dnnl_success)
        return fail(e, "execute");
    return 0;
}

void dnn_prim_release(struct dnn_prim *p)
{
    int i;

    for (i = 0; i < p->n; i++)
        dnnl_memory_destroy(p->arg[i].memory);
    if (p->prim)
        dnnl_primitive_destroy(p->prim);
    memset(p, 0, sizeof(*p));
}
