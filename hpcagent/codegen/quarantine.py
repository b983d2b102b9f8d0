#!/usr/bin/env python3
"""Runs one program that nobody trusts, within walls and limits: `python3 quarantine.py SPEC.json`.

Its other parts (PARTS) lie beside it; standard library only, python3 >= 3.6. SPEC.json:

    argv, cwd          the program, and the folder where it starts
    env                its environment, besides PATH, LANG, HOME and TMPDIR where they are left out
    writable[]         folders that it may write, besides a scratch folder of its own
    visible[]          what it shall see although it lies in the user's home, in /tmp or in /run
    hidden[]           what it shall not read
    devices[]          of /dev, besides null, zero, full, random, urandom, tty and a private shm
    limits             {wall_s, cpu_s, memory_bytes, output_bytes, file_bytes, processes,
                       address_bytes (0: none)}, all processes together but for address_bytes
    calls              of the kernel that are left to it: alone (one process, nobody to talk to),
                       tools (others may be started; the default), ranks (they talk to each other)
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
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, Mapping, Sequence

if __package__:
    from hpcagent.codegen import kernelcalls, namespaces, privileges, watch
    from hpcagent.codegen.overseer import END_S, SPARE_S, Overseer, empty_result, read_until
    from hpcagent.codegen.wallspec import Spec
else:
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # python3 -I leaves it out
    import kernelcalls  # type: ignore[import-not-found,no-redef]
    import namespaces  # type: ignore[import-not-found,no-redef]
    import privileges  # type: ignore[import-not-found,no-redef]
    import watch  # type: ignore[import-not-found,no-redef]
    from overseer import (  # type: ignore[import-not-found,no-redef]
        END_S,
        SPARE_S,
        Overseer,
        empty_result,
        read_until,
    )
    from wallspec import Spec  # type: ignore[import-not-found,no-redef]

EXIT_SPEC, EXIT_WRITE = 2, 5
PARTS = (
    "quarantine.py", "overseer.py", "becoming.py", "wallspec.py", "namespaces.py", "fileview.py",
    "privileges.py", "callfilter.py", "landlock.py", "kernelcalls.py", "watch.py",
)  # fmt: skip


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


def supervise(spec: Spec) -> Dict[str, Any]:
    """Run it and wait for the result, whatever the program does to those who watch it."""
    kernelcalls.prctl(kernelcalls.PR_SET_CHILD_SUBREAPER, 1)
    scratch = tempfile.mkdtemp(prefix="ha-")
    reader, writer = os.pipe()
    stdin = os.open(spec.stdin_file, os.O_RDONLY)
    try:
        child = os.fork()
        if child == 0:
            os.close(reader)
            _in_namespaces(spec, scratch, stdin, writer)
        os.close(writer)
        text = read_until(reader, time.monotonic() + spec.limits["wall_s"] + SPARE_S)
        _stop(child)
        left = watch.end_all(False, time.monotonic() + END_S)
        result = dict(json.loads(text)) if text else _without_report()
        result["leftover_processes"] += left if text else 0
        return result
    finally:
        os.close(reader)
        os.close(stdin)
        shutil.rmtree(scratch, ignore_errors=True)


def _stop(child: int) -> None:
    os.kill(child, signal.SIGKILL)  # not yet waited for, so the number is still its own
    os.waitpid(child, 0)


def _without_report() -> Dict[str, Any]:
    words = "the supervising process was ended, or gave no report in time"
    return dict(empty_result({}), error=words)


def _in_namespaces(spec: Spec, scratch: str, stdin: int, writer: int) -> None:
    """The second process: it enters the namespaces and waits. Never returns."""
    told = {}  # type: kernelcalls.Told
    result = empty_result(told)
    try:
        os.setsid()
        told["session"] = True
        privileges.die_with_parent()
        kernelcalls.tried(told, "killed_first", _offer_to_oom_killer)
        namespaces.enter_namespaces(told)
        privileges.die_with_parent()  # new credentials take the wish back (prctl(2))
        child = os.fork()
        if child:
            os.close(writer)
            os.waitpid(child, 0)
            os._exit(0)
        Overseer(spec, scratch, stdin, writer, told).work()
    finally:
        reason = sys.exc_info()[1]
        result["error"] = "quarantine: %s: %s" % (type(reason).__name__, reason)
        os.write(writer, json.dumps(result).encode())
        os._exit(1)


def _offer_to_oom_killer() -> None:
    with open("/proc/self/oom_score_adj", "w") as stream:
        stream.write("1000")


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
