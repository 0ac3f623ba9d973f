/*
 * Checkpoints: written by 1 to 4 ranks, committed, read, pruned, killed in the
 * middle, damaged. "70-ckpt.t make RUN STEP WORLD [SCALE]" writes one for other
 * tests.
 */
#include "lib/tap.h"
#include "lib/tapdir.h"

#include "io/ckpt.h"
#include "io/digest.h"
#include "util/fdio.h"
#include "util/json.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define N 7

static float conv[2 * 3 * 2 * 2], bias[5], fc[10], m_conv[24], m_fc[10];
static int64_t counter;
static char empty;

static void all_items(struct frame_item *it)
{
    it[0] =
        (struct frame_item){"conv1.weight", TENSOR4(DT_F32, conv, 2, 3, 2, 2)};
    it[1] = (struct frame_item){"bn1.bias", TENSOR1(DT_F32, bias, 5)};
    it[2] = (struct frame_item){"bn1.num_batches_tracked",
                                tensor_of(DT_I64, 0, NULL, &counter)};
    it[3] = (struct frame_item){"fc.weight", TENSOR2(DT_F32, fc, 2, 5)};
    it[4] = (struct frame_item){"fc.empty", TENSOR1(DT_F32, &empty, 0)};
    it[5] = (struct frame_item){"momentum.conv1.weight",
                                TENSOR4(DT_F32, m_conv, 2, 3, 2, 2)};
    it[6] =
        (struct frame_item){"momentum.fc.weight", TENSOR2(DT_F32, m_fc, 2, 5)};
}

static void fill(float *p, int n, double from, double scale)
{
    for (int i = 0; i < n; i++)
        p[i] = (float)((from + i) * scale);
}

static void set_values(int64_t step, double scale)
{
    fill(conv, 24, (double)step, scale);
    fill(bias, 5, (double)step + 100, scale);
    fill(fc, 10, (double)step + 200, scale);
    fill(m_conv, 24, (double)step + 300, scale);
    fill(m_fc, 10, (double)step + 400, scale);
    counter = step;
}

static char settings[] = "{\"SOLVER.BASE_LR\":0.1,\"x\":\"\\u00e4\"}";
static char model[] = "resnet18", program[] = "t 0.1";

static struct ckpt_state state_of(int64_t step, int world)
{
    struct ckpt_state s = {.step = step,
                           .samples = step * 8,
                           .epoch = step / 10,
                           .world = world,
                           .global = 8,
                           .micro = 8,
                           .accum = 1,
                           .n = 80,
                           .classes = 2,
                           .seed = -3,
                           .loss_scale = 65536.5,
                           .recipe = "0123456789abcdef0123456789abcdef",
                           .model = model,
                           .settings = settings,
                           .program = program};

    return s;
}

static int write_one(const char *dir, int64_t step, int world, double scale)
{
    struct ckpt_state s = state_of(step, world);
    struct frame_item it[N];
    int r;

    set_values(step, scale);
    all_items(it);
    if (ckpt_write_begin(dir, step) < 0)
        return -1;
    for (r = 0; r < world; r++)
        if (ckpt_write_share(dir, step, r, world, it, N) < 0)
            return -1;
    return ckpt_commit(dir, &s, it, N);
}

/* ---- a directory for each test */

static const char *top;

static char *new_dir(void)
{
    static int n;
    char *path = xstrfmt("%s/%d", top, ++n);

    if (remove_tree(path) < 0)
        die();
    return path;
}

