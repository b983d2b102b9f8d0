"""What programs of MPI have in common in application_spaces.py and more_applications.py."""

from __future__ import annotations

from collections.abc import Callable

from surface_spaces import Axis, Case, Values

REPEATS = "3"  # calls timed in one process, after one that is not
RANKS: Axis = ("ranks", "ordinal", ("1", "2"))
MORE_RANKS: Axis = ("ranks", "ordinal", ("1", "2", "4"))
GRIDS: Axis = ("processes", "categorical", ("1x1", "2x1", "1x2", "4x1", "2x2", "1x4"))
THREADS: Axis = ("threads", "ordinal", ("1", "2"))
# More processes than CPUs are let run, and no network is looked for.
_MPIRUN = (
    "env", "PMIX_MCA_gds=hash", "mpirun.openmpi", "--allow-run-as-root", "--oversubscribe",
    "--bind-to", "none", "--mca", "plm", "isolated", "--mca", "pml", "ob1",
    "--mca", "btl", "self,vader", "-n",
)  # fmt: skip


def around(values: Values) -> tuple[str, ...]:
    rows, columns = grid(values)
    return (*_MPIRUN, str(rows * columns))


def grid(values: Values) -> tuple[int, int]:
    rows, columns = values.get("processes", f"{values.get('ranks')}x1").split("x")
    return int(rows), int(columns)


def driver(
    name: str, what: str, axes: tuple[Axis, ...], chosen: Values, source: tuple[str, ...],
    words: tuple[str, ...], allowed: Callable[[Values], bool] = lambda values: True,
) -> Case:  # fmt: skip
    """`source` are the words of the compiler behind the usual; `words` name axes, or are words."""

    def arguments(values: Values) -> tuple[str, ...]:
        rows, columns = grid(values)
        told = {**values, "P": str(rows), "Q": str(columns)}
        return (*(told.get(word, word) for word in words), REPEATS)

    built = ("mpicc.openmpi", "-O2", "-std=gnu11", "-Wl,--no-as-needed", *source)
    return Case(
        name, what, axes, chosen, allowed, arguments, built=lambda _: built, around=around
    )  # fmt: skip


def few(values: Values) -> bool:
    """Processes and their threads, at most two for each of two CPUs."""
    rows, columns = grid(values)
    return rows * columns * int(values["threads"]) <= 4
