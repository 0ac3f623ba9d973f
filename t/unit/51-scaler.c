/* The dynamic loss scale: the sequence of imagenet-recipe 9, and its edges. */
#include "lib/tap.h"

#include "train/run.h"
#include "train/scaler.h"

#include <math.h>
#include <string.h>

static struct recipe of(int prec, double scale)
{
    struct recipe r;

    memset(&r, 0, sizeof r);
    r.prec = prec;
    r.loss_scale = scale;
    return r;
}

/* What the engine keeps; a step with gradients that are all finite, or not. */
struct kept {
    struct engine *e;
    struct scaler s;
    struct kern_state state;
};

static bool step(struct kept *k, bool finite)
{
    double check[3] = {4, finite ? 0 : 1, 0};
    struct kern_step a = {.state = &k->state, .check = check, .shares = 1};

    scaler_rules(&k->s, &a);
    if (engine_run(k->e, KERN_STEP, &a) < 0)
        die();
    return k->state.update;
}

static void begin(struct kept *k, struct engine *e, const struct recipe *r)
{
    scaler_init(&k->s, r);
    k->e = e;
    k->state = (struct kern_state){.scale = k->s.scale};
}

static void sequence(struct engine *e)
{
    struct recipe r = of(PREC_FP16, 0);
    struct kept k;
    int i;

    begin(&k, e, &r);
    is_double(k.state.scale, 65536, 0, "begins at 65536");
    ok(!step(&k, false), "inf: the step does not count");
    is_double(k.state.scale, 32768, 0, "halved");
    step(&k, false);
    is_double(k.state.scale, 16384, 0, "halved again");
    for (i = 0; i < 1999; i++)
        step(&k, true);
    is_double(k.state.scale, 16384, 0, "1999 clean steps: not yet");
    ok(step(&k, true), "a clean step counts");
    is_double(k.state.norm, 2.0 / 16384, 0, "its norm is that without scale");
    is_double(k.state.scale, 32768, 0, "doubled at the 2000th");
    is_int(k.state.good, 0, "counting begins again");
    is_int(k.state.skipped, 2, "two skipped in all");
    for (i = 0; i < 1000; i++)
        step(&k, true);
    step(&k, false);
    for (i = 0; i < 1999; i++)
        step(&k, true);
    is_double(k.state.scale, 16384, 0, "an overflow begins the count anew");
    k.state.scale = ldexp(1, 127);
    k.state.good = 1999;
    step(&k, true);
    is_double(k.state.scale, ldexp(1, 127), 0, "does not grow past fp32");
}

static void modes(struct engine *e)
{
    struct recipe r = of(PREC_FP16, 128);
    struct kept k;

    begin(&k, e, &r);
    is_double(k.state.scale, 128, 0, "fixed scale");
    ok(!step(&k, false), "fixed: skipped");
    is_double(k.state.scale, 128, 0, "fixed: stays");
    is_int(k.state.skipped, 1, "fixed: counted");
    r = of(PREC_BF16, 0);
    begin(&k, e, &r);
    ok(!k.s.on && k.state.scale == 1, "bf16: off");
    ok(!step(&k, false) && k.state.skipped == 0,
       "bf16: not updated, and not as one that is skipped");
}

/* Verdict, norm and factor of squares; what is logged. */
static void verdict(struct engine *e)
{
    double check[6] = {9, 0, 0, 16, 0, 0}, stats[4] = {1, 2, 3, 4};
    struct kern_state s = {.scale = 2}, log[2];
    struct kern_step a = {.state = &s,
                          .check = check,
                          .stats = stats,
                          .log = log,
                          .shares = 2,
                          .logs = 2,
                          .clip = 1};

    if (engine_run(e, KERN_STEP, &a) < 0)
        die();
    is_double(s.norm, 2.5, 0, "the norm of two shares");
    is_double(s.gmul, 1 / (2.5 + 1e-6) / 2, 1e-16, "clipped and unscaled");
    ok(log[0].stats[3] == 4 && stats[3] == 0, "sums of the loss are moved");
    check[0] = HUGE_VAL;
    check[1] = check[4] = 1;
    check[2] = 7;
    check[5] = 5;
    if (engine_run(e, KERN_STEP, &a) < 0)
        die();
    ok(!log[1].update && isnan(log[1].norm) && log[1].bad == 7,
       "not finite: no update, and the last place");
    check[1] = check[4] = 0;
    if (engine_run(e, KERN_STEP, &a) < 0)
        die();
    ok(!log[0].update && s.steps == 3, "nor where the squares overflow");
}

static void periods(void)
{
    static const char *const bad[] = {"",      "ep",     "-1it", "2 ep",
                                      "3x",    "1e30it", "nan",  "5",
                                      "0.5it", "0.01s",  "1e-9h"};
    struct cadence c;
    size_t i;

    ok(cadence_parse("500it", &c) == 0 && c.steps == 500, "500it");
    ok(cadence_parse("0.5ep", &c) == 0 && c.epochs == 0.5, "0.5ep");
    ok(cadence_parse("90s", &c) == 0 && c.seconds == 90, "90s");
    ok(cadence_parse("30m", &c) == 0 && c.seconds == 1800, "30m");
    ok(cadence_parse("2h", &c) == 0 && c.seconds == 7200, "2h");
    ok(cadence_parse("0", &c) == 0 && !c.steps && !c.epochs && !c.seconds,
       "0: never");
    for (i = 0; i < sizeof bad / sizeof *bad; i++)
        ok(cadence_parse(bad[i], &c) < 0 && err_code() == ERR_USAGE,
           "\"%s\" is refused", bad[i]);
}

int main(void)
{
    struct engine *e;

    if (engine_open(&e, "ref", NULL) < 0)
        die();
    sequence(e);
    modes(e);
    verdict(e);
    engine_close(e);
    periods();
    return done_testing();
}
