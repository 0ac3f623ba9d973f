/*
 * The graph: gradients against finite differences in double precision, fused
 * steps against plain ones, lives of buffers, order of final gradients.
 *
 * usage: 40-graph.t [ENGINE]    only that engine, its plugin in BIN
 */
#include "lib/must.h"
#include "lib/tap.h"

#include "nn/lower.h"
#include "util/rng.h"

#include <stdbool.h>
#include <stdint.h>

#define EPS 1e-5

struct net {
    struct engine *e;
    struct params ps;
    struct graph g;
    struct plan *p;
    struct plan_key key;
};

static struct engine *open_engine(const char *name, int level)
{
    struct engine_config c = {
        .device = -1, .threads = 1, .deterministic = true, .level = level};
    struct engine *e = NULL;

    c.dir = tap_env("BIN", NULL);
    return engine_open(&e, name, &c) < 0 ? NULL : e;
}

#include "40-graph-nets.h"

typedef void builder(struct graph *g);

static struct net *net_new(struct engine *e, builder *build, enum dtype compute,
                           bool unfused, const char *freeze)
{
    struct net *t = xcalloc(1, sizeof *t);

    t->e = e;
    params_init(&t->ps);
    graph_init(&t->g, &t->ps);
    build(&t->g);
    t->g.unfused = unfused;
    if (freeze)
        ok(params_freeze(&t->ps, freeze) > 0, "something to freeze in %s",
           freeze);
    graph_seal(&t->g);
    must(params_alloc(&t->ps, e, compute == DT_F64 ? DT_F64 : DT_F32, true));
    t->key = (struct plan_key){3, 9, 8, compute, true};
    if (build == build_whole)
        t->key = (struct plan_key){2, 2, 2, compute, true};
    must(graph_plan(&t->g, e, &t->key, &t->p));
    return t;
}

static void net_free(struct net *t)
{
    graph_release(&t->g);
    params_release(&t->ps);
    free(t);
}

/* Values around 1 for norms' gammas, around 0 else; exact in fp32, or whole. */
static void fill_params(struct net *t, bool whole)
{
    struct rng r;
    int i;
    int64_t j;

    must(params_fresh(&t->ps, 1));
    for (i = 0; i < t->ps.n_state; i++) {
        const struct state_entry *s = &t->ps.state[i];
        int64_t n = tensor_count(&s->disk);
        float *v;
        bool gamma;

        if (s->what != STATE_PARAM)
            continue;
        gamma = t->ps.p[s->index].kind == PARAM_GAMMA;
        rng_init(&r, 7, (uint32_t)i, 0, RNG_WORKER);
        v = xmalloc((size_t)n * sizeof *v);
        for (j = 0; j < n; j++)
            v[j] = whole ? (float)(2 * (int)rng_below(&r, 4) - (gamma ? 1 : 3))
                         : (float)(0.3 * rng_normal(&r) + (gamma ? 1 : 0));
        for (j = 0; whole && gamma && j < n; j++)
            v[j] *= 2;
        must(params_set(&t->ps, i, v, false));
        free(v);
    }
}

static void write_tensor(struct net *t, struct tensor to, uint32_t which,
                         bool whole)
{
    size_t n = (size_t)tensor_count(&to), i;
    void *v = xmalloc(tensor_bytes(&to));
    struct rng r;

    rng_init(&r, 11, which, 0, RNG_WORKER);
    for (i = 0; i < n; i++) {
        double x = rng_normal(&r);

        if (whole && which < 8) /* half of each channel 5, half 7 */
            x = ((i / 4 + which + (i % 4 == 1)) & 1) ? 7 : 5;
        else if (whole)
            x = (double)rng_below(&r, 7) - 3;
        dtype_store(to.dtype, v, i, (double)(float)x);
    }
    must(engine_upload(t->e, to.data, v, tensor_bytes(&to)));
    must(engine_finish(t->e));
    free(v);
}

struct ready_log {
    struct net *t;
    int64_t end[256];
    void *copy[256];
    int n;
};

static int on_ready(void *arg, int64_t end)
{
    struct ready_log *l = arg;
    size_t bytes = (size_t)end * dtype_size(l->t->ps.pt);

    l->end[l->n] = end;
    l->copy[l->n] = xmalloc(bytes);
    must(engine_download(l->t->e, l->copy[l->n++], l->t->ps.g, bytes));
    return 0;
}

