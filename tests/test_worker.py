"""The in-job worker on real small programs: what it measures, drops, survives and refuses."""

from __future__ import annotations

import ast
import contextlib
import copy
import json
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.worker_unit import PYTHON, RULE, SOURCE, Unit, gone, wait_for

from hpcagent.measure import worker

FIXTURES = Path(__file__).parent / "fixtures" / "worker"

# --- the rule ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("coverage", "degrees", "value"),
    [
        (0.95, 1, 12.7062),
        (0.95, 2, 4.30265),
        (0.90, 4, 2.13185),
        (0.95, 5, 2.57058),
        (0.999, 7, 5.40788),
        (0.95, 10, 2.22814),
        (0.99, 30, 2.75000),
        (0.95, 120, 1.97993),
        (0.95, 1000, 1.96234),
    ],
)
def test_quantiles_of_student_t_are_those_of_the_tables(
    coverage: float, degrees: int, value: float
) -> None:
    assert worker.t_quantile(coverage, degrees) == pytest.approx(value, rel=5e-6)


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([], "continue"),
        ([0.7, 0.7], "continue"),
        ([0.7, 0.71, 0.69], "drop"),
        ([0.03, 0.02, 0.04], "continue"),
        ([0.021, 0.0211, 0.0209], "drop"),
        ([0.010, 0.011, 0.009], "settled"),
        ([-0.2, -0.3, -0.25], "continue"),
        ([-0.2, -0.3, -0.25] * 2, "settled"),
        ([0.9, -0.9, 0.1, -0.2, 0.4, 0.0], "settled"),
        ([9.0, 0.1, 0.2], "continue"),
    ],
)
def test_the_rule(ratios: list[float], verdict: str) -> None:
    assert worker.decide(ratios, RULE) == verdict


@given(st.lists(st.floats(-1, 1), max_size=12), st.randoms(use_true_random=False))
def test_the_rule_does_not_depend_on_order_and_always_ends(
    ratios: list[float], random: Any
) -> None:
    shuffled = list(ratios)
    random.shuffle(shuffled)
    assert worker.decide(shuffled, RULE) == worker.decide(ratios, RULE)
    if len(ratios) >= RULE["max_pairs"]:
        assert worker.decide(ratios, RULE) != "continue"
    if len(ratios) < RULE["min_pairs"] or math.fsum(ratios) <= 0.0:
        assert worker.decide(ratios, RULE) != "drop"


def test_abandon_bound_follows_the_reference_and_has_a_floor() -> None:
    assert worker.abandon_after([10.0, 12.0, 50.0], RULE) == 48.0
    assert worker.abandon_after([0.01], RULE) == worker.ABANDON_FLOOR_S
    assert worker.abandon_after([], RULE) == math.inf


@given(st.integers(0, 10**6), st.integers(1, 50))
def test_the_second_cycle_of_two_has_the_reversed_order(seed: int, half: int) -> None:
    ids = ["a", "b", "c", "d"]
    first = worker.cycle_order(ids, seed, 2 * half - 1)
    assert sorted(first) == ids
    assert worker.cycle_order(list(reversed(ids)), seed, 2 * half) == first[::-1]


@pytest.mark.parametrize("balanced", [True, False])
def test_every_place_in_the_order_is_equally_likely(balanced: bool) -> None:
    first = [worker.cycle_order(["a", "b", "c"], seed, 1, balanced)[0] for seed in range(3000)]
    for name in "abc":  # 1000 expected, standard deviation 26
        assert abs(first.count(name) - 1000) < 6 * 26


def test_the_orders_of_a_confirmation_do_not_follow_from_one_another() -> None:
    orders = [
        [worker.cycle_order(["a", "b"], seed, pair, balanced=False)[0] for pair in (1, 2, 3)]
        for seed in range(3000)
    ]
    for one, two in ((0, 1), (0, 2), (1, 2)):  # 1500 expected, standard deviation 27
        assert abs(sum(order[one] == order[two] for order in orders) - 1500) < 6 * 27


# --- what is measured ----------------------------------------------------------------------------


