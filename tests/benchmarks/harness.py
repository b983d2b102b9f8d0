"""What the benchmarks share: a prepared run, rounds through the real worker, tables, records."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[2]
# The scripts run from a checkout, whatever is installed.
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from hpcagent.measure.results import Run
    from hpcagent.study.knowledge import Knowledge
    from hpcagent.study.rundir import RunDir
    from hpcagent.study.tune_agent import Agent

TINY = """\
cases:
  - {routine: dgemm, m: 96, n: 96, k: 96}
  - {routine: dgemm, m: 256, n: 256, k: 256}
"""
SMALL = """\
cases:
  - {routine: dgemm, m: 64, n: 64, k: 64}
  - {routine: dgemm, m: 384, n: 384, k: 384}
  - {routine: dgemm, m: 1024, n: 16, k: 512}
  - {routine: dgetrf, m: 256, n: 256}
  - {routine: dpotrf, n: 384}
"""


@dataclass(frozen=True)
class Options:
    """`quick` is for trying a script out; its figures are not worth recording."""

    quick: bool
    json: Path | None
    extra: Mapping[str, Any]


def options(text: str | None, *more: tuple[str, type, Any, str]) -> Options:
    """The command line: --quick, --json FILE and `more` as (name, type, default, help)."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--quick", action="store_true", help="a minute at most; to try it out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    for name, kind, default, words in more:
        parser.add_argument(f"--{name}", type=kind, default=default, help=f"{words} [{default}]")
    found = vars(parser.parse_args())
    return Options(found.pop("quick"), found.pop("json"), found)


def tell(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Aligned columns on standard output; floats with four significant digits."""
    texts = [list(head)] + [[_cell(value) for value in row] for row in rows]
    widths = [max(len(row[i]) for row in texts) for i in range(len(head))]
    for row in texts:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).strip())
    print(flush=True)


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def binomial_interval(count: int, trials: int, coverage: float = 0.95) -> tuple[float, float]:
    """The rates that `count` of `trials` agree with (C. J. Clopper & E. S. Pearson, 1934)."""
    tail = (1.0 - coverage) / 2.0

    def at_most(most: int, rate: float) -> float:
        terms = (
            math.comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(most + 1)
        )
        return math.fsum(terms)

    def where(falls_to: float, most: int) -> float:
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2.0
            low, high = (middle, high) if at_most(most, middle) > falls_to else (low, middle)
        return low

    low = where(1.0 - tail, count - 1) if count else 0.0
    return low, where(tail, count) if count < trials else 1.0


def finish(chosen: Options, figures: Mapping[str, Any]) -> None:
    """Write the record, with the day, the load and the machine but not its name."""
    if chosen.json is None:
        return
    record = {
        "utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpus": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg(),
        "python": platform.python_version(),
        "quick": chosen.quick,
        **figures,
    }
    chosen.json.write_text(json.dumps(record, indent=1, default=str) + "\n", encoding="utf-8")


# --- runs ----------------------------------------------------------------------------------------


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder to run in, with a local queue of its own; the environment names it."""
    with tempfile.TemporaryDirectory(prefix="hpcagent-bench-") as name:
        for key in [k for k in os.environ if k.startswith(("HPCAGENT_", "OPENBLAS_"))]:
            del os.environ[key]
        os.environ.update(environment(Path(name)))
        yield Path(name)


def environment(folder: Path) -> dict[str, str]:
    return {
        "PYTHONPATH": str(ROOT),
        "HPCAGENT_QUEUE": str(folder / "queue"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "HPCAGENT_HISTORY": "off",
    }


def tune_words(folder: Path, name: str, mix: str, *words: str) -> list[str]:
    """A `tune` command line in `folder` for this workload."""
    (folder / "mix.yaml").write_text(mix, encoding="utf-8")
    start = [sys.executable, "-m", "hpcagent", "tune", "--lib", "openblas"]
    return [*start, "--workload", "mix.yaml", "--run-dir", str(folder / name), *words]


def new_run(folder: Path, mix: str, **chosen: Any) -> RunDir:
    """Open a run of this workload below `folder`; `chosen` are fields of TuneSettings."""
    from dataclasses import asdict

    from hpcagent import __version__
    from hpcagent.apps.workload import load_workload
    from hpcagent.study.rundir import create_run
    from hpcagent.study.session import open_tune
    from hpcagent.study.settings import TuneSettings

    source = folder / "mix.yaml"
    source.write_text(mix, encoding="utf-8")
    cases = tuple(asdict(case) for case in load_workload(source).cases)
    standard = {"scheduler": "local", "seed": 1, "strategy": "surrogate", "rounds": 6,
                "challengers": 4}  # fmt: skip
    settings = TuneSettings(
        app="openblas", workload=cases, python=sys.executable,
        cores=len(os.sched_getaffinity(0)), **{**standard, **chosen},
    )  # fmt: skip
    run = create_run("tune", __version__, folder / "runs")
    open_tune(run, settings, __version__)
    return run


def prepared(run: RunDir) -> tuple[Knowledge, str]:
    """Probe, build and feasibility done; what is known then, and the driver's folder."""
    from hpcagent.report.publish import publish
    from hpcagent.study.session import opened

    with opened(run, publish) as agent:
        _turns(agent, lambda: agent.state.done("feasibility") is not None)
        build = agent.state.done("build")
        if build is None:
            raise SystemExit(f"the run could not be prepared: {agent.state.closed}")
        return agent.known, str(run.unit(build.name))


def _turns(agent: Agent, ready: Callable[[], bool]) -> None:
    while not ready():
        turn = agent.turn()
        if turn.closed:
            return
        if turn.waiting:
            time.sleep(0.05)


def measure(folder: Path, known: Knowledge, spec: Mapping[str, Any]) -> tuple[Run, ...]:
    """One unit through the real worker, here and now."""
    from hpcagent.measure import worker
    from hpcagent.measure.results import parse_results

    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(json.dumps({**spec, "unit": folder.name}), encoding="utf-8")
    text = known.workload.text(warmup=1, repeats=known.repeats)
    (folder / "workload.txt").write_text(text, encoding="utf-8")
    argv = [sys.executable, str(worker.__file__), "spec.json"]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"the worker failed: {done.stderr.strip()}")
    return parse_results((folder / "result.jsonl").read_text("utf-8"), spec["weights"])
