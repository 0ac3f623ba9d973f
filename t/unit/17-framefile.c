/* Frames in files: ours, damaged ones, those of others. */
#include "lib/tap.h"
#include "lib/tapdir.h"

#include "io/frame.h"
#include "util/fdio.h"
#include "util/json.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *dir;

static float f_data[6] = {1, 2, 3, 4, 5, 6};
static uint8_t u_data[3] = {7, 8, 9};
static int64_t l_data[2] = {-1, INT64_MAX};

static void three_items(struct frame_item it[3])
{
    it[0] = (struct frame_item){"u", TENSOR1(DT_U8, u_data, 3)};
    it[1] = (struct frame_item){"f", TENSOR2(DT_F32, f_data, 2, 3)};
    it[2] = (struct frame_item){"l", TENSOR1(DT_I64, l_data, 2)};
}

/* ---- files */

static void cut_file(const char *path, off_t size, const char *name)
{
    struct frame_file ff = FRAME_FILE_INIT;

    if (truncate(path, size) < 0)
        die_with(ERR_SYSTEM, "truncate");
    is_int(frame_file_open(&ff, path), -1, "%s", name);
    is_int(err_code(), ERR_DATA, "is bad data");
    frame_file_close(&ff);
}

static void test_file(void)
{
    struct frame_pair meta[] = {{"format", "pt"}};
    struct frame_file ff = FRAME_FILE_INIT;
    char *path = xstrfmt("%s/a.safetensors", dir);
    struct frame_item it[3];
    struct stat st;
    float x[6];

    three_items(it);
    is_int(frame_file_write(path, meta, 1, it, 3), 0, "write a file");
    is_int(stat(path, &st), 0, "it is there");
    is_int(st.st_size, 4096 + 43, "data from 4096 on");
    is_int(frame_file_open(&ff, path), 0, "open");
    is_str(frame_meta(&ff.f, "format"), "pt", "metadata");
    is_int(frame_file_data(&ff, frame_find(&ff.f, "f"), x), 0, "data");
    ok(memcmp(x, f_data, sizeof(x)) == 0, "every byte");
    frame_file_close(&ff);
    frame_file_close(&ff);
    cut_file(path, st.st_size + 1, "one byte more");
    has_str(err_text(), "after the data", "the reason");
    cut_file(path, st.st_size - 1, "one byte less");
    has_str(err_text(), "truncated", "the reason");
    cut_file(path, 4095, "cut in the header");
    cut_file(path, 7, "cut in the length");
    cut_file(path, 0, "empty");
    is_int(frame_file_open(&ff, dir), -1, "a directory");
    is_int(frame_file_open(&ff, "/dev/null/none"), -1, "no file");
    is_int(err_code(), ERR_NOINPUT, "is missing input");
    is_int(frame_file_write("/dev/null/a", meta, 1, it, 3), -1, "no directory");
    is_int(err_code(), ERR_CANTCREAT, "cannot be created");
    free(path);
}

/* ---- files of others */

static int same_tensor(struct frame_file *ff, const char *name, json_t *want)
{
    const char *dtype;
    json_t *shape, *first;
    const struct frame_tensor *t;
    double sum = 0, want_sum;
    size_t n, k;
    char *data;
    int i = frame_find(&ff->f, name), good;

    if (i < 0 || json_get_str(want, "dtype", &dtype) < 0 ||
        json_get_array(want, "shape", &shape) < 0)
        return 0;
    t = &ff->f.tensor[i];
    good = strcmp(dtype, dtype_name(t->t.dtype)) == 0 &&
           (int)json_array_size(shape) == t->t.rank;
    for (i = 0; good && i < t->t.rank; i++)
        good = json_integer_value(json_array_get(shape, (size_t)i)) ==
               t->t.shape[i];
    data = xmalloc((size_t)(t->end - t->begin));
    if (frame_file_data(ff, frame_find(&ff->f, name), data) < 0)
        good = 0;
    n = (size_t)tensor_count(&t->t);
    for (k = 0; good && k < n; k++)
        sum += dtype_load(t->t.dtype, data, k);
    first = json_object_get(want, "first");
    for (k = 0; good && k < json_array_size(first) && k < n; k++)
        good = dtype_load(t->t.dtype, data, k) ==
               json_number_value(json_array_get(first, k));
    if (good && json_is_number(json_object_get(want, "sum")) &&
        json_get_real(want, "sum", &want_sum) == 0)
        good = fabs(sum - want_sum) <= 1e-5 * (1 + fabs(want_sum));
    free(data);
    return good;
}

static int same_content(struct frame_file *ff, json_t *want)
{
    json_t *tensors = json_object_get(want, "tensors"), *v;
    json_t *meta = json_object_get(want, "metadata");
    const char *key, *got;
    int bad = 0;

    if (json_object_size(tensors) != (size_t)ff->f.n_tensors)
        return 0;
    json_object_foreach(tensors, key, v) bad += !same_tensor(ff, key, v);
    json_object_foreach(meta, key, v)
    {
        got = frame_meta(&ff->f, key);
        bad += !got || strcmp(got, json_string_value(v)) != 0;
    }
    return bad == 0;
}

/* 'v' valid: contents as recorded. 'i' invalid: refused. 'a': either. */
static void test_foreign_file(const char *top, const char *name, json_t *want)
{
    struct frame_file ff = FRAME_FILE_INIT;
    char *path = xstrfmt("%s/%s", top, name);
    int r;

    err_clear();
    r = frame_file_open(&ff, path);
    if (name[0] == 'v')
        ok(r == 0 && same_content(&ff, want), "%s", name);
    else if (name[0] == 'i')
        ok(r == -1 && err_code() == ERR_DATA, "%s", name);
    else
        ok(r == 0 || err_code() == ERR_DATA, "%s", name);
    if (r < 0)
        printf("# %s\n", err_text() + strlen(top) + 1);
    frame_file_close(&ff);
    free(path);
}

static void test_foreign(void)
{
    const char *top = tap_data("safetensors"), *name;
    json_t *all, *want;
    char *path;

    if (!top) {
        skip(1, "data safetensors is not there");
        return;
    }
    path = xstrfmt("%s/expected.json", top);
    all = json_file(path, 1 << 24);
    if (!all)
        die();
    json_object_foreach(all, name, want) test_foreign_file(top, name, want);
    json_decref(all);
    free(path);
}

int main(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    prog_set("17-framefile");
    sigaction(SIGPIPE, &ignore, NULL);
    dir = tap_dir();
    test_file();
    test_foreign();
    return done_testing();
}
