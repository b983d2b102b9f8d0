"""Stand-ins of Slurm's commands that count: each call is noted, then answered from a table of jobs.

A job waits, runs and ends by the clock alone. Few modules are imported: each call is a process.
"""
# ruff: noqa: PTH110, PTH116, PTH118, PTH119, PTH123

from __future__ import annotations

import os
import sys
import time

MIN_JOB_AGE_S = 300.0
USED = 0.6  # of its time limit, at most
_SEPARATOR = "\x1f"


class Job:
    """A row of the table; `end` is the time of its end, `ending` how it ends."""

    def __init__(self, row: str) -> None:
        words = row.split("\t")
        self.id, self.name, self.script, self.ending = words[0], words[1], words[5], words[6]
        self.submit, self.start, self.end = (float(word) for word in words[2:5])

    def state(self, now: float) -> str:
        if now < self.start:
            return "PENDING"
        return "RUNNING" if now < self.end else self.ending

    def field(self, name: str, now: float) -> str:
        """What squeue and sacct show under one of the names hpcagent and submitit ask for."""
        state = self.state(now)
        return {
            "JobArrayID": self.id,
            "JobID": self.id,
            "State": state,
            "exit_code": "0",
            "ExitCode": "0:0" if state in ("PENDING", "RUNNING", "COMPLETED") else "1:0",
            "SubmitTime": stamp(self.submit),
            "Submit": stamp(self.submit),
            "NodeList": "" if state == "PENDING" else "n1",
            "Reason": "Priority" if state == "PENDING" else "None",
            "Name": self.name,
            "JobName": self.name,
        }[name]


def stamp(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))


def now_in(folder: str) -> float:
    """The simulated time, or the real one where none is kept."""
    try:
        with open(os.path.join(folder, "clock"), "rb") as stream:
            return float(stream.read())
    except FileNotFoundError:
        return time.time()


def jobs_in(folder: str, offset: int = 0) -> list[Job]:
    """The rows of the table from a byte on; a row is written in one piece."""
    try:
        with open(os.path.join(folder, "jobs"), encoding="utf-8") as stream:
            stream.seek(offset)
            return [Job(row) for row in stream.read().split("\n") if row]
    except FileNotFoundError:
        return []


def main(folder: str, argv: list[str]) -> int:
    command, words, now = os.path.basename(argv[0]), argv[1:], now_in(folder)
    note = _SEPARATOR.join([repr(time.time()), repr(now), command, *words])
    _append(folder, "calls", note + "\n")
    if command == "sbatch":
        return _sbatch(folder, words, now)
    if command == "scancel":
        return 0
    if command == "sinfo":
        print("main*|up|infinite|100|2|16000|")
    elif command == "scontrol":
        print(f"MinJobAge               = {MIN_JOB_AGE_S:.0f} sec")
    elif command == "squeue":
        _squeue(folder, words, now)
    elif command == "sacct":
        _sacct(folder, words, now)
    return 0


def _append(folder: str, name: str, text: str) -> None:
    with open(os.path.join(folder, name), "ab", buffering=0) as stream:
        stream.write(text.encode("utf-8", "surrogateescape"))


SUBMIT_LIMIT = (
    "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit "
    "limit, user's size and/or time limits)\n"
)


def _sbatch(folder: str, words: list[str], now: float) -> int:
    script = os.path.realpath(words[-1])
    with open(script, encoding="utf-8") as stream:
        head = [line.strip() for line in stream if line.startswith("#SBATCH ")]
    given = dict(line.split(" ", 1)[1].split("=", 1) for line in head if "=" in line)
    with open(os.path.join(folder, "plan"), encoding="utf-8") as stream:
        wait_s, length_s, spread, ending = stream.read().split()
    jobs = jobs_in(folder)
    limit = os.path.join(folder, "most")  # its length is what a QOS has as MaxSubmitJobsPerUser
    if os.path.exists(limit) and sum(job.end > now for job in jobs) >= os.stat(limit).st_size:
        sys.stderr.write("sbatch: error: QOSMaxSubmitJobPerUserLimit\n" + SUBMIT_LIMIT)
        return 1
    number = len(jobs) + 1000
    start = now + float(wait_s)
    length = float(length_s) * (1.0 + float(spread) * (number * 617 % 1000 / 500 - 1.0))
    end = start + min(length, USED * _seconds(given["--time"]))
    row = [str(number), given["--job-name"], repr(now), repr(start), repr(end), script]
    _append(folder, "jobs", "\t".join([*row, ending]) + "\n")
    print(number if "--parsable" in words else f"Submitted batch job {number}")
    return 0


def _seconds(limit: str) -> float:
    """A time limit as hpcagent writes it, D-HH:MM:SS, or in minutes."""
    if "-" not in limit:
        return 60.0 * float(limit)
    days, rest = limit.split("-")
    hours, minutes, seconds = (int(word) for word in rest.split(":"))
    return float(((int(days) * 24 + hours) * 60 + minutes) * 60 + seconds)


def _squeue(folder: str, words: list[str], now: float) -> None:
    given = dict(word.split("=", 1) for word in words if "=" in word)
    fields = [field.split(":")[0] for field in given["--Format"].split(",")]
    for job in jobs_in(folder):
        known = now < job.end + (MIN_JOB_AGE_S if given.get("--states") == "all" else 0.0)
        if known and given.get("--name", job.name) == job.name:
            print("".join(f"{job.field(field, now)}|" for field in fields))


def _sacct(folder: str, words: list[str], now: float) -> None:
    given = dict(word.split("=", 1) for word in words if "=" in word)
    fields = (given.get("--format") or words[words.index("-o") + 1]).split(",")
    asked = {words[i + 1] for i, word in enumerate(words) if word == "-j"}
    asked.update(given.get("--jobs", "").split(",") if "--jobs" in given else ())
    lines = [] if "--noheader" in words else ["|".join(fields)]
    for job in jobs_in(folder):
        if (asked and job.id not in asked) or given.get("--name", job.name) != job.name:
            continue
        shown = [job.field(field, now) for field in fields]
        lines.append("|".join(shown))
        if "--allocations" not in words and now >= job.start:  # the steps of a job that has begun
            lines += ["|".join([job.id + step, *shown[1:]]) for step in (".batch", ".extern")]
    sys.stdout.write("".join(line + "\n" for line in lines))
