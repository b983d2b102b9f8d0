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
SURFACES, COMPILED = BENCHMARKS / "surfaces", BENCHMARKS / "compiled"
ZEN3, COMPILED_ZEN3 = BENCHMARKS / "surfaces_zen3", BENCHMARKS / "compiled_zen3"
ZEN3_AGAIN = BENCHMARKS / "surfaces_zen3_again"
sys.path.insert(0, str(BENCHMARKS))

from program_spaces import MORE_PROGRAMS, PROGRAMS  # noqa: E402
from record_surface import _listed, _row  # noqa: E402
from search_peers import hillclimb, own  # noqa: E402
from surface_files import load  # noqa: E402
from surface_spaces import CASES, Case, environment  # noqa: E402
from surfaces import Replay, Surface, nameless  # noqa: E402

from hpcagent.measure.results import Run  # noqa: E402
from hpcagent.records import Config  # noqa: E402

NESTS = (*PROGRAMS, *MORE_PROGRAMS)


@pytest.fixture(scope="module")
def recorded() -> dict[str, Surface]:
    return {surface.name: surface for surface in load(SURFACES)}


@pytest.fixture(scope="module")
def compiled() -> dict[str, Surface]:
    return {surface.name: surface for surface in load(COMPILED)}


@pytest.mark.parametrize("case", (*CASES, *NESTS), ids=lambda case: case.name)
def test_a_recorded_surface_has_every_point_of_its_space(
    case: Case, recorded: dict[str, Surface], compiled: dict[str, Surface]
) -> None:
    folder = COMPILED if case in NESTS else SURFACES
    surface = {**recorded, **compiled}[case.name]
    points = [Config.of(values) for values in case.points()]
    assert len(points) == len(set(points)) >= 500
    assert set(surface.samples) == set(points)
    head = json.loads((folder / f"{case.name}.json").read_text(encoding="utf-8"))
    assert head["points"] == len(points)
    assert (folder / f"{case.name}.csv.gz").stat().st_size < 200_000


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


def test_the_same_loop_nests_were_recorded_where_code_for_avx512_cannot_run() -> None:
    there = {surface.name: surface for surface in load(COMPILED_ZEN3)}
    assert set(there) == {case.name for case in NESTS}
    for case in NESTS:
        surface = there[case.name]
        assert set(surface.samples) == {Config.of(values) for values in case.points()}
        assert surface.repeats == 11 and surface.default in surface.truth
        failed = [config for config, times in surface.samples.items() if not times]
        assert 0 < len(failed) < len(surface.samples) / 4
        assert all(config.values.get("march") != "x86-64" or case.name == "nbody_600"
                   for config in failed)  # fmt: skip
        assert f"| {case.name} |" in (COMPILED_ZEN3 / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("folder", "repeats"), [(ZEN3, 3), (ZEN3_AGAIN, 11)])
def test_the_same_spaces_were_recorded_where_the_library_chooses_the_kernels_for_zen(
    folder: Path, repeats: int
) -> None:
    there = {surface.name: surface for surface in load(folder)}
    assert set(there) == {case.name for case in CASES}
    for case in CASES:
        surface = there[case.name]
        assert set(surface.samples) == {Config.of(values) for values in case.points()}
        assert surface.repeats == repeats and surface.default is not None and surface.failures > 0
        assert surface.default.values["core"] == _listed(case, "Zen")
        assert surface.samples[surface.default]
        assert f"| {case.name} |" in (folder / "README.md").read_text(encoding="utf-8")


def test_kernels_that_a_case_does_not_list_go_by_the_name_of_their_like() -> None:
    cores = {case.name: _listed(case, "Zen") for case in CASES}
    assert (cores["dgemm_160"], cores["blocked_lu_192"]) == ("Zen", "Haswell")
    assert _listed(CASES[0], "Power9") == "Power9"


def test_hill_climbing_goes_on_from_what_it_is_told_to_begin_with(
    recorded: dict[str, Surface],
) -> None:
    surface = recorded["dgemm_160"]
    best = min(surface.truth, key=lambda config: surface.truth[config])
    tried = hillclimb(lambda _, __: (best,))(surface, 0, 12).replay.tried
    assert tried[:2] == [surface.default, best]
    assert tried[2] in surface.neighbours(best)
    assert len(set(tried)) == 12


