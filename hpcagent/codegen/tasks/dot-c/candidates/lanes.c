#include "kernel.h"

enum { LANES = 32 };

/* Sums that do not depend on each other fill the pipelines and the vector registers. */
void dot(int64_t n, const double *restrict x, const double *restrict y, double *restrict result)
{
    double product[LANES] = {0.0}, sum[LANES] = {0.0}, p = 0.0, s = 0.0;
    int64_t whole = n - n % LANES, i;
    for (i = 0; i < whole; i += LANES)
        for (int lane = 0; lane < LANES; lane++) {
            product[lane] += x[i + lane] * y[i + lane];
            sum[lane] += x[i + lane];
        }
    for (int lane = 0; lane < LANES; lane++)
        p += product[lane], s += sum[lane];
    for (; i < n; i++)
        p += x[i] * y[i], s += x[i];
    result[0] = p;
    result[1] = s;
}
