"""What disturbed the runs of a unit: drift, jumps, odd cycles and processes, and likely causes.

Nothing is thrown away for it: what is odd stays in, with bounded influence (Huber's estimate,
order statistics). This only says what was seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hpcagent.measure.results import Run
from hpcagent.measure.statistics import kendall, level_shift, trend
from hpcagent.measure.worker import median

# A drift or jump is told where chance alone makes one in so many units; smaller changes than
# LEAST (in ln) are never told.
LEVEL = 0.005
LEAST = 0.02
# Distance in robust standard deviations. The smaller of two normal values has longer tails for its
# middle than one value has, and 20 of them tell their spread to a fifth only.
ODD = 6.0
_MAD_TO_SIGMA = 1.4826
_FEWEST = 8  # processes in a unit, below which no rank test says anything at LEVEL
_TOGETHER = 0.05  # level at which a recorded figure moves with the times


@dataclass(frozen=True)
class NoiseNote:
    """`what`: "drift", "jump", "odd cycle" or "odd process"; `size` is a ln ratio of times.

    `pair` is 0 where it is about the whole unit; for a jump, it is the first cycle after it.
    `config` is an id, empty unless one process is meant. `reason` is empty where nothing that was
    recorded explains it.
    """

    what: str
    pair: int
    config: str
    size: float
    reason: str


@dataclass(frozen=True)
class _Figure:
    """Something recorded of each process: `sign` 1 where more of it goes with longer times.

    `least` is the smallest difference that is worth a word.
    """

    of: Callable[[Run], float | None]
    sign: int
    least: float
    words: Callable[[float, float], str]


@dataclass(frozen=True)
class _Process:
    """A process and how much longer it took, in ln, than its configuration as a rule."""

    run: Run
    deviation: float


def noise_notes(runs: Sequence[Run]) -> tuple[NoiseNote, ...]:
    """What disturbed these runs (in order of time), the largest first within each kind."""
    processes = _deviations(runs)
    over = _over_time(processes)
    levels = _levels(processes)
    expected = dict.fromkeys(levels, 0.0) if over is None else _expected(over, levels)
    odd = [*_odd_cycles(processes, levels, expected), *_odd_processes(processes, levels)]
    return (*(() if over is None else (over,)), *odd)


def _deviations(runs: Sequence[Run]) -> list[_Process]:
    by_config: dict[str, list[float]] = {}
    for run in runs:
        if run.ok and run.pair > 0 and run.objective is not None:
            by_config.setdefault(run.config, []).append(run.objective)
    usual = {name: median(values) for name, values in by_config.items() if len(values) > 1}
    return [
        _Process(run, run.objective - usual[run.config])
        for run in runs
        if run.ok and run.pair > 0 and run.objective is not None and run.config in usual
    ]


# --- over the whole unit -------------------------------------------------------------------------


def _over_time(processes: Sequence[_Process]) -> NoiseNote | None:
    """A drift or a jump, whichever fits the series better."""
    values = [process.deviation for process in processes]
    if len(values) < _FEWEST:
        return None
    line, step = trend(values), level_shift(values)
    found = []
    if line.p < LEVEL and abs(line.change) >= LEAST:
        slope = line.change / (len(values) - 1)
        found.append((_misfit(values, [slope * i for i in range(len(values))]), "drift"))
    if step.p < LEVEL and abs(step.size) >= LEAST:
        jump = [step.size if i >= step.at else 0.0 for i in range(len(values))]
        found.append((_misfit(values, jump), "jump"))
    if not found:
        return None
    what = min(found)[1]
    reason = _moves_with(processes)
    if what == "drift":
        return NoiseNote(what, 0, "", line.change, reason)
    return NoiseNote(what, processes[step.at].run.pair, "", step.size, reason)


def _misfit(values: Sequence[float], fit: Sequence[float]) -> float:
    rest = [value - fitted for value, fitted in zip(values, fit, strict=True)]
    middle = median(rest)
    return math.fsum(abs(value - middle) for value in rest)


def _moves_with(processes: Sequence[_Process]) -> str:
    """The figure that goes with the times most clearly, by rank correlation."""
    found = []
    for figure in _FIGURES:
        pairs = [(figure.of(one.run), one.deviation) for one in processes]
        both = [(seen, deviation) for seen, deviation in pairs if seen is not None]
        if len(both) < _FEWEST:
            continue
        tau, p = kendall([seen for seen, _ in both], [deviation for _, deviation in both])
        slow = median([seen for seen, deviation in both if deviation > 0.0] or [0.0])
        fast = median([seen for seen, deviation in both if deviation <= 0.0] or [0.0])
        if p < _TOGETHER and tau * figure.sign > 0.0 and abs(slow - fast) >= figure.least:
            found.append((p, figure.words(slow, fast)))
    return min(found)[1] if found else ""


# --- cycles and processes ------------------------------------------------------------------------


def _levels(processes: Sequence[_Process]) -> dict[int, float]:
    """What the processes of a cycle share: the median, and of two middle ones the smaller.

    What disturbs one process of two must not be laid on the other.
    """
    cycles: dict[int, list[float]] = {}
    for process in processes:
        cycles.setdefault(process.run.pair, []).append(process.deviation)
    return {pair: _low_median(values) for pair, values in cycles.items()}


def _low_median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    half = len(ordered) // 2
    middle = ordered[half : half + 1] if len(ordered) % 2 else ordered[half - 1 : half + 1]
    return min(middle, key=abs)


def _expected(over: NoiseNote, levels: Mapping[int, float]) -> dict[int, float]:
    """The part of each cycle's level that the drift or jump explains."""
    pairs = sorted(levels)
    if over.what == "jump":
        fit = {pair: over.size if pair >= over.pair else 0.0 for pair in pairs}
    else:
        fit = {pair: over.size * i / max(1, len(pairs) - 1) for i, pair in enumerate(pairs)}
    middle = median([levels[pair] - fit[pair] for pair in pairs])
    expected = {pair: value + middle for pair, value in fit.items()}
    if over.what == "jump":  # it may lie within its cycle
        sides = (middle, middle + over.size)
        expected[over.pair] = min(sides, key=lambda value: abs(levels[over.pair] - value))
    return expected


