/*
 * Convolutions: several ways to do each ("forms"), in one table. Which is best
 * is a matter of the shape and of the machine: by rule it is the one with the
 * highest rank, unless somebody has timed them (engine/tune.h). What a form
 * gives does not depend on how it was chosen.
 */
#include "engine/cpu/cpu.h"
#include "engine/cpu/dnnconv.h"
#include "engine/cpu/laneconv.h"
#include "engine/cpu/tileconv.h"
#include "engine/ref/ref.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One of those that are not NULL does the work; none: dense. */
struct conv_plan {
    struct conv_desc d;
    struct tileconv *tiles;
    struct laneconv *lanes;
    struct dnnconv *dnn;
    struct conv_plan *ref;
    char name[64];
};

/* Sums of what is stored: of bf16 alone, where sums in fp32 lose less than the
 * numbers themselves have lost. */
static bool leaves_sums(const struct conv_desc *d)
{
    return d->epi == EPI_STATS && d->kind == CONV_FORWARD &&
           d->dtype == DT_BF16 && d->out == DT_BF16 && tileconv_takes(d);
}

int cpu_conv_available(void *dev, const struct conv_desc *d)
{
    (void)dev;
    if ((d->dtype != DT_F32 && d->dtype != DT_BF16) || d->param != DT_F32 ||
        (d->out != DT_F32 && d->out != d->dtype) || d->pro != PRO_NONE ||
        conv_pitch(d) != d->c)
        return 0;
    if (d->kind == CONV_WGRAD && d->out != DT_F32)
        return 0;
    return d->epi == EPI_NONE || leaves_sums(d) ||
           (d->kind == CONV_FORWARD && conv_has_bias(d));
}

/* ---- forms, by the highest rank; those that are ABLE are candidates of a trial */

enum {
    NEVER,
    LAST, /* where nothing else can, no candidate; nor is this: */
    SPARE,
    ABLE,
    USUAL = 10
};

struct form {
    const char *name;
    unsigned way; /* of dnnconv.h */
    int (*rank)(const struct form *f, const struct conv_desc *d);
    int (*plan)(const struct form *f, struct cpu *c, struct conv_plan *p,
                struct conv_needs *needs);
};

static int rank_tiles(const struct form *f, const struct conv_desc *d)
{
    (void)f;
    return d->kind == CONV_WGRAD ? NEVER : USUAL + 3;
}

static int rank_weight_tiles(const struct form *f, const struct conv_desc *d)
{
    (void)f;
    return d->kind == CONV_WGRAD ? USUAL + 3 : NEVER;
}

static int plan_tiles(const struct form *f, struct cpu *c, struct conv_plan *p,
                      struct conv_needs *needs)
{
    (void)f;
    p->tiles = tileconv_new(&p->d, c->threads, needs);
    if (!p->tiles)
        return err_set(ERR_UNAVAILABLE, "no tiles");
    snprintf(p->name, sizeof(p->name), "%s", tileconv_name(p->tiles));
    return 0;
}

/* A linear layer in fp32 of which sums in double are a small part of the work. */
static bool is_dense(const struct conv_desc *d)
{
    return d->dtype == DT_F32 && d->h == 1 && d->w == 1 && d->r == 1 &&
           d->s == 1 && d->pad == 0 && d->n * d->c * d->k <= 1 << 30;
}

static int rank_lanes(const struct form *f, const struct conv_desc *d)
{
    (void)f;
    return !is_dense(d) && laneconv_takes(d) ? USUAL + 2 : NEVER;
}

static int plan_lanes(const struct form *f, struct cpu *c, struct conv_plan *p,
                      struct conv_needs *needs)
{
    (void)f;
    p->lanes = laneconv_new(&p->d, c->threads, needs);
    if (!p->lanes)
        return err_set(ERR_UNAVAILABLE, "no lanes");
    snprintf(p->name, sizeof(p->name), "%s", laneconv_name(p->lanes));
    return 0;
}

static size_t dense_scratch(const struct conv_desc *d, int threads)
{
    int64_t terms = d->kind == CONV_DGRAD ? d->k : d->n;

    if (d->kind == CONV_FORWARD)
        return 0;
    return (size_t)(threads * terms) * DENSE_WIDTH * sizeof(float);
}