def test_a_confirmation_warms_up_then_interleaves_in_an_order_drawn_for_each_cycle(
    tmp_path: Path,
) -> None:
    unit = Unit(tmp_path, {"ref": {}, "fast": {"T": "0.05"}, "same": {"T": "0.1"}}, "fixed")
    assert unit.run()[0] == 0
    lines = unit.lines()
    assert [(line["config"], line["pair"]) for line in lines[:3]] == [
        ("ref", 0),
        ("fast", 0),
        ("same", 0),
    ]
    cycles = [[x["config"] for x in lines if x["pair"] == pair] for pair in range(1, 5)]
    assert [x["order"] for x in lines] == [0, 1, 2] * 5
    assert all(sorted(cycle) == ["fast", "ref", "same"] for cycle in cycles)
    ids = ["ref", "fast", "same"]
    seed = unit.spec["seed"]
    assert cycles == [worker.cycle_order(ids, seed, pair, balanced=False) for pair in range(1, 5)]
    assert {line["status"] for line in lines} == {"ok"}
    assert unit.done()["exit"] == 0
    assert unit.done()["host"] == socket.gethostname()
    assert unit.done()["reason"] == "complete"


def test_a_round_of_the_search_reverses_every_second_order(tmp_path: Path) -> None:
    unit = Unit(tmp_path, {"ref": {}, "one": {"T": "0.1"}, "two": {"T": "0.1"}})
    unit.run()
    lines = [line for line in unit.lines() if line["pair"] > 0]
    cycles = [[x["config"] for x in lines if x["pair"] == pair] for pair in (1, 2)]
    assert cycles[1] == cycles[0][::-1]


def test_a_line_holds_samples_check_and_read_back(tmp_path: Path) -> None:
    unit = Unit(tmp_path, {"ref": {"CORE": "Haswell"}}, "once")
    unit.run()
    (line,) = unit.lines()
    assert line["samples"] == {"k": [0.1, 0.1]}
    assert line["check"] == {"passed": True, "residuals": {"k": 1.5}, "message": ""}
    assert line["readback"]["library"] == "/lib/libexample.so"
    assert line["readback"]["core"] == "Haswell"
    assert line["readback"]["threads_busy"] == "2"
    assert line["readback"]["maxrss_bytes"] > 100_000
    assert (line["exit"], line["signal"], line["order"]) == (0, None, 0)
    assert set(line["load"]) == {"avg1", "steal"}
    assert set(line["meters"]) == {
        "mhz",
        "celsius",
        "joules",
        "cpu_s",
        "voluntary_switches",
        "involuntary_switches",
    }
    assert 0.0 < line["meters"]["cpu_s"] < 60.0
    assert line["t_utc"].endswith("Z")


def test_inputs_are_equal_within_a_cycle_and_differ_between_cycles(tmp_path: Path) -> None:
    unit = Unit(tmp_path, {"ref": {}, "a": {}}, "fixed")
    unit.run()
    started = (tmp_path / "starts").read_text().split()
    by_cycle = list(zip(started[1::4], started[3::4], strict=True))
    assert all(one == other for one, other in by_cycle)
    assert len({one for one, _ in by_cycle}) == 5


def test_environment_is_unset_then_set(tmp_path: Path) -> None:
    unit = Unit(tmp_path, {"ref": {"CORE": "set"}, "bare": {}}, "once")
    show = {"BEFORE": 'CORE="$CORE/${STRANGER-absent}"'}
    for config in unit.spec["configs"]:
        config["env"].update(show)
    unit.spec["unset"] = ["STRANGER", "CORE", "NEVER_THERE"]
    unit.run()
    assert [line["readback"]["core"] for line in unit.lines()] == ["set/absent", "/absent"]


def test_what_is_not_unset_is_inherited(tmp_path: Path) -> None:
    unit = Unit(tmp_path, {"ref": {"BEFORE": "CORE=$STRANGER"}}, "once")
    unit.run()
    assert unit.lines()[0]["readback"]["core"] == "from outside"


def test_binding_is_applied_to_the_process(tmp_path: Path) -> None:
    unit = Unit(tmp_path, {"ref": {}, "bound": {}, "nowhere": {}}, "once")
    last = max(os.sched_getaffinity(0))
    unit.config("bound")["binding"] = [last]
    unit.config("nowhere")["binding"] = [last, 1_000]
    unit.run()
    assert unit.of("bound")[0]["readback"]["affinity"] == str(last)
    refused = unit.of("nowhere")[0]
    assert refused["status"] == "failed"
    assert f"[{last}, 1000]" in refused["check"]["message"]


def test_argv_goes_in_front_of_the_command(tmp_path: Path) -> None:
    unit = Unit(tmp_path, {"ref": {}}, "once")
    unit.config("ref")["argv"] = ["env", "CORE=by argv"]
    unit.run()
    assert unit.lines()[0]["readback"]["core"] == "by argv"


