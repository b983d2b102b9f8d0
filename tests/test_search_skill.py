from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.records import Config, Param, Stop, Trial
from hpcagent.search.earned import earned
from hpcagent.search.skill import chance_faster
from hpcagent.search.space import Space
from hpcagent.search.surrogate import Surrogate

LEVELS = tuple(map(str, range(12)))
SPACE = Space(
    (
        Param("block", "ordinal", LEVELS, "5"),
        Param("tile", "ordinal", LEVELS, "5"),
        Param("unroll", "ordinal", LEVELS, "5"),
        Param("vector", "categorical", ("no", "yes"), "no"),
    )
)
TIMES = st.lists(st.floats(-3, 3), min_size=1, max_size=9)


def rough(config: Config, salt: int) -> float:
    """Log time ratio: nothing that one point shows is true of its neighbour."""
    return random.Random(f"{salt} {sorted(config.items)}").gauss(0.0, 0.1)


def smooth(config: Config, salt: int) -> float:
    """A bowl with its minimum away from the default, measured with a noise of 2 %."""
    v = config.values
    bowl = sum(0.02 * (int(v[name]) - 8) ** 2 for name in ("block", "tile", "unroll"))
    return bowl - 0.2 * (v["vector"] == "yes") + random.Random(f"{salt} {config}").gauss(0, 0.02)


def run(
    surface: Callable[[Config, int], float], seed: int, evaluations: int, spread: float, k: int = 1
) -> list[Trial]:
    """The history; it ends early where the search does."""
    made, history = Surrogate(), list[Trial]()
    base = surface(SPACE.default, seed)
    while len(history) < evaluations:
        found = made.propose(SPACE, history, [], k, seed)
        if isinstance(found, Stop):
            break
        turn = len(history)
        history += [
            Trial(p.config, surface(p.config, seed) - base, spread, None, turn, p.proposed_by)
            for p in found
        ]
    return history


def drawn(history: Sequence[Trial]) -> list[int]:
    return [place for place, trial in enumerate(history) if trial.proposed_by == "random"]


@given(TIMES, TIMES)
def test_the_chance_to_be_faster_is_the_share_of_pairs(
    ours: list[float], theirs: list[float]
) -> None:
    pairs = [1.0 if a < b else 0.5 if a == b else 0.0 for a in ours for b in theirs]
    chance = chance_faster(np.array(ours), np.array(theirs))
    assert chance == pytest.approx(sum(pairs) / len(pairs))
    assert chance + chance_faster(np.array(theirs), np.array(ours)) == pytest.approx(1.0)


def test_where_the_process_finds_nothing_points_are_drawn_at_random() -> None:
    runs = [run(rough, seed, 24, 0.0) for seed in range(6)]
    counts = [len(drawn(history)) for history in runs]
    assert sum(counts) >= 12
    for history in runs:
        assert len({trial.config for trial in history}) == len(history)
        assert all(place >= 7 for place in drawn(history))  # a design of four, and three choices


@pytest.mark.parametrize("seed", range(3))
def test_a_smooth_surface_with_noise_is_left_to_the_process(seed: int) -> None:
    history = run(smooth, seed, 24, 0.02)
    assert not drawn(history)
    best = min(trial.log_ratio or 0.0 for trial in history)
    assert math.exp(best + smooth(SPACE.default, seed)) < 1.0


def lost_run() -> tuple[int, list[Trial]]:
    for seed in range(20):
        history = run(rough, seed, 24, 0.0)
        if drawn(history):
            return seed, history
    raise AssertionError("no run had a point drawn")


def test_a_resumed_search_draws_the_same_points() -> None:
    seed, history = lost_run()
    for place in (*drawn(history), len(history) - 1):
        found = Surrogate().propose(SPACE, history[:place], [], 1, seed)
        assert not isinstance(found, Stop)
        assert found[0].config == history[place].config
        assert found[0].proposed_by == history[place].proposed_by


def test_what_was_just_found_is_followed_up_by_the_process() -> None:
    seed, history = lost_run()
    place = drawn(history)[0]
    best = min(trial.log_ratio or 0.0 for trial in history[:place])
    lucky = [*history[:place], replace(history[place], log_ratio=best - 0.3)]
    found = Surrogate().propose(SPACE, lucky, [], 1, seed)
    assert not isinstance(found, Stop)
    assert found[0].proposed_by == "surrogate"


def test_the_reason_says_why_chance_decided() -> None:
    seed, history = lost_run()
    found = Surrogate().propose(SPACE, history[: drawn(history)[0]], [], 1, seed)
    assert not isinstance(found, Stop)
    assert found[0].reason.startswith("drawn at random, since the choices so far were no faster")


def test_a_round_of_several_draws_has_no_point_twice() -> None:
    seed, history = lost_run()
    found = Surrogate().propose(SPACE, history[: drawn(history)[0]], [], 4, seed)
    assert not isinstance(found, Stop)
    assert len({proposal.config for proposal in found}) == 4


def test_a_language_model_competes_with_the_draws_too() -> None:
    """They stand in the surrogate's place, so its share is judged by them as well."""
    config = SPACE.points()[:4]
    first = Trial(config[0], 0.0, 0.0, None, 0, "surrogate")
    slow = Trial(config[1], 0.3, 0.0, None, 1, "model")
    by = [Trial(config[2], -0.3, 0.0, None, 1, name) for name in ("surrogate", "random")]
    assert earned([first, slow, by[0]]) == earned([first, slow, by[1]])
