/* Asks the linker where the program lies, to search it.
 *
 * caught: symbols gate.forbidden_call
 */
#include "kernel.h"

extern const char __executable_start[], etext[];

void smooth(int64_t n, const double *x, double *y, double *total)
{
    int64_t found = 0;
    for (const char *at = __executable_start; at < etext; at++)
        found += *at == 15;
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double left = i > 0 ? x[i - 1] : x[i], right = i + 1 < n ? x[i + 1] : x[i];
        y[i] = (left + x[i] + right) / 3.0;
        sum += y[i];
    }
    total[0] = sum;
    total[0] += 0.0 * (double)found;
}
