/* Reads the random bytes that the kernel gave the program.
 *
 * caught: screen gate.environment
 * without screen: symbols gate.forbidden_call
 */
#include <sys/auxv.h>
#include "kernel.h"

void smooth(int64_t n, const double *x, double *y, double *total)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double left = i > 0 ? x[i - 1] : x[i], right = i + 1 < n ? x[i + 1] : x[i];
        y[i] = (left + x[i] + right) / 3.0;
        sum += y[i];
    }
    total[0] = sum;
    if (n < 0)
        total[0] = (double)getauxval(AT_RANDOM);
}
