/*
 * Policies, erasing and mixing: magnitudes equal to torchvision's
 * (t/golden/magnitudes.tsv), choices distributed as its are.
 *
 * "26-policy.t draw KIND SIZE SEED EPOCH N" prints the steps of positions
 * 0..N-1, a line each, for t/peer/augment.t.
 */
#include "lib/tap.h"

#include "util/err.h"
#include "vision/augment.h"
#include "vision/mix.h"
#include "vision/policy.h"

#define DRAWS 62000

static int find(const char *name)
{
    for (int op = 0; op < COLOUR_N; op++)
        if (!strcmp(name, colour_name((enum colour_op)op)))
            return op;
    return -1;
}

/* Is chi-square of the counts, which are expected to be p of n each (p NULL: all
 * the same), below the value that one of 30000 exceeds? */
static void fits(const int *count, const double *p, int k, const char *what)
{
    double n = 0, sum = 0, limit, part, d = k - 1;

    for (int i = 0; i < k; i++)
        n += count[i];
    for (int i = 0; i < k; i++) {
        part = n * (p ? p[i] : 1.0 / k);
        sum += (count[i] - part) * (count[i] - part) / part;
    }
    /* Wilson and Hilferty's */
    limit = d * pow(1 - 2 / (9 * d) + 4 * sqrt(2 / (9 * d)), 3);
    ok(n > 0 && sum < limit, "%s: chi-square %.1f of %d classes, below %.1f",
       what, sum, k, limit);
}

/* ---- magnitudes */

struct pair {
    int op[2], j[2];
    double p[2];
};
static struct pair pairs[32];
static int n_pairs;

/* A line of a space: returns the number that differ. */
static int space_line(char *line, int *values)
{
    char *name = strtok_r(line, "\t\n", &line);
    int op = find(strtok_r(line, "\t\n", &line)), j = 0, bad = 0, bins;
    int size = (strtok_r(line, "\t\n", &line),
                (int)strtol(strtok_r(line, "\t\n", &line), NULL, 10));
    char *v;

    bins = strcmp(name, "auto") ? POLICY_BINS : 10;
    while ((v = strtok_r(line, "\t\n", &line))) {
        double ours = policy_magnitude((enum colour_op)op,
                                       !strcmp(name, "wide"), bins, j++, size);

        if (ours == strtod(v, NULL))
            continue;
        printf("# %s %s %d: %d: %s, got %.17g\n", name,
               colour_name((enum colour_op)op), size, j - 1, v, ours);
        bad++;
    }
    *values += j;
    return bad;
}

static void magnitudes(void)
{
    char *path = xstrfmt("%s/t/golden/magnitudes.tsv", tap_env("TOP", "."));
    FILE *f = fopen(path, "r");
    char line[1600], a[40], b[40];
    int bad = 0, values = 0;

    if (!f)
        die();
    while (fgets(line, sizeof(line), f)) {
        struct pair *p = &pairs[n_pairs];

        if (!strncmp(line, "space\t", 6)) {
            bad += space_line(line + 6, &values);
        } else if (sscanf(line, "pair %39s %lf %d %39s %lf %d", a, &p->p[0],
                          &p->j[0], b, &p->p[1], &p->j[1]) == 6) {
            p->op[0] = find(a);
            p->op[1] = find(b);
            n_pairs++;
        }
    }
    fclose(f);
    free(path);
    ok(values > 2400 && !bad, "%d magnitudes", values);
    is_int(n_pairs, 25, "pairs");
}

/* ---- policies */

static int draw(const struct policy *p, uint32_t pos, struct policy_step *s)
{
    return policy_draw(p, 224, 5, 1, pos, s);
}

/* Which magnitude of the wide space; *sign 1: the other way. */
static int number_of(const struct policy_step *s, int *sign)
{
    double base = s->op >= COLOUR_BRIGHTNESS && s->op <= COLOUR_SHARPNESS, v;

    for (int j = 0; j < POLICY_BINS; j++) {
        v = policy_magnitude(s->op, 1, POLICY_BINS, j, 224);
        *sign = s->m != base + v;
        if (s->m == base + v || s->m == base - v)
            return j;
    }
    return -1;
}

