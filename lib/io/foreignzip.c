/*
 * The zip of torch.save: NAME/data.pkl and a member NAME/data/KEY for each
 * storage, none of them compressed.
 */
#include "io/foreign_private.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

#define PICKLE "data.pkl"
#define PICKLE_MAX ((uint64_t)1 << 30)

static int zip_failed(struct foreign_file *ff, const char *what)
{
    return err_set(ERR_DATA, "%s: %s", what, zip_strerror(ff->zip));
}

/* Number and size of a member that can be read as it lies there. */
static int find(struct foreign_file *ff, const char *name, int64_t *member,
                uint64_t *size)
{
    zip_stat_t st;

    *member = zip_name_locate(ff->zip, name, 0);
    if (*member < 0)
        return err_set(ERR_DATA, "no %s in the zip", name);
    if (zip_stat_index(ff->zip, (zip_uint64_t)*member, 0, &st) < 0)
        return zip_failed(ff, name);
    if (st.encryption_method != ZIP_EM_NONE)
        return err_set(ERR_DATA, "%s: encrypted", name);
    if (st.comp_method != ZIP_CM_STORE)
        return err_set(ERR_DATA, "%s: compressed, torch.save does not", name);
    /* more than there is would be a lie of the directory */
    if (st.size > ff->size)
        return err_set(ERR_DATA, "%s: larger than the file", name);
    *size = st.size;
    return 0;
}

/* All of a member, its check sum verified; malloc or NULL. */
static void *load(struct foreign_file *ff, int64_t member, uint64_t size)
{
    const char *name = zip_get_name(ff->zip, (zip_uint64_t)member, 0);
    zip_file_t *in = zip_fopen_index(ff->zip, (zip_uint64_t)member, 0);
    char *p = NULL, end;

    if (in) {
        p = xmalloc((size_t)size + 1);
        /* the sum is compared where the member ends */
        if (zip_fread(in, p, size) != (zip_int64_t)size ||
            zip_fread(in, &end, 1) != 0) {
            err_set(ERR_DATA, "%s: %s", name, zip_file_strerror(in));
            free(p);
            p = NULL;
        }
        zip_fclose(in);
    } else {
        (void)zip_failed(ff, name);
    }
    return p;
}

const void *foreign_zip_bytes(struct foreign_file *ff, int storage)
{
    const struct foreign_storage *s = &ff->storage[storage];

    if (ff->loaded_number != storage) {
        free(ff->loaded);
        ff->loaded = load(ff, s->member, (uint64_t)s->n * dtype_size(s->dtype));
        ff->loaded_number = ff->loaded ? storage : -1;
    }
    return ff->loaded;
}

static int persistent(struct foreign_file *ff, const struct pickle_value *id,
                      struct foreign_tensor *t)
{
    char key[FOREIGN_KEY], *name;
    bool fresh;
    int number = foreign_storage_of(ff, id, &fresh, key), r = 0;
    struct foreign_storage *s;
    uint64_t size;

    if (number < 0)
        return -1;
    s = &ff->storage[number];
    if (fresh) {
        name = xstrfmt("%sdata/%s", ff->folder, key);
        r = find(ff, name, &s->member, &size);
        if (r == 0 && size != (uint64_t)s->n * dtype_size(s->dtype))
            r = err_set(ERR_DATA, "%s: %" PRIu64 " bytes for %" PRId64 " %s",
                        name, size, s->n, dtype_name(s->dtype));
        free(name);
    }
    if (r == 0 && t)
        foreign_whole(ff, number, t);
    return r < 0 ? -1 : number;
}

/* Read every storage once, for its check sum. */
static int settle(struct foreign_file *ff)
{
    for (int i = 0; i < ff->n_storages; i++)
        if (ff->storage[i].member >= 0 && !foreign_zip_bytes(ff, i))
            return -1;
    return 0;
}

/* The folder of data.pkl: the one of the first. */
static int find_folder(struct foreign_file *ff)
{
    zip_int64_t i, n = zip_get_num_entries(ff->zip, 0);

    for (i = 0; i < n; i++) {
        const char *name = zip_get_name(ff->zip, (zip_uint64_t)i, 0);
        const char *slash = name ? strchr(name, '/') : NULL;

        if (slash && strcmp(slash + 1, PICKLE) == 0) {
            ff->folder = xstrfmt("%.*s", (int)(slash + 1 - name), name);
            return 0;
        }
    }
    return err_set(ERR_DATA,
                   "a zip without a NAME/" PICKLE " is none of torch.save");
}

/* "little", where it is said at all. */
static int check_order(struct foreign_file *ff)
{
    char *name = xstrfmt("%sbyteorder", ff->folder), *text = NULL;
    int64_t member;
    uint64_t size;
    int r = 0;

    if (zip_name_locate(ff->zip, name, 0) >= 0) {
        r = find(ff, name, &member, &size);
        text = r == 0 ? load(ff, member, size) : NULL;
        if (!text)
            r = -1;
        else if (size != 6 || memcmp(text, "little", 6) != 0)
            r = err_set(ERR_DATA, "written by a big-endian machine");
    }
    free(text);
    free(name);
    return r;
}

static int read_pickle(struct foreign_file *ff)
{
    char *name = xstrfmt("%s" PICKLE, ff->folder);
    int64_t member;
    uint64_t size;
    size_t used;
    int r = find(ff, name, &member, &size);

    if (r == 0 && size > PICKLE_MAX)
        r = err_set(ERR_DATA, "%s: over 1 GiB", name);
    if (r == 0) {
        ff->pickle_bytes = load(ff, member, size);
        r = ff->pickle_bytes
                ? pickle_parse(&ff->pickle, ff->pickle_bytes, (size_t)size,
                               foreign_globals, &used)
                : -1;
        if (r == 0 && used != size)
            r = err_set(ERR_DATA, "%" PRIu64 " bytes after the pickle",
                        size - used);
        if (r < 0)
            err_wrap("%s", name);
    }
    free(name);
    return r;
}

int foreign_zip_unpack(struct foreign_file *ff)
{
    zip_error_t e;
    zip_source_t *src;

    zip_error_init(&e);
    src = zip_source_buffer_create(ff->bytes, ff->size, 0, &e);
    ff->zip = src ? zip_open_from_source(src, ZIP_RDONLY, &e) : NULL;
    if (!ff->zip) {
        err_set(ERR_DATA, "zip: %s", zip_error_strerror(&e));
        zip_source_free(src);
        zip_error_fini(&e);
        return -1;
    }
    zip_error_fini(&e);
    ff->persistent = persistent;
    ff->settle = settle;
    if (find_folder(ff) < 0 || check_order(ff) < 0)
        return -1;
    return read_pickle(ff);
}

void foreign_zip_repack(struct foreign_file *ff)
{
    if (ff->zip)
        zip_discard(ff->zip);
    free(ff->pickle_bytes);
    free(ff->folder);
    free(ff->loaded);
}
