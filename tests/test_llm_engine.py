"""The engine with the real llama.cpp: what it keeps, what it forgets, and models that misbehave."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tiny_gguf import BYTE_TOKENS, EOS, Shape, make_tiny_gguf, many_words, token_of

from hpcagent.cli.main import main
from hpcagent.llm.child.decode import LEAST
from hpcagent.llm.grammar import longest, violation
from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.llm.memory import CPU_BLOCK as BLOCK
from hpcagent.records import Failure, Limits, Message, Reply

pytestmark = pytest.mark.llama

FREE = Limits(max_tokens=40, timeout_s=60)
SMALL = Shape(width=64, layers=2, heads=2, forward=128, quantised=True)
SLOW = Shape(width=256, layers=6, heads=4, forward=512)
TUNE = "Tune the library on this machine, and give a reason for each choice. " * 12
DEBUG = "Say why the program failed; quote the line that tells it. " * 14
SCHEMA = {
    "type": "object",
    "properties": {
        "reason": {"type": "string", "maxLength": 60},
        "choice": {"enum": ["1", "16", "160", "none"]},
    },
}
CONFINED = Limits(longest(SCHEMA), 60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def small(folder: Path) -> Path:
    return make_tiny_gguf(folder / "small.gguf", shape=SMALL, words=many_words(3000))


@pytest.fixture
def opened() -> Iterator[list[LlamaCpp]]:
    """Models that a test opened; closed after it."""
    models: list[LlamaCpp] = []
    yield models
    for model in models:
        model.close()


def always(folder: Path, opened: list[LlamaCpp], tokens: Sequence[int], **more: object) -> LlamaCpp:
    path = make_tiny_gguf(folder / f"always-{hash(tuple(tokens))}.gguf", always=tokens, **more)  # type: ignore[arg-type]
    opened.append(LlamaCpp(path))
    return opened[-1]


def chat(system: str, *turns: str) -> tuple[Message, ...]:
    roles = ("user", "assistant")
    said = [Message(roles[place % 2], text) for place, text in enumerate(turns)]
    return (Message("system", system), *said)


def all_kept(reply: Reply) -> bool:
    """Whether its prompt was in the cache but for what is read with the answer."""
    return reply.tokens_in - LEAST - BLOCK < reply.tokens_cached <= reply.tokens_in - LEAST


def told(reply: Reply) -> str:
    return reply.failure.id if reply.failure else ""


# --- the cache ---


def test_a_warm_process_answers_as_a_cold_one(small: Path, opened: list[LlamaCpp]) -> None:
    """Two callers in turns, one of whom goes on, goes back, and asks the same again."""
    questions = (
        chat(TUNE, "round one " * 30),
        chat(DEBUG, "it failed"),
        chat(TUNE, "round one " * 30, "take two", "and now"),
        chat(TUNE, "round one " * 20, "something else"),
        chat(DEBUG, "it failed"),
        chat("another beginning", "x"),
        chat(TUNE, "round one " * 30),
    )
    warm = LlamaCpp(small)
    opened.append(warm)
    answers = [_both(warm, question) for question in questions]
    assert answers[1] == answers[4] and answers[0] == answers[6]
    for question in (0, 2, 3, 4):
        cold = LlamaCpp(small)
        opened.append(cold)
        assert _both(cold, questions[question]) == answers[question]


def _both(model: LlamaCpp, question: tuple[Message, ...]) -> tuple[str, str]:
    free = model.complete(question, None, FREE, 5)
    confined = model.complete(question, SCHEMA, CONFINED, 5)
    assert confined.failure is None and all_kept(confined)
    return free.text, confined.text


def test_a_prompt_costs_what_is_new_in_it(small: Path, opened: list[LlamaCpp]) -> None:
    model = LlamaCpp(small)
    opened.append(model)
    first = model.complete(chat(TUNE, "one"), None, FREE, 1)
    assert first.tokens_cached == 0 and first.tokens_in > 4 * BLOCK
    again = model.complete(chat(TUNE, "one"), None, FREE, 2)
    assert all_kept(again)
    longer = model.complete(chat(TUNE, "one", "two", "three " * 30), None, FREE, 1)
    common = first.tokens_in
    assert common - 2 * BLOCK < longer.tokens_cached <= common


@pytest.mark.parametrize(("sequences", "kept"), [(2, True), (1, False)])
def test_a_second_caller_leaves_the_first_its_cache(
    small: Path, opened: list[LlamaCpp], sequences: int, kept: bool
) -> None:
    model = LlamaCpp(small, sequences=sequences)
    opened.append(model)
    replies = [
        model.complete(chat(system, "one"), None, FREE, 1) for system in (TUNE, DEBUG, TUNE, DEBUG)
    ]
    assert [all_kept(reply) for reply in replies] == [
        False,
        False,
        kept,
        kept,
    ]
    assert replies[0].text == replies[2].text and replies[1].text == replies[3].text


def test_what_two_callers_share_is_copied(small: Path, opened: list[LlamaCpp]) -> None:
    model = LlamaCpp(small, sequences=2)
    opened.append(model)
    long = chat(TUNE[:400], "a long history " * 60)
    first = model.complete(long, None, FREE, 1)
    other = model.complete(chat(TUNE[:400], "short"), None, FREE, 1)
    assert 0 < other.tokens_cached < other.tokens_in < first.tokens_in / 2
    again = model.complete(long, None, FREE, 1)
    assert all_kept(again) and again.text == first.text


def test_the_number_of_threads_changes_no_answer(small: Path, opened: list[LlamaCpp]) -> None:
    """It changes while a model computes, by how busy the machine is."""
    texts = set()
    for threads in (1, 2):
        opened.append(LlamaCpp(small, threads=threads))
        texts.add(_both(opened[-1], chat(TUNE, "round one " * 30)))
    assert len(texts) == 1


# --- free text, thoughts, limits ---


def test_free_text_that_does_not_end_is_kept_and_told(small: Path, opened: list[LlamaCpp]) -> None:
    opened.append(LlamaCpp(small))
    reply = opened[0].complete(chat("s", "u"), None, FREE, 1)
    assert told(reply) == "model.truncated"
    assert reply.text and reply.tokens_out == FREE.max_tokens
    assert 0 < reply.first_token_s < reply.seconds


def test_sampling_can_be_set(small: Path, opened: list[LlamaCpp]) -> None:
    opened.append(LlamaCpp(small, sampling={"temperature": 0}))
    texts = {opened[0].complete(chat("s", "u"), None, FREE, seed).text for seed in (1, 2, 3)}
    assert len(texts) == 1


def test_a_model_that_only_ends(folder: Path, opened: list[LlamaCpp]) -> None:
    model = always(folder, opened, [EOS])
    free = model.complete(chat("s", "u"), None, FREE, 1)
    assert told(free) == "model.empty" and free.tokens_out == 0
    confined = model.complete(chat("s", "u"), SCHEMA, CONFINED, 1)
    assert confined.failure is None and violation(json.loads(confined.text), SCHEMA) == ""
    thought = model.complete(chat("s", "u"), SCHEMA, Limits(longest(SCHEMA), 60, 20), 1)
    assert thought.failure is None and thought.thinking == ""


def test_a_model_that_only_writes_bytes_that_are_no_text(
    folder: Path, opened: list[LlamaCpp]
) -> None:
    model = always(folder, opened, [BYTE_TOKENS + 0xFF, BYTE_TOKENS + 0xC3])
    free = model.complete(chat("s", "u"), None, FREE, 1)
    assert told(free) == "model.truncated" and "\ufffd" in free.text
    confined = model.complete(chat("s", "u"), SCHEMA, CONFINED, 1)
    assert confined.failure is None and violation(json.loads(confined.text), SCHEMA) == ""
    ending = always(folder, opened, [BYTE_TOKENS + 0xFF, EOS])
    failures = {told(ending.complete(chat("s", "u"), None, FREE, seed)) for seed in range(9)}
    assert failures == {"model.garbled", "model.empty"}


def test_characters_of_several_bytes_come_whole(folder: Path, opened: list[LlamaCpp]) -> None:
    words = ("né",)
    model = always(folder, opened, [token_of("né", words), EOS], words=words)
    replies = [model.complete(chat("s", "u"), None, FREE, seed) for seed in range(9)]
    good = [reply for reply in replies if reply.failure is None]
    assert good and all(set(reply.text) == {"n", "é"} for reply in good)


def test_thoughts_come_before_the_answer(folder: Path, opened: list[LlamaCpp]) -> None:
    words = ("hm", "</think>")
    tokens = [token_of(word, words) for word in words]
    model = always(folder, opened, tokens, words=words)
    limits = Limits(longest(SCHEMA), 60, thinking_tokens=30)
    replies = [model.complete(chat("s", "u"), SCHEMA, limits, seed) for seed in range(6)]
    assert all(reply.failure is None for reply in replies)
    assert all(violation(json.loads(reply.text), SCHEMA) == "" for reply in replies)
    assert any(reply.thinking for reply in replies)
    assert all(set(reply.thinking) <= {"h", "m"} for reply in replies)


def test_endless_thoughts_are_bounded(folder: Path, opened: list[LlamaCpp]) -> None:
    model = always(folder, opened, [token_of("z")])
    reply = model.complete(chat("s", "u"), SCHEMA, Limits(longest(SCHEMA), 60, 7), 1)
    assert reply.failure is None and reply.thinking == "z" * 7
    free = model.complete(chat("s", "u"), None, Limits(5, 60, 7), 1)
    assert (free.thinking, free.text) == ("z" * 7, "z" * 5)
    too_much = model.complete(chat("s", "u"), None, Limits(8000, 60, 300), 1)
    assert told(too_much) == "model.context_overflow"


def test_out_of_time_is_told_and_the_process_lives(folder: Path, opened: list[LlamaCpp]) -> None:
    path = make_tiny_gguf(folder / "slow.gguf", shape=SLOW, always=[token_of("z")])
    model = LlamaCpp(path, context=16384)
    opened.append(model)
    question = chat(TUNE, "u")
    assert model.complete(question, None, Limits(1, 60), 1).tokens_cached == 0
    late = model.complete(question, None, Limits(14000, 4), 1)
    assert told(late) == "model.timeout" and set(late.text) == {"z"}
    after = model.complete(question, None, Limits(1, 60), 1)
    assert all_kept(after)


def test_a_vocabulary_that_puts_spaces_first(folder: Path, opened: list[LlamaCpp]) -> None:
    words = many_words(3000)
    path = make_tiny_gguf(folder / "spaced.gguf", words=words, space_prefix=True)
    opened.append(LlamaCpp(path))
    for seed in range(4):
        reply = opened[0].complete(chat("s", "u"), SCHEMA, CONFINED, seed)
        assert reply.failure is None and reply.text.startswith('{"reason":"')


# --- models bench ---


def test_bench_tells_speed_beside_a_bare_loop(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    path = make_tiny_gguf(folder / "benched.gguf")
    assert _ran("bench", str(path), "--tokens", "8") == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert [line.split()[0] for line in lines if line][:5] == [
        "model",
        "threads",
        "memory",
        "here",
        "reading,",
    ]
    assert _ran("bench", str(path), "--tokens", "8", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["prompt_tokens"] == 64 and told["new_tokens"] == 13 and len(told["repeats"]) == 5
    assert all(value > 0 for line in told["repeats"] for value in line.values())


def test_bench_of_a_slow_model_is_shorter_and_ends_in_its_time(
    folder: Path, opened: list[LlamaCpp]
) -> None:
    opened.append(LlamaCpp(make_tiny_gguf(folder / "benched-slow.gguf", shape=SLOW)))
    assert opened[0].load() is None
    found = opened[0].bench(4000, 500, 5, 6.0)
    assert not isinstance(found, Failure), found
    assert 64 <= found["prompt_tokens"] < 4000 and 4 <= found["tokens"] < 500
    assert found["repeats"] and found["new_tokens"] < found["prompt_tokens"]


def test_bench_of_what_is_no_model_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.gguf").write_bytes(b"no model")
    assert _ran("bench", str(tmp_path / "x.gguf")) == 3
    assert "x.gguf" in capsys.readouterr().err


def _ran(*words: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main(["models", *words])
    return ended.value.code
