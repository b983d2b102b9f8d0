/*
 * What the programs that record_surface.py compiles have in common: arguments, random numbers, timing
 * and the proof of the result. Each is one C file, so that a compiler sees all of it.
 */
#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "words_and_clock.h"

enum { SAMPLES = 64 };

/* `expected` is what out[which] should be; it adds to `size` the magnitudes that it is made of. */
typedef struct {
    const char *name;
    void (*prepare)(uint64_t *state);
    void (*run)(void);
    double (*expected)(int which, double *size);
    int (*count)(void); /* elements of `out` */
} program;

static const char *variant;
static int n, block_a, block_b;
static double *in, *other, *out;

static void *room(size_t count, size_t size)
{
    void *found = aligned_alloc(64, (count * size + 63) / 64 * 64);
    if (found == NULL)
        fail(3, "out of memory");
    memset(found, 0, count * size);
    return found;
}

static double uniform(uint64_t *state) /* in [0.5, 1.5): no cancellation */
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return 0.5 + (double)(*state >> 11) / 9007199254740992.0;
}

static int least(int one, int two)
{
    return one < two ? one : two;
}

static void fill(size_t count, uint64_t *state) /* in and other; out is empty */
{
    in = room(count, sizeof *in);
    other = room(count, sizeof *other);
    out = room(count, sizeof *out);
    for (size_t i = 0; i < count; i++)
        in[i] = uniform(state), other[i] = uniform(state);
}

/* The largest error of some elements, in units of epsilon times the square root of n. */
static double residual(const program *chosen, uint64_t state)
{
    double worst = 0;
    int count = chosen->count();
    for (int s = 0; s < SAMPLES; s++) {
        int which = least((int)((uniform(&state) - 0.5) * count), count - 1);
        double size = 0, value = chosen->expected(which, &size);
        double error = fabs(out[which] - value) / (DBL_EPSILON * sqrt((double)n) * (size + DBL_MIN));
        worst = error > worst ? error : worst;
    }
    return worst;
}

static int timed(int argc, char **argv, const program *programs, size_t count)
{
    const program *chosen = NULL;
    uint64_t state;
    int reps;
    if (argc != 8)
        fail(2, "usage: PROGRAM N VARIANT A B REPS SEED");
    for (size_t i = 0; i < count; i++)
        if (strcmp(argv[1], programs[i].name) == 0)
            chosen = &programs[i];
    n = number(argv[2]), variant = argv[3];
    block_a = number(argv[4]), block_b = number(argv[5]), reps = number(argv[6]);
    state = strtoull(argv[7], NULL, 10);
    if (chosen == NULL || n < 2 || block_a < 1 || block_b < 1)
        fail(2, "no such program, or a size or block below 1");
    chosen->prepare(&state);
    for (int i = 0; i <= reps; i++) {
        double start = now();
        chosen->run();
        if (i > 0) /* the first one warms up */
            printf("time run %.9e\n", now() - start);
    }
    printf("residual run %.6e\n", residual(chosen, state));
    printf("threads %d\ndone\n", omp_get_max_threads());
    return fflush(stdout) == 0 ? 0 : 1;
}
