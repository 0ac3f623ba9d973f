/* The one file that knows libjpeg-turbo. Facts: its libjpeg.txt. */
#include "vision/jpeg.h"

#include "vision/jpeg_scan.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
/* after jpeglib.h, which it needs */
#include <jerror.h>

#ifndef JCS_EXTENSIONS
#    error "libjpeg-turbo 2.1 or newer is needed"
#endif

/* Columns of a region decoded on both sides of it: one chroma sample, which
 * fancy upsampling looks at (jdsample.c). */
#define MARGIN 2
#define ROWS_AT_ONCE 16
#define SINK_ROOM 65536 /* bytes of output at once, at least */
#define MEMORY_MIB 512  /* for the coefficients of files of many scans */

/* Error manager of either direction: where to go and with what sentence. */
struct trap {
    struct jpeg_error_mgr mgr; /* first: libjpeg hands this address back */
    jmp_buf back;
    char text[JMSG_LENGTH_MAX];
    bool cut;  /* the source ran out of bytes */
    bool done; /* all rows are there: it may */
    bool over; /* and it did */
    bool strict;
};

struct jpeg_decoder {
    struct jpeg_decompress_struct c;
    struct trap trap;
    struct jpeg_progress_mgr progress;
    bool strict;
    const void *file; /* of the image begun */
    size_t size;
    struct jpeg_info info;
    bool open;  /* the object below stands behind its header */
    bool exif;  /* keep APP1 for the writer */
    bool adobe; /* keep APP14 for it */
    struct jpeg_scan *scan;
    bool plain;   /* do without it */
    bool scanned; /* it did the last region */
    uint8_t *pixels;
    size_t cap;
};

static void on_error(j_common_ptr c)
{
    struct trap *t = (struct trap *)c->err;

    t->mgr.format_message(c, t->text);
    longjmp(t->back, 1);
}

/* Warnings are counted; data that end too soon are an error. */
static void on_message(j_common_ptr c, int level)
{
    struct trap *t = (struct trap *)c->err;

    if (level >= 0)
        return;
    t->mgr.num_warnings++;
    if (t->mgr.msg_code == JWRN_JPEG_EOF) {
        t->over = t->done && !t->strict;
        t->cut = !t->over;
    }
    if (t->over)
        longjmp(t->back, 1);
    if (t->cut || t->strict)
        on_error(c);
}

static void on_output(j_common_ptr c)
{
    (void)c;
}

/* Called now and then while a file of many scans is read. */
static void on_progress(j_common_ptr c)
{
    struct jpeg_decompress_struct *d = (struct jpeg_decompress_struct *)c;
    struct trap *t = (struct trap *)c->err;

    if (d->input_scan_number <= JPEG_MAX_SCANS)
        return;
    snprintf(t->text, sizeof(t->text), "over %d scans", JPEG_MAX_SCANS);
    longjmp(t->back, 1);
}

static struct jpeg_error_mgr *trap_init(struct trap *t)
{
    jpeg_std_error(&t->mgr);
    t->mgr.error_exit = on_error;
    t->mgr.emit_message = on_message;
    t->mgr.output_message = on_output;
    return &t->mgr;
}

struct jpeg_decoder *jpeg_decoder_new(void)
{
    struct jpeg_decoder *d = xcalloc(1, sizeof(*d));

    d->c.err = trap_init(&d->trap);
    d->progress.progress_monitor = on_progress;
    d->scan = jpeg_scan_new();
    return d;
}

void jpeg_decoder_free(struct jpeg_decoder *d)
{
    if (!d)
        return;
    jpeg_destroy_decompress(&d->c);
    jpeg_scan_free(d->scan);
    free(d->pixels);
    free(d);
}

void jpeg_decoder_strict(struct jpeg_decoder *d, bool strict)
{
    d->strict = strict;
}

bool jpeg_decoder_use(struct jpeg_decoder *d, const char *set)
{
    d->plain = !strcmp(set, "libjpeg");
    return d->plain || jpeg_scan_use(d->scan, set);
}

bool jpeg_scanned(const struct jpeg_decoder *d)
{
    return d->scanned;
}

long jpeg_warnings(const struct jpeg_decoder *d)
{
    return d->trap.mgr.num_warnings;
}

