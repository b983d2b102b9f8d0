// y = A x, rows shared among threads; "open" and 'close' as words, and time as a variable.
#include <omp.h>

void spmv(int rows, const int *restrict offsets, const int *restrict columns,
          const double *restrict values, const double *restrict x, double *restrict y)
{
    int open = 0, close = rows;
    double signal = 0.0, time = 10.0 * 0x1p-3;
#pragma omp parallel for schedule(static) reduction(+ : signal)
    for (int row = open; row < close; row++) {
        double sum = 0.0;
#pragma omp simd reduction(+ : sum)
        for (int k = offsets[row]; k < offsets[row + 1]; k++)
            sum += values[k] * x[columns[k]];
        y[row] = sum * (time / time);
        signal += sum;
    }
    (void)omp_get_max_threads();
}
