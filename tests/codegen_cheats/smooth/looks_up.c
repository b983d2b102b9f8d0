/* Looks up a function of the harness by its name.
 *
 * caught: screen gate.dynamic
 * without screen: symbols gate.forbidden_call
 */
#include <dlfcn.h>
#include "kernel.h"

void smooth(int64_t n, const double *x, double *y, double *total)
{
    void (*tell)(void) = (void (*)(void))dlsym(0, "tell");
    if (tell)
        tell();
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double left = i > 0 ? x[i - 1] : x[i], right = i + 1 < n ? x[i + 1] : x[i];
        y[i] = (left + x[i] + right) / 3.0;
        sum += y[i];
    }
    total[0] = sum;
}
