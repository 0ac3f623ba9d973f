#include "engine/tune.h"

#include "engine/engine_private.h"
#include "engine/plancache.h"
#include "util/buf.h"
#include "util/fdio.h"
#include "util/hash.h"
#include "util/map.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FORMS = 16,
    BLOCKS = 24,
    ENOUGH_PLACES = 784, /* and results for each channel */
    KEY = 128,
    POISON = 0x3c, /* small numbers in all dtypes */
    LOCK_S = 120,
    ROUNDS = 2,
    WARM = 2,  /* runs before, of engines that queue */
    QUEUED = 5 /* runs between two looks at the clock, of those */
};
#define WORTH 0.85        /* of the time of the usual form, or */
#define WORTH_TIMED 0.95  /* where the device itself told the time */
#define HOPELESS 1.3      /* times the best so far */
#define SHORT_S 0.004     /* runs are repeated until they take so long */
#define ENOUGH_MACS 4e8   /* of a run on the host, on a part of the batch, */
#define ENOUGH_BYTES 16e6 /* and of its activations */

struct tune {
    const struct engine_ops *ops;
    void *dev;
    enum engine_tune mode;
    struct plancache *cache;
    struct map known; /* keys that were asked for -> place in line */
    char **line;      /* "KEY<tab>FORM"; the form is "" if by rule */
    int n, chosen, untried;
    bool told;
    void *cold; /* for conv_time, during a trial */
};

/* ---- what is asked */

/* Up to so many of a batch the form is the same. */
static int64_t batch_class(int64_t n)
{
    int64_t up = 1;

    while (up < n)
        up *= 2;
    return up;
}

static void make_key(char key[KEY], const struct conv_desc *d)
{
    static const char *const pro[] = {"", " sbr", " sbar"};
    static const char *const epi[] = {"",     " stats", " bias",    " add-bias",
                                      " add", " dact",  " bnsums1", " bnsums2"};
    int n;

    n = snprintf(key, KEY,
                 "%s %s-%s n%" PRId64 " %" PRId64 "x%" PRId64 "x%" PRId64
                 " k%" PRId64 " %" PRId64 "x%" PRId64 "/%d+%d%s%s%s%s%s",
                 conv_kind_name(d->kind), dtype_name(d->dtype),
                 dtype_name(d->out), batch_class(d->n), d->h, d->w, d->c, d->k,
                 d->r, d->s, d->stride, d->pad, pro[d->pro], epi[d->epi],
                 d->relu ? " relu" : "", d->add ? " and add" : "",
                 d->residual ? " residual" : "");
    if (conv_pitch(d) != d->c && n < KEY)
        snprintf(key + n, (size_t)(KEY - n), " pitch %" PRId64, conv_pitch(d));
}

/* ---- a trial */

/* Memory of the engine for the time of a trial. */
struct memory {
    struct tune *t;
    void *block[BLOCKS];
    int n;
    bool failed;
};

static void *take(struct memory *m, size_t bytes)
{
    const struct engine_ops *ops = m->t->ops;
    void **p = &m->block[m->n];

    if (bytes == 0 || m->failed)
        return NULL;
    if (m->n == BLOCKS)
        BUG("a convolution of more than %d operands", BLOCKS);
    if (ops->alloc(m->t->dev, bytes, p) < 0) {
        m->failed = true;
        return NULL;
    }
    m->n++;
    if (ops->fill(m->t->dev, *p, POISON, bytes) < 0)
        m->failed = true;
    return m->block[m->n - 1];
}

static void give_back(struct memory *m)
{
    while (m->n > 0)
        m->t->ops->free(m->t->dev, m->block[--m->n]);
}

