"""Calls a function of the user's own file in a process with limits; never in this one.

The request goes in as JSON, the answer comes back on a pipe of its own. What the function prints
is kept apart as a log.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_CHILD = Path(__file__).resolve().parent / "function_child.py"
_CHUNK = 65536
_LOG_KEPT = 8000  # characters of what it printed, the last ones
_AFTERWARDS_S = 10.0  # for the child to end what the function left behind


@dataclass(frozen=True)
class Bounds:
    """Of one call: wall-clock and processor seconds, address space, bytes of answer and of log."""

    seconds: float = 20.0
    memory_bytes: int = 4 << 30
    answer_bytes: int = 1 << 20
    log_bytes: int = 4 << 20


@dataclass(frozen=True)
class Odd:
    """What of an answer is no plain data: (name, look) of some such parts, the look of all of it.

    The name is empty where all of the answer is such a part.
    """

    parts: tuple[tuple[str, str], ...]
    whole: str


@dataclass(frozen=True)
class Called:
    """What came of one call: the value, or a `problem` in one line. `log` is what it printed.

    `kind` of a problem: timeout, output, ended, raised or nonsense; empty where there is none.
    `odd` is what the value lacks: NaN, infinities, and what is no text, number, list or dict.
    """

    value: Any
    kind: str
    problem: str
    log: str
    seconds: float
    odd: Odd | None = None


BOUNDS = Bounds()


def call(path: Path, entry: str, request: Mapping[str, Any], bounds: Bounds = BOUNDS) -> Called:
    """The answer of function `entry` in the file `path` to request["space"], request["history"]."""
    begun = time.monotonic()
    exchange = _Exchange(path, entry, request, bounds)
    try:
        kind = exchange.run(begun + bounds.seconds + _AFTERWARDS_S)
    finally:
        exchange.close()
    return exchange.judged(kind, begun)


class _Exchange:
    """One child with its pipes."""

    def __init__(self, path: Path, entry: str, request: Mapping[str, Any], bounds: Bounds) -> None:
        self._bounds = bounds
        self._unsent = memoryview(json.dumps(request).encode("ascii"))
        self._answer, self._status, self._printed = bytearray(), bytearray(), bytearray()
        self._log_bytes = 0
        answer, status = os.pipe(), os.pipe()
        self._ends = {answer[0]: self._answer, status[0]: self._status}
        words = (str(path), entry, str(answer[1]), str(status[1]))
        limits = (str(bounds.seconds), str(bounds.memory_bytes))
        try:
            self._process = subprocess.Popen(
                (sys.executable, "-P", str(_CHILD), *words, *limits),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                pass_fds=(answer[1], status[1]),
                start_new_session=True,  # Ctrl-C is for the agent to act on
            )
        finally:
            os.close(answer[1])
            os.close(status[1])
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        self._stdin, self._stdout = stdin.fileno(), stdout.fileno()
        for end in (self._stdin, self._stdout, *self._ends):
            os.set_blocking(end, False)

    def run(self, deadline: float) -> str:
        """Exchange until the child has told how the function ended; "output" where it is too much.

        A pipe that a process left behind holds open is not waited for.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdin, selectors.EVENT_WRITE)
            for end in (self._stdout, *self._ends):
                selector.register(end, selectors.EVENT_READ)
            while not self._status and selector.get_map() and time.monotonic() < deadline:
                for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
                    writing = key.fd == self._stdin
                    if self._sent() if writing else not self._read(key.fd):
                        selector.unregister(key.fd)
                        if writing:
                            self._close(self._process.stdin)
                if self._too_much():
                    return "output"
        while any(self._read(end) for end in (self._stdout, *self._ends)):
            if self._too_much():
                return "output"
        return "" if self._status else "timeout"

    def _too_much(self) -> bool:
        most = self._bounds
        return len(self._answer) > most.answer_bytes or self._log_bytes > most.log_bytes

    def _sent(self) -> bool:
        """Whether all was sent, or nobody reads it."""
        try:
            self._unsent = self._unsent[os.write(self._stdin, self._unsent[:_CHUNK]) :]
        except BrokenPipeError:
            return True
        return not self._unsent

    @staticmethod
    def _close(stream: IO[bytes] | None) -> None:
        if stream is not None and not stream.closed:
            with suppress(BrokenPipeError):
                stream.close()

    def _read(self, end: int) -> int:
        try:
            data = os.read(end, _CHUNK)
        except OSError:
            return 0
        if end in self._ends:
            self._ends[end] += data
        else:
            self._log_bytes += len(data)
            self._printed = (self._printed + data)[-4 * _LOG_KEPT :]
        return len(data)

    def close(self) -> None:
        """End the child, which ends all that the function left behind."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=_AFTERWARDS_S)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._close(self._process.stdin)
        self._close(self._process.stdout)
        for end in self._ends:
            os.close(end)

    def log(self) -> str:
        """What it printed, the last part of it, control characters replaced."""
        text = self._printed.decode("utf-8", errors="replace")[-_LOG_KEPT:]
        return _printable(text, "\n")

    def judged(self, kind: str, begun: float) -> Called:
        """What came of it all; `begun` is of the monotonic clock."""

        def told(value: Any, kind: str, problem: str, odd: Odd | None = None) -> Called:
            return Called(value, kind, problem, self.log(), time.monotonic() - begun, odd)

        if kind == "output":
            return told(None, kind, f"it wrote more than {self._most()} MiB and was ended")
        ended = _object(bytes(self._status))
        if kind == "timeout" or ended.get("timeout"):
            seconds = self._bounds.seconds
            return told(None, "timeout", f"no answer within {seconds:g} s; it was ended")
        if not self._answer:
            return told(None, *_without_answer(int(ended.get("code", 0)), self.log()))
        found = _object(bytes(self._answer))
        if "raised" in found:
            return told(None, "raised", _printable(_raised(found)))
        if "value" not in found:
            start = bytes(self._answer[:40])
            return told(None, "nonsense", f"it wrote {start!r} to the pipe of answers")
        return told(found["value"], "", "", _odd(found))

    def _most(self) -> str:
        most = self._bounds
        over = len(self._answer) > most.answer_bytes
        return f"{(most.answer_bytes if over else most.log_bytes) / (1 << 20):g}"


def _raised(found: Mapping[str, Any]) -> str:
    return f"it raised {str(found['raised'])[:226]} ({str(found.get('place', ''))[:60]})"


def _odd(found: Mapping[str, Any]) -> Odd | None:
    parts = found.get("odd")
    if not isinstance(parts, list):
        return None
    pairs = [each for each in parts if isinstance(each, list) and len(each) == 2]
    return Odd(tuple((str(n), str(look)) for n, look in pairs), str(found.get("shown", "")))


def _printable(text: str, kept: str = "") -> str:
    """With a space for each control character that is not `kept`."""
    return "".join(c if c.isprintable() or c in kept else " " for c in text)


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _without_answer(code: int, log: str) -> tuple[str, str]:
    """(kind, problem) of a function that ended without an answer."""
    lines: Sequence[str] = [line.strip() for line in log.splitlines() if line.strip()]
    if code == 1 and lines:
        return "raised", f"it raised {lines[-1][:200]}{_place(lines)}"
    if code < 0:
        with suppress(ValueError):
            return "ended", f"it was killed by {signal.Signals(-code).name}"
        return "ended", f"it was killed by signal {-code}"
    return "ended", f"it exited with code {code} and gave no answer"


def _place(lines: Sequence[str]) -> str:
    """The last line of the traceback that names a place, as " (mine.py, line 7)"."""
    for line in reversed(lines):
        if line.startswith('File "') and ", line " in line:
            path, _, rest = line[6:].partition('", line ')
            return f" ({Path(path).name}, line {rest.partition(',')[0]})"
    return ""
