"""The process that watches a quarantined program: view, start, limits, end, report.

Runs inside jobs: standard library only, python3 >= 3.6.
"""

import json
import os
import resource
import select
import signal
import tempfile
import time
from typing import Any, Dict, List, Optional

if __package__:
    from hpcagent.codegen import fileview, kernelcalls, namespaces, privileges, watch
    from hpcagent.codegen.becoming import become
    from hpcagent.codegen.kernelcalls import Told
    from hpcagent.codegen.wallspec import Spec
else:
    import fileview  # type: ignore[import-not-found,no-redef]
    import kernelcalls  # type: ignore[import-not-found,no-redef]
    import namespaces  # type: ignore[import-not-found,no-redef]
    import privileges  # type: ignore[import-not-found,no-redef]
    import watch  # type: ignore[import-not-found,no-redef]
    from becoming import become  # type: ignore[import-not-found,no-redef]
    from kernelcalls import Told  # type: ignore[no-redef]
    from wallspec import Spec  # type: ignore[import-not-found,no-redef]

FIRST_LOOK_S, LONGEST_LOOK_S, FILES_LOOK_S = 0.02, 0.1, 0.5
END_S = 5.0  # for killing what is left
SPARE_S = 15.0  # beyond all limits, before the outermost process gives the others up


def read_until(reader: int, until: float) -> bytes:
    """What comes until the end of the stream; nothing where the time is over before."""
    found = b""
    while time.monotonic() < until:
        if select.select([reader], [], [], max(0.0, until - time.monotonic()))[0]:
            piece = os.read(reader, 1 << 16)
            if not piece:
                return found
            found += piece
    return b""


def empty_result(told: Told) -> Dict[str, Any]:
    names = ("exit", "signal", "wall_s", "cpu_s", "maxrss_bytes", "stopped_by", "error")
    result = dict.fromkeys(names)  # type: Dict[str, Any]
    result.update(stdout_tail="", stderr_tail="", output_bytes=0, protections=told)
    result.update(leftover_processes=0, survivors=0)
    return result


