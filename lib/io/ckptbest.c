#include "io/ckptbest.h"

#include "io/ckpt.h"
#include "util/fault.h"
#include "util/fdio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOCK_MS 10000
#define SCORE_MAX (1 << 20) /* bytes of score.json */
#define PART (1 << 20)      /* bytes that are copied at once */

static int number(const json_t *score, const char *by, double *v)
{
    if (json_get_real(score, by, v) < 0)
        return -1;
    return isfinite(*v) ? 0 : err_set(ERR_DATA, "\"%s\": not finite", by);
}

/* The best one and, if it is asked for, its score (a reference of the caller's). */
static int read_best(const char *dir, struct ckpt_best *b, json_t **score)
{
    char *path = xstrfmt("%s/best", dir),
         *file = xstrfmt("%s/score.json", path);
    json_t *j = NULL, *s;
    const char *by;
    int r = 0;

    *b = (struct ckpt_best){.step = -1};
    if (access(path, F_OK) < 0)
        goto out;
    r = -1;
    j = json_file(file, SCORE_MAX);
    if (!j)
        goto out;
    if (json_get_int(j, "step", &b->step) < 0 ||
        json_get_str(j, "by", &by) < 0 || json_get_object(j, "score", &s) < 0 ||
        number(s, by, &b->value) < 0) {
        err_wrap("%s", file);
        goto out;
    }
    snprintf(b->by, sizeof b->by, "%s", by);
    if (score)
        *score = json_incref(s);
    r = 0;
out:
    json_decref(j);
    free(path);
    free(file);
    return r;
}

int ckpt_best_read(const char *dir, struct ckpt_best *b)
{
    return read_best(dir, b, NULL);
}

static int copy_file(const char *from, const char *to)
{
    struct atomic_file f;
    char *part = xmalloc(PART);
    int in = open(from, O_RDONLY | O_CLOEXEC), r = -1;
    ssize_t n = 1;

    if (in < 0) {
        err_sys(ERR_IO, "%s: open", from);
        goto out;
    }
    if (atomic_open(&f, to) < 0)
        goto out;
    while (n > 0) {
        n = read(in, part, PART);
        if (n < 0 && errno == EINTR)
            n = 1;
        else if (n < 0)
            err_sys(ERR_IO, "%s: read", from);
        else if (n > 0 && fd_write(f.fd, part, (size_t)n, FD_FOREVER) < 0)
            n = -1;
    }
    r = n < 0 ? -1 : atomic_commit(&f);
    atomic_abort(&f);
out:
    if (in >= 0)
        close(in);
    free(part);
    return r;
}

/* The file of one directory in another. */
static int take_file(const char *from, const char *to, const char *name)
{
    char *a = xstrfmt("%s/%s", from, name), *b = xstrfmt("%s/%s", to, name);
    int r = link(a, b);

    if (r < 0 && errno == ENOENT)
        err_sys(ERR_NOINPUT, "%s", a);
    else if (r < 0)
        r = copy_file(a, b);
    free(a);
    free(b);
    return r;
}

static int take_files(const struct ckpt *c, const char *to)
{
    char name[64];
    int i, r = take_file(c->path, to, "state.json");

    for (i = 0; i < c->n_files && r == 0; i++) {
        ckpt_file_name(name, sizeof name, i, c->n_files);
        r = take_file(c->path, to, name);
    }
    return r;
}

static int write_score(const char *dir, int64_t step, const char *by,
                       const json_t *score)
{
    json_t *j = json_pack("{s:s,s:O,s:I}", "by", by, "score", score, "step",
                          (json_int_t)step);
    char *path = xstrfmt("%s/score.json", dir);
    struct buf b = BUF_INIT;
    int r;

    json_canonical(&b, j);
    buf_addch(&b, '\n');
    r = atomic_write(path, b.data, b.len);
    json_decref(j);
    buf_release(&b);
    free(path);
    return r;
}

/* Make the new one beside the old one, and let it take its place. */
static int put(const char *dir, const struct ckpt *c, const char *by,
               const json_t *score)
{
    char *tmp = xstrfmt("%s/.best.tmp", dir), *best = xstrfmt("%s/best", dir);
    int r = -1;

    if (remove_tree(tmp) < 0)
        goto out;
    tmp_register(tmp);
    if (make_dirs(tmp) < 0 || take_files(c, tmp) < 0 ||
        write_score(tmp, c->state.step, by, score) < 0 || sync_dir(tmp) < 0)
        goto out;
    fault_point("best");
    if (replace_dir(tmp, best) < 0)
        goto out;
    tmp_forget(tmp);
    fault_point("best.renamed");
    r = sync_dir(dir);
out:
    free(tmp);
    free(best);
    return r;
}

int ckpt_best_offer(const char *dir, const char *path, const char *by,
                    const json_t *score, struct ckpt_best *was)
{
    json_t *old = NULL;
    double value, before = -(double)INFINITY;
    struct ckpt c;
    int fd, r = -1;

    if (strlen(by) >= sizeof was->by)
        return err_set(ERR_USAGE, "\"%.40s\": too long for a key", by);
    if (number(score, by, &value) < 0)
        return err_wrap("score");
    fd = lock_dir(dir, LOCK_MS);
    if (fd < 0)
        return -1;
    if (ckpt_open(&c, path) < 0) {
        close(fd);
        return -1;
    }
    if (read_best(dir, was, &old) < 0)
        goto out;
    if (old && was->step != c.state.step && number(old, by, &before) < 0) {
        err_set(ERR_CONFIG, "%s/best: chosen by \"%s\": has no \"%s\"", dir,
                was->by, by);
        goto out;
    }
    r = value > before ? put(dir, &c, by, score) < 0 ? -1 : 1 : 0;
out:
    json_decref(old);
    ckpt_close(&c);
    close(fd);
    return r;
}
