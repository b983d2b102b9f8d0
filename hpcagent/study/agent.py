"""One turn of a tune run, and the loop that repeats it.

A turn reads the inbox, looks at the open unit, or does the one next thing. Everything that must
survive is journaled before it is acted on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hpcagent.errors import RunFailed, SchedulerRefused
from hpcagent.probe.embedded import embedded_library_path, install_embedded
from hpcagent.protocols import Scheduler
from hpcagent.records import Ambiguous, Event, Failure, JobState, Refused
from hpcagent.study import desk, inbox, tune, units
from hpcagent.study.durable import parse_utc, utc_now, utc_text
from hpcagent.study.journal import JournalWriter
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.proposing import Proposer
from hpcagent.study.rundir import RunDir, unit_name
from hpcagent.study.state import TuneState, Unit, apply, fold, proposal_to

INSTALL_TIMEOUT_S = 900.0
# Between looks at a unit that is out: quick at first, then a guest's pace.
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0


@dataclass(frozen=True)
class Turn:
    """What a turn did, in words for a log line; `waiting` for a job, or `closed` for good."""

    words: str
    waiting: bool = False
    closed: bool = False


class Agent:
    """The one writer of a run. Make it with the run's lease held."""

    def __init__(
        self,
        run: RunDir,
        journal: JournalWriter,
        scheduler: Scheduler,
        proposer: Proposer,
        publish: Callable[[RunDir, Knowledge], None],
    ) -> None:
        self._run = run
        self._journal = journal
        self._scheduler = scheduler
        self._proposer = proposer
        self._state = fold(journal.events)
        self._publish = publish
        self._known = Knowledge(self._state)
        self._own: set[str] = set()
        self._stop_asked = False
        self._first_look = True

    @property
    def state(self) -> TuneState:
        return self._state

    @property
    def known(self) -> Knowledge:
        """The knowledge that follows from the state."""
        if self._known.state is not self._state:
            self._known = self._known.after(self._state)
        return self._known

    def turn(self) -> Turn:
        """Do one thing. Raises SchedulerRefused, EnvironmentProblem, Fenced."""
        if self._state.closed is not None:
            return Turn("the run is closed", closed=True)
        requests = inbox.pending(self._run.path, self._note_bad_request)
        first_look, self._first_look = self._first_look, False
        # A cancellation is not kept waiting behind other requests.
        for request in sorted(requests, key=lambda r: r.type != "cancel"):
            done = self._serve(request, stale=first_look)
            if done is not None:
                return done
        unit = self._state.open_unit
        if unit is not None:
            return self._tend(unit)
        return self._advance()

    def run(self, notify: Callable[[TuneState, Turn], None], until_waiting: bool) -> Turn:
        """Repeat turns until the run is closed, a stop is asked for, or a job must be waited for.

        `until_waiting` ends at the first wait (`hpcagent step`); else the wait is slept through.
        """
        pause = FIRST_PAUSE_S
        while True:
            turn = self.turn()
            notify(self._state, turn)
            if turn.closed or (turn.waiting and until_waiting) or self._stop_asked:
                return turn
            if turn.waiting:
                time.sleep(pause)
                pause = min(LONGEST_PAUSE_S, pause * 1.3)
            else:
                pause = FIRST_PAUSE_S

    # --- requests from other processes ---------------------------------------------------------

    def _serve(self, request: inbox.Request, stale: bool) -> Turn | None:
        """Serve a request; a stop that is `stale` was meant for an agent that is gone."""
        served = any(advice.get("request") == request.id for advice in self._state.advice)
        if not served:
            self._write("advice", {"request": request.id, "type": request.type, **request.data})
        if request.type == "cancel":
            self.cancel("cancelled on request")
        inbox.consume(request)
        if request.type == "cancel":
            return Turn("cancelled", closed=True)
        if request.type == "stop" and not stale:
            self._stop_asked = True
            return Turn("stopped on request")
        return None

    def _note_bad_request(self, failure: Failure) -> None:
        self._write("advice", {"request": "", "type": "bad", "text": failure.evidence})

    def cancel(self, words: str) -> None:
        """Cancel the unit that is out and close the run."""
        unit = self._state.open_unit
        if unit is not None:
            ids = [unit.job_id] if unit.job_id else self._scheduler.find(unit.name)
            self._scheduler.cancel(ids)
            failure = Failure("scheduler", "cancelled", words)
            gone = desk.Collected(JobState.CANCELLED, failure)
            self._write("unit_result", gone.to_json(unit, self._job_seconds(unit)))
        self._close(tune.Close("cancelled", words, 0))

    # --- the unit that is out ------------------------------------------------------------------

    def _tend(self, unit: Unit) -> Turn:
        if not unit.job_id:
            return self._submit(unit)
        seen = desk.look(self._scheduler, self._run, unit, utc_now())
        if seen.collected is None:
            if seen.state is not unit.job_state or seen.word != unit.word:
                data = {"unit": unit.name, "state": seen.state.value, "word": seen.word}
                self._write("unit_state", data)
            why = f" ({seen.reason})" if seen.reason else ""
            return Turn(f"{unit.purpose}: {seen.word.lower()}{why}", waiting=True)
        facts = seen.collected.facts
        if facts is not None and facts != self._state.facts:
            self._write("facts", {"unit": unit.name, "raw": facts})
        self._write("unit_result", seen.collected.to_json(unit, self._job_seconds(unit)))
        failure = seen.collected.failure
        return Turn(f"{unit.purpose}: {'done' if failure is None else failure.id}")

    def _submit(self, unit: Unit) -> Turn:
        settings = self._state.settings
        plan = units.Plan(unit.kind, unit.purpose, unit.resources, unit.spec)
        known = None if self._state.facts is None else self.known
        folder = self._run.unit(unit.name)
        files = units.unit_files(
            known, plan, unit.name, folder, self._scheduler, settings.python, settings.prologue
        )
        desk.write_files(self._run.make_unit(unit.name), files)
        may_exist = unit.name not in self._own
        answer = desk.adopt_or_submit(self._scheduler, unit, folder, may_exist)
        if isinstance(answer, Refused):
            failure = Failure("scheduler", "refused", answer.words)
            refused = desk.Collected(JobState.FAILED, failure)
            self._write("unit_result", refused.to_json(unit, 0.0))
            raise SchedulerRefused(f"{settings.scheduler} refused {unit.purpose}: {answer.words}")
        if isinstance(answer, Ambiguous):
            self._own.discard(unit.name)
            return Turn(f"{unit.purpose}: not known whether it was submitted", waiting=True)
        self._write("unit_submitted", {"unit": unit.name, "job_id": answer.job_id})
        return Turn(f"{unit.purpose}: submitted as job {answer.job_id}", waiting=True)

    def _job_seconds(self, unit: Unit) -> float:
        if not unit.submitted_utc:
            return 0.0
        return max(0.0, (utc_now() - parse_utc(unit.submitted_utc)).total_seconds())

    # --- the next thing ------------------------------------------------------------------------

    def _advance(self) -> Turn:
        embedded = embedded_library_path() if self._state.facts is None else None
        local = self._state.settings.scheduler == "local"
        step = tune.next_step(
            self.known,
            utc_text(utc_now()),
            str(embedded) if embedded and local else None,
            lambda unit: str(self._run.unit(unit.name)),
        )
        match step:
            case tune.Submit(plan):
                return self._open(plan)
            case tune.Propose(index):
                return self._propose(index)
            case tune.InstallEmbedded():
                path = embedded_library_path() or install_embedded(INSTALL_TIMEOUT_S)
                self._write("decision", {"what": "embedded", "path": str(path)})
                return Turn("packaged OpenBLAS installed")
            case tune.Decide(what, data):
                self._write("decision", {"what": what, **data})
                return Turn(f"{what}: {data.get('reason', '')}")
            case tune.Close():
                self._close(step)
                return Turn(step.text, closed=True)

    def _open(self, plan: units.Plan) -> Turn:
        attempt = len(self._state.attempts(plan.purpose)) + 1
        name = unit_name(self._run.id, len(self._state.units) + 1)
        self._own.add(name)
        data = {
            "unit": name,
            "kind": plan.kind,
            "purpose": plan.purpose,
            "attempt": attempt,
            "resources": plan.resources.__dict__,
            "spec": plan.spec,
        }
        self._write("unit_intent", data)
        return Turn(f"{plan.purpose}: prepared")

    def _propose(self, index: int) -> Turn:
        proposals, stop = self._proposer.propose(self.known, index, self._note_call)
        note = self._proposer.without_model
        if note and "model" not in self._state.decisions:
            self._write("decision", {"what": "model", "note": note})
        if stop is not None and not proposals:
            self._write("decision", {"what": "search_ended", "reason": stop})
            return Turn(f"search ended: {stop}")
        rows = [proposal_to(proposal) for proposal in proposals]
        self._write("proposed", {"round": index, "proposals": rows})
        return Turn(f"round {index}: {len(rows)} configurations proposed")

    def _note_call(self, call: Mapping[str, Any]) -> None:
        self._write("llm_call", call)

    def _close(self, close: tune.Close) -> None:
        """Write the result files first: a run that says it is closed has its results."""
        data = {"outcome": close.outcome, "text": close.text, "exit_code": close.exit_code}
        ended = replace(self._state, closed=data, closed_utc=utc_text(utc_now()))
        self._publish(self._run, self.known.after(ended))
        self._write("run_closed", data)

    def _write(self, kind: str, data: Mapping[str, Any]) -> Event:
        event = self._journal.append(kind, data)
        self._state = replace(apply(self._state, event), last_utc=event.t_utc)
        return event


def exit_code(state: TuneState) -> int:
    """The documented exit code of a closed run."""
    if state.closed is None:
        raise RunFailed("the run is not closed")
    return int(state.closed["exit_code"])
