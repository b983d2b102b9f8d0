"""The small model at work: a history and points go in, what to expect of each comes out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hpcagent.embedded import bins
from hpcagent.embedded import vocabulary as v
from hpcagent.embedded.history import positions, questions
from hpcagent.embedded.layout import Layout, refusal
from hpcagent.protocols import SearchSpace
from hpcagent.records import Config, Failure, Limits, Outlook, Trial

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hpcagent.llm.llamacpp import LlamaCpp

    Array = NDArray[np.float64]

ORDERS = 2  # assignments of parameters to slots that are averaged: none is better than another
TIMEOUT_S = 30.0
_BEST = 12  # trials kept whatever their age, where there are more than the context holds
_UNBELIEVABLE = 50.0  # in ln(time)


class Embedded:
    """A PointModel; `cores` are those that threads share, where they are known."""

    def __init__(self, model: LlamaCpp, cores: int | None = None) -> None:
        self._model = model
        self._cores = cores

    def refusal(self, space: SearchSpace) -> str:
        return refusal(space.params)

    def expect(
        self, space: SearchSpace, history: Sequence[Trial], points: Sequence[Config], seed: int
    ) -> Outlook:
        """ValueError for a space that `refusal` says no to."""
        import numpy as np

        told = remembered(history, space.default)
        values = np.array([value_of(trial) for trial in told])
        total, tokens, seconds = np.zeros((len(points), v.OUTPUTS)), 0, 0.0
        for order in range(ORDERS):
            layout = Layout.of(space.params, self._cores, _slots(space, seed, order))
            default = next((n for n, t in enumerate(told) if t.config == space.default), None)
            seen = positions(layout, layout.codes([t.config for t in told]), values, default)
            asked = questions(layout, layout.codes(points))
            outputs = (v.PREDICTED_AT, v.OUTPUTS)
            scores = self._model.score(seen, asked, outputs, Limits(0, TIMEOUT_S))
            if isinstance(scores, Failure):
                return Outlook((), failure=scores)
            total += probabilities(scores.logits) / ORDERS
            tokens, seconds = tokens + scores.tokens, seconds + scores.seconds
        if not np.isfinite(total).all():
            return Outlook((), failure=Failure("model", "nonsense", "logits that are no numbers"))
        return _outlook(total, _lead(told), tokens, seconds)


def remembered(history: Sequence[Trial], default: Config) -> tuple[Trial, ...]:
    """At most as many trials as the context holds, in their order: the default, the fastest, and
    the latest of the others. The latest of several of one configuration counts."""
    latest = {t.config: t for t in history if t.failure is not None or t.log_ratio is not None}
    trials = list(latest.values())
    if len(trials) <= v.CONTEXT:
        return tuple(trials)
    order = sorted(range(len(trials)), key=lambda n: value_of(trials[n]))
    first = [n for n, t in enumerate(trials) if t.config == default]
    newest = range(len(trials) - 1, -1, -1)
    kept = dict.fromkeys([*first, *order[:_BEST], *newest])
    return tuple(trials[n] for n in sorted(list(kept)[: v.CONTEXT]))


def value_of(trial: Trial) -> float:
    """Its ln(time) over the default's; infinite where it failed, or is beyond belief."""
    value = trial.log_ratio
    if trial.failure is not None or value is None or not abs(value) < _UNBELIEVABLE:
        return float("inf")
    return value


def probabilities(logits: NDArray[np.float32]) -> Array:
    """(N, OUTPUTS): those of the bins of a result, and of a failure."""
    import numpy as np

    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    found = np.exp(shifted)
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def _outlook(chances: Array, lead: float, tokens: int, seconds: float) -> Outlook:
    import numpy as np

    works = chances[:, : v.PREDICTED]
    centres = bins.centres()
    gains = works @ np.maximum(0.0, lead - centres)
    alive = works.sum(axis=1)
    share = works / np.maximum(alive, 1e-9)[:, None]
    above = share @ centres
    spreads = np.sqrt(np.maximum(share @ centres**2 - above**2, 0.0))
    return Outlook(
        gains=tuple(gains.tolist()), means=tuple((above - lead).tolist()),
        chances=tuple(alive.tolist()), spreads=tuple(spreads.tolist()),
        tokens=tokens, seconds=seconds,
    )  # fmt: skip


def _lead(told: Sequence[Trial]) -> float:
    """What the fastest that may win is above the fastest of all; the slowest, where none may."""
    values = [x for t in told if (x := value_of(t)) < float("inf")]
    allowed = [x for t in told if (x := value_of(t)) < float("inf") and t.eligible]
    if not values:
        return 0.0
    return (min(allowed) if allowed else max(values)) - min(values)


def _slots(space: SearchSpace, seed: int, order: int) -> list[int]:
    count = sum(len(param.values) > 1 for param in space.params)
    return random.Random(f"slots {seed} {order}").sample(range(v.SLOTS), count)
