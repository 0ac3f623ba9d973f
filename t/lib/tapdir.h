/*
 * tapdir.h - the directory of a C test: empty, in TMPDIR, removed with all that is
 * in it when the test ends, also by a signal (but KILL). That of shell tests is in
 * tap.sh.
 *
 *	if (chdir(tap_dir()) < 0)
 */
#ifndef T_LIB_TAPDIR_H
#define T_LIB_TAPDIR_H

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char tap_dir_path[PATH_MAX];
static pid_t tap_dir_owner; /* children have no business with it */

/* What it calls may be called in a handler. */
static void tap_dir_remove(void)
{
    pid_t rm;

    if (getpid() != tap_dir_owner)
        return;
    rm = fork();
    if (rm == 0) {
        execl("/bin/rm", "rm", "-rf", "--", tap_dir_path, (char *)NULL);
        _exit(127);
    }
    while (rm > 0 && waitpid(rm, NULL, 0) < 0 && errno == EINTR)
        ;
}

static void tap_dir_signal(int sig)
{
    tap_dir_remove();
    raise(sig); /* as it was: SA_RESETHAND */
}

/* Made in `where` (NULL: TMPDIR, or /tmp) by the first call; the path, absolute. */
static const char *tap_dir_in(const char *where)
{
    static const int sigs[] = {SIGHUP, SIGINT, SIGTERM, SIGABRT};
    struct sigaction act = {.sa_handler = tap_dir_signal,
                            .sa_flags = (int)SA_RESETHAND};
    const char *top = where ? where : getenv("TMPDIR");
    char name[PATH_MAX - 1];

    if (tap_dir_owner)
        return tap_dir_path;
    snprintf(name, sizeof name, "%s/millrace-t.XXXXXX", top ? top : "/tmp");
    if (!mkdtemp(name) || !realpath(name, tap_dir_path)) {
        perror(name);
        exit(99);
    }
    tap_dir_owner = getpid();
    for (size_t i = 0; i < sizeof sigs / sizeof *sigs; i++)
        sigaction(sigs[i], &act, NULL);
    atexit(tap_dir_remove);
    return tap_dir_path;
}

__attribute__((unused)) static const char *tap_dir(void)
{
    return tap_dir_in(NULL);
}

#endif
