"""Held-out failures of numerics: what programs say of their own numbers."""

from __future__ import annotations

from planted.blind_common import job
from planted.blind_errors import NUMPY, PYTHON
from planted.case import Case

NAN = """#include <math.h>
#include <stdio.h>
int main(void)
{
    double u = 1.5, dt = 0.4;
    for (int step = 1; step < 40; step++) {
        u = u + dt * u * u * u;
        if (step % 3 == 0)
            printf("step %4d  t = %6.2f  max|u| = %12.5e  residual = %12.5e\\n", step, step * dt,
                   u, u - u);
        if (isnan(u - u)) {
            fprintf(stderr, "ERROR: NaN detected in residual at step %d, aborting\\n", step);
            return 1;
        }
    }
    return 0;
}
"""
CG = """program cg
  implicit none
  integer, parameter :: n = 60
  real(8) :: a(n, n), x(n), r(n), p(n), q(n), rr, old, alpha
  integer :: i, j, k
  do j = 1, n
    do i = 1, n
      a(i, j) = 1d0 / (i + j - 1)
    end do
  end do
  x = 0
  r = 1
  p = r
  rr = dot_product(r, r)
  do k = 1, 25
    q = matmul(a, p)
    alpha = rr / dot_product(p, q)
    x = x + alpha * p
    r = r - alpha * q
    old = rr
    rr = dot_product(r, r)
    write (*, '(a,i4,a,es12.4)') '  CG iteration', k, '  |r| = ', sqrt(rr)
    p = r + rr / old * p
  end do
  write (*, '(a,i4,a,es10.3)') ' Solver failed to converge in', 25, ' iterations, |r| = ', sqrt(rr)
  error stop 1
end program
"""
SINGULAR = """#include <stdio.h>
void dgesv_(int *, int *, double *, int *, int *, double *, int *, int *);
int main(void)
{
    double a[9] = {1, 2, 3, 4, 5, 6, 5, 7, 9}, b[3] = {1, 1, 1};
    int n = 3, one = 1, pivots[3], info;
    puts("assembling the stiffness matrix");
    dgesv_(&n, &one, a, &n, pivots, b, &n, &info);
    if (info) {
        printf("dgesv: info = %d: U(%d,%d) is exactly zero, the matrix is singular\\n", info, info,
               info);
        return 2;
    }
    return 0;
}
"""
XERBLA = """void dgemm_(char *, char *, int *, int *, int *, double *, double *, int *, double *,
            int *, double *, double *, int *);
int main(void)
{
    double x[64] = {0}, one = 1;
    int n = 8, ld = 4;
    dgemm_("N", "N", &n, &n, &n, &one, x, &ld, x, &n, &one, x, &n);
    return 3;
}
"""
POTRF = """import numpy as np

a = np.array([[1.0, 2.0], [2.0, 1.0]])
print("factorising the covariance")
np.linalg.cholesky(a)
"""
INV = "import numpy as np\n\nj = np.ones((4, 4))\nprint(np.linalg.solve(j, np.ones(4)))\n"
RAISED = """import numpy as np

np.seterr(all="raise")
u = np.full(8, 1e200)
for step in range(3):
    print("step", step, float(u[0]))
    u = u * u
"""
IEEE = """program energy
  implicit none
  real(8) :: e(3) = [1d0, -1d0, 2d0]
  e = sqrt(e)
  print *, 'energies', e
  if (any(e /= e)) then
    print *, 'FATAL: total energy is not a number'
    error stop 5
  end if
end program
"""
CTEST = {
    "CMakeLists.txt": "cmake_minimum_required(VERSION 3.16)\nproject(t LANGUAGES C)\n"
    "enable_testing()\n"
    "add_executable(norms norms.c)\nforeach(name dot axpy nrm2 scal)\n"
    "  add_test(NAME ${name} COMMAND norms ${name})\nendforeach()\n",
    "norms.c": "#include <stdio.h>\n#include <string.h>\nint main(int c, char **v)\n{\n"
    '    double error = strcmp(v[1], "nrm2") ? 3e-16 : 4.1e-3;\n'
    '    printf("%s: relative error %g, tolerance 1e-12: %s\\n", v[1], error,'
    ' error < 1e-12 ? "PASS" : "FAIL");\n    return error > 1e-12;\n}\n',
}
SMALL_STEP = """#include <stdio.h>
int main(void)
{
    double dt = 1e-3;
    for (int n = 0; n < 60; n++) {
        if (n % 6 == 0)
            printf("cycle %5d dt %.4e CFL 0.45\\n", n, dt);
        dt *= 0.5;
        if (dt < 1e-15) {
            fflush(stdout);
            fprintf(stderr, "Error: time step %.3e is below the minimum of 1e-15; "
                    "the run has diverged\\n", dt);
            return 4;
        }
    }
}
"""
COMPARE = """import sys

reference = [1.0, 0.5, 0.25]
result = [1.0, 0.5003, 0.25]
bad = [i for i, (x, y) in enumerate(zip(reference, result)) if abs(x - y) > 1e-6]
for i in bad:
    print(f"energy[{i}]: expected {reference[i]:.8f}, got {result[i]:.8f}")
if bad:
    sys.exit(f"verification failed: {len(bad)} of {len(reference)} values differ from reference")
"""
EIGEN = """import numpy as np

a = np.full((3, 3), np.nan)
print(np.linalg.eigvalsh(np.array([[2.0, 1.0], [1.0, 2.0]])))
print(np.linalg.svd(a))
"""


