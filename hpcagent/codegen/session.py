#!/usr/bin/env python3
"""One run of a harness within the quarantine, driven over two named pipes.

Runs inside jobs: standard library only, python3 >= 3.6; quarantine.py lies beside it. Times and
verdicts are kept by this side: what the program says of itself is checked against the clock here.
"""

import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

EVIDENCE = 1500  # characters that are quoted
SLACK_S = 0.001  # the pipes and the guards around a call may take that, on an idle node
SHARE = 0.5  # of the time told that may be unexplained: a virtual machine's clock stands at times
PIPE_S = 20.0  # for a program to start and to take the pipes
_SIGNALS = {
    signal.SIGSEGV: "run.segfault",
    signal.SIGBUS: "run.bus_error",
    signal.SIGFPE: "numerics.floating_point_trap",
    signal.SIGILL: "run.illegal_instruction",
    signal.SIGABRT: "run.aborted",
    signal.SIGKILL: "run.killed",
}
# What a harness saw besides its work (harness.c): a word, and the failure that it stands for.
_JUDGED = {
    "overwritten": ("gate.out_of_bounds", "it wrote beside its arrays"),
    "modes": ("gate.environment", "it left other modes of rounding, subnormals or traps"),
    "threads": ("gate.threads", "it left threads that work on"),
}
_STOPS = {
    "wall": "run.timeout",
    "cpu": "run.timeout",
    "memory": "run.out_of_memory",
    "output": "run.too_much_output",
    "file": "run.too_much_output",
    "processes": "gate.processes",
}


class Problem(Exception):
    """What ends an attempt: a kind from the list of failures, and what was seen."""

    def __init__(self, kind: str, evidence: str) -> None:
        Exception.__init__(self, "%s: %s" % (kind, evidence))
        self.kind = kind
        self.evidence = evidence[-EVIDENCE:]


Program = NamedTuple(
    "Program",
    [
        ("path", str),
        ("sha256", str),  # of the file: looked up before each run
        ("launcher", List[str]),  # words in front of it, for several ranks
        ("env", Dict[str, str]),
        ("limits", Dict[str, float]),
        ("trusted", bool),  # the reference: what it does wrong is the task's fault
    ],
)
Case = Mapping[str, Any]


