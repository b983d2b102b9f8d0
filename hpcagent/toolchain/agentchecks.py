"""What an agent needs of a node and a site: steps that run in the unit, and what their words mean.

`agent_steps` asks on the node; `judge_agent` looks at the answers and at what the login node knows
of accounts and queues. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcagent.probe.filesystems import is_shared, mount_of, parse_mountinfo
from hpcagent.records import Queue
from hpcagent.toolchain.causes import error_line
from hpcagent.toolchain.readback import Readback, parse_readback

OK, DOUBTFUL, FAILED = "ok", "doubtful", "failed"
LOOK, SUBMIT, QUOTA = "agent.look", "agent.submit", "agent.quota"
OLDEST_PYTHON = (3, 6)
_LOOK_S, _SUBMIT_S = 30, 30
# The lease of a run is taken over after ten heartbeats that were missed; clocks must agree better.
_SKEW_S = 5.0
_LEAST_BYTES = 1024**3
_LEAST_FILES = 10_000


@dataclass(frozen=True)
class AgentAsks:
    """What jobs of the agent ask for, and where it was asked: `login_host`, at `asked_at` and
    `seen_at` (seconds since 1970 by its clock; 0: not known) before and after the unit."""

    scheduler: str
    partition: str | None = None
    account: str | None = None
    walltime_s: int = 0
    login_host: str = ""
    asked_at: float = 0.0
    seen_at: float = 0.0


@dataclass(frozen=True)
class Site:
    """What the login node was told of queues and accounts, or why it knows nothing of these."""

    queues: tuple[Queue, ...] = ()
    accounts: tuple[str, ...] = ()
    accounts_missing: str = ""


@dataclass(frozen=True)
class AgentCheck:
    """One thing that an agent needs; `cure` is empty where it is ok."""

    what: str
    status: str
    words: str
    cure: str = ""


def agent_steps(asks: AgentAsks) -> list[dict[str, Any]]:
    """Steps for the spec of a unit; nothing is submitted by them."""
    steps = [_step(LOOK, ["python3", "agentlook.py"], _LOOK_S)]
    steps.append(_step(QUOTA, ["quota", "-w"], _LOOK_S))
    words = _trial(asks)
    return [*steps, _step(SUBMIT, words, _SUBMIT_S)] if words else steps


def agent_files() -> dict[str, str]:
    path = Path(__file__).parent / "agentlook.py"
    return {"agentlook.py": path.read_text(encoding="utf-8")}


def _step(id_: str, argv: list[str], limit_s: int) -> dict[str, Any]:
    return {"id": id_, "argv": argv, "timeout_s": limit_s, "keep_bytes": 20000}


def _trial(asks: AgentAsks) -> list[str]:
    """A submission that queues nothing; PBS has none, so its server is asked instead."""
    if asks.scheduler == "slurm":
        words = ["sbatch", "--test-only", "--ntasks=1", "--time=1"]
        words += [f"--partition={asks.partition}"] if asks.partition else []
        words += [f"--account={asks.account}"] if asks.account else []
        return [*words, "--wrap=true"]
    return ["qstat", "-B"] if asks.scheduler == "pbs" else []


# --- what the answers mean -----------------------------------------------------------------------


def judge_agent(
    asks: AgentAsks, results: Iterable[Mapping[str, Any]], site: Site | None = None
) -> tuple[AgentCheck, ...]:
    """Every check, in a fixed order; of what was not asked there is none."""
    lines = {str(line.get("step")): line for line in results}
    found: list[AgentCheck | None] = []
    look = lines.get(LOOK)
    if look is not None:
        readback = parse_readback(str(look.get("output") or ""))
        found += [_python(look, readback), *(c(asks, readback) for c in _LOOKED)]
    found.append(_quota(lines[QUOTA]) if QUOTA in lines else None)
    found.append(_submission(asks, lines[SUBMIT]) if SUBMIT in lines else None)
    found += list(_of_site(asks, site)) if site is not None else []
    return tuple(check for check in found if check is not None)


def _python(line: Mapping[str, Any], readback: Readback) -> AgentCheck:
    version = readback.first("python")
    numbers = tuple(int(n) for n in re.findall(r"[0-9]+", version)[:2])
    if not version:
        told = error_line(str(line.get("output") or "")) or str(line.get("message") or "no answer")
        cure = "set `python` to a python3 of 3.6 or newer that the nodes have"
        return AgentCheck("python3", FAILED, told, cure)
    if numbers < OLDEST_PYTHON:
        cure = "set `python` to a python3 of 3.6 or newer that the nodes have"
        return AgentCheck("python3", FAILED, f"it is version {version}", cure)
    return AgentCheck("python3", OK, f"version {version}")


def _folder(asks: AgentAsks, readback: Readback) -> AgentCheck | None:
    """The folder of runs, as the node sees it."""
    path = readback.first("folder")
    mount = mount_of(path, parse_mountinfo("\n".join(readback.values.get("mount", ()))))
    elsewhere = asks.login_host not in ("", readback.first("host"))
    if not path:
        return None
    where = f"{path} is on {mount.kind} ({mount.point})" if mount else path
    cure = "set `runs` to a folder of a file system that login and compute nodes share"
    if mount is not None and elsewhere and is_shared(mount.kind) is False:
        told = f"{where}, which is {readback.first('host')}'s own"
        return AgentCheck("shared folder", DOUBTFUL, told, cure)
    broken = [key for key in ("rename", "lock") if readback.first(key) not in ("", "ok")]
    if broken:
        told = f"{where}: {broken[0]} there: {readback.first(broken[0])}"
        return AgentCheck("shared folder", FAILED if "rename" in broken else DOUBTFUL, told, cure)
    return AgentCheck("shared folder", OK, where)


def _clock(asks: AgentAsks, readback: Readback) -> AgentCheck | None:
    """The node's clock against the login node's, and against the file server's."""
    node, file_ = _number(readback.first("clock")), _number(readback.first("file_clock"))
    if node is None:
        return None
    cure = "tell the administrators: chronyd or ntpd does not keep the clocks together"
    if asks.asked_at and node < asks.asked_at - _SKEW_S:
        told = f"{readback.first('host')} is {asks.asked_at - node:.0f} s or more behind"
        return AgentCheck("clock", DOUBTFUL, f"{told} {asks.login_host}", cure)
    if asks.seen_at and node > asks.seen_at + _SKEW_S:
        told = f"{readback.first('host')} is {node - asks.seen_at:.0f} s or more ahead of"
        return AgentCheck("clock", DOUBTFUL, f"{told} {asks.login_host}", cure)
    if file_ is not None and abs(file_) > _SKEW_S:
        way = "ahead of" if file_ > 0 else "behind"
        told = f"the file system's clock is {abs(file_):.0f} s {way} {readback.first('host')}'s"
        return AgentCheck("clock", DOUBTFUL, told, cure)
    others = ["the file system's"] if file_ is not None else []
    others += [f"{asks.login_host}'s"] if asks.seen_at and asks.login_host else []
    known = f"it agrees with {' and '.join(others)}" if others else "it could not be compared"
    return AgentCheck("clock", OK, known)


