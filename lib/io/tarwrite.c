/* Writing: the one profile of ustar that we make. */
#include "io/tar_private.h"

#include <string.h>

#define SIZE_MAX_OCTAL ((1ULL << 33) - 1)

size_t tar_padding(uint64_t size)
{
    return (size_t)(-size % TAR_BLOCK);
}

static void put(unsigned char *block, size_t at, size_t len, const char *text)
{
    size_t n = strlen(text);

    memcpy(block + at, text, n < len ? n : len);
}

static void octal(unsigned char *field, int digits, uint64_t v)
{
    while (digits-- > 0) {
        field[digits] = (unsigned char)('0' + (v & 7));
        v >>= 3;
    }
}

static void fill_header(unsigned char *block, uint64_t size, char type)
{
    put(block, 100, 8, type == '0' ? "0000444" : "0000644");
    put(block, 108, 8, "0000000");
    put(block, 116, 8, "0000000");
    octal(block + TAR_SIZE, 11, size);
    put(block, 136, 12, "00000000000");
    block[TAR_TYPE] = (unsigned char)type;
    memcpy(block + TAR_MAGIC, "ustar\00000", 8);
    put(block, 329, 8, "0000000");
    put(block, 337, 8, "0000000");
    octal(block + TAR_CHECKSUM, 6, tar_checksum(block, NULL));
    block[TAR_TYPE - 1] = ' ';
}

static int check_components(const char *path)
{
    const char *p = path;
    size_t n;

    for (;; p += n + 1) {
        n = strcspn(p, "/");
        if (n == 0 || (n == 1 && p[0] == '.') ||
            (n == 2 && p[0] == '.' && p[1] == '.'))
            return err_set(ERR_DATA, "\"%s\": not a plain relative path", path);
        if (!p[n])
            return 0;
    }
}

/*
 * Where a path is cut into prefix and name: 0 if it fits without, its length if
 * ustar cannot hold it. The last slash that leaves a prefix which fits, as GNU
 * tar does it.
 */
static size_t where_to_cut(const char *path, size_t len)
{
    size_t cut = len < TAR_PREFIX_LEN + 1 ? len - 1 : TAR_PREFIX_LEN;

    if (len <= TAR_NAME_LEN)
        return 0;
    while (cut > 0 && path[cut] != '/')
        cut--;
    return cut == 0 || len - cut - 1 > TAR_NAME_LEN ? len : cut;
}

int tar_header(unsigned char block[TAR_BLOCK], const char *path, uint64_t size)
{
    size_t len = strlen(path), cut = where_to_cut(path, len);

    if (check_components(path) < 0)
        return -1;
    if (size > SIZE_MAX_OCTAL)
        return err_set(ERR_DATA, "\"%s\": 8 GiB or more", path);
    if (len > TAR_PATH_MAX)
        return err_set(ERR_DATA, "\"%s\": over 4096 bytes", path);
    memset(block, 0, TAR_BLOCK);
    if (cut == len)
        memcpy(block, path, TAR_NAME_LEN); /* for who knows no pax */
    else if (cut)
        memcpy(block, path + cut + 1, len - cut - 1);
    else
        memcpy(block, path, len);
    if (cut < len)
        memcpy(block + TAR_PREFIX, path, cut);
    fill_header(block, size, '0');
    return cut == len;
}

void tar_end(struct buf *b, uint64_t offset)
{
    size_t n = 2 * TAR_BLOCK;

    n += TAR_RECORD - 1 - (size_t)((offset + n - 1) % TAR_RECORD);
    buf_addfill(b, 0, n);
}

void tar_pax_record(struct buf *records, const char *key, const char *value)
{
    size_t rest = strlen(key) + strlen(value) + 3, len = rest, digits, v;

    /* the length counts its own digits */
    do {
        digits = 0;
        for (v = len; v > 0; v /= 10)
            digits++;
        v = rest + digits;
    } while (v != len && (len = v));
    buf_addf(records, "%zu %s=%s\n", len, key, value);
}

/* An extension header, type 'g' or 'x', with its records. */
static void add_pax(struct buf *b, const char *name, char type,
                    const struct buf *records)
{
    unsigned char block[TAR_BLOCK] = {0};

    put(block, 0, TAR_NAME_LEN, name);
    fill_header(block, records->len, type);
    buf_add(b, block, TAR_BLOCK);
    buf_add(b, records->data, records->len);
    buf_addfill(b, 0, tar_padding(records->len));
}

void tar_pax_global(struct buf *b, const struct buf *records)
{
    add_pax(b, "pax_global_header", 'g', records);
}

int tar_member(struct buf *b, const char *path, const void *p, size_t n)
{
    unsigned char block[TAR_BLOCK];
    struct buf record = BUF_INIT;
    int r = tar_header(block, path, n);

    if (r < 0)
        return -1;
    if (r > 0) {
        tar_pax_record(&record, "path", path);
        add_pax(b, "pax_header", 'x', &record);
        buf_release(&record);
    }
    buf_add(b, block, sizeof(block));
    buf_add(b, p, n);
    buf_addfill(b, 0, tar_padding(n));
    return 0;
}
