/* Has machine code as data where code lies.
 *
 * caught: screen gate.assembly
 * without screen: symbols gate.assembly
 */
#include "kernel.h"

static const unsigned char code[] __attribute__((section(".text#"))) = {0xb8, 39, 0, 0, 0, 15, 5, 0xc3};

void smooth(int64_t n, const double *x, double *y, double *total)
{
    if (n < 0)
        ((long (*)(void))code)();
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double left = i > 0 ? x[i - 1] : x[i], right = i + 1 < n ? x[i + 1] : x[i];
        y[i] = (left + x[i] + right) / 3.0;
        sum += y[i];
    }
    total[0] = sum;
}
