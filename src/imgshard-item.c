/* One image of pack as the members of a sample. */
#include "imgshard-item.h"
#include "io/digest.h"
#include "io/tar.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A failure that is the file's fault is kept. */
static int bad(struct item *it)
{
    if (err_code() != ERR_DATA)
        return -1;
    it->why = xstrdup(err_text());
    return 0;
}

int item_read(struct item *it, struct source *src)
{
    buf_reset(&it->image);
    buf_reset(&it->json);
    return source_read(src, it->number, &it->image, &it->json) < 0 ? bad(it)
                                                                   : 0;
}

/* A member behind what the item has. */
static int add_member(struct item *it, const char *ext, const void *p, size_t n)
{
    struct buf *path = &it->path[it->parts];

    buf_reset(path);
    buf_add(path, it->key.data, it->key.len);
    buf_addch(path, '.');
    buf_addstr(path, ext);
    if (tar_member(&it->tar, path->data, p, n) < 0)
        return -1;
    it->part[it->parts++] = (struct shard_part){
        ext, path->data, it->tar.len - n - tar_padding(n), n};
    return 0;
}

/* The annotation as a member. */
static int add_json(struct item *it)
{
    struct shard_row *row = &it->row;

    if (!it->json.len)
        return 0;
    if (add_member(it, "json", it->json.data, it->json.len) < 0)
        return -1;
    row->annot_offset = it->part[it->parts - 1].offset;
    row->annot_size = (uint32_t)it->json.len;
    row->annot_crc32 = digest_crc32(0, it->json.data, it->json.len);
    return 0;
}

/* In byte order of the extensions: cls, jpg, json, png, ppm. */
static int add_members(struct item *it)
{
    bool last = !(it->row.flags & SHARD_JPEG); /* behind the json */
    char label[16];

    snprintf(label, sizeof(label), "%ld", (long)it->row.label);
    if (it->row.label >= 0 && add_member(it, "cls", label, strlen(label)) < 0)
        return -1;
    if (last && add_json(it) < 0)
        return -1;
    if (add_member(it, shard_ext(it->row.flags), it->image.data,
                   it->image.len) < 0)
        return -1;
    it->row.offset = it->part[it->parts - 1].offset;
    return last ? 0 : add_json(it);
}

/* Of a COCO image: its text, and whether it speaks of this file. */
static int annotate(struct item *it, const struct annot *a)
{
    struct shard_row *row = &it->row;

    if (annot_fit(a, it->image.data, it->image.len, row) < 0)
        return -1;
    annot_text(a, &it->json);
    if (it->json.len > ANNOT_TEXT_MAX)
        return err_set(ERR_DATA, "annotation: %zu bytes: over 1 MiB",
                       it->json.len);
    return 0;
}

int item_make(struct item *it, struct item_tools *t, const struct item_how *how)
{
    const struct annot *a = source_annot(it->src, it->number);
    struct shard_row *row = &it->row;
    bool exif = how->exif;

    buf_reset(&it->tar);
    buf_reset(&it->key);
    it->parts = 0;
    if (it->why)
        return 0;
    source_key(it->src, it->number, &it->key);
    *row = (struct shard_row){.key = it->key.data,
                              .label = it->src->file[it->number].label};
    /* made into pixels it is decoded whole anyway */
    if (probe_image(t->decoder, how->raw ? PROBE_HEADER : how->check,
                    it->image.data ? it->image.data : "", it->image.len,
                    row) < 0)
        return bad(it);
    /* boxes are those of the image as it is seen: its orientation stays */
    exif |= a && (row->flags & SHARD_ROTATED);
    if (how->rows && (row->flags & SHARD_JPEG) &&
        rows_make(&it->image, &it->spare, exif, row) < 0)
        return bad(it);
    if (a && annotate(it, a) < 0)
        return bad(it);
    if (how->raw && raw_make(t, how->raw, &it->image, &it->spare, row) < 0)
        return bad(it);
    row->size = (uint32_t)it->image.len;
    row->crc32 = digest_crc32(0, it->image.data, it->image.len);
    return add_members(it) < 0 ? bad(it) : 0;
}

static void item_release(struct item *it)
{
    buf_release(&it->image);
    buf_release(&it->json);
    buf_release(&it->tar);
    buf_release(&it->spare);
    buf_release(&it->key);
    for (int i = 0; i < 3; i++)
        buf_release(&it->path[i]);
    free(it->why);
    *it = (struct item){0};
}

bool load_add(struct load *l, const struct source *src, size_t number)
{
    struct item *it = &l->item[l->n];

    if (l->n == LOAD_FILES || l->bytes >= LOAD_BYTES)
        return false;
    it->number = number;
    it->src = src;
    l->bytes += source_size(src, number);
    l->n++;
    return true;
}

void load_reset(struct load *l)
{
    size_t kept = 0;

    for (int i = 0; i < LOAD_FILES; i++)
        kept +=
            l->item[i].image.cap + l->item[i].tar.cap + l->item[i].spare.cap;
    for (int i = 0; i < LOAD_FILES && kept > 4 * LOAD_BYTES; i++)
        item_release(&l->item[i]);
    l->n = 0;
    l->bytes = 0;
}

void load_release(struct load *l)
{
    for (int i = 0; i < LOAD_FILES; i++)
        item_release(&l->item[i]);
}
