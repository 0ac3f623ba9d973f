/*
 * Who is let in: the login of two sides that know the key, and all that is not
 * one; sealed channels; tags; messages of the control plane.
 */
#include "lib/tap.h"

#include "ring/channel.h"
#include "ring/crypt.h"
#include "ring/flow.h"
#include "ring/login.h"
#include "ring/mirror.h"
#include "ring/msg.h"
#include "ring/sum.h"
#include "tensor/dtype.h"
#include "util/fdio.h"

#include <sys/socket.h>
#include <unistd.h>

static unsigned char key[CRYPT_KEY], other_key[CRYPT_KEY];

static struct login_id id_of(uint32_t rank)
{
    return (struct login_id){
        .rank = rank, .world = 4, .purpose = 3, .job = "x"};
}

static void begin(struct login *l, bool dial, const unsigned char *k)
{
    struct login_id id = id_of(dial ? 1 : 0);

    login_begin(l, -1, dial, k, &id, clock_ms() + 10000);
}

/* What one side has to say goes to the other. */
static int pass(struct login *from, struct login *to)
{
    const unsigned char *p;
    size_t n = login_rest(from, &p);
    int r = login_take(to, p, n);

    from->sent += n;
    return r;
}

static void test_login(void)
{
    struct login a, b;

    begin(&a, true, key);
    begin(&b, false, key);
    is_int(pass(&a, &b), 0, "a hello is not enough");
    is_int(pass(&b, &a), 1, "the acceptor proves himself");
    is_int(pass(&a, &b), 1, "and the dialler");
    ok(!memcmp(a.tx, b.rx, CRYPT_KEY) && !memcmp(a.rx, b.tx, CRYPT_KEY) &&
           memcmp(a.tx, a.rx, CRYPT_KEY) != 0,
       "each direction has a key of its own");
    ok(b.peer.rank == 1 && b.peer.world == 4 && b.peer.purpose == 3 &&
           a.peer.rank == 0,
       "both know who is there");
    login_end(&a);
    login_end(&b);

    begin(&a, true, other_key);
    begin(&b, false, key);
    is_int(pass(&a, &b), 0, "another key: its hello is heard");
    is_int(pass(&b, &a), -1, "but not its proof");
    is_int(err_code(), ERR_NOPERM, "on one side");
    is_int(pass(&a, &b), -1, "and on the other");
    is_int(err_code(), ERR_NOPERM, "with the class of a login");
    login_end(&a);
    login_end(&b);
}

/* All bytes of a good login, said again to a new acceptor. */
static void test_replay(void)
{
    struct login a, b, c;
    unsigned char said[LOGIN_BYTES];

    begin(&a, true, key);
    begin(&b, false, key);
    ok(pass(&a, &b) == 0 && pass(&b, &a) == 1 && pass(&a, &b) == 1,
       "a login is overheard");
    memcpy(said, a.out, sizeof(said));
    begin(&c, false, key);
    is_int(login_take(&c, said, sizeof(said)), -1, "and worth nothing again");
    is_int(err_code(), ERR_NOPERM, "the proof was for another nonce");
    login_end(&a);
    login_end(&b);
    login_end(&c);
}

static void test_reflection(void)
{
    struct login b;
    const unsigned char *p;
    size_t n;

    begin(&b, false, key);
    n = login_rest(&b, &p);
    is_int(login_take(&b, p, n), -1, "a side that gets its own hello back");
    has_str(err_text(), "same role", "knows it");
    login_end(&b);
}

/* The bytes of a good hello with one of them changed, at n places. */
static void test_changed(void)
{
    int taken = 0;

    for (size_t at = 0; at < LOGIN_BYTES; at++) {
        struct login a, b;
        unsigned char said[LOGIN_BYTES];
        int r;
        begin(&a, true, key);
        begin(&b, false, key);
        if (pass(&b, &a) < 0)
            break;
        memcpy(said, a.out, sizeof(said));
        said[at] ^= 0x40;
        r = login_take(&b, said, LOGIN_BYTES);
        taken += r == 1;
        login_end(&a);
        login_end(&b);
    }
    is_int(taken, 0, "no byte of a login can be changed");
}

static void hello_with(size_t at, unsigned char v, enum err_class class,
                       const char *text)
{
    struct login a, b;
    unsigned char said[LOGIN_HELLO];

    begin(&a, true, key);
    begin(&b, false, key);
    memcpy(said, a.out, sizeof(said));
    said[at] = v;
    is_int(login_take(&b, said, sizeof(said)), -1, "%s", text);
    is_int(err_code(), class, "by its class");
    login_end(&a);
    login_end(&b);
}

