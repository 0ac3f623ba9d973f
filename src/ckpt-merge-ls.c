/* ckpt-merge ls: the steps of a run, the tensors of a step or a file. */
#include "ckpt-merge.h"

#include "io/ckptbest.h"
#include "util/json.h"
#include "util/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool as_json, newest_only;

struct opt ckpt_merge_ls_opts[] = {
    {.name = "json",
     .type = OPT_FLAG,
     .addr = &as_json,
     .help = "one JSON object a line"},
    {.name = "newest",
     .type = OPT_FLAG,
     .addr = &newest_only,
     .help = "print the path of the newest committed checkpoint only"},
    OPT_END,
};

/* The object as one line; takes it. */
static void put(json_t *j)
{
    struct buf b = BUF_INIT;

    json_canonical(&b, j);
    buf_addch(&b, '\n');
    fwrite(b.data, 1, b.len, stdout);
    buf_release(&b);
    json_decref(j);
}

/* ---- tensors */

static json_t *shape_json(const struct tensor *t)
{
    json_t *a = json_array();
    int i;

    for (i = 0; i < t->rank; i++)
        json_array_append_new(a, json_integer(t->shape[i]));
    return a;
}

static int list_tensors(char *operand)
{
    struct buf b = BUF_INIT;
    struct source s = {0};
    int i, r = source_open(&s, &operand, 1);

    for (i = 0; i < s.n && r == 0; i++) {
        const struct tensor *t = &s.tensor[i].t;

        if (as_json) {
            put(json_pack("{s:s,s:s,s:o,s:I}", "name", s.tensor[i].name,
                          "dtype", dtype_name(t->dtype), "shape", shape_json(t),
                          "bytes", (json_int_t)tensor_bytes(t)));
            continue;
        }
        buf_reset(&b);
        buf_addplain(&b, s.tensor[i].name, strlen(s.tensor[i].name));
        buf_addch(&b, '\t');
        tensor_describe(t, &b);
        puts(b.data);
    }
    buf_release(&b);
    source_close(&s);
    return r;
}

/* ---- steps */

static int64_t bytes_of(const char *path, int64_t world)
{
    char name[64], *file;
    int64_t bytes = 0;
    struct stat st;
    int i;

    for (i = 0; i < world; i++) {
        ckpt_file_name(name, sizeof name, i, (int)world);
        file = xstrfmt("%s/%s", path, name);
        if (stat(file, &st) == 0)
            bytes += st.st_size;
        free(file);
    }
    return bytes;
}

static void step_line(const char *path, const struct ckpt_state *s, bool newest)
{
    int64_t bytes = bytes_of(path, s->world);

    if (as_json)
        put(json_pack("{s:I,s:I,s:I,s:I,s:I,s:b,s:s}", "step",
                      (json_int_t)s->step, "samples", (json_int_t)s->samples,
                      "epoch", (json_int_t)s->epoch, "world",
                      (json_int_t)s->world, "bytes", (json_int_t)bytes,
                      "newest", (int)newest, "path", path));
    else
        printf("step %" PRId64 "\tsamples %" PRId64 "\tepoch %" PRId64
               "\tworld %" PRId64 "\tbytes %" PRId64 "%s\n",
               s->step, s->samples, s->epoch, s->world, bytes,
               newest ? "\tnewest" : "");
}

static int list_steps(const char *dir)
{
    struct ckpt_state s;
    int64_t *steps;
    char name[32], *path;
    int n, i, status = 0;

    if (ckpt_list(dir, &steps, &n) < 0)
        return -1;
    for (i = 0; i < n; i++) {
        ckpt_name(name, sizeof name, steps[i]);
        path = xstrfmt("%s/%s", dir, name);
        if (ckpt_read_state(path, &s) < 0) {
            if (!step_gone(path)) {
                warn("%s", err_text());
                status = ERR_DATA;
            }
        } else {
            step_line(path, &s, i == n - 1);
            ckpt_state_release(&s);
        }
        free(path);
    }
    free(steps);
    if (n == 0)
        return err_set(ERR_NOINPUT, "%s: no committed checkpoint", dir);
    return status;
}

/* The best one, which may be none of the steps any more. */
static int list_best(const char *dir)
{
    struct ckpt_best b;
    char *path;

    if (ckpt_best_read(dir, &b) < 0)
        return -1;
    path = xstrfmt("%s/best", dir);
    if (b.step >= 0 && as_json)
        put(json_pack("{s:s,s:s,s:f,s:I}", "best", b.by, "path", path, "value",
                      b.value, "step", (json_int_t)b.step));
    utf8_plain(b.by, strlen(b.by));
    if (b.step >= 0 && !as_json)
        printf("best\tstep %" PRId64 "\t%s %.6g\n", b.step, b.by, b.value);
    free(path);
    return 0;
}

static int print_newest(const char *dir)
{
    int64_t step;
    char *path = ckpt_newest(dir, &step);

    if (!path)
        return step == -1
                   ? err_set(ERR_NOINPUT, "%s: no committed checkpoint", dir)
                   : -1;
    puts(path);
    free(path);
    return 0;
}

static int list_run(const char *dir)
{
    int r = list_steps(dir);

    return list_best(dir) < 0 ? -1 : r;
}

int ckpt_merge_ls(const struct command *c, int argc, char **argv)
{
    char *dir;
    int place = place_of(argv[0], &dir), r = -1;

    (void)c;
    (void)argc;
    if (place == PLACE_RUN && newest_only)
        r = print_newest(dir);
    else if (place >= 0 && newest_only)
        r = err_set(ERR_USAGE, "%s: --newest is for the directory of a run",
                    argv[0]);
    else if (place == PLACE_RUN)
        r = list_run(dir);
    else if (place >= 0)
        r = list_tensors(argv[0]);
    free(dir);
    return r;
}
