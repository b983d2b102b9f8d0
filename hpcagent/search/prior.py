"""What is known of a space before anything is measured in it: earlier runs, and hints of a card.

An earlier run, perhaps of another size, library or machine, becomes a trend over the points of the
present space: the mean of a process fitted to what that run measured (Kennedy and O'Hagan,
Biometrika, 2000: f_now = w f_then + a process of its own). The weight w is estimated from the new
measurements, with a prior mean that is the trust in the run: what it says of the present counts
for less the more is measured, and a run that is wrong is given up after a few evaluations. Values
that failed then are doubtful, never excluded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpcagent.records import Config, Param, Trial
from hpcagent.search.encoding import Grid

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

LEAST_MEASURED = 4  # an earlier run with fewer measurements says nothing of times
_ALIKE = 0.5  # of a doubt: what was at least so doubtful and ran speaks against it
_OVERLAP = 0.5  # of the values: ordinals of so similar ranges are matched by number, else by rank


@dataclass(frozen=True)
class Earlier:
    """A run that was: its space and trials, and how far it can speak for the present one (0 to 1).

    The trials' log ratios are to that run's own default; `name` is told in reports.
    """

    name: str
    trust: float
    params: tuple[Param, ...]
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class Prior:
    """Earlier runs, and by parameter the value that knowledge of the hardware hints at.

    `chosen_default` tells whether somebody chose the default, so that what is near it is worth more
    than what is far off; a start that was drawn is nobody's choice.
    """

    earlier: tuple[Earlier, ...] = ()
    hints: Mapping[str, str] | None = None
    chosen_default: bool = True

    def off_hints(self, grid: Grid) -> Array | None:
        """(H, P): how far a point is off each of H hints, 0 to 1; None without any hint.

        A hint that is no value of a categorical parameter says nothing.
        """
        import numpy as np

        told = [(d, (self.hints or {}).get(p.name)) for d, p in enumerate(grid.params)]
        found = [_off(grid, d, hint) for d, hint in told if hint is not None]
        return np.stack(found) if found else None

    def over(self, grid: Grid) -> Belief:
        """What it says of every point of a grid."""
        import numpy as np

        found = [(run, _Then.of(grid, run)) for run in self.earlier if run.trust > 0]
        told = [(run, then) for run, then in found if then is not None and then.trend is not None]
        total = sum(run.trust for run, _ in told)
        doubt = np.zeros(len(grid.points))
        for run, then in found:
            if then is not None:
                doubt = np.maximum(doubt, run.trust * then.doubt)
        return Belief(
            trends=np.array([then.trend for _, then in told]).reshape(len(told), len(grid.points)),
            weights=np.array([run.trust**2 / total for run, _ in told]),
            doubt=doubt,
            off_hints=self.off_hints(grid),
            trust=max((run.trust for run, _ in told), default=0.0),
            chosen_default=self.chosen_default,
        )


def _off(grid: Grid, d: int, hint: str) -> Array:
    """(P,): 0 at the hint, 1 at another value, or at the farther end of an ordinal."""
    import numpy as np

    param, codes = grid.params[d], grid.codes[:, d]
    if param.kind == "categorical":
        if hint not in param.values:
            return np.zeros(len(codes))
        return np.asarray(codes != param.values.index(hint), dtype=np.float64)
    numbers = _numbers((*param.values, hint))
    if numbers is None or len(param.values) < 2:
        return np.zeros(len(codes))
    nearest = min(range(len(param.values)), key=lambda i: abs(numbers[i] - numbers[-1]))
    last = len(param.values) - 1
    return np.asarray(((codes - nearest) / max(nearest, last - nearest)) ** 2.0)


@dataclass(frozen=True)
class Belief:
    """What a prior says of P points: K trends, each a natural log of the time ratio up to a shift.

    `trends` is (K, P), `weights` (K,) their prior mean weights, which sum to at most 1; `doubt`
    (P,) is 0 where nothing is known to fail, 1 where failure is certain; `trust` the greatest in
    any of the runs, 0 where there is none; `off_hints` as `Prior.off_hints` has it,
    `chosen_default` as `Prior` has it.
    """

    trends: Array
    weights: Array
    doubt: Array
    trust: float
    off_hints: Array | None = None
    chosen_default: bool = True

    @property
    def mean(self) -> Array:
        """(P,): the trends together."""
        import numpy as np

        return np.asarray(self.weights @ self.trends)

    def chance(self, worked: NDArray[np.intp], failed: NDArray[np.intp]) -> Array:
        """(P,): the chance to run that earlier failures leave, given rows that were tried now.

        A doubt falls with each point that ran and was about as doubtful, or more: many slight
        doubts that came to nothing do not clear what always failed. It is restored by those that
        failed.
        """
        import numpy as np

        doubts = np.sort(self.doubt[worked])
        from_there_on = np.append(np.cumsum(doubts[::-1])[::-1], 0.0)
        ran = from_there_on[np.searchsorted(doubts, _ALIKE * self.doubt)]
        died = float(self.doubt[failed].sum())
        return 1.0 - self.doubt * (1.0 + died) / (1.0 + died + 2.0 * ran)


@dataclass(frozen=True)
class _Then:
    """One earlier run on the present grid; `trend` is None where too little was measured."""

    trend: Array | None
    doubt: Array

    @classmethod
    def of(cls, grid: Grid, run: Earlier) -> _Then | None:
        """None where the two spaces have no parameter in common."""
        import numpy as np

        shared = [_Shared.of(param, then) for param, then in _pairs(grid.params, run.params)]
        if not shared:
            return None
        columns = [d for d, param in enumerate(grid.params) if param.name in _names(shared)]
        table, back = np.unique(grid.codes[:, columns], axis=0, return_inverse=True)
        now = [
            Config.of({s.param.name: s.now[code] for s, code in zip(shared, row, strict=True)})
            for row in table.tolist()
        ]
        then = [_translated(shared, trial.config) for trial in run.trials]
        usable = [(c, t) for c, t in zip(then, run.trials, strict=True) if c is not None]
        merged = Grid.of([s.param for s in shared], list(dict.fromkeys([*now, *_first(usable)])))
        place = np.array([merged.index[config] for config in now], dtype=np.intp)[back.reshape(-1)]
        trend = _trend(merged, usable)
        # What failed with another value of a parameter that is gone may have failed for that.
        gone = {p.name: p.default for p in run.params if p.name not in _names(shared)}
        owned = [(c, t) for c, t in usable if t.failure is None or _at(t.config, gone)]
        return cls(None if trend is None else trend[place], _doubt(merged, owned)[place])


@dataclass(frozen=True)
class _Shared:
    """A parameter of both spaces: `param` has the values of both.

    `now` holds the merged value for each present one, `then` maps those of the earlier run.
    """

    param: Param
    now: tuple[str, ...]
    then: Mapping[str, str]

    @classmethod
    def of(cls, now: Param, then: Param) -> _Shared:
        if now.kind == "categorical":
            values = tuple(dict.fromkeys([*now.values, *then.values]))
            return cls(_merged(now, values), now.values, {v: v for v in then.values})
        these, those = _numbers(now.values), _numbers(then.values)
        if these and those and _overlap(these, those):
            texts = dict(zip(those, then.values, strict=True))
            texts |= dict(zip(these, now.values, strict=True))
            values = tuple(texts[number] for number in sorted(texts))
            renamed = {v: texts[n] for v, n in zip(then.values, those, strict=True)}
            return cls(_merged(now, values), now.values, renamed)
        last = len(now.values) - 1, max(1, len(then.values) - 1)
        nearest = {v: now.values[round(i * last[0] / last[1])] for i, v in enumerate(then.values)}
        return cls(_merged(now, now.values), now.values, nearest)


def _merged(param: Param, values: tuple[str, ...]) -> Param:
    return Param(param.name, param.kind, values, values[0])


def _numbers(values: Sequence[str]) -> tuple[float, ...] | None:
    try:
        return tuple(float(value) for value in values)
    except ValueError:
        return None


def _overlap(now: Sequence[float], then: Sequence[float]) -> bool:
    inside = sum(min(then) <= number <= max(then) for number in now)
    also = sum(min(now) <= number <= max(now) for number in then)
    return inside >= _OVERLAP * len(now) and also >= _OVERLAP * len(then)


def _pairs(now: Sequence[Param], then: Sequence[Param]) -> Iterable[tuple[Param, Param]]:
    """Parameters of the same name and kind."""
    known = {(param.name, param.kind): param for param in then}
    return ((p, known[p.name, p.kind]) for p in now if (p.name, p.kind) in known)


def _names(shared: Sequence[_Shared]) -> set[str]:
    return {each.param.name for each in shared}


def _first(pairs: Sequence[tuple[Config, Trial]]) -> list[Config]:
    return [config for config, _ in pairs]


def _translated(shared: Sequence[_Shared], config: Config) -> Config | None:
    """The shared part of an earlier configuration; None where it does not belong to its space."""
    values = config.values
    found = {s.param.name: s.then.get(values.get(s.param.name, "")) for s in shared}
    known = {name: value for name, value in found.items() if value is not None}
    return Config.of(known) if len(known) == len(shared) else None


def _at(config: Config, values: Mapping[str, str]) -> bool:
    mine = config.values
    return all(mine.get(name) == value for name, value in values.items())


def _trend(merged: Grid, usable: Sequence[tuple[Config, Trial]]) -> Array | None:
    """(points,): the mean of a process fitted to the times, in logarithms."""
    import numpy as np

    from hpcagent.search.acquisition import squeezed
    from hpcagent.search.gp import Observations, posterior
    from hpcagent.search.likelihood import fit

    timed = [(c, t.log_ratio, t.spread or 0.0) for c, t in usable if t.log_ratio is not None]
    if len(timed) < LEAST_MEASURED:
        return None
    values = squeezed(np.array([value for _, value, _ in timed]))
    shift, scale = float(values.mean()), max(float(values.std()), 1e-4)
    rows = np.array([merged.index[config] for config, _, _ in timed], dtype=np.intp)
    noise = (np.array([spread for _, _, spread in timed]) / scale) ** 2
    seen = Observations(rows, (values - shift) / scale, noise)
    return np.asarray(posterior(merged, seen, fit(merged, seen)).mean, dtype=np.float64) * scale


def _doubt(merged: Grid, usable: Sequence[tuple[Config, Trial]]) -> Array:
    """(points,): 1 - the chance to run, as the failures of that run have it."""
    import numpy as np

    from hpcagent.search.feasibility import probability

    failed = [merged.index[c] for c, t in usable if t.failure is not None]
    worked = [merged.index[c] for c, t in usable if t.log_ratio is not None]
    if not failed:
        return np.zeros(len(merged.points))
    rows = np.array(worked, dtype=np.intp), np.array(failed, dtype=np.intp)
    return np.asarray(1.0 - probability(merged, *rows))
