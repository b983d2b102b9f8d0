"""Runs for other goals than time: who leads, what the search is told, what is announced."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpcagent.apps.card import load_card
from hpcagent.cli.runs import as_json_text
from hpcagent.errors import UsageError
from hpcagent.measure.packed import Runs
from hpcagent.measure.results import Run
from hpcagent.measure.statistics import Claim
from hpcagent.records import Config, Param, Proposal, Resources, Trial
from hpcagent.report import figures, html, markdown, text
from hpcagent.search.hillclimb import HillClimb
from hpcagent.search.space import Space
from hpcagent.search.surrogate import Surrogate
from hpcagent.study import compare_sides, tune, units
from hpcagent.study.confirmations import confirmations, shown_alone, shown_by
from hpcagent.study.confirmations import purpose as confirm_purpose
from hpcagent.study.goals import front_of, goals_of
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.outcome import summarise
from hpcagent.study.outcome_confirm import claim_of
from hpcagent.study.progress import progress
from hpcagent.study.round_rule import stop_rule
from hpcagent.study.rundir import RunDir, unit_name
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import TuneState, Unit
from hpcagent.study.verdict import judged

FACTS = json.loads(
    (Path(__file__).parent / "fixtures/probe/recorded-debian12-node1-icelake.json").read_text()
)
T0 = "2026-05-01T12:00:00Z"
PAIRS = 20


def settings(**changes: Any) -> TuneSettings:
    values: dict[str, Any] = {
        "app": "openblas", "seed": 1, "scheduler": "local", "strategy": "surrogate",
        "rounds": 1, "challengers": 3, "cores": 2, "confirm_pairs": PAIRS,
        "workload": ({"routine": "dgemm", "m": 64, "n": 64, "k": 64, "transa": "N",
                      "transb": "N", "weight": 1.0},),
    }  # fmt: skip
    return TuneSettings(**{**values, **changes})


@cache
def points() -> tuple[Config, ...]:
    """The default and three others."""
    space = Knowledge(TuneState(settings(), T0, "1", facts=FACTS)).unpruned
    others = [point for point in space.points() if point != space.default]
    return (space.default, *others[:3])


def process(
    config: Config, pair: int, seconds: float, memory: float = 1e8, joules: float | None = None,
    **changes: Any,
) -> Run:  # fmt: skip
    base = Run(
        config.id, pair, 0, "ok", {"dgemm_64x64x64": seconds}, math.log(seconds),
        maxrss_bytes=round(memory), wall_s=seconds * 10.0, joules=joules,
    )  # fmt: skip
    return replace(base, **changes)


def wrong(config: Config, pair: int, status: str = "wrong") -> Run:
    return Run(config.id, pair, 0, status, message="residual dgemm 1e9 is above 30")


def noisy(times: Mapping[int, tuple[float, ...]], pairs: int, seed: int = 3) -> list[Run]:
    """Pairs 0 (warm-up) to `pairs` of points by index: (seconds, cv, memory, joules)."""
    random = np.random.default_rng(seed)
    runs = []
    for pair in range(pairs + 1):
        for index, (seconds, cv, *rest) in times.items():
            value = seconds * math.exp(cv * random.normal())
            runs.append(process(points()[index], pair, value, *rest))
    return runs


def unit(purpose: str, runs: Sequence[Run], **changes: Any) -> Unit:
    spec = {"reference": points()[0].id, "stop_rule": {"pairs": PAIRS}}
    base = Unit(
        unit_name("run", len(purpose)), "round", purpose, 1, Resources(60), spec, T0,
        job_id="7", finished=True, runs=Runs(runs),
    )  # fmt: skip
    return replace(base, **changes)


def known(units_done: Sequence[Unit], **changes: Any) -> Knowledge:
    decisions = changes.pop("decisions", {})
    rows = tuple(Proposal(config, "why", "surrogate") for config in points()[1:])
    state = TuneState(
        settings(**changes), T0, "1", tuple(units_done), FACTS, {1: rows}, decisions=decisions,
        last_utc=T0,
    )  # fmt: skip
    return Knowledge(state)


def confirmed(runs: Sequence[Run], **changes: Any) -> tune.Close:
    """How a run ends whose confirmation of the second point measured this."""
    return tune._outcome(known([], **changes), (unit("confirm", runs),), points()[1])


# --- who leads ------------------------------------------------------------------------------------

FAST_UNSTABLE = {0: (1.0, 0.004), 1: (0.7, 0.2), 2: (0.9, 0.004), 3: (1.1, 0.004)}


def test_the_fastest_leads_where_nothing_constrains_it() -> None:
    assert known([unit("round-1", noisy(FAST_UNSTABLE, 8))]).best.config == points()[1]


def test_what_breaks_a_constraint_cannot_lead_but_keeps_its_value() -> None:
    found = known([unit("round-1", noisy(FAST_UNSTABLE, 8))], within=("cv<2%",))
    assert found.best.config == points()[2]
    seen = {t.config: t for t in found.history(2)}
    assert not seen[points()[1]].eligible
    assert seen[points()[1]].log_ratio == pytest.approx(math.log(0.7), abs=0.3)
    assert seen[points()[2]].eligible
    assert seen[points()[1]].failure is None


def test_what_may_or_may_not_keep_to_it_stays_in_the_race() -> None:
    times = {0: (1.0, 0.004), 1: (0.7, 0.019), 2: (0.9, 0.004)}
    found = known([unit("round-1", noisy(times, 4))], within=("cv<2%",))
    assert found.standings[points()[1].id].unsure == ("cv<2%",)
    assert found.best.config == points()[1]


def test_a_slower_one_leads_where_the_default_breaks_the_constraint() -> None:
    times = {0: (1.0, 0.2), 1: (0.7, 0.2), 2: (1.2, 0.004), 3: (1.1, 0.004)}
    found = known([unit("round-1", noisy(times, 8))], within=("cv<2%",))
    assert found.best.config == points()[3]


def test_nothing_leads_where_all_break_it() -> None:
    times = {0: (1.0, 0.2), 1: (0.7, 0.2), 2: (0.9, 0.2)}
    found = known([unit("round-1", noisy(times, 8))], within=("cv<2%",))
    assert found.best.config == points()[0]
    step = tune._choose_winner(found)
    assert step.data["config"] is None
    assert "breaks cv<2%" in step.data["reason"]


def test_one_process_over_a_bound_on_memory_is_enough() -> None:
    runs = noisy({0: (1.0, 0.004), 1: (0.5, 0.004), 2: (0.9, 0.004)}, 8)
    runs.append(process(points()[1], 9, 0.5, memory=3e8))
    assert known([unit("round-1", runs)], within=("memory<200M",)).best.config == points()[2]


def test_less_memory_leads_where_memory_is_the_objective() -> None:
    times = {0: (1.0, 0.01, 1e8), 1: (0.7, 0.01, 1.2e8), 2: (2.0, 0.01, 5e7)}
    found = known([unit("round-1", noisy(times, 5))], objectives=("memory",))
    assert found.best.config == points()[2]
    assert found.best.log_ratio == pytest.approx(math.log(0.5), abs=1e-6)


def test_the_steadiest_leads_where_the_cv_is_the_objective() -> None:
    times = {0: (1.0, 0.1), 1: (0.7, 0.1), 2: (1.2, 0.005)}
    found = known([unit("round-1", noisy(times, 8))], objectives=("cv",))
    assert found.best.config == points()[2]


def test_what_differs_by_less_than_a_step_is_told_apart_by_the_next_objective() -> None:
    times = {0: (1.0, 0.001, 1e8), 1: (0.800, 0.001, 1e8), 2: (0.802, 0.001, 6e7)}
    found = known([unit("round-1", noisy(times, 8))], objectives=("time", "memory"))
    assert found.best.config == points()[2]
    assert [t.config for t in front_of(found.goals, found.trials, found.standings)] == [points()[2]]


def test_the_front_holds_both_ends_of_a_trade_off() -> None:
    times = {0: (1.0, 0.001, 1e8), 1: (0.8, 0.001, 1.5e8), 2: (1.3, 0.001, 6e7),
             3: (1.4, 0.001, 1.6e8)}  # fmt: skip
    found = known([unit("round-1", noisy(times, 8))], objectives=("time", "memory"))
    front = front_of(found.goals, found.trials, found.standings)
    assert {t.config for t in front} == set(points()[:3])
    assert found.best.config == points()[1]
    first, second = ({t.config: t.log_ratio for t in found.history(index)} for index in (1, 2))
    assert first != second, "weights are drawn for each round"
    assert first[points()[0]] == second[points()[0]] == 0.0
    assert first[points()[3]] > max(first[p] for p in points()[:2])


# --- a failing result cannot win ------------------------------------------------------------------

GOOD = {0: (1.0, 0.004), 1: (0.5, 0.004), 2: (0.9, 0.004)}


@pytest.mark.parametrize("status", ["wrong", "implausible", "failed", "timeout", "abandoned"])
@pytest.mark.parametrize("pair", [0, 5])
def test_one_bad_process_takes_a_configuration_out(status: str, pair: int) -> None:
    """In the warm-up alone, or in one pair of many."""
    runs = [*noisy(GOOD, 8), wrong(points()[1], pair, status)]
    found = known([unit("round-1", runs)])
    assert found.best.config == points()[2]
    assert next(t for t in found.trials if t.config == points()[1]).failure is not None


@pytest.mark.parametrize("within", [(), ("cv<5%",)])
def test_an_incumbent_that_fails_in_a_later_round_is_one_no_more(within) -> None:
    later = [wrong(points()[1], 2), *noisy({1: (0.5, 0.004), 3: (0.95, 0.004)}, 4)]
    rounds = [unit("round-1", noisy(GOOD, 8)), unit("round-2", later)]
    assert known(rounds[:1], within=within).best.config == points()[1]
    assert known(rounds, within=within).best.config == points()[2]


def test_a_round_that_its_incumbent_spoilt_takes_the_incumbent_out() -> None:
    """Two wrong results of the reference end the unit, which is then no round at all."""
    runs = [wrong(points()[1], 0), wrong(points()[1], 0)]
    failure = tune.failure_in(Runs(runs), points()[1].id)
    spoilt = unit("round-2", runs, failure=failure)
    found = known([unit("round-1", noisy(GOOD, 8)), spoilt])
    assert len(found.state.rounds) == 1
    assert found.best.config == points()[2]


@pytest.mark.parametrize("pair", [0, 7])
@pytest.mark.parametrize("goals", [{}, {"objectives": ("memory",)}, {"within": ("cv<9%",)}])
def test_one_bad_process_in_the_confirmation_ends_the_claim(pair: int, goals) -> None:
    runs = [*noisy({0: (1.0, 0.01, 1e8), 1: (0.5, 0.01, 5e7)}, PAIRS), wrong(points()[1], pair)]
    assert confirmed(runs[:-1], **goals).outcome == "improved"
    end = confirmed(runs, **goals)
    assert end.outcome == "nothing better"
    assert "numerics.wrong_result" in end.text


# --- what is announced ----------------------------------------------------------------------------


def test_several_claims_share_alpha() -> None:
    runs = noisy({0: (1.0, 0.01, 1e8), 1: (0.5, 0.01, 5e7)}, PAIRS)
    both = judged(known([], objectives=("time", "memory")), [unit("confirm", runs)], points()[1])
    assert both is not None
    assert [f.claim.improved for f in both.figures] == [True, True]
    assert all(f.claim.coverage >= 1.0 - 0.005 / 2 for f in both.figures)
    assert both.figures[1].default == pytest.approx(1e8)
    assert both.figures[1].winner == pytest.approx(5e7)


def test_a_gain_in_the_second_objective_is_announced_where_the_first_is_no_worse() -> None:
    goals = {"objectives": ("time", "memory")}
    same = noisy({0: (1.0, 0.01, 1e8), 1: (1.0, 0.01, 5e7)}, PAIRS)
    end = confirmed(same, **goals)
    assert end.outcome == "improved"
    assert "memory: 2.0000 times as good" in end.text
    slower = noisy({0: (1.0, 0.01, 1e8), 1: (1.2, 0.01, 5e7)}, PAIRS)
    assert confirmed(slower, **goals).outcome == "nothing better"


def test_a_constraint_that_is_not_shown_keeps_the_default_and_names_the_pairs() -> None:
    runs = noisy({0: (1.0, 0.012), 1: (0.5, 0.016)}, PAIRS)
    end = confirmed(runs, within=("cv<2%",))
    assert end.outcome == "nothing better"
    assert "cv<2%: not shown" in end.text
    assert "pairs would show it" in end.text
    assert confirmed(runs, within=("cv<5%",)).outcome == "improved"


def test_a_stable_one_is_announced_though_slower_where_the_default_is_not_stable() -> None:
    runs = noisy({0: (1.0, 0.1), 1: (1.1, 0.005)}, PAIRS)
    assert confirmed(runs).outcome == "nothing better"
    end = confirmed(runs, within=("cv<2%",))
    assert end.outcome == "improved"
    assert "keeps to what the default breaks" in end.text


@pytest.mark.parametrize(
    ("within", "outcome"),
    [("memory<100M", "improved"), ("memory<50M", "nothing better"), ("time<600ms", "improved"),
     ("time<400ms", "nothing better"), ("energy<9J", "improved"), ("energy<7J", "nothing better")],
)  # fmt: skip
def test_other_constraints(within: str, outcome: str) -> None:
    runs = noisy({0: (1.0, 0.01, 8e7, 16.0), 1: (0.5, 0.01, 8e7, 8.0)}, PAIRS)
    assert confirmed(runs, within=(within,)).outcome == outcome


def test_figures_that_are_missing_make_no_claim() -> None:
    runs = noisy({0: (1.0, 0.01), 1: (0.5, 0.01)}, PAIRS)
    end = confirmed(runs, objectives=("time", "energy"))
    assert (end.outcome, end.exit_code) == ("failed", 7)


def test_the_confirmation_is_as_long_as_the_constraint_needs() -> None:
    times = {0: (1.0, 0.004), 1: (0.7, 0.0155)}
    found = known([unit("round-1", noisy(times, 20, seed=5))], within=("cv<2%",))
    assert found.best.config == points()[1]
    pairs = units.confirm_pairs(found, points()[1])
    assert PAIRS < pairs <= 3 * PAIRS
    assert units.confirm_pairs(known([unit("round-1", noisy(times, 8))]), points()[1]) == PAIRS
    two = replace(found.state.settings, confirm_jobs=2)
    shared = replace(found, state=replace(found.state, settings=two))
    assert units.confirm_pairs(shared, points()[1]) == max(PAIRS, -(-pairs // 2))


# --- what the search is told ----------------------------------------------------------------------

SPACE = Space(
    (Param("n", "ordinal", tuple(map(str, range(1, 7))), "6"),
     Param("kind", "categorical", ("a", "b", "c"), "a")), (), {},
)  # fmt: skip


def trial(n: int, kind: str, value: float, eligible: bool = True) -> Trial:
    config = Config.of({"n": str(n), "kind": kind})
    return Trial(config, value, 0.01, None, 1, "surrogate", eligible)


HISTORY = (
    Trial(SPACE.default, 0.0, 0.0, None, 0, "default"),
    *(trial(n, kind, -0.1 * (6 - n) / 5 - (0.5 if kind == "b" else 0.0), kind != "b")
      for n, kind in [(1, "a"), (3, "a"), (1, "b"), (4, "b"), (5, "b"), (2, "c"), (5, "c"),
                      (4, "a"), (6, "c")]),
)  # fmt: skip


def test_the_search_does_not_run_after_what_is_not_allowed() -> None:
    """The kind b is far ahead in every round, and breaks the constraint in each."""
    found = Surrogate().propose(SPACE, HISTORY, (), 4, 1)
    assert isinstance(found, tuple)
    assert [p.config.values["kind"] for p in found].count("b") <= 1
    free = tuple(replace(t, eligible=True) for t in HISTORY)
    wild = Surrogate().propose(SPACE, free, (), 3, 1)
    assert isinstance(wild, tuple)
    assert "b" in [p.config.values["kind"] for p in wild]


def test_the_search_goes_on_where_nothing_is_allowed_yet() -> None:
    none = tuple(replace(t, eligible=False) for t in HISTORY)
    assert len(Surrogate().propose(SPACE, none, (), 2, 1)) == 2
    assert len(HillClimb().propose(SPACE, none, (), 2, 1)) == 2


def test_a_hill_is_climbed_where_it_is_allowed() -> None:
    found = HillClimb().propose(SPACE, HISTORY, (), 1, 1)
    assert isinstance(found, tuple)
    assert found[0].config.values["kind"] != "b" or found[0].config.values["n"] == "1"


# --- settings -------------------------------------------------------------------------------------


def test_the_command_repeats_the_goals() -> None:
    asked = settings(objectives=("memory", "time"), within=("cv<2%", "energy<5J"))
    words = " ".join(asked.command())
    assert "--objective memory --objective time --within cv<2% --within energy<5J" in words
    assert "--objective" not in " ".join(settings().command())
    again = TuneSettings.from_json(json.loads(json.dumps(asked.to_json())))
    assert again == replace(asked, workload=again.workload)
    assert not again.plain
    assert settings().plain


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [({}, {"within": ("cv<2%",)}, r"different things \(time; time within cv<2%\)"),
     ({"objectives": ("time", "memory")}, {}, "with the same --objective and --within")],
)  # fmt: skip
def test_runs_for_different_things_are_not_compared(tmp_path: Path, one, other, words) -> None:
    def source(name: str, changes: Mapping[str, Any]) -> Any:
        found = known([], **changes)
        return compare_sides.Source(
            RunDir(tmp_path / name, name, "tune", T0, "1"), found.state, found, None, tmp_path
        )

    with pytest.raises(UsageError, match=words):
        compare_sides._require_same(source("a", one), source("b", other))


def test_a_round_does_not_judge_by_time_where_something_else_counts() -> None:
    rule = stop_rule(settings(objectives=("time", "memory")))
    assert rule["drop_ratio"] > 100.0
    assert rule["resolution"] == 0.0
    assert stop_rule(settings())["drop_ratio"] == 0.02
    build = units.build_plan(known([]))
    assert build.spec["check"]["direction"] == "min"
    assert stop_rule(settings(objectives=("throughput",))) == stop_rule(settings())


def test_energy_that_the_node_does_not_tell_ends_the_run_before_the_search() -> None:
    build = unit("build", [process(points()[0], 1, 1.0)], kind="build")
    why = tune._unmeasurable(known([]), build)
    assert why is None
    why = tune._unmeasurable(known([], within=("energy<5J",)), build)
    assert why is not None
    assert "RAPL" in why
    assert "leave energy out" in why
    metered = unit("build", [process(points()[0], 1, 1.0, joules=3.0)], kind="build")
    assert tune._unmeasurable(known([], objectives=("energy",)), metered) is None


def test_throughput_counts_the_operations_of_the_workload() -> None:
    found = known([], objectives=("throughput",))
    assert found.goals.scales.log_gflop == pytest.approx(math.log(2 * 64**3 / 1e9))
    assert goals_of(load_card("openblas"), settings(), None).objectives[0].unit == "s"


# --- several jobs -----------------------------------------------------------------------------

BETTER, SAME = {0: (1.0, 0.004), 1: (0.8, 0.004)}, {0: (1.0, 0.004), 1: (1.0, 0.004)}
# A single job shows this at 95 %, at 99.5 % it does not.
SLIGHT = {0: (1.0, 0.025), 1: (0.972, 0.025)}


def feasible() -> Unit:
    spec = {"reference": points()[0].id, "probes": {}, "defaults": [points()[0].id]}
    return unit("feasibility", noisy({0: (1.0, 0.01)}, 2), kind="probe", spec=spec)


def confirming(*fresh: Mapping[int, tuple[float, ...]], jobs: int = 2, **changes: Any) -> Any:
    """The next step of a run with confirmations that measured these."""
    decisions = {
        "winner": {"what": "winner", "config": points()[1].values, "reason": "why"},
        "search_ended": {"what": "search_ended", "reason": "why"},
    }
    rounds = [feasible(), unit("round-1", noisy(BETTER, 8), node="n1")]
    for index, times in enumerate(fresh, start=1):
        runs = noisy(times, PAIRS, seed=index)
        rounds.append(unit(confirm_purpose(index), runs, name=f"c{index}", node=f"n{index + 1}"))
    found = known(rounds, decisions=decisions, confirm_jobs=jobs, **changes)
    return tune._claim_step(found, "/work/build"), found


def test_each_of_several_jobs_has_to_confirm_the_winner() -> None:
    (first, _), (second, _) = confirming(), confirming(BETTER)
    assert [step.plan.purpose for step in (first, second)] == ["confirm", "confirm-2"]
    assert first.plan.spec["seed"] != second.plan.spec["seed"]
    assert first.plan.resources.avoid_nodes == ("n1",)
    assert second.plan.resources.avoid_nodes == ("n1", "n2")
    end, _ = confirming(BETTER, BETTER)
    assert end.outcome == "improved"
    assert re.search(r"; in 2 jobs, 1\.2\d+ and 1\.2\d+ by themselves$", end.text)
    assert confirming(BETTER, jobs=1)[0].outcome == "improved"


def claims_of(found: Knowledge) -> tuple[Claim, Claim, list[Claim]]:
    """What is told, of all pairs at the run's alpha, and of each job by itself."""
    done = confirmations(found.state)
    told, whole = (how(found, done, points()[1]) for how in (shown_by, judged))
    alone = [shown_alone(found, one, points()[1]) for one in done]
    assert told is not None and whole is not None
    return told.claim, whole.claim, [each.claim for each in alone if each is not None]


