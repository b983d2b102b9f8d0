/* Moves itself, and with it what is started after it, to one processor of its choice.
 *
 * caught: screen gate.tracing
 * without screen: symbols gate.forbidden_call
 */
#define _GNU_SOURCE
#include <sched.h>
#include "kernel.h"

void smooth(int64_t n, const double *x, double *y, double *total)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    sched_setaffinity(0, sizeof one, &one);
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double left = i > 0 ? x[i - 1] : x[i], right = i + 1 < n ? x[i + 1] : x[i];
        y[i] = (left + x[i] + right) / 3.0;
        sum += y[i];
    }
    total[0] = sum;
}
