"""Draws valid combinations from a space that is too large to go through.

Parameters that no restriction joins are independent of each other: each group of joined ones is
counted, and drawn from evenly (`counting`). A group that cannot be counted is drawn from by trial
where at least one combination in twenty is valid, which is even as well, and else by a search that
binds one parameter after the other to random values and goes back where a restriction is broken.
The search is biased: combinations with few siblings come up more often than others. Random steps
from what it finds, each to another valid value of one parameter, take most of that away (Metropolis
et al. 1953: in the long run such a walk is even over all that it can reach).
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpcagent.errors import UsageError
from hpcagent.expressions import Expression, number
from hpcagent.records import Param
from hpcagent.search.counting import Counted, bound_order, count_valid
from hpcagent.search.intervals import Interval, compile_interval, interval_of, truth

PILOT = 400  # trials that decide whether a group can be drawn from by trial
_ENOUGH = PILOT // 20
MAX_TRIALS = 2_000  # trials a draw, where by trial
MAX_BINDINGS = 20_000  # values bound a draw, where by search
WALKS = 200  # draws for one search
STEPS = 2  # of a walk, for each parameter


@dataclass(frozen=True)
class Nothing:
    """A draw that found no valid combination: `proved` that there is none, or after `tries`."""

    proved: bool
    tries: int = 0

    def __str__(self) -> str:
        return "none exists" if self.proved else f"none was found in {self.tries} tries"


Drawn = dict[str, str] | Nothing


@dataclass(frozen=True)
class Trials:
    """Combinations drawn evenly from the product of the values until one is valid."""

    params: tuple[Param, ...]
    rules: tuple[Expression, ...]
    facts: Mapping[str, Any]

    def draw(self, rng: random.Random) -> Drawn:
        for _ in range(MAX_TRIALS):
            found = self.once(rng)
            if found is not None:
                return found
        return Nothing(proved=False, tries=MAX_TRIALS)

    def once(self, rng: random.Random) -> dict[str, str] | None:
        values = {param.name: rng.choice(param.values) for param in self.params}
        known = {**self.facts, **values}
        return values if all(_holds(rule, known) for rule in self.rules) else None


@dataclass(frozen=True)
class Search:
    """Depth first over random values.

    A restriction is asked as soon as its names are bound, and before that whether it can still
    hold.
    """

    params: tuple[Param, ...]
    complete: tuple[tuple[Expression, ...], ...]  # by parameter: what it is the last one of
    unfinished: tuple[tuple[Callable[[Mapping[str, Interval]], Interval], ...], ...]
    reading: tuple[tuple[Expression, ...], ...]  # by parameter: what it is read by
    facts: Mapping[str, Any]
    ranges: Mapping[str, Interval]  # of facts, and of parameters that are not bound

    @classmethod
    def of(
        cls, params: Sequence[Param], rules: Sequence[Expression], facts: Mapping[str, Any]
    ) -> Search:
        order = bound_order(params, rules)
        places = {param.name: place for place, param in enumerate(order)}
        ranges = {name: interval_of((fact,)) for name, fact in facts.items()}
        ranges |= {param.name: interval_of(param.values) for param in order}
        complete: list[list[Expression]] = [[] for _ in order]
        unfinished: list[list[Callable[[Mapping[str, Interval]], Interval]]] = [[] for _ in order]
        for rule in rules:
            read = sorted(places[name] for name in rule.names & set(places))
            complete[read[-1]].append(rule)
            for place in read[:-1]:
                unfinished[place].append(compile_interval(rule.text))
        return cls(
            order,
            tuple(map(tuple, complete)),
            tuple(map(tuple, unfinished)),
            tuple(tuple(rule for rule in rules if param.name in rule.names) for param in order),
            {name: number(fact) for name, fact in facts.items()},
            ranges,
        )

    def draw(self, rng: random.Random) -> Drawn:
        known, ranges = dict(self.facts), dict(self.ranges)
        chosen: dict[str, str] = {}
        left: list[list[str]] = [_shuffled(rng, self.params[0].values)]
        for _ in range(MAX_BINDINGS):
            depth = len(left) - 1
            name = self.params[depth].name
            if not left[-1]:
                ranges[name] = self.ranges[name]
                left.pop()
                if not left:
                    return Nothing(proved=True)
                continue
            chosen[name] = left[-1].pop()
            known[name] = number(chosen[name])
            ranges[name] = interval_of((known[name],))
            if not self._allowed(depth, known, ranges):
                continue
            if depth + 1 == len(self.params):
                return chosen
            left.append(_shuffled(rng, self.params[depth + 1].values))
        return Nothing(proved=False, tries=MAX_BINDINGS)

    def stream(self, rng: random.Random) -> Iterator[Drawn]:
        """A search now and then, and walks from what the last one found."""
        for turn in itertools.count():
            if turn % WALKS == 0:
                found = self.draw(rng)
                if isinstance(found, Nothing):
                    yield found
                    return
                here = found
            here = self._walked(rng, here)
            yield here

    def _walked(self, rng: random.Random, start: Mapping[str, str]) -> dict[str, str]:
        here = dict(start)
        known = {**self.facts, **{name: number(value) for name, value in here.items()}}
        for _ in range(STEPS * len(self.params)):
            place = rng.randrange(len(self.params))
            name = self.params[place].name
            value = rng.choice(self.params[place].values)
            before, known[name] = known[name], number(value)
            if all(_holds(rule, known) for rule in self.reading[place]):
                here[name] = value
            else:
                known[name] = before
        return here

    def _allowed(
        self, depth: int, known: Mapping[str, Any], ranges: Mapping[str, Interval]
    ) -> bool:
        if any(truth(can_be(ranges)) is False for can_be in self.unfinished[depth]):
            return False
        return all(_holds(rule, known) for rule in self.complete[depth])


@dataclass(frozen=True)
class Sampler:
    """All groups of a space. `count` is the number of valid combinations, None if not known."""

    groups: tuple[Counted | Trials | Search, ...]
    count: int | None

    @classmethod
    def of(
        cls, params: Sequence[Param], rules: Sequence[Expression], facts: Mapping[str, Any]
    ) -> Sampler:
        """UsageError where a restriction cannot be evaluated at a point that all others allow."""
        names = {param.name for param in params}
        always = [rule for rule in rules if not rule.names & names]
        if not all(_holds(rule, facts) for rule in always):
            return cls((), 0)
        groups = tuple(_group(*joined, facts) for joined in _joined(params, rules))
        counts = [group.count if isinstance(group, Counted) else None for group in groups]
        if 0 in counts:
            return cls((), 0)
        known = [count for count in counts if count is not None]
        return cls(groups, math.prod(known) if len(known) == len(counts) else None)

    def stream(self, rng: random.Random) -> Iterator[Drawn]:
        """Valid combinations, again and again; it ends with the Nothing that a group came to.

        UsageError where a restriction cannot be evaluated at a combination that was tried.
        """
        if self.count == 0:
            yield Nothing(proved=True)
            return
        for parts in zip(*(_stream(group, rng) for group in self.groups), strict=False):
            found: dict[str, str] = {}
            for part in parts:
                if isinstance(part, Nothing):
                    yield part
                    return
                found.update(part)
            yield found

    def all(self) -> Iterator[dict[str, str]]:
        """Every valid combination, in no particular order; all groups must be counted."""
        counted = [group for group in self.groups if isinstance(group, Counted)]
        if self.count is None:
            raise UsageError("space: its valid configurations cannot be counted")
        if self.count:
            for parts in itertools.product(*(list(group.all()) for group in counted)):
                yield {name: value for part in parts for name, value in part.items()}


def _stream(group: Counted | Trials | Search, rng: random.Random) -> Iterator[Drawn]:
    if isinstance(group, Search):
        yield from group.stream(rng)
    while True:
        yield group.draw(rng)


def _group(
    params: Sequence[Param], rules: Sequence[Expression], facts: Mapping[str, Any]
) -> Counted | Trials | Search:
    counted = count_valid(params, rules, facts)
    if counted is not None:
        return counted
    trials, rng = Trials(tuple(params), tuple(rules), facts), random.Random(0)
    good = sum(trials.once(rng) is not None for _ in range(PILOT))
    return trials if good >= _ENOUGH else Search.of(params, rules, facts)


def _joined(
    params: Sequence[Param], rules: Sequence[Expression]
) -> Iterator[tuple[list[Param], list[Expression]]]:
    """Groups of parameters that restrictions join, with these."""
    group = {param.name: {param.name} for param in params}
    for rule in rules:
        joined: set[str] = set()
        for name in rule.names & set(group):
            joined |= group[name]
        for name in joined:
            group[name] = joined
    seen: set[str] = set()
    for param in params:
        if param.name not in seen:
            names = group[param.name]
            seen |= names
            yield (
                [each for each in params if each.name in names],
                [rule for rule in rules if rule.names & names],
            )


def _holds(rule: Expression, known: Mapping[str, Any]) -> bool:
    try:
        return bool(rule.evaluate(known))
    except UsageError as error:
        raise UsageError(f"space: restriction: {error}") from None


def _shuffled(rng: random.Random, values: Sequence[str]) -> list[str]:
    mixed = list(values)
    rng.shuffle(mixed)
    return mixed
