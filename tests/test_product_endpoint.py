"""`tune` and `explain` with `--model URL` end to end: a real server, a real and tiny model."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mainjob import Bench, make_bench
from openai_server import NAME, Server, by_model, serving
from tiny_gguf import make_tiny_gguf

from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.records import Message

pytestmark = [pytest.mark.openblas, pytest.mark.llama]

WORDS = "After {evaluations} evaluations on {processor} the outcome is as told above."
LOG = """\
gcc -c foo.c
foo.c:3:10: fatal error: cblas.h: No such file or directory
make: *** [Makefile:5: foo.o] Error 1
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The tiny model's own answers, but for the paragraph, which it could only get wrong."""
    llama = LlamaCpp(make_tiny_gguf(tmp_path_factory.mktemp("served") / "tiny.gguf"))
    own = by_model(llama)

    def answer(messages: list[Message], schema: Any, tokens: int, seed: int) -> str:
        if "text" in schema["properties"]:
            return json.dumps({"text": WORDS})
        return own(messages, schema, tokens, seed)

    with serving(Server(answer)) as running:
        yield running
    llama.close()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Bench:
    """A finished run with a served model."""
    bench = make_bench(tmp_path_factory.mktemp("served run"))
    done = bench.tune("--budget", "rounds=2", "--model", server.url)
    assert done.returncode == 0, done.stderr
    return bench


def test_the_served_model_takes_part_and_is_recorded(bench: Bench, server: Server) -> None:
    calls = [json.loads(line) for line in (bench.run / "llm.jsonl").read_text().splitlines()]
    assert {call["role"] for call in calls} == {"optimise", "result"}
    assert all(call["tokens_in"] == 11 and call["model_sha256"] for call in calls)
    picks = [
        proposal
        for event in bench.events("proposed")
        for proposal in event["data"]["proposals"]
        if proposal["proposed_by"] == "model"
    ]
    verdicts = [call["verdict"] for call in calls if call["role"] == "optimise"]
    assert len(picks) == verdicts.count("accepted")
    decisions = {e["data"]["what"]: e["data"] for e in bench.events("decision")}
    assert decisions["model_device"]["device"] == f"server at {server.url}"
    assert decisions["model_served"]["name"] == NAME
    settings = bench.events("run_opened")[0]["data"]["settings"]
    assert settings["model"] == server.url and settings["model_hosts"] == ["localhost"]


def test_its_paragraph_is_drawn_again_without_it(bench: Bench) -> None:
    decisions = {e["data"]["what"]: e["data"] for e in bench.events("decision")}
    assert decisions["result_words"]["text"] == WORDS
    shown = " ".join(bench.hpcagent("report", str(bench.run)).stdout.split())
    evaluations = len(
        json.loads(bench.hpcagent("status", str(bench.run), "--json").stdout)["trials"]
    )
    assert f"Model says After {evaluations} evaluations on" in shown
    assert f"After {evaluations} evaluations" in (bench.run / "result" / "report.html").read_text()
    assert "In the words of http" in (bench.run / "result" / "report.md").read_text()


def test_a_run_whose_server_is_gone_goes_on_and_says_so(bench: Bench, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", f"{bench.folder}/.", str(tmp_path)], check=True)
    copy = Bench(tmp_path, {**bench.env, "HOME": str(tmp_path)})
    events = copy.events()
    for route in events[0]["data"]["settings"]["models"].values():
        route["choice"]["endpoint"] = f"unix:{tmp_path}/gone"
    first = next(n for n, e in enumerate(events) if e["type"] == "llm_call")
    lines = [json.dumps(event) for event in events[:first]]
    (copy.run / "llm.jsonl").unlink()  # else its answers would serve once more
    (copy.run / "journal.jsonl").write_text("\n".join(lines) + "\n")
    for unit in (copy.run / "work").iterdir():  # else units to come find results of others there
        if not any(unit.name in line for line in lines):
            shutil.rmtree(unit)
    done = copy.hpcagent("resume", str(copy.run))
    assert done.returncode == 0, done.stderr
    assert "the search went on without it" in " ".join(done.stdout.split())
    (note,) = [
        e["data"]["note"] for e in copy.events("decision") if e["data"]["what"] == "result_words"
    ]
    assert "no words of a model" in note and "gone" in note


def test_explain_asks_the_server(bench: Bench, server: Server, tmp_path: Path) -> None:
    log = tmp_path / "make.log"
    log.write_text(LOG)
    done = bench.hpcagent("explain", str(log), "--model", server.url, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    said = told["model"]
    assert said["model"] == server.url and said["calls"] >= 1
    if not said["note"]:
        assert said["cause"] in {*(c["id"] for c in told["causes"]), "none of these"}
    alone = json.loads(bench.hpcagent("explain", str(log), "--json").stdout)
    assert alone.pop("model") is None
    told.pop("model")
    assert told == alone


def test_what_cannot_serve_is_told_before_a_run_is_made(bench: Bench, tmp_path: Path) -> None:
    for model, code, words in (
        ("http://127.0.0.1:9/v1", 3, "Connection refused"),
        ("http://192.0.2.1/v1", 2, "not on the site's list of model hosts"),
        ("http://user:pw@localhost/v1", 2, "use api_key_file"),
        ("gopher://localhost", 2, "begins with gopher:"),
    ):
        done = bench.hpcagent(
            "tune", "--lib", "openblas", "--run-dir", str(tmp_path / "r"), "--model", model
        )
        assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
        assert words in done.stderr
    assert not (tmp_path / "r").exists()