/* All operands that the description has. */
static void operands(struct memory *m, const struct conv_desc *d,
                     struct conv_args *a)
{
    size_t x = (size_t)(d->n * d->h * d->w * conv_pitch(d));
    size_t y = (size_t)(d->n * conv_p(d) * conv_q(d) * d->k);
    size_t w = (size_t)(d->k * d->r * d->s * d->c);
    size_t most = (size_t)(d->c > d->k ? d->c : d->k);
    size_t size = dtype_size(d->dtype), out = dtype_size(d->out), like;
    bool forward = d->kind == CONV_FORWARD, wgrad = d->kind == CONV_WGRAD;
    void *vector = take(m, most * dtype_size(d->param));
    int i;

    memset(a, 0, sizeof *a);
    like = (forward ? y : wgrad ? w : x) * out;
    a->out = take(m, like);
    a->accumulate = wgrad;
    a->x = d->kind == CONV_DGRAD ? NULL : take(m, x * size);
    a->dy = forward ? NULL : take(m, y * size);
    a->w = wgrad ? NULL : take(m, w * dtype_size(d->param));
    if (d->pro != PRO_NONE)
        a->pro_scale = a->pro_bias = vector;
    if (d->pro == PRO_SBAR)
        a->pro_add = take(m, x * size);
    if (conv_has_bias(d))
        a->bias = vector;
    if (d->epi == EPI_ADD || d->epi == EPI_ADD_BIAS || d->add)
        a->add = take(m, like);
    if (d->epi == EPI_DACT)
        a->y = take(m, like);
    if (d->residual)
        a->residual = take(m, like);
    if (d->epi == EPI_STATS) {
        a->sum = take(m, most * dtype_size(d->param));
        a->sumsq = take(m, most * dtype_size(d->param));
    }
    for (i = 0; i < conv_norms(d); i++) {
        a->bn[i].x = take(m, like);
        a->bn[i].mean = a->bn[i].invstd = a->bn[i].gamma = a->bn[i].beta =
            vector;
        a->bn[i].dbeta = take(m, most * dtype_size(d->param));
        a->bn[i].dgamma = take(m, most * dtype_size(d->param));
    }
}

/* One that takes part. */
struct runner {
    const char *name;
    struct conv_plan *plan;
    struct conv_needs needs;
    void *packed;
    double best; /* seconds; < 0: not any more */
};

/* Seconds of a run; < 0: it failed. */
static double measure(struct tune *t, struct runner *r, struct conv_args a,
                      void *scratch)
{
    int n = t->ops->host_memory ? 1 : QUEUED, i;
    double start = clock_s(), s;

    a.scratch = scratch;
    if (r->packed)
        a.w = r->packed;
    if (t->ops->conv_time)
        return t->ops->conv_time(t->dev, r->plan, &a, t->cold, &s) < 0 ? -1 : s;
    for (i = 0; i < n; i++)
        if (t->ops->conv_run(t->dev, r->plan, &a) < 0)
            return -1;
    if (t->ops->finish(t->dev) < 0)
        return -1;
    return (clock_s() - start) / n;
}

/* Run it, more than once if it is short; its best becomes known. */
static void turn(struct tune *t, struct runner *r, const struct conv_args *a,
                 void *scratch)
{
    double start = clock_s(), s;

    do {
        s = measure(t, r, *a, scratch);
        if (s < 0) {
            r->best = -1;
            return;
        }
        if (r->best == 0 || s < r->best)
            r->best = s;
    } while (t->ops->host_memory && clock_s() - start < SHORT_S);
}

/* The fastest; slow ones drop out. left: how many stay. */
static struct runner *fastest(struct runner *r, int n, int *left)
{
    struct runner *best = NULL;
    int i;

    *left = 0;
    for (i = 0; i < n; i++)
        if (r[i].best > 0 && (!best || r[i].best < best->best))
            best = &r[i];
    for (i = 0; i < n; i++) {
        if (r[i].best > (best ? best->best : 0) * HOPELESS)
            r[i].best = -1;
        *left += r[i].best > 0;
    }
    return best;
}

