#include "model/model.h"

#include "util/fault.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void classifier_release(struct classifier *m)
{
    graph_release(&m->graph);
    params_release(&m->params);
    if (m->e && m->label)
        engine_free(m->e, m->label);
    if (m->e && m->erase)
        engine_free(m->e, m->erase);
    if (m->e && m->stats)
        engine_free(m->e, m->stats);
    memset(m, 0, sizeof *m);
}

static int make(struct classifier *m, const char *name,
                const struct model_config *c, bool train)
{
    const struct model_kind *k;
    enum dtype pt = m->compute == DT_F64 ? DT_F64 : DT_F32;
    void *p;

    if (c->classes < 1)
        return err_set(ERR_CONFIG, "%s: %" PRId64 " classes", name, c->classes);
    if (model_find(name, &k) < 0 || engine_precision(m->e, m->compute) < 0)
        return -1;
    k->build(&m->graph, c, k->depth);
    graph_seal(&m->graph);
    if (params_alloc(&m->params, m->e, pt, train) < 0)
        return err_wrap("%s", name);
    if (engine_alloc(m->e, 4 * sizeof(double), &p) < 0)
        return -1;
    m->stats = p;
    return engine_fill(m->e, p, 0, 4 * sizeof(double));
}

int classifier_init(struct classifier *m, const char *name,
                    const struct model_config *c, struct engine *e,
                    enum dtype compute, bool train)
{
    memset(m, 0, sizeof *m);
    m->e = e;
    m->classes = c->classes;
    m->compute = compute;
    params_init(&m->params);
    graph_init(&m->graph, &m->params);
    if (make(m, name, c, train) < 0) {
        classifier_release(m);
        return -1;
    }
    return 0;
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
static int load(struct classifier *m, const struct tensor *image,
                const void *there, int64_t n, bool train, struct plan **plan)
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
    if (there)
        return engine_copy(m->e, in.data, there, tensor_bytes(&in));
    return engine_upload(m->e, in.data, image->data, tensor_bytes(&in));
}

int classifier_check(struct classifier *m, int64_t n, int64_t size)
{
    const struct plan_key key = {
        .n = n, .h = size, .w = size, .compute = m->compute, .train = true};
    struct plan_cost cost;

    return graph_cost(&m->graph, m->e, &key, &cost);
}

/* Room in the engine for what comes with n images. */
static int make_room(struct classifier *m, int64_t n)
{
    void *label, *erase;

    if (n <= m->capacity)
        return 0;
    if (engine_alloc(m->e, 2 * (size_t)n * sizeof *m->label, &label) < 0)
        return err_wrap("labels");
    if (engine_alloc(m->e, 4 * (size_t)n * sizeof *m->erase, &erase) < 0) {
        engine_free(m->e, label);
        return err_wrap("labels");
    }
    if (m->label) {
        engine_free(m->e, m->label);
        engine_free(m->e, m->erase);
    }
    m->label = label;
    m->erase = erase;
    m->capacity = n;
    return 0;
}

/* The labels of n rows and, if they are mixed, behind them those of the rows
 * before; the label of the larger weight first. *mix: weight of the second. */
static int load_labels(struct classifier *m, const struct class_batch *b,
                       int64_t n, double *mix)
{
    bool turned = b->mix > 0.5;
    int64_t *v, i, before;
    int r;

    *mix = turned ? 1 - b->mix : b->mix;
    if (b->mix <= 0)
        return engine_upload(m->e, m->label, b->label, (size_t)n * sizeof *v);
    v = xmalloc(2 * (size_t)n * sizeof *v);
    for (i = 0; i < n; i++) {
        before = b->label[(i + n - 1) % n];
        v[i] = turned ? before : b->label[i];
        v[i + n] = turned ? b->label[i] : before;
    }
    r = engine_upload(m->e, m->label, v, 2 * (size_t)n * sizeof *v);
    free(v);
    return r;
}

