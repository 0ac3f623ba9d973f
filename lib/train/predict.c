#include "io/frame.h"
#include "train/run.h"
#include "train/stop.h"
#include "util/fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int begin(struct frame_writer *w, struct classifier *m,
                 const char *model, const struct input_hello *h)
{
    char classes[24], samples[24];
    struct frame_pair meta[] = {{"classes", classes}, {"dataset", h->dataset},
                                {"model", model},     {"proto", "1.0"},
                                {"role", "predict"},  {"samples", samples},
                                {"split", h->split}};

    snprintf(classes, sizeof classes, "%lld", (long long)m->classes);
    snprintf(samples, sizeof samples, "%lld", (long long)h->samples);
    return frame_write(w, "hello", meta, 7, NULL, 0, 0);
}

static int one(struct frame_writer *w, struct classifier *m,
               const struct input_batch *b, float *logits)
{
    struct tensor image = b->image;
    struct frame_item items[3];
    char n[24];
    struct frame_pair meta[] = {{"n", n}};

    if (b->n == 0)
        return 0;
    image.shape[0] = b->n;
    if (classifier_predict(m, &image, logits) < 0)
        return -1;
    snprintf(n, sizeof n, "%lld", (long long)b->n);
    items[0] = (struct frame_item){"index", TENSOR1(DT_I64, b->index, b->n)};
    items[1] = (struct frame_item){"label", TENSOR1(DT_I64, b->label, b->n)};
    items[2] = (struct frame_item){"logits",
                                   TENSOR2(DT_F32, logits, b->n, m->classes)};
    w->rows += (uint64_t)b->n;
    return frame_write(w, "pred", meta, 1, items, 3, 0);
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
    struct frame_writer w;
    struct input_batch *b;
    float *logits = NULL;
    size_t n;
    int r;

    frame_writer_init(&w, out, "stdout");
    if (begin(&w, m, model, h) < 0) {
        r = -1;
        goto done;
    }
    while ((r = stopped(in)) == 0 && (r = input_get(in, &b)) > 0) {
        n = (size_t)(b->image.shape[0] * m->classes);
        fault_point("predict");
        logits = xreallocarray(logits, n, sizeof *logits);
        r = one(&w, m, b, logits);
        input_put(in, b);
        if (r < 0)
            break;
    }
    if (r == 0)
        r = frame_write_end(&w);
    else if (frame_write_error(&w) < 0 && r < 0)
        r = -1; /* the first failure is the one that is told */
done:
    free(logits);
    frame_writer_release(&w);
    return r;
}
