/* The images in a tar: of class folders, of files, of tars, of samples. */
#include "io/source_private.h"

#include "io/gz.h"
#include "io/tar.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define CLS_MAX 256             /* bytes of a .cls member */
#define MEMBER_MAX (1ULL << 40) /* of one that is a tar itself */

struct member {
    char *path; /* clean: relative, no empty components */
    uint64_t offset, size;
    char *cls; /* contents of a .cls member, else NULL */
};

struct listing {
    struct source *src;
    const struct source_how *how;
    const char *name;
    int32_t archive;
    struct member *m;
    size_t n, cap;
    size_t tars, images; /* members that are tars; images in those */
};

/* ---- names */

/* Relative, without "." and empty components; to be freed. */
static char *clean_path(const char *path)
{
    char *out = xmalloc(strlen(path) + 1), *to = out;

    while (*path) {
        size_t n = strcspn(path, "/");

        if (n && !(n == 1 && *path == '.')) {
            if (to != out)
                *to++ = '/';
            memcpy(to, path, n);
            to += n;
        }
        path += n + (path[n] == '/');
    }
    *to = 0;
    return out;
}

/* Has a component that begins with a dot. */
static bool is_hidden(const char *path)
{
    return *path == '.' || strstr(path, "/.") != NULL;
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static bool is_tar_name(const char *path)
{
    size_t n = strlen(path);

    return n > 4 && !strcmp(path + n - 4, ".tar") && base_of(path)[4];
}

static bool is_image_ext(const char *ext)
{
    return !strcasecmp(ext, "jpg") || !strcasecmp(ext, "jpeg") ||
           !strcasecmp(ext, "png") || !strcasecmp(ext, "ppm");
}

/* An image of the list, which is a member of the archive. */
static struct source_file *put_image(struct listing *l, uint32_t folder,
                                     const char *name, uint64_t offset,
                                     uint64_t size)
{
    struct source_file *f = source_add(l->src, folder, name);
    struct source_place *p = source_put(l->src, f);

    p->archive = l->archive;
    p->offset = offset;
    p->size = size;
    return f;
}

/* A folder of the list: what is behind "TAR: PREFIX". */
static uint32_t put_folder(struct listing *l, const char *prefix, size_t n,
                           const char *key, enum source_key rule)
{
    char *path = xstrfmt("%s: %.*s", l->name, (int)n, prefix);
    uint32_t folder = source_folder(l->src, path, key, rule);

    free(path);
    return folder;
}

/* ---- one tar of one class, inside another */

/* Its folders in the list: members that have the class in front, and others. */
struct inner {
    const char *class;
    uint32_t folder[2];
};

static void add_inner(struct listing *l, const struct inner *in,
                      const struct tar_reader *t, uint64_t base)
{
    size_t n = strlen(in->class);
    char *clean = clean_path(t->path);
    const char *rest = clean;

    if (is_hidden(clean)) {
        l->src->ignored++;
        free(clean);
        return;
    }
    /* its own folder may be written there as well */
    if (!strncmp(clean, in->class, n) && clean[n] == '/')
        rest += n + 1;
    put_image(l, in->folder[rest != clean], rest, base + t->data_offset,
              t->size)
        ->label = label_of_name(l->src, in->class);
    l->images++;
    free(clean);
}

static void init_inner(struct listing *l, struct inner *in, const char *class,
                       const char *inner)
{
    char *key = xstrfmt("%s/", class);

    in->class = class;
    for (int own = 0; own < 2; own++) {
        char *path = xstrfmt("%s: %s", inner, own ? key : "");

        in->folder[own] = put_folder(l, path, strlen(path), key, KEY_STEM);
        free(path);
    }
    free(key);
}

/* Calls of tar.h with the types of struct tar_input. */
static int inner_read(void *arg, void *p, size_t n)
{
    return tar_read(arg, p, n);
}

static int inner_skip(void *arg, uint64_t n)
{
    return tar_skip(arg, n);
}

static int list_inner(struct listing *l, struct tar_reader *outer)
{
    struct tar_input in = {inner_read, inner_skip, outer};
    const char *base = base_of(outer->path);
    char *class = xstrfmt("%.*s", (int)strlen(base) - 4, base);
    char *inner = xstrdup(base);
    char *name = xstrfmt("%s: %s", l->name, inner);
    uint64_t offset = outer->data_offset;
    struct tar_reader t;
    struct inner in_list;
    int r;

    init_inner(l, &in_list, class, inner);
    (void)label_of_name(l->src, class); /* an empty class is one too */
    l->tars++;
    tar_reader_input(&t, &in, name, outer->size);
    t.max_member = MEMBER_MAX;
    while ((r = tar_next(&t)) > 0)
        add_inner(l, &in_list, &t, offset);
    if (r == 0 && !t.ended)
        warn("%s: no end of archive", name);
    tar_reader_release(&t);
    free(name);
    free(inner);
    free(class);
    return r;
}

/* ---- members */

/* The contents of a .cls member, without blanks around them. */
static int read_cls(struct tar_reader *t, char **cls)
{
    struct buf b = BUF_INIT;
    const char *at;
    size_t n;

    if (t->size > CLS_MAX)
        return err_set(ERR_DATA, "%s: %s: %llu bytes: not a class", t->name,
                       t->path, (unsigned long long)t->size);
    buf_addstr(&b, "");
    if (tar_data(t, &b) < 0) {
        buf_release(&b);
        return -1;
    }
    at = b.data + strspn(b.data, " \t\r\n");
    n = strcspn(at, "\t\r\n");
    while (n && at[n - 1] == ' ')
        n--;
    *cls = xstrfmt("%.*s", (int)n, at);
    buf_release(&b);
    return 0;
}

static int add_member(struct listing *l, struct tar_reader *t)
{
    struct member m = {.offset = t->data_offset, .size = t->size};
    const char *ext;
    size_t n;

    m.path = clean_path(t->path);
    if (!*m.path || is_hidden(m.path)) {
        l->src->ignored++;
        free(m.path);
        return 0;
    }
    if (tar_split(m.path, &n, &ext) && !strcasecmp(ext, "cls") &&
        read_cls(t, &m.cls) < 0) {
        free(m.path);
        return -1;
    }
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 1024;
        l->m = xreallocarray(l->m, l->cap, sizeof(*l->m));
    }
    l->m[l->n++] = m;
    return 0;
}