def test_once_runs_each_in_order_whatever_fails(tmp_path: Path) -> None:
    unit = Unit(tmp_path, {"ref": {"BEFORE": "exit 1"}, "b": {}, "a": {"R": "99"}}, "once")
    assert unit.run()[0] == 0
    assert [(x["config"], x["pair"], x["order"], x["status"]) for x in unit.lines()] == [
        ("ref", 1, 0, "failed"),
        ("b", 1, 1, "ok"),
        ("a", 1, 2, "wrong"),
    ]


def test_a_reference_alone_is_measured_for_its_noise(tmp_path: Path) -> None:
    unit = Unit(tmp_path, {"ref": {}})
    unit.run()
    assert [line["pair"] for line in unit.lines()] == [0, 1, 2, 3]


# --- dropping, abandoning, budget ----------------------------------------------------------------


def test_a_clearly_slow_challenger_is_dropped_and_the_rest_goes_on(tmp_path: Path) -> None:
    noisy = {"T": "0.1", "BEFORE": "T=0.05$(( $1 % 10 ))"}
    unit = Unit(tmp_path, {"ref": {}, "slow": {"T": "0.2"}, "noisy": noisy})
    unit.run()
    slow = unit.of("slow")
    assert [line["status"] for line in slow] == ["ok"] * 4 + ["dropped"]
    assert slow[-1]["samples"] == {}
    assert "after 3 pairs" in slow[-1]["check"]["message"]
    assert [line["pair"] for line in unit.of("noisy")] == [0, 1, 2, 3, 4, 5, 6]
    assert [line["pair"] for line in unit.of("ref")] == [0, 1, 2, 3, 4, 5, 6]


def test_a_settled_challenger_gets_no_more_pairs(tmp_path: Path) -> None:
    unit = Unit(tmp_path, {"ref": {}, "fast": {"T": "0.09"}})
    unit.run()
    assert [line["status"] for line in unit.of("fast")] == ["ok"] * 4


def test_a_confirmation_drops_nothing(tmp_path: Path) -> None:
    unit = Unit(tmp_path, {"ref": {}, "slow": {"T": "0.9"}}, "fixed")
    unit.run()
    assert [line["status"] for line in unit.of("slow")] == ["ok"] * 5


def test_a_process_far_slower_than_the_reference_is_abandoned(tmp_path: Path) -> None:
    unit = Unit(tmp_path, {"ref": {}, "hung": {"BEFORE": "sleep 300"}})
    unit.spec["stop_rule"]["abandon_multiple"] = 4.0
    assert unit.outcome("hung")[0] == "abandoned"
    assert [line["status"] for line in unit.of("ref")] == ["ok"]


def test_a_cycle_that_would_not_fit_into_the_budget_is_not_begun(tmp_path: Path) -> None:
    sleep = {"BEFORE": "sleep 0.3"}
    unit = Unit(tmp_path, {"ref": sleep, "a": sleep}, "fixed")
    unit.spec["budget_s"] = 0.9
    assert unit.run()[0] == 0
    assert {line["pair"] for line in unit.lines()} == {0}
    assert unit.done()["reason"] == "budget"


def test_a_first_process_longer_than_the_budget_is_kept_and_the_last(tmp_path: Path) -> None:
    unit = Unit(tmp_path, {"ref": {"BEFORE": "sleep 0.6"}, "a": {}})
    unit.spec["budget_s"] = 0.5
    assert unit.run()[0] == 0
    assert [(x["config"], x["pair"], x["status"]) for x in unit.lines()] == [("ref", 0, "ok")]
    assert unit.done()["reason"] == "budget"


def test_a_process_that_outlasts_the_budget_still_ends_at_its_own_limit(tmp_path: Path) -> None:
    """The job's wall time is the budget and one such limit."""
    unit = Unit(tmp_path, {"ref": {"BEFORE": "sleep 300"}, "a": {}})
    unit.spec.update(budget_s=0.3, timeout_s=0.6)
    assert unit.run()[0] == 0
    assert [(x["config"], x["status"]) for x in unit.lines()] == [("ref", "timeout")]
    assert unit.done()["reason"] == "budget"


def test_pairs_go_on_while_the_interval_straddles_and_stop_once_it_is_narrow(
    tmp_path: Path,
) -> None:
    noisy = {"BEFORE": "T=0.05$(( $1 % 10 ))"}
    unit = Unit(tmp_path, {"ref": {}, "narrow": {"T": "0.0999"}, "wide": noisy})
    unit.run()
    assert max(line["pair"] for line in unit.of("narrow")) == RULE["min_pairs"]
    assert max(line["pair"] for line in unit.of("wide")) == RULE["max_pairs"]


