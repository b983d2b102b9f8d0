from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_gguf import make_tiny_gguf

from hpcagent.errors import UsageError
from hpcagent.llm.grammar import gbnf, longest, violation
from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.llm.log import Call, Recording, prompt_digest
from hpcagent.llm.pipe import Child
from hpcagent.records import Failure, Limits, Message, Reply

ASK = (Message("system", "Tune it."), Message("user", "Choose, s'il vous plaît."))
SCHEMA = {
    "type": "object",
    "properties": {
        "reason": {"type": "string", "maxLength": 40},
        "config": {
            "type": "object",
            "properties": {
                "core": {"enum": ["ZEN", 'a "quoted\\" one', "né", "$(x)"]},
                "threads": {"enum": ["1", "2", "4"]},
            },
        },
    },
}
LIMITS = Limits(max_tokens=longest(SCHEMA), timeout_s=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def tiny(folder: Path) -> Path:
    return make_tiny_gguf(folder / "tiny.gguf")


@pytest.fixture(scope="module")
def model(tiny: Path) -> Iterator[LlamaCpp]:
    llama = LlamaCpp(tiny)
    yield llama
    llama.close()


# --- the real llama.cpp ---


@pytest.mark.llama
def test_random_weights_still_answer_by_the_schema(model: LlamaCpp) -> None:
    before = "llama_cpp" in sys.modules
    for seed in range(12):
        reply = model.complete(ASK, SCHEMA, LIMITS, seed)
        assert reply.failure is None
        assert violation(json.loads(reply.text), SCHEMA) == ""
        assert list(json.loads(reply.text)) == ["reason", "config"]
        assert 0 < reply.tokens_out <= LIMITS.max_tokens and reply.tokens_in > 20
    assert ("llama_cpp" in sys.modules) == before


@pytest.mark.llama
def test_the_seed_decides_the_answer(tiny: Path) -> None:
    answers = []
    for _ in range(2):
        llama = LlamaCpp(tiny)
        answers.append([llama.complete(ASK, SCHEMA, LIMITS, seed).text for seed in (1, 2, 3)])
        llama.close()
    assert answers[0] == answers[1]
    assert len(set(answers[0])) == 3


@settings(max_examples=15, deadline=None)
@given(
    values=st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=4, unique=True),
    length=st.integers(0, 30),
)
@pytest.mark.llama
def test_any_texts_can_be_an_enum(model: LlamaCpp, values: list[str], length: int) -> None:
    schema = {
        "type": "object",
        "properties": {
            "reason": {"type": "string", "maxLength": length},
            "pick": {"enum": values},
        },
    }
    reply = model.complete(ASK, schema, Limits(longest(schema), 60), 1)
    assert reply.failure is None
    assert json.loads(reply.text)["pick"] in values
    assert len(reply.text) <= longest(schema)


@pytest.mark.llama
def test_too_long_a_prompt_is_refused_not_cut(tiny: Path) -> None:
    llama = LlamaCpp(tiny, context=300)
    reply = llama.complete((Message("user", "x" * 400),), SCHEMA, LIMITS, 1)
    assert reply.failure is not None and reply.failure.id == "model.context_overflow"
    assert "300" in reply.failure.evidence
    short = llama.complete((Message("user", "x"),), SCHEMA, LIMITS, 1)
    llama.close()
    assert short.failure is None


@pytest.mark.llama
def test_an_answer_that_cannot_end_in_time_is_a_failure(model: LlamaCpp) -> None:
    reply = model.complete(ASK, SCHEMA, Limits(5, 60), 1)
    assert reply.failure is not None and reply.failure.id == "model.truncated"


@pytest.mark.llama
@pytest.mark.parametrize(
    "template",
    [
        None,
        "{{ raise_exception('no system role') if messages[0].role == 'system' }}"
        "{{ messages[0].content }}",
        "{{ 1 // 0 }}",
        "{{ messages[0].__class__.__mro__[1].__subclasses__() }}",
    ],
)
def test_any_chat_template_is_survived(folder: Path, template: str | None) -> None:
    path = make_tiny_gguf(folder / f"template-{hash(template)}.gguf", template=template)
    llama = LlamaCpp(path)
    reply = llama.complete(ASK, SCHEMA, LIMITS, 1)
    llama.close()
    assert reply.failure is None


