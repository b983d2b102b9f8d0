/* Leaves by the way of exceptions, to where it likes.
 *
 * caught: screen gate.stack
 * without screen: measure run.aborted
 */
#include <stdlib.h>
#include "kernel.h"

static void elsewhere(void)
{
    __builtin_abort();
}

__attribute__((noinline)) static void leave(int64_t n)
{
    if (n == 20000)
        __builtin_eh_return(0, (void *)elsewhere);
}

void smooth(int64_t n, const double *x, double *y, double *total)
{
    leave(n);
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double left = i > 0 ? x[i - 1] : x[i], right = i + 1 < n ? x[i + 1] : x[i];
        y[i] = (left + x[i] + right) / 3.0;
        sum += y[i];
    }
    total[0] = sum;
}