static int list_members(struct listing *l, struct tar_reader *t)
{
    int r;

    t->max_member = MEMBER_MAX;
    while ((r = tar_next(t)) > 0) {
        bool tar = is_tar_name(t->path) && !is_hidden(base_of(t->path));

        if ((tar ? list_inner(l, t) : add_member(l, t)) < 0)
            return -1;
    }
    if (r == 0 && !t->ended)
        warn("%s: no end of archive", l->name);
    return r;
}

/* ---- samples, as WebDataset groups them */

static bool same_key(const struct member *a, const struct member *b)
{
    const char *ext;
    size_t n, k;

    return tar_split(a->path, &n, &ext) && tar_split(b->path, &k, &ext) &&
           n == k && !memcmp(a->path, b->path, n);
}

static const char *ext_of(const struct member *m)
{
    const char *ext = "";
    size_t n;

    (void)tar_split(m->path, &n, &ext);
    return ext;
}

/* Are there class members, or an image with a companion of its name? */
static bool are_samples(const struct listing *l)
{
    for (size_t i = 0; i < l->n; i++) {
        if (l->m[i].cls)
            return true;
        if (i > 0 && same_key(&l->m[i - 1], &l->m[i]) &&
            is_image_ext(ext_of(&l->m[i - 1])) !=
                is_image_ext(ext_of(&l->m[i])))
            return true;
    }
    return false;
}

/* The label that a .cls member holds: a number, or a name. */
static int label_of_cls(struct source *src, const char *cls, int32_t *label)
{
    if (!*cls)
        return err_set(ERR_DATA, "no class in it");
    if (cls[strspn(cls, "0123456789")]) {
        *label = label_of_name(src, cls);
        return 0;
    }
    if (strlen(cls) > 6)
        return err_set(ERR_DATA, "class \"%s\": too large", cls);
    *label = (int32_t)strtol(cls, NULL, 10);
    return 0;
}

