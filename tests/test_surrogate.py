from __future__ import annotations

import importlib
import math
import random
import re
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from searches import searched

from hpcagent.records import Config, Failure, Param, Stop, Trial
from hpcagent.search.acquisition import expected_improvement, squeezed
from hpcagent.search.blame import by_values
from hpcagent.search.design import design_size
from hpcagent.search.encoding import Grid, has_off
from hpcagent.search.feasibility import probability
from hpcagent.search.gp import (
    Observations,
    Theta,
    Trends,
    believe,
    covariance,
    posterior,
    slopes,
)
from hpcagent.search.likelihood import Likelihood, fit
from hpcagent.search.options import Options
from hpcagent.search.space import Space
from hpcagent.search.surrogate import Surrogate

LEVELS = tuple(map(str, range(8)))
SPACE = Space(
    (
        Param("x", "ordinal", LEVELS, "0"),
        Param("y", "ordinal", LEVELS, "0"),
        Param("core", "categorical", ("auto", "TILED", "PACKED", "PLAIN"), "auto"),
    )
)
ILLEGAL = Failure("run", "signal", "killed by SIGILL")


def smooth(config: Config) -> float:
    """Log time ratio with its minimum at x=5, y=3, core=TILED."""
    v = config.values
    bowl = 0.02 * (int(v["x"]) - 5) ** 2 + 0.03 * (int(v["y"]) - 3) ** 2
    return bowl + {"auto": 0.0, "TILED": -0.3, "PACKED": 0.1, "PLAIN": 0.5}[v["core"]] - 0.77


def best_after(strategy: str, evaluations: int, k: int, seed: int) -> float:
    made = importlib.import_module(f"hpcagent.search.{strategy}").create(Options())
    history: list[Trial] = []
    while len(history) < evaluations:
        found = made.propose(SPACE, history, [], k, seed)
        if isinstance(found, Stop):
            break
        turn = len(history)
        history += [Trial(p.config, smooth(p.config), 0.0, None, turn, "") for p in found]
    return min(trial.log_ratio or 0.0 for trial in history[:evaluations])


def observations(rows: list[int], grid: Grid, noise: float = 0.0) -> Observations:
    y = np.array([smooth(grid.points[row]) for row in rows])
    y = (y - y.mean()) / y.std()
    return Observations(np.array(rows, dtype=np.intp), y, np.full(len(rows), noise))


@pytest.fixture(scope="module")
def grid() -> Grid:
    return Grid.of(SPACE.params, SPACE.points())


ROWS = [0, 17, 40, 77, 101, 130, 164, 190, 222, 255]


# --- the Gaussian process ---


def test_the_gradient_of_the_likelihood_is_right(grid: Grid) -> None:
    loss = Likelihood(grid, observations(ROWS, grid, 0.01)).loss
    for start in (np.zeros(6), np.array([-0.7, 0.4, 0.2, 0.5, -3.0, 1.0])):
        _, slope = loss(start)
        for index, unit in enumerate(np.eye(6)):
            numeric = (loss(start + 1e-5 * unit)[0] - loss(start - 1e-5 * unit)[0]) / 2e-5
            assert slope[index] == pytest.approx(numeric, rel=1e-4, abs=1e-6)


def test_fitting_improves_on_every_start(grid: Grid) -> None:
    seen = observations(ROWS, grid)
    theta = fit(grid, seen)
    found = np.concatenate([theta.lengths, [theta.signal, theta.noise, theta.order]])
    loss = Likelihood(grid, seen).loss
    rng = np.random.default_rng(0)
    assert all(loss(found)[0] <= loss(rng.normal(0, 1, 6))[0] for _ in range(50))


def test_without_noise_the_process_passes_through_what_was_measured(grid: Grid) -> None:
    seen = observations(ROWS, grid)
    state = posterior(grid, seen, Theta(np.zeros(3), 0.0, -14.0, 0.0))
    assert state.mean[ROWS] == pytest.approx(seen.y, abs=1e-3)
    assert state.variance[ROWS].max() < 1e-3 < state.variance.max()


def test_the_process_ranks_unseen_points_of_a_smooth_surface(grid: Grid) -> None:
    rows = np.random.default_rng(1).choice(len(grid.points), 25, replace=False).tolist()
    seen = observations(rows, grid)
    state = posterior(grid, seen, fit(grid, seen))
    truth = np.array([smooth(point) for point in grid.points])
    assert np.corrcoef(truth, state.mean)[0, 1] > 0.9


