"""Small searches of the surrogate over made-up spaces, and what these are made of."""

from __future__ import annotations

from collections.abc import Callable

from hpcagent.records import Config, Failure, Param, Stop, Trial
from hpcagent.search.space import Space
from hpcagent.search.surrogate import Surrogate

SIZES = ("16", "32", "48", "64", "96", "128", "192", "256")
CORES = (
    "Prescott", "Core2", "Penryn", "Dunnington", "Atom", "Nano", "Nehalem", "Barcelona", "Bobcat",
    "Bulldozer", "Piledriver", "Steamroller", "Excavator", "Sandybridge", "Haswell", "Zen",
    "SkylakeX", "Cooperlake", "SapphireRapids",
)  # fmt: skip
FMA4 = ("Bulldozer", "Piledriver", "Steamroller", "Excavator")
ILLEGAL = Failure("run", "signal", "SIGILL")


def ordinal(name: str, values: tuple[str, ...]) -> Param:
    return Param(name, "ordinal", values, values[0])


def choice(name: str, *values: str) -> Param:
    return Param(name, "categorical", values, values[0])


def searched(
    count: int,
    space: Space,
    measured: Callable[[Config], float | None],
    seed: int,
    why: Failure = ILLEGAL,
    batch: int = 1,
) -> list[Trial]:
    """The surrogate's first evaluations, so many at a time; what is measured as None fails as `why`
    says."""
    strategy, history = Surrogate(), list[Trial]()
    while len(history) < count:
        found = strategy.propose(space, history, [], batch, seed)
        if isinstance(found, Stop):
            break
        for config in (proposal.config for proposal in found):
            value = measured(config)
            failure = why if value is None else None
            spread = None if value is None else 0.0
            history.append(Trial(config, value, spread, failure, len(history), ""))
    return history


def best_after(
    count: int, space: Space, cost: Callable[[dict[str, str]], float], seed: int
) -> float:
    """The least log ratio among the surrogate's first evaluations."""
    history = searched(count, space, lambda config: cost(config.values), seed)
    return min(trial.log_ratio or 0.0 for trial in history)
