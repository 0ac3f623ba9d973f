/*
 * fdio.h - descriptors: whole reads and writes, deadlines, atomic results.
 *
 * Deadlines are absolute times of clock_ms(); FD_FOREVER waits for ever and is
 * for pipes whose other end is watched by somebody else.
 */
#ifndef UTIL_FDIO_H
#define UTIL_FDIO_H

#include "util/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

#define FD_FOREVER INT64_MAX

/* Monotonic milliseconds; wall-clock milliseconds since 1970. */
int64_t clock_ms(void);
int64_t wall_ms(void);
double clock_s(void); /* monotonic seconds, for measuring */
/* The moment ms from now by that clock, for what waits until then. */
struct timespec clock_after(clockid_t clock, int64_t ms);

/*
 * Read exactly n bytes. Returns 1; 0 if the input ended before the first byte;
 * -1 with ERR_IO if it ended inside ("expected 512 bytes, got 80"), on an
 * error, or with ERR_PEER when the deadline passed.
 */
int fd_read(int fd, void *p, size_t n, int64_t deadline) MUST_CHECK;
/* Read what there is, at most n > 0 bytes, and wait only for the first: how many;
 * 0 at the end; -1 as fd_read. */
ssize_t fd_some(int fd, void *p, size_t n, int64_t deadline) MUST_CHECK;
/* Read and forget n bytes (seeks where the descriptor can). As fd_read. */
int fd_skip(int fd, uint64_t n, int64_t deadline) MUST_CHECK;
/* pread of exactly n bytes; the end of the file inside is ERR_DATA. */
int fd_pread(int fd, void *p, size_t n, uint64_t offset) MUST_CHECK;
/* Write all. EPIPE is ERR_IO; the caller has SIGPIPE ignored or not. */
int fd_write(int fd, const void *p, size_t n, int64_t deadline) MUST_CHECK;
/* Write all of n pieces; the array is used up (changed). */
int fd_writev(int fd, struct iovec *v, int n, int64_t deadline) MUST_CHECK;
/*
 * Descriptors 0 to 2 that the caller closed become /dev/null opened for reading,
 * so that no file of ours takes their place and writing to them still fails.
 * The first act of main.
 */
int fd_standard(void) MUST_CHECK;
int fd_cloexec(int fd) MUST_CHECK;
/* Ask for a pipe of 1 MiB, halving down to the default; never fails. */
void fd_grow_pipe(int fd);

/*
 * A file that exists whole or not at all: written as ".NAME.PID.tmp" beside its
 * target, then flushed to the disk and renamed. Until commit or abort the
 * temporary is removed when the process exits or dies by a signal that can be
 * caught (see tmp_register).
 *
 *	struct atomic_file f;
 *	if (atomic_open(&f, path) < 0 || fd_write(f.fd, ...) < 0 ||
 *	    atomic_commit(&f) < 0)
 *		...; atomic_abort(&f) is allowed in every state.
 */
struct atomic_file {
    int fd; /* -1: not open */
    char *path, *tmp;
};
#define ATOMIC_INIT                                                            \
    {                                                                          \
        -1, NULL, NULL                                                         \
    }
int atomic_open(struct atomic_file *f, const char *path) MUST_CHECK;
int atomic_commit(struct atomic_file *f) MUST_CHECK;
void atomic_abort(struct atomic_file *f);
/* A whole small file by the same way. */
int atomic_write(const char *path, const void *p, size_t n) MUST_CHECK;

/*
 * A directory in which something is made until it is renamed: "PARENT/.NAME.N.tmp",
 * new, registered as temporaries are, and locked while it is open. What was left of
 * such directories by processes that were killed, and so lock nothing, is removed
 * first. Closing it removes what is still there of it.
 */
struct tmp_dir {
    int fd;     /* holds the lock; -1: not open */
    char *path; /* NULL: none was made */
};
#define TMP_DIR_INIT                                                           \
    {                                                                          \
        -1, NULL                                                               \
    }
int tmp_dir_open(struct tmp_dir *d, const char *parent,
                 const char *name) MUST_CHECK;
void tmp_dir_close(struct tmp_dir *d);

/* mkdir -p. */
int make_dirs(const char *path) MUST_CHECK;
/* fsync of the directory itself, so that a rename in it lasts. */
int sync_dir(const char *path) MUST_CHECK;
/*
 * Rename a directory; one that is there already is replaced, with its contents,
 * in one step where the file system can do that.
 */
int replace_dir(const char *from, const char *to) MUST_CHECK;
/*
 * A descriptor that holds the lock of a directory until it is closed, by the death
 * of the process too. ERR_PEER where another process still has it after so many
 * milliseconds. On a file system without locks nobody waits for anybody.
 */
int lock_dir(const char *path, int64_t wait_ms) MUST_CHECK;
/* rm -r of a directory tree; what is not there is no error. */
int remove_tree(const char *path) MUST_CHECK;

/* Paths removed (as trees) at exit() and by fatal signals. */
void tmp_register(const char *path);
void tmp_forget(const char *path);
/*
 * Remove all that is registered by this process. Runs by itself at exit(); is
 * async-signal-safe, so a program's handler may call it before it dies.
 */
void tmp_cleanup(void);

#endif
