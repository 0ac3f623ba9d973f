/* Parameters: order on disk and in memory, files that do not fit, layouts. */
#include "lib/must.h"
#include "lib/tap.h"

#include "model/model.h"

static struct engine *engine;

/* conv [4,3,2,2], norm [4], linear [5,4]: 9 entries with a conv bias. */
static void make(struct params *ps, struct graph *g, enum dtype pt)
{
    int x;

    params_init(ps);
    graph_init(g, ps);
    x = graph_input(g, 3, false);
    x = graph_norm(g, graph_conv(g, x, "c", 4, 2, 1, 0, true), "n", 1e-5, 0.1);
    graph_output(g, graph_linear(g, graph_avgpool(g, x), "l", 5));
    graph_seal(g);
    must(params_alloc(ps, engine, pt, true));
}

static void drop(struct params *ps, struct graph *g)
{
    graph_release(g);
    params_release(ps);
}

/* ---- a source of tensors in memory */

struct item {
    const char *name;
    struct tensor t;
};
struct source {
    struct frame_source f;
    struct item item[16];
};

static const char *item_name(void *arg, int i)
{
    return ((struct source *)arg)->item[i].name;
}

static const struct tensor *item_tensor(void *arg, int i)
{
    return &((struct source *)arg)->item[i].t;
}

static int item_read(void *arg, int i, void *dst)
{
    const struct tensor *t = item_tensor(arg, i);

    memcpy(dst, t->data, tensor_bytes(t));
    return 0;
}

/* All entries, values 1, 2, 3... in disk order, counters 42. */
static struct source *source_new(const struct params *ps)
{
    struct source *s = xcalloc(1, sizeof *s);
    size_t j, n;
    int i;

    s->f = (struct frame_source){ps->n_state, item_name, item_tensor, item_read,
                                 s};
    for (i = 0; i < ps->n_state; i++) {
        struct tensor *t = &s->item[i].t;

        s->item[i].name = ps->state[i].name;
        *t = ps->state[i].disk;
        t->data = xmalloc(tensor_bytes(t));
        n = (size_t)tensor_count(t);
        for (j = 0; j < n; j++)
            dtype_store(t->dtype, t->data, j,
                        t->dtype == DT_I64 ? 42 : (double)(j + 1));
    }
    return s;
}

static void source_free(struct source *s)
{
    int i;

    for (i = 0; i < 16; i++)
        free(s->item[i].t.data);
    free(s);
}

/* ---- tests */

static void test_order(void)
{
    struct params ps;
    struct graph g;
    struct source *s;
    const float *w;
    float back[48];
    int k, c, y, x, i, good = 1;
    int64_t counter = 0;

    make(&ps, &g, DT_F32);
    is_int(ps.n_state, 9, "nine entries");
    s = source_new(&ps);
    must(params_load(&ps, &s->f));
    w = param_w(&ps, 0);
    for (k = 0; k < 4; k++)
        for (c = 0; c < 3; c++)
            for (y = 0; y < 2; y++)
                for (x = 0; x < 2; x++)
                    good =
                        good && w[((k * 2 + y) * 2 + x) * 3 + c] ==
                                    (float)(((k * 3 + c) * 2 + y) * 2 + x + 1);
    ok(good, "[K,C,R,S] on disk is [K,R,S,C] in memory");
    must(params_get(&ps, 0, back, false));
    for (i = 0; i < 48; i++)
        good = good && back[i] == (float)(i + 1);
    ok(good, "and back");
    must(params_get(&ps, 6, &counter, false));
    is_int(counter, 42, "counters");
    must(params_get(&ps, 5, back, false));
    is_double((double)back[3], 4, 0, "running variance");
    must(params_get(&ps, 7, back, false));
    is_double((double)back[19], 20, 0, "linear weights keep their order");
    must(params_put(&ps, 0, param_g(&ps, 0), s->item[0].t.data, false));
    memset(back, 0, sizeof back);
    must(params_fetch(&ps, 0, param_g(&ps, 0), back, false));
    is_double((double)back[47], 48, 0, "something else of that shape");
    must(engine_fill(engine, ps.g, 0, (size_t)ps.total * 4));
    must(params_get_grad(&ps, 0, back));
    is_double((double)back[47], 0, 0, "gradients begin at zero");
    is_int(ps.p[0].offset % 16, 0, "tensors begin at multiples of 16");
    is_int(ps.p[ps.n - 1].offset, 0, "in reverse order");
    source_free(s);
    drop(&ps, &g);
}

