"""The state of a tune run: a pure fold over its journal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from hpcagent.errors import RunFailed
from hpcagent.measure.packed import NO_RUNS, Runs
from hpcagent.measure.results import Run
from hpcagent.records import Event, Failure, JobState, Proposal, Resources
from hpcagent.study.durable import seconds_between
from hpcagent.study.settings import TuneSettings
from hpcagent.study.sharing import Sharing
from hpcagent.toolchain.stepruns import StepRun

NO_MORE = 1000  # added to how often was proposed again, where nothing was left to propose
_UNOPENED = "the journal does not begin with run_opened"


@dataclass(frozen=True, slots=True)
class Unit:
    """One submitted (or soon to be submitted) piece of work and what became of it.

    `spec` is the worker's (or collector's) request as journaled, `job_id` empty until the
    scheduler gave one (units of one `pack` share it), `reason` why it waits, `finished` set by the
    unit's result. `job_seconds` is the time it worked on `node`, without the `queued_seconds`
    before. `notes` are what was odd while it ran, `memory_bytes` what its job had of it, where
    it was a build or failed (None: not known).
    """

    name: str
    kind: str
    purpose: str
    attempt: int
    resources: Resources
    spec: Mapping[str, Any]
    intent_utc: str
    pack: str = ""
    job_id: str = ""
    submitted_utc: str = ""
    job_state: JobState = JobState.PREPARED
    word: str = ""
    reason: str = ""
    state_utc: str = ""
    finished: bool = False
    failure: Failure | None = None
    runs: Runs = field(default_factory=lambda: NO_RUNS)
    steps: tuple[StepRun, ...] = ()
    facts: Mapping[str, Any] | None = None
    result_utc: str = ""
    job_seconds: float = 0.0
    queued_seconds: float = 0.0
    node: str = ""
    notes: tuple[str, ...] = ()
    memory_bytes: int | None = None


@dataclass(frozen=True)
class TuneState:
    """Everything a turn needs to know; nothing in it comes from anywhere but the journal.

    `passed_s` are the seconds between its events, of which a clock that is set back takes none
    (None: not told). `refilled` tells of rounds how often was proposed for them again, as some of
    what was proposed could not be measured. `compare` is what a run of that kind was opened with
    besides (compare_plan.Comparison), `task` what a probe, a doctor's visit or a build was
    (task_plan.Task), `plan` what a plan was (plan.Plan).
    """

    settings: TuneSettings
    created_utc: str
    version: str
    units: tuple[Unit, ...] = ()
    facts: Mapping[str, Any] | None = None
    proposed: Mapping[int, tuple[Proposal, ...]] = field(default_factory=dict)
    refilled: Mapping[int, int] = field(default_factory=dict)
    decisions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    advice: tuple[Mapping[str, Any], ...] = ()
    calls: tuple[Mapping[str, Any], ...] = ()
    closed: Mapping[str, Any] | None = None
    closed_utc: str = ""
    last_utc: str = ""
    passed_s: float | None = None
    compare: Mapping[str, Any] | None = None
    task: Mapping[str, Any] | None = None
    plan: Mapping[str, Any] | None = None

    @cached_property
    def open_units(self) -> tuple[Unit, ...]:
        return tuple(unit for unit in self.units if not unit.finished)

    @property
    def nodes(self) -> tuple[str, ...]:
        """Where the rounds were measured."""
        return tuple(sorted({unit.node for unit in self.rounds if unit.node}))

    def attempts(self, purpose: str) -> tuple[Unit, ...]:
        return tuple(unit for unit in self.units if unit.purpose == purpose)

    def done(self, purpose: str) -> Unit | None:
        """The unit of this purpose that succeeded."""
        good = (u for u in self.attempts(purpose) if u.finished and u.failure is None)
        return next(good, None)

    @cached_property
    def rounds(self) -> tuple[Unit, ...]:
        """The successful measuring rounds, in order."""
        return tuple(
            u for u in self.units if u.kind == "round" and _is_round(u) and u.finished
            and u.failure is None
        )  # fmt: skip


def round_purpose(index: int) -> str:
    return f"round-{index}"


def _is_round(unit: Unit) -> bool:
    return unit.purpose.startswith("round-")


def fold(events: Iterable[Event]) -> TuneState:
    """The state after these events.

    Raises RunFailed where the first one does not open a tune run, or one lacks what its type has.
    """
    folding = Folding()
    for event in events:
        folding.add(event)
    return folding.state()


class Folding:
    """Folds the events of a run one at a time, and holds none of them.

    Messages begin with `where` the events are from.
    """

    def __init__(self, where: str = "") -> None:
        self._where = f"{where}: " if where else ""
        self._share = Sharing()
        self._rest: TuneState | None = None
        self._last_utc = ""
        self._passed_s = 0.0
        # Apart from the rest, which is copied for each event: quadratic in the number of units.
        self._units: dict[str, Unit] = {}
        self._proposed: dict[int, tuple[Proposal, ...]] = {}
        self._state: TuneState | None = None

    @property
    def begun(self) -> bool:
        return self._rest is not None

    def state(self) -> TuneState:
        """The state after the events so far. Raises RunFailed where there was none."""
        if self._rest is None:
            raise RunFailed(f"{self._where}{_UNOPENED}")
        if self._state is None:
            self._state = replace(
                self._rest,
                units=tuple(self._units.values()),
                proposed=dict(self._proposed),
                last_utc=self._last_utc,
                passed_s=self._passed_s,
            )
        return self._state

    def add(self, event: Event) -> None:
        """Raises RunFailed for an event that cannot be used."""
        try:
            rest = _opened(event) if self._rest is None else self._after(self._rest, event)
            self._passed_s += seconds_between(self._last_utc or event.t_utc, _when(event))
        except RunFailed as error:
            raise RunFailed(f"{self._where}{error}") from None
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise RunFailed(
                f"{self._where}the journal is damaged: its event {event.seq} ({event.type}) cannot "
                f"be used: {error!r}; restore journal.jsonl from a backup, or keep the events "
                "before it only"
            ) from None
        self._rest, self._last_utc, self._state = rest, _when(event), None

    def _after(self, rest: TuneState, event: Event) -> TuneState:
        """Take in one more event; types that do not concern the state change nothing."""
        data = event.data
        match event.type:
            case "unit_intent":
                unit = _intended(event, self._share)
                self._units[unit.name] = unit
            case "unit_submitted" | "unit_state" | "unit_result":
                self._update(data["unit"], event)
            case "proposed":
                proposals = tuple(self._share.proposal(row) for row in data["proposals"])
                index = int(data["round"])
                again = bool(data.get("again"))
                if again:
                    proposals = (*self._proposed[index], *proposals)
                self._proposed[index] = proposals
                times = rest.refilled.get(index, 0) + (1 if data["proposals"] else NO_MORE)
                return replace(rest, refilled={**rest.refilled, index: times}) if again else rest
            case "facts":
                self._update(str(data.get("unit", "")), event)
                return replace(rest, facts=data["raw"])
            case "decision":
                return replace(rest, decisions={**rest.decisions, str(data["what"]): data})
            case "advice":
                return replace(rest, advice=(*rest.advice, data))
            case "llm_call":
                return replace(rest, calls=(*rest.calls, data))
            case "run_closed":
                return replace(rest, closed=data, closed_utc=_when(event))
        return rest

    def _update(self, name: str, event: Event) -> None:
        if name in self._units:
            self._units[name] = _updated(self._units[name], event)


def _when(event: Event) -> str:
    """When it happened: a run ends before its result files are written, and is journaled after."""
    ended = event.data.get("closed_utc") if event.type == "run_closed" else None
    return str(ended or event.t_utc)


def unusable_opening(error: Exception) -> RunFailed:
    """What is said of a first event that lacks what its kind of run is opened with."""
    return RunFailed(
        f"the journal is damaged: its first event cannot be used: {error!r}; restore "
        "journal.jsonl from a backup"
    )


def _opened(event: Event) -> TuneState:
    if event.type != "run_opened":
        raise RunFailed(_UNOPENED)
    return TuneState(
        settings=TuneSettings.from_json(event.data["settings"]),
        created_utc=event.t_utc,
        version=str(event.data["version"]),
        compare=event.data.get("compare"),
        task=event.data.get("task"),
        plan=event.data.get("plan"),
    )


def _intended(event: Event, share: Sharing) -> Unit:
    data = event.data
    return Unit(
        name=data["unit"],
        kind=sys.intern(data["kind"]),
        purpose=data["purpose"],
        attempt=data["attempt"],
        resources=share.resources(data["resources"]),
        spec=share.spec(data["spec"]),
        intent_utc=event.t_utc,
        pack=str(data.get("pack", "")),
    )


def _updated(unit: Unit, event: Event) -> Unit:
    data = event.data
    if event.type == "facts":
        return replace(unit, facts=data["raw"])
    if event.type == "unit_submitted":
        return replace(unit, job_id=data["job_id"], submitted_utc=event.t_utc)
    if event.type == "unit_state":
        return _in_state(unit, event)
    failure = data.get("failure")
    return replace(
        unit,
        finished=True,
        result_utc=event.t_utc,
        job_state=JobState(data["state"]),
        job_seconds=float(data["job_seconds"]),
        queued_seconds=float(data.get("queued_seconds", 0.0)),
        node=sys.intern(str(data.get("node", ""))),
        failure=Failure(**failure) if failure else None,
        runs=Runs(Run(**row) for row in data.get("runs", ())),
        steps=tuple(StepRun(**row) for row in data.get("steps", ())),
        notes=tuple(data.get("notes", ())),
        memory_bytes=data.get("memory_bytes"),
    )


def _in_state(unit: Unit, event: Event) -> Unit:
    """`state_utc` is when it came into this state; another reason to wait does not move it."""
    state, word = JobState(event.data["state"]), sys.intern(str(event.data["word"]))
    same = (state, word) == (unit.job_state, unit.word)
    return replace(
        unit,
        job_state=state,
        word=word,
        reason=sys.intern(str(event.data.get("reason", ""))),
        state_utc=unit.state_utc if same else event.t_utc,
    )


def proposal_to(proposal: Proposal) -> dict[str, Any]:
    return {
        "config": proposal.config.values,
        "reason": proposal.reason,
        "proposed_by": proposal.proposed_by,
    }