/* Give up the image; the object stays usable. */
static int fail(struct jpeg_decoder *d)
{
    jpeg_abort_decompress(&d->c);
    if (d->trap.cut)
        return err_set(ERR_DATA, "jpeg: cut off: the data end too soon");
    if (d->trap.mgr.msg_code == JERR_NO_BACKING_STORE)
        return err_set(ERR_DATA,
                       "jpeg: size %dx%d, %d components in many scans: over "
                       "%d MiB to decode",
                       d->info.width, d->info.height, d->info.components,
                       MEMORY_MIB);
    return err_set(ERR_DATA, "jpeg: %s", d->trap.text);
}

static void open_image(struct jpeg_decoder *d, const void *p, size_t n)
{
    struct jpeg_decompress_struct *c = &d->c;

    /*
     * A new object each time: an old one keeps its quantisation and Huffman
     * tables, and an image without its own would be decoded with those of
     * whatever image this thread had before.
     */
    jpeg_destroy_decompress(c);
    jpeg_create_decompress(c);
    d->trap.done = d->trap.over = false;
    c->mem->max_memory_to_use = (long)MEMORY_MIB << 20;
    c->progress = &d->progress;
    jpeg_mem_src(c, p, n);
    if (d->exif)
        jpeg_save_markers(c, JPEG_APP0 + 1, 0xffff);
    if (d->adobe)
        jpeg_save_markers(c, JPEG_APP0 + 14, 0xffff);
    (void)jpeg_read_header(c, TRUE);
    c->dct_method = JDCT_ISLOW;
    c->do_fancy_upsampling = TRUE;
    c->scale_num = c->scale_denom = 1;
    c->out_color_space = c->num_components == 4 ? JCS_CMYK : JCS_EXT_RGBX;
}

int jpeg_begin(struct jpeg_decoder *d, const void *p, size_t n, int *width,
               int *height)
{
    struct jpeg_info *info = &d->info;

    /* our own walk first: it holds the limits before anything is allocated */
    if (jpeg_probe(p, n, info) < 0)
        return -1;
    d->file = p;
    d->size = n;
    d->trap.cut = d->scanned = false;
    d->trap.strict = d->strict;
    if (setjmp(d->trap.back))
        return fail(d);
    open_image(d, p, n);
    if ((int)d->c.image_width != info->width ||
        (int)d->c.image_height != info->height) {
        jpeg_abort_decompress(&d->c);
        return err_set(ERR_DATA, "jpeg: two sizes in one file");
    }
    d->open = true;
    *width = info->width;
    *height = info->height;
    return 0;
}

/* t = a*b/255, rounded, as Pillow's MULDIV255. */
static int mul255(int a, int b)
{
    int t = a * b + 128;

    return ((t >> 8) + t) >> 8;
}

/*
 * Inverted CMYK to RGB in place (python-pillow/Pillow:
 * src/libImaging/Convert.c cmyk2rgb). The samples are as in the file, so that
 * k here is Pillow's 255-K. mul255 never exceeds k: no clipping is needed.
 */
static void cmyk_to_rgb(uint8_t *p, size_t n)
{
    for (; n; n--, p += 4) {
        int k = p[3];

        p[0] = (uint8_t)(k - mul255(255 - p[0], k));
        p[1] = (uint8_t)(k - mul255(255 - p[1], k));
        p[2] = (uint8_t)(k - mul255(255 - p[2], k));
    }
}

/*
 * Lacks the file some of the low frequencies of its blocks? Then they are
 * smoothed by looking at other blocks (jdcoefct.c smoothing_ok), and a region
 * comes out right only as a part of the whole.
 */
static bool is_smoothed(const struct jpeg_decompress_struct *c)
{
    int i, k;

    for (i = 0; c->progressive_mode && i < c->num_components; i++)
        for (k = 1; k < 10; k++)
            if (c->coef_bits[i][k])
                return true;
    return false;
}

/* Pass over n rows, decoded or not. */
static void skip_rows(struct jpeg_decompress_struct *c, JSAMPROW scratch,
                      JDIMENSION n, bool decode)
{
    if (n && !decode)
        (void)jpeg_skip_scanlines(c, n);
    for (; n && decode; n--)
        (void)jpeg_read_scanlines(c, &scratch, 1);
}

/* Memory for n bytes of pixels. */
static void room(struct jpeg_decoder *d, size_t n)
{
    if (n <= d->cap)
        return;
    free(d->pixels);
    d->pixels = xmalloc(n);
    d->cap = n;
}

/*
 * Decode region r; the column of the first pixel of a row goes to *left. To the
 * end of the file, if that is wanted: an error behind the last row makes Pillow
 * refuse an image too, while the lack of an end marker does not.
 */
