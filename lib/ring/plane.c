#include "ring/plane.h"

#include <stdlib.h>
#include <string.h>

const char *const plane_wire_name[WIRES] = {"f32", "bf16", "f16"};
const char *const plane_protect_name[PROTECTS] = {"mac", "aead", "none"};

static const struct plane_kind *const engines[] = {&plane_shm, &plane_tcp,
                                                   &plane_mpi};

int plane_find(const struct plane_kind **e, const char *name, int hosts)
{
    bool automatic = strcmp(name, "auto") == 0;

    for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++) {
        const struct plane_kind *one = engines[i];
        if (!automatic && strcmp(one->name, name) != 0)
            continue;
        if (hosts <= 1 || one->hosts) {
            *e = one;
            return 0;
        }
        if (!automatic)
            return err_set(ERR_UNAVAILABLE,
                           "--engine %s: the ranks are on more than one host",
                           name);
    }
    BUG("no engine \"%s\"", name);
}

/* ---- shm */

struct plane {
    struct shm *shm;
};

static int open_shm(struct plane **p, struct shm *s,
                    const struct plane_options *o)
{
    (void)o;
    *p = xcalloc(1, sizeof(**p));
    (*p)->shm = s;
    return 0;
}

static int add_shm(struct plane *p, uint32_t k, bool *finite)
{
    const struct shm_op *op = shm_op(p->shm, p->shm->rank, k);
    uint64_t first, end;

    if (op->kind == OP_GATHER) {
        int share = roster_share(shm_roster(p->shm), p->shm->rank);

        shm_slice(op->count, share, p->shm->world, &first, &end);
        shm_take_shares(p->shm, op->offset, op->count, first, end);
        return 0;
    }
    /* of one host the r-th slice is the r-th share */
    *finite = shm_add_slice(p->shm, op->offset, op->count);
    return 0;
}

static void close_shm(struct plane *p)
{
    free(p);
}

const struct plane_kind plane_shm = {"shm",   false,     open_shm,
                                     add_shm, close_shm, true};
