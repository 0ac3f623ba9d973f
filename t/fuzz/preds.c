/*
 * Any bytes as a source of predictions: either counts that agree with each
 * other or one sentence of a class that preds.h promises.
 */
#include "eval/preds.h"
#include "util/fdio.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An error frame hands on the class of its writer: any that there is. */
static void check_error(const struct preds *p)
{
    if (err_code() == ERR_NONE || !*err_text())
        BUG("refused without a reason: class %d", (int)err_code());
    if (p->kind == PREDS_TEXT && err_code() != ERR_DATA &&
        err_code() != ERR_USAGE)
        BUG("text refused with class %d", (int)err_code());
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int64_t k[] = {1, 5};
    int fd = memfd_create("preds", MFD_CLOEXEC);
    struct preds p;
    struct topk t;

    err_clear();
    if (fd < 0 || topk_init(&t, k, 2) < 0 ||
        fd_write(fd, data, size, FD_FOREVER) < 0 || lseek(fd, 0, SEEK_SET) < 0)
        die();
    preds_init(&p, &t);
    if (preds_read(&p, fd, "x") < 0 || preds_finish(&p) < 0)
        check_error(&p);
    if (t.n > p.seen_n || t.correct[0] > t.correct[1] ||
        t.correct[1] > t.n - t.nan)
        BUG("counts %lld, %lld of %lld", (long long)t.correct[0],
            (long long)t.correct[1], (long long)t.n);
    preds_release(&p);
    close(fd);
    return 0;
}
