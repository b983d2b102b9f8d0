"""All planted failures. The first set was there when the signatures were written, the others were
made afterwards, with other tools, and seen by nobody who wrote them. The blind set was made last
without a look at the signatures; each of its logs was there before its ids were chosen."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from planted import (
    blind_buried,
    blind_compile,
    blind_configure,
    blind_errors,
    blind_fortran,
    blind_limits,
    blind_link,
    blind_load,
    blind_mpi,
    blind_numbers,
    blind_objects,
    blind_recorded,
    blind_run,
    blind_site,
    blind_slurm,
    compiling,
    configuring,
    linking,
    loading,
    mpi_runs,
    numbers,
    others_build,
    others_buried,
    others_mpi,
    others_run,
    others_slurm,
    running,
    slurm_jobs,
    successes,
    surroundings,
    survived,
    went_on,
)
from planted.case import Case, Made

FIRST = (
    *compiling.CASES,
    *linking.CASES,
    *loading.CASES,
    *running.CASES,
    *configuring.CASES,
    *numbers.CASES,
    *mpi_runs.CASES,
    *surroundings.CASES,
)
OTHERS = (*others_build.CASES, *others_run.CASES, *others_mpi.CASES, *others_buried.CASES)
FIRST_SLURM = slurm_jobs.CASES
OTHERS_SLURM = others_slurm.CASES
SLOW_SLURM = others_slurm.SLOW
SUCCESSES = (*successes.CASES, *survived.CASES, *went_on.CASES)
BLIND = (
    *blind_configure.CASES,
    *blind_compile.CASES,
    *blind_fortran.CASES,
    *blind_link.CASES,
    *blind_objects.CASES,
    *blind_load.CASES,
    *blind_run.CASES,
    *blind_limits.CASES,
    *blind_errors.CASES,
    *blind_mpi.CASES,
    *blind_numbers.CASES,
    *blind_site.CASES,
    *blind_buried.CASES,
    *blind_recorded.CASES,
)
BLIND_SLURM = blind_slurm.CASES

Maker = Callable[[Case, Path, Mapping[str, str] | None], Made]


def collect(
    cases: Iterable[Case], maker: Maker, env: Mapping[str, str], at_once: int = 3
) -> dict[str, Made]:
    """The logs by the names of the cases; each case in a folder of its own, some at a time."""

    def one(case: Case) -> tuple[str, Made]:
        with tempfile.TemporaryDirectory(prefix="planted-") as folder:
            return case.name, maker(case, Path(folder), env)

    with ThreadPoolExecutor(at_once) as pool:
        return dict(pool.map(one, cases))
