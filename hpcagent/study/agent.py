"""One turn of a run of any kind, and the loop that repeats it.

A turn reads the inbox, looks at the open unit, or does the one next thing. Everything that must
survive is journaled before it is acted on.
"""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from hpcagent.errors import RunFailed, SchedulerRefused, SchedulerUnreachable
from hpcagent.llm.progress import Tell
from hpcagent.protocols import Scheduler
from hpcagent.records import Event, Failure, JobState, Refused
from hpcagent.study import budget, inbox, packs, tune, units
from hpcagent.study.asking import as_it_can_be
from hpcagent.study.clock import SYSTEM, Clock
from hpcagent.study.collecting import Collected
from hpcagent.study.desk import Desk, Patience
from hpcagent.study.durable import utc_text
from hpcagent.study.journal import JournalWriter
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.ledger import Ledger
from hpcagent.study.packs import Pack
from hpcagent.study.rundir import RunDir, unit_name
from hpcagent.study.standing import in_one_line, waiting_for
from hpcagent.study.state import Folding, TuneState, Unit
from hpcagent.study.submission import Submission
from hpcagent.study.turn import Turn
from hpcagent.toolchain.buildend import build_end

# Between looks at a unit that is out: quick at first, then a guest's pace.
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0


class RunAgent(ABC):
    """The one writer of a run of any kind: serves requests, submits units, takes in their ends.

    A kind of run says what comes next (`_advance`) and what a unit's folder holds (`_files`).
    Make it with the run's lease held, and with what the journal holds folded.
    """

    def __init__(
        self,
        run: RunDir,
        journal: JournalWriter,
        folding: Folding,
        scheduler: Scheduler,
        publish: Callable[[RunDir, Knowledge], None],
        clock: Clock = SYSTEM,
    ) -> None:
        self._run = run
        self._ledger = Ledger(journal, folding)
        self._scheduler = scheduler
        self._publish = publish
        self._clock = clock
        patience = Patience.of(self.state.settings, scheduler.pace)
        self._desk = Desk(scheduler, run, patience, clock)
        self._submission = Submission(
            run, self._ledger, self._desk, scheduler, clock, self._files, self._started_with
        )
        self._known = Knowledge(self.state)
        self._stop_asked = False
        self._stays = True  # and does not leave while a job is out
        self._first_look = True

    @property
    def state(self) -> TuneState:
        """As the journal has it now."""
        return self._ledger.state

    @property
    def run_dir(self) -> RunDir:
        return self._run

    @property
    def under(self) -> Mapping[str, RunAgent]:
        """The agents of runs that this one drives, by the names of their steps."""
        return {}

    @property
    def stop_asked(self) -> bool:
        return self._stop_asked

    def tell_of_models(self, tell: Tell) -> None:
        """`tell` hears how far a model is with what it was asked; most kinds of runs ask none."""
        return

    def beside(self, jobs: Callable[[], frozenset[str]]) -> None:
        """`jobs` are those of other runs that are out for the same process."""
        self._submission.beside = jobs

    def will_stay(self, stays: bool) -> None:
        """Whether it is there while a job is out, so that it can get ready for what follows."""
        self._stays = stays

    def keep_pace(self) -> None:
        """Ask the scheduler no earlier than the processes before this one would have."""
        self._desk.pacing.recall()

    @property
    def known(self) -> Knowledge:
        """The knowledge that follows from the state."""
        if self._known.state is not self.state:
            self._known = self._known.after(self.state)
        return self._known

    def turn(self) -> Turn:
        """Do one thing. Raises SchedulerRefused, EnvironmentProblem, Fenced."""
        if self.state.closed is not None:
            return Turn("the run is closed", closed=True)
        try:
            return self._serve_all() or self._work()
        except SchedulerUnreachable as error:
            return Turn(str(error), waiting=True, pause_s=self._desk.patience.poll_s)

    def _work(self) -> Turn:
        if packs.growing(self.state) is not None:
            turn = self._advance()
            if not turn.waiting:
                return turn
        for pack in packs.unsubmitted(self.state):
            turn = self._submit(pack)
            if not turn.waiting:
                return turn
        return self._look() or self._advance()

    def run(self, notify: Callable[[TuneState, Turn], None], until_waiting: bool) -> Turn:
        """Repeat turns until the run is closed, a stop is asked for, or a job must be waited for.

        `until_waiting` ends at the first wait (`hpcagent step`); else the wait is slept through.
        """
        pause = FIRST_PAUSE_S
        self.will_stay(not until_waiting)
        while True:
            turn = self.turn()
            notify(self.state, turn)
            if turn.closed or (turn.waiting and until_waiting) or self._stop_asked:
                return turn
            if turn.waiting:
                self._clock.sleep(max(pause, turn.pause_s))
                pause = min(LONGEST_PAUSE_S, pause * 1.3)
            else:
                pause = FIRST_PAUSE_S

    # --- requests from other processes ---------------------------------------------------------

    def _serve_all(self) -> Turn | None:
        requests = inbox.pending(self._run.path, self._note_bad_request)
        first_look, self._first_look = self._first_look, False
        # A cancellation is not kept waiting behind other requests.
        for request in sorted(requests, key=lambda r: r.type != "cancel"):
            done = self._serve(request, stale=first_look)
            if done is not None:
                return done
        return None

    def _serve(self, request: inbox.Request, stale: bool) -> Turn | None:
        """Serve a request; a stop that is `stale` was meant for an agent that is gone."""
        served = any(advice.get("request") == request.id for advice in self.state.advice)
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
        """Cancel the units that are out and close the run."""
        self._desk.cancel(self.state.open_units)
        failure = Failure("scheduler", "cancelled", words)
        for unit in self.state.open_units:
            self._end_unit(unit, Collected(JobState.CANCELLED, failure))
        self._close(tune.Close("cancelled", words, 0))

    # --- the units that are out ------------------------------------------------------------------

    def _look(self) -> Turn | None:
        """Take in all that is new; a turn where units have ended."""
        out = {unit.name: unit for unit in self.state.open_units if unit.job_id}
        news = self._desk.look(list(out.values()), self._clock.now()) if out else {}
        ended = []
        for name, seen in news.items():
            if seen.collected is not None:
                ended.append(self._take_in(out[name], seen.collected))
            else:
                self._ledger.note(out[name], seen.state, seen.word, seen.reason)
        return Turn(in_one_line(ended)) if ended else None

    def _take_in(self, unit: Unit, collected: Collected) -> str:
        """Record a unit's end; how it ended, in words."""
        if collected.stopped:  # it would be run again, for nothing
            self._desk.cancel([unit])
        if collected.facts is not None and collected.facts != self.state.facts:
            self._write("facts", {"unit": unit.name, "raw": collected.facts})
        self._end_unit(unit, collected)
        failure = collected.failure
        if unit.kind == "build" and collected.steps:
            failure = failure or build_end(collected.steps).failure
        return f"{unit.purpose}: {'done' if failure is None else failure.id}"

    def _end_unit(self, unit: Unit, collected: Collected) -> None:
        self._write("unit_result", collected.to_json(unit, self._clock.now()))

    # --- what is to be submitted -----------------------------------------------------------------

    def _submit(self, pack: Pack) -> Turn:
        done = self._submission.submit(pack)
        return self._refused(pack, done) if isinstance(done, Refused) else done

    def _refused(self, pack: Pack, answer: Refused) -> Turn:
        failure = Failure("scheduler", "refused", answer.words)
        for unit in pack.members:
            self._end_unit(unit, Collected(JobState.FAILED, failure, ran_s=0.0))
        words = f"{self.state.settings.scheduler} refused {pack.purpose}: {answer.words}"
        if self._closes_when_refused():
            self._close(tune.Close("failed", words, SchedulerRefused.exit_code))
        raise SchedulerRefused(words)

    def _closes_when_refused(self) -> bool:
        """Whether a refusal ends the run: the first job's would be refused again."""
        return not any(unit.job_id for unit in self.state.units)

    @abstractmethod
    def _files(self, unit: Unit) -> dict[str, str]:
        """What the unit's folder holds beside its script: relative name -> text."""

    def _started_with(self, unit: Unit) -> tuple[str, Sequence[str]]:
        """The python of the unit's job, and the lines of shell in front of it."""
        return self.state.settings.python, self.state.settings.prologue

    # --- the next thing ------------------------------------------------------------------------

    @abstractmethod
    def _advance(self) -> Turn:
        """Do the one next thing; a waiting turn where that needs an open unit's end."""

    def _open(self, plan: units.Plan) -> Turn:
        why = budget.needs_approval(self.state, plan.need)
        if why is not None:
            if "approval" not in self.state.decisions:
                self._write("decision", {"what": "approval", "reason": why})
            how = f"hpcagent approve {shlex.quote(str(self._run.path))}"
            return Turn(f"{why}: approve it with `{how}`", waiting=True)
        self._submission.prepared(self._intend(plan))
        return Turn(f"{plan.purpose}: prepared")

    def _intend(self, plan: units.Plan) -> str:
        """Record what is to be submitted; the unit's name."""
        tried = self.state.attempts(plan.purpose)
        name = unit_name(self._run.id, len(self.state.units) + 1)
        resources = as_it_can_be(self.state, plan, tried, self._scheduler.queues)
        data = {
            "unit": name,
            "kind": plan.kind,
            "purpose": plan.purpose,
            "attempt": len(tried) + 1,
            "pack": packs.pack_for(self.state, plan.purpose, name),
            "resources": asdict(resources),
            "spec": plan.spec,
        }
        self._write("unit_intent", data)
        return name

    def _follow(self, step: tune.Step) -> Turn:
        """Do a step that any kind of run may come to."""
        match step:
            case tune.Submit(plan):
                return self._open(plan)
            case tune.Decide(what, data):
                self._write("decision", {"what": what, **data})
                return Turn(f"{what}: {data.get('reason', '')}")
            case tune.Close(text=text):
                self._close(step)
                return Turn(text, closed=True)
        return Turn(waiting_for(self.state), waiting=True)

    def _close(self, close: tune.Close) -> None:
        """Write the result files first: a run that says it is closed has its results.

        Writing them takes seconds; the moment that they tell is that of the journal, too.
        """
        now = utc_text(self._clock.now())
        data = {"outcome": close.outcome, "text": close.text, "exit_code": close.exit_code}
        data |= {"closed_utc": now, **self._noted(close)}
        ended = replace(self.state, closed=data, closed_utc=now)
        self._publish(self._run, self.known.after(ended))
        self._write("run_closed", data)

    def _noted(self, close: tune.Close) -> dict[str, Any]:
        """What else the run's last event says."""
        return {}

    def _write(self, kind: str, data: Mapping[str, Any]) -> Event:
        return self._ledger.write(kind, data)


def exit_code(state: TuneState) -> int:
    """The documented exit code of a closed run."""
    if state.closed is None:
        raise RunFailed("the run is not closed")
    return int(state.closed["exit_code"])
