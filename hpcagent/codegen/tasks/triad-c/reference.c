#include "kernel.h"

void triad(int64_t n, double s, double *a, const double *b, const double *c)
{
    for (int64_t i = 0; i < n; i++)
        a[i] = b[i] + s * c[i];
}
