"""The space of a search: parameters, restrictions, and what was found not to work."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hpcagent.errors import UsageError
from hpcagent.expressions import Expression, compile_expression
from hpcagent.records import Config, Failure, Param
from hpcagent.search.sampling import Nothing, Sampler
from hpcagent.templates import clean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_COMBINATIONS = 200_000
_IN_VAIN = 50  # draws in a row that gave nothing new before a sample is thought to be complete
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_KINDS = ("ordinal", "categorical")


@dataclass(frozen=True)
class Space:
    """All configurations a search may propose; checked when it is made.

    `restrictions` are expressions over the parameters and `facts`, true for a valid
    configuration. `excluded` holds the ids of configurations known to fail or to be aliases.
    UsageError: a bad name, kind or value, a restriction that cannot be evaluated, a default
    outside the space, or no valid configuration at all.
    """

    params: tuple[Param, ...]
    restrictions: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    excluded: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        _check_params(self.params)
        both = {param.name for param in self.params} & set(self.facts)
        if both:
            raise UsageError(f"space: {min(both)!r} names both a parameter and a fact")
        self._check_default()

    @cached_property
    def default(self) -> Config:
        return Config.of({param.name: param.default for param in self.params})

    def points(self) -> Sequence[Config]:
        """Every valid configuration; the last parameter varies fastest.

        UsageError where the space is not `enumerable`.
        """
        return self._points

    @property
    def combinations(self) -> int:
        """Those of all values, valid or not."""
        return math.prod(len(param.values) for param in self.params)

    @property
    def enumerable(self) -> bool:
        """Whether `points` can list it: at most 200,000 combinations, or as many valid ones."""
        if self.combinations <= MAX_COMBINATIONS:
            return True
        return self.size_known and (self._sampler.count or 0) <= MAX_COMBINATIONS

    @property
    def size_known(self) -> bool:
        return self.combinations <= MAX_COMBINATIONS or self._sampler.count is not None

    @property
    def size(self) -> int:
        """The number of valid configurations; where it is not known, that of combinations."""
        if self.enumerable:
            return len(self._points)
        return self.combinations if self._sampler.count is None else self._sampler.count

    def sample(self, n: int, seed: int) -> tuple[Config, ...]:
        """Up to `n` distinct valid configurations drawn with `seed`, all where there are so few.

        The draw is even, but for groups of parameters as `sampling` says.
        """
        rng = random.Random(seed)
        if self.enumerable:
            return tuple(rng.sample(self._points, min(n, len(self._points))))
        found: dict[Config, None] = {}
        vain = 0
        for drawn in self._sampler.stream(rng):
            vain += 1
            if len(found) >= n or vain > _IN_VAIN or isinstance(drawn, Nothing):
                break
            config = Config.of(drawn)
            if config not in found and not (self.excluded and config.id in self.excluded):
                found[config] = None
                vain = 0
        return tuple(found)

    def first(self, n: int) -> tuple[Config, ...]:
        """Up to `n` configurations, always the same ones."""
        return tuple(self._points[:n]) if self.enumerable else self.sample(n, 0)

    def neighbours(self, config: Config) -> tuple[Config, ...]:
        """Valid configurations that differ in one parameter.

        By one step where it is ordinal, anyhow where it is categorical.
        """
        return tuple(each for each in _next_to(self.params, config) if self.contains(each))

    def contains(self, config: Config) -> bool:
        return isinstance(self.validate(config.values), Config)

    def without(self, name: str, value: str) -> Space:
        """This space less one value of a parameter, found infeasible or an alias.

        UsageError where there is no such value, or it is the default's.
        """
        param = next((param for param in self.params if param.name == name), None)
        if param is None or value not in param.values:
            raise UsageError(f"space: {name!r} has no value {value!r} to remove")
        if value == param.default:
            raise UsageError(f"space: {name}={value} belongs to the default, it has to stay")
        left = tuple(kept for kept in param.values if kept != value)
        smaller = dataclasses.replace(param, values=left)
        params = tuple(smaller if each is param else each for each in self.params)
        return dataclasses.replace(self, params=params)

    def excluding(self, ids: Collection[str]) -> Space:
        """This space less the configurations of these ids; UsageError where the default is one."""
        return dataclasses.replace(self, excluded=self.excluded | frozenset(ids))

    def validate(self, values: Mapping[str, str]) -> Config | Failure:
        """The configuration of these values, or what is wrong with them in one line."""
        problem = self._problem(values)
        if problem:
            return Failure("configure", "outside_space", problem)
        return Config.of(values)

    def encode(self, points: Sequence[Config]) -> NDArray[np.float64]:
        """(points, params): ordinals as rank scaled to [0, 1], categoricals as their index."""
        from hpcagent.search.encoding import encode

        return encode(self.params, points)

    @cached_property
    def _points(self) -> tuple[Config, ...]:
        return tuple(self._enumerate())

    @cached_property
    def _rules(self) -> tuple[Expression, ...]:
        names = {param.name for param in self.params} | set(self.facts)
        return tuple(compile_expression(text, names) for text in self.restrictions)

    @cached_property
    def _sampler(self) -> Sampler:
        return Sampler.of(self.params, self._rules, self.facts)

    def _enumerate(self) -> Iterator[Config]:
        for point in self._valid():
            config = Config.of(point)
            if not self.excluded or config.id not in self.excluded:
                yield config

    def _valid(self) -> Iterator[dict[str, str]]:
        if not self.enumerable:
            raise UsageError(
                f"space: {self._how_many()}, more than the {MAX_COMBINATIONS} that can be gone"
                " through; give fewer values"
            )
        names = [param.name for param in self.params]
        if self.combinations > MAX_COMBINATIONS:
            ranks = [{v: rank for rank, v in enumerate(param.values)} for param in self.params]
            valid = [tuple(point[name] for name in names) for point in self._sampler.all()]
            valid.sort(key=lambda values: [r[v] for r, v in zip(ranks, values, strict=True)])
            yield from (dict(zip(names, values, strict=True)) for values in valid)
            return
        for values in itertools.product(*(param.values for param in self.params)):
            point = dict(zip(names, values, strict=True))
            if self._violated(point) is None:
                yield point

    def _how_many(self) -> str:
        known = self._sampler.count is not None
        return f"{self.size} valid configurations" if known else f"{self.combinations} combinations"

    def _violated(self, values: Mapping[str, str]) -> str | None:
        known = {**self.facts, **values}
        for rule in self._rules:
            try:
                holds = rule.evaluate(known)
            except UsageError as error:
                raise UsageError(f"space: restriction, at {_words(values)}: {error}") from None
            if not holds:
                return rule.text
        return None

    def _problem(self, values: Mapping[str, str]) -> str:
        known = {param.name: param for param in self.params}
        for name in values:
            if name not in known:
                return f"unknown parameter {name!r}; there are {', '.join(known)}"
        for name, param in known.items():
            if name not in values:
                return f"parameter {name!r} is missing"
            if values[name] not in param.values:
                return f"{name}={values[name]!r} is not one of {', '.join(param.values)}"
        rule = self._violated(values)
        if rule is not None:
            return f"{_words(values)} breaks the restriction {rule!r}"
        if self.excluded and Config.of(values).id in self.excluded:
            return f"{_words(values)} was found not to work or to equal another one"
        return ""

    def _check_default(self) -> None:
        if self.default.id in self.excluded:
            raise UsageError(f"space: the default ({self.default}) cannot be excluded")
        rule = self._violated(self.default.values)
        if rule is None:
            return
        words = f"space: the default ({self.default}) breaks the restriction {rule!r}"
        if not self.enumerable:
            found = next(self._sampler.stream(random.Random(0)))
            words += f"; of the other configurations {found}" if isinstance(found, Nothing) else ""
        elif not self._points:
            words = "space: no configuration satisfies all restrictions: "
            words += "; ".join(self.restrictions)
        raise UsageError(words)


def _next_to(params: Sequence[Param], config: Config) -> Iterator[Config]:
    values = config.values
    for param in params:
        place = param.values.index(values[param.name]) if values[param.name] in param.values else 0
        near = range(len(param.values)) if param.kind == "categorical" else (place - 1, place + 1)
        for other in near:
            if 0 <= other < len(param.values) and param.values[other] != values[param.name]:
                yield Config.of({**values, param.name: param.values[other]})


def _words(values: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())


def _check_params(params: Sequence[Param]) -> None:
    if not params:
        raise UsageError("space: empty; give at least one parameter")
    seen: set[str] = set()
    for param in params:
        if not isinstance(param.name, str) or not _NAME.fullmatch(param.name):
            raise UsageError(f"space: bad parameter name {param.name!r}; use [a-z][a-z0-9_]*")
        if param.name in seen:
            raise UsageError(f"space: parameter {param.name!r} is given twice")
        seen.add(param.name)
        _check_values(param)


def _check_values(param: Param) -> None:
    where = f"space: parameter {param.name!r}"
    if param.kind not in _KINDS:
        raise UsageError(f"{where}: kind {param.kind!r} is neither ordinal nor categorical")
    if param.limit not in ("", "upper") or (param.limit and param.kind != "ordinal"):
        raise UsageError(f"{where}: limit {param.limit!r}: only an ordinal has one, 'upper'")
    if not param.values:
        raise UsageError(f"{where}: no values")
    twice = _repeated(param.values)
    if twice is not None:
        raise UsageError(f"{where}: value {twice!r} is given twice")
    for value in param.values:
        if not isinstance(value, str):
            raise UsageError(f"{where}: value {value!r} is not a text; quote it")
        clean(value, where)
    if param.default not in param.values:
        raise UsageError(f"{where}: default {param.default!r} is not one of its values")


def _repeated(values: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None
