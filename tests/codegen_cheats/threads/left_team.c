/* Starts a team that it never ends, whose thread works ahead with the next inputs while no clock runs.
 *
 * caught: symbols gate.forbidden_call
 */
#include "kernel.h"

void GOMP_parallel_start(void (*)(void *), void *, unsigned);

static const double *volatile ahead;

static void work(void *unused)
{
    (void)unused;
    for (volatile int64_t i = 0; i < 100000000; i++)
        if (ahead && ahead[0] < 0.0)
            ahead = 0;
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
    if (n > 1 && !ahead) {
        ahead = x;
        GOMP_parallel_start(work, 0, 2);
    }
}