/* Forward, and backward from random gradients of the outputs. */
static void net_run(struct net *t, bool whole, bool backward,
                    struct ready_log *log)
{
    int i;

    for (i = 0; i < t->g.n_inputs; i++)
        write_tensor(t, plan_input(t->p, i), (uint32_t)i, whole);
    must(plan_forward(t->p));
    if (!backward)
        return;
    for (i = 0; i < t->g.n_outputs; i++)
        write_tensor(t, plan_output_grad(t->p, i), (uint32_t)(8 + i), whole);
    must(plan_backward(t->p, log ? on_ready : NULL, log));
    must(engine_finish(t->e));
}

/* Everything a run makes, as doubles: outputs, input gradients, parameter
 * gradients, buffers. */
struct result {
    double *v;
    size_t n;
    size_t part[4]; /* where each kind begins */
};

static void add_values(struct result *r, struct net *t, const void *data,
                       enum dtype dt, size_t n)
{
    void *tmp = xmalloc(n * dtype_size(dt));
    size_t i;

    must(engine_download(t->e, tmp, data, n * dtype_size(dt)));
    r->v = xreallocarray(r->v, r->n + n, sizeof *r->v);
    for (i = 0; i < n; i++)
        r->v[r->n++] = dtype_load(dt, tmp, i);
    free(tmp);
}

static struct result net_result(struct net *t, bool backward)
{
    struct result r = {NULL, 0, {0, 0, 0, 0}};
    struct tensor x;
    int i;

    for (i = 0; i < t->g.n_outputs; i++) {
        x = plan_output(t->p, i);
        add_values(&r, t, x.data, x.dtype, (size_t)tensor_count(&x));
    }
    r.part[1] = r.n;
    for (i = 0; backward && i < t->g.n_inputs; i++) {
        x = plan_input_grad(t->p, i);
        add_values(&r, t, x.data, x.dtype, (size_t)tensor_count(&x));
    }
    r.part[2] = r.n;
    if (backward)
        add_values(&r, t, t->ps.g, t->ps.pt, (size_t)t->ps.total);
    r.part[3] = r.n;
    if (t->ps.buffer_total)
        add_values(&r, t, t->ps.buffers, t->ps.pt, (size_t)t->ps.buffer_total);
    return r;
}

static void zero_grads(struct net *t)
{
    must(engine_fill(t->e, t->ps.g, 0,
                     (size_t)t->ps.total * dtype_size(t->ps.pt)));
}

static bool same_bits(const struct result *a, const struct result *b)
{
    return a->n == b->n && memcmp(a->v, b->v, a->n * sizeof *a->v) == 0;
}

static double distance(const struct result *a, const struct result *b)
{
    double d = 0, n = 0;
    size_t i;

    if (a->n != b->n)
        return (double)INFINITY;
    for (i = 0; i < a->n; i++) {
        d += (a->v[i] - b->v[i]) * (a->v[i] - b->v[i]);
        n += b->v[i] * b->v[i];
    }
    return sqrt(d / n);
}

/* ---- finite differences */

/* sum over outputs of output * the gradient that net_run gives it */
static double objective(struct net *t)
{
    double sum = 0;
    size_t i, n;
    int k;

    must(plan_forward(t->p));
    for (k = 0; k < t->g.n_outputs; k++) {
        struct tensor y = plan_output(t->p, k);
        struct rng r;

        rng_init(&r, 11, (uint32_t)(8 + k), 0, RNG_WORKER);
        n = (size_t)tensor_count(&y);
        for (i = 0; i < n; i++)
            sum += ((const double *)y.data)[i] * (double)(float)rng_normal(&r);
    }
    return sum;
}

/* The worst error over values v [n] with gradient g, relative to the largest
 * gradient; every step-th value is tried. */
static double worst_error(struct net *t, double *v, const double *g, size_t n,
                          size_t step)
{
    double h = 1e-6, keep, numeric, top = 0, bad = 0;
    size_t i;

    for (i = 0; i < n; i++)
        top = fmax(top, fabs(g[i]));
    for (i = 0; i < n; i += step) {
        keep = v[i];
        v[i] = keep + h;
        t->ps.version++;
        numeric = objective(t);
        v[i] = keep - h;
        t->ps.version++;
        numeric = (numeric - objective(t)) / (2 * h);
        v[i] = keep;
        bad = fmax(bad, fabs(numeric - g[i]));
    }
    t->ps.version++;
    return top > 1e-9 ? bad / top : bad;
}

