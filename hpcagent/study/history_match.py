"""How far an earlier run can speak for the present one: between 0 (not at all) and 1.

The product of four likenesses: of the machine, the library, the workload and what is run to measure
it. They are rough on purpose: the search estimates from its own measurements how much of an earlier
run holds (search/prior.py), and needs only a first guess.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hpcagent.apps.workload import Case
from hpcagent.records import Config, Failure, Trial
from hpcagent.search.prior import Earlier
from hpcagent.study.history_record import Place, Record, Tried, Tuned

LEAST_TRUST = 0.05  # what is trusted less is not used
MOST_RUNS = 4  # that one search begins with
MOST_TRIALS = 60  # of each of them
_OTHER_CORE = 0.4  # another microarchitecture of the same instruction set
_PER_DOUBLING = 0.85  # of the cores
_OTHER_LIBRARY = 0.3
_OTHER_VERSION = 0.9
_OTHER_THREADING = 0.7
_OTHER_PRECISION = 0.8
# On recorded surfaces of OpenBLAS what another routine wants led astray (docs/benchmarks.md).
_OTHER_ROUTINE = 0.25
# Another command, build or figure times something else; its settings may well do the same there.
_OTHER_MEASURED = 0.4
_AS_IT_WAS = "{} as it was"  # a parameter that has the name of another now
_OTHER_INSTRUCTIONS = "run.illegal_instruction"  # what one machine lacks another may have
_SIZE = 3.0  # doublings of a matrix's side after which likeness has fallen to 1/e


@dataclass(frozen=True)
class Present:
    """What a run is compared with; `measures` and, by parameter, `sets` are of history_card.py."""

    machine: Place
    library: Tuned
    workload: tuple[Case, ...]
    objective: str = "time"
    measures: str = ""
    sets: Mapping[str, str] = field(default_factory=dict)


def trust(present: Present, record: Record) -> float:
    """Nothing where another objective was searched for: its ratios are of something else."""
    if present.objective != record.objective:
        return 0.0
    works = [row.case for row in record.workload]
    return (
        _machines(present.machine, record.machine)
        * _libraries(present.library, record.library)
        * _workloads(present.workload, works)
        * (_OTHER_MEASURED if _differ(present.measures, record.measures) else 1.0)
    )


def matching(present: Present, records: Sequence[Record]) -> tuple[Earlier, ...]:
    """The runs worth listening to, the most trusted first; of equals the latest."""
    rated = [(trust(present, record), record) for record in records]
    usable = [(rate, record) for rate, record in rated if rate >= LEAST_TRUST]
    usable.sort(key=lambda pair: (round(pair[0], 3), pair[1].t_utc, pair[1].run), reverse=True)
    return tuple(_earlier(present, rate, record) for rate, record in usable[:MOST_RUNS])


def _earlier(present: Present, rate: float, record: Record) -> Earlier:
    """A parameter that sets something else now is another one, whatever its name."""
    names = {
        row.name: _AS_IT_WAS.format(row.name)
        for row in record.space
        if _differ(present.sets.get(row.name, ""), row.sets)
    }
    params = [replace(param, name=names.get(param.name, param.name)) for param in record.params]
    elsewhere = present.machine.microarchitecture != record.machine.microarchitecture
    trials = [
        _trial(row, names)
        for row in _trials(record)
        if not (elsewhere and row.failure == _OTHER_INSTRUCTIONS)
    ]
    return Earlier(record.run, round(rate, 3), tuple(params), tuple(trials))


def _differ(now: str, then: str) -> bool:
    """Marks that are both known; records of older versions have none."""
    return bool(now and then) and now != then


def _machines(now: Place, then: Place) -> float:
    if now.architecture != then.architecture:
        return 0.0
    kind = 1.0 if now.microarchitecture == then.microarchitecture else _OTHER_CORE
    doublings = abs(math.log2(max(1, now.cores) / max(1, then.cores)))
    return kind * math.pow(_PER_DOUBLING, doublings)


def _libraries(now: Tuned, then: Tuned) -> float:
    found = 1.0 if now.name == then.name else _OTHER_LIBRARY
    found *= 1.0 if now.version == then.version else _OTHER_VERSION
    return found * (1.0 if now.threading == then.threading else _OTHER_THREADING)


def _workloads(now: Sequence[Case], then: Sequence[Case]) -> float:
    """The mean over the present cases, by weight, of the likeness of the most alike one then."""
    total = sum(case.weight for case in now)
    return sum(case.weight * max(_cases(case, c) for c in then) for case in now) / total


def _cases(now: Case, then: Case) -> float:
    if now.routine == then.routine:
        kind = 1.0
    else:
        kind = _OTHER_PRECISION if now.routine[1:] == then.routine[1:] else _OTHER_ROUTINE
    return kind * math.exp(-abs(math.log2(_side(now) / _side(then))) / _SIZE)


def _side(case: Case) -> float:
    """The side of a cube of as much work, whatever the shape."""
    sides = [side for side in (case.m, case.n, case.k) if side > 0]
    return float(math.prod(sides) ** (1.0 / len(sides))) if sides else 1.0


def _trials(record: Record) -> tuple[Tried, ...]:
    """The fastest, what failed, and of the rest an even choice: at most MOST_TRIALS."""
    ran = sorted(
        (row for row in record.trials if row.log_ratio is not None),
        key=lambda row: row.log_ratio or 0.0,
    )
    failed = [row for row in record.trials if row.log_ratio is None][: MOST_TRIALS // 3]
    left = MOST_TRIALS - len(failed)
    half = ran[: left // 2]
    others = ran[left // 2 :]
    stride = max(1, math.ceil(len(others) / (left - left // 2)))
    return (*half, *others[::stride], *failed)


def _trial(row: Tried, names: Mapping[str, str]) -> Trial:
    stage, _, kind = row.failure.partition(".")
    failure = Failure(stage, kind, "in an earlier run") if row.failure else None
    config = Config.of({names.get(key, key): value for key, value in row.values.items()})
    return Trial(config, row.log_ratio, row.spread, failure, 0, "")
