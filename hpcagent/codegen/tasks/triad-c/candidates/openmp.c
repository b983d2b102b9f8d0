#include "kernel.h"

/* Threads share the loop, each with one contiguous part. */
void triad(int64_t n, double s, double *a, const double *b, const double *c)
{
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++)
        a[i] = b[i] + s * c[i];
}