static void test_differences(struct engine *e, builder *build, const char *name)
{
    struct net *t = net_new(e, build, DT_F64, false, NULL);
    struct result r;
    struct tensor x;
    double worst = 0, bad;
    int i;

    fill_params(t, false);
    net_run(t, false, true, NULL);
    r = net_result(t, true);
    for (i = 0; i < t->ps.n; i++) {
        const struct param *p = &t->ps.p[i];

        bad = worst_error(t, param_w(&t->ps, i), r.v + r.part[2] + p->offset,
                          (size_t)p->count,
                          p->count > 40 ? (size_t)p->count / 37 : 1);
        if (bad > 1e-6)
            printf("# %s: %s: %g\n", name, p->name, bad);
        worst = fmax(worst, bad);
    }
    ok(worst < 1e-6, "%s: gradients of parameters, worst %.1e", name, worst);
    x = plan_input(t->p, 0);
    bad = worst_error(t, x.data, r.v + r.part[1], (size_t)tensor_count(&x), 13);
    ok(bad < 1e-6, "%s: gradient of the input, worst %.1e", name, bad);
    free(r.v);
    net_free(t);
}

/* ---- other promises */

/* A step of both from the same weights. */
static void run_both(struct net *a, struct net *b, bool whole,
                     struct result *ra, struct result *rb)
{
    fill_params(a, whole);
    fill_params(b, whole);
    net_run(a, whole, true, NULL);
    net_run(b, whole, true, NULL);
    *ra = net_result(a, true);
    *rb = net_result(b, true);
}

static void test_fusion(struct engine *e, builder *build, enum dtype t,
                        const char *what)
{
    bool whole = build == build_whole;
    struct net *a = net_new(e, build, t, false, NULL);
    struct net *b = net_new(e, build, t, true, NULL);
    struct result ra, rb;

    run_both(a, b, whole, &ra, &rb);
    ok(a->p->n_steps < b->p->n_steps, "%s: fused: %d steps of %d", what,
       a->p->n_steps, b->p->n_steps);
    if (whole)
        ok(same_bits(&ra, &rb), "%s: fused equals unfused bit for bit", what);
    else
        ok(distance(&ra, &rb) < 1e-13, "%s: fused equals unfused: %.1e", what,
           distance(&ra, &rb));
    free(ra.v);
    free(rb.v);
    net_free(a);
    net_free(b);
}

static void test_frozen(struct engine *e)
{
    struct net *a = net_new(e, build_residual, DT_F64, false, NULL);
    struct net *b = net_new(e, build_residual, DT_F64, false, "a.");
    struct net *c = net_new(e, build_residual, DT_F64, false, "fc.");
    struct ready_log log = {.t = c};
    struct result ra, rb;
    bool same = true, zero = true;
    int i;
    int64_t j;

    fill_params(a, false);
    fill_params(b, false);
    fill_params(c, false);
    net_run(a, false, true, NULL);
    net_run(b, false, true, NULL);
    net_run(c, false, true, &log);
    ra = net_result(a, true);
    rb = net_result(b, true);
    for (i = 0; i < a->ps.n; i++) {
        const struct param *p = &b->ps.p[i];
        const double *x = ra.v + ra.part[2] + p->offset;
        const double *y = rb.v + rb.part[2] + p->offset;

        for (j = 0; j < p->count; j++) {
            if (p->frozen)
                zero = zero && y[j] == 0;
            else
                same = same && x[j] == y[j];
        }
    }
    ok(zero, "frozen: no gradient of frozen parameters");
    ok(same, "frozen: the others are the same");
    ok(b->p->n_ins < a->p->n_ins, "frozen: %d calls instead of %d", b->p->n_ins,
       a->p->n_ins);
    i = c->ps.n - 3; /* the last one that learns; fc.* lie before it */
    ok(log.n > 1 && log.end[0] == c->ps.p[i].offset,
       "frozen: a frozen front is final before the first step");
    for (i = 0; i < log.n; i++)
        free(log.copy[i]);
    free(ra.v);
    free(rb.v);
    net_free(a);
    net_free(b);
    net_free(c);
}

