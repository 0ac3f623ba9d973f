/* The end that reads. */
#include "io/lend.h"

#include "io/lend_private.h"
#include "io/local.h"
#include "io/sealed.h"
#include "io/slots.h"
#include "util/fault.h"
#include "util/fdio.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

struct borrower {
    int conn, n;
    char *base;
    size_t slot_bytes, bytes;
    struct frame_writer w;
    atomic_bool *held; /* [n] */
    bool lost;         /* the writer is gone: nothing is given back */
};

/* What the writer has: sets n and slot_bytes. */
static int hear(struct borrower *b)
{
    struct frame_stream s;
    struct frame f = FRAME_INIT;
    int64_t slots, bytes;
    int r;

    frame_stream_init(&s, b->conn, "its writer");
    s.deadline_ms = LEND_WAIT_MS;
    r = frame_next(&s, &f);
    if (r > 0 && frame_meta_int(&f, "slots", &slots) == 0 &&
        frame_meta_int(&f, "bytes", &bytes) == 0) {
        b->n = slots > 0 && slots <= LEND_SLOTS ? (int)slots : 0;
        b->slot_bytes = bytes > 0 ? (size_t)bytes : 0;
        b->bytes = b->slot_bytes * (size_t)b->n;
        if (b->bytes == 0 || b->bytes / (size_t)b->n != b->slot_bytes ||
            b->slot_bytes % FRAME_REF_ALIGN != 0)
            r = err_set(ERR_DATA, "slots that cannot be");
    } else if (r >= 0) {
        r = err_set(ERR_DATA, "no slots");
    }
    frame_release(&f);
    return r < 0 ? -1 : 0;
}

static int map(struct borrower *b, int fd)
{
    uint64_t bytes;
    void *p;

    if (sealed_size(fd, &bytes) < 0)
        return -1;
    if (b->bytes > bytes)
        return err_set(ERR_DATA, "%d slots of %zu bytes in %llu", b->n,
                       b->slot_bytes, (unsigned long long)bytes);
    /* To write as well: devices do not take what may only be read. */
    p = mmap(NULL, b->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
             fd, 0);
    if (p == MAP_FAILED)
        return err_sys(ERR_SYSTEM, "%zu bytes", b->bytes);
    b->base = p;
    return 0;
}

/* Be given the memory, map it and say so. */
static int meet(struct borrower *b)
{
    struct frame_pair meta[] = {{"role", "borrow"}};
    struct pollfd p = {.fd = b->conn, .events = POLLIN};
    int fds[LOCAL_FDS], i, r;
    pid_t pid;

    fault_point("borrow.meet");
    if (local_user(b->conn, &pid) < 0)
        return -1;
    if (poll(&p, 1, LEND_WAIT_MS) <= 0)
        return err_set(ERR_PEER, "its writer does not answer");
    if (local_take(b->conn, fds) < 0)
        return -1;
    r = hear(b) < 0 || map(b, fds[0]) < 0 ? -1 : 0;
    for (i = 0; i < LOCAL_FDS; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    if (r < 0)
        return -1;
    b->held = xcalloc((size_t)b->n, sizeof(*b->held));
    for (i = 0; i < b->n; i++)
        atomic_init(&b->held[i], false);
    fault_point("borrow.mapped");
    return frame_write(&b->w, "hello", meta, 1, NULL, 0, LEND_WAIT_MS);
}

struct borrower *borrow_open(int fd)
{
    char *address = slots_allowed() ? lend_address(fd) : NULL;
    int conn = address ? local_connect(address) : -1;
    struct borrower *b = NULL;

    free(address);
    if (conn < 0)
        return NULL;
    b = xcalloc(1, sizeof(*b));
    b->conn = conn;
    frame_writer_init(&b->w, conn, "writer of the batches");
    if (meet(b) < 0) {
        note("memory of the batches: %s: they come through the pipe",
             err_text());
        err_clear();
        borrow_close(b);
        b = NULL;
    }
    return b;
}

void *borrow_memory(const struct borrower *b, size_t *bytes)
{
    *bytes = b ? b->bytes : 0;
    return b ? b->base : NULL;
}

int borrow_frame(struct borrower *b, const struct frame *f, struct loan *loan)
{
    int r = frame_ref(f, b ? b->n : 0, b ? b->slot_bytes : 0, &loan->f,
                      &loan->slot);

    if (r <= 0)
        return r;
    if (atomic_exchange(&b->held[loan->slot], true)) {
        frame_release(&loan->f);
        return err_set(ERR_DATA, "slot %d, which is being read", loan->slot);
    }
    loan->base = b->base + (size_t)loan->slot * b->slot_bytes;
    fault_point("borrow.taken");
    return 1;
}

void borrow_return(struct borrower *b, int slot)
{
    char number[24];
    struct frame_pair meta[] = {{"slot", number}};
    struct err_kept kept;

    atomic_store(&b->held[slot], false);
    fault_point("borrow.back");
    if (b->lost)
        return;
    snprintf(number, sizeof(number), "%d", slot);
    kept = err_keep();
    /* That a writer has gone is seen in its stream. */
    if (frame_write(&b->w, "free", meta, 1, NULL, 0, LEND_WAIT_MS) < 0) {
        shutdown(b->conn, SHUT_RDWR);
        b->lost = true;
    }
    err_restore(&kept);
}

void borrow_close(struct borrower *b)
{
    if (!b)
        return;
    if (b->base)
        munmap(b->base, b->bytes);
    close(b->conn);
    frame_writer_release(&b->w);
    free(b->held);
    free(b);
}