static void test_weak_key(void)
{
    struct login a, b;
    unsigned char said[LOGIN_HELLO];

    begin(&a, true, key);
    begin(&b, false, key);
    memcpy(said, a.out, sizeof(said));
    memset(said + 36, 0, CRYPT_KEY);
    is_int(login_take(&b, said, sizeof(said)), -1,
           "a public key that makes every secret 0");
    is_int(login_take(&b, said, LOGIN_BYTES), -1, "too many bytes");
    login_end(&a);
    login_end(&b);
}

/* ---- channels */

static void connect_channels(struct channel *a, struct channel *b, int fd[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) < 0)
        exit(1);
    channel_open(a, fd[0], key, other_key);
    channel_open(b, fd[1], other_key, key);
}

static void test_channel(void)
{
    struct channel a, b;
    struct buf m = BUF_INIT;
    int fd[2];
    char bytes[256];
    ssize_t n;

    connect_channels(&a, &b, fd);
    channel_put(&a, "one", 3);
    channel_put(&a, "", 0);
    ok(channel_flush(&a) == 0 && channel_idle(&a), "messages are sent");
    ok(channel_get(&b, &m) == 1 && m.len == 3 && !memcmp(m.data, "one", 3),
       "and come");
    ok(channel_get(&b, &m) == 1 && m.len == 0, "an empty one, too");
    is_int(channel_get(&b, &m), 0, "then there is none");
    channel_close(&a);
    is_int(channel_get(&b, &m), -1, "the end is an error");
    channel_close(&b);

    connect_channels(&a, &b, fd);
    channel_put(&a, "one", 3);
    if (channel_flush(&a) < 0)
        exit(1);
    n = recv(fd[1], bytes, sizeof(bytes), 0);
    ok(!memmem(bytes, (size_t)n, "one", 3), "nothing is readable on the way");
    bytes[n - 1] ^= 1;
    if (send(fd[0], bytes, (size_t)n, 0) != n)
        exit(1);
    is_int(channel_get(&b, &m), -1, "a changed bit is found");
    channel_close(&a);
    channel_close(&b);

    connect_channels(&a, &b, fd);
    channel_put(&a, "one", 3);
    if (channel_flush(&a) < 0)
        exit(1);
    n = recv(fd[1], bytes, sizeof(bytes), 0);
    /* The message twice, behind one head. */
    if (send(fd[0], bytes, (size_t)n, 0) != n ||
        send(fd[0], bytes + CRYPT_HEAD, (size_t)n - CRYPT_HEAD, 0) < 0)
        exit(1);
    is_int(channel_get(&b, &m), 1, "a message");
    is_int(channel_get(&b, &m), -1, "is not taken twice");
    channel_close(&a);
    channel_close(&b);

    connect_channels(&a, &b, fd);
    memset(bytes, 0xff, sizeof(bytes));
    if (send(fd[0], bytes, CRYPT_HEAD + 4, 0) < 0)
        exit(1);
    is_int(channel_get(&b, &m), -1, "4 GiB are not waited for");
    has_str(err_text(), "4294967295 bytes, at most", "and the limit is told");
    channel_close(&a);
    channel_close(&b);
    buf_release(&m);
}

/* ---- data */

static void test_flow(enum plane_protect protect, bool spoil, int want)
{
    struct flow a, b;
    struct flow_head h = {.type = FLOW_PART, .bytes = 1000, .count = 250};
    unsigned char out[1000], in[1000], bytes[2000];
    int fd[2], relay[2], r;
    ssize_t n;

    for (size_t i = 0; i < sizeof(out); i++)
        out[i] = (unsigned char)(i * 7);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, relay) < 0)
        exit(1);
    flow_open(&a, fd[0], protect, key, other_key);
    flow_open(&b, relay[1], protect, other_key, key);
    flow_send_begin(&a, &h, out);
    if (flow_send(&a) != 1)
        exit(1);
    n = recv(fd[1], bytes, sizeof(bytes), 0);
    if (spoil)
        bytes[FLOW_HEAD + 500] ^= 1;
    if (send(relay[0], bytes, (size_t)n, 0) != n)
        exit(1);
    flow_receive_begin(&b, &(struct flow_place){h, in}, 1);
    r = flow_receive(&b);
    is_int(r, want, "a message of kind %s, %s", plane_protect_name[protect],
           spoil ? "changed on its way" : "as it was sent");
    if (want == 1)
        ok(!memcmp(in, out, sizeof(in)), "and it is what was sent");
    flow_close(&a);
    flow_close(&b);
    close(fd[1]);
    close(relay[0]);
}

/* Some messages of two kinds, in an order that the receiver does not know, so many
 * bytes at a time. */