/* Level C is the same arithmetic in other pieces. */
static void test_level(builder *build, enum dtype t, double bound)
{
    struct engine *plain = open_engine("ref", 'B'), *rich;
    struct net *a = net_new(plain, build, t, false, NULL), *b;
    struct result ra, rb;

    rich = open_engine("ref", 'C');
    b = net_new(rich, build, t, false, NULL);
    run_both(a, b, false, &ra, &rb);
    ok(distance(&rb, &ra) < bound, "%s: level C equals B: %.1e", dtype_name(t),
       distance(&rb, &ra));
    is_int(count_forms(a->p, PRO_NONE, EPI_STATS), 0,
           "B has none of its forms");
    if (build == build_bottlenecks) {
        is_int(count_forms(b->p, PRO_SBR, EPI_STATS), 7,
               "C: prologue and sums");
        is_int(count_forms(b->p, PRO_SBR, EPI_NONE), 7, "C: wgrad's prologue");
        is_int(count_forms(b->p, PRO_NONE, EPI_STATS), 7, "C: sums alone");
        is_int(count_forms(b->p, PRO_NONE, EPI_BNSUMS1), 10,
               "C: norms inside dgrad");
        is_int(count_forms(b->p, PRO_NONE, EPI_BNSUMS2), 2, "C: two norms");
        ok(b->p->arena_bytes < a->p->arena_bytes, "C takes %zu bytes, B %zu",
           b->p->arena_bytes, a->p->arena_bytes);
    }
    free(ra.v);
    free(rb.v);
    net_free(a);
    net_free(b);
    engine_close(plain);
    engine_close(rich);
}

/* A graph whose parameters are all frozen up to the head needs no input
 * gradient, and keeps nothing. */
static void build_trunk(struct graph *g)
{
    static const float one[3] = {1, 1, 1}, none[3] = {0, 0, 0};
    int x = graph_image(g, 3, one, none);

    x = graph_relu(g, graph_conv(g, x, "t.conv1", 8, 3, 1, 1, false));
    x = graph_relu(g, graph_conv(g, x, "t.conv2", 8, 3, 1, 1, false));
    x = graph_relu(g, graph_conv(g, x, "t.conv3", 8, 3, 1, 1, false));
    graph_output(g, graph_linear(g, graph_avgpool(g, x), "fc", 2));
}

static void test_trunk(struct engine *e)
{
    struct net *a = net_new(e, build_trunk, DT_F32, false, NULL);
    struct net *b = net_new(e, build_trunk, DT_F32, false, "t.");

    ok(b->p->arena_bytes < a->p->arena_bytes * 2 / 3,
       "frozen trunk: %zu bytes instead of %zu", b->p->arena_bytes,
       a->p->arena_bytes);
    net_free(a);
    net_free(b);
}

static void test_ready(struct engine *e)
{
    struct net *t = net_new(e, build_residual, DT_F64, false, NULL);
    struct ready_log log = {.t = t};
    bool rises = true, final = true;
    size_t bytes;
    int i;

    fill_params(t, false);
    net_run(t, false, true, &log);
    for (i = 0; i < log.n; i++) {
        bytes = (size_t)log.end[i] * sizeof(double);
        rises = rises && (i == 0 || log.end[i] > log.end[i - 1]);
        final = final && memcmp(log.copy[i], t->ps.g, bytes) == 0;
        free(log.copy[i]);
    }
    ok(rises, "ready: the end rises");
    ok(final, "ready: what is said to be final is");
    is_int(log.end[log.n - 1], t->ps.total, "ready: all at the end");
    ok(log.n >= t->ps.n / 2 - 2, "ready: %d calls for %d parameters", log.n,
       t->ps.n);
    is_int(log.end[0], t->ps.p[t->ps.n - 2].offset,
           "ready: the bias of the head comes first");
    net_free(t);
}

