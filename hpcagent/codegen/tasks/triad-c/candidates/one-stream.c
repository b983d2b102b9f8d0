#include "kernel.h"
#ifdef __AVX512F__
#include <immintrin.h>
#endif

enum { WIDTH = 8 };

/* One thread, and stores that pass the caches by: where other work keeps the cores busy, a second
 * thread is only one more to wait for. */
void triad(int64_t n, double s, double *a, const double *b, const double *c)
{
    int64_t first = 0;
#ifdef __AVX512F__
    __m512d factor = _mm512_set1_pd(s);
    for (; first + WIDTH <= n; first += WIDTH)
        _mm512_stream_pd(a + first, _mm512_fmadd_pd(factor, _mm512_load_pd(c + first),
                                                    _mm512_load_pd(b + first)));
    _mm_sfence();
#endif
    for (int64_t i = first; i < n; i++)
        a[i] = b[i] + s * c[i];
}
