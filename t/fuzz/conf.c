/*
 * Any bytes as a recipe file: either leaves that keep the promises of conf.h
 * or one sentence of class ERR_CONFIG.
 */
#include "util/conf.h"
#include "util/buf.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int leaf(void *arg, const char *key, const char *value,
                const char *where)
{
    int *n = arg;

    if (!*key || strncmp(where, "x:", 2) || ++*n > CONF_MAX_KEYS)
        BUG("leaf \"%s\" at \"%s\"", key, where);
    return value && !strcmp(value, "stop") ? err_set(ERR_CONFIG, "stop") : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int n = 0;

    err_clear();
    if (conf_parse((const char *)data, size, "x", leaf, &n) < 0 &&
        (err_code() != ERR_CONFIG || !*err_text()))
        BUG("refused without a reason: class %d", (int)err_code());
    return 0;
}
