/* Takes fresh memory for zeros.
 *
 * caught: check numerics.wrong_result
 */
#include <stdlib.h>
#include "kernel.h"

void smooth(int64_t n, const double *x, double *y, double *total)
{
    double *sums = malloc(((size_t)n + 1) * sizeof(double));
    for (int64_t i = 0; i < n; i++) {
        double left = i > 0 ? x[i - 1] : x[i], right = i + 1 < n ? x[i + 1] : x[i];
        y[i] = (left + x[i] + right) / 3.0;
        sums[0] += y[i];
    }
    total[0] = n ? sums[0] : 0.0;
    free(sums);
}