@pytest.mark.llama
@pytest.mark.parametrize("template", ["{% for x in %}", "{{ nothing"])
def test_a_broken_chat_template_is_told(folder: Path, template: str) -> None:
    llama = LlamaCpp(make_tiny_gguf(folder / "broken-template.gguf", template=template))
    reply = llama.complete(ASK, SCHEMA, LIMITS, 1)
    llama.close()
    assert reply.failure is not None and reply.failure.id == "model.load"
    assert "chat template" in reply.failure.evidence


@pytest.mark.llama
def test_damaged_tensors_and_vocabularies_harm_nobody(folder: Path, tiny: Path) -> None:
    whole = tiny.read_bytes()
    damages = {
        "garbage tensors": whole[: len(whole) // 2] + b"\xff" * (len(whole) - len(whole) // 2),
        "twice the same token": whole.replace(b"<0x41>", b"<0x42>"),
        "another architecture": whole.replace(b"llama", b"lluma"),
        "a tensor renamed": whole.replace(b"blk.0.ffn_up", b"blk.9.ffn_up"),
    }
    for name, content in damages.items():
        path = folder / f"{name}.gguf"
        path.write_bytes(content)
        llama = LlamaCpp(path)
        reply = llama.complete(ASK, SCHEMA, LIMITS, 1)
        llama.close()
        if reply.failure is None:
            assert violation(json.loads(reply.text), SCHEMA) == "", name
        else:
            assert reply.failure.stage == "model" and reply.failure.evidence, name


@pytest.mark.llama
def test_text_the_vocabulary_cannot_spell_kills_only_the_child(folder: Path, tiny: Path) -> None:
    """Byte tokens renamed: llama.cpp throws across its C interface, which ends its process."""
    content = tiny.read_bytes()
    for byte in range(256):
        content = content.replace(f"<0x{byte:02X}>".encode(), f"<9x{byte:02X}>".encode())
    path = folder / "speechless.gguf"
    path.write_bytes(content)
    llama = LlamaCpp(path)
    kinds = [_kind(llama.complete(ASK, SCHEMA, LIMITS, 1)) for _ in range(4)]
    llama.close()
    assert kinds == ["died", "died", "died", "unavailable"]


# --- a child that misbehaves ---


READY = 'print(\'{"ready": true, "context": 99}\', flush=True)\n'
READ = "import sys, os, time\nsys.stdin.readline()\n"


def _kind(reply: Reply) -> str:
    return reply.failure.kind if reply.failure else "answered"


def _scripted(tiny: Path, script: str) -> LlamaCpp:
    return LlamaCpp(tiny, load_timeout_s=30, command=(sys.executable, "-c", script))


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        (f"{READ}sys.exit('out of luck')", "died", "exit code 1; its last words: out of luck"),
        (f"{READ}{READY}sys.stdin.readline(); os.abort()", "died", "killed by SIGABRT"),
        (f"{READ}{READY}time.sleep(600)", "timeout", "no answer within 0.5 s"),
        (f"{READ}print('llama_model_loader: hello')", "nonsense", "not JSON"),
        (f"{READ}print('[1]')", "nonsense", "not an object"),
        (f"{READ}{READY}os.close(1); os.close(0); time.sleep(600)", "died", "closed its pipe"),
        (
            f"{READ}{READY}\nwhile True: os.write(2, b'x' * 65536)",
            "timeout",
            "last words: xxx",
        ),
        (f"{READ}{READY}\nwhile True: os.write(1, b'x' * 65536)", "nonsense", "more than"),
    ],
)
def test_a_misbehaving_child_is_a_failure_and_is_gone(
    tiny: Path, script: str, kind: str, words: str
) -> None:
    llama = _scripted(tiny, script)
    limits = Limits(10, 60 if kind == "nonsense" else 0.5)
    replies = [llama.complete(ASK, SCHEMA, limits, 1) for _ in range(5)]
    assert [_kind(reply) for reply in replies] == [kind] * 3 + ["unavailable"] * 2
    first, last = replies[0].failure, replies[-1].failure
    assert isinstance(first, Failure) and words in first.evidence
    assert isinstance(last, Failure) and "failed 3 times" in last.evidence


@pytest.mark.llama
def test_the_child_ends_when_its_parent_is_killed(tiny: Path, tmp_path: Path) -> None:
    script = f"""
import os, sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.records import Limits, Message
llama = LlamaCpp(Path({str(tiny)!r}))
reply = llama.complete((Message("user", "x"),), {SCHEMA!r}, Limits(200, 60), 1)
assert reply.failure is None, reply
Path({str(tmp_path / "pid")!r}).write_text(str(llama._child._process.pid))
os.kill(os.getpid(), 9)
"""
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", script]) == -9
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 60
    while _running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _running(pid)


