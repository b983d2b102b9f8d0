"""The state of a tune run: a pure fold over its journal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from hpcagent.errors import RunFailed
from hpcagent.measure.results import Run
from hpcagent.records import Config, Event, Failure, JobState, Proposal, Resources
from hpcagent.study.settings import TuneSettings
from hpcagent.toolchain.stepruns import StepRun


@dataclass(frozen=True)
class Unit:
    """One submitted (or soon to be submitted) piece of work and what became of it.

    `spec` is the worker's (or collector's) request as journaled, `job_id` empty until the
    scheduler gave one (units of one `pack` share it), `reason` why it waits, `finished` set by the
    unit's result. `job_seconds` is the time it worked on `node`, without the `queued_seconds`
    before. A probe leaves `facts`, a round `runs`, a build or a check `steps`.
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
    runs: tuple[Run, ...] = ()
    steps: tuple[StepRun, ...] = ()
    facts: Mapping[str, Any] | None = None
    result_utc: str = ""
    job_seconds: float = 0.0
    queued_seconds: float = 0.0
    node: str = ""


@dataclass(frozen=True)
class TuneState:
    """Everything a turn needs to know; nothing in it comes from anywhere but the journal.

    `compare` is what a run of that kind was opened with besides (compare_plan.Comparison), `task`
    what a probe, a doctor's visit or a build was (task_plan.Task).
    """

    settings: TuneSettings
    created_utc: str
    version: str
    units: tuple[Unit, ...] = ()
    facts: Mapping[str, Any] | None = None
    proposed: Mapping[int, tuple[Proposal, ...]] = field(default_factory=dict)
    decisions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    advice: tuple[Mapping[str, Any], ...] = ()
    calls: tuple[Mapping[str, Any], ...] = ()
    closed: Mapping[str, Any] | None = None
    closed_utc: str = ""
    last_utc: str = ""
    compare: Mapping[str, Any] | None = None
    task: Mapping[str, Any] | None = None

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


def fold(events: Sequence[Event]) -> TuneState:
    """The state after these events.

    Raises RunFailed where the first one does not open a tune run, or one lacks what its type has.
    """
    if not events or events[0].type != "run_opened":
        raise RunFailed("the journal does not begin with run_opened")
    first = events[0]
    with _naming(first):
        state = TuneState(
            settings=TuneSettings.from_json(first.data["settings"]),
            created_utc=first.t_utc,
            version=str(first.data["version"]),
            compare=first.data.get("compare"),
            task=first.data.get("task"),
            last_utc=first.t_utc,
        )
    # As `apply` for each, which would copy all units each time: quadratic in their number.
    units: dict[str, Unit] = {}
    proposed: dict[int, tuple[Proposal, ...]] = {}
    for event in events[1:]:
        with _naming(event):
            match event.type:
                case "unit_intent":
                    unit = _intended(event)
                    units[unit.name] = unit
                case "facts":
                    name = str(event.data.get("unit", ""))
                    if name in units:
                        units[name] = replace(units[name], facts=event.data["raw"])
                    state = replace(state, facts=event.data["raw"])
                case "unit_submitted" | "unit_state" | "unit_result":
                    name = event.data["unit"]
                    if name in units:
                        units[name] = _updated(units[name], event)
                case "proposed":
                    proposed |= _proposed(event)
                case _:
                    state = apply(state, event)
    last_utc = events[-1].t_utc
    return replace(state, units=tuple(units.values()), proposed=proposed, last_utc=last_utc)


@contextmanager
def _naming(event: Event) -> Iterator[None]:
    """An event that was changed by hand is named, with what is wrong with it."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunFailed(
            f"the journal is damaged: its event {event.seq} ({event.type}) cannot be used: "
            f"{error!r}; restore journal.jsonl from a backup, or keep the events before it only"
        ) from None


def apply(state: TuneState, event: Event) -> TuneState:
    """The state after one more event; types that do not concern the state change nothing."""
    data = event.data
    match event.type:
        case "facts":
            return replace(state, facts=data["raw"], units=_with(state.units, event))
        case "proposed":
            return replace(state, proposed={**state.proposed, **_proposed(event)})
        case "unit_intent":
            return replace(state, units=(*state.units, _intended(event)))
        case "unit_submitted" | "unit_state" | "unit_result":
            return replace(state, units=_with(state.units, event))
        case "decision":
            return replace(state, decisions={**state.decisions, str(data["what"]): data})
        case "advice":
            return replace(state, advice=(*state.advice, data))
        case "llm_call":
            return replace(state, calls=(*state.calls, data))
        case "run_closed":
            return replace(state, closed=data, closed_utc=event.t_utc)
    return state


def _proposed(event: Event) -> dict[int, tuple[Proposal, ...]]:
    rows = event.data["proposals"]
    return {int(event.data["round"]): tuple(proposal_from(row) for row in rows)}


def _intended(event: Event) -> Unit:
    data = event.data
    return Unit(
        name=data["unit"],
        kind=data["kind"],
        purpose=data["purpose"],
        attempt=data["attempt"],
        resources=Resources.from_json(data["resources"]),
        spec=data["spec"],
        intent_utc=event.t_utc,
        pack=str(data.get("pack", "")),
    )


def _with(units: tuple[Unit, ...], event: Event) -> tuple[Unit, ...]:
    """The units after an event of one of them, which is mostly a late one of many."""
    name = event.data.get("unit")
    for index in range(len(units) - 1, -1, -1):
        if units[index].name == name:
            return (*units[:index], _updated(units[index], event), *units[index + 1 :])
    return units


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
        node=str(data.get("node", "")),
        failure=Failure(**failure) if failure else None,
        runs=tuple(Run(**row) for row in data.get("runs", ())),
        steps=tuple(StepRun(**row) for row in data.get("steps", ())),
    )


def _in_state(unit: Unit, event: Event) -> Unit:
    """`state_utc` is when it came into this state; another reason to wait does not move it."""
    state, word = JobState(event.data["state"]), str(event.data["word"])
    same = (state, word) == (unit.job_state, unit.word)
    return replace(
        unit,
        job_state=state,
        word=word,
        reason=str(event.data.get("reason", "")),
        state_utc=unit.state_utc if same else event.t_utc,
    )


def proposal_to(proposal: Proposal) -> dict[str, Any]:
    return {
        "config": proposal.config.values,
        "reason": proposal.reason,
        "proposed_by": proposal.proposed_by,
    }


def proposal_from(row: Mapping[str, Any]) -> Proposal:
    return Proposal(Config.of(row["config"]), row["reason"], row["proposed_by"])
