/* Takes all memory.
 *
 * caught: check run.out_of_memory
 */
#include <stdlib.h>
#include <string.h>
#include "kernel.h"

static char *volatile all[100000];

void smooth(int64_t n, const double *x, double *y, double *total)
{
    for (int i = 0; i < 100000; i++) {
        all[i] = malloc(1 << 20);
        if (all[i])
            memset(all[i], 1, 1 << 20);
    }
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double left = i > 0 ? x[i - 1] : x[i], right = i + 1 < n ? x[i + 1] : x[i];
        y[i] = (left + x[i] + right) / 3.0;
        sum += y[i];
    }
    total[0] = sum;
}