static void test_flow_order(enum plane_protect protect, size_t most)
{
    static const enum flow_type order[] = {FLOW_PART, FLOW_SUM,  FLOW_SUM,
                                           FLOW_PART, FLOW_PART, FLOW_SUM};
    struct flow a, b;
    unsigned char out[1000], in[2][1000], bytes[8000];
    int fd[2], relay[2], seen[2] = {0, 0}, bad = 0, done = 0;
    size_t n = 0, at = 0;

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, relay) < 0)
        exit(1);
    flow_open(&a, fd[0], protect, key, other_key);
    flow_open(&b, relay[1], protect, other_key, key);
    for (int i = 0; i < 6; i++) {
        uint32_t segment = (uint32_t)seen[order[i] - FLOW_PART]++;
        struct flow_head h = {
            .type = order[i], .bytes = 1000 - 8 * segment, .segment = segment};
        memset(out, i + 1, sizeof(out));
        flow_send_begin(&a, &h, out);
        if (flow_send(&a) != 1)
            exit(1);
        n += (size_t)recv(fd[1], bytes + n, sizeof(bytes) - n, 0);
    }
    seen[0] = seen[1] = 0;
    while (done < 6) {
        struct flow_place p[2] = {{{.type = FLOW_PART,
                                    .bytes = 1000 - 8 * (uint32_t)seen[0],
                                    .segment = (uint32_t)seen[0]},
                                   in[0]},
                                  {{.type = FLOW_SUM,
                                    .bytes = 1000 - 8 * (uint32_t)seen[1],
                                    .segment = (uint32_t)seen[1]},
                                   in[1]}};
        int r;
        if (!flow_receiving(&b))
            flow_receive_begin(&b, p, 2);
        r = flow_receive(&b);
        if (r < 0)
            break;
        if (r == 1) {
            bad += b.place[b.got].head.type != order[done];
            bad += in[b.got][0] != done + 1 ||
                   in[b.got][991 - 8 * seen[b.got]] != done + 1;
            seen[b.got]++;
            done++;
        } else if (at < n) {
            size_t some = n - at < most ? n - at : most;
            at += (size_t)send(relay[0], bytes + at, some, 0);
        }
    }
    ok(done == 6 && bad == 0, "messages of kind %s, one or the other, by %zu",
       plane_protect_name[protect], most);
    flow_close(&a);
    flow_close(&b);
    close(fd[1]);
    close(relay[0]);
}

static void test_flow_head(void)
{
    struct flow_head h = {
        .type = FLOW_SUM, .bucket = 3, .bytes = 8, .count = 2};
    unsigned char p[FLOW_HEAD];

    flow_head_write(&h, 9, p);
    is_int(flow_head_check(&h, 9, p), 0, "a head that is expected");
    is_int(flow_head_check(&h, 10, p), -1, "one that was there already");
    h.bytes = 12;
    is_int(flow_head_check(&h, 9, p), -1, "another length");
    is_int(err_code(), ERR_CONFIG, "is a disagreement");
    h.bytes = 8;
    h.infinite = true;
    flow_head_write(&h, 9, p);
    h.infinite = false;
    ok(flow_head_check(&h, 9, p) == 0 && h.infinite,
       "that sums are infinite is heard");
}

/* ---- messages */

static struct msg m, got;

static int again(void)
{
    struct buf b = BUF_INIT;
    int r;

    msg_put(&b, &m);
    r = msg_take(&got, b.data, b.len);
    for (size_t n = 0; n < b.len && r == 0; n++)
        if (msg_take(&got, b.data, n) == 0)
            r = -2; /* a part of a message is none */
    if (r == 0)
        r = msg_take(&got, b.data, b.len);
    buf_addch(&b, 0);
    if (r == 0 && msg_take(&got, b.data, b.len) == 0)
        r = -3; /* nor is more than one */
    b.len--;
    if (r == 0)
        r = msg_take(&got, b.data, b.len);
    /* Numbers point into the bytes. */
    if (r == 0 && m.type == MSG_OP && m.op.n_numbers &&
        msg_number(&got.op, 1) != 2.5)
        r = -4;
    buf_release(&b);
    return r;
}

static void test_messages(void)
{
    double numbers[2] = {1.0, 2.5};

    m.type = MSG_JOIN;
    m.join = (struct msg_join){.host = {"a", "10.0.0.1:0"}, .world = 4, .n = 2};
    m.join.rank[1] = 3;
    ok(again() == 0 && got.join.rank[1] == 3 && got.join.n == 2, "join");
    m.type = MSG_ROSTER;
    m.roster = (struct roster){.n_hosts = 2, .world = 3, .lanes = 4};
    m.roster.host_of[1] = 1;
    ok(again() == 0 && got.roster.host_of[1] == 1, "roster");
    m.roster.host_of[2] = 2;
    is_int(again(), -1, "a rank on a host that is not there");
    m.type = MSG_OP;
    memset(&m.op, 0, sizeof(m.op));
    m.op.rank = 1;
    m.op.k = 1;
    m.op.op.kind = OP_REDUCE;
    m.op.op.count = m.op.n_numbers = 2;
    m.op.numbers = (const unsigned char *)numbers;
    ok(again() == 0 && got.op.op.count == 2, "a reduction");
    m.op.op.count = 3;
    is_int(again(), -1, "with numbers that are missing");
    m.type = MSG_BEAT;
    is_int(again(), 0, "a beat");
    m.type = MSG_ABORT;
    m.abort.class = ERR_PEER;
    m.abort.origin = -1;
    memcpy(m.abort.text, "why", 4);
    ok(again() == 0 && got.abort.origin == -1 && !strcmp(got.abort.text, "why"),
       "an abort");
}

