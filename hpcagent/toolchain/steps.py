#!/usr/bin/env python3
"""The in-job runner of builds and checks: commands that depend on each other, each with a limit.

Usage: python3 steps.py SPEC.json, with worker.py (hpcagent/measure) beside it

Standard library only, python3 >= 3.6. It takes the unit's claim as worker.py does, runs each step
when all that it `needs` went well, at most `jobs` of them at a time, appends a line for each to
result.jsonl and renames done.json into place at the end. A step's output is in logs/<id>.log. A job
that runs again goes on: what went well is not done twice.

It waits, for at most half of its time, until no other unit of this user's measures on the node.

Exit codes: 0 done, whatever became of the steps, or somebody else has the claim; 2 bad spec; 3, 5,
6, 7 and 128 + n as worker.py.
"""

import collections
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from typing import Any, Callable, Deque, Dict, List, Mapping, Optional, Sequence, Set

if __package__:
    from hpcagent.measure import worker
else:
    import worker  # type: ignore[import-not-found,no-redef]

SCHEMA = 1
# A module's name as it may stand behind `module load`.
MODULE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+/-]*\Z")
STEP = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}\Z")
LOG_BYTES = 16 * 1024 * 1024  # kept of a log: as much from its beginning as from its end, together
KEEP_BYTES = 4096
NO_MODULE = 96  # the exit code of the words below where a module cannot be loaded
_LIMITS = {
    "core": resource.RLIMIT_CORE,
    "address_bytes": resource.RLIMIT_AS,
    "file_bytes": resource.RLIMIT_FSIZE,
    "cpu_s": resource.RLIMIT_CPU,
    "stack_bytes": resource.RLIMIT_STACK,
}


class Step:
    """One command of the spec. Raises KeyError, TypeError or ValueError."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.id = str(data["id"])
        self.argv = [str(word) for word in data["argv"]]
        self.cwd = str(data.get("cwd") or ".")
        self.env = {str(k): str(v) for k, v in (data.get("env") or {}).items()}
        self.unset = [str(name) for name in data.get("unset") or []]
        self.modules = [str(name) for name in data.get("modules") or []]
        self.purge = bool(data.get("purge"))  # what the job came with is unloaded first
        self.needs = [str(name) for name in data.get("needs") or []]
        self.makes = [str(name) for name in data.get("makes") or []]
        self.timeout_s = float(data["timeout_s"])
        self.keep_bytes = int(data.get("keep_bytes") or KEEP_BYTES)
        self.alone = bool(data.get("alone"))
        self.limits = {str(k): int(v) for k, v in (data.get("limits") or {}).items()}
        if not STEP.match(self.id) or not self.argv or not self.argv[0]:
            raise ValueError("step %r: it has no proper id or no command" % self.id)
        for name in self.modules:
            if not MODULE.match(name):
                raise ValueError("step %s: %r is not the name of a module" % (self.id, name))
        if set(self.limits) - set(_LIMITS):
            raise ValueError("step %s: limits are %s" % (self.id, ", ".join(sorted(_LIMITS))))


class Spec:
    """What spec.json asks for."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        if data["schema"] != SCHEMA:
            raise ValueError("schema %r is not %d" % (data["schema"], SCHEMA))
        self.steps = [Step(row) for row in data["steps"]]
        self.jobs = max(1, int(data.get("jobs") or 1))
        self.budget_s = float(data["budget_s"])
        self.module_init = str(data.get("module_init") or "")
        known: Set[str] = set()
        for step in self.steps:
            if step.id in known:
                raise ValueError("step %s stands there twice" % step.id)
            if not set(step.needs) <= known:
                raise ValueError("step %s needs what does not come before it" % step.id)
            known.add(step.id)


def read_spec(path: str) -> Spec:
    """The spec at `path`, or worker.End with one line that says what is wrong with it."""
    try:
        with open(path, encoding="utf-8") as stream:
            return Spec(json.load(stream))
    except KeyError as error:
        line = "%s: %s is missing" % (path, error)
    except (OSError, TypeError, ValueError, AttributeError) as error:
        line = "%s: %s" % (path, error)
    raise worker.End(worker.EXIT_SPEC, line, done=False)