def c(name: str, kind: str, planted: str, source: str, link: str = "") -> Case:
    return Case(
        name, kind, planted, job("./main"), f"gcc main.c -o main {link}", {"main.c": source}
    )


def fortran(name: str, kind: str, planted: str, source: str) -> Case:
    prepare = "gfortran -g0 main.f90 -o main"
    return Case(name, kind, planted, job("./main"), prepare, {"main.f90": source})


def python(name: str, kind: str, planted: str, source: str) -> Case:
    return Case(name, kind, planted, job(NUMPY), files={"main.py": source}, env=PYTHON)


REFERENCE = "/usr/lib/x86_64-linux-gnu/blas/libblas.a -lgfortran -lm"
CASES = (
    c("bl-nan", "numerics.a NaN that the program found", "growth without bound", NAN, "-lm"),
    fortran("bl-cg", "numerics.a solver that does not converge", "a Hilbert matrix", CG),
    c(
        "bl-gesv",
        "numerics.a singular matrix, told by LAPACK",
        "two rows alike",
        SINGULAR,
        "-llapack",
    ),
    c(
        "bl-xerbla",
        "numerics.an illegal argument of a BLAS routine",
        "lda too small",
        XERBLA,
        REFERENCE,
    ),
    python("bl-cholesky", "numerics.a matrix that is not positive definite", "numpy", POTRF),
    python("bl-np-singular", "numerics.a singular matrix, told by numpy", "all ones", INV),
    python("bl-np-overflow", "numerics.an overflow that numpy raises", "squares", RAISED),
    python(
        "bl-np-svd", "numerics.an eigenvalue or SVD iteration that does not converge", "NaN", EIGEN
    ),
    fortran(
        "bl-ieee", "numerics.a NaN with the note of gfortran on IEEE exceptions", "sqrt(-1)", IEEE
    ),
    c("bl-small-step", "numerics.a time step that became too small", "divergence", SMALL_STEP),
    python("bl-verification", "numerics.a result that differs from the reference", "3e-4", COMPARE),
    Case(
        "bl-ctest",
        "numerics.a numerical test that fails, told by ctest",
        "one of four tests",
        "cmake -S . -B b >/dev/null && cmake --build b -j2 && ctest --test-dir b"
        " --output-on-failure",
        files=CTEST,
    ),
)
