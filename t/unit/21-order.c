/*
 * Orders: recorded values, bijections for every world and tail, and the lists
 * that Accelerate's BatchSamplerShard makes (huggingface/accelerate:
 * src/accelerate/data_loader.py).
 */
#include "io/order.h"
#include "io/recipe.h"
#include "lib/tap.h"

static uint32_t sizes[4096];
static uint64_t first[8];

static struct order_set make_set(uint32_t n, uint32_t shards)
{
    struct order_set s = {
        .n = n, .size = sizes, .shard_first = first, .shards = shards};

    for (uint32_t i = 0; i < n; i++)
        sizes[i] = 100 + i * 37 % 400;
    for (uint32_t k = 0; k <= shards; k++)
        first[k] = (uint64_t)n * k / shards;
    return s;
}

static void text_of(const struct order *o, char *text, size_t room)
{
    size_t at = 0;

    for (uint32_t i = 0; i < o->set.n; i++)
        at += (size_t)snprintf(text + at, room - at, "%s%lu", i ? " " : "",
                               (unsigned long)order_at(o, i));
}

static void vectors(void)
{
    static const struct {
        uint64_t seed;
        int64_t epoch;
        const char *want;
    } known[] = {{0, 0, "9 3 6 7 1 8 4 2 5 0"},
                 {0, 1, "7 9 6 0 4 1 8 2 3 5"},
                 {42, 0, "1 6 9 8 0 3 4 2 7 5"}};
    struct order_set s = make_set(10, 2);
    struct order o;
    char text[200];

    for (int i = 0; i < 3; i++) {
        is_int(order_parse(&o, "global"), 0, "global");
        is_int(order_bind(&o, known[i].seed, 4, &s), 0, "bound");
        is_int(order_epoch(&o, known[i].epoch), 0, "epoch");
        text_of(&o, text, sizeof(text));
        is_str(text, known[i].want, "seed %d, epoch %d", (int)known[i].seed,
               (int)known[i].epoch);
        is_int(order_at(&o, 13), order_at(&o, 3), "positions wrap");
        order_release(&o);
    }
    is_int(order_parse(&o, "seq"), 0, "seq");
    is_int(order_bind(&o, 0, 4, &s), 0, "bound");
    is_int(order_epoch(&o, 5), 0, "epoch");
    is_int(order_at(&o, 7), 7, "the identity");
    order_release(&o);
}

static void names(void)
{
    static const char *const bad[] = {
        "",          "block:",       "block:0:1:1",
        "block:1:2", "block:1:2:3x", "block:-1:2:3",
        "globals"};
    struct order_set s = make_set(10, 1);
    struct buf b = BUF_INIT;
    struct order o;

    is_int(order_parse(&o, "block"), 0, "block");
    order_name(&o, &b);
    is_str(b.data, "block:2097152:512:1", "its full name");
    is_int(order_parse(&o, "block:1000:3:2"), 0, "with numbers");
    buf_reset(&b);
    order_name(&o, &b);
    is_str(b.data, "block:1000:3:2", "its name");
    is_int(order_bind(&o, 0, 5, &s), -1, "two lanes and a batch of five");
    is_int(err_code(), ERR_USAGE, "is wrong usage");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        is_int(order_parse(&o, bad[i]), -1, "\"%s\" is no order", bad[i]);
    buf_release(&b);
}

/* Are positions 0..n-1 a permutation? */
static int is_bijection(const struct order *o)
{
    static unsigned char seen[4096];

    memset(seen, 0, sizeof(seen));
    for (uint32_t p = 0; p < o->set.n; p++) {
        uint32_t i = order_at(o, p);

        if (i >= o->set.n || seen[i]++)
            return 0;
    }
    return 1;
}

static void block_bijection(void)
{
    static const uint32_t lens[] = {1, 2, 3, 7, 50, 333, 1000};
    int wrong = 0, tried = 0, moved = 0;
    struct order o;
    char text[64];

    for (int l = 0; l < 7; l++)
        for (int lanes = 1; lanes <= 4; lanes++)
            for (int window = 1; window <= 9; window += 4) {
                struct order_set s = make_set(lens[l], l < 3 ? 1 : 3);

                snprintf(text, sizeof(text), "block:1000:%d:%d", window, lanes);
                if (order_parse(&o, text) < 0 ||
                    order_bind(&o, 7, 12, &s) < 0) {
                    wrong++;
                    continue;
                }
                for (int e = 0; e < 3; e++, tried++) {
                    if (order_epoch(&o, e) < 0 || !is_bijection(&o))
                        wrong++;
                    moved += order_at(&o, 0) != 0;
                }
                order_release(&o);
            }
    is_int(wrong, 0, "block order: bijection in %d cases", tried);
    ok(moved > tried / 2, "that moves things");
}

