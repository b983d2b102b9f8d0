"""Menu choices: of some configurations the one that a model expects to be the fastest.

The surfaces are made like recorded ones: kernels for the machine are faster than others, threads
help up to the number of cores; every value has an effect of its own on the logarithm of the time,
every point a smaller one. Half of the situations carry predictions, as of a surrogate model; in the
others only the machine and what was measured tell.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from hpcagent.llm.qualify.family import LABELS, WRONG_FORM, Case, Family, Judged, prompt

_ENTRIES, _MEASURED = 6, 10
_BLOCKS = 3  # of as many situations as there are entries
_EFFECT, _OWN, _NOISE, _PREDICTED = 0.07, 0.03, 0.008, 0.05
_KERNEL_STEP, _SPEED_UP, _TOO_MANY = 0.12, 0.3, 0.15
_THREADS = ("1", "2", "4", "8")
_NAMES = ("OPENBLAS_CORETYPE", "threads", "hugetlb", "places")


@dataclass(frozen=True)
class _Machine:
    """`kernels` from the fastest."""

    words: str
    cores: int
    kernels: tuple[str, ...]


_MACHINES = (
    _Machine("8 cores of a Xeon with AVX-512", 8, ("SkylakeX", "Haswell", "Zen", "Prescott")),
    _Machine("4 cores of an AMD EPYC with AVX2", 4, ("Zen", "Haswell", "Sandybridge", "Prescott")),
    _Machine("2 cores of a Core i5 with AVX2", 2, ("Haswell", "Zen", "Sandybridge", "Prescott")),
)

_Point = tuple[str, ...]
_T = TypeVar("_T")


@dataclass(frozen=True)
class _Surface:
    """ln of the time over the default's, for every point."""

    values: Mapping[_Point, float]

    def ratio(self, point: _Point, error: float) -> str:
        return f"{math.exp(self.values[point] + error):.3f}"


@cache
def _cases() -> tuple[Case, ...]:
    return tuple(_case(number) for number in range(_BLOCKS * _ENTRIES))


def _case(number: int) -> Case:
    block, shift = divmod(number, _ENTRIES)
    draw = random.Random(7000 + number)
    machine = _MACHINES[number % len(_MACHINES)]
    surface = _surface(machine, draw)
    points = _shuffled(sorted(surface.values), draw)
    told, offered = points[:_MEASURED], points[_MEASURED : _MEASURED + _ENTRIES]
    best_first = sorted(offered, key=lambda point: surface.values[point])
    # In each block every label stands once for every rank: who always says the same gains nothing.
    order = _shuffled(list(range(_ENTRIES)), random.Random(block))
    ranks = [order[(place + shift) % _ENTRIES] for place in range(_ENTRIES)]
    menu = [best_first[rank] for rank in ranks]
    labels = tuple(LABELS[:_ENTRIES])
    text = prompt(
        "menu",
        {
            "machine": machine.words,
            "history": [f"{_words(p)} -> {surface.ratio(p, _spread(draw, _NOISE))}" for p in told],
            "menu": [
                f"{label}: {_words(p)}{_predicted(surface, p, number, draw)}"
                for label, p in zip(labels, menu, strict=True)
            ],
        },
    )
    scores = {label: 1 - r / (_ENTRIES - 1) for label, r in zip(labels, ranks, strict=True)}
    group = "with predictions" if number % 2 else "from measurements alone"

    def judge(answer: str) -> Judged:
        if answer not in scores:
            return WRONG_FORM
        return Judged(scores[answer], True, f"better than {scores[answer]:.0%} of the others")

    return Case(f"{number + 1:02}", text, judge, labels, outcomes=tuple(scores.values()),
                group=group)  # fmt: skip


def _surface(machine: _Machine, draw: random.Random) -> _Surface:
    space = (machine.kernels, _THREADS, ("0", "1"), ("cores", "sockets", "threads"))
    effects = {
        (name, value): _spread(draw, _EFFECT)
        for name, values in zip(_NAMES, space, strict=True)
        for value in values
    }
    total = {}
    for point in itertools.product(*space):
        known = _known(machine, point[0], int(point[1])) + _spread(draw, _OWN)
        total[point] = known + sum(effects[pair] for pair in zip(_NAMES, point, strict=True))
    default = total[machine.kernels[1], "1", "0", "cores"]
    return _Surface({point: value - default for point, value in total.items()})


def _known(machine: _Machine, kernel: str, threads: int) -> float:
    """What anybody would expect: ln of a time."""
    used = min(threads, machine.cores)
    too_many = math.log2(threads / used)
    ordered = machine.kernels.index(kernel)
    return _KERNEL_STEP * ordered - _SPEED_UP * math.log(used) + _TOO_MANY * too_many


def _predicted(surface: _Surface, point: _Point, number: int, draw: random.Random) -> str:
    error = _spread(draw, _PREDICTED)
    if number % 2 == 0:
        return ""
    return f" -> predicted {surface.ratio(point, error)} +- {_PREDICTED:.0%}"


def _spread(draw: random.Random, deviation: float) -> float:
    """Nearly normal, and of `random` alone, whose numbers never change between versions."""
    return (sum(draw.random() for _ in range(12)) - 6.0) * deviation


def _shuffled(items: list[_T], draw: random.Random) -> list[_T]:
    keyed = sorted((draw.random(), index) for index in range(len(items)))
    return [items[index] for _, index in keyed]


def _words(point: _Point) -> str:
    return " ".join(f"{name}={value}" for name, value in zip(_NAMES, point, strict=True))


FAMILY = Family(
    name="menu",
    title="menu choices",
    role="optimise",
    chance=0.5,
    chance_words="a random entry is better than half of the others",
    needed=0.6,
    counted=False,
    cases=_cases,
)