def test_loop_nests_have_repeats_and_a_default_and_all_of_their_points_work(
    compiled: dict[str, Surface],
) -> None:
    assert set(compiled) == {case.name for case in NESTS}
    for surface in compiled.values():
        assert surface.repeats == 5
        assert surface.default in surface.truth
        assert surface.failures == 0


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


def test_every_surface_is_told_of(
    recorded: dict[str, Surface], compiled: dict[str, Surface]
) -> None:
    for folder, surfaces in ((SURFACES, recorded), (COMPILED, compiled)):
        text = (folder / "README.md").read_text(encoding="utf-8")
        assert all(f"| {name} |" in text for name in surfaces)


def test_what_cannot_act_is_no_point() -> None:
    driver = next(case for case in CASES if case.workload)
    for values in driver.points():
        idle = values["threads"] == "1"
        assert values["library"] != "serial" or idle
        assert values["thread_timeout"] == "28" or (values["library"] == "pthread" and not idle)
        assert values["wait_policy"] == "default" or (values["library"] == "openmp" and not idle)


def test_a_loop_nest_that_has_no_threads_has_no_points_for_them() -> None:
    for case in NESTS:
        for values in case.points():
            alone = values["threads"] == "1" or values.get("order") == "rows"
            if alone:
                idle = ("schedule", "chunk", "wait_policy")
                assert all(values[k] == case.chosen[k] for k in idle if k in values)


def test_values_become_the_words_that_compile_and_run_a_loop_nest() -> None:
    nests = {case.name: case for case in NESTS}
    nest = nests["covariance_160"]
    values = {**next(nest.points()), "compiler": "clang", "optimisation": "O3", "march": "native",
              "fast_math": "on", "threads": "2", "schedule": "guided", "chunk": "8"}  # fmt: skip
    assert nest.built is not None
    assert nest.built(values) == (
        "clang", "-O3", "-march=native", "-ffast-math", "-std=gnu11", "-fopenmp", "programs.c",
    )  # fmt: skip
    assert nest.words(values) == ("covariance", "160", "-", "32", "1", "5")
    assert environment(values, {}) == {"OMP_NUM_THREADS": "2", "OMP_SCHEDULE": "guided,8"}
    nest = nests["options_16384"]
    values = {**next(nest.points()), "flags": "-O3 -funroll-loops"}
    assert nest.built is not None
    assert nest.built(values)[1:3] == ("-O3", "-funroll-loops")
    nest = nests["paths_160"]
    values = {**next(nest.points()), "vectorize": "on"}
    assert nest.built is not None
    assert "-ftree-vectorize" in nest.built(values)


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


# --- loop nests ----------------------------------------------------------------------------------

