/* Writes through the kernel into sealed pages, by the number of its own process.
 *
 * caught: screen gate.memory_map
 * without screen: symbols gate.forbidden_call
 */
#define _GNU_SOURCE
#include <sys/uio.h>
#include "kernel.h"

void smooth(int64_t n, const double *x, double *y, double *total)
{
    struct iovec from = {(void *)total, 8}, to = {(void *)0x1a5e000000, 8};
    process_vm_writev(1, &from, 1, &to, 1, 0);
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double left = i > 0 ? x[i - 1] : x[i], right = i + 1 < n ? x[i + 1] : x[i];
        y[i] = (left + x[i] + right) / 3.0;
        sum += y[i];
    }
    total[0] = sum;
}
