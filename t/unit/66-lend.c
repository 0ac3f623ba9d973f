/*
 * Batches in memory that writer and reader share: headers that say where tensors
 * lie, the two ends of a pipe that find each other, and ends that lie.
 */
#include "lib/tap.h"

#include "io/lend.h"
#include "io/lend_private.h"
#include "io/local.h"
#include "io/sealed.h"
#include "util/fdio.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 6
#define ROOM 4096

static void must(bool good)
{
    if (!good) {
        fprintf(stderr, "%s\n", err_text());
        exit(1);
    }
}

/* ---- headers */

static struct frame frame_of(const char *meta, const char *tensors)
{
    char *text = xstrfmt("{\"__metadata__\":{%s}%s}", meta, tensors);
    struct frame f = FRAME_INIT;

    must(frame_parse(&f, text, strlen(text), FRAME_STREAM) == 0);
    free(text);
    return f;
}

static void test_refused(void)
{
    static const struct {
        const char *meta, *why;
    } cases[] = {
        {"'shm':'0','x.a':'U8:4097:0'", "outside of a slot of 4096"},
        {"'shm':'0','x.a':'U8:1:4096'", "outside of a slot"},
        {"'shm':'0','x.a':'U8:0:4160'", "outside of a slot"},
        {"'shm':'0','x.a':'I64:8:4064'", "outside of a slot"},
        {"'shm':'0','x.a':'U8:1:9007199254740992'", "outside of a slot"},
        {"'shm':'0','x.a':'U8:1:9007199254740993'", "larger than 2^53"},
        {"'shm':'0','x.a':'U8:1:99999999999999999999999'", "larger than 2^53"},
        {"'shm':'0','x.a':'U8:4294967296,4294967296:0'", ""},
        {"'shm':'0','x.a':'U8:65,1:0','x.b':'U8:1:64'", "overlap"},
        {"'shm':'0','x.a':'U8:9:64','x.b':'U8:9:64'", "overlap"},
        {"'shm':'0','x.a':'U8:9:8'", "not a multiple of 64"},
        {"'shm':'0','x.a':'U8:-1:0'", "not a number"},
        {"'shm':'0','x.a':'U8:1:-64'", "not a number"},
        {"'shm':'0','x.a':'U8:1,:0'", "not a number"},
        {"'shm':'0','x.a':'U8:1 :0'", "',' is missing"},
        {"'shm':'0','x.a':'U8:1:'", "not a number"},
        {"'shm':'0','x.a':'U8:1:0 '", "behind the offset"},
        {"'shm':'0','x.a':'U8:1'", "',' is missing"},
        {"'shm':'0','x.a':'U8'", "':' is missing"},
        {"'shm':'0','x.a':''", ""},
        {"'shm':'0','x.a':'U9:1:0'", "U9"},
        {"'shm':'0','x.a':'A DTYPE THAT IS TOO LONG:1:0'", "unknown dtype"},
        {"'shm':'0','x.a':'U8:1,1,1,1,1,1,1,1,1:0'", "more than 8 dimensions"},
        {"'shm':'6','x.a':'U8:1:0'", "slot 6, there are 6"},
        {"'shm':'-1','x.a':'U8:1:0'", "slot -1, there are 6"},
        {"'shm':'x','x.a':'U8:1:0'", "not a number"},
        {"'shm':'','x.a':'U8:1:0'", "not a number"},
    };
    struct frame f, there;
    char *meta, *p;
    int slot;

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        meta = xstrdup(cases[i].meta);
        for (p = meta; *p; p++)
            if (*p == '\'')
                *p = '"';
        f = frame_of(meta, "");
        ok(frame_ref(&f, SLOTS, ROOM, &there, &slot) == -1 &&
               err_code() == ERR_DATA && !there.memory,
           "%s is refused", cases[i].meta);
        has_str(err_text(), cases[i].why, "and it is said why");
        frame_release(&f);
        free(meta);
    }
    f = frame_of("\"shm\":\"0\"", ",\"a\":{\"dtype\":\"U8\",\"shape\":[1],"
                                  "\"data_offsets\":[0,1]}");
    is_int(frame_ref(&f, SLOTS, ROOM, &there, &slot), -1,
           "tensors here and there are refused");
    frame_release(&f);
    f = frame_of("\"shm\":\"0\",\"x.a\":\"U8:1:0\"", "");
    ok(frame_ref(&f, 0, 0, &there, &slot) == -1, "without memory it is none");
    has_str(err_text(), "not shared with this program", "and that is said");
    frame_release(&f);
    f = frame_of("\"x.a\":\"U8:1:0\"", "");
    is_int(frame_ref(&f, SLOTS, ROOM, &there, &slot), 0,
           "a frame without a slot is like any other");
    frame_release(&f);
}