/* Two hosts of one rank; this is the first. */
static void test_apply(void)
{
    struct roster r = {.n_hosts = 2, .world = 2, .lanes = 1};
    struct shm s;

    r.host_of[1] = 1;
    if (shm_create_host(&s, &r, 0) < 0)
        die();
    memset(&m, 0, sizeof(m));
    m.type = MSG_OP;
    m.op.rank = 1;
    m.op.k = 1;
    m.op.op.kind = OP_GRAD;
    m.op.op.count = 5;
    m.op.op.step = 7;
    is_int(mirror_apply(&s, &m, 1), 0, "a request of another host");
    ok(atomic_load(&shm_rank(&s, 1)->ready.v) == 1 &&
           shm_op(&s, 1, 1)->count == 5 &&
           atomic_load(&shm_rank(&s, 1)->step) == 7,
       "is in the table");
    is_int(mirror_apply(&s, &m, 1), -1, "a second time is refused");
    m.op.k = 3;
    is_int(mirror_apply(&s, &m, 1), -1, "and a gap");
    m.op.k = 2;
    m.op.rank = 0;
    is_int(mirror_apply(&s, &m, 1), -1, "and one of a rank of this host");
    m.op.rank = 2;
    is_int(mirror_apply(&s, &m, 1), -1, "and one that is not there");
    m.type = MSG_COUNT;
    m.count.rank = 1;
    m.count.which = SHM_DONE;
    m.count.k = 2;
    is_int(mirror_apply(&s, &m, 1), -1, "more done than was asked for");
    m.count.k = 1;
    is_int(mirror_apply(&s, &m, 1), 0, "what was asked for");
    m.type = MSG_DATA;
    m.data.rank = 1;
    m.data.n = 1;
    m.data.bytes = (const unsigned char *)"x";
    m.data.offset = shm_room(&s);
    is_int(mirror_apply(&s, &m, 1), -1, "a broadcast beyond its room");
    m.type = MSG_JOIN;
    is_int(mirror_apply(&s, &m, 1), -1, "a message out of place");
    shm_release(&s);
}

/* ---- 16 bits on the wire */

static void test_narrow(void)
{
    float in[4099], back[4099];
    uint16_t out[4099];
    size_t n = sizeof(in) / sizeof(in[0]);
    int bad = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t u = i * 2654435761u;
        memcpy(&in[i], &u, sizeof(u));
    }
    for (int half = 0; half < 2; half++) {
        sum_narrow(out, in, n, half);
        sum_widen(back, out, n, half);
        for (size_t i = 0; i < n; i++) {
            uint16_t want = half ? f32_to_f16(in[i]) : f32_to_bf16(in[i]);
            float f = half ? f16_to_f32(out[i]) : bf16_to_f32(out[i]);
            bool nan = in[i] != in[i];
            bad += nan ? back[i] == back[i]
                       : out[i] != want || memcmp(&f, &back[i], sizeof(f)) != 0;
        }
    }
    is_int(bad, 0, "bf16 and fp16 as tensor/dtype.h makes them");
}

int main(void)
{
    crypt_random(key, sizeof(key));
    crypt_random(other_key, sizeof(other_key));
    test_login();
    test_replay();
    test_reflection();
    test_changed();
    hello_with(0, 'B', ERR_PEER, "no ring");
    hello_with(4, 1, ERR_CONFIG, "the version before");
    hello_with(4, 4, ERR_CONFIG, "one to come");
    test_weak_key();
    test_channel();
    for (int p = 0; p < PROTECTS; p++)
        test_flow((enum plane_protect)p, false, 1);
    test_flow(PROTECT_MAC, true, -1);
    test_flow(PROTECT_AEAD, true, -1);
    test_flow_head();
    for (int i = 0; i < PROTECTS; i++) {
        test_flow_order((enum plane_protect)i, 1);
        test_flow_order((enum plane_protect)i, 47);
        test_flow_order((enum plane_protect)i, 1100);
        test_flow_order((enum plane_protect)i, 8000);
    }
    test_messages();
    test_apply();
    test_narrow();
    return done_testing();
}
