"""What a comparison found, in one record: every report of it is drawn from this."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from hpcagent.measure.results import Run
from hpcagent.measure.statistics import coefficient_of_variation
from hpcagent.measure.worker import median
from hpcagent.records import Failure
from hpcagent.study import budget
from hpcagent.study.compare_plan import MIN_BLOCKS, MIN_PAIRS, Comparison, Side
from hpcagent.study.compare_statistics import Ratio, speed_ratio
from hpcagent.study.knowledge import failure_in
from hpcagent.study.rundir import RunDir
from hpcagent.study.scaling import NodeLevel, Scaling, scaling
from hpcagent.study.state import TuneState, Unit


@dataclass(frozen=True)
class Figure:
    """One configuration in one block: seconds and CV of its processes, `runs` of them valid.

    A process counts with the weighted geometric mean over the workload of the median seconds of a
    call; `seconds` is the median of these, `wall_s` that of the whole processes. None where too few
    are valid, or the best failed.
    """

    seconds: float | None
    cv: float | None
    runs: int
    wall_s: float | None = None


@dataclass(frozen=True)
class Block:
    """One allocation of one side."""

    number: int
    unit: str
    node: str
    default: Figure
    best: Figure


@dataclass(frozen=True)
class Level:
    """One configuration over a side's blocks: the geometric mean of their seconds, the CV within
    a block (root mean square over the blocks) and that of the blocks' seconds."""

    seconds: float | None
    within_cv: float | None
    between_cv: float | None


@dataclass(frozen=True)
class SideResult:
    """One side. `settings` put its best configuration into effect; `tuned` is False where the
    default is the best."""

    label: str
    run_id: str
    path: str
    cpu: str
    cpus: int
    library: str
    settings: str
    gain: str
    tuned: bool
    blocks: tuple[Block, ...]
    default: Level
    best: Level


@dataclass(frozen=True)
class PairResult:
    """Two sides: how many times as fast `first` is as `second`, best against best (`best`) and
    default against default. None where a side has too few values.

    `cost`: core-hours of `first` over those of `second` for the same work, each with its best,
    with the ends of its interval; None where both hold the same number of CPUs.
    """

    first: str
    second: str
    best: Ratio | None
    default: Ratio | None
    cost: tuple[float, float, float] | None


@dataclass(frozen=True)
class CompareSummary:
    """A comparison, finished or not; `outcome` is "" while it goes on, then "compared", "failed"
    or "cancelled". `coverage` is that of each interval alone."""

    run_id: str
    kind: str
    app: str
    version: str
    seed: int
    created_utc: str
    closed_utc: str
    outcome: str
    outcome_text: str
    what: str
    workload_source: str
    blocks: int
    pairs: int
    coverage: float
    minimum_effect: float
    sides: tuple[SideResult, ...]
    results: tuple[PairResult, ...]
    failures: tuple[tuple[str, Failure], ...]
    core_hours: float
    wall_s: float
    application: bool = False
    scaling: Scaling | None = None

    @property
    def blocks_done(self) -> int:
        return sum(len(side.blocks) for side in self.sides)


def summarise_comparison(run: RunDir, state: TuneState) -> CompareSummary:
    """The summary of a comparison at any point of its life."""
    comparison = Comparison.of(state)
    sides = tuple(_side(comparison, state, i) for i in range(len(comparison.sides)))
    closed = state.closed or {}
    return CompareSummary(
        run_id=run.id,
        kind=run.kind,
        app=state.settings.app,
        version=state.version,
        seed=state.settings.seed,
        created_utc=state.created_utc,
        closed_utc=state.closed_utc,
        outcome=str(closed.get("outcome", "")),
        outcome_text=str(closed.get("text", "")),
        what=comparison.what,
        workload_source=comparison.workload_source,
        blocks=comparison.blocks,
        pairs=comparison.pairs,
        coverage=1.0 - comparison.alpha,
        minimum_effect=comparison.minimum_effect,
        sides=sides,
        results=compared(comparison, sides),
        failures=_failures(comparison, state),
        core_hours=budget.spent_core_hours(state),
        wall_s=budget.elapsed_s(state, state.closed_utc or state.last_utc),
        application=comparison.application,
        scaling=scaled(comparison, sides),
    )


def scaled(comparison: Comparison, sides: Sequence[SideResult]) -> Scaling | None:
    """What the sides tell where they are numbers of nodes; None where they are anything else."""
    return scaling(comparison, _levels(sides, "best"), _levels(sides, "default"))


def _levels(sides: Sequence[SideResult], which: str) -> list[NodeLevel]:
    """By numbers of nodes, which are the labels of the sides then."""
    found = []
    for side in sides:
        figures = [getattr(block, which) for block in side.blocks]
        walls = tuple(one.wall_s for one in figures if one.wall_s is not None)
        if side.label.isdecimal():
            found.append(NodeLevel(int(side.label), tuple(f.seconds for f in figures), walls))
    return found


