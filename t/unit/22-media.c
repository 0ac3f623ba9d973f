/* What files lie on: directories made like those of /sys. */
#include "io/media.h"
#include "lib/tap.h"
#include "lib/tapdir.h"
#include "util/fdio.h"

#include <unistd.h>

static const char *dir;

/* A disk and its partition, with a driver. */
static void disk(const char *name, const char *rotational, const char *driver)
{
    char *queue = xstrfmt("%s/%s/queue", dir, name);
    char *device = xstrfmt("%s/%s/device", dir, name);
    char *part = xstrfmt("%s/%s/part", dir, name);
    char *file = xstrfmt("%s/rotational", queue);
    char *link = xstrfmt("%s/driver", device);

    if (make_dirs(queue) < 0 || make_dirs(device) < 0 || make_dirs(part) < 0 ||
        atomic_write(file, rotational, 2) < 0 || symlink(driver, link) < 0)
        BUG("%s", err_text());
    free(queue);
    free(device);
    free(part);
    free(file);
    free(link);
}

static const char *slow(const char *name)
{
    char *path = xstrfmt("%s/%s", dir, name);
    const char *why = media_slow_disk(path);

    free(path);
    return why;
}

int main(void)
{
    dir = tap_dir();
    disk("sda", "1\n", "../../bus/scsi/drivers/sd");
    disk("nvme", "0\n", "../../bus/pci/drivers/nvme");
    disk("vda", "1\n", "../../bus/virtio/drivers/virtio_blk");
    is_str(slow("sda"), "a rotating disk", "a disk");
    is_str(slow("sda/part"), "a rotating disk", "a partition of it");
    ok(!slow("nvme") && !slow("nvme/part"), "one that does not rotate");
    ok(!slow("vda") && !slow("vda/part"), "a virtual one says nothing");
    ok(!slow("nix"), "one that is not there");
    ok(!media_slow("/proc"), "files without a disk");
    ok(media_memory() > 1 << 20, "there is memory");
    return done_testing();
}
