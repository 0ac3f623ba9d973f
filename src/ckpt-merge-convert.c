/*
 * ckpt-merge convert: a model under the names of another program.
 *
 * torchvision (timm has the same)	detectron2
 *	conv1, bn1			stem.conv1, stem.conv1.norm
 *	layerN.I.convK, .bnK		res(N+1).I.convK, .convK.norm
 *	layerN.I.downsample.0, .1	res(N+1).I.shortcut, .shortcut.norm
 *	fc				linear
 * msra (blobs of Caffe2, as in R-50.pkl)
 *	conv1_w, res_conv1_bn_s		stem.conv1.weight, stem.conv1.norm.weight
 *	resN_I_branch2a_w, _bn_b	resN.I.conv1.weight, .norm.bias
 *	resN_I_branch1_w		resN.I.shortcut.weight
 *	fc1000_w, pred_w		linear.weight
 * Numbers are not touched: the first two take RGB pixels, the second as the recipe
 * of its config says; msra takes BGR of 0 to 255 and strides in the first 1x1.
 * Source: facebookresearch/detectron2 tools/convert-torchvision-to-d2.py,
 * detectron2/modeling/backbone/resnet.py, detectron2/checkpoint/
 * c2_model_loading.py.
 */
#include "ckpt-merge.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

enum names {
    TORCHVISION,
    DETECTRON2,
    TIMM,
    MSRA /* never the target */
};
static const char *const names_of[] = {"torchvision", "detectron2", "timm"};
#define CHOICES "torchvision|detectron2|timm"

static char *output, *allow, *prefix;
static int from, to;
static bool ema;

struct opt ckpt_merge_convert_opts[] = {
    MODEL_OUTPUT(output),
    MODEL_EMA(ema),
    {.name = "from",
     .type = OPT_CHOICE,
     .addr = &from,
     .arg = "NAMES",
     .choices = CHOICES "|msra",
     .def = "torchvision",
     .help = "whose names the model has"},
    {.name = "to",
     .type = OPT_CHOICE,
     .addr = &to,
     .arg = "NAMES",
     .choices = CHOICES,
     .def = "detectron2",
     .help = "whose names it gets"},
    {.name = "prefix",
     .type = OPT_STRING,
     .addr = &prefix,
     .arg = "TEXT",
     .help = "put before each name, as backbone.bottom_up."},
    {.name = "allow",
     .type = OPT_STRING,
     .addr = &allow,
     .arg = "PATTERN",
     .help =
         "keep tensors without a counterpart whose names match, as they are"},
    OPT_END,
};

/* ---- one name, between torchvision and detectron2; malloc or NULL */

/* "conv" and a digit: the text behind it, or NULL. */
static const char *numbered(const char *s, const char *word, int *k)
{
    size_t n = strlen(word);

    if (strncmp(s, word, n) != 0 || s[n] < '1' || s[n] > '9')
        return NULL;
    *k = s[n] - '0';
    return s + n + 1;
}

/* Behind "layer2.11." or "res3.11.": the number and the block's text. */
static const char *stage(const char *s, const char *word, int *k,
                         const char **block)
{
    const char *p = numbered(s, word, k), *end;

    if (!p || *p != '.')
        return NULL;
    *block = p + 1;
    end = *block + strspn(*block, "0123456789");
    return end > *block && *end == '.' ? end + 1 : NULL;
}

static const char *after(const char *s, const char *word)
{
    size_t n = strlen(word);

    return strncmp(s, word, n) == 0 ? s + n : NULL;
}

/* What is in a block or before the first: "conv1.weight", "bn1.bias". */
static char *part_to_d2(const char *s)
{
    const char *p;
    int k;

    if ((p = after(s, "downsample.0.")))
        return xstrfmt("shortcut.%s", p);
    if ((p = after(s, "downsample.1.")))
        return xstrfmt("shortcut.norm.%s", p);
    if ((p = numbered(s, "conv", &k)) && *p == '.')
        return xstrdup(s);
    if ((p = numbered(s, "bn", &k)) && *p == '.')
        return xstrfmt("conv%d.norm%s", k, p);
    return NULL;
}

static char *part_to_tv(const char *s)
{
    const char *p;
    int k;

    if ((p = after(s, "shortcut.norm.")))
        return xstrfmt("downsample.1.%s", p);
    if ((p = after(s, "shortcut.")))
        return xstrfmt("downsample.0.%s", p);
    p = numbered(s, "conv", &k);
    if (p && after(p, ".norm."))
        return xstrfmt("bn%d.%s", k, after(p, ".norm."));
    return p && *p == '.' ? xstrdup(s) : NULL;
}

static char *to_d2(const char *name)
{
    const char *block, *p;
    char *part, *whole = NULL;
    int k;

    if ((p = after(name, "fc.")))
        return xstrfmt("linear.%s", p);
    p = stage(name, "layer", &k, &block);
    part = part_to_d2(p ? p : name);
    if (part && p)
        whole = xstrfmt("res%d.%.*s%s", k + 1, (int)(p - block), block, part);
    else if (part && strncmp(part, "shortcut", 8) != 0)
        whole = xstrfmt("stem.%s", part);
    free(part);
    return whole;
}

