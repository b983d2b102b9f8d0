"""Wrong numbers and refused arguments."""

from __future__ import annotations

from planted.case import Case

XERBLA = {
    "x.f90": "program x\n  real(8) :: a(4), b(4), c(4)\n  a = 1\n  b = 1\n  c = 0\n"
    "  call dgemm('N', 'N', 2, 2, 2, 1d0, a, 1, b, 2, 0d0, c, 2)\n"
    "  if (abs(c(1) - 2) > 1d-12) stop 2\nend program\n"
}
SINGULAR = {
    "i.f90": "program i\n  real(8) :: a(3, 3), b(3)\n  integer :: p(3), info\n  a = 1\n  b = 1\n"
    "  call dgesv(3, 1, a, 3, p, b, 3, info)\n"
    "  if (info /= 0) then\n    write (*, '(a, i0)') ' dgesv: INFO = ', info\n    stop 1\n"
    "  end if\nend program\n"
}
CHOLESKY = {
    "c.c": "#include <stdio.h>\nvoid dpotrf_(const char *, int *, double *, int *, int *);\n"
    "int main(void)\n{\n    double a[4] = {1, 2, 2, 1};\n    int n = 2, info;\n"
    '    dpotrf_("U", &n, a, &n, &info);\n    if (info > 0)\n'
    '        fprintf(stderr, "dpotrf failed: the leading minor of order %d is not positive'
    ' definite\\n", info);\n    return info != 0;\n}\n'
}
LINPACK = {
    "h.c": "#include <stdio.h>\nint main(int n, char **v)\n{\n    double r = 4.7e9 * n;\n"
    '    printf("||Ax-b||_oo/(eps*(||A||_oo*||x||_oo+||b||_oo)*N)= %16.7e ...... %s\\n",\n'
    '           r, r < 16 && v ? "PASSED" : "FAILED");\n    return r > 16;\n}\n'
}
NAN = {
    "n.c": "#include <math.h>\n#include <stdio.h>\nint main(int n, char **v)\n{\n"
    "    double r = 10 * sqrt(n - 2.0);\n    for (int i = 1; i < 3; i++)\n"
    '        printf("iteration %d residual = %g\\n", i, r);\n'
    '    if (isnan(r) && v)\n        fprintf(stderr, "residual is NaN: giving up\\n");\n'
    "    return isnan(r) != 0;\n}\n"
}
SIGNALS = {
    "s.f90": "program s\n  real :: a, b\n  read (*, *) a, b\n  print *, a / b - a / b\n"
    "  error stop 'solution is not finite'\nend program\n"
}

CASES = (
    Case(
        "xerbla",
        "numerics.illegal_argument",
        "a leading dimension that is too small",
        "./x",
        "gfortran x.f90 -o x -lopenblas",
        XERBLA,
    ),
    Case(
        "singular",
        "numerics.info",
        "a singular matrix",
        "./i",
        "gfortran i.f90 -o i -lopenblas",
        SINGULAR,
    ),
    Case(
        "not-definite",
        "numerics.info",
        "a matrix that is not positive definite",
        "./c",
        "gcc c.c -o c -lopenblas",
        CHOLESKY,
    ),
    Case(
        "residual",
        "numerics.residual",
        "a residual above HPL's threshold, in HPL's words",
        "./h",
        "gcc h.c -o h",
        LINPACK,
    ),
    Case(
        "nan", "numerics.nan", "a square root of a negative number", "./n", "gcc n.c -o n -lm", NAN
    ),
    Case(
        "exceptions",
        "numerics.nan",
        "a division of zero by zero, noted at the end",
        "echo 0 0 | ./s",
        "gfortran s.f90 -o s",
        SIGNALS,
    ),
)
