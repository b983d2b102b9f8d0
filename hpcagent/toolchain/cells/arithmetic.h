/* Loops that a compiler turns into what -march allows (fused multiply-add, wide vectors). */
#ifndef CELL_ARITHMETIC_H
#define CELL_ARITHMETIC_H

#define CELL_LENGTH 1024

static int arithmetic_wrong(void)
{
    static double x[CELL_LENGTH], y[CELL_LENGTH];
    static float s[CELL_LENGTH];
    volatile double factor = 3.0;
    const double a = factor;
    double sum = 0.0;
    int i;
    for (i = 0; i < CELL_LENGTH; i++) {
        x[i] = i;
        y[i] = 1.0;
        s[i] = (float)i;
    }
    for (i = 0; i < CELL_LENGTH; i++)
        y[i] = a * x[i] + y[i];
    for (i = 0; i < CELL_LENGTH; i++)
        s[i] = s[i] * (float)a + 1.0f;
    for (i = 0; i < CELL_LENGTH; i++)
        sum += x[i] * 2.0 + y[i] + (double)s[i];
    /* n(n-1)/2 (2 + a + a) + 2n */
    return sum != (double)CELL_LENGTH * (CELL_LENGTH - 1) / 2 * 8.0 + 2.0 * CELL_LENGTH;
}

#endif