static void read_region(struct jpeg_decoder *d, const struct rect *r,
                        bool to_end, JDIMENSION *left, size_t *stride)
{
    struct jpeg_decompress_struct *c = &d->c;
    JSAMPROW rows[ROWS_AT_ONCE];
    JDIMENSION x0 = 0, x1, wide, y, k;
    bool smoothed;

    (void)jpeg_start_decompress(c);
    smoothed = is_smoothed(c);
    if (!smoothed && r->w < (int)(c->output_width * 0.95)) {
        x0 = r->x > MARGIN ? (JDIMENSION)(r->x - MARGIN) : 0;
        x1 = (JDIMENSION)(r->x + r->w + MARGIN);
        wide = (x1 < c->output_width ? x1 : c->output_width) - x0;
        jpeg_crop_scanline(c, &x0, &wide);
    }
    *left = x0;
    *stride = (size_t)c->output_width * 4;
    room(d, *stride * (size_t)r->h);
    skip_rows(c, d->pixels, (JDIMENSION)r->y, smoothed);
    for (y = 0; y < (JDIMENSION)r->h; y += k) {
        for (k = 0; k < ROWS_AT_ONCE && y + k < (JDIMENSION)r->h; k++)
            rows[k] = d->pixels + *stride * (y + k);
        k = jpeg_read_scanlines(c, rows, k);
    }
    d->trap.done = true;
    if (to_end)
        (void)jpeg_finish_decompress(c);
    else
        jpeg_abort_decompress(c); /* what is below is never decoded */
}

/* read_region with its failures caught. */
static int try_region(struct jpeg_decoder *d, const struct rect *r, bool to_end,
                      JDIMENSION *left, size_t *stride)
{
    if (setjmp(d->trap.back)) {
        if (!d->trap.over)
            return fail(d);
        jpeg_abort_decompress(&d->c);
        return 0;
    }
    if (!d->open)
        open_image(d, d->file, d->size);
    read_region(d, r, to_end, left, stride);
    return 0;
}

/* The codes of table number i, which a file may name without having it. */
static bool codes(JHUFF_TBL *const *table, int i, const uint8_t **bits,
                  const uint8_t **symbols)
{
    if (i < 0 || i >= NUM_HUFF_TBLS || !table[i])
        return false;
    *bits = table[i]->bits;
    *symbols = table[i]->huffval;
    return true;
}

/* The header that libjpeg has read, if the scan is of the kind. */
static bool scan_head(const struct jpeg_decompress_struct *c,
                      struct jpeg_scan_head *f)
{
    int i;

    if (c->arith_code || c->progressive_mode || c->err->num_warnings ||
        c->comps_in_scan != c->num_components || c->Ss || c->Se != 63 ||
        c->Ah || c->Al ||
        c->jpeg_color_space !=
            (c->num_components == 1 ? JCS_GRAYSCALE : JCS_YCbCr))
        return false;
    *f = (struct jpeg_scan_head){.width = (int)c->image_width,
                                 .height = (int)c->image_height,
                                 .components = c->num_components,
                                 .restart = (int)c->restart_interval,
                                 .data = c->src->next_input_byte,
                                 .size = c->src->bytes_in_buffer};
    for (i = 0; i < c->num_components; i++) {
        const jpeg_component_info *q = c->cur_comp_info[i];
        struct jpeg_scan_part *p = &f->part[i];

        if (q != &c->comp_info[i] || q->quant_tbl_no < 0 ||
            q->quant_tbl_no >= NUM_QUANT_TBLS ||
            !c->quant_tbl_ptrs[q->quant_tbl_no] ||
            !codes(c->dc_huff_tbl_ptrs, q->dc_tbl_no, &p->dc_bits,
                   &p->dc_symbols) ||
            !codes(c->ac_huff_tbl_ptrs, q->ac_tbl_no, &p->ac_bits,
                   &p->ac_symbols))
            return false;
        p->h = q->h_samp_factor;
        p->v = q->v_samp_factor;
        p->quant = c->quant_tbl_ptrs[q->quant_tbl_no]->quantval;
    }
    return jpeg_scan_takes(f);
}

/* Without libjpeg, if the image begun is one of most and has no damage. */
static bool try_scan(struct jpeg_decoder *d, const struct rect *r,
                     JDIMENSION *left, size_t *stride)
{
    struct jpeg_scan_head head;

    if (d->plain || !scan_head(&d->c, &head))
        return false;
    *left = (JDIMENSION)r->x;
    *stride = (size_t)r->w * 4;
    room(d, *stride * (size_t)r->h + JPEG_SCAN_ROOM);
    return jpeg_scan_region(d->scan, &head, r, d->pixels, *stride);
}

