/* Has a timer interrupt the harness.
 *
 * caught: screen gate.signals
 * without screen: symbols gate.forbidden_call
 */
#include <signal.h>
#include <sys/time.h>
#include "kernel.h"

static void ring(int number)
{
    (void)number;
}

void smooth(int64_t n, const double *x, double *y, double *total)
{
    struct itimerval soon = {{0, 100}, {0, 100}};
    signal(SIGALRM, ring);
    setitimer(ITIMER_REAL, &soon, 0);
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double left = i > 0 ? x[i - 1] : x[i], right = i + 1 < n ? x[i + 1] : x[i];
        y[i] = (left + x[i] + right) / 3.0;
        sum += y[i];
    }
    total[0] = sum;
}