def test_a_spent_budget_starts_nothing(tmp_path: Path) -> None:
    unit = Unit(tmp_path, {"ref": {}, "a": {}})
    unit.spec["budget_s"] = 0
    assert unit.run()[0] == 0
    assert not (tmp_path / "starts").exists()
    assert unit.done()["exit"] == 0


# --- what goes wrong with a configuration --------------------------------------------------------


BAD: dict[str, tuple[dict[str, str], str, str]] = {
    "residual": ({"R": "31"}, "wrong", "31"),
    "negative residual": ({"R": "-31"}, "wrong", "-31"),
    "residual nan": ({"R": "nan"}, "wrong", "nan"),
    "no success": ({"LAST": "oops"}, "wrong", "^done$"),
    "no residual": (
        {"BEFORE": "echo 'time k 0.1'; echo done; exit 0"},
        "wrong",
        "no residual for k",
    ),
    "no figure": ({"BEFORE": "echo 'residual k 1'; echo done; exit 0"}, "wrong", "no figure for k"),
    "other key": ({"BEFORE": "echo 'time other 1'; echo done; exit 0"}, "wrong", "no figure for k"),
    "nothing": ({"BEFORE": "exit 0"}, "wrong", "no figure for k"),
    "above the peak": ({"T": "1e-9"}, "implausible", "peak"),
    "nan": ({"T": "nan"}, "implausible", "nan"),
    "inf": ({"T": "inf"}, "implausible", "inf"),
    "negative": ({"T": "-1"}, "implausible", "-1"),
    "zero": ({"T": "0"}, "implausible", "0"),
    "word": ({"T": "soon"}, "implausible", "soon"),
    "exit": ({"BEFORE": "echo 'out of memory' >&2; exit 3"}, "failed", "out of memory"),
    "flood": ({"BEFORE": "exec yes"}, "failed", "too much output"),
    "SIGILL": ({"BEFORE": "kill -ILL $$"}, "failed", "signal 4"),
    "SIGSEGV": ({"BEFORE": "kill -SEGV $$"}, "failed", "signal 11"),
    "SIGKILL": ({"BEFORE": "kill -KILL $$"}, "failed", "signal 9"),
    "SIGTERM": ({"BEFORE": "kill -TERM $$"}, "failed", "signal 15"),
    "no program": ({}, "failed", "cannot start no-such-program-here: No such file or directory"),
}


@pytest.fixture(scope="module")
def bad_lines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    configs = {name: env for name, (env, _, _) in BAD.items()}
    unit = Unit(tmp_path_factory.mktemp("bad"), {"ref": {}, **configs, "good": {}}, "once")
    unit.config("no program")["argv"] = ["no-such-program-here"]
    assert unit.run()[0] == 0
    return {line["config"]: line for line in unit.lines()}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_run_is_a_record_with_its_evidence(
    bad_lines: dict[str, dict[str, Any]], name: str
) -> None:
    _, status, words = BAD[name]
    line = bad_lines[name]
    assert line["status"] == status
    assert words in line["check"]["message"]
    assert not line["check"]["passed"]
    if name.startswith("SIG"):
        assert (line["exit"], line["signal"]) == (None, getattr(signal, name))
    assert bad_lines["good"]["status"] == "ok"


RATES: dict[str, tuple[str, str, str]] = {
    "good": ("0.0001", "ok", ""),
    "above the peak": ("51", "implausible", "k: a figure of 51 is above 50, the peak"),
    "nan": ("nan", "implausible", "not a rate above 0: 'time k nan'"),
    "zero": ("0", "implausible", "not a rate above 0: 'time k 0'"),
    "endless": ("1e999", "implausible", "not a rate above 0: 'time k 1e999'"),
    "overflowing": ("1.7e308", "implausible", "not a rate above 0: 'time k 1.7e308'"),
}


def test_rates_are_bounded_from_above_and_called_figures(tmp_path: Path) -> None:
    unit = Unit(tmp_path, {name: {"T": figure} for name, (figure, _, _) in RATES.items()}, "once")
    unit.spec["check"].update(direction="max", maximum={"k": 50.0})  # `minimum` is for times only
    assert unit.run()[0] == 0
    for name, (_, status, words) in RATES.items():
        (line,) = unit.of(name)
        assert line["status"] == status
        assert words in line["check"]["message"]
        assert "seconds" not in line["check"]["message"]


