/*
 * The tcp engine between three hosts of one rank each, as threads of this process
 * over the loopback interface: the sums are those of the definition, and the same
 * bits on all hosts, on every wire; so are those that are not numbers.
 *
 *	64-lanes.t hosts N      the same between N hosts, on one wire
 */
#include "lib/tap.h"

#include "ring/crypt.h"
#include "ring/plane.h"

#include <pthread.h>
#include <unistd.h>

#define ROUNDS 12

static int hosts = 3;

static const uint64_t sizes[] = {1,      15,     17, 100, 4097,
                                 100000, 500003, 16, 1,   0};
#define N_SIZES (sizeof(sizes) / sizeof(sizes[0]))

struct host {
    pthread_t thread;
    struct shm shm;
    struct plane_options o;
    struct plane *plane;
    int bad, infinite;
    uint64_t digest;
};

/* Element i of rank r in request k: of very different size, so that the order of
 * additions shows. */
static float element(uint32_t k, uint64_t i, int r)
{
    static const float scale[] = {1.0f, 1e8f, -1e8f, 3e-3f};
    float x = (float)((i * 2654435761u + (uint64_t)r * 40503u + k) % 2048);

    return x * scale[(i + (uint64_t)r) % 4] + 0.1f;
}

/* f32: exactly in the order of the hosts; else within the wire's rounding of the
 * largest part. */
static int differs(enum plane_wire wire, uint32_t k, uint64_t i, float got)
{
    float sum = element(k, i, 0), most = sum < 0 ? -sum : sum, off;

    for (int r = 1; r < hosts; r++) {
        float x = element(k, i, r);
        sum += x;
        most += x < 0 ? -x : x;
    }
    if (wire == WIRE_F32)
        return memcmp(&sum, &got, sizeof(sum)) != 0;
    off = got - sum;
    return (off < 0 ? -off : off) > most / 100.0f;
}

static void sum_once(struct host *h, enum plane_wire wire, uint32_t k)
{
    struct shm *s = &h->shm;
    struct shm_op *op = shm_op(s, s->rank, k);
    float *g = shm_arena(s, s->rank);
    bool finite, half = wire == WIRE_F16;
    uint64_t n = sizes[k % N_SIZES];

    memset(op, 0, sizeof(*op));
    op->kind = OP_GRAD;
    op->arg = k % 7;
    op->count = n;
    op->offset = (k % 3) * 4096;
    g += op->offset / sizeof(float);
    for (uint64_t i = 0; i < n; i++)
        g[i] = half ? (float)((i + k) % 64) - 20.0f : element(k, i, s->rank);
    /* One host has an infinity in its last bucket. */
    if (k == ROUNDS && s->rank == 1)
        g[n - 1] = 1.0f / 0.0f;
    shm_advance(s, SHM_READY, k);
    if (plane_tcp.add(h->plane, k, &finite) < 0) {
        h->bad++;
        return;
    }
    h->infinite += !finite;
    for (uint64_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &g[i], sizeof(u));
        h->digest = (h->digest ^ u) * 1099511628211u;
        if (k == ROUNDS && i == n - 1)
            continue;
        h->bad += half ? g[i] != hosts * ((float)((i + k) % 64) - 20.0f)
                       : differs(wire, k, i, g[i]);
    }
}

/* ---- what is not a number, or too large for the wire */

#define QUIET 0x7fc00000u
#define BARELY 0x7f800001u /* the payload is lost in 16 bits */
#define INFINITE 0x7f800000u
#define LARGEST 0x7f7fffffu
#define ONE 0x3f800000u
#define MINUS 0x80000000u

static const struct odd {
    uint32_t of[3];      /* what the ranks give */
    uint32_t want, wide; /* the sum on 16 bits and on 32 */
} odd[] = {
    {{QUIET, ONE, ONE}, QUIET, QUIET},
    {{ONE, BARELY, ONE}, QUIET, QUIET},
    {{ONE, ONE, BARELY | MINUS}, QUIET, QUIET},
    {{0xffffffff, ONE, 0x7fffffff}, QUIET, QUIET},
    {{ONE, INFINITE, ONE}, INFINITE, INFINITE},
    {{ONE, ONE, INFINITE | MINUS}, INFINITE | MINUS, INFINITE | MINUS},
    {{INFINITE, INFINITE | MINUS, ONE}, QUIET, QUIET},
    {{ONE, ONE, LARGEST}, INFINITE, LARGEST},
    {{LARGEST | MINUS, 0, 0}, INFINITE | MINUS, LARGEST | MINUS},
    {{LARGEST, LARGEST, ONE}, INFINITE, INFINITE},
    {{0x00000001, 0, 0x00000001}, 0, 0x00000002},
    {{ONE, ONE, 0}, 0x40000000, 0x40000000},
};
#define N_ODD (sizeof(odd) / sizeof(odd[0]))
static bool with_odd;

