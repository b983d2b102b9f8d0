"""What a run is to make better, and what must hold meanwhile: objectives and constraints.

Every objective of a process becomes a *loss*: the natural logarithm of its figure in `unit`, with
its sign turned where more is better. Less is then always better, and the difference of two losses
is the log ratio that the statistics work on. The loss has no unit but that of the figure's
logarithm.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from hpcagent.errors import UsageError
from hpcagent.measure.results import Run

MIN, MAX = "min", "max"
TIME, THROUGHPUT, COST, ENERGY, MEMORY, CV = (
    "time", "throughput", "cost", "energy", "memory", "cv",
)  # fmt: skip


@dataclass(frozen=True)
class Objective:
    """A figure of merit. `direction` is "min" or "max": which way is better."""

    name: str
    unit: str
    direction: str = MIN

    @property
    def sign(self) -> float:
        """What the logarithm of the figure is multiplied with to make the loss."""
        return -1.0 if self.direction == MAX else 1.0

    def figure(self, loss: float) -> float:
        """The figure in `unit` that has this loss."""
        return math.exp(self.sign * loss)


@dataclass(frozen=True)
class Constraint:
    """`metric` must stay below `bound` (cv: a share of one; s, bytes, J); `text` is how it is said.
    `inverse`: of a figure of which more is better it is the inverse that must, as its loss is that.

    cv is the run-to-run coefficient of variation of the time, memory the largest peak of any
    process, energy, time and a card's own figures the median process.
    """

    metric: str
    bound: float
    text: str
    inverse: bool = False


@dataclass(frozen=True)
class Charge:
    """What an hour costs: of all that a job holds, and of one CPU where it pays for those it asks.

    Without `cpu_hour` the price does not depend on what runs: whole nodes are paid for. With it a
    configuration pays for as many CPUs as it has threads, as a job of its own would ask for them.
    """

    job_hour: float
    unit: str
    cpu_hour: float | None = None

    def of(self, wall_s: float, threads: str | None) -> float:
        """The price of a process of `wall_s` seconds that reports so many threads."""
        hour = self.job_hour
        if self.cpu_hour is not None and threads is not None and threads.isdigit():
            hour = min(hour, self.cpu_hour * max(1, int(threads)))
        return wall_s / 3600.0 * hour


@dataclass(frozen=True)
class Scales:
    """What turns a process into figures: the weighted mean of ln(GFLOP) of the workload's calls
    (None: the printed figure is no time of a call), what hours cost, what the application prints
    first and what it prints besides."""

    log_gflop: float | None
    charge: Charge
    printed: Objective
    further: tuple[Objective, ...] = ()


# --- what can be asked for ------------------------------------------------------------------------


def objectives(names: Sequence[str], scales: Scales) -> tuple[Objective, ...]:
    """The objectives of these names, in their order. UsageError for one that cannot be had."""
    known = {each.name: each for each in _available(scales)}
    for place, name in enumerate(names):
        if name not in known:
            raise UsageError(f"--objective: {name!r} is unknown: choose from {', '.join(known)}")
        if name in names[:place]:
            raise UsageError(f"--objective: {name} is named twice")
    return tuple(known[name] for name in names)


def _available(scales: Scales) -> Iterator[Objective]:
    yield Objective(TIME, "s")
    if scales.log_gflop is not None:
        yield Objective(THROUGHPUT, "GFLOP/s", MAX)
    yield Objective(COST, scales.charge.unit)
    yield Objective(ENERGY, "J")
    yield Objective(MEMORY, "bytes")
    yield Objective(CV, "")
    if scales.printed.name != TIME:
        yield scales.printed
    yield from scales.further


_UNITS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        CV: {"%": 0.01},
        MEMORY: {"K": 2.0**10, "M": 2.0**20, "G": 2.0**30, "T": 2.0**40},
        ENERGY: {"J": 1.0, "kJ": 1e3},
        TIME: {"s": 1.0, "ms": 1e-3, "us": 1e-6},
    }
)
_CONSTRAINT = re.compile(
    r"\s*(?P<metric>[a-z]+)\s*<\s*(?P<number>[0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(?P<unit>%|[A-Za-z]+)\s*",
    re.ASCII,
)
_OF_A_CARD = re.compile(
    r"\s*(?P<metric>[A-Za-z][A-Za-z0-9_.-]{0,63})\s*(?P<side>[<>])\s*"
    r"(?P<number>[0-9]{1,9}(?:\.[0-9]{1,9})?(?:e[+-]?[0-9]{1,2})?)\s*",
    re.ASCII,
)
ACCEPTED = (
    "cv<2%, memory<500M (K, M, G, T), energy<50J (J, kJ), time<3ms (s, ms, us) or, without a unit, "
    "a figure of the card (accuracy>0.9 where more is better)"
)


def parse_constraint(text: str) -> Constraint:
    """METRIC<NUMBER UNIT, or METRIC>NUMBER. UsageError in one line that says what is accepted.

    Another name, with a number alone, is taken for a card's figure: `bounded` tells whether it is.
    """
    own = _OF_A_CARD.fullmatch(text)
    if (
        own is not None
        and own["metric"] not in (*_UNITS, THROUGHPUT, COST)
        and float(own["number"])
    ):
        bound, above = float(own["number"]), own["side"] == ">"
        text = f"{own['metric']}{own['side']}{own['number']}"
        return Constraint(own["metric"], 1.0 / bound if above else bound, text, above)
    match = _CONSTRAINT.fullmatch(text)
    metric, number, unit = match.group("metric", "number", "unit") if match else ("", "0", "")
    factor = _UNITS.get(metric, {}).get(unit)
    if factor is None or float(number) == 0.0:
        raise UsageError(f"--within {text!r}: write {ACCEPTED}")
    return Constraint(metric, float(number) * factor, f"{metric}<{number}{unit}")


def parse_constraints(texts: Sequence[str]) -> tuple[Constraint, ...]:
    """Several of them, at most one of each metric; UsageError as `parse_constraint`."""
    found = tuple(parse_constraint(text) for text in texts)
    for place, each in enumerate(found):
        if each.metric in [other.metric for other in found[:place]]:
            raise UsageError(f"--within {each.text!r}: {each.metric} is bounded twice")
    return found


def bounded(texts: Sequence[str], scales: Scales) -> tuple[Constraint, ...]:
    """As `parse_constraints`; UsageError as well for a figure that the card has not, or whose
    better side is bounded."""
    found = parse_constraints(texts)
    figures = {each.name: each for each in (scales.printed, *scales.further)}
    for each in found:
        figure = figures.get(each.metric)
        if each.metric not in _UNITS and figure is None:
            raise UsageError(f"--within {each.text!r}: write {ACCEPTED}")
        if each.metric not in _UNITS and figure is not None:
            _require_worse_side(each, figure)
    return found


def _require_worse_side(asked: Constraint, figure: Objective) -> None:
    more = figure.direction == MAX
    if more != asked.inverse:
        words, side = ("more", ">") if more else ("less", "<")
        raise UsageError(
            f"--within {asked.text!r}: of {asked.metric} {words} is better: write "
            f"{asked.metric}{side}NUMBER, or make it an --objective"
        )


# --- from a process to its figures ----------------------------------------------------------------


def loss(name: str, run: Run, scales: Scales) -> float | None:
    """The loss of a process; None where it failed, or what it needs was not measured.

    A run's objective is the loss of the figure that the application prints (worker.objective);
    where that is no time, the time is that of the whole process. cv has no loss: it is a property
    of several processes (measure/scatter.py).
    """
    if not run.ok or run.objective is None:
        return None
    if name == scales.printed.name:
        return run.objective
    if name in (each.name for each in scales.further):
        return run.further.get(name)
    if name == TIME:
        return _log(run.wall_s)
    if name == THROUGHPUT:
        return None if scales.log_gflop is None else run.objective - scales.log_gflop
    if name == COST:
        threads = run.readback.get("threads")
        return _log(None if run.wall_s is None else scales.charge.of(run.wall_s, threads))
    if name == ENERGY:
        return _log(run.joules)
    return _log(run.maxrss_bytes) if name == MEMORY else None


def _log(figure: float | None) -> float | None:
    return math.log(figure) if figure is not None and figure > 0.0 else None


def valued(name: str, runs: Iterable[Run], scales: Scales) -> list[Run]:
    """The runs with this loss as their objective, for the statistics of pairs and effects."""
    return [replace(run, objective=loss(name, run, scales)) for run in runs]


def losses(name: str, runs: Iterable[Run], config: str, scales: Scales) -> list[float]:
    """The losses of a configuration's processes, warm-ups left out."""
    mine = (loss(name, run, scales) for run in runs if run.config == config and run.pair > 0)
    return [value for value in mine if value is not None]