static void test_types(void)
{
    struct params ps;
    struct graph g;
    struct source *s;
    uint64_t before;
    double wide[48];
    size_t j;

    make(&ps, &g, DT_F64);
    s = source_new(&ps);
    s->item[0].t.dtype = DT_F64;
    s->item[0].t.data = xrealloc(s->item[0].t.data, 48 * 8);
    for (j = 0; j < 48; j++)
        ((double *)s->item[0].t.data)[j] = 1.0 / (double)(j + 1);
    s->item[1].t.dtype = DT_BF16;
    for (j = 0; j < 4; j++)
        ((uint16_t *)s->item[1].t.data)[j] = f32_to_bf16(2.5f);
    s->item[2].name = "module.n.weight";
    free(s->item[6].t.data);
    s->item[6] = s->item[8]; /* l.bias in the place of the counter */
    s->f.n = 8;
    s->item[8].t.data = NULL;
    before = ps.version;
    must(params_load(&ps, &s->f));
    ok(ps.version > before, "the version moves");
    must(params_get(&ps, 0, wide, true));
    is_double(wide[6], 1.0 / 7, 0, "double in, double out");
    must(params_get(&ps, 1, wide, true));
    is_double(wide[3], 2.5, 0, "bf16 is converted");
    must(params_get(&ps, 2, wide, true));
    is_double(wide[3], 4, 0, "module. is stripped");
    is_int(ps.counter[0].value, 0, "a missing counter is zero");
    source_free(s);
    drop(&ps, &g);
}

static void refused(struct params *ps, struct source *s, const char *what)
{
    struct buf w = BUF_INIT;

    buf_add(&w, param_w(ps, 0), 48 * sizeof(float));
    ok(params_load(ps, &s->f) < 0 && err_code() == ERR_DATA, "refused: %s",
       what);
    has_str(err_text(), what, "and why");
    ok(memcmp(w.data, param_w(ps, 0), w.len) == 0, "nothing was changed");
    buf_release(&w);
    source_free(s);
}

static void test_errors(void)
{
    struct params ps;
    struct graph g;
    struct source *s;
    void *keep;

    make(&ps, &g, DT_F32);
    s = source_new(&ps);
    s->f.n--;
    refused(&ps, s, "\"l.bias\" is missing");
    s = source_new(&ps);
    s->item[1].name = "c.bais";
    refused(&ps, s, "\"c.bais\" is unknown; \"c.bias\" is missing");
    s = source_new(&ps);
    s->item[0].t.shape[1] = 2;
    s->item[0].t.shape[2] = 3;
    refused(&ps, s, "\"c.weight\" is F32 [4,2,3,2], expected F32 [4,3,2,2]");
    s = source_new(&ps);
    s->item[0].t.dtype = DT_I32;
    refused(&ps, s, "\"c.weight\" is I32 [4,3,2,2]");
    s = source_new(&ps);
    keep = s->item[2].t.data;
    s->item[2] = s->item[1];
    s->item[2].t.data = keep;
    s->item[2].name = "module.c.bias";
    refused(&ps, s, "\"c.bias\" is there twice; \"n.weight\" is missing");
    s = source_new(&ps);
    s->f.n = 2;
    s->item[1].name = "x";
    refused(&ps, s, "; and 2 more");
    s = source_new(&ps);
    s->f.n = 1;
    s->item[0].name = "x";
    refused(&ps, s, "none of its 1 tensors, as \"x\", is of the model");
    drop(&ps, &g);
}

