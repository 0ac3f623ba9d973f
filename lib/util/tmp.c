/*
 * Files that appear whole, trees that disappear, and temporaries that do not
 * outlive the process. Everything tmp_cleanup() reaches is async-signal-safe:
 * system calls, no memory from the heap, no stdio.
 */
#include "util/buf.h"
#include "util/fdio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TMP_SLOTS 256
#define TREE_DEPTH 64
#define MAKING_MS 2000     /* that a handler waits for a directory to be made */
#define PID_MOST (1 << 22) /* Linux gives no process a larger number */

/* One entry as getdents64(2) returns it. */
struct dirent_raw {
    uint64_t ino;
    int64_t off;
    unsigned short reclen;
    unsigned char type;
    char name[];
};

static int remove_at(int dir, const char *name, int depth);

/*
 * Remove what is in a directory. Reading goes on from the start after each
 * round, because removing entries moves the others; ends when a round finds
 * nothing.
 */
static int empty_dir(int fd, int depth)
{
    _Alignas(8) char entries[2048];
    const struct dirent_raw *d;
    long n, at;
    int found;

    do {
        found = 0;
        if (lseek(fd, 0, SEEK_SET) < 0)
            return -1;
        while ((n = syscall(SYS_getdents64, fd, entries, sizeof(entries))) > 0)
            for (at = 0; at < n; at += d->reclen) {
                d = (const struct dirent_raw *)(entries + at);
                if (strcmp(d->name, ".") == 0 || strcmp(d->name, "..") == 0)
                    continue;
                if (remove_at(fd, d->name, depth + 1) < 0)
                    return -1;
                found = 1;
            }
        if (n < 0)
            return -1;
    } while (found);
    return 0;
}

