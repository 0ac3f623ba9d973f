#include "io/sealed.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int sealed_new(uint64_t bytes)
{
    int fd = memfd_create("millrace", MFD_CLOEXEC | MFD_ALLOW_SEALING);

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
