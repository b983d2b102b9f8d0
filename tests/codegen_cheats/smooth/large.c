/* Has an array that is larger than the task allows, and uses all of it.
 *
 * caught: check run.out_of_memory
 */
#include "kernel.h"

static double table[INT64_C(1) << 27];

void smooth(int64_t n, const double *x, double *y, double *total)
{
    for (int64_t i = 0; i < INT64_C(1) << 27; i += 256)
        table[i] = 1.0;
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double left = i > 0 ? x[i - 1] : x[i], right = i + 1 < n ? x[i + 1] : x[i];
        y[i] = (left + x[i] + right) / 3.0;
        sum += y[i];
    }
    total[0] = sum;
    total[0] *= table[(n & 1) << 8];
}
