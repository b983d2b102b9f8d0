"""The model's share: bounded, earned, and no harm where the model is bad; the target."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.errors import UsageError
from hpcagent.protocols import Strategy
from hpcagent.records import Config, Failure, Limits, Message, Param, Reply, Stop, Trial
from hpcagent.search.earned import FLOOR, SHARE, earned, slots
from hpcagent.search.model import create
from hpcagent.search.options import Options
from hpcagent.search.space import Space
from hpcagent.search.stopping import read_target, target_reached
from hpcagent.search.surrogate import Surrogate

SPACE = Space(
    (
        Param("x", "ordinal", tuple(map(str, range(14))), "12"),
        Param("y", "ordinal", tuple(map(str, range(14))), "1"),
        Param("z", "ordinal", tuple(map(str, range(5))), "0"),
        Param("core", "categorical", ("auto", "ZEN", "HASWELL"), "auto"),
    )
)


def surface(config: Config) -> float:
    v = config.values
    core = {"auto": 0.0, "ZEN": -0.1, "HASWELL": 0.15}[v["core"]]
    x, y, z = (int(v[name]) for name in "xyz")
    return 0.3 * math.sin(x / 2) + 0.02 * (x - y) ** 2 / (1 + z) + 0.03 * abs(y - 9) + core


RANKED = sorted(SPACE.points(), key=surface)


class Knowing:
    """A model that answers with the first of `order` that it may still choose."""

    def __init__(self, order: Callable[[int], Sequence[Config]]) -> None:
        self.order = order
        self.calls = 0

    def complete(
        self, messages: Sequence[Message], schema: Mapping[str, Any], limits: Limits, seed: int
    ) -> Reply:
        self.calls += 1
        text = messages[1].text.partition("candidates:")[0]
        chosen = next(config for config in self.order(self.calls) if str(config) not in text)
        return Reply(json.dumps({"reason": "", "config": chosen.values}))


def good(call: int) -> Sequence[Config]:
    return RANKED[1:]


def adversarial(call: int) -> Sequence[Config]:
    return RANKED[::-1]


def random_picks(call: int) -> Sequence[Config]:
    return random.Random(call).sample(RANKED, len(RANKED))


def searched(strategy: Strategy, seed: int, k: int = 4, evaluations: int = 20) -> list[Trial]:
    history: list[Trial] = []
    rng = random.Random(seed)
    for turn in range(evaluations):
        found = strategy.propose(SPACE, history, [], min(k, evaluations - len(history)), seed)
        if isinstance(found, Stop) or not found:
            break
        for proposal in found:
            value = surface(proposal.config) + rng.gauss(0, 0.005)
            history.append(Trial(proposal.config, value, 0.005, None, turn, proposal.proposed_by))
    return history


def with_model(order: Callable[[int], Sequence[Config]]) -> Strategy:
    return create(Options(model=Knowing(order)))


def quality(history: Sequence[Trial]) -> float:
    """True regret, in ln(time), of the configuration that looks best."""
    best = min(history, key=lambda trial: trial.log_ratio or 0.0)
    return surface(best.config) - surface(RANKED[0])


def picks(history: Sequence[Trial]) -> int:
    return sum(trial.proposed_by == "model" for trial in history)


def test_a_model_that_picks_the_worst_does_no_measurable_harm() -> None:
    """Over 10 seeds, at 20 evaluations: at most 2 % behind the search without it on average."""
    with_it = [searched(with_model(adversarial), seed) for seed in range(10)]
    without = [searched(Surrogate(), seed) for seed in range(10)]
    behind = [quality(a) - quality(b) for a, b in zip(with_it, without, strict=True)]
    assert statistics.mean(behind) < 0.02
    assert max(map(picks, with_it)) <= 4
    assert all(earned(history).share < SHARE for history in with_it)


def test_a_model_that_knows_speeds_the_search_up() -> None:
    with_it = [quality(searched(with_model(good), seed, evaluations=8)) for seed in range(8)]
    without = [quality(searched(Surrogate(), seed, evaluations=8)) for seed in range(8)]
    assert statistics.mean(with_it) < statistics.mean(without)


def trial(number: int, value: float | None, by: str, at: int) -> Trial:
    config = Config.of({"p": str(number)})
    failure = None if value is not None else Failure("run", "signal", "SIGILL")
    return Trial(config, value, 0.001, failure, at, by)


def test_a_share_shrinks_while_picks_lag_and_comes_back_when_they_pay() -> None:
    past = [trial(0, 0.0, "default", 0)]
    shares = []
    for at in range(1, 7):
        past += [trial(10 * at + n, -0.01 * at, "surrogate", at) for n in range(3)]
        past.append(trial(10 * at + 9, 0.5 if at < 5 else -0.2 * at, "model", at))
        shares.append(earned(past).share)
    assert shares == pytest.approx([0.1, FLOOR, FLOOR, FLOOR, 3 * FLOOR, SHARE])
    found = earned(past)
    assert (found.paid, found.lagged, found.picks) == (2, 4, 6)
    assert found.words().startswith("its picks paid in 2 and lagged in 4 rounds")
    assert earned(past[:1]).words() == ""


def test_failed_picks_lag_and_picks_as_good_as_the_others_do_not() -> None:
    past = [trial(0, 0.0, "default", 0), trial(1, 0.1, "surrogate", 1)]
    assert earned([*past, trial(2, 0.1, "model", 1)]).lagged == 0
    assert earned([*past, trial(2, 0.2, "model", 1)]).lagged == 1
    assert earned([*past, trial(2, None, "model", 1)]).lagged == 1
    assert earned([*past, trial(2, float("nan"), "model", 1)]).lagged == 1


@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.sampled_from([None, 0.5, 0.0, -0.1, -0.5])),
        min_size=1, max_size=30,
    )
)  # fmt: skip
def test_the_share_is_bounded_whatever_happens(rounds: list[tuple[int, float | None]]) -> None:
    past = [trial(0, 0.0, "default", 0)]
    for at, (k, value) in enumerate(rounds, start=1):
        mine = slots(past, [], k)
        assert 0 <= mine <= k
        for n in range(k):
            by = "model" if n < mine else "surrogate"
            past.append(trial(100 * at + n, value if by == "model" else -0.01 * at, by, at))
    found = earned(past)
    assert FLOOR <= found.share <= SHARE and found.picks <= SHARE * len(past) + 1e-9


@pytest.mark.parametrize("past", [[], [trial(0, 0.0, "user", 3)], [trial(0, None, "model", 1)]])
def test_a_history_without_a_comparison_changes_nothing(past: list[Trial]) -> None:
    assert earned(past).share == SHARE


# --- the target ------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "value"), [("1.2x", 1.2), ("2", 2.0), (" 1000x ", 1000.0)])
def test_a_target_is_a_speed_up(text: str, value: float) -> None:
    assert read_target(text) == value


@pytest.mark.parametrize("text", ["1x", "0.5", "-2x", "x", "", "1.2y", "1e3", "nan", "9999x"])
def test_a_target_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--target"):
        read_target(text)


def test_the_target_must_be_passed_by_the_standard_error() -> None:
    sure = Trial(RANKED[0], -math.log(1.3), 0.01, None, 1, "")
    assert "1.3 times as fast" in target_reached([sure], 1.25)
    assert "1.3 times as good" in target_reached([sure], 1.25, "good")
    assert not target_reached([sure], 1.3) and not target_reached([sure], 0.0)
    odd = [
        Trial(RANKED[0], value, spread, None, 1, "")
        for value, spread in [(None, None), (float("nan"), 0.1), (-9.0, float("nan")), (-99.0, 0.1)]
    ]
    broken = Trial(RANKED[0], -5.0, 0.0, Failure("numerics", "wrong_result", ""), 1, "")
    assert not target_reached([*odd, broken], 1.25)
