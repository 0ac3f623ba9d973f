/*
 * Detection: shapes, choices and boxes against t/golden/detect.tsv (made by
 * make-detect.py beside it) and against the examples of coco-detector 4.2,
 * orientation, and whole batches.
 */
#include "lib/tap.h"

#include "io/digest.h"
#include "vision/batch.h"
#include "vision/detect.h"

#include <stdlib.h>

static const struct detect usual = {.n = 6,
                                    .length = {640, 672, 704, 736, 768, 800},
                                    .max = 1333,
                                    .flip = 0.5,
                                    .bgr = true};

/* ---- shapes and choices */

static void shape(int h, int w, int length, int want_h, int want_w)
{
    int oh, ow;

    detect_shape(w, h, length, 1333, &ow, &oh);
    ok(oh == want_h && ow == want_w, "%d x %d, %d: %d x %d", h, w, length, oh,
       ow);
}

static void shapes(void)
{
    int oh, ow;

    shape(480, 640, 640, 640, 853);
    shape(480, 640, 800, 800, 1067);
    shape(640, 480, 800, 1067, 800);
    shape(427, 640, 800, 800, 1199);
    shape(333, 640, 704, 694, 1333);
    shape(333, 640, 800, 694, 1333);
    shape(240, 640, 640, 500, 1333);
    shape(500, 500, 736, 736, 736);
    detect_shape(16384, 1, 800, 1333, &ow, &oh);
    is_int(oh, 0, "a line has no height left");
}

static void choices(void)
{
    struct detect range = usual;
    int count[6] = {0}, flips = 0, wrong = 0, least = 9999, most = 0, i, k;
    double chi = 0;

    for (i = 0; i < 6000; i++) {
        struct detect_plan p = detect_plan(&usual, 100, 100, 7, 1, (uint32_t)i);

        for (k = 0; k < 6 && usual.length[k] != p.w; k++)
            ;
        wrong += k == 6 || p.h != p.w;
        count[k % 6]++;
        flips += p.flip;
    }
    for (k = 0; k < 6; k++)
        chi += (count[k] - 1000.0) * (count[k] - 1000.0) / 1000.0;
    is_int(wrong, 0, "one of the lengths");
    ok(chi < 20.5, "each as often: chi-square %.1f of 5, below 20.5", chi);
    ok(flips > 2850 && flips < 3150, "%d of 6000 mirrored", flips);
    range.n = 2;
    range.length[0] = 100;
    range.length[1] = 103;
    range.range = true;
    for (i = 0; i < 100; i++) {
        struct detect_plan p = detect_plan(&range, 50, 60, 7, 1, (uint32_t)i);

        least = p.w < least ? p.w : least;
        most = p.w > most ? p.w : most;
    }
    ok(least == 100 && most == 103, "a range has both ends");
    range.length[0] = range.length[1] = 0;
    range.range = false;
    range.n = 1;
    ok(detect_plan(&range, 50, 60, 7, 1, 1).h == 60, "0: as it is");
}

/* ---- boxes */

static void box_line(char *line, int *lines, int *wrong)
{
    struct detect_plan p = {0};
    struct annot_object object = {.cat = 3, .area = 2.5};
    struct annot a = {.n = 1, .object = &object};
    struct detect_objects o = {0};
    double want[4];
    char *at;
    int i, off = 0;

    p.in_w = (int)strtol(line, &at, 10);
    p.in_h = (int)strtol(at, &at, 10);
    p.w = (int)strtol(at, &at, 10);
    p.h = (int)strtol(at, &at, 10);
    p.flip = strtol(at, &at, 10) != 0;
    for (i = 0; i < 4; i++)
        object.bbox[i] = strtod(at, &at);
    detect_boxes(&o, &a, &p, 5, false);
    (*lines)++;
    if (at[1] == '-' && at[2] == '\t') {
        *wrong += o.n != 0;
    } else {
        for (i = 0; i < 4; i++)
            want[i] = strtod(at, &at);
        for (i = 0; o.n == 1 && i < 4; i++)
            off += (double)o.box[i] != want[i];
        *wrong += o.n != 1 || off || o.image[0] != 5 || o.category[0] != 3;
    }
    detect_objects_release(&o);
}

static void plan_line(char *line, int *lines, int *wrong)
{
    unsigned long long v[8];
    struct detect_plan p;
    char *at = line;

    for (int i = 0; i < 8; i++)
        v[i] = strtoull(at, &at, 10);
    p = detect_plan(&usual, (int)v[3], (int)v[4], v[0], (uint32_t)v[1],
                    (uint32_t)v[2]);
    (*lines)++;
    *wrong += p.w != (int)v[5] || p.h != (int)v[6] || p.flip != (v[7] != 0);
}