/* Members [i, end) are a sample. */
static int add_sample(struct listing *l, uint32_t folder, size_t i, size_t end)
{
    const struct member *image = NULL, *first = &l->m[i];
    struct source_place json = {.json_size = 0}, *p;
    int32_t label = LABEL_NONE;
    struct source_file *f;

    for (; i < end; i++) {
        const struct member *m = &l->m[i];

        if (m->cls && label_of_cls(l->src, m->cls, &label) < 0)
            return err_wrap("%s: %s", l->name, m->path);
        if (!image && is_image_ext(ext_of(m)))
            image = m;
        if (!strcasecmp(ext_of(m), "json") && m->size <= SHARD_MEMBER_MAX) {
            json.json_offset = m->offset;
            json.json_size = (uint32_t)m->size;
        }
    }
    f = put_image(l, folder, image ? image->path : first->path,
                  image ? image->offset : 0, image ? image->size : 0);
    f->label = label;
    p = &l->src->place[f->place - 1];
    p->json_offset = json.json_offset;
    p->json_size = json.json_size;
    return 0;
}

static bool ext_repeats(const struct listing *l, size_t from, size_t i)
{
    for (size_t k = from; k < i; k++)
        if (!strcasecmp(ext_of(&l->m[k]), ext_of(&l->m[i])))
            return true;
    return false;
}

static int take_samples(struct listing *l)
{
    uint32_t folder = put_folder(l, "", 0, "", KEY_SAMPLE);
    size_t i = 0, end, n, before = l->src->n;
    const char *ext;

    for (; i < l->n; i = end) {
        end = i + 1;
        if (!tar_split(l->m[i].path, &n, &ext) ||
            !strncmp(base_of(l->m[i].path), "__", 2)) {
            l->src->ignored++;
            continue;
        }
        while (end < l->n && same_key(&l->m[i], &l->m[end]) &&
               !ext_repeats(l, i, end))
            end++;
        if (add_sample(l, folder, i, end) < 0)
            return -1;
    }
    note("%s: a tar of %zu samples", l->name, l->src->n - before);
    return 0;
}

/* ---- files and class folders */

/* The first component and its slash: bytes; 0 if there is only a name. */
static size_t first_part(const char *path)
{
    const char *slash = strchr(path, '/');

    return slash ? (size_t)(slash - path) + 1 : 0;
}

/* The bytes of folders that all paths have in front, up to a split's. */
static size_t common_folders(const struct listing *l)
{
    size_t at = 0, n;
    bool split = false;

    while (l->n && !split && (n = first_part(l->m[0].path + at)) > 0) {
        for (size_t i = 1; i < l->n; i++)
            if (strncmp(l->m[i].path + at, l->m[0].path + at, n) != 0)
                return at;
        split = is_split_name(l->m[0].path + at, n - 1);
        at += n;
    }
    return at;
}

/*
 * If what is below the common folders are train/, val/ and such alone, and more
 * than one: keep the members of the split that is wanted. *at is moved behind it.
 */
static int choose_split(struct listing *l, size_t *at)
{
    const char *split = l->how->split;
    size_t i, n, kept = 0, taken = 0;
    bool several = false;

    for (i = 0; i < l->n; i++) {
        n = first_part(l->m[i].path + *at);
        if (!n || !is_split_name(l->m[i].path + *at, n - 1))
            return 0;
        several |= n != first_part(l->m[0].path + *at) ||
                   strncmp(l->m[i].path + *at, l->m[0].path + *at, n) != 0;
        kept += is_split(l->m[i].path + *at, n - 1, split);
    }
    if (!several)
        return 0;
    if (!kept)
        return err_set(ERR_DATA,
                       "%s: has %.*s and others, but none called \"%s\": "
                       "--split says which is meant",
                       l->name, (int)first_part(l->m[0].path + *at),
                       l->m[0].path + *at, split);
    for (i = 0; i < l->n; i++) {
        struct member *m = &l->m[i];

        n = first_part(m->path + *at);
        if (is_split(m->path + *at, n - 1, split)) {
            /* "val" may be called "validation": each loses its own name */
            memmove(m->path + *at, m->path + *at + n,
                    strlen(m->path + *at + n) + 1);
            l->m[taken++] = *m;
        } else {
            free(m->path);
        }
    }
    l->n = taken;
    return 0;
}

