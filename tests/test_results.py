"""result.jsonl and done.json are read whole, torn or spoilt, and nothing bad passes as a time."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.measure.results import Done, failure_of, parse_done, parse_results
from hpcagent.records import Resources
from hpcagent.study.collecting import collect
from hpcagent.study.state import Unit

WEIGHTS = {"a": 0.25, "b": 0.75}


def line(change: dict[str, Any] | None = None) -> str:
    whole: dict[str, Any] = {
        "config": "0123456789abcdef",
        "pair": 3,
        "order": 1,
        "t_utc": "2024-05-01T10:00:00.000Z",
        "samples": {"a": [0.5, 0.1, 0.2], "b": [0.4, 0.2]},
        "check": {"passed": True, "residuals": {"a": 1.5, "b": 7.25}, "message": ""},
        "readback": {"library": "/lib/x.so", "threads_busy": "2", "maxrss_bytes": 4096},
        "exit": 0,
        "signal": None,
        "load": {"avg1": 0.5, "steal": 0.01},
        "status": "ok",
        "wall_s": 1.5,
    }
    return json.dumps({**whole, **(change or {})}) + "\n"


def failed(change: dict[str, Any], message: str) -> str:
    check = {"passed": False, "residuals": {}, "message": message}
    return line({"status": "failed", "samples": {}, "check": check, "exit": None, **change})


def test_a_line_becomes_a_run() -> None:
    (run,) = parse_results(line(), WEIGHTS)
    assert run.ok
    assert run.medians == pytest.approx({"a": 0.2, "b": 0.3})
    assert run.objective == pytest.approx(0.25 * math.log(0.2) + 0.75 * math.log(0.3))
    assert run.max_residual == 7.25
    assert run.readback == {"library": "/lib/x.so", "threads_busy": "2"}
    assert (run.config, run.pair, run.order) == ("0123456789abcdef", 3, 1)
    assert (run.maxrss_bytes, run.exit, run.signal, run.steal) == (4096, 0, None, 0.01)
    assert run.t_utc == "2024-05-01T10:00:00.000Z"
    assert failure_of(run) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, -1.0])
def test_what_is_no_time_is_no_sample(value: float) -> None:
    (run,) = parse_results(line({"samples": {"a": [0.1, value], "b": [0.2]}}), WEIGHTS)
    assert not run.ok
    assert run.medians == {}
    assert run.objective is None
    failure = failure_of(run)
    assert failure is not None
    assert failure.id == "numerics.implausible"
    assert str(value) in failure.evidence


@pytest.mark.parametrize("samples", [{"a": [0.1]}, {"a": [0.1], "b": []}, {}])
def test_a_key_without_samples_is_a_failure(samples: dict[str, list[float]]) -> None:
    (run,) = parse_results(line({"samples": samples}), WEIGHTS)
    failure = failure_of(run)
    assert failure is not None
    assert failure.id == "run.no_figure"
    assert "no figure for" in failure.evidence
    assert run.objective is None


@pytest.mark.parametrize(
    ("change", "message", "kind"),
    [
        ({"signal": 4}, "killed by signal 4", "run.illegal_instruction"),
        ({"exit": 132}, "exit code 132", "run.illegal_instruction"),
        ({"signal": 11}, "killed by signal 11", "run.segmentation_fault"),
        ({"exit": 139}, "exit code 139", "run.segmentation_fault"),
        ({"signal": 9}, "killed by signal 9", "run.killed"),
        ({"signal": 6}, "killed by signal 6", "run.aborted"),
        ({"signal": 13}, "killed by signal 13", "run.signal"),
        ({"exit": 3}, "exit code 3; stderr: out of memory", "run.exit_nonzero"),
        ({"exit": 255}, "exit code 255", "run.exit_nonzero"),
        ({"signal": 15}, "too much output: more than 8388608 bytes", "run.too_much_output"),
        ({}, "cannot start numactl: No such file or directory", "run.cannot_start"),
        ({"status": "timeout", "signal": 9}, "timeout after 60 s", "run.timeout"),
        ({"status": "abandoned", "signal": 15}, "abandoned after 4 s", "run.abandoned"),
        ({"status": "wrong", "exit": 0}, "residual a 99", "numerics.wrong_result"),
        ({"status": "wrong", "exit": 0}, "no figure for a", "run.no_figure"),
        ({"status": "implausible", "exit": 0}, "below the peak", "numerics.implausible"),
    ],
)
def test_failures_have_a_kind_and_quote_their_evidence(
    change: dict[str, Any], message: str, kind: str
) -> None:
    (run,) = parse_results(failed(change, message), WEIGHTS)
    assert not run.ok
    failure = failure_of(run)
    assert failure is not None
    assert failure.id == kind
    assert message in failure.evidence


def test_evidence_names_the_signal_and_is_bounded() -> None:
    (run,) = parse_results(failed({"signal": 4}, "x" * 5000), WEIGHTS)
    failure = failure_of(run)
    assert failure is not None
    assert "4 (SIGILL)" in failure.evidence
    assert len(failure.evidence) <= 500


def test_a_dropped_challenger_has_not_failed() -> None:
    check = {"passed": True, "residuals": {}, "message": "slower than the reference"}
    text = line({"status": "dropped", "samples": {}, "check": check, "readback": {}, "order": -1})
    (run,) = parse_results(text, WEIGHTS)
    assert failure_of(run) is None
    assert not run.ok
    assert run.message == "slower than the reference"


@pytest.mark.parametrize(
    "bad",
    ["{", "[]", "null", "7", '{"config": "x"}', line({"samples": [1]}), line({"pair": "x"})],
)
def test_a_spoilt_line_is_counted_and_the_others_are_kept(bad: str) -> None:
    first, spoilt, last = parse_results(line() + bad.rstrip("\n") + "\n" + line(), WEIGHTS)
    assert first.ok
    assert last.ok
    failure = failure_of(spoilt)
    assert failure is not None
    assert failure.id == "run.unreadable_result"
    assert "line 2" in failure.evidence
    assert spoilt.config == ""


@given(st.integers(0, 2 * len(line())))
def test_a_file_cut_at_any_byte_keeps_its_whole_lines(cut: int) -> None:
    text = (line() + line({"pair": 4}))[:cut]
    runs = parse_results(text, WEIGHTS)
    assert all(run.ok for run in runs)
    # A line that lacks nothing but its newline is whole.
    assert len(runs) == (cut >= len(line()) - 1) + (cut >= 2 * len(line()) - 1)


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_exception(text: str) -> None:
    assert not any(run.ok for run in parse_results(text, WEIGHTS))
    assert parse_done(text) is None


def test_meters_and_a_step_of_the_clock_are_carried() -> None:
    meters = {
        "mhz": 2100.5,
        "celsius": None,
        "joules": 0.25,
        "cpu_s": 1.25,
        "voluntary_switches": 3,
    }
    (run,) = parse_results(line({"meters": meters, "clock_step_s": -3600.04}), WEIGHTS)
    assert (run.mhz, run.celsius, run.joules, run.cpu_s) == (2100.5, None, 0.25, 1.25)
    assert run.note == "the clock was set by -3600.0 s meanwhile"
    assert run.ok


def test_a_line_of_an_older_worker_has_no_meters() -> None:
    for text in (line(), line({"meters": None}), line({"meters": {}})):
        (run,) = parse_results(text, WEIGHTS)
        assert (run.mhz, run.celsius, run.joules, run.cpu_s, run.note) == (None,) * 4 + ("",)


def test_runs_need_not_be_in_the_order_of_their_stamps() -> None:
    stamps = ["2024-05-01T10:00:00.000Z", "2024-05-01T09:00:00.000Z"]
    runs = parse_results("".join(line({"t_utc": stamp}) for stamp in stamps), WEIGHTS)
    assert [run.t_utc for run in runs] == stamps


def test_of_rates_the_larger_one_has_the_lower_objective() -> None:
    texts = (line(), line({"samples": {"a": [0.4], "b": [0.6]}}))
    slow, fast = (parse_results(text, WEIGHTS, "max")[0] for text in texts)
    assert slow.objective is not None
    assert fast.objective is not None
    assert fast.objective < slow.objective
    assert slow.objective == -(parse_results(line(), WEIGHTS)[0].objective or 0.0)


def test_a_further_figure_has_a_direction_of_its_own() -> None:
    further = {"bandwidth": {"a": [4.0], "b": [4.0, 4.0]}}
    (run,) = parse_results(line({"further": further}), WEIGHTS, further={"bandwidth": "max"})
    assert run.ok
    assert run.further == {"bandwidth": pytest.approx(-math.log(4.0))}


@pytest.mark.parametrize(
    ("further", "status", "words"),
    [
        (None, "wrong", "no figure for bandwidth of a"),
        ({"bandwidth": {"a": [4.0]}}, "wrong", "no figure for bandwidth of b"),
        ({"bandwidth": {"a": [4.0], "b": [0.0]}}, "implausible", "b: 0.0 is not bandwidth"),
        ({"bandwidth": {"a": [4.0], "b": ["x"]}}, "unreadable", "cannot be read"),
    ],
)
def test_without_its_further_figure_no_process_counts(
    further: object, status: str, words: str
) -> None:
    (run,) = parse_results(line({"further": further}), WEIGHTS, further={"bandwidth": "max"})
    assert (run.status, run.ok, dict(run.further)) == (status, False, {})
    assert words in run.message


@pytest.mark.parametrize("value", [math.nan, 0.0, -1.0, 1e308])
def test_what_is_no_rate_is_said_to_be_none(value: float) -> None:
    (run,) = parse_results(line({"samples": {"a": [value, value], "b": [0.2]}}), WEIGHTS, "max")
    assert run.status == "implausible"
    assert "not a rate" in run.message


def test_done_says_what_was_absent_odd_and_waited_for() -> None:
    told = {
        "elapsed_s": 12.5,
        "waited_s": 3.25,
        "waited_for": "unit x",
        "meters": {"joules": "no readable RAPL: none"},
        "notes": ["k: odd"],
        "unlocked": "/tmp/hpcagent-1: Permission denied",
    }
    whole = {"exit": 0, "finished_utc": "t", "host": "h", "boot_id": "b"}
    done = parse_done(json.dumps({**whole, **told}))
    assert done is not None
    assert (done.elapsed_s, done.waited_s, done.waited_for) == (12.5, 3.25, "unit x")
    assert done.meters == {"joules": "no readable RAPL: none"}
    assert done.notes[0] == "k: odd"
    assert "other units of this user may have run" in done.notes[1]
    assert "Permission denied" in done.notes[1]


def test_done() -> None:
    data = {"exit": 143, "finished_utc": "t", "host": "h", "boot_id": "b", "reason": "budget"}
    assert parse_done(json.dumps(data)) == Done(143, "t", "h", "b", "budget")
    del data["reason"]
    assert parse_done(json.dumps(data)) == Done(143, "t", "h", "b")
    assert parse_done(json.dumps(data)[:-1]) is None
    assert parse_done("{}") is None
    assert parse_done("[]") is None


def test_values_that_no_journal_can_hold_spoil_their_line() -> None:
    bad = line({"wall_s": 1.0}).replace('"wall_s": 1.0', '"wall_s": 1e999')
    endless = line({"readback": {}}).replace('"readback": {}', '"readback": ' + "[" * 100_000)
    residual = line().replace("7.25", "1e999")
    runs = parse_results(line() + bad + endless + residual + line(), WEIGHTS)
    assert [run.status for run in runs] == ["ok", "unreadable", "unreadable", "unreadable", "ok"]
    whole = {"finished_utc": "x", "host": "n", "boot_id": "b"}
    assert parse_done(json.dumps({**whole, "exit": 0}).replace(": 0", ": 1e999")) is None
    assert parse_done("[" * 100_000) is None


def test_what_the_worker_found_odd_comes_into_the_journal(tmp_path: Path) -> None:
    rows = [line({"pair": 1, "clock_step_s": -3600.0}), line({"pair": 2})]
    (tmp_path / "result.jsonl").write_text("".join(rows))
    spec = {"weights": WEIGHTS, "reference": "0123456789abcdef", "check": {}}
    asked = Resources(walltime_s=60)
    unit = Unit("u", "round", "round-1", 1, asked, spec, "2026-01-01T00:00:00Z")
    done = Done(
        0, "", "h", "b", waited_s=12.4, waited_for="job 7", notes=("all figures are alike",)
    )
    found = collect(tmp_path, unit, done)
    assert found.notes == (
        "all figures are alike",
        "waited 12 s for the node, which job 7 had",
        "pair 1: the clock was set by -3600.0 s meanwhile",
    )
    assert found.to_json(unit, datetime.now(UTC))["notes"] == list(found.notes)
