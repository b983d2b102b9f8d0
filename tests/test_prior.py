"""Earlier runs and hints in the search: they help where they are right and pass where not."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.records import Config, Failure, Param, Stop, Trial
from hpcagent.search.encoding import Grid
from hpcagent.search.gp import Observations, Theta, Trends, slopes
from hpcagent.search.opening import FASTEST_BEFORE, FOREMOST, SPREAD, SPREAD_BEFORE
from hpcagent.search.options import Options
from hpcagent.search.prior import Belief, Earlier, Prior
from hpcagent.search.space import Space
from hpcagent.search.surrogate import Surrogate, create
from hpcagent.study.feasibility import Probed
from hpcagent.study.proposing import hints_here

LEVELS = tuple(str(2**n) for n in range(8))
CORES = ("auto", "ZEN", "HASWELL", "NEHALEM")
PARAMS = (
    Param("x", "ordinal", LEVELS, "1"),
    Param("y", "ordinal", LEVELS, "1"),
    Param("core", "categorical", CORES, "auto"),
)
SPACE = Space(PARAMS)
COST = {"auto": 0.0, "ZEN": -0.3, "HASWELL": 0.1, "NEHALEM": 0.5}
DIED = Failure("run", "signal", "killed")


def time_of(config: Config, x: float, y: float) -> float:
    v = config.values
    bowl = 0.02 * (math.log2(int(v["x"])) - x) ** 2 + 0.03 * (math.log2(int(v["y"])) - y) ** 2
    return bowl + COST[v["core"]]


def ran(x: float, y: float, count: int = 25, seed: int = 1, trust: float = 0.8) -> Earlier:
    """A run on a surface with its optimum there, at random points."""
    points = SPACE.points()
    chosen = np.random.default_rng(seed).choice(len(points), count, replace=False)
    trials = [Trial(points[i], time_of(points[i], x, y), 0.01, None, 1, "") for i in chosen]
    return Earlier("earlier", trust, PARAMS, tuple(trials))


def searched(prior: Prior | None, evaluations: int, seed: int) -> list[float]:
    """Times found with the optimum at x = 2^5, y = 2^3, over the best one."""
    made = create(Options(prior=prior))
    history: list[Trial] = []
    while len(history) < evaluations:
        found = made.propose(SPACE, history, [], 1, seed)
        if isinstance(found, Stop):
            break
        for each in found:
            value = time_of(each.config, 5, 3)
            history.append(Trial(each.config, value, 0.0, None, len(history), ""))
    return [(t.log_ratio or 0.0) + 0.3 for t in history]


def test_a_run_of_another_size_leads_to_the_optimum_at_once() -> None:
    good = Prior((ran(4.5, 3.2),))
    found = [min(searched(good, 3, seed)) for seed in range(5)]
    without = [min(searched(None, 3, seed)) for seed in range(5)]
    assert max(found) < 0.06
    assert sum(found) < 0.3 * sum(without)


def test_a_run_that_is_wrong_is_given_up() -> None:
    wrong = Prior((ran(0, 7),))
    assert max(min(searched(wrong, 16, seed)) for seed in range(4)) < 0.05


def test_each_proposal_says_whether_an_earlier_run_is_behind_it() -> None:
    default = Trial(SPACE.default, time_of(SPACE.default, 5, 3), 0.0, None, 1, "")
    told = create(Options(prior=Prior((ran(4.5, 3.2),))))
    for made, reasons in (
        (told, [FASTEST_BEFORE, SPREAD_BEFORE, FASTEST_BEFORE]),
        (create(Options()), [SPREAD] * 3),
    ):
        found = made.propose(SPACE, [default], [], 3, 1)
        assert isinstance(found, tuple)
        assert [proposal.reason for proposal in found] == reasons


@pytest.mark.parametrize(("trust", "led"), [(0.45, 1), (0.2, 0)])
def test_a_run_that_is_trusted_a_little_gets_one_evaluation(trust: float, led: int) -> None:
    default = Trial(SPACE.default, time_of(SPACE.default, 5, 3), 0.0, None, 1, "")
    run = ran(4.5, 3.2, trust=trust)
    made = create(Options(prior=Prior((run,))))
    found = made.propose(SPACE, [default], [], 3, 1)
    assert isinstance(found, tuple)
    assert [p.reason for p in found] == [FASTEST_BEFORE] * led + [SPREAD] * (3 - led)
    if led:
        assert time_of(found[0].config, 5, 3) < -0.2


def test_names_go_before_a_run_that_is_trusted_a_little() -> None:
    params = (*PARAMS[:2], Param("isa", "categorical", ("sse2", "avx2", "avx512"), "sse2"))
    space = Space(params)
    trials = tuple(
        Trial(p, 0.1 * abs(int(p.values["x"]).bit_length() - 5), 0.01, None, 1, "")
        for p in space.points()[::5]
        if p.values["isa"] != "avx512"
    )
    reasons = {}
    for trust in (0.4, 0.8):
        made = create(Options(prior=Prior((Earlier("elsewhere", trust, params, trials),))))
        first = Trial(space.default, 0.0, 0.0, None, 1, "")
        found = made.propose(space, [first], [], 2, 1)
        assert isinstance(found, tuple)
        reasons[trust] = [proposal.reason for proposal in found]
        if trust < 0.5:
            assert found[0].config.values["isa"] == "avx512"
    assert reasons == {
        0.4: [FOREMOST, FASTEST_BEFORE],
        0.8: [FASTEST_BEFORE, SPREAD_BEFORE],
    }


def test_nothing_known_changes_nothing() -> None:
    assert searched(Prior(), 12, 3) == searched(None, 12, 3)


def test_the_weight_of_a_wrong_run_falls_with_each_measurement() -> None:
    grid = Grid.of(PARAMS, SPACE.points())
    belief = Prior((ran(0, 7),)).over(grid)
    truth = np.array([time_of(point, 5, 3) for point in grid.points])
    rows = np.random.default_rng(0).permutation(len(grid.points))
    theta = Theta(np.zeros(3), 0.0, -4.0, 0.0)
    weights = []
    for count in (1, 4, 16, 64):
        chosen = rows[:count].astype(np.intp)
        column = belief.trends - belief.trends[:, chosen].mean()
        y = truth[chosen] - truth[chosen].mean()
        trends = Trends(column / truth.std(), belief.weights, np.array([0.5]))
        seen = Observations(chosen, y / truth.std(), np.zeros(count))
        weights.append(abs(float(slopes(grid, seen, theta, trends)[0])))
    assert weights[0] == pytest.approx(0.8, abs=0.01)
    assert weights[-1] < 0.5 * weights[0]


# --- another space ------------------------------------------------------------------------------


def belief_of(run: Earlier) -> np.ndarray:
    grid = Grid.of(PARAMS, SPACE.points())
    return np.asarray(Prior((run,)).over(grid).mean)


def best_value(mean: np.ndarray, name: str) -> str:
    grid = Grid.of(PARAMS, SPACE.points())
    return grid.points[int(np.argmin(mean))].values[name]


def narrow(x: Param, costs: dict[str, float]) -> Earlier:
    """A run of a space that has x only, and one parameter that is gone."""
    gone = Param("gone", "categorical", ("a", "b"), "a")
    trials = [
        Trial(Config.of({"x": v, "gone": g}), cost + 0.05 * (g == "b"), 0.01, None, 1, "")
        for v, cost in costs.items()
        for g in gone.values
    ]
    return Earlier("narrow", 0.8, (x, gone), tuple(trials))


def test_parameters_that_are_gone_or_new_are_averaged_over() -> None:
    costs = {v: 0.1 * abs(i - 5) for i, v in enumerate(LEVELS)}
    mean = belief_of(narrow(PARAMS[0], costs))
    assert best_value(mean, "x") == "32"
    grid = Grid.of(PARAMS, SPACE.points())
    same = [mean[i] for i, p in enumerate(grid.points) if p.values["x"] == "8"]
    assert max(same) == pytest.approx(min(same))


def test_a_failure_of_a_parameter_that_is_gone_is_not_blamed_on_the_rest() -> None:
    run = narrow(PARAMS[0], dict.fromkeys(LEVELS, 0.1))
    died = Failure("run", "illegal_instruction", "signal 4")
    doubts = []
    for value in ("a", "b"):  # a was its default
        bad = [Trial(Config.of({"x": "8", "gone": value}), None, None, died, 1, "")] * 3
        spoilt = Earlier(run.name, run.trust, run.params, (*run.trials, *bad))
        doubts.append(Prior((spoilt,)).over(Grid.of(PARAMS, SPACE.points())).doubt)
    assert doubts[0].max() > 0.1
    assert doubts[1].max() == 0.0


def test_numbers_are_matched_by_number_where_the_ranges_overlap() -> None:
    values = ("1", "3", "12", "32", "100")
    costs = {v: 0.4 * abs(math.log2(int(v)) - 5) for v in values}
    assert best_value(belief_of(narrow(Param("x", "ordinal", values, "1"), costs)), "x") == "32"


def test_numbers_of_quite_another_range_are_matched_by_rank() -> None:
    values = ("1000", "2000", "4000", "8000")
    costs = dict(zip(values, (0.6, 0.4, 0.2, 0.0), strict=True))
    mean = belief_of(narrow(Param("x", "ordinal", values, "1000"), costs))
    assert best_value(mean, "x") == "128"


def test_a_run_without_a_common_parameter_says_nothing() -> None:
    other = Param("z", "ordinal", ("1", "2"), "1")
    trials = tuple(Trial(Config.of({"z": v}), 0.0, 0.1, None, 1, "") for v in ("1", "2"))
    belief = Prior((Earlier("other", 0.9, (other,), trials),)).over(Grid.of(PARAMS, SPACE.points()))
    assert belief.trends.shape == (0, 256)
    assert belief.trust == 0.0
    # A kind that has changed is another parameter.
    changed = Earlier("kind", 0.9, (Param("x", "categorical", ("1",), "1"),), ())
    assert searched(Prior((changed,)), 4, 1) == searched(None, 4, 1)


def test_trials_that_do_not_fit_their_own_space_are_left_out() -> None:
    odd = Trial(Config.of({"x": "7"}), -9.0, 0.1, None, 1, "")
    run = ran(5, 3)
    spoilt = Earlier(run.name, run.trust, run.params, (*run.trials, odd))
    assert belief_of(spoilt) == pytest.approx(belief_of(run))


# --- failures -------------------------------------------------------------------------------------


def test_what_failed_before_is_tried_last_but_not_excluded() -> None:
    run = ran(5, 3)
    dead = [
        Trial(Config.of({"x": x, "y": "8", "core": "ZEN"}), None, None, DIED, 1, "") for x in LEVELS
    ]
    alive = [t for t in run.trials if t.config.values["core"] != "ZEN"]
    prior = Prior((Earlier("dead", 0.9, PARAMS, (*alive, *dead)),))
    made = Surrogate(prior=prior)
    history: list[Trial] = []
    while len(history) < 12:
        found = made.propose(SPACE, history, [], 1, 1)
        assert isinstance(found, tuple)
        value = time_of(found[0].config, 5, 3)
        history.append(Trial(found[0].config, value, 0.0, None, len(history), ""))
    first = [t.config.values["core"] for t in history]
    assert "ZEN" not in first[:6]
    grid = Grid.of(PARAMS, SPACE.points())
    belief = prior.over(grid)
    zen = np.array([i for i, p in enumerate(grid.points) if p.values["core"] == "ZEN"])
    none = np.array([], dtype=np.intp)
    before = belief.chance(none, none)
    assert 0.0 < before[zen].max() < 0.5 < before.max()
    after = belief.chance(zen[:3], none)
    assert after[zen].min() > before[zen].min()
    assert belief.chance(none, zen[:3])[zen].max() <= before[zen].max()


def doubtful(doubt: list[float]) -> Belief:
    nothing = np.zeros((0, len(doubt)))
    return Belief(nothing, np.zeros(0), np.array(doubt), 0.0)


def rows(*chosen: int) -> np.ndarray:
    return np.array(chosen, dtype=np.intp)


def test_slight_doubts_that_came_to_nothing_do_not_clear_what_always_failed() -> None:
    belief = doubtful([0.7, 0.7, *[0.2] * 12])
    slight = rows(*range(2, 14))
    assert belief.chance(slight, rows())[0] == pytest.approx(0.3)
    assert belief.chance(slight, rows())[2] > 0.9
    assert belief.chance(rows(1), rows())[0] > 0.5
    assert belief.chance(rows(1), rows())[2] > 0.8, "a great doubt that was wrong lifts slight ones"


@given(
    st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20),
    st.lists(st.integers(0, 19), max_size=8),
    st.lists(st.integers(0, 19), max_size=8),
    st.integers(0, 19),
)
def test_what_runs_never_adds_doubt_and_what_fails_never_lifts_it(
    doubt: list[float], worked: list[int], failed: list[int], next_one: int
) -> None:
    size = len(doubt)
    ran, died = rows(*(n % size for n in worked)), rows(*(n % size for n in failed))
    belief, more = doubtful(doubt), rows(next_one % size)
    before = belief.chance(ran, died)
    assert ((before >= 1.0 - np.array(doubt) - 1e-12) & (before <= 1.0)).all()
    assert (belief.chance(np.append(ran, more), died) >= before - 1e-12).all()
    assert (belief.chance(ran, np.append(died, more)) <= before + 1e-12).all()


# --- hints ----------------------------------------------------------------------------------------


def test_a_hint_is_measured_right_after_the_default() -> None:
    made = create(Options(prior=Prior(hints={"x": "30", "core": "ZEN"})))
    first = Trial(SPACE.default, 0.0, 0.0, None, 0, "")
    found = made.propose(SPACE, [first], [], 1, 1)
    assert isinstance(found, tuple)
    assert (found[0].config.values["x"], found[0].config.values["core"]) == ("32", "ZEN")


def test_hints_that_are_no_values_are_left_out() -> None:
    odd = Prior(hints={"core": "CRAY", "z": "1", "x": "many"})
    grid = Grid.of(PARAMS, SPACE.points())
    off = odd.off_hints(grid)
    assert off is not None
    assert not off.any()


def test_a_wrong_hint_costs_little() -> None:
    wrong = Prior(hints={"x": "1", "core": "NEHALEM"})
    assert max(min(searched(wrong, 16, seed)) for seed in range(4)) < 0.05


def test_a_hint_at_an_alias_hints_at_what_it_runs() -> None:
    probed = (Probed("core", "SapphireRapids", alias_of="Cooperlake"), Probed("core", "Zen"))
    knobs = SimpleNamespace(hints={"core": "SapphireRapids", "threads": "2"})
    known = SimpleNamespace(
        probed=probed, knobs=knobs, state=SimpleNamespace(done=lambda unit: unit == "feasibility")
    )
    assert hints_here(known) == {"core": "Cooperlake", "threads": "2"}  # type: ignore[arg-type]