static int rank_dense(const struct form *f, const struct conv_desc *d)
{
    (void)f;
    return is_dense(d) ? USUAL + 2 : NEVER;
}

static int plan_dense(const struct form *f, struct cpu *c, struct conv_plan *p,
                      struct conv_needs *needs)
{
    (void)f;
    memset(needs, 0, sizeof(*needs));
    needs->scratch_bytes = dense_scratch(&p->d, c->threads);
    snprintf(p->name, sizeof(p->name), "dense:%s in double", isa_names[c->isa]);
    return 0;
}

/* In fp32 the sums of oneDNN are one chain each: of 3x3x512 terms five times as far
 * off as those of lanes, and no faster. So it is left what these do not take. */
static int rank_dnn(const struct form *f, const struct conv_desc *d)
{
    unsigned usual = dnnconv_usual(d);

    if (is_dense(d))
        return NEVER;
    if (laneconv_takes(d))
        return f->way == usual ? SPARE : NEVER;
    if (f->way == usual)
        return USUAL + 1;
    if (dnnconv_takes(d, f->way))
        return ABLE;
    /* where oneDNN has no product for its core */
    return f->way == (usual & DNNCONV_COLUMNS) ? SPARE : NEVER;
}

static int plan_dnn(const struct form *f, struct cpu *c, struct conv_plan *p,
                    struct conv_needs *needs)
{
    if (dnnconv_new(c, &p->d, f->way, needs, &p->dnn) < 0)
        return -1;
    snprintf(p->name, sizeof(p->name), "%s", dnnconv_name(p->dnn));
    return 0;
}

static int rank_ref(const struct form *f, const struct conv_desc *d)
{
    (void)f;
    (void)d;
    return LAST;
}

static int plan_ref(const struct form *f, struct cpu *c, struct conv_plan *p,
                    struct conv_needs *needs)
{
    (void)f;
    snprintf(p->name, sizeof(p->name), "ref");
    return ref_conv_plan(c, &p->d, NULL, &p->ref, needs);
}

/* Names are kept in files (engine/plancache.h): a form whose bits change needs
 * another one. */
static const struct form form[] = {
    {"tiles", 0, rank_tiles, plan_tiles},
    {"weight-tiles", 0, rank_weight_tiles, plan_tiles},
    {"lanes", 0, rank_lanes, plan_lanes},
    {"dense", 0, rank_dense, plan_dense},
    {"convolution", 0, rank_dnn, plan_dnn},
    {"product", DNNCONV_PRODUCT, rank_dnn, plan_dnn},
    {"columns", DNNCONV_COLUMNS, rank_dnn, plan_dnn},
    {"columns-product", DNNCONV_COLUMNS | DNNCONV_PRODUCT, rank_dnn, plan_dnn},
    {"ref", 0, rank_ref, plan_ref}};
enum {
    N_FORMS = sizeof(form) / sizeof(form[0])
};

/* Those of at least that rank, highest first; their number. */
static int ranked(const struct conv_desc *d, int least,
                  const struct form *of[N_FORMS])
{
    int rank[N_FORMS] = {0}, n = 0, i, at;

    for (i = 0; i < N_FORMS; i++) {
        int r = form[i].rank(&form[i], d);

        if (r < least)
            continue;
        for (at = n++; at > 0 && rank[at - 1] < r; at--) {
            rank[at] = rank[at - 1];
            of[at] = of[at - 1];
        }
        rank[at] = r;
        of[at] = &form[i];
    }
    return n;
}

int cpu_conv_forms(void *dev, const struct conv_desc *d, const char **name,
                   int most)
{
    const struct form *of[N_FORMS];
    int n = ranked(d, ABLE, of), i;

    (void)dev;
    n = n < most ? n : most;
    for (i = 0; i < n; i++)
        name[i] = of[i]->name;
    return n;
}

/* ---- entries of the table */

static int plan_as(const struct form *f, struct cpu *c, struct conv_plan *p,
                   struct conv_needs *needs)
{
    int r;

