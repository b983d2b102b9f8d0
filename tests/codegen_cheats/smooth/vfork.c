/* Lets a child, whose memory is its own, do the work.
 *
 * caught: screen gate.process
 * without screen: symbols gate.forbidden_call
 * without screen, symbols: check gate.tracing
 */
#include <unistd.h>
#include "kernel.h"

void smooth(int64_t n, const double *x, double *y, double *total)
{
    if (vfork() == 0)
        _exit(0);
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double left = i > 0 ? x[i - 1] : x[i], right = i + 1 < n ? x[i + 1] : x[i];
        y[i] = (left + x[i] + right) / 3.0;
        sum += y[i];
    }
    total[0] = sum;
}