int jpeg_region(struct jpeg_decoder *d, const struct rect *r,
                struct jpeg_image *im)
{
    struct rect all = {0, 0, d->info.width, d->info.height};
    bool to_end = !r;
    JDIMENSION left;
    int y;

    if (!r)
        r = &all;
    if (!rect_inside(r, all.w, all.h))
        BUG("region %d,%d %dx%d outside %dx%d", r->x, r->y, r->w, r->h, all.w,
            all.h);
    d->scanned = !to_end && try_scan(d, r, &left, &im->stride);
    if (!d->scanned && try_region(d, r, to_end, &left, &im->stride) < 0)
        return -1;
    im->pixels = d->pixels + 4 * ((size_t)r->x - left);
    im->width = r->w;
    im->height = r->h;
    if (d->info.components == 4)
        for (y = 0; y < r->h; y++)
            cmyk_to_rgb(im->pixels + im->stride * (size_t)y, (size_t)r->w);
    return 0;
}

int jpeg_check(struct jpeg_decoder *d, const void *p, size_t n,
               struct jpeg_info *info)
{
    struct jpeg_image im;
    int w, h;

    if (jpeg_probe(p, n, info) < 0 || jpeg_begin(d, p, n, &w, &h) < 0 ||
        jpeg_region(d, NULL, &im) < 0)
        return -1;
    if (jpeg_warnings(d))
        info->flags |= JPEG_WARNED;
    return 0;
}

/* ---- writing */

/* One scan for each component. */
static const jpeg_scan_info one_each[] = {{1, {0}, 0, 63, 0, 0},
                                          {1, {1}, 0, 63, 0, 0},
                                          {1, {2}, 0, 63, 0, 0},
                                          {1, {3}, 0, 63, 0, 0}};

static void set_up(struct jpeg_compress_struct *c, int w, int h,
                   const struct jpeg_how *how)
{
    int ratio = how->full_chroma ? 1 : 2;

    c->image_width = (JDIMENSION)w;
    c->image_height = (JDIMENSION)h;
    c->input_components = how->grey ? 1 : how->cmyk ? 4 : 3;
    c->in_color_space = how->grey   ? JCS_GRAYSCALE
                        : how->cmyk ? JCS_CMYK
                                    : JCS_RGB;
    jpeg_set_defaults(c);
    jpeg_set_quality(c, how->quality, TRUE);
    c->dct_method = JDCT_ISLOW;
    c->restart_in_rows = how->restart_rows;
    if (!how->grey) {
        c->comp_info[0].h_samp_factor = how->across ? how->across : ratio;
        c->comp_info[0].v_samp_factor = how->down ? how->down : ratio;
    }
    if (how->apart) {
        c->scan_info = one_each;
        c->num_scans = c->num_components;
    }
    if (how->progressive)
        jpeg_simple_progression(c);
}

/* Where libjpeg's output goes: the end of a buffer. Its own destination in
 * memory frees what the caller still has the address of, after an error. */
struct sink {
    struct jpeg_destination_mgr m; /* first: libjpeg knows its address */
    struct buf *out;
    size_t start; /* what was there before */
};

static void sink_offer(struct sink *s)
{
    s->m.next_output_byte = (JOCTET *)buf_reserve(s->out, SINK_ROOM);
    s->m.free_in_buffer = s->out->cap - s->out->len - 1;
}

static void sink_begin(j_compress_ptr c)
{
    sink_offer((struct sink *)c->dest);
}

static boolean sink_full(j_compress_ptr c)
{
    struct sink *s = (struct sink *)c->dest;

    s->out->len = s->out->cap - 1; /* all that was offered */
    sink_offer(s);
    return TRUE;
}

static void sink_end(j_compress_ptr c)
{
    struct sink *s = (struct sink *)c->dest;

    s->out->len = s->out->cap - 1 - s->m.free_in_buffer;
    s->out->data[s->out->len] = 0;
}

static void sink_init(struct sink *s, struct buf *out)
{
    *s = (struct sink){.out = out, .start = out->len};
    s->m.init_destination = sink_begin;
    s->m.empty_output_buffer = sink_full;
    s->m.term_destination = sink_end;
}

/* Take back what was written. */
static void sink_undo(struct sink *s)
{
    s->out->len = s->start;
    if (s->out->data)
        s->out->data[s->start] = 0;
}

