"""Searches side by side on recorded surfaces: evaluations to the best, quality of what is returned.

    python tests/benchmarks/search.py FOLDER [FOLDER ...]

Every competitor has the same first evaluation, restrictions and seeds; see surfaces.py and
search_peers.py. The main table knows no earlier runs and no language model. With --history a second
table shows what earlier runs of the surface's relatives change: other sizes of its family in the
same folders, never the surface itself.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
# One process a core: threads of a BLAS would only disturb each other.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from earlier import priors, related  # noqa: E402
from harness import table, tell  # noqa: E402
from search_peers import Competitor, competitors, own  # noqa: E402
from surfaces import BadSurface, Surface, load  # noqa: E402

COUNTS = (5, 10, 20, 30)
SHARES = (0.95, 0.98)
_RESAMPLES = 2000
OWN = "hpcagent"
# What a search begins with: relatives that tell the truth, relatives that are wrong.
HISTORIES = {
    f"{OWN}, history": (2, 0),
    f"{OWN}, half of it wrong": (1, 1),
    f"{OWN}, all of it wrong": (0, 2),
}


@dataclass(frozen=True)
class Run:
    """What one run came to: quality after COUNTS, evaluations to SHARES, proposals not taken."""

    surface: str
    method: str
    seed: int
    quality: tuple[float, ...]
    needed: tuple[int, ...]
    wasted: int
    ms: float


def main() -> int:
    chosen = _arguments()
    try:
        surfaces = [s for folder in chosen.folders for s in load(folder)]
    except BadSurface as error:
        print(f"search.py: {error}", file=sys.stderr)
        return 2
    names = [n for n in competitors(chosen.batch) if not chosen.only or n in chosen.only]
    if chosen.history:
        surfaces, names = [s for s in surfaces if related(surfaces, s)], [OWN, *HISTORIES]
        if not surfaces:
            print("search.py: no surface has a relative of another size there", file=sys.stderr)
            return 2
    runs = _all(surfaces, names, chosen)
    for surface in surfaces:
        _report(surface, [r for r in runs if r.surface == surface.name], names)
    if len(surfaces) > 1 or OWN in names:
        _pooled(runs, [s.name for s in surfaces], names, chosen.budget)
    if chosen.json:
        chosen.json.write_text(json.dumps([vars(run) for run in runs], indent=1) + "\n")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument(
        "--minutes", type=float, default=10.0, metavar="N",
        help="time for all; whoever is too slow for its share gets fewer seeds, as the table says",
    )  # fmt: skip
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--budget", type=int, default=30)
    parser.add_argument("--batch", type=int, default=1, help="proposals of hpcagent at a time")
    parser.add_argument("--only", action="append", metavar="NAME", help="these competitors only")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument(
        "--history", action="store_true", help="begin with what searches of other sizes found"
    )
    parser.add_argument("--keep", type=Path, metavar="FILE", help="competitors' runs, made once")
    return parser.parse_args()


_SURFACES: dict[str, Surface] = {}


def _all(
    surfaces: Sequence[Surface], names: Sequence[str], chosen: argparse.Namespace
) -> list[Run]:
    _SURFACES.update({surface.name: surface for surface in surfaces})
    end = time.monotonic() + 60.0 * chosen.minutes
    found: list[Run] = []
    for left, name in zip(range(len(names), 0, -1), names, strict=True):
        share_s = max(0.0, end - time.monotonic()) / left
        runs = _of_one([surface.name for surface in surfaces], name, chosen, share_s)
        tell(f"{name}: {len(runs)} runs")
        found += runs
    return sorted(found, key=lambda run: (run.surface, run.method, run.seed))


def _of_one(
    surfaces: Sequence[str], name: str, chosen: argparse.Namespace, seconds: float
) -> list[Run]:
    """The runs of one search, seed by seed over all surfaces, and at least one seed of each."""
    jobs = [
        (surface, name, seed, chosen.budget, chosen.batch)
        for seed in range(chosen.first_seed, chosen.first_seed + chosen.seeds)
        for surface in surfaces
    ]
    kept = _kept(chosen.keep, chosen.budget)
    found = [kept[job[:3]] for job in jobs if job[:3] in kept]
    jobs = [job for job in jobs if job[:3] not in kept]
    end = time.monotonic() + seconds
    # Forked: the surfaces are shared, not copied. In order: whole seeds are what counts.
    with multiprocessing.get_context("fork").Pool(chosen.processes) as pool:
        for run in pool.imap(_one, jobs):
            found.append(run)
            _keep(chosen.keep, chosen.budget, run)
            if time.monotonic() > end and len(found) >= len(surfaces):
                break
    whole = [{run.seed for run in found if run.surface == surface} for surface in surfaces]
    return [run for run in found if all(run.seed in seeds for seeds in whole)]


def _kept(path: Path | None, budget: int) -> dict[tuple[str, str, int], Run]:
    """Runs of competitors by (surface, method, seed), as `_keep` wrote them."""
    found = {}
    if path is not None and path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row.pop("budget") == budget:
                run = Run(
                    **{**row, "quality": tuple(row["quality"]), "needed": tuple(row["needed"])}
                )
                found[run.surface, run.method, run.seed] = run
    return found


def _keep(path: Path | None, budget: int, run: Run) -> None:
    """Never what belongs to hpcagent: it is what changes."""
    if path is not None and not run.method.startswith(OWN):
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"budget": budget, **vars(run)}) + "\n")


def _one(job: tuple[str, str, int, int, int]) -> Run:
    name, method, seed, budget, batch = job
    surface = _SURFACES[name]
    done = _competitor(method, batch)(surface, seed, budget)
    counts = tuple(done.replay.quality(count) for count in COUNTS)
    needed = tuple(done.replay.evaluations_to(share, budget) for share in SHARES)
    ms = 1000 * median(done.seconds) if done.seconds else 0.0
    return Run(name, method, seed, counts, needed, done.replay.wasted, ms)


def _competitor(method: str, batch: int) -> Competitor:
    if method not in HISTORIES:
        return competitors(batch)[method]
    return own("surrogate", batch, priors(tuple(_SURFACES.values()), *HISTORIES[method]))


def _report(surface: Surface, runs: Sequence[Run], names: Sequence[str]) -> None:
    kind = f"{surface.repeats} repeats" if surface.repeats > 1 else "1 repeat: no noise is replayed"
    print(f"== {surface.name}: {len(surface.samples)} points, {surface.failures} fail, {kind}")
    head = ["(seeds)", *(f"q@{count}" for count in COUNTS), "lower quartile @20",
            "evals to 95 % (mean)", "to 98 %", "unusable", "CPU ms"]  # fmt: skip
    rows = []
    for name in names:
        mine = [run for run in runs if run.method == name]
        columns = list(zip(*(run.quality for run in mine), strict=True))
        needed = list(zip(*(run.needed for run in mine), strict=True))
        quartile = sorted(columns[COUNTS.index(20)])[len(mine) // 4]
        rows.append(
            [f"{name} ({len(mine)})", *(f"{median(column):.3f}" for column in columns),
             f"{quartile:.3f}",
             *(f"{sum(n) / len(n):.1f}" for n in needed),
             f"{sum(run.wasted for run in mine) / len(mine):.1f}",
             f"{median(run.ms for run in mine):.2f}"]
        )  # fmt: skip
    table(head, rows)


def _pooled(
    runs: Sequence[Run], surfaces: Sequence[str], names: Sequence[str], budget: int
) -> None:
    """Evaluations to 95 %, the geometric mean over surfaces of each one's mean, as ratios."""
    print(f"== all {len(surfaces)} surfaces: evaluations to 95 % (a miss: {budget + 1})")
    rows = []
    for name in names:
        level = _level(_needed(runs, name), surfaces)
        row = [name, f"{level:.2f}"]
        if OWN in names and name != OWN:
            mine, theirs = _common(_needed(runs, OWN), _needed(runs, name))
            low, high = _interval(mine, theirs, surfaces)
            ratio = _level(mine, surfaces) / _level(theirs, surfaces)
            row += [f"{ratio:.2f}", f"{low:.2f} to {high:.2f}"]
        rows.append(row + [""] * (4 - len(row)))
    table(["", "evaluations", f"{OWN} over it", "95 % interval"], rows)


