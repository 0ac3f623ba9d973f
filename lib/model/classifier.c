#include "model/model.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int classifier_init(struct classifier *m, const char *name,
                    const struct model_config *c, struct engine *e,
                    enum dtype compute, bool train)
{
    const struct model_kind *k;
    enum dtype pt = compute == DT_F64 ? DT_F64 : DT_F32;
    void *p;

    memset(m, 0, sizeof *m);
    m->e = e;
    m->classes = c->classes;
    m->compute = compute;
    params_init(&m->params);
    graph_init(&m->graph, &m->params);
    if (c->classes < 1)
        return err_set(ERR_CONFIG, "%s: %" PRId64 " classes", name, c->classes);
    if (model_find(name, &k) < 0 || engine_precision(e, compute) < 0)
        return -1;
    k->build(&m->graph, c, k->depth);
    graph_seal(&m->graph);
    if (params_alloc(&m->params, e, pt, train) < 0)
        return err_wrap("%s", name);
    if (engine_alloc(e, 4 * sizeof(double), &p) < 0)
        return -1;
    m->stats = p;
    return engine_fill(e, p, 0, 4 * sizeof(double));
}

void classifier_release(struct classifier *m)
{
    graph_release(&m->graph);
    params_release(&m->params);
    if (m->e && m->label)
        engine_free(m->e, m->label);
    if (m->e && m->stats)
        engine_free(m->e, m->stats);
    memset(m, 0, sizeof *m);
}

/* Rows before the padding at the end: it must not be seen by the norms. */
static int64_t valid_rows(const int64_t *label, int64_t n)
{
    while (n > 0 && label[n - 1] < 0)
        n--;
    return n;
}

static int check_batch(const struct classifier *m, const struct tensor *image,
                       const int64_t *label)
{
    int64_t i;

    if (image->dtype != DT_U8 || image->rank != 4 || image->shape[3] != 3)
        return err_set(ERR_DATA,
                       "batch: images are %s of %d dimensions, "
                       "expected U8 [n,h,w,3]",
                       dtype_name(image->dtype), image->rank);
    for (i = 0; label && i < image->shape[0]; i++)
        if (label[i] >= m->classes)
            return err_set(ERR_DATA,
                           "batch: label %" PRId64 " of image %" PRId64
                           " with %" PRId64 " classes",
                           label[i], i, m->classes);
    return 0;
}

/* A plan for the first n images, with them in its input. */
static int load(struct classifier *m, const struct tensor *image, int64_t n,
                bool train, struct plan **plan)
{
    struct plan_key key = {.n = n,
                           .h = image->shape[1],
                           .w = image->shape[2],
                           .compute = m->compute,
                           .train = train};
    struct tensor in;

    if (graph_plan(&m->graph, m->e, &key, plan) < 0)
        return -1;
    in = plan_input(*plan, 0);
    return engine_upload(m->e, in.data, image->data, tensor_bytes(&in));
}

static int load_labels(struct classifier *m, const int64_t *label, int64_t n)
{
    void *p;

    if (n > m->capacity) {
        if (engine_alloc(m->e, (size_t)n * sizeof *label, &p) < 0)
            return err_wrap("labels");
        if (m->label)
            engine_free(m->e, m->label);
        m->label = p;
        m->capacity = n;
    }
    return engine_upload(m->e, m->label, label, (size_t)n * sizeof *label);
}

int classifier_step(struct classifier *m, const struct tensor *image,
                    const int64_t *label, double smoothing, double gscale,
                    int (*ready)(void *arg, int64_t end), void *arg)
{
    struct kern_softmax_ce ce;
    struct tensor logits;
    struct plan *p;
    int64_t n;

    if (check_batch(m, image, label) < 0)
        return -1;
    n = valid_rows(label, image->shape[0]);
    if (n == 0) /* nothing to learn: all gradients are what they are */
        return ready ? ready(arg, m->params.total) : 0;
    if (load(m, image, n, true, &p) < 0 || load_labels(m, label, n) < 0 ||
        plan_forward(p) < 0)
        return -1;
    logits = plan_output(p, 0);
    memset(&ce, 0, sizeof ce);
    ce.logits = logits.data;
    ce.label = m->label;
    ce.dlogits = plan_output_grad(p, 0).data;
    ce.stats = m->stats;
    ce.n = n;
    ce.k = m->classes;
    ce.smoothing = smoothing;
    ce.gscale = gscale;
    ce.dt = logits.dtype;
    if (engine_run(m->e, KERN_SOFTMAX_CE, &ce) < 0)
        return err_wrap("loss");
    return plan_backward(p, ready, arg);
}

int classifier_stats(struct classifier *m, struct class_stats *s)
{
    double v[4];

    if (engine_download(m->e, v, m->stats, sizeof v) < 0)
        return -1;
    s->loss = v[0];
    s->correct1 = v[1];
    s->correct5 = v[2];
    s->n = v[3];
    return engine_fill(m->e, m->stats, 0, sizeof v);
}

int classifier_predict(struct classifier *m, const struct tensor *image,
                       float *logits)
{
    struct tensor out;
    struct plan *p;
    double *wide;
    int64_t i, n;
    int r;

    if (check_batch(m, image, NULL) < 0 ||
        load(m, image, image->shape[0], false, &p) < 0 || plan_forward(p) < 0)
        return -1;
    out = plan_output(p, 0);
    n = tensor_count(&out);
    if (out.dtype == DT_F32)
        return engine_download(m->e, logits, out.data, tensor_bytes(&out));
    wide = xmalloc((size_t)n * sizeof *wide); /* ref's double mode */
    r = engine_download(m->e, wide, out.data, tensor_bytes(&out));
    for (i = 0; !r && i < n; i++)
        logits[i] = (float)wide[i];
    free(wide);
    return r;
}
