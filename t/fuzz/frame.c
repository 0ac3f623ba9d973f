/*
 * Fuzz target: frame_parse. A header that is accepted has to hold what
 * io/frame.h promises: tensors that tile the data, sizes equal to the shapes,
 * and a text that frame_header can write again and frame_parse reads equally.
 */
#include "io/frame.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_tensors(const struct frame *f)
{
    uint64_t at = 0, bytes;
    int i;

    for (i = 0; i < f->n_tensors; i++) {
        if (f->tensor[i].begin != at ||
            tensor_check(&f->tensor[i].t, &bytes) < 0 ||
            bytes != f->tensor[i].end - at)
            abort();
        at += bytes;
        if (frame_find(f, f->tensor[i].name) != i)
            abort();
    }
    if (at != f->data_bytes)
        abort();
}

/* Written again it says the same. */
static void check_again(const struct frame *f, enum frame_kind kind)
{
    struct frame_pair *meta = xcalloc((size_t)f->n_meta, sizeof(*meta));
    struct frame_item *items = xcalloc((size_t)f->n_tensors, sizeof(*items));
    struct frame g = FRAME_INIT;
    struct buf b = BUF_INIT;
    const char *v;
    int i;

    for (i = 0; i < f->n_meta; i++)
        meta[i] = (struct frame_pair){f->key[i], f->value[i]};
    for (i = 0; i < f->n_tensors; i++)
        items[i] = (struct frame_item){f->tensor[i].name, f->tensor[i].t};
    if (frame_header(&b, meta, f->n_meta, items, f->n_tensors, 8) < 0)
        abort();
    /* Escapes may make it longer than a stream's header may be. */
    if (kind == FRAME_FILE || b.len <= 1 << 20) {
        if (frame_parse(&g, b.data, b.len, kind) < 0 ||
            g.n_tensors != f->n_tensors || g.n_meta != f->n_meta ||
            g.data_bytes != f->data_bytes)
            abort();
        for (i = 0; i < f->n_meta; i++) {
            v = frame_meta(&g, f->key[i]);
            if (!v || strcmp(v, f->value[i]) != 0)
                abort();
        }
        check_tensors(&g);
    }
    frame_release(&g);
    buf_release(&b);
    free(meta);
    free(items);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum frame_kind kinds[] = {FRAME_STREAM, FRAME_FILE};
    struct frame f = FRAME_INIT;
    int i;

    for (i = 0; i < 2; i++) {
        if (frame_parse(&f, (const char *)data, size, kinds[i]) < 0)
            continue;
        if (f.header_bytes != size + 8)
            abort();
        check_tensors(&f);
        check_again(&f, kinds[i]);
        frame_release(&f);
    }
    return 0;
}