@pytest.mark.parametrize("terms", [0, 2])
def test_believing_keeps_the_mean_and_equals_conditioning(grid: Grid, terms: int) -> None:
    theta = Theta(np.zeros(3), 0.0, -5.0, 0.0)
    seen = observations(ROWS, grid)
    linear = np.random.default_rng(3).uniform(0.0, 0.3, (terms, len(grid.points)))
    state = posterior(grid, seen, theta, linear)
    believed = believe(grid, state, 99)
    again = Observations(
        np.append(seen.rows, 99), np.append(seen.y, state.mean[99]), np.append(seen.noise, 0.0)
    )
    exact = posterior(grid, again, theta, linear)
    assert believed.mean == pytest.approx(exact.mean, abs=1e-6)
    assert believed.variance == pytest.approx(exact.variance, abs=1e-6)


def test_linear_terms_are_conditioned_on_exactly(grid: Grid) -> None:
    """The formulas of a process whose covariance has the terms' products in it, written out."""
    theta = Theta(np.array([0.1, -0.3, 0.2]), 0.2, -4.0, 0.3)
    seen = observations(ROWS, grid, 0.05)
    linear = np.random.default_rng(4).uniform(-1.0, 1.0, (3, len(grid.points)))
    every = np.arange(len(grid.points))
    whole = covariance(grid, theta, every).astype(np.float64) + linear.T @ linear
    gram = whole[np.ix_(ROWS, ROWS)] + np.eye(len(ROWS)) * (0.05 + math.exp(-4.0))
    gain = np.linalg.solve(gram, whole[ROWS])
    found = posterior(grid, seen, theta, linear)
    np.testing.assert_allclose(found.mean, gain.T @ seen.y, atol=1e-3)
    exact = np.diag(whole) - np.einsum("np,np->p", whole[ROWS], gain)
    np.testing.assert_allclose(found.variance, exact, atol=1e-3)
    np.testing.assert_allclose(found.unexplained, exact - (linear**2).sum(axis=0), atol=1e-3)


def test_the_weight_of_a_trend_is_measured_where_the_prior_is_vague(grid: Grid) -> None:
    theta = Theta(np.zeros(3), -4.0, -8.0, 0.0)
    rows = np.array(ROWS, dtype=np.intp)
    trend = np.linspace(-1.0, 1.0, len(grid.points)) ** 2
    seen = Observations(rows, -0.7 * trend[rows], np.zeros(len(rows)))
    for spread, expected in ((10.0, -0.7), (1e-4, 0.5)):
        trends = Trends(trend[None], np.array([0.5]), np.array([spread]))
        found = slopes(grid, seen, theta, trends)
        assert found == pytest.approx([expected], abs=0.01)


@pytest.mark.parametrize("best", ["0", "7"])
def test_an_optimum_at_the_ends_is_found(best: str) -> None:
    params = tuple(Param(name, "ordinal", LEVELS, "4") for name in ("a", "b", "c"))
    space = Space(params)

    def time(config: Config) -> float:
        return sum(0.1 * abs(int(value) - int(best)) for value in config.values.values())

    history: list[Trial] = []
    for turn in range(25):
        found = Surrogate().propose(space, history, [], 1, 0)
        if isinstance(found, Stop):
            break
        history.append(Trial(found[0].config, time(found[0].config), 0.0, None, turn, ""))
    assert min(time(trial.config) for trial in history) < 0.15


def test_known_noise_is_believed(grid: Grid) -> None:
    theta = Theta(np.zeros(3), 0.0, -8.0, 0.0)
    sure = posterior(grid, observations(ROWS, grid, 0.0), theta)
    unsure = posterior(grid, observations(ROWS, grid, 1.0), theta)
    assert (unsure.variance[ROWS] > 10 * sure.variance[ROWS]).all()


@settings(deadline=None)
@given(st.floats(-5, 5), st.floats(0.01, 3))
def test_expected_improvement_is_the_closed_form(mean: float, spread: float) -> None:
    z = -mean / spread
    cdf = 0.5 * (1 + math.erf(z / math.sqrt(2)))
    pdf = math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    found = expected_improvement(0.0, np.array([mean]), np.array([spread]))[0]
    assert found == pytest.approx(-mean * cdf + spread * pdf, abs=2e-6)
    assert found >= 0


