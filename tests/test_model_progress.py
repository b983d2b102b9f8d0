"""What a person is told who waits for a model, and a time limit that the model's process keeps."""

from __future__ import annotations

import hashlib
import os
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_gguf import Shape, make_tiny_gguf

from hpcagent.cli.waiting import Plain, words
from hpcagent.llm import digests
from hpcagent.llm.child.telling import Telling
from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.llm.memory import CPU_BATCH
from hpcagent.llm.pipe import Child
from hpcagent.llm.progress import DIGESTING, LOADING, MEASURING, READING, WRITING, Progress, read
from hpcagent.records import Limits, Message

GB = 10**9
SLOW = Shape(width=256, layers=6, heads=4, forward=512)
# The real process, which tells of every batch.
TALKATIVE = (
    sys.executable, "-P", "-c",
    "from hpcagent.llm.child import __main__, telling; telling.EVERY_S = 0; __main__.main()",
)  # fmt: skip
ASK = (Message("user", "Tune the library on this machine. " * 40),)


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (Progress(READING, 704, 1404, 64, 64.0), "the model reads: 704 of 1404 tokens, 1:10 left"),
        (Progress(READING, 64, 1404, 64, 1.0), "the model reads: 64 of 1404 tokens"),
        (Progress(WRITING, 34, seconds=21.0), "the model writes: 34 tokens in 0:21"),
        (Progress(MEASURING, 1, 5, seconds=61.0), "1 of 5 repeats in 1:01"),
        (Progress(LOADING, 0, 5 * GB, seconds=23.0), "loading the model, 5.0 GB: 0:23"),
        (
            Progress(DIGESTING, GB, 5 * GB, seconds=10.0),
            "SHA-256 of the model: 1.0 GB of 5.0 GB, 0:40 left",
        ),
    ],
)
def test_progress_is_told_in_one_line(progress: Progress, line: str) -> None:
    assert words(progress) == line


def test_a_log_gets_a_line_each_half_minute_and_none_for_what_is_quick() -> None:
    lines: list[str] = []
    now = [0.0]
    plain = Plain(lines.append, lambda: now[0])
    for second in range(100):
        now[0] = float(second)
        plain(Progress(READING, second, 1000, seconds=float(second)))
    assert [line.split()[3] for line in lines] == ["30", "60", "90"]
    plain(None)
    for second in range(200, 220):
        now[0] = float(second)
        plain(Progress(WRITING, second, seconds=second - 200.0))
    assert len(lines) == 3


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())
)
NAMES = st.sampled_from(["what", "done", "of", "before", "seconds"])


@given(st.one_of(VALUES, st.dictionaries(NAMES, st.one_of(VALUES, st.just(READING)))))
def test_whatever_a_process_tells_is_read_or_passed_over(told: object) -> None:
    found = read(told)
    assert found is None or (found.what == READING and words(found))


def test_time_left_is_by_what_was_not_in_the_cache() -> None:
    told: list[Progress | None] = []
    now = [0.0]
    telling = Telling(lambda message: told.append(read(message)), lambda: now[0])
    telling.reading(1000)
    for end in range(632, 1000, 32):
        now[0] += 2.0
        telling.evaluated(end - 32, end)
    assert all(each is not None and each.before == 600 for each in told)
    assert [each.left_s for each in told if each][:2] == [23.0, 21.0]
    now[0] += 1.0
    telling.evaluated(984, 1003)
    telling.evaluated(1003, 1004)
    assert told[-1] == Progress(WRITING, 3, 0, 0, 0.0)


@pytest.mark.llama
def test_reading_and_writing_are_told_of_a_real_model(tmp_path: Path) -> None:
    model = LlamaCpp(make_tiny_gguf(tmp_path / "tiny.gguf"), command=TALKATIVE)
    told: list[Progress | None] = []
    model.tell = told.append
    reply = model.complete(ASK, None, Limits(20, 60), 1)
    model.close()
    assert reply.tokens_out == 20 and told[-1] is None
    reading = [each for each in told if each is not None and each.what == READING]
    places = [0, *sorted({each.done for each in reading}), reply.tokens_in]
    assert len(places) > 3, "some are read twice, to see whether the bits are the same"
    assert all(0 <= end - start <= CPU_BATCH for start, end in pairwise(places))
    assert {(each.of, each.before) for each in reading} == {(reply.tokens_in, 0)}
    written = [each.done for each in told if each is not None and each.what == WRITING]
    assert written == sorted(written) and 1 <= written[-1] <= 20


@pytest.mark.llama
def test_out_of_time_says_how_far_it_came_and_what_was_read_is_kept(tmp_path: Path) -> None:
    question = (Message("user", "of it if at the " * 450),)
    model = LlamaCpp(make_tiny_gguf(tmp_path / "slow.gguf", shape=SLOW))
    assert model.load() is None
    late = model.complete(question, None, Limits(1, 0.4), 1)
    assert late.failure is not None and late.failure.kind == "timeout"
    said = late.failure.evidence
    assert said.startswith("no answer within 0.4 s: ") and " a second; they are kept" in said
    read_then = int(said.split(": ")[1].split(" of ")[0])
    after = model.complete((Message("user", "of it if at the " * 30),), None, Limits(1, 600), 1)
    model.close()
    assert after.tokens_cached >= min(read_then, 256) > 0


def test_a_process_that_is_a_little_late_is_not_killed() -> None:
    script = (
        "import sys, time\nsys.stdin.readline(); time.sleep(0.5)\n"
        """print('{"progress": {"what": "reading", "done": 7}}', flush=True)\n"""
        """print('{"late": true}', flush=True)"""
    )
    child = Child((sys.executable, "-c", script), dict(os.environ))
    heard: list[object] = []
    assert child.ask({}, 0.1, heard.append, grace_s=60) == {"late": True}
    assert heard == [{"what": "reading", "done": 7}]
    child.close()


def test_a_digest_tells_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_TOLD_EVERY_S", 0.0)
    path = tmp_path / "model.gguf"
    path.write_bytes(b"a" * (5 << 19))
    told: list[Progress | None] = []
    found = digests.sha256(path, told.append)
    assert found == hashlib.sha256(b"a" * (5 << 19)).hexdigest()
    *parts, end = told
    assert end is None and parts[-1] is not None
    assert (parts[-1].done, parts[-1].of) == (5 << 19, 5 << 19)
