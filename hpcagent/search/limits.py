"""Parameters that have a limit: where a value ran out of memory or time, larger ones do as well.

A parameter with `limit` "upper" is such a one (a problem size, a number of copies). For it a
failure says more than for others: all points that are as large or larger in every such parameter
and equal in all else are as good as failed. How far one may go is found by `bracket`, never step by
step: no value is proposed that is more than twice the largest that worked, but for the next one on
the list, and after a failure the middle of what is left comes next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from hpcagent.protocols import SearchSpace
from hpcagent.records import Config, Failure, Param, Proposal, Trial
from hpcagent.search.bracket import Result, bracket

NAME = "bracket"
# Kinds of failures that a larger value does not mend.
EXHAUSTED = ("out_of_memory", "killed", "timeout", "abandoned", "cpu_time_limit")
_OVERSAMPLED = 4


def limited(params: Sequence[Param]) -> tuple[Param, ...]:
    return tuple(param for param in params if param.limit == "upper")


def exhausted(failure: Failure | None) -> bool:
    """Whether it ran out of memory or time."""
    return failure is not None and failure.kind in EXHAUSTED


@dataclass(frozen=True)
class Bounded:
    """A space less what the history shows to be too large; else as the space it is made of."""

    space: SearchSpace
    ranks: Mapping[str, Mapping[str, int]]  # of the limited parameters
    highest: Mapping[str, int]  # rank that may be proposed
    failed: tuple[Config, ...]
    kept: frozenset[Config]  # what was tried stays, for what it tells

    @property
    def params(self) -> tuple[Param, ...]:
        return self.space.params

    @property
    def restrictions(self) -> tuple[str, ...]:
        return self.space.restrictions

    @property
    def default(self) -> Config:
        return self.space.default

    @property
    def combinations(self) -> int:
        return self.space.combinations

    @property
    def enumerable(self) -> bool:
        return self.space.enumerable

    def points(self) -> Sequence[Config]:
        return self._points

    @cached_property
    def _points(self) -> tuple[Config, ...]:
        return tuple(config for config in self.space.points() if not self.too_large(config))

    def contains(self, config: Config) -> bool:
        return self.space.contains(config) and not self.too_large(config)

    def sample(self, n: int, seed: int) -> Sequence[Config]:
        """Up to `n`; fewer where most of the space is too large."""
        for drawn in (n, _OVERSAMPLED * n):
            sample = self.space.sample(drawn, seed)
            found = tuple(config for config in sample if not self.too_large(config))
            if len(found) >= n // 2:
                break
        return found[:n]

    def neighbours(self, config: Config) -> Sequence[Config]:
        return tuple(c for c in self.space.neighbours(config) if not self.too_large(c))

    def validate(self, values: Mapping[str, str]) -> Config | Failure:
        found = self.space.validate(values)
        if isinstance(found, Config) and self.too_large(found):
            words = f"{found}: larger than what was found to work, or than what failed for its size"
            return Failure("configure", "too_large", words)
        return found

    def too_large(self, config: Config) -> bool:
        """Whether it is beyond what may be tried; what was tried is not."""
        if config in self.kept or config == self.space.default:
            return False
        values = config.values
        if any(ranks[values[name]] > self.highest[name] for name, ranks in self.ranks.items()):
            return True
        return any(self._reaches(values, failed.values) for failed in self.failed)

    def _reaches(self, values: Mapping[str, str], failed: Mapping[str, str]) -> bool:
        for name, value in values.items():
            ranks = self.ranks.get(name)
            if ranks is None and value != failed[name]:
                return False
            if ranks is not None and ranks[value] < ranks[failed[name]]:
                return False
        return True


def bounded(space: SearchSpace, history: Sequence[Trial]) -> SearchSpace:
    """The space less what is known, or must be feared, to be too large."""
    params = limited(space.params)
    if not params:
        return space
    known = [trial for trial in history if _known(space.params, trial.config)]
    return Bounded(
        space=space,
        ranks={p.name: {value: rank for rank, value in enumerate(p.values)} for p in params},
        highest={param.name: _highest(param, space.default, known) for param in params},
        failed=tuple(trial.config for trial in known if exhausted(trial.failure)),
        kept=frozenset(trial.config for trial in known),
    )


def bisections(
    space: SearchSpace, history: Sequence[Trial], pending: Sequence[Config], k: int
) -> tuple[Proposal, ...]:
    """Up to `k` sizes between one that worked and one that failed, all else equal."""
    gone = {trial.config for trial in history} | set(pending)
    found: list[Proposal] = []
    for param in limited(space.params):
        for line in _lines(param, history):
            sizes = range(len(param.values))
            step = bracket(sizes, line.results)
            if step.next is None or step.bad is None or step.good is None:
                continue
            config = Config.of({**line.rest, param.name: param.values[step.next]})
            if config in gone or not space.contains(config) or len(found) >= k:
                continue
            good, bad = param.values[step.good], param.values[step.bad]
            words = f"{param.name}={good} worked and {bad} ran out: what is between them"
            found.append(Proposal(config, words, NAME))
            gone.add(config)
    return tuple(found)


@dataclass(frozen=True)
class _Line:
    """What is known of one parameter with all else equal; sizes are ranks of its values."""

    rest: Mapping[str, str]
    results: tuple[Result, ...]


def _lines(param: Param, history: Sequence[Trial]) -> list[_Line]:
    """Lines with a failure for size on them, the newest failure first."""
    by_rest: dict[Config, list[Result]] = {}
    order: list[Config] = []
    for trial in history:
        values = trial.config.values
        if values.get(param.name) not in param.values:
            continue
        rank = param.values.index(values.pop(param.name))
        rest = Config.of(values)
        if exhausted(trial.failure):
            order.append(rest)
        if trial.failure is None or exhausted(trial.failure):
            by_rest.setdefault(rest, []).append(Result(rank, trial.failure is None))
    newest = dict.fromkeys(reversed(order))
    return [_Line(rest.values, tuple(by_rest[rest])) for rest in newest]


def _highest(param: Param, default: Config, history: Sequence[Trial]) -> int:
    """The rank of the largest value that is at most twice the largest that worked."""
    worked = [trial.config.values[param.name] for trial in history if trial.failure is None]
    best = max(param.values.index(value) for value in (*worked, default.values[param.name]))
    sizes = [_number(value) for value in param.values]
    within = [rank for rank, size in enumerate(sizes) if size <= 2 * sizes[best]]
    return min(len(sizes) - 1, max(best + 1, *within))


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return 0.0


def _known(params: Sequence[Param], config: Config) -> bool:
    values = config.values
    return len(values) == len(params) and all(values.get(p.name) in p.values for p in params)