def test_jobs_show_together_what_neither_shows_at_alpha() -> None:
    end, found = confirming(SLIGHT, SLIGHT)
    assert end.outcome == "improved"
    told, whole, alone = claims_of(found)
    for one in confirmations(found.state):
        at_alpha = judged(found, [one], points()[1])
        assert at_alpha is not None and not at_alpha.improved
    assert told.improved and whole.improved and all(each.improved for each in alone)
    assert told.low == min(each.low for each in (whole, *alone)) > 1.01
    assert told.high <= max(each.high for each in (whole, *alone))
    assert told.coverage == whole.coverage >= 0.995 > min(each.coverage for each in alone)
    assert (told.pairs, whole.pairs) == (PAIRS, 2 * PAIRS)
    assert told.speedup == whole.speedup


def test_nodes_that_gain_differently_are_no_noise() -> None:
    """Each job shows it as surely as asked; between them the pairs look as if they were alike."""
    clear, clearer = ({0: (1.0, 0.005), 1: (1.0 / gain, 0.005)} for gain in (1.05, 1.1))
    end, found = confirming(clear, clearer)
    assert end.outcome == "improved"
    told, whole, alone = claims_of(found)
    assert not whole.improved
    assert 1.04 < told.low <= min(each.low for each in alone)
    assert max(each.high for each in alone) <= told.high < 1.11
    assert re.fullmatch(r"the jobs differ \(1\.0[45]\d*, 1\.(09|10)\d*\)", told.note)


