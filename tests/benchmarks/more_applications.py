"""More programs of MPI that record_surface.py records: as application_spaces.py, another set."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from application_parts import GRIDS, MORE_RANKS, THREADS, driver, few
from surface_spaces import Axis, Case, Values

# Where FFTW is, if compilers do not find it by themselves.
_PREFIX = os.environ.get("FFTW_PREFIX", "")
_FFTW = (f"-I{_PREFIX}/include", f"-L{_PREFIX}/lib") if _PREFIX else ()
_GROMACS = str(Path(__file__).with_name("gromacs_water.py"))


def _gromacs(name: str, what: str, axes: tuple[Axis, ...], chosen: Values) -> Case:
    """A script that prepares a run and starts it; all settings are words of it, in their order."""

    def arguments(values: Values) -> tuple[str, ...]:
        return (_GROMACS, *(values[name] for name, _, _ in axes))

    return Case(name, what, axes, chosen, _mesh_processes, arguments, program=sys.executable)


def _mesh_processes(values: Values) -> bool:
    """Not all processes are for the mesh, and no more than two threads are for each of two CPUs."""
    ntmpi, ntomp, npme = (int(values[name]) for name in ("ntmpi", "ntomp", "npme"))
    return npme < ntmpi and ntmpi * ntomp <= 4


def _constrained(values: Values) -> bool:
    """Only AMF has MUMPS's constrained ordering."""
    return values["strategy"] != "constrained" or values["ordering"] == "amf"


def _stages(values: Values) -> bool:
    """Kernel, bandwidth and blocking are of two stages; a band is whole blocks."""
    bandwidth = values["intermediate_bandwidth"]
    if values["solver"] == "2STAGE":
        return values["max_stored_rows"] == "256" and int(bandwidth) % int(values["nblk"]) == 0
    told = (values["real_kernel"], bandwidth, values["blocking_in_band_to_full"])
    return told == ("GENERIC", "64", "3")


def _fftw(name: str, n: int) -> Case:
    return driver(
        name, f"36 real fields of {n}^3 forward and backward by FFTW's MPI interface",
        (
            MORE_RANKS, THREADS, ("rigor", "categorical", ("estimate", "measure")),
            ("data", "categorical", ("complex", "real")),
            ("place", "categorical", ("in-place", "out-of-place", "destroy-input")),
            ("order", "categorical", ("natural", "transposed")),
            ("howmany", "ordinal", ("1", "2", "3", "4")),
        ),
        {"ranks": "2", "threads": "1", "rigor": "measure", "data": "real",
         "place": "out-of-place", "order": "natural", "howmany": "1"},
        (*_FFTW, "-lfftw3_mpi", "-lfftw3_threads", "-lfftw3", "-lm", "fftw_mpi.c"),
        (str(n), "threads", "rigor", "data", "place", "order", "howmany"), few,
    )  # fmt: skip


def _mumps(name: str, n: int) -> Case:
    return driver(
        name, f"slow flow in {n} x {n} cells by MUMPS's LDL^T, ordering and all",
        (
            MORE_RANKS, ("ordering", "categorical", ("amd", "amf", "scotch", "pord")),
            ("strategy", "categorical", ("usual", "compressed", "constrained")),
            ("relax", "ordinal", ("20", "50", "100")),
            ("threshold", "ordinal", ("0.0001", "0.01", "0.1")),
            ("scaling", "categorical", ("none", "auto")),
        ),
        {"ranks": "2", "ordering": "amf", "strategy": "constrained", "relax": "20",
         "threshold": "0.01", "scaling": "auto"},
        ("-ldmumps_ptscotch", "-lopenblas", "-lm", "mumps_ldl.c"),
        (str(n), "ordering", "strategy", "relax", "threshold", "scaling"), _constrained,
    )  # fmt: skip


def _elpa(name: str, n: int) -> Case:
    return driver(
        name, f"all eigenvectors of a symmetric matrix of {n} x {n} by ELPA",
        (
            GRIDS, ("nblk", "ordinal", ("16", "32", "64", "128")),
            ("solver", "categorical", ("1STAGE", "2STAGE")),
            ("real_kernel", "categorical",
             ("GENERIC", "GENERIC_SIMPLE", "GENERIC_SIMPLE_BLOCK4", "GENERIC_SIMPLE_BLOCK6")),
            ("intermediate_bandwidth", "ordinal", ("32", "64", "128")),
            ("blocking_in_band_to_full", "ordinal", ("1", "3")),
            ("max_stored_rows", "ordinal", ("64", "128", "256", "512")),
        ),
        {"processes": "2x1", "nblk": "16", "solver": "1STAGE", "real_kernel": "GENERIC",
         "intermediate_bandwidth": "64", "blocking_in_band_to_full": "3",
         "max_stored_rows": "256"},
        ("-I/usr/include/elpa", "-lelpa", "-lopenblas", "-lm", "elpa_eigen.c"),
        (str(n), "P", "Q", "nblk", "solver", "real_kernel", "intermediate_bandwidth",
         "blocking_in_band_to_full"), _stages,
    )  # fmt: skip


MORE_APPLICATIONS = (
    _fftw("fftw_mpi", 30),
    _gromacs(
        "gromacs_water", "GROMACS, 1728 molecules of SPC water with PME, 5 steps",
        (
            ("ntmpi", "ordinal", ("1", "2")), ("ntomp", "ordinal", ("1", "2", "4")),
            ("npme", "ordinal", ("0", "1")), ("nstlist", "ordinal", ("10", "20", "40")),
            ("rcoulomb", "ordinal", ("0.9", "1.0", "1.1", "1.2")),
            ("fourierspacing", "ordinal", ("0.10", "0.12", "0.16")),
            ("pme_order", "ordinal", ("4", "6")),
        ),
        {"ntmpi": "2", "ntomp": "1", "npme": "0", "nstlist": "10", "rcoulomb": "1.0",
         "fourierspacing": "0.12", "pme_order": "4"},
    ),
    _mumps("mumps_ldl", 36),
    _elpa("elpa_eigen", 280),
)  # fmt: skip
# The same programs with other sizes of problems.
OTHER_SIZES = (
    _fftw("fftw_mpi_20", 20), _mumps("mumps_ldl_26", 26), _elpa("elpa_eigen_200", 200),
)  # fmt: skip
