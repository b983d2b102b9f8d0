#!/usr/bin/env python3
"""Runs one program that nobody trusts, within walls and limits: `python3 quarantine.py SPEC.json`.

Beside it lie walls.py and watch.py; standard library only, python3 >= 3.6. SPEC.json:

    argv, cwd          the program, and the folder where it starts
    env                its environment, besides PATH, LANG, HOME and TMPDIR where they are left out
    writable[]         folders that it may write, besides a scratch folder of its own
    visible[]          what it shall see although it lies in the user's home, in /tmp or in /run
    hidden[]           what it shall not read
    devices[]          of /dev, besides null, zero, full, random, urandom, tty and a private shm
    limits             {wall_s, cpu_s, memory_bytes, output_bytes, file_bytes, processes,
                       address_bytes (0: none)}, all processes together but for address_bytes
    stdin_file, pass_fds[], tail_bytes, result (where it is written: RESULT.json beside the spec)

RESULT.json, renamed into place: {exit, signal, wall_s, cpu_s, maxrss_bytes, stopped_by (wall, cpu,
memory, output, file, processes or null), output_bytes, stdout_tail, stderr_tail, protections{name:
true or why not}, leftover_processes (killed after the program had ended), survivors, error (why the
program did not run, or null)}. `cpu_s` and `maxrss_bytes` are getrusage(2)'s of all that was waited
for, and so of the largest process.

Three processes: this one waits, with a clock of its own; below it one makes the namespaces; below
that one supervises, as process 1 where there is a namespace of processes: with it all others end.

Exit codes: 0 there is a result; 2 bad spec; 5 the result could not be written.
"""

import json
import math
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, List, Mapping, Optional, Sequence

if __package__:
    from hpcagent.codegen import walls, watch
else:
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # python3 -I leaves it out
    import walls  # type: ignore[import-not-found,no-redef]
    import watch  # type: ignore[import-not-found,no-redef]

EXIT_SPEC, EXIT_WRITE = 2, 5
LIMITS = {
    "wall_s": 60.0,
    "cpu_s": 120.0,
    "memory_bytes": float(2 << 30),
    "output_bytes": float(1 << 20),
    "file_bytes": float(256 << 20),
    "processes": 64.0,
}
PATH = "/usr/local/bin:/usr/bin:/bin"
TAIL_BYTES = 16384
FIRST_LOOK_S, LONGEST_LOOK_S, FILES_LOOK_S = 0.02, 0.1, 0.5
END_S = 5.0  # for killing what is left
SPARE_S = 15.0  # beyond all limits, before the outermost process gives the others up
_OPEN_FILES, _SPARE_TASKS = 1024, 16
_MPI = {  # mpirun of Open MPI refuses root without these two (mpirun(1))
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
}


