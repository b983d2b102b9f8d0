/* Has its function chosen before main, in the words of the compiler.
 *
 * caught: symbols gate.symbol
 */
#include "kernel.h"

__attribute__((target_clones("avx2", "default")))
void smooth(int64_t n, const double *x, double *y, double *total)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double left = i > 0 ? x[i - 1] : x[i], right = i + 1 < n ? x[i + 1] : x[i];
        y[i] = (left + x[i] + right) / 3.0;
        sum += y[i];
    }
    total[0] = sum;
}