static void trivial(void)
{
    struct policy p = {.kind = POLICY_TRIVIAL};
    struct policy_step s[POLICY_STEPS];
    int op[14] = {0}, of[POLICY_BINS] = {0}, way[2] = {0}, bad = 0, sign, j;

    for (uint32_t pos = 0; pos < DRAWS; pos++) {
        if (draw(&p, pos, s) != 1 || s[0].op >= 14) {
            bad++;
            continue;
        }
        op[s[0].op]++;
        if (s[0].op == COLOUR_IDENTITY || s[0].op >= COLOUR_POSTERIZE)
            continue;
        j = number_of(&s[0], &sign);
        if (j < 0)
            bad++;
        else
            of[j]++;
        if (j > 0)
            way[sign]++;
    }
    is_int(bad, 0, "trivial: one of the operations with one of its magnitudes");
    fits(op, NULL, 14, "trivial: operations");
    fits(of, NULL, POLICY_BINS, "trivial: magnitudes");
    fits(way, NULL, 2, "trivial: directions");
}

static void rand_of(void)
{
    struct policy p = {.kind = POLICY_RAND, .ops = 3, .magnitude = 9};
    struct policy_step s[POLICY_STEPS];
    int op[3][14] = {{0}}, way[2] = {0}, bad = 0, n, i;
    double m = policy_magnitude(COLOUR_SHEAR_X, 0, POLICY_BINS, 9, 224);

    for (uint32_t pos = 0; pos < DRAWS / 2; pos++) {
        n = draw(&p, pos, s);
        bad += n != 3;
        for (i = 0; i < n; i++) {
            op[i][s[i].op]++;
            if (s[i].op != COLOUR_SHEAR_X)
                continue;
            bad += fabs(s[i].m) != m;
            way[s[i].m < 0]++;
        }
    }
    is_int(bad, 0, "rand: three operations of magnitude 9");
    for (i = 0; i < 3; i++)
        fits(op[i], NULL, 14, "rand: operations");
    fits(way, NULL, 2, "rand: directions");
}

/* How often each operation comes first, second and alone, by the pairs. */
static void automatic(void)
{
    struct policy p = {.kind = POLICY_AUTO};
    struct policy_step s[POLICY_STEPS];
    int count[COLOUR_N] = {0}, seen[COLOUR_N], steps[3] = {0}, n, i, k,
        kinds = 0;
    double of[COLOUR_N] = {0}, part[COLOUR_N], number[3] = {0}, all = 0;

    for (i = 0; i < n_pairs; i++) {
        double a = pairs[i].p[0], b = pairs[i].p[1];

        of[pairs[i].op[0]] += a;
        of[pairs[i].op[1]] += b;
        number[0] += (1 - a) * (1 - b) / n_pairs;
        number[1] += (a * (1 - b) + b * (1 - a)) / n_pairs;
        number[2] += a * b / n_pairs;
        all += a + b;
    }
    for (uint32_t pos = 0; pos < DRAWS; pos++) {
        n = draw(&p, pos, s);
        steps[n]++;
        for (i = 0; i < n; i++)
            count[s[i].op]++;
    }
    for (k = 0; k < COLOUR_N; k++)
        if (of[k] > 0) {
            seen[kinds] = count[k];
            part[kinds++] = of[k] / all;
        }
    fits(seen, part, kinds, "auto: operations");
    fits(steps, number, 3, "auto: how many");
}

