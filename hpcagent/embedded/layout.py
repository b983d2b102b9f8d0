"""How one space is written in the tokens of the small model, and read back."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpcagent.embedded import vocabulary as v
from hpcagent.records import Config, Param

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Tokens = NDArray[np.int32]

NONE = -1  # fills up a row of tokens
_THREADS = re.compile(r"threads?($|_)|cpus?_per_task")
_RANKS = re.compile(r"ranks|tasks|procs|processes")
_CORE = re.compile(r"core|march|arch|target|kernel")
_LEAST_RATIO = 4.0  # of the largest to the smallest value, for a size


@dataclass(frozen=True)
class Layout:
    """Tokens of a space; P parameters that have a choice, in the order of `params`.

    `values` (P, most values, 2) has for each value its token and that of its meaning, NONE where
    it has none. `roles` are the P tokens that every trial of the space carries.
    """

    params: tuple[Param, ...]
    slots: tuple[int, ...]
    values: Tokens
    roles: tuple[int, ...]

    @classmethod
    def of(cls, params: Sequence[Param], cores: int | None, slots: Sequence[int] = ()) -> Layout:
        """`cores` are those that threads share; `slots` (default: in order) which slot each takes.

        ValueError where `refusal` has something to say.
        """
        import numpy as np

        reason = refusal(params)
        if reason:
            raise ValueError(reason)
        chosen = acting(params)
        slots = tuple(slots) or tuple(range(len(chosen)))
        most = max(len(param.values) for param in chosen)
        values = np.full((len(chosen), most, 2), NONE, dtype=np.int32)
        for row, (param, slot) in enumerate(zip(chosen, slots, strict=True)):
            values[row, : len(param.values), 0] = _value_tokens(param, slot)
            means = meanings(param, cores)
            if means:
                values[row, : len(means), 1] = [v.meaning(slot, number) for number in means]
        roles = [v.role(slot, role_of(p)) for p, slot in zip(chosen, slots, strict=True)]
        return cls(chosen, slots, values, tuple(roles))

    def tokens(self, codes: NDArray[np.intp]) -> Tokens:
        """(N, 3 P): the tokens of points given as (N, P) indices of values; NONE fills up."""
        import numpy as np

        found = self.values[np.arange(len(self.params)), codes]
        found = found.reshape(len(codes), 2 * len(self.params))
        roles = np.broadcast_to(np.array(self.roles, dtype=np.int32), (len(codes), len(self.roles)))
        return np.concatenate([found, roles], axis=1)

    def codes(self, points: Sequence[Config]) -> NDArray[np.intp]:
        """(N, P): the index of each value of these points."""
        import numpy as np

        ranks = [{value: n for n, value in enumerate(p.values)} for p in self.params]
        names = [param.name for param in self.params]
        table = np.empty((len(points), len(names)), dtype=np.intp)
        for row, point in enumerate(points):
            values = dict(point.items)
            table[row] = [rank[values[name]] for rank, name in zip(ranks, names, strict=True)]
        return table

    def values_of(self, tokens: Sequence[int]) -> dict[str, str]:
        """The values that a row of tokens stands for; parameters without a choice are absent."""
        known = set(tokens)
        found = {}
        for param, row in zip(self.params, self.values[:, :, 0].tolist(), strict=True):
            for value, token in zip(param.values, row, strict=False):
                if token in known:
                    found[param.name] = value
        return found


def refusal(params: Sequence[Param]) -> str:
    """Why the small model cannot express such a space; empty where it can."""
    chosen = acting(params)
    if not chosen:
        return "no parameter has two values"
    if len(chosen) > v.SLOTS:
        return f"{len(chosen)} parameters with a choice; the small model has {v.SLOTS} slots"
    for param in chosen:
        most = v.LEVELS if param.kind == "ordinal" else v.CATEGORIES
        if len(param.values) > most:
            return (
                f"{param.name} has {len(param.values)} values;"
                f" the small model tells {most} of an {param.kind} parameter apart"
            ).replace("an categorical", "a categorical")
    return ""


def acting(params: Sequence[Param]) -> tuple[Param, ...]:
    return tuple(param for param in params if len(param.values) > 1)


def role_of(param: Param) -> str:
    """What kind of a parameter it is, by its kind, name and values."""
    if param.kind == "categorical":
        if _CORE.search(param.name) and len(param.values) > 2:
            return "core"
        return "switch" if len(param.values) == 2 else "choice"
    numbers = _numbers(param)
    if numbers and min(numbers) >= 1 and _THREADS.search(param.name):
        return "threads"
    if numbers and min(numbers) >= 1 and _RANKS.search(param.name):
        return "ranks"
    if numbers and min(numbers) >= 1 and max(numbers) >= _LEAST_RATIO * min(numbers):
        return "size"
    return "ordinal"


def meanings(param: Param, cores: int | None) -> tuple[int, ...]:
    """For each value its number among the meanings, or nothing where numbers mean nothing.

    Of threads and ranks four steps an octave around the number of cores; of sizes two steps an
    octave from 1.
    """
    role = role_of(param)
    last = v.MEANINGS - 1
    if role in ("threads", "ranks") and cores:
        steps = [last // 2 + round(4 * math.log2(x / cores)) for x in _numbers(param)]
    elif role == "size":
        steps = [round(2 * math.log2(x)) for x in _numbers(param)]
    else:
        return ()
    return tuple(min(last, max(0, step)) for step in steps)


def _value_tokens(param: Param, slot: int) -> list[int]:
    count = len(param.values)
    if param.kind == "categorical":
        return [v.category(slot, number) for number in range(count)]
    return [v.ordinal(slot, round(n * (v.LEVELS - 1) / (count - 1))) for n in range(count)]


def _numbers(param: Param) -> tuple[float, ...]:
    """The values as finite numbers; empty where one is none."""
    try:
        found = tuple(float(value) for value in param.values)
    except ValueError:
        return ()
    return found if all(math.isfinite(x) and x < 1e15 for x in found) else ()
