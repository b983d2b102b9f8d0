"""`tune --model` end to end with a real, if tiny and random, model; also where it is lost."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mainjob import Bench, make_bench
from tiny_gguf import make_tiny_gguf

pytestmark = [pytest.mark.openblas, pytest.mark.llama]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A finished run with a model."""
    bench = _alone(make_bench(tmp_path_factory.mktemp("with model")))
    make_tiny_gguf(bench.folder / "tiny.gguf")
    done = bench.tune("--budget", "rounds=2", "--ahead", "2", "--model", "tiny.gguf")
    assert done.returncode == 0, done.stderr
    return bench


def _alone(bench: Bench) -> Bench:
    """With a lock of its own: what others measure on this node meanwhile is no matter."""
    locks = bench.folder / "locks"
    locks.mkdir(exist_ok=True)
    return Bench(bench.folder, {**bench.env, "HPCAGENT_NODE_LOCK": str(locks)})


def _calls(bench: Bench) -> list[dict[str, Any]]:
    """Those about proposals; the last ones are about the report."""
    calls = [json.loads(line) for line in (bench.run / "llm.jsonl").read_text().splitlines()]
    return [call for call in calls if call["role"] == "optimise"]


def test_every_call_is_in_the_journal_and_whole_in_the_log(bench: Bench) -> None:
    events = [event["data"] for event in bench.events("llm_call")]
    assert {event["role"] for event in events} == {"optimise", "result"}
    journaled = [event for event in events if event["role"] == "optimise"]
    logged = _calls(bench)
    assert [c["prompt_sha256"] for c in logged] == [c["prompt_sha256"] for c in journaled]
    for call in logged:
        assert [role for role, _ in call["messages"]][:2] == ["system", "user"]
        assert call["tokens_in"] > 0
        answer = json.loads(call["answer"])
        if call["op"] == "complete":
            assert set(answer) == {"config"}
        else:
            assert answer["choice"] == max(call["ranking"], key=lambda row: row[1])[0]
            assert answer["reason"] == call["reason"]
            assert sum(math.exp(row[1]) for row in call["ranking"]) == pytest.approx(1.0)
    assert "rank" in {call["op"] for call in logged}
    assert "messages" not in journaled[0] and "ranking" not in journaled[0]


def test_what_the_model_did_is_told_and_true(bench: Bench) -> None:
    verdicts = [call["verdict"] for call in _calls(bench)]
    valid = verdicts.count("accepted")
    invalid = sum(verdict.startswith("rejected: ") for verdict in verdicts)
    assert valid + invalid + verdicts.count("another") == len(verdicts)
    picks = [
        proposal
        for event in bench.events("proposed")
        for proposal in event["data"]["proposals"]
        if proposal["proposed_by"] == "model"
    ]
    assert len(picks) == valid
    words = " ".join(bench.hpcagent("report", str(bench.run)).stdout.split())
    assert f"({valid} valid, {invalid} invalid" in words
    assert f"{len(picks)} pick" in words
    summary = json.loads(bench.hpcagent("status", str(bench.run), "--json").stdout)["model"]
    assert (summary["calls"], summary["valid"]) == (len(verdicts), valid)
    assert summary["ranked"] == sum(call["op"] == "rank" for call in _calls(bench))
    cached = sum(call["tokens_cached"] for call in _calls(bench))
    read = sum(call["tokens_in"] for call in _calls(bench))
    assert summary["cached_share"] == pytest.approx(cached / read)
    assert summary["waited_s"] == pytest.approx(summary["seconds"]), "the node was measured"
    page = (bench.run / "result" / "report.html").read_text()
    assert "tiny.gguf" in page and "nothing was measured" in page
    assert ("from the cache" in page) == (cached > 0)


def test_a_run_whose_model_is_gone_replays_its_transcript(bench: Bench, tmp_path: Path) -> None:
    """Cut before its last proposal, it makes the same one once more, without the model."""
    whole = bench.events()
    cut = max(n for n, e in enumerate(whole) if e["type"] == "proposed")
    copy, model = _cut_copy(bench, tmp_path, _first_call(whole, cut))
    model.unlink()
    done = copy.hpcagent("step", str(copy.run))
    assert done.returncode == 0, done.stderr
    assert copy.events("proposed")[-1]["data"] == whole[cut]["data"], (done.stdout, done.stderr)
    again = [call for call in _calls(copy) if call["round"] == whole[cut]["data"]["round"]]
    assert again and not any("not_in_transcript" in call["verdict"] for call in again)
    copy.hpcagent("cancel", str(copy.run))