def test_the_second_job_decides_where_the_first_objective_may_be_worse() -> None:
    halved = {0: (1.0, 0.004, 1e8), 1: (1.003, 0.004, 5e7)}
    step, found = confirming(halved, objectives=("time", "memory"))
    alone = shown_alone(found, confirmations(found.state)[0], points()[1])
    assert alone is not None and not alone.improved  # seen to be slower with 95 %
    assert step.plan.purpose == "confirm-2"


def test_a_job_that_says_nothing_of_the_scatter_confirms_nothing() -> None:
    steady = {0: (1.0, 0.02), 1: (1.0, 0.002)}
    still = {0: (1.0, 0.02), 1: (1.0, 0.0)}
    assert confirming(steady, steady, objectives=("cv",))[0].outcome == "improved"
    end, found = confirming(steady, still, objectives=("cv",))
    assert end.outcome == "failed"
    assert shown_by(found, confirmations(found.state), points()[1]) is None


def test_what_one_of_two_jobs_shows_is_not_called_improved() -> None:
    """As a report says it of a run that was cancelled between them."""
    _, found = confirming(BETTER)
    claim = claim_of(found)
    assert claim is not None and claim.low > 1.2
    assert not claim.improved and claim.partial
    assert [job.improved for job in claim.jobs] == [True]
    whole = summarise(RunDir(Path("/runs/x"), "x", "tune", T0, "1"), found)
    shown = replace(whole, outcome="cancelled")
    for page in (html.page(shown, {}), markdown.markdown(shown, {})):
        assert "shown by 1 of 2 jobs only, so not announced" in page
    assert "| Verdict | improved |" not in markdown.markdown(shown, {})
    _, found = confirming(BETTER, BETTER, objectives=("time", "memory"))
    both = summarise(RunDir(Path("/runs/x"), "x", "tune", T0, "1"), found).goals
    _, found = confirming(BETTER, objectives=("time", "memory"))
    first = summarise(RunDir(Path("/runs/x"), "x", "tune", T0, "1"), found).goals
    assert both is not None and first is not None
    assert (both.improved, both.claims[0].improved) == (True, True)
    assert (first.improved, first.claims[0].improved) == (False, False)


