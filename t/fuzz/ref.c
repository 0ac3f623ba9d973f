/*
 * Fuzz target: frame_ref, the header of a frame whose tensors lie in a slot of
 * shared memory. What is accepted lies inside of the slot, in order, apart and
 * where the machine can read it; frame_write_ref says the same again.
 */
#include "io/frame.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLOTS 4
#define ROOM 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_tensors(const struct frame *f)
{
    uint64_t at = 0, bytes;

    for (int i = 0; i < f->n_tensors; i++) {
        const struct frame_tensor *t = &f->tensor[i];
        if (t->begin < at || t->end > ROOM || t->begin % FRAME_REF_ALIGN != 0 ||
            tensor_check(&t->t, &bytes) < 0 || bytes != t->end - t->begin)
            abort();
        at = t->end;
    }
}

/* A stream of one such frame, read again; not those whose names no writer has. */
static void check_again(const struct frame *f, int number)
{
    static char base[ROOM];
    const struct frame_slot slot = {number, base, ROOM};
    struct frame_item *items = xcalloc((size_t)f->n_tensors, sizeof(*items));
    int fd = memfd_create("stream", MFD_CLOEXEC), again = -1;
    struct frame g = FRAME_INIT, there;
    struct frame_stream s;
    struct frame_writer w;

    frame_writer_init(&w, fd, "w");
    frame_stream_init(&s, fd, "s");
    for (int i = 0; i < f->n_tensors; i++) {
        items[i] = (struct frame_item){f->tensor[i].name, f->tensor[i].t};
        items[i].t.data = base + f->tensor[i].begin;
    }
    if (frame_write(&w, "hello", NULL, 0, NULL, 0, 0) < 0)
        abort();
    if (frame_write_ref(&w, &slot, "batch", NULL, 0, items, f->n_tensors) ==
        0) {
        if (lseek(fd, 0, SEEK_SET) < 0 || frame_next(&s, &g) != 1 ||
            frame_next(&s, &g) != 1 ||
            frame_ref(&g, SLOTS, ROOM, &there, &again) != 1 ||
            again != number || there.n_tensors != f->n_tensors)
            abort();
        check_tensors(&there);
        frame_release(&there);
    }
    frame_release(&g);
    frame_writer_release(&w);
    free(items);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame f = FRAME_INIT, there;
    int slot = -1, r;

    if (frame_parse(&f, (const char *)data, size, FRAME_STREAM) < 0)
        return 0;
    r = frame_ref(&f, SLOTS, ROOM, &there, &slot);
    if (r > 0) {
        if (slot < 0 || slot >= SLOTS)
            abort();
        check_tensors(&there);
        check_again(&there, slot);
    }
    if (r != 0 || frame_ref(&f, 0, 0, &there, &slot) == 0)
        frame_release(&there);
    frame_release(&f);
    return 0;
}
