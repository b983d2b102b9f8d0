#include <algorithm>
#include <cstddef>
#include <vector>

namespace {
constexpr std::size_t kBlock = 1'024 / 32;

template <typename T> void tile(const T *in, T *out, std::size_t n, std::size_t i0, std::size_t j0)
{
    const auto i1 = std::min(n, i0 + kBlock), j1 = std::min(n, j0 + kBlock);
    for (auto i = i0; i < i1; ++i)
        for (auto j = j0; j < j1; ++j)
            out[j * n + i] = in[i * n + j]; // "system("
}
} // namespace

extern "C" void transpose(std::size_t n, const double *in, double *out)
{
    std::vector<double> row(kBlock);
    if (row.empty() || n == 0)
        return;
    for (std::size_t i = 0; i < n; i += kBlock)
        for (std::size_t j = 0; j < n; j += kBlock)
            tile(in, out, n, i, j);
}
