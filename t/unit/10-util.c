/* Errors, buffers, the map, descriptors, files that appear whole. */
#include "lib/tap.h"
#include "lib/tapdir.h"

#include "util/buf.h"
#include "util/err.h"
#include "util/fdio.h"
#include "util/map.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *dir;

static char *in_dir(const char *name)
{
    return xstrfmt("%s/%s", dir, name);
}

static int there(const char *name)
{
    char *p = in_dir(name);
    int r = access(p, F_OK) == 0;

    free(p);
    return r;
}

/* How many entries of the directory contain a text. */
static int count_tmp(void)
{
    char *cmd = xstrfmt("ls -A %s | grep -c '[.]tmp$'", dir);
    FILE *f = popen(cmd, "r");
    int n = -1;

    if (!f || fscanf(f, "%d", &n) != 1)
        n = -1;
    if (f)
        pclose(f);
    free(cmd);
    return n;
}

static void handle(int sig, void (*fn)(int))
{
    struct sigaction a = {.sa_handler = fn};

    sigaction(sig, &a, NULL);
}

static void test_err(void)
{
    char big[9000];

    err_clear();
    is_int(err_code(), ERR_NONE, "no error at first");
    is_int(err_set(ERR_DATA, "record %d: too short", 153), -1,
           "err_set returns -1");
    is_str(err_text(), "record 153: too short", "the sentence");
    is_int(err_wrap("train-%06d.tar", 7), -1, "err_wrap returns -1");
    is_str(err_text(), "train-000007.tar: record 153: too short",
           "context goes in front");
    is_int(err_code(), ERR_DATA, "the class stays");
    err_set(err_code(), "again: %s", err_text());
    is_str(err_text(), "again: train-000007.tar: record 153: too short",
           "the sentence may be its own argument");
    errno = ENOENT;
    err_sys(ERR_NOINPUT, "x: open");
    is_str(err_text(), "x: open: No such file or directory", "err_sys");
    is_int(errno, ENOENT, "errno is kept");
    memset(big, 'a', sizeof(big) - 1);
    big[sizeof(big) - 1] = 0;
    err_set(ERR_DATA, "%s", big);
    err_wrap("front");
    is_int((long long)strlen(err_text()), 4095, "long sentences are cut");
    ok(strncmp(err_text(), "front: aaa", 10) == 0, "and wrapped");
    errno = ENAMETOOLONG;
    err_sys(ERR_NOINPUT, "%s: open", big);
    ok(strstr(err_text(), ": open: File name too long") != NULL,
       "in the middle: the reason stays");
    err_give(ERR_PEER, "100%s");
    is_str(err_text(), "100%s", "err_give takes no format");
}

