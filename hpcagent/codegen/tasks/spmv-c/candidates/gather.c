#include "kernel.h"
#ifdef __AVX512F__
#include <immintrin.h>
#endif

enum { WIDTH = 8 };

/* One thread; a row's elements of x are gathered eight at a time, the last ones under a mask. */
static double row(int32_t count, const int32_t *columns, const double *values, const double *x)
{
#if defined(__AVX512F__) && defined(__AVX512VL__)
    __m512d sum = _mm512_setzero_pd();
    for (; count >= WIDTH; count -= WIDTH, columns += WIDTH, values += WIDTH) {
        __m256i at = _mm256_loadu_si256((const void *)columns);
        sum = _mm512_fmadd_pd(_mm512_loadu_pd(values), _mm512_i32gather_pd(at, x, 8), sum);
    }
    __mmask8 rest = (__mmask8)((1u << count) - 1);
    __m256i at = _mm256_maskz_loadu_epi32(rest, columns);
    __m512d found = _mm512_mask_i32gather_pd(_mm512_setzero_pd(), rest, at, x, 8);
    sum = _mm512_mask3_fmadd_pd(_mm512_maskz_loadu_pd(rest, values), found, sum, rest);
    return _mm512_reduce_add_pd(sum);
#else
    double even = 0.0, odd = 0.0;
    int32_t k = 0;
    for (; k + 1 < count; k += 2) {
        even += values[k] * x[columns[k]];
        odd += values[k + 1] * x[columns[k + 1]];
    }
    return k < count ? even + odd + values[k] * x[columns[k]] : even + odd;
#endif
}

void spmv(int32_t rows, int32_t cols, int32_t nonzeros, const int32_t *offsets,
          const int32_t *columns, const double *values, const double *x, double *y)
{
    (void)cols, (void)nonzeros;
    for (int32_t i = 0; i < rows; i++)
        y[i] = row(offsets[i + 1] - offsets[i], columns + offsets[i], values + offsets[i], x);
}
