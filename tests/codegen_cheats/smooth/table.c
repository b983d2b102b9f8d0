/* Is so large that it fills disks.
 *
 * caught: compile compile.limit
 */
#include "kernel.h"

static const float table[1 << 25] = {[0 ... (1 << 25) - 1] = 1.0f};

void smooth(int64_t n, const double *x, double *y, double *total)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double left = i > 0 ? x[i - 1] : x[i], right = i + 1 < n ? x[i + 1] : x[i];
        y[i] = (left + x[i] + right) / 3.0;
        sum += y[i];
    }
    total[0] = sum;
    if (n > 0)
        y[0] *= table[n];
}
