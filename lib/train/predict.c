#include "io/frame.h"
#include "train/run.h"
#include "train/stop.h"
#include "train/upload.h"
#include "util/fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct predictor {
    struct classifier *m;
    struct input *in;
    struct upload upload;
    struct frame_writer w;
    float *logits;
};

static int begin(struct predictor *p, const char *model,
                 const struct input_hello *h)
{
    char classes[24], samples[24];
    struct frame_pair meta[] = {{"classes", classes}, {"dataset", h->dataset},
                                {"model", model},     {"proto", "1.0"},
                                {"role", "predict"},  {"samples", samples},
                                {"split", h->split}};

    snprintf(classes, sizeof classes, "%lld", (long long)p->m->classes);
    snprintf(samples, sizeof samples, "%lld", (long long)h->samples);
    return frame_write(&p->w, "hello", meta, 7, NULL, 0, 0);
}

/* The logits of b. While the device computes, the next batch goes to it. */
static int compute(struct predictor *p, const struct input_batch *b)
{
    const struct input_batch *next;
    struct tensor image = b->image;
    const void *there;

    if (upload_take(&p->upload, b, &there) < 0)
        return -1;
    if (b->n == 0)
        return upload_done(&p->upload);
    image.shape[0] = b->n;
    if (classifier_forward(p->m, &image, there) < 0 ||
        upload_read(&p->upload) < 0)
        return -1;
    next = input_next(p->in);
    if (next && upload_ahead(&p->upload, next) < 0)
        return -1;
    p->logits = xreallocarray(p->logits, (size_t)(b->n * p->m->classes),
                              sizeof *p->logits);
    if (classifier_logits(p->m, p->logits) < 0)
        return -1;
    return upload_done(&p->upload);
}

static int tell(struct predictor *p, const struct input_batch *b)
{
    struct frame_item items[3];
    char n[24];
    struct frame_pair meta[] = {{"n", n}};

    if (b->n == 0)
        return 0;
    snprintf(n, sizeof n, "%lld", (long long)b->n);
    items[0] = (struct frame_item){"index", TENSOR1(DT_I64, b->index, b->n)};
    items[1] = (struct frame_item){"label", TENSOR1(DT_I64, b->label, b->n)};
    items[2] = (struct frame_item){
        "logits", TENSOR2(DT_F32, p->logits, b->n, p->m->classes)};
    p->w.rows += (uint64_t)b->n;
    return frame_write(&p->w, "pred", meta, 1, items, 3, 0);
}

/* A signal: there is nothing to keep of predictions that are not complete. */
static int stopped(struct input *in)
{
    int flags;

    if (input_ready(in, STOP_INT | STOP_TERM) == 1 &&
        !(stop_flags() & (STOP_INT | STOP_TERM)))
        return 0;
    flags = stop_flags();
    err_set(ERR_AGAIN, "stopped by a signal: the predictions are incomplete");
    return flags & STOP_INT ? 130 : -1;
}

int run_predict(struct classifier *m, const char *model, struct input *in,
                const struct input_hello *h, int out)
{
    struct predictor p = {.m = m, .in = in};
    struct input_batch *b;
    size_t bytes;
    void *memory = input_memory(in, &bytes);
    int r;

    upload_init(&p.upload, m->e);
    upload_share(&p.upload, memory, bytes);
    frame_writer_init(&p.w, out, "stdout");
    if (begin(&p, model, h) < 0) {
        r = -1;
        goto done;
    }
    while ((r = stopped(in)) == 0 && (r = input_get(in, &b)) > 0) {
        fault_point("predict");
        r = compute(&p, b);
        if (r == 0)
            r = tell(&p, b);
        input_put(in, b);
        if (r < 0)
            break;
    }
    if (r == 0)
        r = frame_write_end(&p.w);
    else if (frame_write_error(&p.w) < 0 && r < 0)
        r = -1; /* the first failure is the one that is told */
done:
    free(p.logits);
    upload_release(&p.upload);
    frame_writer_release(&p.w);
    return r;
}
