"""A pretended Slurm that counts the calls of its commands, with a clock of its own.

Standard library only: the peers of the benchmarks use it in environments of their own.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from lab import slurm_counting_commands as commands
from lab.slurm_counting_commands import Job

COMMANDS = ("sbatch", "squeue", "sacct", "scontrol", "scancel", "sinfo", "srun")
BEGIN = 1_800_000_000.0  # the simulated time at the start: a day in 2027
_CLOCK_DIGITS = 24
_LOOK_S = 0.005


@dataclass(frozen=True)
class Call:
    """One call of a command: real time, simulated time, and its words."""

    at: float
    now: float
    argv: tuple[str, ...]

    @property
    def command(self) -> str:
        return self.argv[0]


class Cluster:
    """The commands in `folder`/bin, and what happens to jobs: `on_end` writes what a job leaves.

    `on_start` and `on_end` are called in the order of the jobs' times, with the clock set to them.
    """

    def __init__(
        self,
        folder: Path,
        on_end: Callable[[Job], None],
        on_start: Callable[[Job], None] | None = None,
    ) -> None:
        self.folder = folder
        self._on_end, self._on_start = on_end, on_start
        self._read = 0
        self._due: list[tuple[float, str, Job]] = []
        folder.mkdir(parents=True, exist_ok=True)
        self._install()

    def _install(self) -> None:
        binaries = self.folder / "bin"
        binaries.mkdir(exist_ok=True)
        interpreter = os.path.realpath(sys.executable)
        place = str(Path(__file__).resolve().parent)
        for name in COMMANDS:
            (binaries / name).write_text(
                f"#!{interpreter} -IS\nimport sys\nsys.path.insert(0, {place!r})\n"
                "import slurm_counting_commands as commands\n"
                f"sys.exit(commands.main({str(self.folder)!r}, sys.argv))\n"
            )
            (binaries / name).chmod(0o755)

    @property
    def path(self) -> str:
        """The PATH on which these commands come first."""
        return f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"

    def plan(
        self, wait_s: float, length_s: float, spread: float = 0.0, ending: str = "COMPLETED"
    ) -> None:
        """What happens to jobs submitted from now on; lengths differ by up to `spread` of them."""
        (self.folder / "plan").write_text(f"{wait_s} {length_s} {spread} {ending}")

    def calls(self) -> list[Call]:
        try:
            lines = (self.folder / "calls").read_text("utf-8").split("\n")
        except FileNotFoundError:
            return []
        rows = [line.split("\x1f") for line in lines if line]
        return [Call(float(row[0]), float(row[1]), tuple(row[2:])) for row in rows]

    def counts(self) -> dict[str, int]:
        return dict(Counter(call.command for call in self.calls()))

    def _events(self) -> list[tuple[float, str, Job]]:
        """What is still to come, soonest first; the table of jobs is read where it has grown."""
        table = self.folder / "jobs"
        size = table.stat().st_size if table.exists() else 0
        if size > self._read:
            for job in commands.jobs_in(str(self.folder), self._read):
                self._due += [(job.start, "start", job), (job.end, "end", job)]
            self._due.sort(key=lambda event: event[:2])
            self._read = size
        return self._due

    def _happen(self, what: str, job: Job) -> None:
        if what == "start" and self._on_start is not None:
            self._on_start(job)
        if what == "end" and job.ending == "COMPLETED":
            self._on_end(job)


class Simulated(Cluster):
    """A cluster whose time passes only when somebody sleeps, `step_s` at least each time."""

    def __init__(
        self,
        folder: Path,
        on_end: Callable[[Job], None],
        on_start: Callable[[Job], None] | None = None,
        step_s: float = 0.0,
    ) -> None:
        super().__init__(folder, on_end, on_start)
        self._step_s = step_s
        (folder / "clock").write_bytes(b"%0*.6f" % (_CLOCK_DIGITS, BEGIN))
        with (folder / "clock").open("r+b") as stream:
            self._shown = mmap.mmap(stream.fileno(), _CLOCK_DIGITS)
        self._now = BEGIN

    def now(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        until = self._now + max(seconds, self._step_s)
        events = self._events()
        while events and events[0][0] <= until:
            moment, what, job = events.pop(0)
            self._set(max(moment, self._now))
            self._happen(what, job)
        self._set(until)

    def _set(self, moment: float) -> None:
        self._now = moment
        self._shown[:] = b"%0*.6f" % (_CLOCK_DIGITS, moment)


class RealTime(Cluster):
    """A cluster in real time, with a thread that lets jobs begin and end.

    `ends` holds the real time at which each job had left its result.
    """

    def __enter__(self) -> RealTime:
        self.ends: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._pass, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _pass(self) -> None:
        while not self._stop.wait(_LOOK_S):
            events = self._events()
            while events and events[0][0] <= time.time():
                _, what, job = events.pop(0)
                self._happen(what, job)
                if what == "end":
                    self.ends[job.id] = time.time()

    def latencies(self) -> list[float]:
        """Seconds from each job's end to the submission after it."""
        submitted = [call.at for call in self.calls() if call.command == "sbatch"]
        return list(_gaps(sorted(self.ends.values()), submitted))


def _gaps(ends: Sequence[float], submitted: Sequence[float]) -> Iterator[float]:
    for end in ends:
        later = [moment for moment in submitted if moment > end]
        if later:
            yield min(later) - end
