"""Comparisons of node types: what comes next, what may be claimed, what is told."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.errors import RunFailed, UsageError
from hpcagent.measure.packed import Runs
from hpcagent.measure.results import Run
from hpcagent.records import Event, Failure, Resources
from hpcagent.report.columns import columns_of, wrapped
from hpcagent.report.compare import headline, publish_comparison, terminal
from hpcagent.study import tune
from hpcagent.study.compare import next_step
from hpcagent.study.compare_plan import Comparison, Side, block_plan
from hpcagent.study.compare_result import CompareSummary, summarise_comparison
from hpcagent.study.compare_statistics import speed_ratio
from hpcagent.study.durable import json_bytes, parse_object
from hpcagent.study.rundir import RunDir, create_run, unit_name
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import TuneState, Unit, fold

T0 = "2026-05-01T12:00:00Z"
OPTIONS = {
    "app": "openblas", "seed": 3, "scheduler": "slurm", "strategy": "surrogate", "rounds": 0,
    "challengers": 2,
}  # fmt: skip


def config(name: str, **env: str) -> dict[str, Any]:
    return {"id": name, "argv": [], "env": env, "binding": None}


def side(label: str, cpus: int = 8, tuned: bool = True, **asks: Any) -> Side:
    configs = [config("default")] + ([config("best", OMP_NUM_THREADS="4")] if tuned else [])
    return Side(
        label=label, run_id=f"tune-{label}", path=f"/runs/{label}",
        resources=Resources(60, cpus_per_task=cpus, partition=label, **asks),
        spec={"reference": "default", "configs": configs, "weights": {"k": 1.0}},
        expected_s=10.0, python="python3", prologue=(), cpu="a CPU", library="0.3.30 /lib/x.so",
        best="1.2 times the default's speed",
    )  # fmt: skip


def comparison(*sides: Side, **changes: Any) -> Comparison:
    values: dict[str, Any] = {
        "what": "partition", "sides": sides or (side("old"), side("new")), "blocks": 3, "pairs": 5,
        "workload": "k dgemm N N 8 8 8 1 5\n", "workload_source": "mix.yaml", "alpha": 0.005,
        "minimum_effect": 0.01,
    }  # fmt: skip
    return Comparison(**{**values, **changes})


def state(of: Comparison, *units: Unit) -> TuneState:
    plain = parse_object(json_bytes(of.to_json()))
    return TuneState(TuneSettings(**OPTIONS), T0, "1", units=units, last_utc=T0, compare=plain)


def run(name: str, seconds: float, pair: int = 1, status: str = "ok") -> Run:
    ok = status == "ok"
    return Run(
        name, pair, 0, status, {"k": seconds} if ok else {}, math.log(seconds) if ok else None
    )


def measured(of: Comparison, block: int, index: int, *runs: Run, node: str = "n1") -> Unit:
    plan = block_plan(of, state(of), block, index)
    return Unit(
        unit_name(of.sides[index].label, block), "round", plan.purpose, 1, plan.resources,
        plan.spec, T0, job_id="7", submitted_utc=T0, finished=True, runs=Runs(runs), node=node,
    )  # fmt: skip


def block_runs(default_s: float, best_s: float, pairs: int = 5) -> tuple[Run, ...]:
    """The middle one of the processes takes as long as is said; the warm-up does not count."""
    rows = [run("default", 99.0, 0), run("best", 99.0, 0)]
    for pair in range(1, pairs + 1):
        factor = 1.0 + 0.01 * (pair - (pairs + 1) / 2)
        rows += [run("default", default_s * factor, pair), run("best", best_s * factor, pair)]
    return tuple(rows)


def whole(of: Comparison, *times: tuple[float, float]) -> list[Unit]:
    """All blocks of all sides: (default, best) seconds of each side, with a spread of 1 %."""
    return [
        measured(of, block, index, *block_runs(default * factor, best * factor))
        for index, (default, best) in enumerate(times)
        for block, factor in enumerate((0.99, 1.0, 1.01), start=1)
    ]  # fmt: skip


def closed(of: Comparison, units: list[Unit], outcome: str = "compared") -> TuneState:
    ended = {"outcome": outcome, "text": "why", "exit_code": 0}
    return replace(state(of, *units), closed=ended, closed_utc=T0)


RUN = RunDir(Path("/runs/cmp"), "compare-1", "compare", T0, "1")


def summary(of: Comparison, units: list[Unit], outcome: str = "compared") -> CompareSummary:
    return summarise_comparison(RUN, closed(of, units, outcome))


# --- the interval ---------------------------------------------------------------------------------


def test_welchs_interval_has_the_quantile_of_its_degrees_of_freedom() -> None:
    alike = speed_ratio([0.0, 1.0, 2.0], [10.0, 11.0, 12.0], 0.005, 0.01)
    assert alike.degrees == 4
    assert math.log(alike.ratio) == pytest.approx(10.0)
    # 5.598 and 14.089: the upper 0.25 % points of Student's t with 4 and 2 degrees of freedom.
    assert math.log(alike.high) == pytest.approx(10.0 + 5.598 * math.sqrt(2 / 3), rel=1e-4)
    one_sided = speed_ratio([0.0, 1.0, 2.0], [5.0, 5.0, 5.0], 0.005, 0.01)
    assert one_sided.degrees == 2
    assert math.log(one_sided.low) == pytest.approx(4.0 - 14.089 * math.sqrt(1 / 3), rel=1e-4)


@pytest.mark.parametrize("spread", [1.0, 3.0, 30.0])
@pytest.mark.parametrize("blocks", [(3, 3), (3, 8)])
def test_the_interval_covers_as_stated(spread: float, blocks: tuple[int, int]) -> None:
    """Blocks vary, and those of one side more than those of the other; the truth is e^-0.1."""
    dice = random.Random(f"{spread} {blocks}")
    trials, missed = 4000, 0
    for _ in range(trials):
        first = [dice.gauss(0.1, 0.02) for _ in range(blocks[0])]
        second = [dice.gauss(0.0, 0.02 * spread) for _ in range(blocks[1])]
        found = speed_ratio(first, second, 0.05, 0.01)
        missed += not found.low <= math.exp(-0.1) <= found.high
    # Four standard errors of the count above what is allowed; Welch's is approximate by then.
    allowed = trials * 0.05
    assert missed <= allowed + 4 * math.sqrt(allowed) + 0.01 * trials


def test_sides_that_do_not_differ_are_hardly_ever_told_apart() -> None:
    dice = random.Random(5)
    told = 0
    for _ in range(4000):
        groups = [[dice.gauss(0.0, 0.05) for _ in range(3)] for _ in range(2)]
        told += speed_ratio(*groups, 0.005, 0.01).verdict in ("faster", "slower")
    assert told <= 4000 * 0.005 + 4 * math.sqrt(20)


def test_the_minimum_effect_decides_what_is_said() -> None:
    def verdict(shift: float, spread: float) -> str:
        base = [-spread, 0.0, spread]
        return speed_ratio(base, [value + shift for value in base], 0.005, 0.01).verdict

    assert verdict(0.3, 0.001) == "faster"
    assert verdict(-0.3, 0.001) == "slower"
    assert verdict(0.004, 0.0001) == "equal"
    assert verdict(0.012, 0.001) == "open"
    assert verdict(0.3, 0.2) == "open"


@given(
    st.lists(st.floats(-5, 5), min_size=3, max_size=6),
    st.lists(st.floats(-5, 5), min_size=3, max_size=6),
)
def test_the_other_way_round_it_is_the_inverse(first: list[float], second: list[float]) -> None:
    there = speed_ratio(first, second, 0.005, 0.01)
    back = speed_ratio(second, first, 0.005, 0.01).inverse()
    assert there.low <= there.ratio * (1 + 1e-9)
    assert there.ratio <= there.high * (1 + 1e-9)
    assert (there.degrees, there.verdict) == (back.degrees, back.verdict)
    assert back.ratio == pytest.approx(there.ratio)
    assert back.low == pytest.approx(there.low)


def test_one_allocation_gives_no_interval() -> None:
    with pytest.raises(UsageError, match="two finite values"):
        speed_ratio([1.0], [1.0, 2.0], 0.005, 0.01)


# --- what comes next ------------------------------------------------------------------------------


@given(st.integers(2, 5), st.integers(3, 9), st.integers(0, 1000))
def test_sides_take_turns_in_balanced_order(count: int, blocks: int, seed: int) -> None:
    of = comparison(*(side(f"p{i}") for i in range(count)), blocks=blocks)
    order = of.order(seed)
    assert order == of.order(seed)
    rows = [[index for block, index in order if block == b] for b in range(1, blocks + 1)]
    assert [sorted(row) for row in rows] == [list(range(count))] * blocks
    assert [block for block, _ in order] == sorted(block for block, _ in order)
    for odd, even in zip(rows[::2], rows[1::2], strict=False):
        assert even == odd[::-1]


def test_the_order_depends_on_the_seed() -> None:
    of = comparison(*(side(f"p{i}") for i in range(4)))
    assert len({of.order(seed) for seed in range(20)}) > 5


def test_every_block_of_every_side_is_measured_once() -> None:
    of = comparison()
    done: list[Unit] = []
    while isinstance(step := next_step(of, state(of, *done)), tune.Submit):
        spec = step.plan.spec
        done.append(measured(of, spec["block"], spec["side"], *block_runs(2.0, 1.0)))
        assert done[-1].purpose == step.plan.purpose
    assert isinstance(step, tune.Close)
    assert (step.outcome, step.exit_code) == ("compared", 0)
    assert [(u.spec["block"], u.spec["side"]) for u in done] == list(of.order(3))


def test_a_job_that_is_out_is_waited_for() -> None:
    of = comparison()
    out = replace(measured(of, 1, 0), finished=False)
    assert isinstance(next_step(of, state(of, out)), tune.Wait)


def test_a_failed_block_is_measured_again_and_then_ends_the_run() -> None:
    of = comparison()
    block, index = of.order(3)[0]
    lost = replace(measured(of, block, index), failure=Failure("run", "worker", "why"))
    again = next_step(of, state(of, lost))
    assert isinstance(again, tune.Submit)
    assert again.plan.purpose == lost.purpose
    end = next_step(of, state(of, lost, lost))
    assert isinstance(end, tune.Close)
    assert (end.outcome, end.exit_code) == ("failed", 7)
    assert "run.worker" in end.text


def test_blocks_without_valid_runs_compare_nothing() -> None:
    of = comparison()
    units = [measured(of, b, i, run("default", 1.0)) for b in (1, 2, 3) for i in (0, 1)]
    end = next_step(of, state(of, *units))
    assert isinstance(end, tune.Close)
    assert end.exit_code == 7


def test_sides_of_a_block_share_inputs_and_blocks_do_not() -> None:
    of = comparison()
    seeds = {
        (block, index): block_plan(of, state(of), block, index).spec["seed"]
        for block, index in of.order(3)
    }
    assert all(seeds[block, 0] == seeds[block, 1] for block in (1, 2, 3))
    assert len(set(seeds.values())) == 3


def test_a_node_that_the_side_has_not_been_on_is_preferred() -> None:
    of = comparison(side("old"), side("new", constraint="gpu"))
    units = [measured(of, 1, 0, node="n7"), measured(of, 1, 1, node="n8")]
    now = state(of, *units)
    assert block_plan(of, now, 2, 0).resources.avoid_nodes == ("n7",)
    # Few nodes may have the feature: without the others the job could wait for ever.
    assert block_plan(of, now, 2, 1).resources.avoid_nodes == ()
    assert block_plan(of, now, 2, 0).resources.partition == "old"


def test_what_is_asked_survives_the_journal() -> None:
    of = comparison(side("old", extra=("--nice=5",)), side("new", tuned=False))
    data = {"kind": "compare", "version": "1", "settings": TuneSettings(**OPTIONS).to_json(),
            "compare": of.to_json()}  # fmt: skip
    event = Event(1, T0, "run_opened", parse_object(json_bytes(data)))
    assert Comparison.of(fold([event])) == of


def test_a_damaged_journal_is_named() -> None:
    broken = replace(state(comparison()), compare={"sides": [{"label": 1}]})
    with pytest.raises(RunFailed, match="the journal is damaged"):
        Comparison.of(broken)
    with pytest.raises(RunFailed, match="not that of a comparison"):
        Comparison.of(replace(broken, compare=None))


# --- what is found --------------------------------------------------------------------------------


def test_a_block_counts_with_the_median_of_its_pairs() -> None:
    of = comparison()
    runs = (*block_runs(2.0, 1.0), run("best", 50.0, 6), run("default", 2.0, 6))
    found = summary(of, [measured(of, 1, 0, *runs)]).sides[0].blocks[0]
    assert found.default.seconds == pytest.approx(2.0)
    assert found.best.seconds == pytest.approx(math.sqrt(1.0 * 1.01))
    assert (found.default.runs, found.best.runs) == (6, 6)
    assert found.node == "n1"


def test_the_faster_side_comes_first_and_is_told() -> None:
    of = comparison()
    pair = summary(of, whole(of, (4.0, 3.0), (2.2, 2.0))).results[0]
    assert (pair.first, pair.second) == ("new", "old")
    assert pair.best is not None
    assert pair.default is not None
    assert pair.best.ratio == pytest.approx(1.5)
    assert pair.default.ratio == pytest.approx(4.0 / 2.2)
    assert (pair.best.verdict, pair.best.coverage) == ("faster", 0.995)
    assert pair.cost is None


def test_the_cost_counts_the_cpus_of_the_allocations() -> None:
    of = comparison(side("old", cpus=8), side("new", cpus=32))
    found = summary(of, whole(of, (4.0, 3.0), (2.2, 2.0)))
    cost = found.results[0].cost
    assert cost is not None
    assert cost[0] == pytest.approx(32 / 8 / 1.5)
    assert cost[1] < cost[0] < cost[2]
    text = " ".join(terminal(found, 80, "/r").split())
    assert "for the same work partition old takes 0.38 times the core-hours of new" in text


def test_levels_tell_the_spread_within_and_between_blocks() -> None:
    of = comparison()
    level = summary(of, whole(of, (4.0, 3.0), (2.2, 2.0))).sides[0].best
    assert level.seconds == pytest.approx(3.0, rel=1e-4)
    assert level.between_cv == pytest.approx(0.01, rel=1e-3)
    assert level.within_cv == pytest.approx(0.0158, rel=1e-2)


def test_settings_that_failed_once_are_not_recommended() -> None:
    of = comparison()
    units = whole(of, (4.0, 3.0), (2.2, 2.0))
    units[0] = replace(units[0], runs=Runs((*units[0].runs, run("best", 1.0, 6, "failed"))))
    found = summary(of, units)
    pair = found.results[0]
    assert pair.best is None
    assert pair.default is not None
    assert [where.split()[0] for where, _ in found.failures] == ["block-1-old"]
    text = " ".join(terminal(found, 80, "/r").split())
    assert "nothing can be said: too few blocks with valid best measurements" in text
    assert "Failed block-1-old" in text


def test_every_pair_of_three_sides_is_told() -> None:
    of = comparison(side("a"), side("b"), side("c", tuned=False))
    units = whole(of, (4.0, 3.0), (2.2, 2.0), (5.0, 5.0))
    for unit in units[6:]:
        assert unit.spec["side"] == 2
    found = summary(of, units)
    assert [(p.first, p.second) for p in found.results] == [("b", "a"), ("a", "c"), ("b", "c")]
    # The best of a side without better settings is its default.
    assert found.sides[2].best == found.sides[2].default


# --- what is told ---------------------------------------------------------------------------------


def told(*times: tuple[float, float], **changes: Any) -> str:
    of = comparison(**changes)
    return headline(summary(of, whole(of, *times)))


def test_headlines_claim_what_the_interval_shows() -> None:
    assert told((4.0, 3.0), (2.2, 2.0)).startswith(
        "Partition new is 1.50 times as fast as old (99.5 % interval 1.4"
    )
    assert told((4.0, 3.0), (2.2, 2.0)).endswith("3 allocations a side).")
    assert told((4.0, 3.0), (3.0, 2.99)).startswith(
        "No difference was shown between partition new and old: 1.00 times as fast"
    )
    assert "equally fast within 50 %" in told((4.0, 3.0), (3.0, 2.99), minimum_effect=0.5)


def test_nothing_is_claimed_before_the_end_or_after_a_cancellation() -> None:
    of = comparison()
    units = whole(of, (4.0, 3.0), (2.2, 2.0))
    going = summarise_comparison(RUN, state(of, *units[:4]))
    assert headline(going) == "Not finished: 4 of 6 blocks are measured."
    assert "hpcagent resume /r" in terminal(going, 80, "/r")
    for outcome in ("cancelled", "failed"):
        text = terminal(summary(of, units, outcome), 80, "/r")
        assert "as fast" not in text
        assert outcome in text


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_page_fits_its_terminal(width: int) -> None:
    of = comparison(side("old\x1b[31m" + "x" * 60), side("\N{CJK UNIFIED IDEOGRAPH-6F22}" * 30))
    found = summary(of, whole(of, (4.0, 3.0), (2.2, 2.0)))
    lines = terminal(found, width, "/a/" + "b" * 100).splitlines()
    assert all(columns_of(line) <= min(width, 80) for line in lines)
    assert "\x1b" not in "".join(lines)


def test_default_columns_are_told_once_where_nothing_was_better() -> None:
    of = comparison(side("old", tuned=False), side("new", tuned=False))
    text = terminal(summary(of, whole(of, (4.0, 3.0), (2.2, 2.0))), 80, "/r")
    assert " best" not in text.split("Settings")[0].split("\n\n", 1)[1]
    assert "Defaults" not in text


def test_a_side_on_one_node_is_noted() -> None:
    of = comparison()
    units = whole(of, (4.0, 3.0), (2.2, 2.0))
    units[3:] = [replace(unit, node=f"n{place}") for place, unit in enumerate(units[3:])]
    text = " ".join(terminal(summary(of, units), 80, "/r").split())
    assert "partition old was measured on n1 only" in text
    assert "partition new was measured on" not in text


def test_the_report_names_every_block_and_how_to_repeat_it(tmp_path: Path) -> None:
    of = comparison(side("old|`x`"), side("new"))
    units = whole(of, (4.0, 3.0), (2.2, 2.0))
    made = create_run("compare", "1", tmp_path, clock=lambda: datetime(2026, 5, 1, tzinfo=UTC))
    publish_comparison(made, closed(of, units))
    text = (made.result / "report.md").read_text()
    assert all(f"`work/{unit.name}/`" in text for unit in units)
    assert "hpcagent compare '/runs/old|`x`' /runs/new --blocks 3 --pairs 5 --seed 3" in text
    assert "| old&#124;\\`x\\` |" in text


def test_a_number_and_its_percent_stay_on_one_line() -> None:
    lines = wrapped("an interval that covers with 99.6 % and more", 33)
    assert lines == ["an interval that covers with", "99.6 % and more"]
    assert wrapped("x" * 8 + " 5 %", 4) == ["xxxx", "xxxx", "5 %"]