def test_one_of_several_jobs_announces_nothing_however_much_it_shows() -> None:
    step, found = confirming(BETTER)
    assert step.plan.purpose == "confirm-2"
    assert claims_of(found)[0].low > 1.2
    # All pairs together would show it; one of the jobs does not.
    clear, little = {0: (1.0, 0.025), 1: (0.96, 0.025)}, {0: (1.0, 0.025), 1: (0.98, 0.025)}
    end, found = confirming(clear, clear, little, jobs=3)
    assert end.outcome == "nothing better"
    told, whole, _ = claims_of(found)
    assert whole.improved and not told.improved


def test_a_bound_that_jobs_meet_together_has_to_be_met_by_each() -> None:
    steady = {0: (1.0, 0.004), 1: (0.8, 0.009)}
    end, found = confirming(steady, steady, within=("cv<1.5%",))
    bounds = [how(found, confirmations(found.state), points()[1]).bounds[0]
              for how in (shown_by, judged)]  # fmt: skip
    assert (end.outcome, [bound.state for bound in bounds]) == ("improved", ["met", "met"])
    assert bounds[0].high >= bounds[1].high
    looser = {0: (1.0, 0.004), 1: (0.8, 0.012)}
    quiet = {0: (1.0, 0.004), 1: (0.8, 0.004)}
    end, found = confirming(quiet, looser, within=("cv<1.5%",))
    told, whole = (how(found, confirmations(found.state), points()[1]).bounds[0]
                   for how in (shown_by, judged))  # fmt: skip
    assert whole.state == "met" and told.state == "not shown"
    assert whole.needed is None and told.needed is not None and told.needed > PAIRS
    assert "pairs would show it if it stays so (confirm_pairs)" in end.text
    assert "no number" not in end.text
    assert end.outcome == "nothing better"


