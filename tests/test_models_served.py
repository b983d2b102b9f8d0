"""`hpcagent models` on a server: by its URL, and by the role that it serves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from openai_server import Server, serving

from hpcagent.cli.main import group
from hpcagent.errors import EnvironmentProblem, UsageError


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.chdir(tmp_path)
    with serving(Server(lambda *asked: '{"answer":"yes"}')) as served:
        served.models = [{"id": "lab/coder:7b", "max_model_len": 4096, "created": 1}]
        (tmp_path / "hpcagent.toml").write_text(f'[models.debug]\nendpoint = "{served.url}"\n')
        yield served


def models(*words: str) -> Result:
    return CliRunner().invoke(group, ["models", *words], standalone_mode=False)


def told(*words: str) -> str:
    done = models(*words)
    assert done.exception is None, done.output
    assert max(map(len, done.stdout.splitlines())) <= 80
    return " ".join(done.stdout.split())


def test_show_and_verify_tell_what_a_server_says_and_can_do(server: Server) -> None:
    shown = told("show", "debug")
    assert f"server {server.url} name lab/coder:7b max_model_len 4096 digest" in shown
    assert "created" not in shown
    assert not server.requests  # nothing was generated
    assert "schemas yes: it takes them" in told("verify", server.url)
    server.mode = "json_object_only"
    words = told("verify", "debug")
    assert "schemas in part: it keeps to JSON" in words
    assert "tokens 11 in, 7 out, 3 from its cache" in words
    assert "probabilities none" in words
    found = json.loads(models("verify", "debug", "--json").stdout)
    assert (found["answer"], found["schemas"]) == ('{"answer":"yes"}', "json_object")


def test_a_list_has_the_servers_of_the_configuration(server: Server) -> None:
    words = told("list")
    assert words.endswith(f"Servers (`hpcagent models verify URL` asks one) {server.url} for debug")
    assert json.loads(models("list", "--json").stdout)["servers"] == [
        {"model": server.url, "roles": ["debug"]}
    ]
    assert "Servers" not in told("list", ".")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("bench", "debug"), "a server cannot be compared with a bare llama.cpp loop"),
        (("verify", "optimise"), r"optimise: none: .*set \[models.optimise\]"),
        (("show", "http://10.0.0.1/v1"), "not on the site's list of model hosts"),
        (("qualify", "embedded"), "only tunes"),
    ],
)
def test_what_makes_no_sense_is_one_line(server: Server, words: tuple[str, ...], line: str) -> None:
    with pytest.raises(UsageError, match=line):
        raise models(*words).exception or AssertionError


def test_a_card_says_what_a_server_cannot_give(server: Server, tmp_path: Path) -> None:
    server.mode, server.answer = "odd_usage", lambda *asked: '{"choice":"A"}'
    words = told("qualify", "debug", "--only", "diagnosis")
    assert f"Qualification 3 of lab/coder:7b at {server.url} (" in words
    assert "It tells no probabilities: choices were asked for as JSON" in words
    assert "It does not tell how many tokens" in words
    assert (tmp_path / "qualification-coder-7b.jsonl").is_file()
    asked = len(server.requests)
    assert told("qualify", server.url, "--only", "diagnosis") == words
    assert len(server.requests) == asked  # the same model: nothing is asked again
    server.models[0]["id"] = "lab/other:7b"
    with pytest.raises(UsageError, match="model_sha256 is"):
        kept = ("--answers", "qualification-coder-7b.jsonl")
        raise models("qualify", "debug", "--only", "diagnosis", *kept).exception or AssertionError


@pytest.mark.parametrize(
    ("mode", "words", "tries"),
    [
        ("status_401", "does not answer: model.unauthorised.*set api_key_file", 1),
        ("status_500", "does not answer: model.unavailable: 3 calls in a row", 4),
        ("html", "does not answer: model.unavailable: 3 calls in a row.*not JSON but text/html", 4),
        ("status_429", "12 answers did not come: model.busy.*asks for the others", 12),
    ],
)
def test_what_a_server_says_is_no_answer_of_its_model(
    server: Server, mode: str, words: str, tries: int
) -> None:
    """A wrong key or a login page says nothing of a model; its card is made when it answers."""
    server.mode, server.answer = mode, lambda *asked: '{"choice":"A"}'
    asked = ("qualify", "debug", "--only", "diagnosis", "--timeout", "5")
    done = models(*asked)
    assert isinstance(done.exception, EnvironmentProblem) and done.stdout == ""
    assert re.search(words, str(done.exception))
    assert done.stderr.count(" of 12): ") == min(tries, 12) - (tries < 12)
    server.mode = ""
    assert "diagnosis of failures 12 100 %" in told(*asked)


def test_a_server_that_hangs_has_not_answered_wrongly(server: Server) -> None:
    server.answer = lambda *asked: '{"choice":"A"}'
    asked = ("qualify", "debug", "--only", "diagnosis", "--timeout", "1")
    server.mode = "hangs"
    assert "3 calls in a row got no answer" in str(models(*asked).exception)
    server.mode = ""
    assert "12 100 %" in told(*asked)
