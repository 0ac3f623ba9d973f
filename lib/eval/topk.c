#include "eval/topk.h"

#include <math.h>
#include <string.h>

int topk_init(struct topk *t, const int64_t *k, int n_k)
{
    int i, j;

    memset(t, 0, sizeof *t);
    if (n_k < 1 || n_k > TOPK_MAX)
        return err_set(ERR_USAGE, "%d values of k: 1 to %d are allowed", n_k,
                       TOPK_MAX);
    for (i = 0; i < n_k; i++) {
        if (k[i] < 1)
            return err_set(ERR_USAGE, "k of %lld: 1 is the least",
                           (long long)k[i]);
        for (j = 0; j < i; j++)
            if (k[j] == k[i])
                return err_set(ERR_USAGE, "k of %lld twice", (long long)k[i]);
        t->k[i] = k[i];
    }
    t->n_k = n_k;
    return 0;
}

int64_t topk_most(const struct topk *t)
{
    int64_t most = 0;
    int i;

    for (i = 0; i < t->n_k; i++)
        most = t->k[i] > most ? t->k[i] : most;
    return most;
}

static int64_t rank_f32(const float *v, int64_t n, int64_t label)
{
    int64_t i, before = 0, nan = 0;
    float mine = v[label];

    for (i = 0; i < n; i++) {
        before += v[i] > mine || (i < label && v[i] == mine);
        nan += v[i] != v[i];
    }
    return nan ? TOPK_NAN : before;
}

static int64_t rank_f64(const double *v, int64_t n, int64_t label)
{
    int64_t i, before = 0, nan = 0;
    double mine = v[label];

    for (i = 0; i < n; i++) {
        before += v[i] > mine || (i < label && v[i] == mine);
        nan += v[i] != v[i];
    }
    return nan ? TOPK_NAN : before;
}

int64_t topk_rank(enum dtype type, const void *scores, int64_t classes,
                  int64_t label)
{
    if (label < 0 || label >= classes)
        BUG("label %lld of %lld classes", (long long)label, (long long)classes);
    if (type == DT_F32)
        return rank_f32(scores, classes, label);
    if (type == DT_F64)
        return rank_f64(scores, classes, label);
    BUG("scores of type %s", dtype_name(type));
}

int64_t topk_place(const int64_t *named, int64_t n, int64_t label)
{
    int64_t i;

    for (i = 0; i < n; i++)
        if (named[i] == label)
            return i;
    return TOPK_MISS;
}

void topk_add(struct topk *t, int64_t rank)
{
    int i;

    t->n++;
    t->nan += rank == TOPK_NAN;
    for (i = 0; i < t->n_k; i++)
        t->correct[i] += rank >= 0 && rank < t->k[i];
}
