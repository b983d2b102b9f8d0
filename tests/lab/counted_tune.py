"""A tune run of the real agent on the pretended Slurm: its node, its strategy and its clock."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab.slurm_counting import Job, Simulated

from hpcagent import __version__
from hpcagent.protocols import Scheduler
from hpcagent.records import Proposal
from hpcagent.schedulers.slurm import SlurmScheduler
from hpcagent.study.clock import Clock
from hpcagent.study.durable import utc_text
from hpcagent.study.journal import JournalWriter
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.lease import Lease
from hpcagent.study.proposing import Proposer
from hpcagent.study.rundir import RunDir, create_run
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import Folding
from hpcagent.study.tune_agent import Agent

FACTS = Path(__file__).parents[1] / "fixtures/probe/recorded-debian12-node1-icelake.json"
PAIRS = 3
POINTS = 40
CASE = {"routine": "dgemm", "m": 96, "n": 96, "k": 96, "transa": "N", "transb": "N", "weight": 1.0}


# --- the node -------------------------------------------------------------------------------------


def begin(job: Job) -> None:
    """The first unit of the job is claimed."""
    folder = _units(job)[0]
    (folder / "claim").mkdir()
    owner = {"job": job.id, "node": "n1", "claimed_utc": _utc(job.start)}
    (folder / "claim" / "owner.json").write_text(json.dumps(owner))
    (folder / "err").touch()


def end(job: Job) -> None:
    """Every unit of the job has measured what its spec asks for, the marker last."""
    for folder in _units(job):
        if (folder / "request.json").exists():
            (folder / "facts.json").write_text(FACTS.read_text())
        else:
            spec = json.loads((folder / "spec.json").read_text())
            text = "".join(json.dumps(line) + "\n" for line in _lines(spec, _utc(job.end)))
            (folder / "result.jsonl").write_text(text)
        done = {"exit": 0, "finished_utc": _utc(job.end), "claimed_utc": _utc(job.start),
                "host": "n1", "node": "n1", "boot_id": "b"}  # fmt: skip
        (folder / "done.tmp").write_text(json.dumps(done))
        (folder / "done.tmp").rename(folder / "done.json")


def _units(job: Job) -> list[Path]:
    script = Path(job.script)
    names = dict.fromkeys(re.findall(r"/work/(ha[a-z2-7]{12})\b", script.read_text()))
    return [script.parents[1] / name for name in names]


def _lines(spec: Mapping[str, Any], now_utc: str) -> Iterator[dict[str, Any]]:
    cycles = [0] if spec["mode"] == "once" else range(1 + _pairs(spec))
    for pair in cycles:
        for order, config in enumerate(spec["configs"]):
            probed = spec.get("probes", {}).get(config["id"], {})
            seconds = 1.0 * (1.0 + int(config["id"][:2], 16) / 1e3 if pair else 1.0)
            yield {
                "config": config["id"], "pair": pair, "order": order, "t_utc": now_utc,
                "samples": {key: [seconds] for key in spec["weights"]}, "wall_s": 1.0,
                "check": {"passed": True, "residuals": {}, "message": ""},
                "readback": {"core": probed.get("value", "SkylakeX"), "maxrss_bytes": 10**7},
                "exit": 0, "signal": None, "load": {"steal": 0.0}, "status": "ok",
            }  # fmt: skip


def _pairs(spec: Mapping[str, Any]) -> int:
    return int(spec["stop_rule"]["pairs"]) if spec["mode"] == "fixed" else PAIRS


def _utc(moment: float) -> str:
    return utc_text(datetime.fromtimestamp(moment, UTC))


# --- the run --------------------------------------------------------------------------------------


class EachInTurn(Proposer):
    """Proposes some points of the space again and again: a search without an end."""

    def propose(
        self,
        known: Knowledge,
        index: int,
        record: Callable[[Mapping[str, Any]], None],
        spare_s: float = math.inf,
    ) -> tuple[tuple[Proposal, ...], str | None]:
        points, count = known.space.points()[:POINTS], known.state.settings.challengers
        chosen = [points[(index * count + i) % len(points)] for i in range(count)]
        return tuple(Proposal(config, "its turn", "each in turn") for config in chosen), None


def clock_of(cluster: Simulated) -> Clock:
    return Clock(lambda: datetime.fromtimestamp(cluster.now(), UTC), cluster.now, cluster.sleep)


def settings(**changes: Any) -> TuneSettings:
    values: dict[str, Any] = {
        "app": "openblas", "seed": 1, "scheduler": "slurm", "strategy": "surrogate",
        "rounds": 3, "challengers": 1, "cores": 2, "workload": (CASE,), "python": sys.executable,
        "confirm_pairs": 9, "repeat_s": 130.0,
    }  # fmt: skip
    return TuneSettings(**{**values, **changes})


def new_run(
    folder: Path, clock: Clock, chosen: TuneSettings, place: Path | None = None,
    plan: Mapping[str, Any] | None = None,
) -> RunDir:  # fmt: skip
    """A run below `folder`, or in `place`; that of a plan where there is one."""
    kind = "tune" if plan is None else "plan"
    run = create_run(kind, __version__, folder, place, clock=clock.now)
    data = {"kind": run.kind, "version": __version__, "settings": chosen.to_json()}
    data |= {} if plan is None else {"plan": plan}
    with Lease.acquire(run.path) as lease, JournalWriter(
        run.journal, lease.check, clock.now
    ) as journal:  # fmt: skip
        journal.append("run_opened", data)
    return run


@contextmanager
def agent_of(
    run: RunDir, clock: Clock, proposer: type[Proposer] = EachInTurn,
    scheduler: Scheduler | None = None,
) -> Iterator[Agent]:  # fmt: skip
    """The agent of a run as session.opened makes it, but for strategy, clock and report."""
    folding = Folding()
    with Lease.acquire(run.path) as lease, JournalWriter(
        run.journal, lease.check, clock.now, folding.add
    ) as journal:  # fmt: skip
        strategy = proposer(folding.state().settings, run.llm_log)
        asked = scheduler or SlurmScheduler()
        yield Agent(run, journal, folding, asked, strategy, no_report, clock)


def no_report(run: RunDir, known: Knowledge) -> None:
    """The report belongs to the end of a run, and asks no scheduler."""


def real_clock() -> Clock:
    return Clock(lambda: datetime.now(UTC), time.monotonic, time.sleep)
