/* Plugins (util/plugin.h): where they are looked for, and what is none. */
#include "lib/tap.h"
#include "lib/tapdir.h"

#include "util/plugin.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

static void make(const char *name)
{
    int fd = open(name, O_WRONLY | O_CREAT, 0600);

    if (fd < 0 || write(fd, "text\n", 5) != 5)
        exit(1);
    close(fd);
}

int main(void)
{
    char path[PATH_MAX];
    plugin_fn *entry = NULL;
    void *dl = NULL;

    if (chdir(tap_dir()) < 0)
        return 1;
    make("x.so");
    ok(plugin_find("x.so", ".", path) == 0 && path[0] == '/', "in a directory");
    is_int(plugin_find("x.so", NULL, path), -1, "which is not looked at else");
    is_int(err_code(), ERR_UNAVAILABLE, "is not there");
    is_int(plugin_find("x.so", "/none", path), -1, "nor in another");
    has_str(err_text(), "no x.so in /none, /", "it says where it looked");
    is_int(plugin_load("./x.so", "f", RTLD_LOCAL, &dl, &entry), -1,
           "a text is no library");
    has_str(err_text(), "cannot load ./x.so: ", "with the reason");
    ok(!dl, "and nothing is open");
    is_int(plugin_load("libm.so.6", "engine_entry", RTLD_LOCAL, &dl, &entry),
           -1, "a library without the symbol");
    has_str(err_text(), "libm.so.6: no symbol engine_entry", "is named");
    ok(!dl, "and closed");
    is_int(plugin_load("libm.so.6", "cos", RTLD_LOCAL, &dl, &entry), 0,
           "one that has it");
    ok(dl && ((double (*)(double))entry)(0.0) == 1.0, "can be called");
    dlclose(dl);
    return done_testing();
}