/* Which NaN it is is not said. */
static bool same_kind(uint32_t a, uint32_t b)
{
    bool nan_a = (a & ~MINUS) > INFINITE, nan_b = (b & ~MINUS) > INFINITE;

    return nan_a || nan_b ? nan_a && nan_b : a == b;
}

static void odd_once(struct host *h, enum plane_wire wire, uint32_t k)
{
    struct shm *s = &h->shm;
    struct shm_op *op = shm_op(s, s->rank, k);
    float *g = shm_arena(s, s->rank);
    uint64_t n = k * 40000;
    bool finite;

    memset(op, 0, sizeof(*op));
    op->kind = OP_GRAD;
    op->count = n;
    for (uint64_t i = 0; i < n; i++)
        memcpy(&g[i], &odd[i % N_ODD].of[s->rank], sizeof(g[i]));
    shm_advance(s, SHM_READY, k);
    if (plane_tcp.add(h->plane, k, &finite) < 0) {
        h->bad++;
        return;
    }
    h->infinite += k == ROUNDS && !finite;
    h->bad += finite;
    for (uint64_t i = 0; i < n; i++) {
        const struct odd *o = &odd[i % N_ODD];
        uint32_t u;
        memcpy(&u, &g[i], sizeof(u));
        h->digest = (h->digest ^ u) * 1099511628211u;
        h->bad += !same_kind(u, wire == WIRE_F32 ? o->wide : o->want);
    }
}

static void *run(void *arg)
{
    struct host *h = arg;
    struct shm *s = &h->shm;

    if (plane_tcp.open(&h->plane, s, &h->o) < 0) {
        fprintf(stderr, "# %s\n", err_text());
        h->bad = -1;
        return NULL;
    }
    for (uint32_t k = 1; k <= ROUNDS; k++)
        (with_odd ? odd_once
                  : sum_once)(h, (enum plane_wire)shm_roster(s)->wire, k);
    shm_op(s, s->rank, ROUNDS + 1)->kind = OP_END;
    shm_advance(s, SHM_READY, ROUNDS + 1);
    plane_tcp.close(h->plane);
    return NULL;
}

static void test(enum plane_wire wire, enum plane_protect protect)
{
    static unsigned char key[CRYPT_KEY] = "three hosts";
    struct roster r = {.n_hosts = (uint32_t)hosts, .world = (uint32_t)hosts};
    struct host *host = xcalloc((size_t)hosts, sizeof(*host));
    int bad = 0, infinite = 0, other = 0;

    r.lanes = hosts > 16 ? 1 : 3;
    r.wire = (uint8_t)wire;
    r.protect = (uint8_t)protect;
    for (int i = 0; i < hosts; i++) {
        struct net_place p;
        r.host_of[i] = (uint16_t)i;
        memcpy(r.host[i].addr, "127.0.0.1:0", 12);
        memcpy(r.host[i].name, "here", 5);
        if (net_find(&p, r.host[i].addr, -1) < 0)
            die();
        host[i].o = (struct plane_options){
            .key = key, .source = p, .timeout_ms = 120000};
        host[i].o.listener = net_listen(&p, (struct net_ports){0, 0}, hosts);
        if (host[i].o.listener < 0)
            die();
        r.port[i] = (uint16_t)net_port(&p);
    }
    for (int i = 0; i < hosts; i++)
        if (shm_create_host(&host[i].shm, &r, i) < 0)
            die();
    for (int i = 0; i < hosts; i++)
        pthread_create(&host[i].thread, NULL, run, &host[i]);
    for (int i = 0; i < hosts; i++) {
        pthread_join(host[i].thread, NULL);
        bad += host[i].bad;
        infinite += host[i].infinite;
    }
    is_int(bad, 0, "sums over %d hosts, %s, %s%s", hosts, plane_wire_name[wire],
           plane_protect_name[protect],
           with_odd ? ", of NaN, infinities and what is too large" : "");
    for (int i = 1; i < hosts; i++)
        other += host[i].digest != host[0].digest;
    is_int(other, 0, "the same bits on all");
    is_int(infinite, hosts, "an infinity is seen by all");
    for (int i = 0; i < hosts; i++) {
        close(host[i].o.listener);
        shm_release(&host[i].shm);
    }
    free(host);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "hosts") == 0) {
        hosts = (int)strtol(argv[2], NULL, 10);
        test(WIRE_F32, PROTECT_MAC);
        return done_testing();
    }
    test(WIRE_F32, PROTECT_MAC);
    test(WIRE_F32, PROTECT_AEAD);
    test(WIRE_F32, PROTECT_NONE);
    test(WIRE_BF16, PROTECT_MAC);
    test(WIRE_F16, PROTECT_MAC);
    with_odd = true;
    for (int w = 0; w < WIRES; w++)
        test((enum plane_wire)w, PROTECT_MAC);
    return done_testing();
}
