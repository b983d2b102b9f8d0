"""A tune run without jobs: the agent's events, and what would have been measured."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hpcagent.records import Config, Event, Limits, Message, Param, Ranking, Reply
from hpcagent.search.function_file import EXAMPLE, digest
from hpcagent.search.space import Space
from hpcagent.study.durable import utc_text
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.proposing import Proposer
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import TuneState, fold, proposal_to

FACTS = json.loads(
    (Path(__file__).parent / "fixtures/probe/recorded-debian12-node1-icelake.json").read_text()
)
SPACE = Space(
    (
        Param("x", "ordinal", tuple(map(str, range(7))), "5"),
        Param("n", "ordinal", ("1", "2", "4", "8", "16", "32"), "2", limit="upper"),
        Param("core", "categorical", ("auto", "ZEN", "HASWELL"), "auto"),
    ),
    ("core != 'ZEN' or x > 0",),
)
ROUNDS, CHALLENGERS, AHEAD = 5, 3, 2
BEGAN = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Scripted:
    """Picks a candidate of the menu, which one depends on the prompt; sometimes nonsense."""

    def complete(
        self, messages: Sequence[Message], schema: Mapping[str, Any], limits: Limits, seed: int
    ) -> Reply:
        menu = messages[1].text.partition("candidates:")[2].splitlines()
        rows = [line.partition(" -> ")[0] for line in menu if " -> " in line]
        pick = zlib.crc32(messages[-1].text.encode()) % (len(rows) + 1)
        if pick == len(rows):
            return Reply("nonsense")
        values = dict(part.split("=") for part in rows[pick].split())
        return Reply(json.dumps({"reason": "scripted", "config": values}))


class Ranker(Scripted):
    """Gives a reason and ranks, both by the prompt; sometimes it wants another configuration."""

    def complete(
        self, messages: Sequence[Message], schema: Mapping[str, Any], limits: Limits, seed: int
    ) -> Reply:
        properties = schema["properties"]["config"]["properties"]
        values = {n: part["enum"][seed % len(part["enum"])] for n, part in properties.items()}
        return Reply(json.dumps({"config": values}))

    def rank(
        self,
        messages: Sequence[Message],
        menu: Sequence[str],
        limits: Limits,
        reason: int = 0,
        seed: int = 0,
    ) -> Ranking:
        text = "".join(message.text for message in messages)
        rows = tuple(-1.0 - zlib.crc32(f"{entry}{text}".encode()) % 97 for entry in menu)
        return Ranking(rows, reason=f"scripted {zlib.crc32(text.encode())}")


def run_settings(strategy: str) -> TuneSettings:
    function = str(EXAMPLE) if strategy in ("user-function", "guided") else ""
    return TuneSettings(
        app="openblas", seed=7, scheduler="local", strategy=strategy, rounds=ROUNDS,
        challengers=CHALLENGERS, ahead=AHEAD, cores=2, function=function,
        function_sha256=digest(EXAMPLE) if function else "",
    )  # fmt: skip


def ratio(config: Config) -> float | None:
    """What is measured: a bowl, a good core type, and no memory beyond n=8."""
    v = config.values
    if int(v["n"]) > 8:
        return None
    bowl = 0.02 * (int(v["x"]) - 2) ** 2 - 0.1 * math.log2(int(v["n"]))
    return bowl - 0.05 * (v["core"] == "ZEN")


def runs_of(configs: Sequence[Config], index: int) -> list[dict[str, Any]]:
    rows = []
    for order, config in enumerate((SPACE.default, *configs)):
        value = ratio(config)
        for pair in range(1, 4):
            tremor = 0.002 * ((zlib.crc32(f"{config.id}{pair}{index}".encode()) % 100) / 50 - 1)
            if value is None:
                failed = {"status": "failed", "signal": 9, "message": "Killed"}
                rows.append({"config": config.id, "pair": 1, "order": order, **failed})
                break
            measured = {"status": "ok", "objective": value + tremor, "medians": {"k": 1.0}}
            rows.append({"config": config.id, "pair": pair, "order": order, **measured})
    return rows


class Simulated:
    """A run without jobs: its events, written as the agent would."""

    def __init__(
        self, strategy: str, events: Sequence[Event], log: Path, latest_first: bool = False,
        **chosen: Any,
    ) -> None:  # fmt: skip
        self.events = list(events)
        self._latest_first = latest_first
        self._known: Knowledge | None = None
        self._settings = replace(run_settings(strategy), **chosen)
        self._proposer = Proposer(self._settings, log)
        if not self.events:
            data = {"version": "1", "settings": self._settings.to_json()}
            self.write("run_opened", json.loads(json.dumps(data)))
            self.write("facts", {"unit": "", "raw": FACTS})

    def write(self, kind: str, data: Mapping[str, Any]) -> None:
        self.events.append(Event(len(self.events), self._now(), kind, json.loads(json.dumps(data))))

    def _now(self) -> str:
        return utc_text(BEGAN + timedelta(seconds=len(self.events)))

    def state(self) -> TuneState:
        return fold(self.events)

    def known(self) -> Knowledge:
        """From the one before, as the agent has it."""
        state = self.state()
        known = Knowledge(state) if self._known is None else self._known.after(state)
        vars(known).update({"unpruned": SPACE, "space": SPACE})
        self._known = known
        return known

    def to_the_end(self) -> list[Event]:
        while self.step():
            pass
        self._proposer.close()
        return self.events

    def step(self) -> bool:
        state = self.state()
        if "search_ended" in state.decisions:
            return self.finish_one(state)
        begun = {unit.purpose for unit in state.units}
        index = len(begun) + 1
        if len(state.open_units) == AHEAD or index > ROUNDS:
            return self.finish_one(state)
        if index not in state.proposed:
            proposals, stop = self._proposer.propose(self.known(), index, lambda call: None)
            if stop is not None and not proposals:
                self.write("decision", {"what": "search_ended", "reason": stop})
            else:
                rows = [proposal_to(proposal) for proposal in proposals]
                self.write("proposed", {"round": index, "proposals": rows})
            return True
        unit = {"unit": f"u{index}", "kind": "round", "purpose": f"round-{index}", "attempt": 1,
                "resources": {"walltime_s": 60}, "spec": {}}  # fmt: skip
        self.write("unit_intent", unit)
        return True

    def finish_one(self, state: TuneState) -> bool:
        if not state.open_units:
            return False
        unit = state.open_units[-1 if self._latest_first else 0]
        index = int(unit.purpose.removeprefix("round-"))
        configs = [proposal.config for proposal in state.proposed[index]]
        data = {"unit": unit.name, "state": "COMPLETED", "failure": None, "job_seconds": 1.0,
                "runs": runs_of(configs, index)}  # fmt: skip
        self.write("unit_result", data)
        return True
