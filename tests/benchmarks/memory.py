"""Resident memory of the agent, without and with a model, and of other commands, at the peak.

The peak is the kernel's own (ru_maxrss of wait4); the peak until the report is begun is VmHWM,
read every 20 ms until the first file below result/ is there. This process stays small, because a
child's ru_maxrss begins with the size of the process that it was forked from.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from harness import ROOT, TINY, finish, options, scratch, table, tell, tune_words

PROJECT = "process_seconds = 0.005\n"


def main() -> None:
    chosen = options(__doc__, ("repeats", int, 3, "whole runs"))
    repeats, rounds = (1, 1) if chosen.quick else (chosen.extra["repeats"], 6)
    peaks: dict[str, list[float]] = {}
    with scratch() as folder:
        (folder / "hpcagent.toml").write_text(PROJECT, encoding="utf-8")
        for index in range(repeats):
            run = folder / f"run{index}"
            words = tune_words(folder, run.name, TINY, "--budget", f"rounds={rounds}")
            _add(peaks, "tune, until the report", "tune, whole run", _watch(words, folder, run))
            words = [*tune_words(folder, f"{run.name}m", TINY, "--budget", f"rounds={rounds}")]
            words += ["--model", str(_model(folder / "tiny.gguf"))]
            seen = _watch(words, folder, folder / f"{run.name}m")
            _add(peaks, "tune with a tiny model, until the report", "the same, whole run", seen)
            report = [sys.executable, "-m", "hpcagent", "report", str(run)]
            _add(peaks, "", "report", _watch(report, folder, run))
            status = [sys.executable, "-m", "hpcagent", "status", str(run)]
            _add(peaks, "", "status", _watch(status, folder, run))
            _add(peaks, "", "python -c pass", _watch([sys.executable, "-c", "pass"], folder, run))
            tell(f"{index + 1} of {repeats}")
    rows = [(name, statistics.median(v), min(v), max(v)) for name, v in peaks.items()]
    table(("command", "peak MB, median", "smallest", "largest"), rows)
    finish(chosen, {"peak_mb": peaks})


def _model(path: Path) -> Path:
    """Made by another process: numpy would make this one large."""
    code = "import sys; from tiny_gguf import make_tiny_gguf as make; make(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT / "tests", check=True)
    return path


def _add(peaks: dict[str, list[float]], early: str, whole: str, seen: tuple[float, float]) -> None:
    if early:
        peaks.setdefault(early, []).append(seen[0])
    peaks.setdefault(whole, []).append(seen[1])


def _watch(argv: Sequence[str], folder: Path, run: Path) -> tuple[float, float]:
    """Peak megabytes (10^6) of a process until result/ holds something, and until its end."""
    child = subprocess.Popen(argv, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    early = 0.0
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            break
        seen = _high_water_mb(child.pid)
        if not (run / "result").exists():
            early = max(early, seen)
        time.sleep(0.02)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"{' '.join(argv)} ended with {child.returncode}")
    return early, usage.ru_maxrss * 1024 / 1e6


def _high_water_mb(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    sizes = [line.split()[1] for line in text.splitlines() if line.startswith("VmHWM:")]
    return int(sizes[0]) * 1024 / 1e6 if sizes else 0.0


if __name__ == "__main__":
    main()
