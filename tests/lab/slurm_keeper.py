"""A process that owns the daemons of a lab, and ends them all when whoever started it is gone.

Run as a program: `python slurm_keeper.py FOLDER`. It reads one JSON object a line from its standard
input and answers each with one on its standard output:

    {"start": NAME, "argv": [...], "env": {...}}   -> {"pid": N}      output goes to FOLDER/NAME.out
    {"signal": NAME, "number": N}                  -> {"sent": true or false}
    {"alive": NAME}                                -> {"alive": true or false}

When the input ends, which it also does when the writer is killed, every descendant is killed and
FOLDER removed. Orphans of daemons come back to it because it is a subreaper, prctl(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
LIBC = ctypes.CDLL(None, use_errno=True)


class Keeper:
    """The other end of the pipes: asks a keeper that runs as a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid

    def start(self, name: str, argv: Sequence[str], env: dict[str, str]) -> int:
        return int(self._ask({"start": name, "argv": list(argv), "env": env})["pid"])

    def signal(self, name: str, number: int) -> bool:
        return bool(self._ask({"signal": name, "number": number})["sent"])

    def alive(self, name: str) -> bool:
        return bool(self._ask({"alive": name})["alive"])

    def close(self) -> None:
        """Returns when everything is dead and the folder is gone."""
        self._process.communicate()

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def descendants(root: int) -> set[int]:
    """Every process below `root` now, zombies left out."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state not in "ZX":
                    children.setdefault(int(parent), []).append(int(entry.name))
    found: set[int] = set()
    front = [root]
    while front:
        below = children.get(front.pop(), [])
        found.update(below)
        front.extend(below)
    return found


def reap(running: dict[str, int]) -> None:
    """Collect what has ended, adopted orphans included."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            for name in [name for name, known in running.items() if known == pid]:
                del running[name]


def answer(folder: Path, running: dict[str, int], question: dict[str, Any]) -> dict[str, Any]:
    if "start" in question:
        name = question["start"]
        with (folder / f"{name}.out").open("ab") as out:
            child = subprocess.Popen(
                question["argv"],
                env=question["env"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=folder,
                start_new_session=True,
                preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
            )
        running[name] = child.pid
        child.returncode = 0  # `reap` collects it
        return {"pid": child.pid}
    reap(running)
    if "signal" in question:
        pid = running.get(question["signal"])
        if pid is not None:
            os.kill(pid, question["number"])
        return {"sent": pid is not None}
    return {"alive": question["alive"] in running}


def serve(folder: Path, running: dict[str, int]) -> None:
    """Until the input ends."""
    buffer = b""
    while True:
        readable, _, _ = select.select([0], [], [], 0.1)
        reap(running)
        if not readable:
            continue
        piece = os.read(0, 65536)
        if not piece:
            return
        buffer += piece
        while b"\n" in buffer:
            line, _, buffer = buffer.partition(b"\n")
            print(json.dumps(answer(folder, running, json.loads(line))), flush=True)


def end(folder: Path) -> None:
    """Kill until nothing is left: a daemon may fork between the look and the signal."""
    limit = time.monotonic() + 30
    while (left := descendants(os.getpid())) and time.monotonic() < limit:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
        reap({})
    shutil.rmtree(folder, ignore_errors=True)


def stop(number: int, frame: object) -> None:
    sys.exit(128 + number)


def main() -> None:
    folder = Path(sys.argv[1])
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGTERM, stop)
    try:
        serve(folder, {})
    finally:
        end(folder)


if __name__ == "__main__":
    main()
