"""All planted failures. The first set was there when the signatures were written, the others were
made afterwards, with other tools, and seen by nobody who wrote them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from planted import (
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