Needed = Mapping[str, Mapping[int, int]]


def _needed(runs: Sequence[Run], method: str) -> Needed:
    found: dict[str, dict[int, int]] = {}
    for run in runs:
        if run.method == method:
            found.setdefault(run.surface, {})[run.seed] = run.needed[0]
    return found


def _common(own: Needed, other: Needed) -> tuple[Needed, Needed]:
    """Both with the seeds that both have."""
    seeds = {surface: own[surface].keys() & other[surface].keys() for surface in own}

    def kept(each: Needed) -> Needed:
        return {surface: {seed: each[surface][seed] for seed in seeds[surface]} for surface in own}

    return kept(own), kept(other)


def _level(needed: Needed, surfaces: Sequence[str]) -> float:
    means = [sum(needed[s].values()) / len(needed[s]) for s in surfaces]
    return math.exp(sum(map(math.log, means)) / len(means))


def _interval(own: Needed, other: Needed, surfaces: Sequence[str]) -> tuple[float, float]:
    """Bootstrap over seeds, the same seeds drawn for both: percentile interval of the ratio."""
    rng = random.Random(1)
    ratios = []
    for _ in range(_RESAMPLES):
        logs = 0.0
        for surface in surfaces:
            seeds = sorted(own[surface])
            drawn = rng.choices(seeds, k=len(seeds))
            mine = sum(own[surface][seed] for seed in drawn)
            theirs = sum(other[surface][seed] for seed in drawn)
            logs += math.log(mine / theirs)
        ratios.append(math.exp(logs / len(surfaces)))
    ratios.sort()
    return ratios[int(0.025 * _RESAMPLES)], ratios[int(0.975 * _RESAMPLES)]


if __name__ == "__main__":
    sys.exit(main())
