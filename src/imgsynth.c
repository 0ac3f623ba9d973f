/*
 * imgsynth - data sets that are made up, for demonstrations and tests.
 */
#include "imgsynth.h"
#include "util/fdio.h"
#include "util/work.h"
#include "vision/synth.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct synth_settings synth_set;

/* clang-format off */
static struct opt imagenet_opts[] = {
    {.name = "classes", .type = OPT_INT, .addr = &synth_set.classes,
     .def = "10", .min = 1, .max = SYNTH_CLASSES_MAX, .help = "classes"},
    {.name = "train", .type = OPT_INT, .addr = &synth_set.train, .def = "200",
     .min = 1, .max = 1e6, .help = "training images of each class"},
    {.name = "val", .type = OPT_INT, .addr = &synth_set.val, .def = "50",
     .min = 0, .max = 1e6, .help = "validation images of each class"},
    SYNTH_ROWS("80", "220"),
    OPT_END};
/* clang-format on */

const char synth_readme[] =
    "This data set is made up.\n"
    "\n"
    "imgsynth drew every picture in it; none is a photograph, and a network's\n"
    "score on it says nothing about photographs.";

static const char *const splits[] = {"train", "val"};

struct making {
    const char *dir;
    struct synth synth;
    struct buf *file; /* [threads] */
};

int synth_file(const char *path, const struct buf *b)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666), rc;

    if (fd < 0)
        return err_sys(ERR_CANTCREAT, "%s: open", path);
    rc = fd_write(fd, b->data, b->len, FD_FOREVER);
    if (close(fd) < 0 && rc == 0)
        return err_sys(ERR_IO, "%s: close", path);
    return rc < 0 ? err_wrap("%s", path) : 0;
}

static int make_file(void *arg, size_t i, int t)
{
    struct making *m = arg;
    size_t train = (size_t)(synth_set.classes * synth_set.train);
    int split = i >= train;
    size_t each = (size_t)(split ? synth_set.val : synth_set.train);
    size_t k = split ? i - train : i;
    char name[32], *path;
    int rc;

    buf_reset(&m->file[t]);
    synth_class((int)(k / each), name, sizeof(name));
    if (synth_image(&m->synth, split, (int)(k / each), (uint32_t)(k % each),
                    &m->file[t]) < 0)
        return -1;
    path = xstrfmt("%s/%s/%s/%s_%05zu.jpg", m->dir, splits[split], name, name,
                   k % each);
    rc = synth_file(path, &m->file[t]);
    free(path);
    return rc;
}

static int make_folders(const char *dir)
{
    char name[32], *path;
    int s, k, rc = 0;

    for (s = 0; s < 2 && rc == 0; s++)
        for (k = 0; k < synth_set.classes && rc == 0; k++) {
            synth_class(k, name, sizeof(name));
            path = xstrfmt("%s/%s/%s", dir, splits[s], name);
            rc = s && !synth_set.val ? 0 : make_dirs(path);
            free(path);
        }
    return rc;
}

int synth_tell(const char *dir, const char *command, const char *what)
{
    const struct synth_settings *set = &synth_set;
    struct buf b = BUF_INIT;
    char *path = xstrfmt("%s/README", dir);
    int rc;

    buf_addf(&b, "%s%s\n\n", synth_readme, what);
    buf_addf(&b,
             "imgsynth %s --classes %" PRId64 " --train %" PRId64
             " --val %" PRId64 " --size-min %" PRId64 " --size-max %" PRId64
             " --seed %" PRId64 "\n",
             command, set->classes, set->train, set->val, set->size_min,
             set->size_max, set->seed);
    rc = atomic_write(path, b.data, b.len);
    buf_release(&b);
    free(path);
    return rc;
}

