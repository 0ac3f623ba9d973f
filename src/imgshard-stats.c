/* imgshard stats - classes, sizes and kinds of the images of a split. */
#include "imgshard-stats.h"

#include "util/fdio.h"
#include "util/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN 3 /* classes of either end */

static struct {
    bool json;
    char *svg;
} set;

/* clang-format off */
struct opt stats_opts[] = {
    {.name = "json", .type = OPT_FLAG, .addr = &set.json,
     .help = "one JSON object, with the counts of each class"},
    {.name = "svg", .type = OPT_STRING, .addr = &set.svg, .arg = "FILE",
     .help = "draw it, too"},
    OPT_END,
};
/* clang-format on */

/* Names of the bits of the column flags (shards(5)). */
static const char *const flag_name[] = {"jpeg",         "png",
                                        "progressive",  "grey",
                                        "4 components", "4:2:0",
                                        "4:2:2",        "4:4:0",
                                        "rows",         "warned",
                                        "rotated",      "empty",
                                        "16-bit",       "other subsampling",
                                        "raw"};
#define FLAGS (int)(sizeof(flag_name) / sizeof(*flag_name))

/* ---- text */

static const double shown_at[] = {0, 0.05, 0.25, 0.5, 0.75, 0.95, 1};
#define SHOWN_AT (int)(sizeof(shown_at) / sizeof(*shown_at))

static void print_classes(const struct stats *s)
{
    uint32_t n = s->set->n_classes, k;
    struct buf b = BUF_INIT;

    printf("classes\t%lu, %llu without %s\n", (unsigned long)n,
           (unsigned long long)s->empty_classes, s->what);
    if (s->unlabelled)
        printf("unlabelled\t%llu images\n", (unsigned long long)s->unlabelled);
    for (k = 0; k < n; k++) {
        const struct shard_class *c = &s->set->cls[s->by_count[k]];

        if (k == SHOWN && n > 2 * SHOWN) {
            printf("\t...\n");
            k = n - SHOWN;
            c = &s->set->cls[s->by_count[k]];
        }
        buf_reset(&b);
        buf_addf(&b, "\t%llu\t",
                 (unsigned long long)s->of_class[s->by_count[k]]);
        buf_addplain(&b, c->name, strlen(c->name));
        if (strcmp(c->name, c->label) != 0) {
            buf_addch(&b, '\t');
            buf_addplain(&b, c->label, strlen(c->label));
        }
        puts(b.data);
    }
    buf_release(&b);
}

static void print_text(const struct stats *s)
{
    const struct shard_set *t = s->set;
    struct buf name = BUF_INIT;

    buf_addplain(&name, t->name, strlen(t->name));
    printf("%s %s\t%lu images, %lu shards, %llu bytes\n", name.data, t->split,
           (unsigned long)t->n, (unsigned long)t->n_shards,
           (unsigned long long)t->bytes);
    buf_release(&name);
    if (shard_is_detection(t))
        printf(
            "objects\t%lu; %llu small, %llu medium, %llu large; %llu crowds "
            "beside them\n",
            (unsigned long)s->q[STATS_BOX].n, (unsigned long long)s->of_area[0],
            (unsigned long long)s->of_area[1],
            (unsigned long long)s->of_area[2], (unsigned long long)s->crowds);
    print_classes(s);
    printf("\tmin\t5%%\t25%%\t50%%\t75%%\t95%%\tmax\tmean\n");
    for (int k = 0; k < STATS_QUANTITIES; k++) {
        const struct quantity *q = &s->q[k];

        if (!q->n)
            continue;
        printf("%s", q->name);
        for (int i = 0; i < SHOWN_AT; i++)
            printf("\t%.6g", quantity_at(q, shown_at[i]));
        printf("\t%.6g\n", q->mean);
    }
    for (int bit = 0; bit < FLAGS; bit++)
        if (s->flag[bit])
            printf("%s\t%llu images\n", flag_name[bit],
                   (unsigned long long)s->flag[bit]);
}

/* ---- JSON */

static json_t *quantity_json(const struct quantity *q)
{
    static const char *const key[] = {"min", "q05", "q25", "q50",
                                      "q75", "q95", "max"};
    json_t *o = json_object();

    for (int i = 0; i < SHOWN_AT; i++)
        json_add_real(o, key[i], quantity_at(q, shown_at[i]));
    json_add_real(o, "mean", q->mean);
    return o;
}

static json_t *classes_json(const struct stats *s)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < s->set->n_classes; i++) {
        json_t *o = json_object();

        json_object_set_new(o, "id", json_integer(i));
        json_object_set_new(o, "name", json_string(s->set->cls[i].name));
        json_object_set_new(o, s->what,
                            json_integer((json_int_t)s->of_class[i]));
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *objects_json(const struct stats *s)
{
    return json_pack(
        "{s:I,s:I,s:I,s:I,s:I}", "objects", (json_int_t)s->q[STATS_BOX].n,
        "small", (json_int_t)s->of_area[0], "medium", (json_int_t)s->of_area[1],
        "large", (json_int_t)s->of_area[2], "crowds", (json_int_t)s->crowds);
}

static void print_json(const struct stats *s)
{
    const struct shard_set *t = s->set;
    json_t *o = json_object(), *flags = json_object();
    struct buf b = BUF_INIT;

    json_object_set_new(o, "name", json_string(t->name));
    json_object_set_new(o, "split", json_string(t->split));
    json_object_set_new(o, "dataset", json_string(t->dataset));
    json_object_set_new(o, "samples", json_integer(t->n));
    json_object_set_new(o, "shards", json_integer(t->n_shards));
    json_object_set_new(o, "bytes", json_integer((json_int_t)t->bytes));
    json_object_set_new(o, "unlabelled",
                        json_integer((json_int_t)s->unlabelled));
    json_object_set_new(o, "classes", classes_json(s));
    for (int k = 0; k < STATS_QUANTITIES; k++)
        if (s->q[k].n)
            json_object_set_new(o, s->q[k].name, quantity_json(&s->q[k]));
    if (shard_is_detection(t))
        json_object_set_new(o, "objects_in_all", objects_json(s));
    for (int bit = 0; bit < FLAGS; bit++)
        if (s->flag[bit])
            json_object_set_new(flags, flag_name[bit],
                                json_integer((json_int_t)s->flag[bit]));
    json_object_set_new(o, "flags", flags);
    json_canonical(&b, o);
    puts(b.data);
    buf_release(&b);
    json_decref(o);
}

int imgshard_stats(const struct command *c, int argc, char **argv)
{
    struct shard_set shards = {0};
    struct stats s = {.set = NULL};
    struct buf b = BUF_INIT;
    int r;

    (void)c;
    (void)argc;
    if (shard_set_open(&shards, argv[0]) < 0)
        return -1;
    r = stats_init(&s, &shards);
    if (r == 0 && set.svg) {
        stats_svg(&s, &b);
        r = atomic_write(set.svg, b.data, b.len);
    }
    if (r == 0 && set.json)
        print_json(&s);
    else if (r == 0)
        print_text(&s);
    buf_release(&b);
    stats_release(&s);
    shard_set_release(&shards);
    return r;
}
