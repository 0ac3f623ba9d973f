/*
 * Images on their way to a device whose copies are as late as a card's may be
 * (t/hostgpu): out of memory that is registered, and out of any other.
 */
#include "lib/must.h"
#include "lib/tap.h"

#include "train/upload.h"
#include "util/err.h"

#include <sys/mman.h>

#define BYTES 3000
#define SLOT 4096

static struct engine *e;
static char *shared; /* [4][SLOT] */

/* A batch whose images are all of that value, at p. */
static struct input_batch batch(char *p, int value)
{
    struct input_batch b = {.n = 10, .slot = -1};

    memset(p, value, BYTES);
    b.image = TENSOR4(DT_U8, p, 10, 10, 10, 3);
    return b;
}

/* Let work that reads the images of b be enqueued: 1, they are there; 0, not. */
static int read_there(struct upload *u, const struct input_batch *b, void *to)
{
    const void *there;

    must(upload_take(u, b, &there));
    if (there)
        must(engine_copy(e, to, there, BYTES));
    must(upload_read(u));
    return there != NULL;
}

static bool all_are(const void *dev, int value)
{
    unsigned char now[BYTES];

    must(engine_download(e, now, dev, BYTES));
    for (int i = 0; i < BYTES; i++)
        if (now[i] != value)
            return false;
    return true;
}

/* As in a run: each is sent ahead and written to when it is done. */
static void many(const char *what, struct upload *u, char *slot[4])
{
    struct input_batch b[2];
    bool good = true;
    void *to;

    must(engine_alloc(e, BYTES, &to));
    b[0] = batch(slot[0], 1);
    must(upload_ahead(u, &b[0]));
    for (int i = 1; i < 20; i++) {
        good = good && read_there(u, &b[(i + 1) % 2], to);
        b[i % 2] = batch(slot[i % 4], i + 1);
        must(upload_ahead(u, &b[i % 2]));
        must(upload_done(u));
        memset(slot[(i + 3) % 4], 0xa5, BYTES);
        good = good && all_are(to, i);
    }
    ok(good, "%s: what was sent arrives", what);
    engine_free(e, to);
}

static void test_shared(void)
{
    char *slot[4], *own[4];
    struct upload u, second;

    for (int i = 0; i < 4; i++) {
        slot[i] = shared + (size_t)i * SLOT;
        own[i] = malloc(BYTES);
    }
    upload_init(&u, e);
    upload_share(&u, shared, 4 * (size_t)SLOT);
    many("registered memory", &u, slot);
    ok(!u.slot[0].host && !u.slot[1].host, "without a copy");
    many("other memory beside it", &u, own);
    ok(u.slot[0].host && u.slot[1].host, "by a copy");
    slot[1] = own[1];
    slot[2] = own[2];
    many("of both", &u, slot);
    slot[1] = shared + (size_t)SLOT;
    slot[2] = shared + 2 * (size_t)SLOT;

    verbosity = -1;
    upload_init(&second, e);
    upload_share(&second, shared, 4 * (size_t)SLOT);
    ok(err_code() == ERR_NONE, "a refusal is no error");
    many("memory that is refused", &second, slot);
    ok(second.slot[0].host != NULL, "by a copy");
    upload_release(&second);
    many("and the first as before", &u, slot);
    upload_release(&u);
    for (int i = 0; i < 4; i++)
        free(own[i]);
}

/* A run that ends early. */
static void test_unused(void)
{
    struct input_batch b = batch(shared, 7);
    struct upload u;

    upload_init(&u, e);
    upload_share(&u, shared, 4 * (size_t)SLOT);
    must(upload_ahead(&u, &b));
    upload_release(&u);
    must(engine_finish(e));
    ok(munmap(shared, 4 * (size_t)SLOT) == 0,
       "nothing reads what was sent when it is released");
    upload_share(&u, NULL, 0);
    ok(!u.shared, "no memory is no memory");
    upload_release(&u);
}

int main(void)
{
    struct engine_config config = {.device = -1};
    char dir[4096];

    snprintf(dir, sizeof(dir), "%s/t/hostgpu", tap_env("BIN", "bin"));
    config.dir = dir;
    setenv("HOSTGPU_LATE", "all", 1);
    if (engine_open(&e, "cuda", &config) < 0) {
        skip(1, "cuda: no engine on the host here");
        printf("# %s\n", err_text());
        return done_testing();
    }
    shared = mmap(NULL, 4 * (size_t)SLOT, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        exit(1);
    test_shared();
    test_unused();
    engine_close(e);
    return done_testing();
}