def test_of_rates_the_smaller_one_is_dropped(tmp_path: Path) -> None:
    unit = Unit(tmp_path, {"ref": {}, "half": {"T": "0.05"}, "twice": {"T": "0.2"}})
    unit.spec["check"]["direction"] = "max"
    unit.run()
    assert [line["status"] for line in unit.of("half")] == ["ok"] * 4 + ["dropped"]
    assert [line["status"] for line in unit.of("twice")] == ["ok"] * 4


@given(
    st.lists(st.floats(1e-300, 1e299), min_size=1, max_size=9),
    st.lists(st.floats(1e-300, 1e299), min_size=1, max_size=9),
)
def test_the_objective_is_lower_for_what_is_better(one: list[float], other: list[float]) -> None:
    weights = {"k": 1.0}
    a, b = {"k": one}, {"k": other}
    if worker.median(one) <= worker.median(other):
        assert worker.objective(a, weights) <= worker.objective(b, weights)
        assert worker.objective(a, weights, "max") >= worker.objective(b, weights, "max")
    assert worker.objective(a, weights, "max") == -worker.objective(a, weights)


def test_one_and_the_same_figure_of_all_processes_is_noted_and_no_failure(tmp_path: Path) -> None:
    unit = Unit(tmp_path, {"ref": {}, "a": {}})
    unit.run()
    assert {line["status"] for line in unit.lines()} == {"ok"}
    assert unit.done()["notes"] == ["k: all 8 processes gave exactly the figure 0.1"]


def test_figures_that_differ_between_processes_are_not_noted(tmp_path: Path) -> None:
    unit = Unit(tmp_path, {"ref": {}, "a": {"T": "0.11"}})
    unit.run()
    assert "notes" not in unit.done()


@pytest.mark.parametrize("name", ["residual", "above the peak", "exit", "SIGILL"])
def test_a_bad_challenger_is_out_and_the_others_go_on(tmp_path: Path, name: str) -> None:
    unit = Unit(tmp_path, {"ref": {}, "bad": BAD[name][0], "good": {}})
    assert unit.outcome("bad")[0] == BAD[name][1]
    assert [line["status"] for line in unit.of("good")] == ["ok"] * 4


def test_only_the_tail_of_stderr_is_kept(tmp_path: Path) -> None:
    flood = "yes 'noise' | head -c 3000000 >&2; echo 'the last words' >&2; exit 3"
    unit = Unit(tmp_path, {"ref": {}, "bad": {"BEFORE": flood}})
    _, message = unit.outcome("bad")
    assert message.endswith("the last words")
    assert len(message) < 2200


def test_much_output_on_both_streams_below_the_cap_is_fine(tmp_path: Path) -> None:
    chatter = "yes chatter | head -c 2000000; yes chatter | head -c 2000000 >&2"
    unit = Unit(tmp_path, {"ref": {"BEFORE": chatter}}, "once")
    unit.run()
    assert unit.lines()[0]["status"] == "ok"


def test_the_worker_stays_small_whatever_is_printed(tmp_path: Path) -> None:
    flood = "yes 'a line of output' | head -c 20000000 >&2; exec yes 'time k 0.1'"
    wrong = "yes 'residual k 99' | head -c 500000"
    configs = {"a": {"BEFORE": flood}, "b": {"BEFORE": flood}, "wrong": {"BEFORE": wrong}}
    # A process has at least the size that the one it was forked from had: not that of the tests.
    seen = tmp_path / "maxrss_kib"
    small = (
        "import resource, subprocess, sys; code = subprocess.call(sys.argv[2:]); "
        "used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss; "
        "open(sys.argv[1], 'w').write(str(used)); sys.exit(code)"
    )
    with Unit(tmp_path, configs, "once").start(PYTHON, "-c", small, str(seen)) as process:
        assert process.wait(120) == 0
    lines = parsed(tmp_path / "result.jsonl")
    assert ["too much output" in x["check"]["message"] for x in lines] == [True, True, False]
    assert lines[-1]["status"] == "wrong"
    assert int(seen.read_text()) * 1024 < 8 * worker.STDOUT_CAP_BYTES


@pytest.mark.parametrize("how", ["", "trap '' TERM;"])
def test_a_timeout_ends_the_whole_family(tmp_path: Path, how: str) -> None:
    family = f'{how} sleep 300 & echo $! > "$HERE/child"; {how} wait; sleep 300'
    unit = Unit(tmp_path, {"hung": {"BEFORE": family}}, "once")
    unit.spec["timeout_s"] = 1.0
    assert unit.outcome("hung")[0] == "timeout"
    assert gone(tmp_path / "child")