static void test_accumulate(struct engine *e)
{
    struct net *t = net_new(e, build_branches, DT_F64, false, NULL);
    struct result one, two;
    double worst = 0, top = 0;
    size_t i;

    fill_params(t, false);
    net_run(t, false, true, NULL);
    one = net_result(t, true);
    net_run(t, false, true, NULL);
    two = net_result(t, true);
    for (i = one.part[2]; i < one.part[3]; i++) {
        worst = fmax(worst, fabs(two.v[i] - 2 * one.v[i]));
        top = fmax(top, fabs(one.v[i]));
    }
    ok(worst <= 1e-13 * top, "two passes add up: %.1e", worst / top);
    ok(memcmp(one.v, two.v, one.part[2] * sizeof(double)) == 0,
       "activations and their gradients do not");
    is_int(t->ps.counter[0].value, 2, "batches are counted");
    free(one.v);
    free(two.v);
    net_free(t);
}

/* The same bits whatever was in the arena, and with no memory shared. */
static void test_arena(struct engine *e, builder *build, enum dtype dt,
                       const char *name)
{
    struct net *a = net_new(e, build, dt, false, NULL);
    struct net *b = net_new(e, build, dt, false, NULL);
    struct result ra, rb, rc;
    struct plan *p = plan_new(&b->g, e, &b->key);
    size_t apart;
    int i;

    fill_params(a, false);
    fill_params(b, false);
    net_run(a, false, true, NULL);
    ra = net_result(a, true);
    zero_grads(a);
    fill_params(a, false);
    must(engine_fill(e, a->p->arena, 0xff, a->p->arena_bytes + a->p->scratch));
    must(plan_constants(a->p));
    net_run(a, false, true, NULL);
    rb = net_result(a, true);
    ok(same_bits(&ra, &rb), "%s: nothing is read before it is written", name);
    for (i = 0; i < p->n_bufs; i++)
        if (p->buf[i].first <= p->buf[i].last) {
            p->buf[i].first = 0;
            p->buf[i].last = 1 << 30;
        }
    apart = a->p->arena_bytes;
    p->arena_bytes = arena_place(p->buf, p->n_bufs);
    must(plan_alloc(p));
    b->p = p;
    net_run(b, false, true, NULL);
    rc = net_result(b, true);
    ok(same_bits(&ra, &rc), "%s: shared memory changes nothing", name);
    ok(apart < p->arena_bytes, "%s: %zu bytes instead of %zu", name, apart,
       p->arena_bytes);
    plan_free(p);
    free(ra.v);
    free(rb.v);
    free(rc.v);
    net_free(a);
    net_free(b);
}

/* Every engine and precision against ref in double. */
static void test_engine(const char *name, enum dtype dt, double tolerance)
{
    struct engine *ref = open_engine("ref", 0), *e = open_engine(name, 0);
    struct net *a, *b;
    struct result ra, rb;
    builder *const nets[] = {build_residual, build_branches, build_bottlenecks};
    size_t i;

    if (!e || engine_precision(e, dt) < 0) {
        skip(6, strcmp(name, "cpu") ? err_text() : "onednn: no cpu engine");
        engine_close(ref);
        return;
    }
    /* few rows and many norms are too much for 8 bits */
    for (i = 0; i < (dt == DT_BF16 ? 2 : 3); i++) {
        a = net_new(ref, nets[i], DT_F64, false, NULL);
        b = net_new(e, nets[i], dt, false, NULL);
        fill_params(a, false);
        fill_params(b, false);
        net_run(a, false, true, NULL);
        net_run(b, false, true, NULL);
        ra = net_result(a, true);
        rb = net_result(b, true);
        is_int(count_forms(b->p, PRO_SBR, EPI_STATS),
               i == 2 && engine_level(e) == 'C' && dt == DT_F16 ? 7 : 0,
               "prologues of level C");
        ok(distance(&rb, &ra) < tolerance,
           "%s %s, net %zu: away from double by %.1e", name, dtype_name(dt), i,
           distance(&rb, &ra));
        free(ra.v);
        free(rb.v);
        a->key.train = b->key.train = false;
        must(graph_plan(&a->g, ref, &a->key, &a->p));
        must(graph_plan(&b->g, e, &b->key, &b->p));
        net_run(a, false, false, NULL);
        net_run(b, false, false, NULL);
        ra = net_result(a, false);
        rb = net_result(b, false);
        ok(distance(&rb, &ra) < tolerance, "%s %s, net %zu: evaluation by %.1e",
           name, dtype_name(dt), i, distance(&rb, &ra));
        free(ra.v);
        free(rb.v);
        net_free(a);
        net_free(b);
    }
    engine_close(e);
    engine_close(ref);
}

