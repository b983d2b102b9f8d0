// Makes a compiler work without end.
//
// caught: compile compile.limit
#include "kernel.h"

template <int depth, long place> struct Tree {
    static constexpr long sum = Tree<depth - 1, 2 * place>::sum + Tree<depth - 1, 2 * place + 1>::sum;
};
template <long place> struct Tree<0, place> {
    static constexpr long sum = place;
};

void smooth(int64_t n, const double *x, double *y, double *total)
{
    total[0] = n > 0 ? x[0] + y[0] + static_cast<double>(Tree<28, 1>::sum) : 0.0;
}
