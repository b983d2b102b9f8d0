"""Scaling studies: speed-up, efficiency and serial fraction, what is told and what is drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_compare import closed, comparison, side, state, summary, whole

from hpcagent.records import Failure, Resources
from hpcagent.report.compare import headline, publish_comparison, terminal
from hpcagent.study import tune
from hpcagent.study.compare import next_step
from hpcagent.study.compare_plan import Comparison, Side, block_plan
from hpcagent.study.compare_result import CompareSummary
from hpcagent.study.rundir import create_run
from hpcagent.study.scaling import STRONG, WEAK, Scaling, karp_flatt
from hpcagent.study.state import Unit

COUNTS = (1, 2, 4)


def sized(nodes: int, tuned: bool = True) -> Side:
    made = side(str(nodes), tuned=tuned)
    values = ({"per_node": "1"}, {"per_node": "2"})
    rows = [{**row, "values": own} for row, own in zip(made.spec["configs"], values, strict=False)]
    asks = Resources(60, nodes=nodes, cpus_per_task=8)
    return replace(made, resources=asks, spec={**made.spec, "configs": rows})


def study(kind: str = STRONG, counts: tuple[int, ...] = COUNTS, **changes: object) -> Comparison:
    sides = tuple(sized(nodes) for nodes in counts)
    values = {"what": "nodes", "scaling": kind, "threshold": 0.7, "application": True, **changes}
    return comparison(*sides, **values)


def measured(kind: str, *times: tuple[float, float], **changes: object) -> CompareSummary:
    of = study(kind, **changes)
    return summary(of, whole(of, *times))


def scaled(found: CompareSummary) -> Scaling:
    assert found.scaling is not None
    return found.scaling


# The default takes 8 s on one node, and what was tuned 6 s.
STRONGLY = ((8.0, 6.0), (5.0, 3.2), (4.0, 2.4))


def test_speed_up_and_efficiency_are_against_the_fewest_nodes() -> None:
    found = scaled(measured(STRONG, *STRONGLY))
    one, two, four = found.tuned
    assert (one.nodes, one.speed, one.efficiency) == (1, None, (1.0, 1.0, 1.0))
    assert (two.nodes, four.nodes, found.base) == (2, 4, 1)
    assert two.speed is not None and four.speed is not None
    assert two.speed.ratio == pytest.approx(6.0 / 3.2, rel=0.02)
    assert four.efficiency is not None
    assert four.efficiency[0] == pytest.approx(6.0 / 2.4 / 4, rel=0.02)
    assert four.efficiency[1] == pytest.approx(four.speed.low / 4)
    assert found.most == 2, "0.94 and 0.63"
    assert found.default[2].speed is not None
    assert found.default[2].speed.ratio == pytest.approx(2.0, rel=0.02)


def test_the_smallest_need_not_be_one_node() -> None:
    two, eight = scaled(measured(STRONG, (8.0, 6.0), (5.0, 2.0), counts=(2, 8))).tuned
    assert two.efficiency == (1.0, 1.0, 1.0)
    assert eight.efficiency is not None
    assert eight.efficiency[0] == pytest.approx(6.0 / 2.0 / 4, rel=0.02)


def test_weak_scaling_is_ideal_where_times_are_equal() -> None:
    found = scaled(measured(WEAK, (8.0, 6.0), (8.0, 6.0), (9.0, 8.0)))
    assert [point.serial for point in found.tuned] == [None, None, None]
    efficiencies = [point.efficiency[0] for point in found.tuned if point.efficiency is not None]
    assert efficiencies == pytest.approx([1.0, 1.0, 0.75], rel=0.02)
    assert found.most == 4


@given(st.floats(0.0, 0.9), st.integers(2, 1000))
def test_karp_and_flatt_find_the_serial_fraction_of_amdahl(serial: float, times: int) -> None:
    speed = 1.0 / (serial + (1.0 - serial) / times)
    assert karp_flatt(speed, times) == pytest.approx(serial, abs=1e-9)


def test_what_it_is_worth_is_told() -> None:
    told = headline(measured(STRONG, *STRONGLY))
    assert "2 nodes are 1.8" in told
    assert "times as fast as 1 node: a parallel efficiency of 94 % (99.5 % interval" in told
    assert told.endswith("Up to 2 nodes each keeps an efficiency of 70 %.")
    assert "more than 4 nodes may pay" in headline(measured(STRONG, (8, 6), (4, 3), (2, 1.5)))
    slower = headline(measured(STRONG, (8, 6), (16, 12), (2, 1.5)))
    assert "2 nodes are 2 times slower than 1 node" in slower
    assert slower.endswith("Up to 1 node each keeps an efficiency of 70 %.")
    weak = headline(measured(WEAK, (8, 6), (8, 6), (9, 8)))
    assert "On 4 nodes the weak efficiency against 1 node is 75 %" in weak


def test_a_number_of_nodes_that_fails_costs_the_others_nothing() -> None:
    of = study()
    failure = Failure("run", "exit_nonzero", "no route to host")
    lost = [
        replace(unit, failure=failure, attempt=attempt, runs=(), name=f"u{attempt}")
        for attempt in (1, 2)
        for unit in whole(of, *STRONGLY)
        if unit.purpose == "block-1-4"
    ]
    step = next_step(of, state(of, *lost))
    assert isinstance(step, tune.Submit)
    others = [unit for unit in whole(of, *STRONGLY) if not unit.purpose.endswith("-4")]
    end = next_step(of, state(of, *lost, *others))
    assert isinstance(end, tune.Close)
    assert (end.outcome, end.exit_code) == ("compared", 0)
    assert end.text == "the other blocks are measured; it does not run on 4 nodes"
    found = summary(of, [*lost, *others])
    assert scaled(found).most == 2
    assert "Of 4 nodes nothing can be said" in headline(found)


def without(of: Comparison, *labels: str) -> list[Unit]:
    """All units but those of these numbers of nodes, which failed twice."""
    failure = Failure("run", "exit_nonzero", "out of memory")
    units = whole(of, *STRONGLY)
    lost = [
        replace(unit, failure=failure, attempt=attempt, runs=(), name=f"{unit.name}{attempt}")
        for unit in units
        for attempt in (1, 2)
        if unit.purpose.startswith("block-1-") and unit.purpose[8:] in labels
    ]
    return [*lost, *(unit for unit in units if unit.purpose[8:] not in labels)]


def test_where_the_smallest_does_not_run_the_next_one_is_the_base() -> None:
    of = study()
    found = scaled(summary(of, without(of, "1")))
    one, two, four = found.tuned
    assert (found.base, one.efficiency, two.efficiency) == (2, None, (1.0, 1.0, 1.0))
    assert four.efficiency is not None
    assert four.efficiency[0] == pytest.approx(3.2 / 2.4 / 2, rel=0.02)
    told = headline(summary(of, without(of, "1")))
    assert "4 nodes are 1.33 times as fast as 2 nodes" in told
    end = next_step(of, state(of, *without(of, "1")))
    assert isinstance(end, tune.Close)
    assert end.text == "the other blocks are measured; it does not run on 1 node"


def test_one_number_of_nodes_alone_is_no_result() -> None:
    of = study()
    end = next_step(of, state(of, *without(of, "1", "4")))
    assert isinstance(end, tune.Close)
    assert (end.outcome, end.exit_code) == ("failed", 7)


def test_a_gap_hides_no_larger_number() -> None:
    of = study(counts=(1, 2, 4))
    units = [u for u in whole(of, (8, 6), (4, 3), (2, 1.5)) if u.purpose[8:] != "2"]
    assert scaled(summary(of, units)).most == 4


def test_no_node_is_avoided_where_many_are_asked_for() -> None:
    of = study()
    assert block_plan(of, state(of, *whole(of, *STRONGLY)), 3, 1).resources.avoid_nodes == ()


def test_the_page_has_the_table_and_fits_its_terminal() -> None:
    found = measured(STRONG, *STRONGLY)
    for width in (40, 80):
        lines = terminal(found, width, "runs/x").splitlines()
        assert all(len(line) <= width for line in lines)
    assert any("efficiency" in line and "speed-up" in line for line in lines)
    assert any("with the default settings" in line for line in lines)


def test_the_report_has_a_figure_and_how_to_repeat_it(tmp_path: Path) -> None:
    run = create_run("scale", "1", tmp_path)
    of = study(WEAK)
    units: list[Unit] = whole(of, (8.0, 6.0), (8.0, 6.0), (9.0, 8.0))
    publish_comparison(run, closed(of, units))
    text = (run.result / "report.md").read_text()
    assert "Parallel efficiency against the fewest nodes" in text
    assert "--nodes 1,2,4 --weak --efficiency 0.7 --blocks 3" in text
    assert (run.result / "figures" / "scaling.svg").read_text().startswith("<?xml")
    assert "<svg" in (run.result / "report.html").read_text()
