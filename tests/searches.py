"""Small searches of the surrogate over made-up spaces, and what these are made of."""

from __future__ import annotations

from collections.abc import Callable

from hpcagent.records import Config, Failure, Param, Stop, Trial
from hpcagent.search.encoding import Grid
from hpcagent.search.evidence import Evidence
from hpcagent.search.prior import Prior
from hpcagent.search.space import Space
from hpcagent.search.surrogate import Surrogate

SIZES = ("16", "32", "48", "64", "96", "128", "192", "256")
CORES = (
    "Prescott", "Core2", "Penryn", "Dunnington", "Atom", "Nano", "Nehalem", "Barcelona", "Bobcat",
    "Bulldozer", "Piledriver", "Steamroller", "Excavator", "Sandybridge", "Haswell", "Zen",
    "SkylakeX", "Cooperlake", "SapphireRapids",
)  # fmt: skip
FMA4 = ("Bulldozer", "Piledriver", "Steamroller", "Excavator")
ILLEGAL = CRASH = Failure("run", "signal", "SIGILL")
WRONG = Failure("numerics", "wrong_result", "residual 1e3")


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


def grid_of(space: Space) -> Grid:
    return Grid.of(space.params, space.points())


def evidence(
    grid: Grid,
    worked: list[Config],
    failed: list[Config],
    why: Failure = CRASH,
    pending: tuple[Config, ...] = (),
) -> Evidence:
    """What is known after these, all that ran alike."""
    ran = [Trial(config, 0.0, 0.0, None, 0, "") for config in worked]
    history = [*ran, *(Trial(config, None, None, why, 0, "") for config in failed)]
    return Evidence.of(grid, Prior().over(grid), history, pending)


def simd(*names: str) -> Space:
    unroll = ("1", "2", "4", "8")
    return Space((choice("isa", *names), ordinal("tile", SIZES), ordinal("unroll", unroll)))


COMPILED = Space(
    (
        Param("march", "categorical", ("x86-64", "x86-64-v3", "x86-64-v4"), "x86-64"),
        Param("level", "ordinal", ("O1", "O2", "O3"), "O2"),
        Param("fast_math", "categorical", ("off", "on"), "off"),
        Param("layout", "categorical", ("aos", "soa"), "aos"),
        Param("tile", "ordinal", SIZES, "64"),
    )
)


def of(march: str = "x86-64", level: str = "O2", fast: str = "off") -> Config:
    changed = {"march": march, "level": level, "fast_math": fast}
    return Config.of({**COMPILED.default.values, **changed})


FASTEST = of("x86-64-v4", "O3", "on")