/* A window of whole blocks: samples of one shard stay near each other. */
static void block_locality(void)
{
    struct order_set s = make_set(1000, 4);
    uint32_t far = 0;
    struct order o;

    ok(order_parse(&o, "block:2000:2:1") == 0 &&
           order_bind(&o, 1, 10, &s) == 0 && order_epoch(&o, 0) == 0,
       "small windows");
    for (uint32_t p = 0; p + 1 < 1000; p++) {
        int64_t d = (int64_t)order_at(&o, p) - order_at(&o, p + 1);

        far += d > 20 || d < -20;
    }
    ok(far < 600, "%lu of 999 neighbours are far apart", (unsigned long)far);
    order_release(&o);
}

/*
 * Repeated augmentation: step t has the samples that positions tG..tG+G-1 of the
 * order with each sample four times in place have (torchvision's RASampler), and
 * no rank of four has one of them twice.
 */
static void repeats(const char *text, const char *name)
{
    enum {
        G = 24,
        R = 4
    };
    struct order_set s = make_set(1000, 4);
    struct buf b = BUF_INIT;
    struct order o, once;
    int wrong = 0, twice = 0;

    ok(order_parse(&o, text) == 0 && order_parse(&once, text) == 0, "%s", text);
    o.repeat = R;
    ok(order_bind(&o, 3, G, &s) == 0 && order_bind(&once, 3, G / R, &s) == 0 &&
           order_epoch(&o, 2) == 0 && order_epoch(&once, 2) == 0,
       "%s: bound", text);
    for (int64_t t = 0; t < 1000 / G; t++)
        for (int64_t i = 0; i < G; i++) {
            int views = 0;

            for (int64_t j = 0; j < G; j++) {
                bool same =
                    order_at(&o, t * G + j) == order_at(&once, (t * G + i) / R);

                views += same;
                twice += same && j % (G / R) != i / R;
            }
            wrong += views != R;
        }
    is_int(wrong, 0, "%s: each of a step's samples four times", text);
    is_int(twice, 0, "%s: once on each of four ranks", text);
    order_name(&o, &b);
    is_str(b.data, name, "%s: named", text);
    buf_release(&b);
    order_release(&o);
    order_release(&once);
    o.repeat = 5;
    ok(order_bind(&o, 3, G, &s) < 0 && err_code() == ERR_USAGE,
       "%s: five views do not divide a batch of 24", text);
    has_str(err_text(), "INPUT.REPEAT 5", "says so");
}

/* Every rank and micro-step of an epoch: each position once. */
static int cover(const struct recipe *r, int64_t n, int64_t world, bool eval)
{
    static unsigned char seen[8192];
    struct recipe_batch b;
    int64_t p0, count, want = 0, total = 0, last, next;
    int tail = r->tail;

    if ((eval ? recipe_divide_eval : recipe_divide)(r, n, world, &b) < 0)
        return tail == TAIL_DROP && n < r->batch ? 0 : 1;
    memset(seen, 0, sizeof(seen));
    for (int64_t pos = 0; pos < b.epoch_samples; pos += b.global) {
        next = pos;
        last =
            b.epoch_samples - pos < b.global ? b.epoch_samples - pos : b.global;
        for (int64_t m = 0; m < b.accum; m++)
            for (int64_t k = 0; k < world; k++) {
                recipe_rows(&b, tail, pos, m, k, &p0, &count);
                if (p0 != next || count < 0 || count > b.micro)
                    return 1;
                next = p0 + count;
                for (int64_t j = 0; j < count; j++)
                    seen[p0 + j]++;
                total += count;
            }
        if (next - pos != last)
            return 1;
    }
    want = tail == TAIL_EXACT  ? n
           : tail == TAIL_WRAP ? (n + b.global - 1) / b.global * b.global
                               : n / b.global * b.global;
    if (total != want || b.epoch_samples != want)
        return 1;
    for (int64_t p = 0; p < want; p++)
        if (seen[p] != 1)
            return 1;
    return 0;
}

static void coverage(void)
{
    struct recipe r = {.epochs = 1};
    int wrong = 0, tried = 0;

    for (int64_t world = 1; world <= 64; world++)
        for (r.micro = 1; r.micro <= 3; r.micro++)
            for (r.accum = 1; r.accum <= 3; r.accum++)
                for (r.tail = TAIL_WRAP; r.tail <= TAIL_EXACT; r.tail++)
                    for (int64_t n = 1; n < 700; n += 1 + n / 4, tried++) {
                        r.batch = r.micro * world * r.accum;
                        wrong += cover(&r, n, world, false);
                    }
    is_int(wrong, 0, "each position once: %d cases, 1 to 64 ranks", tried);
    r.tail = TAIL_EXACT;
    wrong = tried = 0;
    for (int64_t world = 1; world <= 9; world++)
        for (r.micro = 0; r.micro <= 3; r.micro++)
            for (r.accum = 0; r.accum <= 3; r.accum++)
                for (r.batch = 1; r.batch < 40; r.batch++)
                    for (int64_t n = 1; n < 90; n += 1 + n / 3, tried++)
                        wrong += cover(&r, n, world, true);
    is_int(wrong, 0, "of any batch: %d cases", tried);
}