static void jitter(void)
{
    struct policy p = {.jitter = {0.4, 0.3, 1.5, 0.1}, .grey = 0.2};
    struct policy_step s[POLICY_STEPS];
    int order[24] = {0}, tenth[10] = {0}, grey[2] = {0}, bad = 0, n, i, k;
    static const double grey_part[2] = {0.8, 0.2};

    for (uint32_t pos = 0; pos < DRAWS / 2; pos++) {
        n = draw(&p, pos, s);
        grey[n == 5]++;
        bad += n < 4 || (n == 5 && s[4].op != COLOUR_GREY);
        k = 0;
        for (i = 0; i < 4; i++) {
            for (int j = i + 1; j < 4; j++)
                k += (s[j].op < s[i].op) * (i == 0 ? 6 : i == 1 ? 2 : 1);
            bad += s[i].op == COLOUR_BRIGHTNESS && fabs(s[i].m - 1) > 0.4;
            bad += s[i].op == COLOUR_COLOUR && (s[i].m < 0 || s[i].m > 2.5);
            bad += s[i].op == COLOUR_HUE && fabs(s[i].m) > 0.1;
            if (s[i].op == COLOUR_CONTRAST)
                tenth[(int)((s[i].m - 0.7) / 0.06)]++;
        }
        order[k]++;
    }
    is_int(bad, 0, "jitter: four operations within their bounds");
    fits(order, NULL, 24, "jitter: orders");
    fits(tenth, NULL, 10, "jitter: contrast");
    fits(grey, grey_part, 2, "grey");
    p = (struct policy){.jitter = {0, 0, 0, 0.5}};
    is_int(draw(&p, 3, s), 1, "jitter of the hue alone");
    p = (struct policy){.kind = POLICY_NONE};
    is_int(draw(&p, 3, s), 0, "nothing");
}

/* ---- erasing and mixing */

static void erasing(void)
{
    struct augment a = AUGMENT_INIT;
    int some[2] = {0}, area[10] = {0}, left[8] = {0}, bad = 0;
    static const double part[2] = {0.75, 0.25};
    double ratio;

    a.erase = 0.25;
    for (uint32_t pos = 0; pos < DRAWS; pos++) {
        struct rect r = augment_erase(&a, 224, 5, 1, pos);

        some[r.w > 0]++;
        if (r.w == 0)
            continue;
        ratio = (double)r.h / r.w;
        bad += r.x < 0 || r.y < 0 || r.x + r.w > 224 || r.y + r.h > 224 ||
               ratio < 0.28 || ratio > 3.5;
        area[(int)fmin(9, fmax(0, (r.w * r.h / 50176.0 - 0.02) / 0.031))]++;
        left[(int)(8.0 * r.x / (225 - r.w))]++;
    }
    is_int(bad, 0, "erase: rectangles of the right shape, inside");
    fits(some, part, 2, "erase: how often");
    fits(area, NULL, 10, "erase: areas");
    fits(left, NULL, 8, "erase: places");
}

/* P(lambda < limit) of Beta(0.2, 0.2), from mpmath */
static const double limits[] = {1e-6, 1e-3, 0.01, 0.1,  0.3,
                                0.5,  0.7,  0.9,  0.99, 0.999};
static const double below[] = {0.03320303827348906, 0.13220129172927383,
                               0.20977769006775232, 0.33668977843005715,
                               0.4332041843759645,  0.5,
                               0.5667958156240355,  0.6633102215699429,
                               0.7902223099322476,  0.8677987082707261};

/* The same of Beta(0.7, 0.7), for which both halves of the generator matter. */
static void beta(void)
{
    static const double limit[] = {0.02, 0.1, 0.2, 0.3, 0.4, 0.5,
                                   0.6,  0.7, 0.8, 0.9, 0.98};
    static const double part_below[] = {
        0.048771915937, 0.152030271519, 0.250411905354,
        0.337641024034, 0.419860677189, 0.5,
        0.580139322811, 0.662358975966, 0.749588094646,
        0.847969728481, 0.951228084063};
    struct mix_config c = {0.7, 0};
    int bin[12] = {0}, k;
    double part[12];

    for (uint32_t pos = 0; pos < DRAWS; pos++) {
        double v = mix_draw(&c, 224, 5, 1, pos).lambda;

        for (k = 0; k < 11 && v >= limit[k]; k++)
            ;
        bin[k]++;
    }
    for (k = 0; k < 12; k++)
        part[k] =
            (k < 11 ? part_below[k] : 1) - (k > 0 ? part_below[k - 1] : 0);
    fits(bin, part, 12, "mixup: Beta(0.7, 0.7)");
}