def test_what_a_process_leaves_behind_is_ended(tmp_path: Path) -> None:
    unit = Unit(tmp_path, {"ref": {"BEFORE": 'sleep 300 & echo $! > "$HERE/child"'}}, "once")
    unit.run()
    assert unit.lines()[0]["status"] == "ok"
    assert gone(tmp_path / "child")


def test_a_reference_that_fails_once_is_tried_again(tmp_path: Path) -> None:
    once = 'if mkdir "$HERE/first" 2>/dev/null; then exit 9; fi'
    unit = Unit(tmp_path, {"ref": {"BEFORE": once}, "a": {}})
    assert unit.run()[0] == 0
    assert [x["status"] for x in unit.of("ref")] == ["failed"] + ["ok"] * 4
    assert [x["status"] for x in unit.of("a")] == ["ok"] * 4


def test_a_reference_that_fails_twice_ends_the_unit(tmp_path: Path) -> None:
    unit = Unit(tmp_path, {"ref": {"R": "1000"}, "a": {}})
    code, stderr = unit.run()
    assert code == worker.EXIT_REFERENCE == unit.done()["exit"]
    assert [(x["config"], x["status"]) for x in unit.lines()] == [("ref", "wrong")] * 2
    assert "failed twice" in stderr


# --- being killed, and taking over ---------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_stop_signal_keeps_what_was_measured(tmp_path: Path, number: signal.Signals) -> None:
    hang = 'sleep 300 & echo $! > "$HERE/child.new"; mv "$HERE/child.new" "$HERE/child"; wait'
    unit = Unit(tmp_path, {"ref": {}, "hung": {"BEFORE": hang}}, "fixed")
    process = unit.start()
    wait_for((tmp_path / "child").exists)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 128 + number == unit.done()["exit"]
    assert f"signal {number:d}" in stderr
    assert [(x["config"], x["status"]) for x in unit.lines()] == [("ref", "ok")]
    assert gone(tmp_path / "child")


def test_a_child_hit_by_the_same_signal_is_not_blamed(tmp_path: Path) -> None:
    hang = 'echo $$ > "$HERE/child.new"; mv "$HERE/child.new" "$HERE/child"; exec sleep 300'
    unit = Unit(tmp_path, {"ref": {}, "hung": {"BEFORE": hang}}, "fixed")
    process = unit.start()
    wait_for((tmp_path / "child").exists)
    os.kill(int((tmp_path / "child").read_text()), signal.SIGTERM)
    time.sleep(0.2)
    process.terminate()
    process.communicate(timeout=300)
    assert unit.of("hung") == []
    assert unit.done()["exit"] == 143


@pytest.mark.parametrize("started", [3, 5, 6])
def test_after_kill_9_the_next_worker_goes_on(tmp_path: Path, started: int) -> None:
    nth = f'[ $(grep -c . "$HERE/starts") -ne {started} ] || exec sleep 300'
    unit = Unit(tmp_path, {"ref": {"BEFORE": nth}, "a": {"BEFORE": nth}}, "fixed")
    starts = tmp_path / "starts"
    process = unit.start()
    wait_for(lambda: starts.exists() and starts.read_text().count("\n") == started)
    process.kill()
    process.communicate()
    kept = unit.lines()
    assert len(kept) == started - 1
    assert unit.run()[0] == 0
    lines = unit.lines()
    assert lines[: len(kept)] == kept
    assert [(x["config"], x["pair"]) for x in lines[len(kept) :]][:2] == [("ref", 0), ("a", 0)]
    assert lines[len(kept) + 2]["pair"] == kept[-1]["pair"] + 1
    both = {x["pair"] for x in unit.of("ref")} & {x["pair"] for x in unit.of("a")} - {0}
    assert len(both) == RULE["pairs"]
    assert (tmp_path / "claim.1").is_dir()


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_instants_it_loses_and_repeats_nothing(tmp_path: Path, seed: int) -> None:
    """Python's start takes some 50 ms, a process 10, the whole unit some 250."""
    draw = random.Random(seed)
    unit = Unit(tmp_path, {"ref": {}, "a": {}, "b": {}}, "fixed")
    kept: list[str] = []
    for _ in range(4):
        process = unit.start()
        time.sleep(draw.uniform(0.0, 0.3))
        process.kill()
        process.communicate()
        log = tmp_path / "result.jsonl"
        now = log.read_text().splitlines() if log.exists() else []
        assert now[: len(kept)] == kept
        kept = now
    if not (tmp_path / "claim" / "owner.json").exists():  # killed between the two
        shutil.rmtree(tmp_path / "claim", ignore_errors=True)
    unit.run()
    assert unit.done()["exit"] == 0
    whole = [x for x in parsed(tmp_path / "result.jsonl") if x["pair"] > 0]
    runs = [(x["config"], x["pair"]) for x in whole]
    assert len(runs) == len(set(runs))
    # A cycle that was cut short counts for the challenger that it has, and not for the other.
    for name in ("a", "b"):
        both = [pair for other, pair in runs if other == name and ("ref", pair) in runs]
        assert len(both) == RULE["pairs"]