SMALL = {
    "programs.c": (
        "jacobi 40 - 8 16", "nbody 50 aos 16 1", "nbody 50 soa 50 1", "spmv 64 csr 1 1",
        "spmv 64 sell 8 1", "covariance 30 - 8 1", "matmul 30 ijk 4 8", "matmul 30 ikj 7 30",
        "matmul 30 kij 30 8", "filter 20 taps-in 3 7", "filter 20 taps-out 20 20",
    ),
    "more_programs.c": (
        "heat 12 - 4 3", "paths 20 choice 3 1", "paths 20 branch 20 1", "seidel 40 rows 1 1",
        "seidel 40 wavefront 4 8", "seidel 67 wavefront 16 16", "lattice 12 aos 3 1",
        "lattice 12 soa 12 1", "options 50 aos 7 1", "options 50 soa 50 1", "align 30 rows 1 1",
        "align 30 diagonals 4 1",
    ),
}  # fmt: skip
# What a loop nest computes, and something else of which only the proof can tell.
FAULTS = {
    "jacobi": ("to[at] = 0.2 *", "to[at] = 0.2001 *"),
    "nbody": ("x += pull * dx", "x += 1.001 * pull * dx"),
    "spmv": ("entries[k] * in", "1.001 * entries[k] * in"),
    "covariance": ("for (int j = i; j < n; j++) {", "for (int j = i + 1; j < n; j++) {"),
    "matmul": (
        "for (int kk = 0; kk < n; kk += block_b)",
        "for (int kk = 1; kk < n; kk += block_b)",
    ),
    "filter": (
        "x < TAPS; x++)\n                sum +=",
        "x < TAPS - 1; x++)\n                sum +=",
    ),
    "heat": ("to[at] = 0.4 *", "to[at] = 0.4001 *"),
    "paths": ("for (int k = 0; k < n; k++)\n#pragma", "for (int k = 1; k < n; k++)\n#pragma"),
    "seidel": ("from < 1 ? 1 : from", "from < 2 ? 2 : from"),
    "lattice": ("f[v] + 0.6 * (balance", "f[v] + 0.6001 * (balance"),
    "options": ("out[i] = price(spot[i]", "out[i] = price(1.001 * spot[i]"),
    "align": ("int from = front > n ? front - n : 1", "int from = front > n ? front - n + 1 : 1"),
}


def _residuals(folder: Path, source: str, words: tuple[str, ...]) -> dict[str, float]:
    """By words: what a program of this source prints of each, on two threads."""
    (folder / "nest.c").write_text(source, encoding="utf-8")
    program = folder / "nest"
    flags = ["-O1", "-std=gnu11", "-fopenmp", "-Wall", "-Wextra", "-Werror", f"-I{BENCHMARKS}"]
    build = [
        shutil.which("cc") or "/usr/bin/cc",
        *flags,
        str(folder / "nest.c"),
        "-o",
        str(program),
    ]
    subprocess.run([*build, "-lm"], check=True)
    return {each: _residual(program, each, OMP_NUM_THREADS="2") for each in words}


@pytest.mark.toolchain
@pytest.mark.parametrize("name", SMALL)
def test_loop_nests_prove_their_results(name: str, tmp_path: Path) -> None:
    found = _residuals(tmp_path, (BENCHMARKS / name).read_text(encoding="utf-8"), SMALL[name])
    assert {words for words, value in found.items() if value >= 5.0} == set()


@pytest.mark.toolchain
@pytest.mark.parametrize("program", FAULTS)
def test_a_loop_nest_that_computes_something_else_is_found_out(
    program: str, tmp_path: Path
) -> None:
    name = next(name for name, lines in SMALL.items() if any(program in line for line in lines))
    right, wrong = FAULTS[program]
    source = (BENCHMARKS / name).read_text(encoding="utf-8")
    assert right in source
    mine = tuple(line for line in SMALL[name] if line.startswith(program))
    found = _residuals(tmp_path, source.replace(right, wrong), mine)
    assert max(found.values()) > 30.0


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


def _residual(program: Path, words: str, **environment: str) -> float:
    ran = subprocess.run(
        [program, *words.split(), "1", "7"], capture_output=True, text=True, check=True,
        env={"OPENBLAS_NUM_THREADS": "1", **environment},
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


@pytest.mark.openblas
@pytest.mark.toolchain
def test_a_loop_nest_is_recorded_as_both_compilers_make_it(tmp_path: Path) -> None:
    words = [sys.executable, str(BENCHMARKS / "record_surface.py"), str(tmp_path), "--quick"]
    told = subprocess.run([*words, "--case", "options_16384"], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    (surface,) = load(tmp_path)
    assert (len(surface.samples), surface.repeats, surface.failures) == (20, 2, 0)
    assert {config.values["compiler"] for config in surface.samples} == {"gcc", "clang"}


def test_a_case_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    words = [sys.executable, str(BENCHMARKS / "record_surface.py"), str(tmp_path), "--case", "no"]
    ran = subprocess.run(words, capture_output=True, text=True)
    assert ran.returncode == 2
    there = "all, programs, more-programs, applications, more-applications, other-sizes, "
    assert ran.stderr.startswith(f"record_surface.py: no case no; there are {there}")
