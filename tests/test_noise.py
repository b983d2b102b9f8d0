"""What disturbed a unit is named, with what went with it; nothing is said of quiet runs."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.measure.noise import NoiseNote, noise_notes
from hpcagent.measure.results import Run
from hpcagent.measure.statistics import kendall, level_shift, trend
from hpcagent.study.noise_notes import disturbances

PROCESSES = 40


def unit(values: np.ndarray, configs: int = 2) -> list[Run]:
    """Runs in the order of time, `configs` a cycle, with some load that means nothing."""
    runs = []
    for i, value in enumerate(values.tolist()):
        name = "abcde"[i % configs]
        pair, order = i // configs + 1, i % configs
        runs.append(Run(name, pair, order, "ok", objective=value, steal=0.01, load1=2.0))
    return runs


def quiet(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.01, PROCESSES)


def kinds(notes: tuple[NoiseNote, ...]) -> set[str]:
    return {note.what for note in notes}


def test_quiet_runs_get_no_note() -> None:
    told = sum(
        bool(noise_notes(unit(quiet(seed), configs))) for seed in range(40) for configs in (2, 5)
    )
    assert told <= 8  # of 80


def test_a_process_that_the_hypervisor_held_up_is_named_with_the_reason() -> None:
    values = quiet(1)
    values[10] += 0.5
    runs = unit(values)
    runs[10] = replace(runs[10], steal=0.3)
    (note,) = noise_notes(runs)
    assert (note.what, note.pair, note.config) == ("odd process", 6, "a")
    assert note.size == pytest.approx(0.5, abs=0.05)
    assert note.reason == "the hypervisor took 30% of the CPU time, else 1%"


def test_the_other_one_of_the_cycle_is_not_blamed() -> None:
    for place in (10, 11):
        values = quiet(2)
        values[place] += 0.5
        assert [note.config for note in noise_notes(unit(values))] == ["ab"[place % 2]]


def test_a_cycle_that_was_slow_as_a_whole_is_one_note() -> None:
    values = quiet(3)
    values[20:25] += 0.4
    runs = unit(values, configs=5)
    runs[20:25] = [replace(run, load1=9.0) for run in runs[20:25]]
    (note,) = noise_notes(runs)
    assert (note.what, note.pair, note.config) == ("odd cycle", 5, "")
    assert note.reason == "the load average was 9.0, else 2.0"


def test_a_figure_that_differs_the_wrong_way_is_no_reason() -> None:
    values = quiet(4)
    values[10] -= 0.5  # faster while more was stolen
    runs = unit(values)
    runs[10] = replace(runs[10], steal=0.3)
    (note,) = noise_notes(runs)
    assert note.size < 0
    assert note.reason == ""


def test_a_drift_goes_with_the_figure_that_drifts() -> None:
    rise = np.linspace(0.0, 0.2, PROCESSES)
    runs = [
        replace(run, load1=2.0 + 20.0 * float(rise[i]))
        for i, run in enumerate(unit(quiet(5) + rise))
    ]
    (note,) = noise_notes(runs)
    assert note.what == "drift"
    assert note.size == pytest.approx(0.2, abs=0.03)
    assert "load average" in note.reason


def test_a_jump_is_told_from_a_drift() -> None:
    values = quiet(6)
    values[24:] += 0.15
    (note,) = noise_notes(unit(values))
    assert (note.what, note.pair, note.reason) == ("jump", 13, "")
    assert note.size == pytest.approx(0.15, abs=0.02)


def test_failed_runs_warm_ups_and_short_units_are_no_trouble() -> None:
    assert noise_notes([]) == ()
    assert noise_notes(unit(quiet(7)[:3])) == ()
    failed = [Run("a", i, 0, "failed") for i in range(10)]
    warm = [Run("a", 0, 0, "ok", objective=9.0)]
    assert noise_notes([*warm, *failed, *unit(quiet(8))]) == ()
    assert noise_notes(unit(np.zeros(PROCESSES))) == ()


def test_a_report_has_the_confirmation_first_and_few_of_each_unit() -> None:
    values = quiet(9)
    values[::5] += 0.5
    runs = unit(values)
    confirm, first, second = (SimpleNamespace(name=name, runs=runs) for name in "abc")
    one_job = SimpleNamespace(confirm_jobs=1)
    state = SimpleNamespace(done={"confirm": confirm}.get, rounds=(first, second), settings=one_job)
    found = disturbances(state)  # type: ignore[arg-type]
    assert [one.unit for one in found] == ["a"] * 5 + ["c"] * 5 + ["b"] * 5
    assert {one.size > 1.5 for one in found} == {True}
    nothing = SimpleNamespace(done={}.get, rounds=(), settings=one_job)
    assert disturbances(nothing) == ()  # type: ignore[arg-type]


@given(st.lists(st.floats(-5.0, 5.0), max_size=40), st.integers(1, 5))
def test_notes_follow_any_values(values: list[float], configs: int) -> None:
    for note in noise_notes(unit(np.array(values), configs)):
        assert math.isfinite(note.size)
        assert abs(note.size) >= 0.0


# --- the tests behind it -------------------------------------------------------------------------


def test_kendall_is_what_counting_by_hand_gives() -> None:
    tau, p = kendall([1, 2, 3, 4], [2, 1, 4, 3])
    assert tau == pytest.approx((4 - 2) / 6)
    z = (2 - 1) / math.sqrt(4 * 3 * 13 / 18)
    assert p == pytest.approx(math.erfc(z / math.sqrt(2)))
    assert kendall([1, 1, 2, 3], [1, 2, 2, 3])[0] == pytest.approx(4 / 5)  # one tie a side
    assert kendall([1, 1, 1], [1, 2, 3]) == (0.0, 1.0)


def test_a_line_has_its_slope_and_a_step_its_place() -> None:
    line = trend([0.1 * i for i in range(11)])
    assert line.change == pytest.approx(1.0)
    assert line.p < 1e-4
    assert trend([1.0]).p == 1.0
    step = level_shift([0.0, 0.1] * 6 + [1.0, 1.1] * 6)
    assert (step.at, step.size) == (12, pytest.approx(1.0))
    assert step.p < 0.001
    assert level_shift([1.0] * 9).p == 1.0


def test_one_outlier_moves_a_trend_little() -> None:
    values = [0.01 * i for i in range(20)]
    values[3] += 50.0
    assert trend(values).change == pytest.approx(0.19, abs=0.03)
