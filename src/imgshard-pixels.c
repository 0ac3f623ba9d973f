/* Options of the pixel side, and frames on stdout. */
#include "imgshard-pixels.h"

#include "util/fdio.h"
#include "util/signals.h"
#include "util/work.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pixels pixels;
static volatile sig_atomic_t stopped; /* by this signal */

/* What is there for classes only. */
static int check_plain(const struct recipe *r)
{
    const struct {
        const char *key;
        bool on;
    } set[] = {{"POLICY", r->policy != 0},
               {"GREY", r->grey > 0},
               {"ERASE", r->erase > 0},
               {"MIXUP", r->mixup > 0},
               {"CUTMIX", r->cutmix > 0},
               {"REPEAT", r->repeat > 1},
               {"JITTER", r->jitter.f[0] > 0 || r->jitter.f[1] > 0 ||
                              r->jitter.f[2] > 0 || r->jitter.f[3] > 0}};

    for (size_t i = 0; i < sizeof(set) / sizeof(*set); i++)
        if (set[i].on)
            return err_set(ERR_CONFIG, "INPUT.%s: not for detection",
                           set[i].key);
    return 0;
}

/* The settings of detection. */
static int detect_config(struct detect *d)
{
    const struct recipe *r = &recipe;

    *d = (struct detect){.n = 1,
                         .max = (int)(pixels.eval ? r->max_test : r->max_train),
                         .flip = pixels.eval ? 0 : r->flip,
                         .bgr = r->format == 0,
                         .crowd = pixels.eval};
    d->length[0] = (int)r->min_test;
    if (pixels.eval)
        return 0;
    if (check_plain(r) < 0)
        return -1;
    d->n = r->min_train.n;
    d->range = r->min_sampling == 1;
    if (d->n > DETECT_SIZES)
        return err_set(ERR_CONFIG, "INPUT.MIN_SIZE_TRAIN: more than %d numbers",
                       DETECT_SIZES);
    for (int i = 0; i < d->n; i++)
        d->length[i] = (int)r->min_train.i[i];
    return 0;
}

int pixels_task(const struct shard_set *s)
{
    if (pixels.detect && !shard_is_detection(s))
        return err_set(ERR_CONFIG, "%s: task %s: --detect is for detection",
                       s->path, s->task);
    pixels.detect = shard_is_detection(s);
    return 0;
}

int pixels_config(struct batch_config *c)
{
    static struct detect detect;
    const struct recipe *r = &recipe;

    if (pixels.train && pixels.eval)
        return err_set(ERR_USAGE, "--train and --eval: one of them");
    if (recipe_check(r) < 0)
        return -1;
    if (pixels.eval && r->eval_size)
        recipe.size = r->eval_size;
    *c = (struct batch_config){.train = !pixels.eval,
                               .size = (int)r->size,
                               .resize = (int)r->resize,
                               .squash = r->squash,
                               .seed = (uint64_t)r->seed,
                               .threads = (int)pixels.threads,
                               .queue = (int)pixels.queue,
                               .strict = pixels.strict};
    if (pixels.detect) {
        c->detect = &detect;
        if (detect_config(&detect) < 0)
            return -1;
    }
    if (!c->resize)
        c->resize = (c->size * 256 + 112) / 224;
    if (!c->threads)
        c->threads = work_cpus() > 1 ? work_cpus() - 1 : 1;
    c->augment.scale[0] = r->scale.f[0];
    c->augment.scale[1] = r->scale.f[1];
    c->augment.ratio[0] = r->ratio.f[0];
    c->augment.ratio[1] = r->ratio.f[1];
    c->augment.flip = r->flip;
    c->augment.erase = r->erase;
    c->policy = (struct policy){.kind = r->policy,
                                .ops = (int)r->policy_ops,
                                .magnitude = (int)r->policy_magnitude,
                                .grey = r->grey};
    memcpy(c->policy.jitter, r->jitter.f, sizeof(c->policy.jitter));
    c->mix = (struct mix_config){r->mixup, r->cutmix};
    return 0;
}

