/* Batches: what divides, what does not, places, digests, defaults. */
#include "io/recipe.h"
#include "lib/tap.h"

static int nothing(const struct command *c, int argc, char **argv)
{
    (void)c;
    (void)argc;
    (void)argv;
    return 0;
}

static const struct command command = {
    .name = "", .shared = recipe_opts, .run = nothing};

static void set(const char *key, const char *text)
{
    if (opt_set(&command, key, text, ORIGIN_COMMAND, "test") < 0)
        ok(0, "%s %s: %s", key, text, err_text());
}

static void defaults(void)
{
    static char name[] = "t";
    char *argv[] = {name, NULL};
    const struct command all[] = {command, {.name = NULL}};
    const struct program p = {.name = "t", .help = "", .commands = all};

    fflush(stdout);
    is_int(program_main(&p, 1, argv), 0, "the rows are sound");
}

static void divide(int64_t batch, int64_t micro, int64_t accum, int64_t world,
                   int64_t want_micro, int64_t want_accum, const char *says)
{
    struct recipe r = {
        .epochs = 2, .batch = batch, .micro = micro, .accum = accum};
    struct recipe_batch b;
    int rc = recipe_divide(&r, 1000, world, &b);

    if (says) {
        is_int(rc, -1, "batch %d, %d ranks: refused", (int)batch, (int)world);
        is_int(err_code(), ERR_USAGE, "as usage");
        has_str(err_text(), says, "names what works");
        return;
    }
    is_int(rc, 0, "batch %d on %d ranks", (int)batch, (int)world);
    is_int(b.micro, want_micro, "micro");
    is_int(b.accum, want_accum, "accum");
    is_int(b.micro * b.accum * b.world, b.global, "their product");
}

static void divide_eval(int64_t batch, int64_t micro, int64_t accum,
                        int64_t world, int64_t want_micro, int64_t want_accum)
{
    struct recipe r = {.epochs = 1,
                       .batch = batch,
                       .micro = micro,
                       .accum = accum,
                       .tail = TAIL_EXACT};
    struct recipe_batch b;

    is_int(recipe_divide_eval(&r, 1000, world, &b), 0,
           "batch %d on %d ranks, to look at", (int)batch, (int)world);
    is_int(b.micro, want_micro, "micro");
    is_int(b.accum, want_accum, "accum");
    is_int(b.global, batch, "of the same batch");
    is_int(b.epoch_samples, 1000, "of all");
}

static void divisions(void)
{
    struct recipe r = {.epochs = 1, .batch = 8};
    struct recipe_batch b;

    divide(256, 0, 0, 4, 64, 1, NULL);
    divide(256, 0, 2, 4, 32, 2, NULL);
    divide(256, 16, 0, 4, 16, 4, NULL);
    divide(256, 16, 4, 4, 16, 4, NULL);
    divide(100, 0, 0, 3, 0, 0, "99 or 102");
    divide(100, 0, 4, 2, 0, 0, "96 or 104");
    divide(2, 0, 0, 3, 0, 0, "does: 3");
    divide(100, 32, 0, 2, 0, 0, "64 or 128");
    divide(100, 8, 4, 2, 0, 0, "= 64");
    divide_eval(256, 0, 2, 4, 32, 2);
    divide_eval(256, 16, 0, 4, 16, 4);
    divide_eval(100, 0, 0, 3, 34, 1);
    divide_eval(100, 0, 4, 2, 13, 4);
    divide_eval(2, 0, 0, 3, 1, 1);
    divide_eval(100, 32, 0, 2, 32, 2);
    divide_eval(100, 8, 4, 2, 8, 7);
    is_int(recipe_divide_eval(&r, 0, 1, &b), -1, "of no samples");
    is_int(recipe_divide(&r, 0, 1, &b), -1, "no samples");
    is_int(err_code(), ERR_DATA, "is bad data");
    r.tail = TAIL_DROP;
    is_int(recipe_divide(&r, 7, 1, &b), -1, "drop leaves nothing");
    is_int(err_code(), ERR_USAGE, "is usage");
}

static void lengths(int tail, double epochs, int64_t n, int64_t samples,
                    int64_t steps, int64_t total)
{
    struct recipe r = {.epochs = epochs, .batch = 8, .tail = tail};
    struct recipe_batch b;

    is_int(recipe_divide(&r, n, 2, &b), 0, "tail %d, %g epochs of %d", tail,
           epochs, (int)n);
    is_int(b.epoch_samples, samples, "samples of an epoch");
    is_int(b.total_steps, steps, "steps of the run");
    is_int(b.total_samples, total, "samples of the run");
}

