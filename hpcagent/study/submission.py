"""How what is prepared comes to be a job, once: found again, put off, submitted or refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hpcagent.protocols import Scheduler
from hpcagent.records import Ambiguous, JobState, Refused, Submitted
from hpcagent.study import packs, units
from hpcagent.study.clock import Clock
from hpcagent.study.desk import Desk, Settling, write_files
from hpcagent.study.ledger import Ledger
from hpcagent.study.packs import Pack
from hpcagent.study.rundir import RunDir
from hpcagent.study.state import TuneState, Unit
from hpcagent.study.turn import Turn

_FIRST_TRY = ("", "try 1")  # words of a unit whose submission was never left unanswered

Files = Callable[[Unit], Mapping[str, str]]  # what a unit's folder holds beside its script
StartedWith = Callable[[Unit], tuple[str, Sequence[str]]]  # its python, lines of shell before it


class Submission:
    """The way of a run's packs to the desk."""

    def __init__(
        self, run: RunDir, ledger: Ledger, desk: Desk, scheduler: Scheduler, clock: Clock,
        files: Files, started_with: StartedWith,
    ) -> None:  # fmt: skip
        self._run = run
        self._ledger = ledger
        self._desk = desk
        self._scheduler = scheduler
        self._clock = clock
        self._files = files
        self._started_with = started_with
        self._own: set[str] = set()
        # Jobs of other runs that this process looks after: they end, too, and make room.
        self.beside: Callable[[], frozenset[str]] = frozenset

    def prepared(self, unit_name: str) -> None:
        """This process has prepared the unit: nobody can have submitted it before."""
        self._own.add(unit_name)

    def submit(self, pack: Pack) -> Turn | Refused:
        """Bring a pack out, or a step nearer to it; what refused it is for the caller to judge."""
        lead, state = pack.lead, self._ledger.state
        job_id = packs.job_of(state, pack)
        if job_id:
            return self._submitted(pack, Submitted(job_id))
        out = jobs_out(state) | self.beside()
        full = self._desk.full(out)
        if full:
            return self._put_off(pack, full)
        if lead.name not in self._own:
            known = self._desk.adopt(lead, self._clock.now())
            if isinstance(known, Settling):
                words = f"{pack.purpose}: its submission got no answer; looking for its job"
                return Turn(f"{words} for {known.seconds_left:.0f} s more", waiting=True)
            if known is not None:
                return self._submitted(pack, known)
        self._own.discard(lead.name)
        self._write_files(pack)
        if self._desk.patience.settle_s:
            # Journaled before the call: whoever comes after knows that a job may be on its way.
            self._ledger.note(lead, JobState.SUBMITTING, f"try {_tries(lead) + 1}", "")
        return self._answered(pack, self._desk.submit(lead, out), others_are_out=bool(out))

    def _answered(
        self, pack: Pack, answer: Submitted | Refused | Ambiguous, others_are_out: bool
    ) -> Turn | Refused:
        lead = pack.lead
        if isinstance(answer, Refused) and answer.full and others_are_out:
            self._own.add(lead.name)
            self._ledger.note(lead, JobState.PREPARED, "", answer.words)
            return self._put_off(pack, answer.words)
        if isinstance(answer, Refused):
            return answer
        if isinstance(answer, Ambiguous):
            if self._desk.patience.settle_s:  # the call may have lasted longer than that
                word = f"try {_tries(lead) + 1}, no answer"
                self._ledger.note(lead, JobState.SUBMITTING, word, answer.words)
            words = f"{pack.purpose}: no answer to its submission: {answer.words}"
            return Turn(words, waiting=True)
        return self._submitted(pack, answer)

    def _put_off(self, pack: Pack, words: str) -> Turn:
        scheduler = self._ledger.state.settings.scheduler
        told = f"{pack.purpose}: {scheduler} queues no more jobs of yours now ({words})"
        return Turn(f"{told}; it is submitted when one of the run's has ended", waiting=True)

    def _submitted(self, pack: Pack, answer: Submitted) -> Turn:
        for unit in pack.members:
            self._ledger.write("unit_submitted", {"unit": unit.name, "job_id": answer.job_id})
        return Turn(f"{pack.purpose}: submitted as job {answer.job_id}")

    def _write_files(self, pack: Pack) -> None:
        folders = [self._run.unit(unit.name) for unit in pack.members]
        for unit in pack.members:
            files = dict(self._files(unit))
            if unit is pack.lead:
                program = units.program(unit.purpose, unit.spec)
                files["job.sh"] = units.script(
                    program, pack.resources, unit.name, folders, self._scheduler,
                    *self._started_with(unit),
                )  # fmt: skip
            write_files(self._run.make_unit(unit.name), files)


def jobs_out(state: TuneState) -> frozenset[str]:
    return frozenset(unit.job_id for unit in state.open_units if unit.job_id)


def _tries(unit: Unit) -> int:
    """How often its submission was begun, as its word says: "try 1", "try 1, no answer"."""
    return int(unit.word.removeprefix("try ").partition(",")[0]) if unit.word else 0


def never_submitted(state: TuneState) -> bool:
    """Whether no job of the run is anywhere, also none of a submission that got no answer."""
    return not any(unit.job_id or unit.word not in _FIRST_TRY for unit in state.units)
