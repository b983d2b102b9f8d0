"""What a language model adds to a run: its share of the time in which nothing is measured for it.

The batch system is pretended (tests/lab/slurm_counting.py): its jobs pass in real time on a node
that is not this one, and take no processor from the model. Agent, journal, strategy and llama.cpp
are the real ones; the model is made, of 59 million parameters. The first round cannot be proposed
before the machine is known: its call is told apart. With `--ahead 2` it has none, and the next
round is proposed while one is out. On the local queue the model computes between the rounds.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import finish, options, table, tell

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

WAIT_S, SPREAD = 0.5, 0.3


def main() -> None:
    chosen = options(
        __doc__,
        ("rounds", int, 6, "rounds of a run"),
        ("length", float, 60.0, "seconds that a round measures"),
        ("repeats", int, 2, "runs with each number of rounds ahead"),
    )
    rounds = 3 if chosen.quick else int(chosen.extra["rounds"])
    length_s = 5.0 if chosen.quick else float(chosen.extra["length"])
    rows = []
    with tempfile.TemporaryDirectory(prefix="hpcagent-bench-") as name:
        from tiny_gguf import MEASURED, make_tiny_gguf, many_words

        (Path(name) / "lock").mkdir()
        os.environ["HPCAGENT_NODE_LOCK"] = str(Path(name) / "lock")
        model = make_tiny_gguf(Path(name) / "made.gguf", words=many_words(), shape=MEASURED)
        for ahead in (1, 2) * (1 if chosen.quick else int(chosen.extra["repeats"])):
            rows.append(_run(Path(name) / str(len(rows)), model, rounds, length_s, ahead))
            tell(f"{ahead} ahead: {rows[-1]}")
    columns = {
        "ahead": "ahead", "calls": "calls", "took_s": "s of the run", "in_calls_s": "s in calls",
        "first_s": "with nothing out: first", "later_s": "later",
        "first_share": "first, % of the run", "later_share": "later, %",
    }  # fmt: skip
    table(tuple(columns.values()), [[row[key] for key in columns] for row in rows])
    finish(chosen, {"length_s": length_s, "runs": rows})


def _run(folder: Path, model: Path, rounds: int, length_s: float, ahead: int) -> dict[str, Any]:
    from lab import counted_tune
    from lab.slurm_counting import RealTime

    from hpcagent.study.journal import read_journal
    from hpcagent.study.proposing import Proposer

    folder.mkdir()
    clock = counted_tune.real_clock()
    path = os.environ["PATH"]
    with RealTime(folder / "slurm", counted_tune.end, counted_tune.begin) as cluster:
        os.environ["PATH"] = cluster.path
        cluster.plan(0.0, 0.5)
        settings = counted_tune.settings(
            strategy="model", model=str(model), rounds=rounds, ahead=ahead, challengers=4,
            poll_s=1.0, history="",
        )  # fmt: skip
        run = counted_tune.new_run(folder, clock, settings)
        with counted_tune.agent_of(run, clock, Proposer) as agent:
            while not (turn := agent.turn()).closed:
                if agent.state.done("feasibility") is not None:
                    cluster.plan(WAIT_S, length_s, SPREAD)
                if "search_ended" in agent.state.decisions:
                    break
                if turn.waiting:
                    time.sleep(0.05)
        os.environ["PATH"] = path
    return {
        "ahead": ahead,
        **_shares([(e.type, e.t_utc, e.data) for e in read_journal(run.journal)]),
    }


def _shares(events: Sequence[tuple[str, str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Of the time from the first proposal to the end of the last round."""
    from hpcagent.study.durable import parse_utc

    calls = [data for kind, _, data in events if kind == "llm_call"]
    first = next(at for kind, at, _ in events if kind == "proposed")
    last = [at for kind, at, _ in events if kind == "unit_result"][-1]
    # A round is journaled when the calls for it have been answered.
    before_s = sum(call["waited_s"] for call in calls if call["round"] == 1)
    took_s = (parse_utc(last) - parse_utc(first)).total_seconds() + before_s
    waited = [call for call in calls if not call["overlaps"]]
    first_s = sum(call["waited_s"] for call in waited if call["round"] == 1)
    later_s = sum(call["waited_s"] for call in waited if call["round"] > 1)
    return {
        "rounds": sum(kind == "proposed" for kind, _, _ in events),
        "calls": len(calls),
        "in_calls_s": sum(call["waited_s"] for call in calls),
        "took_s": took_s,
        "first_s": first_s,
        "later_s": later_s,
        "first_share": 100.0 * first_s / took_s,
        "later_share": 100.0 * later_s / took_s,
    }


if __name__ == "__main__":
    main()
