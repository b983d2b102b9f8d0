"""The same work through submitit, in a Python that has it; scheduler_calls.py starts this.

`calls FOLDER TRIALS AHEAD STEP WAIT LENGTH SPREAD`, `latency FOLDER ROUNDS WAIT LENGTH SPREAD`
and `many FOLDER JOBS` print one JSON object. The loop asks every second, as Job.wait does.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import submitit
from lab.slurm_counting import Job, RealTime, Simulated
from submitit.core import core
from submitit.slurm.slurm import SlurmJob

LOOK_S = 1.0  # submitit's own: Job.wait


def trial(number: int) -> int:
    return number


def write_result(logs: Path, job: Job) -> None:
    """What submitit's own job leaves: its outcome, renamed into place."""
    path = logs / f"{job.id}_0_result.pkl"
    path.with_suffix(".tmp").write_bytes(pickle.dumps(("success", 0)))
    path.with_suffix(".tmp").rename(path)


def drive(logs: Path, trials: int, ahead: int, sleep: Callable[[float], None]) -> None:
    """Keep `ahead` jobs out until `trials` have ended."""
    executor = submitit.SlurmExecutor(folder=logs)
    executor.update_parameters(time=120)
    left, out = trials, list[Any]()
    while left or out:
        for job in [job for job in out if job.done()]:
            job.result()
            out.remove(job)
        while left and len(out) < ahead:
            out.append(executor.submit(trial, left))
            left -= 1
        sleep(LOOK_S)


def calls(
    folder: Path, trials: int, ahead: int, step_s: float, plan: tuple[float, ...]
) -> dict[str, Any]:
    logs = folder / "logs"
    cluster = Simulated(folder / "slurm", lambda job: write_result(logs, job), step_s=step_s)
    os.environ["PATH"] = cluster.path
    cluster.plan(*plan)
    core._time = SimpleNamespace(time=cluster.now, sleep=cluster.sleep)
    begun = cluster.now()
    drive(logs, trials, ahead, cluster.sleep)
    return {"counts": cluster.counts(), "hours": (cluster.now() - begun) / 3600}


def latency(folder: Path, rounds: int, plan: tuple[float, ...]) -> dict[str, Any]:
    logs = folder / "logs"
    with RealTime(folder / "slurm", lambda job: write_result(logs, job)) as cluster:
        os.environ["PATH"] = cluster.path
        cluster.plan(*plan)
        drive(logs, rounds + 1, 1, time.sleep)
        return {"latencies": cluster.latencies()}


def many(folder: Path, count: int) -> dict[str, Any]:
    """Time and memory of `count` job objects: one update of all, and one pass of done()."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    logs = folder / "logs"
    logs.mkdir(parents=True)
    cluster = Simulated(folder / "slurm", lambda job: None)
    os.environ["PATH"] = cluster.path
    rows = (f"{i + 1000}\tsubmitit\t0\t1\t9e9\t/x\tCOMPLETED\n" for i in range(count))
    (folder / "slurm" / "jobs").write_text("".join(rows))
    made = _cpu_s()
    jobs = [SlurmJob(folder=logs, job_id=str(i + 1000)) for i in range(count)]
    begun = _cpu_s()
    SlurmJob.watcher.update()
    updated = _cpu_s()
    done = sum(job.done() for job in jobs)
    passed = _cpu_s()
    SlurmJob.watcher.update()
    command = max((call for call in cluster.calls()), key=lambda call: call.at)
    return {
        "make_cpu_ms": 1e3 * (begun - made),
        "update_cpu_ms": 1e3 * (updated - begun),
        "pass_cpu_ms": 1e3 * (passed - updated),
        "argument_bytes": sum(len(word) + 1 for word in command.argv),
        "done": done,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        "before_mb": before * 1024 / 1e6,
    }


def _cpu_s() -> float:
    spent = os.times()
    return time.process_time() + spent.children_user + spent.children_system


def main() -> None:
    what, folder, *words = sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]
    if what == "calls":
        trials, ahead, step_s, *rest = words
        plan = tuple(float(word) for word in rest)
        found = calls(folder, int(trials), int(ahead), float(step_s), plan)
    elif what == "latency":
        found = latency(folder, int(words[0]), tuple(float(word) for word in words[1:]))
    else:
        found = many(folder, int(words[0]))
    print(json.dumps({"version": submitit.__version__, **found}))


if __name__ == "__main__":
    main()