static void progress(void)
{
    struct recipe r = {.epochs = 3, .batch = 8};
    struct recipe_batch b;
    int64_t epoch, pos;

    lengths(TAIL_WRAP, 3, 20, 24, 9, 72);
    lengths(TAIL_DROP, 3, 20, 16, 6, 48);
    lengths(TAIL_EXACT, 3, 20, 20, 9, 60);
    lengths(TAIL_EXACT, 1.34, 20, 20, 4, 28);
    lengths(TAIL_WRAP, 0, 20, 24, 0, 0);
    lengths(TAIL_WRAP, 0.001, 20, 24, 1, 8);
    is_int(recipe_divide(&r, 20, 1, &b), 0, "divided");
    recipe_place(&b, 0, &epoch, &pos);
    ok(epoch == 0 && pos == 0, "the beginning");
    recipe_place(&b, 40, &epoch, &pos);
    ok(epoch == 1 && pos == 16, "sample 40");
    recipe_place(&b, 48, &epoch, &pos);
    ok(epoch == 2 && pos == 0, "sample 48");
}

static void digests(void)
{
    char a[33], b[33];

    recipe_digest(&recipe, a);
    is_int((long long)strlen(a), 32, "32 hex digits");
    set("SOLVER.MICRO", "4");
    set("INPUT.RESIZE", "300");
    set("SOLVER.EPOCHS", "120");
    recipe_digest(&recipe, b);
    is_str(b, a, "how a run is cut, judged, lengthened: the same");
    set("SOLVER.BASE_LR", "0.2");
    recipe_digest(&recipe, b);
    ok(strcmp(a, b) != 0, "a rate: another");
    set("SOLVER.BASE_LR", "0.1");
    recipe_digest(&recipe, b);
    is_str(b, a, "back");
    set("INPUT.MEAN", "0.485,0.456,0.407");
    recipe_digest(&recipe, b);
    ok(strcmp(a, b) != 0, "a mean: another");
    set("INPUT.MEAN", "0.485,0.456,0.406");
    set("SOLVER.SCHED", "cosine");
    recipe_digest(&recipe, a);
    set("SOLVER.EPOCHS", "90");
    recipe_digest(&recipe, b);
    ok(strcmp(a, b) != 0, "cosine depends on the length");
    set("SOLVER.SCHED", "step");
}

static void refused(const char *key, const char *bad, const char *good)
{
    set(key, bad);
    is_int(recipe_check(&recipe), -1, "%s %s", key, bad);
    is_int(err_code(), ERR_CONFIG, "%s", err_text());
    set(key, good);
    is_int(recipe_check(&recipe), 0, "%s %s", key, good);
}

static void checks(void)
{
    is_int(recipe_check(&recipe), 0, "the defaults are sound: %s", err_text());
    refused("INPUT.MEAN", "1,2", "0.485,0.456,0.406");
    refused("INPUT.SCALE", "1,0.5", "0.5,1");
    refused("INPUT.RATIO", "1", "0.75,1.25");
    refused("INPUT.RESIZE", "200", "0");
    refused("SOLVER.STEP_EPOCHS", "60,30", "30,60");
    refused("SOLVER.WARMUP_EPOCHS", "1000", "5");
    refused("SOLVER.LOSS_SCALE", "128", "0");
}

int main(void)
{
    defaults();
    if (opt_set(&command, "SEED", "0", ORIGIN_COMMAND, "test") < 0)
        return 1;
    /* program_main has released its values; give those used here */
    set("MODEL.NAME", "resnet50");
    set("INPUT.SIZE", "224");
    set("INPUT.MEAN", "0.485,0.456,0.406");
    set("INPUT.STD", "0.229,0.224,0.225");
    set("INPUT.SCALE", "0.08,1");
    set("INPUT.RATIO", "0.75,1.3333333333333333");
    set("SOLVER.EPOCHS", "90");
    set("SOLVER.BATCH", "256");
    set("SOLVER.BASE_LR", "0.1");
    set("SOLVER.MOMENTUM", "0.9");
    set("SOLVER.STEP_EPOCHS", "30");
    divisions();
    progress();
    checks();
    digests();
    return done_testing();
}
