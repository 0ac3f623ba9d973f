#include "util/signals.h"

#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

bool signals_ignored(int sig)
{
    struct sigaction a;

    return sigaction(sig, NULL, &a) == 0 && a.sa_handler == SIG_IGN;
}

bool signals_stop(int sig)
{
    return sig == SIGTERM || sig == SIGUSR1 || sig == SIGHUP;
}

int signals_open(sigset_t *old, bool children)
{
    static const int all[] = {SIGTERM, SIGINT, SIGUSR1, SIGUSR2};
    struct sigaction ignore;
    sigset_t set;
    int fd;

    memset(&ignore, 0, sizeof(ignore));
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &ignore, NULL);
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        sigaddset(&set, all[i]);
    if (!signals_ignored(SIGHUP))
        sigaddset(&set, SIGHUP);
    if (children)
        sigaddset(&set, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &set, old) < 0)
        return err_sys(ERR_SYSTEM, "signal mask");
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? err_sys(ERR_SYSTEM, "signalfd") : fd;
}

bool signals_child(pid_t parent, int death, const sigset_t *mask)
{
    struct sigaction a;

    memset(&a, 0, sizeof(a));
    a.sa_handler = SIG_DFL;
    sigaction(SIGPIPE, &a, NULL);
    sigaction(SIGXFSZ, &a, NULL);
    sigaction(SIGINT, &a, NULL);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, death);
    sigprocmask(SIG_SETMASK, mask, NULL);
    return getppid() == parent;
}
