/* Has an object that is made before main.
 *
 * caught: symbols gate.constructor
 */
#include "kernel.h"

namespace {
volatile int number = 3;
int count() { return number; }
struct Early {
    double table[8];
    Early() { for (double &value : table) value = 1.0 / count(); }
};
Early early;
} // namespace

void smooth(int64_t n, const double *x, double *y, double *total)
{
    if (n < 0)
        y[0] = early.table[-n];
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double left = i > 0 ? x[i - 1] : x[i], right = i + 1 < n ? x[i + 1] : x[i];
        y[i] = (left + x[i] + right) / 3.0;
        sum += y[i];
    }
    total[0] = sum;
}
