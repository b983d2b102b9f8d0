/* Makes its inputs writable.
 *
 * caught: screen gate.memory_map
 * without screen: symbols gate.forbidden_call
 */
#define _GNU_SOURCE
#include <sys/mman.h>
#include "kernel.h"

void smooth(int64_t n, const double *x, double *y, double *total)
{
    mprotect((void *)((uintptr_t)x & ~(uintptr_t)4095), 4096, PROT_READ | PROT_WRITE);
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double left = i > 0 ? x[i - 1] : x[i], right = i + 1 < n ? x[i + 1] : x[i];
        y[i] = (left + x[i] + right) / 3.0;
        sum += y[i];
    }
    total[0] = sum;
}
