"""Searches side by side on recorded surfaces: evaluations to the best, quality of what is returned.

    python tests/benchmarks/search.py FOLDER [FOLDER ...]

Every competitor has the same first evaluation, restrictions and seeds; see surfaces.py and
search_peers.py. The main table knows no earlier runs and no language model. What `hpcagent, names
hidden` does not learn either is what parameters and their choices are called (known.yaml). With
--history another table shows what earlier runs change: those of the surface's relatives, of its
`family` in the same folders (other sizes, machines or inputs of one program), never of the surface
itself; of relatives told wrongly; of other programs with parameters of the same names; and for
comparison a search that knows none but begins with the best point of each relative's run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
# One process a core: threads of a BLAS would only disturb each other.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from earlier import Told, openings, prepare, priors, related, strangers  # noqa: E402
from harness import tell  # noqa: E402
from search_peers import Competitor, competitors, optuna, own  # noqa: E402
from search_tables import COUNTS, SHARES, Run, against, of_surface, pooled  # noqa: E402
from surfaces import BadSurface, Surface, load  # noqa: E402

OWN, PEER = "hpcagent", "Optuna TPE"
# What a search begins with: relatives that tell the truth, relatives that are wrong, strangers.
HISTORIES = {
    f"{OWN}, history": Told(2),
    f"{OWN}, one earlier run": Told(1),
    f"{OWN}, half of it wrong": Told(1, 1),
    f"{OWN}, all of it wrong": Told(0, 2),
    f"{OWN}, of other programs": Told(strangers=2),
}
FROM_BEST = {OWN: f"{OWN}, from their best", PEER: f"{PEER}, from their best"}


def main() -> int:
    chosen = _arguments()
    try:
        surfaces = [s for folder in chosen.folders for s in load(folder)]
    except BadSurface as error:
        print(f"search.py: {error}", file=sys.stderr)
        return 2
    names = [n for n in competitors(chosen.batch) if not chosen.only or n in chosen.only]
    if chosen.history:
        surfaces = [s for s in surfaces if related(surfaces, s)]
        peers = [PEER] * (PEER in competitors(1))
        names = [OWN, *peers, *HISTORIES, *(FROM_BEST[name] for name in (OWN, *peers))]
        names = [n for n in names if not chosen.only or n in chosen.only]
        if not surfaces:
            print("search.py: no surface has a relative of its family there", file=sys.stderr)
            return 2
        seeds = range(chosen.first_seed, chosen.first_seed + chosen.seeds)
        prepare(surfaces, seeds, chosen.processes)
    runs = _all(surfaces, names, chosen)
    for surface in surfaces:
        of_surface(surface, [r for r in runs if r.surface == surface.name], names)
    if chosen.history:
        for other in (OWN, PEER, *FROM_BEST.values()):
            if any(run.method == other for run in runs):
                against(runs, names, other, chosen.budget)
    elif len(surfaces) > 1 or OWN in names:
        pooled(runs, names, OWN, chosen.budget)
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
        able = [surface.name for surface in surfaces if _able(name, surface)]
        runs = _of_one(able, name, chosen, share_s) if able else []
        tell(f"{name}: {len(runs)} runs")
        found += runs
    return sorted(found, key=lambda run: (run.surface, run.method, run.seed))


def _able(method: str, surface: Surface) -> bool:
    """Whether there is anything of the kind that the method is told."""
    told = HISTORIES.get(method)
    return told is None or not told.strangers or bool(strangers(_loaded(), surface))


def _loaded() -> tuple[Surface, ...]:
    return tuple(_SURFACES.values())


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
    """Never what rests on hpcagent's search: it is what changes."""
    if path is not None and not run.method.startswith((OWN, *FROM_BEST.values())):
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
    if method in HISTORIES:
        return own("surrogate", batch, priors(_loaded(), HISTORIES[method]))
    if method == FROM_BEST[OWN]:
        return own("surrogate", batch, opening=openings(_loaded()))
    if method == FROM_BEST[PEER]:
        return optuna("TPESampler", openings(_loaded()))
    return competitors(batch)[method]


if __name__ == "__main__":
    sys.exit(main())
