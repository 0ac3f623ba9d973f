#include "util/isa.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#ifdef __x86_64__

const char *const isa_names[] = {"base", "avx2", "avx512", NULL};

bool isa_here(enum isa set)
{
    /* What has AVX2 has F16C; not every compiler knows its name. */
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");

    if (set == ISA_AVX512)
        return avx2 && __builtin_cpu_supports("avx512f") &&
               __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512dq");
    return set == ISA_BASE || avx2;
}

#else

const char *const isa_names[] = {"base", NULL};

bool isa_here(enum isa set)
{
    return set == ISA_BASE;
}

#endif

bool isa_find(const char *name, enum isa *set)
{
    for (int i = 0; isa_names[i]; i++)
        if (!strcmp(isa_names[i], name) && isa_here((enum isa)i)) {
            *set = (enum isa)i;
            return true;
        }
    return false;
}

static enum isa look(void)
{
    const char *name = getenv("MILLRACE_ISA");
    enum isa set;

    if (name && isa_find(name, &set))
        return set;
    return isa_here(ISA_AVX512) ? ISA_AVX512
           : isa_here(ISA_AVX2) ? ISA_AVX2
                                : ISA_BASE;
}

enum isa isa_best(void)
{
    static atomic_int found = -1; /* whoever looks finds the same */
    int set = atomic_load_explicit(&found, memory_order_relaxed);

    if (set < 0) {
        set = (int)look();
        atomic_store_explicit(&found, set, memory_order_relaxed);
    }
    return (enum isa)set;
}
