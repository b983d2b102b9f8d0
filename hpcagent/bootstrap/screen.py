"""What the user sees of a set-up, and programs that run with their output in a log."""

import contextlib
import ctypes
import os
import re
import selectors
import shlex
import shutil
import signal
import subprocess
import time
from typing import IO, Callable, Dict, Iterator, List, Tuple

PLAIN_INTERVAL_S = 15.0
LIVE_INTERVAL_S = 0.2
PR_SET_PDEATHSIG = 1  # linux/prctl.h
STEP = re.compile(r"\[\s*(\d+)/(\d+)\]|\[\s*(\d+)%\]")


def duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return "%d min %d s" % (minutes, rest) if minutes else "%d s" % rest


class Screen:
    """The progress of the phases: a line that rewrites itself, or a plain one every 15 s."""

    def __init__(self, stream: "IO[str]", live: bool, phases: int) -> None:
        self.stream, self.live, self.phases = stream, live, phases
        self.number, self.title, self.detail = 0, "", ""
        self.started = self.shown = time.monotonic()

    def say(self, text: str) -> None:
        self.stream.write(("\r\033[K" if self.live else "") + text + "\n")
        self.stream.flush()

    @contextlib.contextmanager
    def phase(self, title: str) -> "Iterator[None]":
        self.number += 1
        self.title = "  %d/%d %s" % (self.number, self.phases, title)
        self.detail = ""
        self.started = self.shown = time.monotonic()
        if not self.live:
            self.say(self.title)
        yield
        self.say("%s: done, %s" % (self.title, duration(time.monotonic() - self.started)))

    def tick(self) -> None:
        """Shows how far the phase is, where it is time to do so."""
        now = time.monotonic()
        if now - self.shown < (LIVE_INTERVAL_S if self.live else PLAIN_INTERVAL_S):
            return
        self.shown = now
        parts = [self.detail] if self.detail else []
        text = "%s: %s" % (self.title, ", ".join([*parts, duration(now - self.started)]))
        if self.live:
            self.stream.write("\r\033[K" + text[: shutil.get_terminal_size().columns - 1])
            self.stream.flush()
        else:
            self.say(text)


def pip_detail(line: str) -> str:
    """What pip is at, from a line of its output; empty where the line says nothing of it."""
    found = re.match(r"\s*(Collecting|Downloading|Building wheel for) (\S+)", line)
    if found:
        return "%s %s" % (found.group(1).lower(), os.path.basename(found.group(2)))
    if line.startswith("WARNING: Retrying"):
        return "the package index does not answer, trying again"
    return "installing" if line.startswith("Installing collected") else ""


def compile_detail(line: str) -> str:
    """As `pip_detail`, with the steps that ninja ([37/140]) or make ([ 26%]) count."""
    found = STEP.match(line.strip())
    if not found:
        return pip_detail(line)
    if found.group(3):
        return "compiling %s %%" % found.group(3)
    step, steps = int(found.group(1)), int(found.group(2))
    return "compiling %d/%d (%d %%)" % (step, steps, 100 * step // max(1, steps))


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))


class Runner:
    """Runs a program with its output in the log and its progress on the screen.

    A program dies with its set-up, however that ends. Until then it holds the file lock `lock`
    too, so that the next set-up does not begin while it still writes.
    """

    def __init__(self, screen: Screen, log: str, lock: int) -> None:
        self.screen, self.log, self.lock = screen, log, lock

    def run(
        self, argv: List[str], env: Dict[str, str], detail: Callable[[str], str]
    ) -> Tuple[int, str]:
        """The exit code and the whole output, stderr included."""
        with open(self.log, "a", encoding="utf-8", errors="replace", buffering=1) as log:
            log.write("\n$ %s\n" % " ".join(shlex.quote(word) for word in argv))
            child = subprocess.Popen(
                argv,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(self.lock,),
                preexec_fn=die_with_parent,
            )
            try:
                lines = []
                for line in self._lines(child):
                    log.write(line)
                    lines.append(line)
                    self.screen.detail = detail(line) or self.screen.detail
                return child.wait(), "".join(lines)
            finally:
                if child.poll() is None:
                    child.terminate()
                    child.wait()

    def _lines(self, child: "subprocess.Popen[bytes]") -> "Iterator[str]":
        assert child.stdout is not None
        rest = b""
        with selectors.DefaultSelector() as selector, child.stdout:
            selector.register(child.stdout, selectors.EVENT_READ)
            while True:
                self.screen.tick()
                if selector.select(LIVE_INTERVAL_S):
                    chunk = os.read(child.stdout.fileno(), 65536)
                    if not chunk:
                        break
                    *whole, rest = (rest + chunk).split(b"\n")
                    for line in whole:
                        yield line.decode("utf-8", "replace") + "\n"
                elif child.poll() is not None:
                    break  # a daemon that the program left behind may hold the pipe
        if rest:
            yield rest.decode("utf-8", "replace") + "\n"