/* The rows of one rank as "[0,1][4,5]", for the identity order. */
static void shard_text(int64_t n, int64_t world, int64_t micro, int64_t rank,
                       char *text, size_t room)
{
    struct recipe r = {.epochs = 1, .batch = world * micro};
    struct recipe_batch b;
    int64_t p0, count;
    size_t at = 0;

    text[0] = 0;
    if (recipe_divide(&r, n, world, &b) < 0)
        return;
    for (int64_t pos = 0; pos < b.epoch_samples; pos += b.global) {
        recipe_rows(&b, TAIL_WRAP, pos, 0, rank, &p0, &count);
        for (int64_t j = 0; j < count; j++)
            at += (size_t)snprintf(text + at, room - at, "%s%lld",
                                   j ? "," : "[", (long long)((p0 + j) % n));
        at += (size_t)snprintf(text + at, room - at, "]");
    }
}

static void accelerate_lists(void)
{
    static const struct {
        int64_t n, world, micro, rank;
        const char *want;
    } known[] = {
        {11, 2, 2, 0, "[0,1][4,5][8,9]"},
        {11, 2, 2, 1, "[2,3][6,7][10,0]"},
        {10, 2, 3, 0, "[0,1,2][6,7,8]"},
        {10, 2, 3, 1, "[3,4,5][9,0,1]"},
        {3, 4, 2, 0, "[0,1]"},
        {3, 4, 2, 1, "[2,0]"},
        {3, 4, 2, 2, "[1,2]"},
        {3, 4, 2, 3, "[0,1]"},
    };
    char text[200];

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        shard_text(known[i].n, known[i].world, known[i].micro, known[i].rank,
                   text, sizeof(text));
        is_str(text, known[i].want, "%d samples, %d ranks of %d, rank %d",
               (int)known[i].n, (int)known[i].world, (int)known[i].micro,
               (int)known[i].rank);
    }
}

/* Last step of an exact tail: R mod W ranks have one more. */
static void exact_tail(void)
{
    struct recipe r = {.epochs = 1, .batch = 12, .tail = TAIL_EXACT};
    struct recipe_batch b;
    int64_t p0, count;
    static const int64_t want[4][2] = {{12, 2}, {14, 1}, {15, 1}, {16, 1}};

    is_int(recipe_divide(&r, 17, 4, &b), 0, "17 samples, 4 ranks of 3");
    for (int k = 0; k < 4; k++) {
        recipe_rows(&b, TAIL_EXACT, 12, 0, k, &p0, &count);
        is_int(p0, want[k][0], "rank %d begins", k);
        is_int(count, want[k][1], "and has");
    }
}

/* Windows lie one behind the other and have their samples for themselves, in
 * whole blocks but at their ends. */
static void windows(void)
{
    struct order_set s = make_set(1000, 3);
    struct order o;
    int64_t at = 0, end;
    int n = 0, runs = 0, wrong = 0;
    char *in = xmalloc(1000);

    ok(order_parse(&o, "block:3000:4:1") == 0 &&
           order_bind(&o, 5, 8, &s) == 0 && order_epoch(&o, 2) == 0,
       "four blocks of 3000 bytes");
    for (; at < 1000 && n < 1000; at = end, n++) {
        end = order_window_end(&o, at);
        if (end <= at || order_window_end(&o, end - 1) != end)
            break;
        memset(in, 0, 1000);
        for (int64_t p = at; p < end; p++)
            in[order_at(&o, p)] = 1;
        for (int i = 0; i < 1000; i++)
            runs += in[i] && (i == 0 || !in[i - 1]);
        wrong += end - at > 4 * 30;
    }
    is_int(at, 1000, "to the end");
    ok(n > 12 && n < 40, "%d windows", n);
    is_int(wrong, 0, "none is larger");
    ok(runs <= 4 * n && runs > n, "samples in %d runs", runs);
    is_int(order_epoch(&o, 3), 0, "another epoch");
    is_int(order_window_end(&o, 999), 1000, "ends there too");
    order_release(&o);
    ok(order_parse(&o, "global") == 0 && order_bind(&o, 5, 8, &s) == 0 &&
           order_epoch(&o, 2) == 0,
       "global");
    is_int(order_window_end(&o, 3), -1, "has none");
    order_release(&o);
    free(in);
}

int main(void)
{
    windows();
    vectors();
    names();
    block_bijection();
    block_locality();
    repeats("global", "global*4");
    repeats("block:2000:2:2", "block:2000:2:2*4");
    coverage();
    accelerate_lists();
    exact_tail();
    return done_testing();
}