int pixels_describe(struct frame_pair *meta, char text[2][24])
{
    int64_t number[2] = {pixels.detect ? 0 : recipe.size, 0};
    static const char *const crop[] = {"size"}, *const whole[] = {"min_size",
                                                                  "max_size"};
    int n = pixels.detect ? 2 : 1, i;

    if (pixels.detect) {
        for (i = 0; i < recipe.min_train.n; i++)
            if (recipe.min_train.i[i] > number[0])
                number[0] = recipe.min_train.i[i];
        number[0] = pixels.eval ? recipe.min_test : number[0];
        number[1] = pixels.eval ? recipe.max_test : recipe.max_train;
    }
    for (i = 0; i < n; i++) {
        snprintf(text[i], sizeof(text[i]), "%" PRId64, number[i]);
        meta[i] =
            (struct frame_pair){(pixels.detect ? whole : crop)[i], text[i]};
    }
    if (pixels.detect)
        meta[n++] =
            (struct frame_pair){"format", recipe.format ? "RGB" : "BGR"};
    meta[n++] = (struct frame_pair){"task", pixels.detect ? "detection"
                                                          : "classification"};
    return n;
}

static void on_signal(int s)
{
    stopped = s;
}

int pixels_begin(void)
{
    static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};
    struct sigaction a = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    size_t i;

    if (isatty(STDOUT_FILENO))
        return err_set(ERR_USAGE,
                       "stdout is a terminal: frames go to a pipe or a file");
    sigaction(SIGPIPE, &ignore, NULL);
    for (i = 0; i < sizeof(ends) / sizeof(*ends); i++)
        if (!signals_ignored(ends[i]))
            sigaction(ends[i], &a, NULL);
    /* "save and go on": what schedulers send to every process of a job */
    sigaction(SIGUSR2, &ignore, NULL);
    fd_grow_pipe(STDOUT_FILENO);
    frame_writer_init(&pixels.out, STDOUT_FILENO, "stdout");
    return 0;
}

/* The reader of a pipe takes as much as it wants: its going is no error. */
static int written(int rc)
{
    struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};

    if (rc < 0 && poll(&p, 1, 0) == 1 && (p.revents & (POLLERR | POLLHUP)))
        exit(0);
    return rc;
}

int pixels_hello(const struct frame_pair *meta, int n)
{
    struct buf input = BUF_INIT;
    struct frame_pair all[24];
    int rc;

    if (n > 23)
        BUG("%d pairs", n);
    memcpy(all, meta, (size_t)n * sizeof(*meta));
    recipe_input(&recipe, &input);
    if (!pixels.eval)
        all[n++] = (struct frame_pair){"input", input.data};
    rc = frame_write(&pixels.out, "hello", all, n, NULL, 0, 0);
    buf_release(&input);
    return written(rc);
}

static void *next_slot(void *arg)
{
    return lend_take(arg);
}

void pixels_lend(struct batch_config *c)
{
    size_t bytes = batch_bytes(c);

    if (pixels.shm == 0 && bytes > 0)
        pixels.lend =
            lend_open(STDOUT_FILENO, bytes, batch_queue(c) + LEND_MORE);
    if (!pixels.lend)
        return;
    c->block = next_slot;
    c->block_arg = pixels.lend;
}

/* The header of a batch that its reader has already; another slot is next. */
static int hand_over(struct batch_frame *f, const struct frame_slot *slot)
{
    void *next;

    f->slot = slot;
    if (written(batch_write(&pixels.out, f)) < 0)
        return -1;
    f->slot = NULL;
    next = lend_take(pixels.lend);
    if (!next)
        return -1;
    batch_move(f, next);
    return 0;
}

int pixels_emit(void *arg, struct batch_frame *f)
{
    struct frame_slot slot;
    bool lent = pixels.lend && lend_offer(pixels.lend, f->image, &slot);

    (void)arg;
    if ((lent ? hand_over(f, &slot) : written(batch_write(&pixels.out, f))) < 0)
        return -1;
    /* not inside a step: a trainer that is told to stop as well has whole ones */
    if (stopped && f->head.last)
        return err_set(ERR_AGAIN, "stopped by signal %d", (int)stopped);
    return 0;
}

/* Send the error that is set downstream, and keep it. */
static void send_error(void)
{
    struct err_kept first = err_keep();

    if (written(frame_write_error(&pixels.out)) < 0)
        note("%s", err_text());
    err_restore(&first);
}

int pixels_end(int rc)
{
    bool told = rc < 0 && stopped;

    if (rc == 0)
        rc = written(frame_write_end(&pixels.out));
    else
        send_error();
    lend_close(pixels.lend);
    if (!told)
        return rc;
    warn("%s", err_text());
    return 128 + (int)stopped;
}
