"""The one door to `sh`: every outside program is run here, with a time limit and a record."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Ran:
    """A finished program. `exit_code` is negative for a signal, None where it never ran to an end.

    `problem` says why there is no exit code: "not found", "timed out after 30 s".
    """

    argv: tuple[str, ...]
    exit_code: int | None
    stdout: str
    stderr: str
    problem: str = ""

    @property
    def ok(self) -> bool:
        return self.exit_code == 0

    def quoted(self) -> str:
        """The last telling words, for an error message."""
        words = self.problem or self.stderr.strip() or self.stdout.strip()
        return words[-400:]


def run(
    argv: Sequence[str],
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
    dies_with_us: bool = False,
) -> Ran:
    """Run a program to its end, never through a shell; its failure is data, not an exception.

    One that `dies_with_us` is killed when this process is: it can do nothing behind the back of
    whoever takes over.
    """
    import sh

    words = tuple(argv)
    try:
        command = sh.Command(words[0])
    except sh.CommandNotFound:
        return Ran(words, None, "", "", "not found")
    try:
        started = command(
            *words[1:],
            _env=dict(os.environ if env is None else env),
            _cwd=str(cwd) if cwd else None,
            _in=stdin,
            _bg=True,
            _bg_exc=False,
            _tty_out=False,
            _preexec_fn=_death_wish() if dies_with_us else None,
        )
    except OSError as error:
        return Ran(words, None, "", "", error.strerror or str(error))
    limit = _Limit(started, timeout_s)
    with suppress(sh.ErrorReturnCode):  # the exit code tells
        started.wait()
    limit.lift()
    if limit.hit:
        return Ran(words, None, "", "", f"timed out after {timeout_s:g} s")
    code, out, err = started.exit_code, started.stdout, started.stderr
    return Ran(words, int(code), _text(out), _text(err))


class _Limit:
    """Kills a command when its time is over.

    The `_timeout` of sh looks ten times a second whether the command has ended, so each would
    take a tenth of a second.
    """

    def __init__(self, started: Any, seconds: float) -> None:
        self.hit = False
        self._started = started
        self._timer = threading.Timer(seconds, self._kill)
        self._timer.daemon = True
        self._timer.start()

    def lift(self) -> None:
        self._timer.cancel()

    def _kill(self) -> None:
        if self._started.is_alive():
            self.hit = True
            with suppress(ProcessLookupError):
                self._started.kill()


def _death_wish() -> Callable[[], None]:
    """What a new process calls to be killed when its parent ends: prctl(2), PR_SET_PDEATHSIG."""
    import ctypes

    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(1, signal.SIGKILL) and None


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace")
