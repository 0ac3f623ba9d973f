/* What is in a tar of samples. */
#include "imgshard-scan.h"
#include "io/digest.h"
#include "io/tar.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLASSES_MAX 1000000

/* .cls: a decimal number with blanks around it; -1 if there is none. */
static int label_of(const struct tar_sample *s, int32_t *label)
{
    const struct tar_part *p = tar_sample_part(s, "cls");
    char *end;
    long v;

    *label = -1;
    if (!p)
        return 0;
    v = p->data.len ? strtol(p->data.data, &end, 10) : -1;
    if (v < 0 || v >= CLASSES_MAX || end == p->data.data ||
        end[strspn(end, " \t\r\n")])
        return err_set(ERR_DATA, "%s: not a class number", p->path);
    *label = (int32_t)v;
    return 0;
}

static const struct tar_part *image_of(const struct tar_sample *s)
{
    for (int i = 0; i < s->n; i++)
        if (image_sniff(s->part[i].data.data, s->part[i].data.len) !=
            IMAGE_NEITHER)
            return &s->part[i];
    return NULL;
}

/* Is the sample one for detection? Then row says so too. */
static int annotate(struct scan *sc, const struct tar_sample *s,
                    const struct tar_part *image, struct shard_row *row)
{
    const struct tar_part *p = tar_sample_part(s, "json");
    struct annot a = {0};
    int r = p && row->label < 0
                ? annot_parse(&a, p->data.data ? p->data.data : "", p->data.len)
                : err_set(ERR_DATA, "no annotation, or a class");

    if (r < 0) {
        if (!sc->why)
            sc->why = xstrfmt("%s: %s", s->key, err_text());
        err_clear();
        annot_release(&a);
        return 0;
    }
    sc->annotated++;
    for (size_t i = 0; i < a.n; i++)
        if (a.object[i].cat > sc->most)
            sc->most = a.object[i].cat;
    row->annot_offset = p->offset;
    row->annot_size = (uint32_t)p->data.len;
    row->annot_crc32 = digest_crc32(0, p->data.data, p->data.len);
    r = annot_fit(&a, image->data.data, image->data.len, row);
    annot_release(&a);
    return r;
}

static int add_row(struct scan *sc, const struct tar_sample *s,
                   enum probe_check check, struct image_decoder *d)
{
    const struct tar_part *image = image_of(s);
    struct shard_row row = {0};

    if (!image)
        return err_set(ERR_DATA, "%s: offset %llu: %s: no JPEG or PNG member",
                       sc->path, (unsigned long long)s->part[0].offset, s->key);
    if (label_of(s, &row.label) < 0 ||
        probe_image(d, check, image->data.data, image->data.len, &row) < 0 ||
        annotate(sc, s, image, &row) < 0)
        return err_wrap("%s: offset %llu: %s", sc->path,
                        (unsigned long long)image->offset, s->key);
    row.key = xstrdup(s->key);
    row.offset = image->offset;
    row.size = (uint32_t)image->data.len;
    row.crc32 = digest_crc32(0, image->data.data, image->data.len);
    if (sc->n == sc->cap) {
        sc->cap = sc->cap ? sc->cap * 2 : 256;
        sc->row = xreallocarray(sc->row, sc->cap, sizeof(*sc->row));
    }
    sc->row[sc->n++] = row;
    return 0;
}

static int scan_samples(struct scan *sc, struct tar_samples *t,
                        enum probe_check check, bool idx_only)
{
    struct image_decoder *d = image_decoder_new();
    struct tar_sample s = {0};
    int r;

    while ((r = tar_sample_next(t, &s)) > 0) {
        if (shard_idx_sample(&sc->idx, &s) < 0) {
            r = err_wrap("%s", sc->path);
            break;
        }
        if (!idx_only && add_row(sc, &s, check, d) < 0) {
            r = -1;
            break;
        }
    }
    if (r == 0 && sc->idx.n == 0)
        r = err_set(ERR_DATA, "%s: no samples in it", sc->path);
    if (r == 0 && !t->tar.ended)
        warn("%s: no end of archive", sc->path);
    tar_sample_release(&s);
    image_decoder_free(d);
    return r;
}

int scan_shard(struct scan *sc, enum probe_check check, bool idx_only)
{
    struct tar_samples t;
    int fd = open(sc->path, O_RDONLY | O_CLOEXEC), r;

    if (fd < 0)
        return err_sys(ERR_NOINPUT, "%s: open", sc->path);
    tar_samples_init(&t, fd, sc->path);
    r = scan_samples(sc, &t, check, idx_only);
    tar_samples_release(&t);
    close(fd);
    if (r < 0 || idx_only)
        return r;
    return digest_file(sc->path, &sc->sh.bytes, &sc->sh.crc32, sc->sh.sha256);
}

void scan_release(struct scan *sc)
{
    for (size_t k = 0; k < sc->n; k++)
        free((void *)(uintptr_t)sc->row[k].key);
    free(sc->row);
    free(sc->why);
    shard_idx_release(&sc->idx);
}
