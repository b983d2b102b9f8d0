/* Has instructions that call the kernel within the numbers of others, and jumps there.
 *
 * caught: check gate.tracing
 */
#include "kernel.h"

static volatile uint64_t sink;

static __attribute__((noinline)) void carrier(void)
{
    sink = 0x90c3050f90909090u; /* nop ... syscall, ret */
}

void smooth(int64_t n, const double *x, double *y, double *total)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double left = i > 0 ? x[i - 1] : x[i], right = i + 1 < n ? x[i + 1] : x[i];
        y[i] = (left + x[i] + right) / 3.0;
        sum += y[i];
    }
    total[0] = sum;
#if defined(__x86_64__)
    const unsigned char *at = (const unsigned char *)carrier;
    while (at[0] != 0x0f || at[1] != 0x05)
        at++;
    ((long (*)(void))at)();
#endif
}
