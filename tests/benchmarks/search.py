"""Searches side by side on recorded surfaces: evaluations to the best, quality of what is returned.

    python tests/benchmarks/search.py FOLDER [FOLDER ...]

Every competitor has the same first evaluation, restrictions and seeds; see surfaces.py and
search_peers.py, and surface_files.py for what a FOLDER holds. The main table knows no earlier runs
and no language model. What `hpcagent, names hidden` does not learn either is what parameters and
their choices are called (known.yaml). With --history another table shows what earlier runs change:
those of the surface's relatives, of its `family` in the same folders (other sizes, machines or
inputs of one program), never of the surface itself; of relatives told wrongly; of other programs
with parameters of the same names; and for comparison a search that knows none but begins with the
best point of each relative's run. With --earlier FOLDER they are of the surfaces in another folder,
such as the same ones on another machine.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
# One process a core: threads of a BLAS would only disturb each other.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from earlier import Told, openings, prepare, priors, related, strangers  # noqa: E402
from harness import tell  # noqa: E402
from search_kept import BadFile, Kept, writable  # noqa: E402
from search_options import BadOption, arguments, asked  # noqa: E402
from search_peers import Competitor, competitors, hillclimb, lacking, optuna, own  # noqa: E402
from search_tables import COUNTS, SHARES, Run, against, of_surface, pooled  # noqa: E402
from surface_files import load  # noqa: E402
from surface_head import BadSurface  # noqa: E402
from surfaces import Surface  # noqa: E402

from hpcagent.report.wording import visible  # noqa: E402

OWN, CLIMB, PEER = "hpcagent", "hill climbing", "Optuna TPE"
# What a search begins with: relatives that tell the truth, relatives that are wrong, strangers.
HISTORIES = {
    f"{OWN}, history": Told(2),
    f"{OWN}, one earlier run": Told(1),
    f"{OWN}, half of it wrong": Told(1, 1),
    f"{OWN}, all of it wrong": Told(0, 2),
    f"{OWN}, of other programs": Told(strangers=2),
}
LACKING = "no surface there of another family shares a parameter's name and kind with any"
FROM_BEST = {name: f"{name}, from their best" for name in (OWN, CLIMB, PEER)}


def main() -> int:
    try:
        return _compare(arguments(__doc__))
    except (BadOption, BadSurface, BadFile) as error:
        print(visible(f"search.py: {error}"), file=sys.stderr)
        return 2


def _compare(chosen: argparse.Namespace) -> int:
    """The exit code, 2 where --json could not be written after all."""
    names = asked(chosen.only, _known(chosen))
    if chosen.json:
        writable(chosen.json)
    surfaces = load(*chosen.folders)
    if chosen.history:
        elsewhere = load(chosen.earlier) if chosen.earlier else surfaces
        surfaces = tuple(s for s in surfaces if related(elsewhere, s))
        if not surfaces:
            raise BadOption("--history: no surface has a relative of its family there")
        _EARLIER.append(_Earlier(elsewhere if chosen.earlier else surfaces, chosen.trust))
    _SURFACES.update({surface.name: surface for surface in surfaces})
    kept = Kept(chosen.keep, chosen.budget, _SURFACES)
    if chosen.history:
        seeds = range(chosen.first_seed, chosen.first_seed + chosen.seeds)
        prepare(_earlier().surfaces, seeds, chosen.processes)
    if not chosen.only:
        for name, package in lacking().items():
            print(f"left out: {name}: {package} is not installed\n")
    runs = _all(names, chosen, kept)
    written = _write(chosen.json, runs)
    left = _left(names, runs)
    if not left:
        raise BadOption("none of these can be compared there")
    _tables(runs, left, chosen)
    return 0 if written else 2


def _known(chosen: argparse.Namespace) -> list[str]:
    """All that could be compared."""
    found = list(competitors(chosen.batch))
    if chosen.history:
        peers = [name for name in (CLIMB, PEER) if name in found]
        found = [OWN, *peers, *HISTORIES, *(FROM_BEST[name] for name in (OWN, *peers))]
    return found


def _write(path: Path | None, runs: Sequence[Run]) -> bool:
    """Before anything is shown: nothing that goes wrong there loses the runs."""
    try:
        if path is not None:
            path.write_text(json.dumps([vars(run) for run in runs], indent=1) + "\n")
    except OSError as error:
        print(visible(f"search.py: {path}: {error.strerror}; not written"), file=sys.stderr)
        return False
    return True


def _left(names: Sequence[str], runs: Sequence[Run]) -> list[str]:
    """The methods that have runs; why the others have none is said."""
    found = {run.method for run in runs}
    for name in names:
        if name not in found:
            why = "no run was finished" if any(_able(name, s) for s in _loaded()) else LACKING
            print(f"left out: {name}: {why}\n")
    return [name for name in names if name in found]


def _tables(runs: Sequence[Run], names: Sequence[str], chosen: argparse.Namespace) -> None:
    for surface in _loaded():
        of_surface(surface, [r for r in runs if r.surface == surface.name], names, chosen.budget)
    if chosen.history:
        for other in (OWN, CLIMB, PEER, *FROM_BEST.values()):
            if other in names:
                against(runs, names, other, chosen.budget)
    elif len(_SURFACES) > 1 or OWN in names:
        pooled(runs, names, OWN, chosen.budget)


@dataclass(frozen=True)
class _Earlier:
    """What was searched earlier, and how far that is trusted."""

    surfaces: tuple[Surface, ...]
    trust: float


_SURFACES: dict[str, Surface] = {}
_EARLIER: list[_Earlier] = []  # set once, before processes are forked


def _earlier() -> _Earlier:
    return _EARLIER[-1]


def _all(names: Sequence[str], chosen: argparse.Namespace, kept: Kept) -> list[Run]:
    end = time.monotonic() + 60.0 * chosen.minutes
    found: list[Run] = []
    for left, name in zip(range(len(names), 0, -1), names, strict=True):
        share_s = max(0.0, end - time.monotonic()) / left
        able = [surface.name for surface in _loaded() if _able(name, surface)]
        runs = _of_one(able, name, chosen, kept, share_s) if able else []
        tell(f"{name}: {len(runs)} runs")
        found += runs
    return sorted(found, key=lambda run: (run.surface, run.method, run.seed))


def _able(method: str, surface: Surface) -> bool:
    """Whether there is anything of the kind that the method is told."""
    told = HISTORIES.get(method)
    return told is None or not told.strangers or bool(strangers(_earlier().surfaces, surface))


def _loaded() -> tuple[Surface, ...]:
    return tuple(_SURFACES.values())


def _of_one(
    surfaces: Sequence[str], name: str, chosen: argparse.Namespace, kept: Kept, seconds: float
) -> list[Run]:
    """The runs of one search, seed by seed over all surfaces, and at least one seed of each."""
    jobs = [
        (surface, name, seed, chosen.budget, chosen.batch)
        for seed in range(chosen.first_seed, chosen.first_seed + chosen.seeds)
        for surface in surfaces
    ]
    found = [kept.runs[job[:3]] for job in jobs if job[:3] in kept.runs]
    jobs = [job for job in jobs if job[:3] not in kept.runs]
    end = time.monotonic() + seconds
    # Forked: the surfaces are shared, not copied. In order: whole seeds are what counts.
    processes = max(1, min(chosen.processes, len(jobs)))
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        for run in pool.imap(_one, jobs):
            found.append(run)
            # Never what rests on hpcagent's search: it is what changes.
            if not run.method.startswith((OWN, *FROM_BEST.values())):
                kept.add(run)
            if time.monotonic() > end and _whole(found, surfaces):
                break
    return _whole(found, surfaces)


def _whole(runs: Sequence[Run], surfaces: Sequence[str]) -> list[Run]:
    """Those of seeds that every surface has."""
    seeds = [{run.seed for run in runs if run.surface == surface} for surface in surfaces]
    shared = set.intersection(*seeds)
    return [run for run in runs if run.seed in shared]


def _one(job: tuple[str, str, int, int, int]) -> Run:
    name, method, seed, budget, batch = job
    surface = _SURFACES[name]
    done = _competitor(method, batch)(surface, seed, budget)
    counts = tuple(done.replay.quality(count) for count in COUNTS)
    needed = tuple(done.replay.evaluations_to(share, budget) for share in SHARES)
    ms = 1000 * median(done.seconds) if done.seconds else 0.0
    return Run(name, method, seed, counts, needed, done.replay.wasted, ms)


def _competitor(method: str, batch: int) -> Competitor:
    if method in HISTORIES:
        known = _earlier()
        return own("surrogate", batch, priors(known.surfaces, HISTORIES[method], known.trust))
    if method == FROM_BEST[OWN]:
        return own("surrogate", batch, opening=openings(_earlier().surfaces))
    if method == FROM_BEST[CLIMB]:
        return hillclimb(openings(_earlier().surfaces))
    if method == FROM_BEST[PEER]:
        return optuna("TPESampler", openings(_earlier().surfaces))
    return competitors(batch)[method]


if __name__ == "__main__":
    sys.exit(main())