@settings(deadline=None)
@given(st.lists(st.floats(-3, 8), min_size=2, max_size=20))
def test_squeezing_keeps_the_order_and_the_fast_half(values: list[float]) -> None:
    raw = np.array(values)
    found = squeezed(raw)
    middle = np.median(raw)
    assert (found[raw <= middle] == raw[raw <= middle]).all()
    assert (found <= raw + 1e-9).all()
    order = np.argsort(raw, kind="stable")
    assert (np.diff(found[order]) >= -1e-9).all()


# --- failures ---


def rows_of(grid: Grid, *values: tuple[str, str, str]) -> np.ndarray:
    configs = [Config.of({"x": x, "y": y, "core": core}) for x, y, core in values]
    return np.array([grid.index[config] for config in configs], dtype=np.intp)


def test_before_a_failure_everything_is_thought_to_run(grid: Grid) -> None:
    assert (probability(grid, rows_of(grid, ("0", "0", "auto")), rows_of(grid)) == 1).all()


def test_a_value_that_only_failed_is_suspect_and_one_that_worked_is_not(grid: Grid) -> None:
    worked = rows_of(grid, ("0", "0", "auto"), ("7", "2", "TILED"), ("2", "6", "PACKED"))
    failed = rows_of(grid, ("0", "1", "PLAIN"), ("6", "6", "PLAIN"))
    chance = probability(grid, worked, failed)
    suspect, cleared = rows_of(grid, ("3", "3", "PLAIN")), rows_of(grid, ("3", "3", "TILED"))
    assert chance[suspect[0]] < 0.5 < 0.8 < chance[cleared[0]]


def test_two_values_that_failed_together_are_suspect_together_only(grid: Grid) -> None:
    """Each of them has worked with others."""
    worked = rows_of(grid, ("0", "0", "auto"), ("7", "2", "PLAIN"), ("2", "6", "TILED"))
    failed = rows_of(grid, ("0", "6", "PLAIN"), ("5", "6", "PLAIN"))
    chance = probability(grid, worked, failed)
    together = rows_of(grid, ("2", "6", "PLAIN"), ("7", "6", "PLAIN"))
    apart = rows_of(grid, ("2", "2", "PLAIN"), ("7", "2", "TILED"), ("4", "6", "TILED"))
    assert chance[together].max() < 0.5 < 0.8 < chance[apart].min()
    once = by_values(grid, worked, rows_of(grid, ("0", "6", "PLAIN"), ("5", "1", "TILED")))
    assert (once[together] == 1.0).all()


def test_a_new_value_that_failed_once_can_still_be_tried_with_others() -> None:
    """What it was tried with may be at fault, and the others have little left to give."""
    history = [
        Trial(config, smooth(config), 0.0, None, turn, "")
        for turn, config in enumerate(SPACE.points())
        if config.values["core"] == "auto" and turn % 3
    ]
    died = Config.of({"x": "0", "y": "0", "core": "TILED"})
    trials = [*history, Trial(died, None, None, ILLEGAL, 99, "")]

    def tried(history: list[Trial]) -> set[str]:
        found = Surrogate().candidates(SPACE, history, (), 3, 0)
        return {each.config.values["core"] for each in found}

    assert "TILED" in tried(trials)
    again = Config.of({"x": "7", "y": "7", "core": "TILED"})
    assert "TILED" not in tried([*trials, Trial(again, None, None, ILLEGAL, 100, "")])


def test_two_values_that_fail_together_are_not_tried_again_and_again() -> None:
    """The fastest kernel with all that is fast beside it; with anything else it is as fast."""

    def measured(config: Config) -> float | None:
        dies = config.values["core"] == "TILED" and config.values["y"] in "234"
        return None if dies else smooth(config)

    history = searched(25, SPACE, measured, seed=1)
    assert sum(trial.failure is not None for trial in history) <= 7
    best = min(trial.log_ratio for trial in history if trial.log_ratio is not None)
    assert best < -0.95 + 0.03


