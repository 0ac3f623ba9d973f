/*
 * Ranks whose weights differ in one bit are found out: what a rank gives to a
 * reduction, put together by a communicator of this test.
 */
#include "lib/must.h"
#include "lib/tap.h"

#include "train/agree.h"

#define MANY 40000 /* weights: more than are looked at at once */

static double given[2][2]; /* [rank] what it gave last */
static bool lost;

static int reduce(struct comm *c, enum comm_op op, double *v, int n)
{
    if (lost)
        return err_set(ERR_PEER, "rank 1: lost");
    is_int(op == COMM_MAX && n == 2, 1, "rank %d asks for two maxima", c->rank);
    memcpy(given[c->rank], v, sizeof given[0]);
    for (int i = 0; i < 2; i++)
        v[i] = fmax(given[0][i], given[1][i]);
    return 0;
}

static const struct comm_ops ops = {.reduce = reduce};

/* What rank 1 says after rank 0, of its weights. */
static int second(struct params *ps, float *w0, float *w1)
{
    struct comm c = {.world = 2, .ops = &ops};
    int r;

    memset(given, 0, sizeof given);
    ps->w = w0;
    given[1][0] = given[1][1] = -HUGE_VAL;
    must(agree_weights(ps, &c));
    c.rank = 1;
    ps->w = w1;
    r = agree_weights(ps, &c);
    ps->w = NULL;
    return r;
}

int main(void)
{
    float *w0 = xcalloc(MANY, sizeof *w0), *w1 = xcalloc(MANY, sizeof *w1);
    struct engine_config config = {.device = -1};
    struct params ps = {.total = MANY, .pt = DT_F32};
    struct comm *alone = comm_null();
    static const int at[] = {0, 16383, 16384, MANY - 1};
    uint32_t word;

    must(engine_open(&ps.e, "ref", &config));
    for (int i = 0; i < MANY; i++)
        w0[i] = w1[i] = (float)i / 7;
    is_int(second(&ps, w0, w1), 0, "equal weights");
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        memcpy(&word, &w1[at[i]], sizeof word);
        word ^= 1;
        memcpy(&w1[at[i]], &word, sizeof word);
        is_int(second(&ps, w0, w1), -1, "weight %d differs by its last bit",
               at[i]);
        is_str(err_text(), "ranks: weights differ", "which is said");
        is_int(err_code(), ERR_INTERNAL, "as an error of the program");
        w1[at[i]] = w0[at[i]];
    }
    w1[5] = -0.0f;
    w0[5] = 0;
    is_int(second(&ps, w0, w1), -1, "zeros of two signs are not equal");
    lost = true;
    ps.w = w0;
    is_int(agree_weights(&ps, &(struct comm){.world = 2, .ops = &ops}), -1,
           "a rank that is lost");
    is_str(err_text(), "rank 1: lost", "is not taken for one that differs");
    is_int(agree_weights(&ps, alone), 0, "one rank asks nobody");
    ps.w = NULL;
    comm_free(alone);
    engine_close(ps.e);
    free(w0);
    free(w1);
    return done_testing();
}
