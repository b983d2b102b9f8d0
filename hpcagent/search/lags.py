"""How far values are known to lag behind others of their parameter.

Names of instruction sets and of ways to compile (known.yaml): a wider set is thought to be faster,
and so is what a compiler's manual says is. By how much the measurements decide (trends.py), and
foremost.py is what the design makes of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from hpcagent.records import Param
from hpcagent.search.known import folded, known

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Codes = NDArray[np.intp]

Lags = Sequence[float | None]  # of each value of a parameter; None: not known
T = TypeVar("T")
_PLAIN = "x8664"
_PREFIXES = ("march=", "mcpu=", "m", "x")  # of a compiler's flag for an instruction set
_FASTEST = 3  # the level of optimisation where levels are numbers
_NO_LEVEL = re.compile(r"o\d+")  # beside O2 and O4 an O6 tells of orders, not of a compiler
_FLAGS = ("flag", "option", "compil")  # a parameter so called lists flags, with "-" or without
_SCALAR = 2  # operations of code without vectors, whose names (none, off) many choices have
_VECTORS = 8  # operations of the least set whose names nothing else has
_NAMED = ("sse", "ssse", "x8664")


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


def ranked(param: Param) -> bool:
    """Whether some of its values are known to lag behind others."""
    return any(any(lags) for lags in each(param))


def each(param: Param) -> tuple[Lags, Lags, Lags]:
    """Of its values as instruction sets, as levels of optimisation and as switches."""
    return _octaves(param), _levels(param), _switch(param)


def _columns(lags: Sequence[Lags], table: Codes) -> Array:
    import numpy as np

    found = [np.array([lag or 0.0 for lag in lags[d]])[table[:, d]] for d in range(len(lags))]
    columns = np.array(found).reshape(len(found), len(table))
    return np.asarray(columns[columns.max(axis=1) > columns.min(axis=1)])


def _octaves(param: Param) -> Lags:
    told = [_widest(_words(value)) for value in param.values]
    if not any(map(_is_of_vectors, param.values, told)):
        told = [None if count == _SCALAR else count for count in told]
    flags = [value.startswith("-") or not value.strip() for value in param.values]
    if any(count and flag for count, flag in zip(told, flags, strict=True)):
        plain = known().operations[_PLAIN]  # what is made where no flag says otherwise
        told = [plain if flag and not c else c for c, flag in zip(told, flags, strict=True)]
    return _behind([count and -math.log2(count) for count in told])


def _is_of_vectors(value: str, count: int | None) -> bool:
    """Whether a value is sure to name an instruction set: Atom and Nano may be anything."""
    flags = [folded(word) for word in _words(value)]
    return (count or 0) >= _VECTORS or any(flag.startswith(_NAMED) for flag in flags)


def _widest(words: Sequence[str]) -> int | None:
    return max((count for word in words if (count := _operations(word))), default=None)


def _words(value: str) -> Sequence[str]:
    """A name, or the flags in a list of them; of a sentence nothing."""
    words = value.split()
    return words if len(words) == 1 else [word for word in words if word.startswith("-")]


def _operations(word: str) -> int | None:
    """Of an instruction set, by its name or by the flag of a compiler that chooses it."""
    name = folded(word)
    rests = (name.removeprefix(start) for start in ("", *_PREFIXES))
    found = _first(known().operations.get(rest) for rest in rests)
    return None if found == _SCALAR and word.startswith("-") else found


def _levels(param: Param) -> Lags:
    names = known()
    counted = folded(param.name) in names.levels
    numbers = {str(level): _FASTEST - level for level in range(_FASTEST + 1)} if counted else {}
    steps = {**names.steps, **numbers}
    words = {folded(word) for value in param.values for word in _words(value)}
    if any(_NO_LEVEL.fullmatch(word) for word in words - steps.keys()):
        steps = {}
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
    # -flto=auto is a way to have -flto
    listed = any(word in folded(param.name) for word in _FLAGS)
    words = [
        [word.partition("=")[0] for word in _words(value)
         if listed or word.startswith("-") or folded(word) in names.steps]
        for value in param.values
    ]  # fmt: skip
    flags = [{names.slow.get(folded(word)) for word in of_one} for of_one in words]
    has = [False in found for found in flags]
    return [float(not fast) for fast in has] if any(has) else [None] * len(has)


def _behind(told: Sequence[float | None]) -> Lags:
    """How far each is behind the least that is told."""
    least = min((lag for lag in told if lag is not None), default=0.0)
    return [None if lag is None else lag - least for lag in told]


def _first(found: Iterable[T | None]) -> T | None:
    return next((each for each in found if each is not None), None)