static void test_unseeded(struct engine *e)
{
    struct net *t = net_new(e, build_branches, DT_F64, false, NULL);
    struct result r;
    double fc = 0, a = 0;
    int64_t j;

    fill_params(t, false);
    write_tensor(t, plan_input(t->p, 0), 0, false);
    must(plan_forward(t->p));
    write_tensor(t, plan_output_grad(t->p, 0), 8, false);
    must(plan_backward(t->p, NULL, NULL));
    r = net_result(t, true);
    for (j = 0; j < t->ps.p[t->ps.n - 2].count; j++)
        fc += fabs(
            r.v[r.part[2] + (size_t)t->ps.p[t->ps.n - 2].offset + (size_t)j]);
    for (j = 0; j < t->ps.p[0].count; j++)
        a += fabs(r.v[r.part[2] + (size_t)t->ps.p[0].offset + (size_t)j]);
    ok(fc == 0 && a > 0, "an output without a gradient counts as zero");
    free(r.v);
    net_free(t);
}

static void test_cache(struct engine *e)
{
    struct net *t = net_new(e, build_residual, DT_F32, false, NULL);
    struct plan *first = t->p, *p;
    struct plan_cost cost;
    size_t now, later, peak;
    int i;

    must(graph_plan(&t->g, e, &t->key, &p));
    ok(p == first, "the same key gives the same plan");
    must(graph_cost(&t->g, e, &t->key, &cost));
    ok(cost.activations == p->arena_bytes && cost.scratch == p->scratch,
       "the cost of a plan is what it takes: %zu bytes", cost.activations);
    is_double(cost.backward_macs + 3 * 9 * 8 * 8 * 27,
              2 * cost.forward_macs + 3 * 9 * 8 * 8 * 27, 0,
              "backward costs twice forward");
    for (i = 0; i < 20; i++) {
        t->key.n = 1 + i % 10;
        must(graph_plan(&t->g, e, &t->key, &p));
        must(plan_forward(p));
    }
    engine_memory(e, &now, &peak);
    for (i = 0; i < 20; i++) {
        t->key.n = 1 + i % 10;
        must(graph_plan(&t->g, e, &t->key, &p));
    }
    engine_memory(e, &later, &peak);
    is_int((long long)later, (long long)now, "old plans make room");
    t->key.h = 1;
    t->key.w = 0;
    ok(graph_plan(&t->g, e, &t->key, &p) < 0 && err_code() == ERR_DATA,
       "an empty image: %s", err_text());
    net_free(t);
}

int main(int argc, char **argv)
{
    struct engine *e;

    if (argc > 1) {
        test_engine(argv[1], DT_F32, 1e-5);
        /* one relu that turns is 0.05 of net 2 */
        test_engine(argv[1], DT_F16, 0.1);
        return done_testing();
    }
    e = open_engine("ref", 0);
    if (!e)
        die();
    test_differences(e, build_residual, "residual");
    test_differences(e, build_branches, "branches");
    test_fusion(e, build_whole, DT_F64, "whole F64");
    test_fusion(e, build_whole, DT_F32, "whole F32");
    test_fusion(e, build_residual, DT_F64, "residual");
    test_fusion(e, build_branches, DT_F64, "branches");
    test_frozen(e);
    test_trunk(e);
    test_ready(e);
    test_accumulate(e);
    test_unseeded(e);
    test_arena(e, build_residual, DT_F64, "residual");
    test_arena(e, build_branches, DT_BF16, "branches");
    test_cache(e);
    engine_close(e);
    test_level(build_bottlenecks, DT_F64, 1e-10);
    test_level(build_residual, DT_F64, 1e-10);
    test_level(build_branches, DT_F64, 1e-10);
    test_level(build_bottlenecks, DT_F16, 0.02);
    e = open_engine("ref", 'C');
    test_differences(e, build_bottlenecks, "level C");
    test_frozen(e);
    engine_close(e);
    test_engine("ref", DT_F32, 1e-5);
    test_engine("ref", DT_BF16, 0.1);
    test_engine("ref", DT_F16, 0.02);
    test_engine("cpu", DT_F32, 1e-5);
    test_engine("cpu", DT_BF16, 0.1);
    return done_testing();
}