def test_where_one_job_shows_nothing_no_further_one_is_submitted() -> None:
    assert confirming(SAME)[0].outcome == "nothing better"
    end, found = confirming(BETTER, SAME)
    assert end.outcome == "nothing better"
    assert not goals_improved(found)
    assert "in 2 of 3 jobs, all of which" in confirming(BETTER, SAME, jobs=3)[0].text
    broken = {0: (1.0, 0.004), 1: (0.8, 0.2)}
    for times in ((BETTER, broken), (broken, BETTER)):
        assert confirming(*times, within=("cv<2%",))[0].outcome == "nothing better"
    # The default has to break a bound in each job for its sake to count.
    unsteady = {0: (1.0, 0.2), 1: (1.0, 0.004)}
    assert confirming(unsteady, unsteady, within=("cv<2%",))[0].outcome == "improved"
    assert confirming(unsteady, SAME, within=("cv<2%",))[0].outcome == "nothing better"


def goals_improved(found: Knowledge) -> bool:
    result = shown_by(found, confirmations(found.state), points()[1])
    return result is not None and result.improved


def test_the_search_leaves_room_for_every_confirmation() -> None:
    rounds = [feasible(), unit("round-1", noisy(BETTER, 8))]
    one, three = (known(rounds, confirm_jobs=jobs, rounds=2) for jobs in (1, 3))
    of_one = units.confirmation_plan(one, one.best.config, "/b").need.core_hours
    size = units.round_plan(one, 2, one.space.first(3), "/b").need.core_hours
    enough = size + 1.01 * of_one
    for jobs, goes_on in ((1, True), (3, False)):
        found = known(rounds, confirm_jobs=jobs, rounds=2, core_hours=enough)
        step = tune._search_step(found, T0, "/b")
        assert isinstance(step, tune.Decide) != goes_on, step
    left = [progress(each, 0, T0).left_s or 0.0 for each in (one, three)]
    assert left[1] - left[0] == pytest.approx(2 * units.confirmation_seconds(one))


