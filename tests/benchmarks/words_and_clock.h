/* How the recorded programs end on bad arguments, read a size or a seed, and take the time. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void fail(int status, const char *words)
{
    fprintf(stderr, "error: %s\n", words);
    exit(status);
}

static int number(const char *word)
{
    char *end;
    long value = strtol(word, &end, 10);
    if (*word == '\0' || *end != '\0' || value < 0 || value > 1 << 20)
        fail(2, "not a number that fits");
    return (int)value;
}

static inline int seed_of(const char *word) /* any number; small enough to add to others */
{
    return (int)(strtoul(word, NULL, 10) % 1000003UL);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
