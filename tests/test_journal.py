"""The journal: any prefix is a valid state, nothing acknowledged is lost, one writer at a time."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcagent import shell
from hpcagent.errors import EnvironmentProblem, Fenced, RunFailed
from hpcagent.records import Event
from hpcagent.study.journal import TYPES, JournalWriter, read_journal

NOON = datetime(2026, 11, 22, 12, 0, 0, 250_000, tzinfo=UTC)


def no_fence(*_: object) -> None:
    return None


def writer(path: Path, heed: Callable[[Event], object] = no_fence) -> JournalWriter:
    return JournalWriter(path, no_fence, clock=lambda: NOON, heed=heed)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


@pytest.fixture
def sample(path: Path) -> Path:
    with writer(path) as journal:
        journal.append("run_opened", {"kind": "tune", "seed": 7})
        journal.append("facts", {"cpu": "Ünïcode \u2028 and \n newline", "list": [1, 2.5, None]})
        journal.append("decision", {})
        journal.append("run_closed", {"nested": {"a": {"b": True}}})
    return path


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
events = st.lists(
    st.tuples(st.sampled_from(sorted(TYPES)), st.dictionaries(st.text(), json_values, max_size=3)),
    max_size=6,
)


def test_what_was_appended_is_read(sample: Path) -> None:
    view = read_journal(sample)
    told = list(view)
    assert [event.seq for event in told] == [1, 2, 3, 4]
    assert told[1].data["cpu"] == "Ünïcode \u2028 and \n newline"
    assert told[0].t_utc == "2026-11-22T12:00:00.250Z"
    assert (view.read_only_reason, view.torn_bytes) == (None, 0)
    first = json.loads(sample.read_text(encoding="ascii").splitlines()[0])
    assert set(first) == {"v", "seq", "t_utc", "type", "data"}


def test_a_missing_journal_is_empty(path: Path) -> None:
    assert list(read_journal(path)) == []


def test_every_cut_is_a_valid_state(sample: Path) -> None:
    raw = sample.read_bytes()
    whole = list(read_journal(sample))
    for length in range(len(raw) + 1):
        sample.write_bytes(raw[:length])
        view = read_journal(sample)
        complete = raw[:length].count(b"\n")
        assert list(view) == whole[:complete]
        assert (view.count, view.length + view.torn_bytes) == (complete, length)
        assert view.torn_bytes == length - (raw[:length].rfind(b"\n") + 1)
        assert view.read_only_reason is None


@settings(max_examples=40, deadline=None)
@given(written=events, data=st.data())
def test_a_cut_journal_goes_on_where_it_was_cut(
    tmp_path_factory: pytest.TempPathFactory,
    written: list[tuple[str, dict[str, object]]],
    data: st.DataObject,
) -> None:
    path = tmp_path_factory.mktemp("cut") / "journal.jsonl"
    with writer(path) as journal:
        told = [journal.append(kind, fields) for kind, fields in written]
    assert list(read_journal(path)) == told
    raw = path.read_bytes()
    cut = data.draw(st.integers(0, len(raw)))
    path.write_bytes(raw[:cut])
    kept = told[: raw[:cut].count(b"\n")]
    found: list[Event] = []
    with writer(path, found.append) as journal:
        assert found == kept
        assert journal.count == len(kept)
        added = journal.append("decision", {"after": cut})
    view = read_journal(path)
    assert list(view) == [*kept, added]
    assert view.torn_bytes == 0


def test_a_hole_left_by_a_crash_in_the_last_line_is_torn(sample: Path) -> None:
    raw = sample.read_bytes()
    start = raw.rfind(b"\n", 0, len(raw) - 1) + 1
    sample.write_bytes(raw[:start] + b"\0" * (len(raw) - start - 1) + b"\n")
    view = read_journal(sample)
    assert len(list(view)) == 3
    assert view.torn_bytes == len(raw) - start


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("garbage", "damaged"),
        ("", "damaged"),
        ("[1]", "not a JSON object"),
        ('{"v":1,"seq":3,"t_utc":"","type":"facts","data":{}}', "seq is 3, expected 2"),
        ('{"v":1,"seq":1,"t_utc":"","type":"facts","data":{}}', "seq is 1, expected 2"),
        ('{"v":1,"seq":"2","t_utc":"","type":"facts","data":{}}', "seq"),
        ('{"v":true,"seq":2,"t_utc":"","type":"facts","data":{}}', "field v"),
        ('{"v":0,"seq":2,"t_utc":"","type":"facts","data":{}}', "field v is 0"),
        ('{"v":1,"seq":2,"t_utc":"","type":"facts","data":[]}', "data"),
        ('{"v":1,"seq":2,"t_utc":"","type":"facts"}', "data"),
        ('{"v":1,"seq":2,"t_utc":"","type":"facts","data":{"x":NaN}}', "NaN"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
@pytest.mark.parametrize("last", [True, False])
def test_a_broken_line_is_an_error_with_its_place(
    sample: Path, line: str, words: str, last: bool
) -> None:
    lines = sample.read_text().splitlines()
    lines[1] = line
    kept = lines[:2] if last else lines
    sample.write_text("\n".join(kept) + "\n")
    with pytest.raises(RunFailed) as caught:
        list(read_journal(sample))
    assert f"{sample}:2:" in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_not_utf_8_are_an_error(sample: Path) -> None:
    sample.write_bytes(b'{"\xff":1}\n' + sample.read_bytes())
    with pytest.raises(RunFailed, match="jsonl:1:"):
        list(read_journal(sample))


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ('{"v":1,"seq":2,"t_utc":"x","type":"teleported","data":{}}', "teleported"),
        ('{"v":2,"seq":2,"kind":"facts"}', "format 2"),
    ],
)
def test_a_journal_of_a_newer_version_can_be_read_only(sample: Path, line: str, word: str) -> None:
    lines = sample.read_text().splitlines()
    lines[1] = line
    sample.write_text("\n".join(lines) + "\n")
    view = read_journal(sample)
    told = list(view)
    assert [event.seq for event in told] == [1, 2, 3, 4]
    assert view.read_only_reason is not None
    assert word in view.read_only_reason
    before = sample.read_bytes()
    with pytest.raises(EnvironmentProblem, match=word):
        writer(sample)
    assert sample.read_bytes() == before


def test_a_fenced_writer_changes_nothing(sample: Path) -> None:
    held = True

    def fence() -> None:
        if not held:
            raise Fenced("taken over")

    sample.write_bytes(sample.read_bytes() + b'{"torn')
    with JournalWriter(sample, fence) as journal:
        journal.append("decision", {"n": 1})
        held = False
        before = sample.read_bytes()
        with pytest.raises(Fenced):
            journal.append("decision", {"n": 2})
        assert sample.read_bytes() == before
    sample.write_bytes(before + b'{"torn')
    with pytest.raises(Fenced):
        JournalWriter(sample, fence)
    assert sample.read_bytes() == before + b'{"torn'


def test_of_two_writers_the_late_one_stops(sample: Path) -> None:
    with writer(sample) as early, writer(sample) as late:
        early.append("decision", {"by": "early"})
        before = sample.read_bytes()
        with pytest.raises(Fenced, match="another process"):
            late.append("decision", {"by": "late"})
        assert sample.read_bytes() == before
        early.append("decision", {"by": "early"})
    assert len(list(read_journal(sample))) == 6


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_write_that_does_not_fit_leaves_the_journal_whole(sample: Path) -> None:
    before = sample.read_bytes()
    with writer(sample) as journal:
        for room in (0, 1, 50):
            with (
                largest_file(len(before) + room),
                pytest.raises(EnvironmentProblem, match=r"journal\.jsonl: .*;"),
            ):
                journal.append("decision", {"text": "x" * 200})
            assert sample.read_bytes() == before
        assert journal.append("decision", {"text": "x" * 200}).seq == 5
    assert len(list(read_journal(sample))) == 5


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "tiny"
    place.mkdir()
    mounted = os.geteuid() == 0 and shell.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(place)], timeout_s=30
    )
    if not mounted or not mounted.ok:
        pytest.skip("needs the right to mount a small tmpfs")
    yield place
    shell.run(["umount", "-l", str(place)], timeout_s=30)


def test_a_full_disk_is_told_and_loses_nothing(tiny_disk: Path) -> None:
    path = tiny_disk / "journal.jsonl"
    with writer(path) as journal:
        told = [journal.append("run_opened", {})]
        (tiny_disk / "ballast").write_bytes(b"x" * 8192)
        with pytest.raises(EnvironmentProblem, match=r"No space left.*free some space") as caught:
            for n in range(100):
                told.append(journal.append("decision", {"n": n, "text": "x" * 300}))
        assert str(path) in str(caught.value)
        view = read_journal(path)
        assert list(view) == told
        assert view.torn_bytes == 0
        (tiny_disk / "ballast").unlink()
        told.append(journal.append("run_closed", {}))
    assert list(read_journal(path)) == told


def test_an_unwritable_place_is_told(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="missing"):
        writer(tmp_path / "missing" / "journal.jsonl")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object()])
def test_what_json_lacks_is_not_written(sample: Path, value: object) -> None:
    before = sample.read_bytes()
    with writer(sample) as journal:
        with pytest.raises(RunFailed, match="decision event is not JSON"):
            journal.append("decision", {"value": value})
        with pytest.raises(RunFailed, match="not an event type"):
            journal.append("teleported", {})
    assert sample.read_bytes() == before


def test_the_journal_is_private(sample: Path) -> None:
    assert sample.stat().st_mode & 0o077 == 0
