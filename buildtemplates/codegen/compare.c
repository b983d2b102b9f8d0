/* Compares what two programs wrote, and says how far they are apart. Part of hpcagent.
 *
 * compare NORM RELATIVE ABSOLUTE WANTED GOT NAME:TYPE:COUNT...
 * Prints one line: "equal WORST", or "differ NAME INDEX WANTED GOT WORST"; WORST is the largest
 * error in units of what is allowed. A NaN equals a NaN and nothing else. Exit codes: 0, 1 where
 * they differ, 2 where a file is not what it has to be.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 65536 };

static double value(const char *at, const char *type)
{
    int32_t i;
    int64_t l;
    float f;
    double d;
    if (!strcmp(type, "int"))
        return memcpy(&i, at, 4), (double)i;
    if (!strcmp(type, "long"))
        return memcpy(&l, at, 8), (double)l;
    if (!strcmp(type, "float"))
        return memcpy(&f, at, 4), (double)f;
    return memcpy(&d, at, 8), d;
}

/* The error in units of what is allowed; infinite where only one is a NaN. */
static double error_of(double wanted, double got, double relative, double absolute)
{
    double allowed = absolute + relative * fabs(wanted), apart = fabs(got - wanted);
    if (isnan(wanted) || isnan(got))
        return isnan(wanted) && isnan(got) ? 0.0 : INFINITY;
    if (wanted == got)
        return 0.0;
    if (isinf(wanted) || isinf(got))
        return INFINITY;
    return allowed > 0.0 ? apart / allowed : INFINITY;
}

static int bad(const char *what)
{
    printf("unusable %s\n", what);
    return 2;
}

int main(int argc, char **argv)
{
    static char one[BLOCK * 8], other[BLOCK * 8];
    double relative, absolute, worst = 0.0;
    int l2, k;
    FILE *wanted_file, *got_file;
    if (argc < 7)
        return 2;
    l2 = !strcmp(argv[1], "l2");
    relative = atof(argv[2]), absolute = atof(argv[3]);
    wanted_file = fopen(argv[4], "rb"), got_file = fopen(argv[5], "rb");
    if (!wanted_file || !got_file)
        return bad("file");
    for (k = 6; k < argc; k++) {
        char *name = argv[k], *type = strchr(name, ':'), *count_text;
        int64_t count, done = 0, at_worst = -1;
        double here = 0.0, wanted_worst = 0.0, got_worst = 0.0, squares = 0.0, apart = 0.0;
        size_t size;
        if (!type || !(count_text = strchr(type + 1, ':')))
            return 2;
        *type++ = 0, *count_text++ = 0;
        count = atoll(count_text);
        size = strcmp(type, "int") && strcmp(type, "float") ? 8 : 4;
        while (done < count) {
            size_t n = count - done < BLOCK ? (size_t)(count - done) : BLOCK, i;
            if (fread(one, size, n, wanted_file) != n || fread(other, size, n, got_file) != n)
                return bad("length");
            for (i = 0; i < n; i++) {
                double wanted = value(one + i * size, type), got = value(other + i * size, type);
                double error = error_of(wanted, got, relative, absolute);
                int odd = isnan(wanted) || isnan(got) || isinf(wanted) || isinf(got);
                if (l2 && !odd) {
                    squares += wanted * wanted;
                    apart += (got - wanted) * (got - wanted);
                    continue;
                }
                if (error > here || at_worst < 0) {
                    here = error, at_worst = done + (int64_t)i;
                    wanted_worst = wanted, got_worst = got;
                }
            }
            done += (int64_t)n;
        }
        if (l2) {
            double error = apart == 0.0 ? 0.0 : sqrt(apart) / (absolute + relative * sqrt(squares));
            if (!(error <= here))
                here = error, wanted_worst = sqrt(squares), got_worst = sqrt(apart), at_worst = -1;
        }
        if (!(here <= 1.0)) {
            printf("differ %s %lld %.17g %.17g %.6g\n", name, (long long)at_worst, wanted_worst,
                   got_worst, here);
            return 1;
        }
        worst = here > worst ? here : worst;
    }
    if (fgetc(wanted_file) != EOF || fgetc(got_file) != EOF)
        return bad("length");
    printf("equal %.6g\n", worst);
    return 0;
}
