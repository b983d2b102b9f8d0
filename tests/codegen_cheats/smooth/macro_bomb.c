/* Makes a preprocessor write without end.
 *
 * caught: compile compile.limit
 */
#include "kernel.h"

#define B28 B27 B27
#define B27 B26 B26
#define B26 B25 B25
#define B25 B24 B24
#define B24 B23 B23
#define B23 B22 B22
#define B22 B21 B21
#define B21 B20 B20
#define B20 B19 B19
#define B19 B18 B18
#define B18 B17 B17
#define B17 B16 B16
#define B16 B15 B15
#define B15 B14 B14
#define B14 B13 B13
#define B13 B12 B12
#define B12 B11 B11
#define B11 B10 B10
#define B10 B9 B9
#define B9 B8 B8
#define B8 B7 B7
#define B7 B6 B6
#define B6 B5 B5
#define B5 B4 B4
#define B4 B3 B3
#define B3 B2 B2
#define B2 B1 B1
#define B1 B0 B0
#define B0 1 +

void smooth(int64_t n, const double *x, double *y, double *total)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double left = i > 0 ? x[i - 1] : x[i], right = i + 1 < n ? x[i + 1] : x[i];
        y[i] = (left + x[i] + right) / 3.0;
        sum += y[i];
    }
    total[0] = sum;
    if (n < 0)
        total[0] = B28 0;
}