def test_an_illegal_core_type_is_not_tried_again_and_again() -> None:
    def measured(config: Config) -> float | None:
        return None if config.values["core"] == "PLAIN" else smooth(config)

    history = searched(20, SPACE, measured, seed=0)
    assert 1 <= sum(trial.failure is not None for trial in history) <= 3
    best = min(history, key=lambda trial: trial.log_ratio or 0.0)
    assert smooth(best.config) < min(map(smooth, SPACE.points())) + 0.03


def lost(rate: float, everywhere: float, turns: int = 25) -> float:
    """Evaluations that a search loses to failures, on average over seeds, where one core type dies
    at `rate` and every point `everywhere`."""
    counts = []
    for seed in range(8):
        history: list[Trial] = []
        while len(history) < turns:
            found = Surrogate().propose(SPACE, history, [], 1, seed)
            if isinstance(found, Stop):
                break
            config = found[0].config
            drawn = random.Random(f"{seed} {config}").random() if history else 1.0
            dies = drawn < (rate if config.values["core"] == "PLAIN" else everywhere)
            ratio = None if dies else smooth(config)
            history.append(Trial(config, ratio, None, ILLEGAL if dies else None, len(history), ""))
        counts.append(sum(trial.failure is not None for trial in history))
    return statistics.mean(counts)


def test_a_value_that_worked_once_by_luck_costs_hardly_more_than_one_that_never_did() -> None:
    """It is not blamed by value any more; what is near it still is. To share the blame by how often
    a value failed saved up to half an evaluation here, and nothing on recorded surfaces (96 pairs
    with one failure in ten at random: 0.02 of 2.0, and 1.6 % worse results)."""
    for everywhere in (0.0, 0.1):
        assert lost(0.9, everywhere) <= lost(1.0, everywhere) + 0.5


# --- the strategy ---


@pytest.mark.parametrize("k", [1, 4])
def test_it_beats_random_search_on_a_smooth_surface(k: int) -> None:
    ours = [best_after("surrogate", 20, k, seed) for seed in range(6)]
    theirs = [best_after("random", 20, k, seed) for seed in range(6)]
    assert statistics.median(ours) < statistics.median(theirs) - 0.02
    assert statistics.median(ours) < min(map(smooth, SPACE.points())) + 0.03


def test_the_default_comes_first_and_every_category_early(grid: Grid) -> None:
    found = Surrogate().propose(SPACE, [], [], design_size(grid), 3)
    assert not isinstance(found, Stop)
    assert found[0].config == SPACE.default and "default" in found[0].reason
    assert {p.config.values["core"] for p in found} == {"auto", "TILED", "PACKED", "PLAIN"}


KERNELS = Space(
    (
        Param("core", "categorical", tuple(f"core{n}" for n in range(12)), "core0"),
        Param("threads", "ordinal", LEVELS, LEVELS[2]),
        Param("block", "ordinal", LEVELS, LEVELS[2]),
    )
)


def test_of_too_many_kernels_some_are_tried_with_all_else_at_its_default() -> None:
    found = Surrogate().propose(KERNELS, [], [], 8, 0)
    assert not isinstance(found, Stop)
    assert len({p.config.values["core"] for p in found}) == 8
    rest = [(p.config.values["threads"], p.config.values["block"]) for p in found]
    alike = sum(pair == rest[0] for pair in rest)
    assert 5 <= alike < 8


SWITCHES = Space(
    (
        *(Param(name, "categorical", ("off", "on"), "off") for name in ("pack", "swap", "pad")),
        Param("tile", "ordinal", tuple(map(str, range(12))), "11"),
        Param("unroll", "ordinal", LEVELS, "7"),
    )
)


def opened(config: Config) -> float:
    """Slower with every switch, unless all are on: then tile and unroll count."""
    v = config.values
    on = [name for name in ("pack", "swap", "pad") if v[name] == "on"]
    if len(on) < 3:
        return 0.1 * len(on)
    return -1.0 + 0.02 * (int(v["tile"]) - 6) ** 2 + 0.02 * (int(v["unroll"]) - 3) ** 2


def test_the_design_meets_every_combination_of_a_few_switches() -> None:
    grid = Grid.of(SWITCHES.params, SWITCHES.points())
    assert design_size(grid) == 8
    found = Surrogate().propose(SWITCHES, [], [], 8, 0)
    assert not isinstance(found, Stop)
    names = ("pack", "swap", "pad")
    assert len({tuple(p.config.values[name] for name in names) for p in found}) == 8


