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
from hpcagent.study.build_wish import Wish, recipe_of, software_of
from hpcagent.study.state import TuneState, Unit
from hpcagent.study.task_plan import Target, Task
from hpcagent.toolchain.buildend import BuildEnd, build_end
from hpcagent.toolchain.mending import Setting, mended, what_changed
from hpcagent.toolchain.mending_scene import Scene
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
        mender = _Mender(wish, target, _scene(end, recipe, facts), unit.memory_bytes)
        answer = _answer(end, mender, tried)
        if not isinstance(answer, Change):
            gave_up = answer.reason if answer is not None else ""
            return Story(wish, purpose, recipe, end.failure, unit, end, tuple(mends), gave_up)
        assert end.cause is not None
        tried.append(Attempt(_digest(wish), end.cause.id, answer.repair, end.cause.quote))
        what = f"repair-{target.label}-{len(mends) + 1}"
        mends.append(Mend(what, f"{end.cause.id}: {answer.words} ({end.cause.quote})"))
        wish = mender.after(answer.repair)


def _scene(end: BuildEnd, recipe: Recipe, facts: Mapping[str, Any]) -> Scene:
    quote = end.cause.quote if end.cause is not None else ""
    text = f"{end.step.output}\n{end.step.message}" if end.step is not None else ""
    return Scene(quote, text, software_of(facts), recipe.compilers, recipe.modules)


def _answer(end: BuildEnd, mender: _Mender, tried: list[Attempt]) -> Change | GiveUp | None:
    """What to change after this end; None where it went well, or its cause is not known."""
    if end.state != "failed" or end.cause is None:
        return None
    found = end.cause
    cause = Cause(found.id, found.confidence, found.quote, found.repair)
    return next_repair(cause, _digest(mender.wish), tried, mender)


@dataclass(frozen=True)
class _Mender:
    """What a build's loop can change: the applier of toolchain.repairs."""

    wish: Wish
    target: Target
    scene: Scene
    had_bytes: int | None

    def change(self, repair: Repair, quote: str) -> Change | str:
        before = self._setting()
        found = mended(before, repair, self.scene)
        if isinstance(found, str):
            return found
        return Change(repair, _digest(self._of(found)), what_changed(before, found))

    def after(self, repair: Repair) -> Wish:
        found = mended(self._setting(), repair, self.scene)
        assert not isinstance(found, str)
        return self._of(found)

    def _setting(self) -> Setting:
        memory = self.wish.memory_bytes or self.target.resources.memory_bytes
        wish = self.wish
        return Setting(
            wish.values, wish.program, memory, wish.compiler, wish.modules, wish.purge, wish.blas,
            self.had_bytes,
        )  # fmt: skip

    def _of(self, setting: Setting) -> Wish:
        return replace(
            self.wish,
            values=setting.values,
            program=setting.program,
            memory_bytes=setting.memory_bytes,
            compiler=setting.compiler,
            modules=setting.modules,
            purge=setting.purge,
            blas=setting.blas,
        )


def _digest(wish: Wish) -> str:
    return json.dumps(wish.to_json(), sort_keys=True)