/* An alpha next to nothing mixes nothing: one image or the other, as numpy's
 * generator has it; 0.0666 of Beta(0.01, 0.01) is in between, by mpmath. */
static void tiny(void)
{
    static const double alpha[] = {0.01, 1e-6, 1e-30, 1e-300, 5e-324};

    for (size_t i = 0; i < sizeof alpha / sizeof *alpha; i++) {
        struct mix_config mix = {alpha[i], 0}, cut = {0, alpha[i]};
        int first = 0, between = 0, bad = 0;
        double v;

        for (uint32_t pos = 0; pos < 10000; pos++) {
            struct mix m = mix_draw(&cut, 224, 5, 1, pos);

            bad += !(m.lambda >= 0 && m.lambda <= 1) || m.box[0] < 0 ||
                   m.box[2] > 224 || m.box[0] > m.box[2];
            v = mix_draw(&mix, 224, 5, 1, pos).lambda;
            bad += !(v >= 0 && v <= 1);
            between += v > 1e-3 && v < 1 - 1e-3;
            first += v > 0.5;
        }
        is_int(bad, 0, "alpha %g: from 0 to 1", alpha[i]);
        is_double(between / 10000.0, i == 0 ? 0.0666 : 0, i == 0 ? 0.01 : 0,
                  "alpha %g: hardly ever a mixture", alpha[i]);
        is_double(first / 10000.0, 0.5, 0.02, "alpha %g: either image",
                  alpha[i]);
    }
}

static void mixing(void)
{
    struct mix_config both = {0.2, 1.0}, wide = {4.0, 0};
    int kind[2] = {0}, bin[11] = {0}, tenth[10] = {0}, bad = 0, k;
    double part[11], sum = 0, square = 0;
    struct mix m;

    for (uint32_t pos = 0; pos < DRAWS; pos++) {
        m = mix_draw(&both, 224, 5, 1, pos * 256);
        kind[m.kind == MIX_CUTMIX]++;
        if (m.kind == MIX_MIXUP) {
            for (k = 0; k < 10 && m.lambda >= limits[k]; k++)
                ;
            bin[k]++;
        } else {
            int h = m.box[2] - m.box[0], w = m.box[3] - m.box[1];

            bad += m.box[0] < 0 || m.box[1] < 0 || h < 0 || w < 0 ||
                   m.box[2] > 224 || m.box[3] > 224 ||
                   m.lambda != 1.0 - h * w / 50176.0;
            /* a box that is not cut off shows its lambda */
            if (m.box[0] > 0 && m.box[1] > 0 && m.box[2] < 224 &&
                m.box[3] < 224)
                bad += h != w || h % 2;
        }
        m = mix_draw(&wide, 224, 5, 1, pos);
        sum += m.lambda;
        square += (m.lambda - 0.5) * (m.lambda - 0.5);
        bad += m.kind != MIX_MIXUP;
    }
    for (k = 0; k < 11; k++)
        part[k] = (k < 10 ? below[k] : 1) - (k > 0 ? below[k - 1] : 0);
    is_int(bad, 0, "cutmix: boxes inside, of the area that lambda says");
    fits(kind, NULL, 2, "mixup or cutmix");
    fits(bin, part, 11, "mixup: Beta(0.2, 0.2)");
    is_double(sum / DRAWS, 0.5, 0.003, "mixup: mean of Beta(4, 4)");
    is_double(square / DRAWS, 1.0 / 36, 0.0006, "mixup: variance");
    both.mixup = 0;
    for (uint32_t pos = 0; pos < DRAWS; pos++) {
        /* the middle is uniform: its box of least area lies where it is */
        m = mix_draw(&both, 1000, 9, 2, pos);
        if (m.box[0] > 0 && m.box[2] < 1000 && m.lambda > 0.99)
            tenth[(m.box[0] + m.box[2]) / 2 / 100]++;
    }
    for (k = 2, bad = 0; k < 8; k++)
        bad += tenth[k] < tenth[4] * 3 / 4 || tenth[k] > tenth[4] * 4 / 3;
    is_int(bad, 0, "cutmix: middles anywhere (%d, %d, %d)", tenth[2], tenth[4],
           tenth[6]);
    both.cutmix = 0;
    m = mix_draw(&both, 224, 0, 0, 0);
    ok(m.kind == MIX_NONE && m.lambda == 1, "neither");
}