static struct runner *race(struct tune *t, struct runner *r, int n,
                           const struct conv_args *a, void *scratch)
{
    struct runner *best = NULL;
    double usual = 0, worth = t->ops->conv_time ? WORTH_TIMED : WORTH;
    int round, i, left = n;

    for (i = 0; !t->ops->host_memory && i < n * WARM; i++)
        if (measure(t, &r[i % n], *a, scratch) < 0)
            r[i % n].best = -1;
    for (round = 0; round <= ROUNDS && left > 1; round++) {
        for (i = 0; i < n; i++)
            if (r[i].best >= 0)
                turn(t, &r[i], a, scratch);
        usual = r[0].best;
        best = fastest(r, n, &left);
    }
    /* 0 or less: the usual form is out */
    if (best && usual > 0 && best->best > usual * worth)
        best = &r[0];
    return best;
}

/* Plan every form that can be had; their number. The needs of scratch memory
 * grow to the largest. */
static int enter(struct tune *t, const struct conv_desc *d,
                 const char *const *name, int n, struct runner *r,
                 size_t *scratch)
{
    int i, k = 0;

    for (i = 0; i < n; i++) {
        struct runner *q = &r[k];

        memset(q, 0, sizeof *q);
        q->name = name[i];
        if (t->ops->conv_plan(t->dev, d, name[i], &q->plan, &q->needs) < 0)
            continue;
        if (q->needs.scratch_bytes > *scratch)
            *scratch = q->needs.scratch_bytes;
        k++;
    }
    return k;
}

static void pack(struct tune *t, struct runner *r, struct memory *m,
                 const struct conv_args *a)
{
    if (r->needs.packed_bytes)
        r->packed = take(m, r->needs.packed_bytes);
    if (r->packed && t->ops->conv_pack(t->dev, r->plan, a->w, r->packed) < 0)
        r->best = -1;
}

/* Bytes of x and y of so many images. */
static double bytes_of(const struct conv_desc *d, int64_t n)
{
    int64_t x = d->h * d->w * d->c, y = conv_p(d) * conv_q(d) * d->k;

    return (double)(n * (x + y)) * (double)dtype_size(d->dtype);
}

/* On the host time grows with the batch, and filling its memory takes longer than
 * computing: a part of it tells as much, if it is too much for the caches. */
static struct conv_desc part_of(const struct tune *t, const struct conv_desc *d)
{
    struct conv_desc part = *d;

    while (t->ops->host_memory && part.n > 1 &&
           conv_macs(&part) > ENOUGH_MACS &&
           bytes_of(d, part.n / 2) >= ENOUGH_BYTES &&
           part.n / 2 * conv_p(d) * conv_q(d) >= ENOUGH_PLACES)
        part.n /= 2;
    return part;
}

/* The form to use from now on and the milliseconds of its trial; NULL: no memory
 * for this. */
static const char *try_forms(struct tune *t, const struct conv_desc *whole,
                             const char *const *name, int n, double *ms)
{
    const struct conv_desc part = part_of(t, whole), *d = &part;
    struct memory m = {.t = t};
    struct runner r[FORMS], *best;
    const char *found = NULL;
    struct conv_args a;
    size_t scratch = 0;
    void *work;
    int i, k;

    *ms = 0;
    k = enter(t, d, name, n, r, &scratch);
    if (k == 1)
        found = r[0].name;
    if (k > 1) {
        operands(&m, d, &a);
        work = take(&m, scratch);
        t->cold = take(&m, t->ops->cold_bytes ? t->ops->cold_bytes(t->dev) : 0);
        for (i = 0; i < k && !m.failed; i++)
            pack(t, &r[i], &m, &a);
        best = m.failed ? NULL : race(t, r, k, &a, work);
        if (best) {
            found = best->name;
            *ms = best->best * 1e3;
        }
    }
    for (i = 0; i < k; i++)
        t->ops->conv_free(t->dev, r[i].plan);
    give_back(&m);
    return found;
}

/* ---- choosing */