class Overseer:
    """Builds the view, starts the program, watches it, ends what it left, and reports."""

    def __init__(self, spec: Spec, scratch: str, stdin: int, writer: int, told: Told) -> None:
        self.spec, self.scratch, self.stdin, self.writer = spec, scratch, stdin, writer
        self.told = told
        self.alone = told.get("process_namespace") is True
        self.stopped_by = None  # type: Optional[str]
        self.tails = {}  # type: Dict[int, bytes]
        self.output_bytes = 0
        self.status = None  # type: Optional[int]
        self.started = self.ended = 0.0

    def work(self) -> None:
        result = empty_result(self.told)
        privileges.die_with_parent()
        self._build()
        kernelcalls.prctl(
            kernelcalls.PR_SET_DUMPABLE, 0
        )  # nobody may look into this process or trace it
        self.told["subreaper"] = True
        if not self.alone:
            kernelcalls.tried(self.told, "subreaper", _become_subreaper)
        result["error"] = self._start_and_watch()
        until = time.monotonic() + END_S
        result["leftover_processes"] = watch.end_all(self.alone, until)
        result["survivors"] = watch.use_of(watch.below(watch.own_number())).tasks
        self._drain(until)
        self._fill(result)
        data = json.dumps(result).encode()
        while data:
            data = data[os.write(self.writer, data) :]
        os._exit(0)

    def _build(self) -> None:
        spec, told = self.spec, self.told
        if told.get("network") is True:
            kernelcalls.tried(told, "loopback", namespaces.loopback_up)
        told["few_processes"] = os.getuid() != 0 or namespaces.NO_LIMIT_OF_ROOT
        if told.get("mount_namespace") is not True:
            for name in ("read_only", "hidden", "private_tmp", "devices"):
                told[name] = str(told.get("mount_namespace"))
            return
        lists = spec.lists
        program = [spec.argv[0]] if os.path.isfile(spec.argv[0]) else []
        visible = [*lists["visible"], spec.cwd, *program]
        room = int(spec.limits["memory_bytes"])
        view = fileview.View(lists["writable"], visible, lists["hidden"], lists["devices"], room)
        most = int(spec.limits["processes"]) if self.alone else 0
        view.build(told, most)
        if told.get("private_tmp") is True:
            self.scratch = tempfile.mkdtemp(prefix="ha-", dir=fileview.PRIVATE_TMP)
        told["scratch"] = True

    def _start_and_watch(self) -> Optional[str]:
        """Empty or None: it ran; else why it could not be started."""
        outputs = [os.pipe(), os.pipe()]
        failure, failure_writer = os.pipe()
        wake, wake_writer = os.pipe()
        os.set_blocking(wake_writer, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(wake_writer)
        self.started = time.monotonic()
        child = os.fork()
        if child == 0:
            become(self.spec, self.told, self.scratch, self.stdin, outputs, failure_writer)
        for number in (failure_writer, outputs[0][1], outputs[1][1], *self.spec.pass_fds):
            os.close(number)
        self.tails = {reader: b"" for reader, _ in outputs}
        self.readers = [reader for reader, _ in outputs]
        why = self._first_words(failure)
        self._watch(child, wake)
        return why

    def _first_words(self, failure: int) -> Optional[str]:
        """What the child tells before it becomes the program: its walls, or why it does not."""
        text = read_until(failure, time.monotonic() + SPARE_S)
        os.close(failure)
        lines = text.decode("utf-8", "replace").splitlines()
        if lines:
            self.told.update(json.loads(lines[0]))
        return lines[1] if len(lines) > 1 else (None if lines else "it could not be started")

    def _watch(self, child: int, wake: int) -> None:
        """Until the program has ended, or has been ended."""
        look_s, due = FIRST_LOOK_S, self.started
        self.files_due = self.started + FILES_LOOK_S
        self.files_before = watch.written_bytes(self._folders(), self.files_due)
        end = self.started + self.spec.limits["wall_s"]
        while self.status is None:
            now = time.monotonic()
            if now >= due:
                self._look(now)
                look_s = min(LONGEST_LOOK_S, look_s * 1.2)
                due = time.monotonic() + look_s
            if now >= end:
                self._stop("wall")
            if self.stopped_by is not None:
                watch.kill_all(self.alone)
            self._read_some([wake], max(0.0, min(due, end) - time.monotonic()))
            self._reap(child)
        self._judge_end()

    def _folders(self) -> List[str]:
        return [self.scratch, *self.spec.lists["writable"]]

    def _stop(self, why: str) -> None:
        self.stopped_by = self.stopped_by or why

    def _look(self, now: float) -> None:
        limits = self.spec.limits
        most = int(limits["processes"])
        found = watch.below(watch.own_number(), most)
        if len(found) > most:  # to count the threads of all might take too long
            self._stop("processes")
            return
        use = watch.use_of(found)
        if use.tasks > most:
            self._stop("processes")
        if use.memory_bytes > limits["memory_bytes"]:
            self._stop("memory")
        gone = os.times()
        if use.cpu_s + gone.children_user + gone.children_system > limits["cpu_s"]:
            self._stop("cpu")
        if now >= self.files_due:
            grown = watch.written_bytes(self._folders(), now + 0.1) - self.files_before
            self.files_due = time.monotonic() + FILES_LOOK_S
            if grown > limits["file_bytes"]:
                self._stop("file")

    def _read_some(self, also: List[int], wait_s: float) -> None:
        ready = select.select([*self.readers, *also], [], [], wait_s)[0]
        for reader in ready:
            piece = os.read(reader, 1 << 16)
            if reader in also:
                continue
            if not piece:
                self.readers.remove(reader)
            self.tails[reader] = (self.tails[reader] + piece)[-self.spec.tail_bytes :]
            self.output_bytes += len(piece)
        if self.output_bytes > self.spec.limits["output_bytes"]:
            self._stop("output")

    def _reap(self, child: int) -> None:
        """Whatever has ended; orphans come here, too."""
        while self.status is None:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == child:
                self.status, self.ended = status, time.monotonic()
            elif pid == 0:
                return

    def _judge_end(self) -> None:
        """The kernel's own limits end a program with signals of theirs (getrlimit(2))."""
        if self.stopped_by is None and self.status is not None:
            by_signal = {signal.SIGXCPU: "cpu", signal.SIGXFSZ: "file"}
            code = os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else 0
            self.stopped_by = {int(key): word for key, word in by_signal.items()}.get(code)

    def _drain(self, until: float) -> None:
        """What is left in the pipes; all who could write are gone."""
        while self.readers and time.monotonic() < until:
            self._read_some([], 0.1)
            if self.output_bytes > 2 * self.spec.limits["output_bytes"] + (1 << 20):
                return

    def _fill(self, result: Dict[str, Any]) -> None:
        status = self.status if self.status is not None else 0
        signalled = os.WIFSIGNALED(status)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        tails = [tail.decode("utf-8", "replace") for _, tail in sorted(self.tails.items())]
        result.update(
            exit=None if signalled or result["error"] else os.WEXITSTATUS(status),
            signal=os.WTERMSIG(status) if signalled else None,
            wall_s=round(self.ended - self.started, 6),
            cpu_s=round(used.ru_utime + used.ru_stime, 6),
            maxrss_bytes=used.ru_maxrss * 1024,
            stopped_by=self.stopped_by,
            output_bytes=self.output_bytes,
            stdout_tail=tails[0],
            stderr_tail=tails[1],
        )


def _become_subreaper() -> None:
    kernelcalls.prctl(kernelcalls.PR_SET_CHILD_SUBREAPER, 1)
