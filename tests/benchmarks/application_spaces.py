"""What record_surface.py records of applications: processes, threads, methods and sizes.

Nothing here knows of a search. The default is what the program or its manual starts from, with one
process for each of two CPUs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from application_parts import GRIDS, MORE_RANKS, RANKS, REPEATS, THREADS, around, driver, few
from surface_spaces import Axis, Case, Values

_SUFFIX: Axis = ("suffix", "categorical", ("off", "opt"))


def _lammps(
    name: str, what: str, axes: tuple[Axis, ...], chosen: Values, allowed: Callable[[Values], bool]
) -> Case:
    """An input file of the name of the case; every setting but two is a variable of it."""
    script = str(Path(__file__).with_name(f"{name}.in"))

    def arguments(values: Values) -> tuple[str, ...]:
        told = {key: value for key, value in values.items() if key not in ("ranks", "suffix")}
        words = [word for item in told.items() for word in ("-var", *item)]
        return ("-log", "none", "-in", script, "-suffix", values["suffix"], *words,
                "-var", "reps", REPEATS, "-var", "seed")  # fmt: skip

    return Case(name, what, axes, chosen, allowed, arguments, around=around, program="lmp")


def _delays(values: Values) -> bool:
    """LAMMPS wants a delay that is a multiple of how often is looked."""
    return int(values["delay"]) % int(values["every"]) == 0


def _waves(values: Values) -> bool:
    """Ewald's own sum has no mesh."""
    return values["waves"] == "pppm" or (values["order"], values["gradient"]) == ("5", "ik")


APPLICATIONS = (
    _lammps(
        "lammps_melt", "LAMMPS, a Lennard-Jones melt of 2048 atoms, 40 steps",
        (
            MORE_RANKS, _SUFFIX, ("newton", "categorical", ("off", "on")),
            ("skin", "ordinal", ("0.1", "0.2", "0.3", "0.5", "0.8")),
            ("every", "ordinal", ("1", "5", "10")), ("delay", "ordinal", ("0", "10")),
            ("sort", "ordinal", ("0", "100")),
        ),
        {"ranks": "2", "suffix": "off", "newton": "on", "skin": "0.3", "every": "1",
         "delay": "10", "sort": "100"},
        _delays,
    ),
    _lammps(
        "lammps_salt", "LAMMPS, molten rock salt of 1000 ions with a sum over waves, 20 steps",
        (
            RANKS, _SUFFIX, ("waves", "categorical", ("ewald", "pppm")),
            ("cutoff", "ordinal", ("6", "7", "8", "9", "10", "12")),
            ("order", "ordinal", ("3", "4", "5", "7")),
            ("gradient", "categorical", ("ad", "ik")), ("skin", "ordinal", ("0.5", "1", "2")),
        ),
        {"ranks": "2", "suffix": "off", "waves": "pppm", "cutoff": "10", "order": "5",
         "gradient": "ik", "skin": "2"},
        _waves,
    ),
    driver(
        "scalapack_qr", "QR of 800 x 800 by ScaLAPACK's pdgeqrf with OpenBLAS",
        (
            GRIDS, ("mb", "ordinal", ("8", "32", "64", "128")),
            ("nb", "ordinal", ("8", "16", "32", "64")), THREADS,
            ("core", "categorical", ("Prescott", "Sandybridge", "Haswell", "SkylakeX")),
        ),
        {"processes": "1x2", "mb": "64", "nb": "64", "threads": "1"},
        ("-lscalapack-openmpi", "-lopenblas", "-lm", "scalapack_qr.c"),
        ("800", "P", "Q", "mb", "nb"), few,
    ),
    driver(
        "hypre_amg", "a Poisson equation on 20^3 points by hypre's BoomerAMG, set-up and solution",
        (
            RANKS, ("solver", "categorical", ("amg", "pcg")),
            ("coarsening", "categorical", ("falgout", "pmis", "hmis")),
            ("interpolation", "categorical", ("classical", "direct", "extended")),
            ("smoother", "categorical",
             ("jacobi", "gauss-seidel", "symmetric", "l1", "chebyshev")),
            ("threshold", "ordinal", ("0.25", "0.5")), ("aggressive", "ordinal", ("0", "1")),
        ),
        {"ranks": "2", "solver": "amg", "coarsening": "hmis", "interpolation": "extended",
         "smoother": "symmetric", "threshold": "0.25", "aggressive": "0"},
        ("-I/usr/include/hypre", "-lHYPRE", "-lm", "hypre_amg.c"),
        ("20", "solver", "coarsening", "interpolation", "smoother", "threshold", "aggressive"),
    ),
    driver(
        "superlu_lu", "sparse LU by SuperLU_DIST, 3136 equations of convection and diffusion",
        (
            GRIDS, ("columns", "categorical", ("mmd-ata", "mmd-sum", "metis-sum")),
            ("lookahead", "ordinal", ("1", "10")), ("maxsup", "ordinal", ("8", "32", "128", "256")),
            ("relax", "ordinal", ("4", "64")), THREADS,
        ),
        {"processes": "1x2", "columns": "metis-sum", "lookahead": "10", "maxsup": "256",
         "relax": "64", "threads": "1"},
        ("-I/usr/include/superlu-dist", "-lsuperlu_dist", "-lm", "superlu_lu.c"),
        ("56", "P", "Q", "columns", "lookahead"), few,
    ),
)  # fmt: skip
