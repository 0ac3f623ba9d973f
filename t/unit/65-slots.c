/*
 * Gradients in shared memory: the slots, what a worker takes for the ring's
 * memory, and what the ring takes from a worker.
 */
#include "lib/tap.h"

#include "io/ctl.h"
#include "io/frame.h"
#include "io/slots.h"
#include "ring/serve.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096

static void test_place(void)
{
    struct slots s;
    size_t at[4];

    slots_init(&s, 10 * (size_t)PAGE);
    ok(slots_place(&s, 7, 5000, &at[0]) == 0 &&
           slots_place(&s, 2, 1, &at[1]) == 0 &&
           slots_place(&s, 7, 5056, &at[2]) == 0,
       "slots for buckets");
    is_int((int64_t)at[1], 5056, "one behind the other");
    is_int((int64_t)at[2], (int64_t)at[0], "the same while it is large enough");
    ok(slots_place(&s, 7, 5057, &at[3]) == 0, "a larger one");
    is_int((int64_t)at[3], 5120, "is somewhere else");
    is_int(slots_place(&s, 9, 30721, &at[0]), -1, "more than there is");
    is_int(slots_place(&s, 9, SIZE_MAX, &at[0]), -1, "far more than there is");
    is_int(err_code(), ERR_SYSTEM, "is an error");
    is_int(slots_place(&s, 9, 30720, &at[0]), 0, "all there is");
    is_int(slots_place(&s, 10, 0, &at[0]), 0, "nothing always fits");
    slots_release(&s);
}

static int memory(size_t bytes, int seals)
{
    int fd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0 ||
        fcntl(fd, F_ADD_SEALS, seals) < 0)
        exit(1);
    return fd;
}

