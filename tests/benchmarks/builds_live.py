"""A program with what is compiled into it, tuned live: what `tune` finds, and at which cost.

1. Every configuration, each build made (`--strategy exhaustive`): how many programs there are, and
   the fastest.
2. `hpcagent tune` by its default strategy and, as its peer, by random search, each with several
   seeds. Runs share no builds.
3. The winners, the default and the best of all, in turns: only these times judge.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from harness import finish, options, scratch, table, tell

_HERE = Path(__file__).resolve().parent
_CARD = """\
schema: 1
name: tiled
kind: application
title: a tiled matrix product
build:
  source: src
  env: {CC: "{compiler}"}
  commands:
    - [make, "OPT=-{level} -DTILE={tile} {isa} {math} {loops}"]
  programs: [tiled]
command: {argv: ["{prefix}/bin/tiled"]}
derived:
  isa: "'-march=native' if target == 'native' else ''"
  math: "'-ffast-math' if sums == 'fast' else ''"
  loops: "'-funroll-loops' if unroll == 'on' else ''"
space:
  - {name: tile, kind: ordinal, meaning: edge of a tile, values: [8, 16, 32, 64, 128, 384],
     default: 384}
  - {name: level, kind: categorical, meaning: optimisation, values: [O1, O2, O3], default: O2}
  - {name: target, kind: categorical, meaning: instructions, values: [portable, native],
     default: portable}
  - {name: sums, kind: categorical, meaning: order of sums, values: [exact, fast], default: exact}
  - {name: unroll, kind: categorical, meaning: unrolled loops, values: ["off", "on"],
     default: "off"}
  - {name: compiler, kind: categorical, meaning: compiler, values: [gcc, clang], default: gcc}
figures_of_merit:
  - {name: time, regex: 'time (?P<value>\\S+)', unit: s, direction: min}
check:
  answer: {pattern: 'sum (?P<value>\\S+)', tolerance: 1e-9}
"""
_MAKEFILE = "tiled: tiled.c\n\t$(CC) $(OPT) -o $@ tiled.c\n"
_POINTS = 288
_MOST = 16  # challengers in a round
_TURNS = 31


@dataclass(frozen=True)
class Found:
    """A run: what it measured, built and took, and the folder of the build that won."""

    name: str
    measured: int
    builds: int
    minutes: float
    prefix: str


def main() -> None:
    chosen = options(
        __doc__,
        ("seeds", int, 3, "runs of each strategy"),
        ("rounds", int, 6, "rounds of a run, of four candidates"),
    )
    seeds = 1 if chosen.quick else chosen.extra["seeds"]
    rounds = 2 if chosen.quick else chosen.extra["rounds"]
    with scratch() as folder:
        _scene(folder)
        found = [
            _run(folder, f"{name} {seed}", strategy, rounds, 4, seed)
            for seed in range(1, seeds + 1)
            for name, strategy in (("tune", ()), ("random", ("--strategy", "random")))
        ]
        if not chosen.quick:
            every = -(-(_POINTS - 1) // _MOST)
            words = ("--strategy", "exhaustive")
            found.append(_run(folder, "every point", words, every, _MOST, 1))
        programs = _programs(folder, found[-1])
        seconds = _judged(folder, found)
        base = seconds["default"]
        best = min(seconds.values())
        rows = [
            (one.name, one.measured, one.builds, one.minutes, base / seconds[one.name],
             best / seconds[one.name])
            for one in found
        ]  # fmt: skip
    table(("run", "measured", "builds", "minutes", "speed-up", "of the best"), rows)
    print(f"{programs[0]} builds, {programs[1]} different programs")
    finish(chosen, {"rows": rows, "programs": programs, "seconds": seconds})


def _scene(folder: Path) -> None:
    (folder / "src").mkdir()
    shutil.copy(_HERE / "tiled.c", folder / "src")
    (folder / "src" / "Makefile").write_text(_MAKEFILE)
    (folder / "card.yaml").write_text(_CARD)


def _run(
    folder: Path, name: str, strategy: tuple[str, ...], rounds: int, challengers: int, seed: int
) -> Found:
    run = folder / name.replace(" ", "-")
    words = ["tune", "--app", "card.yaml", "--run-dir", str(run), "--seed", str(seed), "--json",
             "--store", f"{run}-builds", "--budget", f"rounds={rounds}", "--challengers",
             str(challengers), "--confirm-jobs", "1", *strategy]  # fmt: skip
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "hpcagent", *words], cwd=folder, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr}")
    told = json.loads(done.stdout)
    measured = sum(trial["speedup"] is not None for trial in told["trials"])
    builds = len(list(Path(f"{run}-builds").glob("*/manifest.json")))
    tell(f"{name}: {measured} measured, {builds} built")
    minutes = (time.monotonic() - began) / 60
    return Found(name, measured, builds, minutes, told["application"]["prefix"])


def _programs(folder: Path, found: Found) -> tuple[int, int]:
    """Builds of a run, and how many of them differ."""
    store = folder / f"{found.name.replace(' ', '-')}-builds"
    programs = [path.read_bytes() for path in store.glob("*/bin/tiled")]
    return len(programs), len(set(programs))


def _judged(folder: Path, found: list[Found]) -> dict[str, float]:
    """Median seconds of each winner and of the default, run in turns."""
    default = next(
        path.parent
        for path in folder.glob("*-builds/*/manifest.json")
        if json.loads(path.read_text())["lines"]["command 1"].endswith("'OPT=-O2 -DTILE=384   '")
        and "CC=gcc" in path.read_text()
    )
    sides = {"default": str(default), **{one.name: one.prefix for one in found}}
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(_TURNS):
        for name in list(sides)[:: 1 if turn % 2 else -1]:
            said = subprocess.run([f"{sides[name]}/bin/tiled"], capture_output=True, text=True)
            taken[name].append(float(said.stdout.split()[1]))
    return {name: statistics.median(values) for name, values in taken.items()}


if __name__ == "__main__":
    main()
