#include "io/media.h"

#include "util/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Linux: include/uapi/linux/magic.h, and those of file systems outside it. */
static const uint32_t network[] = {
    0x6969 /* nfs */,        0xFF534D42 /* cifs */, 0xFE534D42 /* smb2 */,
    0x517B /* smb */,        0x00C36400 /* ceph */, 0x5346414F /* afs */,
    0x0BD00BD0 /* lustre */, 0x47504653 /* gpfs */, 0x19830326 /* beegfs */,
    0x65735546 /* fuse */,   0x01021997 /* 9p */,
};

/* The first character of a file in dir or in the directory above it, or 0. */
static int first_char(const char *dir, const char *name)
{
    static const char *const up[] = {"", "../"};
    int c = 0;

    for (int i = 0; i < 2 && !c; i++) {
        char *path = xstrfmt("%s/%s%s", dir, up[i], name);
        FILE *f = fopen(path, "re");

        if (f) {
            c = fgetc(f);
            fclose(f);
        }
        free(path);
    }
    return c;
}

/* Is the driver of the device one of a virtual machine? */
static int is_virtual(const char *dir)
{
    static const char *const up[] = {"", "../"};
    char driver[256];
    int found = 0;

    for (int i = 0; i < 2 && !found; i++) {
        char *path = xstrfmt("%s/%sdevice/driver", dir, up[i]);
        ssize_t n = readlink(path, driver, sizeof(driver) - 1);

        free(path);
        if (n < 0)
            continue;
        driver[n] = 0;
        found = strstr(driver, "virtio") || strstr(driver, "vbd") ||
                strstr(driver, "xen");
    }
    return found;
}

const char *media_slow_disk(const char *sys)
{
    return first_char(sys, "queue/rotational") == '1' && !is_virtual(sys)
               ? "a rotating disk"
               : NULL;
}

const char *media_slow(const char *dir)
{
    const char *slow = NULL;
    struct statfs fs;
    struct stat st;
    char *sys;

    if (statfs(dir, &fs) < 0 || stat(dir, &st) < 0)
        return NULL;
    for (size_t i = 0; i < sizeof(network) / sizeof(*network); i++)
        if ((uint32_t)fs.f_type == network[i])
            return "a network file system";
    sys = xstrfmt("/sys/dev/block/%u:%u", major(st.st_dev), minor(st.st_dev));
    slow = media_slow_disk(sys);
    free(sys);
    return slow;
}

uint64_t media_memory(void)
{
    FILE *f = fopen("/proc/meminfo", "re");
    unsigned long long kib = 0;
    char line[128];

    while (f && fgets(line, sizeof(line), f))
        if (!strncmp(line, "MemAvailable:", 13))
            kib = strtoull(line + 13, NULL, 10);
    if (f)
        fclose(f);
    return (uint64_t)kib << 10;
}
