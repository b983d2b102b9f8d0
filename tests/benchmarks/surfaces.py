"""Recorded tuning surfaces: every configuration of a space with its raw repeats, to be replayed.

surface_files.py reads them.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median

from hpcagent.records import Config, Failure, Param, Trial

FAILED = Failure("run", "recorded", "it failed when the surface was recorded")


@dataclass(frozen=True, eq=False)
class Surface:
    """`samples` maps a configuration to its repeats, as times (for "max": their inverses); empty
    where it failed. `default` is None where the space has none, `family` that of other sizes."""

    name: str
    params: tuple[Param, ...]
    samples: Mapping[Config, tuple[float, ...]]
    default: Config | None
    family: str = ""

    @cached_property
    def truth(self) -> dict[Config, float]:
        """The median of every configuration that works."""
        return {config: median(times) for config, times in self.samples.items() if times}

    @cached_property
    def best(self) -> float:
        return min(self.truth.values())

    @property
    def repeats(self) -> int:
        return max(len(times) for times in self.samples.values())

    @property
    def failures(self) -> int:
        return sum(not times for times in self.samples.values())

    @cached_property
    def digest(self) -> str:
        """Of all that a replay depends on beside the name: 16 hex digits."""
        params = [(p.name, p.kind, p.values) for p in self.params]
        made = hashlib.sha256(repr((params, self.default)).encode())
        for config, times in self.samples.items():
            made.update(repr((config.items, times)).encode())
        return made.hexdigest()[:16]

    def quality(self, config: Config | None) -> float:
        """The best time over this configuration's; 0 for none or one that fails."""
        return self.best / self.truth[config] if config in self.truth else 0.0

    def neighbours(self, config: Config) -> Iterator[Config]:
        """What differs in one parameter, by a step where it is ordinal."""
        values = config.values
        for param in self.params:
            place = param.values.index(values[param.name])
            categorical = param.kind == "categorical"
            for other in range(len(param.values)) if categorical else (place - 1, place + 1):
                if other != place and 0 <= other < len(param.values):
                    moved = Config.of({**values, param.name: param.values[other]})
                    if moved in self.samples:
                        yield moved

    def first(self, seed: int) -> Config:
        """Evaluation 1 of everybody: the default, else the same working point for a seed."""
        if self.default is not None:
            return self.default
        return random.Random(f"{self.name} {seed}").choice(sorted(self.truth, key=str))


@dataclass(frozen=True)
class Replayed:
    """A surface as a strategy's space, with the first evaluation as its default."""

    surface: Surface
    first: Config
    restrictions: tuple[str, ...] = ()

    @cached_property
    def params(self) -> tuple[Param, ...]:
        values = self.first.values
        return tuple(Param(p.name, p.kind, p.values, values[p.name]) for p in self.surface.params)

    @property
    def default(self) -> Config:
        return self.first

    @cached_property
    def _points(self) -> tuple[Config, ...]:
        return tuple(self.surface.samples)

    @property
    def combinations(self) -> int:
        return math.prod(len(param.values) for param in self.params)

    @property
    def enumerable(self) -> bool:
        return True

    def points(self) -> Sequence[Config]:
        return self._points

    def contains(self, config: Config) -> bool:
        return config in self.surface.samples

    def sample(self, n: int, seed: int) -> Sequence[Config]:
        return random.Random(seed).sample(self._points, min(n, len(self._points)))

    def neighbours(self, config: Config) -> Sequence[Config]:
        return tuple(self.surface.neighbours(config))

    def validate(self, values: Mapping[str, str]) -> Config | Failure:
        config = Config.of(values)
        known = config in self.surface.samples
        return config if known else Failure("configure", "outside_space", str(config))


def nameless(surface: Surface) -> tuple[Surface, Mapping[Config, Config]]:
    """The surface under names and choices that tell nothing, and its points by the real ones."""
    words = {
        p.name: {v: f"v{i:03}" if p.kind == "categorical" else v for i, v in enumerate(p.values)}
        for p in surface.params
    }
    names = {p.name: f"p{i:03}" for i, p in enumerate(surface.params)}
    hidden = {
        config: Config.of({names[name]: words[name][value] for name, value in config.items})
        for config in surface.samples
    }
    params = tuple(
        Param(names[p.name], p.kind, values := tuple(words[p.name].values()), values[0])
        for p in surface.params
    )
    samples = {hidden[config]: times for config, times in surface.samples.items()}
    default = None if surface.default is None else hidden[surface.default]
    return Surface(surface.name, params, samples, default, surface.family), hidden


@dataclass
class Replay:
    """One run on a surface: what was evaluated, in order, with one repeat drawn for each.

    The same seed and configuration give the same repeat to every competitor.
    """

    surface: Surface
    seed: int
    tried: list[Config] = field(default_factory=list)
    seen: dict[Config, float | None] = field(default_factory=dict)
    wasted: int = 0

    def evaluate(self, config: Config) -> float | None:
        """The time of one repeat, None for a failure; each configuration once only."""
        if config in self.seen:
            raise AssertionError(f"{config} was evaluated before")
        times = self.surface.samples[config]
        drawn = random.Random(f"{self.seed} {config}").choice(times) if times else None
        self.tried.append(config)
        self.seen[config] = drawn
        return drawn

    def returned(self, evaluations: int) -> Config | None:
        """The fastest observed among the first so many."""
        good = [(t, c) for c in self.tried[:evaluations] if (t := self.seen[c]) is not None]
        return min(good, key=lambda pair: pair[0])[1] if good else None

    def quality(self, evaluations: int) -> float:
        return self.surface.quality(self.returned(evaluations))

    def evaluations_to(self, share: float, budget: int) -> int:
        """Evaluations until what is returned reaches this share of the best; a miss: budget + 1."""
        for count in range(1, min(budget, len(self.tried)) + 1):
            if self.quality(count) >= share:
                return count
        return budget + 1

    def trials(self) -> tuple[Trial, ...]:
        """The history as a strategy sees it: log ratios to the first evaluation."""
        base = self.seen[self.tried[0]]
        assert base is not None
        found = []
        for number, config in enumerate(self.tried):
            time = self.seen[config]
            ratio = None if time is None else math.log(time / base)
            failure = FAILED if time is None else None
            found.append(Trial(config, ratio, None, failure, number, ""))
        return tuple(found)