/* Each would read or write where nothing is. */
static void test_refused(void)
{
    int good = memory(4 * (size_t)PAGE, F_SEAL_SHRINK);
    int open_end = memory(4 * (size_t)PAGE, F_SEAL_GROW);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    const struct {
        struct slots_offer o;
        const char *what;
    } cases[] = {
        {{-1, 0, PAGE, PAGE}, "no descriptor"},
        {{9999, 0, PAGE, PAGE}, "a descriptor that is not open"},
        {{null, 0, PAGE, PAGE}, "something that is no memory"},
        {{open_end, 0, PAGE, PAGE}, "memory that can become shorter"},
        {{good, 0, PAGE, 0}, "no room"},
        {{good, 0, PAGE, 5 * PAGE}, "more room than there is"},
        {{good, 0, 3 * PAGE, 2 * PAGE}, "sums that go beyond the end"},
        {{good, 4 * PAGE, 0, PAGE}, "an arena behind the end"},
        {{good, 0, UINT64_MAX - PAGE + 1, PAGE}, "sums that wrap around"},
        {{good, 8, PAGE, PAGE}, "an arena in the middle of a page"},
        {{good, 0, 0, UINT64_MAX - PAGE + 1}, "room that wraps around"},
    };
    struct slots s;

    slots_init(&s, 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        ok(slots_map(&s, &cases[i].o) < 0 && err_code() == ERR_UNAVAILABLE &&
               !s.arena,
           "%s is refused", cases[i].what);
    slots_release(&s);
    close(good);
    close(open_end);
    close(null);
}

static void test_mapped(void)
{
    int fd = memory(4 * (size_t)PAGE, F_SEAL_SHRINK);
    struct slots_offer o = {fd, PAGE, 2 * PAGE, 2 * PAGE};
    struct slots s;
    char c = 0;

    slots_init(&s, 0);
    ok(slots_map(&s, &o) == 0, "what is offered is mapped");
    is_int((int64_t)s.room, 2 * (int64_t)PAGE, "with its room");
    s.arena[PAGE] = 'a';
    is_int(pread(fd, &c, 1, 2 * (off_t)PAGE), 1, "the other end sees");
    is_int(c, 'a', "what is written");
    close(fd);
    is_int(s.sums[0], 'a', "and the memory stays when the other end is gone");
    slots_release(&s);
}

/* ---- the ring's side: one rank whose worker is this thread */

struct desk {
    struct shm shm;
    struct plane *plane;
    struct serve serve;
    struct frame_writer w;
    struct frame_stream s;
    struct frame f;
    int to, from;
};

static void desk_open(struct desk *d, bool share)
{
    struct serve_plane p;
    int in[2], out[2];

    if (shm_create(&d->shm, 1) < 0 || pipe(in) < 0 || pipe(out) < 0 ||
        plane_shm.open(&d->plane, &d->shm, NULL) < 0)
        exit(1);
    p = (struct serve_plane){&d->shm, &plane_shm, d->plane,
                             share ? d->shm.fd[SHM_DATA] : -1};
    if (serve_start(&d->serve, &p, in[0], out[1]) < 0)
        exit(1);
    d->to = in[1];
    d->from = out[0];
    d->f = (struct frame)FRAME_INIT;
    frame_writer_init(&d->w, d->to, "to");
    frame_stream_init(&d->s, d->from, "from");
}

static bool desk_close(struct desk *d)
{
    bool good;

    close(d->to);
    good = serve_stop(&d->serve, 5000);
    close(d->from);
    frame_release(&d->f);
    frame_writer_release(&d->w);
    plane_shm.close(d->plane);
    shm_release(&d->shm);
    return good;
}

/* Say hello and hear the answer. */
static void desk_hello(struct desk *d, const char *slots)
{
    struct frame_pair meta[] = {{"layout", "l"},  {"proto", CTL_PROTO},
                                {"recipe", "r"},  {"role", "worker"},
                                {"samples", "0"}, {"slots", slots}};

    if (frame_write(&d->w, CTL_HELLO, meta, 6, NULL, 0, 0) < 0 ||
        frame_next(&d->s, &d->f) != 1)
        exit(1);
}

/* A bucket in a slot; the type of what comes back. */
static const char *desk_grad(struct desk *d, const char *bucket, const char *n,
                             const char *at)
{
    struct frame_pair meta[] = {
        {"at", at}, {"bucket", bucket}, {"n", n}, {"step", "0"}};

    if (frame_write(&d->w, CTL_GRAD, meta, 4, NULL, 0, 0) < 0)
        return "closed";
    (void)!frame_next(&d->s, &d->f);
    return frame_type(&d->f);
}

static void test_ring(void)
{
    static const struct {
        bool share;
        const char *slots, *bucket, *n, *at, *says;
    } bad[] = {
        {true, "1", "0", "10", "4096", "bucket 0 is at 4096, not at 0"},
        {true, "1", "0", "10", "-4096", "\"at\""},
        {true, "1", "0", "99999999999999", "0", "\"n\""},
        {true, "1", "0", "-1", "0", "\"n\""},
        {true, "1", "4096", "10", "0", "\"bucket\""},
        {true, "0", "0", "10", "0", "\"g\""},
        {false, "1", "0", "10", "0", "\"g\""},
    };
    struct desk d;
    float *g;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        desk_open(&d, bad[i].share);
        desk_hello(&d, bad[i].slots);
        is_str(desk_grad(&d, bad[i].bucket, bad[i].n, bad[i].at), "error",
               "bucket %s of %s at %s (%s, %d) is refused", bad[i].bucket,
               bad[i].n, bad[i].at, bad[i].slots, bad[i].share);
        has_str(frame_meta(&d.f, "msg"), bad[i].says, "and it is said why");
        ok(desk_close(&d), "the threads end");
    }

    desk_open(&d, true);
    desk_hello(&d, "1");
    g = shm_arena(&d.shm, 0);
    g[0] = 1.5f;
    is_str(desk_grad(&d, "0", "10", "0"), CTL_SUM, "a slot is taken");
    is_str(frame_meta(&d.f, "finite"), "1", "and is finite");
    is_int(d.f.n_tensors, 0, "the answer has no numbers");
    g[16] = INFINITY;
    is_str(desk_grad(&d, "1", "10", "64"), CTL_SUM, "the next one");
    is_str(frame_meta(&d.f, "finite"), "0", "is not");
    ok(frame_write_end(&d.w) == 0 && frame_next(&d.s, &d.f) == 0 &&
           desk_close(&d),
       "and the end");
}

int main(void)
{
    struct sigaction a = {.sa_handler = SIG_IGN};

    sigaction(SIGPIPE, &a, NULL);
    test_place();
    test_refused();
    test_mapped();
    test_ring();
    return done_testing();
}
