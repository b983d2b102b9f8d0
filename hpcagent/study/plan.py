"""A plan: steps that are runs of their own, and what comes next of them. Pure functions.

A step begins when all that it needs has ended well. Where one of these has not, it is left out;
steps that do not need it go on. What became of each step is told by decisions in the plan's
journal, its intent before its run is made.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hpcagent.errors import RunFailed
from hpcagent.study.state import TuneState, unusable_opening
from hpcagent.study.tune import Close

KIND = "plan"
LOCAL = "local"
# What a step may use of another one: `{NAME.FIELD}`. All have `run`, the folder of their run.
REFERENCE = re.compile(r"\{([A-Za-z0-9][A-Za-z0-9_-]*)\.([a-z_]+)\}")
RUN, PREFIX, LIBRARY = "run", "prefix", "library"
FIELDS: Mapping[str, tuple[str, ...]] = {
    "probe": (RUN,),
    "doctor": (RUN,),
    "build": (RUN, PREFIX),
    "tune": (RUN, LIBRARY),
    "compare": (RUN,),
    "scale": (RUN,),
    "codegen": (RUN,),
}
COMMANDS = tuple(FIELDS)
BEGIN, END, SKIP = "begin", "end", "skip"
CANCELLED = "cancelled"


@dataclass(frozen=True)
class PlanStep:
    """`words` follow the command as on the command line, with references not resolved yet.

    `needs` are the steps before it, those that it refers to among them. `scheduler` is where its
    jobs go, as far as that was known when the plan was begun (empty: it was not). `where` is its
    place in the file. `taken` is its end in an earlier run, which is taken over.
    """

    name: str
    command: str
    words: tuple[str, ...]
    needs: tuple[str, ...] = ()
    scheduler: str = ""
    where: str = ""
    taken: Mapping[str, Any] | None = None

    @property
    def here(self) -> bool:
        """Whether its jobs may run on this machine, one after the other."""
        return self.scheduler in ("", LOCAL)


@dataclass(frozen=True)
class Plan:
    """`file` is where the plan was read from; commands begin in `folder`."""

    file: str
    folder: str
    steps: tuple[PlanStep, ...]
    title: str = ""

    @classmethod
    def of(cls, state: TuneState) -> Plan:
        """What the run of this state was opened with; RunFailed where that is no plan."""
        if state.plan is None:
            raise RunFailed("the journal is not that of a plan")
        try:
            rows = [
                {**row, "words": tuple(row["words"]), "needs": tuple(row["needs"])}
                for row in state.plan["steps"]
            ]
            steps = tuple(PlanStep(**row) for row in rows)
            return cls(**{**state.plan, "steps": steps})
        except (KeyError, TypeError) as error:
            raise unusable_opening(error) from None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def taken(self) -> dict[str, Mapping[str, Any]]:
        """The ends of steps that are taken over, by name."""
        return {step.name: step.taken for step in self.steps if step.taken is not None}


@dataclass(frozen=True)
class Begin:
    step: PlanStep
    words: tuple[str, ...]


@dataclass(frozen=True)
class Skip:
    step: PlanStep
    reason: str


@dataclass(frozen=True)
class Take:
    """The end of a step in an earlier run is that of this one."""

    step: PlanStep
    end: Mapping[str, Any]


Next = Begin | Skip | Take | Close | None


def told(state: TuneState, what: str, name: str) -> Mapping[str, Any] | None:
    """The decision that a step begins, has ended or is left out; None: not yet."""
    return state.decisions.get(f"{what} {name}")


def ended_well(end: Mapping[str, Any]) -> bool:
    return int(end["exit_code"]) == 0 and end["outcome"] != CANCELLED


def active(plan: Plan, state: TuneState) -> tuple[PlanStep, ...]:
    """The steps that have begun and not ended."""
    return tuple(
        step
        for step in plan.steps
        if told(state, BEGIN, step.name) and not told(state, END, step.name)
    )


def next_step(plan: Plan, state: TuneState, stuck: Collection[str] = ()) -> Next:
    """The one thing to do now; None: wait for a step that has begun, or that is `stuck`.

    Steps whose jobs go to a batch system are under way side by side. Those of this machine take
    turns: what one computes would disturb what another measures.
    """
    out = [step for step in active(plan, state) if step.name not in stuck]
    busy = any(step.here for step in out)
    for step in plan.steps:
        if any(told(state, what, step.name) for what in (BEGIN, SKIP, END)):
            continue
        if step.taken is not None:
            return Take(step, step.taken)
        why = _left_out(step, state)
        if why:
            return Skip(step, why)
        ready = all(told(state, END, name) for name in step.needs)
        if ready and not (busy and step.here):
            return Begin(step, resolved(step.words, _ends(plan, state)))
    if active(plan, state) or any(not _over(state, step) for step in plan.steps):
        return None
    return _close(plan, state)


def _over(state: TuneState, step: PlanStep) -> bool:
    return any(told(state, what, step.name) for what in (END, SKIP))


def _left_out(step: PlanStep, state: TuneState) -> str:
    """Why a step can never begin; empty where it still can."""
    for name in step.needs:
        end = told(state, END, name)
        if told(state, SKIP, name):
            return f"it needs {name}, which is left out"
        if end is not None and not ended_well(end):
            return f"it needs {name}, which ended with: {end['outcome']}"
    for name, field in references(step.words):
        end = told(state, END, name)
        if end is not None and field not in end["results"]:
            return f"{name} has left no {field}"
    return ""


def references(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The (step, field) pairs that words refer to."""
    for word in words:
        yield from ((found[1], found[2]) for found in REFERENCE.finditer(word))


def _ends(plan: Plan, state: TuneState) -> dict[str, Mapping[str, Any]]:
    ends = ((step.name, told(state, END, step.name)) for step in plan.steps)
    return {name: end for name, end in ends if end is not None}


def resolved(words: Sequence[str], ends: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Words with the results of steps that have ended put in; `ends` are by the steps' names."""

    def value(found: re.Match[str]) -> str:
        return str(ends[found[1]]["results"][found[2]])

    return tuple(REFERENCE.sub(value, word) for word in words)


def _close(plan: Plan, state: TuneState) -> Close:
    ends = [(step.name, told(state, END, step.name)) for step in plan.steps]
    good = [name for name, end in ends if end is not None and ended_well(end)]
    bad = [(name, end) for name, end in ends if end is not None and not ended_well(end)]
    left = [step.name for step in plan.steps if told(state, SKIP, step.name)]
    words = f"{len(good)} of {counted(len(plan.steps), 'step')} done"
    if not bad and not left:
        return Close("done", words, 0)
    parts = [f"{name}: {end['outcome']}" for name, end in bad]
    parts += [f"{name}: left out" for name in left]
    codes = [int(end["exit_code"]) for _, end in bad if end["exit_code"]]
    return Close("failed", "; ".join([words, *parts]), codes[0] if codes else RunFailed.exit_code)


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def refused(step: PlanStep, text: str, exit_code: int) -> dict[str, Any]:
    """The decision that a step has ended before it had a run."""
    closed = {"outcome": "failed", "text": text, "exit_code": exit_code}
    return closing(step, closed, {})


def closing(
    step: PlanStep, closed: Mapping[str, Any], results: Mapping[str, str]
) -> dict[str, Any]:
    """The decision that a step has ended, from how its run was closed and what it left."""
    return {
        "what": f"{END} {step.name}",
        "outcome": str(closed["outcome"]),
        "text": str(closed["text"]),
        "exit_code": int(closed["exit_code"]),
        "results": dict(results),
        "reason": str(closed["outcome"]),
    }
