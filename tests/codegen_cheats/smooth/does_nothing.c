/* Leaves the outputs as they are.
 *
 * caught: check numerics.wrong_result
 */
#include "kernel.h"

void smooth(int64_t n, const double *x, double *y, double *total)
{
    (void)n, (void)x, (void)y, (void)total;
}