    memset(needs, 0, sizeof(*needs));
    r = f->plan(f, c, p, needs);
    if (r < 0 && err_code() != ERR_UNAVAILABLE)
        return -1;
    return r == 0;
}

/* 1 done, 0 not possible, -1 failed */
static int plan_named(const char *name, struct cpu *c, struct conv_plan *p,
                      struct conv_needs *needs)
{
    const struct form *of[N_FORMS];
    int n = ranked(&p->d, LAST, of), i;

    for (i = 0; i < n; i++) {
        if (strcmp(of[i]->name, name) == 0)
            return plan_as(of[i], c, p, needs);
    }
    return 0;
}

static int plan_by_rule(struct cpu *c, struct conv_plan *p,
                        struct conv_needs *needs)
{
    const struct form *of[N_FORMS];
    int n = ranked(&p->d, LAST, of), i, r = 0;

    for (i = 0; i < n && r == 0; i++)
        r = plan_as(of[i], c, p, needs);
    return r;
}

int cpu_conv_plan(void *dev, const struct conv_desc *d, const char *name,
                  struct conv_plan **plan, struct conv_needs *needs)
{
    struct cpu *c = dev;
    struct conv_plan *p = xcalloc(1, sizeof(*p));
    int r;

    omp_set_num_threads(c->threads);
    p->d = *d;
    r = name ? plan_named(name, c, p, needs) : plan_by_rule(c, p, needs);
    if (r <= 0) {
        free(p);
        return r < 0 ? -1
                     : err_set(ERR_UNAVAILABLE, "form \"%s\": not for this",
                               name ? name : "any");
    }
    err_clear();
    *plan = p;
    return 0;
}

int cpu_conv_pack(void *dev, struct conv_plan *p, const void *weights,
                  void *packed)
{
    struct cpu *c = dev;

    omp_set_num_threads(c->threads);
    if (p->tiles)
        tileconv_pack(p->tiles, weights, packed);
    if (p->lanes)
        laneconv_pack(p->lanes, weights, packed);
    if (p->ref)
        return ref_conv_pack(dev, p->ref, weights, packed);
    return p->dnn ? dnnconv_pack(c, p->dnn, weights, packed) : 0;
}

/* Of a form that does not leave them itself. */
static int add_sums(struct cpu *c, const struct conv_desc *d,
                    const struct conv_args *a)
{
    struct kern_norm_stats s = {.x = a->out,
                                .mean = a->sum,
                                .var = a->sumsq,
                                .rows = d->n * conv_p(d) * conv_q(d),
                                .c = d->k,
                                .dt = d->out,
                                .pt = d->param};
    float *sum = a->sum, *square = a->sumsq;
    double rows = (double)s.rows;
    int64_t k;

    if (c->kern->loops(c, KERN_NORM_STATS, &s) < 0)
        return -1;
    for (k = 0; k < d->k; k++) {
        double mean = (double)sum[k], var = (double)square[k];

        sum[k] = (float)(mean * rows);
        square[k] = (float)((var + mean * mean) * rows);
    }
    return 0;
}

int cpu_conv_run(void *dev, struct conv_plan *p, const struct conv_args *a)
{
    struct cpu *c = dev;

    omp_set_num_threads(c->threads);
    if (p->dnn) {
        if (dnnconv_run(c, p->dnn, a) < 0)
            return -1;
        return p->d.epi == EPI_STATS ? add_sums(c, &p->d, a) : 0;
    }
    if (p->ref)
        return ref_conv_run(dev, p->ref, a);
    if (p->tiles)
        tileconv_run(p->tiles, a);
    else if (p->lanes)
        laneconv_run(p->lanes, a);
    else
        c->dense->run(&p->d, a);
    return 0;
}

void cpu_conv_free(void *dev, struct conv_plan *p)
{
    if (!p)
        return;
    if (p->ref)
        ref_conv_free(dev, p->ref);
    dnnconv_free(p->dnn);
    tileconv_free(p->tiles);
    laneconv_free(p->lanes);
    free(p);
}

const char *cpu_conv_name(void *dev, struct conv_plan *p)
{
    (void)dev;
    return p->name;
}
