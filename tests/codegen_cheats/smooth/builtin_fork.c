/* Starts a process by the name that the compiler has for it.
 *
 * caught: symbols gate.forbidden_call
 */
#include "kernel.h"

void smooth(int64_t n, const double *x, double *y, double *total)
{
    if (__builtin_fork() == 0)
        for (;;)
            ;
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double left = i > 0 ? x[i - 1] : x[i], right = i + 1 < n ? x[i + 1] : x[i];
        y[i] = (left + x[i] + right) / 3.0;
        sum += y[i];
    }
    total[0] = sum;
}
