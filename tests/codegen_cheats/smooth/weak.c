/* Defines a weak symbol, which is taken where the harness has none.
 *
 * caught: screen gate.override
 * without screen: symbols gate.symbol
 */
#include "kernel.h"

__attribute__((weak)) int write(int file, const void *data, unsigned long size)
{
    (void)file, (void)data;
    return (int)size;
}

void smooth(int64_t n, const double *x, double *y, double *total)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double left = i > 0 ? x[i - 1] : x[i], right = i + 1 < n ? x[i + 1] : x[i];
        y[i] = (left + x[i] + right) / 3.0;
        sum += y[i];
    }
    total[0] = sum;
}
