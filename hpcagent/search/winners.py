"""What won elsewhere: how often a value was in the best configuration found on other machines.

Tables of tuned configurations are published for some kernels (winners.yaml, each with its source).
What won on many machines is likely to be fast on another one of their kind; how likely, and by
which parameters, the measurements tell (trends.py). Names alone tell which kernel it is: a kernel
in double precision that says so nowhere is taken for the one in single precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from hpcagent.records import Param
from hpcagent.search.known import folded, numbers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Codes = NDArray[np.intp]

_UNSEEN = 0.5  # wins that each value is given besides: none is impossible (Jeffreys' prior)
_NATS = 2.5  # make a unit: the standard deviation of the sum over all points of a GEMM is about 1


@dataclass(frozen=True)
class _Kernel:
    """All names folded: those a space must have; the number that others, if there, must list; how
    often each value won."""

    needs: frozenset[str]
    only: Mapping[str, float]
    won: Mapping[str, Mapping[float, int]]


def rarities(params: Sequence[Param], table: Codes) -> Array:
    """(K, points): how rarely the value of each of K parameters won, from their mean over points.

    As -ln(wins / points that have the value): what many points have wins often by chance. Between
    values that were tried -ln(wins) is a straight line, beyond them that of the last. `table`
    (points, params) holds the index of each value. K is 0 where no table is known for such names;
    a parameter of which it tells nothing is left out.
    """
    import numpy as np

    names = {folded(param.name): param for param in params}
    kernel = next((k for k in _kernels() if _belongs(names, k)), None)
    if kernel is None:
        return np.empty((0, len(table)))
    found = []
    for d, param in enumerate(params):
        values, wins = numbers(param), kernel.won.get(folded(param.name))
        if values is not None and wins is not None:
            found.append(_surprise(values, wins, table[:, d]))
    columns = np.array(found).reshape(len(found), len(table)) / _NATS
    columns = columns - columns.mean(axis=1, keepdims=True)
    return np.asarray(columns[columns.max(axis=1) > columns.min(axis=1)])


def _belongs(names: Mapping[str, Param], kernel: _Kernel) -> bool:
    if not kernel.needs <= names.keys():
        return False
    return all(_allows(names[n], value) for n, value in kernel.only.items() if n in names)


def _allows(param: Param, value: float) -> bool:
    values = numbers(param)
    return values is not None and value in values


def _surprise(values: Array, wins: Mapping[float, int], codes: Codes) -> Array:
    """(points,): -ln(wins / points) of the value that each point has, up to a shift."""
    import numpy as np

    tried = sorted(wins)
    won = np.interp(values, tried, [-np.log(wins[value] + _UNSEEN) for value in tried])
    points = np.bincount(codes, minlength=len(values))
    return np.asarray((won + np.log(np.maximum(points, 1)))[codes])


@cache
def _kernels() -> tuple[_Kernel, ...]:
    import yaml

    path = Path(__file__).with_name("winners.yaml")
    listed = yaml.safe_load(path.read_text(encoding="utf-8"))["kernels"]
    return tuple(
        _Kernel(
            frozenset(map(folded, entry["needs"])),
            {folded(name): float(value) for name, value in entry.get("only", {}).items()},
            {
                folded(name): {float(value): int(count) for value, count in wins.items()}
                for name, wins in entry["won"].items()
            },
        )
        for entry in listed
    )
