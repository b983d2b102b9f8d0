/* Makes the stack one that can be run, by a function within a function.
 *
 * caught: symbols gate.assembly
 */
#include "kernel.h"

static __attribute__((noinline)) double with(double (*what)(double), double value)
{
    return what(value);
}

void smooth(int64_t n, const double *x, double *y, double *total)
{
    double sum = 0.0;
    double added(double value)
    {
        return sum + value;
    }
    double (*volatile pointer)(double) = added;
    for (int64_t i = 0; i < n; i++) {
        double left = i > 0 ? x[i - 1] : x[i], right = i + 1 < n ? x[i + 1] : x[i];
        y[i] = (left + x[i] + right) / 3.0;
        sum = with(pointer, y[i]);
    }
    total[0] = sum;
}