def _space(asks: AgentAsks, readback: Readback) -> AgentCheck | None:
    words = readback.first("space").split()
    if len(words) != 2 or not all(re.fullmatch(r"-?[0-9]{1,25}", word) for word in words):
        return None
    free, files = int(words[0]), int(words[1])
    told = f"{free / 1024**3:.1f} GiB free" + (f", {files} files" if files >= 0 else "")
    if free < _LEAST_BYTES or 0 <= files < _LEAST_FILES:
        return AgentCheck("space", DOUBTFUL, told, "make room, or set `runs` to another folder")
    return AgentCheck("space", OK, told)


_LOOKED: tuple[Callable[[AgentAsks, Readback], AgentCheck | None], ...] = (_folder, _clock, _space)


def _quota(line: Mapping[str, Any]) -> AgentCheck | None:
    """quota(1) marks what is over its limit with an asterisk; without it nothing is said."""
    output = str(line.get("output") or "")
    over = re.search(r"^\s*(\S+)\s+.*?[0-9]+\*.*$", output, re.MULTILINE)
    if over is not None:
        told = " ".join(over[0].split())
        return AgentCheck("quota", FAILED, told, "make room: jobs cannot write what they measure")
    if line.get("status") == "ok":
        return AgentCheck("quota", OK, "no quota is exceeded")
    return None


def _submission(asks: AgentAsks, line: Mapping[str, Any]) -> AgentCheck:
    output = str(line.get("output") or "")
    command = "sbatch" if asks.scheduler == "slurm" else "qstat"
    if line.get("status") == "ok":
        told = "a job would be taken" if asks.scheduler == "slurm" else "the server answers"
        return AgentCheck("submission", OK, f"from this node {told}")
    if line.get("status") == "unstartable":
        told = f"there is no {command} on this node"
        cure = "run the agent on the login node (hpcagent step from cron or scrontab), not as a job"
        return AgentCheck("submission", FAILED, told, cure)
    told = error_line(output) or str(line.get("message") or "no answer")
    cure = f"see {command}'s words; where nodes may not submit, run the agent on the login node"
    return AgentCheck("submission", FAILED, told, cure)


# --- what the login node knows -------------------------------------------------------------------


def _of_site(asks: AgentAsks, site: Site) -> Iterator[AgentCheck]:
    account = asks.account
    if account and site.accounts and account.lower() not in site.accounts:
        told = f"you may not charge {account}; there are: {', '.join(site.accounts)}"
        yield AgentCheck("account", FAILED, told, "set `account` to one of these")
    elif account and site.accounts:
        yield AgentCheck("account", OK, account)
    elif account:
        why = site.accounts_missing or f"{asks.scheduler} cannot be asked for accounts"
        yield AgentCheck(
            "account", DOUBTFUL, f"{account} could not be tested: {why}", "ask the site"
        )
    queue = _queue(asks, site)
    if queue is not None:
        yield _limit(asks, queue)


def _queue(asks: AgentAsks, site: Site) -> Queue | None:
    named = (queue for queue in site.queues if queue.name == asks.partition)
    return next(named, None) or next(
        (queue for queue in site.queues if queue.default and asks.partition is None), None
    )


def _limit(asks: AgentAsks, queue: Queue) -> AgentCheck:
    if not queue.available:
        told = f"{queue.name} takes no jobs now: {queue.why_not}"
        return AgentCheck("time limit", FAILED, told, "choose another partition")
    limit_s = queue.max_walltime_s
    if limit_s is None:
        return AgentCheck("time limit", OK, f"{queue.name} has none")
    if asks.walltime_s > limit_s:
        told = f"{queue.name} allows {limit_s // 60} min, {asks.walltime_s // 60} are asked for"
        return AgentCheck("time limit", FAILED, told, "ask for less, or choose another partition")
    return AgentCheck("time limit", OK, f"{queue.name} allows {limit_s // 60} min")


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,9})?", text) else None