static void test_layout(void)
{
    struct params a, b;
    struct graph ga, gb;
    char x[33], y[33];

    make(&a, &ga, DT_F32);
    make(&b, &gb, DT_F32);
    params_layout(&a, x);
    params_layout(&b, y);
    is_int((long long)strlen(x), 32, "a digest of 32 digits");
    is_str(x, y, "the same model, the same digest");
    is_int(params_freeze(&b, "n."), 2, "two parameters frozen");
    params_layout(&b, y);
    ok(strcmp(x, y) != 0, "frozen ones make another");
    drop(&b, &gb);
    make(&b, &gb, DT_F64);
    params_layout(&b, y);
    ok(strcmp(x, y) != 0, "and so does the dtype");
    drop(&a, &ga);
    drop(&b, &gb);
}

static void test_packed(void)
{
    struct conv_desc d = {.kind = CONV_FORWARD,
                          .dtype = DT_BF16,
                          .out = DT_BF16,
                          .param = DT_F32,
                          .n = 1,
                          .h = 4,
                          .w = 4,
                          .c = 3,
                          .k = 4,
                          .r = 2,
                          .s = 2,
                          .stride = 1};
    struct conv_plan *p;
    struct conv_needs needs;
    struct params ps;
    struct graph g;
    const void *a, *b;
    uint16_t before;

    make(&ps, &g, DT_F32);
    must(params_fresh(&ps, 3));
    must(engine_conv_plan(engine, &d, &p, &needs));
    must(params_packed(&ps, 0, p, &needs, &a));
    must(params_packed(&ps, 0, p, &needs, &b));
    ok(a == b, "packed weights are shared");
    if (needs.packed_bytes) {
        before = *(const uint16_t *)a;
        *(float *)param_w(&ps, 0) += 1;
        must(params_packed(&ps, 0, p, &needs, &b));
        ok(*(const uint16_t *)b == before, "and kept while weights stand");
        ps.version++;
        must(params_packed(&ps, 0, p, &needs, &b));
        ok(a == b && *(const uint16_t *)b != before,
           "and made again when they move");
    } else {
        ok(a == param_w(&ps, 0), "ref takes weights as they are");
    }
    engine_conv_free(engine, p);
    drop(&ps, &g);
}

/* Gradients that lie elsewhere: written there, and not freed. */
static void test_lend(void)
{
    struct params ps;
    struct graph g;
    size_t had, before, after, peak;
    float *mine, *sums, back[48];

    engine_memory(engine, &had, &peak);
    make(&ps, &g, DT_F32);
    engine_memory(engine, &before, &peak);
    ok(ps.sum == ps.g, "own gradients are their own sum");
    mine = xcalloc((size_t)ps.total, sizeof *mine);
    sums = xcalloc((size_t)ps.total, sizeof *sums);
    params_lend(&ps, mine, sums);
    engine_memory(engine, &after, &peak);
    is_int((int64_t)(before - after), ps.total * 4, "what is lent is spared");
    ok(param_g(&ps, 0) == mine + ps.p[0].offset && ps.sum == sums, "and taken");
    mine[ps.p[0].offset] = 7;
    must(params_get_grad(&ps, 0, back));
    is_double((double)back[0], 7, 0, "a gradient is read there");
    params_lend(&ps, NULL, NULL);
    ok(!ps.g && !ps.sum, "and given back");
    drop(&ps, &g);
    engine_memory(engine, &after, &peak);
    is_int((int64_t)after, (int64_t)had, "nothing is left");
    free(mine);
    free(sums);
}

int main(void)
{
    struct engine_config c = {.device = -1, .threads = 1};

    must(engine_open(&engine, "ref", &c));
    test_order();
    test_types();
    test_errors();
    test_layout();
    test_packed();
    test_lend();
    engine_close(engine);
    return done_testing();
}
