"""Record surfaces of this machine: every point of a space, run several times.

    python tests/benchmarks/record_surface.py OUT_FOLDER --case all --before "chrt -f 1"

`all` are those of OpenBLAS; `programs` and `more-programs` are loop nests as two compilers make
them; `applications`, `more-applications` and `other-sizes` (of the latter) are
programs of MPI.

A process of the worker that measures for `tune` gives one repeat: the median of its calls. Passes
go over all points of all cases in a new random order each, so that drift of the machine is spread
over all of them. A recording that was stopped goes on where it was. OUT_FOLDER gets NAME.json and
NAME.csv.gz of each case (see surfaces/README.md), below recording/ what the worker wrote.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, stdev
from typing import TYPE_CHECKING, Any

from application_spaces import APPLICATIONS
from harness import table, tell
from more_applications import MORE_APPLICATIONS, OTHER_SIZES
from program_spaces import MORE_PROGRAMS, PROGRAMS
from surface_spaces import BUILDS, CASES, SAME_KERNELS, Case, environment

if TYPE_CHECKING:
    from hpcagent.measure.results import Done, Run

HERE = Path(__file__).resolve().parent
CHUNK = 60  # points in one unit of the worker
TIMEOUT_S = 2.0  # of a process; the slowest that works takes a tenth
DIFFER = 1.1
RESIDUAL_MAX = 30.0  # as hpcagent/apps/openblas.yaml has it
Points = Mapping[str, Mapping[str, Mapping[str, str]]]  # by case and id: the values
SETS = {
    "all": CASES,
    "programs": PROGRAMS,
    "more-programs": MORE_PROGRAMS,
    "applications": APPLICATIONS,
    "more-applications": MORE_APPLICATIONS,
    "other-sizes": OTHER_SIZES,
}
FOREIGN = ("OPENBLAS_", "GOTO_", "OMP_", "GOMP_", "GLIBC_TUNABLES", "GMX_", "ELPA_", "LD_")


@dataclass(frozen=True)
class Place:
    """The folder of a recording, the programs built in it, and words before each process."""

    folder: Path
    blocked: Path
    drivers: Mapping[str, Path]
    libraries: Mapping[str, str]
    compiled: Mapping[tuple[str, ...], Path]
    before: tuple[str, ...]

    def command(self, case: Case, values: Mapping[str, str]) -> list[str]:
        before = (*self.before, *case.around(values))
        if case.program:
            return [*before, case.program, *case.words(values)]
        if case.built:
            return [*before, str(self.compiled[case.built(values)]), *case.words(values)]
        if not case.workload:
            return [*self.before, str(self.blocked), *case.words(values)]
        driver = self.drivers[values["library"]]
        return [*self.before, str(driver), str(self.folder / f"{case.name}.txt")]


def main() -> int:
    chosen = _arguments()
    known = {**SETS, **{case.name: (case,) for cases in SETS.values() for case in cases}}
    wanted = chosen.case or ["all"]
    for name in wanted:
        if name not in known:
            there = ", ".join(known)
            print(f"record_surface.py: no case {name}; there are {there}", file=sys.stderr)
            return 2
    cases = list({case.name: case for name in wanted for case in known[name]}.values())
    passes = 2 if chosen.quick else chosen.passes
    points = {case.name: _points(case, chosen.quick) for case in cases}
    place = _prepare(chosen.folder, cases, points, tuple(shlex.split(chosen.before)))
    _estimate(place, cases, points, passes)
    for number in range(1, passes + 1):
        _pass(place, cases, points, number, passes)
    unsettled = {case.name: _unsettled(place, case, points[case.name], passes) for case in cases}
    for number in range(passes + 1, passes + chosen.again + 1):
        _pass(place, cases, unsettled, number, passes + chosen.again)
    core = _default_core(place)
    rows = [_write(place, case, points[case.name], core, passes + chosen.again) for case in cases]
    table(["", "points", "fail", "median CV", "default / best"], rows)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="OUT_FOLDER")
    parser.add_argument("--case", action="append", metavar="NAME", help="these only [all]")
    parser.add_argument("--passes", type=int, default=4, help="repeats of every point [4]")
    parser.add_argument(
        "--again", type=int, default=0, metavar="N",
        help="N more of points whose repeats differ by more than a tenth, or failed in part [0]",
    )  # fmt: skip
    parser.add_argument("--before", default="", metavar="WORDS", help="put before each process")
    parser.add_argument("--quick", action="store_true", help="few points, twice; to try it out")
    return parser.parse_args()


def _points(case: Case, quick: bool) -> dict[str, dict[str, str]]:
    """By id: name=value,name=value,..."""
    found = {",".join(f"{k}={v}" for k, v in p.items()): p for p in case.points()}
    kept = random.Random(case.name).sample(sorted(found), 20) if quick else found
    return {name: found[name] for name in kept}


# --- building ------------------------------------------------------------------------------------


def _prepare(folder: Path, cases: Sequence[Case], points: Points, before: tuple[str, ...]) -> Place:
    folder = (folder / "recording").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    compiled = _compiled(folder, cases, points)
    libraries = {build: _library(build) for build in BUILDS}
    blocked = folder / "blocked"
    compiler = shutil.which("cc") or "/usr/bin/cc"
    source = [str(HERE / "blocked.c"), "-o", str(blocked)]
    link = [f"-L{libraries['pthread']}", "-lopenblas", "-lm"]
    subprocess.run([compiler, "-O2", "-std=gnu11", *source, *link], check=True)
    drivers = {}
    if any(case.workload for case in cases):
        drivers = {name: _driver(folder / name, path, compiler) for name, path in libraries.items()}
    for case in cases:
        (folder / f"{case.name}.txt").write_text(case.workload + "\n", encoding="utf-8")
    return Place(folder, blocked, drivers, libraries, compiled, before)


def _compiled(folder: Path, cases: Sequence[Case], points: Points) -> dict[tuple[str, ...], Path]:
    """The programs in every way that a point of the cases wants, by the words that compile them."""
    ways = {
        case.built(values) for case in cases if case.built for values in points[case.name].values()
    }
    found = {way: folder / "-".join(way).replace("/", "_") for way in sorted(ways)}
    for way, program in found.items():
        if not program.exists():
            *words, source = way
            subprocess.run([*words, str(HERE / source), "-o", str(program), "-lm"], check=True)
    return found


def _library(build: str) -> str:
    for path in sorted(Path("/usr/lib").glob(f"*/openblas-{build}/libopenblas.so")):
        return str(path.parent)
    raise SystemExit(f"record_surface.py: no {build} OpenBLAS below /usr/lib; install it")


def _driver(folder: Path, library: str, compiler: str) -> Path:
    """The product's benchmark driver for this library."""
    from hpcagent.apps.render import BUILD_COMMAND, driver_files
    from hpcagent.records import Compiler, Library

    described = Library(
        path=f"{library}/libopenblas.so", source="system", version="", config="",
        dynamic_arch=True, threading="pthreads", max_threads=None, default_threads=1,
        interface="lp64", symbol_prefix="", symbol_suffix="", core="",
        routines=("dgemm", "sgemm", "dsyrk", "dtrsm", "dgetrf", "dpotrf", "dgemv"),
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    flags = ("-O2", "-std=gnu11")
    for name, text in driver_files(described, Compiler("c", "cc", compiler, ""), flags).items():
        (folder / name).write_text(text, encoding="utf-8")
    subprocess.run([*BUILD_COMMAND], cwd=folder, check=True, capture_output=True)
    return folder / "driver"


def _default_core(place: Place) -> str:
    """The kernels that the library picks here when nothing is said."""
    words = [str(place.blocked), *shlex.split("cholesky right 0 8 0 0 8 0 0 1 1")]
    found = subprocess.run(words, env=_clean(place), capture_output=True, text=True, check=True)
    return next(line[5:] for line in found.stdout.splitlines() if line.startswith("core "))


def _clean(place: Place) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    # The lock keeps units of one user apart: others that run on this machine must not wait for it.
    lock = {"HPCAGENT_NODE_LOCK": str(place.folder)}
    return {**kept, **lock, "LD_LIBRARY_PATH": place.libraries["pthread"]}


# --- measuring -----------------------------------------------------------------------------------


def _estimate(place: Place, cases: Sequence[Case], points: Mapping[str, Any], passes: int) -> None:
    """Try a few points of each case and say how long what is left will take."""
    left_s, left = 0.0, 0
    for case in cases:
        names = sorted(points[case.name])
        some = random.Random(0).sample(names, min(12, len(names)))
        _unit(place, case, {name: points[case.name][name] for name in some}, "trial", 0)
        trial = _done(place.folder / case.name / "trial")
        ended = place.folder.glob(f"{case.name}/pass*-*/done.json")
        todo = max(0, len(names) * passes - CHUNK * sum(1 for _ in ended))
        left += todo
        left_s += todo * (trial.elapsed_s or 0.0 if trial else 0.0) / len(some)
    tell(f"{left} processes of {len(cases)} cases are left: about {left_s / 60:.0f} min")


def _done(folder: Path) -> Done | None:
    """How the worker ended there; None where it has not, or is to go on."""
    from hpcagent.measure.results import parse_done

    try:
        done = parse_done((folder / "done.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return done if done is not None and done.exit == 0 else None


def _pass(
    place: Place, cases: Sequence[Case], points: Mapping[str, Any], number: int, passes: int
) -> None:
    units = [
        (case, at)
        for case in cases
        for at in range(0, len(points[case.name]), CHUNK)
    ]  # fmt: skip
    random.Random(f"units {number}").shuffle(units)
    began = time.monotonic()
    for done, (case, at) in enumerate(units, start=1):
        names = sorted(points[case.name])
        random.Random(f"{case.name} {number}").shuffle(names)
        some = {name: points[case.name][name] for name in names[at : at + CHUNK]}
        _unit(place, case, some, f"pass{number}-{at:04d}", number)
        if done % 10 == 0 or done == len(units):
            left = (time.monotonic() - began) / done * (len(units) - done)
            tell(f"pass {number} of {passes}: {done} of {len(units)} units, {left:.0f} s left")


def _unsettled(place: Place, case: Case, points: Mapping[str, Any], passes: int) -> dict[str, Any]:
    """The points of which the passes so far say different things."""
    runs = _runs(place, case, passes)
    found = {}
    for name, values in points.items():
        times = [run.medians["run"] for run in runs[name] if run.ok]
        if times and (len(times) < len(runs[name]) or max(times) > DIFFER * min(times)):
            found[name] = values
    return found


def _unit(place: Place, case: Case, points: Mapping[str, Any], name: str, number: int) -> None:
    """Let the worker run these points once each, unless it has."""
    from hpcagent.measure import worker

    folder = place.folder / case.name / name
    if _done(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    # Of one that was stopped; the worker goes on behind what result.jsonl has.
    (folder / "done.json").unlink(missing_ok=True)
    configs = [
        {"id": key, "argv": place.command(case, values),
         "env": environment(values, place.libraries)}
        for key, values in points.items()
    ]  # fmt: skip
    spec = {
        "schema": worker.SCHEMA, "mode": "once", "unit": name, "reference": "", "configs": configs,
        "command": ["{seed}"], "timeout_s": TIMEOUT_S, "budget_s": 3600.0, "seed": number,
        "weights": {"run": 1.0},
        "check": {
            "keys": ["run"],
            "figure": r"^time (?P<key>\S+) (?P<value>\S+)$",
            "residual": {"pattern": r"^residual (?P<key>\S+) (?P<value>\S+)$", "max": RESIDUAL_MAX},
            "success": ["^done$"],
            "readback": {"core": "^core (.+)$", "threads": r"^threads (\d+)$"},
        },
    }  # fmt: skip
    (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    argv = [sys.executable, str(worker.__file__), "spec.json"]
    ran = subprocess.run(argv, cwd=folder, env=_clean(place), capture_output=True, text=True)
    if ran.returncode != 0:
        raise SystemExit(f"record_surface.py: {folder}: {ran.stderr.strip()}")


# --- the surface ---------------------------------------------------------------------------------


def _runs(place: Place, case: Case, passes: int) -> dict[str, list[Run]]:
    """The runs of every point, by its id, in the order of the passes."""
    from hpcagent.measure.results import parse_results

    found = defaultdict(list)
    for number in range(1, passes + 1):
        for path in sorted((place.folder / case.name).glob(f"pass{number}-*/result.jsonl")):
            for run in parse_results(path.read_text(encoding="utf-8"), {"run": 1.0}):
                found[run.config].append(run)
    return found


def _write(
    place: Place, case: Case, points: Mapping[str, Mapping[str, str]], core: str, passes: int
) -> list[object]:
    """NAME.json and NAME.csv.gz; a line of the table at the end."""
    runs = _runs(place, case, passes)
    rows = {name: _row(runs[name]) for name in points}
    own = {"library": "pthread", "core": _listed(case, core), "threads": str(_cpus())}
    default = {name: {**own, **case.chosen}[name] for name, _, _ in case.axes}
    out = place.folder.parent / f"{case.name}.json"
    # None where these cases lack the kernels that the library chooses, or --quick left it out.
    there = default if default in points.values() else None
    head = _head(case, there, len(points))
    out.write_text(json.dumps(head, indent=1) + "\n", encoding="utf-8")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*default, "status", "samples"])
    for name, values in points.items():
        status, times = rows[name]
        samples = ";".join(f"{t:.4e}" for t in times)
        writer.writerow([*(values[key] for key in default), status, samples])
    # No time stamp: the same recording gives the same file.
    out.with_suffix(".csv.gz").write_bytes(gzip.compress(text.getvalue().encode(), 9, mtime=0))
    return [case.name, *_figures(points, rows, default)]


def _listed(case: Case, core: str) -> str:
    """The kernels that the library chooses, by a name that the case has for them."""
    listed = [core in values for name, _, values in case.axes if name == "core"]
    return core if any(listed) else SAME_KERNELS.get(core, core)


def _head(case: Case, default: Mapping[str, str] | None, count: int) -> dict[str, Any]:
    def read(kind: str, value: str) -> int | str:
        return int(value) if kind == "ordinal" and value.isdecimal() else value

    return {
        "name": case.name,
        "source": f"recorded by tests/benchmarks/record_surface.py of hpcagent: {case.what}",
        "licence": "Apache-2.0, as hpcagent itself",
        "objective": {"unit": "s", "direction": "min"},
        "params": [
            {"name": name, "kind": kind, "values": [read(kind, value) for value in values]}
            for name, kind, values in case.axes
        ],
        "default": default and {name: read(kind, default[name]) for name, kind, _ in case.axes},
        "points": count,
    }


def _cpus() -> int:
    return len(os.sched_getaffinity(0))


def _row(runs: Sequence[Run]) -> tuple[str, tuple[float, ...]]:
    """Status and repeats; a point fails that fails in half of its runs or more."""
    from hpcagent.measure.results import failure_of

    times = tuple(run.medians["run"] for run in runs if run.ok)
    if 2 * len(times) > len(runs):
        return "ok", times
    kinds = [failure.kind for run in runs if (failure := failure_of(run)) is not None]
    return max(sorted(set(kinds)), key=kinds.count) if kinds else "not_run", ()


def _figures(
    points: Mapping[str, Mapping[str, str]],
    rows: Mapping[str, tuple[str, tuple[float, ...]]],
    default: Mapping[str, str],
) -> Iterator[object]:
    """Points, failures, median CV over the points, the default's time over the best's."""
    good = {name: times for name, (status, times) in rows.items() if status == "ok"}
    yield len(points)
    yield len(points) - len(good)
    spread = [stdev(t) / (sum(t) / len(t)) for t in good.values() if len(t) > 1]
    yield f"{100 * median(spread):.1f} %" if spread else "-"
    start = [median(good[name]) for name in good if dict(points[name]) == default]
    yield f"{start[0] / min(map(median, good.values())):.2f}" if start else "-"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        tell("stopped; the same command goes on from here")
        sys.exit(130)
