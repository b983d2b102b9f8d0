"""What the feasibility probe says of each value it tried, and of the workload's size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hpcagent.apps.workload import Workload
from hpcagent.measure.results import Run, failure_of
from hpcagent.measure.worker import MAX, MIN, answer_of, median
from hpcagent.records import Failure, Machine
from hpcagent.search.space import Space
from hpcagent.study.state import Unit

# A core type this much slower than the default in the feasibility probe is not worth a slot.
# Sequential runs of one configuration on a busy node scatter by about 0.3 in ln(time)
# (docs/benchmarks.md); ln 2.5 is three times that.
CLEARLY_SLOWER = 2.5
USABLE_MEMORY = 0.8  # share of a node's memory that a workload may need


@dataclass(frozen=True)
class Probed:
    """One value that the feasibility probe tried; kept where neither failure nor alias."""

    param: str
    value: str
    failure: Failure | None = None
    alias_of: str | None = None

    @property
    def kept(self) -> bool:
        return self.failure is None and self.alias_of is None

    @property
    def slow(self) -> bool:
        """Whether nothing but its time speaks against it."""
        return self.failure is not None and self.failure.kind == "clearly_slower"


def default_seconds(unit: Unit) -> dict[str, float]:
    """Median seconds by case over the default's runs in a feasibility unit."""
    found: dict[str, list[float]] = {}
    for run in _defaults(unit):
        for key, seconds in run.medians.items():
            found.setdefault(key, []).append(seconds)
    return {key: median(seconds) for key, seconds in found.items()}


def default_wall_s(unit: Unit) -> float:
    """Median seconds of a whole process of the default in a feasibility unit."""
    return median([run.wall_s or 0.0 for run in _defaults(unit)])


def default_answers(unit: Unit, keys: Iterable[str]) -> dict[str, float]:
    """The middle one of the results that the default printed, of each key ("": of the process)
    that it printed any of."""
    answers = {}
    for key in keys:
        name = answer_of(key)
        # The worker let none pass that is no number.
        found = sorted(float(r.readback[name]) for r in _defaults(unit) if name in r.readback)
        if found:
            answers[key] = found[len(found) // 2]
    return answers


def _defaults(unit: Unit) -> list[Run]:
    return [run for run in unit.runs if run.config in unit.spec["defaults"] and run.ok]


def judge_feasibility(unit: Unit, space: Space, time_decides: bool = True) -> tuple[Probed, ...]:
    """Per probed value: does it run, and does it run what was asked for?

    Where time alone decides (`time_decides`), one that is clearly slower is not kept either.

    OpenBLAS runs another core type, silently, where it does not know the name or the CPU lacks
    the instructions (driver/others/dynamic.c); the read-back tells.
    """
    runs = {run.config: run for run in unit.runs}
    default = default_seconds(unit)
    direction = unit.spec.get("check", {}).get("direction", MIN)
    names = {value.casefold(): value for p in space.params for value in p.values}
    judged = []
    for config_id, probe in unit.spec["probes"].items():
        param, value, readback = probe["param"], probe["value"], probe["readback"]
        run = runs.get(config_id)
        judged.append(_judge(param, value, readback, run, default, direction, names))
        if not time_decides and judged[-1].slow:
            judged[-1] = Probed(param, value)
        if run is not None and judged[-1].kept:
            names.setdefault(str(run.readback.get(readback, "")).casefold(), value)
    return tuple(judged)


def _judge(
    param: str,
    value: str,
    readback: str,
    run: Run | None,
    default: Mapping[str, float],
    direction: str,
    names: Mapping[str, str],
) -> Probed:
    if run is None:
        return Probed(param, value, Failure("run", "not_measured", "the probe did not reach it"))
    failure = failure_of(run)
    if failure is not None:
        return Probed(param, value, failure)
    ran = str(run.readback.get(readback, ""))
    if ran.casefold() != value.casefold() and ran.casefold() in names:
        return Probed(param, value, alias_of=names[ran.casefold()])
    slower = _times_slower(run.medians, default, direction)
    if slower > CLEARLY_SLOWER:
        words = f"{slower:.1f} times slower than the default in the feasibility probe"
        return Probed(param, value, Failure("run", "clearly_slower", words))
    return Probed(param, value)


def _times_slower(
    figures: Mapping[str, float], default: Mapping[str, float], direction: str
) -> float:
    """The middle one of the cases' ratios: a single call that was disturbed must not decide."""
    ratios = [figures[key] / default[key] for key in figures if key in default]
    middle = median(ratios) if ratios else 1.0
    return 1.0 / middle if direction == MAX else middle


def memory_problem(workload: Workload, machine: Machine) -> str | None:
    """Why the workload does not fit into the node's memory, if so."""
    memory = machine.memory_available_bytes
    largest = max(workload.cases, key=lambda case: case.memory_bytes)
    if memory is None or largest.memory_bytes <= memory * USABLE_MEMORY:
        return None
    fits = largest.fitting(memory * USABLE_MEMORY)
    advice = "choose a smaller shape" if fits is None else f"{fits.key} would fit"
    return (
        f"{workload.source}: {largest.key} needs {largest.memory_bytes / 2**30:.1f} GiB, "
        f"{machine.host} has {memory / 2**30:.1f} GiB: {advice}"
    )