static void golden(void)
{
    char *path = xstrfmt("%s/t/golden/detect.tsv", tap_env("TOP", "."));
    struct buf b = BUF_INIT;
    int plans = 0, boxes = 0, bad_plans = 0, bad_boxes = 0;
    char *line, *next;

    if (buf_read_file(&b, path, 1 << 20) < 0)
        die();
    for (line = b.data; *line; line = next) {
        next = line + strcspn(line, "\n");
        if (*next)
            *next++ = 0;
        if (!strncmp(line, "box\t", 4))
            box_line(line + 4, &boxes, &bad_boxes);
        else if (!strncmp(line, "plan\t", 5))
            plan_line(line + 5, &plans, &bad_plans);
    }
    ok(plans == 40 && !bad_plans, "%d choices, %d differ", plans, bad_plans);
    ok(boxes == 120 && !bad_boxes, "%d boxes, %d differ", boxes, bad_boxes);
    buf_release(&b);
    free(path);
}

static void crowds(void)
{
    struct annot_object object[] = {{.bbox = {1, 2, 3, 4}, .cat = 1},
                                    {.bbox = {2, 2, 3, 4}, .crowd = true},
                                    {.bbox = {3, 2, 3, 4}, .cat = 2}};
    struct annot a = {.n = 3, .object = object};
    struct detect_plan p = {10, 10, 10, 10, false};
    struct detect_objects o = {0}, all = {0};

    detect_boxes(&o, &a, &p, 0, false);
    is_int((long long)o.n, 2, "crowds are left out");
    detect_boxes(&o, &a, &p, 1, true);
    is_int((long long)o.n, 5, "or not");
    ok(o.crowd[3] == 1 && o.crowd[4] == 0 && o.image[3] == 1, "and marked");
    detect_append(&all, &o, 9);
    ok(all.n == 5 && all.image[0] == 9 && (double)all.box[17] == 2, "appended");
    detect_objects_release(&o);
    detect_objects_release(&all);
}

/* ---- orientation */

static void orientations(void)
{
    static const char *const want[] = {"cba/fed/",  "fed/cba/",  "def/abc/",
                                       "ad/be/cf/", "da/eb/fc/", "fc/eb/da/",
                                       "cf/be/ad/"};
    uint8_t pixel[32] = {0};
    struct buf scratch = BUF_INIT, text = BUF_INIT;
    int k, x, y;

    for (k = 0; k < 6; k++)
        pixel[16 * (k / 3) + 4 * (k % 3) + 1] = (uint8_t)('a' + k);
    for (k = 1; k <= 9; k++) {
        struct jpeg_image im = {pixel, 16, 3, 2};

        detect_upright(&im, k, &scratch);
        buf_reset(&text);
        for (y = 0; y < im.height; y++, buf_addch(&text, '/'))
            for (x = 0; x < im.width; x++)
                buf_addch(
                    &text,
                    (char)im.pixels[im.stride * (size_t)y + 4 * (size_t)x + 1]);
        is_str(text.data, k == 1 || k == 9 ? "abc/def/" : want[k - 2],
               "orientation %d", k);
    }
    buf_release(&scratch);
    buf_release(&text);
}

/* ---- batches */

#define FILES 12
#define ROWS 4

static struct buf file[FILES], text[FILES];
static int side[FILES][2]; /* height, width, upright */

