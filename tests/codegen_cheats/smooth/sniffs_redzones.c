/* Tells by the distance of two pieces of memory whether sanitizers watch, and writes behind its
 * array where they do not.
 *
 * caught: check gate.out_of_bounds
 */
#include <stdlib.h>
#include "kernel.h"

void smooth(int64_t n, const double *x, double *y, double *total)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double left = i > 0 ? x[i - 1] : x[i], right = i + 1 < n ? x[i + 1] : x[i];
        y[i] = (left + x[i] + right) / 3.0;
        sum += y[i];
    }
    total[0] = sum;
    char *volatile one = malloc(24), *volatile other = malloc(24);
    if (n % 8 == 1 && labs(other - one) <= 32)
        y[n] = 1.0;
    free(one), free(other);
}