static void test_written(void)
{
    static char base[ROOM];
    struct frame_slot at = {3, base, ROOM};
    struct frame_item items[] = {
        {"image", TENSOR4(DT_U8, base + 64, 2, 5, 4, 3)},
        {"label", TENSOR1(DT_I64, base + 192, 2)},
        {"all", tensor_of(DT_F32, 0, NULL, base)}};
    struct frame_pair meta[] = {{"n", "2"}};
    struct frame f = FRAME_INIT, there;
    struct frame_stream s;
    struct frame_writer w;
    int p[2], slot = -1, i;

    must(pipe(p) == 0);
    frame_writer_init(&w, p[1], "w");
    frame_stream_init(&s, p[0], "r");
    must(frame_write(&w, "hello", NULL, 0, NULL, 0, 0) == 0 &&
         frame_next(&s, &f) == 1);
    ok(frame_write_ref(&w, &at, "batch", meta, 1, items, 3) == 0, "written");
    must(frame_next(&s, &f) == 1);
    is_int((int64_t)f.data_bytes, 0, "without data");
    ok(frame_ref(&f, SLOTS, ROOM, &there, &slot) == 1, "and read");
    is_int(slot, 3, "of its slot");
    is_str(frame_meta(&there, "n"), "2", "with its metadata");
    ok(there.n_tensors == 3 && frame_want(&there, "image", DT_U8, 4, &i) == 0 &&
           tensor_same_shape(&there.tensor[i].t, &items[0].t) &&
           there.tensor[i].begin == 64 && there.tensor[i].end == 64 + 120,
       "a tensor of four dimensions");
    ok(frame_want(&there, "all", DT_F32, 0, &i) == 0 &&
           there.tensor[i].end == 4,
       "a tensor of none");
    frame_release(&there);
    items[0].t.data = base + 8;
    is_int(frame_write_ref(&w, &at, "batch", meta, 1, items, 1), -1,
           "a place between two places is not written");
    items[0].t.data = base + ROOM - 64;
    is_int(frame_write_ref(&w, &at, "batch", meta, 1, items, 1), -1,
           "nor one beyond the end");
    frame_release(&f);
    frame_writer_release(&w);
    close(p[0]);
    close(p[1]);
}

/* ---- two ends that keep to the rules */

/* Until the slot at p is taken by the reader or *l knows that it left. */
static bool offer(struct lender *l, const void *p, struct frame_slot *s)
{
    static const struct timespec pause = {0, 1000000};
    int tries = 20000;

    while (!lend_offer(l, p, s) && --tries > 0)
        nanosleep(&pause, NULL);
    return tries > 0;
}

