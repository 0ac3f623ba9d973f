#include "util/memory.h"

#include "util/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* A number of bytes in a file that holds nothing else; false for "max". */
static bool number(const char *dir, const char *name, uint64_t *v)
{
    char *path = xstrfmt("%s/%s", dir, name), text[64];
    FILE *f = fopen(path, "re");
    bool got;

    free(path);
    if (!f)
        return false;
    got = fgets(text, sizeof(text), f) && text[0] >= '0' && text[0] <= '9';
    fclose(f);
    if (got)
        *v = strtoull(text, NULL, 10);
    return got;
}

/* The value behind a name in a file of "name value" lines. */
static bool field(const char *path, const char *name, uint64_t *v)
{
    char line[256];
    size_t n = strlen(name);
    FILE *f = fopen(path, "re");
    bool got = false;

    while (f && !got && fgets(line, sizeof(line), f))
        if (!strncmp(line, name, n) && (line[n] == ' ' || line[n] == ':')) {
            *v = strtoull(line + n + 1, NULL, 10);
            got = true;
        }
    if (f)
        fclose(f);
    return got;
}

static void least(size_t *room, const char **bound, uint64_t v,
                  const char *what)
{
    if (v >= *room)
        return;
    *room = (size_t)v;
    if (bound)
        *bound = what;
}

/* What a group leaves; pages of files that it can drop count as left. */
static void group(const char *dir, const char *max, const char *now,
                  const char *cache, size_t *room, const char **bound)
{
    uint64_t limit, used, dropped = 0;
    char *stat;

    if (!number(dir, max, &limit) || !number(dir, now, &used))
        return;
    stat = xstrfmt("%s/memory.stat", dir);
    field(stat, cache, &dropped);
    free(stat);
    used = used > dropped ? used - dropped : 0;
    least(room, bound, limit > used ? limit - used : 0, "control group");
}

/* The groups of this process and those above it. */
static void groups(size_t *room, const char **bound)
{
    static const struct {
        const char *of, *root, *max, *now, *cache;
    } kind[] = {{"0::", "/sys/fs/cgroup", "memory.max", "memory.current",
                 "inactive_file"},
                {":memory:", "/sys/fs/cgroup/memory", "memory.limit_in_bytes",
                 "memory.usage_in_bytes", "total_inactive_file"}};
    char line[512], *dir, *at;
    FILE *f = fopen("/proc/self/cgroup", "re");

    while (f && fgets(line, sizeof(line), f))
        for (size_t i = 0; i < sizeof(kind) / sizeof(kind[0]); i++) {
            at = strstr(line, kind[i].of);
            if (!at || (i == 0 && at != line))
                continue;
            at += strlen(kind[i].of);
            at[strcspn(at, "\n")] = '\0';
            dir = xstrfmt("%s%s", kind[i].root, at);
            do {
                group(dir, kind[i].max, kind[i].now, kind[i].cache, room,
                      bound);
                *strrchr(dir, '/') = '\0';
            } while (strlen(dir) >= strlen(kind[i].root));
            free(dir);
        }
    if (f)
        fclose(f);
}

static void limits(size_t *room, const char **bound)
{
    static const struct {
        int what;
        const char *used;
    } all[] = {{RLIMIT_AS, "VmSize"}, {RLIMIT_DATA, "VmData"}};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct rlimit r;
        uint64_t kib = 0;
        if (getrlimit(all[i].what, &r) < 0 || r.rlim_cur == RLIM_INFINITY)
            continue;
        field("/proc/self/status", all[i].used, &kib);
        least(room, bound,
              r.rlim_cur > kib << 10 ? r.rlim_cur - (kib << 10) : 0,
              "limit of the process");
    }
}

size_t memory_room(const char **bound)
{
    size_t room = SIZE_MAX;
    uint64_t kib, swap = 0;

    if (bound)
        *bound = "nothing known";
    if (field("/proc/meminfo", "MemAvailable", &kib)) {
        field("/proc/meminfo", "SwapFree", &swap);
        least(&room, bound, (kib + swap) << 10, "available");
    }
    groups(&room, bound);
    limits(&room, bound);
    return room;
}
