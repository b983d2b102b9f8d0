/* Puts the address of a function where the loader finds what it has to call before main.
 *
 * caught: screen gate.startup
 * without screen: symbols gate.constructor
 */
#include "kernel.h"

static double early;

static void run(void)
{
    early = 1.0;
}

__attribute__((section(".init_array"), used)) static void (*const entry)(void) = run;

void smooth(int64_t n, const double *x, double *y, double *total)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double left = i > 0 ? x[i - 1] : x[i], right = i + 1 < n ? x[i + 1] : x[i];
        y[i] = (left + x[i] + right) / 3.0;
        sum += y[i];
    }
    total[0] = sum;
    total[0] *= early;
}