/* All files below dir, which is new. */
static int make_set(const char *dir)
{
    struct making m = {.dir = dir,
                       .synth = {(uint64_t)synth_set.seed,
                                 (int)synth_set.size_min,
                                 (int)synth_set.size_max}};
    int threads = synth_set.threads ? (int)synth_set.threads : work_cpus(), t,
        rc;

    m.file = xcalloc((size_t)threads, sizeof(*m.file));
    rc = make_folders(dir);
    if (rc == 0)
        rc = work_for(
            (size_t)(synth_set.classes * (synth_set.train + synth_set.val)),
            threads, make_file, &m);
    if (rc == 0)
        rc = synth_tell(dir, "imagenet",
                        " The class of a picture is the\n"
                        "shape and the texture of its one object; everything "
                        "else is random.");
    for (t = 0; t < threads; t++)
        buf_release(&m.file[t]);
    free(m.file);
    return rc;
}

/* Is there a set that imgsynth made, and nothing else that it might be? */
static bool is_ours(const char *dir)
{
    char *path = xstrfmt("%s/README", dir);
    struct buf b = BUF_INIT;
    bool ours = false;

    buf_addstr(&b, "");
    if (buf_read_file(&b, path, 65536) < 0)
        err_clear();
    else
        ours = !strncmp(b.data, synth_readme, strlen(synth_readme));
    buf_release(&b);
    free(path);
    return ours;
}

/* Make room for dir: it must not be there, or may be replaced. */
static int clear_way(const char *dir)
{
    struct stat st;

    if (lstat(dir, &st) < 0 || rmdir(dir) == 0) /* an empty one is no loss */
        return 0;
    if (!synth_set.force)
        return err_set(ERR_CANTCREAT, "%s: is there already", dir);
    if (!is_ours(dir))
        return err_set(ERR_CANTCREAT, "%s: imgsynth did not make it", dir);
    return remove_tree(dir);
}

/* Make a hidden directory beside dir, and fill it. */
static int make_beside(const char *dir, struct tmp_dir *tmp,
                       int (*make)(const char *tmp))
{
    const char *slash = strrchr(dir, '/'), *name = slash ? slash + 1 : dir;
    char *parent = slash ? xstrfmt("%.*s", (int)(name - dir), dir) : NULL;
    int rc = parent ? make_dirs(parent) : 0;

    if (rc == 0)
        rc = tmp_dir_open(tmp, parent ? parent : ".", name);
    free(parent);
    return rc == 0 ? make(tmp->path) : -1;
}

int synth_make(const char *where, int (*make)(const char *tmp))
{
    struct tmp_dir tmp = TMP_DIR_INIT;
    char *dir = xstrdup(where);
    size_t n = strlen(dir);
    int rc;

    while (n > 1 && dir[n - 1] == '/')
        dir[--n] = 0;
    if (synth_set.size_min > synth_set.size_max)
        rc = err_set(ERR_USAGE, "--size-min is over --size-max");
    else
        rc = clear_way(dir);
    if (rc == 0)
        rc = make_beside(dir, &tmp, make);
    if (rc == 0 && rename(tmp.path, dir) < 0)
        rc = err_sys(ERR_CANTCREAT, "%s: rename", dir);
    tmp_dir_close(&tmp);
    free(dir);
    return rc;
}

static int imagenet(const struct command *c, int argc, char **argv)
{
    (void)c;
    (void)argc;
    return synth_make(argv[0], make_set);
}

static const struct command commands[] = {
    {.name = "imagenet",
     .operands = "DIR",
     .help = "class folders of JPEG files, train and val",
     .opts = imagenet_opts,
     .n_fixed = 1,
     .max_operands = 1,
     .run = imagenet},
    {.name = "coco",
     .operands = "DIR",
     .help = "images of several objects and their boxes, as COCO has them",
     .opts = coco_opts,
     .n_fixed = 1,
     .max_operands = 1,
     .run = imgsynth_coco},
    {.name = NULL}};

static const struct program program = {.name = "imgsynth",
                                       .help =
                                           "make up data sets to learn from",
                                       .commands = commands};

int main(int argc, char **argv)
{
    return program_main(&program, argc, argv);
}
