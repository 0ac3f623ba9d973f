/* What imgshard stats counts: columns of the index, objects of annotations. */
#include "imgshard-stats.h"

#include "util/work.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

/* COCO's limits: areas below are small, below medium. */
#define SMALL 1024
#define MEDIUM 9216

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void quantity_finish(struct quantity *q)
{
    double sum = 0;

    for (size_t i = 0; i < q->n; i++)
        sum += q->v[i];
    q->mean = sum / (double)q->n; /* of nothing: NaN */
    if (q->n)
        qsort(q->v, q->n, sizeof(*q->v), ascending);
}

double quantity_at(const struct quantity *q, double p)
{
    double at = p * (double)(q->n - 1);
    size_t i = (size_t)at;

    if (!q->n)
        return (double)NAN;
    if (i + 1 >= q->n)
        return q->v[q->n - 1];
    return q->v[i] + (at - (double)i) * (q->v[i + 1] - q->v[i]);
}

/* ---- classes */

static const struct stats *sorting; /* qsort hands nothing on */

static int most_first(const void *a, const void *b)
{
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    uint64_t x = sorting->of_class[i], y = sorting->of_class[j];

    return x != y ? (x < y) - (x > y) : (i > j) - (i < j);
}

static void rank_classes(struct stats *s)
{
    for (uint32_t c = 0; c < s->set->n_classes; c++) {
        s->by_count[c] = c;
        s->empty_classes += s->of_class[c] == 0;
    }
    sorting = s;
    qsort(s->by_count, s->set->n_classes, sizeof(*s->by_count), most_first);
}

/* ---- objects */

struct counting {
    struct stats *s;
    struct reader_files *files;
    struct annot *annot; /* of each thread */
    struct buf *text;
    pthread_mutex_t lock; /* of s */
    size_t cap;           /* of the quantities of objects */
};

static void add_object(struct counting *c, const struct annot *a,
                       const struct annot_object *o)
{
    struct stats *s = c->s;
    double side = sqrt(fmax(o->bbox[2], 0) * fmax(o->bbox[3], 0));
    size_t n = s->q[STATS_BOX].n;

    s->of_class[o->cat]++;
    s->of_area[o->area < SMALL ? 0 : o->area < MEDIUM ? 1 : 2]++;
    if (n == c->cap) {
        c->cap = c->cap ? 2 * c->cap : 4096;
        for (int k = STATS_BOX; k <= STATS_BOX_ASPECT; k++)
            s->q[k].v = xreallocarray(s->q[k].v, c->cap, sizeof(*s->q[k].v));
    }
    s->q[STATS_BOX].v[n] = side;
    s->q[STATS_BOX_SHARE].v[n] = side / sqrt((double)a->w * a->h);
    s->q[STATS_BOX_ASPECT].v[n] = o->bbox[3] > 0 ? o->bbox[2] / o->bbox[3] : 0;
    for (int k = STATS_BOX; k <= STATS_BOX_ASPECT; k++)
        s->q[k].n = n + 1;
}

static void add_annot(struct counting *c, uint32_t i, const struct annot *a)
{
    size_t objects = 0;

    for (size_t k = 0; k < a->n; k++) {
        const struct annot_object *o = &a->object[k];

        if (o->crowd) {
            c->s->crowds++;
            continue;
        }
        add_object(c, a, o);
        objects++;
    }
    c->s->q[STATS_OBJECTS].v[i] = (double)objects;
}

static int count_annot(void *arg, size_t i, int t)
{
    struct counting *c = arg;
    const struct shard_set *set = c->s->set;
    struct annot *a = &c->annot[t];
    struct buf name = BUF_INIT;
    int r = reader_files_fetch_annot(c->files, (uint32_t)i, true, &c->text[t]);

    if (r < 0)
        return -1;
    r = annot_parse(a, c->text[t].data, c->text[t].len);
    if (r == 0)
        r = annot_check(a, set->n_classes);
    if (r < 0) {
        shard_describe(set, (uint32_t)i, &name);
        err_wrap("%s", name.data);
        buf_release(&name);
        return -1;
    }
    pthread_mutex_lock(&c->lock);
    add_annot(c, (uint32_t)i, a);
    pthread_mutex_unlock(&c->lock);
    return 0;
}

static int count_objects(struct stats *s)
{
    int threads = work_cpus(), r;
    struct counting c = {.s = s};

    c.files = reader_files_new(s->set, true);
    c.annot = xcalloc((size_t)threads, sizeof(*c.annot));
    c.text = xcalloc((size_t)threads, sizeof(*c.text));
    pthread_mutex_init(&c.lock, NULL);
    r = work_for(s->set->n, threads, count_annot, &c);
    pthread_mutex_destroy(&c.lock);
    for (int t = 0; t < threads; t++) {
        annot_release(&c.annot[t]);
        buf_release(&c.text[t]);
    }
    free(c.annot);
    free(c.text);
    reader_files_free(c.files);
    return r;
}

/* ---- all */

static void count_image(struct stats *s, uint32_t i)
{
    const struct shard_set *t = s->set;
    double w = t->width[i], h = t->height[i];

    s->q[STATS_WIDTH].v[i] = w;
    s->q[STATS_HEIGHT].v[i] = h;
    s->q[STATS_ASPECT].v[i] = h > 0 ? w / h : 0;
    s->q[STATS_PIXELS].v[i] = w * h;
    s->q[STATS_BYTES].v[i] = t->size[i];
    for (int bit = 0; bit < 16; bit++)
        s->flag[bit] += t->flags[i] >> bit & 1;
    if (shard_is_detection(t))
        return;
    if (t->label[i] < 0)
        s->unlabelled++;
    else
        s->of_class[t->label[i]]++;
}

int stats_init(struct stats *s, const struct shard_set *set)
{
    static const char *const name[] = {"width",  "height", "aspect",
                                       "pixels", "file",   "objects",
                                       "box",    "share",  "box_aspect"};
    static const char *const unit[] = {"px", "px", "", "px", "bytes",
                                       "",   "px", "", ""};
    bool detection = shard_is_detection(set);
    int r = 0;

    s->set = set;
    s->what = detection ? "objects" : "images";
    s->of_class = xcalloc((size_t)set->n_classes + 1, sizeof(*s->of_class));
    s->by_count = xcalloc((size_t)set->n_classes + 1, sizeof(*s->by_count));
    for (int k = 0; k < STATS_QUANTITIES; k++) {
        s->q[k].name = name[k];
        s->q[k].unit = unit[k];
        if (k > STATS_OBJECTS || (k == STATS_OBJECTS && !detection))
            continue;
        s->q[k].n = set->n;
        s->q[k].v = xcalloc((size_t)set->n + 1, sizeof(double));
    }
    for (uint32_t i = 0; i < set->n; i++)
        count_image(s, i);
    if (detection)
        r = count_objects(s);
    rank_classes(s);
    for (int k = 0; k < STATS_QUANTITIES; k++)
        quantity_finish(&s->q[k]);
    return r;
}

void stats_release(struct stats *s)
{
    free(s->of_class);
    free(s->by_count);
    for (int k = 0; k < STATS_QUANTITIES; k++)
        free(s->q[k].v);
}