# --- reports --------------------------------------------------------------------------------------


def summary(tmp_path: Path, runs: Sequence[Run], fresh: Sequence[Run], **goals: Any) -> Any:
    decisions = {"winner": {"what": "winner", "config": points()[1].values, "reason": "why"}}
    rounds = [feasible(), unit("round-1", runs), unit("confirm", fresh)]
    found = known(rounds, decisions=decisions, **goals)
    end = tune._outcome(found, rounds[-1:], points()[1])
    closed = {"outcome": end.outcome, "text": end.text, "exit_code": 0}
    state = replace(found.state, closed=closed, closed_utc=T0)
    return summarise(RunDir(tmp_path / "run", "run", "tune", T0, "1"), Knowledge(state))


TRADE_OFF = {0: (1.0, 0.001, 1e8), 1: (0.8, 0.001, 1.5e8), 2: (1.3, 0.001, 6e7),
             3: (1.4, 0.001, 1.6e8)}  # fmt: skip


def test_a_trade_off_is_shown_in_every_form(tmp_path: Path) -> None:
    goals = {"objectives": ("time", "memory"), "within": ("cv<2%",)}
    found = summary(tmp_path, noisy(TRADE_OFF, 8), noisy(TRADE_OFF, PAIRS), **goals)
    assert found.outcome == "improved"
    page = text.terminal(found, 80)
    for columns in (40, 80):
        assert max(map(len, text.terminal(found, columns).splitlines())) <= columns
    said = " ".join(page.split())
    for words in (
        "Goal time (less is better), then memory (less is better), within cv<2%",
        "cv<2% met:", "memory 95.37 MiB 143.1 MiB 0.667x", "#2*", "#3", "It keeps to cv<2%.",
        "* is the best in time within cv<2%; what differs by less than 1 % in it is told apart by",
    ):  # fmt: skip
        assert words in said, page
    assert "#4" not in page, "what is dominated is in the report"
    drawn = figures.figures(found)
    assert {"pareto", "convergence"} <= drawn.keys()
    assert drawn == figures.figures(found)
    told = markdown.markdown(found, {name: f"figures/{name}.svg" for name in drawn})
    assert "## What it was for" in told
    assert "figures/pareto.svg" in told
    assert "| recommended |" in told
    assert "| dominated |" in told
    assert "The trade-off between the first two objectives" in html.page(found, drawn)
    rows = json.loads(as_json_text(found))["goals"]["points"]
    assert [row["front"] for row in rows] == [True, True, True, False]
    assert [row["recommended"] for row in rows] == [False, True, False, False]