def parsed(path: Path) -> list[dict[str, Any]]:
    """The lines that are whole: a write may be cut by a kill."""
    found = []
    for line in path.read_text().splitlines():
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


def test_a_killed_worker_leaves_no_process_that_disturbs_the_next(tmp_path: Path) -> None:
    hang = 'echo $$ > "$HERE/child.new"; mv "$HERE/child.new" "$HERE/child"; exec sleep 300'
    unit = Unit(tmp_path, {"ref": {"BEFORE": hang}})
    process = unit.start()
    wait_for((tmp_path / "child").exists)
    process.kill()
    process.communicate()
    wait_for(lambda: gone(tmp_path / "child"))


def test_a_verdict_survives_the_worker(tmp_path: Path) -> None:
    unit = Unit(tmp_path, {"ref": {}, "bad": {"R": "99"}, "slow": {"T": "0.5"}, "a": {}})
    unit.run()
    before = unit.lines()
    (tmp_path / "done.json").unlink()
    unit.run()
    again = unit.lines()[len(before) :]
    assert {x["config"] for x in again} == {"ref"}


def test_a_torn_line_is_closed_before_the_next(tmp_path: Path) -> None:
    unit = Unit(tmp_path, {"ref": {}}, "once")
    (tmp_path / "result.jsonl").write_text('{"config": "ref", "pa')
    assert unit.run()[0] == 0
    torn, whole = (tmp_path / "result.jsonl").read_text().splitlines()
    assert torn == '{"config": "ref", "pa'
    assert json.loads(whole)["status"] == "ok"


def test_a_finished_unit_is_left_alone(tmp_path: Path) -> None:
    unit = Unit(tmp_path, {"ref": {}}, "once")
    unit.run()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, stderr = unit.run()
    assert code == 0
    assert "nothing to do" in stderr
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def race(unit: Unit, workers: int) -> None:
    started = [unit.start() for _ in range(workers)]
    for process in started:
        assert "Traceback" not in process.communicate(timeout=300)[1]
    assert [process.returncode for process in started] == [0] * workers
    runs = [(x["config"], x["pair"]) for x in unit.lines()]
    assert len(runs) == len(set(runs)) == 10
    assert unit.done()["exit"] == 0


@pytest.mark.parametrize("attempt", range(3))
def test_of_two_workers_at_once_exactly_one_measures(tmp_path: Path, attempt: int) -> None:
    race(Unit(tmp_path, {"ref": {}, f"a{attempt}": {}}, "fixed"), 2)
    assert not (tmp_path / "claim.1").exists()


@pytest.mark.parametrize("attempt", range(3))
def test_of_workers_that_take_over_exactly_one_measures(tmp_path: Path, attempt: int) -> None:
    held_by(tmp_path, {})
    race(Unit(tmp_path, {"ref": {}, f"a{attempt}": {}}, "fixed"), 4)
    assert not (tmp_path / "claim.2").exists()


