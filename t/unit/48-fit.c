/*
 * The micro-batch that fits: of all divisors the largest whose plan is small
 * enough, where a larger one takes less memory, too.
 */
#include "lib/must.h"
#include "lib/tap.h"

#include "model/model.h"
#include "train/fit.h"

enum {
    EACH = 480,
    SIZE = 64
};

static const struct plan_key key = {0, SIZE, SIZE, DT_F32, true};

static size_t bytes_of(struct classifier *m, int64_t micro)
{
    struct plan_key k = key;
    struct plan_cost cost;

    k.n = micro;
    must(graph_cost(&m->graph, m->e, &k, &cost));
    return fit_bytes(&cost);
}

/* Rooms at which the answer changes, and a byte less. */
static void check(struct classifier *m, const char *what)
{
    size_t bytes[EACH + 1] = {0}, room;
    int64_t i, k, best;
    int wrong = 0, dents = 0, last = 0;
    struct fit f;

    for (i = 1; i <= EACH; i++)
        if (EACH % i == 0) {
            bytes[i] = bytes_of(m, i);
            dents += bytes[i] < bytes[last];
            last = (int)i;
        }
    for (i = 12; i <= 40; i++)
        for (room = bytes[i]; bytes[i] && room + 2 > bytes[i]; room--) {
            best = 1;
            for (k = 1; k <= EACH; k++)
                best = bytes[k] && bytes[k] <= room ? k : best;
            must(fit_micro(&m->graph, m->e, key, EACH, room, &f));
            wrong += f.micro != best || f.accum != EACH / best ||
                     f.bytes != bytes[best];
        }
    is_int(wrong, 0,
           "%s: the largest that fits; %d take less than smaller ones", what,
           dents);
}

static void on(const char *name)
{
    struct engine_config ec = {
        .device = -1, .threads = 1, .dir = tap_env("BIN", "bin")};
    struct model_config c = {.classes = 7,
                             .width = 64,
                             .bn_eps = 1e-5,
                             .bn_momentum = 0.1,
                             .mean = {0.485F, 0.456F, 0.406F},
                             .std = {0.229F, 0.224F, 0.225F}};
    struct classifier m;
    struct engine *e;

    if (engine_open(&e, name, &ec) < 0) {
        skip(1, "onednn: no cpu engine");
        return;
    }
    for (int again = 0; again < 2; again++) {
        char *what = xstrfmt("%s%s", name, again ? ", recomputed" : "");

        must(classifier_init(&m, "resnet18", &c, e, DT_F32, true));
        m.graph.recompute = again;
        check(&m, what);
        classifier_release(&m);
        free(what);
    }
    engine_close(e);
}

int main(void)
{
    on("ref");
    on("cpu");
    return done_testing();
}
