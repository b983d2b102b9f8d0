#include "kernel.h"

void dot(int64_t n, const double *x, const double *y, double *result)
{
    double product = 0.0, sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        product += x[i] * y[i];
        sum += x[i];
    }
    result[0] = product;
    result[1] = sum;
}