/* Remove a file or a tree; 0 also if it is not there, -1 with errno. */
static int remove_at(int dir, const char *name, int depth)
{
    int fd, r, saved;

    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -1;
    if (depth >= TREE_DEPTH) {
        errno = ELOOP;
        return -1;
    }
    fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -1;
    r = empty_dir(fd, depth);
    saved = errno;
    close(fd);
    errno = saved;
    if (r < 0)
        return -1;
    if (unlinkat(dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return -1;
    return 0;
}

int remove_tree(const char *path)
{
    if (remove_at(AT_FDCWD, path, 0) < 0)
        return err_sys(ERR_IO, "%s: remove", path);
    return 0;
}

/* ---- temporaries */

/*
 * A slot is taken by changing its owner from this process to 0, so that a
 * handler and the thread it interrupts never both act on it. A forked child
 * inherits the list but not the files: it owns none of the slots. A path that
 * a clean-up has taken is never freed; the process is about to end.
 */
static struct {
    char *_Atomic path;
    _Atomic pid_t owner;
} slots[TMP_SLOTS];
static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t slots_once = PTHREAD_ONCE_INIT;
static const int ends[] = {SIGTERM, SIGINT, SIGHUP};
/* Threads between making a directory and registering it. They have the signals
 * blocked, so a handler that waits for them is not on one of them. */
static atomic_int making;

/* From here to end_making no signal ends the process. */
static void begin_making(sigset_t *before)
{
    sigset_t held;
    size_t i;

    sigemptyset(&held);
    for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        sigaddset(&held, ends[i]);
    pthread_sigmask(SIG_BLOCK, &held, before);
    atomic_fetch_add(&making, 1);
}

static void end_making(const sigset_t *before)
{
    atomic_fetch_sub(&making, 1);
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

/* Take slot i from this process; false if it is not its. */
static bool take(int i)
{
    pid_t me = getpid();

    return atomic_compare_exchange_strong(&slots[i].owner, &me, 0);
}

void tmp_cleanup(void)
{
    int saved = errno, i;

    for (i = 0; i < TMP_SLOTS; i++) {
        if (take(i))
            remove_at(AT_FDCWD, atomic_load(&slots[i].path), 0);
    }
    errno = saved;
}

static void on_signal(int sig)
{
    static const struct timespec pause = {0, 1000000};
    struct sigaction a = {.sa_handler = SIG_DFL};
    int i;

    for (i = 0; i < MAKING_MS && atomic_load(&making) > 0; i++)
        nanosleep(&pause, NULL);
    tmp_cleanup();
    sigaction(sig, &a, NULL);
    raise(sig);
}

/* Programs that take signals for something else clean up themselves. */
static void at_exit(void)
{
    struct sigaction a = {.sa_handler = on_signal}, old;

    if (atexit(tmp_cleanup) != 0)
        warn("temporary files: no room for an exit function");
    sigemptyset(&a.sa_mask);
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        if (sigaction(ends[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
            sigaction(ends[i], &a, NULL);
}

void tmp_register(const char *path)
{
    char *copy = xstrdup(path);
    int i;

    pthread_once(&slots_once, at_exit);
    pthread_mutex_lock(&slots_lock);
    for (i = 0; i < TMP_SLOTS; i++) {
        if (!atomic_load(&slots[i].path)) {
            atomic_store(&slots[i].path, copy);
            atomic_store(&slots[i].owner, getpid());
            break;
        }
    }
    pthread_mutex_unlock(&slots_lock);
    if (i == TMP_SLOTS)
        BUG("%s: more than %d temporaries", path, TMP_SLOTS);
}

void tmp_forget(const char *path)
{
    char *p;
    int i;

    pthread_mutex_lock(&slots_lock);
    for (i = 0; i < TMP_SLOTS; i++) {
        p = atomic_load(&slots[i].path);
        if (p && strcmp(p, path) == 0 && take(i)) {
            atomic_store(&slots[i].path, NULL);
            free(p);
            break;
        }
    }
    pthread_mutex_unlock(&slots_lock);
}

/* ---- atomic files */

/* The directory of path as "DIR/" or "", to be freed. */
static char *dir_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? xstrfmt("%.*s", (int)(slash - path + 1), path) : xstrdup("");
}

/* Is it DOT NAME DOT NUMBER .tmp? */
static bool is_temporary(const char *entry, const char *name)
{
    size_t n = strlen(name);

    if (entry[0] != '.' || strncmp(entry + 1, name, n) != 0 ||
        entry[n + 1] != '.')
        return false;
    entry += n + 2;
    n = strspn(entry, "0123456789");
    return n > 0 && strcmp(entry + n, ".tmp") == 0;
}

/* What killed processes left of this name: nobody holds a lock of it. */
static void remove_stale(const char *dir, const char *name)
{
    DIR *d = opendir(dir[0] ? dir : ".");
    struct dirent *e;
    struct stat st;
    int fd;

    while (d && (e = readdir(d))) {
        if (!is_temporary(e->d_name, name))
            continue;
        /* a pipe would wait for who writes to it */
        if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
            continue;
        fd = openat(dirfd(d), e->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            (void)!remove_at(dirfd(d), e->d_name, 0);
        if (fd >= 0)
            close(fd);
    }
    if (d)
        closedir(d);
}

/* A new file with a lock. Another process may have taken it for a stale one just
 * before it was locked: then again. */
static int create_locked(const char *path)
{
    struct stat st;
    int fd, tries;

    for (tries = 0; tries < 10; tries++) {
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0)
            return -1;
        /* a file system without locks removes nothing */
        (void)!flock(fd, LOCK_EX | LOCK_NB);
        if (fstat(fd, &st) < 0 || st.st_nlink > 0)
            return fd;
        close(fd);
    }
    errno = EBUSY;
    return -1;
}

int atomic_open(struct atomic_file *f, const char *path)
{
    struct stat st;
    char *dir;

    f->fd = -1;
    f->path = f->tmp = NULL;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return err_set(ERR_CANTCREAT, "%s: create: not a regular file", path);
    dir = dir_of(path);
    f->path = xstrdup(path);
    f->tmp = xstrfmt("%s.%s.%ld.tmp", dir, path + strlen(dir), (long)getpid());
    remove_stale(dir, path + strlen(dir));
    free(dir);
    /* where there are no locks: of a dead process of the same number */
    unlink(f->tmp);
    tmp_register(f->tmp);
    f->fd = create_locked(f->tmp);
    if (f->fd < 0) {
        err_sys(ERR_CANTCREAT, "%s: create", path);
        atomic_abort(f);
        return -1;
    }
    return 0;
}

void atomic_abort(struct atomic_file *f)
{
    int saved = errno;

    if (f->fd >= 0)
        close(f->fd);
    if (f->tmp) {
        unlink(f->tmp);
        tmp_forget(f->tmp);
    }
    free(f->path);
    free(f->tmp);
    f->fd = -1;
    f->path = f->tmp = NULL;
    errno = saved;
}

int atomic_commit(struct atomic_file *f)
{
    char *dir = NULL;
    int r = -1, fd = f->fd;

    if (fd < 0) {
        err_set(ERR_INTERNAL, "commit of a file that is not open");
        goto out;
    }
    f->fd = -1;
    if (fsync(fd) < 0 && errno != EINVAL && errno != EROFS) {
        err_sys(ERR_IO, "%s: flush to disk", f->path);
        close(fd);
        goto out;
    }
    if (close(fd) < 0) {
        err_sys(ERR_IO, "%s: close", f->path);
        goto out;
    }
    if (rename(f->tmp, f->path) < 0) {
        err_sys(ERR_CANTCREAT, "%s: rename", f->path);
        goto out;
    }
    dir = dir_of(f->path);
    r = sync_dir(dir[0] ? dir : ".");
out:
    free(dir);
    atomic_abort(f);
    return r;
}

int atomic_write(const char *path, const void *p, size_t n)
{
    struct atomic_file f;

    if (atomic_open(&f, path) < 0)
        return -1;
    if (fd_write(f.fd, p, n, FD_FOREVER) < 0) {
        err_wrap("%s", path);
        atomic_abort(&f);
        return -1;
    }
    return atomic_commit(&f);
}

/* ---- directories that are made */

/* The lock of a new directory, which another process may have taken for a stale
 * one meanwhile: 1, 0 where it is gone, -1. */
static int lock_new(struct tmp_dir *d)
{
    struct stat st;
    int r;

    d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->fd < 0 && errno != ENOENT) {
        err_sys(ERR_CANTCREAT, "%s: open", d->path);
        rmdir(d->path);
        return -1;
    }
    if (d->fd < 0)
        return 0;
    do /* a file system without locks removes nothing */
        r = flock(d->fd, LOCK_EX);
    while (r < 0 && errno == EINTR);
    if (stat(d->path, &st) == 0)
        return 1;
    close(d->fd);
    d->fd = -1;
    return 0;
}

/* The directory, with its lock: 1, or -1. */
static int make_locked(struct tmp_dir *d, const char *parent, const char *name)
{
    int tries, made = 0;

    /* in another container a process may have our number, and live */
    for (tries = 0; tries < 100 && made == 0; tries++) {
        free(d->path);
        d->path = xstrfmt("%s/.%s.%lld.tmp", parent, name,
                          (long long)getpid() + tries * (long long)PID_MOST);
        if (mkdir(d->path, 0777) == 0)
            made = lock_new(d);
        else
            made = err_sys(ERR_CANTCREAT, "%s: make directory", d->path);
        if (made < 0 && errno == EEXIST) {
            err_clear();
            made = 0;
        }
    }
    if (made == 0)
        err_set(ERR_CANTCREAT, "%s: make directory: there is one already",
                d->path);
    return made > 0 ? 1 : -1;
}

int tmp_dir_open(struct tmp_dir *d, const char *parent, const char *name)
{
    sigset_t before;
    int made;

    *d = (struct tmp_dir)TMP_DIR_INIT;
    remove_stale(parent, name);
    begin_making(&before);
    made = make_locked(d, parent, name);
    if (made > 0)
        tmp_register(d->path);
    end_making(&before);
    if (made > 0)
        return 0;
    free(d->path);
    d->path = NULL;
    return -1;
}

void tmp_dir_close(struct tmp_dir *d)
{
    struct err_kept why = err_keep();

    if (d->path) {
        if (remove_tree(d->path) < 0)
            warn("%s", err_text());
        tmp_forget(d->path);
    }
    if (d->fd >= 0)
        close(d->fd);
    free(d->path);
    *d = (struct tmp_dir)TMP_DIR_INIT;
    err_restore(&why);
}

/* ---- directories */

int make_dirs(const char *path)
{
    char *copy = xstrdup(path), *p;
    struct stat st;
    int r = -1, why;
    char c;

    for (p = copy; *p;) {
        p += strspn(p, "/");
        p += strcspn(p, "/");
        c = *p;
        *p = 0;
        if (mkdir(copy, 0777) < 0 && (why = errno) != EEXIST &&
            (stat(copy, &st) < 0 || !S_ISDIR(st.st_mode))) {
            errno = why; /* not that it is not there */
            err_sys(ERR_CANTCREAT, "%s: make directory", copy);
            goto out;
        }
        *p = c;
    }
    if (stat(path, &st) < 0) {
        err_sys(ERR_CANTCREAT, "%s: make directory", path);
        goto out;
    }
    if (!S_ISDIR(st.st_mode)) {
        err_set(ERR_CANTCREAT, "%s: make directory: a file is in the way",
                path);
        goto out;
    }
    r = 0;
out:
    free(copy);
    return r;
}

/* Without an exchange: aside, in, away; nothing half removed is ever seen. */
static int replace_aside(const char *from, const char *to)
{
    char *aside = xstrfmt("%s.old", from);
    int r = -1;

    if (remove_tree(aside) < 0)
        goto out;
    if (rename(to, aside) < 0 || rename(from, to) < 0)
        err_sys(ERR_CANTCREAT, "%s: rename", to);
    else
        r = remove_tree(aside);
out:
    free(aside);
    return r;
}

int replace_dir(const char *from, const char *to)
{
    if (rename(from, to) == 0)
        return 0;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return err_sys(ERR_CANTCREAT, "%s: rename", to);
#ifdef RENAME_EXCHANGE
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE) == 0)
        return remove_tree(from);
#endif
    return replace_aside(from, to);
}

int lock_dir(const char *path, int64_t wait_ms)
{
    int64_t end = clock_ms() + wait_ms;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return err_sys(ERR_NOINPUT, "%s: open", path);
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            break; /* no locks here */
        if (clock_ms() >= end) {
            close(fd);
            return err_set(ERR_PEER,
                           "%s: another program has held its lock for %lld s",
                           path, (long long)wait_ms / 1000);
        }
        poll(NULL, 0, 50);
    }
    return fd;
}

int sync_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;

    if (fd < 0)
        return err_sys(ERR_IO, "%s: open", path);
    /* Some file systems cannot flush a directory and say EINVAL. */
    if (fsync(fd) < 0 && errno != EINVAL && errno != EROFS)
        r = err_sys(ERR_IO, "%s: flush to disk", path);
    close(fd);
    return r;
}