/* Tell the plan how its pictures are changed. */
static int load_mix(struct classifier *m, const struct class_batch *b,
                    int64_t n, struct plan *p)
{
    struct kern_image how = {.mix = b->cut ? 0 : b->mix};

    if (b->cut && b->mix > 0)
        memcpy(how.box, b->box, sizeof how.box);
    if (b->erase) {
        how.erase = m->erase;
        if (engine_upload(m->e, m->erase, b->erase,
                          4 * (size_t)n * sizeof *b->erase) < 0)
            return -1;
    }
    plan_mix(p, 0, &how);
    return 0;
}

int classifier_load(struct classifier *m, const struct class_batch *b,
                    struct class_pass *p)
{
    memset(p, 0, sizeof *p);
    if (check_batch(m, b->image, b->label) < 0)
        return -1;
    p->n = valid_rows(b->label, b->image->shape[0]);
    if (p->n == 0)
        return 0;
    p->mixed = b->mix > 0;
    p->erased = b->erase != NULL;
    if (load(m, b->image, b->there, p->n, true, &p->plan) < 0 ||
        make_room(m, p->n) < 0 || load_labels(m, b, p->n, &p->mix) < 0)
        return -1;
    return load_mix(m, b, p->n, p->plan);
}

int classifier_pass(struct classifier *m, const struct class_pass *p,
                    double smoothing, double gscale,
                    int (*ready)(void *arg, int64_t end), void *arg)
{
    struct kern_softmax_ce ce = {.smoothing = smoothing,
                                 .gscale = gscale,
                                 .label = m->label,
                                 .stats = m->stats,
                                 .n = p->n,
                                 .k = m->classes,
                                 .mix = p->mix,
                                 .scale = m->scale};
    struct tensor logits;

    if (!p->plan) /* all gradients are what they are */
        return ready ? ready(arg, m->params.total) : 0;
    fault_point("forward");
    if (plan_launch(p->plan) < 0)
        return -1;
    logits = plan_output(p->plan, 0);
    ce.logits = logits.data;
    ce.label2 = p->mixed ? m->label + p->n : NULL;
    ce.dlogits = plan_output_grad(p->plan, 0).data;
    ce.dt = logits.dtype;
    if (engine_run(m->e, KERN_SOFTMAX_CE, &ce) < 0)
        return err_wrap("loss");
    fault_point("backward");
    return plan_backward(p->plan, ready, arg);
}

void classifier_passed(const struct class_pass *p)
{
    if (p->plan)
        plan_count(p->plan);
}

int classifier_step(struct classifier *m, const struct class_batch *b,
                    double smoothing, double gscale,
                    int (*ready)(void *arg, int64_t end), void *arg)
{
    struct class_pass p;

    if (classifier_load(m, b, &p) < 0 ||
        classifier_pass(m, &p, smoothing, gscale, ready, arg) < 0)
        return -1;
    classifier_passed(&p);
    return 0;
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

int classifier_forward(struct classifier *m, const struct tensor *image,
                       const void *there)
{
    struct plan *p;

    if (check_batch(m, image, NULL) < 0 ||
        load(m, image, there, image->shape[0], false, &p) < 0 ||
        plan_forward(p) < 0)
        return -1;
    m->logits = plan_output(p, 0);
    return 0;
}

int classifier_logits(struct classifier *m, float *logits)
{
    const struct tensor *out = &m->logits;
    int64_t i, n = tensor_count(out);
    double *wide;
    int r;

    if (out->dtype == DT_F32)
        return engine_download(m->e, logits, out->data, tensor_bytes(out));
    wide = xmalloc((size_t)n * sizeof *wide); /* ref's double mode */
    r = engine_download(m->e, wide, out->data, tensor_bytes(out));
    for (i = 0; !r && i < n; i++)
        logits[i] = (float)wide[i];
    free(wide);
    return r;
}

int classifier_predict(struct classifier *m, const struct tensor *image,
                       float *logits)
{
    if (classifier_forward(m, image, NULL) < 0)
        return -1;
    return classifier_logits(m, logits);
}