class Session:
    """A harness that waits for requests; use it in a with block."""

    def __init__(self, program: Program, threads: int, reply_s: float) -> None:
        self._program = program
        self._threads = threads
        self._reply_s = reply_s
        self._draw = random.SystemRandom()
        self._nonce = self._draw.getrandbits(62)
        self._token = 0
        self._text = b""
        self._filter = "it ended before"
        self.result = {}  # type: Dict[str, Any]

    def __enter__(self) -> "Session":
        self.folder = tempfile.mkdtemp(prefix="ha-session-")
        try:
            self._open()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._close()

    def _open(self) -> None:
        pipes = [os.path.join(self.folder, name) for name in ("ask", "tell")]
        for path in pipes:
            os.mkfifo(path, 0o600)
        # Both ends, so that opening waits for nobody.
        self._ask, self._tell = (os.open(path, os.O_RDWR | os.O_NONBLOCK) for path in pipes)
        program = self._program
        spec = {
            "argv": [*program.launcher, program.path, *pipes],
            "cwd": self.folder,
            "env": dict(program.env, OMP_NUM_THREADS=str(self._threads)),
            "writable": [self.folder],
            "visible": [os.path.dirname(program.path), *folders(program.launcher)],
            "calls": "ranks" if program.launcher else "alone",
            "limits": program.limits,
        }
        self._spec = os.path.join(tempfile.mkdtemp(prefix="ha-spec-"), "SPEC.json")
        with open(self._spec, "w") as stream:
            json.dump(spec, stream)
        beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "quarantine.py")
        self._child = subprocess.Popen(
            [sys.executable, "-I", beside, self._spec],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._write("%d\n" % self._nonce)
        self._filter = " ".join(self._answer("hello", PIPE_S))

    @property
    def filtered(self) -> bool:
        """Whether the harness's own filter stands, so that nobody can move its clock."""
        return not self._program.launcher and not self._filter

    # --- requests --------------------------------------------------------------------------------

    def prepare(self, case: Case, seed: int) -> None:
        numbers = [seed, case["variant"], *case["sizes"]]
        for pair in case["arrays"]:
            numbers += pair
        self._request("P", " ".join(str(number) for number in numbers))
        self._answer("ready", self._reply_s)

    def take_threads(self, threads: int) -> None:
        """So many from now on, of a program with OpenMP."""
        if threads != self._threads:
            self._request("T", str(threads))
            self._answer("ready", self._reply_s)
            self._threads = threads

    def run(self, calls: int = 1) -> "Timed":
        """Calls one behind the other; the seconds that the harness took, and that passed here."""
        self._request("G", str(calls))
        began = time.monotonic()
        words = self._answer("done", self._reply_s)
        outside = time.monotonic() - began
        if words[1] != "intact":
            raise Problem(*_JUDGED.get(words[1], ("gate.forged", "it told %r" % words[1])))
        return Timed(float(words[0]) * 1e-9, outside)

    def dump(self, name: str) -> str:
        """Write what has come out; the path, to which a rank's number is added."""
        path = os.path.join(self.folder, name)
        self._request("D", path)
        self._answer("dumped", self._reply_s)
        return path

    def finish(self) -> None:
        """Ask it to end, and judge how it did."""
        self._request("Q", "")
        self._answer("bye", self._reply_s)
        self._wait(PIPE_S)
        self._judge(ended_well=True)

    # --- the pipes -------------------------------------------------------------------------------

    def _request(self, letter: str, rest: str) -> None:
        self._token = self._draw.getrandbits(62)
        self._write("%s %d %s\n" % (letter, self._token, rest))

    def _write(self, text: str) -> None:
        data = text.encode("ascii")
        try:
            if os.write(self._ask, data) != len(data):
                raise BlockingIOError
        except BlockingIOError:
            raise self._why_gone("it took no more requests")

    def _answer(self, word: str, seconds: float) -> List[str]:
        """The words behind the one that is expected; anything else ends the attempt."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._text:
            left = deadline - time.monotonic()
            if left <= 0:
                self._child.terminate()
                raise Problem("run.timeout", "no answer in %.0f s: it hangs, or waits" % seconds)
            ready = select.select([self._tell], [], [], min(left, 0.2))[0]
            if ready:
                self._text += os.read(self._tell, 4096)
            elif self._child.poll() is not None:
                raise self._why_gone("it ended before the call was over")
        line, self._text = self._text.split(b"\n", 1)
        words = line.decode("ascii", "replace").split()
        expected = [str(self._nonce), str(0 if word in ("hello", "bye") else self._token), word]
        if words[:3] != expected:
            raise Problem("gate.forged", "an answer that is not the harness's: %r" % line[:100])
        return words[3:]

    # --- the end ---------------------------------------------------------------------------------

    def _wait(self, seconds: float) -> None:
        try:
            self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            self._child.terminate()
            raise Problem("run.timeout", "it did not end when it was asked to")

    def _why_gone(self, otherwise: str) -> Problem:
        try:
            self._wait(PIPE_S)
            self._judge(ended_well=False)
        except Problem as problem:
            return problem
        words = "%s, with exit code %s" % (otherwise, self.result.get("exit"))
        return Problem("gate.exited_early", words)

    def _judge(self, ended_well: bool) -> None:
        """Raise Problem for what the quarantine saw."""
        result = self._result()
        judge_end(result, ended_well)
        told = str(result.get("stdout_tail") or "")
        if told.strip() and not self._program.trusted and not self._program.launcher:
            raise Problem("gate.printed", "it printed: %r" % told[:200])

    def _result(self) -> Dict[str, Any]:
        path = os.path.join(os.path.dirname(self._spec), "RESULT.json")
        try:
            with open(path) as stream:
                self.result = dict(json.load(stream))
            if not self._program.launcher and self.result.get("protections"):
                self.result["protections"]["harness_filter"] = self._filter or True
        except (OSError, ValueError):
            words = self._child.stderr.read() if self._child.stderr else b""
            self.result = {"error": words.decode("utf-8", "replace")[-500:] or "no result"}
        return self.result

    def _close(self) -> None:
        for name in ("_ask", "_tell"):
            if hasattr(self, name):
                os.close(getattr(self, name))
        child = getattr(self, "_child", None)
        if child is not None and child.poll() is None:
            child.terminate()
            try:
                child.wait(PIPE_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if child is not None and child.stderr:
            child.stderr.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        if hasattr(self, "_spec"):
            shutil.rmtree(os.path.dirname(self._spec), ignore_errors=True)


def judge_end(result: Mapping[str, Any], ended_well: bool) -> None:
    """Raise Problem for what the quarantine tells of a program's end."""
    err = str(result.get("stderr_tail") or "")
    if result.get("error"):
        raise Problem("environment.quarantine", str(result["error"]))
    stop = result.get("stopped_by")
    if stop:
        raise Problem(_STOPS.get(stop, "run.killed"), "stopped: %s. %s" % (stop, err[-500:]))
    report = sanitizer_report(err)
    if report:
        raise Problem("run.sanitizer", report)
    number = result.get("signal")
    code = result.get("exit")
    if number is None and code is not None and code > 128:
        number = code - 128
    if number == signal.SIGSYS:
        raise Problem("gate.tracing", "it asked the kernel for what it may not. %s" % err)
    if number:
        raise Problem(_SIGNALS.get(number, "run.killed"), "signal %d. %s" % (number, err))
    if result.get("leftover_processes"):
        raise Problem("gate.left_process", "%d processes were left" % result["leftover_processes"])
    if ended_well and code:
        raise Problem("run.exit_nonzero", "exit code %d. %s" % (code, err))


def folders(launcher: Sequence[str]) -> List[str]:
    """Where the script lies that starts ranks."""
    return [os.path.dirname(word) for word in launcher[1:2]]


Timed = NamedTuple("Timed", [("inside_s", float), ("outside_s", float)])


def clock_problem(time_: Timed) -> Optional[str]:
    """Why the time that a program told cannot be true; None where it can.

    What passes between request and answer holds the calls, the guards around them, and little else.
    """
    gap = time_.outside_s - time_.inside_s
    if gap < -SLACK_S:
        return "it told %.6f s, and only %.6f s passed" % time_
    if gap > max(SLACK_S, SHARE * time_.inside_s):
        return "it told %.6f s, and %.6f s passed" % time_
    return None


def sanitizer_report(text: str) -> str:
    """The telling lines of a sanitizer's report; empty where there is none."""
    marks = ("ERROR: AddressSanitizer", "runtime error:", "ERROR: LeakSanitizer", "Fortran runtime")
    lines = text.splitlines()
    found = [i for i, line in enumerate(lines) if any(mark in line for mark in marks)]
    return "\n".join(lines[found[0] : found[0] + 12]) if found else ""
