"""Requests reach the process that holds the run whole, in order, and once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import hpcagent
from hpcagent.errors import EnvironmentProblem, UsageError
from hpcagent.records import Failure
from hpcagent.study.inbox import consume, pending, post


def test_requests_come_in_the_order_of_posting(tmp_path: Path) -> None:
    for n in range(20):
        post(tmp_path, {"type": "advise", "text": f"try {n} ü\n"})
    post(tmp_path, {"type": "stop"})
    found = pending(tmp_path)
    assert [request.data.get("text") for request in found[:-1]] == [
        f"try {n} ü\n" for n in range(20)
    ]
    assert (found[-1].type, found[-1].data) == ("stop", {})
    assert len({request.id for request in found}) == 21


def test_a_clock_that_went_back_keeps_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(tmp_path, {"type": "approve", "n": 1})
    monkeypatch.setattr(time, "time_ns", lambda: 5)
    post(tmp_path, {"type": "approve", "n": 2})
    assert [request.data["n"] for request in pending(tmp_path)] == [1, 2]


def test_a_request_waits_until_it_is_consumed(tmp_path: Path) -> None:
    post(tmp_path, {"type": "cancel"})
    (request,) = pending(tmp_path)
    assert pending(tmp_path) == [request]
    consume(request)
    consume(request)
    assert pending(tmp_path) == []


def test_an_inbox_that_nobody_used_is_empty(tmp_path: Path) -> None:
    assert pending(tmp_path) == []


@pytest.mark.parametrize(
    "request_", [{}, {"type": "explode"}, {"type": None}, {"type": "advise", "x": float("nan")}]
)
def test_what_is_no_request_is_not_posted(tmp_path: Path, request_: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        post(tmp_path, request_)
    assert not (tmp_path / "inbox").exists()


def test_a_huge_request_is_not_posted(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at most"):
        post(tmp_path, {"type": "advise", "text": "x" * (2 << 20)})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"schema":2,"type":"stop","data":{}}',
        b'{"schema":1,"type":"explode","data":{}}',
        b'{"schema":1,"type":[],"data":{}}',
        b'{"schema":1,"type":"stop"}',
        b"[" * 100_000,
        b" " * ((1 << 20) + 1),
    ],
)
def test_a_bad_file_is_set_aside_once_and_told(tmp_path: Path, content: bytes) -> None:
    good = post(tmp_path, {"type": "stop"})
    bad = good.with_name("0" * 20 + "-00000000.json")
    bad.write_bytes(content)
    told: list[Failure] = []
    assert [request.path for request in pending(tmp_path, told.append)] == [good]
    assert [failure.id for failure in told] == ["environment.bad_request"]
    assert str(bad) in told[0].evidence
    assert bad.with_name(bad.name + ".bad").read_bytes() == content
    assert len(pending(tmp_path, told.append)) == 1
    assert len(told) == 1


def test_what_is_no_file_is_never_opened(tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    folder.mkdir()
    os.mkfifo(folder / f"{1:020d}-00000000.json")
    (folder / f"{2:020d}-00000000.json").mkdir()
    (folder / f"{3:020d}-00000000.json").symlink_to("/etc/passwd")
    (folder / "free-name.json").write_text("{}")
    told: list[Failure] = []
    assert pending(tmp_path, told.append) == []
    assert len(told) == 4
    assert pending(tmp_path, told.append) == []


def test_an_unfinished_file_is_not_seen(tmp_path: Path) -> None:
    post(tmp_path, {"type": "stop"})
    (tmp_path / "inbox" / ".tmp-half.json").write_text("{")
    assert len(pending(tmp_path)) == 1


def test_a_run_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="gone"):
        post(tmp_path / "gone", {"type": "stop"})


def test_many_posters_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from hpcagent.study.inbox import post\n"
        "for n in range(10): post(pathlib.Path(sys.argv[1]), {'type': 'advise', 'n': n})"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(hpcagent.__file__).parents[1])}
    words = [sys.executable, "-c", code, str(tmp_path)]
    posters = [subprocess.Popen(words, env=env) for _ in range(4)]
    assert [poster.wait(timeout=300) for poster in posters] == [0] * 4
    found = pending(tmp_path)
    assert sorted(request.data["n"] for request in found) == sorted(list(range(10)) * 4)
