/* Rates of progress lines. The line itself needs a terminal: t/38-people.t. */
#include "util/progress.h"

#include "lib/tap.h"

#include <math.h>

int main(void)
{
    struct progress p;

    progress_begin(&p, "img", 100, 0, false);
    ok(progress_rate(&p) == 0, "no points: no rate");
    progress_step(&p, 10, NULL);
    ok(progress_rate(&p) == 0, "nor of one");
    /* points as they would be, 0.5 s apart */
    for (int i = 0; i < PROGRESS_POINTS; i++) {
        p.at[i] = 100 + i * 0.5;
        p.done[i] = i * 8;
    }
    p.n = 3;
    ok(fabs(progress_rate(&p) - 16) < 1e-9, "of the first points");
    p.n = PROGRESS_POINTS;
    ok(fabs(progress_rate(&p) - 16) < 1e-9, "of a full window");
    /* three more, slower: in the places of the oldest */
    for (int i = 0; i < 3; i++) {
        p.at[i] = 100 + PROGRESS_POINTS * 0.5 + i;
        p.done[i] = PROGRESS_POINTS * 8 + i;
    }
    p.n = PROGRESS_POINTS + 3;
    ok(fabs(progress_rate(&p) - (double)(PROGRESS_POINTS * 8 + 2 - 24) /
                                    (PROGRESS_POINTS * 0.5 + 2 - 1.5)) < 1e-9,
       "the oldest points are forgotten");
    progress_begin(&p, "img", 100, 3600, false);
    progress_step(&p, 1, NULL);
    progress_step(&p, 50, NULL);
    is_int(p.n, 1, "points that are too close are not kept");
    return done_testing();
}