@pytest.mark.parametrize("seed", range(3))
def test_what_only_all_switches_together_open_is_found(seed: int) -> None:
    history: list[Trial] = []
    strategy = Surrogate()
    for turn in range(20):
        found = strategy.propose(SWITCHES, history, [], 1, seed)
        if isinstance(found, Stop):
            break
        history.append(Trial(found[0].config, opened(found[0].config), 0.0, None, turn, ""))
    assert min(opened(trial.config) for trial in history) < -0.95


@pytest.mark.parametrize(
    ("kind", "values", "apart"),
    [
        ("ordinal", "0 1 2 4 8", True),
        ("ordinal", "-1 1 2 4", True),
        ("ordinal", "0 8 16 64", True),
        ("ordinal", "0 1 2 3 4 5 6", False),
        ("ordinal", "0 32 64 96", False),
        ("ordinal", "0.0 0.1 0.2 0.3", False),
        ("ordinal", "1 2 4 8", False),
        ("ordinal", "-4 -2 0 8", False),
        ("ordinal", "0 1 4", False),
        ("ordinal", "none O1 O2 O3", False),
        ("categorical", "0 1 2 4", False),
    ],
)
def test_a_zero_before_uneven_steps_is_no_size(kind: str, values: str, apart: bool) -> None:
    listed = tuple(values.split())
    assert has_off(Param("n", kind, listed, listed[0])) is apart


@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=9, unique=True))
def test_an_off_leaves_the_other_values_where_they_would_be_without_it(sizes: list[int]) -> None:
    texts = tuple(map(str, sorted(sizes)))
    plain = Param("n", "ordinal", texts, texts[0])
    more = Param("n", "ordinal", ("0", *texts), "0")
    without, grid = (Grid.of((p,), Space((p,)).points()) for p in (plain, more))
    assert grid.has_off == (has_off(more),)
    if grid.has_off[0]:
        np.testing.assert_array_equal(grid.coordinates[0][1:], without.coordinates[0])
        assert grid.coordinates[0][0] == -1.0
        assert grid.ends[0] == pytest.approx(grid.ends[1:].mean())


UNROLL = Space(
    (
        Param("unroll", "ordinal", ("0", "1", "2", "4", "8", "16"), "4"),
        Param("rows", "ordinal", LEVELS, "4"),
        Param("columns", "ordinal", LEVELS, "4"),
    )
)


def unrolled(config: Config) -> float:
    """Unrolling by 4 is the best of those by hand, and what the compiler does (0) far better."""
    v = config.values
    factor = int(v["unroll"])
    lost = -1.0 if factor == 0 else 0.4 * abs(math.log2(factor) - 2)
    return lost + 0.02 * (int(v["rows"]) - 6) ** 2 + 0.02 * (int(v["columns"]) - 1) ** 2


@pytest.mark.parametrize("seed", range(3))
def test_an_off_among_sizes_is_tried_early_and_found(seed: int) -> None:
    history: list[Trial] = []
    for turn in range(12):
        found = Surrogate().propose(UNROLL, history, [], 1, seed)
        assert not isinstance(found, Stop)
        history.append(Trial(found[0].config, unrolled(found[0].config), 0.0, None, turn, ""))
    first = [trial.config.values["unroll"] for trial in history]
    assert "0" in first[:3] and first[:3] != ["0", "0", "0"]
    assert min(map(unrolled, (trial.config for trial in history))) < -0.9


def test_a_choice_that_matters_little_still_gets_its_turn() -> None:
    """Tiles matter a hundred times as much as the switch."""
    tiles = tuple(map(str, range(20)))
    space = Space(
        (Param("tile", "ordinal", tiles, "0"), Param("pad", "categorical", ("off", "on"), "off"))
    )

    def time(config: Config) -> float:
        v = config.values
        return 0.02 * (int(v["tile"]) - 9) ** 2 - 0.02 * (v["pad"] == "on")

    history: list[Trial] = []
    for turn in range(12):
        found = Surrogate().propose(space, history, [], 1, 1)
        assert not isinstance(found, Stop)
        history.append(Trial(found[0].config, time(found[0].config), 0.0, None, turn, ""))
    assert min(history, key=lambda trial: time(trial.config)).config.values["pad"] == "on"


