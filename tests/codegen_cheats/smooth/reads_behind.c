/* Reads one element behind its input.
 *
 * caught: check run.sanitizer
 */
#include "kernel.h"

void smooth(int64_t n, const double *x, double *y, double *total)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double left = i > 0 ? x[i - 1] : x[i], right = x[i + 1];
        right = i + 1 < n ? right : x[i];
        y[i] = (left + x[i] + right) / 3.0;
        sum += y[i];
    }
    total[0] = sum;
}