def held_by(path: Path, change: dict[str, Any]) -> None:
    """A claim of a process of this host and boot that has ended, with changes."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    owner = {**worker.identity(), "pid": ended.pid, "started": 1, **change}
    (path / "claim").mkdir()
    (path / "claim" / "owner.json").write_text(json.dumps(owner))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, 0),
        ({"pid": os.getpid()}, 0),  # the number was given to another process since
        ({"boot_id": "of an earlier boot", "pid_namespace": "any"}, 0),
        ({"host": "another-host"}, worker.EXIT_CLAIMED),
        ({"pid_namespace": "pid:[1]"}, worker.EXIT_CLAIMED),
    ],
)
def test_only_a_worker_known_to_be_gone_loses_its_claim(
    tmp_path: Path, change: dict[str, Any], code: int
) -> None:
    held_by(tmp_path, change)
    unit = Unit(tmp_path, {"ref": {}}, "once")
    seen, stderr = unit.run()
    assert seen == code
    assert (tmp_path / "result.jsonl").exists() == (code == 0)
    assert ("cannot be seen" in stderr) == (code != 0)


def test_the_same_job_run_again_on_another_node_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_by(tmp_path, {"host": "lost-node", "boot_id": "another", "job": "17"})
    unit = Unit(tmp_path, {"ref": {}}, "once")
    monkeypatch.setenv("SLURM_JOB_ID", "18")
    assert unit.run()[0] == worker.EXIT_CLAIMED
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURMD_NODENAME", "n7")
    assert unit.run()[0] == 0
    assert unit.done()["node"] == "n7"
    assert (tmp_path / "claim.1").is_dir()


def test_a_worker_whose_claim_was_taken_over_writes_nothing_more(tmp_path: Path) -> None:
    """As on a node that the scheduler gave up, and that lives on."""
    unit = Unit(tmp_path, {"ref": {}, "a": {}}, "fixed")
    seize = (
        "import json, pathlib\n"
        "path = pathlib.Path('claim/owner.json')\n"
        "owner = json.loads(path.read_text())\n"
        "path.write_text(json.dumps({**owner, 'host': 'the-other'}))\n"
    )
    (tmp_path / "seize.py").write_text(seize)
    unit.spec["command"] = [
        "sh",
        "-c",
        f'cd "$HERE" && "{PYTHON}" seize.py; exec "$0" "$@"',
        *unit.spec["command"],
    ]
    code, stderr = unit.run()
    assert code == worker.EXIT_CLAIMED
    assert "the-other" in stderr
    assert not (tmp_path / "result.jsonl").read_text()
    assert not (tmp_path / "done.json").exists()


def test_a_live_owner_keeps_its_claim(tmp_path: Path) -> None:
    held_by(tmp_path, worker.identity())
    code, stderr = Unit(tmp_path, {"ref": {}}, "once").run()
    assert code == 0
    assert f"process {os.getpid()}" in stderr
    assert not (tmp_path / "result.jsonl").exists()


def test_a_claim_without_an_owner_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "claim").mkdir()
    code, _ = Unit(tmp_path, {"ref": {}}, "once").run()
    assert code == worker.EXIT_CLAIMED
    assert not (tmp_path / "result.jsonl").exists()


# --- bad input and full disks --------------------------------------------------------------------


def test_a_full_disk_ends_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "result.jsonl").symlink_to("/dev/full")
    code, stderr = Unit(tmp_path, {"ref": {}}, "once").run()
    assert code == worker.EXIT_WRITE
    assert stderr.count("\n") == 1
    assert "No space left" in stderr
    assert not (tmp_path / "done.json").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, "schema 2"),
        ({"mode": "quick"}, "quick"),
        ({"reference": "nobody"}, "nobody"),
        ({"budget_s": "much"}, "much"),
        ({"command": None}, "None"),
        ({"weights": {"other": 1.0}}, "weights"),
        ({"stop_rule": {}}, "min_pairs"),
        ({"check": {"figure": "("}}, "unterminated"),
        ({"check": {"direction": "up"}, "weights": {}}, "direction 'up'"),
    ],
)
def test_a_bad_spec_is_refused_before_anything_is_touched(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    unit = Unit(tmp_path, {"ref": {}})
    unit.spec = {**copy.deepcopy(unit.spec), **change}
    code, stderr = unit.run()
    assert code == worker.EXIT_SPEC
    assert stderr.count("\n") == 1
    assert words in stderr
    assert not (tmp_path / "claim").exists()


def test_a_spec_that_is_not_there_or_no_json(tmp_path: Path) -> None:
    (tmp_path / "torn.json").write_text('{"schema": 1')
    for name in ("absent.json", "torn.json"):
        argv = [PYTHON, str(SOURCE), str(tmp_path / name)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == worker.EXIT_SPEC
        assert name in done.stderr
        assert "Traceback" not in done.stderr


# --- an old python on the compute node -----------------------------------------------------------

LATER_KEYWORDS = {"capture_output", "text", "umask", "user", "group", "process_group", "dir_fd"}


def test_the_worker_is_python_3_6() -> None:
    tree = ast.parse(SOURCE.read_text(), feature_version=(3, 6))
    known = json.loads((FIXTURES / "stdlib-3.6.json").read_text())
    names = {module: set(text.split()) for module, text in known.items()}
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert {alias.name for alias in node.names} <= names[node.module or ""]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id in imported:
                assert node.attr in names[node.value.id], f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.Call):
            assert not {keyword.arg for keyword in node.keywords} & LATER_KEYWORDS
    assert imported <= names.keys()
    newer = (set(dir(str)) | set(dir(bytes))) - names["str"] - names["bytes"]
    later = {name for name in newer if not name.startswith("_")}
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not used & later
