"""The processes of a unit, packed: a long run holds hundreds of thousands of them."""

from __future__ import annotations

import marshal
import math
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple, overload

from hpcagent.measure.results import Run

# All fields of a Run behind `readback`, in their order.
_names = tuple(field.name for field in fields(Run))
_others = attrgetter(*_names[_names.index("readback") + 1 :])


class Timing(NamedTuple):
    """What the statistics need of a process; the fields are Run's."""

    config: str
    pair: int
    status: str
    objective: float | None

    @property
    def ok(self) -> bool:
        return self.status == "ok" and self.objective is not None


class Runs(Sequence[Run]):
    """The runs of one unit, in their order. A Run is made when one is asked for.

    `timings` are at hand. All else is kept as bytes that only this process reads (marshal: plain
    values, floats exact, equal objects once), about 140 for a run where a Run takes 1,400.
    """

    __slots__ = ("_configs", "_objectives", "_pairs", "_rest", "_statuses")

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        runs = tuple(runs)
        self._configs = tuple(sys.intern(run.config) for run in runs)
        self._pairs = _shared(tuple(run.pair for run in runs))
        self._statuses = _shared(tuple(sys.intern(run.status) for run in runs))
        none = math.nan  # no objective is one: journals hold none
        self._objectives = array(
            "d", [none if run.objective is None else run.objective for run in runs]
        )
        seen: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}
        self._rest = marshal.dumps([_rest(run, seen) for run in runs])

    def timings(self) -> Iterator[Timing]:
        for config, pair, status, objective in zip(
            self._configs, self._pairs, self._statuses, self._objectives, strict=True
        ):
            yield Timing(config, pair, status, None if math.isnan(objective) else objective)

    def of(self, config: str, status_not_in: Sequence[str] = ()) -> list[Run]:
        """The runs of a configuration whose status is none of these."""
        return self._those(status_not_in, lambda name: name == config)

    def others(self, status_not_in: Sequence[str]) -> list[Run]:
        """The runs whose status is none of these."""
        return self._those(status_not_in, lambda name: True)

    def _those(self, status_not_in: Sequence[str], wanted: Callable[[str], bool]) -> list[Run]:
        """Nothing is unpacked where there is no such run."""
        if not set(self._statuses).difference(status_not_in):
            return []
        places = [
            index
            for index, (name, status) in enumerate(zip(self._configs, self._statuses, strict=True))
            if status not in status_not_in and wanted(name)
        ]
        every = tuple(self) if places else ()
        return [every[index] for index in places]

    def __iter__(self) -> Iterator[Run]:
        for timing, rest in zip(self.timings(), marshal.loads(self._rest), strict=True):
            yield _run(timing, rest)

    def __len__(self) -> int:
        return len(self._configs)

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Run, ...]: ...
    def __getitem__(self, index: int | slice) -> Run | tuple[Run, ...]:
        return tuple(self)[index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Runs({list(self)!r})"


@lru_cache(maxsize=256)
def _shared(column: tuple[Any, ...]) -> tuple[Any, ...]:
    """The first of equal columns: which pairs there are, and that all went well, is often so."""
    return column


def _rest(run: Run, seen: dict[tuple[tuple[str, str], ...], Mapping[str, str]]) -> tuple[Any, ...]:
    readback = seen.setdefault(tuple(run.readback.items()), dict(run.readback))
    medians = {sys.intern(key): seconds for key, seconds in run.medians.items()}
    return (run.order, medians, readback, *_others(run))


def _run(timing: Timing, rest: tuple[Any, ...]) -> Run:
    config, pair, status, objective = timing
    order, medians, readback, *others = rest
    return Run(config, pair, order, status, medians, objective, readback, *others)


NO_RUNS = Runs()
