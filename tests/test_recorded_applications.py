"""The recorded surfaces of applications, and the programs of MPI that they were recorded from."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"
FOLDER = BENCHMARKS / "applications"
sys.path.insert(0, str(BENCHMARKS))

from application_spaces import APPLICATIONS  # noqa: E402
from more_applications import MORE_APPLICATIONS, OTHER_SIZES  # noqa: E402
from record_surface import RESIDUAL_MAX  # noqa: E402
from surface_files import load  # noqa: E402
from surface_spaces import Case, environment  # noqa: E402
from surfaces import Surface  # noqa: E402

from hpcagent.measure.results import parse_results  # noqa: E402
from hpcagent.records import Config  # noqa: E402

CASES = {case.name: case for case in (*APPLICATIONS, *MORE_APPLICATIONS, *OTHER_SIZES)}

OTHERS = [case.name for case in OTHER_SIZES]


@pytest.fixture(scope="module")
def recorded() -> dict[str, Surface]:
    return {surface.name: surface for surface in load(FOLDER)}


def test_applications_have_repeats_and_a_default_that_works(recorded: dict[str, Surface]) -> None:
    assert set(recorded) == set(CASES)
    for surface in recorded.values():
        assert surface.repeats == (2 if surface.name in OTHERS else 3)
        assert surface.default in surface.truth
        assert surface.failures < len(surface.samples) / 2


@pytest.mark.parametrize("name", CASES)
def test_a_recorded_application_has_every_point_of_its_space(
    name: str, recorded: dict[str, Surface]
) -> None:
    points = [Config.of(values) for values in CASES[name].points()]
    assert len(points) == len(set(points)) > 400
    assert set(recorded[name].samples) == set(points)
    assert f"| {name} |" in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_what_an_application_refuses_is_no_point() -> None:
    for case in CASES.values():
        for values in case.points():
            if "delay" in values:
                assert int(values["delay"]) % int(values["every"]) == 0
            if values.get("waves") == "ewald":
                assert (values["order"], values["gradient"]) == ("5", "ik")
            if "threads" in values:
                assert _ranks(case, values) * int(values["threads"]) <= 4
            if "npme" in values:
                assert int(values["npme"]) < int(values["ntmpi"])
                assert int(values["ntmpi"]) * int(values["ntomp"]) <= 4
            if values.get("strategy") == "constrained":
                assert values["ordering"] == "amf"
            if values.get("solver") == "2STAGE":
                assert int(values["intermediate_bandwidth"]) % int(values["nblk"]) == 0


def _ranks(case: Case, values: dict[str, str]) -> int:
    return int(case.around(values)[-1])


def test_values_become_processes_words_and_an_environment() -> None:
    qr = {"processes": "2x1", "mb": "8", "nb": "16", "threads": "2", "core": "Haswell"}
    assert _ranks(CASES["scalapack_qr"], qr) == 2
    assert CASES["scalapack_qr"].words(qr) == ("800", "2", "1", "8", "16", "3")
    assert environment(qr, {}) == {
        "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "OPENBLAS_CORETYPE": "Haswell",
    }  # fmt: skip
    lu = {"processes": "1x4", "columns": "mmd-ata", "lookahead": "1", "maxsup": "8",
          "relax": "4", "threads": "1"}  # fmt: skip
    assert _ranks(CASES["superlu_lu"], lu) == 4
    assert CASES["superlu_lu"].words(lu) == ("56", "1", "4", "mmd-ata", "1", "3")
    assert environment(lu, {}) == {
        "OMP_NUM_THREADS": "1", "SUPERLU_MAXSUP": "8", "SUPERLU_RELAX": "4",
    }  # fmt: skip
    rows = {"max_stored_rows": "64"}
    assert environment(rows, {})["ELPA_DEFAULT_max_stored_rows"] == "64"
    melt = {"ranks": "4", "suffix": "opt", "skin": "0.3"}
    words = CASES["lammps_melt"].words(melt)
    assert words[:2] == ("-log", "none")
    assert words[3].endswith("/lammps_melt.in")
    assert words[4:] == ("-suffix", "opt", "-var", "skin", "0.3", "-var", "reps", "3", "-var",
                         "seed")  # fmt: skip
    water = {"ntmpi": "2", "ntomp": "1", "npme": "0", "nstlist": "10", "rcoulomb": "0.9",
             "fourierspacing": "0.12", "pme_order": "4"}  # fmt: skip
    assert CASES["gromacs_water"].words(water)[1:] == tuple(water.values())


# --- the programs --------------------------------------------------------------------------------

# What a program computes, and something else of which only the proof can tell.
FAULTS = {
    "fftw_mpi": (
        "(double *)t->fields[b], t->spectra[b]);", "(double *)t->fields[0], t->spectra[b]);"
    ),
    "gromacs_water": ("rvdw = 0.9", "rvdw = 0.8"),
    "mumps_ldl": ("solver.nnz = a->count;", "solver.nnz = a->count - 9;"),
    "elpa_eigen": ("columns, column), seed);", "columns, column), seed + 1);"),
    "scalapack_qr": ("    pdgeqrf_(&n, &n, matrix,", "    if (0) pdgeqrf_(&n, &n, matrix,"),
    "hypre_amg": ("m->conjugate ? 1 : MOST_ITERATIONS", "1"),
    "superlu_lu": ("r.entries++] = weight(dx, dy)", "r.entries++] = 0.9999 * weight(dx, dy)"),
    "lammps_melt": ("delay ${delay} every ${every}", "delay 80 every 80"),
    "lammps_salt": ("set type 1 charge 1.0", "set type 1 charge 0.9"),
}  # fmt: skip


def _residual(case: Case, values: dict[str, str], source: str, folder: Path) -> float:
    """What the program made of this source proves of its result, on the processes of a point."""
    _needed()
    file = folder / _source(case)
    file.write_text(source, encoding="utf-8")
    words = [*case.around(values), *_program(case, values, file), *_words(case, values, file), "7"]
    found = {**environment(values, {}), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    ran = subprocess.run(words, capture_output=True, text=True, env=found, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "done" in ran.stdout.splitlines()
    told = re.search(r"^residual run (\S+)$", ran.stdout, re.M)
    assert told is not None
    assert re.search(r"^time run \S+$", ran.stdout, re.M)
    return float(told[1])


def _needed() -> None:
    for program in ("mpicc.openmpi", "lmp", "gmx"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} here")


def _source(case: Case) -> str:
    if case.built:
        return case.built(case.chosen)[-1]
    return f"{case.name}.in" if case.program == "lmp" else f"{case.name}.py"


def _program(case: Case, values: dict[str, str], file: Path) -> list[str]:
    if not case.built:
        return [case.program]
    *words, _ = case.built(values)
    program = file.with_suffix("")
    build = [*words, f"-I{BENCHMARKS}", "-Wall", "-Wextra", "-Werror", str(file), "-o"]
    subprocess.run([*build, str(program)], check=True)
    return [str(program)]


def _words(case: Case, values: dict[str, str], file: Path) -> list[str]:
    own = str(BENCHMARKS / _source(case))
    return [str(file) if word == own else word for word in case.words(values)]


def _default(case: Case) -> dict[str, str]:
    own = {"core": "Haswell", **case.chosen}
    return {name: own[name] for name, _, _ in case.axes}


@pytest.mark.toolchain
@pytest.mark.parametrize("name", CASES)
def test_an_application_proves_its_result(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    source = (BENCHMARKS / _source(case)).read_text(encoding="utf-8")
    assert _residual(case, _default(case), source, tmp_path) < RESIDUAL_MAX


@pytest.mark.toolchain
@pytest.mark.parametrize("name", FAULTS)
def test_an_application_that_computes_something_else_is_found_out(
    name: str, tmp_path: Path
) -> None:
    case = CASES[name]
    right, wrong = FAULTS[name]
    source = (BENCHMARKS / _source(case)).read_text(encoding="utf-8")
    assert right in source
    assert _residual(case, _default(case), source.replace(right, wrong), tmp_path) > RESIDUAL_MAX


@pytest.mark.toolchain
def test_a_multigrid_that_does_not_converge_is_a_wrong_result(tmp_path: Path) -> None:
    case = CASES["hypre_amg"]
    source = (BENCHMARKS / "hypre_amg.c").read_text(encoding="utf-8")
    values = {**_default(case), "smoother": "jacobi", "threshold": "0.5", "aggressive": "1"}
    assert _residual(case, values, source, tmp_path) > RESIDUAL_MAX


@pytest.mark.toolchain
@pytest.mark.openblas
def test_points_whose_repeats_disagree_are_recorded_again(tmp_path: Path) -> None:
    _needed()
    words = [sys.executable, str(BENCHMARKS / "record_surface.py"), str(tmp_path), "--quick"]
    ran = subprocess.run(
        [*words, "--case", "scalapack_qr", "--again", "1"], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    (surface,) = load(tmp_path)
    assert len(surface.samples) == 20
    first, again = _times(tmp_path, "pass[12]-*"), _times(tmp_path, "pass3-*")
    good = {name: [t for t in times if t is not None] for name, times in first.items()}
    assert set(again) == {
        name
        for name, times in good.items()
        if times and (len(times) == 1 or max(times) > 1.1 * min(times))
    }
    assert all(len(times) == 2 for times in first.values())


def _times(folder: Path, passes: str) -> dict[str, list[float | None]]:
    """By point: the seconds of each run of these passes, None where it failed."""
    found: dict[str, list[float | None]] = {}
    for path in sorted(folder.glob(f"recording/scalapack_qr/{passes}/result.jsonl")):
        for run in parse_results(path.read_text(encoding="utf-8"), {"run": 1.0}):
            found.setdefault(run.config, []).append(run.medians["run"] if run.ok else None)
    return found
