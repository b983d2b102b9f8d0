"""Values that are known to lag behind others of their parameter, and what the search does with it.

Names of instruction sets and of ways to compile (known.yaml): a wider set is thought to be faster,
and so is what a compiler's manual says is. By how much the measurements decide (trends.py). The
design keeps to the foremost that run: the others cost an evaluation each, and the process tries
them where they may be faster. The first of them is the default with these values changed: often
that is all that is wrong with it. Where that is clearly slower the design keeps to nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from hpcagent.records import Param
from hpcagent.search.known import folded, known

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hpcagent.search.encoding import Grid

    Array = NDArray[np.float64]
    Codes = NDArray[np.intp]
    Mask = NDArray[np.bool_]
    Rows = NDArray[np.intp]

Lags = Sequence[float | None]  # of each value of a parameter; None: not known
T = TypeVar("T")
_PREFIXES = ("march=", "mcpu=", "m", "x")  # of a compiler's flag for an instruction set
_SLOWER = 0.15  # log time ratio: more than noise makes of two alike
_FASTEST = 3  # the level of optimisation where levels are numbers


def octaves(params: Sequence[Param], table: Codes) -> Array:
    """(K, points): of each of K choices between instruction sets, how narrow a point's one is.

    In octaves of operations a cycle behind the most that is listed; 0 for a name of which nothing
    is known, for it may be the widest. K is 0 where no two points differ.
    """
    return _columns([_octaves(param) for param in params], table)


def levels(params: Sequence[Param], table: Codes) -> Array:
    """(K, points): of each of K choices between levels of optimisation, how low a point's one is.

    In steps behind the highest that is listed; 0 where nothing is known. K is 0 where no two points
    differ.
    """
    return _columns([_levels(param) for param in params], table)


def switches(params: Sequence[Param], table: Codes) -> Array:
    """(K, points): 1 where one of K switches that makes code faster is off, or a slower one on.

    0 where nothing is known. K is 0 where no two points differ.
    """
    return _columns([_switch(param) for param in params], table)


def places(param: Param) -> Array | None:
    """(values,): where each value is in the known order of a choice, from 0, the foremost, to 1.

    NaN for a value of which nothing is known; None where no two are known to differ.
    """
    import numpy as np

    if any(len(value.split()) > 1 for value in param.values):
        return None  # what else such a value has is not in that order
    native = known().native
    for lags in (_octaves(param), _levels(param)):
        if any(lags):
            words = zip(param.values, lags, strict=True)
            found = [0.0 if folded(value) in native else lag for value, lag in words]
            told = np.array([math.nan if lag is None else lag for lag in found])
            return np.asarray(told / np.nanmax(told))
    return None


def _columns(lags: Sequence[Lags], table: Codes) -> Array:
    import numpy as np

    each = [np.array([lag or 0.0 for lag in lags[d]])[table[:, d]] for d in range(len(lags))]
    columns = np.array(each).reshape(len(each), len(table))
    return np.asarray(columns[columns.max(axis=1) > columns.min(axis=1)])


def _octaves(param: Param) -> Lags:
    told = [_first(map(_operations, _words(value))) for value in param.values]
    return _behind([count and -math.log2(count) for count in told])


def _words(value: str) -> Sequence[str]:
    """A name, or the flags in a list of them; of a sentence nothing."""
    words = value.split()
    return words if len(words) == 1 else [word for word in words if word.startswith("-")]


def _operations(word: str) -> int | None:
    """Of an instruction set, by its name or by the flag of a compiler that chooses it."""
    name = folded(word)
    rests = (name.removeprefix(start) for start in ("", *_PREFIXES))
    return _first(known().operations.get(rest) for rest in rests)


def _levels(param: Param) -> Lags:
    names = known()
    counted = folded(param.name) in names.levels
    numbers = {str(level): _FASTEST - level for level in range(_FASTEST + 1)} if counted else {}
    steps = {**names.steps, **numbers}
    # Of two levels a compiler takes the last.
    return _behind(
        [_first(steps.get(folded(w)) for w in reversed(_words(value))) for value in param.values]
    )


def _switch(param: Param) -> Lags:
    """Of a switch by its name, or of lists of flags by what they have that makes code faster."""
    names = known()
    is_slow = names.slow.get(folded(param.name))
    told = [names.switched.get(folded(value)) for value in param.values]
    if is_slow is not None and None not in told:
        return [float(on is is_slow) for on in told]
    flags = [{names.slow.get(folded(word)) for word in _words(value)} for value in param.values]
    has = [False in found for found in flags]
    return [float(not fast) for fast in has] if any(has) else [None] * len(has)


def _behind(told: Sequence[float | None]) -> Lags:
    """How far each is behind the least that is told."""
    least = min((lag for lag in told if lag is not None), default=0.0)
    return [None if lag is None else lag - least for lag in told]


def _first(found: Iterable[T | None]) -> T | None:
    return next((each for each in found if each is not None), None)


def foremost(grid: Grid, free: Mask) -> Mask:
    """(P,): those of the free points that lag least in every known order."""
    for lag in grid.lags:
        free = free & (lag == lag[free].min())
    return free


def that_run(grid: Grid, free: Mask, worked: Rows, failed: Rows, wrong: Rows) -> Mask:
    """(P,): the free points, but for what is as fast as what failed while nothing as fast ran.

    Where a process fails the instruction set is blamed first, then switches, and the level last;
    where its result is `wrong`, fast mathematics before wide vectors. What is blamed next is only
    what failed although all before it ran elsewhere. All points where that leaves none.
    """
    import numpy as np

    crashed = np.setdiff1d(failed, wrong)
    found = free
    for suspects, rows in (
        ((grid.octaves, grid.switches, grid.levels), crashed),
        ((grid.switches, grid.levels, grid.octaves), wrong),
    ):
        for lags in suspects:
            found = found & _slower(lags, worked, rows)
            rows = rows[_ran(lags, worked, rows)]
    return found if found.any() else free


def _slower(lags: Array, worked: Rows, failed: Rows) -> Mask:
    """(P,): whether each lags more than what failed, in what nothing as fast has run."""
    import numpy as np

    found = np.ones(lags.shape[1], dtype=bool)
    for lag in lags:
        ran = lag[worked].min(initial=np.inf)
        found &= lag > lag[failed][lag[failed] < ran].max(initial=-np.inf)
    return found


def _ran(lags: Array, worked: Rows, rows: Rows) -> Mask:
    """(rows,): whether what is as fast as each of them has run."""
    import numpy as np

    return np.asarray(
        (lags[:, rows] >= lags[:, worked].min(axis=1, initial=np.inf)[:, None]).all(axis=0)
    )


def disproved(grid: Grid, worked: Rows, values: Array) -> bool:
    """Whether all that is ahead of the first point measured was clearly slower than it.

    `values` (worked,) are logarithms of times.
    """
    ahead = (grid.lags[:, worked] <= grid.lags[:, worked[:1]]).all(axis=0)
    ahead &= (grid.lags[:, worked] < grid.lags[:, worked[:1]]).any(axis=0)
    return bool(ahead.any()) and float(values[ahead].min() - values[0]) > _SLOWER


def lags_behind(grid: Grid, seen: Sequence[int], fast: Mask) -> bool:
    """Whether all that was seen lags behind the points of `fast`."""
    least = grid.lags[:, fast][:, :1]
    return len(seen) > 0 and not (grid.lags[:, list(seen)] <= least).all(axis=0).any()