class Spec:
    """What SPEC.json asks for. Raises KeyError, TypeError or ValueError."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.argv = [str(word) for word in data["argv"]]
        self.cwd = os.path.realpath(str(data["cwd"]))
        self.env = {str(key): str(value) for key, value in (data.get("env") or {}).items()}
        self.lists = {
            name: [str(path) for path in data.get(name) or []]
            for name in ("writable", "visible", "hidden", "devices")
        }
        given = dict(data.get("limits") or {})
        self.address_bytes = given.pop("address_bytes", None)
        self.limits = dict(LIMITS, **{str(k): float(v) for k, v in given.items()})
        self.stdin_file = str(data.get("stdin_file") or os.devnull)
        self.pass_fds = [int(number) for number in data.get("pass_fds") or []]
        self.tail_bytes = int(data.get("tail_bytes") or TAIL_BYTES)
        if not self.argv or not self.argv[0]:
            raise ValueError("argv: there is no program")
        for name, value in self.limits.items():
            if name not in LIMITS or not 0 < value < math.inf:
                raise ValueError("limits: %s %r: they are %s, each above 0" % (name, value, LIMITS))
        missing = [p for p in (self.cwd, *self.lists["writable"]) if not os.path.isdir(p)]
        if missing:
            raise ValueError("%s: there is no such folder" % missing[0])

    @property
    def address(self) -> int:
        """Bytes; 0: no limit. Allocators and threads reserve much more than they use."""
        if self.address_bytes is None:
            return int(4 * self.limits["memory_bytes"]) + (4 << 30)
        return int(self.address_bytes)


def run(data: Mapping[str, Any]) -> Dict[str, Any]:
    """The result of a spec, by a process of its own; as {error} where there is none."""
    folder = tempfile.mkdtemp(prefix="hpcagent-quarantine-")
    spec, result = os.path.join(folder, "SPEC.json"), os.path.join(folder, "RESULT.json")
    try:
        with open(spec, "w") as stream:
            json.dump(dict(data, result=result), stream)
        command = [sys.executable, "-I", os.path.abspath(__file__), spec]
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[int(number) for number in data.get("pass_fds") or []],
        )
        try:
            with open(result) as stream:
                return dict(json.load(stream))
        except (OSError, ValueError):
            words = ended.stderr.decode("utf-8", "replace").strip()[-500:]
            return {"error": words or "the quarantine ended with %d" % ended.returncode}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# --- the outermost process -----------------------------------------------------------------------


def supervise(spec: Spec) -> Dict[str, Any]:
    """Run it and wait for the result, whatever the program does to those who watch it."""
    walls.prctl(walls.PR_SET_CHILD_SUBREAPER, 1)
    scratch = tempfile.mkdtemp(prefix="ha-")
    reader, writer = os.pipe()
    stdin = os.open(spec.stdin_file, os.O_RDONLY)
    try:
        child = os.fork()
        if child == 0:
            os.close(reader)
            _in_namespaces(spec, scratch, stdin, writer)
        os.close(writer)
        text = _read_until(reader, time.monotonic() + spec.limits["wall_s"] + SPARE_S)
        _stop(child)
        left = watch.end_all(False, time.monotonic() + END_S)
        result = dict(json.loads(text)) if text else _without_report()
        result["leftover_processes"] += left if text else 0
        return result
    finally:
        os.close(reader)
        os.close(stdin)
        shutil.rmtree(scratch, ignore_errors=True)


def _read_until(reader: int, until: float) -> bytes:
    """What comes until the end of the stream; nothing where the time is over before."""
    found = b""
    while time.monotonic() < until:
        if select.select([reader], [], [], max(0.0, until - time.monotonic()))[0]:
            piece = os.read(reader, 1 << 16)
            if not piece:
                return found
            found += piece
    return b""


def _stop(child: int) -> None:
    os.kill(child, signal.SIGKILL)  # not yet waited for, so the number is still its own
    os.waitpid(child, 0)


def _without_report() -> Dict[str, Any]:
    words = "the supervising process was ended, or gave no report in time"
    return dict(_empty({}), error=words)


def _empty(told: walls.Told) -> Dict[str, Any]:
    names = ("exit", "signal", "wall_s", "cpu_s", "maxrss_bytes", "stopped_by", "error")
    result = dict.fromkeys(names)  # type: Dict[str, Any]
    result.update(stdout_tail="", stderr_tail="", output_bytes=0, protections=told)
    result.update(leftover_processes=0, survivors=0)
    return result


def _in_namespaces(spec: Spec, scratch: str, stdin: int, writer: int) -> None:
    """The second process: it enters the namespaces and waits. Never returns."""
    told = {}  # type: walls.Told
    result = _empty(told)
    try:
        os.setsid()
        told["session"] = True
        walls.die_with_parent()
        walls.tried(told, "killed_first", _offer_to_oom_killer)
        walls.enter_namespaces(told)
        walls.die_with_parent()  # new credentials take the wish back (prctl(2))
        child = os.fork()
        if child:
            os.close(writer)
            os.waitpid(child, 0)
            os._exit(0)
        Supervisor(spec, scratch, stdin, writer, told).work()
    finally:
        reason = sys.exc_info()[1]
        result["error"] = "quarantine: %s: %s" % (type(reason).__name__, reason)
        os.write(writer, json.dumps(result).encode())
        os._exit(1)


def _offer_to_oom_killer() -> None:
    with open("/proc/self/oom_score_adj", "w") as stream:
        stream.write("1000")


# --- the supervising process ---------------------------------------------------------------------


class Supervisor:
    """Builds the view, starts the program, watches it, ends what it left, and reports."""

    def __init__(self, spec: Spec, scratch: str, stdin: int, writer: int, told: walls.Told) -> None:
        self.spec, self.scratch, self.stdin, self.writer = spec, scratch, stdin, writer
        self.told = told
        self.alone = told.get("process_namespace") is True
        self.stopped_by = None  # type: Optional[str]
        self.tails = {}  # type: Dict[int, bytes]
        self.output_bytes = 0
        self.status = None  # type: Optional[int]
        self.started = self.ended = 0.0

    def work(self) -> None:
        result = _empty(self.told)
        walls.die_with_parent()
        self._build()
        walls.prctl(walls.PR_SET_DUMPABLE, 0)  # nobody may look into this process or trace it
        self.told["subreaper"] = True
        if not self.alone:
            walls.tried(self.told, "subreaper", _become_subreaper)
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
            walls.tried(told, "loopback", walls.loopback_up)
        told["few_processes"] = os.getuid() != 0 or walls.NO_LIMIT_OF_ROOT
        if told.get("mount_namespace") is not True:
            for name in ("read_only", "hidden", "private_tmp", "devices"):
                told[name] = str(told.get("mount_namespace"))
            return
        lists = spec.lists
        program = [spec.argv[0]] if os.path.isfile(spec.argv[0]) else []
        visible = [*lists["visible"], spec.cwd, *program]
        room = int(spec.limits["memory_bytes"])
        view = walls.View(lists["writable"], visible, lists["hidden"], lists["devices"], room)
        most = int(spec.limits["processes"]) if self.alone else 0
        view.build(told, most)
        if told.get("private_tmp") is True:
            self.scratch = tempfile.mkdtemp(prefix="ha-")
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
            _become(self.spec, self.told, self.scratch, self.stdin, outputs, failure_writer)
        for number in (failure_writer, outputs[0][1], outputs[1][1], *self.spec.pass_fds):
            os.close(number)
        self.tails = {reader: b"" for reader, _ in outputs}
        self.readers = [reader for reader, _ in outputs]
        why = self._first_words(failure)
        self._watch(child, wake)
        return why

    def _first_words(self, failure: int) -> Optional[str]:
        """What the child tells before it becomes the program: its walls, or why it does not."""
        text = _read_until(failure, time.monotonic() + SPARE_S)
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
    walls.prctl(walls.PR_SET_CHILD_SUBREAPER, 1)


# --- the process that becomes the program --------------------------------------------------------


def environment(spec: Spec, scratch: str) -> Dict[str, str]:
    base = {"PATH": PATH, "LANG": "C", "HOME": scratch, "TMPDIR": scratch, "TMP": scratch}
    return dict(base, **_MPI, **spec.env)


def kernel_limits(spec: Spec) -> Dict[str, int]:
    """For setrlimit(2): each a little above what the supervisor looks for, so that it can tell."""
    found = {
        "CORE": 0,
        "NOFILE": _OPEN_FILES,
        "CPU": math.ceil(spec.limits["cpu_s"]) + 1,
        "FSIZE": int(spec.limits["file_bytes"]),
        "NPROC": _tasks_of_user() + int(spec.limits["processes"]) + _SPARE_TASKS,
    }
    if spec.address:
        found["AS"] = spec.address
    return found


def _tasks_of_user() -> int:
    """What the limit on processes counts already: the user's on this node, in all namespaces."""
    uid, count = os.getuid(), 0
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.stat("/proc/" + name).st_uid == uid:
                count += int((watch.stat_fields(int(name)) or ["0"] * 18)[17])
        except OSError:
            continue
    return count