def test_what_breaks_a_constraint_is_named_so(tmp_path: Path) -> None:
    times = {0: (1.0, 0.1), 1: (1.1, 0.004), 2: (0.8, 0.2)}
    found = summary(tmp_path, noisy(times, 8), noisy(times, PAIRS), within=("cv<2%",))
    said = text.headline(found)
    assert said.startswith("It keeps to cv<2%, which the default does not, at 0.8")
    assert "faster" not in said
    goals = {"objectives": ("memory",), "within": ("cv<2%",)}
    memory = {0: (1.0, 0.1, 1e8), 1: (1.0, 0.004, 1.1e8)}
    other = summary(tmp_path / "other", noisy(memory, 8), noisy(memory, PAIRS), **goals)
    assert "with a gain in memory of 0.909x (below one is worse)" in text.headline(other)
    told = markdown.markdown(found, {})
    assert "ok, breaks cv&lt;2%" in told
    assert "pareto" not in figures.figures(found)
    assert "1.2" not in text.headline(replace(found, outcome="", closed_utc="")), "not the unstable"


def test_a_constraint_that_is_not_shown_is_told_with_its_cure(tmp_path: Path) -> None:
    times = {0: (1.0, 0.012), 1: (0.5, 0.016)}
    found = summary(tmp_path, noisy(times, 8), noisy(times, PAIRS), within=("cv<2%",))
    said = " ".join(text.terminal(found, 80).split())
    assert said.startswith("Nothing is better than the default here: the candidate is")
    assert "cv<2% is not shown" in said
    assert "pairs would show it if it stays so: set confirm_pairs in hpcagent.toml" in said
    assert found.best == points()[0]
    assert "not announced, for a constraint is not shown" in html.page(found, {})
    assert "improved; a constraint is not shown to be met" in markdown.markdown(found, {})


