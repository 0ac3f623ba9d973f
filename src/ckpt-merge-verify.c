/* ckpt-merge verify: every header, every byte. */
#include "ckpt-merge.h"

#include "io/digest.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

PRINTF_LIKE(2, 3)
static void say_ok(const char *path, const char *fmt, ...)
{
    struct buf b = BUF_INIT;
    va_list ap;

    buf_addplain(&b, path, strlen(path));
    buf_addstr(&b, ": ok: ");
    va_start(ap, fmt);
    buf_vaddf(&b, fmt, ap);
    va_end(ap);
    puts(b.data);
    buf_release(&b);
}

/* The checksum that a file states of its data, compared with the data. */
static int check_sum(const struct frame_file *ff, const char *key,
                     const char *got)
{
    const char *want = frame_meta(&ff->f, key);

    if (want && strcmp(want, got) != 0)
        return err_set(ERR_DATA, "%s: %s: expected %.64s, got %s", ff->path,
                       key, want, got);
    return 0;
}

static int check_data(struct frame_file *ff)
{
    struct digest *d = digest_new();
    uint32_t crc = 0;
    char hex[9], sha[65];
    size_t n;
    void *data;
    int i, r = 0;

    for (i = 0; i < ff->f.n_tensors && r == 0; i++) {
        n = tensor_bytes(&ff->f.tensor[i].t);
        data = xmalloc(n + 1);
        r = frame_file_data(ff, i, data);
        if (r == 0) {
            crc = digest_crc32(crc, data, n);
            digest_add(d, data, n);
        }
        free(data);
    }
    snprintf(hex, sizeof hex, "%08" PRIx32, crc);
    digest_hex(d, sha);
    digest_free(d);
    if (r < 0 || check_sum(ff, "crc32", hex) < 0 ||
        check_sum(ff, "accel.sha256", sha) < 0)
        return -1;
    return 0;
}

static int verify_file(const char *path)
{
    struct frame_file ff = FRAME_FILE_INIT;
    const char *how;
    int r;

    if (frame_file_open(&ff, path) < 0)
        return -1;
    r = check_data(&ff);
    how = frame_meta(&ff.f, "crc32") || frame_meta(&ff.f, "accel.sha256")
              ? "checksum"
              : "no checksum inside";
    if (r == 0)
        say_ok(path, "%d tensors, %" PRIu64 " bytes, %s", ff.f.n_tensors,
               ff.f.data_bytes, how);
    frame_file_close(&ff);
    return r;
}

static int verify_foreign(const char *path)
{
    struct foreign f;
    uint64_t bytes = 0;

    if (foreign_open(&f, path) < 0)
        return -1;
    for (int i = 0; i < f.n; i++)
        bytes += tensor_bytes(&f.tensor[i].t);
    say_ok(path, "%d tensors, %" PRIu64 " bytes, %s", f.n, bytes,
           foreign_has_sums(&f) ? "checksum" : "no checksum inside");
    foreign_close(&f);
    return 0;
}

/* Opening it checks what can be checked of one of torch.save. */
static int verify_any(const char *path)
{
    return foreign_is(path) ? verify_foreign(path) : verify_file(path);
}

/* Opening the whole compares the index. */
static int verify_model(char *path)
{
    struct source s;
    int r = source_open(&s, &path, 1);

    for (int i = 0; i < s.dir.n && r == 0; i++)
        r = verify_any(s.dir.file[i]);
    source_close(&s);
    return r;
}

static int verify_step(const char *path)
{
    struct ckpt c;
    uint64_t bytes = 0;
    int i, r;

    if (ckpt_open(&c, path) < 0)
        return -1;
    r = ckpt_verify_data(&c);
    for (i = 0; i < c.n_files; i++)
        bytes += c.file[i].f.data_bytes;
    if (r == 0)
        say_ok(path,
               "step %" PRId64 ", %d files, %d tensors, %" PRIu64 " bytes",
               c.state.step, c.n_files, c.n_tensors, bytes);
    ckpt_close(&c);
    return r;
}

/* Say what is wrong and go on; damage counts more than absence. */
static void failed(int *status)
{
    warn("%s", err_text());
    if (*status != ERR_DATA)
        *status = (int)err_code();
}

static int verify_run(const char *dir, int *status)
{
    int64_t *steps;
    char name[32], *path;
    int n, i;

    if (ckpt_list(dir, &steps, &n) < 0)
        return -1;
    for (i = 0; i < n; i++) {
        ckpt_name(name, sizeof name, steps[i]);
        path = xstrfmt("%s/%s", dir, name);
        if (verify_step(path) < 0 && !step_gone(path))
            failed(status);
        free(path);
    }
    free(steps);
    path = xstrfmt("%s/best", dir);
    if (access(path, F_OK) == 0 && verify_step(path) < 0)
        failed(status);
    free(path);
    if (n == 0)
        return err_set(ERR_NOINPUT, "%s: no committed checkpoint", dir);
    return 0;
}

int ckpt_merge_verify(const struct command *c, int argc, char **argv)
{
    int status = 0, i, place, r;
    char *dir;

    (void)c;
    for (i = 0; i < argc; i++) {
        place = place_of(argv[i], &dir);
        if (place == PLACE_FILE)
            r = verify_any(argv[i]);
        else if (place == PLACE_STEP)
            r = verify_step(argv[i]);
        else if (place == PLACE_MODEL)
            r = verify_model(argv[i]);
        else
            r = place < 0 ? -1 : verify_run(dir, &status);
        if (r < 0)
            failed(&status);
        free(dir);
    }
    return status;
}