static void write_rows(struct jpeg_compress_struct *c, const uint8_t *pixels)
{
    size_t stride = (size_t)c->image_width * (size_t)c->input_components;
    JDIMENSION y;

    jpeg_start_compress(c, TRUE);
    for (y = 0; y < c->image_height; y++) {
        /* libjpeg's row type is not const; it only reads */
        JSAMPROW row = (JSAMPROW)(uintptr_t)(pixels + stride * y);

        (void)jpeg_write_scanlines(c, &row, 1);
    }
    jpeg_finish_compress(c);
}

int jpeg_encode(struct buf *out, const uint8_t *pixels, int w, int h,
                const struct jpeg_how *how)
{
    struct jpeg_compress_struct c = {0};
    struct trap trap = {0};
    struct sink sink;

    sink_init(&sink, out);
    c.err = trap_init(&trap);
    if (setjmp(trap.back)) {
        jpeg_destroy_compress(&c);
        sink_undo(&sink);
        return err_set(ERR_DATA, "jpeg: writing %dx%d: %s", w, h, trap.text);
    }
    jpeg_create_compress(&c);
    c.dest = &sink.m;
    set_up(&c, w, h, how);
    write_rows(&c, pixels);
    jpeg_destroy_compress(&c);
    return 0;
}

/* ---- the same image in another file */

/* A file that is being written from coefficients. */
struct copy {
    struct jpeg_compress_struct c;
    struct sink sink;
};

/* All of the file begun by d, written to k; both share d's trap. */
static void copy_image(struct jpeg_decoder *d, struct copy *k)
{
    jvirt_barray_ptr *blocks = jpeg_read_coefficients(&d->c);
    jpeg_saved_marker_ptr m;

    jpeg_create_compress(&k->c);
    k->c.dest = &k->sink.m;
    jpeg_copy_critical_parameters(&d->c, &k->c);
    k->c.optimize_coding = TRUE;
    k->c.restart_in_rows = 1;
    k->c.write_JFIF_header = d->c.saw_JFIF_marker;
    k->c.write_Adobe_marker = FALSE; /* it is copied, version and all */
    jpeg_write_coefficients(&k->c, blocks);
    for (m = d->c.marker_list; m; m = m->next)
        if (m->marker == JPEG_APP0 + 1 ||
            (m->data_length >= 12 && !memcmp(m->data, "Adobe", 5)))
            jpeg_write_marker(&k->c, m->marker, m->data, m->data_length);
    jpeg_finish_compress(&k->c);
    jpeg_abort_decompress(&d->c);
}

static bool try_copy(struct jpeg_decoder *d, struct copy *k)
{
    /* what is damaged may look well afterwards: it is not touched */
    d->trap.strict = true;
    if (setjmp(d->trap.back)) {
        jpeg_abort_decompress(&d->c);
        return false;
    }
    open_image(d, d->file, d->size);
    if (d->c.arith_code) {
        jpeg_abort_decompress(&d->c);
        return false;
    }
    copy_image(d, k);
    return true;
}

/* All samples of the file as libjpeg gives them, in d->pixels. */
static bool read_all(struct jpeg_decoder *d, const void *p, size_t n,
                     size_t *size)
{
    struct rect all = {0};
    JDIMENSION left;
    size_t stride;

    if (jpeg_begin(d, p, n, &all.w, &all.h) < 0 ||
        try_region(d, &all, true, &left, &stride) < 0)
        return false;
    *size = stride * (size_t)all.h;
    return true;
}

static bool same_pixels(struct jpeg_decoder *d, const void *p, size_t n,
                        const struct sink *s)
{
    size_t one, two;
    uint8_t *first;
    bool same;

    if (!read_all(d, p, n, &one))
        return false;
    first = d->pixels;
    d->pixels = NULL;
    d->cap = 0;
    same = read_all(d, s->out->data + s->start, s->out->len - s->start, &two) &&
           one == two && !memcmp(first, d->pixels, one);
    free(first);
    return same;
}

bool jpeg_to_rows(struct jpeg_decoder *d, const void *p, size_t n, bool exif,
                  struct buf *out)
{
    struct copy k = {0};
    int w, h;
    bool done;

    sink_init(&k.sink, out);
    k.c.err = &d->trap.mgr;
    if (jpeg_begin(d, p, n, &w, &h) < 0) {
        err_clear();
        return false;
    }
    d->adobe = true;
    d->exif = exif;
    done = try_copy(d, &k);
    d->adobe = d->exif = false;
    done = done && same_pixels(d, p, n, &k.sink);
    jpeg_destroy_compress(&k.c);
    if (!done) {
        sink_undo(&k.sink);
        err_clear();
    }
    return done;
}
