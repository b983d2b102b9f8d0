"""The tries of a build at one target: what each was, why it failed, and the repair that came then.

A declared repair is applied without being asked, at most so often and never in circles
(toolchain.repairs); each is a decision in the journal before the next try goes out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hpcagent.errors import UsageError
from hpcagent.records import Failure
from hpcagent.study.build_wish import Wish, recipe_of
from hpcagent.study.state import TuneState, Unit
from hpcagent.study.task_plan import Target, Task
from hpcagent.toolchain.buildend import BuildEnd, build_end
from hpcagent.toolchain.mending import Setting, mended
from hpcagent.toolchain.recipe import Recipe
from hpcagent.toolchain.repairs import Attempt, Cause, Change, GiveUp, Repair, next_repair


@dataclass(frozen=True)
class Mend:
    """A repair that was decided on: the name of its decision, and its reason in words."""

    what: str
    words: str


@dataclass(frozen=True)
class Story:
    """Where a target's build stands.

    `wish` and `recipe` are those of the last try (no recipe: `failure` says why there can be none),
    `purpose` its unit's. `unit` and `end` are None while that is not over. `mends` are the repairs
    so far; `gave_up` says why there is no further one.
    """

    wish: Wish
    purpose: str
    recipe: Recipe | None
    failure: Failure | None = None
    unit: Unit | None = None
    end: BuildEnd | None = None
    mends: tuple[Mend, ...] = ()
    gave_up: str = ""


def story(task: Task, state: TuneState, target: Target, facts: Mapping[str, Any]) -> Story:
    """The tries so far, as the journal's units tell them. Pure."""
    wish, tried, mends = Wish.of(task), list[Attempt](), list[Mend]()
    while True:
        stage = f"repair{len(mends)}" if mends else "build"
        purpose = task.purpose(stage, target)
        try:
            recipe = recipe_of(wish, facts)
        except UsageError as error:
            failure = Failure("configure", "request", str(error))
            return Story(wish, purpose, None, failure, mends=tuple(mends))
        unit = state.done(purpose)
        if unit is None:
            return Story(wish, purpose, recipe, mends=tuple(mends))
        end = build_end(unit.steps)
        answer = _answer(end, wish, target, tried)
        if not isinstance(answer, Change):
            gave_up = answer.reason if answer is not None else ""
            return Story(wish, purpose, recipe, end.failure, unit, end, tuple(mends), gave_up)
        assert end.cause is not None
        tried.append(Attempt(_digest(wish), end.cause.id, answer.repair))
        what = f"repair-{target.label}-{len(mends) + 1}"
        mends.append(Mend(what, f"{end.cause.id}: {answer.words} ({end.cause.quote})"))
        wish = _Mender(wish, target).after(answer.repair)


def _answer(
    end: BuildEnd, wish: Wish, target: Target, tried: list[Attempt]
) -> Change | GiveUp | None:
    """What to change after this end; None where it went well, or its cause is not known."""
    if end.state != "failed" or end.cause is None:
        return None
    found = end.cause
    cause = Cause(found.id, found.confidence, found.quote, found.repair)
    return next_repair(cause, _digest(wish), tried, _Mender(wish, target))


@dataclass(frozen=True)
class _Mender:
    """What a build's loop can change: the applier of toolchain.repairs."""

    wish: Wish
    target: Target

    def change(self, repair: Repair, quote: str) -> Change | str:
        found = mended(self._setting(), repair)
        if isinstance(found, str):
            return found
        return Change(repair, _digest(self._of(found)), repair.words())

    def after(self, repair: Repair) -> Wish:
        found = mended(self._setting(), repair)
        assert not isinstance(found, str)
        return self._of(found)

    def _setting(self) -> Setting:
        memory = self.wish.memory_bytes or self.target.resources.memory_bytes
        return Setting(self.wish.values, self.wish.program, self.wish.walltime_s, memory)

    def _of(self, setting: Setting) -> Wish:
        return replace(
            self.wish,
            values=setting.values,
            program=setting.program,
            walltime_s=setting.walltime_s,
            memory_bytes=setting.memory_bytes,
        )


def _digest(wish: Wish) -> str:
    return json.dumps(wish.to_json(), sort_keys=True)
