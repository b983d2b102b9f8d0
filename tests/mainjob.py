"""Helpers of the tests that run the main job for real, on a tiny workload."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from hpcagent.cli.main import main
from hpcagent.measure.worker import PLACES_VARIABLE
from hpcagent.records import Resources, Submitted
from hpcagent.schedulers.local import LocalScheduler

ROOT = Path(__file__).resolve().parent.parent
WORKLOAD = """\
cases:
  - {routine: dgemm, m: 48, n: 48, k: 48}
  - {routine: dpotrf, n: 32}
"""
# Small enough that a whole run takes seconds; the claim needs nine pairs. The search alone makes
# proposals, where no words name a model.
WITH_DEFAULT_MODEL = "process_seconds = 0.01\nmax_pairs = 3\nconfirm_pairs = 9\n"
PROJECT = f"{WITH_DEFAULT_MODEL}model = ''\n"
# The real routine, and where no setting of a candidate is in force a sleep thousands of times
# as long: what is measured has a winner by construction, on any machine and however busy it is.
HANDICAP = """\
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <unistd.h>
extern char **environ;
void dpotrf_(char *uplo, int *n, double *a, int *lda, int *info, size_t length)
{
    void (*real)(char *, int *, double *, int *, int *, size_t) = dlsym(RTLD_NEXT, "dpotrf_");
    int set = 0;
    for (char **entry = environ; *entry; entry++)
        set |= !strncmp(*entry, "OPENBLAS_", 9) || !strncmp(*entry, "GLIBC_TUNABLES", 14);
    real(uplo, n, a, lda, info, length);
    if (!set)
        usleep(40000);
}
"""


@dataclass(frozen=True)
class Bench:
    """A folder to run the command line in, with a queue and runs of its own."""

    folder: Path
    env: dict[str, str]

    def hpcagent(self, *words: str, timeout_s: float = 600) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*words), cwd=self.folder, env=self.env, capture_output=True, text=True,
            timeout=timeout_s, check=False,
        )  # fmt: skip

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "hpcagent", *words]

    def tune(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.hpcagent(*self.tune_words(*words))

    def tune_words(self, *words: str) -> list[str]:
        fixed = ["tune", "--lib", "openblas", "--workload", "mix.yaml", "--challengers", "2"]
        return [*fixed, "--run-dir", str(self.run), *words]

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        """Those written so far: the line that an agent is about to write is not one of them."""
        whole, _, _ = (self.run / "journal.jsonl").read_text().rpartition("\n")
        events = [json.loads(line) for line in whole.splitlines()]
        return [e for e in events if not kind or e["type"] == kind]

    def outcome(self) -> str:
        """How the run was closed; empty while it is open, or not even begun."""
        if not (self.run / "journal.jsonl").exists():
            return ""
        return "".join(e["data"]["outcome"] for e in self.events("run_closed"))

    def job_of(self) -> dict[str, str]:
        """Job ids by unit; every unit was submitted once, measured once and recorded once."""
        rows = [e["data"] for e in self.events("unit_submitted")]
        job_of = {row["unit"]: row["job_id"] for row in rows}
        assert len(job_of) == len(rows)
        ended = [e["data"] for e in self.events("unit_result")]
        assert Counter(row["unit"] for row in ended) == Counter(list(job_of))
        assert all(row["failure"] is None for row in ended), ended
        for unit in job_of:
            path = self.run / "work" / unit / "result.jsonl"
            lines = path.read_text().splitlines() if path.exists() else []
            ran = [x for x in map(json.loads, lines) if x["status"] != "dropped"]
            counts = Counter((x["config"], x["pair"]) if "config" in x else x["step"] for x in ran)
            assert all(count == 1 for count in counts.values()), unit
        return job_of

    def jobs(self) -> dict[str, list[Path]]:
        """The queue's job folders by job name."""
        found: dict[str, list[Path]] = {}
        for folder in sorted((self.folder / "queue" / "jobs").iterdir()):
            record = json.loads((folder / "job.json").read_text())
            found.setdefault(record["name"], []).append(folder)
        return found


class Inside(Bench):
    """The same in this process, where nothing is asked of the agent's own: a start takes a second
    of a core, and to load what draws the figures another."""

    def hpcagent(self, *words: str, timeout_s: float = 600) -> subprocess.CompletedProcess[str]:
        out, err, code = io.StringIO(), io.StringIO(), 0
        env = {**self.env, "COLUMNS": "80"}  # no terminal, whatever the tests have
        with (
            contextlib.chdir(self.folder),
            mock.patch.dict(os.environ, env, clear=True),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                main(words)
            except SystemExit as end:
                code = int(end.code or 0)
        return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def handicap_the_default(bench: Bench) -> None:
    """From here on the default is much slower than every candidate."""
    (bench.folder / "mix.yaml").write_text("cases:\n  - {routine: dpotrf, n: 32}\n")
    source, library = bench.folder / "handicap.c", bench.folder / "libhandicap.so"
    source.write_text(HANDICAP)
    words = ["-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run([shutil.which("cc") or "gcc", *words], check=True)
    bench.env["LD_PRELOAD"] = str(library)


@contextlib.contextmanager
def busy_queue(bench: Bench) -> Iterator[None]:
    """The queue works at another job until the end of the block: no run comes to an end meanwhile,
    however fast it is and however long what the test starts takes to start."""
    with mock.patch.dict(os.environ, bench.env, clear=True):
        queue = LocalScheduler(Path(bench.env["HPCAGENT_QUEUE"]))
        folder = bench.folder / "other job"
        folder.mkdir()
        head = queue.directives(Resources(walltime_s=3600), "haother")
        (folder / "job.sh").write_text("\n".join(["#!/bin/sh", *head, "sleep 3600", ""]))
        answer = queue.submit(folder / "job.sh")
        assert isinstance(answer, Submitted), answer
        try:
            yield
        finally:
            queue.cancel([answer.job_id])


def until(true: Callable[[], bool], told: Callable[[], object], limit_s: float = 300.0) -> None:
    """Wait until it is so; `told` is shown where that takes too long."""
    limit = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < limit, told()
        time.sleep(0.1)


def killed_at_every_durable_step(bench: Bench, words: list[str]) -> int:
    """How often a process was killed, before its n-th write, fsync or rename, until one ended.

    The next one takes over. strace counts each system call by itself, so that each is swept alone
    (tests/faults does so to the end, here they take turns).
    """
    kills = ((n, call) for n in range(1, 100) for call in ("write", "fsync", "rename"))
    for killed, (n, call) in enumerate(kills):
        inject = f"inject={call}:signal=KILL:when={n}"
        argv = ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject]
        done = subprocess.run(
            [*argv, *bench.argv(*words)], cwd=bench.folder, env=bench.env,
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        if (bench.run / "journal.jsonl").exists() and bench.events():
            words = ["resume", str(bench.run)]
        elif bench.run.exists():
            # Killed before the run was opened: nothing was lost, the user starts again.
            shutil.rmtree(bench.run)
        if done.returncode == 0:
            return killed
        assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), done.stderr
    raise AssertionError("none ended in peace")


def make_bench(folder: Path) -> Bench:
    (folder / "mix.yaml").write_text(WORKLOAD)
    (folder / "hpcagent.toml").write_text(PROJECT)
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("HPCAGENT_", "OPENBLAS_"))},
        PLACES_VARIABLE: os.environ[PLACES_VARIABLE],
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "HPCAGENT_QUEUE": str(folder / "queue"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "HPCAGENT_HISTORY": "off",
    }
    return Bench(folder, env)
