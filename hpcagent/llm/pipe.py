"""A child process that answers JSON lines, with a time limit on every exchange.

Its stderr is read along and kept as a short tail, so that it can neither block nor fill memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

_MAX_LINE = 1024 * 1024
_TAIL = 4000
_CHUNK = 65536
_MOST_CHUNKS = 64  # of what it said before its end
_PROGRESS = b'{"progress": '
_LOOK_S = 1.0  # so often a listener hears at least
_END_S = 10.0  # a process that waits for a file system that is gone cannot be killed


class ChildFailed(RuntimeError):
    """The child ended, was too slow or spoke nonsense; it is gone now. `kind` says which."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


class Child:
    """One running child; every failure ends it. ChildFailed where it cannot be started."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(env),
                start_new_session=True,  # Ctrl-C is for the agent to act on
            )
        except OSError as error:  # no memory, too many processes or open files
            words = f"its process cannot be started: {error.strerror}"
            raise ChildFailed("died", words) from None
        self._tail = b""
        self._received = bytearray()
        for stream in self._streams():
            os.set_blocking(stream.fileno(), False)

    def ask(
        self,
        message: Mapping[str, Any] | None,
        timeout_s: float,
        heard: Callable[[object], None] | None = None,
        grace_s: float = 0.0,
    ) -> dict[str, Any]:
        """Send one line, return the next one; ChildFailed after which the child is dead.

        So it is after any other exception, such as Ctrl-C: its answer would be taken for the next.
        None only waits for the answer to what was posted. `heard` gets what lines before the answer
        tell of its progress, and None about every second. A child that keeps the time
        itself has `grace_s` more before it counts as hung.
        """
        try:
            line = b"" if message is None else _line(message)
            self._exchange(line, timeout_s, grace_s, heard)
            answer = self._first_line()
        except BaseException:
            self.close()
            raise
        return answer

    def post(self, message: Mapping[str, Any]) -> None:
        """Send a short line, the first one, without waiting; ChildFailed as `ask`."""
        self._write(memoryview(_line(message)))

    def _exchange(
        self,
        line: bytes,
        timeout_s: float,
        grace_s: float,
        heard: Callable[[object], None] | None,
    ) -> None:
        deadline = time.monotonic() + timeout_s + grace_s
        unsent = memoryview(line)
        stdin, stdout, stderr = self._streams()
        with selectors.DefaultSelector() as selector:
            if unsent:
                selector.register(stdin, selectors.EVENT_WRITE)
            selector.register(stdout, selectors.EVENT_READ)
            selector.register(stderr, selectors.EVENT_READ)
            looked = time.monotonic()
            while b"\n" not in self._received:
                now = time.monotonic()
                left = deadline - now
                if left <= 0:
                    raise self._fail("timeout", f"no answer within {timeout_s:g} s")
                if heard and now - looked >= _LOOK_S:
                    looked = now
                    heard(None)
                for key, _ in selector.select(min(left, _LOOK_S) if heard else left):
                    if key.fileobj is stdin:
                        unsent = self._write(unsent)
                        if not unsent:
                            selector.unregister(stdin)
                    elif key.fileobj is stdout:
                        self._read_answer()
                        self._pass_on(heard)
                    elif not self._read_tail():
                        selector.unregister(stderr)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def closed(self) -> bool:
        return self._streams()[0].closed

    def close(self) -> None:
        """End the child and wait for it, not for ever."""
        self._end()
        for stream in self._streams():
            stream.close()

    def _end(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_END_S)

    def _streams(self) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
        process = self._process
        assert process.stdin and process.stdout and process.stderr
        return process.stdin, process.stdout, process.stderr

    def _write(self, unsent: memoryview) -> memoryview:
        try:
            return unsent[os.write(self._streams()[0].fileno(), unsent[:_CHUNK]) :]
        except BrokenPipeError:
            raise self._fail("died", "") from None

    def _read_answer(self) -> None:
        data = os.read(self._streams()[1].fileno(), _CHUNK)
        if not data:
            raise self._fail("died", "")
        self._received += data
        if len(self._received) > _MAX_LINE:
            raise self._fail("nonsense", f"an answer of more than {_MAX_LINE} bytes")

    def _pass_on(self, heard: Callable[[object], None] | None) -> None:
        """Take out the lines that only tell how far it is."""
        while self._received.startswith(_PROGRESS) and b"\n" in self._received:
            told = self._first_line()
            if heard:
                heard(told.get("progress"))

    def _read_tail(self) -> bool:
        data = os.read(self._streams()[2].fileno(), _CHUNK)
        self._tail = (self._tail + data)[-_TAIL:]
        return bool(data)

    def _first_line(self) -> dict[str, Any]:
        line, _, rest = bytes(self._received).partition(b"\n")
        self._received = bytearray(rest)
        try:
            answer = json.loads(line)
        except ValueError:
            raise self._fail("nonsense", f"not JSON: {line[:60]!r}") from None
        if not isinstance(answer, dict):
            raise self._fail("nonsense", f"not an object: {line[:60]!r}")
        return answer

    def _fail(self, kind: str, words: str) -> ChildFailed:
        """End the child; what it said last goes into the words."""
        process = self._process
        ended = kind == "died"
        if ended:
            try:
                process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                words = "closed its pipe"
        code = process.poll()
        self._end()
        if ended and code is not None:
            words = _how(code)
        last = self.last_words()
        self.close()
        return ChildFailed(kind, f"{words}; its last words: {last}" if last else words)

    def last_words(self) -> str:
        """The last few lines of its stderr, as one."""
        for _ in range(_MOST_CHUNKS):
            if not self._drained():
                break
        lines = self._tail.decode("utf-8", errors="replace").strip().splitlines()
        return " | ".join(line.strip() for line in lines[-3:])[-600:]

    def _drained(self) -> bool:
        try:
            return self._read_tail()
        except BlockingIOError:
            return False


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=True).encode("ascii") + b"\n"


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
