"""The journal of a run: append-only JSON lines; every prefix, cut at any byte, is a valid state."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from hpcagent import __version__
from hpcagent.errors import EnvironmentProblem, Fenced, RunFailed
from hpcagent.records import Event
from hpcagent.study.durable import (
    json_bytes,
    parse_object,
    problem,
    sync_directory,
    utc_now,
    utc_text,
)

VERSION = 1
TYPES = frozenset(
    {
        "run_opened",
        "facts",
        "proposed",
        "unit_intent",
        "unit_submitted",
        "unit_state",
        "unit_result",
        "decision",
        "llm_call",
        "advice",
        "run_closed",
    }
)


class Reading:
    """The events of a journal, one at a time: none is kept. A missing file is an empty journal.

    What a whole pass has found is told after it: `count` events in `length` bytes, `torn_bytes` of
    an unfinished last line behind them, and `read_only_reason` where a newer hpcagent wrote to it.
    Iterating raises RunFailed (with file and line) at a damaged line that is not the unfinished
    last one, EnvironmentProblem where the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begin()

    def _begin(self) -> None:
        self.count = self.length = self.torn_bytes = 0
        self.read_only_reason: str | None = None

    def __iter__(self) -> Iterator[Event]:
        self._begin()
        for line in self._whole_lines():
            event = _parse(self._path, self.count + 1, line)
            self.count, self.length = event.seq, self.length + len(line)
            self.read_only_reason = self.read_only_reason or _newer(self._path, event)
            yield event

    def to_write(self) -> Iterator[Event]:
        """The same; EnvironmentProblem where it can only be read."""
        for event in self:
            if self.read_only_reason:
                raise EnvironmentProblem(self.read_only_reason)
            yield event

    def _whole_lines(self) -> Iterator[bytes]:
        """The lines up to the unfinished last one, whose length is noted.

        A crash can leave a hole of zero bytes where the data of the last write never arrived; our
        lines hold no zero byte, so such a last line was never acknowledged and is unfinished too.
        """
        last = b""
        for line in self._lines():
            if not line.endswith(b"\n"):
                self.torn_bytes = len(line)
                break
            if last:
                yield last
            last = line
        if b"\0" in last:
            self.torn_bytes += len(last)
        elif last:
            yield last

    def _lines(self) -> Iterator[bytes]:
        try:
            with self._path.open("rb") as stream:
                yield from stream
        except FileNotFoundError:
            return
        except OSError as error:
            raise problem("read", self._path, error) from None


def read_journal(path: Path) -> Reading:
    """The events of the journal at `path`, to be read one at a time."""
    return Reading(path)


def _parse(path: Path, number: int, line: bytes) -> Event:
    try:
        record = parse_object(line)
        version = _field(record, "v", int)
        if version < VERSION:
            raise ValueError(f"field v is {version}, not {VERSION} or newer")
        if version > VERSION:  # a newer form may lack anything but its number
            record = {"t_utc": "", "type": "", "data": {}, **record}
        event = Event(
            seq=_field(record, "seq", int),
            t_utc=_field(record, "t_utc", str),
            type=_field(record, "type", str),
            data=_field(record, "data", dict),
            v=version,
        )
        if event.seq != number:
            raise ValueError(f"field seq is {event.seq}, expected {number}")
    except ValueError as error:
        raise RunFailed(
            f"{path}:{number}: the journal is damaged: {error}; restore the file from a backup, "
            f"or keep its first {number - 1} lines only"
        ) from None
    return event


def _field(record: Mapping[str, Any], name: str, kind: type) -> Any:
    value = record.get(name)
    if type(value) is not kind:
        raise ValueError(f"field {name} is missing or not of type {kind.__name__}")
    return value


def _newer(path: Path, event: Event) -> str | None:
    if event.v > VERSION:
        what = f"has format {event.v}, newer than format {VERSION}"
    elif event.type not in TYPES:
        what = f"has the type {event.type!r}, unknown to format {VERSION}"
    else:
        return None
    return (
        f"{path}:{event.seq} {what} of hpcagent {__version__}: a newer hpcagent wrote it, so it "
        "can only be read here; go on with that version"
    )


class JournalWriter:
    """The one writer of a journal.

    `fence` is called before every change of the file and raises Fenced when this process has lost
    the run. `heed` gets each event that is found at opening; `count` tells how many there are.
    Opening cuts off an unfinished last line.
    """

    def __init__(
        self,
        path: Path,
        fence: Callable[[], None],
        clock: Callable[[], datetime] = utc_now,
        heed: Callable[[Event], object] = lambda event: None,
    ) -> None:
        self._path = path
        self._fence = fence
        self._clock = clock
        self._broken = False
        found = read_journal(path)
        for event in found.to_write():
            heed(event)
        self.count = found.count
        fence()
        self._handle = self._open()
        self._end = found.length + found.torn_bytes
        try:
            self._cut(found.torn_bytes)
        except OSError as error:
            self.close()
            raise problem("mend the end of", path, error) from None

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            handle = os.open(self._path, flags, 0o600)
            sync_directory(self._path.parent)
        except OSError as error:
            raise problem("open", self._path, error) from None
        return handle

    def _cut(self, torn_bytes: int) -> None:
        if torn_bytes:
            self._check_unchanged()
            self._end -= torn_bytes
            os.ftruncate(self._handle, self._end)
            os.fsync(self._handle)

    def _check_unchanged(self) -> None:
        if os.fstat(self._handle).st_size != self._end:
            raise Fenced(f"{self._path} was changed by another process; this one stops writing")

    def append(self, type: str, data: Mapping[str, Any]) -> Event:
        """Write one event and sync it: when this returns, the event will survive a crash.

        Raises Fenced, or EnvironmentProblem (disk full, read-only, I/O error): the journal is
        then as it was before.
        """
        if type not in TYPES:
            raise RunFailed(f"{self._path}: {type!r} is not an event type")
        moment = utc_text(self._clock())
        seq = self.count + 1
        try:
            line = json_bytes(
                {"v": VERSION, "seq": seq, "t_utc": moment, "type": type, "data": dict(data)}
            )
        except (TypeError, ValueError) as error:
            raise RunFailed(f"{self._path}: a {type} event is not JSON: {error}") from None
        self._fence()
        self._write(line)
        self.count = seq
        return Event(seq, moment, type, parse_object(line)["data"])

    def _write(self, line: bytes) -> None:
        if self._broken:
            raise EnvironmentProblem(
                f"{self._path} could not be mended after a failed write; resume the run when the "
                "file system is well again"
            )
        try:
            self._check_unchanged()
            written = os.write(self._handle, line)
            while written < len(line):  # the next call says why it was cut short
                written += os.write(self._handle, line[written:])
            os.fsync(self._handle)
        except OSError as error:
            self._roll_back()
            raise problem("write to", self._path, error) from None
        self._end += len(line)

    def _roll_back(self) -> None:
        try:
            os.ftruncate(self._handle, self._end)
            os.fsync(self._handle)
        except OSError:
            self._broken = True

    def close(self) -> None:
        if self._handle >= 0:
            with suppress(OSError):
                os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
