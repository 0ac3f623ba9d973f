/* The dynamic loss scale: the sequence of imagenet-recipe 9, and its edges. */
#include "lib/tap.h"

#include "train/run.h"
#include "train/scaler.h"

#include <string.h>

static struct recipe of(int prec, double scale)
{
    struct recipe r;

    memset(&r, 0, sizeof r);
    r.prec = prec;
    r.loss_scale = scale;
    return r;
}

static void sequence(void)
{
    struct recipe r = of(PREC_FP16, 0);
    struct scaler s;
    int i;

    scaler_init(&s, &r);
    is_double(s.scale, 65536, 0, "begins at 65536");
    ok(!scaler_update(&s, false), "inf: the step does not count");
    is_double(s.scale, 32768, 0, "halved");
    scaler_update(&s, false);
    is_double(s.scale, 16384, 0, "halved again");
    for (i = 0; i < 1999; i++)
        scaler_update(&s, true);
    is_double(s.scale, 16384, 0, "1999 clean steps: not yet");
    ok(scaler_update(&s, true), "a clean step counts");
    is_double(s.scale, 32768, 0, "doubled at the 2000th");
    is_int(s.good, 0, "counting begins again");
    is_int(s.skipped, 2, "two skipped in all");
    for (i = 0; i < 1000; i++)
        scaler_update(&s, true);
    scaler_update(&s, false);
    for (i = 0; i < 1999; i++)
        scaler_update(&s, true);
    is_double(s.scale, 16384, 0, "an overflow begins the count anew");
    s.scale = ldexp(1, 127);
    s.good = 1999;
    scaler_update(&s, true);
    is_double(s.scale, ldexp(1, 127), 0, "does not grow past fp32");
}

static void modes(void)
{
    struct recipe r = of(PREC_FP16, 128);
    struct scaler s;

    scaler_init(&s, &r);
    is_double(s.scale, 128, 0, "fixed scale");
    ok(!scaler_update(&s, false), "fixed: skipped");
    is_double(s.scale, 128, 0, "fixed: stays");
    r = of(PREC_BF16, 0);
    scaler_init(&s, &r);
    ok(!s.on && s.scale == 1, "bf16: off");
}

static void periods(void)
{
    static const char *const bad[] = {"",   "ep",     "-1it", "2 ep",
                                      "3x", "1e30it", "nan",  "5"};
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
    sequence();
    modes();
    periods();
    return done_testing();
}