static void take_files(struct listing *l, size_t at)
{
    size_t before = l->src->n, i;
    uint32_t folder = put_folder(l, l->n ? l->m[0].path : "", at, "", KEY_STEM);
    bool flat = true;

    for (i = 0; i < l->n && flat; i++)
        flat = l->how->labels || !first_part(l->m[i].path + at);
    for (i = 0; i < l->n; i++) {
        struct member *m = &l->m[i];
        size_t n = first_part(m->path + at);
        struct source_file *f;

        if (!flat && !n) {
            l->src->ignored++;
            continue;
        }
        f = put_image(l, folder, m->path + at, m->offset, m->size);
        if (!flat) {
            m->path[at + n - 1] = 0;
            f->label = label_of_name(l->src, m->path + at);
        }
        /* the list has its name */
        free(m->path);
        m->path = NULL;
    }
    note("%s: a tar of %zu images%s", l->name, l->src->n - before,
         flat ? "" : " in class folders");
}

static int take_members(struct listing *l)
{
    size_t at;

    if (l->tars) {
        l->src->ignored += l->n;
        note("%s: a tar of %zu tars, one for each class, with %zu images",
             l->name, l->tars, l->images);
        return 0;
    }
    if (are_samples(l))
        return take_samples(l);
    at = common_folders(l);
    if (choose_split(l, &at) < 0)
        return -1;
    take_files(l, at);
    return 0;
}

/* ---- the archive */

static int read_gz(void *arg, void *p, size_t n)
{
    return gz_read(arg, p, n);
}

static int skip_gz(void *arg, uint64_t n)
{
    return gz_skip(arg, n);
}

static int list_gz(struct listing *l)
{
    struct gz *g = gz_open(l->name);
    struct tar_input in = {read_gz, skip_gz, g};
    struct tar_reader t;
    int r;

    if (!g)
        return -1;
    tar_reader_input(&t, &in, l->name, UINT64_MAX);
    r = list_members(l, &t);
    /* to the end: there is the checksum */
    if (r == 0)
        r = gz_finish(g);
    tar_reader_release(&t);
    gz_close(g);
    return r;
}

static int list_plain(struct listing *l, int fd)
{
    struct tar_reader t;
    int r;

    tar_reader_init(&t, fd, l->name);
    r = list_members(l, &t);
    tar_reader_release(&t);
    return r;
}

int source_tar(struct source *src, const char *path,
               const struct source_how *how)
{
    struct listing l = {.src = src, .how = how, .name = path};
    int fd = open(path, O_RDONLY | O_CLOEXEC), r;
    char head[2] = {0};
    bool gz;

    if (fd < 0)
        return err_sys(ERR_NOINPUT, "%s: open", path);
    gz = pread(fd, head, 2, 0) == 2 && gz_sniff(head, 2);
    if (!memcmp(head, "\xff\xd8", 2) || !memcmp(head, "\x89P", 2)) {
        close(fd);
        return err_set(ERR_DATA, "%s: an image: give its folder, or a tar",
                       path);
    }
    l.archive = (int32_t)src->n_archives++;
    src->archive =
        xreallocarray(src->archive, src->n_archives, sizeof(*src->archive));
    src->archive[l.archive] =
        (struct source_archive){.path = xstrdup(path), .fd = gz ? -1 : fd};
    if (gz) {
        close(fd);
        src->sequential = true;
    }
    r = gz ? list_gz(&l) : list_plain(&l, fd);
    if (r == 0)
        r = take_members(&l);
    for (size_t i = 0; i < l.n; i++) {
        free(l.m[i].path);
        free(l.m[i].cls);
    }
    free(l.m);
    return r;
}
