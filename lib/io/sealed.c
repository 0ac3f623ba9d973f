#include "io/sealed.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL /* of Linux 6.3 */
#    define MFD_NOEXEC_SEAL 0x0008U
#endif

/* Some systems refuse memory that could hold a program. */
static int memory_new(void)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = memfd_create("millrace", flags | MFD_NOEXEC_SEAL);

    return fd < 0 && errno == EINVAL ? memfd_create("millrace", flags) : fd;
}

/* A limit on files is one on this memory: beyond it the kernel ends the program. */
static int check_limit(uint64_t bytes)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_FSIZE, &l) == 0 && bytes > l.rlim_cur)
        return err_set(ERR_SYSTEM,
                       "shared memory: %" PRIu64
                       " bytes, files may have %llu (ulimit -f)",
                       bytes, (unsigned long long)l.rlim_cur);
    return 0;
}

int sealed_new(uint64_t bytes)
{
    int fd;

    if (check_limit(bytes) < 0)
        return -1;
    fd = memory_new();
    if (fd < 0)
        return err_sys(ERR_SYSTEM, "shared memory: create");
    if (ftruncate(fd, (off_t)bytes) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        err_sys(ERR_SYSTEM, "shared memory: size %" PRIu64 " bytes", bytes);
        close(fd);
        return -1;
    }
    return fd;
}

int sealed_size(int fd, uint64_t *bytes)
{
    int seals = fcntl(fd, F_GET_SEALS);
    struct stat st;

    *bytes = 0;
    if (seals < 0 || fstat(fd, &st) < 0)
        return err_sys(ERR_UNAVAILABLE, "descriptor %d", fd);
    if (!(seals & F_SEAL_SHRINK))
        return err_set(ERR_UNAVAILABLE,
                       "descriptor %d: memory whose size is not sealed", fd);
    *bytes = (uint64_t)st.st_size;
    return 0;
}