def test_the_model_and_a_measurement_never_share_the_node(bench: Bench) -> None:
    """Rounds ahead would let it compute while another one is measured."""
    out: set[str] = set()
    asked = 0
    for event in bench.events():
        data = event["data"]
        if event["type"] == "unit_submitted":
            out.add(data["unit"])
        elif event["type"] == "unit_result":
            out.discard(data["unit"])
        elif event["type"] == "llm_call":
            asked += 1
            assert not out and not data["overlaps"]
        elif data.get("what") == "model_prepared":
            asked += 1
            assert data["beside"] == ["build"] and len(out) == 1
    assert asked >= 3


def _first_call(events: list[dict[str, Any]], cut: int) -> int:
    """The first of the model's calls that led to the event at `cut`."""
    while events[cut - 1]["type"] == "llm_call":
        cut -= 1
    return cut


def _cut_copy(bench: Bench, folder: Path, cut: int) -> tuple[Bench, Path]:
    """A copy of the run as it was before its event `cut`, with a copy of the model."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["cp", "-r", f"{bench.folder}/.", str(folder)], check=True)
    own = {"HPCAGENT_QUEUE": f"{folder}/queue", "HOME": str(folder)}
    copy = _alone(Bench(folder, {**bench.env, **own}))
    model = folder / "tiny.gguf"
    events = copy.events()
    events[0]["data"]["settings"]["models"]["optimise"]["choice"]["file"] = str(model)
    lines = [json.dumps(event) for event in events[:cut]]
    (copy.run / "journal.jsonl").write_text("\n".join(lines) + "\n")
    for event in events[cut:]:
        if event["type"] == "unit_intent":  # else what it measured would be found there
            shutil.rmtree(copy.run / "work" / event["data"]["unit"])
    return copy, model


@pytest.mark.parametrize("loss", ["gone", "truncated"])
def test_a_run_whose_model_is_lost_goes_on_and_says_so(
    bench: Bench, tmp_path: Path, loss: str
) -> None:
    events = bench.events()
    first = next(n for n, e in enumerate(events) if e["type"] == "llm_call")
    copy, model = _cut_copy(bench, tmp_path, first)
    (copy.run / "llm.jsonl").unlink()
    if loss == "gone":
        model.unlink()
    else:
        os.truncate(model, 1000)
    done = copy.hpcagent("resume", str(copy.run))
    assert done.returncode == 0, done.stderr
    assert "the search went on without it" in " ".join(done.stdout.split())
    assert len(copy.events("run_closed")) == 1
    makers = {p["proposed_by"] for e in copy.events("proposed") for p in e["data"]["proposals"]}
    assert makers == {"surrogate"}
    assert "went on without it" in (copy.run / "result" / "report.md").read_text()


def test_a_model_process_that_is_killed_costs_one_call(tmp_path: Path) -> None:
    bench = _alone(make_bench(tmp_path))
    make_tiny_gguf(tmp_path / "tiny.gguf")
    words = bench.tune_words("--budget", "rounds=2", "--model", "tiny.gguf")
    process = subprocess.Popen(
        bench.argv(*words), cwd=bench.folder, env=bench.env,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        end = time.monotonic() + 300
        while not _prepared(bench):
            assert time.monotonic() < end, "no model was made ready"
            time.sleep(0.01)
        (found,) = _model_processes(process.pid)
        os.kill(found, signal.SIGKILL)
        said, _ = process.communicate(timeout=300)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    verdicts = [event["data"]["verdict"] for event in bench.events("llm_call")]
    lost = [verdict for verdict in verdicts if verdict.startswith("failed: model.died")]
    assert len(lost) == 1
    assert len(verdicts) > 1
    assert "killed by SIGKILL" in lost[0]
    assert "1 of the invalid ones gave no usable answer" in " ".join(said.split())


def _prepared(bench: Bench) -> bool:
    there = (bench.run / "journal.jsonl").exists()
    return there and '"model_prepared"' in (bench.run / "journal.jsonl").read_text()


def _model_processes(parent: int) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes()
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(stat[1]) == parent and b"hpcagent.llm.child" in words:
            yield int(entry.name)


def test_where_the_model_computes_is_told(bench: Bench) -> None:
    decisions = [e["data"] for e in bench.events("decision")]
    (told,) = [row["device"] for row in decisions if row["what"] == "model_device"]
    assert told.startswith(("CPU", "GPU"))
