"""The store of earlier runs: it survives cuts, crowds and strangers, and never fails a run."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.apps.card import Card, load_card
from hpcagent.errors import EnvironmentProblem, UsageError
from hpcagent.records import Config
from hpcagent.search.opening import FASTEST_BEFORE, HEEDED
from hpcagent.study import history, history_card
from hpcagent.study.durable import json_bytes
from hpcagent.study.history_fold import merged
from hpcagent.study.history_match import MOST_TRIALS, Present, matching, trust
from hpcagent.study.history_recall import came_of
from hpcagent.study.history_record import Record, record_from
from hpcagent.study.summary import TrialSummary

CORES = ("auto", "Haswell", "Zen")


def row(run: str = "tune-20260101-000000-aaaa", **changes: Any) -> dict[str, Any]:
    size = changes.pop("size", 512)
    machine = {
        "architecture": "x86_64", "microarchitecture": "icelake", "cores": 8,
        "threads_per_core": 2, "sockets": 1, "numa_nodes": 1,
        "caches": [[1, "data", 48, 8], [3, "unified", 32768, 1]], "memory_gib": 64,
        **changes.pop("machine", {}),
    }  # fmt: skip
    library = {
        "name": "openblas", "version": "0.3.21", "threading": "pthreads", "interface": "lp64",
        "dynamic_arch": True, "core": "SkylakeX", **changes.pop("library", {}),
    }  # fmt: skip
    case = {"routine": "dgemm", "m": size, "n": size, "k": size, "transa": "N", "transb": "N"}
    return {
        "schema": 1,
        "run": run,
        "t_utc": "2026-01-01T00:00:00.000Z",
        "hpcagent": "0.1.0",
        "outcome": "improved",
        "machine": machine,
        "library": library,
        "workload": [{**case, "weight": 1.0}],
        "space": [
            {"name": "core", "kind": "categorical", "values": list(CORES), "default": "auto"},
            {"name": "threads", "kind": "ordinal", "values": ["1", "2", "4"], "default": "4"},
        ],
        "trials": [
            tried("auto", "4", 0.0),
            tried("Haswell", "2", -0.25),
            tried("Zen", "1", None, failure="run.illegal_instruction"),
        ],
        **changes,
    }


def tried(core: str, threads: str, log_ratio: float | None, failure: str = "") -> dict[str, Any]:
    spread = None if log_ratio is None else 0.01
    values = {"core": core, "threads": threads}
    when = "2026-01-01T00:10:00.000Z"
    return {"values": values, "log_ratio": log_ratio, "spread": spread, "failure": failure,
            "pairs": 8, "t_utc": when}  # fmt: skip


def record(run: str = "tune-20260101-000000-aaaa", **changes: Any) -> Record:
    return record_from(row(run, **changes))


names = st.integers(0, 10**6).map(lambda n: f"tune-20260101-000000-{n}")
ratios = st.one_of(st.none(), st.floats(-3.0, 3.0))
trials = st.lists(
    st.builds(tried, st.sampled_from(CORES), st.sampled_from(["1", "2", "4"]), ratios), max_size=6
)
records = st.lists(
    st.builds(lambda run, found: record(run, trials=found), names, trials),
    max_size=6, unique_by=lambda r: r.run,
)  # fmt: skip


# --- the form -------------------------------------------------------------------------------------


@given(records, st.data())
def test_any_cut_of_a_file_can_be_read(found: list[Record], data: st.DataObject) -> None:
    whole = history.exported(found)
    end = data.draw(st.integers(0, len(whole)))
    lines = history.parse_lines(whole[:end])
    # A line that lacks nothing but its end is whole as well.
    count = (whole[:end] + b"\n").count(b"}\n") if end else 0
    assert list(lines.records) == found[: len(lines.records)]
    assert whole[:end].count(b"\n") <= len(lines.records) <= count
    assert lines.damaged <= 1


@given(st.binary(max_size=300))
def test_no_bytes_are_an_error(raw: bytes) -> None:
    assert history.parse_lines(raw).records == ()


@given(found=records)
def test_what_is_exported_and_imported_is_the_same(
    found: list[Record], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("store")
    for each in history.parse_lines(history.exported(found)).records:
        history.add(folder, each)
    again = history.read([folder])
    assert sorted(again.records, key=lambda r: r.run) == sorted(found, key=lambda r: r.run)
    assert again.notes == ()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"run": "../../etc/passwd"}, "run"),
        ({"run": "a\nb"}, "run"),
        ({"trials": [tried("auto", "4", float("1e9"))]}, "trials.0.log_ratio"),
        ({"trials": [tried("auto", "4", -14.0)]}, "trials.0.log_ratio"),
        ({"trials": [tried("Cray", "4", 0.0)]}, "not in the space"),
        ({"machine": {"cores": 0}}, "machine.cores"),
        (
            {"space": [{"name": "a", "kind": "ordinal", "values": ["1"], "default": "2"}]},
            "space.0: .*default is none of the values",
        ),
        ({"library": {"version": "\x1b[2J"}}, "library.version"),
        ({"workload": []}, "workload"),
        ({"space": []}, "space"),
    ],
)
def test_a_record_of_strangers_is_checked(change: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        record_from(row(**change))


# --- the store ------------------------------------------------------------------------------------


def test_a_run_that_is_kept_again_replaces_itself(tmp_path: Path) -> None:
    assert history.add(tmp_path, record(outcome=""))
    assert history.add(tmp_path, record(outcome="improved"))
    assert not history.add(tmp_path, record(outcome="improved"))
    assert [r.outcome for r in history.read([tmp_path]).records] == ["improved"]


def test_torn_and_newer_lines_are_passed_over_with_a_note(tmp_path: Path) -> None:
    history.add(tmp_path, record())
    path = next(tmp_path.iterdir())
    with path.open("ab") as stream:
        stream.write(json_bytes({"schema": 7, "run": "x"}) + b'{"schema":1,"run":"tu')
    found = history.read([tmp_path])
    assert [r.run for r in found.records] == ["tune-20260101-000000-aaaa"]
    assert "1 damaged line passed over" in found.notes[0]
    assert "1 line of a newer hpcagent" in found.notes[1]
    # What is added after a torn line is whole.
    history.add(tmp_path, record(outcome="nothing better"))
    assert history.read([tmp_path]).records[0].outcome == "nothing better"


def test_many_writers_spoil_nothing(tmp_path: Path) -> None:
    def write(number: int) -> None:
        for outcome in ("", "improved"):
            history.add(tmp_path, record(f"tune-20260101-000000-{number}", outcome=outcome))
            history.tidy(tmp_path, most=8)

    with ThreadPoolExecutor(12) as pool:
        for written in [pool.submit(write, n) for n in range(12)]:
            written.result(60)
    history.tidy(tmp_path, most=8)
    found = history.read([tmp_path])
    assert found.notes == ()
    assert len(found.records) <= 8
    runs = {run for r in found.records for run in (r.run, *r.folded)}
    assert runs >= {f"tune-20260101-000000-{n}" for n in range(12)}


def test_the_site_store_is_read_and_the_users_own_wins(tmp_path: Path) -> None:
    own, site = tmp_path / "own", tmp_path / "site"
    history.add(site, record("tune-a", outcome=""))
    history.add(site, record("tune-b"))
    history.add(own, record("tune-a", outcome="improved"))
    found = history.read([own, site])
    assert {r.run: r.outcome for r in found.records} == {"tune-a": "improved", "tune-b": "improved"}


def test_a_folder_that_cannot_serve_is_one_clear_line(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(EnvironmentProblem, match="cannot keep the history in"):
        history.add(blocked / "store", record())
    assert "cannot read" in history.read([blocked]).notes[0]
    assert history.read([tmp_path / "nothing"]) == history.Found(())


def test_forgetting(tmp_path: Path) -> None:
    history.add(tmp_path, record("tune-a"))
    history.forget(tmp_path, "tune-a")
    assert history.read([tmp_path]).records == ()
    with pytest.raises(UsageError, match="tune-a is not in"):
        history.forget(tmp_path, "tune-a")
    with pytest.raises(UsageError, match="no id of a run"):
        history.forget(tmp_path, "../x")


# --- folding --------------------------------------------------------------------------------------


def test_old_runs_of_one_kind_become_one_record(tmp_path: Path) -> None:
    for n in range(12):
        history.add(tmp_path, record(f"tune-{n:02}", t_utc=f"2026-01-{n + 1:02}T00:00:00.000Z"))
    history.add(tmp_path, record("tune-other", machine={"microarchitecture": "zen3"}))
    history.tidy(tmp_path, most=5)
    found = history.read([tmp_path]).records
    assert {r.run for r in found if not r.folded} == {"tune-10", "tune-11", "tune-other"}
    [fold] = [r for r in found if r.folded]
    assert len(fold.folded) == 10
    ratio = {tuple(t.values.values()): (t.log_ratio, t.pairs) for t in fold.trials}
    assert ratio["Haswell", "2"] == (pytest.approx(-0.25), 80)
    with pytest.raises(UsageError, match=f"forget {fold.run}"):
        history.forget(tmp_path, "tune-03")


def test_a_fold_that_was_killed_halfway_doubles_nothing(tmp_path: Path) -> None:
    old = [record(f"tune-{n}") for n in range(4)]
    for each in (*old, merged(old)):
        history.add(tmp_path, each)
    assert [r.folded != [] for r in history.read([tmp_path]).records] == [True]


def test_what_was_measured_more_precisely_counts_for_more() -> None:
    rough, fine = tried("Zen", "2", 0.4), {**tried("Zen", "2", 0.1), "spread": 0.002}
    [both] = merged([record("a", trials=[rough]), record("b", trials=[fine])]).trials
    assert both.log_ratio == pytest.approx(0.1, abs=0.02)
    assert both.spread is not None and both.spread < 0.002


# --- which runs can speak -------------------------------------------------------------------------


def present(size: int = 512) -> Present:
    own = record(size=size)
    return Present(own.machine, own.library, tuple(w.case for w in own.workload))


def test_what_another_routine_wants_leads_nobody() -> None:
    own = present()
    other = replace(own, workload=tuple(replace(c, routine="dsyrk") for c in own.workload))
    assert trust(other, record()) < HEEDED
    single = replace(own, workload=tuple(replace(c, routine="sgemm") for c in own.workload))
    assert trust(single, record()) > 0.7, "another precision of the same"
    assert trust(own, record(machine={"microarchitecture": "zen3"})) >= HEEDED


def test_instructions_that_another_processor_lacks_are_not_doubted_here() -> None:
    def failures(**machine: str) -> list[str]:
        kinds = [tried("Zen", "1", None, f"run.{k}") for k in ("illegal_instruction", "signal")]
        [run] = matching(present(), [record(machine=machine, trials=kinds)])
        return [t.failure.kind for t in run.trials if t.failure is not None]

    assert failures() == ["illegal_instruction", "signal"]
    assert failures(microarchitecture="zen3") == ["signal"]


def test_trust_falls_with_distance() -> None:
    like = [
        record(),
        record(size=1024),
        record(size=8192),
        record(size=8192, machine={"microarchitecture": "zen3"}),
        record(size=8192, machine={"microarchitecture": "zen3"}, library={"threading": "openmp"}),
    ]
    found = [trust(present(), each) for each in like]
    assert found[0] == 1.0
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == len(found)
    assert trust(present(), record(objective="energy")) == 0.0
    assert trust(present(), record(machine={"architecture": "aarch64"})) == 0.0


CARD = load_card("openblas").model_dump(by_alias=True)


def edited(change: Callable[[dict[str, Any]], Any]) -> Card:
    data = copy.deepcopy(CARD)
    change(data)
    return Card.model_validate(data)


def marked(card: Card) -> dict[str, Any]:
    """What a record of a run with this card has beside `row`."""
    sets = history_card.sets(card)
    space = [{**each, "sets": sets[each["name"]]} for each in row()["space"]]
    return {"measures": history_card.measures(card, "time"), "space": space}


def with_card(card: Card) -> Present:
    mark = history_card.measures(card, "time")
    return replace(present(), measures=mark, sets=history_card.sets(card))


@pytest.mark.parametrize(
    ("change", "trusted"),
    [
        (lambda card: None, 1.0),
        (lambda card: card["space"][0].update(meaning="in other words", hint=None), 1.0),
        (lambda card: card["resources"].update(exclusive=False), 1.0),
        (lambda card: card["command"]["argv"].append("--fast"), 0.4),
        (lambda card: card["build"]["params"].update(flags=["-O3"]), 0.4),
        (lambda card: card["figures_of_merit"][0].update(regex="(?P<key>x)(?P<value>y)"), 0.4),
    ],
)
def test_a_card_of_the_same_name_is_trusted_for_what_it_still_measures(
    change: Callable[[dict[str, Any]], Any], trusted: float
) -> None:
    before = record(**marked(load_card("openblas")))
    assert trust(with_card(edited(change)), before) == pytest.approx(trusted)
    assert trust(with_card(edited(change)), record()) == 1.0, "older records have no marks"


def test_the_figure_that_was_searched_for_is_what_counts_of_an_edited_card() -> None:
    def two(card: dict[str, Any]) -> None:
        card["figures_of_merit"].append({**card["figures_of_merit"][0], "name": "flops"})

    def other(card: dict[str, Any]) -> None:
        two(card)
        card["figures_of_merit"][1]["regex"] = "(?P<key>x)(?P<value>y)"

    before, after = edited(two), edited(other)
    assert history_card.measures(before, "time") == history_card.measures(after, "time")
    assert history_card.measures(before, "flops") != history_card.measures(after, "flops")


def test_a_mark_outlives_versions_that_know_more_of_cards() -> None:
    """What is at its default does not count, so that a field that is new changes no mark."""

    class Command(type(load_card("openblas").command)):  # type: ignore[misc]
        new: str = "as ever"

    card = load_card("openblas")
    told = card.command.model_dump(by_alias=True)
    later = card.model_copy(update={"command": Command.model_validate(told)})
    assert history_card.measures(card, "time") == history_card.measures(later, "time")


def test_a_parameter_that_sets_something_else_now_is_another_one() -> None:
    def other(card: dict[str, Any]) -> None:
        one = next(each for each in card["space"] if each["name"] == "threads")
        one["env"] = {"GOTO_NUM_THREADS": "{value}"}

    [run] = matching(with_card(edited(other)), [record(**marked(load_card("openblas")))])
    assert run.trust == 1.0
    assert [param.name for param in run.params] == ["core", "threads as it was"]
    assert {name for trial in run.trials for name in trial.config.values} == {
        "core", "threads as it was",
    }  # fmt: skip
    [same] = matching(with_card(load_card("openblas")), [record(**marked(load_card("openblas")))])
    assert [param.name for param in same.params] == ["core", "threads"]


def test_runs_of_an_edited_card_are_not_folded_into_one_with_those_before(tmp_path: Path) -> None:
    for n in range(12):
        card = load_card("openblas") if n < 6 else edited(lambda c: c["command"]["argv"].append(""))
        moment = f"2026-01-{n + 1:02}T00:00:00.000Z"
        history.add(tmp_path, record(f"tune-{n:02}", t_utc=moment, **marked(card)))
    history.tidy(tmp_path, most=6)
    found = history.read([tmp_path]).records
    assert {frozenset(r.folded) for r in found if r.folded} == {
        frozenset(f"tune-{n:02}" for n in range(4)),
        frozenset(f"tune-{n:02}" for n in range(6, 10)),
    }


def test_the_best_runs_are_taken_and_few_of_them() -> None:
    found = matching(present(), [record(f"tune-{n}", size=512 + 64 * n) for n in range(9)])
    assert [run.name for run in found] == ["tune-0", "tune-1", "tune-2", "tune-3"]
    assert found[0].trials[-1].failure is not None
    assert matching(present(), [record(machine={"architecture": "aarch64"})]) == ()


def test_of_a_long_run_the_fastest_and_the_failed_are_kept() -> None:
    cores = [f"c{n}" for n in range(300)]
    space = [{"name": "core", "kind": "categorical", "values": cores, "default": "c0"}]
    many = [{**tried("", "", n / 100.0), "values": {"core": c}} for n, c in enumerate(cores[:290])]
    dead = [{**tried("", "", None, "run.signal"), "values": {"core": c}} for c in cores[290:]]
    [run] = matching(present(), [record(space=space, trials=many + dead)])
    assert len(run.trials) <= MOST_TRIALS
    assert sum(t.failure is not None for t in run.trials) == 10
    assert {t.config.values["core"] for t in run.trials} >= set(cores[:20])


def test_the_documented_fields_are_those_of_a_record() -> None:
    page = (Path(__file__).parent.parent / "docs" / "history.md").read_text()
    for name in json.loads(history.line_of(record())):
        assert f"`{name}`" in page


@pytest.mark.parametrize(
    ("speedups", "words"),
    [
        ([], ""),
        ([None], "what they had as the fastest did not run here"),
        ([None, 1.5, 0.9], "what they had as the fastest was measured at 1.5 times"),
    ],
)
def test_a_result_says_what_earlier_runs_led_to(speedups: list[float | None], words: str) -> None:
    trials = [
        TrialSummary(n, 1, Config.of({}), "surrogate", reason, speedup, None, 0, "ok", None, "")
        for n, (reason, speedup) in enumerate(
            [("early coverage of the space", 9.0), *((FASTEST_BEFORE, each) for each in speedups)]
        )
    ]
    assert came_of(trials).startswith(words) and bool(came_of(trials)) == bool(words)