static const char *among(const char *form, const char *const *name, int n)
{
    int i;

    for (i = 0; form && i < n; i++)
        if (strcmp(form, name[i]) == 0)
            return name[i];
    return NULL;
}

static const char *trial(struct tune *t, const struct conv_desc *d,
                         const char *key, const char *const *name, int n)
{
    const char *found;
    double ms;

    if (plancache_lock(t->cache, LOCK_S) < 0) {
        warn("%s: somebody else has been timing for %d s: convolutions take "
             "their usual forms",
             plancache_path(t->cache), LOCK_S);
        t->mode = TUNE_KNOWN;
        return NULL;
    }
    found = among(plancache_get(t->cache, key), name, n);
    if (!found) {
        if (!t->told && verbosity >= 0)
            warn("timing the forms of convolutions, once on this machine%s%s",
                 plancache_path(t->cache) ? ": " : "",
                 plancache_path(t->cache) ? plancache_path(t->cache) : "");
        t->told = true;
        found = try_forms(t, d, name, n, &ms);
        if (found)
            plancache_put(t->cache, key, found, ms);
    }
    plancache_unlock(t->cache);
    return found;
}

/* Remember what was answered last, for tune_choices. */
static const char *answer(struct tune *t, const char *key, const char *form)
{
    int64_t at = t->n;

    if (map_add(&t->known, key, at)) {
        t->line = xreallocarray(t->line, (size_t)++t->n, sizeof *t->line);
    } else {
        bool had = map_get(&t->known, key, &at) && strchr(t->line[at], '\t')[1];

        t->chosen -= had;
        t->untried -= !had;
        free(t->line[at]);
    }
    t->line[at] = xstrfmt("%s\t%s", key, form ? form : "");
    t->chosen += form != NULL;
    t->untried += form == NULL;
    return form;
}

const char *tune_form(struct tune *t, const struct conv_desc *d, bool again)
{
    const char *name[FORMS], *form;
    struct conv_desc full = *d;
    char key[KEY];
    int n;

    if (!t)
        return NULL;
    make_key(key, d);
    form = plancache_get(t->cache, key);
    if (form && !again && !t->ops->host_memory)
        return answer(t, key, form);
    full.n = batch_class(d->n);
    n = t->ops->conv_forms(t->dev, &full, name, FORMS);
    if (n < 2)
        return NULL;
    form = among(form, name, n);
    if (!form && t->mode == TUNE_TRY)
        form = trial(t, d, key, name, n);
    return answer(t, key, form);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void tune_choices(const struct tune *t, char hex[33], int *chosen, int *untried)
{
    struct buf b = BUF_INIT;
    char **line;
    int i;

    hex[0] = '\0';
    if (chosen)
        *chosen = t ? t->chosen : 0;
    if (untried)
        *untried = t ? t->untried : 0;
    if (!t || t->chosen == 0)
        return;
    line = xreallocarray(NULL, (size_t)t->n, sizeof *line);
    memcpy(line, t->line, (size_t)t->n * sizeof *line);
    qsort(line, (size_t)t->n, sizeof *line, by_text);
    for (i = 0; i < t->n; i++)
        buf_addf(&b, "%s\n", line[i]);
    hash_hex(b.data, b.len, hex);
    buf_release(&b);
    free(line);
}

struct tune *tune_open(const struct engine_ops *ops, void *dev,
                       enum engine_tune mode)
{
    char machine[512] = "";
    struct tune *t;

    if (mode == TUNE_OFF || !ops->conv_forms)
        return NULL;
    t = xcalloc(1, sizeof *t);
    t->ops = ops;
    t->dev = dev;
    t->mode = mode;
    ops->machine(dev, machine, sizeof machine);
    t->cache = plancache_open(machine);
    return t;
}

void tune_close(struct tune *t)
{
    int i;

    if (!t)
        return;
    for (i = 0; i < t->n; i++)
        free(t->line[i]);
    free(t->line);
    map_release(&t->known);
    plancache_free(t->cache);
    free(t);
}
