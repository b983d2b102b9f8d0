"""Intervals cover as stated, claims are as rare as promised, effects are found and not thrown."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from chance import fewest, most
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.errors import UsageError
from hpcagent.measure import statistics, worker
from hpcagent.measure.results import Run

PAIRS = 20
REPLICATES = 2000

values_of = st.lists(
    st.floats(-3.0, 3.0, allow_nan=False).map(lambda x: round(x, 6)), min_size=6, max_size=40
)


@pytest.mark.parametrize(
    "draw",
    [
        lambda random: random.standard_normal(PAIRS),
        lambda random: random.standard_t(3, PAIRS),
        lambda random: np.log(random.lognormal(0, 2, PAIRS) / 1.0),
        lambda random: random.exponential(1, PAIRS) - math.log(2),
        lambda random: random.standard_cauchy(PAIRS),
    ],
    ids=["normal", "t3", "lognormal", "exponential", "cauchy"],
)
def test_the_median_interval_is_exact_for_independent_values(
    draw: Callable[[np.random.Generator], np.ndarray],
) -> None:
    random = np.random.default_rng(11)
    stated = statistics.median_interval(range(PAIRS), 0.9).coverage
    intervals = [statistics.median_interval(draw(random), 0.9) for _ in range(REPLICATES)]
    covered = sum(i.low <= 0.0 <= i.high for i in intervals)
    assert fewest(REPLICATES, stated) <= covered <= most(REPLICATES, stated)


def test_the_t_interval_is_exact_for_normal_values() -> None:
    random = np.random.default_rng(12)
    intervals = [statistics.t_interval(random.normal(0, 1, 5), 0.9) for _ in range(REPLICATES)]
    covered = sum(i.low <= 0.0 <= i.high for i in intervals)
    assert fewest(REPLICATES, 0.9) <= covered <= most(REPLICATES, 0.9)


def test_ranks_of_the_median_interval_are_those_of_the_tables() -> None:
    # Sign-test tables: n = 10, 95 %: 2nd and 9th (97.9 %); n = 20: 6th and 15th (95.9 %).
    ten = statistics.median_interval(range(1, 11), 0.95)
    assert (ten.low, ten.high) == (2, 9)
    assert ten.coverage == pytest.approx(0.978516, abs=1e-6)
    twenty = statistics.median_interval(range(1, 21), 0.95)
    assert (twenty.low, twenty.high) == (6, 15)
    assert twenty.coverage == pytest.approx(0.958611, abs=1e-6)


def test_too_few_pairs_are_refused_with_the_number_needed() -> None:
    assert statistics.pairs_needed(0.95) == 6
    assert statistics.pairs_needed(0.995) == 9
    with pytest.raises(UsageError, match="needs 9 values, not 8"):
        statistics.median_interval(range(8), 0.995)
    assert statistics.median_interval(range(9), 0.995).coverage >= 0.995
    with pytest.raises(UsageError, match="at least 2"):
        statistics.t_interval([1.0], 0.9)


@pytest.mark.parametrize("coverage", [0.0, 1.0, -1.0, 2.0, math.nan])
def test_an_impossible_coverage_is_refused(coverage: float) -> None:
    with pytest.raises(UsageError, match="coverage"):
        statistics.median_interval(range(50), coverage)


def test_a_failed_value_never_enters_an_interval() -> None:
    with pytest.raises(UsageError, match="finite"):
        statistics.median_interval([math.nan, *range(20)], 0.9)


@given(values_of)
def test_swapping_the_sides_mirrors_the_interval(values: list[float]) -> None:
    interval = statistics.median_interval(values, 0.9)
    mirrored = statistics.median_interval([-value for value in values], 0.9)
    assert (mirrored.low, mirrored.high) == (-interval.high, -interval.low)


@given(values_of, st.randoms(use_true_random=False))
def test_the_order_of_the_pairs_only_widens_the_interval(
    values: list[float], random: object
) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, two = statistics.claim(shuffled, 0.1, 0.01), statistics.claim(values, 0.1, 0.01)
    assert one.speedup == two.speedup
    if one.note == two.note == "":
        assert one == two
    elif two.note == "":
        assert one.low <= two.low
        assert one.high >= two.high


@given(values_of, st.floats(0.1, 10.0), st.floats(-1.0, 1.0))
def test_interval_follows_shift_and_scale(values: list[float], scale: float, shift: float) -> None:
    interval = statistics.median_interval(values, 0.9)
    moved = statistics.median_interval([scale * value + shift for value in values], 0.9)
    assert moved.low == pytest.approx(scale * interval.low + shift, abs=1e-9)
    assert moved.high == pytest.approx(scale * interval.high + shift, abs=1e-9)


@given(values_of, st.floats(0.5, 0.96))
def test_coverage_is_as_asked_and_holds_the_median(values: list[float], coverage: float) -> None:
    if len(values) >= statistics.pairs_needed(coverage):
        interval = statistics.median_interval(values, coverage)
        assert interval.coverage >= coverage
        assert interval.low <= worker.median(values) <= interval.high


def test_only_an_interval_above_the_minimum_effect_is_an_improvement() -> None:
    ratios = [-math.log(1.015) + 0.0001 * (8 * i % 21 - 10) for i in range(21)]
    claim = statistics.claim(ratios, 0.005, 0.01)
    assert claim.improved
    assert claim.note == ""
    assert claim.speedup == pytest.approx(1.015)
    assert claim.low < claim.speedup < claim.high
    assert not statistics.claim(ratios, 0.005, 0.02).improved
    assert not statistics.claim([-r for r in ratios], 0.005, 0.0).improved


# --- pairs ---------------------------------------------------------------------------------------


def run(config: str, pair: int, log_time: float, status: str = "ok") -> Run:
    seconds = math.exp(log_time)
    ok = status == "ok"
    medians = {"k": seconds, "l": seconds**2} if ok else {}
    return Run(config, pair, 0, status, medians=medians, objective=log_time if ok else None)


def test_pairs_are_cycles_in_which_both_are_ok() -> None:
    runs = [
        run("b", 0, 9.0), run("c", 0, 1.0),
        run("b", 1, 1.0), run("c", 1, 0.5),
        run("c", 2, 0.1), run("b", 2, 0.0, "failed"), run("b", 2, 0.3),
        run("b", 3, 1.0), run("c", 3, 1.0, "timeout"),
    ]  # fmt: skip
    assert statistics.paired_log_ratios(runs, "c", "b") == pytest.approx((-0.5, -0.2))
    by_key = statistics.paired_log_ratios_by_key(runs, "c", "b")
    assert by_key["k"] == pytest.approx((-0.5, -0.2))
    assert by_key["l"] == pytest.approx((-1.0, -0.4))
    assert statistics.paired_log_ratios(runs, "absent", "b") == ()


def test_case_speedups_have_an_interval_for_each_key() -> None:
    runs = [
        run(name, pair, value + 0.001 * pair)
        for pair in range(1, 12)
        for name, value in (("base", 0.0), ("win", -0.2 - 0.002 * pair))
    ]
    speedups = statistics.case_speedups([runs], "win", "base", 0.95)
    assert speedups["k"].speedup == pytest.approx(math.exp(0.212))
    assert speedups["l"].speedup == pytest.approx(math.exp(0.424))
    assert speedups["k"].low < speedups["k"].speedup < speedups["k"].high
    assert speedups["k"].pairs == 11
    assert speedups["k"].coverage >= 0.95


# --- effects -------------------------------------------------------------------------------------

PLANTED = {"base": 0.0, "a": -0.10, "b": 0.05, "c": -0.25, "d": -0.12, "e": -0.30}
CHAIN = [("base", "a", "b"), ("a", "c", "d"), ("c", "e", "base")]


def chain(
    random: np.random.Generator, sigma: float, rounds: Sequence[tuple[str, ...]], pairs: int = 6
) -> list[list[Run]]:
    """Rounds of cycles, each with a disturbance of its own that all its runs share."""
    found = []
    for names in rounds:
        runs = []
        for pair in range(1, pairs + 1):
            cycle = random.normal(0, 0.3)
            for name in names:
                value = cycle + PLANTED[name] + random.normal(0, sigma)
                runs.append(run(name, pair, value))
        found.append(runs)
    return found


def test_effects_are_found_through_a_chain_of_incumbents() -> None:
    rounds = chain(np.random.default_rng(1), 0.01, [*CHAIN[:2], ("c", "e")], pairs=12)
    effects = statistics.effects(rounds, "base")
    assert set(effects) == set(PLANTED)
    for name, effect in effects.items():
        assert abs(effect.log_ratio - PLANTED[name]) < 5 * effect.spread
        assert effect.spread < 0.02
    assert effects["base"].log_ratio == 0.0
    assert effects["e"].spread > effects["c"].spread > effects["a"].spread
    assert effects["e"].pairs == 12
    assert effects["a"].pairs == 24


def test_spread_is_an_honest_standard_error() -> None:
    random = np.random.default_rng(2)
    scores = []
    for _ in range(150):
        effects = statistics.effects(chain(random, 0.02, CHAIN), "base")
        scores += [(e.log_ratio - PLANTED[n]) / e.spread for n, e in effects.items() if n != "base"]
    assert 0.85 < float(np.std(scores)) < 1.15


@pytest.mark.parametrize("size", [0.5, 3.0, -3.0])
def test_one_outlier_does_not_throw_the_effects(size: float) -> None:
    rounds = chain(np.random.default_rng(3), 0.01, CHAIN)
    clean = statistics.effects(rounds, "base")
    hit = rounds[1][4]
    rounds[1][4] = run(hit.config, hit.pair, (hit.objective or 0.0) + size)
    disturbed = statistics.effects(rounds, "base")
    for name, effect in disturbed.items():
        assert abs(effect.log_ratio - clean[name].log_ratio) < 0.012
    pulled = size / 6
    assert abs(pulled) > 5 * 0.012


def test_a_cycle_that_was_slow_as_a_whole_changes_nothing() -> None:
    rounds = chain(np.random.default_rng(4), 0.01, CHAIN)
    clean = statistics.effects(rounds, "base")
    slow = [
        run(r.config, r.pair, (r.objective or 0.0) + (5.0 if r.pair == 2 else 0.0))
        for r in rounds[0]
    ]
    for name, effect in statistics.effects([slow, *rounds[1:]], "base").items():
        assert effect.log_ratio == pytest.approx(clean[name].log_ratio, abs=1e-6)


def test_the_order_of_rounds_does_not_matter() -> None:
    rounds = chain(np.random.default_rng(5), 0.01, CHAIN)
    forward = statistics.effects(rounds, "base")
    backward = statistics.effects([list(reversed(r)) for r in reversed(rounds)], "base")
    for name, effect in forward.items():
        assert backward[name].log_ratio == pytest.approx(effect.log_ratio, abs=1e-5)
        assert backward[name].spread == pytest.approx(effect.spread, rel=1e-3)


def test_what_no_chain_joins_to_the_baseline_is_absent() -> None:
    rounds = chain(np.random.default_rng(6), 0.01, [("base", "a"), ("c", "d")])
    rounds.append([run("e", 1, 0.0), run("b", 0, 0.0), run("base", 0, 0.0)])
    assert set(statistics.effects(rounds, "base")) == {"base", "a"}
    assert statistics.effects(rounds, "nowhere") == {}
    assert statistics.effects([], "base") == {}


def test_a_baseline_measured_alone_has_its_effect() -> None:
    (effect,) = statistics.effects([[run("base", 1, 0.1), run("base", 2, 0.2)]], "base").values()
    assert (effect.log_ratio, effect.pairs) == (0.0, 2)


def test_a_single_pair_does_not_look_exact() -> None:
    effects = statistics.effects([[run("base", 1, 0.0), run("a", 1, -0.1)]], "base")
    assert effects["a"].log_ratio == pytest.approx(-0.1)
    assert effects["a"].spread >= statistics.PRIOR_SIGMA


def test_runs_without_noise_keep_the_floor_of_the_spread() -> None:
    rounds = chain(np.random.default_rng(7), 0.0, CHAIN, pairs=400)
    for name, effect in statistics.effects(rounds, "base").items():
        assert effect.log_ratio == pytest.approx(PLANTED[name], abs=1e-6)
        assert effect.spread >= statistics.SPREAD_FLOOR


def test_many_configurations_met_once_leave_the_noise_of_the_others() -> None:
    random = np.random.default_rng(8)
    rounds = chain(random, 0.02, [("base", "a")], pairs=10)
    rounds += [[run("base", 1, 0.0), run(f"once{i}", 1, -0.1)] for i in range(30)]
    effects = statistics.effects(rounds, "base")
    assert effects["once3"].log_ratio == pytest.approx(-0.1)
    assert effects["once3"].spread > 0.01
    assert abs(effects["a"].log_ratio - PLANTED["a"]) < 4 * effects["a"].spread


# --- variability ---------------------------------------------------------------------------------


def test_coefficient_of_variation() -> None:
    assert statistics.coefficient_of_variation([9.0, 11.0]) == pytest.approx(math.sqrt(2) / 10)
    assert statistics.coefficient_of_variation([3.0, 3.0, 3.0]) == 0.0
    with pytest.raises(UsageError):
        statistics.coefficient_of_variation([1.0])
    with pytest.raises(UsageError):
        statistics.coefficient_of_variation([1.0, 0.0])


def test_the_interval_of_a_ratio_of_variations() -> None:
    random = np.random.default_rng(9)
    calm = list(random.lognormal(0, 0.01, 60))
    wild = list(random.lognormal(0, 0.05, 60))
    interval = statistics.cv_ratio_interval(calm, wild, 0.95, seed=1)
    assert interval is not None
    assert interval.low < 0.2 < interval.high < 0.5
    assert interval == statistics.cv_ratio_interval(calm, wild, 0.95, seed=1)
    scaled = statistics.cv_ratio_interval([7 * x for x in calm], wild, 0.95, seed=1)
    assert scaled is not None
    assert scaled.low == pytest.approx(interval.low)
    assert statistics.cv_ratio_interval(calm, [1.0] * 9, 0.95, seed=1) is None


def test_the_interval_of_a_ratio_of_variations_covers_about_as_stated() -> None:
    random = np.random.default_rng(10)
    covered = 0
    for seed in range(300):
        one, two = random.lognormal(0, 0.02, 20), random.lognormal(0, 0.02, 20)
        interval = statistics.cv_ratio_interval(list(one), list(two), 0.95, seed, resamples=500)
        assert interval is not None
        covered += interval.low <= 1.0 <= interval.high
    assert covered >= fewest(300, 0.85)
