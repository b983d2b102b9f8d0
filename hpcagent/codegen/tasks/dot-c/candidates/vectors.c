#include "kernel.h"

/* Four vectors of 64 bytes a sum: eight independent chains of additions hide their latency. Such
 * vectors are an extension of GCC and Clang; for narrower units the compiler splits them. */
typedef double vector __attribute__((vector_size(64), aligned(8), may_alias));

enum { WIDTH = 8, CHAINS = 4, STEP = WIDTH * CHAINS };

static double all(const vector *parts)
{
    vector sum = (parts[0] + parts[1]) + (parts[2] + parts[3]);
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

void dot(int64_t n, const double *restrict x, const double *restrict y, double *restrict result)
{
    vector products[CHAINS] = {{0.0}}, sums[CHAINS] = {{0.0}};
    int64_t whole = n - n % STEP, i;
    for (i = 0; i < whole; i += STEP) {
#pragma GCC unroll 4
        for (int c = 0; c < CHAINS; c++) {
            vector xs = *(const vector *)(x + i + c * WIDTH);
            products[c] += xs * *(const vector *)(y + i + c * WIDTH);
            sums[c] += xs;
        }
    }
    double p = all(products), s = all(sums);
    for (; i < n; i++)
        p += x[i] * y[i], s += x[i];
    result[0] = p;
    result[1] = s;
}