def _become(
    spec: Spec,
    told: walls.Told,
    scratch: str,
    stdin: int,
    outputs: Sequence[Sequence[int]],
    failure: int,
) -> None:
    """Never returns."""
    own = {}  # type: walls.Told
    line = "\n"
    try:
        os.setsid()
        for target, source in enumerate((stdin, outputs[0][1], outputs[1][1])):
            os.dup2(source, target)
        walls.close_all_but([0, 1, 2, failure, *spec.pass_fds])
        os.chdir(spec.cwd)  # anew: the old one leads below what covers it
        own["clean_environment"] = True
        walls.tried(own, "limits", lambda: walls.limit_resources(kernel_limits(spec)))
        walls.tried(own, "no_privileges", walls.drop_capabilities)
        walls.tried(own, "no_new_privileges", lambda: walls.prctl(walls.PR_SET_NO_NEW_PRIVS, 1))
        walls.die_with_parent()
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        os.write(failure, json.dumps(own).encode() + b"\n")
        env = environment(spec, scratch)
        os.execvpe(spec.argv[0], spec.argv, env)
    except (OSError, ValueError) as error:
        line = "%s: %s\n" % (spec.argv[0], getattr(error, "strerror", None) or error)
    os.write(failure, (line if own else "{}\n" + line).encode())
    os._exit(127)


def write_result(path: str, result: Mapping[str, Any]) -> None:
    temporary = "%s.%d" % (path, os.getpid())
    with open(temporary, "w") as stream:
        json.dump(result, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.rename(temporary, path)


def main(argv: Sequence[str]) -> int:
    if len(argv) != 2:
        sys.stderr.write("usage: quarantine.py SPEC.json\n")
        return EXIT_SPEC
    try:
        with open(argv[1]) as stream:
            data = json.load(stream)
        spec = Spec(data)
        beside = os.path.join(os.path.dirname(os.path.abspath(argv[1])), "RESULT.json")
        path = str(data.get("result") or beside)
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        sys.stderr.write("quarantine.py: %s: %s\n" % (argv[1], error))
        return EXIT_SPEC
    try:
        write_result(path, supervise(spec))
    except OSError as error:
        sys.stderr.write("quarantine.py: %s: %s\n" % (path, error))
        return EXIT_WRITE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