class Output:
    """What a step prints, on its way into its log: the middle of a very long one is dropped."""

    def __init__(self, path: str, keep_bytes: int) -> None:
        self._file = open(path, "wb")
        self._size = 0
        self._keep = keep_bytes
        self._room = LOG_BYTES // 2
        self._late: Deque[bytes] = collections.deque()
        self._late_bytes = 0
        self._dropped = 0
        self._head = b""
        self._tail = b""

    def write(self, piece: bytes) -> None:
        if len(self._head) < self._keep:
            self._head = (self._head + piece)[: self._keep]
        self._tail = (self._tail + piece)[-self._keep :]
        self._size += len(piece)
        now, later = piece[: self._room], piece[self._room :]
        self._room -= len(now)
        self._file.write(now)
        if later:
            self._late.append(later)
            self._late_bytes += len(later)
        while self._late_bytes > LOG_BYTES // 2 and len(self._late) > 1:
            gone = len(self._late.popleft())
            self._late_bytes -= gone
            self._dropped += gone

    def close(self) -> str:
        """Complete the log; its beginning and its end as text."""
        if self._dropped:
            self._file.write(b"\n[... %d bytes dropped ...]\n" % self._dropped)
        for piece in self._late:
            self._file.write(piece)
        self._file.close()
        between = self._size - 2 * self._keep
        text = self._head
        if between > 0:
            text += b"\n[... %d bytes ...]\n" % between + self._tail
        elif self._size > self._keep:
            text += self._tail[-between:]
        return text.decode("utf-8", "replace")


