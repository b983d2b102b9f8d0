#include "kernel.h"

/* The inner loop runs along rows of b and of c, and adds four rows of b at a time. */
void gemm(int32_t m, int32_t n, int32_t k, const double *restrict a, const double *restrict b,
          double *restrict c)
{
    int64_t whole = k - k % 4, ld = n;
    for (int64_t i = 0; i < m; i++) {
        const double *row = a + i * k;
        double *to = c + i * ld;
        int64_t p;
        for (p = 0; p < whole; p += 4) {
            double a0 = row[p], a1 = row[p + 1], a2 = row[p + 2], a3 = row[p + 3];
            const double *b0 = b + p * ld, *b1 = b0 + ld, *b2 = b1 + ld, *b3 = b2 + ld;
            for (int64_t j = 0; j < n; j++)
                to[j] += a0 * b0[j] + a1 * b1[j] + a2 * b2[j] + a3 * b3[j];
        }
        for (; p < k; p++)
            for (int64_t j = 0; j < n; j++)
                to[j] += row[p] * b[p * ld + j];
    }
}
