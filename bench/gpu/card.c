/*
 * card.c - the first card as cuDNN describes it to itself, one line of JSON. Plans
 * can be asked for by such a text where there is no card (t/gpu/44-plans.c).
 */
#include "engine/cuda/cudnnlib.h"

#include <stdio.h>
#include <string.h>

enum {
    MOST = 1 << 14 /* bytes of the text */
};

static int describe(const struct cudnn *lib, char *text)
{
    cudnnBackendDescriptor_t d = NULL;
    int32_t device = 0;
    int64_t n = 0;
    int r;

    if (cudnn_check(lib,
                    lib->BackendCreateDescriptor(
                        CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &d),
                    "card") < 0)
        return -1;
    r = cudnn_check(lib,
                    lib->BackendSetAttribute(d, CUDNN_ATTR_DEVICEPROP_DEVICE_ID,
                                             CUDNN_TYPE_INT32, 1, &device),
                    "card: number");
    if (r == 0)
        r = cudnn_check(lib, lib->BackendFinalize(d), "card: finish");
    if (r == 0)
        r = cudnn_check(lib,
                        lib->BackendGetAttribute(
                            d, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
                            CUDNN_TYPE_CHAR, MOST - 1, &n, text),
                        "card: text");
    text[r == 0 && n > 0 ? n : 0] = '\0';
    lib->BackendDestroyDescriptor(d);
    return r;
}

int main(void)
{
    struct cudnn lib;
    char text[MOST], *p;

    if (cudnn_open(&lib) < 0 || describe(&lib, text) < 0) {
        fprintf(stderr, "card: %s\n", err_text());
        return 69;
    }
    while ((p = strpbrk(text, "\r\n\t")))
        *p = ' ';
    return puts(text) < 0 ? 74 : 0;
}