def compared(comparison: Comparison, sides: Sequence[SideResult]) -> tuple[PairResult, ...]:
    """Every pair of sides, the faster one (by its best, else by its default) first."""
    return tuple(_pair(comparison, a, b) for a, b in combinations(sides, 2))


def side_results(comparison: Comparison, state: TuneState) -> tuple[SideResult, ...]:
    return tuple(_side(comparison, state, i) for i in range(len(comparison.sides)))


# --- one side ------------------------------------------------------------------------------------


def _side(comparison: Comparison, state: TuneState, index: int) -> SideResult:
    side = comparison.sides[index]
    blocks = tuple(_block(side, unit) for unit in comparison.measured(state, index))
    return SideResult(
        label=side.label,
        run_id=side.run_id,
        path=side.path,
        cpu=side.cpu,
        cpus=side.cpus,
        library=side.library,
        settings=settings_words(side, comparison.application),
        gain=side.best,
        tuned=side.best_id != side.default_id,
        blocks=blocks,
        default=_level([block.default for block in blocks]),
        best=_level([block.best for block in blocks]),
    )


def settings_words(side: Side, application: bool) -> str:
    """What puts the side's best configuration into effect, on one line: of an application, what of
    it is not the default's."""
    if side.best_id == side.default_id:
        return "the default"
    first, config = side.spec["configs"][0], side.spec["configs"][-1]
    if application:
        own = config["values"]
        return " ".join(f"{k}={own[k]}" for k in sorted(own) if own[k] != first["values"][k])
    words = [f"{name}={value}" for name, value in sorted(config["env"].items())]
    if config["binding"]:
        words += ["taskset", "-c", ",".join(map(str, config["binding"]))]
    return " ".join([*words, *config["argv"]]) or "the default"


def _block(side: Side, unit: Unit) -> Block:
    return Block(
        number=int(unit.spec["block"]),
        unit=unit.name,
        node=unit.node,
        default=_figure(unit.runs, side.default_id, failed=False),
        # One failure is one too many for a setting that somebody is to use.
        best=_figure(
            unit.runs, side.best_id, failed=failure_in(unit.runs, side.best_id) is not None
        ),
    )


def _figure(runs: Sequence[Run], config: str, failed: bool) -> Figure:
    good = [r for r in runs if r.config == config and r.pair > 0 and r.ok]
    valid = [run.objective for run in good if run.objective is not None]
    walls = [run.wall_s for run in good if run.wall_s is not None]
    if failed or len(valid) < MIN_PAIRS:
        return Figure(None, None, len(valid))
    cv = coefficient_of_variation([math.exp(value) for value in valid])
    return Figure(math.exp(median(valid)), cv, len(valid), median(walls) if walls else None)


def _level(figures: Sequence[Figure]) -> Level:
    seconds = [figure.seconds for figure in figures if figure.seconds is not None]
    cvs = [figure.cv for figure in figures if figure.cv is not None]
    if not seconds:
        return Level(None, None, None)
    return Level(
        seconds=math.exp(math.fsum(map(math.log, seconds)) / len(seconds)),
        within_cv=math.sqrt(math.fsum(cv**2 for cv in cvs) / len(cvs)),
        between_cv=coefficient_of_variation(seconds) if len(seconds) > 1 else None,
    )


# --- two sides -----------------------------------------------------------------------------------


def _pair(comparison: Comparison, a: SideResult, b: SideResult) -> PairResult:
    best = _ratio(comparison, [x.best for x in a.blocks], [x.best for x in b.blocks])
    default = _ratio(comparison, [x.default for x in a.blocks], [x.default for x in b.blocks])
    leading = best or default
    if leading is not None and leading.ratio < 1.0:
        a, b = b, a
        best = best and best.inverse()
        default = default and default.inverse()
    return PairResult(a.label, b.label, best, default, _cost(a, b, best))


def _ratio(comparison: Comparison, a: Sequence[Figure], b: Sequence[Figure]) -> Ratio | None:
    first = [math.log(figure.seconds) for figure in a if figure.seconds is not None]
    second = [math.log(figure.seconds) for figure in b if figure.seconds is not None]
    if min(len(first), len(second)) < MIN_BLOCKS:
        return None
    return speed_ratio(first, second, comparison.alpha, comparison.minimum_effect)


def _cost(a: SideResult, b: SideResult, best: Ratio | None) -> tuple[float, float, float] | None:
    if best is None or a.cpus == b.cpus:
        return None
    more = a.cpus / b.cpus
    return more / best.ratio, more / best.high, more / best.low


def _failures(comparison: Comparison, state: TuneState) -> tuple[tuple[str, Failure], ...]:
    """Failed units, and units that succeeded in which the best configuration failed."""
    found: list[tuple[str, Failure]] = []
    for unit in state.units:
        failure = unit.failure
        if failure is None and unit.finished:
            failure = failure_in(unit.runs, comparison.side_of(unit).best_id)
        if failure is not None:
            found.append((f"{unit.purpose} [{unit.name}]", failure))
    return tuple(found)