static int visible(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    int n = 0;

    while (d && (e = readdir(d)))
        n += e->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

static int hidden(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    int n = 0;

    while (d && (e = readdir(d)))
        n += strncmp(e->d_name, ".step", 5) == 0;
    if (d)
        closedir(d);
    return n;
}

/* ---- shares */

static void test_shares(void)
{
    struct frame_item it[N];
    int owner[N], world, i, r, bad;

    all_items(it);
    for (world = 1; world <= 4; world++) {
        size_t load[4] = {0}, most = 0, total = 0;

        ckpt_share(it, N, world, owner);
        for (i = 0, bad = 0; i < N; i++) {
            bad += owner[i] < 0 || owner[i] >= world;
            load[owner[i]] += tensor_bytes(&it[i].t);
            total += tensor_bytes(&it[i].t);
        }
        for (r = 0; r < world; r++)
            most = load[r] > most ? load[r] : most;
        ok(!bad && most < total / (size_t)world + 97,
           "%d ranks: at most %zu of %zu bytes", world, most, total);
    }
    ckpt_share(it, N, 2, owner);
    is_int(owner[0], 0, "the first of the largest goes to rank 0");
    is_int(owner[5], 1, "the other to rank 1");
    ckpt_share(it, 0, 3, owner);
    ok(1, "nothing to share");
}

/* ---- write and read */

static int same_content(struct ckpt *c, int64_t step, double scale)
{
    struct frame_item it[N];
    char got[256];
    int i, at, bad = 0;

    set_values(step, scale);
    all_items(it);
    for (i = 0; i < N; i++) {
        at = ckpt_find(c, it[i].name);
        if (at != i || ckpt_tensor(c, at)->dtype != it[i].t.dtype ||
            !tensor_same_shape(ckpt_tensor(c, at), &it[i].t) ||
            ckpt_read(c, at, got) < 0 ||
            memcmp(got, it[i].t.data, tensor_bytes(&it[i].t)) != 0)
            bad++;
    }
    return c->n_tensors == N && !bad;
}

static void test_round_trip(int world)
{
    char *dir = new_dir(), *path;
    struct ckpt_state *s;
    struct ckpt c;
    int64_t step;

    is_int(write_one(dir, 120, world, 0.37), 0, "%d ranks: write", world);
    path = ckpt_newest(dir, &step);
    is_int(step, 120, "newest");
    is_int(hidden(dir), 0, "nothing hidden is left");
    is_int(ckpt_open(&c, path), 0, "open: %s", err_text());
    ok(same_content(&c, 120, 0.37), "every tensor, in order");
    is_int(ckpt_verify_data(&c), 0, "checksums");
    s = &c.state;
    ok(s->step == 120 && s->samples == 960 && s->epoch == 12 &&
           s->world == world && s->n == 80 && s->seed == -3 && s->classes == 2,
       "numbers of the state");
    ok(s->loss_scale == 65536.5, "loss scale");
    is_str(s->model, "resnet18", "model");
    is_str(s->recipe, "0123456789abcdef0123456789abcdef", "recipe");
    is_str(s->settings, "{\"SOLVER.BASE_LR\":0.1,\"x\":\"\xc3\xa4\"}",
           "settings");
    is_int(ckpt_find(&c, "nothing"), -1, "a name that is not there");
    ckpt_close(&c);
    ckpt_close(&c);
    free(path);
    free(dir);
}

static void test_names(void)
{
    is_int(ckpt_step_of("step-000000007"), 7, "a name");
    is_int(ckpt_step_of("step-1234567890"), 1234567890, "ten digits");
    is_int(ckpt_step_of("step-0000000007"), -1, "another name of step 7");
    is_int(ckpt_step_of("step-7"), -1, "too short");
    is_int(ckpt_step_of("step-00000000x"), -1, "no number");
    is_int(ckpt_step_of("step--00000001"), -1, "negative");
    is_int(ckpt_step_of("s"), -1, "one letter");
    is_int(ckpt_step_of("step-99999999999999999999"), -1, "too large");
}

static void test_newest(void)
{
    char *dir = new_dir(), *path;
    int64_t step, *steps;
    int n;

    path = ckpt_newest(dir, &step);
    ok(!path && step == -1, "no directory is no checkpoint");
    if (write_one(dir, 9, 1, 1) < 0 || write_one(dir, 100, 2, 1) < 0 ||
        write_one(dir, 20, 1, 1) < 0)
        die();
    path = xstrfmt("%s/.step-000000200.tmp", dir);
    is_int(make_dirs(path), 0, "leftover of a crash");
    free(path);
    path = xstrfmt("%s/step-000000300", dir);
    is_int(atomic_write(path, "", 0), 0, "a file with the name of a step");
    free(path);
    path = ckpt_newest(dir, &step);
    is_int(step, 100, "the newest is the one with the largest number");
    free(path);
    is_int(ckpt_list(dir, &steps, &n), 0, "list");
    ok(n == 3 && steps[0] == 9 && steps[1] == 20 && steps[2] == 100,
       "ascending");
    free(steps);
    path = xstrfmt("%s/step-000000300", dir);
    is_int(ckpt_list(path, &steps, &n), -1, "a file is no directory");
    is_int(err_code(), ERR_NOINPUT, "which is missing input");
    free(path);
    free(dir);
}

static void test_prune(void)
{
    char *dir = new_dir(), *path;
    int64_t *steps, k;
    int n;

    for (k = 10; k <= 60; k += 10)
        if (write_one(dir, k, 2, 1) < 0)
            die();
    path = xstrfmt("%s/.step-000000070.tmp/x", dir);
    is_int(make_dirs(path), 0, "a leftover");
    free(path);
    is_int(ckpt_prune(dir, 0, 0), 0, "keep 0");
    is_int(visible(dir), 6, "keeps all");
    is_int(hidden(dir), 0, "but not the leftover");
    is_int(ckpt_prune(dir, 2, 20), 0, "keep 2 and every 20th");
    is_int(ckpt_list(dir, &steps, &n), 0, "list");
    ok(n == 4 && steps[0] == 20 && steps[1] == 40 && steps[2] == 50 &&
           steps[3] == 60,
       "20 40 50 60");
    free(steps);
    is_int(ckpt_prune(dir, 1, 0), 0, "keep 1");
    is_int(visible(dir), 1, "one is left");
    path = xstrfmt("%s/step-000000060/state.json", dir);
    is_int(access(path, R_OK), 0, "the newest");
    free(path);
    is_int(hidden(dir), 0, "nothing hidden");
    free(dir);
}

static void test_again(void)
{
    char *dir = new_dir(), *path;
    struct ckpt c;
    int64_t step;

    is_int(write_one(dir, 5, 3, 1), 0, "step 5 of 3 ranks");
    is_int(write_one(dir, 5, 1, 2), 0, "step 5 again, of 1 rank");
    path = ckpt_newest(dir, &step);
    is_int(ckpt_open(&c, path), 0, "opens: %s", err_text());
    ok(same_content(&c, 5, 2), "it is the second");
    ckpt_close(&c);
    free(path);
    path = xstrfmt("%s/step-000000005/rank-00002-of-00003.safetensors", dir);
    is_int(access(path, F_OK), -1, "nothing of the first is in it");
    is_int(hidden(dir), 0, "nor beside it");
    free(path);
    free(dir);
}

/* ---- death */

/* Each stage of writing, and then no more. */
static void test_stages(void)
{
    struct ckpt_state s = state_of(8, 2);
    struct frame_item it[N];
    char *dir = new_dir(), *path;
    int64_t step;
    int stage;

    if (write_one(dir, 4, 2, 1) < 0)
        die();
    for (stage = 0; stage < 4; stage++) {
        all_items(it);
        if (ckpt_write_begin(dir, 8) < 0 ||
            (stage > 0 && ckpt_write_share(dir, 8, 0, 2, it, N) < 0) ||
            (stage > 1 && ckpt_write_share(dir, 8, 1, 2, it, N) < 0))
            die();
        path = xstrfmt("%s/.step-000000008.tmp/state.json", dir);
        if (stage > 2 && atomic_write(path, "{}", 2) < 0)
            die();
        free(path);
        path = ckpt_newest(dir, &step);
        is_int(step, 4, "stopped at stage %d: the one before is newest", stage);
        is_int(visible(dir), 1, "nothing else is visible");
        free(path);
    }
    if (ckpt_write_begin(dir, 8) < 0 ||
        ckpt_write_share(dir, 8, 0, 2, it, N) < 0 ||
        ckpt_write_share(dir, 8, 1, 2, it, N) < 0)
        die();
    is_int(ckpt_commit(dir, &s, it, N), 0, "written after all that");
    path = ckpt_newest(dir, &step);
    is_int(step, 8, "is the newest");
    free(path);
    free(dir);
}

/* Writes for ever: new steps, the same step again, pruning. */
static _Noreturn void write_for_ever(const char *dir, int64_t step)
{
    for (;; step++)
        if (write_one(dir, step, 2, 1) < 0 || write_one(dir, step, 3, 2) < 0 ||
            ckpt_prune(dir, 2, 0) < 0)
            _exit(1);
}

static void test_killed(void)
{
    char *dir = new_dir(), *path, name[32];
    int64_t *steps, last = 0;
    struct ckpt c;
    int n, i, k, bad = 0, backward = 0, status;
    pid_t pid;

    if (write_one(dir, 0, 1, 1) < 0)
        die();
    for (k = 0; k < 40; k++) {
        pid = fork();
        if (pid == 0)
            write_for_ever(dir, last);
        usleep(3000 + 1700 * (useconds_t)(k * 7 % 13));
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        bad += !WIFSIGNALED(status);
        if (ckpt_list(dir, &steps, &n) < 0)
            die();
        backward += n < 1 || steps[n - 1] < last;
        for (i = 0; i < n; i++) {
            ckpt_name(name, sizeof name, steps[i]);
            path = xstrfmt("%s/%s", dir, name);
            if (ckpt_open(&c, path) < 0 || ckpt_verify_data(&c) < 0) {
                bad++;
                printf("# %s\n", err_text());
            }
            ckpt_close(&c);
            free(path);
        }
        last = n ? steps[n - 1] : last;
        free(steps);
    }
    is_int(bad, 0, "killed 40 times: whatever is visible is whole");
    is_int(backward, 0, "and the newest never goes back");
    printf("# step %lld was reached\n", (long long)last);
    free(dir);
}

/* ---- damage */

static void flip(const char *path, off_t at, int bits)
{
    unsigned char c;
    FILE *f = fopen(path, "r+b");

    if (!f || fseeko(f, at, at < 0 ? SEEK_END : SEEK_SET) < 0 ||
        fread(&c, 1, 1, f) != 1)
        die_with(ERR_SYSTEM, "%s: read", path);
    c ^= (unsigned char)bits;
    if (fseeko(f, -1, SEEK_CUR) < 0 || fwrite(&c, 1, 1, f) != 1 ||
        fclose(f) != 0)
        die_with(ERR_SYSTEM, "%s: write", path);
}

/* Change a text in state.json, and its CRC unless it should be caught. */
static void edit_state(const char *step, const char *from, const char *to,
                       bool honest)
{
    char *path = xstrfmt("%s/state.json", step), *at;
    struct buf b = BUF_INIT, c = BUF_INIT;
    json_t *j;

    if (buf_read_file(&b, path, 1 << 20) < 0)
        die();
    at = strstr(b.data, from);
    if (!at)
        die_with(ERR_INTERNAL, "no %s in %s", from, b.data);
    buf_add(&c, b.data, (size_t)(at - b.data));
    buf_addstr(&c, to);
    buf_addstr(&c, at + strlen(from));
    if (honest) {
        char hex[9];

        j = json_loads(c.data, 0, NULL);
        json_object_del(j, "crc32");
        buf_reset(&b);
        json_canonical(&b, j);
        snprintf(hex, sizeof hex, "%08x", digest_crc32(0, b.data, b.len));
        json_object_set_new(j, "crc32", json_string(hex));
        buf_reset(&c);
        json_canonical(&c, j);
        json_decref(j);
    }
    if (atomic_write(path, c.data, c.len) < 0)
        die();
    buf_release(&b);
    buf_release(&c);
    free(path);
}

static void refused(const char *dir, const char *why, const char *what)
{
    char *path = xstrfmt("%s/step-000000003", dir);
    struct ckpt c;
    int r;

    err_clear();
    r = ckpt_open(&c, path);
    if (r == 0)
        r = ckpt_verify_data(&c);
    ckpt_close(&c);
    ok(r == -1 && err_code() == ERR_DATA, "%s: refused as bad data (%d)", what,
       (int)err_code());
    has_str(err_text(), why, "%s: the reason", what);
    free(path);
    if (remove_tree(dir) < 0 || write_one(dir, 3, 2, 1) < 0)
        die();
}

static void test_damaged_files(void)
{
    char *dir = new_dir();
    char *r0 =
        xstrfmt("%s/step-000000003/rank-00000-of-00002.safetensors", dir);
    char *r1 =
        xstrfmt("%s/step-000000003/rank-00001-of-00002.safetensors", dir);
    struct frame_item it[N];
    struct frame_pair meta[] = {
        {"format", CKPT_FORMAT}, {"rank", "1"}, {"world", "2"}};
    struct stat st;

    if (write_one(dir, 3, 2, 1) < 0 || stat(r1, &st) < 0)
        die();
    flip(r1, -1, 0x10);
    refused(dir, "CRC-32", "a bit of the last byte");
    flip(r0, 4096, 1);
    refused(dir, "CRC-32", "a bit of the first byte of data");
    flip(r0, 0, 1);
    refused(dir, "rank-00000", "a bit of the length of the header");
    flip(r0, 8, 1);
    refused(dir, "rank-00000", "a bit of the header");
    if (truncate(r1, st.st_size - 1) < 0)
        die();
    refused(dir, "truncated", "a byte less");
    if (truncate(r1, 0) < 0)
        die();
    refused(dir, "too small", "an empty file");
    unlink(r1);
    refused(dir, "rank-00001-of-00002.safetensors: open", "a missing rank");
    if (rename(r0, r1) < 0 || link(r1, r0) < 0)
        die();
    refused(dir, "is rank 0 of 2", "a rank under another's name");
    all_items(it);
    if (frame_file_write(r1, meta, 3, it, N) < 0)
        die();
    refused(dir, "in two files", "a tensor twice");
    if (frame_file_write(r1, meta, 3, it + 5, 1) < 0)
        die();
    refused(dir, "listed", "a tensor missing");
    if (frame_file_write(r1, meta + 1, 2, it, N) < 0)
        die();
    refused(dir, "not a part", "another file under a rank's name");
    free(r0);
    free(r1);
    free(dir);
}

static void test_damaged_state(void)
{
    char *dir = new_dir(), *step = xstrfmt("%s/step-000000003", dir);
    char *state = xstrfmt("%s/state.json", step);
    struct ckpt c;

    if (write_one(dir, 3, 2, 1) < 0)
        die();
    unlink(state);
    refused(dir, "state.json", "no state.json");
    if (truncate(state, 40) < 0)
        die();
    refused(dir, "state.json: line", "half a state.json");
    edit_state(step, "\"samples\":24", "\"samples\":25", false);
    refused(dir, "state.json: CRC-32", "another number");
    edit_state(step, "\"version\":1", "\"version\":2", true);
    refused(dir, "version 2", "a later version");
    edit_state(step, "\"world\":2", "\"world\":3", true);
    refused(dir, "rank-00000-of-00003", "more ranks");
    edit_state(step, "\"world\":2", "\"world\":0", true);
    refused(dir, "\"world\"", "no ranks");
    edit_state(step, "\"world\":2", "\"world\":\"2\"", true);
    refused(dir, "whole number", "a text for a number");
    edit_state(step, "\"samples\":24", "\"samples\":-24", true);
    refused(dir, "\"samples\": -24", "a negative number");
    edit_state(step, "\"fc.empty\",", "", true);
    refused(dir, "6 tensors listed, 7", "one name less");
    edit_state(step, "\"fc.empty\"", "\"fc.filled\"", true);
    refused(dir, "fc.filled: missing", "another name");
    edit_state(step, "\"fc.empty\"", "\"fc.weight\"", true);
    refused(dir, "listed twice", "a name twice");
    edit_state(step, "\"fc.empty\"", "7", true);
    refused(dir, "not a string", "a number for a name");
    edit_state(step, "\"tensors\":\"", "\"tensors\":\"0", true);
    refused(dir, "not a digest", "a longer digest");
    edit_state(step, "\"bn1.bias\",\"bn1.num_batches_tracked\"",
               "\"bn1.num_batches_tracked\",\"bn1.bias\"", true);
    refused(dir, "not those that were written", "another order");
    is_int(ckpt_open(&c, "/dev/null/step-000000003"), -1, "no directory");
    is_int(err_code(), ERR_NOINPUT, "is missing input");
    free(state);
    free(step);
    free(dir);
}

static void test_shape(void)
{
    char *dir = new_dir(), *path;
    struct ckpt_state s = state_of(3, 1);
    struct frame_item it[N], other[N];
    struct ckpt c;

    all_items(it);
    all_items(other);
    other[3].t = TENSOR2(DT_F32, fc, 5, 2);
    path = xstrfmt("%s/step-000000003", dir);
    if (ckpt_write_begin(dir, 3) < 0 ||
        ckpt_write_share(dir, 3, 0, 1, other, N) < 0 ||
        ckpt_commit(dir, &s, it, N) < 0)
        die();
    is_int(ckpt_open(&c, path), -1, "a tensor of another shape");
    has_str(err_text(), "dtypes or shapes", "the reason");
    free(path);
    free(dir);
}

static void test_failures(void)
{
    struct frame_item it[N];
    char *dir = new_dir(), *path;
    int fd;

    all_items(it);
    is_int(ckpt_write_share(dir, 1, 0, 1, it, N), -1, "share without begin");
    is_int(err_code(), ERR_CANTCREAT, "cannot be created");
    if (make_dirs(top) < 0)
        die();
    path = xstrfmt("%s/file", top);
    fd = creat(path, 0666);
    close(fd);
    is_int(ckpt_write_begin(path, 1), -1, "a file in the way");
    is_int(err_code(), ERR_CANTCREAT, "cannot be created");
    free(path);
    free(dir);
}

static int make(int argc, char **argv)
{
    char *dir;

    if (argc < 5)
        return 64;
    dir = xstrfmt("%s/ckpt", argv[2]);
    if (write_one(dir, strtoll(argv[3], NULL, 10),
                  (int)strtol(argv[4], NULL, 10),
                  argc > 5 ? strtod(argv[5], NULL) : 1) < 0)
        die();
    free(dir);
    return 0;
}

int main(int argc, char **argv)
{
    int world;

    prog_set("70-ckpt");
    if (argc > 1 && strcmp(argv[1], "make") == 0)
        return make(argc, argv);
    /* in memory where there is such a place: flushing is not what is tested */
    top = tap_dir_in(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : NULL);
    test_shares();
    test_names();
    for (world = 1; world <= 4; world++)
        test_round_trip(world);
    test_newest();
    test_prune();
    test_again();
    test_stages();
    test_killed();
    test_damaged_files();
    test_damaged_state();
    test_shape();
    test_failures();
    return done_testing();
}
