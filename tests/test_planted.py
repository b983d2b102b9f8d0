"""Real failures, made on purpose: the cause that was planted is the one that is named first."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
from lab.module_systems import LMOD_INIT, environment_modules_environment
from lab.slurm_lab import Cluster
from planted import sets, successes
from planted.case import Case, Made, make, succeed
from planted.score import Scored, figures, score

from hpcagent.toolchain.diagnosis import diagnose

RECALL = 0.95
PROGRAMS = (
    *("gcc", "g++", "gfortran", "clang", "clang++", "ld.lld", "ld.gold", "make", "ninja", "cmake"),
    *("autoconf", "pkg-config", "mpicc.openmpi", "mpicc.mpich", "tclsh", "perl", "patch"),
    *("numactl", "setpriv", "unshare", "curl", "git", "gdb", "valgrind", "prove"),
)
BUILD_LOG = Path(__file__).parent / "fixtures" / "logs" / "openblas-build.log.gz"


def required() -> None:
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    missing += [] if LMOD_INIT.exists() else ["lmod"]
    if missing:
        pytest.skip(f"not here: {', '.join(missing)}")


def plantable(cases: Iterable[Case]) -> list[Case]:
    """Who is not root cannot mount, change users or run Open MPI as root."""
    return [case for case in cases if os.geteuid() == 0 or not case.needs_root]


def wrongly_repaired(rows: Iterable[Scored]) -> list[str]:
    """Where a loop would act on a cause that is not the planted one."""
    return [row.told() for row in rows if row.acted_on and not row.found(1)]


def missed(rows: Iterable[Scored]) -> str:
    return "; ".join(row.told() for row in rows if row.right and not row.found(1))


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("home")
    return {"MODULECMD": environment_modules_environment("", home)["MODULES_CMD"]}


@pytest.mark.toolchain
def test_the_planted_cause_is_named_first(modules: dict[str, str]) -> None:
    required()
    cases = plantable(sets.FIRST + sets.OTHERS)
    rows = score(cases, sets.collect(cases, make, modules))
    assert len(rows) == len(cases) > 150
    assert wrongly_repaired(rows) == []
    assert figures(rows).recall >= RECALL, missed(rows)


@pytest.mark.slurm
def test_the_planted_cause_of_a_job_is_named_first(slurm: Cluster) -> None:
    if not shutil.which("mpicc.openmpi"):
        pytest.skip("no Open MPI")
    cases = sets.FIRST_SLURM + sets.OTHERS_SLURM
    rows = score(cases, sets.collect(cases, make, slurm.env, at_once=6))
    assert wrongly_repaired(rows) == []
    assert figures(rows).recall >= RECALL, missed(rows)


@pytest.mark.toolchain
def test_nothing_is_named_where_all_went_well() -> None:
    required()
    logs = sets.collect(sets.SUCCESSES, succeed, {})
    alone, told = (score(sets.SUCCESSES, logs, codes) for codes in (False, True))
    assert len(alone) == len(sets.SUCCESSES) > 60
    assert [row.told() for row in told if row.named] == []
    assert [row.told() for row in alone if row.named] == []


def test_nothing_is_named_in_a_recorded_build_of_openblas() -> None:
    assert diagnose(successes.recorded(BUILD_LOG)).causes == ()


@pytest.mark.toolchain
def test_a_failure_in_the_middle_of_a_long_log_is_named(tmp_path: Path) -> None:
    """The log of a failure between those of builds that went well."""
    required()
    quiet = successes.recorded(BUILD_LOG)
    case = next(case for case in sets.FIRST if case.name == "ld-dgemm")
    made = make(case, tmp_path)
    log = Made(quiet + made.log + quiet, made.exit)
    assert all(row.found(1) for row in score([case], {case.name: log}, exit_codes=True))
