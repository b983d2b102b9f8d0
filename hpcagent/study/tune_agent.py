"""The agent of a tune run: what a turn of it does, and what it hands on to later runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpcagent.llm.progress import Tell
from hpcagent.llm.roles import RESULT
from hpcagent.measure.worker import NodeLock
from hpcagent.probe.embedded import embedded_library_path, install_embedded
from hpcagent.protocols import Scheduler
from hpcagent.records import JobState
from hpcagent.study import budget, history_recall, result_words, tune, units
from hpcagent.study.agent import RunAgent
from hpcagent.study.clock import SYSTEM, Clock
from hpcagent.study.collecting import Collected
from hpcagent.study.durable import utc_text
from hpcagent.study.journal import JournalWriter
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.outcome import summarise
from hpcagent.study.outcome_model import OVERLAPS, in_vain
from hpcagent.study.preparing import DECISION
from hpcagent.study.preparing import allowed as preparing_allowed
from hpcagent.study.proposing import Proposer
from hpcagent.study.rundir import RunDir
from hpcagent.study.state import Folding, Unit, proposal_to
from hpcagent.study.turn import Turn
from hpcagent.toolchain.stepruns import StepRun

INSTALL_TIMEOUT_S = 900.0


class Agent(RunAgent):
    """The agent of a tune run."""

    def __init__(
        self,
        run: RunDir,
        journal: JournalWriter,
        folding: Folding,
        scheduler: Scheduler,
        proposer: Proposer,
        publish: Callable[[RunDir, Knowledge], None],
        clock: Clock = SYSTEM,
    ) -> None:
        super().__init__(run, journal, folding, scheduler, publish, clock)
        self._proposer = proposer
        self._rounds_before = len(self.state.rounds)

    def tell_of_models(self, tell: Tell) -> None:
        self._proposer.tell = tell

    def leave(self) -> None:
        """Keep what was measured since the start for later runs, where the run has not ended."""
        if self.state.closed is None and len(self.state.rounds) > self._rounds_before:
            history_recall.kept(self._run.id, self.known, "")

    def _noted(self, close: tune.Close) -> dict[str, Any]:
        words = history_recall.kept(self._run.id, self.known, close.outcome)
        return {"history": words} if words else {}

    def _files(self, unit: Unit) -> dict[str, str]:
        known = None if self.state.facts is None else self.known
        plan = units.Plan(unit.kind, unit.purpose, unit.resources, unit.spec)
        return units.unit_files(known, plan, unit.name)

    def _advance(self) -> Turn:
        if self.state.facts is None and self._stays:
            self._proposer.begin()
        embedded = embedded_library_path() if self.state.facts is None else None
        step = tune.next_step(
            self.known,
            utc_text(self._clock.now()),
            str(embedded) if embedded and self._is_local else None,
            lambda unit: str(self._run.unit(unit.name)),
        )
        match step:
            case tune.Propose(index, spare_s):
                return self._propose(index, spare_s)
            case tune.Recall():
                data = history_recall.recalled(self._run.id, self.known)
                self._write("decision", {"what": history_recall.DECISION, **data})
                return Turn(str(data["reason"]))
            case tune.InstallEmbedded():
                path = embedded_library_path() or install_embedded(INSTALL_TIMEOUT_S)
                self._write("decision", {"what": "embedded", "path": str(path)})
                return Turn("packaged OpenBLAS installed")
            case tune.Submit(plan) if (there := self._found(plan)) is not None:
                return self._take_found(plan, there)
            case tune.Wait() if self._may_prepare():
                return self._prepare(step)
            case tune.Close() if self._to_be_worded(step):
                return self._word(step)
        return self._follow(step)

    @property
    def _is_local(self) -> bool:
        return self.state.settings.scheduler == "local"

    def _found(self, plan: units.Plan) -> StepRun | None:
        """A build that is there already, where the node sees the same files as this process."""
        if self.state.facts is None or self.known.variants is None:
            return None
        store = Path(self.known.variants.store)
        seen = self._is_local or _same_file_system(store, self._run.path)
        return units.already_built(self.known, plan) if seen else None

    def _take_found(self, plan: units.Plan, there: StepRun) -> Turn:
        """No job is waited for in a queue to find out what can be seen from here."""
        name = self._intend(plan)
        [unit] = [unit for unit in self.state.open_units if unit.name == name]
        self._end_unit(unit, Collected(JobState.COMPLETED, None, ran_s=0.0, steps=(there,)))
        return Turn(f"{plan.purpose}: found in the store")

    def _to_be_worded(self, close: tune.Close) -> bool:
        done = close.outcome in ("improved", "nothing better")
        there = result_words.DECISION in self.state.decisions
        return done and not there and self._proposer.models.has(RESULT)

    def _word(self, close: tune.Close) -> Turn:
        """Let a model word the result, as it will be when the run is closed."""
        if not self._proposer.models.computes_here(RESULT):
            return self._worded(close)
        return self._alone("the report", lambda: self._worded(close))

    def _worded(self, close: tune.Close) -> Turn:
        closed = {"outcome": close.outcome, "text": close.text, "exit_code": close.exit_code}
        summary = summarise(self._run, self.known.after(replace(self.state, closed=closed)))
        models, seed = self._proposer.models, self.state.settings.seed
        data = result_words.worded(
            models, summary, seed, lambda call: self._note_call(self._proposer.logged(call))
        )
        self._write("decision", {"what": result_words.DECISION, **data})
        return Turn(str(data.get("note", "the model worded the result")))

    def _propose(self, index: int, spare_s: float) -> Turn:
        if not (self._proposer.takes_part(index) and self._proposer.asks_a_model):
            return self._proposed(index, spare_s)
        return self._alone(f"round {index}", lambda: self._proposed(index, spare_s))

    def _may_prepare(self) -> bool:
        known = self.state.facts is not None and self.known.tunable
        return (
            known
            and self._stays
            and DECISION not in self.state.decisions
            and preparing_allowed(self.state)
            and self._proposer.may_prepare
        )

    def _prepare(self, wait: tune.Wait) -> Turn:
        """A model may compute beside a build, and not beside what measures here."""
        node = NodeLock(shared=True, wait_s=0.0, unit="a language model")
        if not node.at_once():
            return self._follow(wait)
        try:
            now_utc = utc_text(self._clock.now())
            spare_s = budget.spare_s(self.state, budget.Need(0.0, 0.0), now_utc)
            data = self._proposer.prepare(self.known, spare_s)
        finally:
            node.let_go()
        if data is None:
            return self._follow(wait)
        self._write("decision", {"what": DECISION, **data})
        return Turn(_told(DECISION, data))

    def _alone(self, what: str, turn: Callable[[], Turn]) -> Turn:
        """A model computes only with this node to itself: it would disturb what is measured here,
        be it of another run or of a batch system whose node this is."""
        node = NodeLock(shared=False, wait_s=0.0, unit="a language model")
        if not node.at_once():
            words = f"{what}: the model waits for {node.waited_for} to leave this node"
            return Turn(words, waiting=True)
        try:
            return turn()
        finally:
            node.let_go()

    def _proposed(self, index: int, spare_s: float) -> Turn:
        proposals, stop = self._proposer.propose(self.known, index, self._note_call, spare_s)
        told = ""
        for what, data in self._proposer.decisions.items():
            if what not in self.state.decisions:
                self._write("decision", {"what": what, **data})
                told += f"; {_told(what, data)}" if _told(what, data) else ""
        again = index in self.state.proposed
        if stop is not None and not proposals and not self.known.measurable(index):
            self._write("decision", {"what": "search_ended", "reason": stop})
            return Turn(f"search ended: {stop}")
        vain = in_vain(self.state, index)
        told += f"; {vain}" if vain else ""
        rows = [proposal_to(proposal) for proposal in proposals]
        more = {"again": True} if again else {}
        self._write("proposed", {"round": index, "proposals": rows, **more})
        noun = "configuration" if len(rows) == 1 else "configurations"
        instead = " instead of others" if again else ""
        return Turn(f"round {index}: {len(rows)} {noun} proposed{instead}{told}")

    def _note_call(self, call: Mapping[str, Any]) -> None:
        overlaps = any(unit.job_id for unit in self.state.open_units)
        self._write("llm_call", {**call, OVERLAPS: overlaps})


def _same_file_system(one: Path, other: Path) -> bool:
    """Runs are where nodes see them; so is then what lies on the same file system."""
    try:
        return one.stat().st_dev == other.stat().st_dev
    except OSError:
        return False


def _told(what: str, data: Mapping[str, Any]) -> str:
    """A decision about who proposes, in words for a log line."""
    if what == DECISION:
        read = f"the model was loaded and has read {data.get('tokens')} tokens ahead"
        return f"the model is not ready: {data['note']}" if "note" in data else read
    if what == "model_device":
        return f"the model is on the {data['device']}"
    if what == "function":
        return f"the function's file changed: {data['reason']}"
    if what.startswith("function-"):
        return f"the user's function: {data['reason']}"
    return ""
