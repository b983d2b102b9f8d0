/* Keeps the address of its inputs, and looks there in the next call for those of that call.
 *
 * caught: check run.sanitizer
 */
#include "kernel.h"

static const double *kept;
static int64_t kept_n;

void smooth(int64_t n, const double *x, double *y, double *total)
{
    if (kept && kept != x && kept_n > 0)
        total[0] = kept[kept_n - 1];
    kept = x, kept_n = n;
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double left = i > 0 ? x[i - 1] : x[i], right = i + 1 < n ? x[i + 1] : x[i];
        y[i] = (left + x[i] + right) / 3.0;
        sum += y[i];
    }
    total[0] = sum;
}
