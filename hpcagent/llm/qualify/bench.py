"""The bench for kernels: a function is compiled and run by a quarantine that is given.

The quarantine is `hpcagent codegen`'s, or one with its contract: a spec {argv, cwd, writable,
visible, limits} gives a result {exit, signal, stopped_by, error, stdout_tail, stderr_tail}.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hpcagent.llm.qualify.kernel import Bench, Wanted, check_program

Quarantine = Callable[[Mapping[str, Any]], Mapping[str, Any]]

_WORDS = 200
_LIMITS: Mapping[str, float] = {
    "wall_s": 20.0,
    "cpu_s": 20.0,
    "memory_bytes": float(1 << 30),
    "output_bytes": float(1 << 16),
    "file_bytes": float(64 << 20),
    "processes": 16.0,
}


def bench(quarantine: Quarantine, compiler: str) -> Bench:
    """A bench with a C compiler (a path); both compiling and running happen in the quarantine."""

    def judge(source: str, row: Wanted) -> str:
        with tempfile.TemporaryDirectory(prefix="hpcagent-kernel-") as folder:
            return _judged(quarantine, compiler, Path(folder), source, row)

    return judge


def _judged(quarantine: Quarantine, compiler: str, folder: Path, source: str, row: Wanted) -> str:
    """The program runs in a folder of its own, where the word it has to print does not lie."""
    word = secrets.token_hex(16)
    sources, place = folder / "sources", folder / "program"
    sources.mkdir()
    place.mkdir()
    (sources / "function.c").write_text(source, encoding="utf-8", errors="replace")
    (sources / "main.c").write_text(check_program(row, word), encoding="utf-8")
    target = str(place / "check")
    argv = [compiler, "-std=c11", "-O2", "function.c", "main.c", "-lm", "-o", target]
    compiled = quarantine(_spec(argv, sources, [sources, place]))
    problem = _problem(compiled)
    if problem:
        return f"it does not compile: {problem}"
    ran = quarantine(_spec([target], place, []))
    problem = _problem(ran)
    if problem:
        return f"it fails: {problem}"
    said = str(ran.get("stdout_tail") or "")
    return "" if word in said else "it ended the program before its results were looked at"


def _spec(argv: list[str], folder: Path, writable: list[Path]) -> dict[str, Any]:
    return {
        "argv": argv,
        "cwd": str(folder),
        "writable": [str(path) for path in writable],
        "visible": [str(folder)],
        "limits": dict(_LIMITS),
    }


def _problem(result: Mapping[str, Any]) -> str:
    """What went wrong, in one line; empty where it ended with 0."""
    for key, words in (
        ("error", ""),
        ("stopped_by", "stopped at its limit of "),
        ("signal", "signal "),
    ):
        if result.get(key):
            return _line(f"{words}{result[key]}")
    if result.get("exit") == 0:
        return ""
    said = str(result.get("stderr_tail") or "") or f"exit code {result.get('exit')}"
    return _line(next((one for one in said.splitlines() if "error" in one), said))


def _line(words: str) -> str:
    printable = "".join(char if char.isprintable() else " " for char in words)
    return " ".join(printable.split())[:_WORDS]
