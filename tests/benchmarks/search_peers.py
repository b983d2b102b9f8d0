"""What a strategy of hpcagent is compared with, each on the same replayed surface.

All get the same first evaluation and the same restrictions; none pays for a proposal outside the
space or for one that was tried before: it is told so and asked again.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import random
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from earlier import Opening, PriorOf
from surfaces import Replay, Replayed, Surface, nameless

from hpcagent.embedded.model import Embedded
from hpcagent.embedded.opening import WORD, opened
from hpcagent.protocols import PointModel
from hpcagent.records import Config, Stop
from hpcagent.search.options import Options
from hpcagent.search.prior import Prior

NEEDS = (
    ("hpcagent, embedded", ("llama_cpp",)),
    ("Optuna TPE", ("optuna",)),
    ("Optuna TPE, failures worst", ("optuna",)),
    ("Optuna GP", ("optuna", "torch")),
    ("forest (skopt)", ("skopt",)),
)
# Unhelpful answers in a row before a point is drawn at random.
_PATIENCE = 25


@dataclass(frozen=True)
class Outcome:
    """`wasted` counts proposals outside the space or made before; `seconds` one proposal each."""

    replay: Replay
    seconds: tuple[float, ...]


Competitor = Callable[[Surface, int, int], Outcome]


def own(
    strategy: str,
    batch: int,
    prior_of: PriorOf | None = None,
    points: Callable[[], PointModel] | None = None,
    opening: Opening | None = None,
    named: bool = True,
) -> Competitor:
    """A strategy of hpcagent, `batch` proposals at a time, each of which counts.

    `opening` names what is evaluated after the first point, before it is asked anything. Unless
    `named`, the strategy does not learn what the parameters and their choices are called.
    """

    def run(surface: Surface, seed: int, budget: int) -> Outcome:
        known = prior_of(surface, seed) if prior_of else Prior()
        prior = replace(known, chosen_default=surface.default is not None)
        options = Options(seed=seed, prior=prior, points=points() if points else None)
        made = importlib.import_module(f"hpcagent.search.{strategy}").create(options)
        shown, hidden = (surface, {}) if named else nameless(surface)
        real = {told: config for config, told in hidden.items()}
        first = surface.first(seed)
        space = Replayed(shown, hidden.get(first, first))
        replay, seconds = Replay(surface, seed), []
        for config in _opened(surface, seed, opening)[:budget]:
            replay.evaluate(config)
        while len(replay.tried) < budget:
            k = min(batch, budget - len(replay.tried))
            told = [replace(t, config=hidden.get(t.config, t.config)) for t in replay.trials()]
            began = time.process_time()
            found = made.propose(space, told, (), k, seed)
            spent = time.process_time() - began
            if isinstance(found, Stop):
                break
            seconds += [spent / len(found)] * len(found)
            for proposal in found:
                replay.evaluate(real.get(proposal.config, proposal.config))
        return Outcome(replay, tuple(seconds))

    return run


def _opened(surface: Surface, seed: int, opening: Opening | None) -> tuple[Config, ...]:
    """The first evaluation and those of an opening, none twice."""
    then = opening(surface, seed) if opening else ()
    return tuple(dict.fromkeys([surface.first(seed), *then]))


@cache
def _shipped() -> PointModel:
    """The model that ships, one for a process."""
    return Embedded(opened(WORD)[0])


def with_embedded(batch: int) -> Competitor:
    return own("embedded", batch, points=_shipped)


def _asked(
    surface: Surface, seed: int, budget: int, ask: Callable[[], tuple[Config, Any]],
    tell: Callable[[Any, float | None], None], begin: Callable[[Config, float], None],
    opening: Opening | None = None,
) -> Outcome:  # fmt: skip
    """An ask-and-tell optimiser: `tell` gets None for a point outside the space, infinity for one
    that failed."""
    replay, seconds = Replay(surface, seed), []
    for config in _opened(surface, seed, opening)[:budget]:
        value = replay.evaluate(config)
        if value is not None:
            begin(config, value)
    rng = random.Random(f"{seed} leftovers")
    while len(replay.tried) < min(budget, len(surface.samples)):
        began = time.process_time()
        config, handle = None, None
        for _ in range(_PATIENCE):
            config, handle = ask()
            if config in surface.samples and config not in replay.seen:
                break
            replay.wasted += 1
            tell(handle, _told(replay, config))
        else:
            config, handle = _leftover(surface, replay, rng), None
        seconds.append(time.process_time() - began)
        assert config is not None
        replay.evaluate(config)
        if handle is not None:
            tell(handle, _told(replay, config))
    return Outcome(replay, tuple(seconds))


def _told(replay: Replay, config: Config) -> float | None:
    value = replay.seen.get(config)
    return math.inf if value is None and config in replay.seen else value


def _leftover(surface: Surface, replay: Replay, rng: random.Random) -> Config:
    return rng.choice([c for c in surface.samples if c not in replay.seen])


def optuna(sampler: str, opening: Opening | None = None, as_worst: bool = False) -> Competitor:
    """Optuna's TPE or GP sampler with its defaults; ordinals are ranks.

    It is told that a trial failed, of which its samplers take no notice; or, `as_worst`, the worst
    time so far in its place.
    """

    def run(surface: Surface, seed: int, budget: int) -> Outcome:
        module: Any = importlib.import_module("optuna")
        module.logging.set_verbosity(module.logging.ERROR)
        warnings.simplefilter("ignore")
        made = getattr(module.samplers, sampler)(seed=seed)
        study = module.create_study(sampler=made)
        distributions = {
            p.name: module.distributions.IntDistribution(0, len(p.values) - 1)
            if p.kind == "ordinal"
            else module.distributions.CategoricalDistribution(p.values)
            for p in surface.params
        }
        ordinal = {p.name: p.values for p in surface.params if p.kind == "ordinal"}
        failed = module.trial.TrialState.FAIL
        worst: list[float] = []

        def ask() -> tuple[Config, Any]:
            trial = study.ask(distributions)
            words = {n: ordinal[n][v] if n in ordinal else v for n, v in trial.params.items()}
            return Config.of(words), trial

        def tell(trial: Any, value: float | None) -> None:
            if value == math.inf and as_worst and worst:
                study.tell(trial, max(worst))
            elif value is None or value == math.inf:
                study.tell(trial, state=failed)
            else:
                worst.append(math.log(value))
                study.tell(trial, worst[-1])

        def begin(config: Config, value: float) -> None:
            worst.append(math.log(value))
            raw = {n: ordinal[n].index(v) if n in ordinal else v for n, v in config.items}
            study.add_trial(
                module.trial.create_trial(
                    params=raw, distributions=distributions, value=math.log(value)
                )
            )

        return _asked(surface, seed, budget, ask, tell, begin, opening)

    return run


def forest(surface: Surface, seed: int, budget: int) -> Outcome:
    """scikit-optimize with a random forest, as ytopt uses it: 10 points at random, then LCB.

    A failure is told as the worst time seen, since it takes numbers only.
    """
    module: Any = importlib.import_module("skopt")
    warnings.simplefilter("ignore")
    dimensions = [
        module.space.Integer(0, len(p.values) - 1)
        if p.kind == "ordinal"
        else module.space.Categorical(list(p.values))
        for p in surface.params
    ]
    made = module.Optimizer(
        dimensions, base_estimator="RF", acq_func="LCB", acq_optimizer="sampling",
        n_initial_points=10, random_state=seed,
    )  # fmt: skip
    worst: list[float] = []

    def ask() -> tuple[Config, Any]:
        point = made.ask()
        words = {
            p.name: p.values[int(x)] if p.kind == "ordinal" else str(x)
            for p, x in zip(surface.params, point, strict=True)
        }
        return Config.of(words), point

    def tell(point: Any, value: float | None) -> None:
        if value is not None and value < math.inf:
            worst.append(math.log(value))
            made.tell(point, worst[-1])
        else:
            made.tell(point, max(worst, default=0.0))

    def begin(config: Config, value: float) -> None:
        values = config.values
        point: list[int | str] = [
            p.values.index(values[p.name]) if p.kind == "ordinal" else values[p.name]
            for p in surface.params
        ]
        tell(point, value)

    return _asked(surface, seed, budget, ask, tell, begin)


def hillclimb(opening: Opening | None = None) -> Competitor:
    """Neighbours of the best so far in random order; a random point where none is left."""

    def run(surface: Surface, seed: int, budget: int) -> Outcome:
        replay, seconds = Replay(surface, seed), []
        rng = random.Random(f"{seed} climb")
        for config in _opened(surface, seed, opening)[:budget]:
            replay.evaluate(config)
        while len(replay.tried) < min(budget, len(surface.samples)):
            began = time.process_time()
            best = replay.returned(len(replay.tried)) or surface.first(seed)
            around = [c for c in surface.neighbours(best) if c not in replay.seen]
            config = rng.choice(around) if around else _leftover(surface, replay, rng)
            seconds.append(time.process_time() - began)
            replay.evaluate(config)
        return Outcome(replay, tuple(seconds))

    return run


def lacking() -> Mapping[str, str]:
    """The competitors that cannot take part here, each with the package that it needs."""
    found = {name: [p for p in needs if not importlib.util.find_spec(p)] for name, needs in NEEDS}
    return {name: packages[0] for name, packages in found.items() if packages}


def competitors(batch: int) -> Mapping[str, Competitor]:
    """By name; those whose library is not there are left out."""
    found: dict[str, Competitor] = {
        "hpcagent": own("surrogate", batch),
        "random": own("random", 1),
        "hpcagent, embedded": with_embedded(batch),
        "hpcagent, names hidden": own("surrogate", batch, named=False),
        "hill climbing": hillclimb(),
        "Optuna TPE": optuna("TPESampler"),
        "Optuna TPE, failures worst": optuna("TPESampler", as_worst=True),
        "Optuna GP": optuna("GPSampler"),
        "forest (skopt)": forest,
    }
    return {name: run for name, run in found.items() if name not in lacking()}
