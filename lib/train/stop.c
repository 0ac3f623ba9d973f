#include "train/stop.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

static volatile sig_atomic_t flag_int, flag_term, flag_save;
static volatile sig_atomic_t grace_s, cause;

static void die_of(int sig)
{
    struct sigaction a = {.sa_handler = SIG_DFL};
    sigset_t one;

    sigaction(sig, &a, NULL);
    sigemptyset(&one);
    sigaddset(&one, sig);
    sigprocmask(SIG_UNBLOCK, &one, NULL);
    kill(getpid(), sig);
}

static void on_signal(int sig)
{
    switch (sig) {
    case SIGUSR2:
        flag_save = 1;
        return;
    case SIGALRM:
        die_of(cause);
        return;
    case SIGINT:
        if (flag_int)
            die_of(sig);
        flag_int = 1;
        break;
    default:
        flag_term = 1;
    }
    if (!cause) {
        cause = sig;
        if (grace_s)
            alarm((unsigned)grace_s);
    }
}

int stop_install(int grace)
{
    static const int signals[] = {SIGINT,  SIGTERM, SIGHUP,
                                  SIGUSR1, SIGUSR2, SIGALRM};
    struct sigaction a = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct sigaction ignore = {.sa_handler = SIG_IGN}, old;
    size_t i;

    grace_s = grace;
    sigemptyset(&a.sa_mask);
    for (i = 0; i < sizeof signals / sizeof *signals; i++) {
        if (signals[i] == SIGHUP && !sigaction(SIGHUP, NULL, &old) &&
            old.sa_handler == SIG_IGN)
            continue;
        if (sigaction(signals[i], &a, NULL) < 0)
            return err_sys(ERR_SYSTEM, "sigaction");
    }
    if (sigaction(SIGPIPE, &ignore, NULL) < 0)
        return err_sys(ERR_SYSTEM, "sigaction");
    return 0;
}

int stop_flags(void)
{
    return (flag_int ? STOP_INT : 0) | (flag_term ? STOP_TERM : 0) |
           (flag_save ? STOP_SAVE : 0);
}

void stop_clear(int flags)
{
    if (flags & STOP_SAVE)
        flag_save = 0;
}