class Running:
    """A step's process, the leader of a session of its own."""

    def __init__(self, step: Step, directory: str, module_init: str) -> None:
        self.step = step
        self.began_utc = worker.utc()
        self.timed_out = False
        self._started = time.monotonic()
        self._killed_at: Optional[float] = None
        self._output = Output(os.path.join(directory, _log(step.id)), step.keep_bytes)
        try:
            self._child = subprocess.Popen(
                _words(step, module_init),
                cwd=os.path.join(directory, step.cwd),
                env=_environment(step),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                start_new_session=True,
                preexec_fn=_preparation(step),
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self._output.write(("cannot start: %s\n" % error).encode("utf-8"))
            self._output.close()
            raise
        assert self._child.stdout is not None
        self.descriptor = self._child.stdout.fileno()
        os.set_blocking(self.descriptor, False)
        self.readable = True

    def left_s(self) -> float:
        """Seconds until something has to be done about it."""
        if self._killed_at is not None:
            return self._killed_at + worker.REAP_S - time.monotonic()
        return self._started + self.step.timeout_s - time.monotonic()

    def read(self) -> None:
        while self.readable:
            try:
                piece = os.read(self.descriptor, 65536)
            except BlockingIOError:
                return
            self._output.write(piece)
            self.readable = bool(piece)

    def ended(self) -> bool:
        return bool(os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT))

    def kill(self) -> None:
        """End the whole group; raise worker.End where it outlives that."""
        if self._killed_at is None:
            self._killed_at = time.monotonic()
        elif time.monotonic() > self._killed_at + worker.REAP_S:
            raise worker.End(worker.EXIT_STUCK, "process %d survives SIGKILL" % self._child.pid)
        try:
            os.killpg(self._child.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass

    def reap(self, directory: str) -> Dict[str, Any]:
        """The line of a step whose leader has ended; what it left in its group goes too."""
        self.kill()
        self.read()
        _, status, usage = os.wait4(self._child.pid, 0)
        self._child.returncode = status
        if self._child.stdout is not None:
            self._child.stdout.close()
        line = _line(self.step, "failed", self.began_utc)
        line["seconds"] = round(time.monotonic() - self._started, 3)
        line["maxrss_bytes"] = usage.ru_maxrss * 1024
        line["output"] = self._output.close()
        if os.WIFSIGNALED(status):
            line.update(status="signal", signal=os.WTERMSIG(status))
        else:
            line["exit"] = os.WEXITSTATUS(status)
        if self.timed_out:
            line.update(status="timeout", message="over after %g s" % self.step.timeout_s)
        elif line["exit"] == NO_MODULE and self.step.modules:
            line["message"] = "a module of %s could not be loaded" % ", ".join(self.step.modules)
        elif line["exit"] == 0:
            absent = [x for x in self.step.makes if not os.path.exists(self._made(directory, x))]
            line["message"] = "it did not make %s" % ", ".join(absent) if absent else ""
            line["status"] = "failed" if absent else "ok"
        return line

    def _made(self, directory: str, name: str) -> str:
        return os.path.join(directory, self.step.cwd, name)


def _log(step_id: str) -> str:
    return os.path.join("logs", step_id + ".log")


def _line(step: Step, status: str, began_utc: str, message: str = "") -> Dict[str, Any]:
    return {
        "step": step.id,
        "status": status,
        "exit": None,
        "signal": None,
        "seconds": 0.0,
        "t_utc": began_utc,
        "output": "",
        "log": _log(step.id),
        "message": message,
        "maxrss_bytes": None,
    }


def _words(step: Step, module_init: str) -> List[bytes]:
    words = step.argv
    if step.modules or step.purge:
        if not module_init:
            raise ValueError("it needs modules, and the node has no module system")
        shell = ["bash", "--noprofile", "--norc", "-c", worker.WITH_MODULES, "steps", module_init]
        words = [*shell, "purge" if step.purge else "keep", *step.modules, "--", *words]
    return [word.encode("utf-8") for word in words]


def _environment(step: Step) -> Dict[bytes, bytes]:
    environment = dict(os.environb)
    for name in step.unset:
        environment.pop(name.encode("utf-8"), None)
    for name, value in step.env.items():
        environment[name.encode("utf-8")] = value.encode("utf-8")
    return environment


def _preparation(step: Step) -> Callable[[], None]:
    """What the child does before exec: die with the parent, keep to its limits."""
    die_with_parent = worker.preparation(None)
    limits = dict({"core": 0}, **step.limits)

    def prepare() -> None:
        die_with_parent()
        for name, value in limits.items():
            hard = resource.getrlimit(_LIMITS[name])[1]
            most = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(_LIMITS[name], (most, most))

    return prepare


class Work:
    """All steps of one unit, in their order, as far as what they need allows."""

    def __init__(
        self, spec: Spec, log: worker.Log, signals: worker.Signals, directory: str, deadline: float
    ) -> None:
        self._spec = spec
        self._log = log
        self._signals = signals
        self._directory = directory
        good = {line.get("step") for line in log.earlier if line.get("status") == "ok"}
        self._status = {step.id: "ok" for step in spec.steps if step.id in good}
        self._waiting = [step for step in spec.steps if step.id not in good]
        self._running: List[Running] = []
        self._deadline = deadline

    def run(self) -> str:
        while self._waiting or self._running:
            if self._signals.stop:
                self._end_all()
                number = self._signals.stop
                raise worker.End(128 + number, "stopped by signal %d" % number)
            self._start()
            if self._running:
                self._watch()
        words = ["%s %s" % (name, state) for name, state in self._status.items() if state != "ok"]
        return "all steps went well" if not words else ", ".join(words[:20])

    def _start(self) -> None:
        """Start what can be started now; what cannot be any more is told."""
        for step in list(self._waiting):
            needed = [self._status.get(name) for name in step.needs]
            over = time.monotonic() >= self._deadline
            if over or any(state not in (None, "ok") for state in needed):
                why = "the unit's time was over" if over else "a step that it needs failed"
                self._waiting.remove(step)
                self._note(_line(step, "skipped", worker.utc(), why))
            elif None not in needed and self._has_room(step):
                self._waiting.remove(step)
                self._launch(step)

    def _has_room(self, step: Step) -> bool:
        """`alone`: what is timed, or takes the whole node itself, runs beside nothing."""
        if step.alone:
            return not self._running
        return len(self._running) < self._spec.jobs and not any(
            other.step.alone for other in self._running
        )

    def _launch(self, step: Step) -> None:
        try:
            self._running.append(Running(step, self._directory, self._spec.module_init))
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self._note(_line(step, "unstartable", worker.utc(), str(error)))

    def _watch(self) -> None:
        """Wait until something happens, and take in what has."""
        left = min(running.left_s() for running in self._running)
        left = min(left, max(0.0, self._deadline - time.monotonic()) or left)
        open_ones = {r.descriptor: r for r in self._running if r.readable}
        for descriptor in self._signals.wait(list(open_ones), left):
            open_ones[descriptor].read()
        for running in list(self._running):
            over = running.left_s() <= 0.0 or time.monotonic() >= self._deadline
            if running.ended():
                self._running.remove(running)
                self._note(running.reap(self._directory))
            elif over:
                running.timed_out = True
                running.kill()

    def _end_all(self) -> None:
        for running in self._running:
            running.kill()

    def _note(self, line: Dict[str, Any]) -> None:
        self._status[line["step"]] = line["status"]
        self._log.append(line)


def work(path: str) -> int:
    """Do the unit whose spec is at `path`; the exit code. Raises worker.End."""
    spec = read_spec(path)
    directory = os.path.dirname(os.path.abspath(path))
    deadline = time.monotonic() + spec.budget_s
    node = worker.NodeLock(True, worker.WAIT_SHARE * spec.budget_s, directory)
    return worker.under_claim(
        directory,
        lambda log, signals, told: Work(spec, log, signals, directory, deadline).run(),
        "steps",
        node,
    )


def main(argv: Sequence[str]) -> int:
    if len(argv) != 2:
        sys.stderr.write("usage: steps.py SPEC.json\n")
        return worker.EXIT_SPEC
    try:
        os.makedirs(os.path.join(os.path.dirname(os.path.abspath(argv[1])), "logs"), exist_ok=True)
        return work(argv[1])
    except OSError as error:
        sys.stderr.write("steps: cannot make logs/: %s\n" % error)
        return worker.EXIT_WRITE
    except worker.End as end:
        sys.stderr.write("steps: %s\n" % end)
        return end.code


if __name__ == "__main__":
    sys.exit(main(sys.argv))