/* What a child of fork that runs fn leaves on stderr, and its status. */
static int child(void (*fn)(void), char *text, size_t room)
{
    size_t got = 0;
    ssize_t n;
    int p[2], status;
    pid_t pid;

    fflush(NULL);
    if (pipe(p) < 0)
        return -1;
    pid = fork();
    if (pid == 0) {
        dup2(p[1], STDERR_FILENO);
        close(p[0]);
        close(p[1]);
        fn();
        _exit(99);
    }
    close(p[1]);
    while (got + 1 < room && (n = read(p[0], text + got, room - 1 - got)) > 0)
        got += (size_t)n;
    text[got] = 0;
    close(p[0]);
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void dies(void)
{
    setenv("WORLD_SIZE", "8", 1);
    setenv("RANK", "3", 1);
    prog_set("/usr/bin/imgshard");
    die_with(ERR_NOPERM, "login: %s", "no\nsuch\x1bthing");
}

static void bugs(void)
{
    BUG("impossible: %d", 7);
}

static void test_messages(void)
{
    char text[4096];

    is_int(child(dies, text, sizeof(text)), ERR_NOPERM,
           "die_with exits with the class");
    is_str(text, "imgshard[3]: login: no?such?thing\n",
           "one line, rank, control characters replaced");
    is_int(child(bugs, text, sizeof(text)), -SIGABRT, "BUG aborts");
    has_str(text, "10-util.c:", "BUG names the file");
}

static void test_buf(void)
{
    struct buf b = BUF_INIT;
    char *s, *path;
    int i;

    buf_addf(&b, "%s-%03d", "train", 7);
    buf_addch(&b, '.');
    buf_addstr(&b, "tar");
    buf_addfill(&b, ' ', 3);
    is_str(b.data, "train-007.tar   ", "text is put together");
    buf_reset(&b);
    is_str(b.data, "", "reset");
    for (i = 0; i < 10000; i++)
        buf_addf(&b, "%d,", i);
    is_int((long long)b.len, 48890, "grows");
    is_int(b.data[b.len], 0, "ends with a 0");
    s = buf_detach(&b);
    ok(b.data == NULL && b.len == 0 && b.cap == 0, "detached");
    free(s);
    s = buf_detach(&b);
    is_str(s, "", "detaching an empty buffer gives an empty string");
    free(s);

    path = in_dir("ten");
    if (atomic_write(path, "0123456789", 10) < 0)
        die();
    is_int(buf_read_file(&b, path, 10), 0, "file of exactly the limit");
    is_str(b.data, "0123456789", "its text");
    is_int(buf_read_file(&b, path, 9), -1, "one byte more than the limit");
    is_int(err_code(), ERR_DATA, "is bad data");
    is_int((long long)b.len, 10, "the buffer is as before");
    is_int(buf_read_file(&b, "/dev/null/x", 9), -1, "a missing file");
    is_int(err_code(), ERR_NOINPUT, "is missing input");
    free(path);
    buf_release(&b);
}

static void test_map(void)
{
    struct map m = MAP_INIT;
    char key[32];
    int64_t v;
    int i, bad = 0;

    ok(!map_get(&m, "x", NULL), "empty map");
    for (i = 0; i < 5000; i++) {
        snprintf(key, sizeof(key), "key-%d", i * 7);
        bad += !map_add(&m, key, i);
    }
    is_int(bad, 0, "5000 keys added");
    for (i = 0; i < 35000; i++) {
        snprintf(key, sizeof(key), "key-%d", i);
        if (map_get(&m, key, &v) != (i % 7 == 0) || (i % 7 == 0 && v != i / 7))
            bad++;
    }
    is_int(bad, 0, "all found, none else");
    ok(!map_add(&m, "key-7", 99), "a second time is refused");
    ok(map_get(&m, "key-7", &v) && v == 1, "and changes nothing");
    ok(map_add(&m, "", -5) && map_get(&m, "", &v) && v == -5, "empty key");
    map_release(&m);
    ok(!map_get(&m, "key-7", NULL), "released");
}

static void test_read(void)
{
    char b[16];
    int p[2];

    if (pipe(p) < 0)
        die_with(ERR_SYSTEM, "pipe");
    is_int(fd_write(p[1], "abcdef", 6, FD_FOREVER), 0, "write");
    is_int(fd_read(p[0], b, 4, FD_FOREVER), 1, "read 4 of 6");
    is_int(fd_read(p[0], b, 4, clock_ms() + 30), -1, "deadline inside");
    is_int(err_code(), ERR_PEER, "is the peer's fault");
    has_str(err_text(), "expected 4 bytes, got 2", "what came");
    is_int(fd_write(p[1], "gh", 2, FD_FOREVER), 0, "more");
    close(p[1]);
    is_int(fd_read(p[0], b, 8, clock_ms() + 1000), -1, "end inside");
    is_int(err_code(), ERR_IO, "is an I/O error");
    is_str(err_text(), "expected 8 bytes, got 2", "what came");
    is_int(fd_read(p[0], b, 8, FD_FOREVER), 0, "end before the first byte");
    is_int(fd_skip(p[0], 8, FD_FOREVER), 0, "nothing to skip");
    close(p[0]);
}

static void test_write(void)
{
    static char big[300000];
    int p[2], s[2];
    struct iovec v[3] = {{big, 100000}, {big, 0}, {big, 200000}};

    handle(SIGPIPE, SIG_IGN);
    if (pipe(p) < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, s) < 0)
        die_with(ERR_SYSTEM, "pipe");
    is_int(fd_writev(p[1], v, 3, clock_ms() + 50), -1,
           "a full pipe ends at the deadline");
    is_int(err_code(), ERR_PEER, "as a lost peer");
    is_int(fd_write(s[1], big, sizeof(big), clock_ms() + 50), -1,
           "a full socket, too");
    is_int(err_code(), ERR_PEER, "as a lost peer");
    close(p[0]);
    close(s[0]);
    is_int(fd_write(p[1], "x", 1, FD_FOREVER), -1, "nobody reads");
    is_int(err_code(), ERR_IO, "EPIPE is an I/O error");
    close(p[1]);
    close(s[1]);
    is_int(fd_write(p[1], "x", 1, clock_ms() + 10), -1, "closed descriptor");
}

