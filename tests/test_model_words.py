"""What a model may say beside causes and results: chosen ids, no figures of its own, no harm."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai_server import Server, serving
from test_explain import Made, called
from test_report import improved as made

from hpcagent.cli.explainmodel import say
from hpcagent.llm.routing import Models, Route
from hpcagent.llm.tables import ModelChoice
from hpcagent.protocols import LanguageModel
from hpcagent.records import Reply
from hpcagent.report import html, markdown, text
from hpcagent.study import result_words
from hpcagent.study.opinion import opinion
from hpcagent.study.result_words import figures, resolved, worded, wrong

LOG = """\
gcc -c foo.c
foo.c:3:10: fatal error: cblas.h: No such file or directory
make: *** [Makefile:5: foo.o] Error 1
"""
CAUSE = "compile.missing_header"


def said(cause: str = CAUSE, explanation: str = "The header is not there.") -> str:
    answer = {"explanation": explanation, "cause": cause, "suggestion": "Load OpenBLAS."}
    return json.dumps(answer)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server(lambda messages, schema, tokens, seed: said())) as running:
        yield running


@pytest.fixture
def log(tmp_path: Path) -> str:
    path = tmp_path / "make.log"
    path.write_text(LOG)
    return str(path)


def script(server: Server, *answers: str) -> None:
    left = list(answers)
    server.answer = lambda *asked: left.pop(0) if len(left) > 1 else left[0]


# --- explain -------------------------------------------------------------------------------------


class Shortened:
    """Answers well, and has been loaded with less than was asked for."""

    notes = ("context 2048 of 8192 tokens, since memory is short",)

    def complete(self, *asked: object) -> Reply:
        return Reply(said("none of these"))


class OfShortened(Models):
    def for_role(self, role: str) -> LanguageModel:
        return Shortened()

    def digest(self, role: str) -> str:
        return "abc"


def test_what_of_the_model_is_not_as_asked_for_is_told_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    models = OfShortened({"debug": Route("debug", ModelChoice(file="/m.gguf"), "test")}, ())
    found = opinion(models, (), LOG)
    assert found.to_json()["notes"] == Shortened.notes
    say(found, 80)
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.startswith(f"model: {Shortened.notes[0]} In the words of /m.gguf")


def test_the_words_of_a_model_follow_and_are_marked_as_its_own(server: Server, log: str) -> None:
    alone, result = called(log).output, called(log, "--model", server.url)
    assert result.output.startswith(alone)
    added = result.output.removeprefix(alone)
    assert "unchecked; nothing of it is applied" in " ".join(added.split())
    assert "cause  compile.missing_header" in added and "says   The header is not there." in added
    assert max(map(len, added.splitlines())) <= 80
    messages = server.requests[0]["messages"]
    assert CAUSE in messages[1]["content"] and "fatal error: cblas.h" in messages[1]["content"]
    schema = server.requests[0]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["cause"]["enum"][-1] == "none of these"


def test_in_json_it_is_a_field_and_nothing_else_changes(server: Server, log: str) -> None:
    told = json.loads(called(log, "--model", server.url, "--json").output)
    opinion = told.pop("model")
    alone = json.loads(called(log, "--json").output)
    assert alone.pop("model") is None
    assert told == alone
    assert opinion["cause"] == CAUSE and opinion["note"] == ""
    assert (opinion["calls"], opinion["tokens_in"], opinion["tokens_out"]) == (1, 11, 7)


def test_a_number_of_its_own_is_sent_back(server: Server, log: str) -> None:
    script(server, said(explanation="Line 3 needs version 4.5."), said(explanation=" See line 3. "))
    opinion = json.loads(called(log, "--model", server.url, "--json").output)["model"]
    assert (opinion["explanation"], opinion["calls"]) == ("See line 3.", 2)
    again = server.requests[1]["messages"][-1]["content"]
    assert "the number 4.5 is in nothing you were shown" in again


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (said("compile.made_up"), "'compile.made_up' is not allowed"),
        (said(explanation="It is \x1b[31mred\x1b[0m."), "without control characters"),
        (said(explanation="x" * 501), "longer than 500"),
        ("Certainly! The cause is", "not JSON"),
        ("", "is empty"),
    ],
)
def test_an_unusable_answer_is_one_line(server: Server, log: str, answer: str, words: str) -> None:
    script(server, answer)
    alone, output = called(log).output, called(log, "--model", server.url).output
    added = output.removeprefix(alone)
    assert added != output and added.startswith("model: no usable answer in 3: ")
    assert words in " ".join(added.split()) and "\x1b" not in added


@pytest.mark.parametrize("mode", ["hangs_up", "status_500", "overflow", "html"])
def test_a_server_that_fails_changes_nothing_else(server: Server, log: str, mode: str) -> None:
    server.mode = "closes" if mode == "hangs_up" else mode
    alone, result = called(log).output, called(log, "--model", server.url)
    assert result.return_value == 0
    added = result.output.removeprefix(alone)
    assert added.startswith("model: no usable answer") and len(added) < 500


def test_a_model_that_is_too_slow_is_told_with_its_cure(
    server: Server, log: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    table = f'[models.debug]\nendpoint = "{server.url}"\nanswer_seconds = 1\n'
    (tmp_path / "hpcagent.toml").write_text(table)
    server.mode = "hangs"
    alone, output = called(log, "--no-model").output, " ".join(called(log).output.split())
    assert "no usable answer in 3: model.timeout: " in output and "model:" not in alone
    assert "no whole answer within 1 s; take a smaller model" in output
    assert "(--tokens), or give it more time (answer_seconds in [models.debug])" in output


def test_a_log_too_long_for_the_model_is_shortened_and_then_the_answer(
    server: Server, tmp_path: Path
) -> None:
    log = tmp_path / "long.log"
    log.write_text(LOG + "".join(f"error: thing {n} is undefined\n" for n in range(400)))
    server.mode = "overflow"
    called(str(log), "--model", server.url)
    long, short, same = (request["messages"][1]["content"] for request in server.requests)
    assert len(short) < len(long) / 2
    assert "[the rest is left out" in short
    assert same == short
    _, before, after = (request["max_tokens"] for request in server.requests)
    assert after < before / 2


def test_nobody_is_asked_where_there_is_no_question(
    server: Server, log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPCAGENT_MODEL_DEBUG", server.url)
    fine = tmp_path / "fine.log"
    fine.write_text("all is well\n")
    for words in ([str(fine)], [log, "--no-model"], [log, "--filter"], [log, "--model", ""]):
        called(*words)
    assert server.requests == [] and server.keys == []
    assert "says   The header" in called(log).output


def test_of_a_run_three_failures_are_asked_about(server: Server, tmp_path: Path) -> None:
    run = Made(tmp_path)
    for number in range(4):
        folder = run.unit(f"build-{number}", {"stage": "build", "kind": "failed", "evidence": "x"})
        (folder / "err").write_text(LOG)
    rows = json.loads(called(str(run.run.path), "--model", server.url, "--json").output)["failures"]
    assert [bool(row["model"]) for row in rows] == [True, True, True, False]
    assert "says   The header" in called(str(run.run.path), "--model", server.url).output


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("http://192.0.2.1/v1", "not on the site's list"),
        ("http://x y", "blanks or control characters"),
        ("a\nb.gguf", "control characters"),
    ],
)
def test_a_model_that_cannot_be_meant_is_a_usage_error(log: str, model: str, words: str) -> None:
    result = called(log, "--model", model)
    assert words in str(result.exception) and result.exception is not None


# --- the paragraph of a report -------------------------------------------------------------------


@pytest.fixture
def models(server: Server) -> Iterator[Models]:
    choice = ModelChoice(endpoint=server.url)
    yield Models({"result": Route("result", choice, "--model")}, ("localhost",))


def test_figures_are_named_by_the_model_and_told_by_the_run(server: Server, models: Models) -> None:
    summary = made()
    script(
        server,
        json.dumps({"text": "It is 2 times faster."}),
        json.dumps({"text": "It is {much} faster."}),
        json.dumps({"text": "On {processor} it is {gain} as fast."}),
    )
    calls: list[dict[str, Any]] = []
    decision = worded(models, summary, 1, calls.append)
    assert decision == {"text": "On {processor} it is {gain} as fast.", "model": server.url}
    assert [call["role"] for call in calls] == ["result"] * 3
    assert [call["verdict"].partition(":")[0] for call in calls] == ["rejected"] * 2 + ["accepted"]
    assert summary.claim is not None and summary.machine is not None
    assert resolved(decision, summary) == (
        f"On {summary.machine.cpu_model} it is {summary.claim.speedup:.3f}x as fast."
    )


def test_a_model_without_usable_words_leaves_a_note(server: Server, models: Models) -> None:
    script(server, json.dumps({"text": "Trust me, it is fast."}))
    decision = worded(models, made(), 1, lambda call: None)
    assert decision["note"].startswith("the report has no words of a model: no usable answer in 3")
    server.mode = "closes"
    assert "no words" in worded(models, made(), 1, lambda call: None)["note"]
    assert resolved(decision, made()) == ""


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("The gain is {gain}.", ""),
        ("The gain is {gain} or 3.", "the digit 3"),
        ("The gain is {gain} or ½.", "the digit ½"),
        ("The gain is {gain.high.more}.", "no figure {gain.high.more}"),
        ("The gain is {{gain}}.", "braces"),
        ("The gain is {gain", "braces"),
        ("Fast.", "names no figure"),
        ("The gain is {gain}.\n", "control characters"),
    ],
)
def test_what_a_paragraph_may_not_hold(words: str, problem: str) -> None:
    found = wrong(words, {"gain": "1.1x"})
    assert problem in found and bool(problem) == bool(found)


@given(st.lists(st.sampled_from(["{gain}", "{pairs}", "1", "{", "}", "one ", "²", "{x}"])))
def test_every_digit_of_a_paragraph_is_the_run_s(parts: list[str]) -> None:
    words, known = "".join(parts), {"gain": "<7>", "pairs": "<7>"}
    if not wrong(words, known):
        drawn = re.sub(r"\{(\w+)\}", lambda match: known[match[1]], words)
        assert not any(char.isnumeric() for char in drawn.replace("<7>", ""))


def test_every_figure_is_one_line_and_has_a_name_that_can_be_written() -> None:
    for name, value in figures(made()).items():
        assert result_words._NAME.fullmatch(f"{{{name}}}")
        assert value.isprintable() and value


def test_reports_show_the_paragraph_as_the_model_s() -> None:
    from dataclasses import replace

    summary = replace(made(), words="It is <b>1.2x</b> as fast.", words_by="tiny.gguf")
    assert "Model says" in text.terminal(summary, 80)
    assert "In the words of tiny.gguf" in markdown.markdown(summary, {})
    page = html.page(summary, {})
    assert "&lt;b&gt;1.2x" in page and "<b>1.2x" not in page