static void test_lent(void)
{
    struct frame f, header;
    struct frame_slot s;
    struct borrower *b;
    struct lender *l;
    struct loan loan;
    char *mine[SLOTS], *text;
    size_t bytes;
    int p[2], q[2], i;

    must(pipe(p) == 0 && pipe(q) == 0);
    l = lend_open(p[1], 1000, SLOTS);
    must(l != NULL);
    ok(!lend_open(p[1], 1000, SLOTS), "one writer lends, a second does not");
    ok(!borrow_open(q[0]), "nothing is lent in another pipe");
    for (i = 0; i < SLOTS; i++)
        mine[i] = lend_take(l);
    ok(mine[0] && mine[5] == mine[0] + 5 * (size_t)ROOM,
       "slots of whole pages");
    ok(!lend_offer(l, mine[2], &s), "nobody has come for them");
    b = borrow_open(p[0]);
    must(b != NULL);
    ok(borrow_memory(b, &bytes) && bytes == SLOTS * (size_t)ROOM,
       "the reader has the memory");
    ok(offer(l, mine[2], &s) && s.number == 2 && s.base == mine[2], "and takes "
                                                                    "a slot");
    mine[2][64] = 'a';
    header = frame_of("\"shm\":\"2\",\"x.a\":\"U8:1:64\"", "");
    ok(borrow_frame(b, &header, &loan) == 1 && loan.base != mine[2] &&
           loan.base[loan.f.tensor[0].begin] == 'a',
       "in which it reads what was written");
    frame_release(&loan.f);
    is_int(borrow_frame(b, &header, &loan), -1, "not twice");
    has_str(err_text(), "slot 2, which is being read", "until it is back");
    borrow_return(b, 2);
    ok(lend_take(l) == mine[2], "the writer has it back");
    mine[2][64] = 'b';
    ok(offer(l, mine[2], &s) && borrow_frame(b, &header, &loan) == 1 &&
           loan.base[loan.f.tensor[0].begin] == 'b',
       "and gives it again");
    frame_release(&loan.f);
    frame_release(&header);
    f = frame_of("\"n\":\"2\"", "");
    is_int(borrow_frame(b, &f, &loan), 0, "a frame that has its data");
    frame_release(&f);
    text = xstrfmt("\"shm\":\"%d\"", SLOTS);
    f = frame_of(text, "");
    is_int(borrow_frame(b, &f, &loan), -1, "a slot that is not there");
    frame_release(&f);
    free(text);
    borrow_close(b);
    ok(lend_take(l) == mine[2], "a reader that leaves gives back what it had");
    ok(!lend_offer(l, mine[2], &s), "and takes no more");
    ok(!borrow_open(p[0]), "nor does another one");
    lend_close(l);
    for (i = 0; i < 2; i++) {
        close(p[i]);
        close(q[i]);
    }
}

static void test_writer_left(void)
{
    struct frame_slot s;
    struct borrower *b;
    struct lender *l;
    char *mine;
    size_t bytes;
    int p[2];

    must(pipe(p) == 0);
    l = lend_open(p[1], 1000, SLOTS);
    must(l != NULL);
    lend_close(l);
    l = lend_open(p[1], 1000, SLOTS);
    ok(l != NULL, "the next writer lends again");
    b = borrow_open(p[0]);
    must(l && b);
    mine = lend_take(l);
    must(offer(l, mine, &s));
    mine[0] = 'c';
    lend_close(l);
    ok(*(char *)borrow_memory(b, &bytes) == 'c',
       "what a writer left can be read when it is gone");
    (void)err_set(ERR_DATA, "a failure");
    borrow_return(b, 0);
    borrow_return(b, 1);
    is_str(err_text(), "a failure", "giving back leaves what failed before");
    is_int(err_code(), ERR_DATA, "its class too");
    err_clear();
    borrow_close(b);
    close(p[0]);
    close(p[1]);
}