static char *to_tv(const char *name)
{
    const char *block, *p = after(name, "backbone.bottom_up.");
    char *part, *whole;
    int k;

    name = p ? p : name;
    if ((p = after(name, "linear.")))
        return xstrfmt("fc.%s", p);
    if ((p = after(name, "stem.")))
        return part_to_tv(p);
    p = stage(name, "res", &k, &block);
    part = p && k > 1 ? part_to_tv(p) : NULL;
    if (!part)
        return NULL;
    whole = xstrfmt("layer%d.%.*s%s", k - 1, (int)(p - block), block, part);
    free(part);
    return whole;
}

/* ---- blobs of Caffe2 */

/* "w", "b", "bn_s" of a convolution at place; NULL: no such blob. */
static char *blob_to_d2(const char *place, const char *blob)
{
    static const char *const of[][2] = {
        {"w", "weight"},
        {"b", "bias"},
        {"bn_s", "norm.weight"},
        {"bn_gamma", "norm.weight"},
        {"bn_b", "norm.bias"},
        {"bn_beta", "norm.bias"},
        {"bn_rm", "norm.running_mean"},
        {"bn_running_mean", "norm.running_mean"},
        {"bn_riv", "norm.running_var"},
        {"bn_running_var", "norm.running_var"}};

    for (size_t i = 0; i < sizeof of / sizeof *of; i++)
        if (strcmp(blob, of[i][0]) == 0)
            return xstrfmt("%s.%s", place, of[i][1]);
    return NULL;
}

static char *msra_to_d2(const char *name)
{
    static const char *const branch[][2] = {{"_branch1_", "shortcut"},
                                            {"_branch2a_", "conv1"},
                                            {"_branch2b_", "conv2"},
                                            {"_branch2c_", "conv3"}};
    const char *p, *blob;
    char *place, *whole = NULL;
    size_t digits;
    int k;

    if ((p = after(name, "res_conv1_")) || (p = after(name, "conv1_")))
        return blob_to_d2("stem.conv1", p);
    if ((p = after(name, "fc1000_")) || (p = after(name, "pred_")))
        return blob_to_d2("linear", p);
    p = numbered(name, "res", &k);
    if (!p || *p != '_')
        return NULL;
    digits = strspn(p + 1, "0123456789");
    for (int i = 0; i < 4 && digits && !whole; i++)
        if ((blob = after(p + 1 + digits, branch[i][0]))) {
            place =
                xstrfmt("res%d.%.*s.%s", k, (int)digits, p + 1, branch[i][1]);
            whole = blob_to_d2(place, blob);
            free(place);
        }
    return whole;
}

/* ---- the model */

static char *renamed(const char *name)
{
    bool d2 = from == DETECTRON2;
    const char *bare = after(name, "module.");
    char *between, *new;

    name = bare ? bare : name;
    if (from == MSRA) {
        between = msra_to_d2(name);
        new = between &&to != DETECTRON2 ? to_tv(between) : between;
        if (new != between)
            free(between);
        return new;
    }
    if (d2 == (to == DETECTRON2))
        return xstrdup(name);
    return d2 ? to_tv(name) : to_d2(name);
}

static bool ends(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);

    return n >= m && strcmp(name + n - m, end) == 0;
}

/* The norms of detectron2 are frozen and count nothing; the first convolution
 * of msra has a bias that nobody adds. */
static bool dropped(const char *name)
{
    if (from == MSRA)
        return strcmp(name, "conv1_b") == 0 || ends(name, "_momentum");
    return to == DETECTRON2 && ends(name, ".num_batches_tracked");
}

/* New names to the tensors of s, kept in list; those dropped go. */
static int rename_all(struct source *s, char **list)
{
    const char *first = NULL;
    int i, n = 0, unknown = 0;

    for (i = 0; i < s->n; i++) {
        const char *name = s->tensor[i].name;
        char *new;

        if (dropped(name))
            continue;
        new = renamed(name);
        if (!new &&allow && fnmatch(allow, name, 0) == 0)
            new = xstrdup(name);
        if (!new) {
            note("%s: no counterpart in %s", name, names_of[to]);
            first = unknown++ ? first : name;
            continue;
        }
        list[n] = xstrfmt("%s%s", prefix ? prefix : "", new);
        free(new);
        s->tensor[n] = s->tensor[i];
        s->tensor[n].name = list[n];
        n++;
    }
    s->n = n;
    if (unknown)
        return err_set(ERR_DATA,
                       "%d of %d tensors have no names in %s, as %.80s (-v "
                       "names all, --allow keeps some)",
                       unknown, unknown + n, names_of[to], first);
    return 0;
}

int ckpt_merge_convert(const struct command *c, int argc, char **argv)
{
    struct model m = {0};
    struct source s = {0};
    char **list = NULL;
    int i, n, r;

    (void)c;
    if (model_can_write(output) < 0)
        return -1;
    r = source_open(&s, argv, argc);
    if (r == 0)
        r = source_model(&s, ema);
    n = s.n;
    list = xcalloc((size_t)n + 1, sizeof *list);
    if (r == 0)
        r = rename_all(&s, list);
    if (r == 0)
        r = model_take(&m, &s);
    if (r == 0) {
        model_origin(&m, &s);
        model_meta(&m, "accel.names", names_of[to]);
        r = model_write(&m, output);
    }
    model_release(&m);
    source_close(&s);
    for (i = 0; i < n; i++)
        free(list[i]);
    free(list);
    return r;
}
