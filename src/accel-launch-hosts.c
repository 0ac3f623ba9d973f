/* accel-launch --hostfile: a launcher on each host, started by ssh. */
#include "accel-launch.h"

#include "io/launchhosts.h"
#include "ring/crypt.h"
#include "util/buf.h"
#include "util/err.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PORT 29500

_Static_assert(HOSTS_KEY == CRYPT_KEY, "one key");

extern char **environ;

/* One word for a shell. */
static void add_quoted(struct buf *b, const char *text)
{
    buf_addch(b, '\'');
    for (; *text; text++)
        if (*text == '\'')
            buf_addstr(b, "'\\''");
        else
            buf_addch(b, *text);
    buf_addch(b, '\'');
}

/* Settings travel; places and secrets of this host do not. */
static void add_environment(struct buf *b)
{
    static const char *const prefix[] = {"ACCEL_", "OMP_", "NCCL_"};
    static const char *const here[] = {
        "ACCEL_KEY_FILE=", "ACCEL_MASTER=", "ACCEL_BIND=", "ACCEL_RDZV="};

    for (char **e = environ; *e; e++) {
        bool take = false;
        for (size_t i = 0; i < sizeof(prefix) / sizeof(prefix[0]); i++)
            take |= strncmp(*e, prefix[i], strlen(prefix[i])) == 0;
        for (size_t i = 0; i < sizeof(here) / sizeof(here[0]); i++)
            take &= strncmp(*e, here[i], strlen(here[i])) != 0;
        if (!take)
            continue;
        add_quoted(b, *e);
        buf_addch(b, ' ');
    }
}

struct remote {
    const struct launch_hostfile *o;
    const char *cwd, *exe, *master;
    int64_t n;
    int hosts;
};

static char *command(const void *arg, int i)
{
    const struct remote *r = arg;
    struct buf b = BUF_INIT;
    char *dir = xstrdup(r->exe);

    *strrchr(dir, '/') = 0;
    buf_addstr(&b, "cd ");
    add_quoted(&b, r->cwd);
    buf_addstr(&b, " && exec env PATH=");
    add_quoted(&b, dir);
    buf_addstr(&b, ":\"$PATH\" ");
    add_environment(&b);
    add_quoted(&b, r->exe);
    buf_addf(&b,
             " -n %lld --nodes %d --node %d --over-ssh --retries %lld "
             "--grace %lld --master ",
             (long long)r->n, r->hosts, i, (long long)r->o->retries,
             (long long)r->o->grace_s);
    add_quoted(&b, r->master);
    if (r->o->logdir) {
        buf_addstr(&b, " --logdir ");
        add_quoted(&b, r->o->logdir);
    }
    buf_addstr(&b, " --");
    for (char **a = r->o->argv; *a; a++) {
        buf_addch(&b, ' ');
        add_quoted(&b, *a);
    }
    free(dir);
    return buf_detach(&b);
}

/* That of the user, or one for this run. */
static int choose_key(const char *path, unsigned char key[CRYPT_KEY])
{
    if (path)
        return crypt_load(path, key);
    crypt_random(key, CRYPT_KEY);
    return 0;
}

static int64_t ranks_of_host(const struct hostfile *f,
                             const struct launch_hostfile *o)
{
    if (!f->slots || (o->ranks_given && o->ranks <= f->slots))
        return o->ranks;
    if (!o->ranks_given)
        return f->slots;
    err_set(ERR_USAGE, "-n %lld: %s has slots=%d", (long long)o->ranks, o->path,
            f->slots);
    return -1;
}

int launch_by_hostfile(const struct launch_hostfile *o)
{
    static char exe[PATH_MAX], cwd[PATH_MAX];
    unsigned char key[CRYPT_KEY];
    struct hostfile f;
    struct remote r = {.o = o, .exe = exe, .cwd = cwd};
    struct hosts_options h = {.file = &f,
                              .key = key,
                              .grace_ms = o->grace_s * 1000,
                              .command = command,
                              .arg = &r};
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    char *master;
    int status = -1;

    if (n < 0 || !getcwd(cwd, sizeof(cwd)))
        return err_sys(ERR_SYSTEM, "where this program is");
    if (hostfile_read(&f, o->path) < 0)
        return -1;
    master = strchr(f.name[0], '@') ? strchr(f.name[0], '@') + 1 : f.name[0];
    master = o->master ? xstrdup(o->master) : xstrfmt("%s:%d", master, PORT);
    r.master = master;
    r.hosts = f.n;
    r.n = ranks_of_host(&f, o);
    if (r.n > 0 && choose_key(o->key_file, key) == 0)
        status = launch_hosts(&h);
    crypt_forget(key, sizeof(key));
    free(master);
    hostfile_release(&f);
    return status;
}
