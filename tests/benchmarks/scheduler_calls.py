"""Calls to the batch system, latency of a submission, and turns with 10,000 units; with submitit.

Slurm is pretended (tests/lab/slurm_counting.py): its commands are counted and answered from a table
of jobs. hpcagent's agent, desk, journal and slurm adapter are the real ones. submitit runs on the
same commands in a Python that has it (`--peer PYTHON`); without one its rows are left out.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness import ROOT, Options, finish, options, table, tell

HERE = Path(__file__).resolve().parent
WAIT_S, LENGTH_S, SPREAD = 300.0, 3600.0, 0.2
# hpcagent asks for jobs by its own clock alone; markers looked at more rarely change no count.
STEP_S = 10.0
SHORT_WAIT_S, SHORT_LENGTH_S = 1.0, 9.0
KINDS = ("sbatch", "squeue", "sacct", "scontrol", "scancel", "sinfo")


def main() -> None:
    chosen = options(
        __doc__,
        ("peer", str, sys.executable, "a Python with submitit"),
        ("trials", int, 1000, "one-hour trials"),
        ("aheads", str, "1,10", "jobs that are out at once"),
        ("rounds", int, 20, "jobs whose end is followed by a submission"),
        ("units", int, 10_000, "units in the journal"),
        ("parts", str, "calls,latency,units", "what to measure"),
    )
    peer = str(chosen.extra["peer"]) if _has_submitit(str(chosen.extra["peer"])) else ""
    if not peer:
        tell("submitit cannot be imported by that Python (--peer): its rows are left out")
    figures: dict[str, Any] = {}
    measures = {"calls": _calls, "latency": _latency, "units": _units}
    for part in str(chosen.extra["parts"]).split(","):
        figures[part] = measures[part](chosen, peer)
    finish(chosen, figures)


def _has_submitit(python: str) -> bool:
    done = subprocess.run([python, "-c", "import submitit"], capture_output=True, check=False)
    return done.returncode == 0


def _run(python: str, script: str, *words: object) -> dict[str, Any]:
    """The JSON that a helper prints last, from a process and a folder of its own."""
    what, *rest = words
    with tempfile.TemporaryDirectory(prefix="hpcagent-bench-") as folder:
        argv = [python, str(HERE / script), str(what), folder, *map(str, rest)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HPCAGENT_")}
        environment["PYTHONPATH"] = str(ROOT)
        done = subprocess.run(argv, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(argv)} ended with {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# --- calls ----------------------------------------------------------------------------------------


def _calls(chosen: Options, peer: str) -> list[dict[str, Any]]:
    trials = 30 if chosen.quick else int(chosen.extra["trials"])
    plan = (WAIT_S, LENGTH_S, SPREAD)
    aheads = [int(word) for word in str(chosen.extra["aheads"]).split(",")]
    jobs = [("submitit", ahead, 1) for ahead in aheads] if peer else []
    jobs += [("hpcagent", ahead, 1) for ahead in aheads] + [("hpcagent", aheads[-1], 4)]

    def measure(job: tuple[str, int, int]) -> dict[str, Any]:
        who, ahead, pack = job
        begun = time.perf_counter()
        if who == "hpcagent":
            found = _run(
                sys.executable, "counted_units.py", "calls", trials, ahead, pack, STEP_S, *plan
            )
        else:
            found = _run(peer, "submitit_peer.py", "calls", trials, ahead, 0, *plan)
        tell(f"{who}, {ahead} ahead: {time.perf_counter() - begun:.0f} s, {found['counts']}")
        return {"who": who, "ahead": ahead, "pack": pack, **found}

    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(measure, jobs))
    _calls_table(rows, trials)
    return rows


def _calls_table(rows: Sequence[Mapping[str, Any]], trials: int) -> None:
    totals = {(r["who"], r["ahead"]): _total(r) for r in rows if r["pack"] == 1}
    shown = []
    for row in rows:
        theirs = totals.get(("submitit", row["ahead"]))
        counts = [row["counts"].get(kind, 0) for kind in KINDS]
        per = _total(row) / row["hours"]
        ratio = _total(row) / theirs if theirs else ""
        shown.append([row["who"], row["ahead"], row["pack"], *counts, _total(row), per, ratio])
    head = ("who", "ahead", "pack", *KINDS, "all", "per hour", "ratio to submitit")
    print(f"{trials} trials of an hour")
    table(head, shown)


def _total(row: Mapping[str, Any]) -> int:
    return sum(row["counts"].get(kind, 0) for kind in KINDS)


# --- latency --------------------------------------------------------------------------------------


def _latency(chosen: Options, peer: str) -> dict[str, list[float]]:
    rounds = 2 if chosen.quick else int(chosen.extra["rounds"])
    words = (rounds, SHORT_WAIT_S, SHORT_LENGTH_S, SPREAD)
    found = {"hpcagent": _run(sys.executable, "counted_units.py", "latency", *words)["latencies"]}
    tell("latency of hpcagent")
    if peer:
        found["submitit"] = _run(peer, "submitit_peer.py", "latency", *words)["latencies"]
        tell("latency of submitit")
    rows = [
        [who, len(all_s), statistics.median(all_s), _high(all_s), max(all_s)]
        for who, all_s in found.items()
    ]
    print("from a job's end to the next submission")
    table(("who", "rounds", "s, median", "s, 95 %", "s, largest"), rows)
    return found


def _high(values: Sequence[float]) -> float:
    """The 95th percentile: the smallest value that 95 % do not exceed."""
    return sorted(values)[-(-95 * len(values) // 100) - 1]


# --- many units -----------------------------------------------------------------------------------


def _units(chosen: Options, peer: str) -> dict[str, Any]:
    count = 500 if chosen.quick else int(chosen.extra["units"])
    found: dict[str, Any] = {}
    for out in (10, count - 100):
        found[f"hpcagent, {out} out"] = _run(sys.executable, "counted_units.py", "many", count, out)
        tell(f"{count} units, {out} of them out")
    if peer:
        found[f"submitit, {count} jobs"] = _run(peer, "submitit_peer.py", "many", count)
    for name, figures in found.items():
        print(name)
        table(("what", "figure"), [(key, value) for key, value in figures.items()])
    return found


if __name__ == "__main__":
    main()
