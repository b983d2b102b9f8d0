"""What counts in a run: figures of a process, constraints, scatter, the front, its one number."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.catalogue import Catalogue, NodeType, Partition, Rate
from hpcagent.errors import UsageError
from hpcagent.measure import energy, pareto, scatter
from hpcagent.measure.objectives import (
    MAX,
    Charge,
    Objective,
    Scales,
    bounded,
    loss,
    objectives,
    parse_constraint,
    parse_constraints,
)
from hpcagent.measure.results import Run
from hpcagent.records import Resources
from hpcagent.schedulers.catalogue_charge import price

SCALES = Scales(math.log(2.0), Charge(4.0, "core-hours"), Objective("time", "s"))
RUN = Run(
    "a", 1, 0, "ok", {"k": 0.5}, math.log(0.5), {"threads": "2"}, maxrss_bytes=2**20,
    wall_s=3600.0, joules=50.0,
)  # fmt: skip


def figure(name: str, run: Run = RUN, scales: Scales = SCALES) -> float | None:
    found = loss(name, run, scales)
    (objective,) = objectives([name], scales)
    return None if found is None else objective.figure(found)


# --- figures of a process -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [("time", 0.5), ("throughput", 4.0), ("cost", 4.0), ("energy", 50.0), ("memory", 2.0**20)],
)
def test_a_process_has_a_figure_for_every_objective(name: str, value: float) -> None:
    assert figure(name) == pytest.approx(value)


@pytest.mark.parametrize("name", ["time", "throughput", "cost", "energy", "memory"])
def test_a_failed_process_has_no_figure(name: str) -> None:
    for status in ("wrong", "implausible", "timeout"):
        assert figure(name, replace(RUN, status=status, objective=None)) is None


def test_what_was_not_measured_is_no_figure() -> None:
    bare = replace(RUN, joules=None, maxrss_bytes=None, wall_s=None)
    assert [figure(name, bare) for name in ("energy", "memory", "cost")] == [None] * 3
    assert figure("energy", replace(RUN, joules=0.0)) is None


def test_more_throughput_is_a_smaller_loss() -> None:
    fast = replace(RUN, objective=math.log(0.25))
    assert figure("throughput", fast) == pytest.approx(8.0)
    assert loss("throughput", fast, SCALES) < loss("throughput", RUN, SCALES)


def test_a_rate_of_the_cards_own_is_better_where_it_is_more() -> None:
    scales = replace(SCALES, log_gflop=None, printed=Objective("steps", "1/s", "max"))
    run = replace(RUN, objective=-math.log(20.0))  # the worker turns the sign of rates
    assert figure("steps", run, scales) == pytest.approx(20.0)
    assert figure("time", run, scales) == pytest.approx(3600.0)
    with pytest.raises(UsageError, match="choose from time, cost"):
        objectives(["throughput"], scales)


def test_on_a_shared_node_a_configuration_pays_for_its_threads() -> None:
    charge = Charge(8.0, "charge units", cpu_hour=2.0)
    assert charge.of(3600.0, "2") == 4.0
    assert charge.of(3600.0, "100") == 8.0
    assert charge.of(3600.0, None) == 8.0
    assert Charge(8.0, "charge units").of(1800.0, "1") == 4.0


def catalogue(rate: Rate | None, whole_nodes: bool = False) -> Catalogue:
    node = NodeType(("n1",), 1, schedulable_cpus=8, cpus_per_core=2)
    part = Partition("batch", (node,), default=True, whole_nodes=whole_nodes)
    return Catalogue("slurm", (part,)).priced({"batch": rate} if rate else {})


@pytest.mark.parametrize(
    ("rate", "exclusive", "expected"),
    [
        (Rate(3.0, "node-hour"), False, Charge(3.0, "charge units")),
        (Rate(3.0, "core-hour"), True, Charge(12.0, "charge units")),
        (Rate(3.0, "core-hour"), False, Charge(6.0, "charge units", 1.5)),
        (Rate(3.0, "gpu-hour"), True, Charge(4.0, "core-hours")),
        (None, True, Charge(4.0, "core-hours")),
        (None, False, Charge(2.0, "core-hours", 0.5)),
    ],
)
def test_what_an_hour_costs(rate: Rate | None, exclusive: bool, expected: Charge) -> None:
    asked = Resources(walltime_s=60, exclusive=exclusive)
    assert price(catalogue(rate), asked, cpus=4) == expected


def test_no_partition_no_price() -> None:
    with pytest.raises(UsageError, match="partition gpu"):
        price(catalogue(None), Resources(walltime_s=60, partition="gpu"), cpus=4)


# --- constraints ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "metric", "bound", "said"),
    [
        ("cv<2%", "cv", 0.02, "cv<2%"),
        (" memory < 1.5 G ", "memory", 1.5 * 2**30, "memory<1.5G"),
        ("energy<2kJ", "energy", 2000.0, "energy<2kJ"),
        ("time<10us", "time", 1e-5, "time<10us"),
    ],
)
def test_constraints(text: str, metric: str, bound: float, said: str) -> None:
    found = parse_constraint(text)
    assert (found.metric, found.text) == (metric, said)
    assert found.bound == pytest.approx(bound)
    assert parse_constraint(said) == found


@given(
    st.one_of(st.text(max_size=20), st.from_regex(r"[a-z]{2,6} ?<=? ?[0-9.]{1,4} ?[%A-Za-z]{0,2}"))
)
def test_whatever_is_written_is_a_constraint_or_one_line(text: str) -> None:
    try:
        found = parse_constraint(text)
    except UsageError as error:
        assert len(str(error).splitlines()) == 1
        assert "cv<2%" in str(error)
    else:
        assert found.bound > 0.0
        assert parse_constraint(found.text) == found


@pytest.mark.parametrize(
    "text", ["cv<2", "cv<=2%", "cv>2%", "cv<0%", "speed<2s", "memory<5", "time<1e-3s", "cv<²%", ""]
)
def test_what_is_no_constraint(text: str) -> None:
    with pytest.raises(UsageError, match="write cv<2%"):
        parse_constraint(text)


def test_a_figure_of_the_card_is_bounded_without_a_unit() -> None:
    further = (Objective("error_norm", ""), Objective("rate", "GB/s", MAX))
    scales = replace(SCALES, further=further)
    (found,) = bounded(["error_norm < 1e-3"], scales)
    assert (found.metric, found.bound, found.text) == ("error_norm", 1e-3, "error_norm<1e-3")
    with pytest.raises(UsageError, match="more is better"):
        bounded(["rate<2"], scales)
    for text in ("norm<2", "throughput<2", "error_norm<0"):
        with pytest.raises(UsageError, match="write cv<2%"):
            bounded([text], scales)


def test_a_metric_is_bounded_once() -> None:
    with pytest.raises(UsageError, match="bounded twice"):
        parse_constraints(["cv<2%", "cv<3%"])


@pytest.mark.parametrize("names", [["tme"], ["time", "time"], ["time", "cv", "time"]])
def test_objectives_are_known_and_named_once(names: list[str]) -> None:
    with pytest.raises(UsageError, match="--objective"):
        objectives(names, SCALES)


def test_a_host_without_rapl_says_so(tmp_path) -> None:
    assert "RAPL" in energy.why_not(str(tmp_path))
    zone = tmp_path / "sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    assert "RAPL" in energy.why_not(str(tmp_path))
    (zone / "name").write_text("package-0\n")
    (zone / "energy_uj").write_text("12345\n")
    (zone / "max_energy_range_uj").write_text("262143328850\n")
    assert energy.why_not(str(tmp_path)) == ""


# --- scatter --------------------------------------------------------------------------------------


def test_scatter_is_within_allocations() -> None:
    found = scatter.scatter([[1.0, 1.02, 0.98], [2.0, 2.04, 1.96], [5.0]])
    assert found is not None
    assert found.degrees == 4
    assert found.cv == pytest.approx(0.02)
    assert scatter.scatter([[1.0], [2.0]]) is None


@pytest.mark.parametrize("confidence", [0.95, 0.995])
def test_bounds_of_a_cv_miss_as_often_as_stated(confidence: float) -> None:
    """For normal noise; 2000 samples of 20, so twice the stated rate is far beyond chance."""
    values = np.random.default_rng(7).normal(1.0, 0.02, (2000, 20))
    seen = [scatter.scatter([row]) for row in values.tolist()]
    above = sum(s.above(confidence) < 0.02 for s in seen)
    below = sum(s.below(confidence) > 0.02 for s in seen)
    stated = 2000 * (1.0 - confidence)
    assert max(above, below) < 1.4 * stated + 6


def test_so_many_runs_show_it() -> None:
    seen = scatter.Scatter(0.016, 19)
    assert seen.above(0.995) > 0.02
    needed = scatter.runs_needed(seen, 0.02, 0.995)
    assert needed is not None
    assert scatter.Scatter(0.016, needed - 1).above(0.995) < 0.02
    assert scatter.Scatter(0.016, needed - 2).above(0.995) >= 0.02
    assert scatter.runs_needed(scatter.Scatter(0.02, 19), 0.02, 0.995) is None


# --- the front ------------------------------------------------------------------------------------

coordinates = st.integers(-4, 4)
points_of = st.integers(1, 3).flatmap(
    lambda n: st.lists(st.tuples(*[coordinates] * n), min_size=1, max_size=25)
)


@given(points_of)
def test_the_front_is_what_nobody_dominates(points: list[tuple[int, ...]]) -> None:
    def beaten(one: tuple[int, ...]) -> bool:
        return any(
            all(a <= b for a, b in zip(other, one, strict=True)) and other != one
            for other in points
        )

    wanted = [place for place, point in enumerate(points) if not beaten(point)]
    assert list(pareto.front(points)) == wanted
    assert wanted, "a front is never empty"


def test_what_is_within_its_error_or_below_a_step_puts_nothing_on_the_front() -> None:
    step = math.log1p(0.01)
    assert pareto.cautious((-0.02, 0.004), (0.03, 0.001), step) == (0, 0)
    assert pareto.cautious((-0.3, 0.1), (0.001, 0.001), step) == (-30, 10)


# --- one number -----------------------------------------------------------------------------------

losses_of = st.integers(2, 4).flatmap(
    lambda n: st.lists(
        st.tuples(*[st.floats(-2.0, 2.0).map(lambda x: round(x, 4))] * n), min_size=2, max_size=8
    )
)


@given(losses_of, st.integers(0, 9))
def test_who_dominates_has_the_smaller_number(points, index: int) -> None:
    by = pareto.weights(3, index, len(points[0]))
    numbers = pareto.scalars(points, [[0.01] * len(points[0])] * len(points), by)
    assert all(math.isfinite(n.value) and n.spread > 0.0 for n in numbers)
    for one, other in itertools.permutations(range(len(points)), 2):
        if pareto.dominates(points[one], points[other]):
            assert numbers[one].value < numbers[other].value


def test_the_default_is_the_origin_of_the_number() -> None:
    points = [(0.0, 0.0), (-0.4, 0.1), (0.2, -0.3)]
    numbers = pareto.scalars(points, [(0.0, 0.0)] * 3, (0.5, 0.5))
    assert numbers[0] == pareto.Scalar(0.0, 0.0)
    assert pareto.scalars([], [], (0.5, 0.5)) == ()


def test_weights_are_those_of_their_round() -> None:
    drawn = [pareto.weights(1, index, 3) for index in range(200)]
    assert drawn[4] == pareto.weights(1, 4, 3)
    assert len(set(drawn)) == 200
    assert all(math.isclose(sum(w), 1.0) and min(w) > 0.0 for w in drawn)
    assert np.allclose(np.mean(drawn, axis=0), 1 / 3, atol=0.06)
