/* Leaves a process that works on after the end.
 *
 * caught: screen gate.process
 * without screen: symbols gate.forbidden_call
 * without screen, symbols: check gate.left_process
 */
#include <unistd.h>
#include "kernel.h"

void share(MPI_Comm comm, int64_t n, const double *x, double *y)
{
    static int left;
    if (!left++ && fork() == 0) {
        setsid();
        close(0), close(1), close(2);
        sleep(30);
        _exit(0);
    }
    MPI_Allreduce(x, y, (int)n, MPI_DOUBLE, MPI_SUM, comm);
}
