/* ckpt-merge best: the checkpoint with the best score stays. */
#include "ckpt-merge.h"

#include "io/ckptbest.h"
#include "util/fdio.h"
#include "util/json.h"
#include "util/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SCORE_MAX 65536 /* bytes of the line */

static char *score_path, *by;

struct opt ckpt_merge_best_opts[] = {
    {.name = "score",
     .letter = 's',
     .type = OPT_STRING,
     .addr = &score_path,
     .arg = "FILE",
     .help = "its score, the line of evalacc; default: standard input"},
    {.name = "by",
     .type = OPT_STRING,
     .addr = &by,
     .def = "top1",
     .arg = "KEY",
     .help = "the number of the score that decides: the largest is best"},
    OPT_END,
};

/* The object in the file or on standard input. */
static json_t *read_score(void)
{
    const char *name = "stdin";
    struct buf b = BUF_INIT;
    char part[4096];
    size_t n;
    json_t *j;

    if (score_path && strcmp(score_path, "-") != 0) {
        j = json_file(score_path, SCORE_MAX);
        name = score_path;
    } else {
        while (b.len < SCORE_MAX && (n = fread(part, 1, sizeof part, stdin)))
            buf_add(&b, part, n);
        j = json_text(b.len ? b.data : "", b.len, name);
        buf_release(&b);
    }
    if (j && !json_is_object(j)) {
        err_set(ERR_DATA, "%s: not a JSON object", name);
        json_decref(j);
        j = NULL;
    }
    return j;
}

/* DIR of DIR/step-N and of DIR/best. */
static char *parent_of(const char *path)
{
    char *real = realpath(path, NULL), *slash;

    if (!real) {
        err_sys(ERR_NOINPUT, "%s", path);
        return NULL;
    }
    slash = strrchr(real, '/');
    *(slash == real ? slash + 1 : slash) = 0;
    return real;
}

/* One line in the log of the run, if it has one: O_APPEND and one write, as the
 * trainer does, which may be at it. */
static int log_best(const char *dir, const struct ckpt_state *s,
                    const json_t *score)
{
    char *path = xstrfmt("%s/../metrics.jsonl", dir);
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC), r = 0;
    struct buf b = BUF_INIT;
    json_t *j;

    if (fd < 0 && errno != ENOENT)
        r = err_sys(ERR_IO, "%s: open", path);
    if (fd < 0)
        goto out;
    j = json_pack("{s:I,s:I,s:I,s:I,s:s,s:s,s:s,s:O}", "t",
                  (json_int_t)wall_ms(), "attempt", (json_int_t)s->attempt,
                  "step", (json_int_t)s->step, "samples",
                  (json_int_t)s->samples, "phase", "event", "event", "best",
                  "by", by, "score", score);
    json_canonical(&b, j);
    buf_addch(&b, '\n');
    r = fd_write(fd, b.data, b.len, FD_FOREVER);
    if (r < 0)
        err_wrap("%s", path);
    json_decref(j);
    close(fd);
out:
    buf_release(&b);
    free(path);
    return r;
}

/* The step or, of a run, the newest one. */
static int offer(const char *dir, const char *path, const json_t *score)
{
    struct ckpt_best was;
    struct ckpt_state s;
    double value = json_number_value(json_object_get(score, by));
    int r;

    if (ckpt_read_state(path, &s) < 0)
        return -1;
    r = ckpt_best_offer(dir, path, by, score, &was);
    if (r > 0)
        printf("best step %" PRId64 " %s %.6g\n", s.step, by, value);
    if (r == 0) {
        utf8_plain(was.by, strlen(was.by));
        printf("best step %" PRId64 " %s %.6g, not step %" PRId64 " %.6g\n",
               was.step, was.by, was.value, s.step, value);
    }
    if (r > 0)
        r = log_best(dir, &s, score);
    ckpt_state_release(&s);
    return r < 0 ? -1 : 0;
}

int ckpt_merge_best(const struct command *c, int argc, char **argv)
{
    char *dir = NULL, *path = NULL;
    json_t *score = NULL;
    int64_t step;
    int place = place_of(argv[0], &dir), r = -1;

    (void)c;
    (void)argc;
    if (place == PLACE_FILE || place == PLACE_MODEL)
        err_set(ERR_USAGE, "%s: not the directory of a run or of a step",
                argv[0]);
    if (place != PLACE_STEP && place != PLACE_RUN)
        goto out;
    if (place == PLACE_STEP) {
        path = xstrdup(argv[0]);
        dir = parent_of(path);
    } else {
        path = ckpt_newest(dir, &step);
        if (!path && step == -1)
            err_set(ERR_NOINPUT, "%s: no committed checkpoint", dir);
    }
    if (!dir || !path)
        goto out;
    score = read_score();
    if (score)
        r = offer(dir, path, score);
out:
    json_decref(score);
    free(path);
    free(dir);
    return r;
}