def _odd_cycles(
    processes: Sequence[_Process], levels: Mapping[int, float], expected: Mapping[int, float]
) -> list[NoiseNote]:
    rest = {pair: levels[pair] - expected[pair] for pair in levels}
    bound = _bound(list(rest.values()))
    found = []
    for pair, size in rest.items():
        if abs(size) > bound:
            inside = [one.run for one in processes if one.run.pair == pair]
            found.append(
                NoiseNote("odd cycle", pair, "", size, _stands_out(inside, processes, size))
            )
    return sorted(found, key=lambda note: -abs(note.size))


def _odd_processes(processes: Sequence[_Process], levels: Mapping[int, float]) -> list[NoiseNote]:
    rest = [(one.run, one.deviation - levels[one.run.pair]) for one in processes]
    bound = _bound([size for _, size in rest])
    found = [
        NoiseNote("odd process", run.pair, run.config, size, _stands_out([run], processes, size))
        for run, size in rest
        if abs(size) > bound
    ]
    return sorted(found, key=lambda note: -abs(note.size))


def _bound(values: Sequence[float]) -> float:
    """Beyond it a value is odd. Those that are zero by construction say nothing of the spread."""
    sizes = [abs(value) for value in values if value != 0.0]
    if len(sizes) < _FEWEST // 2:
        return math.inf
    return max(LEAST, ODD * _MAD_TO_SIGMA * median(sizes))


def _stands_out(odd: Sequence[Run], processes: Sequence[_Process], size: float) -> str:
    """Figures by which these processes differ from the others in the direction of their times."""
    found = []
    configs = {run.config for run in odd}  # one thread waits less than many
    runs = [one.run for one in processes if one.run.config in configs]
    others = [run for run in runs if run not in odd]
    for figure in _FIGURES:
        here = [value for value in map(figure.of, odd) if value is not None]
        there = [value for value in map(figure.of, others) if value is not None]
        if here and there:
            seen, usual = median(here), median(there)
            if (seen - usual) * figure.sign * size > 0.0 and abs(seen - usual) >= figure.least:
                found.append(figure.words(seen, usual))
    return "; ".join(found)


# --- what is recorded of a process ---------------------------------------------------------------


def _waiting(run: Run) -> float | None:
    """Seconds of the process's time on the clock that each of its CPU seconds took."""
    return run.wall_s / run.cpu_s if run.cpu_s and run.wall_s else None


_FIGURES = (
    _Figure(
        lambda run: run.steal, 1, 0.02,
        lambda slow, fast: f"the hypervisor took {slow:.0%} of the CPU time, else {fast:.0%}",
    ),
    _Figure(
        lambda run: run.mhz, -1, 50.0,
        lambda slow, fast: f"the clock ran at {slow:.0f} MHz, else {fast:.0f} MHz",
    ),
    _Figure(
        lambda run: run.celsius, 1, 3.0,
        lambda slow, fast: f"the CPU was at {slow:.0f} °C, else {fast:.0f} °C",
    ),
    _Figure(
        lambda run: run.load1, 1, 0.5,
        lambda slow, fast: f"the load average was {slow:.1f}, else {fast:.1f}",
    ),
    _Figure(
        _waiting, 1, 0.1,
        lambda slow, fast: f"a CPU second took {slow:.2f} s, else {fast:.2f} s: others computed",
    ),
)  # fmt: skip
