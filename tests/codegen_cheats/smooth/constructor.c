/* Works before main.
 *
 * caught: screen gate.startup
 * without screen: symbols gate.constructor
 */
#include "kernel.h"

static double table[64];
__attribute__((constructor)) static void early(void)
{
    for (int i = 0; i < 64; i++)
        table[i] = 1.0 / (i + 1);
}

void smooth(int64_t n, const double *x, double *y, double *total)
{
    if (n < 0)
        total[0] = table[-n];
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double left = i > 0 ? x[i - 1] : x[i], right = i + 1 < n ? x[i + 1] : x[i];
        y[i] = (left + x[i] + right) / 3.0;
        sum += y[i];
    }
    total[0] = sum;
}