def test_a_candidate_that_fails_both_ways_is_not_told_as_a_gain(tmp_path: Path) -> None:
    """Its interval proves nothing, and it breaks the constraint: both are told."""
    seen = noisy({0: (1.0, 0.004, 1e8), 1: (1.0, 0.004, 5e7)}, 8)
    fresh = noisy({0: (1.0, 0.004, 1e8), 1: (1.0, 0.2, 1e8)}, PAIRS)
    found = summary(tmp_path, seen, fresh, objectives=("memory",), within=("cv<2%",))
    said = text.headline(found)
    assert "the best candidate reached 1.000x in memory (" in said
    assert "which does not prove an improvement of 1 %, and cv<2% is broken" in said
    assert "better than the default in" not in said
    page = text.terminal(found, 80)
    assert "candidate" in next(row for row in page.splitlines() if row.startswith("objective"))
    unproven = confirmed([*fresh], objectives=("memory",), within=("cv<2%",)).text
    assert "memory: 1.0000 times as good as the default" in unproven


def test_another_objective_is_not_called_speed(tmp_path: Path) -> None:
    times = {0: (1.0, 0.01, 1e8), 1: (1.2, 0.01, 5e7)}
    found = summary(tmp_path, noisy(times, 8), noisy(times, PAIRS), objectives=("memory",))
    assert text.headline(found).startswith("2.000x better than the default in memory (")
    assert "gain in memory over the default" in html.page(found, {})
    assert "Gain in memory" in markdown.markdown(found, {})


def test_the_box_leads_with_what_is_proven(tmp_path: Path) -> None:
    times = {0: (1.0, 0.01, 1e8), 1: (1.0, 0.01, 5e7)}
    goals = {"objectives": ("time", "memory")}
    found = summary(tmp_path, noisy(times, 8), noisy(times, PAIRS), **goals)
    page = html.page(found, {})
    assert "2.000x" in page
    assert "gain in memory over the default" in page
    said = text.headline(found)
    assert said.startswith("2.000x better in memory than the default; no difference in time is")