/* A slow reader takes everything in small pieces, in time. */
static void test_slow_reader(int deadline)
{
    static unsigned char out[400000], in[400000];
    struct iovec v[4];
    size_t i, got = 0;
    ssize_t n;
    int p[2], r, status;
    pid_t pid;

    for (i = 0; i < sizeof(out); i++)
        out[i] = (unsigned char)(i * 2654435761u >> 24);
    for (i = 0; i < 4; i++)
        v[i] = (struct iovec){out + i * 100000, 100000};
    if (pipe(p) < 0)
        die_with(ERR_SYSTEM, "pipe");
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        close(p[0]);
        r = fd_writev(p[1], v, 4, deadline ? clock_ms() + 9000 : FD_FOREVER);
        _exit(r == 0 ? 0 : 1);
    }
    close(p[1]);
    while ((n = read(p[0], in + got,
                     sizeof(in) - got < 3001 ? sizeof(in) - got : 3001)) > 0)
        got += (size_t)n;
    close(p[0]);
    waitpid(pid, &status, 0);
    is_int(status, 0, "writev %s deadline", deadline ? "with" : "without");
    ok(got == sizeof(in) && memcmp(in, out, got) == 0, "every byte arrives");
}

static void test_files(void)
{
    char *path = in_dir("data"), *deep = in_dir("a/b/c");
    char *under = in_dir("data/x"), b[8];
    struct buf text = BUF_INIT;
    struct atomic_file f = ATOMIC_INIT;
    int fd;

    is_int(atomic_open(&f, path), 0, "atomic_open");
    ok(!there("data"), "nothing at the target yet");
    is_int(count_tmp(), 1, "a temporary beside it");
    is_int(fd_write(f.fd, "0123456789", 10, FD_FOREVER), 0, "write");
    is_int(atomic_commit(&f), 0, "commit");
    ok(there("data"), "the file is there");
    is_int(count_tmp(), 0, "no temporary is left");
    is_int(atomic_commit(&f), -1, "a second commit is refused");
    is_int(atomic_open(&f, path), 0, "open again");
    atomic_abort(&f);
    atomic_abort(&f);
    is_int(count_tmp(), 0, "aborted: no temporary");
    is_int(buf_read_file(&text, path, 100), 0, "the old file is whole");
    is_str(text.data, "0123456789", "with its text");
    is_int(atomic_open(&f, "/dev/null"), -1, "a device is not replaced");
    is_int(err_code(), ERR_CANTCREAT, "cannot create");
    is_int(atomic_write("/dev/null/x", "a", 1), -1, "no directory");
    is_int(err_code(), ERR_CANTCREAT, "cannot create");

    fd = open(path, O_RDONLY);
    is_int(fd_pread(fd, b, 4, 6), 0, "pread to the end");
    is_int(fd_pread(fd, b, 4, 7), -1, "pread past the end");
    is_int(err_code(), ERR_DATA, "is bad data");
    is_int(fd_pread(fd, b, 4, UINT64_MAX - 2), -1, "pread far outside");
    is_int(fd_skip(fd, 8, FD_FOREVER), 1, "skip in a file");
    is_int(fd_read(fd, b, 2, FD_FOREVER), 1, "then read");
    ok(memcmp(b, "89", 2) == 0, "the right bytes");
    is_int(fd_skip(fd, 1, FD_FOREVER), 0, "skip at the end");
    is_int((int)lseek(fd, 7, SEEK_SET), 7, "back");
    is_int(fd_skip(fd, 4, FD_FOREVER), -1, "skip past the end");
    close(fd);

    is_int(make_dirs(deep), 0, "mkdir -p");
    is_int(make_dirs(deep), 0, "again");
    ok(there("a/b/c"), "it is there");
    is_int(make_dirs(under), -1, "not below a file");
    is_int(err_code(), ERR_CANTCREAT, "cannot create");
    is_int(sync_dir(dir), 0, "sync_dir");
    free(path);
    free(deep);
    free(under);
    buf_release(&text);
}

static void test_tree(void)
{
    char *tree = in_dir("tree"), *sub = in_dir("tree/a/b/c"), *p;
    char *link = in_dir("tree/a/out"), *keep = in_dir("keep");
    int i, bad = 0;

    if (make_dirs(sub) < 0 || make_dirs(keep) < 0)
        die();
    for (i = 0; i < 300; i++) {
        p = xstrfmt("%s/file-with-a-rather-long-name-%d", sub, i);
        bad += atomic_write(p, "x", 1);
        free(p);
    }
    bad += symlink(keep, link);
    is_int(bad, 0, "a tree of 300 files and a link");
    is_int(remove_tree(tree), 0, "remove_tree");
    ok(!there("tree"), "it is gone");
    ok(there("keep"), "the link was not followed");
    is_int(remove_tree(tree), 0, "what is not there is no error");
    free(tree);
    free(sub);
    free(link);
    free(keep);
}

static void leaves_tree(void)
{
    char *p = in_dir("left"), *sub = in_dir("left/a/b"), *file;

    tmp_register(p);
    if (make_dirs(sub) < 0)
        _exit(1);
    file = xstrfmt("%s/x", sub);
    if (atomic_write(file, "x", 1) < 0)
        _exit(1);
    free(p);
    free(sub);
    free(file);
    exit(0);
}

