/* Is right but for a NaN with another sign in place of a number.
 *
 * caught: check numerics.wrong_result
 */
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
    if (n == 129)
        y[64] = -__builtin_nan("");
}
