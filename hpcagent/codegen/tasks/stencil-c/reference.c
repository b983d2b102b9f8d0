#include "kernel.h"

void stencil(int32_t rows, int32_t cols, double c, const double *u, double *v)
{
    for (int64_t j = 0; j < cols; j++)
        for (int64_t i = 0; i < rows; i++) {
            int64_t at = i * cols + j;
            if (i == 0 || j == 0 || i == rows - 1 || j == cols - 1)
                v[at] = u[at];
            else
                v[at] = u[at] + c * (u[at - cols] + u[at + cols] + u[at - 1] + u[at + 1] - 4.0 * u[at]);
        }
}