static void dies_by_signal(void)
{
    struct atomic_file f;
    char *p = in_dir("half");

    if (atomic_open(&f, p) < 0)
        _exit(1);
    raise(SIGTERM);
}

/* As a process that is killed leaves it; the descriptor of the temporary. */
static int left_open(const char *name)
{
    char *p = in_dir(name);
    int fd = open(p, O_WRONLY | O_CREAT, 0666);

    free(p);
    return fd;
}

static void test_stale(void)
{
    char *path = in_dir("data");
    int dead = left_open(".data.999999999.tmp");
    int other = left_open(".data.x.1.tmp");
    int alive = left_open(".data.999999998.tmp");

    is_int(flock(alive, LOCK_EX), 0, "a writer that lives has a lock");
    is_int(atomic_write(path, "x", 1), 0, "write beside them");
    ok(!there(".data.999999999.tmp"), "what a dead one left is removed");
    ok(there(".data.999999998.tmp"), "what a living one writes is not");
    ok(there(".data.x.1.tmp"), "nor that of another file");
    close(alive);
    close(dead);
    close(other);
    is_int(atomic_write(path, "x", 1), 0, "write when it has died");
    ok(!there(".data.999999998.tmp"), "then it goes");
    free(path);
    path = in_dir(".data.x.1.tmp");
    unlink(path);
    free(path);
}

/* The same of directories. */
static void test_tmp_dir(void)
{
    struct tmp_dir a, b;
    char *dead = in_dir(".set.999999999.tmp/inner");

    is_int(make_dirs(dead), 0, "a directory of a dead process");
    is_int(tmp_dir_open(&a, dir, "set"), 0, "a directory to make a set in");
    ok(!there(".set.999999999.tmp"), "the dead one's is gone");
    is_int(tmp_dir_open(&b, dir, "set"), 0, "another of the same process");
    ok(strcmp(a.path, b.path) != 0 && access(a.path, F_OK) == 0 &&
           access(b.path, F_OK) == 0,
       "has a name of its own");
    free(dead);
    dead = xstrdup(a.path);
    tmp_dir_close(&a);
    ok(access(dead, F_OK) < 0 && access(b.path, F_OK) == 0, "closed, it goes");
    tmp_dir_close(&b);
    tmp_dir_close(&b);
    is_int(tmp_dir_open(&a, "/proc/self", "set"), -1, "where nothing can be");
    is_int(err_code(), ERR_CANTCREAT, "says so");
    tmp_dir_close(&a);
    free(dead);
}

static void child_exits(void)
{
    char *p = in_dir("shared");
    int status;

    if (make_dirs(p) < 0)
        _exit(1);
    tmp_register(p);
    free(p);
    if (fork() == 0)
        exit(0);
    wait(&status);
    _exit(there("shared") ? 0 : 1);
}

static void test_tmp(void)
{
    char text[512];

    is_int(child(leaves_tree, text, sizeof(text)), 0, "exit with a tree");
    ok(!there("left"), "a registered tree is gone after exit");
    is_int(child(dies_by_signal, text, sizeof(text)), -SIGTERM,
           "death by signal");
    ok(!there("half"), "the target is not there");
    is_int(count_tmp(), 0, "nor the temporary");
    is_int(child(child_exits, text, sizeof(text)), 0,
           "a forked child does not remove its parent's files");
}

/* The directory of a test does not outlive it, whoever ends it. */
static void test_tap_dir(void)
{
    char path[PATH_MAX] = "";
    int ends[2], status;
    pid_t pid;

    if (pipe(ends) < 0 || (pid = fork()) < 0)
        die_with(ERR_SYSTEM, "a child");
    if (pid == 0) {
        tap_dir_owner = 0; /* a test of its own */
        (void)!write(ends[1], tap_dir(), PATH_MAX);
        raise(SIGTERM);
        _exit(0);
    }
    (void)!read(ends[0], path, sizeof(path));
    waitpid(pid, &status, 0);
    ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM,
       "a test is ended by a signal");
    ok(path[0] == '/' && strcmp(path, dir) != 0 && access(path, F_OK) < 0,
       "its directory is removed: %s", path);
    is_int(access(dir, F_OK), 0, "that of its parent is not");
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    struct sigaction nobody = {.sa_handler = SIG_DFL};

    prog_set("10-util");
    dir = tap_dir();
    sigaction(SIGTERM, &nobody, NULL); /* for util/tmp to take */
    test_err();
    test_messages();
    test_buf();
    test_map();
    test_read();
    test_write();
    test_slow_reader(0);
    test_slow_reader(1);
    test_files();
    test_tree();
    test_stale();
    test_tmp_dir();
    test_tmp();
    test_tap_dir();
    return done_testing();
}