def _running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# --- grammar and schema ---


def test_the_grammar_of_a_small_schema() -> None:
    schema = {"type": "object", "properties": {"a": {"enum": ["x", '"']}}}
    assert gbnf(schema) == (
        'root ::= r1\nr0 ::= "\\"x\\"" | "\\"\\\\\\"\\""\nr1 ::= "{" "\\"a\\":" r0 "}"\n'
    )
    assert longest(schema) == len('{"a":"\\""}')


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"reason": "r", "config": {"core": "ZEN", "threads": "4"}}, ""),
        ({"reason": "r", "config": {"core": "ZEN", "threads": "8"}}, "config.threads: '8'"),
        ({"reason": "r", "config": {"core": "ZEN"}}, "'threads' is missing"),
        ({"reason": "r" * 41, "config": {"core": "ZEN", "threads": "4"}}, "longer than 40"),
        ({"reason": 3, "config": {"core": "ZEN", "threads": "4"}}, "not a text"),
        ({"reason": "r", "config": {"core": "ZEN", "threads": "4"}, "x": 1}, "not expected"),
        (["r"], "not an object"),
    ],
)
def test_violations_are_told(answer: object, words: str) -> None:
    found = violation(answer, SCHEMA)
    assert words in found and bool(words) == bool(found)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "number"},
        {"type": "string"},
        {"type": "string", "maxLength": 10**6},
        {"enum": []},
        {"enum": [1.5]},
        {"type": "integer", "minimum": 0},
        {"type": "array", "items": {"const": 1}},
        {"type": "object", "properties": {}},
    ],
)
def test_a_schema_without_bounds_is_refused(schema: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="schema"):
        gbnf(schema)


# --- the record of calls ---


class Scripted:
    def __init__(self, replies: list[Reply]) -> None:
        self.replies = replies

    def complete(self, messages: object, schema: object, limits: Limits, seed: int) -> Reply:
        return self.replies.pop(0)


def test_every_call_is_recorded_once_with_its_verdict() -> None:
    calls: list[Call] = []
    failure = Failure("model", "timeout", "no answer within 3 s")
    replies = [Reply("a", 5, 2, 0.5), Reply("b"), Reply("", failure=failure), Reply("c")]
    model = Recording(Scripted(replies), "abc", calls.append)
    model.complete(ASK, SCHEMA, LIMITS, 1)
    model.verdict("accepted")
    for _ in range(3):
        model.complete(ASK, SCHEMA, LIMITS, 2)
    model.flush()
    assert [(call.answer, call.verdict) for call in calls] == [
        ("a", "accepted"),
        ("b", None),
        ("", "failed: model.timeout: no answer within 3 s"),
        ("c", None),
    ]
    assert calls[0].prompt_sha256 == prompt_digest(ASK, SCHEMA, LIMITS, 1)
    assert calls[0].prompt_sha256 != calls[1].prompt_sha256
    assert (calls[0].model_sha256, calls[0].tokens_in, calls[0].tokens_out) == ("abc", 5, 2)
    json.dumps([call.as_json() for call in calls])


class Shortened(Scripted):
    notes: tuple[str, ...] = ()

    def complete(self, messages: object, schema: object, limits: Limits, seed: int) -> Reply:
        self.notes = ("context 2048 of 8192 tokens",)  # known from the first answer on
        return super().complete(messages, schema, limits, seed)


def test_what_is_not_as_asked_for_comes_with_the_first_call_alone() -> None:
    calls: list[Call] = []
    model = Recording(Shortened([Reply("a"), Reply("b")]), "abc", calls.append)
    for seed in (1, 2):
        model.complete(ASK, SCHEMA, LIMITS, seed)
    model.flush()
    assert [call.notes for call in calls] == [("context 2048 of 8192 tokens",), ()]


# --- the process ---


def test_a_process_that_cannot_be_started_is_a_failure(tiny: Path) -> None:
    model = LlamaCpp(tiny, command=(str(tiny.parent / "no such program"),))
    failure = model.complete(ASK, SCHEMA, LIMITS, 1).failure
    assert failure is not None and failure.id == "model.died"
    assert "cannot be started: No such file" in failure.evidence


def test_an_answer_that_was_interrupted_is_not_taken_for_the_next() -> None:
    """Ctrl-C amid an answer: whoever asks again finds the process gone, not its late words."""
    script = "import sys, time\nfor line in sys.stdin: time.sleep(60)"
    child = Child((sys.executable, "-c", script), dict(os.environ))
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            child.ask({}, 60)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert child.closed and not _running(child.pid)
