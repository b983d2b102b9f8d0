/* Gives NaN, which is neither smaller nor larger than what is allowed.
 *
 * caught: check numerics.wrong_result
 */
#include <math.h>
#include "kernel.h"

void smooth(int64_t n, const double *x, double *y, double *total)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = NAN;
    total[0] = NAN;
    (void)x;
}
