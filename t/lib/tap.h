/*
 * tap.h - Test Anything Protocol for C tests.
 *
 * Each check prints one line "ok N - text" or "not ok N - text"; a failed
 * comparison prints got and expected behind it as a comment. main ends with
 * "return done_testing();", which prints the plan and is not 0 if a check
 * failed. A word of the comma list REQUIRE in the environment turns the skips
 * for that reason (its first word) into failures.
 *
 *	#include "lib/tap.h"
 *	int main(void)
 *	{
 *		is_int(1 + 1, 2, "sum of %d and %d", 1, 1);
 *		return done_testing();
 *	}
 */
#ifndef T_LIB_TAP_H
#define T_LIB_TAP_H

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tap_count, tap_failed;

#define TAP_UNUSED __attribute__((unused))
#define TAP_PRINTF(f, a) __attribute__((unused, format(printf, f, a)))

__attribute__((format(printf, 2, 0))) static inline int
tap_result(int good, const char *fmt, va_list ap)
{
    tap_count++;
    if (!good)
        tap_failed++;
    printf("%sok %d - ", good ? "" : "not ", tap_count);
    vprintf(fmt, ap);
    putchar('\n');
    fflush(stdout);
    return good;
}

/* Each returns whether the check passed. */
TAP_PRINTF(2, 3) static int ok(int good, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    tap_result(good, fmt, ap);
    va_end(ap);
    return good;
}

TAP_PRINTF(3, 4)
static int is_int(long long got, long long want, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (!tap_result(got == want, fmt, ap))
        printf("#      got: %lld (%#llx)\n# expected: %lld (%#llx)\n", got,
               (unsigned long long)got, want, (unsigned long long)want);
    va_end(ap);
    return got == want;
}

TAP_PRINTF(3, 4)
static int is_str(const char *got, const char *want, const char *fmt, ...)
{
    int good = got && want ? strcmp(got, want) == 0 : got == want;
    va_list ap;

    va_start(ap, fmt);
    if (!tap_result(good, fmt, ap))
        printf("#      got: %s\n# expected: %s\n", got ? got : "(null)",
               want ? want : "(null)");
    va_end(ap);
    return good;
}

/* The text has the part in it. */
TAP_PRINTF(3, 4)
static int has_str(const char *got, const char *part, const char *fmt, ...)
{
    int good = got && strstr(got, part);
    va_list ap;

    va_start(ap, fmt);
    if (!tap_result(good, fmt, ap))
        printf("#      got: %s\n# expected: ...%s...\n", got ? got : "(null)",
               part);
    va_end(ap);
    return good;
}

/* |got - want| <= tol; tol 0: equal. NaN is equal to NaN. */
TAP_PRINTF(4, 5)
static int is_double(double got, double want, double tol, const char *fmt, ...)
{
    int good =
        got == want || fabs(got - want) <= tol || (isnan(got) && isnan(want));
    va_list ap;

    va_start(ap, fmt);
    if (!tap_result(good, fmt, ap))
        printf("#      got: %.17g\n# expected: %.17g within %g\n", got, want,
               tol);
    va_end(ap);
    return good;
}

TAP_UNUSED static int tap_required(const char *why)
{
    const char *list = getenv("REQUIRE");
    size_t n = strcspn(why, " :"), m;

    for (; list && *list; list += m + (list[m] == ',')) {
        m = strcspn(list, ",");
        if (m == n && strncmp(list, why, n) == 0)
            return 1;
    }
    return 0;
}

/* Count n checks as skipped; why begins with the word for REQUIRE. */
TAP_UNUSED static void skip(int n, const char *why)
{
    int required = tap_required(why);

    while (n-- > 0) {
        tap_count++;
        tap_failed += required;
        printf("%sok %d # skip %s\n", required ? "not " : "", tap_count, why);
    }
}

TAP_UNUSED static int done_testing(void)
{
    printf("1..%d\n", tap_count);
    if (tap_failed)
        fprintf(stderr, "# %d of %d checks failed\n", tap_failed, tap_count);
    return tap_failed ? 1 : 0;
}

/* A value of the environment, or another text. */
TAP_UNUSED static const char *tap_env(const char *name, const char *other)
{
    const char *v = getenv(name);

    return v && v[0] ? v : other;
}

/*
 * The folder of test data NAME, from $MILLRACE_DATA or ../shared/data beside
 * the checkout ($TOP, default the current directory); NULL if it is not there.
 * The memory is static.
 */
TAP_UNUSED static const char *tap_data(const char *name)
{
    static char path[2][1024];
    const char *data = getenv("MILLRACE_DATA");
    static int turn;
    char *p = path[turn ^= 1];
    FILE *f;

    if (data && data[0])
        snprintf(p, sizeof(path[0]), "%s/%s", data, name);
    else
        snprintf(p, sizeof(path[0]), "%s/../shared/data/%s",
                 tap_env("TOP", "."), name);
    f = fopen(p, "r");
    if (!f)
        return NULL;
    fclose(f);
    return p;
}

#endif
