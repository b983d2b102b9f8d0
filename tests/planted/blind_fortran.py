"""Held-out failures of compiling Fortran."""

from __future__ import annotations

from planted.blind_common import job, makefile
from planted.case import Case

MODULE = "module grid\n  implicit none\n  integer :: n = 4\nend module\n"
USES = "program main\n  use grid\n  implicit none\n  print *, n\nend program\n"
OLDER = (
    "gfortran -c grid.f90\ngunzip -c grid.mod > m\n"
    "sed -i \"1s/version '15'/version '14'/\" m\ngzip -c m > grid.mod"
)
MISMATCH = """program main
  implicit none
  real(8) :: x(4) = 1
  integer :: k(4) = 2
  call exchange(x, 4)
  call exchange(k, 4)
end program
"""
LONG = (
    "program main\n  implicit none\n  real(8) :: a_long_name = 1\n  a_long_name = "
    + " + ".join(["a_long_name"] * 12)
    + "\nend program\n"
)
FIXED = """      PROGRAM OLD
C     the classic form
      REAL*8 X(10)
      DO 10 I = 1, 10
   10 X(I) = I
      CALL SUM(X,
     &         10)
      END
"""
SEND = """program main
  use mpi_f08
  implicit none
  integer :: ierr, comm
  real(8) :: x(4)
  comm = 0
  call MPI_Send(x, 4, MPI_DOUBLE_PRECISION, 1, 0, comm, ierr)
end program
"""
IMPLICIT = """subroutine step(n, u)
  implicit none
  integer, intent(in) :: n
  real(8), intent(inout) :: u(n)
  do i = 2, n - 1
    u(i) = u(i) - dt * (u(i+1) - u(i-1))
  end do
end subroutine
"""
CPP = """module comm
  implicit none
#ifdef USE_MPI
  include 'mpif.h'
#endif
contains
  subroutine hello
    print *, 'compiled', __LINE__
  end subroutine
end module
"""
INTENT = """module m
contains
  pure subroutine scale(n, x)
    integer, intent(in) :: n
    real, intent(in) :: x(n)
    n = n + 1
    print *, x
  end subroutine
end module
"""
F95 = """module m
  implicit none
  type, abstract :: field
  contains
    procedure(f), deferred :: apply
  end type
  abstract interface
    subroutine f(self)
      import :: field
      class(field) :: self
    end subroutine
  end interface
end module
"""

CASES = (
    Case(
        "bl-fc-netcdf",
        "compile.a module file is not there",
        "netcdf.mod without its module",
        job("make -j2 FC=gfortran"),
        files=makefile("io.o", "$(FC) $^ -o $@", 3)
        | {"io.f90": "program io\n  use netcdf\n  implicit none\nend program\n"},
    ),
    Case(
        "bl-fc-mod-version",
        "compile.a module file of another version of the compiler",
        "the version inside of the module file is another",
        "make FC=gfortran",
        OLDER,
        makefile("main.o", "$(FC) $^ -o $@", 1) | {"grid.f90": MODULE, "main.f90": USES},
    ),
    Case(
        "bl-fc-mod-foreign",
        "compile.a module file of another compiler",
        "the text of a module of another vendor",
        "make FC=gfortran",
        "printf 'V34 :0x24 grid\\n8 grid.f90 S624 0\\n' > grid.mod",
        makefile("main.o", "$(FC) $^ -o $@", 1) | {"main.f90": USES},
    ),
    Case(
        "bl-fc-mismatch",
        "compile.arguments that do not match between calls",
        "accepted by gfortran 9, not by 10",
        job("make FC=gfortran FFLAGS=-O2", "echo hint: see README for gfortran"),
        files=makefile("main.o", "$(FC) $^ -o $@", 2) | {"main.f90": MISMATCH},
    ),
    Case(
        "bl-fc-long-line",
        "compile.a line of Fortran that is too long",
        "more than 132 columns",
        "make FC=gfortran",
        files=makefile("main.o", "$(FC) $^ -o $@", 1) | {"main.f90": LONG},
    ),
    Case(
        "bl-fc-fixed",
        "compile.fixed form taken for free form",
        "an old source named .f90",
        "gfortran -O2 -c old.f90",
        files={"old.f90": FIXED},
    ),
    Case(
        "bl-fc-mpi-f08",
        "compile.a call that fits no specific routine of MPI",
        "an integer communicator with mpi_f08",
        "mpif90.openmpi -O2 -c main.f90",
        files={"main.f90": SEND},
    ),
    Case(
        "bl-fc-implicit",
        "compile.a variable that is not declared",
        "implicit none",
        "make FC=gfortran",
        files=makefile("step.o", "$(FC) $^ -o $@", 2) | {"step.f90": IMPLICIT},
    ),
    Case(
        "bl-fc-preprocess",
        "compile.a Fortran source that was not preprocessed",
        ".f90 with #ifdef and no -cpp, warnings count",
        "gfortran -Werror -DUSE_MPI -c comm.f90",
        files={"comm.f90": CPP},
    ),
    Case(
        "bl-fc-pure",
        "compile.a rule of Fortran is broken",
        "output and assignment in a pure subroutine",
        "gfortran -c scale.f90",
        files={"scale.f90": INTENT},
    ),
    Case(
        "bl-fc-f95",
        "compile.Fortran newer than the standard that is asked for",
        "-std=f95 with type-bound procedures",
        "make FC=gfortran FFLAGS=-std=f95",
        files=makefile("m.o", "$(FC) $^ -o $@", 1) | {"m.f90": F95},
    ),
)
