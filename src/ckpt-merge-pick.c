/* The model among the tensors of a source. */
#include "ckpt-merge.h"

#include <stdio.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* Keep the tensors whose names begin with n bytes of prefix, without these. */
static void keep_under(struct source *s, const char *prefix, size_t n)
{
    int i, k = 0;

    for (i = 0; i < s->n; i++)
        if (strncmp(s->tensor[i].name, prefix, n) == 0) {
            s->tensor[k] = s->tensor[i];
            s->tensor[k++].name += n;
        }
    s->n = k;
}

/* Whether there is something below a key of the files. */
static bool has_key(const struct source *s, const char *key)
{
    size_t n = strlen(key);

    for (int i = 0; i < s->n; i++) {
        const struct source_tensor *t = &s->tensor[i];

        if (s->foreign[t->file].tensor[t->index].key == n &&
            strncmp(t->name, key, n) == 0 && t->name[n] == '.')
            return true;
    }
    return false;
}

/* The keys of Detectron2 and torchvision, of timm, of Detectron, of DeepSpeed, and
 * others that people use. */
static const char *const keys[] = {"model", "state_dict",  "model_state_dict",
                                   "blobs", "module",      "network",
                                   "net",   "model_state", "weights"};
static const char *const ema_keys[] = {"model_ema", "state_dict_ema"};

static void foreign_model(struct source *s, bool ema)
{
    const char *const *key = ema ? ema_keys : keys;
    size_t n = ema ? COUNT(ema_keys) : COUNT(keys), i;
    char prefix[32];

    for (i = 0; i < n; i++)
        if (has_key(s, key[i])) {
            snprintf(prefix, sizeof prefix, "%s.", key[i]);
            keep_under(s, prefix, strlen(prefix));
            return;
        }
    if (ema)
        s->n = 0;
}

/* ---- what wrappers put before the names */

/* An AveragedModel has a counter beside the model. */
#define COUNTER "n_averaged"

/* Whether all names begin with n bytes of prefix and go on. */
static bool all_under(const struct source *s, const char *prefix, size_t n)
{
    bool some = false;

    for (int i = 0; i < s->n; i++) {
        const char *name = s->tensor[i].name;

        if (strcmp(name, COUNTER) == 0)
            continue;
        if (strncmp(name, prefix, n) != 0 || !name[n])
            return false;
        some = true;
    }
    return some;
}

/* The bytes before the first convolution of a ResNet, if all names have them; or
 * NULL. */
static const char *before_stem(const struct source *s, size_t *n)
{
    static const char stem[] = ".conv1.weight";
    size_t end = sizeof stem - 1;

    for (int i = 0; i < s->n; i++) {
        const char *name = s->tensor[i].name;
        size_t length = strlen(name);

        *n = length - end + 1;
        if (length > end && strcmp(name + length - end, stem) == 0 &&
            all_under(s, name, *n))
            return name;
    }
    return NULL;
}

/* DistributedDataParallel and torch.compile have names of their own, in any order;
 * Lightning and others put the model below a name that they choose. */
static void unwrap(struct source *s)
{
    static const char *const of_torch[] = {"module.", "_orig_mod."};
    const char *name;
    size_t i = 0, n;

    while (i < COUNT(of_torch)) {
        n = strlen(of_torch[i]);
        if (all_under(s, of_torch[i], n)) {
            keep_under(s, of_torch[i], n);
            i = 0;
        } else {
            i++;
        }
    }
    name = before_stem(s, &n);
    if (name)
        keep_under(s, name, n);
}

static void own_model(struct source *s, bool ema)
{
    size_t prefix = strlen(CKPT_EMA);
    int i, n = 0;

    for (i = 0; i < s->n; i++) {
        const char *name = s->tensor[i].name;

        if (ema ? strncmp(name, CKPT_EMA, prefix) == 0 &&
                      strcmp(name, CKPT_EMA_COUNT) != 0
                : ckpt_is_model(name))
            s->tensor[n++] = s->tensor[i];
    }
    s->n = n;
    if (ema)
        keep_under(s, CKPT_EMA, prefix);
}

int source_model(struct source *s, bool ema)
{
    if (s->n_foreign)
        foreign_model(s, ema);
    else
        own_model(s, ema);
    if (!s->is_ckpt)
        unwrap(s);
    if (ema && s->n == 0)
        return err_set(ERR_DATA, "%s: no average of the weights in it",
                       s->is_ckpt ? s->ckpt.path : s->path);
    return 0;
}
