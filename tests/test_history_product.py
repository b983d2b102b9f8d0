"""Runs for real that leave something for the next one, and what becomes of it."""

from __future__ import annotations

import getpass
import json
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from mainjob import Bench, Inside, make_bench
from test_history import record

from hpcagent.records import Event
from hpcagent.study import history
from hpcagent.study.history_recall import earlier_in
from hpcagent.study.journal import read_journal
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.proposing import Proposer
from hpcagent.study.state import TuneState, fold

pytestmark = pytest.mark.openblas

OTHER = "cases:\n  - {routine: dgemm, m: 64, n: 64, k: 64}\n  - {routine: dpotrf, n: 48}\n"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Two runs, the second of other sizes; `run` is the second."""
    folder = tmp_path_factory.mktemp("history")
    made = Inside(folder, make_bench(folder).env)
    made.env["HPCAGENT_HISTORY"] = str(made.folder / "store")
    (made.folder / "other.yaml").write_text(OTHER)
    first = made.tune("--budget", "rounds=1", "--run-dir", str(made.folder / "first"))
    assert first.returncode == 0, first.stderr
    assert "no prior: there are no earlier runs" in " ".join(first.stdout.split())
    second = made.tune("--budget", "rounds=2", "--workload", "other.yaml")
    assert second.returncode == 0, second.stderr
    return made


def decision(events: list[dict[str, Any]]) -> Mapping[str, Any]:
    [found] = [e["data"] for e in events if e["data"].get("what") == "history"]
    return found


def test_a_second_run_uses_what_the_first_found_and_says_so(bench: Bench) -> None:
    run = json.loads((bench.folder / "first" / "run.json").read_text())["id"]
    words = f"prior from 1 earlier run: {run} (trust 0."
    for command in ("status", "report"):
        assert words in " ".join(bench.hpcagent(command, str(bench.run)).stdout.split())
    assert words in (bench.run / "result" / "report.md").read_text().replace("\\", "")
    taken = earlier_in({"history": decision(bench.events())})
    assert len(taken[0].trials) >= 3
    assert 0.5 < taken[0].trust < 1.0


def test_the_store_names_no_host_and_no_user(bench: Bench) -> None:
    listed = json.loads(bench.hpcagent("history", "list", "--json").stdout)
    assert [row["outcome"] in ("improved", "nothing better") for row in listed] == [True, True]
    text = bench.hpcagent("history", "export", "-").stdout
    assert len(text.splitlines()) == 2
    for secret in (socket.gethostname(), str(bench.folder), f'"{getpass.getuser()}"'):
        assert secret not in text
    assert "dgemm_64x64x64" in listed[1]["workload"]
    assert "dgemm_64x64x64" in bench.hpcagent("history", "list").stdout
    shown = bench.hpcagent("history", "show", listed[1]["run"]).stdout
    assert "dgemm_64x64x64" in shown
    assert "(default)" in shown


def test_the_same_is_proposed_again_whatever_the_store_holds_by_then(
    bench: Bench, tmp_path: Path
) -> None:
    events = list(read_journal(bench.run / "journal.jsonl"))
    shutil.move(bench.folder / "store", tmp_path / "elsewhere")
    try:
        for place, event in enumerate(events):
            if event.type == "proposed":
                assert _proposed(fold(events[:place]), event, tmp_path) == event.data["proposals"]
    finally:
        shutil.move(tmp_path / "elsewhere", bench.folder / "store")


def _proposed(state: TuneState, event: Event, folder: Path) -> list[dict[str, Any]]:
    proposer = Proposer(state.settings, folder / "llm.jsonl")
    found, _ = proposer.propose(Knowledge(state), event.data["round"], lambda call: None)
    proposer.close()
    return [
        {"config": p.config.values, "reason": p.reason, "proposed_by": p.proposed_by} for p in found
    ]


def cut(bench: Bench, folder: Path, store: Path, before: str, purpose: str = "") -> Bench:
    """A copy of the run as it was before an event, with another store."""
    copy = Bench(folder, {**bench.env, "HOME": str(folder), "HPCAGENT_QUEUE": str(folder / "q")})
    shutil.copytree(bench.run, copy.run)
    events = copy.events()
    events[0]["data"]["settings"]["history"] = str(store)
    named = {e["data"]["unit"] for e in events if e["data"].get("purpose") == purpose}
    end = next(
        i for i, e in enumerate(events)
        if e["type"] == before and (not purpose or e["data"]["unit"] in named)
    )  # fmt: skip
    for event in events[end:]:
        if event["type"] == "unit_intent":
            shutil.rmtree(copy.run / "work" / event["data"]["unit"], ignore_errors=True)
    lines = [json.dumps(event) for event in events[:end]]
    (copy.run / "journal.jsonl").write_text("\n".join(lines) + "\n")
    return copy


def test_a_run_that_cannot_be_kept_ends_all_the_same(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "full").write_text("")
    copy = cut(bench, tmp_path, tmp_path / "full" / "store", "run_closed")
    done = copy.hpcagent("resume", str(copy.run))
    assert done.returncode == 0, done.stderr
    assert "not kept for later runs: cannot keep the history in" in " ".join(done.stdout.split())


def test_what_an_interrupted_run_had_measured_is_kept(bench: Bench, tmp_path: Path) -> None:
    copy = cut(bench, tmp_path, tmp_path / "store", "unit_result", "round-1")
    done = copy.hpcagent("step", str(copy.run))
    assert done.returncode == 0, done.stderr
    [kept] = history.read([tmp_path / "store"]).records
    assert kept.outcome == ""
    assert sum(trial.log_ratio is not None for trial in kept.trials) >= 2
    assert copy.hpcagent("cancel", str(copy.run)).returncode == 0
    [kept] = history.read([tmp_path / "store"]).records
    assert kept.outcome == "cancelled"


def test_a_run_can_be_left_out_and_added_later(bench: Bench, tmp_path: Path) -> None:
    env = {**bench.env, "HPCAGENT_HISTORY": str(tmp_path / "new")}
    elsewhere = Bench(bench.folder, env)
    assert elsewhere.hpcagent("history", "list").stdout.startswith("no earlier runs")
    assert elsewhere.hpcagent("history", "add", str(bench.folder / "first")).returncode == 0
    assert len(history.read([tmp_path / "new"]).records) == 1
    off = Bench(bench.folder, {**bench.env, "HPCAGENT_HISTORY": "off"})
    refused = off.hpcagent("history", "add", str(bench.folder / "first"))
    assert (refused.returncode, "switched off" in refused.stderr) == (3, True)
    assert off.hpcagent("history", "path").stdout == "off\n"
    listed = off.hpcagent("history", "list").stdout
    assert "switched off" in listed and "keeps what it finds" not in listed


def test_what_a_ratio_is_of_is_told(bench: Bench, tmp_path: Path) -> None:
    history.add(tmp_path / "new", record("memory", objective="memory"))
    inside = Inside(bench.folder, {**bench.env, "HPCAGENT_HISTORY": str(tmp_path / "new")})
    assert "best seen 1.284x in memory" in inside.hpcagent("history", "list").stdout
    page = inside.hpcagent("history", "show", "memory").stdout
    assert "gain      in memory, over the default's" in page
    assert "speed-up" not in page
    assert "1 socket\n" in page
