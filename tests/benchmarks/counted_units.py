"""hpcagent on the pretended Slurm; scheduler_calls.py starts this, each measure in a process.

`calls FOLDER TRIALS AHEAD PACK STEP WAIT LENGTH SPREAD`, `latency FOLDER ROUNDS WAIT LENGTH SPREAD`
and `many FOLDER UNITS OUT` print one JSON object.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[n]) for n in (2, 1)]

from lab import counted_tune, slurm_counting  # noqa: E402
from lab.slurm_counting import BEGIN, RealTime, Simulated  # noqa: E402

from hpcagent.records import Event  # noqa: E402
from hpcagent.study.durable import json_bytes  # noqa: E402
from hpcagent.study.journal import VERSION, read_journal  # noqa: E402
from hpcagent.study.rundir import RunDir, unit_name  # noqa: E402
from hpcagent.study.state import TuneState  # noqa: E402
from hpcagent.study.tune_agent import Agent  # noqa: E402
from hpcagent.study.turn import Turn  # noqa: E402

TEMPLATES = 40
CHALLENGERS = 4


def calls(
    folder: Path, trials: int, ahead: int, pack: int, step_s: float, plan: Sequence[float]
) -> dict[str, Any]:
    cluster = Simulated(folder / "slurm", counted_tune.end, counted_tune.begin, step_s)
    os.environ["PATH"] = cluster.path
    wait_s, length_s, spread = plan
    cluster.plan(wait_s, pack * length_s, spread)
    clock = counted_tune.clock_of(cluster)
    chosen = counted_tune.settings(rounds=trials, ahead=ahead, pack=pack)
    run = counted_tune.new_run(folder / "runs", clock, chosen)
    with counted_tune.agent_of(run, clock) as agent:
        agent.run(_say_nothing, until_waiting=False)
        measured = len(agent.state.rounds)
    assert measured == trials, f"{measured} rounds: {agent.state.closed}"
    return {"counts": cluster.counts(), "hours": (cluster.now() - BEGIN) / 3600}


def latency(folder: Path, rounds: int, plan: tuple[float, ...]) -> dict[str, Any]:
    """Jobs of the search only, after one that waits for numpy to be imported."""
    with RealTime(folder / "slurm", counted_tune.end, counted_tune.begin) as cluster:
        os.environ["PATH"] = cluster.path
        cluster.plan(0.2, 0.2)
        clock = counted_tune.real_clock()
        chosen = counted_tune.settings(rounds=rounds + 2, repeat_s=1.0)
        run = counted_tune.new_run(folder / "runs", clock, chosen)

        def watch(state: TuneState, turn: Turn) -> None:
            out = [unit.purpose for unit in state.open_units if unit.job_id]
            if out == ["round-1"]:
                cluster.plan(*plan)

        with counted_tune.agent_of(run, clock) as agent:
            agent.run(watch, until_waiting=False)
        return {"latencies": cluster.latencies()[-rounds - 2 : -2]}


def _say_nothing(state: TuneState, turn: Turn) -> None:
    """Nobody watches."""


# --- many units -----------------------------------------------------------------------------------


def many(folder: Path, count: int, out: int) -> dict[str, Any]:
    """A journal of `count` units, the last `out` of which are out, and turns of its agent."""
    cluster = Simulated(folder / "slurm", counted_tune.end, counted_tune.begin)
    os.environ["PATH"] = cluster.path
    cluster.plan(10.0, 60.0)
    clock = counted_tune.clock_of(cluster)
    chosen = counted_tune.settings(
        rounds=10 * count, ahead=out, challengers=CHALLENGERS, repeat_s=1.0
    )
    run = counted_tune.new_run(folder / "runs", clock, replace(chosen, ahead=1))
    with counted_tune.agent_of(run, clock) as agent:
        while len(agent.state.rounds) < TEMPLATES:
            if agent.turn().waiting:
                clock.sleep(5.0)
    cluster = Simulated(folder / "later", counted_tune.end, counted_tune.begin)
    os.environ["PATH"] = cluster.path
    cluster.plan(10.0, 60.0)
    _grow(run, cluster, chosen, count, out)
    return _figures(run, cluster, out)


def _grow(run: RunDir, cluster: Simulated, chosen: Any, count: int, out: int) -> None:
    """Repeat the rounds of the journal under new names; the last ones have not ended."""
    events = list(read_journal(run.journal))
    rounds = list(_rounds(events))
    head = [event for event in events if event.seq < rounds[0][0].seq]
    opened = {**head[0].data, "settings": chosen.to_json()}
    head[0] = replace(head[0], data=opened)
    prepared = sum(event.type == "unit_intent" for event in head)
    rows = []
    with run.journal.open("wb") as stream:
        number = 0
        for event in head:
            number = _put(stream, number, event, event.data)
        for index in range(1, count - prepared + 1):
            name, job = unit_name(run.id, prepared + index), str(10_000 + index)
            ended = index <= count - prepared - out
            for event in rounds[index % len(rounds)]:
                if ended or event.type != "unit_result":
                    number = _put(stream, number, event, _renamed(event, index, name, job))
            if not ended:
                folder = run.make_unit(name)
                (folder / "job.sh").write_text(f"cd {folder}\n")
                rows.append(f"{job}\t{name}\t{BEGIN}\t{BEGIN}\t9e9\t{folder}/job.sh\tRUNNING\n")
    (cluster.folder / "jobs").write_text("".join(rows))


def _rounds(events: Sequence[Event]) -> Iterator[list[Event]]:
    """The events of each round that has ended, its proposals first."""
    for end in events:
        if end.type != "unit_result":
            continue
        unit = end.data["unit"]
        own = [event for event in events if event.data.get("unit") == unit]
        purpose = str(own[0].data["purpose"])
        if purpose.startswith("round-"):
            index = int(purpose.removeprefix("round-"))
            proposed = [e for e in events if e.type == "proposed" and e.data["round"] == index]
            yield [*proposed, *own]


def _renamed(event: Event, index: int, name: str, job: str) -> dict[str, Any]:
    data = {**event.data, "unit": name} if "unit" in event.data else {**event.data}
    if event.type == "proposed":
        data["round"] = index
    if event.type == "unit_intent":
        data |= {"purpose": f"round-{index}", "spec": {**event.data["spec"], "round": index}}
    if event.type == "unit_submitted":
        data["job_id"] = job
    return data


def _put(stream: Any, number: int, event: Event, data: Mapping[str, Any]) -> int:
    line = {"v": VERSION, "seq": number + 1, "t_utc": event.t_utc, "type": event.type}
    stream.write(json_bytes({**line, "data": data}))
    return number + 1


def _figures(run: RunDir, cluster: Simulated, out: int) -> dict[str, Any]:
    found: dict[str, Any] = {"journal_mb": run.journal.stat().st_size / 1e6}
    for command in ("status", "step"):
        found |= _command(run, command)
    clock = counted_tune.clock_of(cluster)
    begun = _cpu_s()
    with counted_tune.agent_of(run, clock) as agent:
        found["open_cpu_s"] = _cpu_s() - begun
        found["resident_mb"] = _resident_mb()
        found |= _turns(run, agent, cluster, out)
    return found


def _command(run: RunDir, name: str) -> dict[str, float]:
    """CPU seconds and peak memory of a command, from its start to its end."""
    argv = [sys.executable, "-m", "hpcagent", name, str(run.path)]
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, f"{name} ended with {child.returncode}"
    spent_s = usage.ru_utime + usage.ru_stime
    return {f"{name}_cpu_s": spent_s, f"{name}_peak_mb": usage.ru_maxrss * 1024 / 1e6}


def _turns(run: RunDir, agent: Agent, cluster: Simulated, out: int) -> dict[str, float]:
    found = {"first_query_cpu_ms": _timed(agent.turn)}
    cluster.sleep(3600.0)
    found["query_cpu_ms"] = _timed(agent.turn)
    found["wait_cpu_ms"] = statistics.median(_timed(agent.turn) for _ in range(10))
    unit = agent.state.open_units[0]
    folder = run.unit(unit.name)
    (folder / "spec.json").write_text(json.dumps(unit.spec))
    job = next(
        job for job in slurm_counting.commands.jobs_in(str(cluster.folder)) if job.id == unit.job_id
    )
    job.end = cluster.now()
    counted_tune.end(job)
    found["collect_cpu_ms"] = _timed(agent.turn)
    for step in ("propose_cpu_ms", "intent_cpu_ms", "submit_cpu_ms"):
        found[step] = _timed(agent.turn)
    assert len(agent.state.open_units) == out
    return found


def _timed(act: Callable[[], object]) -> float:
    begun = _cpu_s()
    act()
    return 1e3 * (_cpu_s() - begun)


def _cpu_s() -> float:
    """Processor time of this process and of those it has started: other people's load is not in."""
    spent = os.times()
    return time.process_time() + spent.children_user + spent.children_system


def _resident_mb() -> float:
    text = Path("/proc/self/statm").read_text(encoding="ascii")
    return int(text.split()[1]) * resource.getpagesize() / 1e6


def main() -> None:
    what, folder, *words = sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]
    if what == "calls":
        trials, ahead, pack, step_s, *rest = words
        plan = [float(word) for word in rest]
        found = calls(folder, int(trials), int(ahead), int(pack), float(step_s), plan)
    elif what == "latency":
        found = latency(folder, int(words[0]), tuple(float(word) for word in words[1:]))
    else:
        found = many(folder, int(words[0]), int(words[1]))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