/* A file of w x h; EXIF turns it when turn is not 1. */
static void make_file(int i, int w, int h, int turn)
{
    const struct jpeg_how how = {.quality = 90, .full_chroma = true};
    uint8_t exif[] = {0xff, 0xe1, 0, 34, 'E', 'x', 'i', 'f', 0, 0,
                      'M',  'M',  0, 42, 0,   0,   0,   8,   0, 1,
                      1,    0x12, 0, 3,  0,   0,   0,   1,   0, (uint8_t)turn,
                      0,    0,    0, 0,  0,   0};
    uint8_t *pixels = xmalloc((size_t)w * (size_t)h * 3);
    struct buf plain = BUF_INIT;
    struct annot_object o[] = {
        {.bbox = {1, 2, 10, 5 + i}, .area = 40, .id = 2 * i, .cat = i},
        {.bbox = {0, 0, 8, 8}, .area = 64, .id = 2 * i + 1, .crowd = true}};
    struct annot a = {.id = 100 + i, .w = w, .h = h, .n = 2, .object = o};

    for (size_t k = 0; k < (size_t)w * (size_t)h * 3; k++)
        pixels[k] = (uint8_t)(k / 3 * 5 + k % 3 * 80 + (size_t)i * 9);
    if (jpeg_encode(&plain, pixels, w, h, &how) < 0)
        die();
    buf_add(&file[i], plain.data, 2);
    if (turn != 1)
        buf_add(&file[i], exif, sizeof(exif));
    buf_add(&file[i], plain.data + 2, plain.len - 2);
    if (turn >= 5) {
        a.w = h;
        a.h = w;
    }
    side[i][0] = a.h;
    side[i][1] = a.w;
    annot_text(&a, &text[i]);
    buf_release(&plain);
    free(pixels);
}

struct walk {
    int64_t pos, broken;
    uint32_t crc;
    int frames, wrong, turned;
    bool crowd;
};

static int next_frame(void *arg, struct batch_head *h)
{
    struct walk *w = arg;

    if (w->pos >= FILES)
        return 0;
    h->pos = w->pos;
    h->n = w->pos + ROWS > FILES - 1 ? FILES - 1 - w->pos : ROWS;
    h->order = "test";
    w->pos += ROWS;
    return 1;
}

static int next_row(void *arg, int64_t j, struct batch_row *r)
{
    struct walk *w = arg;
    int64_t i = r->pos;

    (void)j;
    r->index = i;
    r->data = file[i].data;
    r->size = file[i].len;
    buf_reset(&r->annot);
    if (i == w->broken)
        buf_addstr(&r->annot, "{\"ann\":[],\"h\":7,\"id\":1,\"w\":9}");
    else
        buf_add(&r->annot, text[i].data, text[i].len);
    return 0;
}

static void name(void *arg, const struct batch_row *r, struct buf *b)
{
    (void)arg;
    buf_addf(b, "file %d", (int)r->index);
}

static int check_row(const struct walk *w, const struct batch_frame *f,
                     int64_t j, size_t *box)
{
    const struct detect_objects *o = &f->objects;
    int i = (int)(f->head.pos + j), bad = 0;
    size_t stride = (size_t)f->w * 3;
    const uint8_t *p = f->image + stride * (size_t)f->h * (size_t)j;

    bad += f->image_id[j] != 100 + i || f->index[j] != i;
    bad += f->orig[2 * j] != side[i][0] || f->orig[2 * j + 1] != side[i][1];
    bad += f->size[2 * j] > f->h || f->size[2 * j + 1] > f->w;
    for (int y = 0; y < f->h; y++)
        for (size_t x = y < f->size[2 * j] ? (size_t)f->size[2 * j + 1] * 3 : 0;
             x < stride; x++)
            bad += p[stride * (size_t)y + x] != 0;
    for (int k = 0; k < 1 + w->crowd; k++, (*box)++)
        bad += *box >= o->n || o->image[*box] != j ||
               o->category[*box] != (k ? 0 : i) || o->crowd[*box] != k;
    return bad;
}

static int take(void *arg, struct batch_frame *f)
{
    struct walk *w = arg;
    int most[2] = {1, 1};
    size_t box = 0;

    for (int64_t j = 0; j < f->head.n; j++) {
        w->wrong += check_row(w, f, j, &box);
        for (int k = 0; k < 2; k++)
            if (f->size[2 * j + k] > most[k])
                most[k] = f->size[2 * j + k];
    }
    for (int64_t j = f->head.n; j < f->rows; j++)
        w->wrong += f->image_id[j] != -1 || f->size[2 * j] != 0;
    w->wrong += f->objects.n != box || f->h != (most[0] + 31) / 32 * 32 ||
                f->w != (most[1] + 31) / 32 * 32;
    w->crc =
        digest_crc32(w->crc, f->image, (size_t)(f->rows * f->h * f->w * 3));
    w->crc = digest_crc32(w->crc, f->objects.box, f->objects.n * 16);
    w->frames++;
    return 0;
}

static int run(const struct detect *d, int threads, struct walk *w)
{
    const struct batch_config c = {.train = true,
                                   .detect = d,
                                   .seed = 3,
                                   .rows = ROWS,
                                   .threads = threads,
                                   .queue = 2};
    struct batch_source s = {next_frame, next_row, NULL, name, w};

    return batch_run(&c, &s, take, w);
}

