/*
 * The ring's threads against frames written by hand: two ranks of one process,
 * whose requests all lie in the pipes before the first answer is read.
 */
#include "61-host.h"
#include "lib/tap.h"

#include "io/ctl.h"

#define N 20000 /* numbers of the bucket: 80 KB */
#define TIMES 5 /* fit in REQUESTS */
#define REQUESTS (1 << 20)

static struct host h;

/* The same bucket again and again: the numbers of rank r are 10^r + t. */
static int ask(int rank)
{
    static float g[N];
    struct frame_pair hello[] = {{"proto", CTL_PROTO}, {"role", "worker"},
                                 {"layout", "l"},      {"recipe", "r"},
                                 {"samples", "0"},     {"slots", "0"}};
    struct frame_pair grad[] = {{"step", "0"}, {"bucket", "0"}};
    struct frame_writer w;
    int bad;

    frame_writer_init(&w, h.fd_out[rank], "requests");
    bad = frame_write(&w, CTL_HELLO, hello, 6, NULL, 0, 0) < 0;
    for (int t = 0; t < TIMES; t++) {
        struct frame_item item = {"g", TENSOR1(DT_F32, g, N)};
        for (int i = 0; i < N; i++)
            g[i] = (float)((rank ? 10 : 1) + t);
        bad += frame_write(&w, CTL_GRAD, grad, 2, &item, 1, 0) < 0;
    }
    bad += frame_write_end(&w) < 0;
    frame_writer_release(&w);
    return bad;
}

/* The next frame is an answer of this type; how many of the numbers of sum t in
 * it are not what they should be. */
static int read_answer(struct frame_stream *s, const char *type, int t)
{
    static float g[N];
    struct frame f = FRAME_INIT;
    int more = frame_next(s, &f);
    int bad = more < 0 || strcmp(frame_type(&f), type) != 0;

    if (!bad && strcmp(type, CTL_SUM) == 0) {
        bad += frame_data_all(s, &f, g) < 0;
        for (int i = 0; i < N; i++)
            bad += g[i] != (float)(11 + 2 * t);
    }
    frame_release(&f);
    return bad;
}

/* A bucket has one place in the memory: the sums that a worker has not read yet
 * stay there, whatever it asks for meanwhile. */
static void test_ahead(void)
{
    struct frame_stream s[WORLD];
    int asked = 0, bad[WORLD] = {0, 0};

    host_start(&h, &plane_shm, 0);
    for (int r = 0; r < WORLD; r++) {
        if (fcntl(h.fd_out[r], F_SETPIPE_SZ, REQUESTS) < REQUESTS)
            die();
        asked += ask(r);
        frame_stream_init(&s[r], h.fd_in[r], "answers");
        s[r].deadline_ms = 10000;
    }
    is_int(asked, 0, "a bucket is asked for %d times ahead", TIMES);
    for (int t = -1; t <= TIMES; t++)
        for (int r = 0; r < WORLD; r++)
            bad[r] += read_answer(&s[r],
                                  t < 0       ? CTL_HELLO
                                  : t < TIMES ? CTL_SUM
                                              : "end",
                                  t);
    for (int r = 0; r < WORLD; r++)
        is_int(bad[r], 0, "rank %d reads each of the sums", r);
    ok(host_stop(&h, 0), "the ring's threads end");
}

int main(void)
{
    test_ahead();
    return done_testing();
}