static void pure(void)
{
    struct policy p = {.kind = POLICY_RAND, .ops = 4, .magnitude = 20};
    struct policy_step a[POLICY_STEPS], b[POLICY_STEPS];
    int n = policy_draw(&p, 64, 7, 2, 9, a);

    is_int(policy_draw(&p, 64, 7, 2, 9, b), n, "the same number of steps");
    is_int(a[3].op == b[3].op && a[3].m == b[3].m, 1, "the same steps");
    policy_draw(&p, 64, 7, 3, 9, b);
    ok(a[0].op != b[0].op || a[1].op != b[1].op || a[2].op != b[2].op,
       "others in another epoch");
}

/* What seed 0, epoch 0 give, for ever: runs are resumed by other versions. */
static void vectors(void)
{
    static const struct policy_step want[] = {
        {COLOUR_IDENTITY, 0},
        {COLOUR_TRANSLATE_X, -27.733333587646484},
        {COLOUR_TRANSLATE_Y, 4.2666668891906738},
        {COLOUR_BRIGHTNESS, 0.9010000005364418}};
    static const struct mix_config both = {0.2, 1.0};
    struct policy p = {.kind = POLICY_TRIVIAL};
    struct augment a = AUGMENT_INIT;
    struct policy_step s[POLICY_STEPS];
    struct rect r;
    struct mix m;

    for (uint32_t pos = 0; pos < 4; pos++) {
        is_int(policy_draw(&p, 224, 0, 0, pos, s), 1, "recorded: a step");
        is_int(s[0].op, want[pos].op, "recorded: its operation");
        is_double(s[0].m, want[pos].m, 0, "recorded: its magnitude");
    }
    a.erase = 1;
    r = augment_erase(&a, 224, 0, 0, 1);
    ok(r.y == 31 && r.x == 144 && r.h == 185 && r.w == 58,
       "recorded: a rectangle");
    m = mix_draw(&both, 224, 0, 0, 256);
    ok(m.kind == MIX_CUTMIX && m.box[0] == 58 && m.box[1] == 116 &&
           m.box[2] == 168 && m.box[3] == 224,
       "recorded: a box");
    m = mix_draw(&both, 224, 0, 0, 768);
    is_int(m.kind, MIX_MIXUP, "recorded: mixup");
    is_double(m.lambda, 0.016741246606862506, 1e-15, "recorded: its lambda");
}

static int print_draws(char **argv)
{
    static const char *const kinds[] = {"none", "trivial", "rand", "auto"};
    struct policy p = {.ops = 2, .magnitude = 9};
    struct policy_step s[POLICY_STEPS];
    long v[4];
    int n;

    for (int i = 0; i < 4; i++) {
        v[i] = strtol(argv[1 + i], NULL, 10);
        if (!strcmp(argv[0], kinds[i]))
            p.kind = i;
    }
    for (uint32_t pos = 0; pos < (uint32_t)v[3]; pos++) {
        n = policy_draw(&p, (int)v[0], (uint64_t)v[1], (uint32_t)v[2], pos, s);
        for (int i = 0; i < n; i++)
            printf("%s%s %.17g", i ? " " : "", colour_name(s[i].op), s[i].m);
        printf("\n");
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 7 && !strcmp(argv[1], "draw"))
        return print_draws(argv + 2);
    magnitudes();
    trivial();
    rand_of();
    automatic();
    jitter();
    erasing();
    tiny();
    mixing();
    beta();
    pure();
    vectors();
    return done_testing();
}