static void test_not_lent(void)
{
    int p[2], file = open("file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int s[2];

    must(pipe(p) == 0 && file >= 0 &&
         socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
    unlink("file");
    ok(!lend_open(file, 1000, SLOTS), "not to a file");
    ok(!lend_open(s[0], 1000, SLOTS), "not to a socket");
    ok(!lend_open(p[1], SIZE_MAX / 2, SLOTS), "not more than there is");
    ok(!lend_open(p[1], 1000, 0), "not nothing");
    setenv("MILLRACE_SLOTS", "off", 1);
    ok(!lend_open(p[1], 1000, SLOTS), "not if it is not wanted");
    unsetenv("MILLRACE_SLOTS");
    for (int i = 0; i < 2; i++) {
        close(p[i]);
        close(s[i]);
    }
    close(file);
}

/* ---- a reader that lies */

/* Connect as a reader would, and take the memory. */
static int liar(int fd, struct frame_writer *w)
{
    char *address = lend_address(fd);
    int conn = local_connect(address), fds[LOCAL_FDS];

    must(conn >= 0 && local_take(conn, fds) == 1);
    close(fds[0]);
    frame_writer_init(w, conn, "liar");
    must(frame_write(w, "hello", NULL, 0, NULL, 0, 0) == 0);
    free(address);
    return conn;
}

static void say(struct frame_writer *w, const char *type, const char *slot)
{
    struct frame_pair meta[] = {{"slot", slot}};

    must(frame_write(w, type, meta, 1, NULL, 0, 0) == 0);
}

static void test_reader_lies(void)
{
    static const struct {
        const char *type, *slot, *why;
    } cases[] = {
        {"free", "0", "gave back slot 0, which it did not have"},
        {"free", "1", "gave back slot 1"},
        {"free", "6", "gave back slot 6"},
        {"free", "-1", "gave back slot -1"},
        {"free", "99999999999999999999", "not a number"},
        {"grad", "1", "unknown frame \"grad\""},
    };
    struct frame_writer w;
    struct frame_slot s;
    struct lender *l;
    int p[2], conn;
    char *mine[2];

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        must(pipe(p) == 0);
        l = lend_open(p[1], 1000, 2);
        must(l != NULL);
        mine[0] = lend_take(l);
        mine[1] = lend_take(l);
        conn = liar(p[0], &w);
        /* lent and given back: what comes then is too much */
        must(offer(l, mine[0], &s));
        say(&w, "free", "0");
        must(lend_take(l) == mine[0]);
        say(&w, cases[i].type, cases[i].slot);
        ok(!lend_take(l) && err_code() == ERR_DATA, "%s %s is refused",
           cases[i].type, cases[i].slot);
        has_str(err_text(), cases[i].why, "and it is said why");
        frame_writer_release(&w);
        close(conn);
        lend_close(l);
        close(p[0]);
        close(p[1]);
    }
}

/* ---- a writer that lies */

enum lie {
    NO_DESCRIPTOR,
    NO_MEMORY,
    NOT_SEALED,
    TOO_SMALL,
    NO_SLOTS,
    MANY_SLOTS,
    ODD_SLOTS,
    ZERO_SLOTS,
    WRAPPING,
    GARBAGE,
    LIES
};

struct writer {
    int listener;
    enum lie lie;
};

static int memory_of(enum lie lie)
{
    int fd;

    if (lie == NO_MEMORY)
        return open("/dev/zero", O_RDWR | O_CLOEXEC);
    if (lie != NOT_SEALED)
        return sealed_new(4 * (size_t)ROOM);
    fd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    must(ftruncate(fd, 4 * (off_t)ROOM) == 0 &&
         fcntl(fd, F_ADD_SEALS, F_SEAL_GROW) == 0);
    return fd;
}

static void *lying_writer(void *arg)
{
    struct writer *v = arg;
    struct frame_pair meta[] = {{"bytes", "4096"}, {"slots", "4"}};
    int fd = memory_of(v->lie), conn = accept(v->listener, NULL, NULL);
    struct frame_writer w;
    char byte;

    frame_writer_init(&w, conn, "liar");
    if (v->lie == NO_DESCRIPTOR)
        must(write(conn, "m", 1) == 1);
    else
        must(local_give(conn, &fd, 1) == 0);
    if (v->lie == TOO_SMALL)
        meta[1].value = "5";
    else if (v->lie == MANY_SLOTS)
        meta[1].value = "65537";
    else if (v->lie == ODD_SLOTS)
        meta[0].value = "4095";
    else if (v->lie == ZERO_SLOTS)
        meta[1].value = "0";
    else if (v->lie == WRAPPING)
        meta[0].value = "9223372036854775744";
    if (v->lie == GARBAGE)
        (void)!write(conn, "this is no frame", 16);
    else
        (void)!frame_write(&w, "hello", meta, v->lie == NO_SLOTS ? 0 : 2, NULL,
                           0, 0);
    while (read(conn, &byte, 1) > 0)
        continue;
    frame_writer_release(&w);
    close(conn);
    close(fd);
    return NULL;
}

static void test_writer_lies(void)
{
    static const char *const what[LIES] = {
        "no descriptor",   "a descriptor of something else",
        "an open size",    "less memory than slots",
        "no word of it",   "too many slots",
        "odd slots",       "no slots",
        "slots that wrap", "no frame"};
    struct writer w;
    pthread_t t;
    char *address;
    int p[2];

    must(pipe(p) == 0);
    address = lend_address(p[1]);
    w.listener = local_listen(address, 1);
    must(w.listener >= 0);
    for (int i = 0; i < LIES; i++) {
        w.lie = (enum lie)i;
        must(pthread_create(&t, NULL, lying_writer, &w) == 0);
        ok(!borrow_open(p[0]), "%s is not taken", what[i]);
        pthread_join(t, NULL);
    }
    free(address);
    close(w.listener);
    close(p[0]);
    close(p[1]);
}

int main(void)
{
    struct sigaction a = {.sa_handler = SIG_IGN};

    sigaction(SIGPIPE, &a, NULL);
    test_refused();
    test_written();
    test_lent();
    test_writer_left();
    test_not_lent();
    test_reader_lies();
    test_writer_lies();
    return done_testing();
}