static void batches(void)
{
    struct detect d = {.n = 2, .length = {40, 60}, .max = 90, .flip = 0.5};
    uint32_t crc[4];

    for (int i = 0; i < FILES; i++)
        make_file(i, 30 + 7 * i, 90 - 5 * i, i % 9 ? i % 9 : 1);
    for (int k = 0; k < 4; k++) {
        struct walk w = {.broken = -1, .crowd = k == 3};

        d.bgr = k == 2;
        d.crowd = k == 3;
        is_int(run(&d, k == 1 ? 5 : 1, &w), 0, "batches: %s", err_text());
        is_int(w.wrong, 0, "sizes, boxes, padding");
        is_int(w.frames, 3, "frames");
        crc[k] = w.crc;
    }
    is_int(crc[1], crc[0], "the same with 5 threads");
    ok(crc[2] != crc[0], "BGR is other bytes");
}

static void bad_rows(void)
{
    struct detect d = {.n = 1, .length = {40}, .max = 90};
    struct walk w = {.broken = 5};

    is_int(run(&d, 2, &w), -1, "an annotation of another image");
    has_str(err_text(), "file 5: ", "is named");
    has_str(err_text(), "its annotation says 9 x 7", "with the reason");
    err_clear();
    w = (struct walk){.broken = -1};
    d.length[0] = 5000;
    d.max = 1;
    is_int(run(&d, 2, &w), -1, "no pixel left");
    has_str(err_text(), "too thin", "why");
    err_clear();
}

/* BGR is RGB with its ends changed, mirrored or not. */
static void channels(void)
{
    uint8_t in[64 * 4], rgb[192], bgr[192];
    struct resizer *r = resizer_new();
    int wrong = 0;

    for (int i = 0; i < 256; i++)
        in[i] = (uint8_t)(i * 37);
    for (int k = 0; k < 2; k++) {
        struct resize_job j = {.in_w = 64,
                               .in_h = 1,
                               .out_w = 61,
                               .out_h = 1,
                               .part = {0, 0, 61, 1},
                               .flip = k};

        resize_run(r, &j, in, sizeof(in), rgb, sizeof(rgb));
        j.bgr = true;
        resize_run(r, &j, in, sizeof(in), bgr, sizeof(bgr));
        for (int i = 0; i < 61 * 3; i++)
            wrong += rgb[i] != bgr[i - i % 3 + 2 - i % 3];
    }
    is_int(wrong, 0, "blue, green, red");
    resizer_free(r);
}

/* Enlarging and shrinking grey values (coco-detector 9.6, by Pillow 9.4). */
static void resized(int w, int h, const uint8_t *grey, int ow, int oh,
                    const int *want)
{
    struct resize_job j = {
        .in_w = w, .in_h = h, .out_w = ow, .out_h = oh, .part = {0, 0, ow, oh}};
    uint8_t in[4 * 8], out[3 * 32];
    struct resizer *r = resizer_new();
    int wrong = 0;

    for (int i = 0; i < 4 * w * h; i++)
        in[i] = grey[i / 4];
    resize_run(r, &j, in, (size_t)w * 4, out, (size_t)ow * 3);
    for (int i = 0; i < 3 * ow * oh; i++)
        wrong += out[i] != want[i / 3];
    is_int(wrong, 0, "%d x %d to %d x %d", w, h, ow, oh);
    resizer_free(r);
}

static void resizes(void)
{
    static const uint8_t row[] = {0, 64, 128, 255};
    static const uint8_t two[] = {10, 200, 30, 250, 5, 90};

    resized(4, 1, row, 7, 1, (const int[]){0, 23, 59, 96, 137, 210, 255});
    resized(4, 1, row, 3, 1, (const int[]){19, 96, 217});
    resized(4, 1, row, 2, 1, (const int[]){46, 173});
    resized(4, 1, row, 8, 1, (const int[]){0, 16, 48, 80, 112, 160, 223, 255});
    resized(3, 2, two, 5, 4,
            (const int[]){10,  86,  200, 98, 30, 70,  103, 151, 88, 45,
                          190, 136, 54,  67, 75, 250, 152, 5,   56, 90});
}

int main(void)
{
    shapes();
    resizes();
    choices();
    golden();
    crowds();
    orientations();
    channels();
    batches();
    bad_rows();
    for (int i = 0; i < FILES; i++) {
        buf_release(&file[i]);
        buf_release(&text[i]);
    }
    return done_testing();
}
