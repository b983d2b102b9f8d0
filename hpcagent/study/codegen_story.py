"""What became of the attempts of a code generation, as far as its journal goes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from hpcagent.codegen.attempt import Source, reference_source
from hpcagent.codegen.outcome import Checked, checked, problem_of
from hpcagent.codegen.taskfile import TaskFile, judge_language
from hpcagent.codegen.tree import CHECKED, CHECKER, FAILED, GIVEN, MEASURED, OPEN, REFERENCE, Node
from hpcagent.errors import RunFailed
from hpcagent.measure.statistics import Effect, effects
from hpcagent.records import Failure
from hpcagent.study.attempts import given_up
from hpcagent.study.state import TuneState, Unit
from hpcagent.study.task_plan import Task

_MOST_TRIES = 2  # of a measurement that a node failed
GAVE_UP = "model_gave_up"


@dataclass(frozen=True)
class Wish:
    """What was asked for, as the journal keeps it (`Task.request`).

    `reference` is the text of the task's reference, or of its checker. `given` are the user's
    candidates: {label, files, parameters}. `compiler` is the configured one, `folder` where runs
    are kept, `model` whether a model writes attempts too. `parallel` is how many attempts may be
    under way at once; each of them is a unit of the batch system.
    """

    task: TaskFile
    reference: str
    given: tuple[Mapping[str, Any], ...] = ()
    compiler: str = ""
    folder: str = ""
    model: bool = False
    parallel: int = 1

    def to_json(self) -> dict[str, Any]:
        task = self.task.model_dump(by_alias=True)
        names = ("reference", "compiler", "folder", "model", "parallel")
        rest = {name: getattr(self, name) for name in names}
        return {"task": task, "given": [dict(row) for row in self.given], **rest}

    @classmethod
    def of(cls, task: Task) -> Wish:
        """RunFailed where the journal holds something else."""
        row = dict(task.request)
        try:
            made = TaskFile.model_validate(row.pop("task"))
            return cls(made, given=tuple(row.pop("given")), **row)
        except (KeyError, TypeError, ValueError) as error:
            words = " ".join(str(error).split())[:300]
            raise RunFailed(f"the journal is damaged: its task cannot be used: {words}") from None


@dataclass(frozen=True)
class Attempt:
    """One node of the tree: where it came from, its source, and what became of it.

    `checked` is None before its unit has ended; `failure` may also be that of its unit, of the
    model's answer (then there is no source) or of a measured process. `effect` is against the
    baseline (the reference; without one the first attempt that passed). `answer` is what a model
    said besides.
    """

    number: int
    operation: str
    parent: int | None
    label: str
    source: Source | None
    reason: str = ""
    unit: str = ""
    checked: Checked | None = None
    failure: Failure | None = None
    effect: Effect | None = None
    medians: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    baseline: bool = False

    @property
    def purpose(self) -> str:
        return f"attempt-{self.number}"

    @property
    def log_ratio(self) -> float | None:
        if self.failure is not None:
            return None
        if self.baseline:
            return 0.0
        return None if self.effect is None else self.effect.log_ratio

    @property
    def waits(self) -> bool:
        """Its unit is not done, and nothing has been given up."""
        return self.source is not None and self.checked is None and self.failure is None

    @property
    def passed(self) -> bool:
        return self.checked is not None and self.checked.failure is None

    @property
    def node(self) -> Node:
        state = OPEN
        if self.failure is not None:
            state = FAILED
        elif self.log_ratio is not None:
            state = MEASURED
        elif self.passed:
            state = CHECKED
        return Node(
            self.number, self.operation, self.parent, state, self.failure, self.log_ratio,
            self.source is not None,
        )  # fmt: skip


@dataclass(frozen=True)
class Story:
    wish: Wish
    state: TuneState
    attempts: tuple[Attempt, ...]
    measured: tuple[Unit, ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(attempt.node for attempt in self.attempts)

    @property
    def reference(self) -> dict[str, Any]:
        """What attempts are compared with, or judged by; it has to have passed."""
        first = self.attempts[0]
        digests = first.checked.digests if first.checked is not None else {}
        same = judge_language(self.wish.task) == self.wish.task.language
        return {"folder": f"../{first.unit}/build", "sha256": digests, "harness": same}

    @cached_property
    def baseline(self) -> Attempt | None:
        """What times are told in: the reference, or the first attempt that passed."""
        return next((a for a in self.attempts if a.baseline), None)

    @cached_property
    def best(self) -> Attempt | None:
        """The fastest attempt that passed and was measured, the reference left out."""
        found = [a for a in self.attempts[1:] if a.log_ratio is not None]
        return min(found, key=lambda a: (a.log_ratio, a.number), default=None)

    @property
    def gave_up(self) -> str:
        """Why no model writes any more; empty where one may."""
        return str(self.state.decisions.get(GAVE_UP, {}).get("reason", ""))


def story(task: Task, state: TuneState) -> Story:
    wish = Wish.of(task)
    bare = _bare(wish, state)
    measured, fresh = (_done(state, word) for word in ("measure-", "confirm-"))
    ended = [_with_end(one, state, measured, fresh) for one in bare]
    number = _baseline(wish, ended, measured)
    if number is None:
        return Story(wish, state, tuple(ended), measured)
    ended[number] = replace(ended[number], baseline=True)
    name = ended[number].purpose
    found = effects([unit.runs.timings() for unit in measured], name) if measured else {}
    attempts = tuple(_with_effect(one, measured, found.get(one.purpose)) for one in ended)
    return Story(wish, state, attempts, measured)


def _baseline(wish: Wish, ended: list[Attempt], measured: tuple[Unit, ...]) -> int | None:
    """The reference's number; without one that of the attempt that was measured against, as long as
    nothing is wrong with it, else of the first that passed."""
    if wish.task.reference:
        return 0
    good = [one.number for one in ended[1:] if one.passed and one.failure is None]
    used = [int(str(u.spec["reference"]).rpartition("-")[2]) for u in measured]
    return next((number for number in [*reversed(used), *good] if number in good), None)


def _done(state: TuneState, word: str) -> tuple[Unit, ...]:
    return tuple(
        u for u in state.units
        if u.purpose.startswith(word) and u.finished and u.failure is None
    )  # fmt: skip


def _bare(wish: Wish, state: TuneState) -> list[Attempt]:
    """The attempts as they were given or written, without what became of them."""
    source = reference_source(wish.task, wish.reference)
    sort = REFERENCE if wish.task.reference else CHECKER
    rows = [Attempt(0, sort, None, f"the {sort}", source)]
    for row in wish.given:
        made = Source(wish.task.language, row["files"], row["parameters"])
        rows.append(Attempt(len(rows), GIVEN, None, str(row["label"]), made))
    while (data := state.decisions.get(f"attempt-{len(rows)}")) is not None:
        rows.append(_written(wish, len(rows), data))
    return rows


def _written(wish: Wish, number: int, data: Mapping[str, Any]) -> Attempt:
    files = data.get("files")
    source = Source(wish.task.language, files, data.get("parameters") or {}) if files else None
    failure = Failure(**data["failure"]) if data.get("failure") else None
    parent = data.get("parent")
    return Attempt(
        number, str(data["operation"]), None if parent is None else int(parent),
        f"attempt {number}", source, str(data.get("reason", "")), failure=failure,
    )  # fmt: skip


def _with_end(
    one: Attempt, state: TuneState, measured: tuple[Unit, ...], fresh: tuple[Unit, ...]
) -> Attempt:
    unit = state.done(one.purpose)
    verdict = checked(unit.steps) if unit is not None else None
    failure = one.failure
    lost = given_up(state, one.purpose)
    if failure is None and verdict is not None:
        failure = verdict.failure
    if failure is None and unit is None and lost is not None:
        failure = lost[0]
    if failure is None and one.number > 0:
        failure = _measured_failure(one.purpose, (*measured, *fresh))
    return replace(
        one,
        failure=failure,
        unit=unit.name if unit else "",
        checked=verdict,
        medians=_medians(one.purpose, measured),
        seconds=unit.job_seconds if unit else 0.0,
    )


def _with_effect(one: Attempt, measured: tuple[Unit, ...], effect: Effect | None) -> Attempt:
    tries = sum(one.purpose in unit.spec["codegen"] for unit in measured)
    failure = one.failure
    if failure is None and effect is None and one.number > 0 and tries >= _MOST_TRIES:
        words = f"{tries} measurements ended before it was measured once"
        failure = Failure("run", "unmeasured", words)
    return replace(one, effect=effect, failure=failure)


def _measured_failure(purpose: str, units: tuple[Unit, ...]) -> Failure | None:
    """The first process that failed: one wrong or implausible result is enough."""
    for unit in units:
        for run in unit.runs.of(purpose, status_not_in=("ok", "dropped")):
            failure = problem_of(run)
            if failure is not None and failure.stage != "environment":
                return failure
    return None


def _medians(purpose: str, measured: tuple[Unit, ...]) -> dict[str, float]:
    """Seconds a call by case: the middle of the medians of all processes."""
    found: dict[str, list[float]] = {}
    for unit in measured:
        for run in unit.runs.of(purpose, status_not_in=("dropped",)):
            for key, seconds in run.medians.items() if run.ok and run.pair > 0 else ():
                found.setdefault(key, []).append(seconds)
    return {key: sorted(values)[len(values) // 2] for key, values in sorted(found.items())}
