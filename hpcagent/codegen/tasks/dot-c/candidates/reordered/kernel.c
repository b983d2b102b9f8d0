#include "kernel.h"

/* The plain loop: build.yaml allows the compiler to add in another order, so it can use vectors. */
void dot(int64_t n, const double *restrict x, const double *restrict y, double *restrict result)
{
    double product = 0.0, sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        product += x[i] * y[i];
        sum += x[i];
    }
    result[0] = product;
    result[1] = sum;
}