def some_history(count: int, turn: int = 0) -> list[Trial]:
    points = [SPACE.default, *SPACE.points()[5 :: 251 // count]][:count]
    return [Trial(p, smooth(p), 0.01, None, turn, "") for p in dict.fromkeys(points)]


def test_the_reason_gives_the_figures() -> None:
    found = Surrogate().propose(SPACE, some_history(10), [], 1, 0)
    assert not isinstance(found, Stop)
    pattern = r"EI [\d.e-]+ %, predicted [\d.]+ % \+- [\d.]+ % (better|worse) than the default"
    assert re.fullmatch(pattern, found[0].reason)


def test_pending_points_push_the_next_ones_away() -> None:
    strategy = Surrogate()
    history = some_history(12)
    batch = strategy.propose(SPACE, history, [], 3, 0)
    assert not isinstance(batch, Stop)
    waiting = [proposal.config for proposal in batch[:1]]
    after = strategy.propose(SPACE, history, waiting, 2, 0)
    assert not isinstance(after, Stop)
    assert [p.config for p in after] == [p.config for p in batch[1:]]


def test_a_flat_surface_ends_the_search_with_the_reason() -> None:
    rng = np.random.default_rng(0)
    history: list[Trial] = []
    for turn in range(40):
        found = Surrogate().propose(SPACE, history, [], 4, 0)
        if isinstance(found, Stop):
            break
        for proposal in found:
            value = float(rng.normal(0.0, 0.001))
            history.append(Trial(proposal.config, value, 0.001, None, turn, ""))
    assert isinstance(found, Stop) and "for 2 rounds no untried configuration" in found.reason
    assert 12 <= len(history) < 60


def test_the_search_goes_on_while_rounds_still_bring_better_ones() -> None:
    flat = [Trial(t.config, 0.0, 0.001, None, i // 4, "") for i, t in enumerate(some_history(24))]
    assert isinstance(Surrogate().propose(SPACE, flat, [], 1, 0), Stop)
    last = flat[-1]
    better = [*flat[:-1], Trial(last.config, -0.001, 0.001, None, last.round, "")]
    assert not isinstance(Surrogate().propose(SPACE, better, [], 1, 0), Stop)


def test_trials_of_a_space_that_has_changed_are_left_aside() -> None:
    smaller = SPACE.without("core", "PLAIN")
    found = Surrogate().propose(smaller, some_history(30), [], 2, 0)
    assert not isinstance(found, Stop)
    assert all(proposal.config.values["core"] != "PLAIN" for proposal in found)


def test_candidates_tell_what_is_expected() -> None:
    menu = Surrogate().candidates(SPACE, some_history(12), [], 5, 0)
    assert len({each.config for each in menu}) == 5
    assert all(each.spread is not None and each.spread > 0 for each in menu)
    assert all(each.improvement is not None and each.improvement >= 0 for each in menu)


# --- the plain strategies ---


def test_a_climb_goes_to_neighbours_of_the_fastest_and_jumps_from_a_peak() -> None:
    climber = importlib.import_module("hpcagent.search.hillclimb").create(Options())
    top = Config.of({"x": "5", "y": "3", "core": "TILED"})
    history = [Trial(SPACE.default, 0.0, 0.0, None, 0, ""), Trial(top, -0.5, 0.0, None, 1, "")]
    near = climber.propose(SPACE, history, [], 100, 0)
    steps = [p for p in near if p.reason == "next to the fastest so far"]
    assert near[: len(steps)] == tuple(steps) and len(steps) == 4 + 3
    for step in steps:
        assert sum(a != b for a, b in zip(step.config.items, top.items, strict=True)) == 1
    history += [Trial(p.config, 0.1, 0.0, None, 2, "") for p in steps]
    after = climber.propose(SPACE, history, [], 1, 0)
    assert after[0].reason == "drawn at random: no neighbour left"


def test_random_orders_differ_by_seed_and_exhaustive_follows_the_space() -> None:
    def order(name: str, seed: int) -> list[Config]:
        strategy = importlib.import_module(f"hpcagent.search.{name}").create(Options())
        return [p.config for p in strategy.propose(SPACE, [], [], 10**6, seed)]

    assert sorted(order("random", 1), key=str) == sorted(SPACE.points(), key=str)
    assert order("random", 1) != order("random", 2)
    assert order("exhaustive", 1) == list(SPACE.points())
