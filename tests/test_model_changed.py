"""A model's file that is written over, replaced or touched while its model is loaded."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_gguf import make_tiny_gguf

from hpcagent.errors import EnvironmentProblem
from hpcagent.llm.grammar import longest
from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.llm.routing import Models, Route
from hpcagent.llm.tables import ModelChoice
from hpcagent.records import Limits, Message, Reply

ASK = (Message("system", "Answer."), Message("user", "Which letters?"))
SCHEMA = {"type": "object", "properties": {"answer": {"type": "string", "maxLength": 20}}}
LIMITS = Limits(longest(SCHEMA), 60)
real = pytest.mark.llama


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """Of two models that differ in their weights alone."""
    folder = tmp_path_factory.mktemp("contents")
    made = [make_tiny_gguf(folder / f"{seed}.gguf", seed=seed).read_bytes() for seed in (0, 1)]
    assert len(made[0]) == len(made[1])
    return made[0], made[1]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPCAGENT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def path(tmp_path: Path, contents: tuple[bytes, bytes]) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(contents[0])
    return path


@pytest.fixture
def model(path: Path) -> Iterator[LlamaCpp]:
    model = LlamaCpp(path)
    model.digest()
    yield model
    model.close()


def ask(model: LlamaCpp) -> Reply:
    return model.complete(ASK, SCHEMA, LIMITS, 1)


def told(reply: Reply) -> str:
    return reply.failure.id if reply.failure else "answered"


@real
def test_one_that_is_written_over_is_asked_nothing_more_until_it_is_back(
    model: LlamaCpp, path: Path, contents: tuple[bytes, bytes]
) -> None:
    first = ask(model)
    path.write_bytes(contents[1])
    refused = ask(model).failure
    assert refused is not None and refused.id == "model.changed"
    assert str(path) in refused.evidence and model.digest()[:12] in refused.evidence
    assert told(ask(model)) == "model.changed" and model.pid is None
    path.write_bytes(contents[0])
    assert ask(model).text == first.text


@real
def test_one_that_is_written_again_as_it_was_is_loaded_again(
    model: LlamaCpp, path: Path, contents: tuple[bytes, bytes]
) -> None:
    first, pid = ask(model), model.pid
    path.write_bytes(contents[0])
    assert ask(model).text == first.text
    assert model.pid != pid


@real
def test_it_is_loaded_again_a_bounded_number_of_times(model: LlamaCpp, path: Path) -> None:
    answers = []
    for second in range(5):
        answers.append(told(ask(model)))
        os.utime(path, (second, second))
    assert answers == ["answered"] * 3 + ["model.unavailable"] * 2


@real
def test_a_file_put_in_its_place_leaves_the_loaded_model_alone(
    model: LlamaCpp, path: Path, contents: tuple[bytes, bytes]
) -> None:
    first, pid = ask(model), model.pid
    other = path.with_name("new.gguf")
    other.write_bytes(contents[1])
    other.rename(path)
    assert ask(model).text == first.text and model.pid == pid
    model.close()
    assert told(ask(model)) == "model.changed"


@real
def test_links_and_modes_are_no_change(model: LlamaCpp, path: Path) -> None:
    ask(model)
    pid = model.pid
    path.chmod(0o400)
    path.with_name("backup.gguf").hardlink_to(path)
    assert told(ask(model)) == "answered" and model.pid == pid
    model.close()
    assert told(ask(model)) == "answered"


@real
def test_a_later_part_counts_as_the_first(tmp_path: Path) -> None:
    make_tiny_gguf(tmp_path / "parted.gguf", tensors_a_part=5)
    parts = sorted(tmp_path.glob("parted-0*.gguf"))
    model = LlamaCpp(parts[0])
    model.digest()
    assert told(ask(model)) == "answered"
    content = bytearray(parts[-1].read_bytes())
    content[-1] ^= 1
    parts[-1].write_bytes(content)
    assert told(ask(model)) == "model.changed"
    model.close()


def _scripted(path: Path, deed: str) -> LlamaCpp:
    """Its child writes over the file while it answers its first question."""
    script = f"""
import shutil, sys
sys.stdin.readline()
print('{{"ready": true, "context": 99}}', flush=True)
sys.stdin.readline()
{deed}
print('{{"text": "{{}}", "failure": {{"kind": "decode", "evidence": "it answered"}}}}', flush=True)
"""
    return LlamaCpp(path, command=(sys.executable, "-c", script))


def test_an_answer_during_which_it_was_written_over_counts_for_nothing(
    path: Path, contents: tuple[bytes, bytes]
) -> None:
    path.with_name("new").write_bytes(contents[1])
    quiet = _scripted(path, "")
    assert told(ask(quiet)) == "model.decode"
    written = _scripted(path, f"shutil.copyfile({str(path.with_name('new'))!r}, {str(path)!r})")
    written.digest()
    assert told(ask(written)) == "model.changed"
    quiet.close()
    written.close()


def test_a_child_that_dies_of_it_says_so(path: Path) -> None:
    model = _scripted(path, f"open({str(path)!r}, 'w').close(); sys.exit(9)")
    failure = ask(model).failure
    assert failure is not None and failure.id == "model.died"
    assert "model.gguf was written to while it was loaded" in failure.evidence


def test_nothing_else_is_loaded_where_no_digest_was_taken(path: Path) -> None:
    model = LlamaCpp(path)
    shutil.copyfile(path, path.with_name("copy"))
    path.with_name("copy").replace(path)
    assert told(ask(model)) == "model.changed"
    with pytest.raises(EnvironmentProblem, match=r"model.gguf: it changed"):
        model.digest()


@real
def test_the_record_has_the_digest_of_what_answered(
    path: Path, contents: tuple[bytes, bytes]
) -> None:
    models = Models({"debug": Route("debug", ModelChoice(file=str(path)), "--model")}, ())
    calls = []
    recording = models.recorded("debug", calls.append)
    assert recording is not None
    digest = models.digest("debug")
    recording.complete(ASK, SCHEMA, LIMITS, 1)
    path.write_bytes(contents[1])
    recording.complete(ASK, SCHEMA, LIMITS, 1)
    recording.flush()
    models.close()
    assert [call.model_sha256 for call in calls] == [digest, digest]
    assert calls[0].failure is None
    assert str(calls[1].verdict).startswith("failed: model.changed: ")
