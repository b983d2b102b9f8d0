"""The recorded surfaces, the programs that recorded them, and a recording of a few points."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"
SURFACES = BENCHMARKS / "surfaces"
sys.path.insert(0, str(BENCHMARKS))

from record_surface import _row  # noqa: E402
from search_peers import own  # noqa: E402
from surface_files import load  # noqa: E402
from surface_spaces import CASES, Case, environment  # noqa: E402
from surfaces import Replay, Surface, nameless  # noqa: E402

from hpcagent.measure.results import Run  # noqa: E402
from hpcagent.records import Config  # noqa: E402


@pytest.fixture(scope="module")
def recorded() -> dict[str, Surface]:
    return {surface.name: surface for surface in load(SURFACES)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_recorded_surface_has_every_point_of_its_space(
    case: Case, recorded: dict[str, Surface]
) -> None:
    surface = recorded[case.name]
    points = [Config.of(values) for values in case.points()]
    assert len(points) == len(set(points)) >= 500
    assert set(surface.samples) == set(points)
    head = json.loads((SURFACES / f"{case.name}.json").read_text(encoding="utf-8"))
    assert head["points"] == len(points)
    assert (SURFACES / f"{case.name}.csv.gz").stat().st_size < 200_000


def test_recorded_surfaces_have_repeats_failures_and_a_default_that_works(
    recorded: dict[str, Surface],
) -> None:
    assert set(recorded) == {case.name for case in CASES}
    for surface in recorded.values():
        assert surface.repeats >= 4
        assert surface.default in surface.truth
        assert 0 < surface.failures < len(surface.samples) / 2
        # The processor refuses these kernels; whatever else is set.
        failed = {config.values["core"] for config, times in surface.samples.items() if not times}
        assert failed <= {"Bulldozer", "Piledriver", "Steamroller", "Excavator"}


def test_a_recorded_surface_can_be_replayed(recorded: dict[str, Surface]) -> None:
    surface = recorded["blocked_lu_192"]
    replay = Replay(surface, seed=1)
    for config in list(surface.truth)[::50]:
        assert replay.evaluate(config) in surface.samples[config]
    assert 0 < replay.quality(5) <= 1


def _untold(surface: Surface) -> Surface:
    """The same with names for the core types that nothing is known of."""

    def renamed(config: Config) -> Config:
        return Config.of({**config.values, "core": f"kernels of {config.values['core']}"})

    params = tuple(
        replace(p, values=tuple(f"kernels of {v}" for v in p.values)) if p.name == "core" else p
        for p in surface.params
    )
    samples = {renamed(config): times for config, times in surface.samples.items()}
    assert surface.default is not None
    return Surface(surface.name, params, samples, renamed(surface.default), surface.family)


@pytest.mark.parametrize("told_by_names", [True, False])
@pytest.mark.parametrize("name", ["blocked_lu_192", "dgetrf_256"])
def test_hidden_names_change_nothing_but_what_names_tell(
    name: str, told_by_names: bool, recorded: dict[str, Surface]
) -> None:
    surface = recorded[name] if told_by_names else _untold(recorded[name])
    shown, hidden = nameless(surface)
    assert {config: shown.samples[hidden[config]] for config in surface.samples} == surface.samples
    assert not {"core", "threads", "Haswell"} & {
        w for c in shown.samples for i in c.items for w in i
    }
    with_names, without = (
        own("surrogate", 1, named=named)(surface, 0, 9) for named in (True, False)
    )
    assert (with_names.replay.tried != without.replay.tried) is told_by_names


def test_every_surface_is_told_of(recorded: dict[str, Surface]) -> None:
    text = (SURFACES / "README.md").read_text(encoding="utf-8")
    assert all(f"| {name} |" in text for name in recorded)


def test_what_cannot_act_is_no_point() -> None:
    driver = next(case for case in CASES if case.workload)
    for values in driver.points():
        idle = values["threads"] == "1"
        assert values["library"] != "serial" or idle
        assert values["thread_timeout"] == "28" or (values["library"] == "pthread" and not idle)
        assert values["wait_policy"] == "default" or (values["library"] == "openmp" and not idle)


def test_values_become_the_environment_of_a_process() -> None:
    values = {"library": "openmp", "core": "Haswell", "threads": "2", "thread_timeout": "28",
              "wait_policy": "passive", "huge_pages": "madvise"}  # fmt: skip
    assert environment(values, {"openmp": "/lib/o"}) == {
        "LD_LIBRARY_PATH": "/lib/o",
        "OPENBLAS_CORETYPE": "Haswell",
        "OPENBLAS_NUM_THREADS": "2",
        "OMP_NUM_THREADS": "2",
        "OMP_WAIT_POLICY": "passive",
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    }


def test_a_point_fails_that_fails_in_half_of_its_runs() -> None:
    good = Run("p1", 1, 0, "ok", medians={"run": 0.5}, objective=-0.7)
    ill = Run("p1", 1, 0, "failed", signal=4)
    slow = Run("p1", 1, 0, "timeout")
    assert _row([good, ill, good]) == ("ok", (0.5, 0.5))
    assert _row([good, ill]) == ("illegal_instruction", ())
    assert _row([slow, ill, slow]) == ("timeout", ())
    assert _row([]) == ("not_run", ())


# --- with a real OpenBLAS ------------------------------------------------------------------------

ALGORITHMS = (
    "gemm - 70 50 60 32 16 7 3",
    "cholesky right 0 90 0 0 32 0 0",
    "cholesky left 0 90 0 0 7 0 5",
    "lu library 0 90 0 0 32 0 0",
    "lu columns 0 90 0 0 90 0 5",
    "lu columns 0 91 0 0 8 0 0",
)


def _compiled(folder: Path, *more: str) -> Path:
    found = sorted(Path("/usr/lib").glob("*/openblas-pthread/libopenblas.so"))
    if not found:
        pytest.skip("no pthread OpenBLAS here")
    words = [
        shutil.which("cc") or "/usr/bin/cc",
        "-O1",
        "-std=gnu11",
        "-Wall",
        "-Wextra",
        "-Werror",
    ]
    library = found[0].parent
    link = [f"-L{library}", f"-Wl,-rpath,{library}", "-lopenblas", "-lm"]
    program = folder / "blocked"
    source = [str(BENCHMARKS / "blocked.c"), *more, "-o", str(program)]
    subprocess.run([*words, *source, *link], check=True)
    return program


def _residual(program: Path, words: str) -> float:
    ran = subprocess.run(
        [program, *words.split(), "1", "7"], capture_output=True, text=True, check=True,
        env={"OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ran.stdout.endswith("done\n")
    found = re.search(r"^residual run (\S+)$", ran.stdout, re.M)
    assert found is not None
    return float(found[1])


@pytest.mark.openblas
def test_blocked_algorithms_prove_their_results(tmp_path: Path) -> None:
    program = _compiled(tmp_path)
    assert all(_residual(program, words) < 1.0 for words in ALGORITHMS)


@pytest.mark.openblas
def test_a_library_that_does_nothing_is_found_out(tmp_path: Path) -> None:
    idle = tmp_path / "idle.c"
    idle.write_text("void dgemm_(void) {}\nvoid dsyrk_(void) {}\n", encoding="utf-8")
    program = _compiled(tmp_path, str(idle))
    wrong = [words for words in ALGORITHMS if "90 0 0 90" not in words]  # that one needs neither
    assert all(_residual(program, words) > 30.0 for words in wrong)


@pytest.mark.openblas
def test_a_recording_is_a_surface_and_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    words = [sys.executable, str(BENCHMARKS / "record_surface.py"), str(tmp_path), "--quick"]
    words += ["--case", "blocked_lu_192"]
    told = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "about" in told.stderr and "median CV" in told.stdout
    (surface,) = load(tmp_path)
    assert (len(surface.samples), surface.repeats) == (20, 2)

    first, second = sorted(tmp_path.glob("recording/blocked_lu_192/pass*/result.jsonl"))
    before, torn = first.read_bytes(), second.read_bytes().splitlines(keepends=True)[:5]
    second.write_bytes(b"".join(torn))
    end = second.with_name("done.json")
    end.write_text(json.dumps({**json.loads(end.read_text()), "exit": 130}))
    subprocess.run(words, check=True)
    assert first.read_bytes() == before
    lines = second.read_bytes().splitlines(keepends=True)
    assert lines[:5] == torn
    assert len({json.loads(line)["config"] for line in lines}) == len(lines) == 20


def test_a_case_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    words = [sys.executable, str(BENCHMARKS / "record_surface.py"), str(tmp_path), "--case", "no"]
    ran = subprocess.run(words, capture_output=True, text=True)
    assert ran.returncode == 2
    assert ran.stderr.startswith("record_surface.py: no case no; there are all, tiled_dgemm_")
